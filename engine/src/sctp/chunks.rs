//! The chunks of one packet: a bounded walk, and the rules of who may travel with whom.
//!
//! ```text
//!   ┌ type ┬ flags ┬ length ┬ value … ┬ padding to 4 ┐ next chunk …
//!   └──────── length ─────────────────┘
//! ```
//!
//! As measured: a length of 0 refuses the packet; one that is 1–3, or that leads past the end, does not; what is left after
//! the last chunk and is shorter than a chunk header does not matter. INIT, INIT ACK and SHUTDOWN COMPLETE travel alone,
//! COOKIE ECHO and COOKIE ACK come first (RFC 9260 §6.10).

use super::Chunk;
use crate::Invalid;

/// Bytes of a chunk's type, flags and length.
const CHUNK_HEADER: usize = 4;

/// What is read of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) chunk: Chunk,
    /// The T bit of ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own, reflected (RFC 9260 §8.5.1).
    pub(crate) tag: TagOf,
    /// The tag that INIT and INIT ACK announce; `None` if the chunk is cut before its fixed part ends.
    pub(crate) announced: Option<u32>,
}

/// Whose tag ABORT and SHUTDOWN COMPLETE carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagOf {
    Direction,
    OtherDirection,
}

/// A packet behind its common header, found good to walk over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'p> {
    /// The verification tag.
    pub(crate) tag: u32,
    rest: &'p [u8],
    /// Chunks with rules of their own for the tag.
    has_own_rule: bool,
    has_data: bool,
}

impl<'p> Body<'p> {
    pub(crate) fn read(tag: u32, rest: &'p [u8]) -> Result<Self, Invalid> {
        let mut body = Body { tag, rest, has_own_rule: false, has_data: false };
        let mut count = 0_usize;
        let mut loner = false;
        for raw in Walk(rest) {
            let Raw { kind, length, .. } = raw;
            let chunk = Chunk::of(kind);
            let is_loner = matches!(chunk, Chunk::Init | Chunk::InitAck | Chunk::ShutdownComplete);
            let must_be_first = is_loner || matches!(chunk, Chunk::CookieEcho | Chunk::CookieAck);
            if length == 0 || loner || (must_be_first && count > 0) {
                return Err(Invalid::SctpChunks);
            }
            loner = is_loner;
            count += 1;
            body.has_data |= chunk == Chunk::DATA;
            body.has_own_rule |= !matches!(chunk, Chunk::Other(_) | Chunk::CookieAck | Chunk::InitAck)
                && !matches!(chunk, Chunk::Shutdown | Chunk::Error);
        }
        if count == 0 { Err(Invalid::SctpChunks) } else { Ok(body) }
    }

    /// Whether one of the chunks has a rule of its own for the tag, so that the common rule is not asked.
    pub(crate) fn has_own_rule(&self) -> bool {
        self.has_own_rule
    }

    /// Whether user data is among the chunks.
    pub(crate) fn has_data(&self) -> bool {
        self.has_data
    }

    /// The chunks in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> + use<'p> {
        Walk(self.rest).map(|Raw { kind, flags, value, .. }| Item {
            chunk: Chunk::of(kind),
            tag: if flags & 1 == 0 { TagOf::Direction } else { TagOf::OtherDirection },
            // tag, window, two stream counts, first sequence number
            announced: value.first_chunk::<16>().map(|v| u32::from_be_bytes([v[0], v[1], v[2], v[3]])),
        })
    }
}

struct Raw<'p> {
    kind: u8,
    flags: u8,
    length: u16,
    /// All that follows the header, the chunk's own or not: its length is not believed.
    value: &'p [u8],
}

/// Every step is at least four bytes but for a length of 0, which [`Body::read`] refuses and this ends at.
struct Walk<'p>(&'p [u8]);

impl<'p> Iterator for Walk<'p> {
    type Item = Raw<'p>;

    fn next(&mut self) -> Option<Raw<'p>> {
        let [kind, flags, hi, lo, value @ ..] = self.0 else { return None };
        let length = u16::from_be_bytes([*hi, *lo]);
        let step = usize::from(length).next_multiple_of(CHUNK_HEADER);
        self.0 = if step == 0 { &[] } else { self.0.get(step..).unwrap_or_default() };
        Some(Raw { kind: *kind, flags: *flags, length, value })
    }
}
