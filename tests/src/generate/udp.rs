//! Traffic without a state machine worth the name: UDP, UDP-Lite, GRE and protocols that have no ports.

use std::net::IpAddr;

use super::Traffic;
use super::random::Random;
use super::world::{Origin, Seen, Shot, World, destination, source, transport};
use crate::packet::build::{Ip, LiteSum, proto, udp, udplite};

/// Conversations in datagrams.
#[derive(Clone, Debug)]
pub(super) struct DatagramTraffic {
    /// Protocols to choose from; one that stands twice is chosen twice as often.
    pub(super) protocols: Vec<u8>,
    /// Ports to choose from.
    pub(super) ports: Vec<u16>,
    /// Packets that reached somebody, to be answered.
    received: Vec<Seen>,
}

impl DatagramTraffic {
    /// Traffic of these protocols.
    #[must_use]
    pub(super) fn new(protocols: &[u8]) -> DatagramTraffic {
        DatagramTraffic {
            protocols: protocols.to_vec(),
            ports: vec![53, 80, 600, 5000, 5000, 40000, 0, 65535],
            received: Vec::new(),
        }
    }

    fn build(&self, random: &mut Random, protocol: u8, src: (IpAddr, u16), dst: (IpAddr, u16)) -> Vec<u8> {
        let mut ip = Ip::new(src.0, dst.0);
        ip.id = random.bits() as u16;
        ip.tos = *random.pick(&[0, 0, 0, 1, 0xb8]);
        ip.flags = *random.pick(&[0x4000, 0]);
        if random.chance(4) {
            // Router alert would be delivered to a listening socket first; "no operation" is only to be walked over.
            ip.options = vec![1, 1, 1, 1];
        }
        let length = *random.pick(&[0, 1, 4, 32, 33, 512, 1400]);
        let data = random.bytes(length);
        match protocol {
            proto::UDP => udp(&ip, src.1, dst.1, &data),
            proto::UDPLITE => {
                let coverage = *random.pick(&[0, 0, 0, 8, 8, 12, 9, 7, 40, 2000]);
                let sum = *random.pick(&[LiteSum::Kernel, LiteSum::Kernel, LiteSum::Kernel, LiteSum::Right]);
                udplite(&ip, src.1, dst.1, &data, coverage, sum)
            }
            proto::GRE => ip.packet(protocol, &gre(random, &data)),
            _ => ip.packet(protocol, &data),
        }
    }
}

fn gre(random: &mut Random, data: &[u8]) -> Vec<u8> {
    let mut bytes = match random.below(4) {
        0 => vec![0, 0, 8, 0],
        1 => vec![0x20, 0, 8, 0, 0, 0, 0, random.below(3) as u8],
        // Version 1 is PPTP's: length and call number in place of the key.
        2 => vec![0x20, 1, 0x88, 0x0b, 0, data.len() as u8, 0, random.below(3) as u8],
        _ => vec![0x30, 1, 0x88, 0x0b, 0, data.len() as u8, 1, random.below(3) as u8, 0, 0, 0, 1],
    };
    bytes.extend(data);
    if random.chance(5) {
        bytes.truncate(random.below(8));
    }
    bytes
}

impl Traffic for DatagramTraffic {
    fn shoot(&mut self, random: &mut Random, world: &World) -> Option<Shot> {
        let answer = random.chance(55).then(|| self.answer(random)).flatten();
        let (from, mut packet) = match answer {
            Some(answer) => answer,
            None => {
                let protocol = *random.pick(&self.protocols);
                let (from, src, dst) = super::endpoints(random, world, &self.ports, &self.ports);
                (from, self.build(random, protocol, src, dst))
            }
        };
        if random.chance(6) {
            spoil(random, &mut packet);
        }
        Some(Shot { from, packet })
    }

    fn notice(&mut self, seen: &[Seen]) {
        self.received.extend(
            seen.iter()
                .filter(|seen| transport(&seen.packet).is_some_and(|(protocol, _)| self.protocols.contains(&protocol)))
                .cloned(),
        );
        let surplus = self.received.len().saturating_sub(6);
        self.received.drain(..surplus);
    }
}

impl DatagramTraffic {
    fn answer(&self, random: &mut Random) -> Option<(Origin, Vec<u8>)> {
        if self.received.is_empty() {
            return None;
        }
        let Seen { by, packet } = random.pick(&self.received);
        let (protocol, at) = transport(packet)?;
        let (src, dst) = (source(packet)?, destination(packet)?);
        let port = |at: usize| packet.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        let (mut sport, mut dport) = (port(at), port(at + 2));
        if random.chance(5) {
            sport = *random.pick(&self.ports);
        }
        if random.chance(5) {
            dport = *random.pick(&self.ports);
        }
        Some((*by, self.build(random, protocol, (dst, dport), (src, sport))))
    }
}

/// Damages checksum, length or size.
fn spoil(random: &mut Random, packet: &mut Vec<u8>) {
    let Some((_, at)) = transport(packet) else { return };
    let room = packet.len() - at;
    match random.below(5) {
        0 if room >= 8 => packet[at + 6] ^= 0x55,
        1 if room >= 8 => packet[at + 6..at + 8].fill(0),
        2 if room >= 8 => {
            let length = u16::from_be_bytes([packet[at + 4], packet[at + 5]]);
            let length = *random.pick(&[0, 7, 8, length.wrapping_add(1), length.wrapping_sub(1)]);
            packet[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        }
        3 if room > 0 => {
            let keep = at + random.below(room.min(12));
            super::cut(packet, keep);
        }
        _ if room > 0 => {
            let byte = at + random.below(room);
            packet[byte] ^= 1 << random.below(8);
        }
        _ => {}
    }
}
