//! What a router counts: packets by what became of them, and drops by their reason.
//!
//! Every packet that was handed to a router is in exactly one of [`Stats::fates`]; the other counters look at the same packets
//! from another side.

use uct_engine::Counter;

use super::{Drop, Fate};

/// The router's counters.
#[derive(Debug)]
pub struct Stats {
    /// Packets that came by one interface and left by another, a fragmented datagram counted once: with its last fragment.
    pub forwarded: Counter,
    /// Packets of the router's own stack that left.
    pub own: Counter,
    /// Packets that the router itself got.
    pub delivered: Counter,
    /// Fragments that waited for the rest of their datagram.
    pub held: Counter,
    /// Packets that entered from interfaces and from the router's own stack, link headers taken off.
    pub received: Counter,
    /// What left by an interface, answers and single fragments included.
    pub sent: Counter,
    /// Errors and resets that the router sent about packets.
    pub answered: Counter,
    /// Errors that were not sent because there were too many.
    pub withheld: Counter,
    /// Packets of which the capture held only a part.
    pub truncated: Counter,
    /// Fragments that were held and then given up with their datagram.
    pub fragments_lost: Counter,
    dropped: [Counter; Drop::COUNT],
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            forwarded: Counter::default(),
            own: Counter::default(),
            delivered: Counter::default(),
            held: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            answered: Counter::default(),
            withheld: Counter::default(),
            truncated: Counter::default(),
            fragments_lost: Counter::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Stats {
    /// Counts a packet once; `left` is the counter of those of its kind that left.
    pub(super) fn count(&self, fate: &Fate, left: &Counter) {
        match fate {
            Fate::Sent(_) => left.count(),
            Fate::Delivered => self.delivered.count(),
            Fate::Held => self.held.count(),
            Fate::Dropped(why) => self.count_drop(why),
        }
    }

    pub(super) fn count_drop(&self, why: &Drop) {
        self.dropped[why.index()].count();
    }

    /// What became of packets: each packet is in one of these, and in no other.
    pub fn fates(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ways = [
            ("forwarded", self.forwarded.get()),
            ("own", self.own.get()),
            ("delivered", self.delivered.get()),
            ("held", self.held.get()),
        ];
        ways.into_iter().chain(self.dropped_by_reason())
    }

    /// How often each reason was given, for the reasons that were.
    pub fn dropped_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Drop::NAMES.into_iter().zip(self.dropped.iter().map(Counter::get)).filter(|(_, n)| *n > 0)
    }

    /// All drops together.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }
}
