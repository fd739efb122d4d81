//! Readers beside writers, step by step: the index and the arena together, as the table uses them.
//!
//! `UCT_MODEL_SCHEDULES` says how many orders of steps each test tries (1,000 unless said). A failure prints the schedule that shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use shuttle::thread;

use crate::index::Index;
use crate::memory::{Arena, Record};

/// A record that knows which key it has, and counts how many live.
#[derive(Debug)]
#[repr(C)]
struct Thing {
    count: AtomicU32,
    key: u32,
    alive: Arc<AtomicUsize>,
}

// SAFETY: `repr(C)`, the count first.
unsafe impl Record for Thing {
    type Part = u32;

    fn part(this: *mut Self) -> *mut u32 {
        // SAFETY: only the place is asked for.
        unsafe { &raw mut (*this).key }
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A table of things by key, all in one shard, so that buckets are split and overflow with a handful.
struct Table {
    index: Index,
    arena: Arena<Thing>,
    alive: Arc<AtomicUsize>,
}

/// One shard; the tags of a few keys are the same, others differ in their low bits.
fn hash(key: u32) -> u64 {
    u64::from(key / 2) << 32
}

impl Table {
    fn new() -> Arc<Self> {
        Arc::new(Table { index: Index::new(), arena: Arena::new(), alive: Arc::default() })
    }

    fn find(&self, key: u32) -> Option<u32> {
        self.index.find(hash(key), |number| self.arena.get(number - 1).filter(|thing| thing.key == key)).map(|t| t.key)
    }

    /// Answers whether the key was free.
    fn insert(&self, key: u32) -> bool {
        self.alive.fetch_add(1, Ordering::Relaxed);
        let thing = Thing { count: AtomicU32::new(0), key, alive: Arc::clone(&self.alive) };
        let thing = self.arena.insert(thing, key as usize).share();
        let mut locked = self.index.lock(hash(key), hash(key));
        if locked.find(hash(key), |number| self.arena.get(number - 1).filter(|t| t.key == key)).is_some() {
            return false;
        }
        thing.keep();
        locked.put(hash(key), thing.number() + 1);
        true
    }

    fn remove(&self, key: u32) -> bool {
        let found = self.index.find(hash(key), |n| self.arena.get(n - 1).filter(|thing| thing.key == key));
        let Some(thing) = found else { return false };
        let mut locked = self.index.lock(hash(key), hash(key));
        let was_there = locked.take(hash(key), thing.number() + 1);
        if was_there {
            thing.unkeep();
        }
        was_there
    }
}

fn check(test: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("UCT_MODEL_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    shuttle::check_random(test, schedules);
}

/// A bucket is split, and overflows, while others look for what stands in it: they find it.
#[test]
fn what_stays_is_always_found() {
    check(|| {
        let table = Table::new();
        (0..5).for_each(|key| assert!(table.insert(key)));
        let writer = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for key in 5..14 {
                    assert!(table.insert(key));
                }
            })
        };
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || (0..5).for_each(|key| assert_eq!(table.find(key), Some(key))))
        };
        writer.join().unwrap();
        reader.join().unwrap();
        (0..14).for_each(|key| assert_eq!(table.find(key), Some(key)));
    });
}

/// A place is given back and used again while others look: nobody sees another's record, or half of one, and none is lost.
#[test]
fn a_place_used_again_is_never_mistaken() {
    check(|| {
        let table = Table::new();
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    for round in 0..3 {
                        let key = n * 10 + round;
                        assert!(table.insert(key));
                        assert_eq!(table.find(key), Some(key));
                        assert!(table.remove(key));
                        assert_eq!(table.find(key), None);
                    }
                })
            })
            .collect();
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for key in [0, 10, 1, 11, 2, 12] {
                    assert!(table.find(key).is_none_or(|found| found == key));
                }
            })
        };
        threads.into_iter().for_each(|t| t.join().unwrap());
        reader.join().unwrap();
        assert_eq!(table.alive.load(Ordering::Relaxed), 0, "each was dropped once");
    });
}

/// Two insert the same key at once: one of them wins.
#[test]
fn one_of_two_wins() {
    check(|| {
        let table = Table::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let table = Arc::clone(&table);
                thread::spawn(move || table.insert(7))
            })
            .collect();
        let won = threads.into_iter().map(|t| t.join().unwrap()).filter(|won| *won).count();
        assert_eq!(won, 1);
        assert_eq!(table.alive.load(Ordering::Relaxed), 1);
        assert!(table.remove(7));
    });
}
