//! The table: every connection stands in it twice, by its original and by its reply tuple.
//!
//! ```text
//!   (tuple, zone) ──hash──► shard ──► (conn, Original) ─┐
//!                           shard ──► (conn, Reply)   ──┴──► one connection
//! ```
//!
//! Invariants: both tuples of a connection are in the table or neither; no (tuple, zone of its direction) stands twice.
//! A listing takes one shard at a time and holds no lock while its caller works.
//!
//! Lock order: shards by index; two at most, and no other lock is taken while one is held.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use parking_lot::{RwLock, RwLockWriteGuard};

use crate::conn::Conn;
use crate::{Direction, Tuple, Zone};

const SHARDS: usize = 64;

#[derive(Debug)]
struct Place {
    conn: Arc<Conn>,
    dir: Direction,
}

type Shard = HashTable<Place>;

/// Why both tuples could not be inserted.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// The connection that has one of them already.
    pub(crate) by: Arc<Conn>,
}

#[derive(Debug)]
pub(crate) struct Table {
    hasher: RandomState,
    shards: Box<[RwLock<Shard>]>,
}

impl Table {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), seed ^ 0x9e37_79b9_7f4a_7c15);
        Table { hasher, shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    fn hash(&self, tuple: &Tuple, zone: u16) -> u64 {
        let mut h = self.hasher.build_hasher();
        tuple.hash(&mut h);
        zone.hash(&mut h);
        h.finish()
    }

    fn shard(hash: u64) -> usize {
        // hashbrown takes the low bits for the place and the top seven for its tags.
        (hash >> 40) as usize % SHARDS
    }

    fn place_hash(&self, place: &Place) -> u64 {
        self.hash(place.conn.tuple(place.dir), place.conn.zone().id(place.dir))
    }

    /// The connection to which a packet of this tuple belongs, and the packet's direction.
    ///
    /// The zone may count in one direction only: then the tuple is looked for as an original in the zone, and as a reply
    /// in zone 0 (or the other way round).
    pub(crate) fn find(&self, tuple: &Tuple, zone: Zone) -> Option<(Arc<Conn>, Direction)> {
        let as_original = zone.id(Direction::Original);
        let as_reply = zone.id(Direction::Reply);
        self.find_in(tuple, as_original, zone)
            .or_else(|| if as_reply == as_original { None } else { self.find_in(tuple, as_reply, zone) })
    }

    fn find_in(&self, tuple: &Tuple, id: u16, zone: Zone) -> Option<(Arc<Conn>, Direction)> {
        let hash = self.hash(tuple, id);
        let shard = self.shards[Self::shard(hash)].read();
        let meets = |p: &&Place| p.conn.tuple(p.dir) == tuple && p.conn.zone().id(p.dir) == id && zone.id(p.dir) == id;
        // Zones of one direction may leave two; as measured, the newer is met.
        let place = shard.iter_hash(hash).filter(meets).max_by_key(|p| p.conn.id())?;
        // Of two tuples that are the same (a host that talks to itself on one port) only the first stands here; as measured,
        // what carries it is a reply.
        let is_both = place.conn.reply() == tuple && place.conn.zone().id(Direction::Reply) == id;
        let dir = if is_both { Direction::Reply } else { place.dir };
        Some((Arc::clone(&place.conn), dir))
    }

    /// The connection that has this reply tuple, if `zone` is its zone: found in either direction.
    pub(crate) fn find_reply(&self, tuple: &Tuple, zone: Zone) -> Option<(Arc<Conn>, Direction)> {
        let id = zone.id(Direction::Reply);
        self.find_in(tuple, id, zone)
    }

    /// Inserts both tuples or neither.
    pub(crate) fn insert(&self, conn: Arc<Conn>) -> Result<(), Taken> {
        let key = |dir| {
            let hash = self.hash(conn.tuple(dir), conn.zone().id(dir));
            (hash, Self::shard(hash))
        };
        let (original, at_original) = key(Direction::Original);
        let (reply, at_reply) = key(Direction::Reply);
        let mut first = self.shards[at_original.min(at_reply)].write();
        if at_original == at_reply {
            self.vacant(&mut first, original, &conn, Direction::Original)?;
            self.vacant(&mut first, reply, &conn, Direction::Reply)?;
            self.put(&mut first, original, &conn, Direction::Original);
            self.put(&mut first, reply, &conn, Direction::Reply);
            return Ok(());
        }
        let mut second = self.shards[at_original.max(at_reply)].write();
        let (o, r) = if at_original < at_reply { (&mut first, &mut second) } else { (&mut second, &mut first) };
        self.vacant(o, original, &conn, Direction::Original)?;
        self.vacant(r, reply, &conn, Direction::Reply)?;
        self.put(o, original, &conn, Direction::Original);
        self.put(r, reply, &conn, Direction::Reply);
        Ok(())
    }

    /// Whether a tuple of `conn` cannot stand beside `place`. Where its zone counts in one direction only, what stands there in
    /// the other direction is in another zone, and no packet meets both.
    fn same(place: &Place, conn: &Conn, dir: Direction) -> bool {
        let id = place.conn.zone().id(place.dir);
        place.conn.tuple(place.dir) == conn.tuple(dir) && id == conn.zone().id(dir) && id == conn.zone().id(place.dir)
    }

    fn vacant(
        &self,
        shard: &mut RwLockWriteGuard<'_, Shard>,
        hash: u64,
        conn: &Conn,
        dir: Direction,
    ) -> Result<(), Taken> {
        match shard.find(hash, |p| Self::same(p, conn, dir)) {
            Some(place) => Err(Taken { by: Arc::clone(&place.conn) }),
            None => Ok(()),
        }
    }

    fn put(&self, shard: &mut RwLockWriteGuard<'_, Shard>, hash: u64, conn: &Arc<Conn>, dir: Direction) {
        // A connection whose two tuples are the same (a host that talks to itself on one port) stands once.
        if let Slot::Vacant(slot) = shard.entry(hash, |p| Self::same(p, conn, dir), |p| self.place_hash(p)) {
            slot.insert(Place { conn: Arc::clone(conn), dir });
        }
    }

    /// Takes both tuples out. Answers whether they were there.
    pub(crate) fn remove(&self, conn: &Arc<Conn>) -> bool {
        let mut there = false;
        for dir in [Direction::Original, Direction::Reply] {
            let hash = self.hash(conn.tuple(dir), conn.zone().id(dir));
            let mut shard = self.shards[Self::shard(hash)].write();
            if let Ok(slot) = shard.find_entry(hash, |p| Arc::ptr_eq(&p.conn, conn) && p.dir == dir) {
                slot.remove();
                there = true;
            }
        }
        there
    }

    /// Collects the connections of one shard, by their original tuples (by their only one, if the two are the same); `None` beyond the last shard.
    pub(crate) fn list(&self, shard: usize) -> Option<Vec<Arc<Conn>>> {
        let shard = self.shards.get(shard)?.read();
        Some(
            shard
                .iter()
                .filter(|p| p.dir == Direction::Original || Self::same(p, &p.conn, Direction::Original))
                .map(|p| Arc::clone(&p.conn))
                .collect(),
        )
    }

    /// Up to `most` connections that stand near where the tuple would stand.
    pub(crate) fn near(&self, tuple: &Tuple, zone: u16, most: usize) -> Vec<Arc<Conn>> {
        let hash = self.hash(tuple, zone);
        let shard = self.shards[Self::shard(hash)].read();
        shard.iter().take(most).map(|p| Arc::clone(&p.conn)).collect()
    }
}

#[cfg(test)]
mod tests;
