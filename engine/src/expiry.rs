//! Expiry: which connections have run out, in the order in which they did.
//!
//! ```text
//!   watch ──► wheel │ … │ tick │ tick │ tick │ … │      an eighth of a second each; in each, places of connections
//!                             │ when it comes
//!                             ▼
//!                           due: by deadline ──► pop        or back into the wheel, if the deadline has moved on
//! ```
//!
//! A packet only writes its connection's deadline. The wheel holds, for each connection, a tick no later than its deadline; when
//! that comes it looks at the deadline, and if it has moved on, puts the connection where it belongs now. No tick is further away
//! than [`LOOK_AGAIN`]. So a packet that moves a deadline has nothing to tell the wheel, unless it moves it forward to less than that;
//! expiry is exact under any clock, and costs a packet one comparison.
//!
//! So that a tick with many visits stops no packet, a call that finds nothing due looks at a few visits of the next tick: what has
//! moved on leaves it before its time comes.
//!
//! Invariants: a living connection has one visit that is valid, the one that its place's word names (tick and id), perhaps twice in
//! the tick that is worked off; other visits are passed over. What pops is due, and nothing that is due later pops before it. The
//! wheel holds no more than twice as many visits as there are connections, and some.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::conn::{ConnId, ConnRef};
use crate::memory::{Segments, prefetch};
use crate::table::Table;
use crate::{Status, Time};

/// How long a connection may go unlooked at.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A tick is 2²⁷ nanoseconds.
const TICK: u32 = 27;
/// Ticks of the wheel: more than [`LOOK_AGAIN`].
const TICKS: usize = 512;
/// A wheel with fewer visits than this is not swept.
const SHORT: usize = 1024;
/// How many visits a call looks at before their time.
const AHEAD: usize = 16;
/// How many visits before its own a connection is asked for.
const ASK_AHEAD: usize = 8;
/// Visits of one piece of a tick.
const PIECE: usize = 256;

/// Where connections are.
pub(crate) trait Places {
    /// The connection in this place, if it is in the table.
    fn at(&self, slot: u32) -> Option<ConnRef>;

    /// Asks for it before it is needed.
    fn ask(&self, slot: u32);
}

impl Places for Table {
    fn at(&self, slot: u32) -> Option<ConnRef> {
        Table::at(self, slot)
    }

    fn ask(&self, slot: u32) {
        self.ask_at(slot);
    }
}

/// The tick in which a time lies. It counts round after 18 years of a clock; only ticks of one turn of the wheel ever meet.
fn tick(time: Time) -> u64 {
    time.as_nanos() >> TICK
}

fn begin(tick: u64) -> Time {
    Time::from_nanos(tick << TICK)
}

/// A connection that is to be looked at.
#[derive(Clone, Copy, Debug)]
struct Visit {
    slot: u32,
    id: ConnId,
}

/// What names the valid visit of a place: the tick above, the connection below.
fn name(tick: u64, id: ConnId) -> u64 {
    tick << 32 | u64::from(id.0)
}

/// Visits in no order, in pieces, so that none has to be moved when there are more.
#[derive(Debug, Default)]
struct Bag(Vec<Vec<Visit>>);

impl Bag {
    fn push(&mut self, visit: Visit) {
        match self.0.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(visit),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(visit);
                self.0.push(piece);
            }
            None => self.0.push(vec![visit]),
        }
    }

    fn pop(&mut self) -> Option<Visit> {
        let visit = self.0.last_mut()?.pop();
        if self.0.last().is_some_and(Vec::is_empty) {
            self.0.pop();
        }
        visit
    }

    fn retain(&mut self, is_valid: impl Fn(&Visit) -> bool) -> usize {
        let mut kept = Bag::default();
        let mut count = 0;
        for visit in self.0.drain(..).flatten().filter(is_valid) {
            kept.push(visit);
            count += 1;
        }
        *self = kept;
        count
    }
}

#[derive(Debug, Default)]
pub(crate) struct Expiry {
    wheel: Mutex<Wheel>,
}

#[derive(Debug)]
struct Wheel {
    /// The tick that is being worked off; all before it are empty.
    now: u64,
    ticks: Vec<Bag>,
    /// Which ticks have visits, a bit each.
    filled: [u64; TICKS / 64],
    /// What came with the current tick and those before, by deadline; the last is the visit's tick.
    due: BinaryHeap<Reverse<(Time, ConnId, u32, u64)>>,
    /// Visits that were looked at before their tick, and stay in it.
    staying: Vec<Visit>,
    staying_in: u64,
    /// The name of each place's valid visit; 0 for none.
    valid: Segments<AtomicU64>,
    /// How many visits the wheel holds, and how many it may hold before it is swept.
    visits: usize,
    most: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            now: 0,
            ticks: (0..TICKS).map(|_| Bag::default()).collect(),
            filled: [0; TICKS / 64],
            due: BinaryHeap::new(),
            staying: Vec::new(),
            staying_in: 0,
            valid: Segments::new(),
            visits: 0,
            most: SHORT,
        }
    }
}

impl Expiry {
    /// Looks after a connection that is new in the table.
    pub(crate) fn watch(&self, conn: &ConnRef, now: Time) {
        self.wheel.lock().put(conn, now);
    }

    /// A deadline was moved: `before` is what it was.
    #[inline]
    pub(crate) fn moved(&self, conn: &ConnRef, before: Time, now: Time) {
        let deadline = conn.deadline();
        // Whatever is further away than that is looked at before.
        if deadline < before && deadline < now + LOOK_AGAIN {
            self.wheel.lock().bring_forward(conn, now);
        }
    }

    /// A connection has left the table.
    pub(crate) fn forget(&self, conn: &ConnRef) {
        let wheel = self.wheel.lock();
        let valid = wheel.valid.at(conn.slot());
        if valid.load(Ordering::Relaxed) as u32 == conn.id().0 {
            valid.store(0, Ordering::Relaxed);
        }
    }

    /// The connection that ran out first, if one has at `now`.
    pub(crate) fn pop(&self, now: Time, table: &impl Places) -> Option<ConnRef> {
        self.wheel.lock().pop(now, table)
    }

    /// When the wheel must be looked at next.
    pub(crate) fn next(&self) -> Option<Time> {
        let wheel = self.wheel.lock();
        let due = wheel.due.peek().map(|Reverse((at, ..))| *at);
        due.into_iter().chain(wheel.next_filled().map(begin)).min()
    }
}

impl Wheel {
    /// Queues a connection's visit; an earlier one counts no more.
    fn put(&mut self, conn: &ConnRef, now: Time) {
        if self.visits >= self.most {
            self.sweep();
        }
        if self.visits == 0 {
            // Nothing waits for the ticks between.
            self.now = self.now.max(tick(now));
        }
        let (deadline, slot, id) = (conn.deadline(), conn.slot(), conn.id());
        let at = tick(deadline.min(now + LOOK_AGAIN)).clamp(self.now, self.now + TICKS as u64 - 1);
        self.valid.at(slot).store(name(at, id), Ordering::Relaxed);
        self.visits += 1;
        if at == self.now {
            self.due.push(Reverse((deadline, id, slot, at)));
        } else {
            self.fill(at, Visit { slot, id });
        }
    }

    fn fill(&mut self, at: u64, visit: Visit) {
        let index = at as usize % TICKS;
        self.ticks[index].push(visit);
        self.filled[index / 64] |= 1 << (index % 64);
    }

    /// A deadline lies before the visit that is queued, perhaps.
    fn bring_forward(&mut self, conn: &ConnRef, now: Time) {
        if conn.status().contains(Status::DYING) {
            return;
        }
        let valid = self.valid.at(conn.slot()).load(Ordering::Relaxed);
        let in_ticks = ((valid >> 32) as u32).wrapping_sub(self.now as u32);
        let wanted_in = tick(conn.deadline()).saturating_sub(self.now);
        // In the tick that is worked off it stands by a deadline that may be the old one.
        let is_early_enough = in_ticks != 0 && u64::from(in_ticks) <= wanted_in && valid as u32 == conn.id().0;
        if !is_early_enough {
            self.put(conn, now);
        }
    }

    /// The next tick with visits.
    fn next_filled(&self) -> Option<u64> {
        let start = self.now as usize % TICKS;
        // The word in which the search begins comes twice: first its upper part, at last its lower one.
        (0..=self.filled.len()).find_map(|n| {
            let word = (start / 64 + n) % self.filled.len();
            let mut bits = self.filled[word];
            if n == 0 {
                bits &= !0 << (start % 64);
            } else if n == self.filled.len() {
                bits &= !(!0 << (start % 64));
            }
            let index = word * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| self.now + ((index + TICKS - start) % TICKS) as u64)
        })
    }

    fn pop(&mut self, now: Time, table: &impl Places) -> Option<ConnRef> {
        loop {
            while let Some(Reverse((deadline, id, slot, tick))) = self.due.peek().copied() {
                if deadline > now {
                    break;
                }
                self.due.pop();
                self.visits -= 1;
                let Some(conn) = self.find(Visit { slot, id }, tick, table) else { continue };
                if conn.deadline() <= deadline {
                    self.valid.at(slot).store(0, Ordering::Relaxed);
                    return Some(conn);
                }
                self.put(&conn, begin(self.now));
            }
            let next = self.next_filled()?;
            if next > tick(now) {
                self.look_ahead(next, now, table);
                return None;
            }
            self.turn(next, table);
        }
    }

    /// The connection of a visit in this tick, if it is the valid one.
    fn find(&self, visit: Visit, tick: u64, table: &impl Places) -> Option<ConnRef> {
        let valid = self.valid.get(visit.slot)?.load(Ordering::Relaxed);
        if valid != name(tick, visit.id) {
            return None;
        }
        table.at(visit.slot).filter(|conn| conn.id() == visit.id)
    }

    /// Looks at a few visits of the tick that comes next: those whose deadlines have moved on go where they belong now.
    fn look_ahead(&mut self, next: u64, now: Time, table: &impl Places) {
        if self.staying_in != next {
            for visit in std::mem::take(&mut self.staying) {
                self.fill(self.staying_in, visit);
            }
            self.staying_in = next;
        }
        for _ in 0..AHEAD {
            let Some(visit) = self.ticks[next as usize % TICKS].pop() else { break };
            let Some(conn) = self.find(visit, next, table) else {
                self.visits -= 1;
                continue;
            };
            if tick(conn.deadline().min(now + LOOK_AGAIN)) > next {
                self.visits -= 1;
                self.put(&conn, now);
            } else {
                self.staying.push(visit);
            }
        }
    }

    /// Goes on to a tick: what runs out in it is due, the rest goes back into the wheel.
    fn turn(&mut self, to: u64, table: &impl Places) {
        // `to` is the next tick that has any, so those that were looked at before are in it, or in a later one.
        let mut before = std::mem::take(&mut self.staying);
        if self.staying_in != to {
            before.drain(..).for_each(|visit| self.fill(self.staying_in, visit));
        }
        self.now = to;
        let index = to as usize % TICKS;
        let visits = std::mem::take(&mut self.ticks[index]);
        self.filled[index / 64] &= !(1 << (index % 64));
        self.visits -= visits.0.iter().map(Vec::len).sum::<usize>() + before.len();
        for piece in visits.0.iter().map(Vec::as_slice).chain([&before[..]]) {
            for (n, visit) in piece.iter().enumerate() {
                if let Some(later) = piece.get(n + ASK_AHEAD) {
                    table.ask(later.slot);
                    if let Some(word) = self.valid.get(later.slot) {
                        prefetch(word);
                    }
                }
                if let Some(conn) = self.find(*visit, to, table) {
                    self.put(&conn, begin(to));
                }
            }
        }
    }

    /// Forgets the visits that are not valid any more.
    fn sweep(&mut self) {
        for visit in std::mem::take(&mut self.staying) {
            self.fill(self.staying_in, visit);
        }
        let start = self.now as usize % TICKS;
        let (valid, now) = (&self.valid, self.now);
        let is_valid = |slot, name| valid.get(slot).is_some_and(|v| v.load(Ordering::Relaxed) == name);
        self.visits = 0;
        for (index, visits) in self.ticks.iter_mut().enumerate() {
            let at = now + ((index + TICKS - start) % TICKS) as u64;
            self.visits += visits.retain(|visit| is_valid(visit.slot, name(at, visit.id)));
        }
        self.due.retain(|Reverse((_, id, slot, tick))| is_valid(*slot, name(*tick, *id)));
        self.visits += self.due.len();
        self.most = (self.visits * 2).max(SHORT);
    }
}

#[cfg(test)]
mod tests;
