//! A packet's headers as people read them, and what differs between two looks at one packet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use uct_engine::tcp::flag;
use uct_engine::{Family, L4, More, Packet, Protocol, Quote, Tuple};

/// One end of a packet or tuple as people write it.
pub fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

/// A tuple as people read it: `192.168.1.10:40000 → 198.51.100.80:443`.
pub struct Arrow<'a>(pub &'a Tuple);

impl fmt::Display for Arrow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tuple { src, dst, l4, .. } = self.0;
        match *l4 {
            L4::Ports { src: sport, dst: dport } => {
                write!(f, "{} → {}", SocketAddr::new(*src, sport), SocketAddr::new(*dst, dport))
            }
            L4::Icmp { kind, code: 0, id } => write!(f, "{src} → {dst} type {kind} id {id}"),
            L4::Icmp { kind, code, id } => write!(f, "{src} → {dst} type {kind} code {code} id {id}"),
            L4::Keys { src: 0, dst: 0 } | L4::None => write!(f, "{src} → {dst}"),
            L4::Keys { src: skey, dst: dkey } => write!(f, "{src} → {dst} keys {skey:#x} {dkey:#x}"),
        }
    }
}

/// What is in a packet's headers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Header {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// The transport protocol, by netfilter's name or its number.
    pub protocol: String,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpHeader>,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Bytes from the IP header on, as on the wire.
    pub length: usize,
    /// What makes it a fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<Fragment>,
    /// Checksum of the IPv4 header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_checksum: Option<u16>,
    /// Checksum of the transport header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u16>,
    /// The capture holds only a part of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The packet that an ICMP error quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted: Option<Box<Quoted>>,
}

/// An ICMP message's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Icmp {
    /// Type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier, of queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
}

/// A TCP segment's own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TcpHeader {
    /// Flags by name, `SYN,ACK`.
    pub flags: String,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window as it stands in the header.
    pub window: u16,
    /// Bytes of payload.
    pub payload: usize,
}

/// What makes a packet a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fragment {
    /// The datagram's identification.
    pub id: u32,
    /// Offset in bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

/// What can be read of a quoted packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quoted {
    /// The transport protocol.
    pub protocol: String,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// Identifier of an ICMP query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
}

/// One field that is different now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The field.
    pub field: &'static str,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// The names of TCP flags that are set, as people write them.
pub fn flag_names(flags: u8) -> String {
    let all = [
        (flag::SYN, "SYN"),
        (flag::FIN, "FIN"),
        (flag::RST, "RST"),
        (flag::PSH, "PSH"),
        (flag::ACK, "ACK"),
        (flag::URG, "URG"),
        (flag::ECE, "ECE"),
        (flag::CWR, "CWR"),
    ];
    let names: Vec<_> = all.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

impl Header {
    /// Reads what is there.
    pub fn of(packet: &Packet<'_>) -> Header {
        let protocol = packet.protocol();
        let transport = packet.transport().unwrap_or(&[]);
        let ports = protocol.has_ports();
        let is_icmp = matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
        let quoted = packet.quoted_tuple().and_then(|_| Quote::read(packet.family(), transport.get(8..)?));
        Header {
            family: packet.family().name(),
            protocol: protocol.to_string(),
            src: packet.src(),
            dst: packet.dst(),
            sport: word(transport, 0).filter(|_| ports),
            dport: word(transport, 2).filter(|_| ports),
            icmp: if is_icmp { icmp(packet, transport) } else { None },
            tcp: if protocol == Protocol::TCP { tcp(packet, transport) } else { None },
            ttl: packet.ttl(),
            length: packet.wire_len(),
            fragment: packet.fragment().map(|f| Fragment {
                id: f.id,
                offset: f.offset,
                more: f.more == More::Fragments,
            }),
            ip_checksum: word(packet.bytes(), 10).filter(|_| packet.family() == Family::Ipv4),
            checksum: checksum_at(protocol).and_then(|at| word(transport, at)),
            truncated: packet.is_truncated(),
            quoted: quoted.map(|q| {
                let rest = transport.get(8 + q.transport..).unwrap_or(&[]);
                let ports = q.protocol.has_ports();
                Box::new(Quoted {
                    protocol: q.protocol.to_string(),
                    src: q.src,
                    dst: q.dst,
                    sport: word(rest, 0).filter(|_| ports),
                    dport: word(rest, 2).filter(|_| ports),
                    id: word(rest, 4).filter(|_| matches!(q.protocol, Protocol::ICMP | Protocol::ICMPV6)),
                })
            }),
        }
    }

    /// Reads a packet from its bytes, if they are one.
    pub fn read(bytes: &[u8], wire_len: usize) -> Option<Header> {
        let mut copy = bytes.to_vec();
        Packet::parse(&mut copy, wire_len).ok().map(|p| Header::of(&p))
    }

    /// The protocol's name as people write it.
    pub fn protocol_name(&self) -> String {
        match self.protocol.as_str() {
            "udplite" => "UDP-Lite".to_owned(),
            "icmpv6" => "ICMPv6".to_owned(),
            name if name.bytes().all(|b| b.is_ascii_digit()) => format!("protocol {name}"),
            name => name.to_uppercase(),
        }
    }

    /// What it is besides its two ends: `SYN`, `echo request`, `fragment`.
    pub fn kind(&self) -> String {
        if let Some(f) = self.fragment.filter(|f| f.offset > 0 || f.more) {
            return format!("fragment at {}{}", f.offset, if f.more { "" } else { ", the last" });
        }
        match (&self.tcp, self.icmp) {
            (Some(t), _) if t.payload > 0 => format!("{} with {} bytes", t.flags, t.payload),
            (Some(t), _) => t.flags.clone(),
            (_, Some(icmp)) => icmp_name(self.family, icmp),
            _ => String::new(),
        }
    }

    /// What changed from `self` to `new`.
    pub fn changes(&self, new: &Header) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut push = |field, old: Option<String>, new: Option<String>| {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                changes.push(Change { field, old, new });
            }
        };
        let text = |v: Option<u16>| v.map(|v| v.to_string());
        let hex = |v: Option<u16>| v.map(|v| format!("{v:#06x}"));
        push("source address", Some(self.src.to_string()), Some(new.src.to_string()));
        push("source port", text(self.sport), text(new.sport));
        push("destination address", Some(self.dst.to_string()), Some(new.dst.to_string()));
        push("destination port", text(self.dport), text(new.dport));
        push("id", text(self.icmp.and_then(|i| i.id)), text(new.icmp.and_then(|i| i.id)));
        push("TTL", Some(self.ttl.to_string()), Some(new.ttl.to_string()));
        push("IP checksum", hex(self.ip_checksum), hex(new.ip_checksum));
        push("checksum", hex(self.checksum), hex(new.checksum));
        if let (Some(old), Some(new)) = (&self.quoted, &new.quoted) {
            push("quoted source address", Some(old.src.to_string()), Some(new.src.to_string()));
            push("quoted source port", text(old.sport), text(new.sport));
            push("quoted destination address", Some(old.dst.to_string()), Some(new.dst.to_string()));
            push("quoted destination port", text(old.dport), text(new.dport));
            push("quoted id", text(old.id), text(new.id));
        }
        changes
    }
}

/// `192.168.1.10:40000 → 198.51.100.80:443`.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", end(self.src, self.sport), end(self.dst, self.dport))
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.protocol, end(self.src, self.sport), end(self.dst, self.dport))
    }
}

fn checksum_at(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP | Protocol::UDPLITE => Some(6),
        Protocol::ICMP | Protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

fn tcp(packet: &Packet<'_>, transport: &[u8]) -> Option<TcpHeader> {
    let flags = *transport.get(13)?;
    let header_len = usize::from(transport[12] >> 4) * 4;
    Some(TcpHeader {
        flags: flag_names(flags),
        seq: long(transport, 4)?,
        ack: long(transport, 8)?,
        window: word(transport, 14)?,
        payload: packet.transport_wire_len().saturating_sub(header_len),
    })
}

fn icmp(packet: &Packet<'_>, transport: &[u8]) -> Option<Icmp> {
    let [kind, code, ..] = *transport else { return None };
    let has_id = match packet.family() {
        Family::Ipv4 => matches!(kind, 0 | 8 | 13..=18),
        Family::Ipv6 => matches!(kind, 128 | 129),
    };
    Some(Icmp { kind, code, id: word(transport, 4).filter(|_| has_id) })
}

fn icmp_name(family: &str, icmp: Icmp) -> String {
    let Icmp { kind, code, id } = icmp;
    let v4 = family == "ipv4";
    let name = match (v4, kind, code) {
        (true, 0, _) | (false, 129, _) => "echo reply",
        (true, 8, _) | (false, 128, _) => "echo request",
        (true, 3, 0) | (false, 1, 0) => "error: no route",
        (true, 3, 1) | (false, 1, 3) => "error: host unreachable",
        (true, 3, 3) | (false, 1, 4) => "error: port unreachable",
        (true, 3, 4) => "error: fragmentation needed",
        (false, 2, _) => "error: packet too big",
        (true, 3, 13) | (false, 1, 1) => "error: administratively prohibited",
        (true, 3, _) | (false, 1, _) => "error: destination unreachable",
        (true, 5, _) => "redirect",
        (true, 11, 1) | (false, 3, 1) => "error: fragment reassembly time exceeded",
        (true, 11, _) | (false, 3, _) => "error: time exceeded",
        (true, 12, _) | (false, 4, _) => "error: parameter problem",
        (true, 13, _) => "timestamp request",
        (true, 14, _) => "timestamp reply",
        (false, 133, _) => "router solicitation",
        (false, 134, _) => "router advertisement",
        (false, 135, _) => "neighbour solicitation",
        (false, 136, _) => "neighbour advertisement",
        _ => return format!("type {kind} code {code}"),
    };
    match id {
        Some(id) => format!("{name}, id {id}"),
        None => name.to_owned(),
    }
}
