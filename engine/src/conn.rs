//! A connection, before and after it stands in the table.
//!
//! ```text
//!   first packet ──► Unconfirmed ──(rules, NAT: alter_reply)──► Engine::confirm ──► ConnRef
//!                    owned by the packet                        inserted            shared; tuples never change again
//! ```
//!
//! [`Unconfirmed`] holds a [`Conn`] that nobody else can see. It alone has [`Unconfirmed::alter_reply`], and
//! [`crate::Engine::confirm`] consumes it: that NAT alters the reply tuple only before insertion is held by the compiler.
//! Everything else (mark, status, labels, helper) is the same on both, through `Deref`.
//!
//! # Two lines of memory
//! ```text
//!   0 │ count │ id │ pending, status │ mark │ original tuple │ reply tuple │ deadline │ more ──► IPv6 addresses,
//!  64 │ lock │ the protocol's state                                              │ bound │       counters, labels, …
//! ```
//! A million connections are met at random, so what a packet needs of one is two lines that are asked for together. The rest
//! ([`More`]) is made for the few that have any of it.
//!
//! Synchronisation: tuples, zone and id are immutable once shared. Status, mark, deadline and counters are atomics that
//! may be read at any time. The protocol's state and the seldom used extras stand each behind a lock, held for one packet's
//! decision at a time and never across a call out of the engine; who needs both takes the state's first.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use once_cell::race::OnceBox;
use parking_lot::{Mutex, MutexGuard};

use crate::entry::{Counters, Entry, ProtoInfo};
use crate::event::EventMask;
use crate::expect::NewExpectation;
use crate::memory::{Arena, Record, Shared, Unique};
use crate::settings::TimeoutPolicy;
use crate::state::State;
use crate::tcp::{Seq, TcpState};
use crate::tuple::{Key, Name};
use crate::{Direction, Family, Status, Time, Tuple, Zone, ZoneScope};

/// Names a connection for as long as it lives; shown as `id=`. Numbers are given in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// What a payload-changing translation added to one direction's sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeqAdjust {
    /// The sequence number from which `after` holds.
    pub correction: u32,
    /// The offset before.
    pub before: i32,
    /// The offset from there on.
    pub after: i32,
}

/// What only some connections have.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Connection labels, as a bit mask.
    pub labels: Option<u128>,
    /// The helper that a rule assigned.
    pub helper: Option<Arc<str>>,
    /// The connection whose expectation announced this one.
    pub master: Option<ConnRef>,
    /// Timeouts of its own.
    pub timeouts: Option<Arc<TimeoutPolicy>>,
    /// Sequence adjustment, by direction.
    pub seq_adjust: Option<[SeqAdjust; 2]>,
}

/// What most connections do without.
#[derive(Debug, Default)]
struct More {
    /// Source and destination of the original and of the reply tuple, if they are IPv6, in two words each.
    addresses: [AtomicU64; 8],
    counters: Option<[AtomicU64; 4]>,
    start: Option<AtomicU64>,
    stop: AtomicU64,
    extras: Mutex<Extras>,
}

/// A tracked connection.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Conn {
    /// The arena's.
    count: AtomicU32,
    id: ConnId,
    /// Events that wait for the packet's end.
    pending: AtomicU16,
    status: AtomicU16,
    mark: AtomicU32,
    keys: [Key; 2],
    /// Confirmed: nanoseconds of the deadline. Unconfirmed: nanoseconds of the timeout that confirmation will start.
    deadline: AtomicU64,
    more: OnceBox<More>,
    state: Mutex<State>,
    /// The interface that its translated address belongs to; 0 if it may leave by any.
    bound: AtomicU32,
}

// SAFETY: `repr(C)`, and the count is its first field, which nothing here touches.
unsafe impl Record for Conn {
    type Part = [Key; 2];

    fn part(this: *mut Self) -> *mut [Key; 2] {
        // SAFETY: only the place is asked for.
        unsafe { &raw mut (*this).keys }
    }
}

/// A connection that is shared: with the table, until it leaves it, and with whoever else has met it.
#[derive(Clone)]
pub struct ConnRef(pub(crate) Shared<Conn>);

impl ConnRef {
    /// The number of its place in memory, which no other connection has while this one is referred to. From 0, dense.
    #[inline]
    pub fn slot(&self) -> u32 {
        self.0.number()
    }

    /// Whether both are the same connection.
    pub fn is(&self, other: &ConnRef) -> bool {
        self.0.is(&other.0)
    }
}

impl Deref for ConnRef {
    type Target = Conn;

    #[inline]
    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl fmt::Debug for ConnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a new connection is made of.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) id: ConnId,
    pub(crate) original: Tuple,
    pub(crate) reply: Tuple,
    pub(crate) zone: Zone,
    pub(crate) state: State,
    pub(crate) accounting: bool,
    pub(crate) timestamps: bool,
    pub(crate) labels: Labels,
}

/// Whether a connection has room for labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// It has none, and no rule can give it any.
    #[default]
    None,
    /// It has, whether any is set or not.
    Room,
}

impl Conn {
    /// Its number.
    #[inline]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The tuple of one direction.
    #[inline]
    pub fn tuple(&self, dir: Direction) -> Tuple {
        let key = &self.keys[dir as usize];
        let (src, dst) = match key.family() {
            Family::Ipv4 => {
                let (src, dst) = key.v4();
                (IpAddr::V4(src), IpAddr::V4(dst))
            }
            Family::Ipv6 => {
                let (src, dst) = self.v6(dir);
                (IpAddr::V6(src), IpAddr::V6(dst))
            }
        };
        key.tuple(src, dst)
    }

    /// The ends of one direction's tuple, source first, if it is of IPv4 and of a protocol with ports: most are, and these few bytes are
    /// read for every packet.
    #[inline]
    pub fn ends_v4(&self, dir: Direction) -> Option<[(Ipv4Addr, u16); 2]> {
        let key = &self.keys[dir as usize];
        if key.family() != Family::Ipv4 || !key.protocol().has_ports() {
            return None;
        }
        let ((src, dst), (sport, dport)) = (key.v4(), key.ids());
        Some([(src, sport), (dst, dport)])
    }

    fn v6(&self, dir: Direction) -> (Ipv6Addr, Ipv6Addr) {
        let Some(more) = self.more.get() else { return (Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED) };
        let word = |n: usize| u128::from(more.addresses[dir as usize * 4 + n].load(Ordering::Relaxed));
        (Ipv6Addr::from_bits(word(0) << 64 | word(1)), Ipv6Addr::from_bits(word(2) << 64 | word(3)))
    }

    /// Whether this direction's tuple, in this direction's zone, is the one with this key, which is of IPv6 between these addresses.
    #[inline]
    pub(crate) fn carries(&self, dir: Direction, key: &Key, v6: &(Ipv6Addr, Ipv6Addr)) -> bool {
        self.keys[dir as usize] == *key && (key.family() == Family::Ipv4 || self.v6(dir) == *v6)
    }

    /// The direction of a packet that carries this direction's tuple. Of two tuples that are the same (a host that talks to itself on one
    /// port) only the first stands in the table; as measured, what carries it is a reply.
    #[inline]
    pub(crate) fn direction_met(&self, dir: Direction, name: &Name) -> Direction {
        if dir == Direction::Original && self.carries(Direction::Reply, &name.key, &name.v6) {
            return Direction::Reply;
        }
        dir
    }

    /// The tuple of one direction, as it is looked up, and its zone's number.
    pub(crate) fn name(&self, dir: Direction) -> (Name, u16) {
        let key = self.keys[dir as usize];
        let name = match key.family() {
            Family::Ipv4 => Name::v4(key.in_zone(0)),
            Family::Ipv6 => Name { key: key.in_zone(0), v6: self.v6(dir) },
        };
        (name, key.zone())
    }

    /// The addresses of a tuple for which its key has no room, of a connection that nobody else sees.
    fn put_addresses(&self, dir: Direction, tuple: &Tuple) {
        if let (IpAddr::V6(src), IpAddr::V6(dst)) = (tuple.src, tuple.dst) {
            let words = [src.to_bits() >> 64, src.to_bits(), dst.to_bits() >> 64, dst.to_bits()];
            for (place, word) in self.more().addresses[dir as usize * 4..].iter().zip(words) {
                place.store(word as u64, Ordering::Relaxed);
            }
        }
    }

    fn more(&self) -> &More {
        self.more.get_or_init(Box::default)
    }

    /// What the first packet carried. Never changes.
    #[inline]
    pub fn original(&self) -> Tuple {
        self.tuple(Direction::Original)
    }

    /// What answers carry.
    #[inline]
    pub fn reply(&self) -> Tuple {
        self.tuple(Direction::Reply)
    }

    /// Its protocol.
    #[inline]
    pub fn protocol(&self) -> crate::Protocol {
        self.keys[0].protocol()
    }

    /// Its zone.
    #[inline]
    pub fn zone(&self) -> Zone {
        match self.keys.map(|key| key.zone()) {
            [id, reply] if id == reply => Zone { id, scope: ZoneScope::Both },
            [id, 0] => Zone { id, scope: ZoneScope::Original },
            [_, id] => Zone { id, scope: ZoneScope::Reply },
        }
    }

    /// Its status bits.
    #[inline]
    pub fn status(&self) -> Status {
        Status::from_bits_retain(self.status.load(Ordering::Acquire).into())
    }

    /// Sets status bits; returns those that were not set before.
    #[inline]
    pub fn set_status(&self, bits: Status) -> Status {
        let before = self.status();
        if before.contains(bits) {
            return Status::empty();
        }
        let before = Status::from_bits_retain(self.status.fetch_or(bits.bits() as u16, Ordering::AcqRel).into());
        bits.difference(before)
    }

    /// Whether a packet of the reply direction was seen.
    #[inline]
    pub fn is_replied(&self) -> bool {
        self.status().contains(Status::SEEN_REPLY)
    }

    /// The connection mark.
    #[inline]
    pub fn mark(&self) -> u32 {
        self.mark.load(Ordering::Relaxed)
    }

    /// Sets the connection mark; a change is an event.
    pub fn set_mark(&self, mark: u32) {
        if self.mark.swap(mark, Ordering::Relaxed) != mark {
            self.note(EventMask::MARK);
        }
    }

    /// The interface whose address it borrowed (masquerade): it may not leave by another.
    #[inline]
    pub fn bound_to(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.bound.load(Ordering::Relaxed))
    }

    /// TCP: its state, and the sequence number that follows the last byte sent in original direction.
    pub fn tcp_progress(&self) -> Option<(TcpState, Seq)> {
        match &*self.lock() {
            State::Tcp(tcp) => Some((tcp.state(), tcp.original_end())),
            _ => None,
        }
    }

    /// The name of its protocol's state, for protocols that have one.
    pub fn state_name(&self) -> Option<&'static str> {
        ProtoInfo::of(&self.lock()).state_name()
    }

    /// Sets the connection mark for a client, whose message tells of it anyway.
    pub(crate) fn put_mark(&self, mark: u32) {
        self.mark.store(mark, Ordering::Relaxed);
    }

    /// When it runs out, once it is confirmed.
    #[inline]
    pub fn deadline(&self) -> Time {
        Time::from_nanos(self.deadline.load(Ordering::Relaxed))
    }

    /// How long it has still to live at `now`; an unconfirmed connection has its whole timeout.
    #[inline]
    pub fn timeout(&self, now: Time) -> Duration {
        if self.status().contains(Status::CONFIRMED) {
            self.deadline().saturating_duration_since(now)
        } else {
            Duration::from_nanos(self.deadline.load(Ordering::Relaxed))
        }
    }

    /// Starts the timeout anew. (Before confirmation: keeps it for then.)
    #[inline]
    pub(crate) fn set_timeout(&self, now: Time, timeout: Duration) {
        let nanos = if self.status().contains(Status::CONFIRMED) {
            (now + timeout).as_nanos()
        } else {
            u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
        };
        self.deadline.store(nanos, Ordering::Relaxed);
    }

    #[inline]
    fn counted(&self) -> Option<&[AtomicU64; 4]> {
        self.more.get()?.counters.as_ref()
    }

    /// Packets and bytes of one direction, if it was made while accounting was on.
    pub fn counters(&self, dir: Direction) -> Option<Counters> {
        let c = self.counted()?;
        let at = dir as usize * 2;
        Some(Counters { packets: c[at].load(Ordering::Relaxed), bytes: c[at + 1].load(Ordering::Relaxed) })
    }

    /// Packets and bytes, original and reply, if they are counted.
    pub(crate) fn both_counters(&self) -> Option<[Counters; 2]> {
        Some([self.counters(Direction::Original)?, self.counters(Direction::Reply)?])
    }

    /// Counts one packet of `bytes` bytes.
    #[inline]
    pub(crate) fn count(&self, dir: Direction, bytes: usize) {
        if let Some(c) = self.counted() {
            let at = dir as usize * 2;
            c[at].fetch_add(1, Ordering::Relaxed);
            c[at + 1].fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Sets all counters, if they are kept.
    pub(crate) fn put_counters(&self, values: &[Counters; 2]) {
        if let Some(c) = self.counted() {
            let flat = values.iter().flat_map(|v| [v.packets, v.bytes]);
            c.iter().zip(flat).for_each(|(n, v)| n.store(v, Ordering::Relaxed));
        }
    }

    /// The counters as they are, set to zero in the same moment.
    pub fn take_counters(&self) -> Option<[Counters; 2]> {
        let c = self.counted()?;
        let [op, ob, rp, rb] = c.each_ref().map(|n| n.swap(0, Ordering::Relaxed));
        Some([Counters { packets: op, bytes: ob }, Counters { packets: rp, bytes: rb }])
    }

    /// Sets all counters to zero.
    pub fn zero_counters(&self) {
        if let Some(c) = self.counted() {
            c.iter().for_each(|n| n.store(0, Ordering::Relaxed));
        }
    }

    /// When it was confirmed, if it was made while timestamps were on.
    pub fn start(&self) -> Option<Time> {
        self.more.get()?.start.as_ref().map(|t| Time::from_nanos(t.load(Ordering::Relaxed)))
    }

    /// When it was destroyed, if it was made while timestamps were on.
    pub fn stop(&self) -> Option<Time> {
        let more = self.more.get()?;
        more.start.as_ref()?;
        Some(more.stop.load(Ordering::Relaxed)).filter(|t| *t != 0).map(Time::from_nanos)
    }

    /// Sets when it was confirmed, if that is kept.
    pub(crate) fn put_start(&self, start: Time) {
        if let Some(t) = self.more.get().and_then(|more| more.start.as_ref()) {
            t.store(start.as_nanos(), Ordering::Relaxed);
        }
    }

    pub(crate) fn set_stop(&self, now: Time) {
        if let Some(more) = self.more.get() {
            more.stop.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Labels as a bit mask, if any rule or client gave it some.
    pub fn labels(&self) -> Option<u128> {
        self.more.get()?.extras.lock().labels
    }

    /// Sets labels; a change is an event.
    pub fn set_labels(&self, labels: u128) {
        let changed = self.with_extras(|e| e.labels.replace(labels) != Some(labels));
        if changed {
            self.note(EventMask::LABEL);
        }
    }

    /// The helper that a rule assigned.
    pub fn helper(&self) -> Option<Arc<str>> {
        self.more.get()?.extras.lock().helper.clone()
    }

    /// The connection whose expectation announced this one.
    pub fn master(&self) -> Option<ConnRef> {
        self.more.get()?.extras.lock().master.clone()
    }

    /// Gives it timeouts of its own. A first packet starts the policy's opening timeout, whatever its tracker said.
    pub fn set_timeout_policy(&self, policy: &Arc<TimeoutPolicy>) {
        self.with_extras(|extras| extras.timeouts = Some(Arc::clone(policy)));
        if let Some(opening) = policy.opening()
            && !self.status().contains(Status::CONFIRMED)
        {
            self.set_timeout(Time::ZERO, opening);
        }
    }

    /// Takes its own timeouts away; the one that runs goes on.
    pub fn forget_timeout_policy(&self) {
        if let Some(more) = self.more.get() {
            more.extras.lock().timeouts = None;
        }
    }

    /// Its own timeouts, if it has some.
    #[inline]
    pub(crate) fn timeout_policy(&self) -> Option<Arc<TimeoutPolicy>> {
        self.more.get()?.extras.lock().timeouts.clone()
    }

    /// What only some connections have.
    pub(crate) fn extras(&self) -> Extras {
        self.more.get().map(|more| more.extras.lock().clone()).unwrap_or_default()
    }

    /// Changes what only some connections have.
    pub fn with_extras<T>(&self, change: impl FnOnce(&mut Extras) -> T) -> T {
        change(&mut self.more().extras.lock())
    }

    /// Remembers that something worth an event happened; told when the packet has left.
    #[inline]
    pub fn note(&self, event: EventMask) {
        if !event.is_empty() {
            self.pending.fetch_or(event.bits() as u16, Ordering::Relaxed);
        }
    }

    /// Whether events wait.
    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed) != 0
    }

    /// Takes the events that wait.
    pub(crate) fn take_pending(&self) -> EventMask {
        EventMask::from_bits_retain(self.pending.swap(0, Ordering::Relaxed).into())
    }

    /// Its protocol's state.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// What a listing at `now` shows of it.
    pub fn entry(&self, now: Time) -> Entry {
        let extras = self.extras();
        Entry {
            id: self.id,
            original: self.original(),
            reply: self.reply(),
            zone: self.zone(),
            status: self.status(),
            timeout: self.timeout(now),
            mark: self.mark(),
            counters: self.both_counters(),
            proto: ProtoInfo::of(&self.lock()),
            labels: extras.labels,
            helper: extras.helper,
            master: extras.master.map(|m| m.original()),
            start: self.start(),
            stop: self.stop(),
        }
    }
}

/// A connection that is not in the table yet: its first packet is still on its way.
#[derive(Debug)]
pub struct Unconfirmed(Unique<Conn>);

impl Unconfirmed {
    pub(crate) fn new(arena: &Arena<Conn>, seed: Seed) -> Self {
        let mut conn = Conn {
            count: AtomicU32::new(0),
            id: seed.id,
            pending: AtomicU16::new(0),
            status: AtomicU16::new(0),
            mark: AtomicU32::new(0),
            keys: [
                Key::new(&seed.original, seed.zone.id(Direction::Original)),
                Key::new(&seed.reply, seed.zone.id(Direction::Reply)),
            ],
            deadline: AtomicU64::new(0),
            more: OnceBox::new(),
            state: Mutex::new(seed.state),
            bound: AtomicU32::new(0),
        };
        if seed.accounting || seed.timestamps || seed.labels == Labels::Room {
            let labels = match seed.labels {
                Labels::None => None,
                Labels::Room => Some(0),
            };
            let more = More {
                counters: seed.accounting.then(Default::default),
                start: seed.timestamps.then(|| AtomicU64::new(0)),
                extras: Mutex::new(Extras { labels, ..Extras::default() }),
                ..More::default()
            };
            conn.more = OnceBox::with_value(Box::new(more));
        }
        conn.put_addresses(Direction::Original, &seed.original);
        conn.put_addresses(Direction::Reply, &seed.reply);
        Unconfirmed(arena.insert(conn, seed.id.0 as usize))
    }

    /// NAT's lasting result: what answers will carry.
    pub fn alter_reply(&mut self, reply: Tuple) {
        let zone = self.zone().id(Direction::Reply);
        self.0.part_mut()[Direction::Reply as usize] = Key::new(&reply, zone);
        self.0.put_addresses(Direction::Reply, &reply);
    }

    /// It borrows an address of this interface: see [`Conn::bound_to`].
    pub fn bind_to(&mut self, interface: NonZeroU32) {
        self.0.bound.store(interface.get(), Ordering::Relaxed);
    }

    /// It was expected: it has a master, whose mark it inherits.
    pub(crate) fn announced_by(&self, wanted: &NewExpectation) {
        self.set_status(Status::EXPECTED);
        self.put_mark(wanted.master.mark());
        self.with_extras(|e| {
            e.master = Some(wanted.master.clone());
            e.helper = wanted.helper.clone();
        });
    }

    pub(crate) fn start(&mut self, now: Time) {
        let timeout = self.deadline.load(Ordering::Relaxed);
        self.deadline.store((now + Duration::from_nanos(timeout)).as_nanos(), Ordering::Relaxed);
        self.0.put_start(now);
    }

    /// From now on others may see it.
    pub(crate) fn share(self) -> ConnRef {
        ConnRef(self.0.share())
    }
}

impl Deref for Unconfirmed {
    type Target = Conn;

    #[inline]
    fn deref(&self) -> &Conn {
        &self.0
    }
}

/// A packet's connection: its own until it is confirmed, shared afterwards.
#[derive(Debug)]
pub enum Ct {
    /// Not in the table yet.
    Unconfirmed(Unconfirmed),
    /// In the table.
    Confirmed(ConnRef),
}

impl Ct {
    /// The connection that may still be altered, if it is not confirmed yet.
    #[inline]
    pub fn unconfirmed(&mut self) -> Option<&mut Unconfirmed> {
        match self {
            Ct::Unconfirmed(u) => Some(u),
            Ct::Confirmed(_) => None,
        }
    }
}

impl Deref for Ct {
    type Target = Conn;

    #[inline]
    fn deref(&self) -> &Conn {
        match self {
            Ct::Unconfirmed(u) => u,
            Ct::Confirmed(c) => c,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_two_lines() {
        assert_eq!(size_of::<State>(), 58);
        assert_eq!(size_of::<Conn>(), 128);
    }
}
