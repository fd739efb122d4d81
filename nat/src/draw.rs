//! Where randomness comes from: given, seeded, and so repeatable.
//!
//! A search for a free port starts at a random offset into its range. The search asks [`Draw`] for that offset and says
//! for whom and for what ([`Ask`]), so that a harness can answer with the port that a kernel drew ([`Ask::offset_of`]),
//! and a replay with the same seed draws the same ports.

use std::fmt;

use rand::RngCore;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use uct_engine::{Manip, Tuple};

/// What a random offset is wanted for.
pub struct Ask<'a> {
    /// What the connection's first packet carried.
    pub original: &'a Tuple,
    /// What it carries now, but for the port that is looked for.
    pub wanted: &'a Tuple,
    /// The end whose port is looked for.
    pub manip: Manip,
    /// The first port of the range (or ICMP id, or key).
    pub first: u16,
    /// How many ports the range has; at least one.
    pub size: u32,
    /// How many ports in a row this round will try; no more than `size`.
    pub tries: u32,
    /// 0 at first; the search begins anew elsewhere when it has found nothing but taken ports.
    pub round: u8,
    /// Whether the search would take a port.
    pub(crate) would_take: &'a dyn Fn(u16) -> bool,
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ports from {}, for {:?}", self.tries, self.size, self.first, self.wanted)
    }
}

impl Ask<'_> {
    /// Whether the range has this port and the search would take it.
    pub fn would_take(&self, port: u16) -> bool {
        let offset = port.checked_sub(self.first).map(u32::from);
        offset.is_some_and(|offset| offset < self.size) && (self.would_take)(port)
    }

    /// The offset with which the search ends at `port`: it is tried first if the search would take it, and last if not
    /// (for then nothing was free, and the last candidate stands). `None` if the range has no such port.
    pub fn offset_of(&self, port: u16) -> Option<u16> {
        let offset = u32::from(port.checked_sub(self.first)?);
        if offset >= self.size {
            return None;
        }
        let before = if (self.would_take)(port) { 0 } else { self.tries - 1 };
        u16::try_from((offset + self.size - before) % self.size).ok()
    }
}

/// Draws random offsets.
pub trait Draw {
    /// Any number; the search takes the remainder by [`Ask::size`].
    fn offset(&mut self, ask: &Ask<'_>) -> u16;
}

/// Draws from a seeded generator: the same seed, the same ports.
#[derive(Debug)]
pub struct Seeded<R = SmallRng>(R);

impl Seeded {
    /// A small fast generator; good enough to spread ports, and no secret.
    pub fn new(seed: u64) -> Self {
        Seeded(SmallRng::seed_from_u64(seed))
    }
}

impl<R: RngCore> Seeded<R> {
    /// Any other generator, such as an unpredictable one for a router.
    pub fn with(random: R) -> Self {
        Seeded(random)
    }
}

impl<R: RngCore> Draw for Seeded<R> {
    fn offset(&mut self, _: &Ask<'_>) -> u16 {
        self.0.next_u32() as u16
    }
}

impl<F: FnMut(&Ask<'_>) -> u16> Draw for F {
    fn offset(&mut self, ask: &Ask<'_>) -> u16 {
        self(ask)
    }
}
