//! What of a connection outlives the program: all of it, as plain data, out of one engine and into another.
//!
//! ```text
//!   Conn::save ──► Saved ──(a file, another machine)──► Engine::restore ──► a connection that goes on in mid-stream
//! ```
//!
//! Beside what a listing shows there is what only the next packet asks for: both ends' windows, the segment before, when a
//! conversation becomes a stream, what NAT borrowed. So the next packet of a restored connection is judged as if nothing had
//! happened in between. Deadlines are points in time: what ran out meanwhile is not restored.
//!
//! Invariants: a restored connection stands in the table by both tuples or not at all; it never takes the place of another;
//! the table's limit holds. Its number is a new one, given in the order of restoration. No event tells of it.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::client::Refusal;
use crate::conn::{Conn, ConnRef, Labels, Seed, SeqAdjust};
use crate::engine::Engine;
use crate::sctp::{SavedSctp, Sctp};
use crate::settings::Settings;
use crate::settings::TimeoutPolicy;
use crate::state::{State, UdpStream};
use crate::tcp::{SavedTcp, Tcp};
use crate::udp;
use crate::{Counters, Family, Protocol, Status, Sysctl, Time, Tuple, Zone};

/// A connection as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// What the first packet carried.
    pub original: Tuple,
    /// What answers carry.
    pub reply: Tuple,
    /// Its zone.
    pub zone: Zone,
    /// Its status bits.
    pub status: Status,
    /// When it runs out.
    pub deadline: Time,
    /// Its mark.
    pub mark: u32,
    /// The interface whose address it borrowed.
    pub bound: Option<NonZeroU32>,
    /// Packets and bytes, original and reply, if they are counted.
    pub counters: Option<[Counters; 2]>,
    /// When it was confirmed, if that is kept.
    pub start: Option<Time>,
    /// Its labels.
    pub labels: Option<u128>,
    /// Its helper.
    pub helper: Option<Arc<str>>,
    /// The original tuple and the zone of the connection that announced it.
    pub master: Option<(Tuple, Zone)>,
    /// Timeouts of its own.
    pub timeouts: Option<Arc<TimeoutPolicy>>,
    /// Sequence adjustment, by direction.
    pub seq_adjust: Option<[SeqAdjust; 2]>,
    /// Its protocol's state.
    pub state: SavedState,
}

/// A protocol's state.
#[derive(Clone, Debug, PartialEq)]
pub enum SavedState {
    /// The protocol has none.
    None,
    /// TCP's.
    Tcp(SavedTcp),
    /// SCTP's.
    Sctp(SavedSctp),
    /// UDP: when a packet after this time makes the conversation a stream.
    Udp(Time),
}

/// Status bits that tell of the engine, not of the connection.
const OWN: Status =
    Status::CONFIRMED.union(Status::DYING).union(Status::TEMPLATE).union(Status::OFFLOAD).union(Status::HW_OFFLOAD);

impl Conn {
    /// All that is known of it.
    pub fn save(&self) -> Saved {
        let extras = self.extras();
        Saved {
            original: self.original(),
            reply: self.reply(),
            zone: self.zone(),
            status: self.status(),
            deadline: self.deadline(),
            mark: self.mark(),
            bound: self.bound_to(),
            counters: self.both_counters(),
            start: self.start(),
            labels: extras.labels,
            helper: extras.helper,
            master: extras.master.map(|m| (m.original(), m.zone())),
            timeouts: extras.timeouts,
            seq_adjust: extras.seq_adjust,
            state: match &*self.lock() {
                State::Tcp(tcp) => SavedState::Tcp(tcp.save()),
                State::Sctp(sctp) => SavedState::Sctp(sctp.save()),
                State::Udp(stream) => SavedState::Udp(stream.after),
                State::Stream | State::Gre(_) | State::Icmp | State::Generic => SavedState::None,
            },
        }
    }
}

impl Engine {
    /// Enters a connection that was saved. Refused: `Expired` if its time is over, `Missing` if its master is not in the
    /// table, `Exists`, `Full`, and `Invalid` for what no connection can be.
    pub fn restore(&self, saved: &Saved, now: Time) -> Result<ConnRef, Refusal> {
        if saved.deadline <= now || saved.status.contains(Status::DYING) {
            return Err(Refusal::Expired);
        }
        let state = saved.open(self.settings()).ok_or(Refusal::Invalid)?;
        let max = self.settings().get(Sysctl::Max) as usize;
        if max != 0 && self.count() >= max {
            return Err(Refusal::Full);
        }
        let master = match &saved.master {
            Some((tuple, zone)) => Some(self.find(tuple, *zone).ok_or(Refusal::Missing)?.0),
            None => None,
        };
        let mut conn = self.make(Seed {
            id: self.next_id(),
            original: saved.original,
            reply: saved.reply,
            zone: saved.zone,
            state,
            accounting: saved.counters.is_some(),
            timestamps: saved.start.is_some(),
            labels: Labels::None,
        });
        if let Some(interface) = saved.bound {
            conn.bind_to(interface);
        }
        conn.put_mark(saved.mark);
        conn.set_status(saved.status.difference(OWN));
        conn.set_timeout(now, saved.deadline.saturating_duration_since(now));
        if let Some(counters) = &saved.counters {
            conn.put_counters(counters);
        }
        let has_extras = saved.labels.is_some()
            || saved.helper.is_some()
            || master.is_some()
            || saved.timeouts.is_some()
            || saved.seq_adjust.is_some();
        if has_extras {
            conn.with_extras(|e| {
                e.labels = saved.labels;
                e.helper = saved.helper.clone();
                e.master = master;
                e.timeouts = saved.timeouts.clone();
                e.seq_adjust = saved.seq_adjust;
            });
        }
        let conn = self.enter(conn, now).map_err(|_| Refusal::Exists)?;
        if let Some(start) = saved.start {
            conn.put_start(start);
        }
        Ok(conn)
    }
}

impl Saved {
    /// The state to go on with, if the parts fit each other.
    fn open(&self, settings: &Settings) -> Option<State> {
        let (original, reply) = (&self.original, &self.reply);
        let family = original.family();
        let one_family = [original.dst, reply.src, reply.dst].into_iter().all(|a| Family::of(a) == family);
        if !one_family || original.protocol != reply.protocol || original.inverse().is_none() {
            return None;
        }
        Some(match (original.protocol, &self.state) {
            (Protocol::TCP, SavedState::Tcp(tcp)) => State::Tcp(Tcp::restore(tcp)),
            (Protocol::SCTP, SavedState::Sctp(sctp)) => State::Sctp(Sctp::restore(sctp)),
            (Protocol::UDP, SavedState::Udp(after)) => State::Udp(UdpStream { after: *after }),
            (Protocol::TCP | Protocol::SCTP | Protocol::UDP, _) => return None,
            (Protocol::UDPLITE, SavedState::None) => State::Stream,
            (Protocol::GRE, SavedState::None) => State::Gre(udp::open_gre(settings)),
            (Protocol::ICMP | Protocol::ICMPV6, SavedState::None) => State::Icmp,
            (_, SavedState::None) => State::Generic,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
