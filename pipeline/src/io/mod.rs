//! Frames in, frames out: what a router's interfaces are made of.
//!
//! ```text
//!   Source ── a batch of frames, each rewritten where it lies ──► the way ──► Sink ── one system call for many
//! ```
//! | kind | what it is | frames | offloads |
//! |---|---|---|---|
//! | [`ring`] | AF_PACKET with a memory-mapped ring | Ethernet | carried through |
//! | [`pnet`] | pnet's datalink, portable and simple | Ethernet | must be off at the neighbours |
//! | [`tap`] | a TUN or TAP device of our own | IP or Ethernet | carried through |
//! | [`memory`] | two ends of a wire in this process | Ethernet | carried through |
//!
//! A source never waits by itself: whoever owns it waits for all of its sources at once ([`Source::fd`]). A sink never waits
//! either: what the interface does not take is lost and counted, as on a card whose queue is full.
//!
//! A frame that a source hands over is valid until the call returns, and may be rewritten where it lies: a ring's frames are
//! never copied on the way in.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::link::LinkType;
use crate::offload::Offload;

pub mod memory;
pub mod pnet;
pub mod ring;
mod sys;
pub mod tap;

/// A frame as it came.
#[derive(Debug)]
pub struct Frame<'a> {
    /// From its link header on.
    pub bytes: &'a mut [u8],
    /// What its sender left to a card.
    pub offload: Offload,
}

/// Where frames come from: the receiving half of an interface.
pub trait Source: Send {
    /// What its frames begin with.
    fn link(&self) -> LinkType {
        LinkType::Ethernet
    }

    /// Hands over what has come, at most `most` frames, without waiting. Answers how many.
    fn receive(&mut self, most: usize, each: &mut dyn FnMut(Frame<'_>)) -> io::Result<usize>;

    /// The frame that will be handed over `n`-th from now, if it is here already and the source can show it; empty where it cannot be
    /// shown but others behind it can.
    fn peek(&self, n: usize) -> Option<&[u8]> {
        let _ = n;
        None
    }

    /// What becomes readable when something has come. Without one, [`Source::wait`] waits.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Waits until something has come, or for so long.
    fn wait(&mut self, most: Duration) {
        std::thread::sleep(most);
    }

    /// What was lost since the last call, before it could be handed over.
    fn take_lost(&mut self) -> Lost {
        Lost::default()
    }
}

/// Where frames go: the sending half of an interface.
pub trait Sink: Send {
    /// What its frames begin with.
    fn link(&self) -> LinkType {
        LinkType::Ethernet
    }

    /// Takes a frame in two parts, link header and packet. It may wait here until [`Sink::flush`].
    fn send(&mut self, header: &[u8], packet: &[u8], offload: Offload);

    /// Sends what waits.
    fn flush(&mut self) {}

    /// What became of frames since the last call.
    fn take_sent(&mut self) -> Sent {
        Sent::default()
    }
}

/// Frames that an interface had and that nobody got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// There was no room for them.
    pub full: u64,
    /// They were longer than there was room for.
    pub long: u64,
    /// What they leave to the card is not understood.
    pub offload: u64,
    /// They carry a VLAN tag, and so belong to another interface.
    pub tagged: u64,
}

/// What became of frames that a sink was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// They left.
    pub frames: u64,
    /// There was no room for them.
    pub full: u64,
    /// The interface was down or gone.
    pub down: u64,
    /// They were longer than the interface takes.
    pub long: u64,
    /// The interface refused them for another reason.
    pub failed: u64,
}

impl Sent {
    /// Counts one frame by what sending it answered.
    fn count(&mut self, answer: Result<(), rustix::io::Errno>) {
        use rustix::io::Errno;
        let counter = match answer {
            Ok(()) => &mut self.frames,
            Err(Errno::AGAIN | Errno::NOBUFS) => &mut self.full,
            Err(Errno::NETDOWN | Errno::NXIO | Errno::NODEV | Errno::IO) => &mut self.down,
            Err(Errno::MSGSIZE) => &mut self.long,
            Err(_) => &mut self.failed,
        };
        *counter += 1;
    }
}
