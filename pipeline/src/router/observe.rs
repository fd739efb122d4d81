//! What the pipeline tells of a packet's way; explanation is an observer, never a second implementation.

use uct_engine::{Direction, Entry, Hook, Info, Invalid};
use uct_nat::{Mapping, Rewrite};

use super::Drop;
use crate::route::Answer;

/// Listens to a packet's way. Every method does nothing by default and is called statically.
pub trait Observer: uct_engine::Observer + uct_nat::rules::Observer {
    /// Whether anything is listened to; asked before something is prepared for an observer alone.
    fn is_listening(&self) -> bool {
        false
    }

    /// Tracking gave the packet a connection: this one, as it stands now.
    fn tracked(&mut self, entry: &Entry, dir: Direction, info: Info) {
        let _ = (entry, dir, info);
    }

    /// Tracking said no.
    fn invalid(&mut self, why: Invalid) {
        let _ = why;
    }

    /// A NAT rule matched a new connection.
    fn mapping(&mut self, hook: Hook, rule: uct_nat::rules::RuleId, mapping: &Mapping) {
        let _ = (hook, rule, mapping);
    }

    /// NAT decided about one end of a new connection.
    fn mapped(&mut self, decision: &uct_nat::Decision) {
        let _ = decision;
    }

    /// NAT rewrote the packet, or found nothing to rewrite.
    fn rewritten(&mut self, hook: Hook, rewrite: &Rewrite) {
        let _ = (hook, rewrite);
    }

    /// The packet was routed.
    fn routed(&mut self, answer: &Answer) {
        let _ = answer;
    }

    /// The packet went no further.
    fn dropped(&mut self, why: &Drop) {
        let _ = why;
    }

    /// A packet left.
    fn sent(&mut self, packet: &super::Emitted<'_>) {
        let _ = packet;
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl uct_engine::Observer for Silent {}
impl uct_nat::rules::Observer for Silent {}
impl Observer for Silent {}
