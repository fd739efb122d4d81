//! Counters that every packet would touch, counted aside and added up once.
//!
//! Two workers that count each packet in one place fight over its line of memory, and even alone an atomic addition costs as much as
//! parsing a packet. So what comes and goes is counted here, for one call of the router's, and told to [`Stats`] at its end.

use uct_engine::Time;

use super::{Emit, Emitted, Fate, Stats};

/// Counts what leaves on its way to where it goes, and adds it up when it is dropped.
pub(super) struct Tally<'a, E> {
    out: &'a mut E,
    stats: &'a Stats,
    sent: u64,
    received: u64,
    forwarded: u64,
}

impl<'a, E: Emit> Tally<'a, E> {
    pub(super) fn new(out: &'a mut E, stats: &'a Stats) -> Self {
        Tally { out, stats, sent: 0, received: 0, forwarded: 0 }
    }

    /// A packet has come.
    #[inline]
    pub(super) fn received(&mut self) {
        self.received += 1;
    }

    /// What became of a packet that came.
    #[inline]
    pub(super) fn fate(&mut self, fate: &Fate) {
        match fate {
            Fate::Sent(_) => self.forwarded += 1,
            other => self.stats.count(other, &self.stats.forwarded),
        }
    }
}

impl<E: Emit> Emit for Tally<'_, E> {
    #[inline]
    fn emit(&mut self, packet: Emitted<'_>) {
        self.sent += 1;
        self.out.emit(packet);
    }

    #[inline]
    fn deliver(&mut self, packet: &[u8], at: Time) {
        self.out.deliver(packet, at);
    }
}

impl<E> Drop for Tally<'_, E> {
    fn drop(&mut self) {
        let Tally { stats, sent, received, forwarded, .. } = self;
        for (counter, n) in [(&stats.sent, *sent), (&stats.received, *received), (&stats.forwarded, *forwarded)] {
            if n > 0 {
                counter.add(n);
            }
        }
    }
}
