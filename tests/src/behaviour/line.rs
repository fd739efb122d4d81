//! The packets of a script's lines.
//!
//! | packet | words |
//! |---|---|
//! | TCP | `tcp SPORT>DPORT FLAGS seq N ack N win N len N opt HEX`; FLAGS of `FSRPAUEC`, `-` for none |
//! | UDP, UDP-Lite | `udp SPORT>DPORT len N`, `udplite SPORT>DPORT len N` (UDP-Lite with the checksum that RFC 3828 wants) |
//! | ICMP query | `icmp TYPE/CODE id N len N` |
//! | SCTP | `sctp SPORT>DPORT vtag N CHUNK`: `init N` and `init-ack N` with a tag, or one of [`CHUNKS`] |
//! | others | `gre`, `esp`, `proto N`, with `len N` |
//!
//! In an answer the ports, or the identifier of an ICMP query, are left out. Further words: `sum none`, `sum wrong`, `sum udp`
//! (a UDP-Lite checksum computed as if it were UDP), `ttl N`, `keep N` (cut an error's quote to N bytes), `mtu N` (of an
//! error), `to ADDRESS` (an error's destination), `cut N,N` (fragments, cut at these bytes of the payload), `only N,N`
//! (which of them are sent, in this order), `datagram N` (their identification), `pad N` (bytes too many in the first),
//! `ipopt HEX` (IPv4 options).

use std::net::IpAddr;

use crate::generate::world::{destination, source, transport};
use crate::observed::unhex;
use crate::packet::build::{
    Ip, LiteSum, Tcp, checksum, crc32c, fragments, icmp, mend_ipv4, proto, pseudo, sctp, sctp_chunk, udp, udplite,
};

/// SCTP chunks by name, with their numbers.
pub const CHUNKS: [(&str, u8); 10] = [
    ("data", 0),
    ("init", 1),
    ("init-ack", 2),
    ("heartbeat", 4),
    ("heartbeat-ack", 5),
    ("abort", 6),
    ("shutdown", 7),
    ("shutdown-ack", 8),
    ("cookie-echo", 10),
    ("cookie-ack", 11),
];

/// What the words of a packet say.
#[derive(Clone, Debug)]
struct Spec {
    proto: u8,
    ports: (u16, u16),
    tcp: Tcp,
    kind: (u8, u8),
    id: u16,
    len: Option<usize>,
    vtag: u32,
    chunk: Option<(u8, u32)>,
    sum: Sum,
    ttl: u8,
    options: Vec<u8>,
    cuts: Vec<usize>,
    only: Option<Vec<usize>>,
    datagram: u32,
    pad: usize,
    keep: Option<usize>,
    mtu: u16,
    to: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Right,
    None,
    Wrong,
    AsUdp,
}

impl Spec {
    fn new() -> Spec {
        Spec {
            proto: 0,
            ports: (0, 0),
            tcp: Tcp { window: 8192, ..Tcp::default() },
            kind: (0, 0),
            id: 0,
            len: None,
            vtag: 0,
            chunk: None,
            sum: Sum::Right,
            ttl: 64,
            options: Vec::new(),
            cuts: Vec::new(),
            only: None,
            datagram: 0x2001,
            pad: 0,
            keep: None,
            mtu: 0,
            to: None,
        }
    }

    /// Reads what stands after the protocol.
    fn read(&mut self, words: &[&str]) -> Option<()> {
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "seq" => self.tcp.seq = words.next()?.parse::<i64>().ok()? as u32,
                "ack" => self.tcp.ack = words.next()?.parse::<i64>().ok()? as u32,
                "win" => self.tcp.window = words.next()?.parse().ok()?,
                "opt" => self.tcp.options = unhex(words.next()?)?,
                "len" => self.len = Some(words.next()?.parse().ok()?),
                "id" => self.id = words.next()?.parse().ok()?,
                "vtag" => self.vtag = words.next()?.parse().ok()?,
                "ttl" => self.ttl = words.next()?.parse().ok()?,
                "keep" => self.keep = Some(words.next()?.parse().ok()?),
                "mtu" => self.mtu = words.next()?.parse().ok()?,
                "to" => self.to = Some(words.next()?.parse().ok()?),
                "datagram" => self.datagram = words.next()?.parse().ok()?,
                "pad" => self.pad = words.next()?.parse().ok()?,
                "ipopt" => self.options = unhex(words.next()?)?,
                "cut" => self.cuts = numbers(words.next()?)?,
                "only" => self.only = Some(numbers(words.next()?)?),
                "sum" => {
                    self.sum = match words.next()? {
                        "none" => Sum::None,
                        "wrong" => Sum::Wrong,
                        "udp" => Sum::AsUdp,
                        _ => return None,
                    }
                }
                "init" | "init-ack" => {
                    let tag = words.next()?.parse().ok()?;
                    self.chunk = Some((chunk(word)?, tag));
                }
                _ if self.proto == proto::SCTP && chunk(word).is_some() => self.chunk = Some((chunk(word)?, 0)),
                _ if word.contains('>') => {
                    let (src, dst) = word.split_once('>')?;
                    self.ports = (src.parse().ok()?, dst.parse().ok()?);
                }
                _ if word.contains('/') => {
                    let (kind, code) = word.split_once('/')?;
                    self.kind = (kind.parse().ok()?, code.parse().ok()?);
                }
                _ if self.proto == proto::TCP => self.tcp.flags = flags(word)?,
                _ => return None,
            }
        }
        Some(())
    }

    fn build(mut self, src: IpAddr, dst: IpAddr) -> Vec<Vec<u8>> {
        let ip = Ip { ttl: self.ttl, options: self.options.clone(), ..Ip::new(src, dst) };
        let data = vec![b'x'; self.len.unwrap_or(0)];
        let (sport, dport) = self.ports;
        let mut packet = match self.proto {
            proto::TCP => {
                (self.tcp.sport, self.tcp.dport, self.tcp.data) = (sport, dport, data);
                self.tcp.packet(&ip)
            }
            proto::UDP => udp(&ip, sport, dport, &data),
            proto::UDPLITE => {
                let sum = if self.sum == Sum::AsUdp { LiteSum::Kernel } else { LiteSum::Right };
                udplite(&ip, sport, dport, &data, 0, sum)
            }
            proto::ICMP | proto::ICMPV6 => {
                let [a, b] = self.id.to_be_bytes();
                icmp(&ip, self.kind.0, self.kind.1, [a, b, 0, 1], &data)
            }
            proto::SCTP => {
                let (kind, tag) = self.chunk.unwrap_or((0, 0));
                sctp(&ip, sport, dport, self.vtag, &sctp_chunk(kind, if kind == 0 { 3 } else { 0 }, &value(kind, tag)))
            }
            proto::GRE => ip.packet(proto::GRE, &[&[0, 0, 8, 0], &data[..]].concat()),
            other => ip.packet(other, &data),
        };
        self.spoil(&mut packet);
        if self.cuts.is_empty() {
            return vec![packet];
        }
        let mut pieces = fragments(&packet, self.datagram, &self.cuts);
        if self.pad > 0 {
            let first = &mut pieces[0];
            first.resize(first.len() + self.pad, b'!');
            let length = first.len() as u16;
            first[2..4].copy_from_slice(&length.to_be_bytes());
            mend_ipv4(first);
        }
        match self.only {
            None => pieces,
            Some(only) => only.iter().filter_map(|&index| pieces.get(index).cloned()).collect(),
        }
    }

    /// Makes the checksum what was asked for.
    fn spoil(&self, packet: &mut [u8]) {
        let Some((proto, at)) = transport(packet) else { return };
        let at = at
            + match proto {
                proto::TCP => 16,
                proto::UDP | proto::UDPLITE => 6,
                proto::SCTP => 8,
                _ => 2,
            };
        let Some(sum) = packet.get_mut(at..at + 2) else { return };
        match self.sum {
            Sum::Right | Sum::AsUdp => {}
            Sum::None => sum.fill(0),
            Sum::Wrong => sum[0] ^= 0x55,
        }
    }
}

fn numbers(text: &str) -> Option<Vec<usize>> {
    text.split(',').map(|number| number.parse().ok()).collect()
}

fn chunk(name: &str) -> Option<u8> {
    CHUNKS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The value of a chunk, as short as it may be.
fn value(kind: u8, tag: u32) -> Vec<u8> {
    match kind {
        1 | 2 => {
            let mut value = tag.to_be_bytes().to_vec();
            value.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            if kind == 2 {
                value.extend([0, 7, 0, 8, 1, 2, 3, 4]);
            }
            value
        }
        0 => [&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0][..], b"abcd"].concat(),
        4 | 5 => vec![0, 1, 0, 8, 9, 9, 9, 9],
        7 => vec![0, 0, 0, 1],
        10 => vec![7; 8],
        _ => Vec::new(),
    }
}

fn flags(letters: &str) -> Option<u8> {
    letters.chars().filter(|letter| *letter != '-').try_fold(0, |all, letter| Some(all | 1 << "FSRPAUEC".find(letter)?))
}

/// The protocol that the first words name, and the words after it.
fn protocol<'a>(words: &'a [&'a str], from: IpAddr) -> Option<(u8, &'a [&'a str])> {
    match words {
        ["proto", number, rest @ ..] => Some((number.parse().ok()?, rest)),
        [name, rest @ ..] => {
            let number = match *name {
                "tcp" => proto::TCP,
                "udp" => proto::UDP,
                "udplite" => proto::UDPLITE,
                "icmp" if from.is_ipv6() => proto::ICMPV6,
                "icmp" => proto::ICMP,
                "sctp" => proto::SCTP,
                "gre" => proto::GRE,
                "esp" => proto::ESP,
                _ => return None,
            };
            Some((number, rest))
        }
        [] => None,
    }
}

/// A packet from one address to another, or its fragments.
///
/// # Errors
/// If the words are not understood.
pub fn packets(src: IpAddr, dst: IpAddr, words: &[&str]) -> Result<Vec<Vec<u8>>, String> {
    if src.is_ipv4() != dst.is_ipv4() {
        return Err("two families".into());
    }
    let mut spec = Spec::new();
    let (proto, rest) = protocol(words, src).ok_or("no such protocol")?;
    spec.proto = proto;
    spec.read(rest).ok_or("not understood")?;
    Ok(spec.build(src, dst))
}

/// The packet that goes back to where `last` came from.
///
/// # Errors
/// If the words are not understood, or `last` cannot be answered.
pub fn answers(last: &[u8], words: &[&str]) -> Result<Vec<Vec<u8>>, String> {
    let (src, dst) = destination(last).zip(source(last)).ok_or("the last packet has no addresses")?;
    let (_, at) = transport(last).ok_or("the last packet has no transport header")?;
    let word = |at: usize| Some(u16::from_be_bytes([*last.get(at)?, *last.get(at + 1)?]));
    let mut spec = Spec::new();
    let (proto, rest) = protocol(words, src).ok_or("no such protocol")?;
    spec.proto = proto;
    match proto {
        proto::ICMP | proto::ICMPV6 => {
            spec.id = word(at + 4).ok_or("the last packet has no identifier")?;
            let answer = match last.get(at) {
                Some(8) => 0,
                Some(128) => 129,
                Some(13) => 14,
                _ => 0,
            };
            spec.kind = (answer, 0);
        }
        _ => spec.ports = (word(at + 2).unwrap_or(0), word(at).unwrap_or(0)),
    }
    spec.read(rest).ok_or("not understood")?;
    Ok(spec.build(src, dst))
}

/// An ICMP error about `last`.
///
/// # Errors
/// If the words are not understood.
pub fn error(src: IpAddr, last: &[u8], kind: &str, words: &[&str]) -> Result<Vec<Vec<u8>>, String> {
    let mut spec = Spec::new();
    spec.read(&[kind]).and_then(|()| spec.read(words)).ok_or("not understood")?;
    let (_, at) = transport(last).ok_or("the last packet has no transport header")?;
    let mut quote = last.to_vec();
    quote.truncate(spec.keep.unwrap_or(at + 8));
    let dst = spec.to.or(source(last)).ok_or("the last packet has no source")?;
    let [a, b] = spec.mtu.to_be_bytes();
    let ip = Ip { ttl: spec.ttl, ..Ip::new(src, dst) };
    let mut packet = icmp(&ip, spec.kind.0, spec.kind.1, [0, 0, a, b], &quote);
    spec.spoil(&mut packet);
    Ok(vec![packet])
}

/// Whether the checksum of the transport header is right; `None` if there is none or it cannot be known.
#[must_use]
pub fn is_sum_right(packet: &[u8]) -> Option<bool> {
    let (proto, at) = transport(packet)?;
    let (src, dst) = source(packet).zip(destination(packet))?;
    let segment = packet.get(at..)?;
    match proto {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::ICMPV6 => {
            Some(checksum(pseudo(src, dst, proto, segment.len()), segment) == 0)
        }
        proto::ICMP => Some(checksum(0, segment) == 0),
        proto::SCTP if segment.len() >= 12 => {
            let plain = [&segment[..8], &[0; 4], &segment[12..]].concat();
            Some(crc32c(&plain).to_le_bytes() == segment[8..12])
        }
        _ => None,
    }
}
