//! Four threads on one table: packets in batches that open, answer, reset and clash, clients that delete, listings, and a clock that
//! runs. Nothing is compared while it goes on; whenever all
//! pause, every invariant of the table is checked.
//!
//! `UCT_HAMMER` is how many seconds (2, if it is not said). The seed is printed with what fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uct_engine::{ConnRef, Direction, Engine, Seen, Sysctl, Time, Zone};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Arrival, Emit, Emitted, Fate, Router, Silent};
use uct_pipeline::topology::{Dev, Topology};

const TOPOLOGY: &str = r#"
[[interface]]
name = "lan0"
addresses = ["10.0.0.1/8"]

[[interface]]
name = "wan0"
addresses = ["203.0.113.1/24"]

[[route]]
to = "default"
via = "203.0.113.254"
dev = "wan0"
"#;

const RULES: &str = "table ip nat {
chain post {
type nat hook postrouting priority srcnat; policy accept
oifname \"wan0\" masquerade
}
chain pre {
type nat hook prerouting priority dstnat; policy accept
iifname \"wan0\" tcp dport 8080 dnat to 10.0.0.5:80
}
}
";

/// Connections that the table may hold: less than the hosts and ports below would make.
const MOST: u64 = 3_000;
/// How long all work before the table is looked at.
const ROUND: Duration = Duration::from_millis(100);

struct Nowhere;

impl Emit for Nowhere {
    fn emit(&mut self, _: Emitted<'_>) {}
}

/// Few hosts, servers and ports, so that packets meet, and ports are taken.
fn packet(random: &mut SmallRng) -> (Dev, Vec<u8>) {
    let host = [10, 0, 0, random.random_range(2..40)];
    let server = [198, 51, 100, random.random_range(1..8)];
    let (port, far) = (random.random_range(1024..1100), random.random_range(50..53));
    let (dev, src, dst, sport, dport) = match random.random_range(0..5) {
        0..3 => (Dev(0), host, server, port, far),
        3 => (Dev(1), server, [203, 0, 113, 1], far, port),
        _ => (Dev(1), server, [203, 0, 113, 1], port, 8080),
    };
    let builder = PacketBuilder::ipv4(src, dst, 64);
    let mut bytes = Vec::new();
    if random.random_ratio(1, 3) {
        builder.udp(sport, dport).write(&mut bytes, &[0; 20]).expect("a packet");
        return (dev, bytes);
    }
    let tcp = builder.tcp(sport, dport, random.random_range(0..4) * 1000, 65_535);
    let tcp = match random.random_range(0..6) {
        0 | 1 => tcp.syn(),
        2 => tcp.syn().ack(1),
        3 | 4 => tcp.ack(1),
        _ => tcp.rst(),
    };
    tcp.write(&mut bytes, &[]).expect("a packet");
    (dev, bytes)
}

fn all(engine: &Engine) -> Vec<ConnRef> {
    (0..).map_while(|shard| engine.shard(shard)).flatten().collect()
}

/// What holds of a table on which nobody works.
fn check(engine: &Engine) {
    let conns = all(engine);
    assert_eq!(conns.len(), engine.count(), "as many are listed as are counted");
    assert_eq!(conns.len() * 2, engine.tuple_count(), "each by two tuples");
    let mut tuples = HashMap::new();
    for conn in &conns {
        for dir in [Direction::Original, Direction::Reply] {
            let tuple = conn.tuple(dir);
            let found = engine.find(&tuple, Zone::DEFAULT).map(|(found, _)| found.id());
            assert_eq!(found, Some(conn.id()), "{tuple} leads to its connection");
            let other = tuples.insert(tuple, conn.id());
            assert!(other.is_none_or(|other| other == conn.id()), "{tuple} stands twice");
        }
        assert_eq!(engine.at(conn.slot()).map(|at| at.id()), Some(conn.id()));
    }
}

/// A masquerading router, its table and its seed.
fn router() -> (Router, Arc<Engine>, u64) {
    let seed = std::env::var("UCT_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let engine = Arc::new(Engine::new(seed));
    engine.settings().set(Sysctl::Max, MOST).expect("a limit");
    let rules = Ruleset::read("rules", RULES, &NoFiles).expect("rules");
    let topology = Topology::parse("topology", TOPOLOGY).expect("a topology");
    (Router::new(Arc::clone(&engine), rules, topology, seed), engine, seed)
}

/// Sends packets through the router as one batch.
fn send(router: &Router, at: Time, batch: &mut [(Dev, Vec<u8>)], mut fate: impl FnMut(usize, Fate)) {
    let arrivals = batch.iter_mut().map(|(iif, bytes)| {
        let (wire_len, offload) = (bytes.len(), Offload::default());
        Arrival { at, iif: *iif, bytes, wire_len, link: None, offload, seen: Seen::default() }
    });
    let mut arrivals: Vec<_> = arrivals.collect();
    router.receive_batch(&mut arrivals, &mut Nowhere, &mut Silent, &mut fate);
}

/// Ends the other thread's waiting, also if what is checked does not hold.
struct Over<'a>(&'a AtomicU64);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Release);
    }
}

/// How long the tests go on, in seconds.
fn seconds() -> u64 {
    std::env::var("UCT_HAMMER").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

/// Two hosts want the same port toward the same server, in the same moment: one gets it, whoever was first.
#[test]
fn one_port_is_given_once() {
    let (router, engine, seed) = router();
    let (turn, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds());
    let now = Time::from_secs(1_700_000_000);
    // Hosts of one thread only, so that it is their answers' tuple alone that both want.
    let batch = |thread: u8, turn: u64| -> Vec<(Dev, Vec<u8>)> {
        let hosts = (0..1 + turn % 3).map(|n| [10, 0, thread, 2 + n as u8]);
        let syn = |host| {
            let mut bytes = Vec::new();
            let builder = PacketBuilder::ipv4(host, [198, 51, 100, 1], 64).tcp(1024, 80, 1, 65_535).syn();
            builder.write(&mut bytes, &[]).expect("a packet");
            (Dev(0), bytes)
        };
        hosts.map(syn).collect()
    };
    std::thread::scope(|scope| {
        let (router, turn, done) = (&router, &turn, &done);
        scope.spawn(move || {
            for next in 1.. {
                let mut own = batch(1, next);
                while turn.load(Ordering::Acquire) < next {
                    std::hint::spin_loop();
                }
                if turn.load(Ordering::Acquire) == u64::MAX {
                    break;
                }
                send(router, now, &mut own, |_, _| {});
                done.store(next, Ordering::Release);
            }
        });
        let _over = Over(turn);
        for next in 1.. {
            let mut own = batch(2, next);
            turn.store(next, Ordering::Release);
            send(router, now, &mut own, |_, _| {});
            while done.load(Ordering::Acquire) < next {
                std::hint::spin_loop();
            }
            check(&engine);
            for conn in all(&engine) {
                engine.destroy(&conn, now, None);
            }
            if Instant::now() >= end {
                break;
            }
        }
    });
    let failed = engine.stats().insert_failed.get();
    println!("seed {seed}: {} connections made, {failed} clashed", engine.stats().insert.get());
    assert!(failed > 0, "the two never met");
}

#[test]
fn every_invariant_holds_at_the_end() {
    let (router, engine, seed) = router();
    let begin = Time::from_secs(1_700_000_000);
    let (millis, received) = (AtomicU64::new(0), AtomicU64::new(0));
    // A second of the table's clock is a few milliseconds here, so that connections run out as well.
    let now = || begin + Duration::from_millis(millis.fetch_add(7, Ordering::Relaxed));

    for round in 0..seconds() * 1000 / ROUND.as_millis() as u64 {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (router, engine, is_over, received, now) = (&router, &engine, &is_over, &received, &now);
            for thread in 0..2 {
                scope.spawn(move || {
                    let mut random = SmallRng::seed_from_u64(seed + round + thread);
                    while !is_over.load(Ordering::Relaxed) {
                        let at = now();
                        router.pass_time(at, &mut Nowhere, &mut Silent);
                        let mut batch: Vec<_> = (0..random.random_range(1..40)).map(|_| packet(&mut random)).collect();
                        let mut told = 0;
                        send(router, at, &mut batch, |n, fate| {
                            assert_eq!(n, told);
                            assert_ne!(fate, Fate::Held);
                            told += 1;
                        });
                        received.fetch_add(told as u64, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(seed + round);
                while !is_over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_micros(100));
                    let shard = random.random_range(0..256);
                    for conn in engine.shard(shard).unwrap_or_default() {
                        if random.random_ratio(1, 4) {
                            engine.destroy(&conn, now(), None);
                        }
                    }
                }
            });
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for conn in all(engine) {
                        // What is listed is whole: an answer's tuple is never that of another connection.
                        let entry = conn.entry(now());
                        assert_eq!((entry.original, entry.reply), (conn.original(), conn.reply()));
                        assert_eq!(entry.original.protocol, entry.reply.protocol);
                    }
                }
            });
            std::thread::sleep(ROUND);
            is_over.store(true, Ordering::Relaxed);
        });
        check(&engine);
    }

    let packets = received.load(Ordering::Relaxed);
    let made = engine.stats().insert.get();
    println!("seed {seed}: {packets} packets, {made} connections made, {} live", engine.count());
    assert!(made > 1_000, "too little happened: {made} connections of {packets} packets");
    let fates: u64 = router.stats().fates().map(|(_, n)| n).sum();
    assert_eq!((fates, router.stats().received.get()), (packets, packets), "each packet is counted once");

    // What is left runs out, and then nothing is left anywhere.
    let slots: Vec<u32> = all(&engine).iter().map(ConnRef::slot).collect();
    router.pass_time(now() + Duration::from_secs(1_000_000), &mut Nowhere, &mut Silent);
    check(&engine);
    assert_eq!(engine.count(), 0);
    assert_eq!(engine.next_expiry(), None);
    assert!(slots.iter().all(|slot| engine.held(*slot).is_none()), "a record is held by nobody and lives");
}
