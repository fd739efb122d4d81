//! What a router counts: packets by what became of them, and drops by their reason.

use uct_engine::Counter;

use super::{Drop, Fate};

/// The router's counters.
#[derive(Debug)]
pub struct Stats {
    /// Packets that entered.
    pub received: Counter,
    /// Packets that left by an interface, fragments counted singly.
    pub sent: Counter,
    /// Packets that were forwarded, datagrams counted once.
    pub forwarded: Counter,
    /// Packets that the router itself got.
    pub delivered: Counter,
    /// Fragments that waited for the rest of their datagram.
    pub held: Counter,
    /// Packets that the router's own stack sent.
    pub own: Counter,
    /// Errors and resets that the router sent about packets.
    pub answered: Counter,
    /// Packets of which the capture held only a part.
    pub truncated: Counter,
    /// Fragments that were held and then given up with their datagram.
    pub fragments_lost: Counter,
    dropped: [Counter; Drop::COUNT],
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            received: Counter::default(),
            sent: Counter::default(),
            forwarded: Counter::default(),
            delivered: Counter::default(),
            held: Counter::default(),
            own: Counter::default(),
            answered: Counter::default(),
            truncated: Counter::default(),
            fragments_lost: Counter::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Stats {
    pub(super) fn count(&self, fate: &Fate) {
        match fate {
            Fate::Sent(_) => self.forwarded.count(),
            Fate::Delivered => self.delivered.count(),
            Fate::Held => self.held.count(),
            Fate::Dropped(why) => self.dropped[why.index()].count(),
        }
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
