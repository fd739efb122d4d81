//! What a rule can look at: header fields, packet metadata, connection tracking, routing.
//!
//! As in nft's own virtual machine a header field is nothing but a place: so many bits at such an offset of the network or the
//! transport header. So one table of places serves every protocol, and a field that the packet is too short for does not match.

use super::types::DataType;

/// The header a place is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Header {
    /// The IPv4 or IPv6 header.
    Network,
    /// What follows it and its extensions.
    Transport,
}

/// The protocol word before a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Ip,
    Ip6,
    Tcp,
    Udp,
    UdpLite,
    Sctp,
    Dccp,
    /// Ports of whatever transport protocol there is.
    Th,
    Icmp,
    Icmpv6,
}

impl Protocol {
    pub(crate) const ALL: [(&'static str, Protocol); 10] = [
        ("ip", Protocol::Ip),
        ("ip6", Protocol::Ip6),
        ("tcp", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udplite", Protocol::UdpLite),
        ("sctp", Protocol::Sctp),
        ("dccp", Protocol::Dccp),
        ("th", Protocol::Th),
        ("icmp", Protocol::Icmp),
        ("icmpv6", Protocol::Icmpv6),
    ];

    pub(crate) fn name(self) -> &'static str {
        Protocol::ALL.iter().find(|(_, p)| *p == self).map_or("", |(name, _)| name)
    }

    /// The transport protocol's number, for those that are one.
    pub(crate) fn number(self) -> Option<u8> {
        match self {
            Protocol::Ip | Protocol::Ip6 | Protocol::Th => None,
            Protocol::Tcp => Some(6),
            Protocol::Udp => Some(17),
            Protocol::UdpLite => Some(136),
            Protocol::Sctp => Some(132),
            Protocol::Dccp => Some(33),
            Protocol::Icmp => Some(1),
            Protocol::Icmpv6 => Some(58),
        }
    }
}

/// A header field: `tcp dport` is 16 bits at bit 16 of the transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) protocol: Protocol,
    pub(crate) name: &'static str,
    pub(crate) offset: u16,
    pub(crate) bits: u8,
    pub(crate) ty: DataType,
}

const fn field(protocol: Protocol, name: &'static str, offset: u16, bits: u8, ty: DataType) -> Field {
    Field { protocol, name, offset, bits, ty }
}

use DataType::{
    Dscp, IcmpCode, IcmpType, Icmpv6Code, Icmpv6Type, InetProto, InetService, Integer, Ipv4Addr, Ipv6Addr, TcpFlag,
};

/// Every header field a rule may name.
pub(crate) const FIELDS: &[Field] = &[
    field(Protocol::Ip, "version", 0, 4, Integer(4)),
    field(Protocol::Ip, "hdrlength", 4, 4, Integer(4)),
    field(Protocol::Ip, "dscp", 8, 6, Dscp),
    field(Protocol::Ip, "length", 16, 16, Integer(16)),
    field(Protocol::Ip, "id", 32, 16, Integer(16)),
    field(Protocol::Ip, "frag-off", 48, 16, Integer(16)),
    field(Protocol::Ip, "ttl", 64, 8, Integer(8)),
    field(Protocol::Ip, "protocol", 72, 8, InetProto),
    field(Protocol::Ip, "checksum", 80, 16, Integer(16)),
    field(Protocol::Ip, "saddr", 96, 32, Ipv4Addr),
    field(Protocol::Ip, "daddr", 128, 32, Ipv4Addr),
    field(Protocol::Ip6, "version", 0, 4, Integer(4)),
    field(Protocol::Ip6, "dscp", 4, 6, Dscp),
    field(Protocol::Ip6, "flowlabel", 12, 20, Integer(20)),
    field(Protocol::Ip6, "length", 32, 16, Integer(16)),
    field(Protocol::Ip6, "nexthdr", 48, 8, InetProto),
    field(Protocol::Ip6, "hoplimit", 56, 8, Integer(8)),
    field(Protocol::Ip6, "saddr", 64, 128, Ipv6Addr),
    field(Protocol::Ip6, "daddr", 192, 128, Ipv6Addr),
    field(Protocol::Tcp, "sport", 0, 16, InetService),
    field(Protocol::Tcp, "dport", 16, 16, InetService),
    field(Protocol::Tcp, "sequence", 32, 32, Integer(32)),
    field(Protocol::Tcp, "ackseq", 64, 32, Integer(32)),
    field(Protocol::Tcp, "doff", 96, 4, Integer(4)),
    field(Protocol::Tcp, "reserved", 100, 4, Integer(4)),
    field(Protocol::Tcp, "flags", 104, 8, TcpFlag),
    field(Protocol::Tcp, "window", 112, 16, Integer(16)),
    field(Protocol::Tcp, "checksum", 128, 16, Integer(16)),
    field(Protocol::Tcp, "urgptr", 144, 16, Integer(16)),
    field(Protocol::Udp, "sport", 0, 16, InetService),
    field(Protocol::Udp, "dport", 16, 16, InetService),
    field(Protocol::Udp, "length", 32, 16, Integer(16)),
    field(Protocol::Udp, "checksum", 48, 16, Integer(16)),
    field(Protocol::UdpLite, "sport", 0, 16, InetService),
    field(Protocol::UdpLite, "dport", 16, 16, InetService),
    field(Protocol::UdpLite, "checksum", 48, 16, Integer(16)),
    field(Protocol::Sctp, "sport", 0, 16, InetService),
    field(Protocol::Sctp, "dport", 16, 16, InetService),
    field(Protocol::Sctp, "vtag", 32, 32, Integer(32)),
    field(Protocol::Sctp, "checksum", 64, 32, Integer(32)),
    field(Protocol::Dccp, "sport", 0, 16, InetService),
    field(Protocol::Dccp, "dport", 16, 16, InetService),
    field(Protocol::Th, "sport", 0, 16, InetService),
    field(Protocol::Th, "dport", 16, 16, InetService),
    field(Protocol::Icmp, "type", 0, 8, IcmpType),
    field(Protocol::Icmp, "code", 8, 8, IcmpCode),
    field(Protocol::Icmp, "checksum", 16, 16, Integer(16)),
    field(Protocol::Icmpv6, "type", 0, 8, Icmpv6Type),
    field(Protocol::Icmpv6, "code", 8, 8, Icmpv6Code),
    field(Protocol::Icmpv6, "checksum", 16, 16, Integer(16)),
];

impl Field {
    pub(crate) fn header(&self) -> Header {
        match self.protocol {
            Protocol::Ip | Protocol::Ip6 => Header::Network,
            _ => Header::Transport,
        }
    }
}

/// What is known about the packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MetaKey {
    /// The transport protocol, behind all IPv6 extension headers.
    L4Proto,
    /// IPv4 (2) or IPv6 (10).
    NfProto,
    /// The EtherType.
    Protocol,
    /// The packet mark.
    Mark,
    /// The name of the interface the packet came in on.
    IifName,
    /// The name of the interface it leaves by.
    OifName,
    /// The interface it came in on.
    Iif,
    /// The interface it leaves by.
    Oif,
    /// To this host, broadcast, multicast, to somebody else.
    PktType,
    /// Bytes from the network header on.
    Length,
}

impl MetaKey {
    /// The keys that want `meta` before them, and those that may stand alone.
    pub(crate) const ALL: [(&'static str, MetaKey); 10] = [
        ("l4proto", MetaKey::L4Proto),
        ("nfproto", MetaKey::NfProto),
        ("protocol", MetaKey::Protocol),
        ("length", MetaKey::Length),
        ("mark", MetaKey::Mark),
        ("iifname", MetaKey::IifName),
        ("oifname", MetaKey::OifName),
        ("iif", MetaKey::Iif),
        ("oif", MetaKey::Oif),
        ("pkttype", MetaKey::PktType),
    ];
    pub(crate) const UNQUALIFIED: std::ops::Range<usize> = 4..10;

    pub(crate) fn ty(self) -> DataType {
        match self {
            MetaKey::L4Proto => DataType::InetProto,
            MetaKey::NfProto => DataType::NfProto,
            MetaKey::Protocol => DataType::EtherType,
            MetaKey::Mark => DataType::Mark,
            MetaKey::IifName | MetaKey::OifName => DataType::IfName,
            MetaKey::Iif | MetaKey::Oif => DataType::IfaceIndex,
            MetaKey::PktType => DataType::PktType,
            MetaKey::Length => DataType::Integer(32),
        }
    }
}

/// The direction written in `ct original …` and `ct reply …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CtDir {
    /// As the first packet went.
    Original,
    /// The other way.
    Reply,
}

/// What a rule can ask of connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CtKey {
    /// invalid 1, established 2, related 4, new 8, untracked 64.
    State,
    /// The packet's direction: 0 original, 1 reply.
    Direction,
    /// Netfilter's status bits.
    Status,
    /// The connection's mark.
    Mark,
    /// Milliseconds until the entry runs out.
    Expiration,
    /// The helper's name as a 16-byte string.
    Helper,
    /// The 128 label bits, label 0 the lowest.
    Label,
    /// The zone, of a direction if one is given.
    Zone,
    /// The number of the entry.
    Id,
    /// IPv4 (2) or IPv6 (10).
    L3Proto,
    /// The transport protocol.
    Protocol,
    /// Source address of a direction's tuple, IPv4.
    SrcIp,
    /// Destination address of a direction's tuple, IPv4.
    DstIp,
    /// Source address of a direction's tuple, IPv6.
    SrcIp6,
    /// Destination address of a direction's tuple, IPv6.
    DstIp6,
    /// Source port of a direction's tuple.
    ProtoSrc,
    /// Destination port of a direction's tuple.
    ProtoDst,
    /// Bytes counted, of one direction or of both.
    Bytes,
    /// Packets counted, of one direction or of both.
    Packets,
    /// Bytes per packet, of one direction or of both.
    AvgPkt,
}

impl CtKey {
    /// Keys without a direction.
    pub(crate) const PLAIN: [(&'static str, CtKey); 14] = [
        ("state", CtKey::State),
        ("direction", CtKey::Direction),
        ("status", CtKey::Status),
        ("mark", CtKey::Mark),
        ("expiration", CtKey::Expiration),
        ("helper", CtKey::Helper),
        ("label", CtKey::Label),
        ("id", CtKey::Id),
        ("l3proto", CtKey::L3Proto),
        ("protocol", CtKey::Protocol),
        ("zone", CtKey::Zone),
        ("bytes", CtKey::Bytes),
        ("packets", CtKey::Packets),
        ("avgpkt", CtKey::AvgPkt),
    ];
    /// Keys after `original` or `reply`.
    pub(crate) const DIRECTED: [(&'static str, CtKey); 8] = [
        ("l3proto", CtKey::L3Proto),
        ("protocol", CtKey::Protocol),
        ("zone", CtKey::Zone),
        ("bytes", CtKey::Bytes),
        ("packets", CtKey::Packets),
        ("avgpkt", CtKey::AvgPkt),
        ("proto-src", CtKey::ProtoSrc),
        ("proto-dst", CtKey::ProtoDst),
    ];
    /// Keys after `original ip` and the like.
    pub(crate) const ADDRESSES: [(&'static str, &'static str, CtKey); 4] = [
        ("ip", "saddr", CtKey::SrcIp),
        ("ip", "daddr", CtKey::DstIp),
        ("ip6", "saddr", CtKey::SrcIp6),
        ("ip6", "daddr", CtKey::DstIp6),
    ];

    pub(crate) fn ty(self) -> DataType {
        match self {
            CtKey::State => DataType::CtState,
            CtKey::Direction => DataType::CtDir,
            CtKey::Status => DataType::CtStatus,
            CtKey::Mark => DataType::Mark,
            CtKey::Expiration => DataType::Time,
            CtKey::Helper => DataType::String,
            CtKey::Label => DataType::CtLabel,
            CtKey::Zone => DataType::Integer(16),
            CtKey::Id => DataType::Integer(32),
            CtKey::L3Proto => DataType::NfProto,
            CtKey::Protocol => DataType::InetProto,
            CtKey::SrcIp | CtKey::DstIp => DataType::Ipv4Addr,
            CtKey::SrcIp6 | CtKey::DstIp6 => DataType::Ipv6Addr,
            CtKey::ProtoSrc | CtKey::ProtoDst => DataType::InetService,
            CtKey::Bytes | CtKey::Packets | CtKey::AvgPkt => DataType::Integer(64),
        }
    }
}

/// Which address a `fib` expression looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FibAddress {
    /// The packet's source.
    Source,
    /// The packet's destination.
    Destination,
}

/// What a `fib` expression wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FibResult {
    /// unspec 0, unicast 1, local 2, broadcast 3, anycast 4, multicast 5, blackhole 6, unreachable 7, prohibit 8.
    Type,
    /// Whether there is a route.
    OifPresent,
}

/// Which interfaces count for a `fib` expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FibDevice {
    /// All.
    Any,
    /// The one the packet came in on.
    Iif,
}

/// The left side of a match, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Selector {
    Meta(MetaKey),
    Ct(CtKey, Option<CtDir>),
    Field(&'static Field),
    Fib(FibAddress, FibDevice, FibResult),
}

impl Selector {
    pub(crate) fn ty(&self) -> DataType {
        match self {
            Selector::Meta(key) => key.ty(),
            Selector::Ct(key, _) => key.ty(),
            Selector::Field(field) => field.ty,
            Selector::Fib(_, _, FibResult::Type) => DataType::FibAddrType,
            Selector::Fib(_, _, FibResult::OifPresent) => DataType::Boolean,
        }
    }
}
