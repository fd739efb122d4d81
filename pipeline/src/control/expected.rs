//! Expectations over the socket: their flat form, and what clients may do with them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uct_engine::client::Refusal;
use uct_engine::expect::{ExpectEntry, ExpectFlags, ExpectMask, Expectation, NewExpectation};
use uct_engine::{Family, L4, Protocol, Status, Tuple, Zone};

use super::flat::FlatError;
use super::message::{CreateExpectation, Fault, Reply, Side, WhichExpectation};
use super::serve::{Answer, Work, fault, invalid};
use super::wish;

/// An expectation, flat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlatExpectation {
    /// Its number.
    pub id: u32,
    /// The protocol's number.
    pub protocol_number: u8,
    /// Seconds that it still waits.
    pub timeout: u64,
    /// What is expected.
    pub tuple: Side,
    /// How much of its source counts.
    pub mask: Side,
    /// The original tuple of the connection that announced it.
    pub master: Side,
    /// That connection's protocol, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_protocol: Option<u8>,
    /// The class.
    pub class: u32,
    /// The helper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
    /// The zone of the connection that announced it, if not 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
    /// PERMANENT, INACTIVE, USERSPACE.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// One direction, as a side.
fn side(tuple: &Tuple) -> Side {
    let mut side = Side { src: Some(tuple.src), dst: Some(tuple.dst), ..Side::default() };
    match tuple.l4 {
        L4::Ports { src, dst } | L4::Keys { src, dst } => (side.sport, side.dport) = (Some(src), Some(dst)),
        L4::Icmp { kind, code, id } => {
            (side.icmp_type, side.icmp_code, side.icmp_id) = (Some(kind), Some(code), Some(id));
        }
        L4::None => {}
    }
    side
}

/// All bits of an address of this family.
fn ones(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(u32::MAX.into()),
        Family::Ipv6 => IpAddr::V6(u128::MAX.into()),
    }
}

impl From<&ExpectEntry> for FlatExpectation {
    fn from(e: &ExpectEntry) -> FlatExpectation {
        let has_ends = matches!(e.tuple.l4, L4::Ports { .. } | L4::Keys { .. });
        FlatExpectation {
            id: e.id,
            protocol_number: e.tuple.protocol.0,
            timeout: e.timeout.as_secs(),
            tuple: side(&e.tuple),
            mask: Side {
                src: Some(e.mask.src),
                dst: Some(ones(e.tuple.family())),
                sport: has_ends.then_some(e.mask.src_id),
                dport: has_ends.then_some(u16::MAX),
                ..Side::default()
            },
            master: side(&e.master),
            master_protocol: Some(e.master.protocol.0).filter(|p| *p != e.tuple.protocol.0),
            class: e.class,
            helper: e.helper.as_deref().map(str::to_owned),
            zone: Some(e.zone.id).filter(|id| *id != 0),
            flags: e.flags.iter_names().map(|(name, _)| name.to_owned()).collect(),
        }
    }
}

impl TryFrom<&FlatExpectation> for ExpectEntry {
    type Error = FlatError;

    fn try_from(f: &FlatExpectation) -> Result<ExpectEntry, FlatError> {
        let protocol = Protocol(f.protocol_number);
        let incomplete =
            |_: Fault| FlatError::Unknown { what: "expectation", name: "a tuple is not complete".to_owned() };
        let tuple = wish::tuple(protocol, &f.tuple, None).map_err(incomplete)?;
        let master = wish::tuple(Protocol(f.master_protocol.unwrap_or(protocol.0)), &f.master, None);
        let flags =
            f.flags.iter().filter_map(|name| ExpectFlags::from_name(name)).fold(ExpectFlags::empty(), |a, b| a | b);
        Ok(ExpectEntry {
            id: f.id,
            mask: ExpectMask { src: f.mask.src.unwrap_or(ones(tuple.family())), src_id: f.mask.sport.unwrap_or(0) },
            tuple,
            master: master.map_err(incomplete)?,
            zone: Zone { id: f.zone.unwrap_or(0), ..Zone::DEFAULT },
            class: f.class,
            helper: f.helper.as_deref().map(Into::into),
            timeout: Duration::from_secs(f.timeout),
            flags,
        })
    }
}

impl Work<'_> {
    /// Lists expectations, all or those of one family.
    pub(super) fn list_expectations(&self, family: Option<u8>) -> io::Result<Answer> {
        let all = self.engine().expectations();
        let wanted = all.iter().filter(|e| family.is_none_or(|f| e.wanted().tuple.family().number() == f));
        let flats: Vec<_> = wanted.map(|e| FlatExpectation::from(&e.entry(self.now()))).collect();
        for piece in flats.chunks(64) {
            self.show_expectations(piece)?;
        }
        Ok(Ok(flats.len() as u64))
    }

    pub(super) fn get_expectation(&self, which: &WhichExpectation) -> io::Result<Answer> {
        match self.expectation(which) {
            Ok(e) => {
                self.show_expectations(&[FlatExpectation::from(&e.entry(self.now()))])?;
                Ok(Ok(1))
            }
            Err(fault) => Ok(Err(fault)),
        }
    }

    pub(super) fn delete_expectation(&self, which: &WhichExpectation) -> Answer {
        let e = self.expectation(which)?;
        Ok(u64::from(self.engine().unexpect(&e, self.now(), Some(self.client()))))
    }

    pub(super) fn create_expectation(&self, create: &CreateExpectation) -> Answer {
        let missing = |what: &'static str| invalid(format!("{what} is needed"));
        let protocol = Protocol(create.protocol.ok_or_else(|| missing("protocol"))?);
        let master = create.master.as_ref().ok_or_else(|| missing("master"))?;
        let master = wish::tuple(protocol, master, None)?;
        let expected = create.tuple.as_ref().ok_or_else(|| missing("tuple"))?;
        let tuple = wish::tuple(protocol, expected, None)?;
        if self.engine().find_expectation(&tuple, Zone::DEFAULT).is_some() {
            return Err(Refusal::Exists.into());
        }
        let found = self.engine().find(&master, Zone::DEFAULT);
        let (master, _) = found.ok_or_else(|| fault("no-master", "the connection that announces it is not there"))?;
        let mask = create.mask.clone().unwrap_or_default();
        let mask = ExpectMask { src: mask.src.unwrap_or(ones(tuple.family())), src_id: mask.sport.unwrap_or(u16::MAX) };
        if Family::of(mask.src) != tuple.family() || master.status().contains(Status::DYING) {
            return Err(Refusal::Invalid.into());
        }
        let flags = if create.permanent == Some(true) { ExpectFlags::PERMANENT } else { ExpectFlags::empty() };
        let new = NewExpectation {
            tuple,
            mask,
            master,
            class: create.class.unwrap_or(0),
            helper: create.helper.as_deref().map(Into::into),
            timeout: Duration::from_secs(create.timeout.ok_or_else(|| missing("timeout"))?.into()),
            flags,
        };
        self.engine().expect(new, self.now(), Some(self.client()))?;
        Ok(1)
    }

    fn expectation(&self, which: &WhichExpectation) -> Result<Arc<Expectation>, Fault> {
        let (Some(protocol), Some(side)) = (which.protocol, &which.tuple) else {
            return Err(invalid("protocol and tuple are needed"));
        };
        let tuple = wish::tuple(Protocol(protocol), side, None)?;
        Ok(self.engine().find_expectation(&tuple, Zone::DEFAULT).ok_or(Refusal::Missing)?)
    }

    fn show_expectations(&self, piece: &[FlatExpectation]) -> io::Result<()> {
        self.reply(Reply {
            now_ns: Some(self.now().as_nanos()),
            expectations: Some(piece.to_vec()),
            ..Reply::default()
        })
    }
}
