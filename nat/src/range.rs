//! What a NAT rule asks for: addresses and ports to choose from, and how to choose.

use std::fmt;
use std::net::IpAddr;

use bitflags::bitflags;
use ipnet::IpNet;
use uct_engine::{L4, Manip, Tuple};

bitflags! {
    /// How a rule wants its mapping chosen, with nft's words.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u8 {
        /// `random`: a new random port for every connection.
        const RANDOM = 1;
        /// `fully-random`: the same, on every kernel of the last years.
        const FULLY_RANDOM = 1 << 1;
        /// `persistent`: a client gets the same address for all destinations.
        const PERSISTENT = 1 << 2;
    }
}

impl Flags {
    /// Either kind of random port.
    pub const ANY_RANDOM: Flags = Flags::RANDOM.union(Flags::FULLY_RANDOM);
}

/// The addresses that a mapping may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// The rule names none: the address stays.
    #[default]
    Keep,
    /// From `first` to `last`, both included.
    Within {
        /// The lowest address.
        first: IpAddr,
        /// The highest address.
        last: IpAddr,
    },
    /// nft's `prefix`: the network's bits are replaced, those of the host stay.
    Prefix(IpNet),
}

impl Addresses {
    /// One address alone.
    pub const fn one(address: IpAddr) -> Self {
        Addresses::Within { first: address, last: address }
    }

    /// Whether an address is among them.
    pub(crate) fn hold(&self, address: IpAddr) -> bool {
        match self {
            Addresses::Keep => true,
            Addresses::Within { first, last } => *first <= address && address <= *last,
            Addresses::Prefix(net) => net.contains(&address),
        }
    }
}

/// The ports, ICMP ids or call keys that a mapping may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
    /// Port shifting: the packet's port less this one is the offset from `first`. (iptables' `--to-destination
    /// :5000-5100/6000`; nft has no syntax for it.)
    pub base: Option<u16>,
}

impl Ports {
    /// One port alone.
    pub const fn one(port: u16) -> Self {
        Ports { first: port, last: port, base: None }
    }

    /// From `first` to `last`, both included.
    pub const fn between(first: u16, last: u16) -> Self {
        Ports { first, last, base: None }
    }

    /// Whether the end of a tuple that `manip` names is among them. (A protocol without ports is within any range.)
    pub(crate) fn hold(&self, tuple: &Tuple, manip: Manip) -> bool {
        let id = match tuple.l4 {
            L4::None => return true,
            L4::Icmp { id, .. } => id,
            l4 if manip == Manip::Src => l4.src_id(),
            l4 => l4.dst_id(),
        };
        self.first <= id && id <= self.last
    }
}

/// What a mapping may be chosen from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Range {
    /// Addresses.
    pub addresses: Addresses,
    /// Ports; `None` if the rule names none.
    pub ports: Option<Ports>,
    /// How to choose.
    pub flags: Flags,
}

impl Range {
    /// One address, any port.
    pub const fn address(address: IpAddr) -> Self {
        Range { addresses: Addresses::one(address), ports: None, flags: Flags::empty() }
    }

    /// The same with these ports.
    pub const fn with_ports(self, ports: Ports) -> Self {
        Range { ports: Some(ports), ..self }
    }

    /// The same with these flags.
    pub const fn with_flags(self, flags: Flags) -> Self {
        Range { flags, ..self }
    }
}

/// A NAT statement, as a rule decides it for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// No rule matched: addresses stay, but a clash is still mended.
    Null,
    /// `snat to …`
    Snat(Range),
    /// `dnat to …`
    Dnat(Range),
    /// `masquerade`: the source becomes the address of the interface by which the packet leaves.
    Masquerade {
        /// Ports, if the rule names some.
        ports: Option<Ports>,
        /// How to choose.
        flags: Flags,
    },
    /// `redirect`: the destination becomes the router itself.
    Redirect {
        /// Ports, if the rule names some.
        ports: Option<Ports>,
        /// How to choose.
        flags: Flags,
    },
}

impl Mapping {
    /// The end that it is about; `None` for a null binding, which is made for both.
    pub const fn manip(&self) -> Option<Manip> {
        match self {
            Mapping::Null => None,
            Mapping::Snat(_) | Mapping::Masquerade { .. } => Some(Manip::Src),
            Mapping::Dnat(_) | Mapping::Redirect { .. } => Some(Manip::Dst),
        }
    }
}

/// nft's words for it: `dnat to 192.168.1.10:8080`; nothing for a null binding.
impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, range) = match *self {
            Mapping::Null => return Ok(()),
            Mapping::Snat(range) => ("snat", range),
            Mapping::Dnat(range) => ("dnat", range),
            Mapping::Masquerade { ports, flags } => ("masquerade", Range { addresses: Addresses::Keep, ports, flags }),
            Mapping::Redirect { ports, flags } => ("redirect", Range { addresses: Addresses::Keep, ports, flags }),
        };
        f.write_str(word)?;
        let shown = |address: IpAddr| match address {
            IpAddr::V6(address) if range.ports.is_some() => format!("[{address}]"),
            address => address.to_string(),
        };
        match range.addresses {
            Addresses::Keep if range.ports.is_some() => f.write_str(" to ")?,
            Addresses::Keep => {}
            Addresses::Within { first, last } if first == last => write!(f, " to {}", shown(first))?,
            Addresses::Within { first, last } => write!(f, " to {}-{}", shown(first), shown(last))?,
            Addresses::Prefix(net) => write!(f, " prefix to {net}")?,
        }
        match range.ports {
            Some(Ports { first, last, .. }) if first == last => write!(f, ":{first}")?,
            Some(Ports { first, last, .. }) => write!(f, ":{first}-{last}")?,
            None => {}
        }
        let flags =
            [(Flags::RANDOM, "random"), (Flags::FULLY_RANDOM, "fully-random"), (Flags::PERSISTENT, "persistent")];
        let set: Vec<&str> =
            flags.iter().filter(|(flag, _)| range.flags.contains(*flag)).map(|(_, name)| *name).collect();
        if set.is_empty() { Ok(()) } else { write!(f, " {}", set.join(",")) }
    }
}
