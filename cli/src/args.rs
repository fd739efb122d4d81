//! What `uct` understands on its command line: the one definition from which help, completions and man pages come.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

/// Linux connection tracking and NAT in userspace.
#[derive(Debug, Parser)]
#[command(
    name = "uct",
    version,
    max_term_width = 110,
    after_help = "\
Example: what a home router would have done with a capture\n  \
uct replay pcaps/home-router.pcapng --topology pcaps/home-router.toml --rules pcaps/home-router.nft --write out.pcapng"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a capture through connection tracking, rules and NAT, as a Linux router would
    Replay(Replay),
    /// Keep a table behind a socket; with no interfaces it is idle
    Run(Run),
    /// Look into a router's table and change it, in the words of conntrack(8): see `uct conntrack --help`
    #[command(disable_help_flag = true)]
    Conntrack {
        /// --socket PATH, then what conntrack(8) takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Read and set the settings of a running router, under the kernel's names
    Sysctl(Sysctl),
    /// Print completions for a shell: `uct completions bash > /etc/bash_completion.d/uct`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory: `uct man /usr/local/share/man/man1`
    Man {
        /// Where to
        directory: PathBuf,
    },
}

/// Run a capture through connection tracking, rules and NAT, as a Linux router would.
///
/// Prints the final table as `conntrack -L` prints it, and a summary on stderr. The clock is the capture's, and the same input
/// with the same seed gives the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:\n  \
uct replay any.pcap                                   track without NAT; inside and outside are inferred\n  \
uct replay any.pcap --rule 'oifname outside masquerade'\n  \
uct replay in.pcapng --topology r.toml --rules r.nft --write out.pcapng --events\n  \
zcat big.pcap.gz | uct replay - --stats --list --output extended,id")]
pub struct Replay {
    /// The capture: pcap or pcapng, gzip or zstd or neither; `-` is stdin
    #[arg(value_name = "IN")]
    pub input: PathBuf,

    /// The router's interfaces, addresses, routes and neighbours (TOML); without it they are inferred; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,

    /// The ruleset, in nft's syntax; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,

    /// One more rule, as 'oifname wan0 masquerade' or 'tcp dport 80 dnat to 192.168.1.10'; may be repeated
    #[arg(long = "rule", value_name = "RULE")]
    pub rule: Vec<String>,

    /// A setting by the kernel's name, as nf_conntrack_tcp_loose=0; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,

    /// Write what the router emitted, interface by interface, as pcapng; `-` is stdout
    #[arg(long, value_name = "OUT")]
    pub write: Option<PathBuf>,

    /// Print the final table as `conntrack -L` would (this is also done when nothing else is to be printed)
    #[arg(long)]
    pub list: bool,

    /// Print events as `conntrack -E` would
    #[arg(long)]
    pub events: bool,

    /// Formats of the listing and the events, comma-separated: extended, id, timestamp, ktimestamp, labels, xml, save, json
    #[arg(long, short, value_name = "FORMATS")]
    pub output: Vec<String>,

    /// Print the counters: conntrack's own (`conntrack -S`), drops and invalid packets by reason
    #[arg(long)]
    pub stats: bool,

    /// Seed of everything that Linux draws at random: ports, IPv6 fragment identifications
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Where the capture was taken
    #[arg(long, value_enum, default_value_t = VantageArg::Router)]
    pub vantage: VantageArg,

    /// A prefix that is inside; may be repeated [default: private and unique-local addresses]
    #[arg(long, value_name = "PREFIX", value_parser = uct_pipeline::topology::prefix)]
    pub inside: Vec<IpNet>,

    /// Print the topology, given or inferred, as TOML to start from, and do nothing else
    #[arg(long)]
    pub print_topology: bool,
}

/// Keep a table behind a socket.
///
/// Other programs look into it and change it through the socket: `uct conntrack`, `uct sysctl`, or anything that speaks JSON
/// (docs/socket.md). Without interfaces nothing moves but what they put in, and the clock.
#[derive(Debug, Args)]
pub struct Run {
    /// The socket [default: $UCT_SOCKET, or /run/uct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// A group whose members may connect; without it only the owner and root may
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,

    /// Members of the group may look and change nothing
    #[arg(long, requires = "socket_group")]
    pub socket_ro: bool,

    /// A setting by the kernel's name, as nf_conntrack_acct=1; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,

    /// Seed of the hash and of what Linux draws at random [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
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

/// Where a capture was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VantageArg {
    /// At the router: frames are what arrives at its interfaces
    Router,
    /// On the inside, after the original router's work: replies are turned back into what that router had received
    Inside,
}
