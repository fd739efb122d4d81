//! Live mappings by their source: where a socket's other connections went out.
//!
//! A client that talks from one socket to a second server gets the same translated address and port as with the first, if
//! that suits the rule. That is what makes Linux's mapping endpoint-independent (RFC 4787 §4.1) as long as nothing clashes.
//!
//! ```text
//!   (protocol, source address, port, zone) ──hash──► newest connection ⇄ … ⇄ oldest
//! ```
//! The connections themselves say where they come from and where they went, so the index holds their places and nothing else, and
//! a link to each side beside each place. A resolver that asks the whole world from one port has a long chain, to which adding, and from
//! which taking out, costs what it costs in a short one.
//!
//! Invariant: a connection is here if and only if it is in the engine's table and the decision about its source was taken
//! (also if that decision was to leave it alone), or has left the table and waits in [`Engine::take_gone`].
//!
//! Synchronisation: a chain belongs to the shard of its hash, and is read and changed under that shard's lock.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use uct_engine::index::{Index, Locked};
use uct_engine::memory::Segments;
use uct_engine::{Conn, ConnId, ConnRef, Direction, Engine, Protocol, Tuple, Zone};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source {
    address: IpAddr,
    id: u16,
    protocol: Protocol,
    zone: u16,
}

impl Source {
    fn of(tuple: &Tuple, zone: Zone) -> Self {
        Source {
            address: tuple.src,
            id: tuple.l4.src_id(),
            protocol: tuple.protocol,
            zone: zone.id(Direction::Original),
        }
    }

    fn of_conn(conn: &Conn) -> Self {
        Source::of(&conn.original(), conn.zone())
    }
}

/// Where a source was mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) address: IpAddr,
    /// Port, ICMP id or call key.
    pub(crate) id: u16,
}

impl Mapped {
    /// What answers are sent to is what the source looks like from outside.
    fn of(conn: &Conn) -> Option<Self> {
        let outside = conn.reply().inverse()?;
        Some(Mapped { address: outside.src, id: outside.l4.src_id() })
    }
}

/// A connection's neighbours in its chain: the newer one above, the older one below. The word of one that is in no chain is 0.
#[derive(Clone, Copy)]
struct Links {
    newer: Option<u32>,
    older: Option<u32>,
}

impl Links {
    /// 1 stands for nobody, so that what is in a chain by itself is not 0.
    fn word(self) -> u64 {
        let half = |slot: Option<u32>| u64::from(slot.map_or(1, |slot| slot + 2));
        half(self.newer) << 32 | half(self.older)
    }

    fn read(word: u64) -> Option<Links> {
        let half = |half: u32| half.checked_sub(2);
        (word != 0).then(|| Links { newer: half((word >> 32) as u32), older: half(word as u32) })
    }
}

/// The index.
#[derive(Debug)]
pub(crate) struct Sources {
    hasher: RandomState,
    newest: Index,
    links: Segments<AtomicU64>,
}

/// The index's number of a place; never 0.
fn number(slot: u32) -> u32 {
    slot + 1
}

impl Sources {
    pub(crate) fn new() -> Self {
        // The seed only spreads the index; which answer is found does not depend on it.
        Sources { hasher: RandomState::with_seeds(1, 2, 3, 4), newest: Index::new(), links: Segments::new() }
    }

    fn hash(&self, source: &Source) -> u64 {
        self.hasher.hash_one(source)
    }

    fn links(&self, slot: u32) -> Option<Links> {
        Links::read(self.links.get(slot)?.load(Ordering::Relaxed))
    }

    fn set(&self, slot: u32, links: Option<Links>) {
        self.links.at(slot).store(links.map_or(0, Links::word), Ordering::Relaxed);
    }

    /// The newest connection from a source, whose shard is locked.
    fn newest(locked: &Locked<'_>, engine: &Engine, hash: u64, source: &Source) -> Option<ConnRef> {
        locked.find(hash, |number| engine.held(number - 1).filter(|conn| Source::of_conn(conn) == *source))
    }

    /// Asks for the line in which a connection's source stands, before it is needed.
    pub(crate) fn ask(&self, conn: &Conn) {
        self.newest.prefetch(self.hash(&Source::of_conn(conn)));
    }

    pub(crate) fn add(&self, engine: &Engine, conn: &ConnRef) {
        let source = Source::of_conn(conn);
        let hash = self.hash(&source);
        let mut locked = self.newest.lock(hash, hash);
        if self.links(conn.slot()).is_some() {
            return;
        }
        let before = Self::newest(&locked, engine, hash, &source).map(|newest| newest.slot());
        if let Some(slot) = before {
            locked.take(hash, number(slot));
            let older = self.links(slot).and_then(|links| links.older);
            self.set(slot, Some(Links { newer: Some(conn.slot()), older }));
        }
        self.set(conn.slot(), Some(Links { newer: None, older: before }));
        locked.put(hash, number(conn.slot()));
    }

    pub(crate) fn remove(&self, conn: &ConnRef) {
        let hash = self.hash(&Source::of_conn(conn));
        let mut locked = self.newest.lock(hash, hash);
        let Some(Links { newer, older }) = self.links(conn.slot()) else { return };
        self.set(conn.slot(), None);
        if let Some((slot, links)) = newer.and_then(|slot| Some((slot, self.links(slot)?))) {
            self.set(slot, Some(Links { older, ..links }));
        } else {
            locked.take(hash, number(conn.slot()));
            if let Some(slot) = older {
                locked.put(hash, number(slot));
            }
        }
        if let Some((slot, links)) = older.and_then(|slot| Some((slot, self.links(slot)?))) {
            self.set(slot, Some(Links { newer, ..links }));
        }
    }

    /// The mapping of the newest connection from the source of `tuple` that `suits`.
    pub(crate) fn find(
        &self,
        engine: &Engine,
        tuple: &Tuple,
        zone: Zone,
        mut suits: impl FnMut(Mapped) -> bool,
    ) -> Option<(ConnId, Mapped)> {
        let source = Source::of(tuple, zone);
        let hash = self.hash(&source);
        let locked = self.newest.lock(hash, hash);
        let mut next = Self::newest(&locked, engine, hash, &source);
        while let Some(conn) = next {
            if let Some(mapped) = Mapped::of(&conn).filter(|mapped| suits(*mapped)) {
                return Some((conn.id(), mapped));
            }
            next = self.links(conn.slot()).and_then(|links| engine.held(links.older?));
        }
        None
    }

    /// How many sources have connections.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let mut count = 0;
        (0..).take_while(|shard| self.newest.each(*shard, |_| count += 1)).count();
        count
    }
}

#[cfg(test)]
#[path = "source/tests.rs"]
mod tests;
