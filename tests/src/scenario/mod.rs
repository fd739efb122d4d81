//! A scenario is plain data: a topology, settings, a ruleset, and steps.
//!
//! ```text
//!            setup                          steps
//!   topology · sysctls · rules    frame · frame · advance 30 s · frame · …
//! ```
//!
//! It can be written by hand in a test, made at random, shrunk, stored as TOML in `tests/regressions`, and exported as
//! the capture, the ruleset and the topology that `uct replay` takes.
//!
//! The clock of a scenario is virtual: every step is one millisecond after the one before, and `Advance` adds whole
//! seconds. So the same scenario gives the same times on every run; what the kernel needs to keep up with that clock
//! is the kernel side's business.

pub mod export;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observed::hex_bytes;

/// One interface of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its addresses with prefix length.
    pub addresses: Vec<String>,
    /// Its MTU.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
}

fn default_mtu() -> u32 {
    1500
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The destination prefix.
    pub to: String,
    /// The gateway, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The interface it leaves on.
    pub dev: String,
}

/// One host that the router knows on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Its IP address.
    pub address: String,
    /// Its hardware address.
    pub mac: String,
    /// The interface it is behind.
    pub dev: String,
}

/// The router and what is around it, in the form that `uct replay --topology` reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Topology {
    /// The interfaces.
    pub interface: Vec<Interface>,
    /// The routes besides those of the interfaces' own prefixes.
    pub route: Vec<Route>,
    /// The neighbours.
    pub neighbor: Vec<Neighbor>,
}

/// Everything that holds before the first packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// Settings under their names below `net.`, for example `netfilter.nf_conntrack_tcp_loose`.
    pub sysctls: Vec<(String, String)>,
    /// The ruleset in nft's syntax.
    pub rules: String,
    /// The router and its neighbours.
    pub topology: Topology,
    /// Whether the table is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<Full>,
}

/// A table that is full but for some room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    /// How many more entries it takes.
    pub room: u32,
    /// Whether what fills it is assured. If so, nothing is given up for new connections; if not, there is always something.
    pub assured: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Step {
    /// An Ethernet frame arrives.
    Frame {
        /// On this interface.
        iface: String,
        /// From the Ethernet header on, without the check sequence.
        #[serde(with = "hex_bytes")]
        bytes: Vec<u8>,
    },
    /// The router itself sends an IP packet.
    Local {
        /// From the IP header on.
        #[serde(with = "hex_bytes")]
        bytes: Vec<u8>,
    },
    /// Time passes.
    Advance {
        /// In whole seconds, at least one.
        seconds: u32,
    },
    /// Another ruleset takes the place of the present one.
    Rules {
        /// The whole of it.
        text: String,
    },
    /// A setting changes.
    Sysctl {
        /// Its name below `net.`.
        name: String,
        /// Its new value.
        value: String,
    },
    /// An interface loses an address.
    DeleteAddress {
        /// Which interface.
        iface: String,
        /// With prefix length, as in the topology.
        address: String,
    },
}

impl Step {
    /// Whether it is one packet, as opposed to a change of the surroundings.
    #[must_use]
    pub fn packet(&self) -> Option<&[u8]> {
        match self {
            Step::Frame { bytes, .. } | Step::Local { bytes } => Some(bytes),
            _ => None,
        }
    }
}

/// A scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scenario {
    /// What it shows, or the seed it grew from.
    pub name: String,
    /// What holds before the first step.
    pub setup: Setup,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// The virtual time of every step, counted from the start.
    #[must_use]
    pub fn times(&self) -> Vec<Duration> {
        let mut clock = Clock::default();
        self.steps.iter().map(|step| clock.tick(step)).collect()
    }

    /// The number of packets.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.steps.iter().filter(|step| step.packet().is_some()).count()
    }

    /// As TOML.
    ///
    /// # Panics
    /// Never: everything in a scenario can be written as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a scenario can be written as TOML")
    }

    /// From TOML.
    ///
    /// # Errors
    /// If the text is not a scenario, with the place and the reason.
    pub fn from_toml(text: &str) -> Result<Scenario, toml::de::Error> {
        toml::from_str(text)
    }
}

/// The virtual clock of a scenario.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    now: Duration,
}

impl Clock {
    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Moves to the time at which `step` happens and returns it. An `Advance` is over when its seconds have passed.
    pub fn tick(&mut self, step: &Step) -> Duration {
        self.now += match step {
            Step::Advance { seconds } => Duration::from_secs(u64::from(*seconds)),
            _ => Duration::from_millis(1),
        };
        self.now
    }
}
