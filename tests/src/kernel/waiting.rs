//! Fragments that may be waiting for others, and how they grow old.
//!
//! | family | by the scenario's clock | in truth |
//! |---|---|---|
//! | IPv4 | 30 s | 3 s |
//! | IPv6 | 60 s | 6 s |
//!
//! The kernel's timers cannot be moved, so namespaces are told to keep fragments for a tenth of the usual time. When the
//! scenario's clock moves on, whatever must be gone by then is waited for; if something that must not be gone has grown
//! too old meanwhile, the scenario cannot be played, and says so with [`io::ErrorKind::TimedOut`].
//!
//! Fragments that an earlier scenario has left behind are told apart by their identification: what the kernel says when
//! their time is over is not counted, and a scenario that uses the same identification meanwhile cannot be played here.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::packet::fragment_id;

/// How late the kernel's timers may be.
const LATE: Duration = Duration::from_millis(400);
/// How late this process may be.
const MARGIN: Duration = Duration::from_millis(100);

/// One fragment.
struct Fragment {
    id: u32,
    came: Instant,
    skipped: Duration,
    /// How long it lives by the scenario's clock, and in truth.
    lives: (Duration, Duration),
}

impl Fragment {
    fn over(&self) -> Instant {
        self.came + self.lives.1 + LATE
    }

    /// Whether its time is over by the scenario's clock.
    fn is_gone(&self, skipped: Duration) -> bool {
        skipped - self.skipped >= self.lives.0
    }
}

/// The fragments of a scenario, and those of scenarios before.
#[derive(Default)]
pub(crate) struct Waiting {
    own: Vec<Fragment>,
    left: BTreeMap<u32, Instant>,
}

impl Waiting {
    /// A scenario begins.
    pub(crate) fn begin(&mut self) {
        let now = Instant::now();
        self.left.retain(|_, over| *over > now);
        for fragment in self.own.drain(..) {
            self.left.insert(fragment.id, fragment.over());
        }
    }

    /// Takes note of a packet if it is a fragment.
    pub(crate) fn note(&mut self, packet: &[u8], skipped: Duration) -> io::Result<()> {
        let Some(id) = fragment_id(packet) else { return Ok(()) };
        if self.is_left(id) {
            return Err(cannot("another scenario's fragments have the same identification"));
        }
        self.left.remove(&id);
        let tenth = if packet[0] >> 4 == 4 { 3 } else { 6 };
        let lives = (Duration::from_secs(10 * tenth), Duration::from_secs(tenth));
        self.own.push(Fragment { id, came: Instant::now(), skipped, lives });
        Ok(())
    }

    /// Whether an earlier scenario may have left fragments of this identification.
    pub(crate) fn is_left(&self, id: u32) -> bool {
        self.left.get(&id).is_some_and(|over| *over > Instant::now())
    }

    /// Whether a packet is what the kernel says when fragments of an earlier scenario have waited for too long.
    pub(crate) fn is_noise(&self, packet: &[u8]) -> bool {
        let quote = match packet {
            [0x45, ..] if packet.get(9) == Some(&1) && packet.get(20..22) == Some(&[11, 1]) => packet.get(28..),
            [first, ..] if first >> 4 == 6 && packet.get(6) == Some(&58) && packet.get(40..42) == Some(&[3, 1]) => {
                packet.get(48..)
            }
            _ => None,
        };
        quote.and_then(fragment_id).is_some_and(|id| self.left.contains_key(&id))
    }

    /// How long until all those fragments are gone whose time is over when `skipped` has passed.
    pub(crate) fn until_gone(&self, skipped: Duration) -> Duration {
        let last = self.own.iter().filter(|fragment| fragment.is_gone(skipped)).map(Fragment::over).max();
        last.map_or(Duration::ZERO, |over| over.saturating_duration_since(Instant::now()))
    }

    /// In how many seconds, by the scenario's clock, the first of the fragments goes whose time is over when the clock jumps from
    /// `before` to `after`.
    pub(crate) fn first_end(&self, before: Duration, after: Duration) -> Option<u32> {
        let going = self.own.iter().filter(|fragment| fragment.is_gone(after) && !fragment.is_gone(before));
        going.map(|fragment| (fragment.lives.0 - (before - fragment.skipped)).as_secs() as u32).min()
    }

    /// Whether all others are still there.
    pub(crate) fn check(&self, skipped: Duration) -> io::Result<()> {
        let is_too_old = |fragment: &Fragment| fragment.came.elapsed() + MARGIN >= fragment.lives.1;
        if self.own.iter().any(|fragment| !fragment.is_gone(skipped) && is_too_old(fragment)) {
            return Err(cannot("fragments have waited for too long"));
        }
        Ok(())
    }
}

/// Says that a scenario cannot be played just now; nothing is wrong with it.
pub(crate) fn cannot(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}
