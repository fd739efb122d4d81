//! How a packet is cut for the link it leaves by: at the old boundaries if it came in fragments.
//!
//! ```text
//!                        came in fragments?
//!              no ─────────┴───────── yes
//!   fits: whole                        IPv4: always cut            IPv6: whole if it is no longer than its longest fragment was
//!   IPv4, no DF: cut at the MTU        old boundaries, if they still fit; else at the longest fragment's length
//!   else: too big                      longest fragment > MTU: IPv4 without DF: cut at the MTU; else too big
//! ```
//!
//! # What Linux does
//! Measured on 6.18 (see [`crate::defrag`] for how); "length" is that of the packet with its headers.
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | identification | kept | new and random, one for the datagram |
//! | DF at the old boundaries | cleared, whatever came | – |
//! | DF when cut anew | set if one of the longest fragments had it | – |
//! | whole though it came in pieces | never | if its length is at most that of the longest fragment: two pieces of which one has up to 8 bytes come out as one packet |
//! | one fragment with a fragment header | never | when cut anew and it fits |
//! | old boundaries move | what is looked at or rewritten in one stretch is pulled into the first piece ([`Fragmented::pull`]): a TCP header, an SCTP header whose checksum is verified, what NAT rewrites, the IP header that an ICMP error quotes | the same |
//! | old boundaries are given up | a piece does not fit, or is no multiple of 8 after a pull | the same |
//! | | a later fragment had a shorter header than the first (no room for a longer one in its buffer, on veth) | there is room (tap, network cards; on veth as in IPv4) |
//! | nothing leaves | – | the headers that belong before the fragment header do not all stand in the first piece |
//! | length of the pieces then | the least of longest fragment and MTU, payload rounded down to 8, but for the last | the longest fragment's, at least 1280 |
//! | options in later pieces | those of the first fragment, not-copied ones as no-operations | extension headers of the first fragment |
//! | the fragment header stands behind | – | hop-by-hop, routing, and destination options, but not destination options behind a routing header |
//! | too big | DF and longest fragment > MTU | longest fragment > MTU |
//!
//! # Invariants
//! - No piece is longer than the MTU; pieces but the last carry multiples of 8 bytes; together they carry every byte once.
//! - A packet that the capture cut short is cut by its length on the wire: pieces may then have fewer bytes than they claim.
//!
//! # Sources
//! RFC 791 sections 3.1 (options, the copied flag) and 3.2, RFC 8200 section 4.5, RFC 4459; the table above.

use uct_engine::{Family, checksum};

const IPV6_HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;
/// What every IPv6 link carries, in bytes (RFC 8200 section 5).
const IPV6_MIN_MTU: usize = 1280;

/// Whether routers may cut a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DontFragment {
    /// They may not.
    Set,
    /// They may, in IPv4.
    Clear,
}

/// How a datagram came in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragmented {
    /// Length of the whole packet, in bytes, without fragment headers.
    pub wire_len: usize,
    /// Length of the longest fragment as a packet, in bytes.
    pub longest: usize,
    /// Whether one of the longest had DF.
    pub dont_fragment: DontFragment,
    /// The pieces, by offset.
    pub pieces: Vec<Piece>,
}

impl Fragmented {
    /// Something on the way has looked at, or changed, the first `bytes` of the fragmentable part in one stretch: they were
    /// pulled into the first piece, and the later ones begin where that ends. A stretch that is not there is not pulled.
    pub fn pull(&mut self, bytes: usize) {
        if self.pieces.iter().map(|p| p.len).sum::<usize>() < bytes {
            return;
        }
        while let [first, second, ..] = &mut self.pieces[..]
            && first.len < bytes
        {
            let more = second.len.min(bytes - first.len);
            first.len += more;
            second.len -= more;
            if second.len == 0 {
                self.pieces.remove(1);
            }
        }
    }
}

/// One piece of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of the fragmentable part.
    pub len: usize,
    /// Bytes of headers that stood before, without the fragment header.
    pub header_len: usize,
}

/// A packet that may not be cut and does not fit: answer "fragmentation needed" or "packet too big" with this MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the packet is longer than the MTU of {mtu} and may not be fragmented")]
pub struct TooBig {
    /// The MTU of the link, in bytes.
    pub mtu: usize,
}

/// Whether a packet can leave by a link with that MTU. Linux asks before the forward hook.
pub fn check(packet: &[u8], wire_len: usize, how: Option<&Fragmented>, mtu: usize) -> Result<(), TooBig> {
    let came_in_pieces_that_fit = how.is_some_and(|h| h.longest <= mtu);
    let may_be_cut = match family(packet) {
        Family::Ipv4 => packet.get(6).is_none_or(|flags| flags & 0x40 == 0),
        Family::Ipv6 => false,
    };
    if wire_len <= mtu || came_in_pieces_that_fit || may_be_cut { Ok(()) } else { Err(TooBig { mtu }) }
}

/// Cuts a packet as the link and its own history demand, and gives each piece to `emit` with its length on the wire.
///
/// `how` is what [`crate::defrag`] said, `identification` the source of new IPv6 identifications. Answers how many pieces
/// there were: none for a packet that came in pieces and whose headers do not all stand in the first.
pub fn cut(
    packet: &[u8],
    wire_len: usize,
    how: Option<&Fragmented>,
    mtu: usize,
    identification: impl FnOnce() -> u32,
    mut emit: impl FnMut(&[u8], usize),
) -> Result<usize, TooBig> {
    check(packet, wire_len, how, mtu)?;
    let family = family(packet);
    let as_is = match (family, how) {
        (_, None) => wire_len <= mtu,
        (Family::Ipv4, Some(_)) => false,
        (Family::Ipv6, Some(how)) => wire_len <= mtu && wire_len <= how.longest,
    };
    let plan = match family {
        Family::Ipv4 => Plan::v4(packet, wire_len, how, mtu),
        Family::Ipv6 => Plan::v6(packet, wire_len, how, identification),
    };
    let Some(plan) = plan.filter(|_| !as_is) else {
        emit(packet, wire_len);
        return Ok(1);
    };
    let mut piece = Vec::new();
    let mut start = 0;
    for (n, len) in plan.lens.iter().enumerate() {
        piece.clear();
        plan.header(packet, start, *len, n + 1 == plan.lens.len(), &mut piece);
        let wire = piece.len() + len;
        let from = plan.header_len + start;
        let held = packet.get(from..).unwrap_or(&[]);
        piece.extend_from_slice(held.get(..*len).unwrap_or(held));
        emit(&piece, wire);
        start += len;
    }
    Ok(plan.lens.len())
}

fn family(packet: &[u8]) -> Family {
    match packet.first() {
        Some(first) if first >> 4 == 6 => Family::Ipv6,
        _ => Family::Ipv4,
    }
}

/// How one packet is cut.
struct Plan {
    /// Headers that every piece has, in bytes.
    header_len: usize,
    /// Payload of each piece, in bytes.
    lens: Vec<usize>,
    kind: Kind,
}

enum Kind {
    V4(DontFragment),
    /// Identification, and where the field stands that names the fragment header.
    V6(u32, usize),
}

impl Plan {
    /// `None` for a packet whose header is not there.
    fn v4(packet: &[u8], wire_len: usize, how: Option<&Fragmented>, mtu: usize) -> Option<Plan> {
        let header_len = usize::from(packet.first()? & 0x0f) * 4;
        if packet.len() < header_len.max(20) {
            return None;
        }
        let total = wire_len.checked_sub(header_len)?;
        let limit = how.map_or(mtu, |h| mtu.min(h.longest)).saturating_sub(header_len);
        let room = |h: &&Fragmented| h.wire_len == wire_len && h.pieces.iter().all(|p| p.header_len >= header_len);
        let old = how.filter(room).map(|h| h.pieces.iter().map(|p| p.len).collect::<Vec<_>>());
        let fits = |lens: &Vec<usize>| {
            lens.iter().all(|len| *len <= limit) && lens.iter().rev().skip(1).all(|len| len.is_multiple_of(8))
        };
        match old.filter(fits) {
            Some(lens) => Some(Plan { header_len, lens, kind: Kind::V4(DontFragment::Clear) }),
            None => {
                let dont_fragment = how.map_or(DontFragment::Clear, |h| h.dont_fragment);
                Some(Plan { header_len, lens: equal(total, limit), kind: Kind::V4(dont_fragment) })
            }
        }
    }

    fn v6(
        packet: &[u8],
        wire_len: usize,
        how: Option<&Fragmented>,
        identification: impl FnOnce() -> u32,
    ) -> Option<Plan> {
        let how = how?;
        let first = how.pieces.first().map_or(packet.len(), |piece| piece.header_len + piece.len);
        let Some((header_len, naming)) = unfragmentable(packet.get(..first).unwrap_or(packet)) else {
            return Some(Plan { header_len: 0, lens: Vec::new(), kind: Kind::V6(0, 0) });
        };
        let total = wire_len.checked_sub(header_len)?;
        let limit = how.longest.max(IPV6_MIN_MTU).saturating_sub(header_len + FRAGMENT_HEADER);
        // Headers of the first fragment that no longer count as unfragmentable belong to its payload now.
        let mut lens: Vec<usize> = how.pieces.iter().map(|p| p.len).collect();
        let old = match (how.pieces.first(), lens.first_mut()) {
            (Some(piece), Some(len)) => (piece.header_len + piece.len).checked_sub(header_len).map(|l| *len = l),
            _ => None,
        };
        let same = old.is_some()
            && how.wire_len == wire_len
            && lens.iter().all(|len| *len <= limit && *len > 0)
            && lens.iter().rev().skip(1).all(|len| len.is_multiple_of(8));
        let lens = if same { lens } else { equal(total, limit) };
        Some(Plan { header_len, lens, kind: Kind::V6(identification(), naming) })
    }

    /// Appends the headers of the piece that begins at `start`.
    fn header(&self, packet: &[u8], start: usize, len: usize, last: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(packet.get(..self.header_len).unwrap_or(packet));
        match self.kind {
            Kind::V4(dont_fragment) => header_v4(out, start, len, last, dont_fragment),
            Kind::V6(id, naming) => {
                let Some(field) = out.get_mut(naming) else { return };
                let next = std::mem::replace(field, 44);
                let [o0, o1] = (start as u16 | u16::from(!last)).to_be_bytes();
                let [i0, i1, i2, i3] = id.to_be_bytes();
                out.extend_from_slice(&[next, 0, o0, o1, i0, i1, i2, i3]);
                let payload = (out.len() - IPV6_HEADER + len) as u16;
                if let Some(field) = out.get_mut(4..6) {
                    field.copy_from_slice(&payload.to_be_bytes());
                }
            }
        }
    }
}

/// Pieces of `limit` bytes rounded down to 8; the last is as long as it can be.
fn equal(total: usize, limit: usize) -> Vec<usize> {
    let step = (limit - limit % 8).max(8);
    let mut lens = Vec::with_capacity(total / step + 1);
    let mut left = total;
    while left > limit.max(8) {
        lens.push(step);
        left -= step;
    }
    lens.push(left);
    lens
}

/// Makes the copied header one of a piece.
fn header_v4(header: &mut [u8], start: usize, len: usize, last: bool, dont_fragment: DontFragment) {
    if start > 0 {
        silence_options(header.get_mut(20..).unwrap_or(&mut []));
    }
    let total = (header.len() + len) as u16;
    if let [_, _, l0, l1, _, _, f0, f1, _, _, c0, c1, ..] = header {
        // A packet that is itself a fragment keeps its place, and is not the last piece if it was not.
        let old = u16::from_be_bytes([*f0, *f1]);
        let offset = (old & 0x1fff) + (start / 8) as u16;
        let more = u16::from(!last) << 13 | old & 0x2000;
        let dont_fragment = if dont_fragment == DontFragment::Set { 0x4000 } else { 0 };
        [*f0, *f1] = (offset & 0x1fff | more | dont_fragment).to_be_bytes();
        [*l0, *l1] = total.to_be_bytes();
        [*c0, *c1] = [0, 0];
    }
    let sum = !checksum::sum(header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Turns options without the copied flag into no-operations.
fn silence_options(mut options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    loop {
        let len = match options {
            [] | [END, ..] => return,
            [NO_OPERATION, ..] => 1,
            [kind, len, ..] => {
                let (kind, len) = (*kind, usize::from(*len));
                if len < 2 || len > options.len() {
                    return;
                }
                if kind & COPIED == 0
                    && let Some(option) = options.get_mut(..len)
                {
                    option.fill(NO_OPERATION);
                }
                len
            }
            [_] => return,
        };
        let rest = options;
        options = rest.get_mut(len..).unwrap_or(&mut []);
    }
}

/// Where the fragment header goes, and where the next-header field before it stands. `packet` ends where the first piece does;
/// `None` if the headers do not.
fn unfragmentable(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut naming) = (IPV6_HEADER, 6);
    let mut routed = false;
    packet.get(..IPV6_HEADER)?;
    loop {
        match packet.get(naming)? {
            0 => {}
            43 => routed = true,
            60 if !routed => {}
            _ => return Some((at, naming)),
        }
        let len = packet.get(at + 1)?;
        naming = at;
        at += (usize::from(*len) + 1) * 8;
        if at > packet.len() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests;
