//! Connections as a load: for each its two ends and how far each has come, and the packets that follow from that.
//!
//! ```text
//!   connection i ──► its ends (from i alone) ─┐
//!                └─► Progress: sent, seen     ─┴─► 64 bytes of IP: addresses, ports, numbers that go on, right checksums
//! ```
//!
//! A segment carries 24 bytes, starts where its sender stopped and acknowledges what the other side has sent, so it stays
//! within the window for ever. Where no answer comes for long the sender repeats itself, as a host would.
//!
//! Invariants: a packet is a function of the connection and its progress; what a side acknowledges has been through the
//! router (`seen`), whichever thread sent it. Packets of one side are made by one thread at a time.
//!
//! Addresses are those of documentation and benchmarks: 198.18.0.0/15 outside (RFC 2544), 203.0.113.1 the router's own.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use uct_engine::{Direction, Protocol, checksum};

use crate::args::{NatArg, ProtoArg};

/// The length of every packet's buffer; an opening segment is shorter, and the rest is padding.
pub const LEN: usize = 64;
/// The router's address outside.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The inside host to which [`NatArg::Dnat`] forwards.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// Its port.
pub const SERVER_PORT: u16 = 8443;
/// The most connections that addresses suffice for.
pub const MOST: u32 = 16_000_000;

const INSIDE: u32 = u32::from_be_bytes([10, 1, 0, 0]);
const OUTSIDE: u32 = u32::from_be_bytes([198, 18, 0, 1]);
/// Addresses outside.
const OUTSIDE_HOSTS: u32 = (1 << 17) - 2;
const IP: usize = 20;
const TCP: usize = 20;
const UDP: usize = 8;
/// What a segment carries.
const PAYLOAD: u32 = (LEN - IP - TCP) as u32;
/// A sender that is so far ahead of what was acknowledged repeats itself.
const FAR: u32 = 1 << 20;

/// One packet in its buffer.
pub type Bytes = [u8; LEN];

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP: SYN, or SYN and ACK. UDP: a datagram.
    Open,
    /// Data.
    Data,
}

/// How far the two sides of a connection have come, as sequence numbers.
#[derive(Debug, Default)]
struct Progress {
    /// What each side has sent.
    sent: [AtomicU32; 2],
    /// What of it has been through the router.
    seen: [AtomicU32; 2],
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    src: Ipv4Addr,
    sport: u16,
    dst: Ipv4Addr,
    dport: u16,
}

/// Connections and how far they are.
#[derive(Debug)]
pub struct Flows {
    proto: ProtoArg,
    nat: NatArg,
    progress: Vec<Progress>,
    /// The port that the router gave to each connection.
    ports: Vec<AtomicU16>,
}

impl Flows {
    /// So many connections, none of them open. All memory is touched at once.
    pub fn new(count: u32, proto: ProtoArg, nat: NatArg) -> Self {
        Flows {
            proto,
            nat,
            progress: (0..count).map(|_| Progress::default()).collect(),
            ports: (0..count).map(|_| AtomicU16::new(0)).collect(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.progress.len() as u32
    }

    /// TCP or UDP.
    pub fn protocol(&self) -> Protocol {
        match self.proto {
            ProtoArg::Tcp => Protocol::TCP,
            ProtoArg::Udp => Protocol::UDP,
        }
    }

    /// Whether packets of a direction come from inside.
    pub fn is_from_inside(&self, dir: Direction) -> bool {
        (dir == Direction::Original) != (self.nat == NatArg::Dnat)
    }

    /// Remembers what the router made of a connection's first packet.
    pub fn opened(&self, at: u32, sent: &[u8]) {
        if let (Some(port), Some([high, low])) = (self.ports.get(at as usize), sent.get(IP..IP + 2)) {
            port.store(u16::from_be_bytes([*high, *low]), Ordering::Relaxed);
        }
    }

    /// Forgets a connection, so that it may be opened anew.
    pub fn forget(&self, at: u32) {
        let Some(progress) = self.progress.get(at as usize) else { return };
        for n in progress.sent.iter().chain(&progress.seen) {
            n.store(0, Ordering::Relaxed);
        }
    }

    fn ends(&self, at: u32, dir: Direction) -> Ends {
        // Fibonacci hashing: neighbours get servers and ports that have nothing in common.
        let spread = u64::from(at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let drawn = |of: u32, shift: u32| ((spread >> shift) as u32 & 0xff_ffff) % of;
        if self.nat == NatArg::Dnat {
            // The router's port is one for all, so it is the clients that must differ.
            let client = Ipv4Addr::from(OUTSIDE + at % OUTSIDE_HOSTS);
            let sport = 1024 + (at / OUTSIDE_HOSTS) as u16 * 256 + drawn(256, 40) as u16;
            return match dir {
                Direction::Original => Ends { src: client, sport, dst: PUBLIC, dport: 443 },
                Direction::Reply => Ends { src: SERVER, sport: SERVER_PORT, dst: client, dport: sport },
            };
        }
        let client = Ipv4Addr::from(INSIDE + at);
        let server = Ipv4Addr::from(OUTSIDE + drawn(OUTSIDE_HOSTS, 40));
        let sport = 1024 + drawn(64_512, 16) as u16;
        match (dir, self.nat) {
            (Direction::Original, _) => Ends { src: client, sport, dst: server, dport: 443 },
            (Direction::Reply, NatArg::Snat) => {
                let port = self.ports.get(at as usize).map_or(0, |p| p.load(Ordering::Relaxed));
                Ends { src: server, sport: 443, dst: PUBLIC, dport: port }
            }
            (Direction::Reply, _) => Ends { src: server, sport: 443, dst: client, dport: sport },
        }
    }

    /// Makes the connection's next packet of a direction, and counts it as sent.
    pub fn packet(&self, at: u32, dir: Direction, kind: Kind, bytes: &mut Bytes) {
        let ends = self.ends(at, dir);
        match self.proto {
            ProtoArg::Tcp => self.segment(at, dir, kind, &ends, bytes),
            ProtoArg::Udp => datagram(&ends, bytes),
        }
    }

    /// A direction's packets up to now have been through the router.
    pub fn seen(&self, at: u32, dir: Direction) {
        let Some(progress) = self.progress.get(at as usize) else { return };
        progress.seen[dir as usize].store(progress.sent[dir as usize].load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn segment(&self, at: u32, dir: Direction, kind: Kind, ends: &Ends, bytes: &mut Bytes) {
        const SYN: u8 = 0x02;
        const PSH: u8 = 0x08;
        const ACK: u8 = 0x10;
        let Some(progress) = self.progress.get(at as usize) else { return };
        let (own, other) = (&progress.sent[dir as usize], &progress.seen[dir.inverse() as usize]);
        // Relative numbers, which begin with the SYN's own; what a host adds to them differs by connection and side.
        let first = |dir: Direction| at.wrapping_mul(0x9e37_79b9).rotate_left(dir as u32 * 16);
        let (sent, acknowledged) = (own.load(Ordering::Relaxed), other.load(Ordering::Relaxed));
        let is_far = sent.wrapping_sub(progress.seen[dir as usize].load(Ordering::Relaxed)) > FAR;
        let (seq, next, flags, options, payload): (u32, u32, u8, &[u8], u32) = match kind {
            // Maximum segment size 1460, selective acknowledgements, window scale 7.
            Kind::Open => (0, 1, SYN, &[2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 1, 1], 0),
            Kind::Data if is_far => (sent.wrapping_sub(PAYLOAD), sent, PSH, &[], PAYLOAD),
            Kind::Data => (sent, sent.wrapping_add(PAYLOAD), PSH, &[], PAYLOAD),
        };
        own.store(next, Ordering::Relaxed);
        let answers = dir == Direction::Reply || kind == Kind::Data;
        let ack = if answers { first(dir.inverse()).wrapping_add(acknowledged) } else { 0 };
        let flags = if answers { flags | ACK } else { flags };

        bytes.fill(0);
        bytes[IP..IP + 2].copy_from_slice(&ends.sport.to_be_bytes());
        bytes[IP + 2..IP + 4].copy_from_slice(&ends.dport.to_be_bytes());
        bytes[IP + 4..IP + 8].copy_from_slice(&first(dir).wrapping_add(seq).to_be_bytes());
        bytes[IP + 8..IP + 12].copy_from_slice(&ack.to_be_bytes());
        bytes[IP + 12] = ((TCP + options.len()) as u8) << 2;
        bytes[IP + 13] = flags;
        bytes[IP + 14..IP + 16].copy_from_slice(&u16::MAX.to_be_bytes());
        bytes[IP + TCP..IP + TCP + options.len()].copy_from_slice(options);
        finish(bytes, ends, Protocol::TCP, IP + TCP + options.len() + payload as usize, IP + 16);
    }
}

fn datagram(ends: &Ends, bytes: &mut Bytes) {
    bytes.fill(0);
    bytes[IP..IP + 2].copy_from_slice(&ends.sport.to_be_bytes());
    bytes[IP + 2..IP + 4].copy_from_slice(&ends.dport.to_be_bytes());
    bytes[IP + 4..IP + 6].copy_from_slice(&((LEN - IP) as u16).to_be_bytes());
    bytes[IP + UDP] = 1;
    finish(bytes, ends, Protocol::UDP, LEN, IP + 6);
}

/// The IP header and both checksums.
fn finish(bytes: &mut Bytes, ends: &Ends, protocol: Protocol, len: usize, check: usize) {
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = protocol.0;
    bytes[12..16].copy_from_slice(&ends.src.octets());
    bytes[16..20].copy_from_slice(&ends.dst.octets());
    let header = !checksum::sum(&bytes[..IP]);
    bytes[10..12].copy_from_slice(&header.to_be_bytes());
    let pseudo = checksum::pseudo(ends.src.into(), ends.dst.into(), protocol, len - IP);
    let sum = !checksum::fold(checksum::add(pseudo, &bytes[IP..len]));
    // UDP: zero would say that there is none.
    let sum = if sum == 0 && protocol == Protocol::UDP { u16::MAX } else { sum };
    bytes[check..check + 2].copy_from_slice(&sum.to_be_bytes());
}
