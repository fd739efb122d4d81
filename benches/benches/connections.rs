//! Connections: finding, following, translating, opening, expiring and listing them, in tables of several sizes.
//!
//! | group | what one element is |
//! |---|---|
//! | `find` | one lookup of a random tuple, both directions; beside it two tables that one would take off the shelf |
//! | `established` | one packet of a random connection through the whole path, with and without SNAT, on one and two threads |
//! | `rules` | the same, with rules before and behind the one that lets established connections pass |
//! | `open` | one first packet with SNAT, its confirmation, and the expiry of another connection |
//! | `expire` | one connection that runs out |
//! | `list` | one connection as a listing shows it |
//!
//! Sizes are 1,000, 64,000 and 1,000,000 connections; `UCT_BENCH_LONG=1` adds 10,000,000. (Captures: `capture.rs`.)

use std::hint::black_box;
use std::time::{Duration, Instant};

use ahash::RandomState;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use parking_lot::RwLock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uct::args::{NatArg, ProtoArg};
use uct::bench::flow::Kind;
use uct::bench::measure::{CHUNKS_OF_A_LIFE, Clock, Split, UNANSWERED, random_data};
use uct::bench::world::{CHUNK, Chunk, EPOCH, Load, World};
use uct_engine::{ConnRef, Direction, Sysctl, Tuple, Zone};
use uct_pipeline::router::Silent;

const BATCH: usize = 32;
/// Shards of the table of hash maps behind locks.
const SHARDS: usize = 256;

fn sizes() -> impl Iterator<Item = u32> {
    let long = std::env::var("UCT_BENCH_LONG").is_ok().then_some(10_000_000);
    [1_000, 64_000, 1_000_000].into_iter().chain(long)
}

fn world(connections: u32, nat: NatArg, spare: u32, more: &str) -> World {
    let load = Load { proto: ProtoArg::Tcp, nat, connections, spare };
    let world = World::new(&load, more).expect("a world");
    world.open(0, connections, BATCH).expect("connections");
    world
}

fn connections(world: &World) -> Vec<ConnRef> {
    let engine = world.router.engine();
    (0..).map_while(|shard| engine.shard(shard)).flatten().collect()
}

/// Runs `work` on so many threads, each with its number; answers how long the slowest took.
fn together(threads: usize, work: impl Fn(usize) -> Duration + Sync) -> Duration {
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = (1..threads).map(|n| scope.spawn(move || work(n))).collect();
        let own = work(0);
        others.into_iter().filter_map(|other| other.join().ok()).fold(own, Duration::max)
    })
}

/// Random tuples of these connections.
fn tuples(all: &[ConnRef], thread: usize) -> Vec<Tuple> {
    let mut random = SmallRng::seed_from_u64(thread as u64);
    let dir = |bit: bool| if bit { Direction::Original } else { Direction::Reply };
    (0..CHUNK).map(|_| all[random.random_range(0..all.len())].tuple(dir(random.random()))).collect()
}

fn find(c: &mut Criterion) {
    let mut group = c.benchmark_group("find");
    group.throughput(Throughput::Elements(CHUNK as u64)).sample_size(20);
    for size in sizes() {
        let world = world(size, NatArg::Snat, 0, "");
        let all = connections(&world);
        let mut bench = |name: &str, threads: usize, one: &(dyn Fn(&Tuple) -> bool + Sync)| {
            let id = BenchmarkId::new(format!("{name}, {threads} threads"), size);
            group.bench_function(id, |b| {
                b.iter_custom(|rounds| {
                    together(threads, |thread| {
                        let mut spent = Duration::ZERO;
                        for round in 0..rounds {
                            let wanted = tuples(&all, thread + round as usize * threads);
                            let begin = Instant::now();
                            assert!(wanted.iter().all(|tuple| black_box(one(tuple))));
                            spent += begin.elapsed();
                        }
                        spent
                    })
                });
            });
        };
        let both = || all.iter().flat_map(|conn| [Direction::Original, Direction::Reply].map(|dir| (conn, dir)));
        for threads in [1, 2] {
            bench("uct", threads, &|tuple| world.router.engine().find(tuple, Zone::DEFAULT).is_some());
        }
        let dash: DashMap<Tuple, (ConnRef, Direction), RandomState> = DashMap::with_hasher(RandomState::with_seed(7));
        both().for_each(|(conn, dir)| drop(dash.insert(conn.tuple(dir), (conn.clone(), dir))));
        for threads in [1, 2] {
            bench("dashmap", threads, &|tuple| dash.get(tuple).map(|found| found.value().0.clone()).is_some());
        }
        drop(dash);
        let hasher = RandomState::with_seed(7);
        let shard = |tuple: &Tuple| (hasher.hash_one(tuple) >> 48) as usize % SHARDS;
        type Shard = RwLock<hashbrown::HashMap<Tuple, (ConnRef, Direction), RandomState>>;
        let locked: Vec<Shard> =
            (0..SHARDS).map(|_| Shard::new(hashbrown::HashMap::with_hasher(hasher.clone()))).collect();
        both().for_each(|(conn, dir)| {
            locked[shard(&conn.tuple(dir))].write().insert(conn.tuple(dir), (conn.clone(), dir));
        });
        for threads in [1, 2] {
            bench("hashbrown behind locks", threads, &|tuple| {
                locked[shard(tuple)].read().get(tuple).map(|found| found.0.clone()).is_some()
            });
        }
    }
}

/// Packets of random connections, on so many threads.
fn packets(world: &World, size: u32, threads: usize, rounds: u64) -> Duration {
    let clock = Clock::new();
    together(threads, |thread| {
        let mut random = SmallRng::seed_from_u64(thread as u64);
        let mut chunk = Chunk::new();
        (0..rounds)
            .map(|_| {
                random_data(world, size, threads, thread, Split::Connections, &mut random, &mut chunk);
                chunk.run(world, BATCH, clock.now(), Duration::ZERO).expect("every packet passes")
            })
            .sum()
    })
}

fn established(c: &mut Criterion) {
    let mut group = c.benchmark_group("established");
    group.throughput(Throughput::Elements(CHUNK as u64)).sample_size(20);
    for size in sizes() {
        for (name, nat) in [("tracked", NatArg::None), ("snat", NatArg::Snat)] {
            let world = world(size, nat, 0, "");
            for threads in [1, 2] {
                let id = BenchmarkId::new(format!("{name}, {threads} threads"), size);
                group.bench_function(id, |b| b.iter_custom(|rounds| packets(&world, size, threads, rounds)));
            }
        }
    }
}

fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    group.throughput(Throughput::Elements(CHUNK as u64)).sample_size(20);
    let size = 64_000;
    let others: String = (0..1000).map(|n| format!("ip daddr 192.0.2.{} tcp dport {n} drop\n", n % 256)).collect();
    let chain =
        |rules: &str| format!("table ip f {{\nchain f {{\ntype filter hook forward priority 0\n{rules}}}\n}}\n");
    let sets = [
        ("none", String::new()),
        ("established first, then 1,000", chain(&format!("ct state established accept\n{others}"))),
        ("1,000 that all are asked", chain(&others)),
    ];
    for (name, more) in sets {
        let world = world(size, NatArg::Snat, 0, &more);
        group.bench_function(name, |b| b.iter_custom(|rounds| packets(&world, size, 1, rounds)));
    }
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    group.throughput(Throughput::Elements(CHUNK as u64)).sample_size(20);
    for size in sizes() {
        // None is opened anew while it may still live.
        let spare = (CHUNK as u64 * CHUNKS_OF_A_LIFE * 4) as u32;
        let world = world(size, NatArg::Snat, spare, "");
        world.router.engine().settings().set(Sysctl::TcpTimeoutSynSent, UNANSWERED).expect("a timeout");
        let life = Duration::from_secs(UNANSWERED) / CHUNKS_OF_A_LIFE as u32;
        let (clock, mut next, mut chunk) = (Clock::new(), 0_u32, Chunk::new());
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        clock.skip(life);
                        let whose = (0..CHUNK as u32).map(|n| size + (next + n) % spare);
                        let whose = whose.inspect(|at| world.flows.forget(*at));
                        chunk.fill(&world.flows, whose.map(|at| (at, Direction::Original, Kind::Open)));
                        next = (next + CHUNK as u32) % spare;
                        chunk
                            .run(&world, BATCH, clock.now(), life / (CHUNK / BATCH) as u32)
                            .expect("every packet passes")
                    })
                    .sum()
            });
        });
    }
}

fn expire(c: &mut Criterion) {
    let mut group = c.benchmark_group("expire");
    let size = 64_000;
    group.throughput(Throughput::Elements(size.into())).sample_size(10);
    group.bench_function(BenchmarkId::from_parameter(size), |b| {
        b.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    let world = world(size, NatArg::Snat, 0, "");
                    let end = EPOCH + Duration::from_secs(600_000);
                    let begin = Instant::now();
                    while world.router.engine().expire_telling(end, 1024, &mut Silent) > 0 {}
                    let spent = begin.elapsed();
                    assert_eq!(world.router.engine().count(), 0);
                    spent
                })
                .sum()
        });
    });
}

fn list(c: &mut Criterion) {
    let mut group = c.benchmark_group("list");
    for size in sizes() {
        let world = world(size, NatArg::Snat, 0, "");
        let engine = world.router.engine();
        group.throughput(Throughput::Elements(size.into())).sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                let shards = (0..).map_while(|shard| engine.shard(shard));
                let listed: usize =
                    shards.flatten().map(|conn| usize::from(black_box(conn.entry(EPOCH)).mark == 0)).sum();
                assert_eq!(listed, size as usize);
            });
        });
    }
}

criterion_group!(benches, find, established, rules, open, expire, list);
criterion_main!(benches);
