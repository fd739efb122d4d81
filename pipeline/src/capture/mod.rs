//! Where frames come from and where they go: stops 1 and 8 of a packet's way.
//!
//! ```text
//!  file or "-"                                                                     file or "-"
//!      │ magic                                                                          ▲
//!      ├─ gzip, zstd ──► decoder ─┐                                                     │
//!      │                          ▼                                                     │
//!      └──────────────────► Input (one reused buffer, counts bytes)                 Writer (pcapng)
//!                                 │ magic                                               ▲
//!                                 ├─ pcap   µs, ns, both byte orders                    │
//!                                 └─ pcapng sections, interfaces                        │
//!                                        │                                              │
//!                                        ▼                                              │
//!                   Source::next ──► Frame {at, iface, bytes} ──► the router ──► Outgoing {at, iface, bytes}
//! ```
//!
//! A replay that has more than one processor reads ahead ([`Ahead`]), and a writer writes behind its caller: both on threads
//! of their own, in the same order.
//!
//! # Invariants
//! - Memory is constant: one buffer of 256 KiB that grows to the longest packet, never beyond
//!   [`MAX_BLOCK`]. A length field that asks for more is an error, not an allocation. The list of interfaces is bounded by
//!   [`MAX_INTERFACES`].
//! - Every frame before a fault is delivered, then the fault once, then the end.
//! - A fault is one line: `FILE: at byte N (packet K): why`. For a compressed file the byte is one of what it unpacks to.
//! - The same interface (name and link type) in a later section keeps its number; numbers are never reused.
//! - Time comes from the file alone. A simple packet block has none: it takes the time of the frame before it.
//!
//! # Which crate, and for what
//! Records and blocks are cut and written by `pcap-file` 2 through its slice functions (`PcapHeader::from_slice`,
//! `RawPcapPacket::from_slice`, `RawBlock::from_slice`, `Block::write_to`), but for packets, which are written in place. Its typed readers are not used, because version 2
//! - reads every pcapng timestamp as nanoseconds, whatever `if_tsresol` says (its pull request 37, in no stable release);
//! - refuses a classic packet whose length on the wire exceeds the snap length, that is every snapped capture;
//! - refuses an option list without `opt_endofopt` (which the format permits) and any `if_tzone` of its right length;
//! - has a fixed 8 MB buffer and tells neither where nor at which packet a fault lies.
//!
//! `pcap-parser` 0.17 was weighed for reading: it reads `if_tsoffset` as little-endian in big-endian files, knows no binary
//! `if_tsresol`, and answers "incomplete" for ever to a captured length beyond its block; and it does not write.
//!
//! # Sources
//! draft-ietf-opsawg-pcap (classic pcap), draft-ietf-opsawg-pcapng (sections 4.1–4.5, options of 3.5 and 4.3), the
//! `LINKTYPE_` registry of tcpdump.org.

mod ahead;
mod behind;
mod fault;
mod input;
mod pcap;
mod pcapng;
mod reader;
#[cfg(test)]
mod tests;
mod write;

pub use ahead::Ahead;
pub use fault::{CaptureError, Fault};
pub use reader::Reader;
pub use write::Writer;

use crate::link::{LinkType, Mac};
use uct_engine::Time;

/// The longest packet accepted, in bytes: twice the largest `BIG TCP` packet that Linux builds (512 KiB).
pub const MAX_PACKET: u32 = 1 << 20;
/// The longest pcapng block that is looked into, in bytes. Longer blocks of kinds that are skipped anyway may come.
pub const MAX_BLOCK: u32 = 16 << 20;
/// How many interfaces one capture may describe.
pub const MAX_INTERFACES: usize = 1 << 16;

/// Number of an interface within one source or sink, from 0 in order of first appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u32);

impl InterfaceId {
    /// As an index into [`Source::interfaces`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An interface as a capture describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// pcapng `if_name`; classic pcap has none. Control characters are replaced, so that it can be printed.
    pub name: Option<String>,
    /// What each frame of this interface begins with.
    pub link: LinkType,
    /// pcapng `if_MACaddr`.
    pub mac: Option<Mac>,
}

/// Which way a frame crossed the capturing interface, where the capture says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crossing {
    /// It arrived there.
    Inbound,
    /// It was sent from there.
    Outbound,
}

/// One frame of a capture, borrowed from the source's buffer until the next call.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When it was captured.
    pub at: Time,
    /// Where: index into [`Source::interfaces`].
    pub iface: InterfaceId,
    /// What the bytes begin with.
    pub link: LinkType,
    /// Which way it went, if the record says so (pcapng `epb_flags`). [`crate::link::parse`] tells what a cooked header says.
    pub crossing: Option<Crossing>,
    /// What was captured, from the link header on.
    pub bytes: &'a [u8],
    /// How many bytes it had on the wire; more than `bytes` if the capture was taken with a snap length.
    pub wire_len: u32,
    /// Number of the frame, from 1, as Wireshark counts.
    pub number: u64,
    /// Where its record begins, in bytes from the start of the (unpacked) file.
    pub offset: u64,
}

impl Frame<'_> {
    /// How many bytes of the frame the capture left out.
    pub fn missing(&self) -> u32 {
        self.wire_len.saturating_sub(self.bytes.len() as u32)
    }
}

/// Stop 1: where frames come from.
pub trait Source {
    /// The next frame, or `None` at the end. After an error the source is at its end.
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError>;

    /// The interfaces seen so far; grows while reading, never changes what it holds.
    fn interfaces(&self) -> &[Interface];

    /// Whether the next frame is at hand, so that [`Source::next`] need not wait for it. `false` is never wrong.
    fn is_ready(&self) -> bool {
        false
    }

    /// The frame that [`Source::next`] will answer `n`-th from now, if it is at hand already.
    fn peek(&self, n: usize) -> Option<(LinkType, &[u8])> {
        let _ = n;
        None
    }
}

/// What a capture says became of a packet (pcapng `epb_verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It went on.
    Pass,
    /// It was dropped.
    Drop,
}

/// A frame to send or to write.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// When it left.
    pub at: Time,
    /// Where, as [`Sink::interface`] answered.
    pub iface: InterfaceId,
    /// What stands before `bytes`: a link header that was made apart from the packet, or nothing.
    pub head: &'a [u8],
    /// The frame, from its link header on, or from where `head` ends.
    pub bytes: &'a [u8],
    /// How many bytes it has on the wire; more than `head` and `bytes` if it came from a snapped capture.
    pub wire_len: u32,
    /// Which way it crosses the interface.
    pub crossing: Option<Crossing>,
    /// Links the copies of one packet (`epb_packetid`).
    pub packet_id: Option<u64>,
    /// What became of it.
    pub verdict: Option<Verdict>,
    /// Remarks, one `opt_comment` each; cut at 65,535 bytes.
    pub comments: &'a [&'a str],
}

impl<'a> Outgoing<'a> {
    /// A frame without remarks.
    pub fn new(at: Time, iface: InterfaceId, bytes: &'a [u8]) -> Self {
        Outgoing {
            at,
            iface,
            head: &[],
            bytes,
            wire_len: bytes.len() as u32,
            crossing: None,
            packet_id: None,
            verdict: None,
            comments: &[],
        }
    }
}

/// Stop 8: where frames go.
pub trait Sink {
    /// Announces an interface and answers its number; the same name and link type give the same number again.
    fn interface(&mut self, interface: &Interface) -> Result<InterfaceId, CaptureError>;

    /// Sends one frame.
    fn send(&mut self, frame: &Outgoing<'_>) -> Result<(), CaptureError>;

    /// Sends what is still buffered. Without this call, errors of the last writes would be lost.
    fn finish(&mut self) -> Result<(), CaptureError>;
}
