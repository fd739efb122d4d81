//! Expiry: which connections have run out, in the order in which they did.
//!
//! A packet only writes its connection's deadline. The queue holds, for each connection, a time no later than its deadline;
//! when that time comes it looks at the deadline and, if it has moved on, queues the connection again. A deadline that moves
//! *forward* of the queued time is queued at once. So expiry is exact under any clock, and costs a packet one comparison.
//!
//! No queued time is further away than [`LOOK_AGAIN`], so that a connection that was destroyed early is forgotten by the
//! queue soon after; and where the clock stands still, at the latest when the queue has become twice as long as what lives.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::Time;
use crate::conn::Conn;

/// How long the queue may go without looking at a connection.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A queue shorter than this is not swept.
const SHORT: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Expiry {
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    heap: BinaryHeap<Reverse<Visit>>,
    next: u64,
    /// How long it may become before it is swept.
    most: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), next: 0, most: SHORT }
    }
}

#[derive(Debug)]
struct Visit {
    at: Time,
    /// Visits of the same time keep their order.
    seq: u64,
    conn: Arc<Conn>,
}

impl Visit {
    /// Whether it still has something to do: the connection lives, and no other visit has taken its place.
    fn is_due(&self) -> bool {
        self.conn.queued.load(Ordering::Relaxed) == self.at.as_nanos()
            && !self.conn.status().contains(crate::Status::DYING)
    }
}

impl PartialEq for Visit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Visit {}

impl PartialOrd for Visit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Visit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

impl Expiry {
    /// Makes sure that the connection is looked at no later than at its deadline.
    pub(crate) fn watch(&self, conn: &Arc<Conn>, now: Time) {
        let at = conn.deadline().min(now + LOOK_AGAIN);
        if at.as_nanos() < conn.queued.load(Ordering::Relaxed) {
            let mut queue = self.queue.lock();
            conn.queued.store(at.as_nanos(), Ordering::Relaxed);
            queue.push(at, Arc::clone(conn));
        }
    }

    /// The connection that ran out first, if one has at `now`.
    pub(crate) fn pop(&self, now: Time) -> Option<Arc<Conn>> {
        let mut queue = self.queue.lock();
        loop {
            let Reverse(visit) = queue.heap.peek()?;
            if visit.at > now {
                return None;
            }
            let Reverse(visit) = queue.heap.pop()?;
            if !visit.is_due() {
                continue;
            }
            let Visit { at, conn, .. } = visit;
            let deadline = conn.deadline();
            if deadline <= at {
                return Some(conn);
            }
            let again = deadline.min(at + LOOK_AGAIN);
            conn.queued.store(again.as_nanos(), Ordering::Relaxed);
            queue.push(again, conn);
        }
    }

    /// When the queue must be looked at next.
    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.lock().heap.peek().map(|Reverse(v)| v.at)
    }
}

impl Queue {
    fn push(&mut self, at: Time, conn: Arc<Conn>) {
        if self.heap.len() >= self.most {
            self.heap.retain(|Reverse(visit)| visit.is_due());
            self.most = (self.heap.len() * 2).max(SHORT);
        }
        let seq = self.next;
        self.next += 1;
        self.heap.push(Reverse(Visit { at, seq, conn }));
    }
}

#[cfg(test)]
mod tests;
