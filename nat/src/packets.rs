//! Packets for tests.

use std::net::IpAddr;

use uct_engine::{Protocol, checksum};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An IP packet around a transport header and payload.
pub(crate) fn raw(src: &str, dst: &str, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = (20 + payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, protocol.0, 0, 0];
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            let check = !checksum::sum(&bytes);
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
            bytes.extend(payload);
            bytes
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let len = (payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x60, 0, 0, 0, len[0], len[1], protocol.0, 64];
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.extend(payload);
            bytes
        }
        _ => panic!("families"),
    }
}

/// The checksum over a pseudo-header and a segment whose own field is zero.
fn check(src: &str, dst: &str, protocol: Protocol, segment: &[u8]) -> [u8; 2] {
    let start = checksum::pseudo(ip(src), ip(dst), protocol, segment.len());
    (!checksum::fold(checksum::add(start, segment))).to_be_bytes()
}

pub(crate) fn udp(src: &str, sport: u16, dst: &str, dport: u16) -> Vec<u8> {
    udp_with(src, sport, dst, dport, b"hello")
}

pub(crate) fn udp_with(src: &str, sport: u16, dst: &str, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut segment = [sport, dport, 8 + data.len() as u16, 0].map(u16::to_be_bytes).concat();
    segment.extend(data);
    let sum = check(src, dst, Protocol::UDP, &segment);
    segment[6..8].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
    raw(src, dst, Protocol::UDP, &segment)
}

pub(crate) fn tcp(src: &str, sport: u16, dst: &str, dport: u16, flags: &[u8], seq: u32, ack: u32) -> Vec<u8> {
    let bit = |f: &u8| match f {
        b'F' => 1,
        b'S' => 2,
        b'R' => 4,
        b'A' => 16,
        _ => 0,
    };
    let mut segment = [sport, dport].map(u16::to_be_bytes).concat();
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags.iter().map(bit).sum(), 0x20, 0, 0, 0, 0, 0]);
    let sum = check(src, dst, Protocol::TCP, &segment);
    segment[16..18].copy_from_slice(&sum);
    raw(src, dst, Protocol::TCP, &segment)
}

/// An ICMP or ICMPv6 message: type, code, the four bytes after the checksum, and the rest.
pub(crate) fn icmp(src: &str, dst: &str, kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word);
    message.extend(rest);
    let (protocol, sum) = match ip(src) {
        IpAddr::V4(_) => (Protocol::ICMP, (!checksum::sum(&message)).to_be_bytes()),
        IpAddr::V6(_) => (Protocol::ICMPV6, check(src, dst, Protocol::ICMPV6, &message)),
    };
    message[2..4].copy_from_slice(&sum);
    raw(src, dst, protocol, &message)
}
