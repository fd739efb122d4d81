//! IPv4 destinations as ranges, so that most packets need one short search.
//!
//! ```text
//!   0.0.0.0 │ odd │ … wan0 via … │ 10.0.0.0 lan0 │ 10.0.0.1 odd │ 10.0.0.2 lan0 │ … │ 224.0.0.0 odd … 255.255.255.255
//! ```
//! What the routes say of an address changes only where a prefix begins or ends, and at the router's own and broadcast addresses. So
//! the whole table is a sorted list of first addresses, each with what holds up to the next one: a route, none, or *odd*, which
//! means that the addresses have to be looked at one rule after the other.
//!
//! Invariant: for an address that is not odd this answers what [`super::Routes`] was asked when the list was built; its tests ask both.

use std::net::Ipv4Addr;

use crate::topology::Dev;

/// What an address is to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is reached by an interface, by a gateway or itself.
    Route(Dev, Option<Ipv4Addr>),
    /// No route leads there.
    None,
    /// It is own, broadcast, multicast, loopback or none at all.
    Odd,
}

/// All IPv4 addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    /// Sorted, the first is 0.0.0.0.
    firsts: Vec<u32>,
    ways: Vec<Way>,
}

impl Ranges {
    /// Asks `way` at each place where its answer may change: that is at these addresses.
    pub(super) fn new(mut changes: Vec<u32>, way: impl Fn(Ipv4Addr) -> Way) -> Ranges {
        changes.push(0);
        changes.sort_unstable();
        changes.dedup();
        let mut ranges = Ranges::default();
        for first in changes {
            let way = way(first.into());
            if ranges.ways.last() != Some(&way) {
                ranges.firsts.push(first);
                ranges.ways.push(way);
            }
        }
        ranges
    }

    /// What an address is.
    #[inline]
    pub(super) fn way(&self, address: Ipv4Addr) -> Way {
        let after = self.firsts.partition_point(|first| *first <= address.to_bits());
        self.ways.get(after.wrapping_sub(1)).copied().unwrap_or(Way::Odd)
    }
}
