//! What a program may do to the table, as ctnetlink allows it: create, change, delete, flush.
//!
//! ```text
//!   create   both tuples free, room left ──► inserted, confirmed   event New, everything told
//!   change   mark, timeout, status, state, labels, helper          event Update, everything told, also if nothing changed
//!   delete   by connection                                         event Destroy
//! ```
//!
//! As in Linux a client's event tells all that could have changed, so that listeners see the mark even if it is 0, and
//! carries the client's name. Of the status only SEEN_REPLY, ASSURED and FIXED_TIMEOUT may be set, none may be cleared;
//! asking for EXPECTED is refused, offload bits are passed over.
//!
//! What a client cannot know is unset: a TCP connection that it inserts has seen no window of either end, and both ends are
//! liberal; UDP counts as a stream as soon as it is answered. NAT's result is given as a reply tuple and status bits, found
//! by whoever calls.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::conn::{ConnRef, Labels, Seed};
use crate::engine::Engine;
use crate::event::{Client, EventKind, EventMask};
use crate::sctp::{Sctp, SctpState};
use crate::settings::Settings;
use crate::state::{State, UdpStream};
use crate::tcp::{PeerFlags, PeerInfo, Tcp, TcpState};
use crate::udp;
use crate::{Counters, Direction, Family, L4, Protocol, Status, Sysctl, Time, Tuple, Zone};

/// Why a client's wish was not granted; each has the errno that ctnetlink answers.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// EINVAL.
    #[error("a parameter is not one that a connection can have")]
    Invalid,
    /// EEXIST.
    #[error("the tuple is in the table already")]
    Exists,
    /// ENOENT.
    #[error("no such connection")]
    Missing,
    /// ENOMEM.
    #[error("the table is full")]
    Full,
    /// EBUSY.
    #[error("this status bit is not a client's to set")]
    Busy,
    /// EPERM.
    #[error("the timeout is fixed")]
    Fixed,
    /// ETIME.
    #[error("the connection is gone")]
    Expired,
}

/// What a client knows of the protocol's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// The TCP state.
    Tcp(TcpState),
    /// The SCTP state and the tag that each direction carries.
    Sctp {
        /// The state.
        state: SctpState,
        /// Original, reply.
        vtags: [u32; 2],
    },
}

/// A connection as a client describes it.
#[derive(Clone, Debug)]
pub struct NewConn {
    /// What the first packet carried.
    pub original: Tuple,
    /// What answers carry.
    pub reply: Tuple,
    /// Its zone.
    pub zone: Zone,
    /// SEEN_REPLY, ASSURED, FIXED_TIMEOUT, and NAT's bits.
    pub status: Status,
    /// How long it lives.
    pub timeout: Duration,
    /// Its mark.
    pub mark: u32,
    /// Its labels.
    pub labels: Option<u128>,
    /// Its helper.
    pub helper: Option<Arc<str>>,
    /// Its protocol's state.
    pub known: Known,
    /// Counters to begin with, if they are kept.
    pub counters: Option<[Counters; 2]>,
    /// When it began, if that is kept.
    pub start: Option<Time>,
}

/// What a client wants to change; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new mark.
    pub mark: Option<u32>,
    /// A new timeout.
    pub timeout: Option<Duration>,
    /// Status bits to set.
    pub status: Status,
    /// A new state.
    pub known: Known,
    /// New labels.
    pub labels: Option<u128>,
    /// A new helper.
    pub helper: Option<Arc<str>>,
}

/// The bits that a client may set.
const SETTABLE: Status = Status::SEEN_REPLY.union(Status::ASSURED).union(Status::FIXED_TIMEOUT);

/// Everything that a client's message could have changed.
const ALL: EventMask = EventMask::REPLY
    .union(EventMask::ASSURED)
    .union(EventMask::HELPER)
    .union(EventMask::PROTOINFO)
    .union(EventMask::SEQADJ)
    .union(EventMask::MARK);

impl Engine {
    /// Enters a connection that no packet opened.
    pub fn create(&self, new: NewConn, now: Time, by: Option<Arc<Client>>) -> Result<ConnRef, Refusal> {
        check(&new)?;
        if self.find(&new.original, new.zone).is_some() || self.find(&new.reply, new.zone).is_some() {
            return Err(Refusal::Exists);
        }
        if !self.make_room(&new.original, new.zone, now, &mut crate::Silent) {
            return Err(Refusal::Full);
        }
        let conn = self.make(Seed {
            id: self.next_id(),
            original: new.original,
            reply: new.reply,
            zone: new.zone,
            state: open(new.original.protocol, new.known, self.settings()),
            accounting: self.settings().is_on(Sysctl::Acct),
            timestamps: self.settings().is_on(Sysctl::Timestamp),
            labels: Labels::None,
        });
        conn.put_mark(new.mark);
        conn.set_status(new.status & (SETTABLE | Status::NAT | Status::NAT_DONE));
        conn.set_timeout(now, new.timeout);
        if new.labels.is_some() || new.helper.is_some() {
            conn.with_extras(|e| (e.labels, e.helper) = (new.labels, new.helper.clone()));
        }
        if let Some(counters) = new.counters {
            conn.put_counters(&counters);
        }
        let conn = self.enter(conn, now).map_err(|_| Refusal::Exists)?;
        if let Some(start) = new.start {
            conn.put_start(start);
        }
        let labels = if new.labels.is_some() { EventMask::LABEL } else { EventMask::empty() };
        self.announce(&conn, EventKind::New, ALL | EventMask::NEW | labels, now, by);
        Ok(conn)
    }

    /// Changes a connection.
    pub fn change(&self, conn: &ConnRef, change: &Change, now: Time, by: Option<Arc<Client>>) -> Result<(), Refusal> {
        if change.status.intersects(Status::EXPECTED | Status::CONFIRMED | Status::DYING) {
            return Err(Refusal::Busy);
        }
        if let Some(timeout) = change.timeout {
            if conn.status().contains(Status::FIXED_TIMEOUT) {
                return Err(Refusal::Fixed);
            }
            if conn.status().contains(Status::DYING) {
                return Err(Refusal::Expired);
            }
            self.restart(conn, now, timeout);
        }
        conn.set_status(change.status & SETTABLE);
        if let Some(helper) = &change.helper {
            conn.with_extras(|e| e.helper = Some(Arc::clone(helper)));
        }
        match (change.known, &mut *conn.lock()) {
            (Known::Nothing, _) => {}
            (Known::Tcp(state), State::Tcp(tcp)) => {
                tcp.inform(state, PeerFlags::SACK_PERM | PeerFlags::BE_LIBERAL);
            }
            (Known::Sctp { state, vtags }, State::Sctp(sctp)) => sctp.inform(state, vtags),
            _ => return Err(Refusal::Invalid),
        }
        if let Some(mark) = change.mark {
            conn.put_mark(mark);
        }
        let mut mask = ALL;
        if let Some(labels) = change.labels {
            conn.with_extras(|e| e.labels = Some(labels));
            mask |= EventMask::LABEL;
        }
        self.announce(conn, EventKind::Update, mask, now, by);
        Ok(())
    }

    /// Destroys all connections, or all of one family. Answers how many.
    pub fn flush(&self, family: Option<Family>, now: Time, by: Option<&Arc<Client>>) -> usize {
        (0..)
            .map_while(|shard| self.shard(shard))
            .flatten()
            .filter(|c| family.is_none_or(|f| c.original().family() == f))
            .filter(|c| self.destroy(c, now, by.cloned()))
            .count()
    }
}

/// Whether such a connection could be.
fn check(new: &NewConn) -> Result<(), Refusal> {
    let (original, reply) = (&new.original, &new.reply);
    let family = original.family();
    let fits = |t: &Tuple| match (t.protocol, t.l4) {
        (p, L4::Ports { .. }) => p.has_ports(),
        (p, L4::Keys { .. }) => p == Protocol::GRE,
        (Protocol::ICMP, L4::Icmp { .. }) => family == Family::Ipv4,
        (Protocol::ICMPV6, L4::Icmp { .. }) => family == Family::Ipv6,
        (p, L4::None) => !p.has_ports() && !matches!(p, Protocol::GRE | Protocol::ICMP | Protocol::ICMPV6),
        _ => false,
    };
    let one_family = [original.dst, reply.src, reply.dst].into_iter().all(|a| Family::of(a) == family);
    if !one_family || original.protocol != reply.protocol || !fits(original) || !fits(reply) {
        return Err(Refusal::Invalid);
    }
    if original.inverse().is_none() {
        return Err(Refusal::Invalid);
    }
    let known = match new.known {
        Known::Nothing => original.protocol,
        Known::Tcp(_) => Protocol::TCP,
        Known::Sctp { .. } => Protocol::SCTP,
    };
    if known != original.protocol {
        return Err(Refusal::Invalid);
    }
    if new.status.intersects(Status::EXPECTED | Status::DYING) {
        return Err(Refusal::Busy);
    }
    Ok(())
}

/// The state of a connection of which no packet was seen.
fn open(protocol: Protocol, known: Known, settings: &Settings) -> State {
    match protocol {
        Protocol::TCP => {
            let state = match known {
                Known::Tcp(state) => state,
                _ => TcpState::None,
            };
            let peer = PeerInfo { scale: 0, flags: PeerFlags::SACK_PERM | PeerFlags::BE_LIBERAL };
            State::Tcp(Tcp::inserted(state, [peer; 2]))
        }
        Protocol::SCTP => State::Sctp(match known {
            Known::Sctp { state, vtags } => Sctp::inserted(state, vtags),
            _ => Sctp::inserted(SctpState::None, [0; 2]),
        }),
        // The two seconds are over: the first packet after an answer makes it a stream.
        Protocol::UDP => State::Udp(UdpStream { after: Time::ZERO }),
        Protocol::UDPLITE => State::Stream,
        Protocol::GRE => State::Gre(udp::open_gre(settings)),
        Protocol::ICMP | Protocol::ICMPV6 => State::Icmp,
        _ => State::Generic,
    }
}

/// The tuple that answers this one, for a client that gave one direction only.
pub fn complete(given: Tuple, dir: Direction) -> Option<(Tuple, Tuple)> {
    let other = given.inverse()?;
    Some(match dir {
        Direction::Original => (given, other),
        Direction::Reply => (other, given),
    })
}

#[cfg(test)]
mod tests;
