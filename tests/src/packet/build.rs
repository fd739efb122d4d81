//! Packets out of fields, right unless told to be wrong.
//!
//! Only plain bytes are written here: the builders know nothing of connections, so a mistake in uct cannot hide in them.

use std::net::IpAddr;

/// TCP flag bits.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgment counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
    /// Congestion echo.
    pub const ECE: u8 = 64;
    /// Congestion window reduced.
    pub const CWR: u8 = 128;
}

/// IP protocol numbers.
pub mod proto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ESP, which has no ports.
    pub const ESP: u8 = 50;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;
}

/// The fields of an IP header.
#[derive(Clone, Debug)]
pub struct Ip {
    /// Source.
    pub src: IpAddr,
    /// Destination; of the same family.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Identification, of IPv4 only.
    pub id: u16,
    /// Flags and fragment offset, of IPv4 only; `0x4000` is "don't fragment".
    pub flags: u16,
    /// Options, of IPv4 only; a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Ip {
    /// A plain header.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr) -> Ip {
        Ip { src, dst, ttl: 64, tos: 0, id: 1, flags: 0x4000, options: Vec::new() }
    }

    /// The packet with this header around `payload`.
    ///
    /// # Panics
    /// If the addresses are of two families.
    #[must_use]
    pub fn packet(&self, proto: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(60 + payload.len());
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = 20 + self.options.len();
                packet.extend([0x40 | (header / 4) as u8, self.tos]);
                packet.extend(((header + payload.len()) as u16).to_be_bytes());
                packet.extend(self.id.to_be_bytes());
                packet.extend(self.flags.to_be_bytes());
                packet.extend([self.ttl, proto, 0, 0]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
                packet.extend(&self.options);
                mend_ipv4(&mut packet);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                packet.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
                packet.extend((payload.len() as u16).to_be_bytes());
                packet.extend([proto, self.ttl]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
            }
            _ => panic!("{} and {} are of two families", self.src, self.dst),
        }
        packet.extend(payload);
        packet
    }
}

/// Computes the header checksum of an IPv4 packet anew.
pub fn mend_ipv4(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = checksum(0, &packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum of `bytes`, begun with `sum`.
#[must_use]
pub fn checksum(sum: u32, bytes: &[u8]) -> u16 {
    let mut sum = sum;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sum over the pseudo-header.
#[must_use]
pub fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, length: usize) -> u32 {
    let mut sum = u32::from(proto) + length as u32;
    let mut add = |octets: &[u8]| {
        sum += octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    };
    for address in [src, dst] {
        match address {
            IpAddr::V4(address) => add(&address.octets()),
            IpAddr::V6(address) => add(&address.octets()),
        }
    }
    sum
}

fn fill(ip: &Ip, proto: u8, at: usize, segment: &mut [u8]) {
    let sum = checksum(pseudo(ip.src, ip.dst, proto, segment.len()), segment);
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The fields of a TCP segment.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags, see [`flag`].
    pub flags: u8,
    /// The window field.
    pub window: u16,
    /// Options; a multiple of four bytes.
    pub options: Vec<u8>,
    /// The data.
    pub data: Vec<u8>,
}

impl Tcp {
    /// The packet with this segment.
    #[must_use]
    pub fn packet(&self, ip: &Ip) -> Vec<u8> {
        let mut s = Vec::with_capacity(60 + self.data.len());
        s.extend(self.sport.to_be_bytes());
        s.extend(self.dport.to_be_bytes());
        s.extend(self.seq.to_be_bytes());
        s.extend(self.ack.to_be_bytes());
        s.extend([(((20 + self.options.len()) / 4) << 4) as u8, self.flags]);
        s.extend(self.window.to_be_bytes());
        s.extend([0, 0, 0, 0]);
        s.extend(&self.options);
        s.extend(&self.data);
        fill(ip, proto::TCP, 16, &mut s);
        ip.packet(proto::TCP, &s)
    }
}

/// A UDP datagram.
#[must_use]
pub fn udp(ip: &Ip, sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut s = Vec::with_capacity(8 + data.len());
    s.extend(sport.to_be_bytes());
    s.extend(dport.to_be_bytes());
    s.extend(((8 + data.len()) as u16).to_be_bytes());
    s.extend([0, 0]);
    s.extend(data);
    fill(ip, proto::UDP, 6, &mut s);
    if s[6..8] == [0, 0] {
        s[6..8].fill(0xff);
    }
    ip.packet(proto::UDP, &s)
}

/// Which checksum a UDP-Lite datagram carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteSum {
    /// By RFC 3828.
    Right,
    /// What the kernel's connection tracking takes for right: with UDP's protocol number and, over IPv4, with the low
    /// byte of the length.
    Kernel,
}

/// A UDP-Lite datagram whose checksum covers its first `coverage` bytes, everything if that is zero.
#[must_use]
pub fn udplite(ip: &Ip, sport: u16, dport: u16, data: &[u8], coverage: u16, sum: LiteSum) -> Vec<u8> {
    let mut s = Vec::with_capacity(8 + data.len());
    s.extend(sport.to_be_bytes());
    s.extend(dport.to_be_bytes());
    s.extend(coverage.to_be_bytes());
    s.extend([0, 0]);
    s.extend(data);
    let covered = if coverage == 0 { s.len() } else { s.len().min(usize::from(coverage)) };
    let (proto, length) = match (sum, ip.src) {
        (LiteSum::Right, _) => (proto::UDPLITE, s.len()),
        (LiteSum::Kernel, IpAddr::V4(_)) => (proto::UDP, s.len() & 0xff),
        (LiteSum::Kernel, IpAddr::V6(_)) => (proto::UDP, s.len()),
    };
    let sum = checksum(pseudo(ip.src, ip.dst, proto, length), &s[..covered]);
    s[6..8].copy_from_slice(&if sum == 0 { 0xffff_u16 } else { sum }.to_be_bytes());
    ip.packet(proto::UDPLITE, &s)
}

/// An ICMP or ICMPv6 message, by the family of `ip`: type, code, the four bytes after the checksum, and the rest.
#[must_use]
pub fn icmp(ip: &Ip, kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut s = vec![kind, code, 0, 0];
    s.extend(rest);
    s.extend(data);
    if ip.src.is_ipv4() {
        let sum = checksum(0, &s);
        s[2..4].copy_from_slice(&sum.to_be_bytes());
        ip.packet(proto::ICMP, &s)
    } else {
        fill(ip, proto::ICMPV6, 2, &mut s);
        ip.packet(proto::ICMPV6, &s)
    }
}

/// One chunk of SCTP, padded.
#[must_use]
pub fn sctp_chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((4 + value.len() as u16).to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// An SCTP packet.
#[must_use]
pub fn sctp(ip: &Ip, sport: u16, dport: u16, vtag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut s = Vec::with_capacity(12 + chunks.len());
    s.extend(sport.to_be_bytes());
    s.extend(dport.to_be_bytes());
    s.extend(vtag.to_be_bytes());
    s.extend([0; 4]);
    s.extend(chunks);
    let crc = crc32c(&s);
    s[8..12].copy_from_slice(&crc.to_le_bytes());
    ip.packet(proto::SCTP, &s)
}

/// CRC32c, bit by bit: slow and beyond doubt.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// The fragments of an IP packet, cut at `cuts` (offsets into the payload, multiples of eight).
///
/// # Panics
/// If the packet has no whole IP header.
#[must_use]
pub fn fragments(packet: &[u8], id: u32, cuts: &[usize]) -> Vec<Vec<u8>> {
    let version = packet[0] >> 4;
    let header = if version == 4 { usize::from(packet[0] & 15) * 4 } else { 40 };
    let payload = &packet[header..];
    let mut edges: Vec<usize> = cuts.iter().copied().filter(|&cut| cut > 0 && cut < payload.len()).collect();
    edges.sort_unstable();
    edges.dedup();
    edges.push(payload.len());
    let mut from = 0;
    let mut pieces = Vec::new();
    for &to in &edges {
        let more = to != payload.len();
        pieces.push(fragment(&packet[..header], id, from, &payload[from..to], more));
        from = to;
    }
    pieces
}

/// One fragment: `header` of the whole packet, and `part` of its payload beginning at `offset`.
fn fragment(header: &[u8], id: u32, offset: usize, part: &[u8], more: bool) -> Vec<u8> {
    let mut piece = header.to_vec();
    if header[0] >> 4 == 4 {
        piece[2..4].copy_from_slice(&((header.len() + part.len()) as u16).to_be_bytes());
        piece[4..6].copy_from_slice(&(id as u16).to_be_bytes());
        let field = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        piece[6..8].copy_from_slice(&field.to_be_bytes());
        mend_ipv4(&mut piece);
    } else {
        piece[4..6].copy_from_slice(&((8 + part.len()) as u16).to_be_bytes());
        piece[6] = 44;
        piece.extend([header[6], 0]);
        piece.extend((offset as u16 & 0xfff8 | u16::from(more)).to_be_bytes());
        piece.extend(id.to_be_bytes());
    }
    piece.extend(part);
    piece
}

/// An Ethernet frame around an IP packet.
///
/// # Panics
/// If a hardware address cannot be read.
#[must_use]
pub fn frame(to: &str, from: &str, packet: &[u8]) -> Vec<u8> {
    let mac = |text: &str| -> Vec<u8> {
        text.split(':').map(|part| u8::from_str_radix(part, 16).expect("a hardware address")).collect()
    };
    let mut bytes = [mac(to), mac(from)].concat();
    bytes.extend(if packet.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] });
    bytes.extend(packet);
    bytes
}
