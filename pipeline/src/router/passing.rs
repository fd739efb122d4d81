//! A packet within the router: what is known of it on its way, and why it stops.

use uct_engine::{Packet, Template, Time, Tracked};

use super::Drop;
use super::answer::Answer;
use crate::icmp_error::Addressed;
use crate::offload::Offload;
use crate::options::Options;
use crate::refrag::Fragmented;
use crate::route::Hop;
use crate::topology::Dev;

/// A packet within the router.
#[derive(Debug)]
pub(super) struct Passing<'p> {
    pub(super) packet: Packet<'p>,
    pub(super) at: Time,
    pub(super) origin: Origin,
    pub(super) hop: Option<Hop>,
    /// Of an own packet: the link on which a link-local destination is.
    pub(super) link: Option<Dev>,
    /// For whom it was, besides what its own header says.
    pub(super) addressed: Addressed,
    pub(super) mark: u32,
    pub(super) template: Template,
    pub(super) tracking: Tracking,
    /// What its sender left to a card.
    pub(super) offload: Offload,
    /// How it was cut when it came, if it was put together here.
    pub(super) fragmented: Option<Fragmented>,
    /// Its IPv4 options, once they have been read.
    pub(super) options: Options,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// By an interface.
    Interface(Dev),
    /// From the router itself.
    Own,
    /// From the router itself, and by lo back to it.
    Loopback,
}

/// What is known of a packet's connection.
#[derive(Debug)]
pub(super) enum Tracking {
    /// Tracking has not been asked.
    Before,
    /// It has one.
    Tracked(Tracked),
    /// A rule or the tracker said that it needs none.
    Untracked,
    /// The tracker said no.
    Invalid,
}

/// Why a packet stops, and what its sender is told.
#[derive(Debug)]
pub(super) struct Halt {
    pub(super) why: Drop,
    pub(super) answer: Option<Answer>,
}

impl From<Drop> for Halt {
    fn from(why: Drop) -> Self {
        Halt { why, answer: None }
    }
}

impl<'p> Passing<'p> {
    pub(super) fn new(packet: Packet<'p>, at: Time, origin: Origin) -> Self {
        Passing {
            packet,
            at,
            origin,
            hop: None,
            link: None,
            addressed: Addressed::default(),
            mark: 0,
            template: Template::default(),
            tracking: Tracking::Before,
            offload: Offload::default(),
            fragmented: None,
            options: Options::default(),
        }
    }
}
