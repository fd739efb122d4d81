//! What a host leaves to the card: transport checksums to fill in, and segments to cut.
//!
//! ```text
//!   host ── 64 KB "segment", checksum partial ──► Source ─► the way, once ─► Sink ──► card: cuts, fills in
//!           virtio_net_hdr: flags, gso_type, gso_size, csum_start, csum_offset
//! ```
//! Between hosts on one machine no card ever does it: a veth hands such packets over as they are. A router that takes them as
//! they are, and leaves the same work to the next card, translates one packet where the wire would have had forty.
//!
//! A *partial* checksum is the sum of the pseudo-header alone, not complemented, in the field where the checksum belongs. What
//! the way does to it on its own account does not matter: [`Offload::settle`] writes it anew from the final addresses.
//!
//! A packet that goes where no card helps is finished here: [`Offload::complete`] sums it up, [`Offload::segment`] cuts it.
//!
//! Invariant: `start` and `field` were checked against the packet that they came with; a packet that has become shorter is left
//! alone.
//!
//! Sources: `linux/virtio_net.h` (the header's layout and constants), packet(7) and the kernel's packet_mmap document,
//! segmentation-offloads and checksum-offloads documents of the kernel, RFC 9293 (sequence numbers, flags), RFC 768.

use std::net::IpAddr;

use uct_engine::{Checksum, Packet, Protocol, checksum};

/// Bytes of a `virtio_net_hdr`.
pub const HEADER: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Where SCTP has its checksum, which is a CRC that `virtio_net_hdr` cannot ask for.
const SCTP_FIELD: u16 = 8;
const TCP_FIELD: u16 = 16;

const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// What is left to a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum.
    pub checksum: Checksum,
    /// Where the sum begins, in bytes from the IP header; of a partial checksum.
    pub start: u16,
    /// Where the field stands, in bytes from `start`.
    pub field: u16,
    /// How the packet is to be cut.
    pub segments: Option<Segments>,
}

/// How a packet is to be cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Of which protocol.
    pub kind: Kind,
    /// Whether TCP's CWR flag is for the first segment only.
    pub ecn: Ecn,
    /// Payload of each, in bytes; the last may have less.
    pub size: u16,
}

/// The protocol of a packet that is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams of the same size, one behind the other.
    Udp,
}

/// Whether a TCP packet that is to be cut uses congestion notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// It does.
    Used,
    /// It does not.
    Unused,
}

/// A header that asks for something unknown, or for something beyond the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the packet leaves to the card is not understood")]
pub struct NotUnderstood;

impl Offload {
    /// Reads a `virtio_net_hdr` that came with a frame whose link header has `link` bytes.
    pub fn read(header: &[u8; HEADER], link: usize) -> Result<Offload, NotUnderstood> {
        let [flags, gso, _, _, s0, s1, c0, c1, f0, f1] = *header;
        let field = u16::from_ne_bytes([f0, f1]);
        let start = u16::from_ne_bytes([c0, c1]);
        let (checksum, start) = if flags & NEEDS_CHECKSUM != 0 {
            let start = usize::from(start).checked_sub(link).ok_or(NotUnderstood)?;
            (Checksum::Partial, u16::try_from(start).map_err(|_| NotUnderstood)?)
        } else if flags & DATA_VALID != 0 {
            (Checksum::Verified, 0)
        } else {
            (Checksum::Unverified, 0)
        };
        let kind = match gso & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 => Some(Kind::Tcp4),
            GSO_TCPV6 => Some(Kind::Tcp6),
            GSO_UDP => Some(Kind::Udp),
            _ => return Err(NotUnderstood),
        };
        let segments = match kind {
            None => None,
            Some(_) if checksum != Checksum::Partial => return Err(NotUnderstood),
            Some(kind) => {
                let ecn = if gso & GSO_ECN != 0 { Ecn::Used } else { Ecn::Unused };
                Some(Segments { kind, ecn, size: u16::from_ne_bytes([s0, s1]) }).filter(|s| s.size > 0)
            }
        };
        let field = if checksum == Checksum::Partial { field } else { 0 };
        Ok(Offload { checksum, start, field, segments })
    }

    /// The `virtio_net_hdr` for a frame whose link header has `link` bytes.
    pub fn write(&self, packet: &[u8], link: usize) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        if self.checksum != Checksum::Partial {
            return header;
        }
        header[0] = NEEDS_CHECKSUM;
        let start = link as u16 + self.start;
        header[6..8].copy_from_slice(&start.to_ne_bytes());
        header[8..10].copy_from_slice(&self.field.to_ne_bytes());
        if let Some(segments) = self.segments {
            let kind = match segments.kind {
                Kind::Tcp4 => GSO_TCPV4,
                Kind::Tcp6 => GSO_TCPV6,
                Kind::Udp => GSO_UDP,
            };
            header[1] = kind | if segments.ecn == Ecn::Used { GSO_ECN } else { 0 };
            let headers = link + self.headers(packet);
            header[2..4].copy_from_slice(&(headers as u16).to_ne_bytes());
            header[4..6].copy_from_slice(&segments.size.to_ne_bytes());
        }
        header
    }

    /// Bytes of the IP and transport headers.
    fn headers(&self, packet: &[u8]) -> usize {
        let start = usize::from(self.start);
        match self.segments.map(|s| s.kind) {
            Some(Kind::Udp) => start + 8,
            _ => start + packet.get(start + 12).map_or(20, |doff| usize::from(doff >> 4) * 4),
        }
    }

    /// How long the packet or its longest segment is on the wire, in bytes from the IP header on.
    pub fn longest(&self, packet: &[u8]) -> usize {
        match self.segments {
            Some(segments) => packet.len().min(self.headers(packet) + usize::from(segments.size)),
            None => packet.len(),
        }
    }

    /// How many packets there will be on the wire.
    pub fn count(&self, packet: &[u8]) -> usize {
        let Some(segments) = self.segments else { return 1 };
        packet.len().saturating_sub(self.headers(packet)).div_ceil(segments.size.into()).max(1)
    }

    /// Makes a partial checksum right for the packet's addresses.
    pub fn settle(&self, packet: &mut [u8]) {
        if self.checksum != Checksum::Partial {
            return;
        }
        let sum = checksum::fold(self.pseudo(packet));
        self.put(packet, sum);
    }

    /// Fills in a partial checksum.
    pub fn complete(&self, packet: &mut [u8]) {
        if self.checksum != Checksum::Partial {
            return;
        }
        let start = usize::from(self.start);
        if self.field == SCTP_FIELD && self.segments.is_none() && is_sctp(packet) {
            let Some(at) = packet.get(start..).filter(|t| t.len() >= 12) else { return };
            let crc = checksum::crc32c([&at[..8], &[0; 4], &at[12..]]);
            packet[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
            return;
        }
        self.put(packet, 0);
        let sum = checksum::add(self.pseudo(packet), packet.get(start..).unwrap_or(&[]));
        let sum = match !checksum::fold(sum) {
            0 => 0xffff, // the same number, and in UDP not "no checksum"
            sum => sum,
        };
        self.put(packet, sum);
    }

    /// Whether only this host can fill it in: the header for cards cannot ask for a CRC.
    pub fn is_beyond_cards(&self, packet: &[u8]) -> bool {
        self.checksum == Checksum::Partial && self.field == SCTP_FIELD && is_sctp(packet)
    }

    fn pseudo(&self, packet: &[u8]) -> u64 {
        let len = packet.len().saturating_sub(self.start.into());
        let protocol = match self.field {
            TCP_FIELD => Protocol::TCP,
            2 => Protocol::ICMPV6,
            _ => Protocol::UDP,
        };
        let (src, dst) = match packet.first().map(|b| b >> 4) {
            Some(4) => (address::<4>(packet, 12), address::<4>(packet, 16)),
            _ => (address::<16>(packet, 8), address::<16>(packet, 24)),
        };
        checksum::pseudo(src, dst, protocol, len)
    }

    fn put(&self, packet: &mut [u8], sum: u16) {
        let at = usize::from(self.start) + usize::from(self.field);
        if let Some(field) = packet.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// Cuts a packet into its segments, each whole and with a right checksum, and gives them to `each`.
    pub fn segment(&self, packet: &[u8], buffer: &mut Vec<u8>, mut each: impl FnMut(&mut [u8])) {
        let headers = self.headers(packet);
        let (Some(segments), Some((head, payload))) = (self.segments, packet.split_at_checked(headers)) else {
            buffer.clear();
            buffer.extend_from_slice(packet);
            self.complete(buffer);
            return each(buffer);
        };
        let (start, size) = (usize::from(self.start), usize::from(segments.size));
        let last = payload.len().div_ceil(size).saturating_sub(1);
        for (n, piece) in payload.chunks(size).enumerate() {
            buffer.clear();
            buffer.extend_from_slice(head);
            buffer.extend_from_slice(piece);
            set_length(buffer, n as u16);
            match segments.kind {
                Kind::Udp => {
                    let len = (buffer.len() - start) as u16;
                    buffer[start + 4..start + 6].copy_from_slice(&len.to_be_bytes());
                }
                Kind::Tcp4 | Kind::Tcp6 => {
                    let sequence = u32::from_be_bytes(array(head, start + 4)).wrapping_add((n * size) as u32);
                    buffer[start + 4..start + 8].copy_from_slice(&sequence.to_be_bytes());
                    if n != last {
                        buffer[start + 13] &= !FIN_PSH;
                    }
                    if n != 0 {
                        buffer[start + 13] &= !CWR;
                    }
                }
            }
            Offload { segments: None, ..*self }.complete(buffer);
            each(buffer);
        }
    }

    /// Checks what a frame's header said against the packet that came with it. A checksum that cards cannot fill in is filled in.
    pub fn checked(self, packet: &mut [u8]) -> Result<Offload, NotUnderstood> {
        if self.checksum != Checksum::Partial {
            return Ok(self);
        }
        let end = usize::from(self.start) + usize::from(self.field) + 2;
        if end > packet.len() || self.segments.is_some() && self.headers(packet) > packet.len() {
            return Err(NotUnderstood);
        }
        if self.is_beyond_cards(packet) {
            self.complete(packet);
            return Ok(Offload { checksum: Checksum::Verified, ..Offload::default() });
        }
        Ok(self)
    }
}

fn is_sctp(packet: &[u8]) -> bool {
    let mut header = [0; 60];
    let len = packet.len().min(header.len());
    header[..len].copy_from_slice(&packet[..len]);
    Packet::parse(&mut header[..len], packet.len()).is_ok_and(|p| p.protocol() == Protocol::SCTP)
}

/// States the length of a packet in its IP header; IPv4 also counts its identification on and sums its header anew.
fn set_length(packet: &mut [u8], n: u16) {
    let len = packet.len();
    if packet.first().is_some_and(|b| b >> 4 == 4) {
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let id = u16::from_be_bytes(array(packet, 4)).wrapping_add(n);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[10..12].copy_from_slice(&[0, 0]);
        let header = (usize::from(packet[0] & 0x0f) * 4).min(len);
        let sum = !checksum::sum(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else if let Some(payload) = len.checked_sub(40) {
        packet[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
    }
}

fn address<const N: usize>(packet: &[u8], at: usize) -> IpAddr
where
    IpAddr: From<[u8; N]>,
{
    array::<N>(packet, at).into()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests;
