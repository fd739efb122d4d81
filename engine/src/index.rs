//! Where things are: numbers by hash, found without a lock, many at a time.
//!
//! ```text
//!   hash ─┬─ low 8 bits ──► shard: a lock for writers, a version, how many buckets
//!         └─ high 32 bits: the tag; its low bits ──► bucket: one line of memory, eight entries
//!
//!   bucket  │ tag, number │ tag, number │ … │ tag, number  or  a link to an overflow bucket │
//! ```
//!
//! An index holds no keys: whoever asks compares what a number stands for. Of entries with other tags nothing is read, so a lookup
//! touches one line here and one there.
//!
//! # Growth
//! Linear hashing (Litwin 1980): a shard with `n` buckets uses as many low bits of the tag as name less than `2n`, and folds what
//! is not there yet. When there are more than [`LOAD`] entries for each bucket, *one* bucket is split in two. So nothing is ever
//! rebuilt, a packet pays for at most one split, and the load stays the same at every size. Buckets stand in [`Segments`] and never
//! move; nothing shrinks.
//!
//! # Synchronisation
//! Writers hold the shard's lock; who needs two shards takes them in order ([`Index::lock`]). Readers take none: an entry is one
//! atomic word. Only a split moves entries, so a reader that found nothing looks whether the shard's version is still the one that it
//! began with, and if not, looks again under the lock. A reader that found something need not care: it compared the thing itself.
//!
//! Invariants: an entry stands in the chain of the bucket that its tag names, once; a reader that runs beside a writer finds
//! whatever was there before and is there after.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::memory::{Segments, Zeroed, prefetch};
use crate::sync::{Mutex, MutexGuard, step};

/// How many shards; a power of two.
pub const SHARDS: usize = 256;
/// Entries for each bucket, on average, before a bucket is split.
const LOAD: u32 = 5;
/// Entries of one bucket.
const WIDTH: usize = 8;
/// More links than any chain has: a reader that follows more has lost its way among writers.
const MOST_LINKS: usize = 64;

/// One line of memory.
#[derive(Debug)]
#[repr(align(64))]
struct Bucket([AtomicU64; WIDTH]);

// SAFETY: an array of atomics.
unsafe impl Zeroed for Bucket {}

/// An entry: the tag above, the number below. Numbers are not 0; a word without number is a link (its tag is the overflow bucket's
/// number and 1) or, if it is 0, nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    const EMPTY: Word = Word(0);

    fn entry(tag: u32, number: u32) -> Word {
        Word(u64::from(tag) << 32 | u64::from(number))
    }

    fn link(overflow: u32) -> Word {
        Word::entry(overflow + 1, 0)
    }

    fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn number(self) -> u32 {
        self.0 as u32
    }

    fn as_link(self) -> Option<u32> {
        if self.number() == 0 { self.tag().checked_sub(1) } else { None }
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    /// Even; odd while a bucket is being split.
    version: AtomicU32,
    buckets: AtomicU32,
    writers: Writers,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Writers(Mutex<Held>);

/// What writers of a shard share.
#[derive(Debug, Default)]
struct Held {
    entries: u32,
    /// Room for the entries of one chain while it is split.
    chain: Vec<u64>,
}

/// Numbers by hash.
#[derive(Debug)]
pub struct Index {
    shards: Box<[Shard]>,
    buckets: Segments<Bucket>,
    overflow: Segments<Bucket>,
    pool: Mutex<Pool>,
}

/// Overflow buckets that are free.
#[derive(Debug, Default)]
struct Pool {
    free: Vec<u32>,
    used: u32,
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

fn shard_of(hash: u64) -> usize {
    hash as usize % SHARDS
}

fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The bucket of a tag among `buckets`.
fn bucket_of(tag: u32, buckets: u32) -> u32 {
    let mask = buckets.next_power_of_two() - 1;
    let at = tag & mask;
    if at < buckets { at } else { at & (mask >> 1) }
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        let shards: Box<[Shard]> = (0..SHARDS).map(|_| Shard::default()).collect();
        for shard in &shards {
            shard.buckets.store(1, Ordering::Relaxed);
        }
        let index = Index { shards, buckets: Segments::new(), overflow: Segments::new(), pool: Mutex::default() };
        for shard in 0..SHARDS {
            index.buckets.at(shard as u32);
        }
        index
    }

    /// The bucket `at` of a shard, if it was ever made.
    #[inline]
    fn bucket(&self, shard: usize, at: u32) -> Option<&Bucket> {
        self.buckets.get(at * SHARDS as u32 + shard as u32)
    }

    /// Where a hash begins its search.
    #[inline]
    fn home(&self, hash: u64) -> Option<&Bucket> {
        let shard = shard_of(hash);
        step();
        let buckets = self.shards[shard].buckets.load(Ordering::Acquire);
        self.bucket(shard, bucket_of(tag_of(hash), buckets))
    }

    /// Asks for the line of memory in which a hash begins its search.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.home(hash) {
            prefetch(bucket);
        }
    }

    /// A number that may be what is looked for, to be prefetched.
    #[inline]
    pub fn peek(&self, hash: u64) -> Option<u32> {
        let tag = tag_of(hash);
        let mut bucket = self.home(hash)?;
        for _ in 0..MOST_LINKS {
            // Where in its line an entry stands cannot be foretold, so the whole line is gone through without a jump.
            let words = bucket.0.iter().map(|w| Word(w.load(Ordering::Relaxed)));
            let number = words.fold(0, |found, word| if word.tag() == tag { word.number() } else { found });
            if number != 0 {
                return Some(number);
            }
            bucket = self.overflow.get(Word(bucket.0[WIDTH - 1].load(Ordering::Relaxed)).as_link()?)?;
        }
        None
    }

    /// Asks about each number under this hash until there is an answer.
    #[inline]
    pub fn find<R>(&self, hash: u64, mut ask: impl FnMut(u32) -> Option<R>) -> Option<R> {
        let shard = &self.shards[shard_of(hash)];
        step();
        let version = shard.version.load(Ordering::Acquire);
        if let Some(found) = self.walk(hash, &mut ask) {
            return Some(found);
        }
        fence(Ordering::Acquire);
        step();
        if version.is_multiple_of(2) && shard.version.load(Ordering::Relaxed) == version {
            return None;
        }
        let _held = shard.writers.0.lock();
        self.walk(hash, &mut ask)
    }

    #[inline]
    fn walk<R>(&self, hash: u64, ask: &mut impl FnMut(u32) -> Option<R>) -> Option<R> {
        let tag = tag_of(hash);
        let mut bucket = self.home(hash)?;
        for _ in 0..MOST_LINKS {
            let mut last = Word::EMPTY;
            // The last word last: what is moved behind it is there before the link is.
            for word in &bucket.0 {
                step();
                last = Word(word.load(Ordering::Acquire));
                if last.tag() == tag
                    && last.number() != 0
                    && let Some(found) = ask(last.number())
                {
                    return Some(found);
                }
            }
            bucket = self.overflow.get(last.as_link()?)?;
        }
        None
    }

    /// How many entries there are, counted shard by shard.
    pub fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.writers.0.lock().entries as usize).sum()
    }

    /// Locks the shards of two hashes.
    pub fn lock(&self, a: u64, b: u64) -> Locked<'_> {
        let (low, high) = (shard_of(a).min(shard_of(b)), shard_of(a).max(shard_of(b)));
        let first = self.shards[low].writers.0.lock();
        let second = (high != low).then(|| self.shards[high].writers.0.lock());
        Locked { index: self, first: (low, first), second: second.map(|guard| (high, guard)) }
    }

    /// Shows the numbers of one shard; `false` beyond the last one. Nothing is inserted into or taken out of it meanwhile.
    pub fn each(&self, shard: usize, mut show: impl FnMut(u32)) -> bool {
        let Some(held) = self.shards.get(shard) else { return false };
        let _held = held.writers.0.lock();
        for at in 0..held.buckets.load(Ordering::Relaxed) {
            self.chain(shard, at, |word| show(word.number()));
        }
        true
    }

    /// Shows up to `most` numbers that stand near a hash.
    pub fn near(&self, hash: u64, most: usize, mut show: impl FnMut(u32)) {
        let shard = shard_of(hash);
        let held = &self.shards[shard];
        let _held = held.writers.0.lock();
        let buckets = held.buckets.load(Ordering::Relaxed);
        let home = bucket_of(tag_of(hash), buckets);
        let mut shown = 0;
        for at in (0..buckets).map(|n| (home + n) % buckets) {
            if shown >= most {
                return;
            }
            self.chain(shard, at, |word| {
                if shown < most {
                    shown += 1;
                    show(word.number());
                }
            });
        }
    }

    /// Shows the entries of a chain, whose shard is locked.
    fn chain(&self, shard: usize, at: u32, mut show: impl FnMut(Word)) {
        let mut next = self.bucket(shard, at);
        while let Some(bucket) = next {
            let words = bucket.0.each_ref().map(|w| Word(w.load(Ordering::Relaxed)));
            words.into_iter().filter(|w| w.number() != 0).for_each(&mut show);
            next = words[WIDTH - 1].as_link().and_then(|link| self.overflow.get(link));
        }
    }

    /// Puts an entry into the chain of a bucket, whose shard is locked.
    fn append<'a>(&'a self, mut bucket: &'a Bucket, entry: Word) {
        loop {
            if let Some(place) = bucket.0.iter().find(|word| word.load(Ordering::Relaxed) == Word::EMPTY.0) {
                step();
                place.store(entry.0, Ordering::Release);
                return;
            }
            if let Some(link) = Word(bucket.0[WIDTH - 1].load(Ordering::Relaxed)).as_link() {
                bucket = self.overflow.at(link);
                continue;
            }
            // Full, and nothing behind: the last entry moves into a new overflow bucket, where a reader finds it in any case.
            let last = &bucket.0[WIDTH - 1];
            let number = self.take_overflow();
            let more = self.overflow.at(number);
            more.0[0].store(last.load(Ordering::Relaxed), Ordering::Relaxed);
            more.0[1].store(entry.0, Ordering::Relaxed);
            step();
            last.store(Word::link(number).0, Ordering::Release);
            return;
        }
    }

    fn take_overflow(&self) -> u32 {
        let mut pool = self.pool.lock();
        pool.free.pop().unwrap_or_else(|| {
            pool.used += 1;
            pool.used - 1
        })
    }

    /// Splits one bucket of a locked shard.
    fn split(&self, shard: usize, held: &mut Held) {
        let head = &self.shards[shard];
        let buckets = head.buckets.load(Ordering::Relaxed);
        let Some(number) = buckets.checked_mul(SHARDS as u32).filter(|n| *n < 1 << 30) else { return };
        let new = self.buckets.at(number + shard as u32);
        let old_at = bucket_of(buckets, buckets);
        let Some(old) = self.bucket(shard, old_at) else { return };

        let version = head.version.load(Ordering::Relaxed);
        step();
        head.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        held.chain.clear();
        self.chain(shard, old_at, |word| held.chain.push(word.0));
        let mut freed = Word(old.0[WIDTH - 1].load(Ordering::Relaxed)).as_link();
        old.0.iter().for_each(|word| {
            step();
            word.store(0, Ordering::Relaxed);
        });
        while let Some(link) = freed {
            let bucket = self.overflow.at(link);
            freed = Word(bucket.0[WIDTH - 1].load(Ordering::Relaxed)).as_link();
            bucket.0.iter().for_each(|word| {
                step();
                word.store(0, Ordering::Relaxed);
            });
            self.pool.lock().free.push(link);
        }
        step();
        head.buckets.store(buckets + 1, Ordering::Release);
        for word in held.chain.iter().map(|w| Word(*w)) {
            let bucket = if bucket_of(word.tag(), buckets + 1) == old_at { old } else { new };
            self.append(bucket, word);
        }
        step();
        head.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// One or two locked shards.
#[derive(Debug)]
pub struct Locked<'a> {
    index: &'a Index,
    first: (usize, MutexGuard<'a, Held>),
    second: Option<(usize, MutexGuard<'a, Held>)>,
}

impl Locked<'_> {
    fn held(&mut self, hash: u64) -> &mut Held {
        let shard = shard_of(hash);
        match &mut self.second {
            Some((at, held)) if *at == shard => held,
            _ => &mut self.first.1,
        }
    }

    /// Asks about each number under this hash until there is an answer. The hash is one of the two that were locked.
    pub fn find<R>(&self, hash: u64, mut ask: impl FnMut(u32) -> Option<R>) -> Option<R> {
        debug_assert!(self.first.0 == shard_of(hash) || self.second.as_ref().is_some_and(|s| s.0 == shard_of(hash)));
        self.index.walk(hash, &mut ask)
    }

    /// Enters a number, which is not 0.
    pub fn put(&mut self, hash: u64, number: u32) {
        debug_assert_ne!(number, 0);
        let (shard, tag) = (shard_of(hash), tag_of(hash));
        let index = self.index;
        let buckets = index.shards[shard].buckets.load(Ordering::Relaxed);
        if let Some(bucket) = index.bucket(shard, bucket_of(tag, buckets)) {
            index.append(bucket, Word::entry(tag, number));
        }
        let held = self.held(hash);
        held.entries += 1;
        if held.entries > LOAD.saturating_mul(buckets) {
            index.split(shard, held);
        }
    }

    /// Takes a number out. Answers whether it was there.
    pub fn take(&mut self, hash: u64, number: u32) -> bool {
        let (index, entry) = (self.index, Word::entry(tag_of(hash), number));
        let mut next = index.home(hash);
        while let Some(bucket) = next {
            if let Some(word) = bucket.0.iter().find(|w| w.load(Ordering::Relaxed) == entry.0) {
                step();
                word.store(0, Ordering::Release);
                self.held(hash).entries -= 1;
                return true;
            }
            let last = Word(bucket.0[WIDTH - 1].load(Ordering::Relaxed));
            next = last.as_link().and_then(|link| index.overflow.get(link));
        }
        false
    }
}

#[cfg(all(test, not(uct_model)))]
mod tests;
