//! Which address of a range a connection gets: a hash, so that it is the same on every run and after every restart.
//!
//! ```text
//!   hash = jhash2(source address as four words, initial value)
//!   initial value = last word of the destination ^ zone          (0 if the mapping is persistent)
//!   word of the address = first + hash * (last - first + 1) / 2^32
//! ```
//! Words are 32 bits of the address in network order, read as the machine does (little-endian here); an IPv4 address is its
//! word and three of zero. IPv6 goes word by word: while the chosen words equal the highest address's, the next word is
//! chosen between that of the lowest and that of the highest address; afterwards it is free; and after each word the hash
//! is changed by the destination's word (unless persistent).
//!
//! Sources: Bob Jenkins, *lookup3.c* (2006, public domain) for the hash; the rest recomputed from recorded choices of
//! Linux 6.18 (`recorded_*` in the tests).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uct_engine::{Manip, Tuple};

/// Bob Jenkins' hash of four 32-bit words.
fn jhash(words: [u32; 4], initial: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(4 << 2).wrapping_add(initial);
    let mut a = start.wrapping_add(words[0]);
    let mut b = start.wrapping_add(words[1]);
    let mut c = start.wrapping_add(words[2]);
    // mix
    for [r0, r1, r2] in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(r0);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(r1);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(r2);
        b = b.wrapping_add(a);
    }
    a = a.wrapping_add(words[3]);
    // final
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// An address as the kernel's four words see it.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(a) => [u32::from_le_bytes(a.octets()), 0, 0, 0],
        IpAddr::V6(a) => a
            .octets()
            .as_chunks::<4>()
            .0
            .try_into()
            .map(|w: [[u8; 4]; 4]| w.map(u32::from_le_bytes))
            .unwrap_or_default(),
    }
}

/// How a connection's destination takes part in the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// A client may get another address for another destination.
    ByDestination,
    /// A client always gets the same (`persistent`).
    Persistent,
}

/// Chooses between `first` and `last` for the end `manip` of a connection that carries `tuple`.
///
/// All addresses are of one family; another family's `first` or `last` leaves the address as it is.
pub(crate) fn choose(tuple: &Tuple, manip: Manip, first: IpAddr, last: IpAddr, spread: Spread, zone: u16) -> IpAddr {
    let mut dst = words(tuple.dst);
    let initial = |word: u32| match spread {
        Spread::ByDestination => word ^ u32::from(zone),
        Spread::Persistent => 0,
    };
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if tuple.dst.is_ipv4() => {
            let hash = jhash(words(tuple.src), initial(dst[0]));
            IpAddr::V4(Ipv4Addr::from(scale(hash, first.into(), last.into())))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if tuple.dst.is_ipv6() => {
            let mut hash = jhash(words(tuple.src), initial(dst[3]));
            let (first, last) = (big_endian(first), big_endian(last));
            let mut chosen = [0u32; 4];
            let mut at_edge = true;
            for i in 0..4 {
                chosen[i] = if at_edge { scale(hash, first[i], last[i]) } else { scale_free(hash) };
                at_edge &= chosen[i] == last[i];
                if manip == Manip::Dst {
                    dst[i] = chosen[i].swap_bytes();
                }
                if spread == Spread::ByDestination {
                    hash ^= dst[i];
                }
            }
            let [a, b, c, d] = chosen.map(u128::from);
            IpAddr::V6(Ipv6Addr::from(a << 96 | b << 64 | c << 32 | d))
        }
        _ => match manip {
            Manip::Src => tuple.src,
            Manip::Dst => tuple.dst,
        },
    }
}

fn big_endian(address: Ipv6Addr) -> [u32; 4] {
    words(IpAddr::V6(address)).map(u32::swap_bytes)
}

/// A word between `first` and `last`, at the place where the hash stands between 0 and 2^32.
fn scale(hash: u32, first: u32, last: u32) -> u32 {
    let size = last.wrapping_sub(first).wrapping_add(1);
    first.wrapping_add(((u64::from(hash) * u64::from(size)) >> 32) as u32)
}

/// Any word (but the very highest).
fn scale_free(hash: u32) -> u32 {
    ((u64::from(hash) * u64::from(u32::MAX)) >> 32) as u32
}

#[cfg(test)]
#[path = "spread/tests.rs"]
mod tests;
