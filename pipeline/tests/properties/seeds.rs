//! The seed: the same gives the same bytes, another changes what is drawn at random, and nothing else.

use std::net::IpAddr;

use uct_engine::Listening;
use uct_tests::generate::{Area, Player, Scope};
use uct_tests::packet::build::proto;
use uct_tests::scenario::{Setup, Step};

use crate::lab::{self, Lab, Turn, difference};
use crate::sums::{addresses, transport};

/// A scenario that nobody answers, so that no packet depends on what was drawn for another.
fn unanswered(area: Area, seed: u64) -> (Setup, Vec<Step>) {
    let mut player = Player::new(area, Scope::Path, seed);
    let setup = player.setup().clone();
    (setup, std::iter::from_fn(|| player.next_step()).collect())
}

/// What a router of this seed makes of it, and what it says about it.
fn transcript(setup: &Setup, steps: &[Step], seed: u64) -> (Vec<Turn>, String) {
    let mut lab = Lab::new(setup, seed);
    lab.router.engine().listen(Listening::Yes);
    let turns: Vec<_> = steps.iter().filter_map(|step| lab.step(step)).collect();
    let engine = lab.router.engine();
    let mut events = Vec::new();
    engine.take_events(&mut events);
    let now = events.last().map_or(uct_engine::Time::ZERO, |event| event.at);
    (turns, format!("{events:?}\n{:?}", engine.entries(now)))
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for area in Area::ALL {
        for seed in 1..=lab::rounds(20) {
            let (setup, steps) = unanswered(area, seed);
            assert!(transcript(&setup, &steps, seed) == transcript(&setup, &steps, seed), "{area:?}, seed {seed}");
        }
    }
}

/// What may be drawn at random in a packet that leaves, set to zero: ports, ids, and the sums over them.
fn without_draws(packet: &[u8], router: &[IpAddr]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() < if packet.first().is_some_and(|first| first >> 4 == 6) { 40 } else { 20 } {
        return packet; // the end of a quotation
    }
    // What stands where in a datagram may stand in any of its fragments.
    let (upper, offset, is_fragment) = match (transport(&packet), fragment(&packet)) {
        (Some(upper), _) => (Some(upper), 0, false),
        (None, Some((protocol, at, offset))) => (Some((protocol, at)), offset, true),
        (None, None) => (None, 0, false),
    };
    let error = match upper {
        Some((proto::ICMP, at)) => packet.get(at).is_some_and(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12)),
        Some((proto::ICMPV6, at)) => packet.get(at).is_some_and(|kind| *kind < 128),
        _ => false,
    };
    let is_own = error || addresses(&packet).is_some_and(|(src, _)| router.contains(&src));
    match packet.first().map(|first| first >> 4) {
        // Identification (of the router's own errors) and the header's checksum.
        Some(4) if is_own => {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
        Some(6) => {
            if is_own {
                packet[1] &= 0xf0;
                packet[2..4].fill(0);
            }
            if packet[6] == 44 && packet.len() >= 48 {
                packet[44..48].fill(0);
            }
        }
        _ => {}
    }
    let Some((protocol, at)) = upper else { return packet };
    let mut clear = |from: usize, to: usize| {
        let place = |in_datagram: usize| at.saturating_add(in_datagram.saturating_sub(offset)).min(packet.len());
        let (from, to) = (place(from), place(to));
        packet[from..to].fill(0);
    };
    match protocol {
        proto::TCP => {
            clear(0, 4);
            clear(16, 18);
        }
        proto::UDP | proto::UDPLITE => {
            clear(0, 4);
            clear(6, 8);
        }
        proto::SCTP => {
            clear(0, 4);
            clear(8, 12);
        }
        // The quotation may go on in another fragment, or have begun in one.
        proto::ICMP | proto::ICMPV6 if is_fragment => clear(2, usize::MAX),
        proto::ICMP | proto::ICMPV6 if error => {
            clear(2, 4);
            let quote = packet.split_off((at + 8).min(packet.len()));
            packet.extend(without_draws(&quote, router));
        }
        proto::ICMP | proto::ICMPV6 => clear(2, 6),
        _ => {}
    }
    packet
}

/// Protocol of a fragment, where its part of the datagram starts in the packet, and which part that is.
fn fragment(packet: &[u8]) -> Option<(u8, usize, usize)> {
    let word = |at: usize| Some(usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
    match packet.first()? >> 4 {
        4 => Some((*packet.get(9)?, usize::from(packet[0] & 15) * 4, (word(6)? & 0x1fff) * 8)),
        _ => (packet.get(6) == Some(&44)).then_some((*packet.get(40)?, 48, word(42)? & 0xfff8)),
    }
}

#[test]
fn another_seed_changes_only_what_is_drawn() {
    let (mut differing, mut alike) = (0, 0);
    for area in [Area::Udp, Area::Tcp, Area::Nat, Area::Frag, Area::Mixed] {
        for seed in 1..=lab::rounds(60) {
            let (setup, steps) = unanswered(area, seed);
            let ((one, _), (other, _)) = (transcript(&setup, &steps, 1), transcript(&setup, &steps, 2));
            let lab = Lab::new(&setup, 1);
            let own: Vec<_> =
                lab.router.topology().interfaces.iter().flat_map(|i| &i.addresses).map(|net| net.addr()).collect();
            for (a, b) in one.iter().zip(&other) {
                let about = || format!("{area:?}, seed {seed}: {}\n{a}\n{b}", setup.rules);
                assert_eq!((&a.fate, a.out.len()), (&b.fate, b.out.len()), "{}", about());
                for (x, y) in a.out.iter().zip(&b.out) {
                    assert_eq!(x.dev, y.dev, "{}", about());
                    let (left, right) = (without_draws(&x.packet, &own), without_draws(&y.packet, &own));
                    assert_eq!(difference(&left, &right), None, "{}", about());
                    *(if x == y { &mut alike } else { &mut differing }) += 1;
                }
            }
        }
    }
    eprintln!("{differing} packets with other draws, {alike} without");
    assert!(differing > 100 && alike > 1000, "{differing} packets with other draws, {alike} without");
}
