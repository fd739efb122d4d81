//! Expectations, and the packets that meet them.

use std::net::Ipv4Addr;

use super::*;
use crate::client::{Known, NewConn};
use crate::{Ct, Engine, Hook, Info, L4, Listening, Packet, Silent, Template, Track};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

fn at(secs: u64) -> Time {
    Time::from_secs(1_000_000 + secs)
}

fn master(engine: &Engine, sport: u16) -> ConnRef {
    let original = Tuple { src: A, dst: B, protocol: Protocol::UDP, l4: L4::Ports { src: sport, dst: 69 } };
    let new = NewConn {
        original,
        reply: original.inverse().unwrap(),
        zone: Zone::DEFAULT,
        status: Status::empty(),
        timeout: Duration::from_secs(100),
        mark: 7,
        labels: None,
        helper: Some("tftp".into()),
        known: Known::Nothing,
        counters: None,
        start: None,
    };
    engine.create(new, at(0), None).unwrap()
}

/// From anywhere on B, to a port of A.
fn wish(master: &ConnRef, port: u16) -> NewExpectation {
    NewExpectation {
        tuple: Tuple { src: B, dst: A, protocol: Protocol::UDP, l4: L4::Ports { src: 0, dst: port } },
        mask: ExpectMask { src: Ipv4Addr::BROADCAST.into(), src_id: 0 },
        master: master.clone(),
        class: 0,
        helper: None,
        timeout: Duration::from_secs(30),
        flags: ExpectFlags::empty(),
    }
}

fn packet(sport: u16, dport: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
        .udp(sport, dport)
        .write(&mut bytes, b"x")
        .unwrap();
    bytes
}

fn send(engine: &Engine, mut bytes: Vec<u8>, now: Time) -> (Info, Ct) {
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    match engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent) {
        Track::Tracked(tracked) => (tracked.info, tracked.ct),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_packet_uses_it_up_and_inherits() {
    let engine = Engine::new(1);
    engine.listen(Listening::Yes);
    let m = master(&engine, 5000);
    engine.expect(wish(&m, 600), at(0), None).unwrap();
    let (info, ct) = send(&engine, packet(1234, 600), at(1));
    assert_eq!((info, ct.mark()), (Info::Related, 7));
    assert!(ct.status().contains(Status::EXPECTED));
    assert_eq!(ct.entry(at(1)).master, Some(m.original()));
    // It is used up, whatever becomes of that packet.
    let (info, _) = send(&engine, packet(1235, 600), at(1));
    assert_eq!((info, engine.expectations().len()), (Info::New, 0));
    let mut events = Vec::new();
    engine.take_expect_events(&mut events);
    let kinds: Vec<_> = events.iter().map(|e| (e.seq, e.kind, e.entry.timeout.as_secs())).collect();
    assert_eq!(kinds, [(1, ExpectEventKind::New, 30), (2, ExpectEventKind::Destroy, 29)]);
    assert_eq!(engine.expect_stats().map(|(_, n)| n), [1, 1, 1]);
}

#[test]
fn the_mask_says_what_counts() {
    let engine = Engine::new(1);
    let m = master(&engine, 5000);
    let mut new = wish(&m, 600);
    new.mask.src_id = u16::MAX;
    new.tuple.l4 = L4::Ports { src: 77, dst: 600 };
    new.flags = ExpectFlags::PERMANENT;
    engine.expect(new, at(0), None).unwrap();
    assert_eq!(send(&engine, packet(78, 600), at(1)).0, Info::New);
    assert_eq!(send(&engine, packet(77, 601), at(1)).0, Info::New);
    assert_eq!(send(&engine, packet(77, 600), at(1)).0, Info::Related);
    assert_eq!(engine.expectations().len(), 1, "it is permanent");
}

#[test]
fn it_goes_with_its_master_and_at_its_time() {
    let engine = Engine::new(1);
    let (m, n) = (master(&engine, 5000), master(&engine, 5001));
    engine.expect(wish(&m, 600), at(0), None).unwrap();
    engine.expect(wish(&n, 601), at(0), None).unwrap();
    engine.destroy(&m, at(1), None);
    assert_eq!(engine.expectations().len(), 1);
    assert_eq!(send(&engine, packet(1, 600), at(1)).0, Info::New);
    assert_eq!(engine.next_expiry(), Some(at(30)));
    engine.expire(at(29), 100);
    assert_eq!(engine.expectations().len(), 1);
    engine.expire(at(30), 100);
    assert_eq!(engine.expectations().len(), 0);
}

#[test]
fn one_for_the_same_and_none_that_could_take_anothers() {
    let engine = Engine::new(1);
    let (m, n) = (master(&engine, 5000), master(&engine, 5001));
    engine.expect(wish(&m, 600), at(0), None).unwrap();
    let again = engine.expect(wish(&m, 600), at(5), None).unwrap();
    assert_eq!((engine.expectations().len(), again.entry(at(5)).timeout.as_secs()), (1, 30));
    assert_eq!(engine.expect(wish(&n, 600), at(5), None).unwrap_err(), Refusal::Busy);
    engine.settings().set(crate::Sysctl::ExpectMax, 1).unwrap();
    assert_eq!(engine.expect(wish(&n, 602), at(5), None).unwrap_err(), Refusal::Full);
    assert_eq!(engine.flush_expectations(at(6), None), 1);
}
