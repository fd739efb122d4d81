//! A capture to measure replays with: TCP through a home router, as its two interfaces saw it arrive.
//!
//! ```text
//!   traffic FILE.pcapng [MEGABYTES [CONNECTIONS [ALIVE]]]        1000 MB, 100000 connections, 20000 of them at a time
//! ```
//!
//! Clients in 10.0.0.0/8 on `lan0` talk to servers in 198.18.0.0/15; the answers come to `wan0`, addressed to 203.0.113.1 and the
//! client's own port, which a masquerading router keeps: no two connections have port and server in common. Every connection has its
//! handshake, segments of 0 to 1448 bytes both ways with right numbers and checksums, and its end; which of the living ones
//! speaks next is drawn. Everything comes from one seed, so the same words give the same bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

const PUBLIC: [u8; 4] = [203, 0, 113, 1];
const ROUTER: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 2, 1]];
const PEER: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 9], [2, 0, 0, 0, 2, 9]];
const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;
/// Ports a client may have: none is changed by NAT, and a server sees each once.
const PORTS: u64 = 50_000;
/// Segments, in bytes: as much of each as there are of it here.
const SIZES: [usize; 10] = [0, 0, 0, 0, 0, 120, 300, 700, 1448, 1448];

/// xorshift64*: nothing here needs a better one.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * n) >> 32
    }
}

/// A connection under way.
struct Conn {
    client: [u8; 4],
    server: [u8; 4],
    port: u16,
    /// The next sequence number of either side.
    seq: [u32; 2],
    /// How many segments were sent, and how many it is to have between handshake and end.
    sent: u64,
    data: u64,
}

impl Conn {
    fn new(number: u64, data: u64) -> Self {
        let host = number / 7 + 2;
        let server = number / PORTS + 1;
        Conn {
            client: [10, (host >> 16) as u8, (host >> 8) as u8, host as u8],
            server: [198, 18, (server >> 8) as u8, server as u8],
            port: (number % PORTS) as u16 + 10_000,
            seq: [number as u32, !(number as u32)],
            sent: 0,
            data,
        }
    }

    /// The next segment: the side that sends it, its flags and its length.
    fn next(&mut self, random: &mut Random) -> Option<(usize, u8, usize)> {
        let step = self.sent;
        self.sent += 1;
        let end = self.data + 3;
        match step {
            0 => Some((0, SYN, 0)),
            1 => Some((1, SYN | ACK, 0)),
            2 => Some((0, ACK, 0)),
            _ if step < end => {
                let len = SIZES[random.below(SIZES.len() as u64) as usize];
                Some((usize::from(random.below(3) > 0), if len == 0 { ACK } else { ACK | PSH }, len))
            }
            _ if step == end => Some((0, FIN | ACK, 0)),
            _ if step == end + 1 => Some((1, FIN | ACK, 0)),
            _ if step == end + 2 => Some((0, ACK, 0)),
            _ => None,
        }
    }

    /// The frame of a segment.
    fn frame(&mut self, (side, flags, len): (usize, u8, usize), frame: &mut Vec<u8>) {
        let (src, dst, ports) = match side {
            0 => (self.client, self.server, [self.port, 443]),
            _ => (self.server, PUBLIC, [443, self.port]),
        };
        let ack = if flags & ACK != 0 { self.seq[1 - side] } else { 0 };
        frame.clear();
        frame.extend(ROUTER[side]);
        frame.extend(PEER[side]);
        frame.extend([8, 0]);
        let ip = frame.len();
        frame.extend([0x45, 0]);
        frame.extend((40 + len as u16).to_be_bytes());
        frame.extend([self.sent as u8, self.port as u8, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(src);
        frame.extend(dst);
        let sum = checksum(0, &frame[ip..]);
        frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        let tcp = frame.len();
        frame.extend(ports.map(u16::to_be_bytes).concat());
        frame.extend(self.seq[side].to_be_bytes());
        frame.extend(ack.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.resize(tcp + 20 + len, self.sent as u8);
        let pseudo = checksum_words(&src) + checksum_words(&dst) + 6 + 20 + len as u64;
        let sum = checksum(pseudo, &frame[tcp..]);
        frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
        let space = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0) + len as u32;
        self.seq[side] = self.seq[side].wrapping_add(space);
    }
}

fn checksum_words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn checksum(start: u64, bytes: &[u8]) -> u16 {
    let mut sum = start + checksum_words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Writes a pcapng block.
fn block(out: &mut impl Write, kind: u32, body: &[&[u8]]) -> io::Result<u64> {
    let len: usize = body.iter().map(|part| part.len()).sum();
    let total = (len.next_multiple_of(4) + 12) as u32;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&total.to_le_bytes())?;
    for part in body {
        out.write_all(part)?;
    }
    out.write_all(&[0; 3][..len.next_multiple_of(4) - len])?;
    out.write_all(&total.to_le_bytes())?;
    Ok(total.into())
}

fn write(path: &str, bytes: u64, connections: u64, alive: u64) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    block(&mut out, 0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes(), &[1, 0, 0, 0], &[0xff; 8]])?;
    for name in [b"lan0", b"wan0"] {
        // Ethernet, no snap length; if_name; if_tsresol: nanoseconds; the end of the options.
        block(&mut out, 1, &[&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0], name, &[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]])?;
    }
    // A block is some 88 bytes more than its payload, of which a segment has 401.6 in the mean; six more carry none.
    let data = ((bytes / connections).saturating_sub(6 * 88) / 490).max(1);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut living: Vec<Conn> = Vec::new();
    let (mut begun, mut packets, mut written) = (0, 0, 0);
    let mut frame = Vec::new();
    loop {
        while begun < connections && (living.len() as u64) < alive {
            living.push(Conn::new(begun, data / 2 + random.below(data) + 1));
            begun += 1;
        }
        if living.is_empty() {
            break;
        }
        let index = random.below(living.len() as u64) as usize;
        let Some(segment) = living[index].next(&mut random) else {
            living.swap_remove(index);
            continue;
        };
        living[index].frame(segment, &mut frame);
        packets += 1;
        let at = 1_700_000_000_000_000_000 + packets * 5_000;
        let len = frame.len() as u32;
        let head = [segment.0 as u32, (at >> 32) as u32, at as u32, len, len].map(u32::to_le_bytes).concat();
        written += block(&mut out, 6, &[&head, &frame])?;
    }
    out.flush()?;
    println!("{path}: {packets} packets of {begun} connections, {:.1} MB", written as f64 / 1e6);
    Ok(packets)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| words.get(at).map_or(Some(default), |word| word.parse().ok());
    let (Some(path), Some(megabytes), Some(connections), Some(alive)) =
        (words.first(), number(1, 1000), number(2, 100_000).filter(|n| *n > 0), number(3, 20_000).filter(|n| *n > 0))
    else {
        eprintln!("traffic FILE.pcapng [MEGABYTES [CONNECTIONS [ALIVE]]]");
        return ExitCode::from(2);
    };
    match write(path, megabytes * 1_000_000, connections, alive) {
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("traffic: {path}: {why}");
            ExitCode::FAILURE
        }
    }
}
