//! Stop 6: where a packet goes, from its addresses alone.
//!
//! ```text
//!  source fit to be one? ─► own address, broadcast, joined group? ─► longest prefix ─► source fit to be forwarded?
//!        no: Refused              yes: Local                           none: NoRoute       no: Refused
//! ```
//! Routes come from three places, as in Linux: the local table (own addresses, directed broadcasts, 127.0.0.0/8, subnet-router
//! anycast), which is asked first; the prefixes on each link; the static routes. Of equal prefixes the first wins, that of an
//! address before a static one.
//!
//! # What Linux does with odd addresses
//! Measured on 6.18, forwarding on, `rp_filter` 0, `accept_local` 0; a packet that came in on a link:
//!
//! | IPv4 | | IPv6 | |
//! |---|---|---|---|
//! | from 224.0.0.0/4, 255.255.255.255 | refused | from ff00::/8, or from or to ::1 | refused before the prerouting hook |
//! | from 127.0.0.0/8, to 127.0.0.0/8 | refused | to ff00::/16, ff01::/16 | refused before the prerouting hook |
//! | from an own address | refused, also to broadcast and multicast | from an own address | forwarded, delivered |
//! | from 0.0.0.0 | refused, but for broadcast to 255.255.255.255 or 0.0.0.0, and joined groups | from :: | delivered; not forwarded to another link |
//! | to 0.0.0.0 | refused (from 0.0.0.0: broadcast) | to :: | by the routes |
//! | to 255.255.255.255, a directed broadcast of any interface | delivered | to prefix:: of an own address (under /127) | delivered (anycast) |
//! | to 224.0.0.1 | delivered | to ff02::1, ff02::2, ff05::2, solicited-node of an own address | delivered |
//! | to another group | refused (not joined) | to another group | refused (not joined) |
//! | from or to 240.0.0.0/4, 0.1.2.3, 169.254.0.0/16 | by the routes | to fe80::/10 | own address of that interface: delivered; else on that link |
//! | from a broadcast address of a subnet | by the routes; refused where redirects are sent and it goes back out | from fe80::/10 to another link | refused, answered (beyond scope) |
//! | to the first address of a prefix | by the routes (unicast since 5.14) | | |
//!
//! With `rp_filter` 1, IPv4 packets are refused whose source is routed to another interface or nowhere, with 2 those whose source is
//! routed nowhere; what has no route itself is answered all the same.
//!
//! "Refused" is silent and comes after the prerouting hook: the packet has been tracked, but never is confirmed.
//!
//! # Sources
//! The table above: raw packets into a veth of a forwarding namespace, hooks counted by nft. RFC 1122 section 3.2.1.3, RFC 4291
//! sections 2.5.6, 2.6.1 and 2.7, RFC 6724 (source addresses).

use crate::link::Mac;
use crate::topology::{Dev, Topology};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use std::hash::BuildHasherDefault;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use uct_engine::RpFilter;

mod ranges;

use ranges::{Ranges, Way};

/// Hashed without a seed: the keys are the router's own addresses, and no packet can add one.
type Set<K> = std::collections::HashSet<K, BuildHasherDefault<ahash::AHasher>>;
type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<ahash::AHasher>>;

/// What an IPv4 router without any address sends errors from (RFC 7600 section 4.8).
const NO_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// 224.0.0.1, which every host has joined (RFC 1112).
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// The groups every IPv6 router has joined (RFC 4291 section 2.8) that can be reached over a link.
const ROUTER_GROUPS: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2),
];

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Out by an interface.
    Forward(Hop),
    /// To the router itself.
    Local(Delivery),
    /// Nowhere: no prefix holds the destination. Linux answers "network unreachable" (ICMP 3/0, ICMPv6 1/0).
    NoRoute,
    /// Nowhere: the addresses are not fit for it.
    Refused(Refusal),
}

/// The next step of a forwarded packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The interface it leaves by.
    pub dev: Dev,
    /// Whose link address it is sent to: the gateway, or the destination itself.
    pub next: IpAddr,
}

/// As what a packet is delivered to the router itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// It is to an own address. Only such packets are answered with ICMP errors.
    Unicast,
    /// It is to all on a link.
    Broadcast,
    /// It is to a group the router has joined.
    Multicast,
}

/// Why a packet's addresses are not fit for a way onward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Linux counts and logs it as a martian source.
    #[error("the source address cannot have come from a link (martian source)")]
    MartianSource,
    /// Linux counts and logs it as a martian destination.
    #[error("the destination address cannot be reached over a link (martian destination)")]
    MartianDestination,
    /// Multicast that the router has not joined; it routes none.
    #[error("the destination is a group that the router has not joined")]
    NotJoined,
    /// The way back to the source does not lead over the interface where the packet came in.
    #[error("the source address is not reached over the interface where the packet came in (rp_filter)")]
    ReversePath,
    /// A link-local source and another link. Linux answers ICMPv6 1/2.
    #[error("the source address is link-local, the destination on another link (beyond scope)")]
    BeyondScope,
}

/// A route as it is looked up.
#[derive(Clone, Copy, Debug)]
struct Entry {
    dev: Dev,
    gateway: Option<IpAddr>,
    /// The own address on that prefix, if the route follows from one.
    source: Option<IpAddr>,
}

impl Entry {
    fn hop(&self, to: IpAddr) -> Hop {
        Hop { dev: self.dev, next: self.gateway.unwrap_or(to) }
    }
}

/// The routes of a router. Fixed once built; a lookup reads two hash tables and one trie, and in IPv4 mostly only a short list.
#[derive(Clone, Debug)]
pub struct Routes {
    v4: PrefixMap<Ipv4Net, Entry>,
    /// What `v4`, `own4` and `broadcast` say, as ranges.
    ranges: Ranges,
    v6: PrefixMap<Ipv6Net, Entry>,
    own4: Set<Ipv4Addr>,
    broadcast: Map<Ipv4Addr, Dev>,
    /// Own and anycast addresses, but for those of link scope.
    own6: Set<Ipv6Addr>,
    /// Own and anycast addresses of link scope, each on its link.
    own6_link: Set<(Dev, Ipv6Addr)>,
    groups: Set<(Dev, Ipv6Addr)>,
    /// Per interface, in order: the addresses packets of its own may carry.
    addresses: Vec<Vec<IpNet>>,
}

impl Routes {
    /// Builds the tables.
    pub fn new(topology: &Topology) -> Self {
        let mut routes = Routes {
            v4: PrefixMap::new(),
            ranges: Ranges::default(),
            v6: PrefixMap::new(),
            own4: Set::default(),
            broadcast: Map::default(),
            own6: Set::default(),
            own6_link: Set::default(),
            groups: Set::default(),
            addresses: Vec::new(),
        };
        for (i, interface) in topology.interfaces.iter().enumerate() {
            let dev = Dev(i as u16);
            let mut addresses = interface.addresses.clone();
            addresses.extend(link_local(&addresses, interface.mac));
            for net in &addresses {
                match net {
                    IpNet::V4(net) => routes.own_v4(dev, *net),
                    IpNet::V6(net) => routes.own_v6(dev, *net),
                }
            }
            routes.addresses.push(addresses);
        }
        for route in &topology.routes {
            let entry = Entry { dev: route.dev, gateway: route.via, source: None };
            routes.add(route.to, entry);
        }
        routes.ranges = routes.ranges_v4();
        routes
    }

    fn ranges_v4(&self) -> Ranges {
        /// Where the addresses begin that are nobody's own: "this host", loopback, multicast, broadcast; and what comes after.
        const SPECIAL: [u32; 6] = [1, 127 << 24, 128 << 24, 224 << 24, 240 << 24, u32::MAX];
        let after = |last: Ipv4Addr| last.to_bits().checked_add(1);
        let single = |address: &Ipv4Addr| [Some(address.to_bits()), after(*address)];
        let changes = self.v4.iter().flat_map(|(net, _)| [Some(net.network().to_bits()), after(net.broadcast())]);
        let changes = changes.chain(self.own4.iter().chain(self.broadcast.keys()).flat_map(single));
        Ranges::new(changes.flatten().chain(SPECIAL).collect(), |address| {
            let is_odd = address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_broadcast()
                || self.own4.contains(&address)
                || self.broadcast.contains_key(&address);
            match self.longest_v4(address) {
                _ if is_odd => Way::Odd,
                None => Way::None,
                Some(Entry { dev, gateway: Some(IpAddr::V4(gateway)), .. }) => Way::Route(*dev, Some(*gateway)),
                Some(Entry { dev, gateway: None, .. }) => Way::Route(*dev, None),
                Some(Entry { gateway: Some(IpAddr::V6(_)), .. }) => Way::Odd,
            }
        })
    }

    fn own_v4(&mut self, dev: Dev, net: Ipv4Net) {
        self.own4.insert(net.addr());
        // A /31 and a /32 have no broadcast address (RFC 3021).
        if net.prefix_len() <= 30 {
            self.broadcast.entry(net.broadcast()).or_insert(dev);
        }
        self.add(IpNet::V4(net.trunc()), Entry { dev, gateway: None, source: Some(IpAddr::V4(net.addr())) });
    }

    fn own_v6(&mut self, dev: Dev, net: Ipv6Net) {
        // Every router answers to the prefix itself (RFC 4291 section 2.6.1), but not on point-to-point links (RFC 6164).
        let anycast = (net.prefix_len() < 127).then(|| net.trunc().addr());
        for own in std::iter::once(net.addr()).chain(anycast) {
            if own.is_unicast_link_local() {
                self.own6_link.insert((dev, own));
            } else {
                self.own6.insert(own);
            }
            self.groups.insert((dev, solicited_node(own)));
        }
        self.groups.extend(ROUTER_GROUPS.map(|group| (dev, group)));
        if !net.addr().is_unicast_link_local() {
            self.add(IpNet::V6(net.trunc()), Entry { dev, gateway: None, source: Some(IpAddr::V6(net.addr())) });
        }
    }

    /// Adds a route unless there is one to the same prefix.
    fn add(&mut self, to: IpNet, entry: Entry) {
        match to {
            IpNet::V4(to) => {
                self.v4.entry(to).or_insert(entry);
            }
            IpNet::V6(to) => {
                self.v6.entry(to).or_insert(entry);
            }
        }
    }

    /// Whether a packet from a link is thrown away before the prerouting hook, that is before it is tracked.
    pub fn refuse_early(source: IpAddr, destination: IpAddr) -> Option<Refusal> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) else { return None };
        // Scope 0 is reserved and scope 1 never leaves an interface (RFC 4291 section 2.7).
        let unreachable_group = matches!(destination.octets(), [0xff, scope, ..] if scope & 0x0f <= 1);
        if source.is_multicast() || source.is_loopback() {
            Some(Refusal::MartianSource)
        } else if destination.is_loopback() || unreachable_group {
            Some(Refusal::MartianDestination)
        } else {
            None
        }
    }

    /// Where a packet goes that came in by `iif`.
    #[inline]
    pub fn input(&self, iif: Dev, source: IpAddr, destination: IpAddr) -> Answer {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                match (self.ranges.way(source), self.ranges.way(destination)) {
                    (Way::Odd, _) | (_, Way::Odd) => self.input_v4(source, destination),
                    (_, Way::None) => Answer::NoRoute,
                    (_, Way::Route(dev, gateway)) => {
                        Answer::Forward(Hop { dev, next: IpAddr::V4(gateway.unwrap_or(destination)) })
                    }
                }
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.input_v6(iif, source, destination),
            // No packet has addresses of two versions; a translator that made one has no route for it.
            _ => Answer::NoRoute,
        }
    }

    /// One rule after the other.
    fn input_v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Answer {
        use Refusal::{MartianDestination, MartianSource, NotJoined};
        let own_source = self.own4.contains(&source);
        if source.is_multicast() || source.is_broadcast() || source.is_loopback() {
            return Answer::Refused(MartianSource);
        }
        let to_all = destination.is_broadcast() || (source.is_unspecified() && destination.is_unspecified());
        let local = if to_all {
            Some(Delivery::Broadcast)
        } else if destination == ALL_SYSTEMS {
            Some(Delivery::Multicast)
        } else if destination.is_multicast() {
            return Answer::Refused(NotJoined);
        } else if source.is_unspecified() {
            return Answer::Refused(MartianSource);
        } else if destination.is_unspecified() || destination.is_loopback() {
            return Answer::Refused(MartianDestination);
        } else if self.own4.contains(&destination) {
            Some(Delivery::Unicast)
        } else {
            self.broadcast.contains_key(&destination).then_some(Delivery::Broadcast)
        };
        match (local, self.longest_v4(destination)) {
            (Some(_), _) | (None, Some(_)) if own_source => Answer::Refused(MartianSource),
            (Some(delivery), _) => Answer::Local(delivery),
            (None, Some(entry)) => Answer::Forward(entry.hop(IpAddr::V4(destination))),
            (None, None) => Answer::NoRoute,
        }
    }

    fn input_v6(&self, iif: Dev, source: Ipv6Addr, destination: Ipv6Addr) -> Answer {
        if let Some(refusal) = Routes::refuse_early(IpAddr::V6(source), IpAddr::V6(destination)) {
            return Answer::Refused(refusal);
        }
        if destination.is_multicast() {
            let joined = self.groups.contains(&(iif, destination));
            return if joined { Answer::Local(Delivery::Multicast) } else { Answer::Refused(Refusal::NotJoined) };
        }
        if self.own6.contains(&destination) || self.own6_link.contains(&(iif, destination)) {
            return Answer::Local(Delivery::Unicast);
        }
        let hop = if destination.is_unicast_link_local() {
            Hop { dev: iif, next: IpAddr::V6(destination) }
        } else {
            match self.longest_v6(destination) {
                Some(entry) => entry.hop(IpAddr::V6(destination)),
                None => return Answer::NoRoute,
            }
        };
        // Back to where it came from, Linux asks nothing about the source (and sends a redirect).
        if hop.dev != iif && source.is_unspecified() {
            return Answer::Refused(Refusal::MartianSource);
        }
        if hop.dev != iif && source.is_unicast_link_local() {
            return Answer::Refused(Refusal::BeyondScope);
        }
        Answer::Forward(hop)
    }

    /// Whether an address means all hosts on a link: 255.255.255.255, or a directed broadcast of an own prefix.
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => a.is_broadcast() || self.broadcast.contains_key(&a),
            IpAddr::V6(_) => false,
        }
    }

    /// Where one of the router's own packets goes.
    pub fn output(&self, destination: IpAddr) -> Answer {
        let entry = match destination {
            IpAddr::V4(to) if self.own4.contains(&to) || to.is_loopback() => return Answer::Local(Delivery::Unicast),
            IpAddr::V4(to) => match self.broadcast.get(&to) {
                Some(dev) => return Answer::Forward(Hop { dev: *dev, next: destination }),
                None => self.longest_v4(to),
            },
            IpAddr::V6(to) if self.own6.contains(&to) || to.is_loopback() => return Answer::Local(Delivery::Unicast),
            IpAddr::V6(to) => self.longest_v6(to),
        };
        match entry {
            Some(entry) => Answer::Forward(entry.hop(destination)),
            None => Answer::NoRoute,
        }
    }

    /// The addresses of an interface, that of link scope among them.
    pub fn addresses(&self, dev: Dev) -> &[IpNet] {
        self.addresses.get(dev.index()).map_or(&[], Vec::as_slice)
    }

    /// The same for a packet that is to leave by `link` if its destination is only known there.
    pub fn output_on(&self, link: Option<Dev>, destination: IpAddr) -> Answer {
        match (link, destination) {
            (Some(dev), IpAddr::V6(to)) if to.is_unicast_link_local() => {
                if self.own6_link.contains(&(dev, to)) {
                    Answer::Local(Delivery::Unicast)
                } else {
                    Answer::Forward(Hop { dev, next: destination })
                }
            }
            _ => self.output(destination),
        }
    }

    /// Whether the router itself has an address (on `iif`, if it is of link scope).
    pub fn is_own(&self, iif: Dev, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.own4.contains(&a),
            IpAddr::V6(a) => self.own6.contains(&a) || self.own6_link.contains(&(iif, a)),
        }
    }

    /// The source address of an own packet to `destination`, if the router has any: what a socket that is bound to nothing
    /// would send from.
    pub fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let entry = match destination {
            IpAddr::V4(to) => self.longest_v4(to),
            IpAddr::V6(to) => self.longest_v6(to),
        }?;
        match (entry.source, destination) {
            (Some(source), IpAddr::V4(_)) => Some(source),
            // A route on the link without an address of its own: the first address.
            (None, IpAddr::V4(_)) => self.source_on(entry.dev, entry.gateway),
            (_, IpAddr::V6(to)) => self.select_v6(entry.dev, to),
        }
    }

    /// The source address of an ICMP error about a packet that came in by `iif`.
    ///
    /// Measured: the address it was for, if that is an own one; else IPv4 asks the routes back to the sender
    /// (`icmp_errors_use_inbound_ifaddr` 0) and IPv6 the addresses of the incoming interface. A router without addresses
    /// answers from 192.0.0.8 (RFC 7600) or ::1.
    pub fn error_source(&self, iif: Dev, sender: IpAddr, destination: IpAddr) -> IpAddr {
        if self.is_own(iif, destination) {
            return destination;
        }
        match sender {
            IpAddr::V4(_) => self.source_for(sender).unwrap_or(IpAddr::V4(NO_ADDRESS)),
            IpAddr::V6(to) => self.select_v6(iif, to).unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        }
    }

    /// The address that masquerading gives packets which leave by `hop` for `destination`.
    pub fn masquerade(&self, hop: Hop, destination: IpAddr) -> Option<IpAddr> {
        match destination {
            IpAddr::V4(_) => self.source_on(hop.dev, Some(hop.next)),
            IpAddr::V6(to) => self.select_v6(hop.dev, to),
        }
    }

    /// The first address of an interface: what `redirect` sends to.
    pub fn primary(&self, dev: Dev, like: IpAddr) -> Option<IpAddr> {
        let of_family = |n: &&IpNet| n.addr().is_ipv4() == like.is_ipv4();
        self.addresses.get(dev.index())?.iter().find(of_family).map(IpNet::addr)
    }

    /// The IPv4 address of `dev` that shares its prefix with `near`, else its first, else the first of any interface.
    fn source_on(&self, dev: Dev, near: Option<IpAddr>) -> Option<IpAddr> {
        let of = |addresses: &Vec<IpNet>| addresses.iter().find(|n| n.addr().is_ipv4()).map(IpNet::addr);
        let own = self.addresses.get(dev.index())?;
        let sharing = own.iter().find(|n| near.is_some_and(|near| n.contains(&near))).map(IpNet::addr);
        sharing.or_else(|| of(own)).or_else(|| self.addresses.iter().find_map(of))
    }

    /// RFC 6724 section 5, rules 1, 2, 5, 6 and 8 (a router has no deprecated, home or temporary addresses).
    fn select_v6(&self, dev: Dev, to: Ipv6Addr) -> Option<IpAddr> {
        let candidates = self.addresses.iter().enumerate().flat_map(|(i, nets)| {
            nets.iter().filter_map(move |n| match n {
                IpNet::V6(n) => Some((Dev(i as u16), n)),
                IpNet::V4(_) => None,
            })
        });
        let rank = |(on, net): &(Dev, &Ipv6Net)| {
            let (address, scope_to) = (net.addr(), scope(to));
            let own = scope(address);
            // Enough scope: the smallest that is enough. Not enough: the largest there is.
            let fit = if own >= scope_to { 32 - i32::from(own) } else { i32::from(own) - 32 };
            let common = (address.to_bits() ^ to.to_bits()).leading_zeros().min(u32::from(net.prefix_len()));
            (address == to, fit, *on == dev, label(address) == label(to), common)
        };
        // Link-local addresses of other links are no candidates.
        let usable = candidates.filter(|(on, n)| *on == dev || !n.addr().is_unicast_link_local());
        usable
            .reduce(|best, next| if rank(&next) > rank(&best) { next } else { best })
            .map(|(_, n)| IpAddr::V6(n.addr()))
    }

    /// Whether an IPv4 packet with this way before it is refused for where it came from.
    ///
    /// `filter` is `rp_filter`. `redirects` says that senders are told of shorter ways: to do so Linux asks for the way back to
    /// the source of what goes back out by the same interface, and then finds out that it is a broadcast address.
    #[inline]
    pub fn refuse_source(
        &self,
        iif: Dev,
        source: IpAddr,
        way: Answer,
        filter: RpFilter,
        redirects: bool,
    ) -> Option<Refusal> {
        let IpAddr::V4(source) = source else { return None };
        let goes_back = match way {
            Answer::Forward(hop) => hop.dev == iif,
            Answer::Local(_) => false,
            Answer::NoRoute | Answer::Refused(_) => return None,
        };
        let filters = filter != RpFilter::Off;
        if source.is_unspecified() || !(filters || (goes_back && redirects)) {
            return None;
        }
        self.refuse_way_back(iif, source, filter)
    }

    /// The same where it is asked for.
    fn refuse_way_back(&self, iif: Dev, source: Ipv4Addr, filter: RpFilter) -> Option<Refusal> {
        let filters = filter != RpFilter::Off;
        if self.broadcast.contains_key(&source) {
            return Some(Refusal::MartianSource);
        }
        let has_address = || self.addresses(iif).iter().any(|net| net.addr().is_ipv4());
        let fits = match self.longest_v4(source) {
            None => false,
            Some(entry) if entry.dev == iif => true,
            Some(_) => filter == RpFilter::Loose && has_address(),
        };
        (filters && !fits).then_some(Refusal::ReversePath)
    }

    /// Whether an IPv4 address is on the link of `dev`, with no gateway between.
    pub fn is_neighbor(&self, dev: Dev, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        self.longest_v4(address).is_some_and(|entry| entry.dev == dev && entry.gateway.is_none())
    }

    fn longest_v4(&self, to: Ipv4Addr) -> Option<&Entry> {
        self.v4.get_lpm(&Ipv4Net::from(to)).map(|(_, entry)| entry)
    }

    fn longest_v6(&self, to: Ipv6Addr) -> Option<&Entry> {
        self.v6.get_lpm(&Ipv6Net::from(to)).map(|(_, entry)| entry)
    }
}

/// The link-local address that Linux gives an interface with IPv6 by itself, from its link address (RFC 4291 appendix A).
fn link_local(addresses: &[IpNet], mac: Option<Mac>) -> Option<IpNet> {
    let v6 = |n: &&IpNet| n.addr().is_ipv6();
    let given = |n: &IpNet| matches!(n.addr(), IpAddr::V6(a) if a.is_unicast_link_local());
    addresses.iter().find(v6)?;
    let Mac([a, b, c, d, e, f]) = mac.filter(|_| !addresses.iter().any(given))?;
    let word = |high, low| u16::from_be_bytes([high, low]);
    let address = Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f));
    Ipv6Net::new(address, 64).ok().map(IpNet::V6)
}

/// ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// RFC 6724 section 3.1: scopes in the numbers of multicast.
fn scope(address: Ipv6Addr) -> u8 {
    match address.octets() {
        [0xff, flags, ..] => flags & 0x0f,
        _ if address.is_loopback() || address.is_unicast_link_local() => 2,
        [0xfe, second, ..] if second & 0xc0 == 0xc0 => 5,
        _ => 14,
    }
}

/// RFC 6724 section 2.1: the labels of the default policy table.
fn label(address: Ipv6Addr) -> u8 {
    let s = address.segments();
    match s {
        _ if address.is_loopback() => 0,
        [0, 0, 0, 0, 0, 0xffff, ..] => 4,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        [0x2002, ..] => 2,
        [0x2001, 0, ..] => 5,
        [first, ..] if first & 0xfe00 == 0xfc00 => 13,
        [first, ..] if first & 0xffc0 == 0xfec0 => 11,
        [0x3ffe, ..] => 12,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
