//! What happened in a script, in lines for the page.
//!
//! ```text
//!  lan0 ▸  192.168.1.10:40000 > 198.51.100.7:80 tcp S seq 1000       a packet arrives
//!  ▸ wan0  203.0.113.1:40000 > 198.51.100.7:80 tcp S seq 1000        what leaves, "unchanged" but for the TTL
//!   table  tcp SYN_SENT 120s 192.168.1.10:40000 > 198.51.100.7:80 [UNREPLIED] reply …
//! ```
//!
//! Of the table only entries that have changed are shown; time alone is no change. The reply tuple is shown if it is not
//! the original's mirror image, which is: if NAT has a hand in it.
//!
//! A port that was drawn at random is told as it is, or, to compare two runs, by its class and the order of its
//! appearance ([`Ports`]).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::line::{CHUNKS, is_sum_right};
use super::{Events, Script, Turn};
use crate::generate::world::{destination, source, transport};
use crate::observed::{
    Entry, Event, EventKind, L4, Observed, Proto, Tuple, proto_name, sctp_state_name, tcp_state_name,
};
use crate::run::sent;
use crate::scenario::Step;

/// How ports are told.
#[derive(Clone, Debug, Default)]
pub enum Ports {
    /// As they are.
    #[default]
    Plain,
    /// Those that stand in the script's packets as they are, others by their class and the order of their appearance.
    Named {
        /// Numbers that stand in the script's packets.
        known: Vec<u16>,
        /// The others, as they appeared.
        drawn: Vec<u16>,
    },
}

impl Ports {
    /// For comparing two runs of a script.
    #[must_use]
    pub fn named(script: &str) -> Ports {
        let packets = script.lines().filter(|line| line.contains('>'));
        let numbers = packets.flat_map(|line| line.split(|c: char| !c.is_ascii_digit()));
        let known = numbers.filter_map(|number| number.parse().ok()).collect();
        Ports::Named { known, drawn: Vec::new() }
    }

    fn tell(&mut self, port: u16) -> String {
        match self {
            Ports::Named { known, drawn } if !known.contains(&port) => {
                let index = drawn.iter().position(|other| *other == port).unwrap_or_else(|| {
                    drawn.push(port);
                    drawn.len() - 1
                });
                let class = match port {
                    0..512 => "low",
                    512..1024 => "privileged",
                    _ => "high",
                };
                format!("{class}{index}")
            }
            _ => port.to_string(),
        }
    }
}

/// Tells a script's steps, one after the other.
#[derive(Clone, Debug)]
pub struct Teller {
    text: String,
    ports: Ports,
    events: Events,
    before: Vec<Entry>,
    last: Duration,
    /// What is to be said of the packets that are not shown, and the table after them.
    hidden: Option<(String, Vec<Entry>)>,
}

impl Teller {
    /// Begins with what holds before the first packet.
    #[must_use]
    pub fn new(script: &Script, ports: Ports) -> Teller {
        let mut text = String::new();
        for (name, value) in &script.setup.sysctls {
            let _ = writeln!(text, "sysctl  net.{name}={value}");
        }
        for rule in &script.rules {
            let _ = writeln!(text, "  rule  {rule}");
        }
        Teller { text, ports, events: script.events, before: Vec::new(), last: Duration::ZERO, hidden: None }
    }

    /// Tells one more turn.
    pub fn turn(&mut self, turn: &Turn, at: Duration, observed: &Observed) {
        if let Some(words) = &turn.hidden {
            if self.hidden.as_ref().is_some_and(|(other, _)| other != words) {
                self.unhide();
            }
            self.hidden = Some((words.clone(), observed.table.clone()));
            self.last = at;
            return;
        }
        self.unhide();
        let step = &turn.step;
        let packet = sent(step);
        match step {
            Step::Frame { iface, bytes } => {
                let brief = self.packet(bytes.get(14..).unwrap_or(&[]));
                self.line(&format!("{iface} ▸"), &brief);
            }
            Step::Local { bytes } => {
                let brief = self.packet(bytes);
                self.line("self ▸", &brief);
            }
            Step::Advance { seconds } => self.line("time", &format!("{seconds} s later")),
            Step::Rules { text } => {
                let mut rules: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
                if rules.is_empty() {
                    rules.push("no rules and no chains");
                }
                self.line("now", "other rules:");
                for rule in rules {
                    self.line("rule", rule);
                }
            }
            Step::Sysctl { name, value } => self.line("sysctl", &format!("net.{name}={value}")),
            Step::DeleteAddress { iface, address } => self.line(iface, &format!("loses the address {address}")),
        }
        for emitted in &observed.out {
            let same = packet.is_some_and(|packet| is_same(packet, &emitted.packet));
            let brief = if same { "unchanged".into() } else { self.packet(&emitted.packet) };
            let iface = if emitted.iface == crate::observed::LOCAL { "self" } else { &emitted.iface };
            self.line(&format!("▸ {iface}"), &brief);
        }
        if packet.is_some() && observed.out.is_empty() {
            self.line("▸", "nothing");
        }
        if self.events == Events::Shown {
            for event in &observed.events {
                let Event::Conn(kind, entry) = event else { continue };
                let kind = match kind {
                    EventKind::New => "NEW",
                    EventKind::Update => "UPDATE",
                    EventKind::Destroy => "DESTROY",
                };
                let entry = self.entry(entry);
                self.line("event", &format!("[{kind}] {entry}"));
            }
        } else {
            self.table(&observed.table, at);
        }
        self.last = at;
    }

    fn unhide(&mut self) {
        if let Some((words, table)) = self.hidden.take() {
            self.line("…", &words);
            self.table(&table, self.last);
        }
    }

    /// All that was told.
    #[must_use]
    pub fn text(mut self) -> String {
        self.unhide();
        self.text
    }

    fn line(&mut self, head: &str, rest: &str) {
        let _ = writeln!(self.text, "{head:>6}  {rest}");
    }

    fn table(&mut self, table: &[Entry], at: Duration) {
        let passed = (at - self.last).as_secs() as u32 + 1;
        let mut now = table.to_vec();
        now.sort_by_key(|entry| (entry.original.tuple, entry.original.zone, entry.reply.tuple));
        let before = std::mem::take(&mut self.before);
        let same = |a: &Entry, b: &Entry| a.original.tuple == b.original.tuple && a.original.zone == b.original.zone;
        for entry in &now {
            let old = before.iter().find(|old| same(old, entry));
            if old.is_none_or(|old| !is_only_older(old, entry, passed)) {
                let entry = self.entry(entry);
                self.line("table", &entry);
            }
        }
        for old in before.iter().filter(|old| !now.iter().any(|entry| same(old, entry))) {
            let (proto, tuple) = (name(old.original.tuple.proto), self.tuple(&old.original.tuple));
            self.line("table", &format!("{proto} {tuple} is gone"));
        }
        self.before = now;
    }

    fn tuple(&mut self, tuple: &Tuple) -> String {
        match tuple.l4 {
            L4::Ports(src, dst) if tuple.proto != 47 => {
                let (src, dst) = (self.ports.tell(src), self.ports.tell(dst));
                format!("{} > {}", end(tuple.src, &src), end(tuple.dst, &dst))
            }
            L4::Icmp(kind, code, id) => {
                let id = self.ports.tell(id);
                format!("{} > {} type {kind} code {code} id {id}", tuple.src, tuple.dst)
            }
            L4::Ports(..) | L4::None => format!("{} > {}", tuple.src, tuple.dst),
        }
    }

    fn entry(&mut self, entry: &Entry) -> String {
        let mut line = name(entry.original.tuple.proto);
        match entry.proto {
            Proto::None => {}
            Proto::Tcp { state, .. } => line += &format!(" {}", tcp_state_name(state)),
            Proto::Sctp { state, .. } => line += &format!(" {}", sctp_state_name(state)),
        }
        if let Some(seconds) = entry.timeout {
            line += &format!(" {seconds}s");
        }
        line += &format!(" {}", self.tuple(&entry.original.tuple));
        if entry.original.zone != 0 {
            line += &format!(" zone {}", entry.original.zone);
        }
        if let Some((packets, bytes)) = entry.original.counters {
            line += &format!(" packets={packets} bytes={bytes}");
        }
        if entry.status & SEEN_REPLY == 0 {
            line += " [UNREPLIED]";
        }
        if entry.status & ASSURED != 0 {
            line += " [ASSURED]";
        }
        if !is_mirror(&entry.original.tuple, &entry.reply.tuple) {
            line += &format!(" reply {}", self.tuple(&entry.reply.tuple));
        }
        if entry.reply.zone != entry.original.zone {
            line += &format!(" reply zone {}", entry.reply.zone);
        }
        if let Some((packets, bytes)) = entry.reply.counters {
            line += &format!(" replies={packets} bytes={bytes}");
        }
        if entry.mark != 0 {
            line += &format!(" mark={}", entry.mark);
        }
        line
    }

    /// One line about an IP packet.
    fn packet(&mut self, packet: &[u8]) -> String {
        self.try_packet(packet, Quoted::No).unwrap_or_else(|| "too short to tell".into())
    }

    fn try_packet(&mut self, packet: &[u8], quoted: Quoted) -> Option<String> {
        let (src, dst) = source(packet).zip(destination(packet))?;
        let (proto, at) = transport(packet)?;
        let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
        let long = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
        let name = name(if proto == 44 { *packet.get(40)? } else { proto });
        let fragment = fragment(packet);
        if let Some((offset, _)) = fragment
            && (offset > 0 || proto == 44)
        {
            return Some(format!("{src} > {dst} {name}{}", piece(fragment, packet.len())));
        }
        let mut line = match proto {
            6 | 17 | 132 | 136 => {
                let (sport, dport) = (self.ports.tell(word(at)?), self.ports.tell(word(at + 2)?));
                format!("{} > {} {name}", end(src, &sport), end(dst, &dport))
            }
            _ => format!("{src} > {dst} {name}"),
        };
        match proto {
            6 if packet.len() >= at + 20 => {
                let bits = packet[at + 13];
                let flags: String =
                    "SFRPAUEC".chars().filter(|flag| bits >> "FSRPAUEC".find(*flag).unwrap_or(7) & 1 == 1).collect();
                let _ = write!(line, " {} seq {}", if flags.is_empty() { "-" } else { &flags }, long(at + 4)?);
                if bits & 16 != 0 {
                    let _ = write!(line, " ack {}", long(at + 8)?);
                }
                let data = packet.len() - at - usize::from(packet[at + 12] >> 4) * 4;
                if data > 0 {
                    let _ = write!(line, " len {data}");
                }
                if word(at + 14) == Some(0) {
                    line += " win 0";
                }
            }
            17 | 136 if fragment.is_none() && word(at + 6) == Some(0) => line += " (no checksum)",
            132 => {
                let kind = *packet.get(at + 12)?;
                let chunk = CHUNKS.iter().find(|(_, number)| *number == kind).map_or("?", |(name, _)| name);
                let _ = write!(line, " vtag {} {chunk}", long(at + 4)?);
            }
            1 | 58 => {
                let (kind, code) = (*packet.get(at)?, *packet.get(at + 1)?);
                let error = if proto == 1 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 5 };
                let _ = write!(line, " type {kind} code {code}");
                if error && let Some(inner) = packet.get(at + 8..) {
                    let inner = self.try_packet(inner, Quoted::Yes).unwrap_or_else(|| "too little to tell".into());
                    let _ = write!(line, " about ({inner})");
                } else {
                    let _ = write!(line, " id {}", self.ports.tell(word(at + 4)?));
                }
            }
            _ => {}
        }
        line += &piece(fragment, packet.len());
        let none = matches!(proto, 17 | 136) && word(at + 6) == Some(0);
        let wrong = quoted == Quoted::No && fragment.is_none() && !none && is_sum_right(packet) == Some(false);
        if wrong {
            line += " (wrong checksum)";
        }
        Some(line)
    }
}

const SEEN_REPLY: u32 = 2;
const ASSURED: u32 = 4;

/// Whether a packet is told within an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoted {
    Yes,
    No,
}

/// A protocol's name.
fn name(proto: u8) -> String {
    if proto == 50 { "esp".into() } else { proto_name(proto) }
}

fn end(address: IpAddr, port: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

fn piece(fragment: Option<(usize, bool)>, length: usize) -> String {
    fragment.map_or(String::new(), |(offset, more)| {
        format!(" fragment at {offset}{}, {length} bytes", if more { "" } else { " (last)" })
    })
}

/// Offset, and whether more follow, if it is a fragment.
fn fragment(packet: &[u8]) -> Option<(usize, bool)> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    match packet.first()? >> 4 {
        4 => {
            let field = word(6)?;
            (field & 0x3fff != 0).then_some((usize::from(field & 0x1fff) * 8, field & 0x2000 != 0))
        }
        _ if packet.get(6) == Some(&44) => word(42).map(|field| (usize::from(field & 0xfff8), field & 1 != 0)),
        _ => None,
    }
}

/// Whether two packets are the same but for the TTL.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let plain = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        match packet.first().map(|byte| byte >> 4) {
            Some(4) if packet.len() >= 20 => {
                packet[8] = 0;
                packet[10..12].fill(0);
            }
            Some(6) if packet.len() >= 40 => packet[7] = 0,
            _ => {}
        }
        packet
    };
    plain(a) == plain(b)
}

fn is_mirror(original: &Tuple, reply: &Tuple) -> bool {
    let l4 = match (original.l4, reply.l4) {
        (L4::Ports(a, b), L4::Ports(c, d)) => (a, b) == (d, c),
        (L4::Icmp(_, a, b), L4::Icmp(_, c, d)) => (a, b) == (c, d),
        (a, b) => a == b,
    };
    l4 && original.src == reply.dst && original.dst == reply.src
}

/// Whether an entry has changed only by `passed` seconds passing.
fn is_only_older(old: &Entry, new: &Entry, passed: u32) -> bool {
    let plain = |entry: &Entry| {
        let mut entry = Entry { timeout: None, id: 0, ..entry.clone() };
        if let Proto::Tcp { wscale, flags, .. } = &mut entry.proto {
            (*wscale, *flags) = ([0; 2], [0; 2]); // not shown
        }
        entry
    };
    let (before, after) = (old.timeout.unwrap_or(0), new.timeout.unwrap_or(0));
    plain(old) == plain(new) && after <= before && before - after <= passed
}
