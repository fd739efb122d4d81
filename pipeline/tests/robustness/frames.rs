//! Frames that mean no good: conversations that make sense, and what noise, malice and snap lengths make of them.
//!
//! ```text
//!  conversations (uct-tests' player)  ─┐
//!  frames of pcaps/                   ─┼─► mutate the packet ─► options, extension headers, pieces ─► any link header ─► cut
//!  answers to what came out, noise    ─┘
//! ```
//! A conversation goes on only if its packets arrive unharmed, so most of them do: what is behind a handshake is reached too.

use std::collections::VecDeque;

use uct_pipeline::capture::{Crossing, Interface, InterfaceId, Reader, Source};
use uct_pipeline::link::{self, LinkType, Mac, Network};
use uct_tests::generate::{Area, Player, Random, Scope};
use uct_tests::observed::{Emitted, Observed};
use uct_tests::packet::build::{Ip, fragments, icmp, mend_ipv4};
use uct_tests::scenario::Step;

/// A frame as a capture would hold it.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) after: std::time::Duration,
    pub(crate) iface: InterfaceId,
    pub(crate) link: LinkType,
    pub(crate) crossing: Option<Crossing>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) missing: u32,
}

const LINKS: [LinkType; 10] = [
    LinkType::Ethernet,
    LinkType::Null,
    LinkType::Raw,
    LinkType::Loop,
    LinkType::LinuxSll,
    LinkType::RawIpv4,
    LinkType::RawIpv6,
    LinkType::LinuxSll2,
    LinkType::Other(147),
    LinkType::Other(228 + 1000),
];
const NAMES: [Option<&str>; 5] = [Some("lan0"), Some("wan0"), Some("dmz0"), Some("local"), None];

/// Every link type with every name.
pub(crate) fn interfaces() -> Vec<Interface> {
    let of = |link| NAMES.map(|name| Interface { name: name.map(str::to_owned), link, mac: None });
    LINKS.into_iter().flat_map(of).collect()
}

/// A packet and the name of the interface it comes by.
#[derive(Clone, Debug)]
struct Loose {
    name: &'static str,
    packet: Vec<u8>,
}

/// Makes one frame after the other.
pub(crate) struct Frames {
    random: Random,
    recorded: Vec<Loose>,
    player: Player,
    /// What came out lately.
    seen: VecDeque<(String, Vec<u8>)>,
    /// Pieces of a packet that was cut.
    waiting: VecDeque<Loose>,
}

impl Frames {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let player = player(&mut random);
        Frames { random, recorded: recorded(), player, seen: VecDeque::new(), waiting: VecDeque::new() }
    }

    /// Tells what the router sent for the last frame.
    pub(crate) fn notice(&mut self, out: Vec<Emitted>) {
        for emitted in &out {
            if self.seen.len() == 64 {
                self.seen.pop_front();
            }
            self.seen.push_back((emitted.iface.clone(), emitted.packet.clone()));
        }
        self.player.notice(&Observed { out, ..Observed::default() });
    }

    pub(crate) fn next(&mut self) -> Given {
        let random_time = match self.random.below(1000) {
            0 => 100_000_000 * self.random.below(4000) as u64,
            1..50 => 0,
            _ => self.random.below(20_000_000) as u64,
        };
        let after = std::time::Duration::from_nanos(random_time);
        let mut loose = self.loose();
        if self.random.chance(25) {
            for _ in 0..=self.random.below(3) {
                self.mutate(&mut loose.packet);
            }
            // What is wrong further in is only met if the header's checksum is right.
            if self.random.chance(80) {
                mend(&mut loose.packet);
            }
        }
        let mut given = self.wrap(&loose);
        given.after = after;
        if self.random.chance(5) {
            self.spoil(&mut given);
        }
        given
    }

    fn loose(&mut self) -> Loose {
        if let Some(piece) = self.waiting.pop_front() {
            return piece;
        }
        let loose = match self.random.below(100) {
            0..55 => self.conversation(),
            55..75 => self.random.pick(&self.recorded).clone(),
            75..90 => self.answer().unwrap_or_else(|| self.noise()),
            _ => self.noise(),
        };
        if self.random.chance(8) {
            self.pieces(&loose);
        }
        self.waiting.pop_front().unwrap_or(loose)
    }

    fn conversation(&mut self) -> Loose {
        loop {
            match self.player.next_step() {
                Some(Step::Frame { iface, bytes }) => {
                    return Loose { name: name(&iface), packet: bytes.get(14..).unwrap_or(&[]).to_vec() };
                }
                Some(Step::Local { bytes }) => return Loose { name: "local", packet: bytes },
                Some(_) => {}
                None => self.player = player(&mut self.random),
            }
        }
    }

    /// Sends something back that came out, or complains about it.
    fn answer(&mut self) -> Option<Loose> {
        if self.seen.is_empty() {
            return None;
        }
        let (iface, packet) = self.seen[self.random.below(self.seen.len())].clone();
        let name = name(&iface);
        let packet = match self.random.below(3) {
            0 => returned(&packet)?,
            1 => self.complaint(&packet)?,
            _ => packet,
        };
        Some(Loose { name, packet })
    }

    /// An ICMP error about a packet, or something like it.
    fn complaint(&mut self, about: &[u8]) -> Option<Vec<u8>> {
        let (src, dst) = addresses(about)?;
        let ip = Ip { ttl: self.random.between(1, 255) as u8, ..Ip::new(dst, src) };
        let kinds: &[u8] = if src.is_ipv4() { &[3, 3, 4, 5, 11, 12] } else { &[1, 2, 3, 4, 137] };
        let kind = *self.random.pick(kinds);
        let rest = [0, 0, self.random.bits() as u8, self.random.bits() as u8];
        let keep = self.random.below(about.len() + 1);
        let mut quote = about[..keep].to_vec();
        if self.random.chance(30) {
            self.mutate(&mut quote);
        }
        Some(icmp(&ip, kind, self.random.below(16) as u8, rest, &quote))
    }

    fn noise(&mut self) -> Loose {
        let length = *self.random.pick(&[0, 1, 19, 20, 21, 28, 39, 40, 41, 48, 60, 100, 576, 1500, 9000]);
        let mut packet = self.random.bytes(length);
        // Mostly noise behind something that looks like a header.
        if let (Some(first), 0..8) = (packet.first_mut(), self.random.below(10)) {
            *first = *self.random.pick(&[0x45, 0x45, 0x46, 0x4f, 0x60]);
            if *first == 0x60 && length >= 40 {
                packet[4..6].copy_from_slice(&(length as u16 - 40).to_be_bytes());
                packet[6] = *self.random.pick(&[0, 6, 17, 43, 44, 51, 58, 59, 60, 132]);
                packet[8..24].copy_from_slice(&[0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
            } else if length >= 20 {
                packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                packet[6..8].copy_from_slice(&[0, 0]);
                packet[9] = *self.random.pick(&[1, 2, 6, 17, 33, 47, 50, 58, 132, 136]);
                packet[12..16].copy_from_slice(&[192, 168, 1, 10]);
                mend(&mut packet);
            }
        }
        let name = *self.random.pick(&["lan0", "wan0", "dmz0", "local"]);
        Loose { name, packet }
    }

    /// Puts the packet's pieces into the queue, in any order, and sometimes not all of them, or some twice.
    fn pieces(&mut self, whole: &Loose) {
        let Some(header) = header_len(&whole.packet) else { return };
        let room = whole.packet.len().saturating_sub(header);
        if room < 16 {
            return;
        }
        let cuts: Vec<usize> =
            (0..=self.random.below(4)).map(|_| 8 * self.random.below(room / 8) + 8 * usize::from(room < 24)).collect();
        let mut pieces = fragments(&whole.packet, self.random.bits() as u32, &cuts);
        if self.random.chance(20) {
            let twice = self.random.pick(&pieces).clone();
            pieces.push(twice);
        }
        for at in (1..pieces.len()).rev() {
            pieces.swap(at, self.random.below(at + 1));
        }
        if self.random.chance(20) {
            pieces.pop();
        }
        self.waiting.extend(pieces.into_iter().map(|packet| Loose { name: whole.name, packet }));
    }

    /// One change of an IP packet.
    fn mutate(&mut self, packet: &mut Vec<u8>) {
        let random = &mut self.random;
        if packet.is_empty() {
            packet.extend(random.bytes(20));
            return;
        }
        let at = match random.chance(70) {
            true => random.below(packet.len().min(80)),
            false => random.below(packet.len()),
        };
        match random.below(12) {
            0 | 1 => packet[at] ^= 1 << random.below(8),
            2 | 3 => packet[at] = *random.pick(&[0, 1, 4, 0x7f, 0x80, 0xfe, 0xff]),
            4 => packet[at] = random.bits() as u8,
            5 => packet.truncate(at),
            6 => packet.extend(random.clone().bytes(random.below(64))),
            7 => {
                let to = random.below(packet.len());
                let length = random.below(16).min(packet.len() - at).min(packet.len() - to);
                packet.copy_within(at..at + length, to);
            }
            8 => {
                // The length field.
                let field = if packet[0] >> 4 == 6 { 4 } else { 2 };
                let value = *random.pick(&[0, 1, 19, 20, 27, 28, 40, packet.len() as u16, 0x7fff, 0xffff]);
                if let Some(bytes) = packet.get_mut(field..field + 2) {
                    bytes.copy_from_slice(&value.to_be_bytes());
                }
            }
            9 if random.chance(50) => {
                // An address that leads elsewhere.
                let addresses: [&[u8]; 6] = [
                    &[192, 0, 2, 9],
                    &[169, 254, 1, 1],
                    &[224, 0, 0, 5],
                    &[0; 4],
                    &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
                    &[0x20, 0x01, 0x0d, 0xb8, 0, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
                ];
                let address = random.pick(&addresses);
                let is_destination = usize::from(random.chance(50));
                let field = if packet[0] >> 4 == 6 { 8 } else { 12 } + is_destination * address.len();
                if let Some(bytes) = packet.get_mut(field..field + address.len()) {
                    bytes.copy_from_slice(address);
                }
            }
            9 => {
                // The protocol.
                let field = if packet[0] >> 4 == 6 { 6 } else { 9 };
                if let Some(byte) = packet.get_mut(field) {
                    *byte = *random.pick(&[0, 1, 2, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 136, 255]);
                }
            }
            10 => options(random, packet),
            _ => extensions(random, packet),
        }
    }

    /// A link header before the packet: the true one mostly, else any.
    fn wrap(&mut self, loose: &Loose) -> Given {
        let random = &mut self.random;
        let kind = if random.chance(60) { 0 } else { random.below(LINKS.len()) };
        let link = LINKS[kind];
        let right = NAMES.iter().position(|name| *name == Some(loose.name)).unwrap_or(0);
        let name = if random.chance(92) { right } else { random.below(NAMES.len()) };
        let network = match loose.packet.first().map(|first| first >> 4) {
            Some(6) => Network::Ipv6,
            _ if random.chance(1) => Network::Other(*random.pick(&[0x0806, 0x05dc, 0x88cc, 0x8864])),
            _ => Network::Ipv4,
        };
        let router = Mac([2, 0, 0, 0, name as u8 + 1, 1]);
        let to = match random.below(100) {
            0..94 => router,
            94..96 => Mac::BROADCAST,
            96..98 => Mac([0x33, 0x33, 0, 0, 0, 1]),
            _ => Mac([2, 9, 9, 9, 9, 9]),
        };
        let from = if random.chance(2) { router } else { Mac([2, 0, 0, 0, 1, 0x10]) };
        let mut bytes = Vec::new();
        link::build(link, network, from, to, &mut bytes);
        match link {
            LinkType::LinuxSll if bytes.len() > 1 => bytes[1] = *random.pick(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 9]),
            LinkType::LinuxSll2 if bytes.len() > 10 => bytes[10] = *random.pick(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 9]),
            _ => {}
        }
        if random.chance(6) {
            tags(random, link, &mut bytes);
        }
        bytes.extend(&loose.packet);
        let crossing = match random.below(50) {
            0 => Some(Crossing::Outbound),
            1..10 => Some(Crossing::Inbound),
            _ => None,
        };
        let iface = InterfaceId((kind * NAMES.len() + name) as u32);
        Given { after: std::time::Duration::ZERO, iface, link, crossing, bytes, missing: 0 }
    }

    /// What a capture may do to a frame.
    fn spoil(&mut self, given: &mut Given) {
        match self.random.below(5) {
            0 if !given.bytes.is_empty() => {
                let at = self.random.below(given.bytes.len().min(20));
                given.bytes[at] = self.random.bits() as u8;
            }
            0 | 4 => given.bytes.extend([0; 18]),
            1 => {
                let keep = self.random.below(given.bytes.len() + 1);
                given.missing = (given.bytes.len() - keep) as u32;
                given.bytes.truncate(keep);
            }
            2 => given.bytes.truncate(self.random.below(given.bytes.len() + 1)),
            _ => given.missing = *self.random.pick(&[1, 1000, 0x7fff_ffff, u32::MAX]),
        }
    }
}

fn player(random: &mut Random) -> Player {
    Player::new(*random.pick(&Area::ALL), Scope::Path, random.bits())
}

fn name(iface: &str) -> &'static str {
    ["lan0", "wan0", "dmz0"].into_iter().find(|name| *name == iface).unwrap_or("local")
}

/// Every IP packet of `pcaps/`, what arrived and what was emitted.
fn recorded() -> Vec<Loose> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("pcaps/").map(|e| e.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pcapng"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let mut reader = Reader::open(&file).expect("a capture");
        while let Some(frame) = reader.next().expect("a frame") {
            let (iface, offset) = (frame.iface, link::parse(frame.link, frame.bytes).expect("a link header").offset);
            let packet = frame.bytes[offset..].to_vec();
            let iface = reader.interfaces()[iface.index()].name.clone().unwrap_or_default();
            all.push(Loose { name: name(&iface), packet });
        }
    }
    assert!(all.len() > 500, "{} frames in pcaps/", all.len());
    all
}

fn header_len(packet: &[u8]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => Some(usize::from(packet[0] & 15) * 4).filter(|len| *len >= 20 && packet.len() >= *len),
        6 => (packet.len() >= 40).then_some(40),
        _ => None,
    }
}

fn mend(packet: &mut [u8]) {
    if packet.first().is_some_and(|first| first >> 4 == 4) && header_len(packet).is_some() {
        mend_ipv4(packet);
    }
}

fn addresses(packet: &[u8]) -> Option<(std::net::IpAddr, std::net::IpAddr)> {
    header_len(packet)?;
    if packet[0] >> 4 == 4 {
        let at = |from: usize| <[u8; 4]>::try_from(&packet[from..from + 4]).ok().map(Into::into);
        Some((at(12)?, at(16)?))
    } else {
        let at = |from: usize| <[u8; 16]>::try_from(&packet[from..from + 16]).ok().map(Into::into);
        Some((at(8)?, at(24)?))
    }
}

/// The packet the other way round: addresses and ports exchanged (checksums are sums, and stay right).
fn returned(packet: &[u8]) -> Option<Vec<u8>> {
    let header = header_len(packet)?;
    let mut back = packet.to_vec();
    let (first, second) = if packet[0] >> 4 == 4 { (12..16, 16) } else { (8..24, 24) };
    for at in first.clone() {
        back.swap(at, second + at - first.start);
    }
    if let Some([a, b, c, d]) = back.get_mut(header..).and_then(|t| t.first_chunk_mut::<4>()) {
        std::mem::swap(a, c);
        std::mem::swap(b, d);
    }
    Some(back)
}

/// Options into an IPv4 header.
fn options(random: &mut Random, packet: &mut Vec<u8>) {
    if packet[0] >> 4 != 4 || header_len(packet) != Some(20) {
        return;
    }
    let words = 1 + random.below(10);
    let mut bytes = match random.below(4) {
        0 => vec![1; words * 4],
        1 => [vec![0x83, (words * 4) as u8, 4], vec![10; words * 4 - 3]].concat(),
        2 => [vec![7, (words * 4 - 1) as u8, 4], vec![0; words * 4 - 3]].concat(),
        _ => random.bytes(words * 4),
    };
    let tail = packet.split_off(20);
    packet.append(&mut bytes);
    packet.extend(tail);
    packet[0] = 0x45 + words as u8;
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
}

/// Extension headers into an IPv6 packet, up to more than are walked over.
fn extensions(random: &mut Random, packet: &mut Vec<u8>) {
    if packet[0] >> 4 != 6 || packet.len() < 40 {
        return;
    }
    let count = *random.pick(&[1, 1, 2, 3, 8, 15, 16, 17, 40]);
    for _ in 0..count {
        let kind = *random.pick(&[0, 43, 44, 51, 60, 60]);
        let units = if kind == 44 { 0 } else { *random.pick(&[0, 0, 0, 1, 2, 31, 255]) };
        let length = if kind == 51 { (units + 2) * 4 } else { (units + 1) * 8 };
        let mut header = vec![0; length];
        header[0] = packet[6];
        header[1] = if random.chance(5) { random.bits() as u8 } else { units as u8 };
        if kind == 44 && random.chance(50) {
            header[2..8].copy_from_slice(&random.bytes(6));
        }
        packet[6] = kind as u8;
        let tail = packet.split_off(40);
        packet.append(&mut header);
        packet.extend(tail);
    }
    if packet.len() - 40 <= usize::from(u16::MAX) {
        let length = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
    }
}

/// A stack of VLAN tags behind the addresses.
fn tags(random: &mut Random, link: LinkType, bytes: &mut Vec<u8>) {
    let at = match link {
        LinkType::Ethernet => 12,
        LinkType::LinuxSll => 14,
        _ => return,
    };
    let protocol = bytes.split_off(at);
    for _ in 0..=random.below(6) {
        let [high, low] = u16::to_be_bytes(*random.pick(&[0x8100, 0x88a8, 0x9100]));
        bytes.extend([high, low, random.bits() as u8, random.bits() as u8]);
    }
    bytes.extend(protocol);
}
