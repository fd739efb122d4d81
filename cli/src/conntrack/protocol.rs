//! The options that a protocol brings: ports, keys, ICMP's numbers, states.
//!
//! They may stand only after `-p`. What a command must have, may have and must not have of them is in [`Kind::rule`].

use uct_engine::Protocol;

use super::getopt::{Spelling, Takes};
use super::options::{Command, Means, Table};
use super::problem::Problem;
use super::values;

/// An option of a protocol, in the order in which they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Source port or key.
    OrigSrc,
    /// Destination port or key.
    OrigDst,
    /// Source port or key of the answer.
    ReplySrc,
    /// Destination port or key of the answer.
    ReplyDst,
    /// Mask of an expectation's source port.
    MaskSrc,
    /// Mask of an expectation's destination port.
    MaskDst,
    /// An expectation's source port.
    TupleSrc,
    /// An expectation's destination port.
    TupleDst,
    /// State.
    State,
    /// Verification tag.
    OrigVtag,
    /// Verification tag of the answer.
    ReplyVtag,
    /// Who began.
    Role,
    /// ICMP type.
    Type,
    /// ICMP code.
    Code,
    /// ICMP identifier.
    Id,
}

impl Field {
    const ALL: [Field; 15] = {
        use Field as F;
        [
            F::OrigSrc,
            F::OrigDst,
            F::ReplySrc,
            F::ReplyDst,
            F::MaskSrc,
            F::MaskDst,
            F::TupleSrc,
            F::TupleDst,
            F::State,
            F::OrigVtag,
            F::ReplyVtag,
            F::Role,
            F::Type,
            F::Code,
            F::Id,
        ]
    };
}

impl Field {
    /// What it is, in a few words.
    pub const fn describe(self) -> &'static str {
        match self {
            Field::OrigSrc => "source of the original direction",
            Field::OrigDst => "destination of the original direction",
            Field::ReplySrc => "source of the reply direction",
            Field::ReplyDst => "destination of the reply direction",
            Field::MaskSrc => "mask of an expectation's source",
            Field::MaskDst => "mask of an expectation's destination",
            Field::TupleSrc => "source that is expected",
            Field::TupleDst => "destination that is expected",
            Field::State => "state, as ESTABLISHED",
            Field::OrigVtag => "verification tag of the original direction",
            Field::ReplyVtag => "verification tag of the reply direction",
            Field::Role => "client or server",
            Field::Type => "type of the question",
            Field::Code => "code",
            Field::Id => "identifier",
        }
    }
}

/// Protocols with options of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// UDP and UDP-Lite.
    Udp,
    /// SCTP.
    Sctp,
    /// DCCP.
    Dccp,
    /// ICMP.
    Icmp,
    /// ICMPv6.
    Icmpv6,
    /// GRE.
    Gre,
    /// All others.
    Other,
}

type Names = &'static [(&'static str, Field)];

const PORTS: Names = &[
    ("sport", Field::OrigSrc),
    ("dport", Field::OrigDst),
    ("orig-port-src", Field::OrigSrc),
    ("orig-port-dst", Field::OrigDst),
    ("reply-port-src", Field::ReplySrc),
    ("reply-port-dst", Field::ReplyDst),
    ("mask-port-src", Field::MaskSrc),
    ("mask-port-dst", Field::MaskDst),
    ("tuple-port-src", Field::TupleSrc),
    ("tuple-port-dst", Field::TupleDst),
];
const KEYS: Names = &[
    ("srckey", Field::OrigSrc),
    ("dstkey", Field::OrigDst),
    ("orig-key-src", Field::OrigSrc),
    ("orig-key-dst", Field::OrigDst),
    ("reply-key-src", Field::ReplySrc),
    ("reply-key-dst", Field::ReplyDst),
    ("mask-key-src", Field::MaskSrc),
    ("mask-key-dst", Field::MaskDst),
    ("tuple-key-src", Field::TupleSrc),
    ("tuple-key-dst", Field::TupleDst),
];
const ICMP: Names = &[("icmp-type", Field::Type), ("icmp-code", Field::Code), ("icmp-id", Field::Id)];
const ICMPV6: Names = &[("icmpv6-type", Field::Type), ("icmpv6-code", Field::Code), ("icmpv6-id", Field::Id)];
const STATE: Names = &[("state", Field::State)];
const VTAGS: Names = &[("orig-vtag", Field::OrigVtag), ("reply-vtag", Field::ReplyVtag)];
const ROLE: Names = &[("role", Field::Role)];

/// States by their names, as `--state` takes them. (LISTEN is another word for SYN_SENT2.)
const TCP_STATES: [&str; 11] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
    "LISTEN",
];
const SCTP_STATES: [&str; 9] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];
const DCCP_STATES: [&str; 10] =
    ["NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE", "INVALID"];

/// What a command wants of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Must,
    May,
    Not,
}

impl Kind {
    /// The kind of a protocol.
    pub fn of(protocol: Protocol) -> Kind {
        match protocol {
            Protocol::TCP => Kind::Tcp,
            Protocol::UDP | Protocol::UDPLITE => Kind::Udp,
            Protocol::SCTP => Kind::Sctp,
            Protocol::DCCP => Kind::Dccp,
            Protocol::ICMP => Kind::Icmp,
            Protocol::ICMPV6 => Kind::Icmpv6,
            Protocol::GRE => Kind::Gre,
            _ => Kind::Other,
        }
    }

    fn names(self) -> impl Iterator<Item = &'static (&'static str, Field)> {
        let lists: &[Names] = match self {
            Kind::Tcp => &[PORTS, STATE],
            Kind::Udp => &[PORTS],
            Kind::Sctp => &[PORTS, STATE, VTAGS],
            Kind::Dccp => &[PORTS, STATE, ROLE],
            Kind::Icmp => &[ICMP],
            Kind::Icmpv6 => &[ICMPV6],
            Kind::Gre => &[KEYS],
            Kind::Other => &[],
        };
        lists.iter().flat_map(|l| l.iter())
    }

    /// The options that it brings.
    pub fn spellings(self) -> impl Iterator<Item = Spelling<Means>> {
        self.names().map(|(long, field)| Spelling {
            short: None,
            long,
            takes: Takes::Value,
            means: Means::Protocol(*field),
        })
    }

    /// The name that messages have for a field.
    fn name(self, field: Field) -> &'static str {
        self.names().find(|(_, f)| *f == field).map_or("", |(name, _)| name)
    }

    fn rule(self, command: Command, table: Table, field: Field) -> Want {
        use Command as C;
        let expect = table == Table::Expect;
        match field {
            Field::MaskSrc | Field::MaskDst | Field::TupleSrc | Field::TupleDst => match command {
                C::Create if expect => Want::Must,
                _ => Want::Not,
            },
            Field::OrigSrc | Field::OrigDst if expect => Want::Must,
            Field::OrigSrc | Field::OrigDst | Field::ReplySrc | Field::ReplyDst => Want::May,
            Field::State => match command {
                C::Create | C::Add if !expect => Want::Must,
                C::Create | C::Add => Want::Not,
                _ => Want::May,
            },
            Field::OrigVtag | Field::ReplyVtag | Field::Role => match command {
                C::Create | C::Add if !expect => Want::Must,
                C::Update | C::Get => Want::May,
                _ => Want::Not,
            },
            Field::Type | Field::Code => match command {
                C::Create | C::Add | C::Get => Want::Must,
                _ => Want::May,
            },
            Field::Id => Want::May,
        }
    }
}

/// What was given of a protocol's options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    given: u16,
    /// Source and destination of the original direction.
    pub original: [Option<u16>; 2],
    /// Source and destination of the reply direction.
    pub reply: [Option<u16>; 2],
    /// Source and destination of an expectation's mask.
    pub mask: [Option<u16>; 2],
    /// Source and destination of an expectation.
    pub tuple: [Option<u16>; 2],
    /// The state's name.
    pub state: Option<&'static str>,
    /// Verification tags.
    pub vtags: [Option<u32>; 2],
    /// ICMP type and code.
    pub icmp: [Option<u8>; 2],
    /// ICMP identifier.
    pub id: Option<u16>,
}

impl Fields {
    /// Whether anything was given.
    pub fn is_empty(&self) -> bool {
        self.given == 0
    }

    fn has(&self, field: Field) -> bool {
        self.given & 1 << field as u16 != 0
    }

    /// Reads one.
    pub fn set(&mut self, kind: Kind, field: Field, text: &str) -> Result<(), Problem> {
        let name = kind.name(field);
        let port = || if kind == Kind::Gre { values::u16(text, &format!("--{name}")) } else { values::port(text) };
        let byte = || {
            let number = values::number(text).and_then(|n| n.try_into().ok());
            number.ok_or_else(|| Problem::failed("invalid parameters"))
        };
        match field {
            Field::OrigSrc => self.original[0] = Some(port()?),
            Field::OrigDst => self.original[1] = Some(port()?),
            Field::ReplySrc => self.reply[0] = Some(port()?),
            Field::ReplyDst => self.reply[1] = Some(port()?),
            Field::MaskSrc => self.mask[0] = Some(port()?),
            Field::MaskDst => self.mask[1] = Some(port()?),
            Field::TupleSrc => self.tuple[0] = Some(port()?),
            Field::TupleDst => self.tuple[1] = Some(port()?),
            Field::State => self.state = Some(state(kind, text)?),
            Field::OrigVtag => self.vtags[0] = Some(values::u32(text, "--orig-vtag")?),
            Field::ReplyVtag => self.vtags[1] = Some(values::u32(text, "--reply-vtag")?),
            Field::Role if matches!(text, "client" | "server") => {}
            Field::Role => return Err(Problem::usage(format!("Unknown DCCP role `{text}'"))),
            Field::Type => self.icmp[0] = Some(byte()?),
            Field::Code => self.icmp[1] = Some(byte()?),
            Field::Id => self.id = Some(values::u16(text, &format!("--{name}"))?),
        }
        self.given |= 1 << field as u16;
        Ok(())
    }

    /// Whether the command takes them, and has those that it must.
    pub fn check(&self, kind: Kind, command: Command, table: Table) -> Result<(), Problem> {
        for field in Field::ALL {
            let has_it = kind.names().any(|(_, f)| *f == field);
            match kind.rule(command, table, field) {
                Want::Must if has_it && !self.has(field) => {
                    let name = kind.name(field);
                    return Err(Problem::usage(format!("You need to supply the `--{name}' option for this command")));
                }
                Want::Not if self.has(field) => {
                    let name = kind.name(field);
                    return Err(Problem::usage(format!("Illegal option `--{name}' with this command")));
                }
                _ if self.has(field) && !has_it => {
                    return Err(Problem::usage("an option of another protocol was given"));
                }
                _ => {}
            }
        }
        let ported = matches!(kind, Kind::Tcp | Kind::Udp | Kind::Sctp | Kind::Dccp | Kind::Gre);
        let exact = matches!(command, Command::Create | Command::Add | Command::Get);
        if ported && exact && table != Table::Expect {
            self.check_pairs(kind)?;
        }
        Ok(())
    }

    /// An entry needs both ports of at least one direction.
    fn check_pairs(&self, kind: Kind) -> Result<(), Problem> {
        let whole = |pair: [Option<u16>; 2]| pair.iter().all(Option::is_some);
        if whole(self.original) || whole(self.reply) {
            return Ok(());
        }
        let reply_only = self.original == [None, None] && self.reply != [None, None];
        let (first, second) = match (kind, reply_only) {
            (Kind::Gre, false) => ("srckey", "dstkey"),
            (Kind::Gre, true) => ("reply-src-key", "reply-dst-key"),
            (_, false) => ("sport", "dport"),
            (_, true) => ("reply-src-port", "reply-dst-port"),
        };
        Err(Problem::usage(format!("you have to specify `--{first}' and `--{second}'")))
    }
}

fn state(kind: Kind, text: &str) -> Result<&'static str, Problem> {
    let (states, message): (&[&'static str], _) = match kind {
        Kind::Sctp => (&SCTP_STATES, "unknown SCTP state"),
        Kind::Dccp => (&DCCP_STATES, "Unknown DCCP state"),
        _ => (&TCP_STATES, "unknown TCP state"),
    };
    let found = states.iter().copied().find(|s| *s == text);
    found.ok_or_else(|| Problem::usage(format!("{message} `{text}'")))
}
