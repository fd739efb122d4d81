//! What the pipeline tells of a packet's way; explanation is an observer, never a second implementation.
//!
//! ```text
//!   clock ─► (gone · incomplete) ─► entered ─► (restored)
//!   began ─► (held · whole) ─► at each hook: filtered, tracked · invalid · untracked, mapping, mapped, rewritten
//!         ─► routed ─► confirmed ─► sent · delivered          or, anywhere: dropped ─► began (the answer) … · silent
//!                   └► (aside ─► began (a redirect) … ─► resumed)
//! ```
//! Between them come what the engine ([`uct_engine::Observer`]) and the rules ([`uct_nat::rules::Observer`]) tell.

use uct_engine::{Confirm, Direction, Entry, Hook, Info, Invalid, Packet, Time};
use uct_nat::rules::{ChainId, Verdict};
use uct_nat::{Mapping, Rewrite};

use super::Drop;
use crate::defrag::Expired;
use crate::icmp_error::Silence;
use crate::route::Answer;
use crate::topology::Dev;

/// How a packet came to be in the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It arrived by an interface.
    Arrived(Dev),
    /// The router's own stack sent it.
    Own,
    /// The router made it to answer the packet at hand.
    Answer,
}

/// Listens to a packet's way. Every method does nothing by default and is called statically.
pub trait Observer: uct_engine::Observer + uct_nat::rules::Observer {
    /// Whether anything is listened to; asked before something is prepared for an observer alone.
    fn is_listening(&self) -> bool {
        false
    }

    /// A frame of a capture is taken; what was to happen until then happens now.
    fn clock(&mut self, number: u64, at: Time) {
        let _ = (number, at);
    }

    /// Other rules are in force from now on.
    fn rules_changed(&mut self, router: &super::Router) {
        let _ = router;
    }

    /// Time has passed, the frame enters.
    fn entered(&mut self) {}

    /// A packet begins its way, as it is.
    fn began(&mut self, cause: Cause, packet: &Packet<'_>) {
        let _ = (cause, packet);
    }

    /// It was turned into what the router had received for it: the capture was taken inside.
    fn restored(&mut self) {}

    /// It is a fragment and waits for the others; so many earlier ones were given up.
    fn held(&mut self, lost: u32) {
        let _ = lost;
    }

    /// It was the last missing one of so many fragments; this whole datagram goes on.
    fn whole(&mut self, packet: &Packet<'_>, fragments: u32) {
        let _ = (packet, fragments);
    }

    /// A datagram did not become whole in time.
    fn incomplete(&mut self, expired: &Expired) {
        let _ = expired;
    }

    /// A filter chain was asked.
    fn filtered(&mut self, hook: Hook, chain: ChainId, verdict: &Verdict) {
        let _ = (hook, chain, verdict);
    }

    /// A NAT chain did not translate the packet but stopped it.
    fn refused(&mut self, hook: Hook, verdict: &Verdict) {
        let _ = (hook, verdict);
    }

    /// Tracking gave the packet a connection: this one, as it stands now.
    fn tracked(&mut self, entry: &Entry, dir: Direction, info: Info) {
        let _ = (entry, dir, info);
    }

    /// Tracking said no.
    fn invalid(&mut self, why: Invalid) {
        let _ = why;
    }

    /// The packet goes without a connection: a rule said `notrack`, or it is of a kind that is never tracked.
    fn untracked(&mut self) {}

    /// A NAT rule matched a new connection.
    fn mapping(&mut self, hook: Hook, rule: uct_nat::rules::RuleId, mapping: &Mapping) {
        let _ = (hook, rule, mapping);
    }

    /// NAT decided about one end of a new connection.
    fn mapped(&mut self, decision: &uct_nat::Decision) {
        let _ = decision;
    }

    /// NAT rewrote the packet to what it is now, or found nothing to rewrite.
    fn rewritten(&mut self, hook: Hook, rewrite: &Rewrite, packet: &Packet<'_>) {
        let _ = (hook, rewrite, packet);
    }

    /// The packet was routed.
    fn routed(&mut self, answer: &Answer) {
        let _ = answer;
    }

    /// The packet has passed its last hook: what became of its connection.
    fn confirmed(&mut self, confirm: &Confirm) {
        let _ = confirm;
    }

    /// The packet went no further.
    fn dropped(&mut self, why: &Drop) {
        let _ = why;
    }

    /// The packet's sender is not told, though there would be something to tell.
    fn silent(&mut self, why: Silence) {
        let _ = why;
    }

    /// The packet goes on, but before that comes an answer to it.
    fn aside(&mut self) {}

    /// The answer is through; what follows is the packet's own way again.
    fn resumed(&mut self) {}

    /// A packet left.
    fn sent(&mut self, packet: &super::Emitted<'_>) {
        let _ = packet;
    }

    /// The router itself got the packet.
    fn delivered(&mut self, packet: &Packet<'_>) {
        let _ = packet;
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl uct_engine::Observer for Silent {}
impl uct_nat::rules::Observer for Silent {}
impl Observer for Silent {}
