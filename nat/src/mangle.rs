//! Rewriting one end of one packet in place, and the checksums that cover it.
//!
//! | what | checksum | how |
//! |---|---|---|
//! | IPv4 address | header | incremental |
//! | address, port of TCP, UDP, UDP-Lite | transport, with its pseudo-header | incremental; UDP 0 ("none") stays 0, a UDP result of 0 is written ffff |
//! | id of an ICMP query | ICMP | incremental |
//! | address and id of ICMPv6 | ICMPv6, with its pseudo-header | incremental |
//! | port of SCTP | CRC-32C | computed anew |
//! | call id of GRE version 1, as destination | none | version 0 has nothing to rewrite, others are dropped |
//! | any other protocol | none | address only |
//!
//! Incremental means RFC 1624 equation 3: the checksum changes by the difference of the words, so what was wrong stays wrong
//! by as much, and a far end notices. The header checksum of IPv4 and the UDP checksum follow the same rule.
//!
//! A quoted packet may be cut anywhere ([`Held::Cut`] and the lengths below). Linux rewrites ports where there are eight bytes
//! of transport header and leaves alone a checksum that is not there; with less it drops the error.
//!
//! Sources: RFC 1624, RFC 768, RFC 3828, RFC 9260, RFC 2637; measured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use uct_engine::checksum::{self, Delta};
use uct_engine::{Family, L4, Manip, Protocol, Tuple};

/// Why translation drops a packet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// An ICMP redirect about a connection that is translated, or that NAT has not decided about.
    #[error("an icmp redirect about a translated connection")]
    Redirect,
    /// An ICMP error with a wrong checksum (let in by `nf_conntrack_checksum=0`).
    #[error("an icmp error with a wrong checksum")]
    BadChecksum,
    /// A header that must be rewritten is not there as a whole.
    #[error("there are {have} of the {need} bytes of {protocol} header that translation needs")]
    Cut {
        /// The protocol of the header.
        protocol: Protocol,
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed.
        need: usize,
    },
    /// GRE of a version whose destination nobody knows how to rewrite.
    #[error("GRE version {0} cannot be destination-translated")]
    GreVersion(u8),
    /// A masqueraded connection would leave by another interface than the one whose address it borrowed. The connection is
    /// to be destroyed ([`uct_engine::Engine::kill`]); what comes after it makes a new one.
    #[error("the connection is masqueraded with the address of another interface than the one it would leave by now")]
    InterfaceChanged,
}

/// Whether all bytes that were on the wire are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// They are; what is missing, the sender left out.
    Whole,
    /// The capture cut the packet: what is missing was on the wire.
    Cut,
}

/// One IP packet, or one that is quoted by an error, in a buffer.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// From its IP header on.
    pub(crate) bytes: &'a mut [u8],
    pub(crate) family: Family,
    /// Where its transport header starts, if there is one to rewrite.
    pub(crate) transport: Option<usize>,
    pub(crate) held: Held,
}

/// Makes one end of a packet look like that of `wanted`. On `Err` nothing has changed.
pub(crate) fn mangle(target: Target<'_>, wanted: &Tuple, manip: Manip) -> Result<(), Refusal> {
    let new = match manip {
        Manip::Src => wanted.src,
        Manip::Dst => wanted.dst,
    };
    match (target.family, new) {
        (Family::Ipv4, IpAddr::V4(new)) => mangle_v4(target, wanted.protocol, wanted.l4, new, manip),
        (Family::Ipv6, IpAddr::V6(new)) => mangle_v6(target, wanted.protocol, wanted.l4, new, manip),
        _ => Ok(()),
    }
}

/// The same in IPv4: one end gets the address `new` and its identifier in `l4`.
#[inline]
pub(crate) fn mangle_v4(
    target: Target<'_>,
    protocol: Protocol,
    l4: L4,
    new: Ipv4Addr,
    manip: Manip,
) -> Result<(), Refusal> {
    let Target { bytes, transport, held, .. } = target;
    let at = match manip {
        Manip::Src => 12,
        Manip::Dst => 16,
    };
    let Some(old) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(()) };
    let addresses = Delta::default().double_word(u32::from_be_bytes(*old), new.to_bits());
    if let Some(at) = transport {
        // Headers of a quoted IPv6 packet may claim to end beyond it: then there is nothing of what follows them.
        let segment = bytes.get_mut(at..).unwrap_or_default();
        transport_header(segment, protocol, l4, manip, addresses, held)?;
    }
    update(bytes, 10, addresses);
    bytes[at..at + 4].copy_from_slice(&new.octets());
    Ok(())
}

fn mangle_v6(target: Target<'_>, protocol: Protocol, l4: L4, new: Ipv6Addr, manip: Manip) -> Result<(), Refusal> {
    let Target { bytes, transport, held, .. } = target;
    let at = match manip {
        Manip::Src => 8,
        Manip::Dst => 24,
    };
    let Some(old) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) else { return Ok(()) };
    let addresses = Delta::default().addr(IpAddr::from(*old), IpAddr::V6(new));
    if let Some(at) = transport {
        // Headers of a quoted IPv6 packet may claim to end beyond it: then there is nothing of what follows them.
        let segment = bytes.get_mut(at..).unwrap_or_default();
        transport_header(segment, protocol, l4, manip, addresses, held)?;
    }
    bytes[at..at + 16].copy_from_slice(&new.octets());
    Ok(())
}

#[inline]
fn transport_header(
    segment: &mut [u8],
    protocol: Protocol,
    l4: L4,
    manip: Manip,
    addresses: Delta,
    held: Held,
) -> Result<(), Refusal> {
    const NEED: usize = 8;
    let is_known = protocol.has_ports() || matches!(protocol, Protocol::ICMP | Protocol::ICMPV6 | Protocol::GRE);
    if is_known && segment.len() < NEED && held == Held::Whole {
        return Err(Refusal::Cut { protocol, have: segment.len(), need: NEED });
    }
    match (protocol, l4) {
        (Protocol::TCP, L4::Ports { src, dst }) => {
            let delta = port(segment, manip, src, dst, addresses);
            // With less than a whole header the checksum stays as it is even where it could be reached.
            if segment.len() >= 20 || held == Held::Cut {
                update(segment, 16, delta);
            }
        }
        (Protocol::UDP, L4::Ports { src, dst }) => {
            let delta = port(segment, manip, src, dst, addresses);
            update_udp(segment, delta, Zero::MeansNone);
        }
        (Protocol::UDPLITE, L4::Ports { src, dst }) => {
            let delta = port(segment, manip, src, dst, addresses);
            update_udp(segment, delta, Zero::IsANumber);
        }
        (Protocol::SCTP, L4::Ports { src, dst }) => {
            port(segment, manip, src, dst, addresses);
            if segment.len() >= 12 && held == Held::Whole {
                let crc = checksum::crc32c([&segment[..8], &[0; 4], &segment[12..]]);
                segment[8..12].copy_from_slice(&crc.to_le_bytes());
            }
        }
        (Protocol::ICMP, L4::Icmp { id, .. }) if matches!(segment.first(), Some(0 | 8 | 13..=18)) => {
            let delta = word(segment, 4, id, Delta::default());
            update(segment, 2, delta);
        }
        (Protocol::ICMPV6, l4) => {
            let delta = match (l4, segment.first()) {
                (L4::Icmp { id, .. }, Some(128 | 129)) => word(segment, 4, id, addresses),
                _ => addresses,
            };
            update(segment, 2, delta);
        }
        (Protocol::GRE, L4::Keys { dst, .. }) if manip == Manip::Dst => match segment.get(1).map(|b| b & 0x07) {
            None | Some(0) => {}
            Some(1) => {
                word(segment, 6, dst, Delta::default());
            }
            Some(version) => return Err(Refusal::GreVersion(version)),
        },
        _ => {}
    }
    Ok(())
}

/// Writes the port of one end; returns what that does to a checksum.
#[inline]
fn port(segment: &mut [u8], manip: Manip, src: u16, dst: u16, delta: Delta) -> Delta {
    match manip {
        Manip::Src => word(segment, 0, src, delta),
        Manip::Dst => word(segment, 2, dst, delta),
    }
}

/// Writes one word, if it is there; returns what that does to a checksum.
#[inline]
fn word(bytes: &mut [u8], at: usize, new: u16, delta: Delta) -> Delta {
    let Some(place) = bytes.get_mut(at..at + 2) else { return delta };
    let old = u16::from_be_bytes([place[0], place[1]]);
    place.copy_from_slice(&new.to_be_bytes());
    delta.word(old, new)
}

/// Updates the checksum at `at`, if it is there.
#[inline]
fn update(bytes: &mut [u8], at: usize, delta: Delta) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        let new = delta.apply(u16::from_be_bytes([place[0], place[1]]));
        place.copy_from_slice(&new.to_be_bytes());
    }
}

/// What a checksum field of zero means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zero {
    /// No checksum (UDP).
    MeansNone,
    /// The number zero (UDP-Lite, which always has one).
    IsANumber,
}

fn update_udp(segment: &mut [u8], delta: Delta, zero: Zero) {
    if zero == Zero::MeansNone && segment.get(6..8) == Some(&[0, 0]) {
        return;
    }
    update(segment, 6, delta);
    if let Some(place) = segment.get_mut(6..8)
        && *place == [0, 0]
    {
        place.copy_from_slice(&[0xff, 0xff]);
    }
}

#[cfg(test)]
#[path = "mangle/tests.rs"]
mod tests;
