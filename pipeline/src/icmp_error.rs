//! What a router answers when it cannot, or may not, send a packet on: ICMP errors and TCP resets, as Linux sends them.
//!
//! ```text
//!  packet that goes nowhere ─► may it be answered? ─► within the rate? ─► header ‖ type, code ‖ as much of the packet as fits
//!                               Silence(why)            Silence(TooMany)
//! ```
//! Measured on 6.18, bytes compared:
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | length | at most 576 | at most 1280 |
//! | source | [`crate::route::Routes::error_source`] | the same |
//! | TTL, hop limit | 64 (`ip_default_ttl`) | 64 |
//! | TOS, traffic class | (that of the packet & 0x1e) \| 0xc0 | 0 |
//! | identification, flow label | from a counter with random steps | a keyed hash of addresses, type and code |
//! | DF | clear | – |
//! | never about | ICMP other than types 0, 8, 13–18; cut before the type | ICMPv6 below 128; cut before the type |
//! | | later fragments | (later fragments are answered) |
//! | | broadcast, multicast, by address or by link address | the same, but for "packet too big" |
//! | | packets from 0.0.0.0 | packets from :: or a group |
//!
//! | when | type/code | quotes the packet |
//! |---|---|---|
//! | TTL or hop limit at most 1 when forwarding | 11/0, 3/0 | as it came |
//! | no route | 3/0, 1/0 | as it came |
//! | longer than the MTU, DF or IPv6 | 3/4, 2/0 | as it came (its TTL is lowered later); whole, if it came in fragments |
//! | link-local source, other link | –, 1/2 | as it came |
//! | no neighbour answers | 3/1, 1/3 | with the lower TTL |
//! | `reject` in the forward chain | 3/3, 1/4 or as the rule says | with the lower TTL |
//! | `reject` in prerouting, input | the same | as it came |
//! | back out by the same interface, source on the same link | redirect 5/1 with the next hop, before the packet itself goes on | with the lower TTL |
//! | IPv4 options make no sense | 12/0 | as it came, but for options that were read already |
//! | fragments run out of time | 11/1, 3/1 (see [`crate::defrag`]) | the first fragment |
//!
//! `reject` is silent if the packet's checksum is wrong: TCP, UDP (0 is right), ICMP, and every other protocol over its whole
//! payload as if it had one, but for GRE, ESP, AH, SCTP and UDP-Lite. In IPv6 the sum includes a pseudo-header.
//!
//! A reset is 40 (60) bytes from the packet's destination: TTL 64, TOS 0, identification 0, DF, window 0. If the packet has ACK,
//! the sequence number is what it acknowledges and there is no ACK; else sequence 0 and ACK of all it carries. None about a
//! reset or a fragment.
//!
//! Rates: a bucket of six per destination, one more every `net.ipv4.icmp_ratelimit` (1000 ms) or `net.ipv6.icmp.ratelimit` (100 ms;
//! measured with a host on a /64: 26 in two seconds), shared by all types of
//! `icmp_ratemask` (IPv4 3, 4, 11, 12; IPv6 all errors but 2); "fragmentation needed" is never held back. "No route" has a limit
//! of its own before that one in IPv4, and so have redirects: see [`Peers`].
//!
//! Options: see [`crate::options`]. Not modelled: `icmp_msgs_per_sec`, from which Linux takes 0 to 3 at random for each error.
//!
//! # Sources
//! RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3.2, RFC 4443 section 2.4, RFC 1191, RFC 8201, RFC 9293 section 3.5.2
//! (resets); ip-sysctl documentation; the tables above.

mod rate;
#[cfg(test)]
mod tests;

pub use rate::{Peers, Turn};

use crate::link::PacketType;
use crate::route::Delivery;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use uct_engine::{Checksum, Family, Packet, Protocol, checksum};

/// How long an IPv4 error may be, in bytes (RFC 1812 section 4.3.2.3).
const MAX_V4: usize = 576;
/// How long an IPv6 error may be, in bytes (RFC 4443 section 2.4).
const MAX_V6: usize = 1280;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
const DEFAULT_TTL: u8 = 64;
const UDP_CHECKSUM: usize = 6;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// An ICMP or ICMPv6 error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Whether it is ICMP or ICMPv6.
    pub family: Family,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The four bytes behind the checksum: an MTU, a gateway, or nothing.
    pub rest: u32,
}

impl Message {
    const fn new(family: Family, v4: (u8, u8), v6: (u8, u8), rest: u32) -> Self {
        let (kind, code) = match family {
            Family::Ipv4 => v4,
            Family::Ipv6 => v6,
        };
        Message { family, kind, code, rest }
    }

    /// The packet has made too many hops.
    pub const fn time_exceeded(family: Family) -> Self {
        Message::new(family, (11, 0), (3, 0), 0)
    }

    /// The packet's fragments did not all come in time.
    pub const fn reassembly_time_exceeded(family: Family) -> Self {
        Message::new(family, (11, 1), (3, 1), 0)
    }

    /// There is no route.
    pub const fn no_route(family: Family) -> Self {
        Message::new(family, (3, 0), (1, 0), 0)
    }

    /// No neighbour answers.
    pub const fn host_unreachable(family: Family) -> Self {
        Message::new(family, (3, 1), (1, 3), 0)
    }

    /// A byte of the IPv4 header makes no sense.
    pub const fn parameter_problem(at: u8) -> Self {
        Message { family: Family::Ipv4, kind: 12, code: 0, rest: (at as u32) << 24 }
    }

    /// Nobody listens: what `reject` says by default.
    pub const fn port_unreachable(family: Family) -> Self {
        Message::new(family, (3, 3), (1, 4), 0)
    }

    /// Nobody here speaks that protocol. IPv6 points at its number in the first header.
    pub const fn protocol_unreachable(family: Family) -> Self {
        let at = match family {
            Family::Ipv4 => 0,
            Family::Ipv6 => 6,
        };
        Message::new(family, (3, 2), (4, 1), at)
    }

    /// Forbidden.
    pub const fn admin_prohibited(family: Family) -> Self {
        Message::new(family, (3, 13), (1, 1), 0)
    }

    /// The packet is longer than `mtu` bytes and may not be cut.
    pub const fn too_big(family: Family, mtu: u32) -> Self {
        Message::new(family, (3, 4), (2, 0), mtu)
    }

    /// A link-local source and another link (IPv6).
    pub const fn beyond_scope() -> Self {
        Message { family: Family::Ipv6, kind: 1, code: 2, rest: 0 }
    }

    /// Destination unreachable with any code, as `reject with icmp type …` names it.
    pub const fn unreachable(family: Family, code: u8) -> Self {
        Message::new(family, (3, code), (1, code), 0)
    }

    /// The sender can reach `next` without this router (IPv4).
    pub const fn redirect(next: Ipv4Addr) -> Self {
        Message { family: Family::Ipv4, kind: 5, code: 1, rest: next.to_bits() }
    }

    /// Whether it is one of those that are limited; `mask` has a bit for each type in IPv4.
    pub(crate) fn is_limited(self, mask: u32) -> bool {
        let masked = match self.family {
            Family::Ipv4 => 1_u32.checked_shl(self.kind.into()).is_some_and(|bit| mask & bit != 0),
            Family::Ipv6 => self.kind < 128,
        };
        masked && !self.is_too_big()
    }

    /// Whether it is "packet too big" or "fragmentation needed".
    fn is_too_big(self) -> bool {
        self.kind == Message::too_big(self.family, 0).kind && (self.family == Family::Ipv6 || self.code == 4)
    }
}

/// Why a packet is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Silence {
    /// It is an ICMP error itself, or cannot be told from one.
    #[error("the packet is an ICMP error itself")]
    AboutError,
    /// It is no first fragment.
    #[error("the packet is a later fragment")]
    LaterFragment,
    /// It was for many.
    #[error("the packet was sent to a group")]
    Group,
    /// It has no sender that could be told.
    #[error("the packet's source is no single host")]
    NoSender,
    /// Its checksum is wrong (`reject`).
    #[error("the packet's checksum is wrong")]
    BadChecksum,
    /// It is a reset itself.
    #[error("the packet is a TCP reset itself")]
    AboutReset,
    /// It is not TCP, or its header is cut.
    #[error("the packet has no whole TCP header")]
    NoTcp,
    /// Its sender has been told often enough.
    #[error("the sender has been told often enough for now (icmp_ratelimit)")]
    TooMany,
}

/// For whom a packet was, besides what its own header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addressed {
    /// For whom the link layer meant it; `None` for this host.
    pub link: Option<PacketType>,
    /// As what the routes delivered it; `None` if it was not for the router, or the routes were not asked.
    pub delivery: Option<Delivery>,
}

impl Addressed {
    /// Whether it was for this host, or through it.
    fn to_one(self) -> bool {
        matches!(self.link, None | Some(PacketType::Host | PacketType::Outgoing))
            && matches!(self.delivery, None | Some(Delivery::Unicast))
    }
}

/// Whether a packet may be answered with `message`.
pub fn check(message: Message, packet: &Packet<'_>, addressed: Addressed) -> Result<(), Silence> {
    let v6 = packet.family() == Family::Ipv6;
    let excused = v6 && message.is_too_big();
    let group_address = v6 && packet.dst().is_multicast();
    if (group_address || !addressed.to_one()) && !excused {
        return Err(Silence::Group);
    }
    if packet.src().is_unspecified() || packet.src().is_multicast() {
        return Err(Silence::NoSender);
    }
    if !v6 && packet.fragment().is_some_and(|f| f.offset != 0) {
        return Err(Silence::LaterFragment);
    }
    let kind = packet.transport().and_then(|t| t.first());
    let answerable = match (packet.protocol(), packet.transport_offset(), kind) {
        (Protocol::ICMP, _, kind) if !v6 => matches!(kind, Some(0 | 8 | 13..=18)),
        (Protocol::ICMPV6, Some(_), kind) if v6 => kind.is_some_and(|kind| *kind >= 128),
        _ => true,
    };
    if answerable { Ok(()) } else { Err(Silence::AboutError) }
}

/// Appends to `out` the error about `packet`, from the IP header on.
///
/// `packet` is quoted as it is now, so the caller builds the error before or after lowering the TTL as the table says.
/// `identification` is that of the new packet in IPv4 and its flow label in IPv6; `options` are those of the IPv4 header.
pub fn build(
    message: Message,
    packet: &Packet<'_>,
    source: IpAddr,
    identification: u32,
    options: &[u8],
    out: &mut Vec<u8>,
) {
    let quoted = packet.bytes();
    let start = out.len();
    let icmp = |quote: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(&[message.kind, message.code, 0, 0]);
        out.extend_from_slice(&message.rest.to_be_bytes());
        out.extend_from_slice(quote);
    };
    match (source, packet.src()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let quote = quoted.get(..MAX_V4 - IPV4_HEADER - options.len() - ICMP_HEADER).unwrap_or(quoted);
            let tos = quoted.get(1).map_or(0, |tos| tos & 0x1e) | 0xc0;
            let len = ICMP_HEADER + quote.len();
            header_v4(
                from,
                to,
                Protocol::ICMP,
                tos,
                [(identification >> 8) as u8, identification as u8, 0, 0],
                options,
                len,
                out,
            );
            icmp(quote, out);
            finish(out, start + IPV4_HEADER + options.len(), 2, 0);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let quote = quoted.get(..MAX_V6 - IPV6_HEADER - ICMP_HEADER).unwrap_or(quoted);
            let len = ICMP_HEADER + quote.len();
            header_v6(from, to, Protocol::ICMPV6, identification, len, out);
            icmp(quote, out);
            let pseudo = checksum::pseudo(source, packet.src(), Protocol::ICMPV6, len);
            finish(out, start + IPV6_HEADER, 2, pseudo);
        }
        // A source of the other family: the caller has none of the right one, so nothing is sent.
        _ => {}
    }
}

/// Whether `reject` answers at all: not if the packet's checksum is wrong. A packet that the capture cut is believed.
pub fn check_reject(packet: &Packet<'_>) -> Result<(), Silence> {
    let Some(transport) = packet.transport() else { return Err(Silence::LaterFragment) };
    let v6 = packet.family() == Family::Ipv6;
    let protocol = packet.protocol();
    // Other integrity checks, partial or optional checksums.
    let unchecked = matches!(protocol.0, 47 | 50 | 51 | 132 | 136);
    if packet.is_truncated() || unchecked || packet.checksum() != Checksum::Unverified {
        return Ok(());
    }
    if protocol == Protocol::UDP && transport.get(UDP_CHECKSUM..UDP_CHECKSUM + 2) == Some(&[0, 0]) {
        return Ok(());
    }
    let pseudo = match protocol {
        Protocol::TCP | Protocol::UDP => checksum::pseudo(packet.src(), packet.dst(), protocol, transport.len()),
        _ if v6 => checksum::pseudo(packet.src(), packet.dst(), protocol, transport.len()),
        _ => 0,
    };
    // All noughts count as right too: measured with unknown protocols over IPv4.
    match checksum::fold(checksum::add(pseudo, transport)) {
        0 | 0xffff => Ok(()),
        _ => Err(Silence::BadChecksum),
    }
}

/// Appends to `out` the TCP reset that `reject with tcp reset` sends for `packet`, from the IP header on.
pub fn reset(packet: &Packet<'_>, out: &mut Vec<u8>) -> Result<(), Silence> {
    let whole = packet.protocol() == Protocol::TCP && packet.fragment().is_none();
    let header =
        packet.transport().filter(|_| whole).and_then(|t| t.first_chunk::<TCP_HEADER>()).ok_or(Silence::NoTcp)?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, data_offset, flags, ..] = *header;
    if flags & RST != 0 {
        return Err(Silence::AboutReset);
    }
    check_reject(packet)?;
    let (sequence, acknowledged) = (u32::from_be_bytes([q0, q1, q2, q3]), [a0, a1, a2, a3]);
    let header_len = usize::from(data_offset >> 4) * 4;
    let data = packet.transport_wire_len().wrapping_sub(header_len) as u32;
    let phantom = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledge, flags) = if flags & ACK != 0 {
        (acknowledged, [0; 4], RST)
    } else {
        ([0; 4], sequence.wrapping_add(phantom).wrapping_add(data).to_be_bytes(), RST | ACK)
    };
    let (from, to) = (packet.dst(), packet.src());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header_v4(from, to, Protocol::TCP, 0, [0, 0, 0x40, 0], &[], TCP_HEADER, out);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => header_v6(from, to, Protocol::TCP, 0, TCP_HEADER, out),
        _ => return Err(Silence::NoSender),
    }
    let tcp = out.len();
    out.extend_from_slice(&[d0, d1, s0, s1]);
    out.extend_from_slice(&sequence);
    out.extend_from_slice(&acknowledge);
    out.extend_from_slice(&[(TCP_HEADER as u8 / 4) << 4, flags, 0, 0, 0, 0, 0, 0]);
    finish(out, tcp, 16, checksum::pseudo(from, to, Protocol::TCP, TCP_HEADER));
    Ok(())
}

/// Appends an IPv4 header; `word` is identification, flags and offset, and `options` a multiple of four bytes.
#[allow(clippy::too_many_arguments, reason = "the fields of a header")]
fn header_v4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: Protocol,
    tos: u8,
    word: [u8; 4],
    options: &[u8],
    len: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let header = IPV4_HEADER + options.len();
    let [l0, l1] = ((header + len) as u16).to_be_bytes();
    out.extend_from_slice(&[0x40 | (header / 4) as u8, tos, l0, l1]);
    out.extend_from_slice(&word);
    out.extend_from_slice(&[DEFAULT_TTL, protocol.0, 0, 0]);
    out.extend_from_slice(&from.octets());
    out.extend_from_slice(&to.octets());
    out.extend_from_slice(options);
    finish(out, start, 10, 0);
}

/// Appends an IPv6 header.
fn header_v6(from: Ipv6Addr, to: Ipv6Addr, protocol: Protocol, flow_label: u32, len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(6 << 28 | flow_label & 0xf_ffff).to_be_bytes());
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(&[protocol.0, DEFAULT_TTL]);
    out.extend_from_slice(&from.octets());
    out.extend_from_slice(&to.octets());
}

/// Puts the checksum of everything from `start` into the field `at` bytes behind it.
fn finish(out: &mut [u8], start: usize, at: usize, pseudo: u64) {
    let sum = !checksum::fold(checksum::add(pseudo, out.get(start..).unwrap_or(&[])));
    if let Some(field) = out.get_mut(start + at..start + at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}
