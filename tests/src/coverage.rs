//! What a run has really met, counted on the kernel's side: a clean run of what never happened proves nothing.
//!
//! | line | counts |
//! |---|---|
//! | `tcp STATE direction class` | segments of a class that met a connection in a state |
//! | `sctp STATE direction chunk` | the same for the first chunk of an SCTP packet |
//! | `fate …` | packets forwarded, delivered, answered by the router, held or dropped |
//! | `event …` | events |
//! | `entry …` | new entries by protocol, translation, drawn ports, zones |
//! | `count …` | steps at which a counter of `conntrack -S` moved |
//! | `rule …` | scenarios whose rules say such a thing, and changes of the rules that do |
//! | `set …` | settings that differ from the default from the beginning, or change |
//! | `step …` | what else happened between packets |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::generate::world::{destination, source, transport};
use crate::observed::{
    Entry, Event, EventKind, L4, LOCAL, Observed, Proto, proto_name, sctp_state_name, tcp_state_name,
};
use crate::packet::build::flag;
use crate::scenario::{Setup, Step};

/// What rules may say that is worth counting.
const WORDS: [&str; 27] = [
    "masquerade",
    "masquerade to :",
    "snat to",
    "dnat to",
    "redirect",
    "prefix to",
    "persistent",
    "fully-random",
    "hook input",
    "hook output",
    " drop",
    "reject",
    "with tcp reset",
    "notrack",
    "ct zone set",
    "ct original zone set",
    "ct reply zone set",
    "ct mark set",
    "meta mark set",
    "ct label set",
    "ct timeout set",
    "ct count",
    "limit rate",
    "maxseg size set rt mtu",
    "maxseg size set 1",
    "ct direction",
    "ct status",
];

/// How often each thing has happened.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// Adds up what another run has met.
    pub fn add(&mut self, other: &Coverage) {
        for (what, times) in &other.0 {
            *self.0.entry(what.clone()).or_default() += times;
        }
    }

    fn count(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Takes note of what a scenario begins with.
    pub fn note_setup(&mut self, setup: &Setup) {
        self.note_rules(&setup.rules);
        for (name, _) in &setup.sysctls {
            self.count(format!("set {name}"));
        }
    }

    /// Takes note of a step that is no packet.
    pub fn note_change(&mut self, step: &Step) {
        match step {
            Step::Frame { .. } | Step::Local { .. } => {}
            Step::Advance { .. } => self.count("step time passes".into()),
            Step::Sysctl { name, .. } => {
                self.count("step a setting changes".into());
                self.count(format!("set {name}"));
            }
            Step::Rules { text } => {
                self.count("step rules change".into());
                self.note_rules(text);
            }
            Step::DeleteAddress { iface, address } => {
                let family = if address.contains(':') { "IPv6" } else { "IPv4" };
                self.count(format!("step {iface} loses its {family} address"));
            }
        }
    }

    fn note_rules(&mut self, rules: &str) {
        for word in WORDS.into_iter().filter(|word| rules.contains(word)) {
            self.count(format!("rule {}", word.trim()));
        }
    }

    /// Takes note of one step: the IP packet that went in, if it was one, the table before, and what happened.
    pub fn note(&mut self, sent: Option<&[u8]>, before: &[Entry], observed: &Observed) {
        if let Some(packet) = sent {
            self.note_packet(packet, before, observed);
        }
        for event in &observed.events {
            let (Event::Conn(kind, _) | Event::Expect(kind, _)) = event;
            self.count(format!("event {kind:?}"));
            if let Event::Conn(EventKind::New, entry) = event {
                self.note_entry(entry);
            }
        }
        let stats = &observed.stats;
        for (name, moved) in [
            ("found", stats.found),
            ("invalid", stats.invalid),
            ("insert_failed", stats.insert_failed),
            ("drop", stats.drop),
            ("early_drop", stats.early_drop),
            ("error", stats.error),
            ("clash_resolve", stats.clash_resolve),
        ] {
            if moved > 0 {
                self.count(format!("count {name}"));
            }
        }
    }

    fn note_packet(&mut self, packet: &[u8], before: &[Entry], observed: &Observed) {
        let is_redirected =
            |one: &crate::observed::Emitted| one.packet.get(20..22) == Some(&[5, 1]) && one.packet[9] == 1;
        let fate = match observed.out.as_slice() {
            [] => "held or dropped",
            [one, _] if one.packet.first() == Some(&0x45) && is_redirected(one) && !is_same(packet, &one.packet) => {
                "forwarded and redirected"
            }
            [one, ..] if one.iface == LOCAL => "delivered",
            [one, ..] if is_same(packet, &one.packet) => "forwarded",
            _ => "answered",
        };
        self.count(format!("fate {fate}"));
        let Some((protocol, at)) = transport(packet) else { return };
        let Some((entry, direction)) = find(packet, protocol, at, before) else { return };
        match (entry.proto, packet.get(at + 12..at + 14)) {
            (Proto::Tcp { state, .. }, Some([_, flags])) if protocol == 6 => {
                self.count(format!("tcp {} {direction} {}", tcp_state_name(state), class(*flags)));
            }
            (Proto::Sctp { state, .. }, Some([chunk, _])) if protocol == 132 => {
                self.count(format!("sctp {} {direction} {chunk}", sctp_state_name(state)));
            }
            _ => {}
        }
    }

    fn note_entry(&mut self, entry: &Entry) {
        let (original, reply) = (&entry.original.tuple, &entry.reply.tuple);
        let family = if original.src.is_ipv4() { "v4" } else { "v6" };
        let source = match (original.src == reply.dst, ports(original.l4).0 == ports(reply.l4).1) {
            (true, true) => "",
            (false, true) => " snat",
            (true, false) => " port",
            (false, false) => " snat+port",
        };
        let destination = match (original.dst == reply.src, ports(original.l4).1 == ports(reply.l4).0) {
            (true, true) => "",
            (false, true) => " dnat",
            (true, false) => " dport",
            (false, false) => " dnat+dport",
        };
        let zone = match (entry.original.zone, entry.reply.zone) {
            (0, 0) => "",
            (_, 0) => " zone-original",
            (0, _) => " zone-reply",
            _ => " zone",
        };
        self.count(format!("entry {} {family}{source}{destination}{zone}", proto_name(original.proto)));
    }

    /// The counts, a line each.
    #[must_use]
    pub fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (what, times)| {
            let _ = writeln!(text, "{times:>9} {what}");
            text
        })
    }
}

fn ports(l4: L4) -> (u16, u16) {
    match l4 {
        L4::Ports(src, dst) => (src, dst),
        // An answer carries the identifier of its question, wherever it goes.
        L4::Icmp(_, _, id) => (id, id),
        L4::None => (0, 0),
    }
}

/// Whether a packet that came out is one that went in, translated perhaps: it has the same identification, or in IPv6 the
/// same length.
fn is_same(sent: &[u8], out: &[u8]) -> bool {
    match sent.first().map(|byte| byte >> 4) {
        Some(4) => sent.get(4..6) == out.get(4..6) && sent.get(9) == out.get(9),
        _ => sent.get(4..7) == out.get(4..7),
    }
}

fn class(flags: u8) -> &'static str {
    match flags & (flag::SYN | flag::ACK | flag::FIN | flag::RST) {
        f if f & flag::RST != 0 => "rst",
        f if f & (flag::SYN | flag::ACK) == flag::SYN | flag::ACK => "synack",
        f if f & flag::SYN != 0 => "syn",
        f if f & flag::FIN != 0 => "fin",
        f if f & flag::ACK != 0 => "ack",
        _ => "none",
    }
}

fn find<'a>(packet: &[u8], protocol: u8, at: usize, table: &'a [Entry]) -> Option<(&'a Entry, &'static str)> {
    let (src, dst) = (source(packet)?, destination(packet)?);
    let port = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let l4 = L4::Ports(port(at)?, port(at + 2)?);
    let is = |side: &crate::observed::Side, (src, dst): (IpAddr, IpAddr)| {
        let tuple = &side.tuple;
        (tuple.src, tuple.dst, tuple.proto, tuple.l4) == (src, dst, protocol, l4)
    };
    table.iter().find_map(|entry| {
        if is(&entry.original, (src, dst)) {
            Some((entry, "original"))
        } else {
            is(&entry.reply, (src, dst)).then_some((entry, "reply"))
        }
    })
}
