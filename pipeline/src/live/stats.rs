//! What is lost around the way: before a packet is the router's, and after it has left the way.
//!
//! The way has its own reasons ([`crate::router::Drop`]); together they say of every frame what became of it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::io::{Lost, Sent};

/// Why a frame or packet was lost at a link. One counter and one sentence for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The worker was slower than the link: the ring was full.
    ReceiveFull,
    /// Longer than there was room for.
    ReceiveTooLong,
    /// What the sender left to the card is not understood.
    ReceiveOffload,
    /// It carries a VLAN tag.
    ReceiveTagged,
    /// Nobody said where the next hop is.
    NeighborFailed,
    /// Too much waited for the next hop's link address.
    NeighborQueueFull,
    /// No room for another neighbour.
    NeighborTableFull,
    /// The interface is down, or is not there.
    InterfaceDown,
    /// The interface's sending queue was full.
    TransmitFull,
    /// Longer than the interface takes.
    TransmitTooLong,
    /// The interface refused it.
    TransmitFailed,
    /// An ARP or neighbour discovery packet that makes no sense, or must not be believed.
    Discovery,
}

impl Loss {
    /// How many reasons there are.
    pub const COUNT: usize = 12;

    /// All of them, by their index.
    pub const ALL: [Loss; Loss::COUNT] = [
        Loss::ReceiveFull,
        Loss::ReceiveTooLong,
        Loss::ReceiveOffload,
        Loss::ReceiveTagged,
        Loss::NeighborFailed,
        Loss::NeighborQueueFull,
        Loss::NeighborTableFull,
        Loss::InterfaceDown,
        Loss::TransmitFull,
        Loss::TransmitTooLong,
        Loss::TransmitFailed,
        Loss::Discovery,
    ];

    /// The reason's short name, as counters and summaries carry it.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::ReceiveFull => "receive-full",
            Loss::ReceiveTooLong => "receive-too-long",
            Loss::ReceiveOffload => "receive-offload",
            Loss::ReceiveTagged => "receive-tagged",
            Loss::NeighborFailed => "neighbor-failed",
            Loss::NeighborQueueFull => "neighbor-queue-full",
            Loss::NeighborTableFull => "neighbor-table-full",
            Loss::InterfaceDown => "interface-down",
            Loss::TransmitFull => "transmit-full",
            Loss::TransmitTooLong => "transmit-too-long",
            Loss::TransmitFailed => "transmit-failed",
            Loss::Discovery => "discovery",
        }
    }

    /// What happened, in a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Loss::ReceiveFull => "the interface's ring was full: frames came faster than they were taken",
            Loss::ReceiveTooLong => "the frame was longer than there was room for",
            Loss::ReceiveOffload => "what the sender left to the card is not understood",
            Loss::ReceiveTagged => "the frame carries a VLAN tag and belongs to another interface",
            Loss::NeighborFailed => "nobody said where the next hop is",
            Loss::NeighborQueueFull => "too many packets waited for the next hop's link address",
            Loss::NeighborTableFull => "there are too many neighbours",
            Loss::InterfaceDown => "the interface is down, or is not there",
            Loss::TransmitFull => "the interface's sending queue was full",
            Loss::TransmitTooLong => "the frame was longer than the interface takes",
            Loss::TransmitFailed => "the interface refused the frame",
            Loss::Discovery => "an ARP or neighbour discovery packet that makes no sense",
        }
    }
}

/// The counters of the links.
#[derive(Debug)]
pub struct Stats {
    lost: [AtomicU64; Loss::COUNT],
    received: AtomicU64,
    sent: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Stats { lost: std::array::from_fn(|_| AtomicU64::new(0)), received: AtomicU64::new(0), sent: AtomicU64::new(0) }
    }
}

impl Stats {
    /// Counts losses.
    pub fn add(&self, why: Loss, count: u64) {
        if count > 0 {
            self.lost[why as usize].fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts what a source took in and lost.
    pub fn add_received(&self, frames: u64) {
        self.received.fetch_add(frames, Ordering::Relaxed);
    }

    /// Counts what a source lost.
    pub fn add_lost(&self, lost: Lost) {
        self.add(Loss::ReceiveFull, lost.full);
        self.add(Loss::ReceiveTooLong, lost.long);
        self.add(Loss::ReceiveOffload, lost.offload);
        self.add(Loss::ReceiveTagged, lost.tagged);
    }

    /// Counts what became of a sink's frames.
    pub fn add_sent(&self, sent: Sent) {
        self.sent.fetch_add(sent.frames, Ordering::Relaxed);
        self.add(Loss::TransmitFull, sent.full);
        self.add(Loss::InterfaceDown, sent.down);
        self.add(Loss::TransmitTooLong, sent.long);
        self.add(Loss::TransmitFailed, sent.failed);
    }

    /// Frames that were taken in.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Frames that left.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many were lost for this reason.
    pub fn lost(&self, why: Loss) -> u64 {
        self.lost[why as usize].load(Ordering::Relaxed)
    }

    /// How often each reason was given, for the reasons that were.
    pub fn lost_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Loss::ALL.into_iter().map(|why| (why.name(), self.lost(why))).filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_name_and_counter() {
        let stats = Stats::default();
        for (index, why) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index);
            stats.add(why, 1);
        }
        let mut names: Vec<_> = stats.lost_by_reason().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Loss::COUNT);
    }
}
