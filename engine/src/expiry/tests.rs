//! Expiry is exact: what is destroyed, when and in which order, whatever the clock's steps.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::{Engine, EventKind, Hook, Listening, Packet, Silent, Sysctl, Template, Time, Track};

/// A UDP packet of one of a few clients.
fn packet(client: u8) -> Vec<u8> {
    let mut out = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, client], [10, 0, 1, 1], 64)
        .udp(1000, 53)
        .write(&mut out, &[1, 2])
        .unwrap();
    out
}

fn send(engine: &Engine, client: u8, now: Time) {
    let mut bytes = packet(client);
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    match engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent) {
        Track::Tracked(t) => drop(engine.confirm(t.ct, now)),
        other => panic!("{other:?}"),
    }
}

fn destroyed(engine: &Engine) -> Vec<(Time, u8)> {
    let mut events = Vec::new();
    engine.take_events(&mut events);
    let client = |ip| match ip {
        std::net::IpAddr::V4(a) => a.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    let gone = events.iter().filter(|e| e.kind == EventKind::Destroy);
    gone.map(|e| (e.at, client(e.entry.original.src))).collect()
}

#[test]
fn a_connection_ends_at_its_deadline_not_at_the_next_packet() {
    let engine = Engine::new(0);
    engine.listen(Listening::Yes);
    send(&engine, 1, Time::ZERO);
    engine.expire(Time::from_nanos(29_999_999_999), usize::MAX);
    assert_eq!(engine.count(), 1);
    engine.expire(Time::from_secs(100), usize::MAX);
    assert_eq!(destroyed(&engine), [(Time::from_secs(30), 1)]);
}

#[test]
fn a_shortened_timeout_is_not_overslept() {
    let engine = Engine::new(0);
    engine.listen(Listening::Yes);
    engine.settings().set(Sysctl::UdpTimeout, 100_000).unwrap();
    send(&engine, 1, Time::ZERO);
    engine.settings().set(Sysctl::UdpTimeout, 7).unwrap();
    send(&engine, 1, Time::from_secs(1));
    engine.expire(Time::from_secs(500), usize::MAX);
    assert_eq!(destroyed(&engine), [(Time::from_secs(8), 1)]);
}

proptest! {
    /// Against a map of deadlines: packets at random times, the clock moved at random, bounded work per call.
    #[test]
    fn exact_against_a_model(steps in prop::collection::vec((1u8..6, 0u64..40_000), 1..80), most in 1usize..4) {
        let engine = Engine::new(1);
        engine.listen(Listening::Yes);
        let mut deadlines: BTreeMap<u8, Time> = BTreeMap::new();
        let mut expected = Vec::new();
        let mut now = Time::ZERO;
        for (client, wait) in steps {
            now = now + Duration::from_millis(wait);
            while engine.expire(now, most) == most {}
            let mut due: Vec<_> = deadlines.iter().filter(|(_, at)| **at <= now).map(|(c, at)| (*at, *c)).collect();
            due.sort_unstable();
            due.iter().for_each(|(_, c)| { deadlines.remove(c); });
            expected.extend(due);
            send(&engine, client, now);
            deadlines.insert(client, now + Duration::from_secs(30));
        }
        let mut gone = destroyed(&engine);
        prop_assert!(gone.is_sorted_by_key(|(at, _)| *at));
        // Of two that end at the same moment, the order is that of the queue.
        gone.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(gone, expected);
        prop_assert_eq!(engine.count(), deadlines.len());
    }
}
