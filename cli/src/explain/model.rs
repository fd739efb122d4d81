//! What is told about one packet, as plain data: the explainer fills it, text, JSON, captures and pages show it.
//!
//! It says only what the router's observer was told (see [`super::observer`]), and which packets that goes back to (see
//! [`super::ledger`]). The names of the fields are those of `docs/explain-json.md`.

use std::net::IpAddr;

use serde::Serialize;
use uct_engine::{Entry, L4, Status, Tuple, ZoneScope};

use uct_pipeline::topology::Dev;

use super::header::{Arrow, Change, Header};

/// Version of the JSON; counts up when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// All that happened because of one frame of the capture.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// [`VERSION`].
    pub version: u32,
    /// The frame's number, from 1.
    pub packet: u64,
    /// Seconds since the capture's first frame.
    pub time: f64,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// The interface by which it came; `local` is the router's own stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// In a few words what became of it.
    pub verdict: Verdict,
    /// The explanation in plain words.
    pub words: Vec<String>,
    /// What happened as time passed since the frame before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Step>,
    /// The packet's way, and those of the packets that the router made because of it.
    pub ways: Vec<Way>,
}

impl Explanation {
    /// What `log` statements said.
    pub fn logged(&self) -> impl Iterator<Item = &str> {
        self.ways.iter().flat_map(|way| &way.steps).filter_map(|step| match step {
            Step::Log { line, .. } => Some(line.as_str()),
            _ => None,
        })
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It left by an interface.
    Sent,
    /// The router itself got it.
    Delivered,
    /// It is a fragment and waits.
    Held,
    /// It went no further.
    Drop,
    /// The router itself had sent it: it is no arrival, and was left out.
    LeftOut,
}

/// How a packet came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It arrived.
    Arrived,
    /// The router's own stack sent it.
    Own,
    /// The router answers the packet before it.
    Answer,
    /// It did not get as far as being an IP packet.
    Frame,
}

/// One packet's way.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// Where it came from.
    pub origin: Origin,
    /// The router's interface by which it came, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its headers at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub came: Option<Header>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Its connection, as it stands after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// Its direction in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// `new`, `established`, `related`, `invalid` or `untracked`, as rules see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<&'static str>,
    /// What left, by which interface.
    pub left: Vec<Left>,
    /// The packet as it was at the start, for the page.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl Way {
    /// One that has just begun.
    pub fn new(origin: Origin) -> Way {
        Way {
            origin,
            interface: None,
            came: None,
            steps: Vec::new(),
            connection: None,
            direction: None,
            info: None,
            left: Vec::new(),
            bytes: Vec::new(),
        }
    }
}

/// A packet on its way out.
#[derive(Clone, Debug, Serialize)]
pub struct Left {
    /// By which interface.
    pub interface: String,
    /// Whose link address it was sent to.
    pub next_hop: IpAddr,
    /// Its headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// The packet itself, for captures.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// Its length on the wire.
    #[serde(skip)]
    pub wire_len: usize,
    /// Its interface as the router counts them.
    #[serde(skip)]
    pub dev: Dev,
}

/// A connection that a step names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConnRef {
    /// Its number.
    pub id: u32,
    /// The packet that opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// A rule, by its place and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// Its text on one line.
    pub text: String,
    /// `inet filter forward`: family, table and chain.
    pub chain: String,
}

/// A tuple.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TupleView {
    /// Protocol.
    pub protocol: String,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Destination port or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// ICMP type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    /// ICMP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// ICMP id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// As people read it.
    pub text: String,
}

impl From<&Tuple> for TupleView {
    fn from(t: &Tuple) -> Self {
        let (sport, dport, icmp) = match t.l4 {
            L4::Ports { src, dst } | L4::Keys { src, dst } => (Some(src), Some(dst), None),
            L4::Icmp { kind, code, id } => (None, None, Some((kind, code, id))),
            L4::None => (None, None, None),
        };
        TupleView {
            protocol: t.protocol.to_string(),
            src: t.src,
            dst: t.dst,
            sport,
            dport,
            kind: icmp.map(|i| i.0),
            code: icmp.map(|i| i.1),
            id: icmp.map(|i| i.2),
            text: Arrow(t).to_string(),
        }
    }
}

/// A connection as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Connection {
    /// Its number.
    pub id: u32,
    /// The packet that opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// What its first packet carried.
    pub original: TupleView,
    /// What answers carry.
    pub reply: TupleView,
    /// Its protocol's state, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Its status bits.
    pub status: Vec<&'static str>,
    /// Seconds that it has still to live.
    pub timeout: u64,
    /// Its mark.
    pub mark: u32,
    /// Its zone, if not 0, and in which directions it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneView>,
    /// Its helper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
}

/// A zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneView {
    /// Its number.
    pub id: u16,
    /// `both`, `original` or `reply`.
    pub scope: &'static str,
}

impl Connection {
    /// As a listing would show it.
    pub fn of(entry: &Entry, since: Option<u64>) -> Connection {
        Connection {
            id: entry.id.0,
            since,
            original: (&entry.original).into(),
            reply: (&entry.reply).into(),
            state: entry.proto.state_name(),
            status: entry.status.names().collect(),
            timeout: entry.timeout.as_secs(),
            mark: entry.mark,
            zone: (entry.zone.id != 0).then_some(ZoneView {
                id: entry.zone.id,
                scope: match entry.zone.scope {
                    ZoneScope::Both => "both",
                    ZoneScope::Original => "original",
                    ZoneScope::Reply => "reply",
                },
            }),
            helper: entry.helper.as_deref().map(str::to_owned),
        }
    }

    /// Whether NAT gives its answers another tuple than the inverse of the original.
    pub fn is_translated(&self) -> bool {
        self.has(Status::SRC_NAT) || self.has(Status::DST_NAT)
    }

    /// Whether it has a status bit.
    pub(super) fn has(&self, bit: Status) -> bool {
        bit.names().all(|name| self.status.contains(&name))
    }
}

/// One thing that happened. (docs/explain-json.md has the fields, one by one.)
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Step {
    /// The packet was turned into what the router had received for it.
    Restored,
    /// It is a fragment and waits; so many earlier ones were given up.
    Held { lost: u32 },
    /// It was the last missing fragment: this datagram goes on.
    Whole { fragments: u32, header: Header },
    /// A datagram did not become whole in time.
    Incomplete { fragments: u32, first: Option<Header> },
    /// A tuple was looked up.
    Lookup { tuple: TupleView, zone: u16, found: Option<ConnRef>, direction: Option<&'static str> },
    /// Nothing was found, and the packet opens a connection.
    Opened { connection: u32, original: TupleView, reply: TupleView },
    /// TCP's table.
    Transition {
        direction: &'static str,
        segment: String,
        state: &'static str,
        /// None: the state stays, because the segment is ignored or invalid.
        next: Option<&'static str>,
        outcome: &'static str,
        why: &'static str,
    },
    /// A departure from TCP's table.
    Exception { why: String },
    /// The window's tests.
    Window {
        direction: &'static str,
        verdict: &'static str,
        /// Nothing was seen of the receiver yet: what its numbers are is not known.
        receiver_unseen: bool,
        tests: Vec<WindowTest>,
    },
    /// What TCP knows of both ends now.
    Ends { original: EndView, reply: EndView },
    /// The timeout that follows is not the state's own.
    Ceiling { own: f64, why: String },
    /// The timeout was started anew.
    Timeout { seconds: f64, setting: Option<&'static str> },
    /// The packet's connection.
    Tracked { connection: u32, direction: &'static str, info: &'static str, state_before: Option<&'static str> },
    /// The tracker said no.
    Invalid { reason: &'static str, why: String, remedy: Option<Remedy> },
    /// It goes without a connection.
    Untracked,
    /// A rule matched.
    Rule { rule: Rule },
    /// A `log` statement.
    Log { rule: Rule, prefix: String, line: String },
    /// A base chain was asked.
    Chain { hook: &'static str, chain: String, decision: String, rule: Option<Rule> },
    /// A NAT rule asks for this.
    Mapping { hook: &'static str, rule: Rule, action: String },
    /// NAT decided about one end.
    Nat(Box<NatStep>),
    /// The packet was rewritten.
    Rewritten { hook: &'static str, changes: Vec<Change>, pinned: Option<Pin> },
    /// Where it goes.
    Routed { to: &'static str, interface: Option<String>, next_hop: Option<IpAddr>, why: Option<String> },
    /// What became of its connection at the last hook.
    Confirmed { outcome: &'static str, connection: u32, by: Option<ConnRef> },
    /// A connection has left the table.
    Gone {
        connection: ConnRef,
        original: TupleView,
        reply: TupleView,
        state: Option<&'static str>,
        time: f64,
        why: String,
    },
    /// It went no further.
    Dropped { reason: &'static str, why: String, rule: Option<Rule> },
    /// Nobody is told.
    Silent { why: String },
    /// The router itself got it.
    Delivered { header: Header },
}

/// A decision of NAT about one end.
#[derive(Clone, Debug, Serialize)]
pub struct NatStep {
    /// `source` or `destination`.
    pub end: &'static str,
    /// What packets of the original direction look like before it.
    pub before: TupleView,
    /// And after it.
    pub after: TupleView,
    /// The reply tuple that follows.
    pub reply: Option<TupleView>,
    /// How the address was chosen: `kept`, `only`, `prefix`, `hashed`, `hashed_by_source`.
    pub address: &'static str,
    /// How the port was chosen: `kept`, `only`, `reused`, `found`, `exhausted`, `stuck`.
    pub port: &'static str,
    /// The first choice's reply tuple belonged to this connection.
    pub taken_by: Option<ConnRef>,
    /// The connection whose mapping was used again.
    pub reused: Option<ConnRef>,
    /// The search for a free port.
    pub search: Option<SearchView>,
    /// The rule that asked for it; none for a null binding.
    pub rule: Option<Rule>,
    /// The rule's statement.
    pub action: Option<String>,
}

/// A search for a free port.
#[derive(Clone, Debug, Serialize)]
pub struct SearchView {
    /// The lowest port that was allowed.
    pub first: u16,
    /// The highest.
    pub last: u16,
    /// `lowest`, `drawn` or `shifted`.
    pub start: &'static str,
    /// Where it began, as an offset from the lowest port.
    pub offset: u16,
    /// How many ports were tried.
    pub tries: u16,
    /// How often it began anew.
    pub restarts: u8,
    /// A closed connection that had to make room.
    pub evicted: Option<ConnRef>,
}

/// The setting that would have let a packet pass.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Remedy {
    /// Its name.
    pub setting: &'static str,
    /// Its value.
    pub value: u32,
}

/// Where a connection's translation was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pin {
    /// The packet that had it decided.
    pub packet: u64,
    /// The rule.
    pub rule: Option<Rule>,
    /// Other rules are in force by now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// The ruleset that decided.
    #[serde(skip)]
    pub generation: u32,
}

/// One of the window's four tests.
#[derive(Clone, Debug, Serialize)]
pub struct WindowTest {
    /// `I` to `IV`.
    pub test: &'static str,
    /// The inequality in words of the module [`uct_engine::tcp::window`].
    pub says: &'static str,
    /// The left side.
    pub value: u32,
    /// The right side.
    pub bound: u32,
    /// Whether it holds.
    pub holds: bool,
    /// The packets that set the bound.
    pub set_by: Vec<u64>,
}

/// What TCP knows of one end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndView {
    /// Highest sequence number + length that it sent.
    pub end: u32,
    /// Highest that it may send.
    pub max_end: u32,
    /// Largest window that it offered.
    pub max_win: u32,
    /// Highest acknowledgement that it sent.
    pub max_ack: Option<u32>,
    /// Its window scale.
    pub scale: u8,
    /// Its flags.
    pub flags: Vec<&'static str>,
    /// The packets that set `end`, `max_end`, `max_win` and `max_ack`; 0 for none.
    pub set_by: [u64; 4],
}
