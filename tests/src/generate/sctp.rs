//! SCTP traffic: associations that are set up, used and closed, with wrong tags, wrong chunks and wrong checksums.

use std::net::IpAddr;

use super::Traffic;
use super::random::Random;
use super::world::{Origin, Seen, Shot, World, destination, source, transport};
use crate::packet::build::{Ip, crc32c, proto, sctp, sctp_chunk};

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

#[derive(Clone, Debug)]
struct End {
    at: Origin,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    /// The tag that this end's packets must be marked with by the other side.
    tag: u32,
}

#[derive(Clone, Debug)]
struct Association {
    ends: [End; 2],
    step: usize,
}

/// The associations.
#[derive(Clone, Debug)]
pub(super) struct SctpTraffic {
    associations: Vec<Association>,
    sender: Option<(usize, usize)>,
    /// How many packets in a hundred are odd.
    pub(super) odd: u32,
    /// Ports to choose from.
    pub(super) ports: Vec<u16>,
}

/// The proper order: who sends which chunk.
const ORDER: [(usize, u8); 13] = [
    (0, INIT),
    (1, INIT_ACK),
    (0, COOKIE_ECHO),
    (1, COOKIE_ACK),
    (0, 0),
    (1, 3),
    (0, HEARTBEAT),
    (1, HEARTBEAT_ACK),
    (1, 0),
    (0, 3),
    (0, SHUTDOWN),
    (1, SHUTDOWN_ACK),
    (0, SHUTDOWN_COMPLETE),
];

impl SctpTraffic {
    /// Traffic of which `odd` packets in a hundred are odd.
    #[must_use]
    pub(super) fn new(odd: u32) -> SctpTraffic {
        SctpTraffic { associations: Vec::new(), sender: None, odd, ports: vec![80, 36412, 5000] }
    }

    fn open(&mut self, random: &mut Random, world: &World) -> usize {
        let (from, local, remote) = super::endpoints(random, world, &self.ports, &self.ports);
        let at = world.host_at(remote.0).map_or(Origin::Router, Origin::Host);
        let mut tag = || if random.chance(4) { 0 } else { random.bits() as u32 };
        let (a, b) = (tag(), tag());
        let association = Association {
            ends: [End { at: from, local, remote, tag: a }, End { at, local: remote, remote: local, tag: b }],
            step: 0,
        };
        if self.associations.len() < 3 {
            self.associations.push(association);
            self.associations.len() - 1
        } else {
            let index = random.below(3);
            self.associations[index] = association;
            index
        }
    }
}

fn value(random: &mut Random, kind: u8, tag: u32) -> Vec<u8> {
    match kind {
        INIT | INIT_ACK => {
            let mut bytes = tag.to_be_bytes().to_vec();
            bytes.extend([0, 1, 0, 0, 0, 1, 0, 1]);
            bytes.extend(random.bytes(4));
            if kind == INIT_ACK {
                bytes.extend([0, 7, 0, 8, 1, 2, 3, 4]);
            }
            bytes
        }
        0 => random.bytes(20),
        3 => random.bytes(12),
        HEARTBEAT | HEARTBEAT_ACK => vec![0, 1, 0, 8, 9, 9, 9, 9],
        SHUTDOWN => random.bytes(4),
        COOKIE_ECHO => random.bytes(8),
        _ => Vec::new(),
    }
}

impl Traffic for SctpTraffic {
    fn shoot(&mut self, random: &mut Random, world: &World) -> Option<Shot> {
        let index = if self.associations.is_empty() || random.chance(6) {
            self.open(random, world)
        } else {
            random.below(self.associations.len())
        };
        let association = &mut self.associations[index];
        let odd = random.chance(self.odd);
        let (side, kind) = if odd {
            let kind = match random.below(8) {
                0 => random.bits() as u8,
                1 => ABORT,
                _ => ORDER[random.below(ORDER.len())].1,
            };
            (random.below(2), kind)
        } else {
            let step = ORDER[association.step];
            // Some stay in the middle for a while, some begin again, most go on.
            association.step = match random.below(20) {
                0 => 0,
                1..5 if association.step > 3 => 4 + random.below(6),
                _ => (association.step + 1) % ORDER.len(),
            };
            step
        };
        let (from, to) = (&association.ends[side], &association.ends[1 - side]);
        let mut vtag = if kind == INIT { 0 } else { to.tag };
        let mut flags = 0;
        if odd {
            vtag = match random.below(8) {
                0 => from.tag,
                1 => 0,
                2 => random.bits() as u32,
                _ => vtag,
            };
            if matches!(kind, ABORT | SHUTDOWN_COMPLETE) && random.chance(40) {
                // The T bit: the sender has no association and reflects the tag.
                (flags, vtag) = (1, from.tag);
            }
        }
        let mut chunks = sctp_chunk(kind, flags, &value(random, kind, from.tag));
        if random.chance(if odd { 25 } else { 5 }) {
            let more = *random.pick(&[0, 3, 3, HEARTBEAT, INIT, COOKIE_ACK, ABORT, SHUTDOWN, 9]);
            let chunk = sctp_chunk(more, 0, &value(random, more, from.tag));
            if random.chance(50) {
                chunks.extend(chunk);
            } else {
                chunks.splice(0..0, chunk);
            }
        }
        if odd && random.chance(10) {
            // A length that lies.
            chunks[3] = chunks[3].wrapping_add(*random.pick(&[1, 4, 252, 255]));
        }
        let mut ip = Ip::new(from.local.0, from.remote.0);
        ip.id = random.bits() as u16;
        let mut packet = sctp(&ip, from.local.1, from.remote.1, vtag, &chunks);
        let origin = from.at;
        if random.chance(4)
            && let Some((_, at)) = transport(&packet)
        {
            match random.below(3) {
                0 => packet[at + 8] ^= 0x55,
                1 => {
                    let keep = at + random.below(packet.len() - at);
                    super::cut(&mut packet, keep);
                    mend(&mut packet, at);
                }
                _ => {
                    let byte = at + random.below(packet.len() - at);
                    packet[byte] ^= 1 << random.below(8);
                    mend(&mut packet, at);
                }
            }
        }
        self.sender = Some((index, side));
        Some(Shot { from: origin, packet })
    }

    fn notice(&mut self, seen: &[Seen]) {
        let Some((index, side)) = self.sender.take() else { return };
        for Seen { by, packet } in seen {
            let Some((proto::SCTP, at)) = transport(packet) else { continue };
            let (Some(src), Some(dst)) = (source(packet), destination(packet)) else { continue };
            let Some(ports) = packet.get(at..at + 4) else { continue };
            let end = &mut self.associations[index].ends[1 - side];
            end.at = *by;
            end.local = (dst, u16::from_be_bytes([ports[2], ports[3]]));
            end.remote = (src, u16::from_be_bytes([ports[0], ports[1]]));
        }
    }
}

/// Makes the checksum of a damaged packet right, so that the damage itself is looked at.
fn mend(packet: &mut [u8], at: usize) {
    if packet.len() >= at + 12 {
        packet[at + 8..at + 12].fill(0);
        let crc = crc32c(&packet[at..]);
        packet[at + 8..at + 12].copy_from_slice(&crc.to_le_bytes());
    }
}
