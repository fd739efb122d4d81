//! A topology for a capture that comes without one.
//!
//! What can be known from frames alone is which side an address is on, so all routes lie on the link:
//!
//! | the capture has | interfaces | routes | a frame enters |
//! |---|---|---|---|
//! | one interface, or nameless ones | `inside`, `outside` | inside prefixes to `inside`, default to `outside` | where its source address is routed to |
//! | several named interfaces | the same names | the inside /24s and /64s seen as sources there, and others that no packet came from elsewhere; default to the one with most sources that are not inside | where the capture says; by an interface that shows up later, nowhere |
//!
//! Of the router's own addresses only the one towards the outside can be guessed: where a named interface leads outside and
//! nine in ten packets that arrive there are for one address, which no inside host has, it is the router's. Else an address
//! for documentation that the frames do not use stands for it, so that masquerading has an address to lend.
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
/// What may stand for the router's outside address (RFC 5737, RFC 3849).
const STAND_INS: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1)),
];

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
    /// Packets per network that is not inside.
    outside: BTreeMap<IpNet, u64>,
    /// Packets to single hosts that are not inside.
    to: BTreeMap<IpAddr, u64>,
}

/// Collects what packets tell, a bounded amount of it.
pub struct Inference {
    prefixes: Vec<IpNet>,
    seen: BTreeMap<String, Sources>,
    nameless: u64,
    /// Which of [`STAND_INS`] the frames use themselves.
    used: [bool; STAND_INS.len()],
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
    /// By its source address: the interface that answers to it would leave by. The capture holds both ways of one link.
    Routed,
}

impl Inference {
    /// Starts with the prefixes that count as inside; none means private and unique-local space.
    pub fn new(inside: &[IpNet]) -> Self {
        let prefixes = if inside.is_empty() { default_inside().to_vec() } else { inside.to_vec() };
        Inference { prefixes, seen: BTreeMap::new(), nameless: 0, used: [false; STAND_INS.len()] }
    }

    /// Takes in a packet that arrived on `interface`, if the capture names it.
    pub fn see(&mut self, interface: Option<&str>, source: IpAddr, destination: IpAddr) {
        for (used, stand_in) in self.used.iter_mut().zip(STAND_INS) {
            *used |= source == stand_in || destination == stand_in;
        }
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
        let is_inside = |address| self.prefixes.iter().any(|p| p.contains(&address));
        let (inside, to_inside) = (is_inside(source), is_inside(destination));
        let Some(sources) = self.seen.get_mut(name) else { return };
        let is_one = !destination.is_multicast() && destination != IpAddr::V4(Ipv4Addr::BROADCAST);
        if is_one && !to_inside {
            count(&mut sources.to, destination);
        }
        count(if inside { &mut sources.inside } else { &mut sources.outside }, network(source));
    }

    /// The first address of a family that may stand for the router's own.
    fn stand_in(&self, v4: bool) -> Option<IpAddr> {
        let mut free = STAND_INS.iter().zip(self.used).filter(|(address, used)| !used && address.is_ipv4() == v4);
        free.next().map(|(address, _)| *address)
    }

    /// The router's own addresses on the interface that leads outside, and what to say about them.
    fn own(&self, name: &str) -> (Vec<IpNet>, Option<String>) {
        let (mut known, mut stand_ins) = (Vec::new(), Vec::new());
        for v4 in [true, false] {
            let favourite = self.seen.get(name).and_then(|sources| favourite(&sources.to, v4));
            let is_behind = |address| {
                let mut others = self.seen.iter().filter(|(other, _)| *other != name);
                others.any(|(_, sources)| sources.outside.contains_key(&network(address)))
            };
            match favourite.filter(|address| !is_behind(*address)) {
                Some(address) => known.push(address),
                None => stand_ins.extend(self.stand_in(v4)),
            }
        }
        let list = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ");
        let note = match (known.as_slice(), stand_ins.as_slice()) {
            ([], stand_ins) => {
                let them = if stand_ins.len() == 1 { "stands" } else { "stand" };
                Some(format!("{name}: the router's address is not known; {} {them} for it", list(stand_ins)))
            }
            (known, _) => Some(format!("{name}: {} is the router's own address", list(known))),
        };
        (known.into_iter().chain(stand_ins).map(IpNet::from).collect(), note)
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
        // What arrives on the one link of the capture is for anyone.
        let (addresses, note) = Inference { seen: BTreeMap::new(), ..self }.own(NAME_OUTSIDE);
        Inferred {
            topology: Topology {
                interfaces: vec![interface(NAME_INSIDE), Interface { addresses, ..interface(NAME_OUTSIDE) }],
                routes,
                neighbors: vec![],
            },
            entry: Entry::Routed,
            notes: [format!(
                "one interface in the capture: {NAME_INSIDE} is {}, {NAME_OUTSIDE} is everything else",
                list.join(", ")
            )]
            .into_iter()
            .chain(note)
            .collect(),
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
        let outside = self.seen.values().map(|s| s.outside.values().sum::<u64>()).enumerate();
        let outside = outside.max_by_key(|(i, packets)| (*packets, std::cmp::Reverse(*i)));
        let outside = outside.filter(|(_, packets)| *packets > 0).map(|(i, _)| i);
        // Public networks behind other interfaces than that.
        for (i, sources) in self.seen.values().enumerate().filter(|(i, _)| Some(*i) != outside) {
            for (net, count) in &sources.outside {
                let elsewhere = self.seen.values().enumerate().any(|(j, s)| j != i && s.outside.contains_key(net));
                if !elsewhere {
                    owner.insert(*net, (*count, i));
                }
            }
        }
        for (i, (name, _)) in self.seen.iter().enumerate() {
            let dev = Dev(i as u16);
            let (addresses, note) = if outside == Some(i) { self.own(name) } else { (vec![], None) };
            topology.interfaces.push(Interface { name: name.clone(), addresses, mac: None, mtu: DEFAULT_MTU });
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
                notes.extend(note);
            }
        }
        if let Some(i) = outside {
            topology.routes.extend(defaults(Dev(i as u16)));
        }
        Inferred { topology, entry: Entry::NamedIfKnown, notes }
    }
}

/// Counts one, if there is room.
fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    if counts.len() < MAX_NETS || counts.contains_key(&key) {
        *counts.entry(key).or_default() += 1;
    }
}

/// The address of a family that nine in ten packets are for.
fn favourite(to: &BTreeMap<IpAddr, u64>, v4: bool) -> Option<IpAddr> {
    let family = || to.iter().filter(|(address, _)| address.is_ipv4() == v4);
    let (address, most) = family().max_by_key(|(_, count)| **count)?;
    let all: u64 = family().map(|(_, count)| count).sum();
    (most * 10 >= all * 9).then_some(*address)
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
