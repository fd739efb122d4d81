//! The protocols' states, and the four verbs that each tracker has.
//!
//! | verb | asked | answers |
//! |---|---|---|
//! | `check` | every packet, before any lookup | may the packet be looked at: lengths, checksum, flags |
//! | `open` | a packet without connection | may it open one, and in which state |
//! | `update` | every packet of a connection, the first included | what it means: [`Update`] |
//! | `info` | listings | the state's name and numbers |

use std::time::Duration;

use crate::event::EventMask;
use crate::sctp::Sctp;
use crate::tcp::Tcp;
use crate::{Invalid, Sysctl, Time};

/// A protocol's state within a connection. What it holds is packed to two bytes, so that a connection is two lines of memory.
#[derive(Debug)]
pub(crate) enum State {
    Tcp(Tcp),
    /// UDP: when a packet after this time makes the connection a stream.
    Udp(UdpStream),
    /// UDP-Lite: a stream from the first packet after the reply.
    Stream,
    /// GRE: the same, with the timeouts that were in force when it began.
    Gre(GreTimeouts),
    Icmp,
    Sctp(Sctp),
    Generic,
}

/// When a UDP conversation counts as a stream.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(2))]
pub(crate) struct UdpStream {
    pub(crate) after: Time,
}

/// The two timeouts of a GRE conversation. Changing the settings does not touch those that have begun.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(2))]
pub(crate) struct GreTimeouts {
    pub(crate) first: Duration,
    pub(crate) stream: Duration,
}

/// What a packet means to its connection.
#[derive(Debug)]
pub(crate) enum Update {
    /// It is taken: start this timeout, and set what else it brings. `from`: the setting that the state's timeout is under.
    Refresh { timeout: Duration, from: Option<Sysctl>, events: EventMask, assured: Assured },
    /// It passes and changes nothing that counts: no timeout, no accounting.
    Ignore { events: EventMask },
    /// The state machine says no. `timeout`: shortened to this all the same.
    Invalid { why: Invalid, timeout: Option<Duration> },
    /// The connection ends with this packet, which is counted and passes.
    Kill { events: EventMask },
    /// The packet opens a new connection on the tuple of this one: end it, and look again.
    Reopen,
}

impl Update {
    /// It passes and changes nothing that anybody sees.
    pub(crate) const IGNORE: Update = Update::Ignore { events: EventMask::empty() };
}

/// Whether a packet makes its connection worth keeping when the table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assured {
    AsBefore,
    Now,
}
