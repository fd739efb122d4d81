//! What is measured, and how: each figure is the median over chunks, so that what else the machine does for a moment
//! does not count.
//!
//! | figure | what flows |
//! |---|---|
//! | established | data of random connections, both directions; each thread has connections of its own |
//! | split | the same, but a thread sends one direction only: every connection is in the hands of two threads |
//! | listing | the same as established on one thread, in turns with and without another thread that lists the whole table |
//! | opening | first packets: into a table that grows, then into a full one out of which as many run out |
//!
//! Several threads begin each chunk at the same moment and are timed each by itself.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uct_engine::{Direction, Sysctl, Time};

use super::flow::Kind;
use super::memory::median;
use super::world::{CHUNK, Chunk, EPOCH, World};
use crate::Failure;

/// How long a connection lives that is opened and never answered, in seconds.
pub const UNANSWERED: u64 = 120;
/// In how many chunks that time passes.
pub const CHUNKS_OF_A_LIFE: u64 = 8;
/// Turns of a measurement that takes turns.
const TURNS: u32 = 8;

/// Which packets a thread has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Both directions of its own connections.
    Connections,
    /// One direction of connections that it shares with another thread.
    Directions,
}

/// Packets through the router.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Nanoseconds of one packet, on its thread.
    pub nanos: f64,
    /// Packets a second, of all threads together.
    pub per_second: f64,
}

impl Rate {
    fn of(threads: impl IntoIterator<Item = f64>) -> Rate {
        let nanos: Vec<f64> = threads.into_iter().collect();
        let per_second = nanos.iter().map(|n| 1e9 / n.max(f64::MIN_POSITIVE)).sum();
        Rate { nanos: nanos.iter().sum::<f64>() / nanos.len().max(1) as f64, per_second }
    }
}

/// How measurements are made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many connections stand in the table.
    pub connections: u32,
    /// Packets of one batch.
    pub batch: usize,
    /// How long one measurement takes.
    pub time: Duration,
}

/// The clock of the load: it goes on as the real one does, from one measurement to the next.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    skipped: AtomicU64,
}

impl Clock {
    /// Stands at [`EPOCH`].
    pub fn new() -> Self {
        Clock { began: Instant::now(), skipped: AtomicU64::new(0) }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        EPOCH + self.began.elapsed() + Duration::from_nanos(self.skipped.load(Ordering::Relaxed))
    }

    /// Goes on by so much at once.
    pub fn skip(&self, span: Duration) {
        self.skipped.fetch_add(span.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets threads begin together: each waits until all have come.
struct Start {
    threads: usize,
    come: AtomicUsize,
}

impl Start {
    fn new(threads: usize) -> Self {
        Start { threads, come: AtomicUsize::new(0) }
    }

    /// The `round`-th start, counted from 1.
    fn wait(&self, round: usize) {
        self.come.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.come.load(Ordering::Acquire) < round * self.threads {
            spins += 1;
            if spins.is_multiple_of(1 << 12) {
                thread::yield_now();
            }
            hint::spin_loop();
        }
    }
}

/// Runs chunks on several threads until the time is over; `next` fills a thread's chunk, and `step` is how much time passes
/// with a batch. Answers a thread's chunks in nanoseconds a packet.
fn threads(
    world: &World,
    plan: &Plan,
    count: usize,
    clock: &Clock,
    step: Duration,
    next: impl Fn(usize, &mut SmallRng, &mut Chunk) + Sync,
) -> Result<Vec<Vec<f64>>, Failure> {
    let (start, is_over) = (Start::new(count), AtomicBool::new(false));
    let end = Instant::now() + plan.time;
    let work = |thread: usize| -> Result<Vec<f64>, Failure> {
        let mut random = SmallRng::seed_from_u64(thread as u64);
        let mut chunk = Chunk::new();
        let mut rounds = Vec::new();
        let mut failure = None;
        for round in 1.. {
            next(thread, &mut random, &mut chunk);
            if failure.is_some() || (thread == 0 && Instant::now() >= end) {
                is_over.store(true, Ordering::Release);
            }
            // Twice, so that all have seen the same answer to "is it over".
            start.wait(2 * round - 1);
            let stop = is_over.load(Ordering::Acquire);
            start.wait(2 * round);
            if stop {
                break;
            }
            match chunk.run(world, plan.batch, clock.now(), step) {
                Ok(took) => rounds.push(took.as_nanos() as f64 / chunk.len().max(1) as f64),
                Err(why) => failure = Some(why),
            }
        }
        failure.map_or(Ok(rounds), Err)
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..count).map(|t| scope.spawn(move || work(t))).collect();
        let own = work(0)?;
        let mut all = vec![own];
        for other in others {
            all.push(other.join().map_err(|_| Failure::input("a thread of the bench ended early"))??);
        }
        Ok(all)
    })
}

/// The median of the chunks but for the first ones, which warm up.
fn settled(chunks: &[f64]) -> f64 {
    let warm = chunks.get(chunks.len().min(CHUNKS_OF_A_LIFE as usize * 2)..).unwrap_or(&[]);
    median(if warm.is_empty() { chunks } else { warm }.iter().copied())
}

/// Established connections.
pub fn established(world: &World, plan: &Plan, count: usize, split: Split, clock: &Clock) -> Result<Rate, Failure> {
    let all = threads(world, plan, count, clock, Duration::ZERO, |thread, random, chunk| {
        random_data(world, plan.connections, count, thread, split, random, chunk);
    })?;
    Ok(Rate::of(all.iter().map(|chunks| settled(chunks))))
}

/// Fills a chunk with data of random connections, for one of so many threads.
pub fn random_data(
    world: &World,
    connections: u32,
    count: usize,
    thread: usize,
    split: Split,
    random: &mut SmallRng,
    chunk: &mut Chunk,
) {
    let (groups, group) = match split {
        Split::Connections => (count as u32, thread as u32),
        Split::Directions => (count as u32 / 2, thread as u32 / 2),
    };
    let each = (connections / groups.max(1)).max(1);
    let one = |_| {
        let bits: u64 = random.random();
        let at = (((bits >> 32) * u64::from(each)) >> 32) as u32 * groups.max(1) + group;
        let dir = match split {
            Split::Connections if bits & 1 == 0 => Direction::Original,
            Split::Connections => Direction::Reply,
            Split::Directions if thread.is_multiple_of(2) => Direction::Original,
            Split::Directions => Direction::Reply,
        };
        (at, dir, Kind::Data)
    };
    chunk.fill(&world.flows, (0..CHUNK).map(one));
}

/// What listings do to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listing {
    /// Nanoseconds of a packet without.
    pub quiet: f64,
    /// Nanoseconds of a packet while the table is listed.
    pub listing: f64,
    /// How many listings were finished.
    pub listings: u64,
    /// How long one took, in seconds.
    pub seconds: f64,
}

/// Lists the table over and over on another thread while packets flow on one, in turns with nothing.
pub fn listing(world: &World, plan: &Plan, clock: &Clock) -> Result<Listing, Failure> {
    let (is_over, is_on) = (AtomicBool::new(false), AtomicBool::new(false));
    let engine = world.router.engine();
    let lister = || {
        let (mut listings, mut spent, mut entries) = (0, Duration::ZERO, 0);
        while !is_over.load(Ordering::Relaxed) {
            if !is_on.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(200));
                continue;
            }
            let begin = Instant::now();
            let now = clock.now();
            let mut whole = true;
            for shard in 0.. {
                let Some(conns) = engine.shard(shard) else { break };
                for conn in conns {
                    entries += usize::from(hint::black_box(conn.entry(now)).start.is_some());
                }
                if !is_on.load(Ordering::Relaxed) {
                    whole = false;
                    break;
                }
            }
            if whole {
                listings += 1;
                spent += begin.elapsed();
            }
        }
        hint::black_box(entries);
        (listings, spent)
    };
    thread::scope(|scope| {
        let lister = scope.spawn(lister);
        let (mut quiet, mut busy) = (Vec::new(), Vec::new());
        let mut done = Ok(());
        let plan = Plan { time: plan.time / TURNS, ..*plan };
        for turn in 0..TURNS {
            is_on.store(turn % 2 == 1, Ordering::Relaxed);
            let into = if turn % 2 == 1 { &mut busy } else { &mut quiet };
            let chunks = threads(world, &plan, 1, clock, Duration::ZERO, |thread, random, chunk| {
                random_data(world, plan.connections, 1, thread, Split::Connections, random, chunk);
            });
            match chunks {
                Ok(chunks) => into.extend(chunks.into_iter().flatten()),
                Err(why) => {
                    done = Err(why);
                    break;
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let (listings, spent) = lister.join().unwrap_or_default();
        done.map(|()| Listing {
            quiet: median(quiet.into_iter()),
            listing: median(busy.into_iter()),
            listings,
            seconds: if listings > 0 { spent.as_secs_f64() / listings as f64 } else { 0.0 },
        })
    })
}

/// New connections into a full table: each lives for two minutes of the load's clock, and as many run out as are opened.
pub fn churn(world: &World, plan: &Plan, count: usize, clock: &Clock) -> Result<Rate, Failure> {
    let settings = world.router.engine().settings();
    for key in [Sysctl::UdpTimeout, Sysctl::TcpTimeoutSynSent] {
        settings.set(key, UNANSWERED).map_err(Failure::input)?;
    }
    // The clock of a chunk begins where the one before has ended, however long that took.
    let batches = CHUNK.div_ceil(plan.batch) as u64;
    let life = Duration::from_secs(UNANSWERED) / CHUNKS_OF_A_LIFE as u32;
    let step = life / batches as u32;
    let spare = world.flows.count() - plan.connections;
    let next = AtomicU64::new(0);
    let all = threads(world, plan, count, clock, step, |thread, _, chunk| {
        if thread == 0 {
            clock.skip(life);
        }
        let first = next.fetch_add(CHUNK as u64, Ordering::Relaxed);
        let whose = (first..).take(CHUNK).map(|n| {
            let at = plan.connections + (n % u64::from(spare.max(1))) as u32;
            world.flows.forget(at);
            (at, Direction::Original, Kind::Open)
        });
        chunk.fill(&world.flows, whose);
    })?;
    Ok(Rate::of(all.iter().map(|chunks| settled(chunks))))
}

/// What the loop over the packets costs by itself, in nanoseconds a packet.
pub fn own_cost(world: &World, plan: &Plan) -> f64 {
    let mut random = SmallRng::seed_from_u64(0);
    let mut chunk = Chunk::new();
    median((0..64).map(|_| {
        random_data(world, plan.connections, 1, 0, Split::Connections, &mut random, &mut chunk);
        chunk.walk(world, plan.batch).as_nanos() as f64 / chunk.len().max(1) as f64
    }))
}

/// How many connections must be spare for [`churn`] on so many threads: none is opened anew while it may still live.
pub fn spare(count: usize) -> u32 {
    (CHUNK as u64 * CHUNKS_OF_A_LIFE * 4 * count as u64) as u32
}
