//! Expectations: connections that another connection announced.
//!
//! ```text
//!   FTP's control connection says "PORT 10,0,0,2,4,1"
//!       └► expectation: tuple 203.0.113.50:* → 203.0.113.1:1025, mask, master, 300 s
//!   first packet that matches ─► a connection that is EXPECTED, RELATED to its rules, with master and the master's mark
//!       └► the expectation is used up, unless it is permanent
//! ```
//!
//! It decides which packet is expected. The destination of the tuple must be met exactly, its source as far as the mask
//! covers it. An expectation belongs to its master: it goes when the master goes, it does not match before the master is
//! confirmed. Two expectations of one master for the same tuple and mask are one, the later; an expectation that could take
//! another master's packets is refused.
//!
//! Invariants: what stands in `by_destination` stands in `by_master` and the other way round, but for the moment between
//! two locks; whoever removes from `by_destination` is the one who tells of it, so an expectation is used up once.
//!
//! Lock order: one dashmap shard at a time, no other lock while it is held. Both maps are empty most of the time, and a new
//! connection then costs one comparison.
//!
//! Sources: measured on Linux 6.18 (`conntrack -E expect`, `-L expect`); `nf_conntrack_expect_max`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::RandomState;
use bitflags::bitflags;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use parking_lot::Mutex;

use crate::client::Refusal;
use crate::conn::{Conn, ConnId, ConnRef};
use crate::event::Client;
use crate::stats::Counter;
use crate::{Direction, Family, Protocol, Status, Time, Tuple, Zone};

bitflags! {
    /// How an expectation behaves; the numbers are those that netlink carries.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ExpectFlags: u32 {
        /// It stays when it is met.
        const PERMANENT = 1;
        /// It is not met.
        const INACTIVE = 2;
        /// A program made it.
        const USERSPACE = 4;
    }
}

/// The bits of a tuple's source that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpectMask {
    /// Of the address.
    pub src: IpAddr,
    /// Of the port.
    pub src_id: u16,
}

/// An expectation as somebody wants it.
#[derive(Clone, Debug)]
pub struct NewExpectation {
    /// The tuple of the first packet.
    pub tuple: Tuple,
    /// How much of its source must be met.
    pub mask: ExpectMask,
    /// The connection that announces it.
    pub master: ConnRef,
    /// The class, one of those that its helper has.
    pub class: u32,
    /// The helper that the expected connection gets.
    pub helper: Option<Arc<str>>,
    /// How long it waits.
    pub timeout: Duration,
    /// How it behaves.
    pub flags: ExpectFlags,
}

/// Something that is expected.
#[derive(Debug)]
pub struct Expectation {
    id: u32,
    new: NewExpectation,
    deadline: Time,
}

impl Expectation {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What was wanted.
    pub fn wanted(&self) -> &NewExpectation {
        &self.new
    }

    /// What a listing at `now` shows of it.
    pub fn entry(&self, now: Time) -> ExpectEntry {
        let NewExpectation { tuple, mask, master, class, helper, flags, .. } = &self.new;
        ExpectEntry {
            id: self.id,
            tuple: *tuple,
            mask: *mask,
            master: master.original(),
            zone: master.zone(),
            class: *class,
            helper: helper.clone().or_else(|| master.helper()),
            timeout: self.deadline.saturating_duration_since(now),
            flags: *flags,
        }
    }

    fn matches(&self, tuple: &Tuple, zone: Zone) -> bool {
        let (own, mask) = (&self.new.tuple, &self.new.mask);
        own.dst == tuple.dst
            && own.protocol == tuple.protocol
            && own.l4.dst_id() == tuple.l4.dst_id()
            && same_under(own.src, tuple.src, mask.src)
            && own.l4.src_id() & mask.src_id == tuple.l4.src_id() & mask.src_id
            && self.new.master.zone().id(Direction::Original) == zone.id(Direction::Original)
    }

    /// Whether a packet could meet both.
    fn clashes(&self, other: &NewExpectation) -> bool {
        let common = ExpectMask {
            src: and(self.new.mask.src, other.mask.src),
            src_id: self.new.mask.src_id & other.mask.src_id,
        };
        same_under(self.new.tuple.src, other.tuple.src, common.src)
            && self.new.tuple.l4.src_id() & common.src_id == other.tuple.l4.src_id() & common.src_id
            && self.new.master.zone() == other.master.zone()
    }

    fn is_same(&self, other: &NewExpectation) -> bool {
        self.new.tuple == other.tuple
            && self.new.mask == other.mask
            && self.new.class == other.class
            && self.new.master.is(&other.master)
    }
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => a.to_bits().into(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn and(a: IpAddr, b: IpAddr) -> IpAddr {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => IpAddr::V4(a & b),
        (IpAddr::V6(a), IpAddr::V6(b)) => IpAddr::V6(a & b),
        _ => a,
    }
}

fn same_under(a: IpAddr, b: IpAddr, mask: IpAddr) -> bool {
    Family::of(a) == Family::of(b) && bits(a) & bits(mask) == bits(b) & bits(mask)
}

/// An expectation as a listing or an event shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectEntry {
    /// Its number.
    pub id: u32,
    /// The tuple of the first packet.
    pub tuple: Tuple,
    /// How much of its source must be met.
    pub mask: ExpectMask,
    /// The original tuple of the connection that announced it.
    pub master: Tuple,
    /// That connection's zone.
    pub zone: Zone,
    /// The class.
    pub class: u32,
    /// The helper.
    pub helper: Option<Arc<str>>,
    /// How long it still waits.
    pub timeout: Duration,
    /// How it behaves.
    pub flags: ExpectFlags,
}

/// What happened to an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectEventKind {
    /// It was made.
    New,
    /// It was met, or ran out, or its master is gone, or somebody removed it.
    Destroy,
}

/// Something that happened to an expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectEvent {
    /// Counts these events from 1.
    pub seq: u64,
    /// When it happened.
    pub at: Time,
    /// What happened.
    pub kind: ExpectEventKind,
    /// The expectation, as it was then.
    pub entry: ExpectEntry,
    /// The program that caused it, if one did.
    pub by: Option<Arc<Client>>,
}

/// Most events that wait to be taken.
const QUEUE_LIMIT: usize = 1 << 16;

type Key = (IpAddr, Protocol, u16);

/// All that is expected.
#[derive(Debug)]
pub(crate) struct Expectations {
    by_destination: DashMap<Key, Vec<Arc<Expectation>>, RandomState>,
    by_master: DashMap<ConnId, Vec<Arc<Expectation>>, RandomState>,
    deadlines: Mutex<BinaryHeap<Reverse<(Time, u32, Key)>>>,
    count: AtomicUsize,
    ids: AtomicU32,
    seq: AtomicU64,
    events: Mutex<VecDeque<ExpectEvent>>,
    /// Connections that were expected.
    pub(crate) met: Counter,
    /// Expectations made.
    pub(crate) created: Counter,
    /// Expectations that are gone.
    pub(crate) deleted: Counter,
}

/// Whether what happens is to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    No,
    Yes,
}

fn key(tuple: &Tuple) -> Key {
    (tuple.dst, tuple.protocol, tuple.l4.dst_id())
}

impl Expectations {
    /// The seed spreads them over the maps.
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = RandomState::with_seeds(!seed, seed, seed.rotate_left(16), 0x9e37_79b9_7f4a_7c15);
        Expectations {
            by_destination: DashMap::with_hasher(hasher.clone()),
            by_master: DashMap::with_hasher(hasher),
            deadlines: Mutex::default(),
            count: AtomicUsize::new(0),
            ids: AtomicU32::new(0),
            seq: AtomicU64::new(0),
            events: Mutex::default(),
            met: Counter::default(),
            created: Counter::default(),
            deleted: Counter::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn insert(
        &self,
        new: NewExpectation,
        limit: usize,
        now: Time,
        tell: Tell,
        by: Option<Arc<Client>>,
    ) -> Result<Arc<Expectation>, Refusal> {
        if self.count() >= limit {
            return Err(Refusal::Full);
        }
        let key = key(&new.tuple);
        let mut replaced = None;
        let made = {
            let mut there = self.by_destination.entry(key).or_default();
            if let Some(at) = there.iter().position(|e| e.is_same(&new)) {
                replaced = Some(there.swap_remove(at));
            } else if there.iter().any(|e| e.clashes(&new)) {
                return Err(Refusal::Busy);
            }
            let deadline = now + new.timeout;
            let made = Arc::new(Expectation { id: self.ids.fetch_add(1, Ordering::Relaxed) + 1, new, deadline });
            there.push(Arc::clone(&made));
            made
        };
        if let Some(old) = replaced {
            self.gone(&old, now, tell, None);
        }
        self.by_master.entry(made.new.master.id()).or_default().push(Arc::clone(&made));
        self.count.fetch_add(1, Ordering::Relaxed);
        self.deadlines.lock().push(Reverse((made.deadline, made.id, key)));
        self.created.count();
        self.tell(&made, ExpectEventKind::New, now, tell, by);
        if made.new.master.status().contains(Status::DYING) {
            // Its master went while it was entered.
            self.remove(&made, now, tell, None);
        }
        Ok(made)
    }

    /// The expectation that a packet of this tuple would meet.
    pub(crate) fn find(&self, tuple: &Tuple, zone: Zone) -> Option<Arc<Expectation>> {
        if self.count() == 0 {
            return None;
        }
        self.by_destination.get(&key(tuple))?.iter().find(|e| e.matches(tuple, zone)).cloned()
    }

    /// The expectation that a packet meets, which is used up by it.
    pub(crate) fn claim(&self, tuple: &Tuple, zone: Zone, now: Time, tell: Tell) -> Option<Arc<Expectation>> {
        if self.count() == 0 {
            return None;
        }
        let found = self.find(tuple, zone)?;
        let is_live = |e: &Expectation| {
            let master = e.new.master.status();
            master.contains(Status::CONFIRMED) && !master.contains(Status::DYING) && e.deadline > now
        };
        if found.new.flags.contains(ExpectFlags::INACTIVE) || !is_live(&found) {
            return None;
        }
        if found.new.flags.contains(ExpectFlags::PERMANENT) || self.remove(&found, now, tell, None) {
            self.met.count();
            return Some(found);
        }
        None
    }

    /// Takes one away. Answers whether it was there.
    pub(crate) fn remove(&self, e: &Arc<Expectation>, now: Time, tell: Tell, by: Option<Arc<Client>>) -> bool {
        let there = match self.by_destination.entry(key(&e.new.tuple)) {
            Slot::Occupied(mut slot) => {
                let before = slot.get().len();
                slot.get_mut().retain(|o| !Arc::ptr_eq(o, e));
                let after = slot.get().len();
                if after == 0 {
                    slot.remove();
                }
                after < before
            }
            Slot::Vacant(_) => false,
        };
        if there {
            self.gone(e, now, tell, by);
        }
        there
    }

    fn gone(&self, e: &Arc<Expectation>, now: Time, tell: Tell, by: Option<Arc<Client>>) {
        if let Slot::Occupied(mut slot) = self.by_master.entry(e.new.master.id()) {
            slot.get_mut().retain(|o| !Arc::ptr_eq(o, e));
            if slot.get().is_empty() {
                slot.remove();
            }
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.deleted.count();
        self.tell(e, ExpectEventKind::Destroy, now, tell, by);
    }

    /// Those that a connection announced go with it.
    pub(crate) fn forget(&self, master: &Conn, now: Time, tell: Tell) {
        if self.count() == 0 {
            return;
        }
        let announced = self.by_master.get(&master.id()).map(|list| list.clone()).unwrap_or_default();
        for e in announced {
            self.remove(&e, now, tell, None);
        }
    }

    /// Removes what has run out, at its time.
    pub(crate) fn expire(&self, now: Time, tell: Tell) {
        if self.count() == 0 {
            return;
        }
        loop {
            let (deadline, id, key) = {
                let mut deadlines = self.deadlines.lock();
                match deadlines.peek() {
                    Some(Reverse((deadline, ..))) if *deadline <= now => {}
                    _ => return,
                }
                let Some(Reverse(next)) = deadlines.pop() else { return };
                next
            };
            let found = self.by_destination.get(&key).and_then(|l| l.iter().find(|e| e.id == id).cloned());
            if let Some(e) = found {
                self.remove(&e, deadline, tell, None);
            }
        }
    }

    pub(crate) fn next_expiry(&self) -> Option<Time> {
        if self.count() == 0 {
            return None;
        }
        self.deadlines.lock().peek().map(|Reverse((deadline, ..))| *deadline)
    }

    /// All of them, in order of creation.
    pub(crate) fn list(&self) -> Vec<Arc<Expectation>> {
        let mut all: Vec<_> = self.by_destination.iter().flat_map(|l| l.value().clone()).collect();
        all.sort_unstable_by_key(|e| e.id);
        all
    }

    pub(crate) fn take_events(&self, into: &mut Vec<ExpectEvent>) {
        into.extend(self.events.lock().drain(..));
    }

    fn tell(&self, e: &Expectation, kind: ExpectEventKind, at: Time, tell: Tell, by: Option<Arc<Client>>) {
        if tell == Tell::No {
            return;
        }
        let mut events = self.events.lock();
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        if events.len() < QUEUE_LIMIT {
            events.push_back(ExpectEvent { seq, at, kind, entry: e.entry(at), by });
        }
    }
}

#[cfg(test)]
mod tests;
