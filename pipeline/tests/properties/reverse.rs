//! What NAT does to a packet it undoes to the answer: sent back where it left, the answer arrives as if nobody had been
//! between the two, but for one hop.

use uct_engine::Direction;
use uct_pipeline::router::Fate;
use uct_tests::generate::Area;
use uct_tests::packet::build::{checksum, crc32c, mend_ipv4, proto, pseudo};

use crate::lab::{self, Lab, Turn, difference};
use crate::sums::{addresses, is_redirect, transport};

const HOPS: u8 = 40;

/// The packet the other way round, as an answer that carries the same bytes; `None` for what cannot be turned round.
fn returned(packet: &[u8]) -> Option<Vec<u8>> {
    let (protocol, at) = transport(packet)?;
    let mut back = packet.to_vec();
    let half = if packet[0] >> 4 == 4 { 12..16 } else { 8..24 };
    for byte in half.clone() {
        back.swap(byte, byte + half.len());
    }
    match protocol {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP => {
            back.get(at..at + 4)?;
            back.swap(at, at + 2);
            back.swap(at + 1, at + 3);
            // The others' sums do not mind the order.
            if protocol == proto::SCTP {
                let packet = back.get_mut(at..).filter(|packet| packet.len() >= 12)?;
                packet[8..12].fill(0);
                let sum = crc32c(packet);
                packet[8..12].copy_from_slice(&sum.to_le_bytes());
            }
        }
        proto::ICMP | proto::ICMPV6 => {
            let answer = match (protocol, *packet.get(at)?) {
                (proto::ICMP, 8) => 0,
                (proto::ICMP, kind @ (13 | 15 | 17)) => kind + 1,
                (proto::ICMPV6, kind @ (128 | 139)) => kind + 1,
                _ => return None,
            };
            let message = back.get_mut(at..).filter(|message| message.len() >= 8)?;
            message[0] = answer;
            message[2..4].fill(0);
            let (src, dst) = addresses(packet)?;
            let head = if protocol == proto::ICMP { 0 } else { pseudo(src, dst, protocol, message.len()) };
            let sum = checksum(head, message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {}
    }
    Some(back)
}

fn with_hops(mut packet: Vec<u8>, hops: u8) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[8] = hops;
        mend_ipv4(&mut packet);
    } else {
        packet[7] = hops;
    }
    packet
}

/// With a checksum of noughts written as ones: they are one number, and an update may turn one into the other.
fn with_plain_sum(mut packet: Vec<u8>) -> Vec<u8> {
    let field = match transport(&packet) {
        Some((proto::TCP, at)) => at + 16,
        Some((proto::ICMP | proto::ICMPV6, at)) => at + 2,
        _ => return packet,
    };
    if let Some(sum @ [0, 0]) = packet.get_mut(field..field + 2) {
        sum.fill(0xff);
    }
    packet
}

/// Answers a forwarded packet; whether the answer could be judged, and whether there was anything to undo.
fn check(lab: &mut Lab, turn: &Turn) -> Option<bool> {
    let (Fate::Sent(_), [out], Some(_), Some((conn, Direction::Original))) =
        (&turn.fate, turn.out.as_slice(), turn.iif, turn.tracked)
    else {
        return None;
    };
    let answer = with_hops(returned(&out.packet)?, HOPS);
    let expected = with_hops(returned(&turn.packet)?, HOPS - 1);
    // From the wrong side: the answer goes where its source lives, not where it came in.
    if lab.router.toward(addresses(&turn.packet)?.0) != turn.iif {
        return None;
    }
    let back = lab.send(out.dev, &answer);
    // A rule may drop it, its zone may be another, the tracker may take it for invalid.
    if back.tracked != Some((conn, Direction::Reply)) || !matches!(back.fate, Fate::Sent(_)) {
        return None;
    }
    // Back out where it came in: the router tells of a shorter way, too.
    let of_it: Vec<_> = back.out.iter().filter(|out| !is_redirect(&out.packet) || is_redirect(&answer)).collect();
    let [arrived] = of_it.as_slice() else { panic!("one packet became many: {back}") };
    assert_eq!(arrived.dev, turn.iif, "{turn}\n{back}");
    assert_eq!(difference(&with_plain_sum(arrived.packet.clone()), &with_plain_sum(expected)), None, "{turn}\n{back}");
    Some(addresses(&turn.packet) != addresses(&out.packet))
}

#[test]
fn the_answer_arrives_as_if_nobody_had_been_between() {
    let (mut judged, mut translated) = (0, 0);
    for area in Area::ALL {
        for seed in 1..=lab::rounds(100) {
            lab::play(area, seed, |lab, turn| {
                if let Some(was_translated) = check(lab, turn) {
                    judged += 1;
                    translated += usize::from(was_translated);
                }
            });
        }
    }
    eprintln!("{judged} answers, {translated} of them to translated packets");
    assert!(judged > 1000 && translated > 400, "only {judged} answers, {translated} of them to translated packets");
}
