//! Live mappings by their source: where a socket's other connections went out.
//!
//! A client that talks from one socket to a second server gets the same translated address and port as with the first, if
//! that suits the rule. That is what makes Linux's mapping endpoint-independent (RFC 4787 §4.1) as long as nothing clashes.
//!
//! ```text
//!   (protocol, source address, port, zone) ──► newest connection ─► … ─► oldest      each with its translated source
//! ```
//!
//! Invariant: a connection is here if and only if it is in the engine's table and the decision about its source was taken
//! (also if that decision was to leave it alone). A socket has one connection nearly always; a resolver that asks the whole
//! world from one port has many, and then adding and forgetting cost the logarithm of their number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use uct_engine::{Conn, ConnId, Direction, Protocol, Tuple, Zone};

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
}

/// Where a source was mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) address: IpAddr,
    /// Port, ICMP id or call key.
    pub(crate) id: u16,
}

#[derive(Debug)]
enum Live {
    One(ConnId, Mapped),
    Many(BTreeMap<ConnId, Mapped>),
}

/// The index.
#[derive(Debug)]
pub(crate) struct Sources(DashMap<Source, Live, RandomState>);

impl Sources {
    pub(crate) fn new() -> Self {
        // The seed only spreads the map's shards; which answer is found does not depend on it.
        Sources(DashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)))
    }

    pub(crate) fn add(&self, conn: &Conn) {
        // What answers are sent to is what the source looks like from outside.
        let Some(outside) = conn.reply().inverse() else { return };
        let mapped = Mapped { address: outside.src, id: outside.l4.src_id() };
        match self.0.entry(Source::of(conn.original(), conn.zone())) {
            Entry::Vacant(place) => {
                place.insert(Live::One(conn.id(), mapped));
            }
            Entry::Occupied(mut place) => match place.get_mut() {
                Live::One(id, _) if *id == conn.id() => {}
                Live::One(id, other) => {
                    let both = BTreeMap::from([(*id, *other), (conn.id(), mapped)]);
                    place.insert(Live::Many(both));
                }
                Live::Many(all) => {
                    all.insert(conn.id(), mapped);
                }
            },
        }
    }

    pub(crate) fn remove(&self, conn: &Conn) {
        let Entry::Occupied(mut place) = self.0.entry(Source::of(conn.original(), conn.zone())) else { return };
        let is_empty = match place.get_mut() {
            Live::One(id, _) => *id == conn.id(),
            Live::Many(all) => {
                all.remove(&conn.id());
                all.is_empty()
            }
        };
        if is_empty {
            place.remove();
        }
    }

    /// The mapping of the newest connection from the source of `tuple` that `suits`.
    pub(crate) fn find(
        &self,
        tuple: &Tuple,
        zone: Zone,
        mut suits: impl FnMut(Mapped) -> bool,
    ) -> Option<(ConnId, Mapped)> {
        let live = self.0.get(&Source::of(tuple, zone))?;
        match live.value() {
            Live::One(id, mapped) => suits(*mapped).then_some((*id, *mapped)),
            Live::Many(all) => all.iter().rev().find(|(_, mapped)| suits(**mapped)).map(|(id, mapped)| (*id, *mapped)),
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
