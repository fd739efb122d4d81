//! What can be wrong with a capture, each in one sentence.

use crate::link::LinkType;
use std::fmt;
use std::io;

/// A fault, with the file and the place: `FILE: at byte N (packet K): why`.
#[derive(Debug)]
pub struct CaptureError {
    /// The file as the user named it; `-` is shown as `standard input` or `standard output`.
    pub file: String,
    /// Where: bytes from the start, and the number of the packet that was being read. `None` for a fault of the file as such.
    pub place: Option<Place>,
    /// Why.
    pub fault: Fault,
}

/// A place in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset in bytes.
    pub byte: u64,
    /// Number of the packet there, from 1.
    pub packet: u64,
    /// What the offset counts.
    pub of: Layer,
}

/// What an offset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Bytes of the file.
    File,
    /// Bytes of what a compressed file unpacks to.
    Unpacked,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(place) = self.place {
            let unpacked = match place.of {
                Layer::File => "",
                Layer::Unpacked => "unpacked ",
            };
            write!(f, "at {unpacked}byte {} (packet {}): ", place.byte, place.packet)?;
        }
        write!(f, "{}", self.fault)
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Io(e) => Some(e),
            _ => None,
        }
    }
}

/// Why a capture cannot be read on, or written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system, or the unpacking, said no.
    #[error("{}", crate::plain(.0))]
    Io(#[source] io::Error),
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Another kind of file.
    #[error("not a capture: {0}; pcap and pcapng are read, also in gzip or zstd")]
    NotACapture(String),
    /// A version of the format that is not known.
    #[error("{format} version {major}.{minor} is not known")]
    Version {
        /// pcap or pcapng.
        format: &'static str,
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// The file ends too early.
    #[error("cut off: the {what} has {need} bytes, {have} are there")]
    Cut {
        /// What is incomplete.
        what: &'static str,
        /// How long it says it is, in bytes.
        need: u64,
        /// How much is there, in bytes.
        have: u64,
    },
    /// A compressed file ends too early.
    #[error("cut off: the compressed data ends in the middle")]
    CutCompressed,
    /// A length that no packet or block has.
    #[error("the {what} says it has {len} bytes, more than the {limit} that are accepted: damaged?")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length field.
        len: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A block that contradicts itself.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A packet of an interface that has not been described.
    #[error("the packet is of interface {id}, but the section describes only {known}")]
    NoSuchInterface {
        /// The interface it names.
        id: u32,
        /// How many are described.
        known: usize,
    },
    /// Too many interfaces.
    #[error("more than {0} interfaces")]
    TooManyInterfaces(usize),
    /// A link type that is not known.
    #[error("link type {} ({}) is not supported; supported are {}", .0.code(), .0.name(), LinkType::SUPPORTED)]
    LinkType(LinkType),
}
