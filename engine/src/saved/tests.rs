//! A saved connection goes on as if nothing had happened: the same packets, the same verdicts, in the old engine and the new.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tcp::{TcpState, flag};
use crate::{Direction, Hook, L4, Packet, Silent, Template, Track};

const HOSTS: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];

fn now(millis: u64) -> Time {
    Time::from_secs(1_000_000) + Duration::from_millis(millis)
}

/// What becomes of a packet, and of its connection.
fn send(engine: &Engine, bytes: &[u8], at: Time) -> String {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    engine.expire(at, usize::MAX);
    match engine.track(&packet, Hook::Prerouting, &Template::default(), at, &mut Silent) {
        Track::Tracked(tracked) => {
            let (dir, info) = (tracked.dir, tracked.info);
            engine.confirm(tracked.ct, at);
            format!("{dir:?} {info:?}")
        }
        other => format!("{other:?}"),
    }
}

/// All connections but for their numbers.
fn table(engine: &Engine, at: Time) -> Vec<Saved> {
    let mut all = saved(engine);
    all.sort_by_key(|s| s.original);
    assert_eq!(engine.entries(at).len(), all.len());
    all
}

fn saved(engine: &Engine) -> Vec<Saved> {
    (0..).map_while(|shard| engine.shard(shard)).flatten().map(|conn| conn.save()).collect()
}

/// Another engine with the same connections.
fn moved(engine: &Engine, at: Time) -> Engine {
    let other = Engine::new(7);
    for key in Sysctl::ALL {
        other.settings().set(*key, engine.settings().get(*key).into()).unwrap();
    }
    saved(engine).iter().for_each(|s| drop(other.restore(s, at).unwrap()));
    other
}

#[derive(Clone, Debug)]
struct Step {
    dir: Direction,
    kind: u8,
    flags: u8,
    seq: u32,
    ack: u32,
    len: usize,
    window: u16,
    wait: u64,
}

impl Step {
    fn bytes(&self) -> Vec<u8> {
        let (from, to) = (HOSTS[self.dir as usize], HOSTS[1 - self.dir as usize]);
        let (sport, dport) = if self.dir == Direction::Original { (4000, 80) } else { (80, 4000) };
        let ip = etherparse::PacketBuilder::ipv4(from, to, 64);
        let (mut bytes, payload) = (Vec::new(), vec![0; self.len]);
        if self.kind == 0 {
            ip.udp(sport, dport).write(&mut bytes, &payload).unwrap();
            return bytes;
        }
        let mut tcp = ip.tcp(sport, dport, self.seq, self.window);
        if self.flags & flag::SYN != 0 {
            tcp = tcp.syn();
        }
        if self.flags & flag::ACK != 0 {
            tcp = tcp.ack(self.ack);
        }
        if self.flags & flag::FIN != 0 {
            tcp = tcp.fin();
        }
        if self.flags & flag::RST != 0 {
            tcp = tcp.rst();
        }
        tcp.write(&mut bytes, &payload).unwrap();
        bytes
    }
}

fn step() -> impl Strategy<Value = Step> {
    use flag::{ACK, FIN, RST, SYN};
    let flags = prop::sample::select(vec![SYN, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST, RST | ACK]);
    let dir = prop::sample::select(vec![Direction::Original, Direction::Reply]);
    let wait = prop::sample::select(vec![0u64, 1, 900, 2500, 20_000]);
    let numbers = (0u32..2000, 0u32..2000, 0usize..600, prop::sample::select(vec![0u16, 500, 60_000]));
    (dir, 0u8..6, flags, numbers, wait).prop_map(|(dir, kind, flags, (seq, ack, len, window), wait)| Step {
        dir,
        kind,
        flags,
        seq: seq.wrapping_sub(1000),
        ack: ack.wrapping_sub(1000),
        len,
        window,
        wait,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn goes_on_as_before(before in prop::collection::vec(step(), 1..12), after in prop::collection::vec(step(), 1..12)) {
        let engine = Engine::new(1);
        engine.settings().set(Sysctl::Acct, 1).unwrap();
        engine.settings().set(Sysctl::Timestamp, 1).unwrap();
        let mut at = now(0);
        for step in &before {
            at = at + Duration::from_millis(step.wait);
            send(&engine, &step.bytes(), at);
        }
        engine.expire(at, usize::MAX);
        let other = moved(&engine, at);
        prop_assert_eq!(table(&engine, at), table(&other, at));
        for step in &after {
            at = at + Duration::from_millis(step.wait);
            prop_assert_eq!(send(&engine, &step.bytes(), at), send(&other, &step.bytes(), at));
            prop_assert_eq!(table(&engine, at), table(&other, at));
        }
    }
}

fn one() -> Saved {
    let ports = L4::Ports { src: 4000, dst: 53 };
    let (src, dst) = (IpAddr::V4(Ipv4Addr::from(HOSTS[0])), IpAddr::V4(Ipv4Addr::from(HOSTS[1])));
    let original = Tuple { src, dst, protocol: Protocol::UDP, l4: ports };
    Saved {
        original,
        reply: original.inverse().unwrap(),
        zone: Zone::DEFAULT,
        status: Status::SEEN_REPLY | Status::SRC_NAT | Status::NAT_DONE | Status::CONFIRMED,
        deadline: now(5000),
        mark: 9,
        bound: NonZeroU32::new(2),
        counters: Some([Counters { packets: 1, bytes: 28 }, Counters { packets: 2, bytes: 99 }]),
        start: Some(now(0)),
        labels: Some(5),
        helper: Some("ftp".into()),
        master: None,
        timeouts: None,
        seq_adjust: Some([SeqAdjust { correction: 1, before: -2, after: 3 }, SeqAdjust::default()]),
        state: SavedState::Udp(now(2000)),
    }
}

#[test]
fn everything_comes_back() {
    let engine = Engine::new(1);
    let conn = engine.restore(&one(), now(1000)).unwrap();
    assert_eq!(conn.save(), one());
    assert_eq!(conn.timeout(now(1000)), Duration::from_secs(4), "the time that passed counts");
    assert_eq!(engine.expire(now(5000), 10), 1, "it runs out at its time");
}

#[test]
fn a_child_comes_after_its_master() {
    let engine = Engine::new(1);
    let master = one();
    let mut child = one();
    child.original.l4 = L4::Ports { src: 4001, dst: 20 };
    child.reply = child.original.inverse().unwrap();
    child.master = Some((master.original, master.zone));
    assert_eq!(engine.restore(&child, now(0)).unwrap_err(), Refusal::Missing);
    let first = engine.restore(&master, now(0)).unwrap();
    let second = engine.restore(&child, now(0)).unwrap();
    assert!(second.master().unwrap().is(&first));
    assert_eq!(second.save(), child);
}

#[test]
fn what_cannot_be_is_refused() {
    let engine = Engine::new(1);
    let refuse = |change: &dyn Fn(&mut Saved)| {
        let mut saved = one();
        change(&mut saved);
        engine.restore(&saved, now(0)).unwrap_err()
    };
    assert_eq!(refuse(&|s| s.deadline = now(0)), Refusal::Expired);
    assert_eq!(refuse(&|s| s.status |= Status::DYING), Refusal::Expired);
    assert_eq!(refuse(&|s| s.state = SavedState::None), Refusal::Invalid);
    assert_eq!(refuse(&|s| s.reply.dst = "::1".parse().unwrap()), Refusal::Invalid);
    assert_eq!(refuse(&|s| s.reply.protocol = Protocol::TCP), Refusal::Invalid);
    engine.restore(&one(), now(0)).unwrap();
    assert_eq!(refuse(&|_| ()), Refusal::Exists);
    engine.settings().set(Sysctl::Max, 1).unwrap();
    assert_eq!(refuse(&|s| s.original.l4 = L4::Ports { src: 1, dst: 2 }), Refusal::Full);
    assert_eq!(engine.count(), 1);
}

#[test]
fn a_window_holds_across_the_move() {
    use flag::{ACK, SYN};
    let engine = Engine::new(1);
    let segment =
        |dir, flags, seq, ack, len| Step { dir, kind: 1, flags, seq, ack, len, window: 1000, wait: 0 }.bytes();
    let (o, r) = (Direction::Original, Direction::Reply);
    send(&engine, &segment(o, SYN, 99, 0, 0), now(0));
    send(&engine, &segment(r, SYN | ACK, 499, 100, 0), now(0));
    send(&engine, &segment(o, ACK, 100, 500, 0), now(0));
    let other = moved(&engine, now(0));
    let outside = segment(o, ACK, 100_000, 500, 10);
    assert!(send(&other, &outside, now(1)).contains("Invalid"), "not picked up anew");
    assert_eq!(send(&other, &segment(o, ACK, 100, 500, 10), now(1)), "Original Established");
    let Some((conn, _)) = other.find(&saved(&engine)[0].original, Zone::DEFAULT) else { panic!("it is gone") };
    assert_eq!(conn.tcp_progress().map(|(state, _)| state), Some(TcpState::Established));
}
