//! Who is behind a link: link addresses that are asked for, believed, checked and forgotten, as Linux does it.
//!
//! ```text
//!   first packet ─► Incomplete ── answer ──► Reachable ── 15 to 45 s ──► Stale ── used ──► Delay ── 5 s ──► Probe
//!                    3 questions, a second apart    ▲                      ▲                                  │ 3 questions
//!                    none answered: Failed          └───────── answer ─────┼──────────────────────────────────┤
//!                                                                     heard of it                          Failed
//! ```
//! Packets wait in a queue that is bounded in bytes; the oldest goes first when it is full. What waits when nobody answers is
//! handed back, and its senders are told. After that the next packet asks anew.
//!
//! It has no clock and no link of its own: `now` is given, and questions are handed to the caller.
//!
//! # Invariants
//! - At most [`MOST`] neighbours and [`MOST_WAITING`] bytes, whatever the link does. Who is not in use makes room first.
//! - Nothing that a host says makes a neighbour of an address that is not behind that link ([`Heard::Introduced`] is the
//!   caller's to check); what contradicts a neighbour within [`LOCKED`] of the last word is not believed.
//! - Whoever keeps a link address for himself keeps the [`Neighbors::generation`] with it, and asks again when that moved on.
//!
//! Sources: RFC 826, RFC 4861 section 7.3, arp(7) and the kernel's ip-sysctl document for the figures (`neigh/default`).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use uct_engine::Time;

use crate::link::Mac;
use crate::offload::Offload;
use crate::topology::{Dev, Neighbor};

/// `gc_thresh3`.
pub const MOST: usize = 1024;
/// `unres_qlen_bytes`: what waits for one neighbour, in bytes.
const WAITING: usize = 212_992;
/// What waits for all of them together, in bytes.
pub const MOST_WAITING: usize = 16 << 20;
/// `retrans_time_ms`.
const RETRANSMIT: Duration = Duration::from_secs(1);
/// `mcast_solicit`, `ucast_solicit`.
const QUESTIONS: u8 = 3;
/// `delay_first_probe_time`.
const DELAY: Duration = Duration::from_secs(5);
/// `base_reachable_time_ms`; each neighbour has its own between half and one and a half of it.
const REACHABLE: Duration = Duration::from_secs(30);
/// `gc_stale_time`.
const FORGET: Duration = Duration::from_secs(60);
/// `locktime`.
const LOCKED: Duration = Duration::from_secs(1);

/// A packet that waits for a link address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// From its IP header on.
    pub packet: Vec<u8>,
    /// What is left to the card.
    pub offload: Offload,
    /// The interface it leaves by.
    pub dev: Dev,
}

/// A question to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// By which interface.
    pub dev: Dev,
    /// Who has this address?
    pub address: IpAddr,
    /// Whom to ask: the one that had it, or all.
    pub to: Option<Mac>,
}

/// What became of a packet that has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It need not wait: here is the link address.
    Known(Mac),
    /// It waits; so many older ones had to go. The question is to be sent, if there is one.
    Waits {
        /// To be sent now.
        question: Option<Question>,
        /// Packets that it displaced.
        displaced: usize,
    },
    /// There is no room for another neighbour.
    NoRoom,
}

/// How a neighbour was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It answered our question.
    Answered,
    /// It asked for us, and said where it is itself.
    Introduced,
    /// It told everybody.
    Announced,
}

/// What is due.
#[derive(Debug, Default)]
pub struct Due {
    /// Questions to send.
    pub questions: Vec<Question>,
    /// Packets whose next hop does not answer.
    pub failed: Vec<Waiting>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
    Failed,
    Permanent,
}

#[derive(Debug)]
struct Entry {
    state: State,
    mac: Mac,
    /// When the state came about.
    since: Time,
    /// When something is to be done about it.
    due: Time,
    asked: u8,
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Entry {
    fn enter(&mut self, state: State, now: Time, wait: Duration) {
        self.state = state;
        self.since = now;
        self.due = now + wait;
        self.asked = 0;
    }

    fn has_address(&self) -> bool {
        !matches!(self.state, State::Incomplete | State::Failed)
    }
}

/// The neighbours of all links.
#[derive(Debug, Default)]
pub struct Neighbors {
    map: DashMap<(Dev, IpAddr), Entry>,
    generation: AtomicU64,
    waiting: AtomicUsize,
}

impl Neighbors {
    /// Moves on whenever a link address may have changed, or must be asked for again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn moved_on(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A neighbour that is known for good.
    pub fn fix(&self, dev: Dev, address: IpAddr, mac: Mac) {
        let entry = Entry {
            state: State::Permanent,
            mac,
            since: Time::ZERO,
            due: Time::MAX,
            asked: 0,
            waiting: VecDeque::new(),
            bytes: 0,
        };
        self.map.insert((dev, address), entry);
        self.moved_on();
    }

    /// These are known for good from now on, and those that were so before and are not among them are asked for like others.
    pub fn fix_only(&self, known: &[Neighbor]) {
        let stays = |dev: Dev, address: IpAddr| known.iter().any(|n| (n.dev, n.address) == (dev, address));
        self.map.retain(|(dev, address), entry| entry.state != State::Permanent || stays(*dev, *address));
        self.moved_on();
        known.iter().for_each(|n| self.fix(n.dev, n.address, n.mac));
    }

    /// The link address, if it is known. Asking counts as use.
    pub fn lookup(&self, dev: Dev, address: IpAddr, now: Time) -> Option<Mac> {
        let entry = self.map.get(&(dev, address))?;
        match entry.state {
            State::Incomplete | State::Failed => None,
            State::Stale => {
                drop(entry);
                let mut entry = self.map.get_mut(&(dev, address))?;
                if entry.state == State::Stale {
                    entry.enter(State::Delay, now, DELAY);
                }
                entry.has_address().then_some(entry.mac)
            }
            State::Reachable | State::Delay | State::Probe | State::Permanent => Some(entry.mac),
        }
    }

    /// Lets a packet wait for its next hop's link address.
    pub fn queue(&self, address: IpAddr, packet: Waiting, now: Time) -> Queued {
        let dev = packet.dev;
        if self.map.len() >= MOST && !self.map.contains_key(&(dev, address)) && !self.make_room(now) {
            return Queued::NoRoom;
        }
        let mut entry = match self.map.entry((dev, address)) {
            Slot::Occupied(entry) => entry.into_ref(),
            Slot::Vacant(slot) => slot.insert(Entry {
                state: State::Failed,
                mac: Mac::default(),
                since: now,
                due: now,
                asked: 0,
                waiting: VecDeque::new(),
                bytes: 0,
            }),
        };
        if entry.has_address() {
            return Queued::Known(entry.mac);
        }
        let mut question = None;
        if entry.state == State::Failed {
            entry.enter(State::Incomplete, now, RETRANSMIT);
            entry.asked = 1;
            question = Some(Question { dev, address, to: None });
        }
        let len = packet.packet.len();
        let mut displaced = 0;
        while entry.bytes + len > WAITING || self.waiting() + len > MOST_WAITING {
            let Some(oldest) = entry.waiting.pop_front() else { break };
            self.release(&mut entry, oldest.packet.len());
            displaced += 1;
        }
        if self.waiting() + len > MOST_WAITING {
            return Queued::Waits { question, displaced: displaced + 1 }; // others have taken all the room: it is this one that goes
        }
        entry.bytes += len;
        self.waiting.fetch_add(len, Ordering::Relaxed);
        entry.waiting.push_back(packet);
        Queued::Waits { question, displaced }
    }

    fn release(&self, entry: &mut Entry, len: usize) {
        entry.bytes = entry.bytes.saturating_sub(len);
        self.waiting.fetch_sub(len, Ordering::Relaxed);
    }

    fn take_waiting(&self, entry: &mut Entry) -> Vec<Waiting> {
        self.waiting.fetch_sub(std::mem::take(&mut entry.bytes), Ordering::Relaxed);
        entry.waiting.drain(..).collect()
    }

    /// A neighbour said where it is. Answers what waited for it, which can leave now.
    pub fn heard(&self, dev: Dev, address: IpAddr, mac: Mac, how: Heard, now: Time) -> Vec<Waiting> {
        let key = (dev, address);
        if how == Heard::Introduced
            && !self.map.contains_key(&key)
            && (self.map.len() < MOST || self.make_room(now))
            && let Slot::Vacant(slot) = self.map.entry(key)
        {
            slot.insert(Entry {
                state: State::Stale,
                mac,
                since: now,
                due: now + FORGET,
                asked: 0,
                waiting: VecDeque::new(),
                bytes: 0,
            });
            return Vec::new();
        }
        let Some(mut entry) = self.map.get_mut(&key) else { return Vec::new() };
        if entry.state == State::Permanent {
            return Vec::new();
        }
        let is_new = !entry.has_address() || entry.mac != mac;
        let is_locked = entry.has_address() && is_new && now.saturating_duration_since(entry.since) < LOCKED;
        if is_locked && how != Heard::Answered {
            return Vec::new();
        }
        match how {
            Heard::Answered => entry.enter(State::Reachable, now, reachable(address, now)),
            // Nobody has shown yet that packets arrive there.
            Heard::Introduced | Heard::Announced if is_new => entry.enter(State::Stale, now, FORGET),
            Heard::Introduced | Heard::Announced => {}
        }
        entry.mac = mac;
        let waiting = self.take_waiting(&mut entry);
        drop(entry);
        if is_new {
            self.moved_on();
        }
        waiting
    }

    /// What is due at `now`.
    pub fn tick(&self, now: Time) -> Due {
        let mut due = Due::default();
        let mut is_stale = false;
        self.map.retain(|(dev, address), entry| {
            if entry.due > now {
                return true;
            }
            let (dev, address) = (*dev, *address);
            match entry.state {
                State::Permanent => {}
                State::Reachable => {
                    is_stale = true;
                    entry.enter(State::Stale, now, FORGET);
                }
                State::Stale | State::Failed => return false,
                State::Delay => {
                    entry.enter(State::Probe, now, RETRANSMIT);
                    entry.asked = 1;
                    due.questions.push(Question { dev, address, to: Some(entry.mac) });
                }
                State::Incomplete | State::Probe if entry.asked < QUESTIONS => {
                    entry.asked += 1;
                    entry.due = now + RETRANSMIT;
                    let to = (entry.state == State::Probe).then_some(entry.mac);
                    due.questions.push(Question { dev, address, to });
                }
                State::Incomplete | State::Probe => {
                    is_stale = true;
                    due.failed.extend(self.take_waiting(entry));
                    entry.enter(State::Failed, now, RETRANSMIT * 5);
                }
            }
            true
        });
        if is_stale {
            self.moved_on();
        }
        due
    }

    /// A link went down: nobody is behind it any more. Answers what waited.
    pub fn forget(&self, dev: Dev) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        self.map.retain(|(on, _), entry| {
            let stays = *on != dev || entry.state == State::Permanent;
            if !stays {
                waiting.extend(self.take_waiting(entry));
            }
            stays
        });
        self.moved_on();
        waiting
    }

    /// Forgets the one that was out of use for longest. Answers whether there was one.
    fn make_room(&self, now: Time) -> bool {
        let idle = self.map.iter().filter(|e| matches!(e.state, State::Stale | State::Failed));
        let oldest = idle.min_by_key(|e| e.since).map(|e| *e.key());
        let Some(oldest) = oldest else { return false };
        let gone =
            self.map.remove_if(&oldest, |_, e| matches!(e.state, State::Stale | State::Failed) && e.since <= now);
        if gone.is_some() {
            self.moved_on();
        }
        gone.is_some()
    }
}

/// How long a neighbour counts as reachable: spread, so that not all are asked at once.
fn reachable(address: IpAddr, now: Time) -> Duration {
    let octets = match address {
        IpAddr::V4(a) => u64::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits() as u64,
    };
    let spread = (octets ^ now.as_nanos()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    REACHABLE / 2 + REACHABLE.mul_f64(spread as f64 / 65536.0)
}

#[cfg(test)]
mod tests;
