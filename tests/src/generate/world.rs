//! The little world in which random scenarios play: one router, three links, few hosts.
//!
//! ```text
//!   .10 .11 .12                    .80 .81      198.51.100.7  .8  (behind .254)
//!    lan0 192.168.1.1 ── router ── wan0 203.0.113.1 ────────┘
//!                          │
//!                         dmz0 10.0.0.1   .5 .6
//! ```
//!
//! Few hosts and few ports, so that tuples collide. The world remembers the last packets that were sent and received,
//! so that an answer or an ICMP error can be about something real.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::random::Random;
use crate::observed::{LOCAL, Observed};
use crate::packet::build::frame;
use crate::scenario::{Interface, Neighbor, Route, Step, Topology};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A host outside the router.
#[derive(Clone, Debug)]
pub struct Host {
    /// The router's interface that it is behind.
    pub iface: &'static str,
    /// The hardware address from which its packets come.
    pub mac: String,
    /// Its addresses, IPv4 and IPv6.
    pub addresses: [IpAddr; 2],
}

impl Host {
    /// Its address of a family.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.addresses[family as usize]
    }
}

/// Where a packet starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// At a host, by number.
    Host(usize),
    /// At the router itself.
    Router,
}

/// A packet to be sent.
#[derive(Clone, Debug)]
pub struct Shot {
    /// By whom.
    pub from: Origin,
    /// From the IP header on.
    pub packet: Vec<u8>,
}

/// A packet that somebody has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who.
    pub by: Origin,
    /// From the IP header on.
    pub packet: Vec<u8>,
}

const MEMORY: usize = 12;
const LINKS: [(&str, u8, &str, &str); 3] = [
    ("lan0", 1, "192.168.1.", "fd00:1::"),
    ("wan0", 2, "203.0.113.", "2001:db8:2::"),
    ("dmz0", 3, "10.0.0.", "fd00:3::"),
];

/// Hosts by number: 0–2 inside, 3–4 on the outside link, 5–6 beyond the gateway, 7–8 in the middle.
pub const INSIDE: [usize; 3] = [0, 1, 2];
/// Hosts outside.
pub const OUTSIDE: [usize; 4] = [3, 4, 5, 6];
/// Hosts in the middle.
pub const MIDDLE: [usize; 2] = [7, 8];

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    /// The router and its neighbours.
    pub topology: Topology,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Packets that came out of the router, newest last.
    pub received: VecDeque<Seen>,
    /// Packets that were sent to it, newest last.
    pub sent: VecDeque<Seen>,
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

impl World {
    /// The world before the first packet.
    ///
    /// # Panics
    /// Never: its addresses are constants.
    #[must_use]
    pub fn new() -> World {
        let mut topology = Topology::default();
        let mut hosts = Vec::new();
        for (name, number, v4, v6) in LINKS {
            topology.interface.push(Interface {
                name: name.into(),
                mac: router_mac(number),
                addresses: vec![format!("{v4}1/24"), format!("{v6}1/64")],
                mtu: 1500,
            });
        }
        let mut host = |link: usize, last: &str| {
            let (iface, number, v4, v6) = LINKS[link];
            let mac = format!("02:00:00:00:0{number}:{last:0>2}");
            let (v4, v6) = (format!("{v4}{last}"), format!("{v6}{last}"));
            for address in [&v4, &v6] {
                topology.neighbor.push(Neighbor { address: address.clone(), mac: mac.clone(), dev: iface.into() });
            }
            hosts.push(Host { iface, mac, addresses: [v4.parse().expect("IPv4"), v6.parse().expect("IPv6")] });
        };
        for last in ["10", "11", "12"] {
            host(0, last);
        }
        for last in ["80", "81"] {
            host(1, last);
        }
        host(2, "5");
        host(2, "6");
        let (iface, number, v4, v6) = LINKS[1];
        let gateway = format!("02:00:00:00:0{number}:fe");
        for address in [format!("{v4}254"), format!("{v6}254")] {
            topology.neighbor.push(Neighbor { address, mac: gateway.clone(), dev: iface.into() });
        }
        for (to, via) in [("198.51.100.0/24", format!("{v4}254")), ("2001:db8:99::/64", format!("{v6}254"))] {
            topology.route.push(Route { to: to.into(), via: Some(via), dev: iface.into() });
        }
        // Addresses that rules may translate to, as hosts that are there but never speak: a packet for one of them that
        // belongs to no connection is forwarded instead of being looked for.
        for last in (2..=4).chain(10..=12) {
            for address in [format!("{v4}{last}"), format!("{v6}{last}")] {
                topology.neighbor.push(Neighbor { address, mac: gateway.clone(), dev: iface.into() });
            }
        }
        for last in [4, 7] {
            let address = format!("{}{last}", LINKS[2].2);
            topology.neighbor.push(Neighbor {
                address,
                mac: format!("02:00:00:00:03:0{last}"),
                dev: LINKS[2].0.into(),
            });
        }
        for address in [format!("{}77", LINKS[0].2), format!("{}77", LINKS[0].3)] {
            topology.neighbor.push(Neighbor { address, mac: "02:00:00:00:01:77".into(), dev: LINKS[0].0.into() });
        }
        for last in ["7", "8"] {
            let addresses = [format!("198.51.100.{last}"), format!("2001:db8:99::{last}")];
            let addresses = addresses.map(|address| address.parse().expect("an address"));
            hosts.insert(hosts.len() - 2, Host { iface, mac: gateway.clone(), addresses });
        }
        World { topology, hosts, received: VecDeque::new(), sent: VecDeque::new() }
    }

    /// The router's address on the link of `iface`.
    ///
    /// # Panics
    /// If there is no such interface.
    #[must_use]
    pub fn router_address(&self, iface: &str, family: Family) -> IpAddr {
        let interface = self.topology.interface.iter().find(|interface| interface.name == iface);
        let addresses = &interface.expect("a known interface").addresses;
        let mut parsed = addresses.iter().filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok());
        parsed.find(|address| address.is_ipv4() == (family == Family::V4)).expect("an address")
    }

    /// Whether an address is the router's.
    #[must_use]
    pub fn is_router(&self, address: IpAddr) -> bool {
        let addresses = self.topology.interface.iter().flat_map(|interface| &interface.addresses);
        addresses.filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok()).any(|own| own == address)
    }

    /// The host with an address.
    #[must_use]
    pub fn host_at(&self, address: IpAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.addresses.contains(&address))
    }

    /// The step that sends a packet, which is remembered.
    pub fn send(&mut self, shot: &Shot) -> Step {
        remember(&mut self.sent, Seen { by: shot.from, packet: shot.packet.clone() });
        match shot.from {
            Origin::Router => Step::Local { bytes: shot.packet.clone() },
            Origin::Host(number) => {
                let host = &self.hosts[number];
                let link = LINKS.iter().find(|link| link.0 == host.iface).map_or(0, |link| link.1);
                let bytes = frame(&router_mac(link), &host.mac, &shot.packet);
                Step::Frame { iface: host.iface.into(), bytes }
            }
        }
    }

    /// Takes note of what came out of the router.
    pub fn notice(&mut self, observed: &Observed) -> Vec<Seen> {
        let mut news = Vec::new();
        for emitted in &observed.out {
            let by = if emitted.iface == LOCAL {
                Origin::Router
            } else {
                let at = destination(&emitted.packet).and_then(|address| self.host_at(address));
                match at.or_else(|| self.hosts.iter().position(|host| host.iface == emitted.iface)) {
                    Some(number) => Origin::Host(number),
                    None => continue,
                }
            };
            let seen = Seen { by, packet: emitted.packet.clone() };
            remember(&mut self.received, seen.clone());
            news.push(seen);
        }
        news
    }

    /// One of the packets that somebody received or sent lately.
    pub fn recall(&self, random: &mut Random) -> Option<&Seen> {
        let memory = if random.chance(75) { &self.received } else { &self.sent };
        (!memory.is_empty()).then(|| &memory[random.below(memory.len())])
    }
}

fn router_mac(number: u8) -> String {
    format!("02:00:00:00:0{number}:01")
}

fn remember(memory: &mut VecDeque<Seen>, seen: Seen) {
    if memory.len() == MEMORY {
        memory.pop_front();
    }
    memory.push_back(seen);
}

/// The source address of an IP packet.
#[must_use]
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 12, 8)
}

/// The destination address of an IP packet.
#[must_use]
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 16, 24)
}

fn address(packet: &[u8], at4: usize, at6: usize) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at4..at4 + 4)?).ok()?)),
        6 => Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at6..at6 + 16)?).ok()?)),
        _ => None,
    }
}

/// Protocol and the offset of the transport header, for packets without extension headers.
#[must_use]
pub fn transport(packet: &[u8]) -> Option<(u8, usize)> {
    match packet.first()? >> 4 {
        4 => Some((*packet.get(9)?, usize::from(packet[0] & 15) * 4)),
        6 => Some((*packet.get(6)?, 40)),
        _ => None,
    }
}
