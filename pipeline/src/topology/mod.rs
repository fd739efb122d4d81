//! The router's surroundings: its interfaces, routes and neighbours.
//!
//! ```toml
//! [[interface]]
//! name = "lan0"                                          # as the capture's if_name has it
//! addresses = ["192.168.1.1/24", "2001:db8:1::1/64"]
//! mac = "02:00:00:00:01:01"                              # if absent, emitted frames carry 00:00:00:00:00:00
//! mtu = 1500                                             # the default
//!
//! [[interface]]
//! name = "wan0"
//! addresses = ["203.0.113.1/24"]
//!
//! [[route]]
//! to = "default"                                         # 0.0.0.0/0, or ::/0 if `via` is IPv6
//! via = "203.0.113.254"                                  # absent: the destinations are on the link
//! dev = "wan0"
//!
//! [[neighbor]]
//! address = "192.168.1.10"
//! mac = "02:00:00:00:01:02"
//! dev = "lan0"                                           # may be absent where one interface has the address on its link
//! ```
//!
//! # Invariants of a [`Topology`] that was read
//! - Names are unique, printable, not empty, and none is [`LOCAL`]. They may be longer than Linux allows, for captures come
//!   from other systems too.
//! - Every [`Dev`] is an index into `interfaces`.
//! - Every route's gateway is on a link of its interface, as the kernel demands of `ip route add`.
//! - Prefixes of routes have no bits set beyond their length.
//!
//! Anything else is refused with the line and the reason: a router that starts with half its routes would be a lie.
//!
//! # Sources
//! ip-address(8), ip-route(8): what they refuse of an address or a route is refused here.

mod infer;
mod read;
#[cfg(test)]
mod tests;

pub use infer::{Entry, Inference, Inferred, is_inside};
pub use read::{Place, TopologyError, prefix};

use crate::link::Mac;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// The interface name that stands for the router's own stack.
pub const LOCAL: &str = "local";
/// The MTU of an interface that states none, in bytes.
pub const DEFAULT_MTU: u32 = 1500;

/// An interface of the router: index into [`Topology::interfaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dev(pub u16);

impl Dev {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The router's surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Its interfaces, in the order of the file.
    pub interfaces: Vec<Interface>,
    /// Its static routes; those that follow from addresses are not among them.
    pub routes: Vec<Route>,
    /// Whose link address is known.
    pub neighbors: Vec<Neighbor>,
}

/// An interface of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses with the prefixes on its link. The first of a family is the primary one.
    pub addresses: Vec<IpNet>,
    /// Its link address.
    pub mac: Option<Mac>,
    /// The longest packet it takes, in bytes from the IP header on.
    pub mtu: u32,
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destinations.
    pub to: IpNet,
    /// The gateway; none if the destinations are on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub dev: Dev,
}

/// A host whose link address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address.
    pub address: IpAddr,
    /// Its link address.
    pub mac: Mac,
    /// The interface it is behind.
    pub dev: Dev,
}

impl Topology {
    /// The interface of that name.
    pub fn dev(&self, name: &str) -> Option<Dev> {
        self.interfaces.iter().position(|i| i.name == name).map(|i| Dev(i as u16))
    }

    /// The interface itself.
    pub fn interface(&self, dev: Dev) -> Option<&Interface> {
        self.interfaces.get(dev.index())
    }

    /// The link address of a host behind `dev`.
    pub fn neighbor(&self, dev: Dev, address: IpAddr) -> Option<Mac> {
        self.neighbors.iter().find(|n| n.dev == dev && n.address == address).map(|n| n.mac)
    }
}

/// As the TOML that reads back to the same topology.
impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |dev: Dev| self.interface(dev).map_or("?", |i| i.name.as_str());
        for (n, i) in self.interfaces.iter().enumerate() {
            let gap = if n == 0 { "" } else { "\n" };
            let addresses: Vec<String> = i.addresses.iter().map(|a| format!("\"{a}\"")).collect();
            writeln!(f, "{gap}[[interface]]\nname = {:?}\naddresses = [{}]", i.name, addresses.join(", "))?;
            if let Some(mac) = i.mac {
                writeln!(f, "mac = \"{mac}\"")?;
            }
            if i.mtu != DEFAULT_MTU {
                writeln!(f, "mtu = {}", i.mtu)?;
            }
        }
        for r in &self.routes {
            writeln!(f, "\n[[route]]\nto = \"{}\"", r.to)?;
            if let Some(via) = r.via {
                writeln!(f, "via = \"{via}\"")?;
            }
            writeln!(f, "dev = {:?}", name(r.dev))?;
        }
        for n in &self.neighbors {
            let (address, mac, dev) = (n.address, n.mac, name(n.dev));
            writeln!(f, "\n[[neighbor]]\naddress = \"{address}\"\nmac = \"{mac}\"\ndev = {dev:?}")?;
        }
        Ok(())
    }
}
