//! Memory that stays where it is: arrays that grow without moving, and records that are counted and used again.
//!
//! ```text
//!   Segments<T>   0 ┃ 1 ┃ 2 3 ┃ 4 5 6 7 ┃ 8 …      each piece as large as all before it; none ever moves or shrinks
//!   Arena<T>      Segments of slots ── insert ──► Unique ── share ──► Shared ── clone, drop ──► the slot is free
//! ```
//!
//! A piece comes from the system as zeroed pages that cost nothing until they are touched, so growth never stops a packet for
//! longer than one page takes; where the system has huge pages it is asked for them (`madvise`), for a table of a million
//! records is otherwise as many misses of the address cache as of the memory.
//!
//! # The count of a slot
//!
//! | word | meaning | [`Arena::get`] |
//! |---|---|---|
//! | 0 | free: there is no value | nothing |
//! | [`EXCLUSIVE`] | one [`Unique`] owns the value and may change it | nothing |
//! | n | n [`Shared`] read it | nothing |
//! | n and [`KEPT`] | n [`Shared`] read it, and it lives without any, too | one more |
//!
//! # Why this is sound (all unsafe code of the engine is in this module)
//!
//! 1. *A slot's memory is valid and its count initialised for as long as the arena lives.* Pieces are zeroed, zero is a valid
//!    count, and pieces are freed by `Arena::drop` alone. If a handle still lives then, the pieces are leaked instead.
//! 2. *A value is written only by whoever took the slot from the list of free slots,* which is guarded by a lock, and the count is
//!    not part of that write: it is an atomic in the record's first four bytes ([`Record`]) which others may read at any time.
//! 3. *There is never a `&mut` to a whole record,* for others may read its count at any time: [`Unique::part_mut`] gives the part that
//!    may change, of a slot whose word is `EXCLUSIVE`; neither [`Arena::get`] nor [`Arena::held`] counts such a
//!    slot up, so there is no [`Shared`] beside it. `share` publishes the value by a store with `Release`; they count up with `Acquire`.
//! 4. *A value is dropped once:* by the one whose decrement leaves 0 (`Release`, then an `Acquire` fence, as `std::sync::Arc` does
//!    it), or by `Arena::drop` for what is kept alone. `keep` and `unkeep` need a `Shared`, so neither can be the last.
//! 5. *A count cannot overflow:* beyond [`MOST`] the process ends, as with `Arc`.
//!
//! Miri runs the tests of this module, and a model checker runs it and the index above it among the steps of other threads;
//! CONTRIBUTING.md has the commands.

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, size_of};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::sync::{Mutex, step};

/// How many elements the first piece has.
const FIRST: usize = 64;
/// Enough pieces for 2³¹ elements.
const PIECES: usize = 26;
/// A piece of at least this many bytes has pages of its own.
const PAGES: usize = 64 << 10;

/// What may be made of zeroed memory.
///
/// # Safety
/// All zero bytes are a value of the type, and nothing has to be done to drop it.
pub unsafe trait Zeroed {}

// SAFETY: atomics of integers have the layout of the integers.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: as before.
unsafe impl Zeroed for std::sync::atomic::AtomicU64 {}
// SAFETY: an array of zeroed elements.
unsafe impl<T: Zeroed, const N: usize> Zeroed for [T; N] {}

/// Elements that stay where they are.
enum Piece<T> {
    /// From the allocator, which clears them one by one.
    Heap(Box<[T]>),
    /// Pages of their own, which the system clears when they are touched.
    #[cfg(all(target_os = "linux", not(miri)))]
    Pages { first: NonNull<T>, len: usize },
}

// SAFETY: a piece owns its elements, as a `Box<[T]>` does.
unsafe impl<T: Send> Send for Piece<T> {}
// SAFETY: as before.
unsafe impl<T: Sync> Sync for Piece<T> {}

impl<T: Zeroed> Piece<T> {
    fn new(len: usize) -> Self {
        #[cfg(all(target_os = "linux", not(miri)))]
        if size_of::<T>() * len >= PAGES {
            use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
            let bytes = size_of::<T>() * len;
            // SAFETY: new private pages, at a place that the system chooses.
            let mapped = unsafe {
                mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
            };
            if let Some(first) = mapped.ok().and_then(NonNull::new) {
                // SAFETY: these pages; the advice does not change what is in them, and its refusal harms nothing.
                let _ = unsafe { madvise(first.as_ptr(), bytes, Advice::LinuxHugepage) };
                return Piece::Pages { first: first.cast(), len };
            }
        }
        // SAFETY: `T: Zeroed`.
        Piece::Heap(unsafe { Box::new_zeroed_slice(len).assume_init() })
    }
}

impl<T> Deref for Piece<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Piece::Heap(elements) => elements,
            // SAFETY: pages of zeros are `len` elements (`T: Zeroed`, aligned to less than a page), and ours until `drop`.
            #[cfg(all(target_os = "linux", not(miri)))]
            Piece::Pages { first, len } => unsafe { std::slice::from_raw_parts(first.as_ptr(), *len) },
        }
    }
}

impl<T> Drop for Piece<T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(all(target_os = "linux", not(miri)))]
        if let Piece::Pages { first, len } = self {
            // SAFETY: mapped by `new`, and nobody borrows from a piece that is dropped. Nothing in it needs to be dropped.
            let _ = unsafe { rustix::mm::munmap(first.as_ptr().cast(), size_of::<T>() * *len) };
        }
    }
}

/// An array that grows without moving: elements are there, zeroed, as soon as they are asked for.
pub struct Segments<T> {
    pieces: [OnceLock<Piece<T>>; PIECES],
}

impl<T> fmt::Debug for Segments<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements: usize = self.pieces.iter().filter_map(OnceLock::get).map(|p| p.len()).sum();
        f.debug_struct("Segments").field("elements", &elements).finish()
    }
}

/// In which piece an element is, and where in it.
#[inline]
const fn place(index: u32) -> (usize, usize) {
    let nth = index as usize / FIRST;
    if nth == 0 {
        return (0, index as usize);
    }
    let piece = nth.ilog2() as usize;
    (piece + 1, index as usize - (FIRST << piece))
}

impl<T: Zeroed> Default for Segments<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Zeroed> Segments<T> {
    /// An array without memory.
    pub const fn new() -> Self {
        Segments { pieces: [const { OnceLock::new() }; PIECES] }
    }

    /// An element that has been asked for before with [`Segments::at`], or that shares a piece with one.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let (piece, offset) = place(index);
        self.pieces[piece].get()?.get(offset)
    }

    /// An element, made if it is the first of its piece.
    pub fn at(&self, index: u32) -> &T {
        let (piece, offset) = place(index);
        let elements =
            self.pieces[piece].get_or_init(|| Piece::new(if piece == 0 { FIRST } else { FIRST << (piece - 1) }));
        &elements[offset]
    }
}

/// Asks for a line of memory before it is needed.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing that the program could see, wherever it points.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// The word of a slot that has one owner.
const EXCLUSIVE: u32 = 1 << 31;
/// The bit of a value that lives without handles.
const KEPT: u32 = 1 << 30;
/// Most handles of one value.
const MOST: u32 = 1 << 29;

/// What an [`Arena`] holds.
///
/// # Safety
/// The type is `repr(C)`, and its first field is an [`AtomicU32`] that nothing but the arena uses. `part` answers the place of one other
/// field, and reads nothing.
pub(crate) unsafe trait Record: Sized {
    /// What its owner may change.
    type Part;

    /// Where that is.
    fn part(this: *mut Self) -> *mut Self::Part;
}

/// A place for a record. Its memory is zero until the first record comes.
#[repr(transparent)]
struct Slot<T>(std::cell::UnsafeCell<std::mem::MaybeUninit<T>>);

// SAFETY: no value is there yet, and `MaybeUninit` drops nothing.
unsafe impl<T: Record> Zeroed for Slot<T> {}
// SAFETY: access to the value is governed by the count, see the module's argument.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}
// SAFETY: as before.
unsafe impl<T: Send + Sync> Send for Slot<T> {}

impl<T: Record> Slot<T> {
    #[inline]
    fn pointer(&self) -> NonNull<T> {
        // SAFETY: the address of something that exists is not null.
        unsafe { NonNull::new_unchecked(self.0.get().cast()) }
    }
}

/// The count of the slot at `slot`.
#[inline]
fn count<'a, T: Record>(slot: NonNull<T>) -> &'a AtomicU32 {
    // SAFETY: the first four bytes of every slot are an initialised atomic for as long as the arena lives (1, 2).
    unsafe { slot.cast::<AtomicU32>().as_ref() }
}

/// Bytes of the count.
const HEAD: usize = size_of::<AtomicU32>();

/// Over how many lists free slots are spread, so that two threads seldom meet.
const STRIPES: usize = 16;

#[derive(Debug, Default)]
struct Free {
    slots: Vec<u32>,
    /// How many slots of this stripe hold a value.
    live: usize,
}

struct Shelf<T> {
    slots: Segments<Slot<T>>,
    free: [Mutex<Free>; STRIPES],
    /// How many slots were ever used.
    used: AtomicU32,
}

/// Records in slots that are used again, each with a number.
pub(crate) struct Arena<T: Record> {
    shelf: NonNull<Shelf<T>>,
    owns: PhantomData<Shelf<T>>,
}

// SAFETY: an arena hands out `&T` and `T` to any thread.
unsafe impl<T: Record + Send + Sync> Send for Arena<T> {}
// SAFETY: as before.
unsafe impl<T: Record + Send + Sync> Sync for Arena<T> {}

impl<T: Record> fmt::Debug for Arena<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("used", &self.shelf().used).finish()
    }
}

impl<T: Record> Arena<T> {
    pub(crate) fn new() -> Self {
        let shelf = Shelf { slots: Segments::new(), free: Default::default(), used: AtomicU32::new(0) };
        Arena { shelf: NonNull::from(Box::leak(Box::new(shelf))), owns: PhantomData }
    }

    fn shelf(&self) -> &Shelf<T> {
        // SAFETY: freed by `drop` alone.
        unsafe { self.shelf.as_ref() }
    }

    /// Puts a record into a free slot; `near` says in which list of free slots to look first.
    pub(crate) fn insert(&self, value: T, near: usize) -> Unique<T> {
        let shelf = self.shelf();
        let stripe = near % STRIPES;
        let reused = {
            let mut free = shelf.free[stripe].lock();
            let slot = free.slots.pop();
            free.live += usize::from(slot.is_some());
            if let Some(next) = free.slots.last() {
                self.prefetch(*next);
            }
            slot
        };
        let number = reused.or_else(|| shelf.free.iter().find_map(take)).unwrap_or_else(|| {
            let number = shelf.used.fetch_add(1, Ordering::Relaxed);
            assert!(number < KEPT, "more connections than there are numbers");
            shelf.free[number as usize % STRIPES].lock().live += 1;
            number
        });
        let slot = shelf.slots.at(number).pointer();
        let value = ManuallyDrop::new(value);
        // SAFETY: the slot was free, and nobody else takes it (2); all of the record but its count is written.
        unsafe {
            let from = ptr::from_ref(&value).cast::<u8>().add(HEAD);
            ptr::copy_nonoverlapping(from, slot.as_ptr().cast::<u8>().add(HEAD), size_of::<T>() - HEAD);
        }
        step();
        count(slot).store(EXCLUSIVE, Ordering::Relaxed);
        Unique(Handle { slot, number, shelf: self.shelf })
    }

    /// The record with this number, if there is one that is kept.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<Shared<T>> {
        self.get_if(number, |count| count & KEPT != 0)
    }

    /// The record with this number, if there is one that is shared, kept or not.
    pub(crate) fn held(&self, number: u32) -> Option<Shared<T>> {
        self.get_if(number, |count| count != 0 && count & EXCLUSIVE == 0)
    }

    #[inline]
    fn get_if(&self, number: u32, may: impl Fn(u32) -> bool) -> Option<Shared<T>> {
        let slot = self.shelf().slots.get(number)?.pointer();
        let count = count(slot);
        step();
        let mut now = count.load(Ordering::Relaxed);
        loop {
            if !may(now) {
                return None;
            }
            bounded(now);
            step();
            match count.compare_exchange_weak(now, now + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Shared(Handle { slot, number, shelf: self.shelf })),
                Err(other) => now = other,
            }
        }
    }

    /// Asks for the first two lines of a record before they are needed.
    pub(crate) fn prefetch(&self, number: u32) {
        if let Some(slot) = self.shelf().slots.get(number) {
            let at = slot.pointer().as_ptr().cast::<u8>();
            prefetch(at);
            prefetch(at.wrapping_add(64));
        }
    }
}

/// Takes a free slot out of a list.
fn take(free: &Mutex<Free>) -> Option<u32> {
    let mut free = free.lock();
    let slot = free.slots.pop()?;
    free.live += 1;
    Some(slot)
}

#[inline]
fn bounded(count: u32) {
    if count & !KEPT >= MOST {
        std::process::abort();
    }
}

impl<T: Record> Drop for Arena<T> {
    #[inline]
    fn drop(&mut self) {
        let shelf = self.shelf();
        // A value may hold a handle of another one, which then is kept alone only after it.
        loop {
            let mut freed = 0;
            for number in 0..shelf.used.load(Ordering::Acquire) {
                let Some(slot) = shelf.slots.get(number).map(Slot::pointer) else { continue };
                if count(slot).compare_exchange(KEPT, 0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    Handle { slot, number, shelf: self.shelf }.free();
                    freed += 1;
                }
            }
            if freed == 0 || shelf.free.iter().all(|free| free.lock().live == 0) {
                break;
            }
        }
        // A handle that is being dropped elsewhere counts as live until it has left its lock for good.
        if shelf.free.iter().all(|free| free.lock().live == 0) {
            // SAFETY: made by `Box::leak`, and no handle is left that could use it.
            drop(unsafe { Box::from_raw(self.shelf.as_ptr()) });
        }
    }
}

/// Where a record is.
struct Handle<T: Record> {
    slot: NonNull<T>,
    number: u32,
    shelf: NonNull<Shelf<T>>,
}

impl<T: Record> Handle<T> {
    #[inline]
    fn value(&self) -> &T {
        // SAFETY: a handle's slot holds a value, and nobody changes it (3).
        unsafe { self.slot.as_ref() }
    }

    /// Drops the value, of which there is no other handle, and gives its slot back.
    fn free(&self) {
        step();
        // Moved out of the slot but for its count, and dropped here: dropping in place would claim the count, too.
        let mut value = std::mem::MaybeUninit::<T>::zeroed();
        // SAFETY: the count is 0 and was not before, so this is the only one who comes here (4). Zero is a count.
        unsafe {
            let from = self.slot.as_ptr().cast::<u8>().add(HEAD);
            ptr::copy_nonoverlapping(from, value.as_mut_ptr().cast::<u8>().add(HEAD), size_of::<T>() - HEAD);
            value.assume_init_drop();
        }
        // SAFETY: the shelf is there while a slot is live.
        let shelf = unsafe { self.shelf.as_ref() };
        let mut free = shelf.free[self.number as usize % STRIPES].lock();
        free.slots.push(self.number);
        free.live -= 1;
    }
}

/// A record that nobody else can see.
pub(crate) struct Unique<T: Record>(Handle<T>);

// SAFETY: as `Box<T>`.
unsafe impl<T: Record + Send + Sync> Send for Unique<T> {}
// SAFETY: as `Box<T>`.
unsafe impl<T: Record + Send + Sync> Sync for Unique<T> {}

impl<T: Record> Unique<T> {
    /// From now on it may be shared, and never changed.
    pub(crate) fn share(self) -> Shared<T> {
        let this = ManuallyDrop::new(self);
        let Handle { slot, number, shelf } = this.0;
        step();
        count(slot).store(1, Ordering::Release);
        Shared(Handle { slot, number, shelf })
    }
}

impl<T: Record> Deref for Unique<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.value()
    }
}

impl<T: Record> Unique<T> {
    /// The part of it that may change.
    pub(crate) fn part_mut(&mut self) -> &mut T::Part {
        // SAFETY: there is no other handle, and the part is not the count (3).
        unsafe { &mut *T::part(self.0.slot.as_ptr()) }
    }
}

impl<T: Record> Drop for Unique<T> {
    #[inline]
    fn drop(&mut self) {
        step();
        count(self.0.slot).store(0, Ordering::Relaxed);
        self.0.free();
    }
}

/// A record that others may read, too.
pub(crate) struct Shared<T: Record>(Handle<T>);

// SAFETY: as `Arc<T>`.
unsafe impl<T: Record + Send + Sync> Send for Shared<T> {}
// SAFETY: as `Arc<T>`.
unsafe impl<T: Record + Send + Sync> Sync for Shared<T> {}

impl<T: Record> Shared<T> {
    /// The number of its slot: nobody else's while it lives.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }

    /// Whether both are the same record.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.slot == other.0.slot
    }

    /// It lives without handles from now on, until [`Shared::unkeep`] or the arena's end.
    pub(crate) fn keep(&self) {
        step();
        count(self.0.slot).fetch_or(KEPT, Ordering::Relaxed);
    }

    /// It lives as long as its handles.
    pub(crate) fn unkeep(&self) {
        step();
        count(self.0.slot).fetch_and(!KEPT, Ordering::Relaxed);
    }
}

impl<T: Record> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        step();
        bounded(count(self.0.slot).fetch_add(1, Ordering::Relaxed));
        let Handle { slot, number, shelf } = self.0;
        Shared(Handle { slot, number, shelf })
    }
}

impl<T: Record> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.value()
    }
}

impl<T: Record> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        step();
        if count(self.0.slot).fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            self.0.free();
        }
    }
}

impl<T: Record + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value().fmt(f)
    }
}

impl<T: Record + fmt::Debug> fmt::Debug for Unique<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value().fmt(f)
    }
}

#[cfg(all(test, not(uct_model)))]
mod tests;
