//! Each value is dropped once, slots are used again, and nobody sees a value that is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Counts how many of its kind live.
#[derive(Debug)]
#[repr(C)]
struct Thing {
    count: AtomicU32,
    number: u64,
    alive: Arc<AtomicUsize>,
    other: Option<Shared<Thing>>,
}

// SAFETY: `repr(C)`, the count first.
unsafe impl Record for Thing {
    type Part = u64;

    fn part(this: *mut Self) -> *mut u64 {
        // SAFETY: only the place is asked for.
        unsafe { &raw mut (*this).number }
    }
}

fn thing(alive: &Arc<AtomicUsize>, number: u64) -> Thing {
    alive.fetch_add(1, Ordering::Relaxed);
    Thing { count: AtomicU32::new(0), number, alive: Arc::clone(alive), other: None }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn elements_stay_where_they_are() {
    let segments: Segments<AtomicU32> = Segments::new();
    assert!(segments.get(0).is_none() && segments.get(1_000_000).is_none());
    let places: Vec<usize> = (0..1000).map(|n| ptr::from_ref(segments.at(n)).addr()).collect();
    (0..1000).for_each(|n| segments.at(n).store(n, Ordering::Relaxed));
    segments.at(50_000);
    for n in 0..1000 {
        assert_eq!(ptr::from_ref(segments.at(n)).addr(), places[n as usize]);
        assert_eq!(segments.get(n).map(|e| e.load(Ordering::Relaxed)), Some(n));
    }
    assert_eq!(segments.get(49_999).map(|e| e.load(Ordering::Relaxed)), Some(0), "zeroed");
}

#[test]
fn every_index_has_its_own_place() {
    let mut seen = std::collections::HashSet::new();
    let many = if cfg!(miri) { 200 } else { 5000 };
    for index in (0..many).chain([u32::MAX / 2, u32::MAX / 2 - 1]) {
        let (piece, offset) = place(index);
        assert!(piece < PIECES && offset < FIRST << piece.saturating_sub(1));
        assert!(seen.insert((piece, offset)));
    }
}

#[test]
fn a_slot_is_used_again_when_its_value_is_gone() {
    let alive = Arc::default();
    let arena = Arena::new();
    let first = arena.insert(thing(&alive, 1), 0).share();
    assert!(arena.get(first.number()).is_none(), "not kept");
    first.keep();
    let again = arena.get(first.number()).unwrap();
    assert!(again.is(&first) && again.number == 1);
    first.unkeep();
    let number = first.number();
    drop(first);
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    assert!(arena.get(number).is_none(), "it lives, but it is not kept any more");
    drop(again);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
    let second = arena.insert(thing(&alive, 2), 0);
    assert!(arena.get(number).is_none(), "it has an owner");
    let second = second.share();
    assert_eq!((second.number(), second.number), (number, 2));
}

#[test]
fn an_owner_may_change_it() {
    let alive = Arc::default();
    let arena = Arena::new();
    let mut one = arena.insert(thing(&alive, 1), 0);
    *one.part_mut() = 7;
    assert_eq!(one.share().number, 7);
    drop(arena.insert(thing(&alive, 1), 5));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_kept_goes_with_the_arena() {
    let alive = Arc::default();
    let arena = Arena::new();
    let kept: Vec<_> = (0..100).map(|n| arena.insert(thing(&alive, n), n as usize).share()).collect();
    kept.iter().for_each(Shared::keep);
    drop(kept);
    // One that keeps another one alive, which comes before it.
    let master = arena.get(3);
    let mut last = thing(&alive, 100);
    last.other = master;
    let last = arena.insert(last, 0).share();
    last.keep();
    drop(last);
    assert_eq!(alive.load(Ordering::Relaxed), 101);
    drop(arena);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn a_handle_outlives_the_arena() {
    let alive = Arc::default();
    let arena = Arena::new();
    let one = arena.insert(thing(&alive, 1), 0).share();
    drop(arena);
    assert_eq!(one.clone().number, 1);
    drop(one);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// Threads make, find, keep and drop the same few slots over and over: whoever finds a value finds it whole.
#[test]
fn threads_share_slots() {
    let rounds = if cfg!(miri) { 40 } else { 20_000 };
    let alive = Arc::new(AtomicUsize::new(0));
    let arena = Arena::new();
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (arena, alive) = (&arena, &alive);
            scope.spawn(move || {
                for round in 0..rounds {
                    let mut own = arena.insert(thing(alive, 0), round as usize);
                    *own.part_mut() = thread << 32 | round;
                    let own = own.share();
                    own.keep();
                    for slot in 0..6 {
                        if let Some(found) = arena.get(slot) {
                            assert!(found.number >> 32 < 3 && (found.number as u32) < rounds as u32);
                            assert!(found.alive.load(Ordering::Relaxed) >= 1);
                        }
                    }
                    own.unkeep();
                }
            });
        }
    });
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}
