//! A topology for a capture that comes without one.
//!
//! What can be known from frames alone is which side an address is on; the router's own addresses cannot. So the inferred
//! router has no addresses, and routes that lie on the link:
//!
//! | the capture has | interfaces | routes | a frame enters |
//! |---|---|---|---|
//! | one interface, or nameless ones | `inside`, `outside` | inside prefixes to `inside`, default to `outside` | where its source address is routed to |
//! | several named interfaces | the same names | the inside /24s and /64s seen as sources there; default to the one with most sources that are not inside | where the capture says; by an interface that shows up later, nowhere |
//!
//! "Inside" is private and unique-local space (RFC 1918, RFC 6598, RFC 4193, link-local), unless the user names prefixes.

use super::{DEFAULT_MTU, Dev, Interface, Route, Topology};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many networks are remembered per interface; a scan of spoofed sources must not fill memory.
const MAX_NETS: usize = 4096;
/// How many routes an interface is given at most: those with the most packets.
const MAX_ROUTES: usize = 64;
const NAME_INSIDE: &str = "inside";
const NAME_OUTSIDE: &str = "outside";

/// Whether an address is of private or unique-local space: the default idea of "inside".
pub fn is_inside(address: IpAddr) -> bool {
    default_inside().iter().any(|p| p.contains(&address))
}

fn default_inside() -> [IpNet; 7] {
    let v4 = |a, b, c, len| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), len));
    let v6 = |first, len| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), len));
    [
        v4(10, 0, 0, 8),
        v4(172, 16, 0, 12),
        v4(192, 168, 0, 16),
        v4(100, 64, 0, 10),
        v4(169, 254, 0, 16),
        v6(0xfc00, 7),
        v6(0xfe80, 10),
    ]
}

#[derive(Default)]
struct Sources {
    /// Packets per inside network.
    inside: BTreeMap<IpNet, u64>,
    /// Packets from elsewhere.
    outside: u64,
}

/// Collects what packets tell, a bounded amount of it.
pub struct Inference {
    prefixes: Vec<IpNet>,
    seen: BTreeMap<String, Sources>,
    nameless: u64,
}

/// An inferred topology, and how frames find their way into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// The topology.
    pub topology: Topology,
    /// How frames enter.
    pub entry: Entry,
    /// What was inferred, in sentences for the user.
    pub notes: Vec<String>,
}

/// How a frame of a capture finds the interface it enters by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// By the capture's interface name; one that the topology lacks is a fault.
    Named,
    /// By the capture's interface name; frames of one that was not there when the topology was inferred are refused.
    NamedIfKnown,
    /// By its source address: the interface that answers to it would leave by.
    Routed,
}

impl Inference {
    /// Starts with the prefixes that count as inside; none means private and unique-local space.
    pub fn new(inside: &[IpNet]) -> Self {
        let prefixes = if inside.is_empty() { default_inside().to_vec() } else { inside.to_vec() };
        Inference { prefixes, seen: BTreeMap::new(), nameless: 0 }
    }

    /// Takes in a packet that arrived on `interface`, if the capture names it.
    pub fn see(&mut self, interface: Option<&str>, source: IpAddr) {
        let Some(name) = interface else {
            self.nameless += 1;
            return;
        };
        if !self.seen.contains_key(name) {
            if self.seen.len() >= MAX_NETS {
                return;
            }
            self.seen.insert(name.into(), Sources::default());
        }
        let inside = self.prefixes.iter().any(|p| p.contains(&source));
        let Some(sources) = self.seen.get_mut(name) else { return };
        if !inside {
            sources.outside += 1;
            return;
        }
        let net = network(source);
        let full = sources.inside.len() >= MAX_NETS;
        match sources.inside.get_mut(&net) {
            Some(count) => *count += 1,
            None if !full => {
                sources.inside.insert(net, 1);
            }
            None => {}
        }
    }

    /// What follows from it.
    pub fn finish(self) -> Inferred {
        if self.nameless > 0 || self.seen.len() < 2 { self.two_sides() } else { self.by_name() }
    }

    fn two_sides(self) -> Inferred {
        let interface = |name: &str| Interface { name: name.into(), addresses: vec![], mac: None, mtu: DEFAULT_MTU };
        let (inside, outside) = (Dev(0), Dev(1));
        let mut routes: Vec<Route> = Vec::new();
        for to in &self.prefixes {
            if routes.iter().all(|r| r.to != to.trunc()) {
                routes.push(Route { to: to.trunc(), via: None, dev: inside });
            }
        }
        for default in defaults(outside) {
            if routes.iter().all(|r| r.to != default.to) {
                routes.push(default);
            }
        }
        let list: Vec<String> = self.prefixes.iter().map(IpNet::to_string).collect();
        Inferred {
            topology: Topology {
                interfaces: vec![interface(NAME_INSIDE), interface(NAME_OUTSIDE)],
                routes,
                neighbors: vec![],
            },
            entry: Entry::Routed,
            notes: vec![
                format!("one interface in the capture: sources in {} are taken as {NAME_INSIDE}", list.join(", ")),
                format!("all others are taken as {NAME_OUTSIDE}"),
            ],
        }
    }

    fn by_name(self) -> Inferred {
        let mut topology = Topology::default();
        let mut notes = vec![];
        // A network belongs where most of its packets came from: replies of a capture of both directions are fewer kinds.
        let mut owner: BTreeMap<IpNet, (u64, usize)> = BTreeMap::new();
        for (i, sources) in self.seen.values().enumerate() {
            for (net, count) in &sources.inside {
                let best = owner.entry(*net).or_insert((0, i));
                if *count > best.0 {
                    *best = (*count, i);
                }
            }
        }
        let outside = self.seen.values().enumerate().max_by_key(|(i, s)| (s.outside, std::cmp::Reverse(*i)));
        let outside = outside.filter(|(_, s)| s.outside > 0).map(|(i, _)| i);
        for (i, (name, _)) in self.seen.iter().enumerate() {
            let dev = Dev(i as u16);
            topology.interfaces.push(Interface { name: name.clone(), addresses: vec![], mac: None, mtu: DEFAULT_MTU });
            let mut nets: Vec<(u64, IpNet)> =
                owner.iter().filter(|(_, (_, o))| *o == i).map(|(net, (count, _))| (*count, *net)).collect();
            nets.sort_by_key(|(count, net)| (std::cmp::Reverse(*count), *net));
            nets.truncate(MAX_ROUTES);
            let list: Vec<String> = nets.iter().map(|(_, net)| net.to_string()).collect();
            if !list.is_empty() {
                notes.push(format!("{name}: {} on its link", list.join(", ")));
            }
            topology.routes.extend(nets.into_iter().map(|(_, to)| Route { to, via: None, dev }));
            if outside == Some(i) {
                notes.push(format!("{name}: the way to everything else"));
            }
        }
        if let Some(i) = outside {
            topology.routes.extend(defaults(Dev(i as u16)));
        }
        Inferred { topology, entry: Entry::NamedIfKnown, notes }
    }
}

/// The network a host is usually in: a /24, a /64.
fn network(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(a) => IpNet::V4(Ipv4Net::new_assert(a, 24).trunc()),
        IpAddr::V6(a) => IpNet::V6(Ipv6Net::new_assert(a, 64).trunc()),
    }
}

fn defaults(dev: Dev) -> Vec<Route> {
    let to = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    to.into_iter().map(|to| Route { to, via: None, dev }).collect()
}
