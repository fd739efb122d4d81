//! Stop 2: an IP packet, parsed once, with the offsets that tracking and rewriting need.
//!
//! ```text
//!  bytes ──► ┌ IP header ┬ extension headers ┬ transport header ┬ payload ┐ (link padding cut off)
//!            0           │                   transport()                  │
//!            └──────────────────── wire_len() ────────────────────────────┘ what the IP header states
//! ```
//!
//! What it decides: whether the bytes are IP at all ([`Malformed`] otherwise: what Linux drops in `ip_rcv`), where the
//! transport header is, and whether it is a fragment. What it leaves to the trackers: everything about the transport.
//!
//! A capture may hold less of a packet than the wire did (snaplen). Such a packet is [`Packet::is_truncated`]: its lengths
//! are taken from its IP header, and no checksum over bytes that are missing is verified or blamed.
//!
//! Invariants: `bytes` holds at least the IP header; `transport` is within `bytes`; nothing here allocates.
//! The walk over IPv6 extension headers is bounded by the packet: as measured there is no limit to their number, and each
//! is eight bytes or more. Hop-by-hop, routing, fragment, authentication and destination headers are walked over; any other
//! number is a protocol (ESP, and mobility, HIP and Shim6 too), "no next header" is none.
//!
//! A packet from a local link may come with its transport checksum verified by the card, or left for the card that sends it to
//! fill in: [`Packet::with_checksum`] says so, and then nothing is verified here, as in Linux.
//!
//! Sources: RFC 791, RFC 8200 §4, RFC 4302 (authentication header length); which extension headers the tracker walks over
//! was measured on Linux 6.18.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use crate::{Family, Malformed, Protocol};

mod options;

/// What makes a packet one piece of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The datagram's identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Offset of the piece in the datagram, in bytes.
    pub offset: u16,
    /// Whether more pieces follow.
    pub more: More,
    /// Where the IPv6 fragment header starts in the packet; 0 for IPv4.
    pub header: u32,
}

/// Whether a fragment is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// More pieces follow.
    Fragments,
    /// It is the last piece.
    None,
}

/// What is known of a packet's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: whoever wants to know sums the bytes up (`CHECKSUM_NONE`).
    #[default]
    Unverified,
    /// The card or the sender's host vouches for it (`CHECKSUM_UNNECESSARY`).
    Verified,
    /// It is not there yet: whoever puts the packet on a wire fills it in (`CHECKSUM_PARTIAL`).
    Partial,
}

/// Where the transport header stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    family: Family,
    protocol: Protocol,
    /// Zero if there is none: the IP header comes first.
    transport: u32,
    wire_len: u32,
    fragment: Option<Fragment>,
}

/// An IP packet in a buffer that may be rewritten.
#[derive(Debug)]
pub struct Packet<'a> {
    bytes: &'a mut [u8],
    layout: Layout,
    checksum: Checksum,
}

impl<'a> Packet<'a> {
    /// Parses the packet that starts with its IP header at the first byte.
    ///
    /// `wire_len` is how many bytes from there were on the wire: more than `bytes.len()` if the capture cut the frame.
    /// Bytes beyond the IP length (link padding) are left out of the packet.
    #[inline(always)]
    pub fn parse(bytes: &'a mut [u8], wire_len: usize) -> Result<Self, Malformed> {
        let layout = layout(bytes, wire_len)?;
        let end = (layout.wire_len as usize).min(bytes.len());
        Ok(Packet { bytes: &mut bytes[..end], layout, checksum: Checksum::Unverified })
    }

    /// The same packet, and what its link says of its transport checksum.
    #[must_use]
    #[inline]
    pub fn with_checksum(mut self, checksum: Checksum) -> Self {
        self.set_checksum(checksum);
        self
    }

    /// What its link says of its transport checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: Checksum) {
        self.checksum = checksum;
    }

    /// What is known of its transport checksum.
    #[inline]
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The packet's bytes, from the IP header on.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The packet's bytes, to be rewritten in place. Lengths and protocol must stay as they are.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// IPv4 or IPv6.
    #[inline]
    pub fn family(&self) -> Family {
        self.layout.family
    }

    /// The protocol of the transport header: in IPv6 the last one that the extension headers lead to.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.layout.protocol
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> IpAddr {
        match self.family() {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(array::<4>(self.bytes, 12))),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(array::<16>(self.bytes, 8))),
        }
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> IpAddr {
        match self.family() {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(array::<4>(self.bytes, 16))),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(array::<16>(self.bytes, 24))),
        }
    }

    /// Time to live, or hop limit.
    #[inline]
    pub fn ttl(&self) -> u8 {
        match self.family() {
            Family::Ipv4 => self.bytes[8],
            Family::Ipv6 => self.bytes[7],
        }
    }

    /// Takes one off the time to live (hop limit), and keeps the header checksum right. Not below zero.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        match self.family() {
            Family::Ipv4 => {
                let old = u16::from_be_bytes(array(self.bytes, 8));
                let new = old.saturating_sub(0x0100);
                let field = u16::from_be_bytes(array(self.bytes, 10));
                let field = crate::checksum::Delta::default().word(old, new).apply(field);
                self.bytes[8] = (new >> 8) as u8;
                self.bytes[10..12].copy_from_slice(&field.to_be_bytes());
            }
            Family::Ipv6 => self.bytes[7] = self.bytes[7].saturating_sub(1),
        }
    }

    /// Bytes of the IP header, without extension headers.
    #[inline]
    pub fn ip_header_len(&self) -> usize {
        match self.family() {
            Family::Ipv4 => usize::from(self.bytes[0] & 0x0f) * 4,
            Family::Ipv6 => 40,
        }
    }

    /// Where the transport header starts; `None` for a later fragment and where no transport header can be found.
    #[inline]
    pub fn transport_offset(&self) -> Option<usize> {
        let at = self.layout.transport as usize;
        (at > 0).then_some(at)
    }

    /// The transport header and payload, as far as the capture holds them.
    #[inline]
    pub fn transport(&self) -> Option<&[u8]> {
        self.bytes.get(self.transport_offset()?..)
    }

    /// The same, to be rewritten.
    #[inline]
    pub fn transport_mut(&mut self) -> Option<&mut [u8]> {
        let at = self.transport_offset()?;
        self.bytes.get_mut(at..)
    }

    /// Bytes from the transport header to the end of the packet on the wire.
    #[inline]
    pub fn transport_wire_len(&self) -> usize {
        self.transport_offset().map_or(0, |at| self.wire_len().saturating_sub(at))
    }

    /// The IP packet's length on the wire, in bytes, header included: what accounting counts.
    #[inline]
    pub fn wire_len(&self) -> usize {
        self.layout.wire_len as usize
    }

    /// Whether the capture holds less than the wire did.
    #[inline]
    pub fn is_truncated(&self) -> bool {
        self.bytes.len() < self.wire_len()
    }

    /// What makes it a fragment, if it is one.
    #[inline]
    pub fn fragment(&self) -> Option<Fragment> {
        self.layout.fragment
    }
}

/// `N` bytes at `at`; the caller's layout promises that they are there, zeros otherwise.
#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}

#[inline(always)]
fn layout(bytes: &[u8], wire_len: usize) -> Result<Layout, Malformed> {
    match bytes.first().map(|b| b >> 4) {
        None => Err(Malformed::ShortHeader { have: 0, need: 20 }),
        Some(4) => layout_v4(bytes, wire_len),
        Some(6) => layout_v6(bytes, wire_len),
        Some(version) => Err(Malformed::Version(version)),
    }
}

#[inline(always)]
fn layout_v4(bytes: &[u8], wire_len: usize) -> Result<Layout, Malformed> {
    if bytes.len() < 20 {
        return Err(Malformed::ShortHeader { have: bytes.len(), need: 20 });
    }
    let header_len = usize::from(bytes[0] & 0x0f) * 4;
    if header_len < 20 {
        return Err(Malformed::HeaderLength(header_len as u8));
    }
    let header = Ipv4HeaderSlice::from_slice(bytes)
        .map_err(|_| Malformed::ShortHeader { have: bytes.len(), need: header_len })?;
    let total = usize::from(header.total_len());
    if total < header_len || total > wire_len.max(bytes.len()) {
        return Err(Malformed::Length { length: total, have: wire_len.max(bytes.len()) });
    }
    if crate::checksum::sum(&bytes[..header_len]) != 0xffff {
        return Err(Malformed::HeaderChecksum);
    }
    let offset = header.fragments_offset().value();
    let fragment = (offset != 0 || header.more_fragments()).then(|| Fragment {
        id: header.identification().into(),
        offset: offset * 8,
        more: if header.more_fragments() { More::Fragments } else { More::None },
        header: 0,
    });
    let transport = if offset == 0 { header_len as u32 } else { 0 };
    let protocol = Protocol(header.protocol().0);
    Ok(Layout { family: Family::Ipv4, protocol, transport, wire_len: total as u32, fragment })
}

#[inline(never)]
fn layout_v6(bytes: &[u8], wire_len: usize) -> Result<Layout, Malformed> {
    let header =
        Ipv6HeaderSlice::from_slice(bytes).map_err(|_| Malformed::ShortHeader { have: bytes.len(), need: 40 })?;
    let total = 40 + usize::from(header.payload_length());
    if total > wire_len.max(bytes.len()) {
        return Err(Malformed::Length { length: total, have: wire_len.max(bytes.len()) });
    }
    let held = &bytes[..total.min(bytes.len())];
    if header.next_header().0 == HOP_BY_HOP {
        options::check(held, 40, total)?;
    }
    let mut walk = walk_extensions(held, header.next_header().0, FRAGMENT_HEADER);
    // Headers that claim more than there is leave an empty transport header, which is enough for protocols without ports.
    walk.transport = walk.transport.map(|at| at.min(held.len()));
    Ok(Layout {
        family: Family::Ipv6,
        protocol: Protocol(walk.protocol),
        transport: walk.transport.unwrap_or(0) as u32,
        wire_len: total as u32,
        fragment: walk.fragment,
    })
}

struct Walk {
    protocol: u8,
    transport: Option<usize>,
    fragment: Option<Fragment>,
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION: u8 = 60;

/// The length of a fragment header, in bytes, and how much of it there is up to its offset.
const FRAGMENT_HEADER: usize = 8;
const FRAGMENT_OFFSET: usize = 4;

/// Follows IPv6 extension headers to the transport header, which may begin beyond the end. Of a fragment header `enough` bytes
/// must be there.
fn walk_extensions(held: &[u8], first: u8, enough: usize) -> Walk {
    let mut walk = Walk { protocol: first, transport: None, fragment: None };
    let mut at = 40;
    loop {
        // Never 0, so the walk ends with the bytes.
        let len = match walk.protocol {
            NO_NEXT_HEADER => return walk,
            HOP_BY_HOP | ROUTING | DESTINATION => held.get(at + 1).map(|l| (usize::from(*l) + 1) * 8),
            AUTHENTICATION => held.get(at + 1).map(|l| (usize::from(*l) + 2) * 4),
            FRAGMENT => Some(FRAGMENT_HEADER),
            _ => {
                walk.transport = Some(at);
                return walk;
            }
        };
        let (Some(len), Some(next)) = (len, held.get(at)) else { return walk };
        if walk.protocol == FRAGMENT {
            if held.len() < at + enough {
                return walk;
            }
            let field = u16::from_be_bytes(array(held, at + 2));
            let more = if field & 1 != 0 { More::Fragments } else { More::None };
            walk.fragment = Some(Fragment {
                id: u32::from_be_bytes(array(held, at + 4)),
                offset: field & !7,
                more,
                header: at as u32,
            });
            walk.protocol = *next;
            if field & !7 != 0 {
                return walk;
            }
        } else {
            walk.protocol = *next;
        }
        at += len;
    }
}

/// What can be read of a packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Its source address.
    pub src: IpAddr,
    /// Its destination address.
    pub dst: IpAddr,
    /// The protocol of its transport header.
    pub protocol: Protocol,
    /// Where in the quote its transport header starts; that may be the quote's end, and in IPv6 beyond it.
    pub transport: usize,
}

impl Quote {
    /// Reads the start of a quoted packet: its lengths and checksum do not matter, it may be cut anywhere. A header length
    /// that is too short for a header is believed: the transport header then is where it says.
    ///
    /// `None` if its addresses or its transport header are not there, and for a later fragment.
    pub fn read(family: Family, quote: &[u8]) -> Option<Quote> {
        let first = *quote.first()?;
        let (src, dst, protocol, transport) = match family {
            Family::Ipv4 => {
                let header_len = usize::from(first & 0x0f) * 4;
                let later_fragment = u16::from_be_bytes(array(quote, 6)) & 0x1fff != 0;
                if quote.len() < 20 || later_fragment {
                    return None;
                }
                let src = IpAddr::V4(Ipv4Addr::from(array::<4>(quote, 12)));
                let dst = IpAddr::V4(Ipv4Addr::from(array::<4>(quote, 16)));
                (src, dst, Protocol(quote[9]), header_len)
            }
            Family::Ipv6 => {
                if quote.len() < 40 {
                    return None;
                }
                let walk = walk_extensions(quote, quote[6], FRAGMENT_OFFSET);
                let src = IpAddr::V6(Ipv6Addr::from(array::<16>(quote, 8)));
                let dst = IpAddr::V6(Ipv6Addr::from(array::<16>(quote, 24)));
                (src, dst, Protocol(walk.protocol), walk.transport?)
            }
        };
        let within = family == Family::Ipv6 || transport <= quote.len();
        within.then_some(Quote { src, dst, protocol, transport })
    }
}

#[cfg(test)]
#[path = "packet/tests.rs"]
mod tests;
