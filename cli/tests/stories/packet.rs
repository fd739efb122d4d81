//! Looking into IP packets, and changing a port in them. Written apart from the crates under test, so that it does not share their faults.

use std::collections::HashMap;
use std::net::IpAddr;

/// Which port of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// The ends of a packet. An ICMP echo has its id on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) protocol: u8,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Ends {
    /// The ends of an answer.
    pub(crate) fn answered(&self) -> Self {
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// The ends of an unfragmented TCP, UDP or ICMP echo packet.
pub(crate) fn ends(ip: &[u8]) -> Option<Ends> {
    let (protocol, header) = transport(ip)?;
    let at = |offset: usize| Some(u16::from_be_bytes([*ip.get(header + offset)?, *ip.get(header + offset + 1)?]));
    let (source_port, destination_port) = match (protocol, *ip.get(header)?) {
        (6 | 17, _) => (at(0)?, at(2)?),
        (1, 0 | 8) | (58, 128 | 129) => (at(4)?, at(4)?),
        _ => return None,
    };
    let (source, destination) = addresses(ip);
    Some(Ends { protocol, source, destination, source_port, destination_port })
}

/// Writes a port (or an ICMP id) and mends the checksum of the transport.
pub(crate) fn set_port(ip: &mut [u8], side: Side, port: u16) {
    let (protocol, header) = transport(ip).expect("a packet with ports");
    let (field, checksum) = match (protocol, side) {
        (6, Side::Source) => (0, 16),
        (6, Side::Destination) => (2, 16),
        (17, Side::Source) => (0, 6),
        (17, Side::Destination) => (2, 6),
        _ => (4, 2),
    };
    let (field, checksum) = (header + field, header + checksum);
    let old = u16::from_be_bytes([ip[field], ip[field + 1]]);
    ip[field..field + 2].copy_from_slice(&port.to_be_bytes());
    let sum = u16::from_be_bytes([ip[checksum], ip[checksum + 1]]);
    if protocol == 17 && sum == 0 {
        return;
    }
    let mut total = u32::from(!sum) + u32::from(!old) + u32::from(port);
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    let sum = match !(total as u16) {
        0 if protocol == 17 => 0xffff,
        sum => sum,
    };
    ip[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
}

/// What no one can foretell, taken out of two packets that are to be compared.
#[derive(Default)]
pub(crate) struct Random {
    /// The router's own addresses: its ICMP errors have an identification and a flow label of the kernel's choice.
    pub(crate) own: Vec<IpAddr>,
    /// Which identification of a leaving IPv6 datagram in the kernel is which of ours, and the other way round.
    theirs: HashMap<u32, u32>,
    ours: HashMap<u32, u32>,
}

impl Random {
    pub(crate) fn of(own: Vec<IpAddr>) -> Self {
        Self { own, ..Self::default() }
    }

    /// Makes two packets equal where they may differ.
    pub(crate) fn even_out(&mut self, theirs: &mut [u8], ours: &mut [u8]) {
        if self.is_own_error(theirs) && self.is_own_error(ours) {
            for packet in [&mut *theirs, &mut *ours] {
                if packet[0] >> 4 == 4 {
                    assert!(header_checksum_is_right(packet), "an ICMP error with a wrong header checksum");
                    packet[4..6].fill(0);
                    packet[10..12].fill(0);
                } else {
                    packet[1] &= 0xf0;
                    packet[2..4].fill(0);
                }
            }
        }
        if let (Some(a), Some(b)) = (fragment_id(theirs), fragment_id(ours))
            && *self.theirs.entry(a).or_insert(b) == b
            && *self.ours.entry(b).or_insert(a) == a
        {
            theirs[44..48].fill(0);
            ours[44..48].fill(0);
        }
    }

    fn is_own_error(&self, ip: &[u8]) -> bool {
        let is_error = match transport(ip) {
            Some((1, header)) => matches!(ip.get(header), Some(3 | 11 | 12)),
            Some((58, header)) => matches!(ip.get(header), Some(1..=4)),
            _ => false,
        };
        is_error && self.own.contains(&addresses(ip).0)
    }
}

/// The identification of an IPv6 fragment whose fragment header comes first, as in what a router cuts.
fn fragment_id(ip: &[u8]) -> Option<u32> {
    (ip[0] >> 4 == 6 && ip[6] == 44).then(|| u32::from_be_bytes([ip[44], ip[45], ip[46], ip[47]]))
}

fn header_checksum_is_right(ip: &[u8]) -> bool {
    let header = &ip[..usize::from(ip[0] & 15) * 4];
    let mut total: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total == 0xffff
}

/// Protocol and offset of the transport header, unless the packet is a fragment.
fn transport(ip: &[u8]) -> Option<(u8, usize)> {
    match ip[0] >> 4 {
        4 => ((ip[6] & 0x3f) == 0 && ip[7] == 0).then(|| (ip[9], usize::from(ip[0] & 15) * 4)),
        _ => Some((ip[6], 40)),
    }
}

fn addresses(ip: &[u8]) -> (IpAddr, IpAddr) {
    fn v4(bytes: &[u8]) -> IpAddr {
        <[u8; 4]>::try_from(bytes).expect("4 bytes").into()
    }
    fn v6(bytes: &[u8]) -> IpAddr {
        <[u8; 16]>::try_from(bytes).expect("16 bytes").into()
    }
    match ip[0] >> 4 {
        4 => (v4(&ip[12..16]), v4(&ip[16..20])),
        _ => (v6(&ip[8..24]), v6(&ip[24..40])),
    }
}
