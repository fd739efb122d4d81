//! Events: what happened to connections, in the kernel's order.
//!
//! A packet's changes are collected on its connection and told once, when the packet has left the last hook
//! ([`crate::Engine::confirm`]): a first packet gives one `New`, later ones at most one `Update` each. `Destroy` is told at
//! the moment of destruction, and changes that were still waiting are not told any more.
//!
//! Events are kept only while somebody listens (`nf_conntrack_events=2`, the default), in a queue that the owner of the
//! engine drains. Every event has a sequence number; one that found the queue full leaves a gap in the numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitflags::bitflags;
use parking_lot::Mutex;

use crate::{Entry, Time};

bitflags! {
    /// What happened (`IPCT_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EventMask: u32 {
        /// A connection was made.
        const NEW = 1;
        /// An expected connection was made.
        const RELATED = 1 << 1;
        /// A connection was destroyed.
        const DESTROY = 1 << 2;
        /// It saw its first reply.
        const REPLY = 1 << 3;
        /// It became assured.
        const ASSURED = 1 << 4;
        /// Its protocol's state changed.
        const PROTOINFO = 1 << 5;
        /// A helper was assigned.
        const HELPER = 1 << 6;
        /// Its mark changed.
        const MARK = 1 << 7;
        /// Its sequence adjustment changed.
        const SEQADJ = 1 << 8;
        /// Its security mark changed.
        const SECMARK = 1 << 9;
        /// Its labels changed.
        const LABEL = 1 << 10;
    }
}

/// The three kinds that listeners subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A connection was made.
    New,
    /// Something about it changed.
    Update,
    /// It is gone.
    Destroy,
}

impl EventKind {
    /// `NEW`, `UPDATE`, `DESTROY`, as conntrack(8) prints it.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::New => "NEW",
            EventKind::Update => "UPDATE",
            EventKind::Destroy => "DESTROY",
        }
    }
}

/// Who asked for a change, when it was a program and not a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's port id.
    pub portid: u32,
    /// The client's program name, if it is known.
    pub progname: Option<String>,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Counts events from 1, without gaps but for those that were lost.
    pub seq: u64,
    /// When it happened.
    pub at: Time,
    /// Its kind.
    pub kind: EventKind,
    /// All that happened.
    pub mask: EventMask,
    /// The connection, as it was then.
    pub entry: Entry,
    /// The program that caused it, if one did.
    pub by: Option<Arc<Client>>,
}

/// Most events that wait to be drained.
pub const QUEUE_LIMIT: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Events {
    listening: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<Event>,
}

impl Events {
    pub(crate) fn listen(&self, on: bool) {
        self.listening.store(on, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn wanted(&self, setting: u32) -> bool {
        match setting {
            0 => false,
            1 => true,
            _ => self.listening.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn push(
        &self,
        at: Time,
        kind: EventKind,
        mask: EventMask,
        entry: impl FnOnce() -> Entry,
        by: Option<Arc<Client>>,
    ) {
        let mut queue = self.queue.lock();
        queue.next += 1;
        if queue.waiting.len() < QUEUE_LIMIT {
            let seq = queue.next;
            queue.waiting.push_back(Event { seq, at, kind, mask, entry: entry(), by });
        }
    }

    pub(crate) fn drain(&self, into: &mut Vec<Event>) {
        into.extend(self.queue.lock().waiting.drain(..));
    }
}
