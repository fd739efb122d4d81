//! One segment, as the tracker reads it. Options are read the way Linux reads them: lengths below 2 or past the end stop
//! the reading, and what was read counts; of an option that stands twice the last counts,
//! but of selective acknowledgements the first.

use super::window::{PeerFlags, Seq};
use super::{Class, flag};

/// Largest window scale (RFC 7323 §2.3); a larger one counts as this.
const MAX_SCALE: u8 = 14;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_WINDOW_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) class: Class,
    pub(crate) flags: u8,
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    /// The number after the segment's last byte; SYN and FIN count as one each.
    pub(crate) end: Seq,
    /// As it stands in the header, not scaled.
    pub(crate) window: u16,
    /// Window scale offered in this segment's options.
    pub(crate) scale: Option<u8>,
    /// Whether its options permit selective acknowledgements.
    pub(crate) sack_permitted: bool,
    /// The highest right edge of its SACK blocks beyond `ack`, else `ack`.
    pub(crate) sack: Seq,
    /// Bytes of options.
    pub(crate) options: usize,
}

impl Segment {
    /// Reads a header of `header_len` bytes, all of them in `held`, followed by `payload` bytes on the wire.
    pub(crate) fn read(held: &[u8], header_len: usize, payload: usize) -> Segment {
        let word = |at: usize| u32::from_be_bytes([held[at], held[at + 1], held[at + 2], held[at + 3]]);
        let flags = held[13];
        let seq = Seq(word(4));
        let ack = Seq(word(8));
        let phantom = u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
        let mut segment = Segment {
            class: Class::of(flags),
            flags,
            seq,
            ack,
            end: seq + (payload as u32).wrapping_add(phantom),
            window: u16::from_be_bytes([held[14], held[15]]),
            scale: None,
            sack_permitted: false,
            sack: ack,
            options: header_len - 20,
        };
        segment.read_options(&held[20..header_len]);
        segment
    }

    fn read_options(&mut self, mut options: &[u8]) {
        let mut sack_seen = false;
        while let [kind, rest @ ..] = options {
            match *kind {
                OPTION_END => return,
                OPTION_NOP => {
                    options = rest;
                    continue;
                }
                _ => {}
            }
            let Some(len) = rest.first().map(|l| usize::from(*l)) else { return };
            if len < 2 || len > options.len() {
                return;
            }
            let body = &options[2..len];
            match *kind {
                OPTION_WINDOW_SCALE if len == 3 => self.scale = Some(body[0].min(MAX_SCALE)),
                OPTION_SACK_PERMITTED if len == 2 => self.sack_permitted = true,
                // As measured, only the first counts.
                OPTION_SACK if len >= 10 && (len - 2) % 8 == 0 && !sack_seen => {
                    sack_seen = true;
                    for block in body.as_chunks::<8>().0 {
                        let right = Seq(u32::from_be_bytes([block[4], block[5], block[6], block[7]]));
                        if right.after(self.sack) {
                            self.sack = right;
                        }
                    }
                }
                _ => {}
            }
            options = &options[len..];
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What a SYN's options say of its sender: its window scale, and what else it can do.
    pub(crate) fn offered(&self) -> (u8, PeerFlags) {
        let mut flags = PeerFlags::empty();
        if self.scale.is_some() {
            flags |= PeerFlags::WINDOW_SCALE;
        }
        if self.sack_permitted {
            flags |= PeerFlags::SACK_PERM;
        }
        (self.scale.unwrap_or(0), flags)
    }
}
