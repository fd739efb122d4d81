//! The table: every connection stands in it twice, by its original and by its reply tuple.
//!
//! ```text
//!   (tuple, zone) ──hash──► index ──► (place, Original) ─┐
//!                           index ──► (place, Reply)   ──┴──► one connection in the arena
//! ```
//!
//! Finding takes no lock: the index answers with places, and what stands there is compared. A place that has been given to another
//! connection meanwhile is no other case than one whose tuple differs. The table keeps its connections alive
//! ([`crate::memory`]); whoever found one may go on with it when it has left the table.
//!
//! Invariants: both tuples of a connection are in the table or neither; no (tuple, zone of its direction) stands twice.
//! A listing holds a shard while it counts up what is there, never while its caller works, and stops no packet of a connection that
//! is known.
//!
//! Lock order: shards by index; two at most. While they are held only the lists of free memory are locked.

use std::hash::{BuildHasher, Hasher};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::RandomState;

use crate::conn::{Conn, ConnRef};
use crate::index::{Index, Locked};
use crate::memory::Arena;
use crate::tuple::{Key, Name};
use crate::{Direction, Family, Tuple, Zone, ZoneScope};

/// Why both tuples could not be inserted.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// The connection that has one of them already.
    pub(crate) by: ConnRef,
}

/// Where what may be a packet's connection was seen: the index's number, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u32);

#[derive(Debug)]
pub(crate) struct Table {
    hasher: RandomState,
    index: Index,
    arena: Arena<Conn>,
    /// Whether there ever was a connection whose zone counts in one direction only.
    one_sided: AtomicBool,
}

/// A tuple in a zone, as it stands in the index.
struct Hashed {
    key: Key,
    v6: (Ipv6Addr, Ipv6Addr),
    hash: u64,
}

/// The index's number of one direction of a connection; never 0.
fn number(conn: &ConnRef, dir: Direction) -> u32 {
    (conn.slot() + 1) << 1 | dir as u32
}

/// The place and the direction that a number stands for.
#[inline]
fn place(number: u32) -> (u32, Direction) {
    let dir = if number & 1 == 0 { Direction::Original } else { Direction::Reply };
    ((number >> 1) - 1, dir)
}

impl Table {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), seed ^ 0x9e37_79b9_7f4a_7c15);
        Table { hasher, index: Index::new(), arena: Arena::new(), one_sided: AtomicBool::new(false) }
    }

    /// Where connections live.
    pub(crate) fn arena(&self) -> &Arena<Conn> {
        &self.arena
    }

    /// Asks for a connection before it is needed.
    pub(crate) fn ask_at(&self, slot: u32) {
        self.arena.prefetch(slot);
    }

    /// Asks for the lines of the index in which both tuples of a connection stand.
    pub(crate) fn ask_for(&self, conn: &Conn) {
        for dir in [Direction::Original, Direction::Reply] {
            self.ask(self.key(conn, dir).hash);
        }
    }

    /// The connection in this place, if it is in the table.
    pub(crate) fn at(&self, slot: u32) -> Option<ConnRef> {
        self.arena.get(slot).map(ConnRef)
    }

    #[inline]
    fn hash(&self, key: &Key, v6: &(Ipv6Addr, Ipv6Addr)) -> u64 {
        let mut h = self.hasher.build_hasher();
        let [addresses, rest] = key.words();
        h.write_u64(addresses);
        h.write_u64(rest);
        if key.family() == Family::Ipv6 {
            h.write_u128(v6.0.to_bits());
            h.write_u128(v6.1.to_bits());
        }
        h.finish()
    }

    /// The hash under which a packet of this tuple finds its connection, for [`Table::ask`] and [`Table::fetch`].
    #[inline]
    pub(crate) fn hash_of(&self, name: &Name, zone: u16) -> u64 {
        self.hash(&name.key.in_zone(zone), &name.v6)
    }

    /// Asks for the line of the index that will be needed.
    #[inline]
    pub(crate) fn ask(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Asks for the connection that will be needed, when its line of the index has come, and says where it was seen.
    #[inline]
    pub(crate) fn fetch(&self, hash: u64) -> Seen {
        let Some(number) = self.index.peek(hash) else { return Seen::default() };
        self.arena.prefetch(place(number).0);
        Seen(number)
    }

    /// The same as [`Table::find`], with a look first at where the connection was seen.
    #[inline]
    pub(crate) fn find_seen(&self, name: &Name, zone: Zone, seen: Seen) -> Option<(ConnRef, Direction)> {
        if seen != Seen::default() && zone == Zone::DEFAULT && !self.one_sided.load(Ordering::Relaxed) {
            let (slot, dir) = place(seen.0);
            if let Some(conn) = self.at(slot)
                && conn.carries(dir, &name.key, &name.v6)
            {
                let dir = conn.direction_met(dir, name);
                return Some((conn, dir));
            }
        }
        self.find(name, zone)
    }

    /// The connection to which a packet of this tuple belongs, and the packet's direction.
    ///
    /// The zone may count in one direction only: then the tuple is looked for as an original in the zone, and as a reply
    /// in zone 0 (or the other way round).
    #[inline]
    pub(crate) fn find(&self, name: &Name, zone: Zone) -> Option<(ConnRef, Direction)> {
        let as_original = zone.id(Direction::Original);
        let as_reply = zone.id(Direction::Reply);
        self.find_in(name, as_original, zone)
            .or_else(|| if as_reply == as_original { None } else { self.find_in(name, as_reply, zone) })
    }

    #[inline]
    fn find_in(&self, name: &Name, id: u16, zone: Zone) -> Option<(ConnRef, Direction)> {
        let key = name.key.in_zone(id);
        let hash = self.hash(&key, &name.v6);
        let meets = |number| {
            let (slot, dir) = place(number);
            let conn = self.at(slot)?;
            if !conn.carries(dir, &key, &name.v6) || zone.id(dir) != id {
                return None;
            }
            let dir = conn.direction_met(dir, &Name { key, ..*name });
            Some((conn, dir))
        };
        if !self.one_sided.load(Ordering::Relaxed) {
            return self.index.find(hash, meets);
        }
        // Zones of one direction may leave two; as measured, the newer is met.
        let mut newest: Option<(ConnRef, Direction)> = None;
        self.index.find(hash, |number| {
            if let Some(found) = meets(number)
                && newest.as_ref().is_none_or(|(other, _)| other.id() < found.0.id())
            {
                newest = Some(found);
            }
            None::<()>
        });
        newest
    }

    /// The connection that has this reply tuple, if `zone` is its zone: found in either direction.
    pub(crate) fn find_reply(&self, tuple: &Tuple, zone: Zone) -> Option<(ConnRef, Direction)> {
        self.find_in(&Name::new(tuple), zone.id(Direction::Reply), zone)
    }

    /// A direction of a connection, and its hash.
    fn key(&self, conn: &Conn, dir: Direction) -> Hashed {
        let (Name { key, v6 }, zone) = conn.name(dir);
        let key = key.in_zone(zone);
        Hashed { key, v6, hash: self.hash(&key, &v6) }
    }

    /// Inserts both tuples or neither.
    pub(crate) fn insert(&self, conn: &ConnRef) -> Result<(), Taken> {
        let original = self.key(conn, Direction::Original);
        let reply = self.key(conn, Direction::Reply);
        if conn.zone().scope != ZoneScope::Both {
            self.one_sided.store(true, Ordering::Relaxed);
        }
        let mut locked = self.index.lock(original.hash, reply.hash);
        self.vacant(&locked, &original, conn, Direction::Original)?;
        self.vacant(&locked, &reply, conn, Direction::Reply)?;
        conn.0.keep();
        locked.put(original.hash, number(conn, Direction::Original));
        // A connection whose two tuples are the same (a host that talks to itself on one port) stands once.
        if reply.key != original.key || reply.v6 != original.v6 {
            locked.put(reply.hash, number(conn, Direction::Reply));
        }
        Ok(())
    }

    /// Whether nothing stands where a tuple of `conn` would. Where its zone counts in one direction only, what stands there in
    /// the other direction is in another zone, and no packet meets both.
    fn vacant(
        &self,
        locked: &Locked<'_>,
        Hashed { key, v6, hash }: &Hashed,
        conn: &Conn,
        own: Direction,
    ) -> Result<(), Taken> {
        let id = conn.zone().id(own);
        let taken = locked.find(*hash, |number| {
            let (slot, dir) = place(number);
            let other = self.at(slot)?;
            (other.carries(dir, key, v6) && id == conn.zone().id(dir)).then_some(other)
        });
        taken.map_or(Ok(()), |by| Err(Taken { by }))
    }

    /// Takes both tuples out. Answers whether they were there.
    pub(crate) fn remove(&self, conn: &ConnRef) -> bool {
        let [original, reply] = [Direction::Original, Direction::Reply].map(|dir| self.key(conn, dir).hash);
        let mut locked = self.index.lock(original, reply);
        let there = locked.take(original, number(conn, Direction::Original));
        locked.take(reply, number(conn, Direction::Reply));
        if there {
            conn.0.unkeep();
        }
        there
    }

    /// Collects the connections of one shard, by their original tuples; `None` beyond the last shard.
    pub(crate) fn list(&self, shard: usize) -> Option<Vec<ConnRef>> {
        let mut conns = Vec::new();
        let is_there = self.index.each(shard, |number| {
            if let (slot, Direction::Original) = place(number) {
                conns.extend(self.at(slot));
            }
        });
        is_there.then_some(conns)
    }

    /// How many tuples stand in the table.
    pub(crate) fn tuples(&self) -> usize {
        self.index.entries()
    }

    /// Up to `most` connections that stand near where the tuple would stand.
    pub(crate) fn near(&self, tuple: &Tuple, zone: u16, most: usize) -> Vec<ConnRef> {
        let mut conns = Vec::new();
        self.index.near(self.hash_of(&Name::new(tuple), zone), most, |number| conns.extend(self.at(place(number).0)));
        conns
    }
}

#[cfg(test)]
mod tests;
