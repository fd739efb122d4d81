//! A connection as one flat JSON object: what `-o json` prints and what the control socket carries.
//!
//! Names are flat and stable, and are those of jc's conntrack parser where it has one (`orig_src`, `reply_dport`,
//! `orig_packets`, …), so that a script reads either. `docs/json.md` describes every field. A field that a connection does
//! not have is left out. [`Flat`] converts from and to [`Entry`]; what is lost on the way is the fraction of a second of the
//! timeout.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uct_engine::sctp::SctpState;
use uct_engine::tcp::{PeerFlags, PeerInfo, TcpState};
use uct_engine::{ConnId, Counters, Entry, Family, L4, ProtoInfo, Protocol, Status, Time, Tuple, Zone, ZoneScope};

type Text = Cow<'static, str>;

macro_rules! flat {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)* ; $($(#[$odoc:meta])* $optional:ident: $otype:ty,)*) => {
        /// A connection, flat.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct Flat {
            $($(#[$doc])* pub $name: $type,)*
            $($(#[$odoc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $optional: Option<$otype>,)*
        }
    };
}

flat! {
    /// Its number.
    id: u32,
    /// `ipv4` or `ipv6`.
    family: Text,
    /// 2 or 10.
    family_number: u8,
    /// The protocol's name; `unknown` for those that netfilter's tools do not name.
    protocol: Text,
    /// The protocol's number.
    protocol_number: u8,
    /// Seconds that it has still to live.
    timeout: u64,
    /// The flags that conntrack(8) prints in brackets: UNREPLIED, ASSURED, OFFLOAD, HW_OFFLOAD.
    status: Vec<Text>,
    /// All status bits by netfilter's names.
    status_bits: Vec<Text>,
    /// Source of the first packet.
    orig_src: IpAddr,
    /// Destination of the first packet.
    orig_dst: IpAddr,
    /// Source of the answer.
    reply_src: IpAddr,
    /// Destination of the answer.
    reply_dst: IpAddr,
    /// The connection mark.
    mark: u32,
    ;
    /// The state, for TCP and SCTP.
    state: Text,
    /// Ports: TCP, UDP, UDP-Lite, SCTP.
    orig_sport: u16,
    /// As above.
    orig_dport: u16,
    /// As above.
    reply_sport: u16,
    /// As above.
    reply_dport: u16,
    /// ICMP and ICMPv6.
    orig_type: u8,
    /// As above.
    orig_code: u8,
    /// As above.
    orig_id: u16,
    /// As above.
    reply_type: u8,
    /// As above.
    reply_code: u8,
    /// As above.
    reply_id: u16,
    /// GRE.
    orig_srckey: u16,
    /// As above.
    orig_dstkey: u16,
    /// As above.
    reply_srckey: u16,
    /// As above.
    reply_dstkey: u16,
    /// With `nf_conntrack_acct`.
    orig_packets: u64,
    /// As above.
    orig_bytes: u64,
    /// As above.
    reply_packets: u64,
    /// As above.
    reply_bytes: u64,
    /// The zone, if it is not 0 and counts in both directions.
    zone: u16,
    /// The zone, if it counts in the original direction only.
    orig_zone: u16,
    /// The zone, if it counts in the reply direction only.
    reply_zone: u16,
    /// TCP: window scale.
    orig_wscale: u8,
    /// As above.
    reply_wscale: u8,
    /// TCP: the flags that netlink carries of each end.
    orig_tcp_flags: u8,
    /// As above.
    reply_tcp_flags: u8,
    /// SCTP: the verification tag that the direction carries, 0 if it is not known.
    orig_vtag: u32,
    /// As above.
    reply_vtag: u32,
    /// Labels, by their numbers.
    label_bits: Vec<u8>,
    /// The helper.
    helper: Text,
    /// The connection that announced it.
    master: Text,
    /// Nanoseconds since 1970, with `nf_conntrack_timestamp`.
    start_ns: u64,
    /// As above.
    stop_ns: u64,
}

/// Why an object is no connection.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlatError {
    /// A name that we do not know.
    #[error("unknown {what} '{name}'")]
    Unknown {
        /// What kind of name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Addresses of two families.
    #[error("addresses of two families")]
    Families,
}

/// The flags that conntrack(8) prints in brackets.
pub fn brackets(status: Status) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if !status.contains(Status::SEEN_REPLY) {
        flags.push("UNREPLIED");
    }
    if status.contains(Status::HW_OFFLOAD) {
        flags.push("HW_OFFLOAD");
    } else if status.contains(Status::OFFLOAD) {
        flags.push("OFFLOAD");
    } else if status.contains(Status::ASSURED) {
        flags.push("ASSURED");
    }
    flags
}

impl From<&Entry> for Flat {
    fn from(e: &Entry) -> Flat {
        let (o, r) = (&e.original, &e.reply);
        let zone = |scope| Some(e.zone.id).filter(|id| e.zone.scope == scope && *id != 0);
        let counters = |dir: usize| e.counters.map(|c| c[dir]);
        let mut flat = Flat {
            id: e.id.0,
            family: o.family().name().into(),
            family_number: o.family().number(),
            protocol: o.protocol.name().unwrap_or("unknown").into(),
            protocol_number: o.protocol.0,
            timeout: e.timeout.as_secs(),
            status: brackets(e.status).into_iter().map(Text::from).collect(),
            status_bits: e.status.names().map(Text::from).collect(),
            orig_src: o.src,
            orig_dst: o.dst,
            reply_src: r.src,
            reply_dst: r.dst,
            mark: e.mark,
            state: e.proto.state_name().map(Text::from),
            orig_sport: None,
            orig_dport: None,
            reply_sport: None,
            reply_dport: None,
            orig_type: None,
            orig_code: None,
            orig_id: None,
            reply_type: None,
            reply_code: None,
            reply_id: None,
            orig_srckey: None,
            orig_dstkey: None,
            reply_srckey: None,
            reply_dstkey: None,
            orig_packets: counters(0).map(|c| c.packets),
            orig_bytes: counters(0).map(|c| c.bytes),
            reply_packets: counters(1).map(|c| c.packets),
            reply_bytes: counters(1).map(|c| c.bytes),
            zone: zone(ZoneScope::Both),
            orig_zone: zone(ZoneScope::Original),
            reply_zone: zone(ZoneScope::Reply),
            orig_wscale: None,
            reply_wscale: None,
            orig_tcp_flags: None,
            reply_tcp_flags: None,
            orig_vtag: None,
            reply_vtag: None,
            label_bits: e.labels.map(|l| (0..128).filter(|b| l >> b & 1 == 1).collect()),
            helper: e.helper.as_deref().map(|h| Text::from(h.to_owned())),
            master: e.master.as_ref().map(|m| format!("{m:?}").into()),
            start_ns: e.start.map(Time::as_nanos),
            stop_ns: e.stop.map(Time::as_nanos),
        };
        flat.set_l4(o.l4, r.l4);
        match &e.proto {
            ProtoInfo::None => {}
            ProtoInfo::Tcp { peers: [a, b], .. } => {
                flat.orig_wscale = Some(a.scale);
                flat.reply_wscale = Some(b.scale);
                flat.orig_tcp_flags = Some(a.flags.bits());
                flat.reply_tcp_flags = Some(b.flags.bits());
            }
            ProtoInfo::Sctp { vtags: [a, b], .. } => (flat.orig_vtag, flat.reply_vtag) = (Some(*a), Some(*b)),
        }
        flat
    }
}

impl Flat {
    fn set_l4(&mut self, original: L4, reply: L4) {
        match original {
            L4::Ports { src, dst } => (self.orig_sport, self.orig_dport) = (Some(src), Some(dst)),
            L4::Keys { src, dst } => (self.orig_srckey, self.orig_dstkey) = (Some(src), Some(dst)),
            L4::Icmp { kind, code, id } => {
                (self.orig_type, self.orig_code, self.orig_id) = (Some(kind), Some(code), Some(id));
            }
            L4::None => {}
        }
        match reply {
            L4::Ports { src, dst } => (self.reply_sport, self.reply_dport) = (Some(src), Some(dst)),
            L4::Keys { src, dst } => (self.reply_srckey, self.reply_dstkey) = (Some(src), Some(dst)),
            L4::Icmp { kind, code, id } => {
                (self.reply_type, self.reply_code, self.reply_id) = (Some(kind), Some(code), Some(id));
            }
            L4::None => {}
        }
    }

    fn zone(&self) -> Zone {
        let (id, scope) = match (self.zone, self.orig_zone, self.reply_zone) {
            (Some(id), _, _) => (id, ZoneScope::Both),
            (_, Some(id), _) => (id, ZoneScope::Original),
            (_, _, Some(id)) => (id, ZoneScope::Reply),
            _ => (0, ZoneScope::Both),
        };
        Zone { id, scope }
    }

    fn counters(&self) -> Option<[Counters; 2]> {
        Some([
            Counters { packets: self.orig_packets?, bytes: self.orig_bytes.unwrap_or(0) },
            Counters { packets: self.reply_packets.unwrap_or(0), bytes: self.reply_bytes.unwrap_or(0) },
        ])
    }

    fn proto(&self, protocol: Protocol) -> Result<ProtoInfo, FlatError> {
        let Some(name) = &self.state else { return Ok(ProtoInfo::None) };
        if protocol == Protocol::SCTP {
            let state = SctpState::by_name(name)
                .ok_or_else(|| FlatError::Unknown { what: "SCTP state", name: name.clone().into_owned() })?;
            return Ok(ProtoInfo::Sctp {
                state,
                vtags: [self.orig_vtag, self.reply_vtag].map(Option::unwrap_or_default),
            });
        }
        if protocol != Protocol::TCP {
            return Ok(ProtoInfo::None);
        }
        let state = TcpState::by_name(name)
            .ok_or_else(|| FlatError::Unknown { what: "TCP state", name: name.clone().into_owned() })?;
        let peer = |scale: Option<u8>, flags: Option<u8>| PeerInfo {
            scale: scale.unwrap_or(0),
            flags: PeerFlags::from_bits_retain(flags.unwrap_or(0)),
        };
        let peers = [peer(self.orig_wscale, self.orig_tcp_flags), peer(self.reply_wscale, self.reply_tcp_flags)];
        Ok(ProtoInfo::Tcp { state, peers })
    }
}

/// The transport part that a protocol's tuple has, of the fields that are there.
fn l4(
    protocol: Protocol,
    ports: [Option<u16>; 2],
    keys: [Option<u16>; 2],
    icmp: (Option<u8>, Option<u8>, Option<u16>),
) -> L4 {
    match protocol {
        p if p.has_ports() => L4::Ports { src: ports[0].unwrap_or(0), dst: ports[1].unwrap_or(0) },
        Protocol::GRE => L4::Keys { src: keys[0].unwrap_or(0), dst: keys[1].unwrap_or(0) },
        Protocol::ICMP | Protocol::ICMPV6 => {
            L4::Icmp { kind: icmp.0.unwrap_or(0), code: icmp.1.unwrap_or(0), id: icmp.2.unwrap_or(0) }
        }
        _ => L4::None,
    }
}

impl TryFrom<&Flat> for Entry {
    type Error = FlatError;

    fn try_from(f: &Flat) -> Result<Entry, FlatError> {
        let protocol = Protocol(f.protocol_number);
        let original = Tuple {
            src: f.orig_src,
            dst: f.orig_dst,
            protocol,
            l4: l4(
                protocol,
                [f.orig_sport, f.orig_dport],
                [f.orig_srckey, f.orig_dstkey],
                (f.orig_type, f.orig_code, f.orig_id),
            ),
        };
        let reply = Tuple {
            src: f.reply_src,
            dst: f.reply_dst,
            protocol,
            l4: l4(
                protocol,
                [f.reply_sport, f.reply_dport],
                [f.reply_srckey, f.reply_dstkey],
                (f.reply_type, f.reply_code, f.reply_id),
            ),
        };
        let family = original.family();
        if [original.dst, reply.src, reply.dst].iter().any(|a| Family::of(*a) != family) {
            return Err(FlatError::Families);
        }
        Ok(Entry {
            id: ConnId(f.id),
            original,
            reply,
            zone: f.zone(),
            status: status(&f.status_bits)?,
            timeout: Duration::from_secs(f.timeout),
            mark: f.mark,
            counters: f.counters(),
            proto: f.proto(protocol)?,
            labels: f.label_bits.as_ref().map(|bits| bits.iter().filter(|b| **b < 128).fold(0, |l, b| l | 1 << b)),
            helper: f.helper.as_deref().map(Into::into),
            master: None,
            start: f.start_ns.map(Time::from_nanos),
            stop: f.stop_ns.map(Time::from_nanos),
        })
    }
}

/// Status bits by their names.
pub fn status(names: &[Text]) -> Result<Status, FlatError> {
    names.iter().try_fold(Status::empty(), |bits, name| match Status::from_name(name) {
        Some(bit) => Ok(bits | bit),
        None => Err(FlatError::Unknown { what: "status", name: name.clone().into_owned() }),
    })
}
