//! Tuples: what a packet says of itself, and by which a connection is found.
//!
//! ```text
//!            original tuple                                  reply tuple
//!   10.0.0.2:40000 → 203.0.113.10:80              203.0.113.10:80 → 203.0.113.1:40000
//!   what the first packet carried; never changes  what answers carry; NAT alters this one only
//! ```
//!
//! Before NAT the reply tuple is the inverse of the original. A packet of one direction is translated by making it look
//! like the inverse of the *other* direction's tuple, so the two tuples are all that NAT has to remember.
//!
//! Invariants: source and destination are of one family; `L4` fits the protocol ([`L4::Ports`] for TCP, UDP, UDP-Lite and
//! SCTP, [`L4::Icmp`] for ICMP and ICMPv6, [`L4::Keys`] for GRE, [`L4::None`] for all others); inverting an invertible tuple
//! twice gives it back.
//!
//! Sources: RFC 792, RFC 4443, RFC 4620 (node information), RFC 2637 (GRE call ids); kernel behaviour as measured.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Network-layer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 (`AF_INET`, 2).
    Ipv4,
    /// IPv6 (`AF_INET6`, 10).
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[inline]
    pub const fn of(addr: IpAddr) -> Family {
        match addr {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// `ipv4` or `ipv6`, as conntrack(8) prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
    }

    /// Linux's number of the address family: 2 or 10.
    pub const fn number(self) -> u8 {
        match self {
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
        }
    }

    /// `0.0.0.0` or `::`.
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// Transport protocol: the number that the IP header carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// DCCP; Linux 6.18 has no tracker for it any more.
    pub const DCCP: Protocol = Protocol(33);
    /// GRE.
    pub const GRE: Protocol = Protocol(47);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);
    /// UDP-Lite.
    pub const UDPLITE: Protocol = Protocol(136);

    /// The name that netfilter's tools print, for the protocols that they know.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Protocol::ICMP => "icmp",
            Protocol::TCP => "tcp",
            Protocol::UDP => "udp",
            Protocol::DCCP => "dccp",
            Protocol::GRE => "gre",
            Protocol::ICMPV6 => "icmpv6",
            Protocol::SCTP => "sctp",
            Protocol::UDPLITE => "udplite",
            _ => return None,
        })
    }

    /// Whether its tuple carries ports.
    #[inline]
    pub const fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::UDPLITE | Protocol::SCTP)
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Which way a packet goes, as its connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The way of the first packet.
    Original = 0,
    /// The other way.
    Reply = 1,
}

impl Direction {
    /// The other direction.
    #[inline]
    pub const fn inverse(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }

    /// `original` or `reply`.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Original => "original",
            Direction::Reply => "reply",
        }
    }
}

/// The transport part of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum L4 {
    /// TCP, UDP, UDP-Lite, SCTP.
    Ports {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP and ICMPv6 queries. The code is part of the tuple.
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
        /// Identifier of the query.
        id: u16,
    },
    /// GRE call keys; zero but for version 1 (PPTP).
    Keys {
        /// Source key.
        src: u16,
        /// Destination key.
        dst: u16,
    },
    /// Protocols that the tracker does not look into.
    None,
}

impl L4 {
    /// The sixteen bits that the source of the packet chose: source port, source key or ICMP id.
    #[inline]
    pub const fn src_id(self) -> u16 {
        match self {
            L4::Ports { src, .. } | L4::Keys { src, .. } => src,
            L4::Icmp { id, .. } => id,
            L4::None => 0,
        }
    }

    /// Destination port or key; for ICMP, type and code.
    #[inline]
    pub const fn dst_id(self) -> u16 {
        match self {
            L4::Ports { dst, .. } | L4::Keys { dst, .. } => dst,
            L4::Icmp { kind, code, .. } => u16::from_be_bytes([kind, code]),
            L4::None => 0,
        }
    }
}

/// One direction of a connection: addresses, protocol and the transport's identifiers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the source's family.
    pub dst: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// What identifies the conversation within the protocol.
    pub l4: L4,
}

impl Tuple {
    /// The family of both addresses.
    #[inline]
    pub const fn family(&self) -> Family {
        Family::of(self.src)
    }

    /// The tuple that an answer carries, or `None` for an ICMP message that asks no question.
    #[inline]
    pub fn inverse(&self) -> Option<Tuple> {
        let l4 = match self.l4 {
            L4::Ports { src, dst } => L4::Ports { src: dst, dst: src },
            L4::Keys { src, dst } => L4::Keys { src: dst, dst: src },
            L4::Icmp { kind, code, id } => L4::Icmp { kind: inverse_icmp(self.family(), kind)?, code, id },
            L4::None => L4::None,
        };
        Some(Tuple { src: self.dst, dst: self.src, protocol: self.protocol, l4 })
    }
}

/// The ICMP type that answers `kind` (and the other way round), as the kernel's tuple inversion maps it.
pub const fn inverse_icmp(family: Family, kind: u8) -> Option<u8> {
    Some(match (family, kind) {
        // echo, timestamp, information, address mask
        (Family::Ipv4, 8) => 0,
        (Family::Ipv4, 0) => 8,
        (Family::Ipv4, 13) => 14,
        (Family::Ipv4, 14) => 13,
        (Family::Ipv4, 15) => 16,
        (Family::Ipv4, 16) => 15,
        (Family::Ipv4, 17) => 18,
        (Family::Ipv4, 18) => 17,
        // echo, node information
        (Family::Ipv6, 128) => 129,
        (Family::Ipv6, 129) => 128,
        (Family::Ipv6, 139) => 140,
        (Family::Ipv6, 140) => 139,
        _ => return None,
    })
}

/// Whether a message of this type may open a connection: it is a query, not an answer.
pub const fn is_icmp_query(family: Family, kind: u8) -> bool {
    match family {
        Family::Ipv4 => matches!(kind, 8 | 13 | 15 | 17),
        Family::Ipv6 => matches!(kind, 128 | 139),
    }
}

/// `src=… dst=… sport=… dport=…`, in conntrack(8)'s words.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src={} dst={}", self.src, self.dst)?;
        match self.l4 {
            L4::Ports { src, dst } => write!(f, " sport={src} dport={dst}"),
            L4::Icmp { kind, code, id } => write!(f, " type={kind} code={code} id={id}"),
            L4::Keys { src, dst } => write!(f, " srckey={src:#x} dstkey={dst:#x}"),
            L4::None => Ok(()),
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.protocol)
    }
}

/// A tuple and a zone's number in sixteen bytes, which compare at once. IPv6 addresses are folded into half a word each: where two
/// keys are the same, the addresses themselves have to be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    addresses: u64,
    /// Identifiers, zone, protocol, and 1 for IPv6.
    rest: u64,
}

impl Key {
    #[inline]
    pub(crate) fn new(tuple: &Tuple, zone: u16) -> Key {
        let fold = |address| match address {
            IpAddr::V4(address) => (address.to_bits(), 0),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let half = (bits >> 64) as u64 ^ bits as u64;
                ((half >> 32) as u32 ^ half as u32, 1)
            }
        };
        let ((src, is_v6), (dst, _)) = (fold(tuple.src), fold(tuple.dst));
        Key {
            addresses: u64::from(src) << 32 | u64::from(dst),
            rest: u64::from(tuple.l4.src_id()) << 48
                | u64::from(tuple.l4.dst_id()) << 32
                | u64::from(zone) << 16
                | u64::from(tuple.protocol.0) << 8
                | is_v6,
        }
    }

    /// Its two words.
    #[inline]
    pub(crate) fn words(&self) -> [u64; 2] {
        [self.addresses, self.rest]
    }

    #[inline]
    pub(crate) fn family(&self) -> Family {
        if self.rest & 1 == 0 { Family::Ipv4 } else { Family::Ipv6 }
    }

    #[inline]
    pub(crate) fn zone(&self) -> u16 {
        (self.rest >> 16) as u16
    }

    #[inline]
    pub(crate) fn protocol(&self) -> Protocol {
        Protocol((self.rest >> 8) as u8)
    }

    /// The addresses, if it is of IPv4.
    #[inline]
    pub(crate) fn v4(&self) -> (Ipv4Addr, Ipv4Addr) {
        (Ipv4Addr::from_bits((self.addresses >> 32) as u32), Ipv4Addr::from_bits(self.addresses as u32))
    }

    /// The key of an IPv4 packet of a protocol with ports, in zone 0, from the eight bytes of its addresses and the four of its ports.
    #[inline]
    pub(crate) fn of_ports(addresses: [u8; 8], ports: [u8; 4], protocol: Protocol) -> Key {
        Key {
            addresses: u64::from_be_bytes(addresses),
            rest: u64::from(u32::from_be_bytes(ports)) << 32 | u64::from(protocol.0) << 8,
        }
    }

    /// The same in another zone.
    #[inline]
    pub(crate) fn in_zone(self, zone: u16) -> Key {
        Key { rest: self.rest & !(0xffff << 16) | u64::from(zone) << 16, ..self }
    }

    /// The key of an answer, if it is of IPv4 and of a protocol with ports.
    #[inline]
    pub(crate) fn answer_v4(&self) -> Option<Key> {
        let ports = ((self.rest >> 32) as u32).rotate_left(16);
        let key =
            Key { addresses: self.addresses.rotate_left(32), rest: self.rest & 0xffff_ffff | u64::from(ports) << 32 };
        (self.family() == Family::Ipv4 && self.protocol().has_ports()).then_some(key)
    }

    /// Source and destination port, or what else identifies the conversation.
    #[inline]
    pub(crate) fn ids(&self) -> (u16, u16) {
        ((self.rest >> 48) as u16, (self.rest >> 32) as u16)
    }

    /// The tuple between these addresses.
    #[inline]
    pub(crate) fn tuple(&self, src: IpAddr, dst: IpAddr) -> Tuple {
        let protocol = self.protocol();
        let (src_id, dst_id) = self.ids();
        let l4 = match protocol {
            p if p.has_ports() => L4::Ports { src: src_id, dst: dst_id },
            Protocol::ICMP | Protocol::ICMPV6 => {
                let [kind, code] = dst_id.to_be_bytes();
                L4::Icmp { kind, code, id: src_id }
            }
            Protocol::GRE => L4::Keys { src: src_id, dst: dst_id },
            _ => L4::None,
        };
        Tuple { src, dst, protocol, l4 }
    }
}

/// A tuple as it is looked up: its key in zone 0, and what the key has no room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) key: Key,
    /// Source and destination, if they are IPv6; else not read.
    pub(crate) v6: (Ipv6Addr, Ipv6Addr),
}

impl Name {
    /// The name of an IPv4 packet, from the eight bytes of its addresses and its transport header; `None` if there is not enough of it.
    #[inline]
    pub(crate) fn of_v4(addresses: [u8; 8], protocol: Protocol, transport: &[u8]) -> Option<Name> {
        if protocol.has_ports() {
            let ports = transport.first_chunk::<4>()?;
            return Some(Name::v4(Key::of_ports(addresses, *ports, protocol)));
        }
        let [s1, s2, s3, s4, d1, d2, d3, d4] = addresses;
        let l4 = crate::track::l4(protocol, transport)?;
        Some(Name::new(&Tuple { src: [s1, s2, s3, s4].into(), dst: [d1, d2, d3, d4].into(), protocol, l4 }))
    }

    #[inline]
    pub(crate) fn v4(key: Key) -> Name {
        Name { key, v6: (Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED) }
    }

    #[inline]
    pub(crate) fn new(tuple: &Tuple) -> Name {
        let key = Key::new(tuple, 0);
        match (tuple.src, tuple.dst) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => Name { key, v6: (src, dst) },
            _ => Name::v4(key),
        }
    }

    /// The tuple that it names.
    #[inline]
    pub(crate) fn tuple(&self) -> Tuple {
        match self.key.family() {
            Family::Ipv4 => {
                let (src, dst) = self.key.v4();
                self.key.tuple(src.into(), dst.into())
            }
            Family::Ipv6 => self.key.tuple(self.v6.0.into(), self.v6.1.into()),
        }
    }
}

/// A conntrack zone: the same tuple in two zones is two connections.
///
/// The number counts in the directions that `scope` names; in the others the connection stands in zone 0. (`ct zone set`,
/// `ct original zone set`, `ct reply zone set`.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zone {
    /// The zone's number.
    pub id: u16,
    /// Where the number counts.
    pub scope: ZoneScope,
}

/// The directions in which a zone's number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ZoneScope {
    /// Both directions.
    #[default]
    Both,
    /// The original direction only.
    Original,
    /// The reply direction only.
    Reply,
}

impl Zone {
    /// Zone 0 in both directions: what is used when no rule names a zone.
    pub const DEFAULT: Zone = Zone { id: 0, scope: ZoneScope::Both };

    /// The number that counts for tuples of this direction.
    pub const fn id(self, dir: Direction) -> u16 {
        match (self.scope, dir) {
            (ZoneScope::Both, _)
            | (ZoneScope::Original, Direction::Original)
            | (ZoneScope::Reply, Direction::Reply) => self.id,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_l4() -> impl Strategy<Value = (Protocol, L4)> {
        prop_oneof![
            (any::<u16>(), any::<u16>()).prop_map(|(src, dst)| (Protocol::TCP, L4::Ports { src, dst })),
            (prop::sample::select(vec![0u8, 8, 13, 14, 15, 16, 17, 18]), any::<u8>(), any::<u16>())
                .prop_map(|(kind, code, id)| (Protocol::ICMP, L4::Icmp { kind, code, id })),
            (any::<u16>(), any::<u16>()).prop_map(|(src, dst)| (Protocol::GRE, L4::Keys { src, dst })),
            Just((Protocol(50), L4::None)),
        ]
    }

    proptest! {
        #[test]
        fn a_key_answers_as_its_tuple_does(src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16, zone: u16) {
            let l4 = L4::Ports { src: sport, dst: dport };
            let tuple = Tuple { src: src.into(), dst: dst.into(), protocol: Protocol::TCP, l4 };
            let answer = Key::new(&tuple, zone).answer_v4().unwrap();
            prop_assert_eq!(answer, Key::new(&tuple.inverse().unwrap(), zone));
            let [a, b, c, d] = src;
            let [e, f, g, h] = dst;
            let [s1, s0] = sport.to_be_bytes();
            let [d1, d0] = dport.to_be_bytes();
            let read = Name::of_v4([a, b, c, d, e, f, g, h], Protocol::TCP, &[s1, s0, d1, d0]).unwrap();
            prop_assert_eq!(read.key, Key::new(&tuple, 0));
            prop_assert_eq!(read.tuple(), tuple);
        }

        #[test]
        fn inverting_twice_is_the_identity(a: [u8; 4], b: [u8; 4], (protocol, l4) in any_l4()) {
            let t = Tuple { src: a.into(), dst: b.into(), protocol, l4 };
            let back = t.inverse().and_then(|i| i.inverse());
            prop_assert_eq!(back, Some(t));
        }
    }

    #[test]
    fn zone_counts_only_in_its_scope() {
        let z = Zone { id: 7, scope: ZoneScope::Original };
        assert_eq!((z.id(Direction::Original), z.id(Direction::Reply)), (7, 0));
        assert_eq!(Zone { id: 7, scope: ZoneScope::Both }.id(Direction::Reply), 7);
    }
}
