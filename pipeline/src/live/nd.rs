//! Neighbour discovery: who has an IPv6 address, and who is a router (RFC 4861).
//!
//! ```text
//!   type 133 solicit a router     134 a router advertises     135 solicit a neighbour     136 a neighbour advertises
//!   each: ICMPv6 header 4 │ flags or nothing 4 │ target 16 (135, 136) │ options: type, length in 8 bytes, value
//! ```
//! Every such message must have a hop limit of 255, which no router passes on: so it comes from the link itself (section 11.2).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use uct_engine::{Packet, Protocol, checksum};

use crate::link::Mac;

const SOLICIT_ROUTER: u8 = 133;
const ROUTER: u8 = 134;
const SOLICIT: u8 = 135;
const ADVERTISE: u8 = 136;
const REDIRECT: u8 = 137;
const SOURCE: u8 = 1;
const TARGET: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const HOP_LIMIT: u8 = 255;

/// All hosts on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// How long hosts may use this router, and prefixes that it advertises, in seconds (section 6.2.1: three times the longest interval;
/// a month; a week).
const LIFETIME: u16 = 1800;
const VALID: u32 = 2_592_000;
const PREFERRED: u32 = 604_800;

/// A message of neighbour discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Is there a router?
    SolicitRouter {
        /// Who asks, if it says so.
        mac: Option<Mac>,
    },
    /// Who has the target?
    Solicit {
        /// The address in question.
        target: Ipv6Addr,
        /// Who asks, if it says so.
        mac: Option<Mac>,
    },
    /// Somebody has the target.
    Advertise {
        /// The address.
        target: Ipv6Addr,
        /// Where it is, if it says so.
        mac: Option<Mac>,
        /// Whether it was asked.
        asked: Asked,
        /// Whether it corrects what is known.
        known: Known,
    },
    /// Another router, or a redirect: nothing to a router.
    Other,
}

/// Whether an advertisement is the answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is.
    Yes,
    /// It came by itself.
    No,
}

/// What an advertisement does to a link address that is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It takes its place.
    Override,
    /// It leaves it.
    Keep,
}

/// Whether a packet is neighbour discovery at all.
pub fn is_discovery(packet: &Packet<'_>) -> bool {
    packet.protocol() == Protocol::ICMPV6
        && packet.transport().and_then(|t| t.first()).is_some_and(|kind| (SOLICIT_ROUTER..=REDIRECT).contains(kind))
}

/// Reads a message; `None` if it is not one, or must not be believed (sections 6.1.1, 7.1.1, 7.1.2).
pub fn read(packet: &Packet<'_>) -> Option<Message> {
    let body = packet.transport()?;
    let [kind, code, _, _, flags, ..] = *body else { return None };
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src(), packet.dst()) else { return None };
    if packet.ttl() != HOP_LIMIT || code != 0 || packet.fragment().is_some() {
        return None;
    }
    let pseudo = checksum::pseudo(src.into(), dst.into(), Protocol::ICMPV6, body.len());
    if checksum::fold(checksum::add(pseudo, body)) != 0xffff {
        return None;
    }
    let target = |at: usize| body.get(at..at + 16).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(Ipv6Addr::from);
    match kind {
        SOLICIT_ROUTER => {
            let mac = option(body.get(8..)?, SOURCE)?;
            (!src.is_unspecified() || mac.is_none()).then_some(Message::SolicitRouter { mac })
        }
        SOLICIT => {
            let target = target(8)?;
            let mac = option(body.get(24..)?, SOURCE)?;
            let is_detection = src.is_unspecified();
            let is_to_group = dst.segments()[..7] == [0xff02, 0, 0, 0, 0, 1, dst.segments()[6]];
            if target.is_multicast() || is_detection && (mac.is_some() || !is_to_group) {
                return None;
            }
            Some(Message::Solicit { target, mac })
        }
        ADVERTISE => {
            let target = target(8)?;
            let mac = option(body.get(24..)?, TARGET)?;
            let asked = if flags & 0x40 != 0 { Asked::Yes } else { Asked::No };
            let known = if flags & 0x20 != 0 { Known::Override } else { Known::Keep };
            if target.is_multicast() || dst.is_multicast() && asked == Asked::Yes {
                return None;
            }
            Some(Message::Advertise { target, mac, asked, known })
        }
        ROUTER | REDIRECT => Some(Message::Other),
        _ => None,
    }
}

/// The link address that an option carries; the outer `None` if the options make no sense.
#[allow(clippy::option_option, reason = "nonsense and absence are two things")]
fn option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, len, ..] = *options {
        let (this, rest) = options.split_at_checked(usize::from(len) * 8).filter(|(this, _)| !this.is_empty())?;
        if kind == wanted
            && let Some(mac) = this.get(2..8).and_then(|m| <[u8; 6]>::try_from(m).ok())
        {
            found = found.or(Some(Mac(mac)).filter(|m| !m.is_group()));
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// Builds an IPv6 packet around an ICMPv6 body.
fn packet(src: Ipv6Addr, dst: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let pseudo = checksum::pseudo(src.into(), dst.into(), Protocol::ICMPV6, body.len());
    let sum = !checksum::fold(checksum::add(pseudo, &body));
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend([Protocol::ICMPV6.0, HOP_LIMIT]);
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend(body);
    bytes
}

fn link_address(kind: u8, mac: Mac, body: &mut Vec<u8>) {
    body.extend([kind, 1]);
    body.extend(mac.0);
}

/// Asks for a neighbour: all who might have the address, or the one that had it.
pub fn solicit(src: Ipv6Addr, mac: Mac, target: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![SOLICIT, 0, 0, 0, 0, 0, 0, 0];
    body.extend(target.octets());
    link_address(SOURCE, mac, &mut body);
    packet(src, dst, body)
}

/// Says that an address is ours.
pub fn advertise(target: Ipv6Addr, mac: Mac, dst: Ipv6Addr, asked: Asked) -> Vec<u8> {
    // A router, asked or not, and what is known is to be corrected.
    let flags = 0x80 | if asked == Asked::Yes { 0x40 } else { 0 } | 0x20;
    let mut body = vec![ADVERTISE, 0, 0, 0, flags, 0, 0, 0];
    body.extend(target.octets());
    link_address(TARGET, mac, &mut body);
    packet(target, dst, body)
}

/// Says that here is a router, and which prefixes are on the link. Hosts make their addresses from prefixes of 64 bits.
pub fn advertise_router(src: Ipv6Addr, mac: Mac, dst: Ipv6Addr, mtu: u32, prefixes: &[Ipv6Net]) -> Vec<u8> {
    let mut body = vec![ROUTER, 0, 0, 0, 64, 0];
    body.extend(LIFETIME.to_be_bytes());
    body.extend([0; 8]);
    link_address(SOURCE, mac, &mut body);
    body.extend([MTU, 1, 0, 0]);
    body.extend(mtu.to_be_bytes());
    for net in prefixes {
        let flags = if net.prefix_len() == 64 { 0xc0 } else { 0x80 };
        body.extend([PREFIX, 4, net.prefix_len(), flags]);
        body.extend(VALID.to_be_bytes());
        body.extend(PREFERRED.to_be_bytes());
        body.extend([0; 4]);
        body.extend(net.network().octets());
    }
    packet(src, dst, body)
}

/// The group that everybody who might have an address has joined (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn read_back(mut bytes: Vec<u8>) -> Option<Message> {
        let len = bytes.len();
        read(&Packet::parse(&mut bytes, len).unwrap())
    }

    #[test]
    fn what_is_written_reads_back() {
        let (us, them): (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let question = solicit(us, MAC, them, solicited_node(them));
        assert_eq!(read_back(question), Some(Message::Solicit { target: them, mac: Some(MAC) }));
        let answer = advertise(us, MAC, them, Asked::Yes);
        let said = Message::Advertise { target: us, mac: Some(MAC), asked: Asked::Yes, known: Known::Override };
        assert_eq!(read_back(answer), Some(said));
        let router = advertise_router(us, MAC, ALL_NODES, 1500, &["2001:db8::/64".parse().unwrap()]);
        assert_eq!(read_back(router), Some(Message::Other));
    }

    #[test]
    fn what_came_from_beyond_the_link_is_not_believed() {
        let us: Ipv6Addr = "fe80::1".parse().unwrap();
        let good = advertise(us, MAC, ALL_NODES, Asked::No);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            read_back(bytes)
        };
        assert!(with(7, 255).is_some());
        assert_eq!(with(7, 254), None, "hop limit");
        assert_eq!(with(42, 0), None, "checksum");
        assert_eq!(read_back(advertise(us, MAC, ALL_NODES, Asked::Yes)), None, "an answer to a group");
    }

    #[test]
    fn options_without_length_end_the_message() {
        assert_eq!(option(&[1, 0, 0, 0, 0, 0, 0, 0], SOURCE), None);
        assert_eq!(option(&[1, 2, 0, 0, 0, 0, 0, 0], SOURCE), None);
        assert_eq!(option(&[], SOURCE), Some(None));
        assert_eq!(option(&[9, 1, 0, 0, 0, 0, 0, 0], SOURCE), Some(None));
    }
}
