//! The window: is a segment where its receiver can want it?
//!
//! A tracker in the middle sees segments that one end has not seen yet, so it keeps, for each end, bounds that hold whatever
//! may still be under way (van Rooij 2001). Of the *sender* of the segment it knows
//!
//! | field | symbol | meaning |
//! |---|---|---|
//! | [`Peer::end`] | `s.end` | highest sequence number + length that it sent |
//! | [`Peer::max_end`] | `s.maxend` | highest that it may send: max over what the receiver sent of (ack + window) |
//! | [`Peer::max_win`] | `s.maxwin` | largest window that it offered, in bytes |
//! | [`Peer::max_ack`] | `s.maxack` | highest acknowledgement that it sent |
//!
//! and of the *receiver* the same as `r.…`. A segment `seq … end` with acknowledgement `ack` (`sack`: the highest edge that
//! it acknowledges selectively) is inside the window if
//!
//! ```text
//!   I    seq  ≤ s.maxend              it does not begin beyond what the receiver lets the sender send
//!   II   end  ≥ s.end − r.maxwin      it is not older than the receiver's window could reach back
//!   III  sack ≤ r.end                 it acknowledges nothing that the receiver has not sent
//!   IV   ack  ≥ r.end − max(s.maxwin, 66000)   its acknowledgement is not older than that
//! ```
//!
//! I and III are violated only by what cannot be true: `Outside` (the kernel's INVALID), unless liberal. II and IV are
//! violated by what is merely late: `Tolerated` (it passes and changes nothing). One exception to I, as measured: a segment that
//! overshoots the right edge by no more than one maximum window passes, and the sender's `end` follows it, so that the
//! acknowledgement of that data does not break III later.
//!
//! Comparisons are modulo 2³² ([`Seq`]).
//!
//! Sources: van Rooij 2001 §4; RFC 9293 §3.4; RFC 7323 §2; RFC 2018 §3; tolerances measured on Linux 6.18.

use std::ops::{Add, Sub};

use bitflags::bitflags;

use super::{Segment, TcpState, flag};
use crate::observe::Observer;
use crate::reason::Bound;
use crate::{Direction, Invalid};

/// A sequence number; compared modulo 2³². (Packed, for a connection keeps eleven of them.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(Rust, packed(2))]
pub struct Seq(pub u32);

impl Seq {
    /// Whether it lies before `other` on the circle.
    pub const fn before(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether it lies after `other` on the circle.
    pub const fn after(self, other: Seq) -> bool {
        other.before(self)
    }
}

impl Add<u32> for Seq {
    type Output = Seq;

    fn add(self, n: u32) -> Seq {
        Seq(self.0.wrapping_add(n))
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;

    fn sub(self, n: u32) -> Seq {
        Seq(self.0.wrapping_sub(n))
    }
}

impl Sub<Seq> for Seq {
    type Output = u32;

    fn sub(self, other: Seq) -> u32 {
        self.0.wrapping_sub(other.0)
    }
}

bitflags! {
    /// What is known of one end; the numbers are those that netlink carries.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PeerFlags: u8 {
        /// It offered window scaling.
        const WINDOW_SCALE = 0x01;
        /// It permits selective acknowledgements.
        const SACK_PERM = 0x02;
        /// It sent the first FIN.
        const CLOSE_INIT = 0x04;
        /// Its segments are not held to the window.
        const BE_LIBERAL = 0x08;
        /// It sent data that was not acknowledged yet.
        const DATA_UNACKNOWLEDGED = 0x10;
        /// `max_ack` holds.
        const MAXACK_SET = 0x20;
    }
}

/// What the tracker knows of one end. (Packed, for a connection keeps two of them.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(Rust, packed(2))]
pub struct Peer {
    /// Highest sequence number + length that it sent.
    pub end: Seq,
    /// Highest that it may send.
    pub max_end: Seq,
    /// Largest window that it offered, in bytes. 0: nothing was seen of this end yet.
    pub max_win: u32,
    /// Highest acknowledgement that it sent, if [`PeerFlags::MAXACK_SET`].
    pub max_ack: Seq,
    /// Its window scale.
    pub scale: u8,
    /// What else is known of it.
    pub flags: PeerFlags,
}

/// One side of an inequality and the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// What the segment carries.
    pub value: Seq,
    /// What it is held against.
    pub bound: Seq,
    /// Whether the inequality holds.
    pub holds: bool,
}

impl Test {
    fn at_most(value: Seq, bound: Seq) -> Test {
        Test { value, bound, holds: value.before(bound + 1) }
    }

    fn at_least(value: Seq, bound: Seq) -> Test {
        Test { value, bound, holds: value.after(bound - 1) }
    }
}

/// The four inequalities, as a segment was held against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tests {
    /// I: `seq ≤ s.maxend`.
    pub begins: Test,
    /// II: `end ≥ s.end − r.maxwin`. It holds if nothing was seen of the receiver yet.
    pub ends: Test,
    /// III: `sack ≤ r.end`.
    pub acks: Test,
    /// IV: `ack ≥ r.end − max(s.maxwin, 66000)`.
    pub recent: Test,
}

/// What a listing shows of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerInfo {
    /// Window scale.
    pub scale: u8,
    /// Flags.
    pub flags: PeerFlags,
}

/// Old acknowledgements are taken back to at least so far, however small the window.
const MIN_ACK_WINDOW: u32 = 66_000;

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// In the window.
    Inside,
    /// II is violated: data that was acknowledged already. It passes and changes nothing.
    TooOldData(Bound),
    /// IV is violated: an acknowledgement that is long overtaken. It passes and changes nothing.
    TooOldAck(Bound),
    /// I is violated by no more than one window. It passes.
    Overshoot(Bound),
    /// I or III is violated.
    Outside(Invalid),
}

/// The two ends, from a segment's point of view.
pub(crate) struct Ends<'a> {
    pub(crate) sender: &'a mut Peer,
    pub(crate) receiver: &'a mut Peer,
}

impl Peer {
    /// What a SYN or SYN/ACK says of its sender. Without any options it leaves standing what an earlier one offered.
    pub(crate) fn synchronise(&mut self, segment: &Segment) {
        self.end = segment.end;
        self.max_end = segment.end;
        self.max_win = u32::from(segment.window).max(1);
        if segment.options > 0 {
            let (scale, offered) = segment.offered();
            self.scale = scale;
            self.flags = (self.flags & PeerFlags::BE_LIBERAL) | offered;
        }
    }

    pub(crate) fn info(&self) -> PeerInfo {
        PeerInfo { scale: self.scale, flags: self.flags }
    }

    fn ack_window(&self) -> u32 {
        self.max_win.max(MIN_ACK_WINDOW)
    }
}

impl Ends<'_> {
    /// The answer to a SYN: scaling holds only if both ends offered it (RFC 7323 §2.2).
    fn synchronise_reply(&mut self, segment: &Segment, dir: Direction) {
        self.sender.synchronise(segment);
        let both = self.sender.flags & self.receiver.flags & PeerFlags::WINDOW_SCALE;
        if dir == Direction::Reply && both.is_empty() {
            self.sender.scale = 0;
            self.receiver.scale = 0;
        }
    }

    /// Learns of a sender that was not seen before, or that starts anew. `Some` if that settles the question.
    fn meet(&mut self, segment: &Segment, sack: Seq, state: TcpState, dir: Direction) -> Option<Window> {
        let syn = segment.has(flag::SYN);
        let ack = segment.has(flag::ACK);
        if self.sender.max_win == 0 {
            if syn {
                self.synchronise_reply(segment, dir);
                // Simultaneous open: there is nothing that it could acknowledge.
                return (!ack).then_some(Window::Inside);
            }
            // In mid-stream: the segment itself is all we know.
            self.sender.end = segment.end;
            self.sender.max_win = (u32::from(segment.window) << self.sender.scale).max(1);
            self.sender.max_end = segment.end + self.sender.max_win;
            if self.receiver.max_win == 0 {
                self.receiver.end = sack;
                self.receiver.max_end = sack;
            } else if sack == self.receiver.end + 1 {
                // The answer to a keep-alive, which repeats the byte before `end`.
                self.receiver.end = sack;
            }
        } else if syn && segment.end.after(self.sender.end) && matches!(state, TcpState::SynSent | TcpState::SynRecv) {
            // The handshake begins again with other numbers.
            self.synchronise_reply(segment, dir);
            return (dir == Direction::Reply && !ack).then_some(Window::Inside);
        }
        None
    }

    /// Tests I–IV, and learns from a segment that lies inside.
    pub(crate) fn check(
        &mut self,
        segment: &Segment,
        state: TcpState,
        dir: Direction,
        observer: &mut impl Observer,
    ) -> Window {
        let sack = if self.receiver.flags.contains(PeerFlags::SACK_PERM) { segment.sack } else { segment.ack };
        if let Some(settled) = self.meet(segment, sack, state, dir) {
            observer.window(dir, settled, None);
            return settled;
        }

        let (mut seq, mut end, mut ack, mut sack) = (segment.seq, segment.end, segment.ack, sack);
        let is_rst = segment.has(flag::RST);
        // No acknowledgement, or the zero that some stacks put into resets: nothing to hold against it.
        if !segment.has(flag::ACK) || (is_rst && ack.0 == 0) {
            ack = self.receiver.end;
            sack = ack;
        }
        if is_rst && seq.0 == 0 && state == TcpState::SynSent {
            // The answer to a SYN from a stack that has no sequence number of its own.
            seq = self.sender.end;
            end = seq;
        }

        let is_receiver_known = self.receiver.max_win != 0;
        let mut ends = Test::at_least(end, self.sender.end - self.receiver.max_win);
        ends.holds |= !is_receiver_known;
        let tests = Tests {
            begins: Test::at_most(seq, self.sender.max_end),
            ends,
            acks: Test::at_most(sack, self.receiver.end),
            recent: Test::at_least(sack, self.receiver.end - self.sender.ack_window()),
        };
        let window = if !tests.begins.holds {
            // The bounds below and above are named as the kernel's log names them: the first number that is wrong.
            let bound = Bound { value: segment.seq.0, bound: (tests.begins.bound + 1).0 };
            let overshot = end - self.sender.max_end + 1;
            let is_else_inside = is_receiver_known && tests.ends.holds && tests.acks.holds && tests.recent.holds;
            if is_else_inside && overshot <= self.receiver.max_win {
                Window::Overshoot(bound)
            } else {
                Window::Outside(Invalid::TcpSeqOver(bound))
            }
        } else if !tests.acks.holds {
            let bound = Bound { value: sack.0, bound: (tests.acks.bound + 1).0 };
            Window::Outside(Invalid::TcpAckOver(bound))
        } else if !tests.ends.holds {
            Window::TooOldData(Bound { value: end.0, bound: (tests.ends.bound - 1).0 })
        } else if !tests.recent.holds {
            Window::TooOldAck(Bound { value: sack.0, bound: (tests.recent.bound - 1).0 })
        } else {
            Window::Inside
        };
        observer.window(dir, window, Some(&tests));
        match window {
            Window::Inside => self.learn(segment, end, ack, sack),
            Window::Overshoot(_) => {
                self.sender.end = end;
                self.sender.flags |= PeerFlags::DATA_UNACKNOWLEDGED;
            }
            _ => {}
        }
        window
    }

    /// What a segment inside the window says of both ends.
    fn learn(&mut self, segment: &Segment, end: Seq, ack: Seq, sack: Seq) {
        let (sender, receiver) = (&mut *self.sender, &mut *self.receiver);
        let scale = if segment.has(flag::SYN) { 0 } else { sender.scale };
        let window = u32::from(segment.window) << scale;

        sender.max_win = sender.max_win.max(window.wrapping_add(sack - ack));
        if end.after(sender.end) {
            sender.end = end;
            sender.flags |= PeerFlags::DATA_UNACKNOWLEDGED;
        }
        if segment.has(flag::ACK) && (!sender.flags.contains(PeerFlags::MAXACK_SET) || ack.after(sender.max_ack)) {
            sender.max_ack = ack;
            sender.flags |= PeerFlags::MAXACK_SET;
        }

        if receiver.max_win != 0 && end.after(sender.max_end) {
            receiver.max_win = receiver.max_win.wrapping_add(end - sender.max_end);
        }
        if (sack + window).after(receiver.max_end - 1) {
            receiver.max_end = sack + window;
            if window == 0 {
                // A closed window may be probed with one byte.
                receiver.max_end = receiver.max_end + 1;
            }
        }
        if ack == receiver.end {
            receiver.flags.remove(PeerFlags::DATA_UNACKNOWLEDGED);
        }
    }
}
