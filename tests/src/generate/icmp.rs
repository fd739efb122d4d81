//! ICMP and ICMPv6: queries, answers, and errors about packets that somebody has really sent or seen.

use super::Traffic;
use super::random::Random;
use super::world::{Family, Origin, Seen, Shot, World, destination, source, transport};
use crate::packet::build::{Ip, icmp, proto};

/// Queries and their answers, by family.
const QUERIES4: [(u8, u8); 6] = [(8, 0), (8, 0), (8, 0), (13, 14), (15, 16), (17, 18)];
const QUERIES6: [(u8, u8); 4] = [(128, 129), (128, 129), (128, 129), (139, 140)];

/// Queries, answers and errors.
#[derive(Clone, Debug)]
pub(super) struct IcmpTraffic {
    /// How many packets in a hundred are errors about others.
    pub(super) errors: u32,
    received: Vec<Seen>,
}

impl IcmpTraffic {
    /// Traffic of which `errors` packets in a hundred are errors.
    #[must_use]
    pub(super) fn new(errors: u32) -> IcmpTraffic {
        IcmpTraffic { errors, received: Vec::new() }
    }

    fn query(random: &mut Random, world: &World) -> Shot {
        let (from, (src, _), (dst, _)) = super::endpoints(random, world, &[1], &[1]);
        let (queries, others): (&[(u8, u8)], &[u8]) = if src.is_ipv4() {
            (&QUERIES4, &[0, 9, 10, 14, 16, 18, 30, 40, 42, 200])
        } else {
            (&QUERIES6, &[129, 140, 127, 138, 141, 142, 146, 151, 155, 200])
        };
        let (query, answer) = *random.pick(queries);
        let kind = match random.below(100) {
            0..84 => query,
            84..92 => answer,
            _ => *random.pick(others),
        };
        let code = if random.chance(6) { random.below(4) as u8 } else { 0 };
        let id = *random.pick(&[0_u16, 1, 1, 7, 600, 0xffff]);
        let rest = rest(id, random.below(4) as u16);
        let length = *random.pick(&[0, 8, 16, 56, 57]);
        let mut ip = Ip::new(src, dst);
        ip.id = random.bits() as u16;
        Shot { from, packet: icmp(&ip, kind, code, rest, &random.bytes(length)) }
    }

    fn answer(&self, random: &mut Random) -> Option<Shot> {
        if self.received.is_empty() {
            return None;
        }
        let Seen { by, packet } = random.pick(&self.received);
        let (_, at) = transport(packet)?;
        let ip = Ip::new(destination(packet)?, source(packet)?);
        let message = packet.get(at..).filter(|message| message.len() >= 8)?;
        let queries: &[(u8, u8)] = if ip.src.is_ipv4() { &QUERIES4 } else { &QUERIES6 };
        let kind = queries.iter().find(|(query, _)| *query == message[0]).map_or(message[0], |(_, answer)| *answer);
        let code = if random.chance(5) { message[1] ^ 1 } else { message[1] };
        let mut rest = [message[4], message[5], message[6], message[7]];
        if random.chance(4) {
            rest[1] ^= 1;
        }
        Some(Shot { from: *by, packet: icmp(&ip, kind, code, rest, &message[8..]) })
    }

    /// An error about a packet that somebody has sent or received lately.
    fn error(random: &mut Random, world: &World) -> Option<Shot> {
        let Seen { by, packet } = world.recall(random)?.clone();
        let (inner_src, inner_dst) = (source(&packet)?, destination(&packet)?);
        let family = if inner_src.is_ipv4() { Family::V4 } else { Family::V6 };
        // Mostly whoever got the packet complains, from its own address; sometimes another host on the way.
        let from = if random.chance(80) { by } else { Origin::Host(random.below(world.hosts.len())) };
        let mut src = inner_dst;
        if random.chance(30)
            && let Origin::Host(number) = from
        {
            src = world.hosts[number].address(family);
        }
        let dst =
            if random.chance(6) { world.hosts[random.below(world.hosts.len())].address(family) } else { inner_src };
        let mut quote = packet;
        let mut keep = match random.below(6) {
            0 => quote.len(),
            1 => transport(&quote)?.1 + random.below(9),
            2 => random.below(48),
            _ => transport(&quote)?.1 + 8,
        };
        keep = keep.min(548).min(quote.len());
        quote.truncate(keep);
        if random.chance(8) && !quote.is_empty() {
            let byte = random.below(quote.len());
            quote[byte] ^= 1 << random.below(8);
        }
        if random.chance(20) && quote.len() > 8 {
            // Routers have counted the TTL down by the time they complain.
            let at = if family == Family::V4 { 8 } else { 7 };
            quote[at] = quote[at].wrapping_sub(1);
        }
        let (kind, code) = match family {
            Family::V4 => {
                *random.pick(&[(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (4, 0), (5, 1), (11, 0), (11, 1), (12, 0)])
            }
            Family::V6 => *random.pick(&[(1, 0), (1, 1), (1, 4), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1)]),
        };
        let rest = if (kind, code) == (3, 4) { [0, 0, 5, 120] } else { [0, 0, 0, 0] };
        let mut ip = Ip::new(src, dst);
        ip.id = random.bits() as u16;
        Some(Shot { from, packet: icmp(&ip, kind, code, rest, &quote) })
    }
}

fn rest(id: u16, seq: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (id.to_be_bytes(), seq.to_be_bytes());
    [a, b, c, d]
}

impl Traffic for IcmpTraffic {
    fn shoot(&mut self, random: &mut Random, world: &World) -> Option<Shot> {
        let shot = if random.chance(self.errors) {
            Self::error(random, world)
        } else if random.chance(45) {
            self.answer(random)
        } else {
            None
        };
        let mut shot = shot.unwrap_or_else(|| Self::query(random, world));
        if random.chance(4)
            && let Some((_, at)) = transport(&shot.packet)
        {
            match random.below(2) {
                0 if shot.packet.len() > at + 3 => shot.packet[at + 2] ^= 0x55,
                _ => {
                    let keep = at + random.below(12).min(shot.packet.len() - at);
                    super::cut(&mut shot.packet, keep);
                }
            }
        }
        Some(shot)
    }

    fn notice(&mut self, seen: &[Seen]) {
        self.received.extend(
            seen.iter()
                .filter(|seen| transport(&seen.packet).is_some_and(|(p, _)| p == proto::ICMP || p == proto::ICMPV6))
                .cloned(),
        );
        let surplus = self.received.len().saturating_sub(5);
        self.received.drain(..surplus);
    }
}
