//! Link headers: where in a frame the IP header begins, who sent it, which way it went; and the header of an emitted frame.
//!
//! | link type | number | header | network protocol from |
//! |---|---|---|---|
//! | Ethernet | 1 | 14, + 4 per VLAN tag (0x8100, 0x88a8, 0x9100) | EtherType |
//! | RAW | 101; 12, 14 of older files | none | first nibble |
//! | IPV4, IPV6 | 228, 229 | none | the link type |
//! | Linux cooked (SLL) | 113 | 16, + tags | EtherType; packet type 4 = outgoing |
//! | Linux cooked v2 (SLL2) | 276 | 20, + tags | EtherType; packet type 4 = outgoing; interface index |
//! | NULL | 0 | 4: address family in the capturing host's byte order | 2 = IPv4; 10, 24, 28, 30 = IPv6 |
//! | LOOP | 108 | 4: address family in network byte order | the same |
//!
//! # Invariants
//! - `offset` is never beyond the frame; a frame that ends within its link header is [`LinkError::Short`].
//! - At most [`MAX_TAGS`] tags are walked.
//! - Network bytes are not looked at, but for the nibble of RAW.
//!
//! # Sources
//! The `LINKTYPE_` registry of tcpdump.org; IEEE 802.1Q-2018 clause 9 (tag formats). A frame whose EtherType is below
//! 0x0600 is of the 802.3 length kind (LLC); Linux gives such frames to other protocols than IP, and so does
//! [`Network::Other`].

use etherparse::{Ethernet2HeaderSlice, LinuxSllHeaderSlice, SingleVlanHeaderSlice};
use std::fmt;
use std::str::FromStr;

/// How many VLAN tags a frame may carry.
pub const MAX_TAGS: usize = 4;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ETHERNET_LEN: usize = 14;
const TAG_LEN: usize = 4;
const SLL_LEN: usize = 16;
const SLL2_LEN: usize = 20;
const FAMILY_LEN: usize = 4;
/// Hardware type of a cooked header that stands for Ethernet.
const ARPHRD_ETHER: u16 = 1;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it names a group of hosts (or all), not one.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// All ones.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Why a text is no Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address: six hexadecimal bytes with colons are expected, as in 02:00:00:00:00:01")]
pub struct NotAMac;

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(s: &str) -> Result<Self, NotAMac> {
        let mut mac = [0; 6];
        let mut parts = s.split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len())).ok_or(NotAMac)?;
            // from_str_radix would also take a sign.
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(NotAMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        parts.next().map_or(Ok(Mac(mac)), |_| Err(NotAMac))
    }
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkType {
    /// BSD loopback, the capturing host's byte order.
    Null,
    /// Ethernet.
    Ethernet,
    /// Bare IP, either version.
    Raw,
    /// BSD loopback, network byte order.
    Loop,
    /// Linux "any" device and devices without Ethernet headers.
    LinuxSll,
    /// Bare IPv4.
    RawIpv4,
    /// Bare IPv6.
    RawIpv6,
    /// The same with an interface index.
    LinuxSll2,
    /// None of these.
    Other(u16),
}

impl LinkType {
    /// The supported ones, for messages.
    pub const SUPPORTED: &str = "Ethernet (1), RAW (101, 12, 14), IPV4 (228), IPV6 (229), LINUX_SLL (113), LINUX_SLL2 (276), \
                                 NULL (0) and LOOP (108)";

    /// From the number in a capture.
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => LinkType::Null,
            1 => LinkType::Ethernet,
            // 101 is the number of files; 12 and 14 are what BSD systems and OpenBSD call it, and files with them exist.
            12 | 14 | 101 => LinkType::Raw,
            108 => LinkType::Loop,
            113 => LinkType::LinuxSll,
            228 => LinkType::RawIpv4,
            229 => LinkType::RawIpv6,
            276 => LinkType::LinuxSll2,
            other => LinkType::Other(other),
        }
    }

    /// The number that files use.
    pub const fn code(self) -> u16 {
        match self {
            LinkType::Null => 0,
            LinkType::Ethernet => 1,
            LinkType::Raw => 101,
            LinkType::Loop => 108,
            LinkType::LinuxSll => 113,
            LinkType::RawIpv4 => 228,
            LinkType::RawIpv6 => 229,
            LinkType::LinuxSll2 => 276,
            LinkType::Other(code) => code,
        }
    }

    /// Its name in the registry.
    pub fn name(self) -> String {
        match self {
            LinkType::LinuxSll2 => "LINUX_SLL2".into(),
            LinkType::Other(code) => match format!("{:?}", pcap_file::DataLink::from(u32::from(code))) {
                name if name.starts_with("Unknown") => "unknown".into(),
                name => name,
            },
            known => format!("{:?}", pcap_file::DataLink::from(u32::from(known.code()))),
        }
    }
}

/// What follows the link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// An IPv4 packet.
    Ipv4,
    /// An IPv6 packet.
    Ipv6,
    /// Something else, by its EtherType: 0x0806 is ARP; below 0x0600 it is the length of an LLC frame.
    Other(u16),
}

impl Network {
    const fn from_ethertype(ethertype: u16) -> Self {
        match ethertype {
            IPV4 => Network::Ipv4,
            IPV6 => Network::Ipv6,
            other => Network::Other(other),
        }
    }

    const fn ethertype(self) -> u16 {
        match self {
            Network::Ipv4 => IPV4,
            Network::Ipv6 => IPV6,
            Network::Other(ethertype) => ethertype,
        }
    }
}

/// For whom the link layer meant a frame, as Linux names it (`pkt_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// For this host.
    Host,
    /// For all.
    Broadcast,
    /// For a group.
    Multicast,
    /// For another host: seen in promiscuous mode. A router never looks at it.
    OtherHost,
    /// Sent by this host.
    Outgoing,
}

/// VLAN identifiers, the outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags {
    ids: [u16; MAX_TAGS],
    count: u8,
}

impl Tags {
    /// The identifiers (12 bits each).
    pub fn ids(&self) -> &[u16] {
        &self.ids[..usize::from(self.count).min(MAX_TAGS)]
    }

    fn push(&mut self, id: u16) -> Result<(), LinkError> {
        let slot = self.ids.get_mut(usize::from(self.count)).ok_or(LinkError::TooManyTags)?;
        *slot = id;
        self.count += 1;
        Ok(())
    }
}

/// A link header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    /// What follows it.
    pub network: Network,
    /// Where that begins in the frame, in bytes.
    pub offset: usize,
    /// Who sent it, if the header says so.
    pub source: Option<Mac>,
    /// To whom, if the header says so.
    pub destination: Option<Mac>,
    /// For whom, if the header says so (cooked headers), or if the destination address does (broadcast, multicast).
    pub packet_type: Option<PacketType>,
    /// Index of the interface at the capturing host (SLL2).
    pub ifindex: Option<u32>,
    /// Its VLAN tags.
    pub tags: Tags,
}

/// Why a frame has no readable link header: such a frame is malformed, like a packet that is
/// [`uct_engine::Malformed`], and never reaches the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LinkError {
    /// It ends within its link header.
    #[error("the frame has {have} bytes, its link header {need}")]
    Short {
        /// How long the header is, in bytes.
        need: usize,
        /// How long the frame is, in bytes.
        have: usize,
    },
    /// More tags than [`MAX_TAGS`].
    #[error("more than {MAX_TAGS} VLAN tags")]
    TooManyTags,
    /// Bare IP of neither version.
    #[error("IP version {0}")]
    Version(u8),
    /// An address family that is neither IPv4's nor IPv6's.
    #[error("address family {0}")]
    Family(u32),
    /// A link type that is not known.
    #[error("link type {0} is not supported")]
    Unsupported(u16),
}

/// Reads the link header of a frame.
pub fn parse(link: LinkType, frame: &[u8]) -> Result<LinkHeader, LinkError> {
    match link {
        LinkType::Ethernet => ethernet(frame),
        LinkType::LinuxSll => sll(frame),
        LinkType::LinuxSll2 => sll2(frame),
        LinkType::Raw => match frame.first().map(|b| b >> 4) {
            Some(4) => Ok(bare(Network::Ipv4, 0)),
            Some(6) => Ok(bare(Network::Ipv6, 0)),
            Some(version) => Err(LinkError::Version(version)),
            None => Err(LinkError::Short { need: 1, have: 0 }),
        },
        LinkType::RawIpv4 => Ok(bare(Network::Ipv4, 0)),
        LinkType::RawIpv6 => Ok(bare(Network::Ipv6, 0)),
        LinkType::Null | LinkType::Loop => {
            let Some(family) = frame.first_chunk::<FAMILY_LEN>() else {
                return Err(LinkError::Short { need: FAMILY_LEN, have: frame.len() });
            };
            // NULL is in the byte order of a host that is not known. Families are small: the order that gives the smaller
            // number is the right one.
            let (big, little) = (u32::from_be_bytes(*family), u32::from_le_bytes(*family));
            match if link == LinkType::Loop { big } else { big.min(little) } {
                2 => Ok(bare(Network::Ipv4, FAMILY_LEN)),
                // Linux; NetBSD and OpenBSD; FreeBSD; Darwin.
                10 | 24 | 28 | 30 => Ok(bare(Network::Ipv6, FAMILY_LEN)),
                other => Err(LinkError::Family(other)),
            }
        }
        LinkType::Other(code) => Err(LinkError::Unsupported(code)),
    }
}

fn bare(network: Network, offset: usize) -> LinkHeader {
    LinkHeader {
        network,
        offset,
        source: None,
        destination: None,
        packet_type: None,
        ifindex: None,
        tags: Tags::default(),
    }
}

fn short(need: usize, frame: &[u8]) -> LinkError {
    LinkError::Short { need, have: frame.len() }
}

fn ethernet(frame: &[u8]) -> Result<LinkHeader, LinkError> {
    let header = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| short(ETHERNET_LEN, frame))?;
    let destination = Mac(header.destination());
    let packet_type = match destination {
        Mac::BROADCAST => Some(PacketType::Broadcast),
        Mac([first, ..]) if first & 1 == 1 => Some(PacketType::Multicast),
        _ => None,
    };
    let (network, offset, tags) = tagged(frame, ETHERNET_LEN, header.ether_type().0)?;
    Ok(LinkHeader {
        network,
        offset,
        source: Some(Mac(header.source())),
        destination: Some(destination),
        packet_type,
        ifindex: None,
        tags,
    })
}

/// Walks the VLAN tags that begin at `offset` behind `ethertype`.
fn tagged(frame: &[u8], mut offset: usize, mut ethertype: u16) -> Result<(Network, usize, Tags), LinkError> {
    let mut tags = Tags::default();
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
        let rest = frame.get(offset..).unwrap_or(&[]);
        let tag = SingleVlanHeaderSlice::from_slice(rest).map_err(|_| short(offset + TAG_LEN, frame))?;
        tags.push(tag.vlan_identifier().value())?;
        ethertype = tag.ether_type().0;
        offset += TAG_LEN;
    }
    Ok((Network::from_ethertype(ethertype), offset, tags))
}

fn sll(frame: &[u8]) -> Result<LinkHeader, LinkError> {
    let Some(head) = frame.first_chunk::<SLL_LEN>() else {
        return Err(short(SLL_LEN, frame));
    };
    // etherparse reads it where it knows the hardware type; the fields stand at the same place in all of them.
    let (kind, hardware, len, address, protocol) = match LinuxSllHeaderSlice::from_slice(head) {
        Ok(h) => (
            u16::from(h.packet_type()),
            u16::from(h.arp_hardware_type()),
            h.sender_address_valid_length(),
            h.sender_address_full(),
            u16::from(h.protocol_type()),
        ),
        Err(_) => {
            let [k0, k1, h0, h1, l0, l1, a @ .., p0, p1] = *head;
            let two = |a, b| u16::from_be_bytes([a, b]);
            (two(k0, k1), two(h0, h1), two(l0, l1), a, two(p0, p1))
        }
    };
    let (network, offset, tags) = tagged(frame, SLL_LEN, protocol)?;
    Ok(LinkHeader {
        network,
        offset,
        source: cooked_address(hardware, len, &address),
        destination: None,
        packet_type: packet_type(kind),
        ifindex: None,
        tags,
    })
}

fn sll2(frame: &[u8]) -> Result<LinkHeader, LinkError> {
    let Some(&[p0, p1, _, _, i0, i1, i2, i3, h0, h1, kind, len, ref address @ ..]) = frame.first_chunk::<SLL2_LEN>()
    else {
        return Err(short(SLL2_LEN, frame));
    };
    let (network, offset, tags) = tagged(frame, SLL2_LEN, u16::from_be_bytes([p0, p1]))?;
    Ok(LinkHeader {
        network,
        offset,
        source: cooked_address(u16::from_be_bytes([h0, h1]), len.into(), address),
        destination: None,
        packet_type: packet_type(kind.into()),
        ifindex: Some(u32::from_be_bytes([i0, i1, i2, i3])),
        tags,
    })
}

fn cooked_address(hardware: u16, len: u16, address: &[u8; 8]) -> Option<Mac> {
    let ethernet = hardware == ARPHRD_ETHER && len == 6;
    address.first_chunk::<6>().filter(|_| ethernet).copied().map(Mac)
}

fn packet_type(code: u16) -> Option<PacketType> {
    match code {
        0 => Some(PacketType::Host),
        1 => Some(PacketType::Broadcast),
        2 => Some(PacketType::Multicast),
        3 => Some(PacketType::OtherHost),
        4 => Some(PacketType::Outgoing),
        _ => None,
    }
}

/// Appends to `out` the link header of an emitted packet. Addresses are left out where the link type has none.
pub fn build(link: LinkType, network: Network, source: Mac, destination: Mac, out: &mut Vec<u8>) {
    let protocol = network.ethertype().to_be_bytes();
    match link {
        LinkType::Ethernet => {
            out.extend_from_slice(&destination.0);
            out.extend_from_slice(&source.0);
            out.extend_from_slice(&protocol);
        }
        LinkType::LinuxSll => {
            out.extend_from_slice(&[0, 4, 0, ARPHRD_ETHER as u8, 0, 6]);
            out.extend_from_slice(&source.0);
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&protocol);
        }
        LinkType::LinuxSll2 => {
            out.extend_from_slice(&protocol);
            out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, ARPHRD_ETHER as u8, 4, 6]);
            out.extend_from_slice(&source.0);
            out.extend_from_slice(&[0, 0]);
        }
        LinkType::Null | LinkType::Loop => {
            // FreeBSD's number for IPv6, the one that every reader knows.
            let family: u32 = if network == Network::Ipv6 { 28 } else { 2 };
            let bytes = if link == LinkType::Loop { family.to_be_bytes() } else { family.to_le_bytes() };
            out.extend_from_slice(&bytes);
        }
        LinkType::Raw | LinkType::RawIpv4 | LinkType::RawIpv6 | LinkType::Other(_) => {}
    }
}

#[cfg(test)]
mod tests;
