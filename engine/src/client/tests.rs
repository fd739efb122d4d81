//! Clients' wishes, and what packets make of them afterwards.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{Hook, Info, Listening, Packet, Silent, Template, Track, ZoneScope};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

fn wish(protocol: Protocol) -> NewConn {
    let original = Tuple { src: A, dst: B, protocol, l4: L4::Ports { src: 1000, dst: 53 } };
    NewConn {
        original,
        reply: original.inverse().unwrap(),
        zone: Zone::DEFAULT,
        status: Status::empty(),
        timeout: Duration::from_secs(60),
        mark: 0,
        labels: None,
        helper: None,
        known: Known::Nothing,
        counters: None,
        start: None,
    }
}

fn at(secs: u64) -> Time {
    Time::from_secs(1_000_000 + secs)
}

fn send(engine: &Engine, bytes: &[u8], now: Time) -> (Info, ConnRef) {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    match engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent) {
        Track::Tracked(tracked) => match tracked.ct {
            crate::Ct::Confirmed(conn) => (tracked.info, conn),
            crate::Ct::Unconfirmed(_) => panic!("not the one that was inserted"),
        },
        other => panic!("{other:?}"),
    }
}

fn builder() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
}

#[test]
fn created_once_in_either_direction() {
    let engine = Engine::new(1);
    engine.create(wish(Protocol::UDP), at(0), None).unwrap();
    assert_eq!(engine.create(wish(Protocol::UDP), at(0), None).unwrap_err(), Refusal::Exists);
    let mut turned = wish(Protocol::UDP);
    (turned.original, turned.reply) = (turned.reply, turned.original);
    assert_eq!(engine.create(turned, at(0), None).unwrap_err(), Refusal::Exists);
    let mut zoned = wish(Protocol::UDP);
    zoned.zone = Zone { id: 5, scope: ZoneScope::Both };
    engine.create(zoned, at(0), None).unwrap();
    let counts = (engine.count(), engine.stats().insert.get(), engine.stats().insert_failed.get());
    assert_eq!(counts, (2, 2, 0));
    assert_eq!(engine.flush(Some(Family::Ipv6), at(1), None), 0);
    assert_eq!(engine.flush(None, at(1), None), 2);
    assert_eq!(engine.count(), 0);
}

#[test]
fn impossible_connections_are_refused() {
    let engine = Engine::new(1);
    let refuse = |change: &dyn Fn(&mut NewConn)| {
        let mut new = wish(Protocol::UDP);
        change(&mut new);
        engine.create(new, at(0), None).unwrap_err()
    };
    assert_eq!(refuse(&|n| n.reply.protocol = Protocol::TCP), Refusal::Invalid);
    assert_eq!(refuse(&|n| n.reply.dst = "::1".parse().unwrap()), Refusal::Invalid);
    assert_eq!(refuse(&|n| n.original.l4 = L4::None), Refusal::Invalid);
    assert_eq!(refuse(&|n| n.known = Known::Tcp(TcpState::Close)), Refusal::Invalid);
    assert_eq!(refuse(&|n| n.status = Status::EXPECTED), Refusal::Busy);
    let unreachable = L4::Icmp { kind: 3, code: 1, id: 3 };
    assert_eq!(
        refuse(&|n| {
            (n.original.protocol, n.reply.protocol) = (Protocol::ICMP, Protocol::ICMP);
            (n.original.l4, n.reply.l4) = (unreachable, unreachable);
        }),
        Refusal::Invalid
    );
}

#[test]
fn answered_udp_is_a_stream_at_its_first_packet() {
    let engine = Engine::new(1);
    let mut new = wish(Protocol::UDP);
    new.status = Status::SEEN_REPLY;
    engine.create(new, at(0), None).unwrap();
    let mut bytes = Vec::new();
    builder().udp(1000, 53).write(&mut bytes, b"x").unwrap();
    let (info, conn) = send(&engine, &bytes, at(1));
    assert_eq!(info, Info::Established);
    assert!(conn.status().contains(Status::ASSURED));
    assert_eq!(conn.timeout(at(1)), Duration::from_secs(120));
}

#[test]
fn inserted_tcp_takes_any_sequence_number() {
    let engine = Engine::new(1);
    let mut new = wish(Protocol::TCP);
    new.known = Known::Tcp(TcpState::Established);
    new.status = Status::SEEN_REPLY | Status::ASSURED;
    engine.create(new, at(0), None).unwrap();
    for seq in [5, 3_000_000_000, 70] {
        let mut bytes = Vec::new();
        builder().tcp(1000, 53, seq, 1000).ack(seq).write(&mut bytes, b"data").unwrap();
        let (info, conn) = send(&engine, &bytes, at(1));
        assert_eq!((info, conn.entry(at(1)).proto.state_name()), (Info::Established, Some("ESTABLISHED")));
    }
}

#[test]
fn events_tell_everything_and_who() {
    let engine = Engine::new(1);
    engine.listen(Listening::Yes);
    let me = Arc::new(Client { portid: 7, progname: Some("conntrack".to_owned()) });
    let conn = engine.create(wish(Protocol::UDP), at(0), Some(Arc::clone(&me))).unwrap();
    let change = Change { mark: Some(9), timeout: Some(Duration::from_secs(5)), ..Change::default() };
    engine.change(&conn, &change, at(1), Some(Arc::clone(&me))).unwrap();
    engine.destroy(&conn, at(2), Some(me));
    let mut events = Vec::new();
    engine.take_events(&mut events);
    let kinds: Vec<_> = events.iter().map(|e| (e.kind, e.mask.contains(EventMask::MARK), e.entry.mark)).collect();
    assert_eq!(kinds, [(EventKind::New, true, 0), (EventKind::Update, true, 9), (EventKind::Destroy, false, 9)]);
    assert!(events.iter().all(|e| e.by.as_ref().is_some_and(|b| b.portid == 7)));
    assert_eq!(events[2].entry.timeout, Duration::from_secs(4));
}

#[test]
fn a_fixed_timeout_stays() {
    let engine = Engine::new(1);
    let mut new = wish(Protocol::UDP);
    new.status = Status::FIXED_TIMEOUT;
    let conn = engine.create(new, at(0), None).unwrap();
    let longer = Change { timeout: Some(Duration::from_secs(90)), ..Change::default() };
    assert_eq!(engine.change(&conn, &longer, at(1), None), Err(Refusal::Fixed));
    let expected = Change { status: Status::EXPECTED, ..Change::default() };
    assert_eq!(engine.change(&conn, &expected, at(1), None), Err(Refusal::Busy));
    assert_eq!(engine.expire(at(60), 10), 1);
}

#[test]
fn a_shorter_timeout_expires_when_it_says() {
    let engine = Engine::new(1);
    let conn = engine.create(wish(Protocol::UDP), at(0), None).unwrap();
    let shorter = Change { timeout: Some(Duration::from_secs(2)), ..Change::default() };
    engine.change(&conn, &shorter, at(1), None).unwrap();
    assert_eq!((engine.expire(at(2), 10), engine.expire(at(3), 10)), (0, 1));
}
