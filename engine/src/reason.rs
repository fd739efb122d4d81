//! Why a packet was refused, in two of the project's three words.
//!
//! * [`Malformed`]: the bytes do not parse as IP; a Linux router drops them before connection tracking sees them.
//! * [`Invalid`]: they parse, and the tracker says no. The engine never drops: Linux forwards such packets untranslated
//!   unless a rule drops them.
//! * `Drop`: the pipeline's decision, and so the pipeline's word.
//!
//! [`Gone`] says why a connection has left the table.
//!
//! Every variant has one sentence ([`std::fmt::Display`]) and one counter (see [`crate::Stats`]). The sentences of TCP
//! are the kernel's own vocabulary (`nf_conntrack_log_invalid=255`), so that people who know its log know ours.

use std::fmt;

use thiserror::Error;

use crate::Sysctl;

/// The bytes do not parse as an IP packet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Shorter than the IP header.
    #[error("the IP header is cut: {have} bytes of {need}")]
    ShortHeader {
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed.
        need: usize,
    },
    /// Version neither 4 nor 6.
    #[error("IP version {0}")]
    Version(u8),
    /// An IPv4 header length below 20 bytes.
    #[error("IPv4 header length {0} is below 20")]
    HeaderLength(u8),
    /// The total length is below the header's, or more than arrived.
    #[error("IP length {length} does not fit the {have} bytes that arrived")]
    Length {
        /// The length that the header states, in bytes.
        length: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// IPv6 hop-by-hop options that a router has to discard the packet for.
    #[error("hop-by-hop options: the one at byte {at} is broken, or says to discard the packet")]
    HopByHop {
        /// Where in the packet the option starts.
        at: usize,
    },
    /// The IPv4 header checksum is wrong.
    #[error("wrong IPv4 header checksum")]
    HeaderChecksum,
}

macro_rules! invalid {
    ($($(#[$doc:meta])* $variant:ident $(($field:ty))? = $name:literal, $text:literal;)*) => {
        /// The packet parses, and the tracker says no.
        #[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
        pub enum Invalid { $($(#[$doc])* #[error($text)] $variant $(($field))?,)* }

        impl Invalid {
            /// How many reasons there are.
            pub const COUNT: usize = [$($name),*].len();
            /// The short names of all reasons, by [`Invalid::index`].
            pub const NAMES: [&'static str; Self::COUNT] = [$($name),*];

            /// The reason's short name, as counters carry it.
            pub fn name(&self) -> &'static str {
                match self { $(Invalid::$variant { .. } => $name),* }
            }

            /// Where the reason's counter stands among [`Invalid::NAMES`].
            pub fn index(&self) -> usize {
                let name = self.name();
                Self::NAMES.iter().position(|n| *n == name).unwrap_or(0)
            }
        }
    };
}

impl Invalid {
    /// The setting, and its value, with which the packet would have been taken. (The bounds of the window and a reset's
    /// number are one test each: with the one lifted, another may still object.)
    pub const fn remedy(&self) -> Option<(Sysctl, u32)> {
        match self {
            Invalid::BadChecksum => Some((Sysctl::Checksum, 0)),
            Invalid::TcpNotLoose => Some((Sysctl::TcpLoose, 1)),
            Invalid::TcpSeqOver(_) | Invalid::TcpAckOver(_) => Some((Sysctl::TcpBeLiberal, 1)),
            Invalid::TcpRst(_) => Some((Sysctl::TcpIgnoreInvalidRst, 1)),
            _ => None,
        }
    }
}

/// Why a connection has left the table.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Gone {
    /// Nothing refreshed it in time.
    #[error("its timeout ran out")]
    RanOut,
    /// A SYN opens a new connection on the tuple of one that has ended.
    #[error("it had ended, and a SYN opens a new connection on its tuple")]
    Reopened,
    /// A reset before anything else was answered.
    #[error("it was refused before anything was answered")]
    Refused,
    /// The table was full and it was not assured.
    #[error("the table was full, and it was not assured (early drop)")]
    EarlyDrop,
    /// It had ended, and NAT needed its translated port for another.
    #[error("it had ended, and its translated port was needed")]
    Evicted,
    /// It borrowed the address of an interface by which it does not leave any more.
    #[error("it was masqueraded with the address of another interface than the one it leaves by now")]
    InterfaceChanged,
}

/// A sequence number and the bound that it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// What the segment carried, in the sender's (or, for acknowledgements, the receiver's) sequence space.
    pub value: u32,
    /// The bound.
    pub bound: u32,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: it is {}", self.bound, self.value)
    }
}

/// A segment that the state machine does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadTransition {
    /// What the segment was.
    pub class: crate::tcp::Class,
    /// Its direction.
    pub dir: crate::Direction,
    /// The state it met.
    pub state: crate::tcp::TcpState,
}

impl fmt::Display for BadTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} direction is invalid in state {}", self.class, self.dir.name(), self.state)
    }
}

invalid! {
    /// No transport header can be found (a later fragment, a cut extension header, IPv6 "no next header").
    NoTransport = "no-transport", "no transport header can be found";
    /// Shorter than the transport header.
    ShortPacket = "short-packet", "short packet: the transport header is cut";
    /// A length field within the packet contradicts its size.
    TruncatedPacket = "truncated-packet", "truncated or malformed packet: a length contradicts the packet's size";
    /// The transport checksum is wrong.
    BadChecksum = "bad-checksum", "bad checksum";
    /// A UDP-Lite packet without checksum.
    NoChecksum = "no-checksum", "UDP-Lite without a checksum";
    /// A set of TCP flags that no TCP sends.
    TcpFlags(u8) = "tcp-flags", "invalid tcp flag combination {0:#04x}";
    /// A TCP segment that cannot open a connection: not a SYN, and not one that mid-stream pickup takes.
    TcpNew(crate::tcp::Class) = "tcp-new", "invalid new: {0} cannot open a connection";
    /// Mid-stream pickup is off (`nf_conntrack_tcp_loose=0`).
    TcpNotLoose = "tcp-not-loose", "invalid new: not a SYN, and nf_conntrack_tcp_loose is 0";
    /// The state machine has no place for the segment.
    TcpState(BadTransition) = "tcp-state", "{0}";
    /// Window inequality I.
    TcpSeqOver(Bound) = "tcp-seq-over", "SEQ is over upper bound {0} (over the window of the receiver)";
    /// Window inequality III.
    TcpAckOver(Bound) = "tcp-ack-over", "ACK is over upper bound {0} (ACKed data not seen yet)";
    /// A reset at a sequence number that was acknowledged already.
    TcpRst(Bound) = "tcp-rst", "invalid rst: SEQ is under {0} (acknowledged already)";
    /// An ICMP type that is no query, and no known query waits for it.
    IcmpType(u8) = "icmp-type", "invalid icmp type {0}";
    /// An answer to no query.
    IcmpUnsolicited(u8) = "icmp-unsolicited", "icmp type {0} answers no known query";
    /// An ICMP error whose quoted packet cannot be read.
    IcmpQuoteUnreadable = "icmp-quote-unreadable", "the packet quoted in the icmp error cannot be read";
    /// An ICMP error about a connection that is not known.
    IcmpQuoteUnknown = "icmp-quote-unknown", "icmp error about an unknown connection";
    /// An ICMP error that is not addressed to the sender of the packet it quotes.
    IcmpQuoteMismatch = "icmp-quote-mismatch", "icmp error not addressed to the sender of the packet that it quotes";
    /// ICMP of the other family.
    IcmpFamily = "icmp-family", "icmp of the wrong IP version";
    /// An SCTP packet that the state machine does not take.
    SctpState(crate::sctp::BadChunk) = "sctp-state", "{0}";
    /// SCTP chunks that do not parse, or that may not travel together.
    SctpChunks = "sctp-chunks", "invalid SCTP chunks";
    /// A wrong SCTP verification tag.
    SctpVtag(u32) = "sctp-vtag", "wrong SCTP verification tag {0:#010x}";
    /// An SCTP INIT ACK that announces another tag than the one that is known.
    SctpInitAck(u32) = "sctp-init-ack", "SCTP INIT ACK announces tag {0:#010x}, another is known";
    /// An SCTP packet that cannot open an association.
    SctpNew(crate::sctp::Chunk) = "sctp-new", "invalid new: {0} cannot open an association";
}
