//! What `uct` understands on its command line: the one definition from which help, completions and man pages come.

use std::path::PathBuf;
use std::str::FromStr;

use crate::moment::Moment;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

mod service;

pub use service::{Bench, Check, Io, IoKind, Live, NatArg, ProtoArg, Reload, Run, Stats, Sysctl, Top};

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
    /// Say of every packet what a Linux router would do with it, and why
    Explain(Explain),
    /// Replay a capture twice, with other settings, rules, seeds or losses, and show where the two part
    Diff(Diff),
    /// Say who was behind a translated address at a time
    Who(Who),
    /// Tell the lives of connections, event by event
    History(History),
    /// Be a router between interfaces; without any, keep a table behind a socket
    Run(Run),
    /// Say what is wrong with a router's files, or what they come to
    Check(Check),
    /// Let a running router read its files again; connections are kept
    Reload(Reload),
    /// Show every counter of a running router, with what it means
    Stats(Stats),
    /// Look into a router's table and change it, in the words of conntrack(8): see `uct conntrack --help`
    #[command(disable_help_flag = true)]
    Conntrack {
        /// --socket PATH, then what conntrack(8) takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Read and set the settings of a running router, under the kernel's names
    Sysctl(Sysctl),
    /// Measure how fast this machine tracks and translates
    Bench(Bench),
    /// Watch a running router's table on a screen
    Top(Top),
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
    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub input: Input,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub out: Out,

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

    /// Print the topology, given or inferred, as TOML to start from, and do nothing else
    #[arg(long)]
    pub print_topology: bool,
}

/// A capture to be written.
#[derive(Clone, Debug, Args)]
pub struct Out {
    /// Write what the router emitted, interface by interface, as pcapng; `-` is stdout
    #[arg(long, value_name = "OUT")]
    pub write: Option<PathBuf>,

    /// Write what came in as well, and explain every packet in its comment; see docs/wireshark.md
    #[arg(long, requires = "write")]
    pub annotate: bool,
}

impl Out {
    /// Whether packets go to stdout.
    pub fn is_stdout(&self) -> bool {
        self.write.as_deref().is_some_and(|p| p.as_os_str() == "-")
    }
}

/// A capture and the router that it goes through: what every command that replays is given.
#[derive(Clone, Debug, Args)]
pub struct Input {
    /// The capture: pcap or pcapng, gzip or zstd or neither; `-` is stdin
    #[arg(value_name = "IN")]
    pub capture: PathBuf,

    /// Stop there: after a packet (12), or at a time (+1.5 s after the first packet, @1795416351.5, 2026-11-23T02:45:51Z)
    #[arg(long, value_name = "PACKET|TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub setup: Setup,
}

/// The router: its surroundings, rules, settings and seed.
#[derive(Clone, Debug, Args)]
pub struct Setup {
    /// The router's interfaces, addresses, routes and neighbours (TOML); without it they are inferred; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,

    /// The ruleset, in nft's syntax; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,

    /// One more rule, as 'oifname wan0 masquerade' or 'tcp dport 80 dnat to 192.168.1.10'; may be repeated
    #[arg(long = "rule", value_name = "RULE")]
    pub rule: Vec<String>,

    /// Another ruleset from a moment on, as 12=new.nft (after packet 12) or +1.5=new.nft; may be repeated, in order of time
    #[arg(long, value_name = "MOMENT=FILE", allow_hyphen_values = true)]
    pub rules_at: Vec<Change>,

    /// A setting by the kernel's name, as nf_conntrack_tcp_loose=0; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,

    /// Seed of everything that Linux draws at random: ports, IPv6 fragment identifications
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Where ports come from that Linux draws at random
    #[arg(long, value_enum, default_value_t = PortsArg::Seed, value_name = "FROM")]
    pub ports: PortsArg,

    /// Where the capture was taken [default: router; inside for one interface without --topology]
    #[arg(long, value_enum)]
    pub vantage: Option<VantageArg>,

    /// A prefix that is inside; may be repeated [default: private and unique-local addresses]
    #[arg(long, value_name = "PREFIX", value_parser = uct_pipeline::topology::prefix)]
    pub inside: Vec<IpNet>,
}

/// Say of every packet what a Linux router would do with it, and why.
///
/// Plain words first, then each stop of the packet's way with its numbers: the tuple that was looked up and what was found, the
/// state before and after, the window's tests, the timeout, the rules by file and line, how NAT made the new tuple, what was
/// rewritten, where it left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:\n  \
uct explain in.pcapng --topology r.toml --rules r.nft\n  \
uct explain in.pcapng --packet 12-20                  only these packets (those before are replayed all the same)\n  \
uct explain in.pcapng --conn 'tcp dport 443 src 192.168.1.10'\n  \
uct explain in.pcapng --brief | grep INVALID\n  \
uct explain in.pcapng --json | jq 'select(.verdict == \"drop\")'\n  \
uct explain in.pcapng --rules r.nft --html lesson.html   a page to learn or teach with")]
pub struct Explain {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub input: Input,

    /// Only these packets, by their number in the capture: N, N-M, N- or -M; may be repeated
    #[arg(long, value_name = "N[-M]", allow_hyphen_values = true)]
    pub packet: Vec<String>,

    /// Only packets of connections like this: a protocol, and 'src', 'dst', 'sport', 'dport', 'state', 'id', each with a
    /// value, or 'invalid', 'dropped'. 'orig-' or 'reply-' before a word names one of the two tuples. The options with which
    /// conntrack(8) lists are understood as well: '-p tcp -s 192.168.1.10 --dport 443'
    #[arg(long, value_name = "FILTER", allow_hyphen_values = true)]
    pub conn: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub out: Out,

    /// One line a packet
    #[arg(long, conflicts_with = "json")]
    pub brief: bool,

    /// One JSON object a packet, complete; see docs/explain-json.md
    #[arg(long)]
    pub json: bool,

    /// Write a page to step through, in one file that needs no network; nothing is printed then. See docs/lesson.md
    #[arg(long, value_name = "PAGE", conflicts_with_all = ["json", "brief"])]
    pub html: Option<PathBuf>,

    /// Colours
    #[arg(long, value_enum, default_value_t = ColorArg::Auto, value_name = "WHEN")]
    pub color: ColorArg,
}

/// Replay a capture twice, with other settings, rules, seeds or losses, and show where the two part.
///
/// Shows the first packet that the two treat differently, with both explanations, and then what became different, as a short
/// table. Exit code 1 if anything did.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:\n  \
uct diff in.pcapng --topology r.toml --rules r.nft --b '--sysctl nf_conntrack_tcp_loose=0'\n  \
uct diff in.pcapng --topology r.toml --a '--rules old.nft' --b '--rules new.nft'\n  \
uct diff in.pcapng --rules r.nft --b '--only-dir original'     what if the answers took another way\n  \
uct diff in.pcapng --rules r.nft --b '--lose 12-14'            what if these packets were lost\n  \
uct diff in.pcapng --rules r.nft --a '--seed 1' --b '--seed 2'")]
pub struct Diff {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub input: Input,

    /// What is different in the first replay: options as given here, and --only-dir and --lose
    #[arg(long, value_name = "OPTIONS", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub a: String,

    /// What is different in the second replay
    #[arg(long, value_name = "OPTIONS", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub b: String,

    /// One JSON object; see docs/diff.md
    #[arg(long)]
    pub json: bool,

    /// Colours
    #[arg(long, value_enum, default_value_t = ColorArg::Auto, value_name = "WHEN")]
    pub color: ColorArg,
}

/// Say who was behind a translated address.
///
/// Answers for a public address and port which inside host it was at the time of --at, or, without a time, all that it ever was in
/// the capture: with the connection, its server, when it began and ended, and the rule that gave it the address.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:\n  \
uct who 203.0.113.1:17802 --at 2026-11-23T02:45:51Z in.pcapng --topology r.toml --rules r.nft\n  \
uct who 203.0.113.1:40000 in.pcapng --rules r.nft --conn 'tcp dst 198.51.100.80'")]
pub struct Who {
    /// Address, or address and port (or ICMP id): 203.0.113.1, 203.0.113.1:17802, [2001:db8::1]:17802
    #[allow(rustdoc::broken_intra_doc_links, reason = "an address in brackets")]
    #[arg(value_name = "ADDR[:PORT]")]
    pub who: String,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub input: Input,

    /// Only connections like this, as in `uct explain --conn`
    #[arg(long, value_name = "FILTER", allow_hyphen_values = true)]
    pub conn: Option<String>,

    /// One JSON object a line; see docs/history.md
    #[arg(long)]
    pub json: bool,
}

/// Tell the lives of connections, event by event.
///
/// Opened by which packet, translated by which rule, every change of state, status and mark, what was invalid or dropped, and when
/// and why it was gone. Packets that changed nothing are counted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:\n  \
uct history in.pcapng --topology r.toml --rules r.nft --conn '#7'\n  \
uct history in.pcapng --rules r.nft --conn 'udp dport 53' --json")]
pub struct History {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would print it
    pub input: Input,

    /// Only connections like this, as in `uct explain --conn`
    #[arg(long, value_name = "FILTER", allow_hyphen_values = true)]
    pub conn: Option<String>,

    /// One JSON object an event; see docs/history.md
    #[arg(long)]
    pub json: bool,

    /// Colours
    #[arg(long, value_enum, default_value_t = ColorArg::Auto, value_name = "WHEN")]
    pub color: ColorArg,
}

/// Rules that come into force later.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub when: Moment,
    /// Their file.
    pub rules: PathBuf,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (when, file) = text.split_once('=').ok_or_else(|| format!("'{text}' is not MOMENT=FILE"))?;
        Ok(Change { when: when.parse()?, rules: PathBuf::from(file) })
    }
}

/// What is different in one of two replays.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "options", no_binary_name = true, disable_help_flag = true, args_override_self = true)]
pub struct Side {
    /// Another topology
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,

    /// Another ruleset
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,

    /// One more rule
    #[arg(long = "rule", value_name = "RULE")]
    pub rule: Vec<String>,

    /// Another ruleset from a moment on
    #[arg(long, value_name = "MOMENT=FILE", allow_hyphen_values = true)]
    pub rules_at: Vec<Change>,

    /// A setting
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,

    /// Another seed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Where ports come from
    #[arg(long, value_enum, value_name = "FROM")]
    pub ports: Option<PortsArg>,

    /// Only packets of this direction arrive; the direction is the one that a packet has when all arrive
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub only_dir: Option<DirArg>,

    /// Packets that do not arrive, by number: N, N-M, N- or -M; may be repeated
    #[arg(long, value_name = "N[-M]", allow_hyphen_values = true)]
    pub lose: Vec<String>,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DirArg {
    /// That of its first packet
    Original,
    /// The other
    Reply,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    /// On terminals, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorArg {
    /// The same in the words of the crate that takes colours out.
    pub fn choice(self) -> anstream::ColorChoice {
        match self {
            ColorArg::Auto => anstream::ColorChoice::Auto,
            ColorArg::Always => anstream::ColorChoice::Always,
            ColorArg::Never => anstream::ColorChoice::Never,
        }
    }
}

/// Where ports come from that Linux draws at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PortsArg {
    /// From the seed
    Seed,
    /// From the capture, if its answers tell: those that the original router drew (reads the capture twice)
    Capture,
}

/// Where a capture was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VantageArg {
    /// At the router: frames are what arrives at its interfaces
    Router,
    /// On the inside, after the original router's work: replies are turned back into what that router had received
    Inside,
}
