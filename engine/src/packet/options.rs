//! IPv6 hop-by-hop options: the one extension header that every router reads, and may throw a packet away for.
//!
//! | option | rule |
//! |---|---|
//! | padding | at most 7 bytes in a row, zeros only |
//! | all others | at most 8 of them |
//! | router alert (5) | two bytes long |
//! | IOAM (49) | aligned to four bytes |
//! | CALIPSO (7), jumbo payload (194) | refused: no such labels, no such packets |
//! | unknown | the two highest bits of its type say: 00 skip, else discard (RFC 8200 §4.2) |
//!
//! Sources: RFC 8200 §4.2–4.3, RFC 2711 (router alert), RFC 2675 (jumbo payload); the limits measured on Linux 6.18, where
//! they are the defaults of `net.ipv6.max_hbh_opts_number` and of the padding rules.

use crate::Malformed;

const PAD_1: u8 = 0;
const PAD_N: u8 = 1;
const ROUTER_ALERT: u8 = 5;
const CALIPSO: u8 = 7;
const IOAM: u8 = 49;
const JUMBO: u8 = 194;

const MAX_PADDING: usize = 7;
const MAX_OPTIONS: usize = 8;

/// Reads the header that starts at `at` of `held`; what a capture cut off (`wire_len` bytes were on the wire) is not blamed.
pub(super) fn check(held: &[u8], at: usize, wire_len: usize) -> Result<(), Malformed> {
    let Some(len) = held.get(at + 1).map(|l| (usize::from(*l) + 1) * 8) else {
        return if at + 2 > wire_len { Err(Malformed::HopByHop { at }) } else { Ok(()) };
    };
    if at + len > wire_len {
        return Err(Malformed::HopByHop { at });
    }
    let Some(header) = held.get(at..at + len) else { return Ok(()) };
    let mut option = 2;
    let mut padding = 0;
    let mut count = 0;
    while let Some(kind) = header.get(option) {
        let bad = Err(Malformed::HopByHop { at: at + option });
        if *kind == PAD_1 {
            option += 1;
            padding += 1;
            if padding > MAX_PADDING {
                return bad;
            }
            continue;
        }
        let Some(value) = header.get(option + 1).and_then(|l| header.get(option + 2..option + 2 + usize::from(*l)))
        else {
            return bad;
        };
        let is_good = match *kind {
            PAD_N => {
                padding += 2 + value.len();
                padding <= MAX_PADDING && value.iter().all(|b| *b == 0)
            }
            _ => {
                padding = 0;
                count += 1;
                count <= MAX_OPTIONS
                    && match *kind {
                        ROUTER_ALERT => value.len() == 2,
                        IOAM => (at + option).is_multiple_of(4),
                        CALIPSO | JUMBO => false,
                        unknown => unknown & 0xc0 == 0,
                    }
            }
        };
        if !is_good {
            return bad;
        }
        option += 2 + value.len();
    }
    Ok(())
}
