//! The ICMP and ICMPv6 trackers: queries are connections, errors belong to the connection that they quote.
//!
//! ```text
//!   A ───────► R ───────► B      R translates A to T. M, on the way, answers T's packet with an error.
//!        A→B        T→B          The error quotes  T→B.
//!               ◄── M            The inverse of the quoted tuple, B→T, is the connection's reply tuple:
//!                   M→T [T→B]    the error goes in reply direction, and its destination is that tuple's, T.
//! ```
//!
//! So an error is found by *inverting what it quotes*, and the direction found is the direction in which the error itself
//! travels. It must be addressed to that tuple's destination, the sender of the quoted packet. It refreshes nothing, counts
//! nothing and changes no state.
//!
//! Sources: RFC 792, RFC 4443, RFC 5508; measured: which types open connections, pass untracked, or are invalid; how much of
//! the quoted packet is needed (the IP header and four bytes of ports, eight of ICMP).

use std::net::IpAddr;

use crate::packet::Quote;
use crate::tcp::Verify;
use crate::{Family, Invalid, L4, Packet, Protocol, Tuple, checksum, tuple};

/// What an ICMP packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A query or an answer, or a type that is neither; its tuple decides.
    Message,
    /// An error; it belongs to the connection of this tuple, if it is addressed to the tuple's destination.
    Error(Tuple),
    /// Neighbour discovery, multicast listener and multicast router discovery: not tracked.
    Untracked,
}

/// What every ICMP packet must pass.
pub(crate) fn check(packet: &Packet<'_>, verify: Verify) -> Result<Kind, Invalid> {
    let held = packet.transport().ok_or(Invalid::NoTransport)?;
    if packet.transport_wire_len() < 8 || held.len() < 8 {
        return Err(Invalid::ShortPacket);
    }
    if verify == Verify::Checksum && !packet.is_truncated() && !is_sum_right(packet, held) {
        return Err(Invalid::BadChecksum);
    }
    let kind = held[0];
    match packet.family() {
        Family::Ipv4 => match kind {
            3 | 4 | 5 | 11 | 12 => quoted(Family::Ipv4, &held[8..]).map(Kind::Error),
            0..=18 => Ok(Kind::Message),
            _ => Err(Invalid::IcmpType(kind)),
        },
        Family::Ipv6 => match kind {
            0..=127 => quoted(Family::Ipv6, &held[8..]).map(Kind::Error),
            130..=136 | 143 | 151 | 152 => Ok(Kind::Untracked),
            _ => Ok(Kind::Message),
        },
    }
}

fn is_sum_right(packet: &Packet<'_>, held: &[u8]) -> bool {
    let start = match packet.family() {
        Family::Ipv4 => 0,
        Family::Ipv6 => checksum::pseudo(packet.src(), packet.dst(), Protocol::ICMPV6, held.len()),
    };
    checksum::fold(checksum::add(start, held)) == 0xffff
}

/// The tuple of a query or an answer.
pub(crate) fn l4(held: &[u8]) -> Option<L4> {
    match held {
        [kind, code, _, _, hi, lo, _, _, ..] => {
            Some(L4::Icmp { kind: *kind, code: *code, id: u16::from_be_bytes([*hi, *lo]) })
        }
        _ => None,
    }
}

/// The inverse of the tuple of the packet that an error quotes.
fn quoted(family: Family, quote: &[u8]) -> Result<Tuple, Invalid> {
    let Quote { src, dst, protocol, transport } = Quote::read(family, quote).ok_or(Invalid::IcmpQuoteUnreadable)?;
    let l4 = crate::track::l4(protocol, quote.get(transport..).unwrap_or(&[])).ok_or(Invalid::IcmpQuoteUnreadable)?;
    Tuple { src, dst, protocol, l4 }.inverse().ok_or(Invalid::IcmpQuoteUnknown)
}

/// Whether an error is addressed to the sender of what it quotes.
pub(crate) fn is_addressed_to(packet: &Packet<'_>, destination: IpAddr) -> bool {
    packet.dst() == destination
}

/// Whether the first packet of a connection may be this one.
pub(crate) fn open(family: Family, l4: L4) -> Result<(), Invalid> {
    match l4 {
        L4::Icmp { kind, .. } if tuple::is_icmp_query(family, kind) => Ok(()),
        L4::Icmp { kind, .. } => Err(Invalid::IcmpUnsolicited(kind)),
        _ => Err(Invalid::NoTransport),
    }
}
