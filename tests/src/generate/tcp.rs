//! TCP traffic: conversations that mostly go as they should, with everything that may go wrong strewn in.
//!
//! Each side of a flow keeps what a real end would (next sequence number, what it has seen of the other side, window),
//! and learns from the packets that reach it under which addresses it is spoken to, so that its answers go back through
//! whatever translation there is. A wrong segment is drawn near what would be right: at the edges of the window, one
//! beside them, far away.

use std::net::IpAddr;

use super::Traffic;
use super::random::Random;
use super::world::{Origin, Seen, Shot, World, destination, source, transport};
use crate::packet::build::{Ip, Tcp, flag};

const FLOWS: usize = 3;

#[derive(Clone, Debug)]
struct End {
    at: Origin,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    /// The next sequence number to send.
    next: u32,
    /// The first one of this conversation.
    first: u32,
    /// What the other side is known to have sent, plus one.
    seen: u32,
    window: u16,
    scale: Option<u8>,
    sack: bool,
    max_seg: Option<u16>,
    syn: bool,
    fin: bool,
    last: Option<Tcp>,
}

#[derive(Clone, Debug)]
struct Flow {
    ends: [End; 2],
    acked: bool,
}

/// The conversations.
#[derive(Clone, Debug, Default)]
pub(super) struct TcpTraffic {
    flows: Vec<Flow>,
    /// The flow and side that sent last, whose packet may come out of the router next.
    sender: Option<(usize, usize)>,
    /// How many segments in a hundred are odd.
    pub(super) odd: u32,
    /// Ports that flows use.
    pub(super) ports: Vec<u16>,
}

impl TcpTraffic {
    /// Traffic of which `odd` segments in a hundred are odd.
    #[must_use]
    pub(super) fn new(odd: u32) -> TcpTraffic {
        TcpTraffic { odd, ports: vec![80, 1000, 40000], ..TcpTraffic::default() }
    }

    fn open(&mut self, random: &mut Random, world: &World) -> usize {
        let (from, local, remote) = super::endpoints(random, world, &self.ports, &self.ports);
        let at = world.host_at(remote.0).map_or(Origin::Router, Origin::Host);
        let end = |random: &mut Random, at, local, remote| {
            let first = if random.chance(10) { 0xffff_ff00 } else { random.bits() as u32 };
            End {
                at,
                local,
                remote,
                next: first,
                first,
                seen: 0,
                window: *random.pick(&[8192, 65535, 1000, 29200, 512]),
                scale: random.chance(60).then(|| random.below(16) as u8),
                sack: random.chance(60),
                max_seg: random.chance(70).then(|| *random.pick(&[1460, 1440, 1200, 536, 1001, 88])),
                syn: false,
                fin: false,
                last: None,
            }
        };
        let ends = [end(random, from, local, remote), end(random, at, remote, local)];
        let flow = Flow { ends, acked: false };
        if self.flows.len() < FLOWS {
            self.flows.push(flow);
            self.flows.len() - 1
        } else {
            let index = random.below(FLOWS);
            self.flows[index] = flow;
            index
        }
    }

    /// The next segment as a well-behaved end would send it.
    fn proper(flow: &mut Flow, random: &mut Random) -> (usize, Tcp) {
        let data = |random: &mut Random| {
            let length = *random.pick(&[0_usize, 0, 1, 1, 10, 100, 536, 1460]);
            random.bytes(length)
        };
        if !flow.ends[0].syn {
            return (0, flow.ends[0].segment(flag::SYN, vec![]));
        }
        if !flow.ends[1].syn {
            return (1, flow.ends[1].segment(flag::SYN | flag::ACK, vec![]));
        }
        if !flow.acked {
            flow.acked = true;
            return (0, flow.ends[0].segment(flag::ACK, if random.chance(20) { data(random) } else { vec![] }));
        }
        let side = random.below(2);
        let end = &mut flow.ends[side];
        let segment = match random.weighted(&[45, 25, 14, 3, 13]) {
            0 => {
                let data = data(random);
                end.segment(flag::ACK | if random.chance(50) { flag::PSH } else { 0 }, data)
            }
            1 => end.segment(flag::ACK, vec![]),
            2 => end.segment(flag::FIN | flag::ACK, if random.chance(20) { data(random) } else { vec![] }),
            3 => end.segment(*random.pick(&[flag::RST, flag::RST | flag::ACK]), vec![]),
            _ => match &end.last {
                Some(last) => last.clone(),
                None => end.segment(flag::ACK, vec![]),
            },
        };
        (side, segment)
    }

    /// A segment that need not make sense.
    fn odd(flow: &mut Flow, random: &mut Random) -> (usize, Tcp) {
        let side = random.below(2);
        let [ref mut end, ref other] = (if side == 0 { [0, 1] } else { [1, 0] }).map(|i| flow.ends[i].clone());
        let flags = match random.below(4) {
            0 => random.bits() as u8,
            1 => flag::SYN | *random.pick(&[0, 0, flag::ACK, flag::ACK, flag::ECE, flag::URG]),
            _ => *random.pick(&[
                flag::ACK,
                flag::ACK,
                flag::RST,
                flag::RST | flag::ACK,
                flag::FIN | flag::ACK,
                flag::FIN,
                flag::ACK | flag::PSH,
                0,
            ]),
        };
        let length = *random.pick(&[0_usize, 0, 0, 1, 5, 100, 1460]);
        let mut segment = end.segment(flags, random.bytes(length));
        let scaled = |end: &End| u32::from(end.window) << u32::from(end.scale.unwrap_or(0).min(14));
        if random.chance(60) {
            segment.seq = near(random, &[end.next, end.first, other.seen, other.seen.wrapping_add(scaled(other))], end);
        }
        if random.chance(50) {
            segment.ack = near(random, &[other.next, end.seen, other.first, end.seen.wrapping_add(1)], other);
        }
        if random.chance(25) {
            segment.window = *random.pick(&[0, 1, 65535, end.window / 2, end.window, random.clone().bits() as u16]);
        }
        if random.chance(15) {
            segment.options = options(random, end, other);
        }
        (side, segment)
    }
}

/// A sequence number near one of several that matter.
fn near(random: &mut Random, bases: &[u32], end: &End) -> u32 {
    let base = *random.pick(bases);
    let window = u32::from(end.window);
    let scaled = window << u32::from(end.scale.unwrap_or(0).min(14));
    let distance = *random.pick(&[0, 0, 1, 2, 100, window, window + 1, scaled, scaled + 1, 65_999, 66_001, 1 << 31]);
    if random.chance(5) {
        return random.bits() as u32;
    }
    if random.chance(50) { base.wrapping_add(distance) } else { base.wrapping_sub(distance) }
}

/// Options, right and wrong ones.
fn options(random: &mut Random, end: &End, other: &End) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.between(1, 3) {
        match random.below(8) {
            0 => bytes.extend([3, 3, random.below(17) as u8]),
            1 => bytes.extend([4, 2]),
            2 => {
                let block = near(random, &[end.seen, other.next, other.first], other);
                bytes.extend([1, 1, 5, 10]);
                bytes.extend(block.to_be_bytes());
                bytes.extend(block.wrapping_add(random.between(0, 2000)).to_be_bytes());
            }
            3 => {
                bytes.extend([1, 1, 8, 10]);
                bytes.extend(random.bytes(8));
            }
            4 => bytes.extend([2, 4, 5, 180]),
            5 => bytes.push(1),
            6 => bytes.push(0),
            _ => {
                let length = random.between(0, 6) as usize;
                bytes.extend(random.bytes(length));
            }
        }
    }
    bytes.truncate(40);
    bytes.resize(bytes.len().next_multiple_of(4), *random.pick(&[0, 1]));
    bytes
}

impl End {
    fn segment(&mut self, flags: u8, data: Vec<u8>) -> Tcp {
        let mut options = Vec::new();
        if flags & flag::SYN != 0 {
            if let Some(scale) = self.scale {
                options.extend([1, 3, 3, scale]);
            }
            if self.sack {
                options.extend([1, 1, 4, 2]);
            }
            if let Some(size) = self.max_seg {
                options.extend([2, 4]);
                options.extend(size.to_be_bytes());
            }
        }
        let ack = if flags & flag::ACK != 0 { self.seen } else { 0 };
        let seq = if flags & flag::SYN != 0 { self.first } else { self.next };
        Tcp { sport: self.local.1, dport: self.remote.1, seq, ack, flags, window: self.window, options, data }
    }

    /// Takes note that this end has sent a segment.
    fn sent(&mut self, segment: &Tcp) {
        let length = segment.data.len() as u32
            + u32::from(segment.flags & flag::SYN != 0)
            + u32::from(segment.flags & flag::FIN != 0);
        let end = segment.seq.wrapping_add(length);
        if segment.flags & flag::SYN != 0 {
            self.syn = true;
            self.next = end;
        } else if end.wrapping_sub(self.next) < 1 << 16 {
            self.next = end;
        }
        self.fin |= segment.flags & flag::FIN != 0;
        self.last = Some(segment.clone());
    }
}

impl Traffic for TcpTraffic {
    fn shoot(&mut self, random: &mut Random, world: &World) -> Option<Shot> {
        let index = if self.flows.is_empty() || random.chance(4) {
            self.open(random, world)
        } else {
            random.below(self.flows.len())
        };
        let flow = &mut self.flows[index];
        if flow.ends.iter().all(|end| end.fin) && random.chance(25) {
            // The same ports again, with a sequence number higher, lower or anywhere.
            for end in &mut flow.ends {
                end.first = match random.below(3) {
                    0 => end.next.wrapping_add(random.between(1, 100_000)),
                    1 => end.first.wrapping_sub(random.between(1, 100_000)),
                    _ => random.bits() as u32,
                };
                (end.next, end.syn, end.fin) = (end.first, false, false);
            }
            flow.acked = false;
            if random.chance(20) {
                flow.ends.swap(0, 1);
            }
        }
        let (side, segment) =
            if random.chance(self.odd) { Self::odd(flow, random) } else { Self::proper(flow, random) };
        let end = &mut flow.ends[side];
        let mut ip = Ip::new(end.local.0, end.remote.0);
        ip.id = random.bits() as u16;
        let mut packet = segment.packet(&ip);
        end.sent(&segment);
        self.sender = Some((index, side));
        let from = end.at;
        if random.chance(3) {
            spoil(random, &mut packet);
        }
        Some(Shot { from, packet })
    }

    fn notice(&mut self, seen: &[Seen]) {
        let Some((index, side)) = self.sender.take() else { return };
        let Some(flow) = self.flows.get_mut(index) else { return };
        for Seen { by, packet } in seen {
            let Some((6, at)) = transport(packet) else { continue };
            let (Some(src), Some(dst)) = (source(packet), destination(packet)) else { continue };
            let Some(header) = packet.get(at..at + 20) else { continue };
            let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let data = packet.len().saturating_sub(at + usize::from(header[12] >> 4) * 4) as u32;
            let end = &mut flow.ends[1 - side];
            if header[13] & flag::SYN != 0 || end.at == *by {
                (end.at, end.local, end.remote) = (*by, (dst, word(2)), (src, word(0)));
            }
            let next = seq
                .wrapping_add(data)
                .wrapping_add(u32::from(header[13] & flag::SYN != 0) + u32::from(header[13] & flag::FIN != 0));
            if header[13] & flag::SYN != 0 || next.wrapping_sub(end.seen) < 1 << 17 {
                end.seen = next;
            }
        }
    }
}

/// Damages a packet behind its IP header.
fn spoil(random: &mut Random, packet: &mut Vec<u8>) {
    let Some((_, at)) = transport(packet) else { return };
    match random.below(4) {
        0 => packet[at + 16] ^= 0x55,
        1 => packet[at + 12] = random.bits() as u8,
        2 => {
            let keep = at + random.below(packet.len() - at);
            super::cut(packet, keep);
        }
        _ => {
            let byte = at + random.below(packet.len() - at);
            packet[byte] ^= 1 << random.below(8);
        }
    }
}
