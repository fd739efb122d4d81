//! A connection, before and after it stands in the table.
//!
//! ```text
//!   first packet ──► Unconfirmed ──(rules, NAT: alter_reply)──► Engine::confirm ──► Arc<Conn>
//!                    owned by the packet                        inserted            shared; tuples never change again
//! ```
//!
//! [`Unconfirmed`] wraps a [`Conn`] that nobody else can see. It alone has [`Unconfirmed::alter_reply`], and
//! [`crate::Engine::confirm`] consumes it: that NAT alters the reply tuple only before insertion is held by the compiler.
//! Everything else (mark, status, labels, helper) is the same on both, through `Deref`.
//!
//! Synchronisation: tuples, zone and id are immutable once shared. Status, mark, deadline and counters are atomics that
//! may be read at any time. The protocol's state and the seldom used extras stand behind one lock, held for one packet's
//! decision at a time and never across a call out of the engine.

use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::entry::{Counters, Entry, ProtoInfo};
use crate::event::EventMask;
use crate::expect::NewExpectation;
use crate::settings::TimeoutPolicy;
use crate::state::State;
use crate::tcp::{Seq, TcpState};
use crate::{Direction, Status, Time, Tuple, Zone};

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
    pub master: Option<Arc<Conn>>,
    /// Timeouts of its own.
    pub timeouts: Option<Arc<TimeoutPolicy>>,
    /// Sequence adjustment, by direction.
    pub seq_adjust: Option<[SeqAdjust; 2]>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) extras: Option<Box<Extras>>,
}

/// A tracked connection.
#[derive(Debug)]
pub struct Conn {
    id: ConnId,
    tuples: [Tuple; 2],
    zone: Zone,
    status: AtomicU32,
    mark: AtomicU32,
    /// The interface that its translated address belongs to; 0 if it may leave by any.
    bound: u32,
    /// Confirmed: nanoseconds of the deadline. Unconfirmed: nanoseconds of the timeout that confirmation will start.
    deadline: AtomicU64,
    /// The deadline that the expiry queue knows of.
    pub(crate) queued: AtomicU64,
    /// Events that wait for the packet's end.
    pending: AtomicU32,
    counters: Option<Box<[AtomicU64; 4]>>,
    start: Option<AtomicU64>,
    stop: AtomicU64,
    inner: Mutex<Inner>,
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
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The tuple of one direction.
    pub fn tuple(&self, dir: Direction) -> &Tuple {
        &self.tuples[dir as usize]
    }

    /// What the first packet carried. Never changes.
    pub fn original(&self) -> &Tuple {
        self.tuple(Direction::Original)
    }

    /// What answers carry.
    pub fn reply(&self) -> &Tuple {
        self.tuple(Direction::Reply)
    }

    /// Its zone.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// Its status bits.
    pub fn status(&self) -> Status {
        Status::from_bits_retain(self.status.load(Ordering::Acquire))
    }

    /// Sets status bits; returns those that were not set before.
    pub fn set_status(&self, bits: Status) -> Status {
        let before = Status::from_bits_retain(self.status.fetch_or(bits.bits(), Ordering::AcqRel));
        bits.difference(before)
    }

    /// Whether a packet of the reply direction was seen.
    pub fn is_replied(&self) -> bool {
        self.status().contains(Status::SEEN_REPLY)
    }

    /// The connection mark.
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
    pub fn bound_to(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.bound)
    }

    /// TCP: its state, and the sequence number that follows the last byte sent in original direction.
    pub fn tcp_progress(&self) -> Option<(TcpState, Seq)> {
        match &self.lock().state {
            State::Tcp(tcp) => Some((tcp.state(), tcp.original_end())),
            _ => None,
        }
    }

    /// The name of its protocol's state, for protocols that have one.
    pub fn state_name(&self) -> Option<&'static str> {
        ProtoInfo::of(&self.lock().state).state_name()
    }

    /// Sets the connection mark for a client, whose message tells of it anyway.
    pub(crate) fn put_mark(&self, mark: u32) {
        self.mark.store(mark, Ordering::Relaxed);
    }

    /// When it runs out, once it is confirmed.
    pub fn deadline(&self) -> Time {
        Time::from_nanos(self.deadline.load(Ordering::Relaxed))
    }

    /// How long it has still to live at `now`; an unconfirmed connection has its whole timeout.
    pub fn timeout(&self, now: Time) -> Duration {
        if self.status().contains(Status::CONFIRMED) {
            self.deadline().saturating_duration_since(now)
        } else {
            Duration::from_nanos(self.deadline.load(Ordering::Relaxed))
        }
    }

    /// Starts the timeout anew. (Before confirmation: keeps it for then.)
    pub(crate) fn set_timeout(&self, now: Time, timeout: Duration) {
        let nanos = if self.status().contains(Status::CONFIRMED) {
            (now + timeout).as_nanos()
        } else {
            u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
        };
        self.deadline.store(nanos, Ordering::Relaxed);
    }

    /// Packets and bytes of one direction, if it was made while accounting was on.
    pub fn counters(&self, dir: Direction) -> Option<Counters> {
        let c = self.counters.as_deref()?;
        let at = dir as usize * 2;
        Some(Counters { packets: c[at].load(Ordering::Relaxed), bytes: c[at + 1].load(Ordering::Relaxed) })
    }

    /// Packets and bytes, original and reply, if they are counted.
    pub(crate) fn both_counters(&self) -> Option<[Counters; 2]> {
        Some([self.counters(Direction::Original)?, self.counters(Direction::Reply)?])
    }

    /// Counts one packet of `bytes` bytes.
    pub(crate) fn count(&self, dir: Direction, bytes: usize) {
        if let Some(c) = self.counters.as_deref() {
            let at = dir as usize * 2;
            c[at].fetch_add(1, Ordering::Relaxed);
            c[at + 1].fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Sets all counters, if they are kept.
    pub(crate) fn put_counters(&self, values: &[Counters; 2]) {
        if let Some(c) = self.counters.as_deref() {
            let flat = values.iter().flat_map(|v| [v.packets, v.bytes]);
            c.iter().zip(flat).for_each(|(n, v)| n.store(v, Ordering::Relaxed));
        }
    }

    /// The counters as they are, set to zero in the same moment.
    pub fn take_counters(&self) -> Option<[Counters; 2]> {
        let c = self.counters.as_deref()?;
        let [op, ob, rp, rb] = c.each_ref().map(|n| n.swap(0, Ordering::Relaxed));
        Some([Counters { packets: op, bytes: ob }, Counters { packets: rp, bytes: rb }])
    }

    /// Sets all counters to zero.
    pub fn zero_counters(&self) {
        if let Some(c) = self.counters.as_deref() {
            c.iter().for_each(|n| n.store(0, Ordering::Relaxed));
        }
    }

    /// When it was confirmed, if it was made while timestamps were on.
    pub fn start(&self) -> Option<Time> {
        self.start.as_ref().map(|t| Time::from_nanos(t.load(Ordering::Relaxed)))
    }

    /// When it was destroyed, if it was made while timestamps were on.
    pub fn stop(&self) -> Option<Time> {
        self.start.as_ref()?;
        Some(self.stop.load(Ordering::Relaxed)).filter(|t| *t != 0).map(Time::from_nanos)
    }

    /// Sets when it was confirmed, if that is kept.
    pub(crate) fn put_start(&self, start: Time) {
        if let Some(t) = &self.start {
            t.store(start.as_nanos(), Ordering::Relaxed);
        }
    }

    pub(crate) fn set_stop(&self, now: Time) {
        self.stop.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Labels as a bit mask, if any rule or client gave it some.
    pub fn labels(&self) -> Option<u128> {
        self.lock().extras.as_ref().and_then(|e| e.labels)
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
        self.lock().extras.as_ref().and_then(|e| e.helper.clone())
    }

    /// The connection whose expectation announced this one.
    pub fn master(&self) -> Option<Arc<Conn>> {
        self.lock().extras.as_ref().and_then(|e| e.master.clone())
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
        if let Some(extras) = &mut self.lock().extras {
            extras.timeouts = None;
        }
    }

    /// Changes what only some connections have.
    pub fn with_extras<T>(&self, change: impl FnOnce(&mut Extras) -> T) -> T {
        let mut inner = self.lock();
        change(inner.extras.get_or_insert_default())
    }

    /// Remembers that something worth an event happened; told when the packet has left.
    pub fn note(&self, event: EventMask) {
        self.pending.fetch_or(event.bits(), Ordering::Relaxed);
    }

    /// Takes the events that wait.
    pub(crate) fn take_pending(&self) -> EventMask {
        if self.pending.load(Ordering::Relaxed) == 0 {
            return EventMask::empty();
        }
        EventMask::from_bits_retain(self.pending.swap(0, Ordering::Relaxed))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// What a listing at `now` shows of it.
    pub fn entry(&self, now: Time) -> Entry {
        let inner = self.lock();
        let extras = inner.extras.as_deref();
        Entry {
            id: self.id,
            original: self.tuples[0],
            reply: self.tuples[1],
            zone: self.zone,
            status: self.status(),
            timeout: self.timeout(now),
            mark: self.mark(),
            counters: self
                .counters
                .is_some()
                .then(|| [Direction::Original, Direction::Reply].map(|d| self.counters(d).unwrap_or_default())),
            proto: ProtoInfo::of(&inner.state),
            labels: extras.and_then(|e| e.labels),
            helper: extras.and_then(|e| e.helper.clone()),
            master: extras.and_then(|e| e.master.as_ref().map(|m| *m.original())),
            start: self.start(),
            stop: self.stop(),
        }
    }
}

/// A connection that is not in the table yet: its first packet is still on its way.
#[derive(Debug)]
pub struct Unconfirmed(Conn);

impl Unconfirmed {
    pub(crate) fn new(seed: Seed) -> Self {
        let extras = match seed.labels {
            Labels::None => None,
            Labels::Room => Some(Box::new(Extras { labels: Some(0), ..Extras::default() })),
        };
        Unconfirmed(Conn {
            id: seed.id,
            tuples: [seed.original, seed.reply],
            zone: seed.zone,
            status: AtomicU32::new(0),
            mark: AtomicU32::new(0),
            bound: 0,
            deadline: AtomicU64::new(0),
            queued: AtomicU64::new(u64::MAX),
            pending: AtomicU32::new(0),
            counters: seed.accounting.then(Default::default),
            start: seed.timestamps.then(|| AtomicU64::new(0)),
            stop: AtomicU64::new(0),
            inner: Mutex::new(Inner { state: seed.state, extras }),
        })
    }

    /// NAT's lasting result: what answers will carry.
    pub fn alter_reply(&mut self, reply: Tuple) {
        self.0.tuples[1] = reply;
    }

    /// It borrows an address of this interface: see [`Conn::bound_to`].
    pub fn bind_to(&mut self, interface: NonZeroU32) {
        self.0.bound = interface.get();
    }

    /// It was expected: it has a master, whose mark it inherits.
    pub(crate) fn announced_by(&self, wanted: &NewExpectation) {
        self.set_status(Status::EXPECTED);
        self.put_mark(wanted.master.mark());
        self.with_extras(|e| {
            e.master = Some(Arc::clone(&wanted.master));
            e.helper = wanted.helper.clone();
        });
    }

    pub(crate) fn start(&mut self, now: Time) {
        let timeout = *self.0.deadline.get_mut();
        *self.0.deadline.get_mut() = (now + Duration::from_nanos(timeout)).as_nanos();
        if let Some(start) = &mut self.0.start {
            *start.get_mut() = now.as_nanos();
        }
    }

    pub(crate) fn into_conn(self) -> Conn {
        self.0
    }
}

impl Deref for Unconfirmed {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.0
    }
}

/// A packet's connection: its own until it is confirmed, shared afterwards.
#[derive(Debug)]
pub enum Ct {
    /// Not in the table yet.
    Unconfirmed(Box<Unconfirmed>),
    /// In the table.
    Confirmed(Arc<Conn>),
}

impl Ct {
    /// The connection that may still be altered, if it is not confirmed yet.
    pub fn unconfirmed(&mut self) -> Option<&mut Unconfirmed> {
        match self {
            Ct::Unconfirmed(u) => Some(u.deref_mut()),
            Ct::Confirmed(_) => None,
        }
    }
}

impl Deref for Ct {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        match self {
            Ct::Unconfirmed(u) => u,
            Ct::Confirmed(c) => c,
        }
    }
}
