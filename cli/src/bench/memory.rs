//! What one access to memory costs on this machine, and how much memory the process holds.
//!
//! Figures of two machines are compared as ratios to these. The memory is larger than what tables are made of, so an access
//! misses the caches and mostly the translation buffer too.
//!
//! * *dependent*: each access says where the next one goes, so nothing overlaps: what a lookup that nobody prepared pays.
//! * *prefetched*: the addresses of 32 accesses are known at once, so that they overlap as far as the processor can: what
//!   a prefetched batch pays at best. Each access reads a cache line and writes to it.

use std::hint::black_box;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Cache lines: 256 MiB.
const LINES: usize = 1 << 22;
const BATCH: usize = 32;
const ROUNDS: usize = 9;
/// Accesses of one round.
const STEPS: usize = 1 << 17;

type Line = [u64; 8];

/// Nanoseconds of one access.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Access {
    /// When the one before it must be done first.
    pub dependent: f64,
    /// When many are under way.
    pub prefetched: f64,
}

/// Measures.
pub fn access() -> Access {
    let mut random = SmallRng::seed_from_u64(1);
    let mut lines: Vec<Line> = vec![[0; 8]; LINES];
    // One cycle through all lines (Sattolo).
    let mut order: Vec<u32> = (0..LINES as u32).collect();
    for i in (1..LINES).rev() {
        order.swap(i, random.random_range(0..i));
    }
    for (line, next) in lines.iter_mut().zip(&order) {
        line[0] = u64::from(*next);
    }
    drop(order);
    let mut at = 0;
    let dependent = median((0..ROUNDS).map(|_| {
        let begin = Instant::now();
        for _ in 0..STEPS {
            at = lines[at][0] as usize;
        }
        black_box(at);
        begin.elapsed().as_nanos() as f64 / STEPS as f64
    }));
    let prefetched = median((0..ROUNDS).map(|_| {
        let begin = Instant::now();
        for _ in 0..STEPS / BATCH {
            let mut batch = [0usize; BATCH];
            for place in &mut batch {
                *place = random.random::<u64>() as usize % LINES;
            }
            for place in batch {
                lines[place][1] += 1;
            }
        }
        black_box(&mut lines);
        begin.elapsed().as_nanos() as f64 / STEPS as f64
    }));
    Access { dependent, prefetched }
}

/// The middle of some figures; 0 of none.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// How much of the process's memory is resident, in bytes, where the system tells (`/proc/self/status`).
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}
