//! Against a list of pairs; beside readers that never miss what stays; and what growth costs.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

fn spread(n: u32) -> u64 {
    u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn finds(index: &Index, hash: u64, number: u32) -> bool {
    index.find(hash, |n| (n == number).then_some(())).is_some()
}

fn listed(index: &Index) -> Vec<u32> {
    let mut all = Vec::new();
    (0..).take_while(|shard| index.each(*shard, |n| all.push(n))).count();
    all.sort_unstable();
    all
}

proptest! {
    /// Few hashes, so that chains become long; few numbers, so that what is taken was often there.
    #[test]
    fn against_a_set(steps in prop::collection::vec((0u32..4, 0u64..6, 1u32..200), 1..600)) {
        let index = Index::new();
        let mut model = HashSet::new();
        for (what, hash, number) in steps {
            // All in one shard and, mostly, in one bucket.
            let hash = hash << 33;
            let mut locked = index.lock(hash, hash);
            if what == 0 {
                prop_assert_eq!(locked.take(hash, number), model.remove(&(hash, number)));
            } else if model.insert((hash, number)) {
                locked.put(hash, number);
            }
        }
        for (hash, number) in &model {
            prop_assert!(finds(&index, *hash, *number));
        }
        let mut numbers: Vec<u32> = model.iter().map(|(_, n)| *n).collect();
        numbers.sort_unstable();
        prop_assert_eq!(listed(&index), numbers);
    }
}

#[test]
fn it_grows_bucket_by_bucket_and_loses_nothing() {
    const MANY: u32 = if cfg!(miri) { 3_000 } else { 300_000 };
    let index = Index::new();
    for n in 1..=MANY {
        index.lock(spread(n), spread(n)).put(spread(n), n);
    }
    assert!((1..=MANY).all(|n| finds(&index, spread(n), n)));
    assert!((MANY + 1..MANY * 2).all(|n| !finds(&index, spread(n), n)));
    assert_eq!(listed(&index), (1..=MANY).collect::<Vec<_>>());
    let buckets: u32 = index.shards.iter().map(|s| s.buckets.load(Ordering::Relaxed)).sum();
    // One for every five entries, and one that each shard has from the start.
    assert!(buckets <= MANY / LOAD + SHARDS as u32, "{buckets} buckets for {MANY} entries");
    for n in 1..=MANY {
        assert!(index.lock(spread(n), spread(n)).take(spread(n), n));
    }
    assert_eq!(listed(&index), []);
}

#[test]
fn near_shows_no_more_than_asked() {
    let index = Index::new();
    (1..2000).for_each(|n| index.lock(spread(n), spread(n)).put(spread(n), n));
    for most in [0, 1, 3, 8, 100] {
        let mut seen = 0;
        index.near(spread(7), most, |_| seen += 1);
        assert!(seen <= most);
    }
    let mut first = None;
    index.near(spread(7), 16, |n| first = first.or((n == 7).then_some(n)));
    assert_eq!(first, Some(7), "what has the hash itself is near");
}

/// What stands in the index all the time is found at any time, whatever others insert, take out and split meanwhile.
#[test]
fn readers_beside_writers() {
    const STAY: u32 = 500;
    let rounds = if cfg!(miri) { 20 } else { 3_000 };
    let index = Index::new();
    (1..=STAY).for_each(|n| index.lock(spread(n), spread(n)).put(spread(n), n));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for first in [10_000_u32, 20_000_000] {
            let index = &index;
            scope.spawn(move || {
                for round in 0..rounds {
                    let numbers = first + round * 40..first + round * 40 + 40;
                    numbers.clone().for_each(|n| index.lock(spread(n), spread(n)).put(spread(n), n));
                    // Every other round stays, so that buckets are split all the time.
                    if round % 2 == 0 {
                        numbers.for_each(|n| assert!(index.lock(spread(n), spread(n)).take(spread(n), n)));
                    }
                }
            });
        }
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for n in 1..=STAY {
                    assert!(finds(&index, spread(n), n), "{n} was there all the time");
                }
            }
        });
        while !is_over.load(Ordering::Relaxed) {
            // The writers are done when both their last rounds can be found.
            let last = |first: u32| first + (rounds - 1) * 40 + 39;
            let done = [10_000, 20_000_000].iter().all(|f| finds(&index, spread(last(*f)), last(*f)));
            is_over.store(done, Ordering::Relaxed);
            std::thread::yield_now();
        }
        reader.join().unwrap();
    });
}
