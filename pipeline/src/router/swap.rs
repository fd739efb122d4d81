//! Other rules and other surroundings for a router that is at work.
//!
//! ```text
//!   workers ── load, once a batch ──► the router in force ──► tables, NAT, fragments, counters
//!   a reload ── replace ────────────► the next one ─────────►  (the same ones: they are shared)
//! ```
//!
//! A [`Router`] never changes under a packet: whoever has loaded it finishes with its rules, routes and addresses, all from
//! one moment. A reload builds another one beside it, which shares all that is kept of connections, and puts it in its place
//! with one atomic store; no packet waits for it and none sees half of it. As with `nft -f`, counters and limits of the rules
//! begin anew.
//!
//! Invariants: an interface keeps its [`Dev`], for connections and workers know it by that; so the next topology's
//! interfaces are sorted as the last one's were, and one that is gone stays in its place with neither addresses nor routes. Link
//! address and MTU are those that the link has told last, as far as the file leaves them to the link.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use uct_engine::{ConnRef, Time};
use uct_nat::rules::Ruleset;

use super::stops::interface;
use super::{Router, names};
use crate::route::Routes;
use crate::topology::{Dev, Interface, Topology};

/// The router in force.
#[derive(Debug)]
pub struct InForce {
    router: ArcSwap<Router>,
    /// One change at a time, so that none undoes another. No packet waits for it.
    changing: Mutex<()>,
}

/// What a change of surroundings came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Interfaces that are new.
    pub added: Vec<String>,
    /// Interfaces that are gone.
    pub removed: Vec<String>,
    /// Connections that were destroyed because they had borrowed an address that is gone.
    pub destroyed: usize,
}

impl InForce {
    /// This one at first.
    pub fn new(router: Router) -> Self {
        InForce { router: ArcSwap::from_pointee(router), changing: Mutex::new(()) }
    }

    /// For a packet or a batch of them: costs no more than a few loads, and never waits.
    pub fn load(&self) -> Guard<Arc<Router>> {
        self.router.load()
    }

    /// For longer.
    pub fn get(&self) -> Arc<Router> {
        self.router.load_full()
    }

    /// Changes the router beside its place, and then puts it there: for what a link tells.
    pub fn update<T>(&self, change: impl FnOnce(&mut Router) -> T) -> T {
        let _one = self.changing.lock();
        let before = self.get();
        let mut next = before.renewed(Arc::clone(&before.rules), before.topology.clone());
        let answer = change(&mut next);
        self.router.store(Arc::new(next));
        answer
    }

    /// Puts other rules and surroundings in force; connections stay, but for those that had borrowed an address which is
    /// not there any more.
    pub fn replace(&self, rules: Ruleset, topology: Topology, now: Time) -> Change {
        let _one = self.changing.lock();
        let before = self.get();
        let added = names_beside(&topology, &before.topology);
        let removed = names_beside(&before.topology, &topology);
        before.engine.keep_labels(rules.labels());
        before.forget_timeout_policies();
        let next = Arc::new(before.renewed(Arc::new(rules), topology.sorted_as(&before.topology)));
        self.router.store(Arc::clone(&next));
        let destroyed = lost(&before.topology, &next.topology)
            .map(|(dev, address)| next.nat.interface_lost(&next.engine, interface(dev), Some(address), now))
            .sum();
        Change { added, removed, destroyed }
    }
}

impl Router {
    /// A connection came into the table by another way than a packet's (from a file, from another router): its mapping
    /// serves others from the same source.
    pub fn adopt(&self, conn: &ConnRef) {
        self.nat.confirmed(&self.engine, conn);
    }

    /// The same router with other rules and surroundings: all that is kept of connections and packets is shared.
    fn renewed(&self, rules: Arc<Ruleset>, topology: Topology) -> Router {
        Router {
            engine: Arc::clone(&self.engine),
            nat: Arc::clone(&self.nat),
            rules,
            names: names(&topology),
            lo: self.lo,
            routes: Routes::new(&topology),
            topology,
            defrag: Arc::clone(&self.defrag),
            random: Arc::clone(&self.random),
            peers: Arc::clone(&self.peers),
            stats: Arc::clone(&self.stats),
        }
    }
}

impl Topology {
    /// The same surroundings with the interfaces in the places that they have in `known`; what is new comes behind, and an
    /// interface that is gone keeps its place without addresses.
    fn sorted_as(&self, known: &Topology) -> Topology {
        let by_name = |name: &str| self.interfaces.iter().find(|i| i.name == name).cloned();
        let gone = |i: &Interface| Interface { addresses: Vec::new(), ..i.clone() };
        // What the link has told stays, as far as the file does not say otherwise.
        let told = |next: Interface, last: &Interface| Interface {
            mac: next.mac.or(last.mac),
            mtu: next.mtu.min(last.mtu),
            ..next
        };
        let mut interfaces: Vec<Interface> =
            known.interfaces.iter().map(|i| by_name(&i.name).map_or_else(|| gone(i), |next| told(next, i))).collect();
        interfaces.extend(self.interfaces.iter().filter(|i| known.dev(&i.name).is_none()).cloned());
        let place = |dev: Dev| {
            let name = self.interface(dev).map(|i| i.name.as_str());
            interfaces.iter().position(|i| Some(i.name.as_str()) == name).map_or(dev, |at| Dev(at as u16))
        };
        let mut routes = self.routes.clone();
        routes.iter_mut().for_each(|route| route.dev = place(route.dev));
        let mut neighbors = self.neighbors.clone();
        neighbors.iter_mut().for_each(|neighbor| neighbor.dev = place(neighbor.dev));
        Topology { interfaces, routes, neighbors }
    }
}

/// The interfaces that one has and the other has not.
fn names_beside(one: &Topology, other: &Topology) -> Vec<String> {
    one.interfaces.iter().filter(|i| other.dev(&i.name).is_none()).map(|i| i.name.clone()).collect()
}

/// The addresses that interfaces had and have no more; the places are those of `before`, which `after` keeps.
fn lost<'a>(before: &'a Topology, after: &'a Topology) -> impl Iterator<Item = (Dev, IpAddr)> + 'a {
    before.interfaces.iter().enumerate().flat_map(move |(at, was)| {
        let dev = Dev(at as u16);
        let has = move |address: IpAddr| {
            after.interface(dev).is_some_and(|i| i.addresses.iter().any(|net| net.addr() == address))
        };
        was.addresses.iter().map(|net| net.addr()).filter(move |a| !has(*a)).map(move |a| (dev, a))
    })
}

#[cfg(test)]
mod tests;
