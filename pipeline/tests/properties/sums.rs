//! Checksums: whatever is done to a packet whose checksums are right, they are right in what leaves; and wrong stays wrong.

use std::net::IpAddr;

use uct_pipeline::router::Fate;
use uct_tests::generate::Area;
use uct_tests::packet::build::{checksum, crc32c, proto, pseudo};

use crate::lab::{self, Turn};

/// Where the transport header of a packet that is no fragment starts, and its protocol.
pub(crate) fn transport(packet: &[u8]) -> Option<(u8, usize)> {
    match packet.first()? >> 4 {
        4 => {
            let is_fragment = (packet.get(6)? & 0x3f, *packet.get(7)?) != (0, 0);
            (!is_fragment).then_some((*packet.get(9)?, usize::from(packet[0] & 15) * 4))
        }
        6 => {
            let (mut next, mut at) = (*packet.get(6)?, 40);
            while let 0 | 43 | 60 = next {
                let len = 8 + 8 * usize::from(*packet.get(at + 1)?);
                (next, at) = (*packet.get(at)?, at + len);
            }
            (next != 44).then_some((next, at))
        }
        _ => None,
    }
}

pub(crate) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let four = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
    let six = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
    match packet.first()? >> 4 {
        4 => Some((four(12)?, four(16)?)),
        _ => Some((six(8)?, six(24)?)),
    }
}

/// Whether the packet's transport checksum is right; `None` if it has none that can be judged.
fn is_right(packet: &[u8]) -> Option<bool> {
    let (protocol, at) = transport(packet)?;
    let (src, dst) = addresses(packet)?;
    // An update that leaves only noughts makes the sum one too, where ones were right: in Linux as in RFC 1624.
    let held = packet.get(at..).filter(|held| held.len() >= 8 && held.iter().any(|byte| *byte != 0))?;
    let sum = |number: u8, bytes: &[u8]| checksum(pseudo(src, dst, number, bytes.len()), bytes) == 0;
    match protocol {
        proto::TCP if held.len() >= 20 => Some(sum(proto::TCP, held)),
        proto::UDP => {
            let length = usize::from(u16::from_be_bytes([held[4], held[5]]));
            let datagram = held.get(..length).filter(|d| d.len() >= 8 && held[6..8] != [0, 0])?;
            Some(sum(proto::UDP, datagram))
        }
        proto::ICMP => Some(checksum(0, held) == 0),
        proto::ICMPV6 => Some(sum(proto::ICMPV6, held)),
        proto::SCTP if held.len() >= 12 => {
            let mut bare = held.to_vec();
            bare[8..12].fill(0);
            Some(crc32c(&bare).to_le_bytes() == held[8..12])
        }
        _ => None,
    }
}

/// Whether the checksum of an IPv4 header is right.
fn is_header_right(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(..usize::from(packet[0] & 15) * 4).is_some_and(|header| checksum(0, header) == 0),
        _ => true,
    }
}

/// Whether the header that an ICMP error quotes has a right checksum; `None` for everything else.
fn is_quote_right(packet: &[u8]) -> Option<bool> {
    let (protocol, at) = transport(packet)?;
    let is_error = protocol == proto::ICMP && matches!(packet.get(at)?, 3 | 4 | 11 | 12);
    let quote = packet.get(at + 8..).filter(|quote| is_error && quote.len() >= 20)?;
    Some(is_header_right(quote))
}

/// An ICMP redirect: the router sends one beside a packet that goes back out where it came in.
pub(crate) fn is_redirect(packet: &[u8]) -> bool {
    transport(packet).is_some_and(|(protocol, at)| protocol == proto::ICMP && packet.get(at) == Some(&5))
}

fn check(turn: &Turn) -> usize {
    let mut judged = 0;
    for out in &turn.out {
        assert!(is_header_right(&out.packet), "{turn}");
        let Some(right) = is_right(&out.packet) else { continue };
        judged += 1;
        if !matches!(turn.fate, Fate::Sent(_) | Fate::Delivered)
            || is_redirect(&out.packet) && !is_redirect(&turn.packet)
        {
            assert!(right, "what the router says itself: {turn}");
            continue;
        }
        let is_sctp = transport(&out.packet).is_some_and(|(protocol, _)| protocol == proto::SCTP);
        match is_right(&turn.packet) {
            Some(true) => assert!(right, "right became wrong: {turn}"),
            // SCTP's is computed anew.
            Some(false) if !is_sctp => assert!(!right, "wrong became right: {turn}"),
            _ => {}
        }
        if let (Some(before), Some(after)) = (is_quote_right(&turn.packet), is_quote_right(&out.packet)) {
            assert_eq!(before, after, "the quotation: {turn}");
        }
    }
    judged
}

#[test]
fn right_stays_right_and_wrong_stays_wrong() {
    let mut judged = 0;
    for area in Area::ALL {
        for seed in 1..=lab::rounds(60) {
            lab::play(area, seed, |_, turn| judged += check(turn));
        }
    }
    eprintln!("{judged} packets");
    assert!(judged > 5000, "only {judged} packets were judged");
}
