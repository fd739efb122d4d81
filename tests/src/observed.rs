//! What one step of a scenario did, as anybody outside could see it: the packets that left, the table, the events.
//!
//! ```text
//!   step ──► kernel ──► Observed ┐
//!                                ├─► compare
//!   step ──► uct    ──► Observed ┘
//! ```
//!
//! Both sides fill the same plain structures, so a comparison never asks who made them. The words are those of
//! `conntrack(8)` and ctnetlink: status bits under their names, the timeout in whole seconds, zones by direction.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The layer-4 half of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum L4 {
    /// Source and destination port, or the two keys of GRE.
    Ports(u16, u16),
    /// Type, code and identifier of an ICMP query.
    Icmp(u8, u8, u16),
    /// The protocol has nothing to tell two conversations apart.
    None,
}

/// One tuple of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Where the packets of this direction come from.
    pub src: IpAddr,
    /// Where they go.
    pub dst: IpAddr,
    /// The IP protocol number.
    pub proto: u8,
    /// Ports, ICMP identifier or nothing.
    pub l4: L4,
}

/// What is kept for one direction besides its tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The tuple of this direction.
    pub tuple: Tuple,
    /// The zone in which this direction's tuple lives.
    #[serde(default)]
    pub zone: u16,
    /// Packets and bytes, where accounting is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<(u64, u64)>,
    /// Sequence adjustment: correction position, offset before, offset after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqadj: Option<(u32, i32, i32)>,
}

/// The part of an entry that belongs to its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// Nothing is kept.
    None,
    /// State number as in `nf_conntrack_tcp.h`, then window scale and flags, original side first.
    Tcp {
        /// The state's number, see [`tcp_state_name`].
        state: u8,
        /// Window scale of both sides.
        wscale: [u8; 2],
        /// Flags of both sides (scale seen, SACK permitted, liberal, …).
        flags: [u8; 2],
    },
    /// State number and the two verification tags.
    Sctp {
        /// The state's number, see [`sctp_state_name`].
        state: u8,
        /// Verification tags of both sides.
        vtag: [u32; 2],
    },
}

/// One entry of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The direction of the first packet.
    pub original: Side,
    /// The other direction.
    pub reply: Side,
    /// The status bits, see [`STATUS_NAMES`].
    pub status: u32,
    /// Seconds left; events of destruction carry none.
    pub timeout: Option<u32>,
    /// What the protocol keeps.
    pub proto: Proto,
    /// The mark.
    #[serde(default)]
    pub mark: u32,
    /// The helper's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
    /// The labels' bits, sixteen bytes in the order of the wire, empty if the entry cannot have labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<u8>,
    /// The original tuple of the entry that expected this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<Tuple>,
    /// Whether the kernel keeps the time of its start, without the time itself, which nothing can repeat.
    #[serde(default)]
    pub stamped: Stamped,
    /// The kernel's name for the entry. It is a keyed hash: good for following an entry, never compared.
    #[serde(default, skip_serializing)]
    pub id: u32,
}

/// Whether an entry carries time stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stamped {
    /// It does not.
    #[default]
    No,
    /// It knows when it began.
    Start,
    /// It knows when it began and ended.
    Both,
}

/// What happened to an entry or an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventKind {
    /// It was put into the table.
    New,
    /// Something worth telling changed.
    Update,
    /// It left the table.
    Destroy,
}

/// One event, in the order in which the listeners hear it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// About an entry.
    Conn(EventKind, Entry),
    /// About an expectation.
    Expect(EventKind, Expectation),
}

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The original tuple of the entry that expects.
    pub master: Tuple,
    /// What is expected.
    pub tuple: Tuple,
    /// Which parts of it count.
    pub mask: Tuple,
    /// Seconds left.
    pub timeout: u32,
    /// PERMANENT 1, INACTIVE 2, USERSPACE 4.
    pub flags: u32,
    /// The helper's class.
    pub class: u32,
    /// The helper's name.
    pub helper: Option<String>,
    /// The zone.
    pub zone: u16,
    /// Direction and tuple that NAT will give the expected connection.
    pub nat: Option<(u32, Tuple)>,
}

/// One packet that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    /// On which interface; [`LOCAL`] if it was delivered to the router itself.
    pub iface: String,
    /// From the IP header on.
    #[serde(with = "hex_bytes")]
    pub packet: Vec<u8>,
}

/// The name of the router's own stack among the interfaces.
pub const LOCAL: &str = "local";

/// The counters of `conntrack -S`, added up over the processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Tuples found taken while NAT looked for a free one.
    pub found: u32,
    /// Packets judged invalid.
    pub invalid: u32,
    /// Entries put in by the control interface.
    pub insert: u32,
    /// Entries that could not be put in.
    pub insert_failed: u32,
    /// Packets dropped by connection tracking.
    pub drop: u32,
    /// Entries thrown out to make room.
    pub early_drop: u32,
    /// Broken ICMP errors.
    pub error: u32,
    /// Clashes at confirmation that were resolved.
    pub clash_resolve: u32,
    /// Packets dropped because a chain of the table was too long.
    pub chaintoolong: u32,
}

impl Stats {
    /// How much each counter grew since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Stats) -> Stats {
        let d = |a: u32, b: u32| a.wrapping_sub(b);
        Stats {
            found: d(self.found, earlier.found),
            invalid: d(self.invalid, earlier.invalid),
            insert: d(self.insert, earlier.insert),
            insert_failed: d(self.insert_failed, earlier.insert_failed),
            drop: d(self.drop, earlier.drop),
            early_drop: d(self.early_drop, earlier.early_drop),
            error: d(self.error, earlier.error),
            clash_resolve: d(self.clash_resolve, earlier.clash_resolve),
            chaintoolong: d(self.chaintoolong, earlier.chaintoolong),
        }
    }
}

/// Everything that can be seen of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// What left, interface by interface; within one interface in order.
    pub out: Vec<Emitted>,
    /// The table afterwards.
    pub table: Vec<Entry>,
    /// What the listeners heard, in order.
    pub events: Vec<Event>,
    /// The expectations afterwards.
    pub expectations: Vec<Expectation>,
    /// How the counters moved.
    pub stats: Stats,
}

/// Names of the status bits, lowest bit first.
pub const STATUS_NAMES: [&str; 16] = [
    "EXPECTED",
    "SEEN_REPLY",
    "ASSURED",
    "CONFIRMED",
    "SRC_NAT",
    "DST_NAT",
    "SEQ_ADJUST",
    "SRC_NAT_DONE",
    "DST_NAT_DONE",
    "DYING",
    "FIXED_TIMEOUT",
    "TEMPLATE",
    "NAT_CLASH",
    "HELPER",
    "OFFLOAD",
    "HW_OFFLOAD",
];

/// The status bits by name.
#[must_use]
pub fn status_names(status: u32) -> String {
    let names: Vec<&str> =
        STATUS_NAMES.iter().enumerate().filter(|(bit, _)| status >> bit & 1 == 1).map(|(_, name)| *name).collect();
    names.join("|")
}

/// A TCP state's name as netfilter prints it.
#[must_use]
pub fn tcp_state_name(state: u8) -> &'static str {
    const NAMES: [&str; 10] = [
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
    ];
    NAMES.get(usize::from(state)).copied().unwrap_or("?")
}

/// An SCTP state's name as netfilter prints it.
#[must_use]
pub fn sctp_state_name(state: u8) -> &'static str {
    const NAMES: [&str; 9] = [
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
    NAMES.get(usize::from(state)).copied().unwrap_or("?")
}

/// A protocol's name, or its number.
#[must_use]
pub fn proto_name(proto: u8) -> String {
    match proto {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        33 => "dccp".into(),
        47 => "gre".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        136 => "udplite".into(),
        n => n.to_string(),
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.l4 {
            L4::Ports(s, d) => match self.src {
                IpAddr::V4(_) => write!(f, "{}:{s}→{}:{d}", self.src, self.dst),
                IpAddr::V6(_) => write!(f, "[{}]:{s}→[{}]:{d}", self.src, self.dst),
            },
            L4::Icmp(kind, code, id) => write!(f, "{}→{} {kind}/{code} id {id}", self.src, self.dst),
            L4::None => write!(f, "{}→{}", self.src, self.dst),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tuple)?;
        if self.zone != 0 {
            write!(f, " zone {}", self.zone)?;
        }
        if let Some((packets, bytes)) = self.counters {
            write!(f, " ({packets}p {bytes}B)")?;
        }
        if let Some((pos, before, after)) = self.seqadj {
            write!(f, " adj@{pos} {before:+}{after:+}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", proto_name(self.original.tuple.proto))?;
        match self.timeout {
            Some(seconds) => write!(f, "{seconds}s ")?,
            None => write!(f, "- ")?,
        }
        match self.proto {
            Proto::None => {}
            Proto::Tcp { state, wscale, flags } => {
                write!(f, "{} ws {}/{} fl {:x}/{:x} ", tcp_state_name(state), wscale[0], wscale[1], flags[0], flags[1])?
            }
            Proto::Sctp { state, vtag } => write!(f, "{} vtag {:x}/{:x} ", sctp_state_name(state), vtag[0], vtag[1])?,
        }
        write!(f, "{} | {} {}", self.original, self.reply, status_names(self.status))?;
        if self.mark != 0 {
            write!(f, " mark={}", self.mark)?;
        }
        if self.labels.iter().any(|&b| b != 0) {
            write!(f, " labels={}", hex(&self.labels))?;
        }
        if let Some(helper) = &self.helper {
            write!(f, " helper={helper}")?;
        }
        if let Some(master) = &self.master {
            write!(f, " master={master}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}s {} mask {} master {} flags {} class {} helper {}",
            proto_name(self.tuple.proto),
            self.timeout,
            self.tuple,
            self.mask,
            self.master,
            self.flags,
            self.class,
            self.helper.as_deref().unwrap_or("-")
        )?;
        if let Some((dir, tuple)) = &self.nat {
            write!(f, " nat dir {dir} {tuple}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |kind: &EventKind| match kind {
            EventKind::New => "NEW",
            EventKind::Update => "UPDATE",
            EventKind::Destroy => "DESTROY",
        };
        match self {
            Event::Conn(kind, entry) => write!(f, "[{}] {entry}", name(kind)),
            Event::Expect(kind, expectation) => write!(f, "[{} expect] {expectation}", name(kind)),
        }
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for emitted in &self.out {
            writeln!(f, "  out {:<8} {}", emitted.iface, crate::packet::describe(&emitted.packet))?;
        }
        if self.out.is_empty() {
            writeln!(f, "  out -")?;
        }
        for event in &self.events {
            writeln!(f, "  event {event}")?;
        }
        for entry in &self.table {
            writeln!(f, "  entry {entry}")?;
        }
        for expectation in &self.expectations {
            writeln!(f, "  expect {expectation}")?;
        }
        if self.stats != Stats::default() {
            writeln!(f, "  stats {:?}", self.stats)?;
        }
        Ok(())
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The reverse of [`hex`]; `None` if it is not hexadecimal.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| char::from(b).to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Bytes in files are hexadecimal, so that a stored scenario can be read and edited.
pub(crate) mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hex(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::unhex(&text).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
    }
}
