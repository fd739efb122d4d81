//! The Internet checksum: sums to verify, and incremental updates to rewrite.
//!
//! Rewriting a field changes a checksum by the difference of the words alone (RFC 1624 equation 3: `HC' = ~(~HC + ~m +
//! m')`), so a checksum that was wrong before stays wrong by the same amount, as in Linux.
//!
//! Sources: RFC 1071, RFC 1624; RFC 768 and RFC 8200 §8.1 for the pseudo-headers.

use std::net::IpAddr;

use crate::Protocol;

/// The one's-complement sum of the bytes, folded to 16 bits. A block that contains its own right checksum sums to
/// `0xffff`.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    fold(add(0, bytes))
}

/// Adds bytes to a running sum, as big-endian words; an odd last byte is padded with zero.
#[inline]
pub fn add(mut acc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    for w in words {
        acc += u64::from(u32::from_be_bytes(*w));
    }
    let (pairs, last) = rest.as_chunks::<2>();
    for p in pairs {
        acc += u64::from(u16::from_be_bytes(*p));
    }
    if let [b] = last {
        acc += u64::from(*b) << 8;
    }
    acc
}

/// Folds a running sum to 16 bits.
#[inline]
pub fn fold(mut acc: u64) -> u16 {
    while acc > 0xffff {
        acc = (acc >> 16) + (acc & 0xffff);
    }
    acc as u16
}

/// The sum of the pseudo-header of TCP, UDP, UDP-Lite and ICMPv6.
#[inline]
pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> u64 {
    let acc = add_addr(add_addr(0, src), dst);
    acc + u64::from(protocol.0) + len as u64
}

/// Adds an address to a running sum.
#[inline]
pub fn add_addr(acc: u64, addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(a) => add(acc, &a.octets()),
        IpAddr::V6(a) => add(acc, &a.octets()),
    }
}

/// A pending change of a checksum: what was taken out and what was put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// One 16-bit word replaced by another.
    #[inline]
    pub fn word(self, old: u16, new: u16) -> Delta {
        Delta(self.0 + u64::from(!old) + u64::from(new))
    }

    /// A 32-bit word replaced by another.
    #[inline]
    pub fn double_word(self, old: u32, new: u32) -> Delta {
        Delta(self.0 + u64::from(!old) + u64::from(new))
    }

    /// An address replaced by another of its family.
    #[inline]
    pub fn addr(self, old: IpAddr, new: IpAddr) -> Delta {
        let complement = match old {
            IpAddr::V4(a) => add(0, &a.octets().map(|b| !b)),
            IpAddr::V6(a) => add(0, &a.octets().map(|b| !b)),
        };
        Delta(add_addr(self.0 + complement, new))
    }

    /// The checksum field after the change (RFC 1624, equation 3).
    #[inline]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + u64::from(!checksum))
    }
}

/// SCTP's checksum: CRC-32C (Castagnoli), RFC 9260 appendix A; it is carried with its least significant byte first.
pub fn crc32c(parts: [&[u8]; 3]) -> u32 {
    static TABLE: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);
    let mut digest = TABLE.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn incremental_equals_full(mut bytes in prop::collection::vec(any::<u8>(), 20..80), old_at in 0usize..8, new: u16) {
            bytes.truncate(bytes.len() / 2 * 2);
            let at = 2 + old_at * 2;
            bytes[0] = 0;
            bytes[1] = 0;
            let full = |b: &[u8]| !sum(b);
            let before = full(&bytes);
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let updated = Delta::default().word(old, new).apply(before);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            let after = full(&bytes);
            // 0x0000 and 0xffff are the same number in one's complement.
            prop_assert!(updated == after || (updated == 0 && after == 0xffff) || (updated == 0xffff && after == 0));
        }

        #[test]
        fn addresses_sum_like_their_bytes(a: [u8; 16], b: [u8; 16], ck: u16) {
            let there = Delta::default().addr(a.into(), b.into()).apply(ck);
            let back = Delta::default().addr(b.into(), a.into()).apply(there);
            prop_assert!(back == ck || (back == 0 && ck == 0xffff) || (back == 0xffff && ck == 0));
        }
    }
}
