//! The command lines of a running router, of those who look into it, and of `uct bench`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::operation::Operation;
use crate::operation::files::Files;

/// Be a router between interfaces, with connection tracking, rules and NAT as Linux has them.
///
/// The interfaces of the topology and its addresses are the router's: the host's own stack must have no address there, and must not
/// forward (docs/router.md says how). Other programs look into the table and change it through the socket: `uct conntrack`,
/// `uct sysctl`, or anything that speaks JSON (docs/socket.md). Without a topology nothing moves but what they put in, and the clock.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:\n  \
uct run --topology router.toml --rules nat.nft --socket /run/uct.sock\n  \
uct run --topology router.toml --rule 'oifname wan0 masquerade' --workers 4 --busy-poll 50\n  \
uct run --topology router.toml --rules nat.nft --io lan0=tap --host uct0")]
pub struct Run {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub live: Live,

    /// The socket [default: $UCT_SOCKET, or /run/uct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// A group whose members may connect; without it only the owner and root may
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,

    /// Members of the group may look and change nothing
    #[arg(long, requires = "socket_group")]
    pub socket_ro: bool,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub files: Files,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub operation: Operation,

    /// Seed of the hash and of what Linux draws at random [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// The interfaces of a running router, and what it does with packets.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Router")]
pub struct Live {
    /// How interfaces are reached: ring, pnet, tap or tun; DEV=KIND for one of them, may be repeated [default: ring]
    #[arg(long, value_name = "[DEV=]KIND", requires = "topology")]
    pub io: Vec<Io>,

    /// Threads that carry packets [default: one for each processor]
    #[arg(long, value_name = "N", requires = "topology")]
    pub workers: Option<std::num::NonZeroUsize>,

    /// How long a thread without work looks again before it sleeps, in microseconds
    #[arg(long, value_name = "US", default_value_t = 0, requires = "topology")]
    pub busy_poll: u64,

    /// Slots of each interface's ring, for each thread
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(32..=65536), requires = "topology")]
    pub ring_slots: u32,

    /// Tell hosts on this interface that here is an IPv6 router, and which prefixes to use; may be repeated
    #[arg(long, value_name = "DEV", requires = "topology")]
    pub advertise: Vec<String>,

    /// Hand what is for the router itself (also by redirect) to the host's own stack, by a TUN device of this name that is made
    #[arg(long, value_name = "TUN", requires = "topology")]
    pub host: Option<String>,
}

/// How an interface is reached, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// The interface; all if none is named.
    pub dev: Option<String>,
    /// How.
    pub kind: IoKind,
}

/// How an interface is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IoKind {
    /// AF_PACKET with memory-mapped rings
    Ring,
    /// pnet's datalink
    Pnet,
    /// A TAP device that is made
    Tap,
    /// A TUN device that is made
    Tun,
}

impl FromStr for Io {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (dev, kind) = match text.split_once('=') {
            Some((dev, kind)) => (Some(dev.to_owned()), kind),
            None => (None, text),
        };
        let kind = IoKind::from_str(kind, true).map_err(|_| format!("'{kind}' is none of ring, pnet, tap, tun"))?;
        Ok(Io { dev, kind })
    }
}

/// Read and set the settings of a running router.
#[derive(Debug, Args)]
pub struct Sysctl {
    /// The socket [default: $UCT_SOCKET, or /run/uct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// What to read (KEY) and what to set (KEY=VALUE); everything is read if nothing is named
    #[arg(value_name = "KEY[=VALUE]")]
    pub settings: Vec<String>,
}

/// Say what is wrong with a router's files, or what they come to.
///
/// Opens nothing but the files. What it takes is taken by `uct run` and by a reload. Exit code 1 if anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:\n  \
uct check --topology router.toml --rules nat.nft && uct reload")]
pub struct Check {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub files: Files,
}

/// Let a running router read its files again.
///
/// Rules, surroundings and settings, all at once; connections are kept. If anything is wrong it is told here, and the router
/// goes on as it was. The same as SIGHUP, which tells it in the log.
#[derive(Debug, Args)]
pub struct Reload {
    /// The socket [default: $UCT_SOCKET, or /run/uct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Show every counter of a running router, with what it means.
///
/// The names are those under which --metrics serves them to Prometheus.
#[derive(Debug, Args)]
pub struct Stats {
    /// The socket [default: $UCT_SOCKET, or /run/uct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Also those that are zero
    #[arg(long)]
    pub all: bool,

    /// One JSON object a counter
    #[arg(long)]
    pub json: bool,
}

/// Measure how fast this machine tracks and translates.
///
/// Builds a table of connections and sends packets of random ones through the whole path: parse, track, NAT, checksums, TTL, route.
/// Prints what a packet and a new connection cost, the memory of a connection, and beside them what one random access to memory
/// costs in the same run; every time also as a ratio to that, so that figures of two machines can be compared.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:\n  \
uct bench                                             a million TCP connections with SNAT\n  \
uct bench --connections 65536 --threads 2\n  \
uct bench --proto udp --nat none --json")]
pub struct Bench {
    /// Connections in the table
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Threads that send packets, after one has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,

    /// What the connections speak
    #[arg(long, value_enum, default_value_t = ProtoArg::Tcp)]
    pub proto: ProtoArg,

    /// How they are translated
    #[arg(long, value_enum, default_value_t = NatArg::Snat)]
    pub nat: NatArg,

    /// Packets that are handed over together
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: u16,

    /// How long each measurement takes
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,

    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// A protocol to measure with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtoArg {
    /// TCP, with windows that move
    Tcp,
    /// UDP
    Udp,
}

/// A translation to measure with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NatArg {
    /// None: packets are tracked only
    None,
    /// The source, as of clients behind a router
    Snat,
    /// The destination, as of a port forwarded to a server
    Dnat,
}

/// Watch a running router's table on a screen.
///
/// Connections by protocol and state, packets and new connections a second, the sources that have most, and a list in the order that
/// you choose. Below it both tuples of the selected connection; what NAT changed stands out. Keys are shown at the bottom.
#[derive(Debug, Args)]
#[command(after_help = "\
A filter is words that must all hold: a protocol, a state, an address, a network or the beginning of one, a port,
'assured', 'unreplied', 'nat', 'snat', 'dnat', 'ipv4', 'ipv6', or 'src', 'dst', 'sport', 'dport', 'mark', 'zone', 'id' with a value.
Examples:\n  \
uct top --filter 'tcp established 443'\n  \
uct top --filter 'src 192.168.1.0/24 snat' --interval 5")]
pub struct Top {
    /// The socket [default: $UCT_SOCKET, or /run/uct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Seconds between two looks, 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: f64,

    /// Only connections like this, to begin with
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.1..=3600.0).contains(s));
    seconds.ok_or_else(|| "not between 0.1 and 3600 seconds".to_owned())
}
