//! One incomplete datagram: what may be added to it, and how it becomes whole.

use super::{Datagram, Why};
use crate::refrag::{DontFragment, Fragmented, Piece};
use uct_engine::{Family, More, Packet, Time, checksum};

const FRAGMENT_HEADER: usize = 8;
const IPV6_HEADER: usize = 40;
const MAX_LEN: usize = 65_535;

/// What an empty queue is charged with, in bytes; measured (`/proc/net/sockstat`).
const QUEUE_CHARGE: usize = 264;
/// The fixed part of a buffer, in bytes; measured.
const BUFFER_CHARGE: usize = 256;
/// What shares a buffer with the packet's bytes: headroom, link header, and the kernel's trailer; measured.
const BUFFER_SHARE: usize = 370;

/// What a fragment of so many bytes is charged with: its buffer, which comes in powers of two from 512.
pub(crate) fn charge(len: usize) -> usize {
    BUFFER_CHARGE + (len + BUFFER_SHARE).next_power_of_two().max(512)
}

/// A fragment as it came, read.
pub(super) struct Arrival<'p> {
    pub(super) family: Family,
    pub(super) id: u32,
    start: usize,
    end: usize,
    more: More,
    /// Headers before the fragmentable part (in IPv6 without the fragment header).
    header: &'p [u8],
    /// The fragment header of IPv6; empty in IPv4.
    fragment_header: &'p [u8],
    /// The payload, as far as it was captured.
    payload: &'p [u8],
    /// Length of the packet on the wire.
    wire_len: usize,
}

impl<'p> Arrival<'p> {
    /// Reads a packet; `None` if it is no fragment, or none that is gathered.
    pub(super) fn of(packet: &'p Packet<'_>) -> Option<Self> {
        let fragment = packet.fragment()?;
        let (bytes, wire_len) = (packet.bytes(), packet.wire_len());
        let split = match packet.family() {
            Family::Ipv4 => packet.ip_header_len(),
            Family::Ipv6 => fragment.header as usize,
        };
        let payload_at = match packet.family() {
            Family::Ipv4 => split,
            Family::Ipv6 => split + FRAGMENT_HEADER,
        };
        let arrival = Arrival {
            family: packet.family(),
            id: fragment.id,
            start: usize::from(fragment.offset),
            end: usize::from(fragment.offset) + wire_len.checked_sub(payload_at)?,
            more: fragment.more,
            header: bytes.get(..split)?,
            fragment_header: bytes.get(split..payload_at)?,
            payload: bytes.get(payload_at..).unwrap_or(&[]),
            wire_len,
        };
        // A payload length of nought stands for a jumbo payload, which is never fragmented.
        let gathered = arrival.family == Family::Ipv4 || (wire_len > IPV6_HEADER && !arrival.lacks_transport());
        gathered.then_some(arrival)
    }

    /// Whether a first IPv6 fragment ends before its transport header does (RFC 8200 section 4.5).
    fn lacks_transport(&self) -> bool {
        if self.start > 0 {
            return false;
        }
        let mut next = self.fragment_header.first().copied().unwrap_or(59);
        let mut at = 0;
        while let 0 | 43 | 51 | 60 = next {
            let (Some(following), Some(len)) = (self.payload.get(at), self.payload.get(at + 1)) else { return false };
            at += if next == 51 { (usize::from(*len) + 2) * 4 } else { (usize::from(*len) + 1) * 8 };
            next = *following;
        }
        let header = match next {
            6 => 20,
            17 | 58 => 8,
            _ => 1,
        };
        at + header > self.end
    }

    /// The ECN bits.
    fn ecn(&self) -> u8 {
        match (self.family, self.header) {
            (Family::Ipv4, [_, tos, ..]) => tos & 3,
            (Family::Ipv6, [_, second, ..]) => second >> 4 & 3,
            _ => 0,
        }
    }

    fn dont_fragment(&self) -> DontFragment {
        match (self.family, self.header.get(6)) {
            (Family::Ipv4, Some(flags)) if flags & 0x40 != 0 => DontFragment::Set,
            _ => DontFragment::Clear,
        }
    }
}

/// What an insertion did.
pub(super) enum Outcome {
    Held,
    /// The fragment is dropped, the queue stays.
    Ignored(Why),
    /// The queue is to be thrown away with the fragment.
    Killed(Why),
    /// The queue is to be thrown away, the fragment goes on as it is.
    KilledAsIs,
    /// Everything is there.
    Complete,
}

#[derive(Debug)]
struct Held {
    start: usize,
    end: usize,
    /// As far as captured.
    bytes: Vec<u8>,
    header_len: usize,
}

/// An incomplete datagram.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) family: Family,
    pub(super) deadline: (Time, u64),
    /// The source's count of fragments when the last of this datagram came.
    pub(super) seen_at: u64,
    pub(super) count: u32,
    pub(super) charged: usize,
    /// By start; no two overlap.
    held: Vec<Held>,
    /// Stretches of fragments that came in sequence, by start.
    runs: Vec<(usize, usize)>,
    /// Bytes that are there.
    have: usize,
    /// The highest end so far; the datagram's, once the last fragment is known.
    len: usize,
    end_known: bool,
    /// Which ECN values there were, one bit each.
    ecn: u8,
    /// Headers of the fragment at offset 0, and its fragment header.
    head: Option<(Vec<u8>, Vec<u8>)>,
    /// Length of the longest fragment with its headers, and of the longest with DF.
    longest: usize,
    longest_df: usize,
}

impl Queue {
    pub(super) fn new(family: Family, deadline: (Time, u64)) -> Self {
        Queue {
            family,
            deadline,
            seen_at: 0,
            count: 0,
            charged: QUEUE_CHARGE,
            held: Vec::new(),
            runs: Vec::new(),
            have: 0,
            len: 0,
            end_known: false,
            ecn: 0,
            head: None,
            longest: 0,
            longest_df: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds a fragment. The order of the checks is the order in which Linux was seen to make them: a fragment that is
    /// ignored may still have told where the end is.
    pub(super) fn insert(&mut self, f: &Arrival<'_>) -> Outcome {
        let v4 = self.family == Family::Ipv4;
        let refuse = |why| if v4 { Outcome::Killed(why) } else { Outcome::Ignored(why) };
        if !v4 && f.end > MAX_LEN {
            return Outcome::Ignored(Why::TooLong);
        }
        let mut end = f.end;
        match f.more {
            More::None => {
                if end < self.len || (self.end_known && end != self.len) {
                    return refuse(Why::EndsDisagree);
                }
                self.end_known = true;
                self.len = end;
            }
            More::Fragments => {
                if !v4 && !end.is_multiple_of(8) {
                    return Outcome::KilledAsIs;
                }
                end -= end % 8;
                if end > self.len {
                    if self.end_known {
                        return refuse(Why::EndsDisagree);
                    }
                    self.len = end;
                }
            }
        }
        if end == f.start {
            return refuse(Why::Empty);
        }
        match self.place(f.start, end) {
            Ok(()) => {}
            Err(Why::Duplicate) => return Outcome::Ignored(Why::Duplicate),
            Err(why) => return Outcome::Killed(why),
        }
        self.hold(f, end);
        if self.end_known && self.head.is_some() && self.have == self.len { Outcome::Complete } else { Outcome::Held }
    }

    /// Enters the stretch into the runs, if it is free.
    fn place(&mut self, start: usize, end: usize) -> Result<(), Why> {
        // A run grows only at the top end: fragments that fill a gap stand as a run of their own, so that a duplicate
        // which spans two of them counts as an overlap.
        if let Some((_, top)) = self.runs.last_mut()
            && end > *top
        {
            if start < *top {
                return Err(Why::Overlap);
            }
            if start == *top {
                *top = end;
            } else {
                self.runs.push((start, end));
            }
            return Ok(());
        }
        let at = self.runs.partition_point(|(_, run_end)| *run_end <= start);
        match self.runs.get(at) {
            Some((run_start, run_end)) if end > *run_start => {
                if start >= *run_start && end <= *run_end {
                    Err(Why::Duplicate)
                } else {
                    Err(Why::Overlap)
                }
            }
            _ => {
                self.runs.insert(at, (start, end));
                Ok(())
            }
        }
    }

    fn hold(&mut self, f: &Arrival<'_>, end: usize) {
        self.charged += charge(f.wire_len);
        self.count += 1;
        self.have += end - f.start;
        self.ecn |= 1 << f.ecn();
        let len = f.wire_len - (f.end - end);
        self.longest = self.longest.max(len);
        if f.dont_fragment() == DontFragment::Set {
            self.longest_df = self.longest_df.max(len);
        }
        if f.start == 0 {
            self.head = Some((f.header.to_vec(), f.fragment_header.to_vec()));
        }
        let bytes = f.payload.get(..end - f.start).unwrap_or(f.payload).to_vec();
        let at = self.held.partition_point(|h| h.start < f.start);
        self.held.insert(at, Held { start: f.start, end, bytes, header_len: f.header.len() });
    }

    /// The fragment at offset 0 as it came.
    pub(super) fn first_fragment(&self) -> Option<Vec<u8>> {
        let (header, fragment_header) = self.head.as_ref()?;
        let payload = self.held.first()?.bytes.as_slice();
        Some([header, fragment_header, payload].concat())
    }

    /// The datagram, or why it cannot be, with the number of fragments.
    pub(super) fn assemble(self) -> Result<Datagram, (Why, u32)> {
        let count = self.count;
        let Some((mut bytes, fragment_header)) = self.head else { return Err((Why::Empty, count)) };
        let header_len = bytes.len();
        let wire_len = header_len + self.len;
        // In IPv6 only the part behind the fixed header counts.
        let counted = match self.family {
            Family::Ipv4 => wire_len,
            Family::Ipv6 => wire_len - IPV6_HEADER.min(wire_len),
        };
        if counted > MAX_LEN {
            return Err((Why::TooLong, count));
        }
        let Some(ce) = ecn(self.ecn) else { return Err((Why::Ecn, count)) };
        let fragmented = Fragmented {
            wire_len,
            longest: self.longest,
            dont_fragment: if self.longest_df == self.longest { DontFragment::Set } else { DontFragment::Clear },
            pieces: self.held.iter().map(|h| Piece { len: h.end - h.start, header_len: h.header_len }).collect(),
        };
        for held in &self.held {
            bytes.extend_from_slice(&held.bytes);
            if held.bytes.len() < held.end - held.start {
                break; // cut by the capture: what comes behind would stand at the wrong place
            }
        }
        match self.family {
            Family::Ipv4 => finish_v4(&mut bytes, wire_len, ce, fragmented.dont_fragment),
            Family::Ipv6 => {
                let next = fragment_header.first().copied().unwrap_or(59);
                finish_v6(&mut bytes, header_len, counted, ce, next);
            }
        }
        Ok(Datagram { bytes, wire_len, fragmented, fragments: count })
    }
}

/// Whether the whole datagram is marked "congestion experienced".
#[derive(Clone, Copy, PartialEq, Eq)]
enum Congestion {
    AsFirst,
    Experienced,
}

/// What the ECN values that occurred (one bit each) make of the whole; `None` if they contradict each other.
fn ecn(seen: u8) -> Option<Congestion> {
    const NOT_ECT: u8 = 1 << 0;
    const CE: u8 = 1 << 3;
    match seen {
        NOT_ECT => Some(Congestion::AsFirst),
        _ if seen & NOT_ECT != 0 => None,
        _ if seen & CE != 0 => Some(Congestion::Experienced),
        _ => Some(Congestion::AsFirst),
    }
}

fn finish_v4(bytes: &mut [u8], wire_len: usize, ce: Congestion, df: DontFragment) {
    let header_len = bytes.first().map_or(0, |b| usize::from(b & 0x0f) * 4);
    let Some(header) = bytes.get_mut(..header_len) else { return };
    if let [_, tos, l0, l1, _, _, f0, f1, _, _, c0, c1, ..] = header {
        if ce == Congestion::Experienced {
            *tos |= 3;
        }
        [*l0, *l1] = (wire_len as u16).to_be_bytes();
        [*f0, *f1] = if df == DontFragment::Set { [0x40, 0] } else { [0, 0] };
        [*c0, *c1] = [0, 0];
    }
    let sum = !checksum::sum(header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

fn finish_v6(bytes: &mut [u8], header_len: usize, payload_len: usize, ce: Congestion, next: u8) {
    let naming = naming_fragment(bytes.get(..header_len).unwrap_or(&[]));
    if let Some(field) = bytes.get_mut(naming) {
        *field = next;
    }
    if let [_, second, _, _, l0, l1, ..] = bytes {
        if ce == Congestion::Experienced {
            *second |= 3 << 4;
        }
        [*l0, *l1] = (payload_len as u16).to_be_bytes();
    }
}

/// Where in the headers before the fragment header the last next-header field stands.
fn naming_fragment(headers: &[u8]) -> usize {
    let (mut naming, mut at) = (6, IPV6_HEADER);
    while at < headers.len() {
        let kind = headers.get(naming).copied().unwrap_or(59);
        naming = at;
        let len = usize::from(headers.get(at + 1).copied().unwrap_or(0));
        at += if kind == 51 { (len + 2) * 4 } else { (len + 1) * 8 };
    }
    naming
}
