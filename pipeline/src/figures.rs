//! Every figure that a router has, by name, with its meaning in one sentence.
//!
//! | who shows them | how |
//! |---|---|
//! | `uct stats` and the socket's `figures` | all, or those that are not zero |
//! | `--metrics` | Prometheus' text, under the same names |
//! | the status page | drops and invalid packets by reason |
//!
//! It decides names and sentences, and nothing else: counters stay with whoever counts. Connection tracking's names are
//! those of `conntrack -S` with `conntrack_` before and, for what only grows, `_total` behind; the pipeline's begin with
//! `uct_`. A reason is a label, so that all reasons of one kind can be summed; there are no labels of single connections.
//!
//! What asks the table itself (connections by state, ports in use) walks it a shard at a time and holds no lock while it
//! counts; see [`Census`].

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use uct_engine::{Engine, Invalid, L4, Status, Sysctl, Time};

use crate::live::Station;
use crate::live::stats::Loss;
use crate::router::{Drop, Router};

/// Whether a figure only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It counts since the start.
    Counter,
    /// It is what is.
    Gauge,
}

/// A label of a figure: its name and its value.
pub type Label = (&'static str, Cow<'static, str>);

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name, without `_total`.
    pub name: Cow<'static, str>,
    /// Whether it only grows.
    pub kind: Kind,
    /// What tells it from others of its name.
    pub labels: Vec<Label>,
    /// How much.
    pub value: u64,
    /// What it means, in one sentence; for a reason, what that reason is.
    pub help: Cow<'static, str>,
}

impl Figure {
    /// Something that is counted.
    pub fn counter(name: &'static str, value: u64, help: &'static str) -> Figure {
        Figure { name: name.into(), kind: Kind::Counter, labels: Vec::new(), value, help: help.into() }
    }

    /// Something that is.
    pub fn gauge(name: &'static str, value: u64, help: &'static str) -> Figure {
        Figure { kind: Kind::Gauge, ..Figure::counter(name, value, help) }
    }

    /// The same with a label.
    #[must_use]
    pub fn with(mut self, label: &'static str, value: impl Into<Cow<'static, str>>) -> Figure {
        self.labels.push((label, value.into()));
        self
    }

    /// The name under which it is shown: `conntrack_invalid_total{reason="tcp-new"}`.
    pub fn shown(&self) -> String {
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}{total}{labels}", self.name)
    }
}

/// Whoever has figures.
pub trait Figures: Send + Sync {
    /// Adds them.
    fn figures(&self, into: &mut Vec<Figure>);
}

/// What `conntrack -S` counts, in words.
const ENGINE: [(&str, &str, &str); 10] = [
    ("found", "conntrack_found", "Tuples that NAT found taken while it looked for a free one."),
    ("invalid", "", ""),
    ("insert", "conntrack_insert", "Connections that entered the table."),
    ("insert_failed", "conntrack_insert_failed", "Connections that could not enter the table: a tuple was taken."),
    ("drop", "conntrack_drop", "Packets dropped because their connection could not be kept."),
    ("early_drop", "conntrack_early_drop", "Connections given up to make room in a full table."),
    ("error", "conntrack_error", "ICMP packets that the tracker refused."),
    ("search_restart", "conntrack_search_restart", "Lookups that began again because the table changed."),
    ("clash_resolve", "conntrack_clash_resolve", "Connections opened twice at the same time and made one."),
    ("chaintoolong", "conntrack_chaintoolong", "Connections refused because too many share a hash."),
];

/// Why packets are invalid, in words.
const INVALID: [(&str, &str); Invalid::COUNT] = [
    ("no-transport", "no transport header can be found"),
    ("short-packet", "the transport header is cut"),
    ("truncated-packet", "a length within the packet contradicts its size"),
    ("bad-checksum", "the transport checksum is wrong"),
    ("no-checksum", "UDP-Lite without a checksum"),
    ("tcp-flags", "a set of TCP flags that no TCP sends"),
    ("tcp-new", "a TCP segment that cannot open a connection"),
    ("tcp-not-loose", "not a SYN, and nf_conntrack_tcp_loose is 0"),
    ("tcp-state", "the state of its connection has no place for the segment"),
    ("tcp-seq-over", "it begins beyond the window of its receiver"),
    ("tcp-ack-over", "it acknowledges data that was not seen yet"),
    ("tcp-rst", "a reset at a number that was acknowledged already"),
    ("icmp-type", "an ICMP type that is neither question, answer nor error"),
    ("icmp-unsolicited", "an ICMP answer to no known question"),
    ("icmp-quote-unreadable", "the packet that an ICMP error quotes cannot be read"),
    ("icmp-quote-unknown", "an ICMP error about an unknown connection"),
    ("icmp-quote-mismatch", "an ICMP error not addressed to the sender of the packet that it quotes"),
    ("icmp-family", "ICMP of the wrong IP version"),
    ("sctp-state", "the state of its association has no place for the chunk"),
    ("sctp-chunks", "SCTP chunks that do not parse, or may not travel together"),
    ("sctp-vtag", "a wrong SCTP verification tag"),
    ("sctp-init-ack", "an SCTP INIT ACK that announces another tag than the known one"),
    ("sctp-new", "an SCTP packet that cannot open an association"),
];

/// Why packets are dropped, in words.
const DROP: [(&str, &str); Drop::COUNT] = [
    ("link-short-header", "the frame ends within its link header"),
    ("link-too-many-tags", "more VLAN tags than one packet has"),
    ("link-ip-version", "bare IP of neither version"),
    ("link-address-family", "an address family that is neither IPv4's nor IPv6's"),
    ("link-type", "a link type that is not known"),
    ("not-ip", "not an IP packet"),
    ("other-host", "addressed to another host's link address"),
    ("no-interface", "entered on an interface that the topology does not have"),
    ("ip-short-header", "the IP header is cut"),
    ("ip-version", "an IP version that is neither 4 nor 6"),
    ("ip-header-length", "an IPv4 header length below 20 bytes"),
    ("ip-length", "the IP length does not fit what arrived"),
    ("ip-header-checksum", "a wrong IPv4 header checksum"),
    ("ip-hop-by-hop", "hop-by-hop options that are broken or say to discard the packet"),
    ("fragment-duplicate", "the fragment is a duplicate"),
    ("fragment-overlap", "the fragment overlaps another"),
    ("fragment-ends-disagree", "the fragments disagree about the datagram's end"),
    ("fragment-empty", "the fragment is empty"),
    ("fragment-too-long", "the datagram would be longer than 65535 bytes"),
    ("fragment-ecn", "the fragments' ECN bits contradict each other"),
    ("fragment-no-memory", "the memory for fragments is used up"),
    ("rule", "a rule or a chain's policy dropped it"),
    ("reject", "a rule rejected it"),
    ("table-full", "it would open a connection, and the table is full (nf_conntrack_max)"),
    ("no-address", "the interface has no address of its family to translate to"),
    ("nat-icmp-redirect", "an ICMP redirect about a translated connection"),
    ("nat-bad-checksum", "an ICMP error with a wrong checksum, which cannot be translated"),
    ("nat-short-header", "a header is cut that was to be translated"),
    ("nat-gre-version", "GRE of a version that cannot be translated"),
    ("nat-interface-changed", "its connection was masqueraded with another interface's address"),
    ("martian-source", "a source address that no packet may come from"),
    ("martian-destination", "a destination address that no packet may go to"),
    ("group-not-joined", "for a multicast group that the router has not joined"),
    ("beyond-scope", "its link-local source ends at its link"),
    ("reverse-path", "its source is not where it came from"),
    ("ip-options", "its IPv4 options make no sense"),
    ("ip-source-route", "it says itself which way to go"),
    ("no-route", "no route leads to its destination"),
    ("not-unicast", "sent to all on the link, and not forwarded to another"),
    ("time-exceeded", "its time to live is used up"),
    ("too-big", "larger than the next link's MTU, and not to be fragmented"),
    ("fragment-headers", "IPv6: the extension headers do not all stand in the first fragment"),
    ("clash", "NAT found no free tuple"),
];

/// The sentence of a reason.
fn words(table: &[(&str, &'static str)], name: &'static str) -> &'static str {
    table.iter().find(|(known, _)| *known == name).map_or(name, |(_, text)| text)
}

impl Figures for Engine {
    fn figures(&self, into: &mut Vec<Figure>) {
        into.push(Figure::gauge("conntrack_entries", self.count() as u64, "Connections in the table."));
        let limit = self.settings().get(Sysctl::Max).into();
        into.push(Figure::gauge("conntrack_limit", limit, "Connections that the table may hold (nf_conntrack_max)."));
        let expected = self.expectation_count() as u64;
        into.push(Figure::gauge("conntrack_expectations", expected, "Expectations that wait."));
        let limit = self.settings().get(Sysctl::ExpectMax).into();
        into.push(Figure::gauge(
            "conntrack_expectations_limit",
            limit,
            "Expectations that may wait (nf_conntrack_expect_max).",
        ));
        let named: HashMap<&str, u64> = self.stats().named().collect();
        for (counter, name, help) in ENGINE.into_iter().filter(|(_, name, _)| !name.is_empty()) {
            into.push(Figure::counter(name, named.get(counter).copied().unwrap_or(0), help));
        }
        let reasons: HashMap<&str, u64> = self.stats().invalid_by_reason().collect();
        for name in Invalid::NAMES {
            let count = reasons.get(name).copied().unwrap_or(0);
            let help = words(&INVALID, name);
            into.push(Figure::counter("conntrack_invalid", count, help).with("reason", name));
        }
        let [(_, new), (_, create), (_, delete)] = self.expect_stats();
        into.push(Figure::counter("conntrack_expect_new", new, "Expectations that were met."));
        into.push(Figure::counter("conntrack_expect_create", create, "Expectations that were made."));
        into.push(Figure::counter("conntrack_expect_delete", delete, "Expectations that are gone."));
    }
}

impl Figures for Router {
    fn figures(&self, into: &mut Vec<Figure>) {
        let stats = self.stats();
        let packets = |value, way: &'static str, help| Figure::counter("uct_packets", value, help).with("way", way);
        into.push(packets(stats.forwarded.get(), "forwarded", "came by one interface and left by another"));
        into.push(packets(stats.delivered.get(), "delivered", "for the router itself"));
        into.push(packets(stats.own.get(), "own", "of the router's own stack, which left"));
        into.push(packets(stats.held.get(), "held", "fragments that waited for the rest of their datagram"));
        into.push(packets(stats.dropped(), "dropped", "went no further; uct_drops_total says why"));
        into.push(Figure::counter("uct_received", stats.received.get(), "Packets that entered."));
        into.push(Figure::counter("uct_sent", stats.sent.get(), "Packets that left by an interface."));
        let answered = "ICMP errors and resets that the router sent about packets.";
        into.push(Figure::counter("uct_answered", stats.answered.get(), answered));
        let lost = "Fragments that were given up with their datagram.";
        into.push(Figure::counter("uct_fragments_lost", stats.fragments_lost.get(), lost));
        let reasons: HashMap<&str, u64> = stats.dropped_by_reason().collect();
        for name in Drop::NAMES {
            let count = reasons.get(name).copied().unwrap_or(0);
            into.push(Figure::counter("uct_drops", count, words(&DROP, name)).with("reason", name));
        }
    }
}

impl Figures for Station {
    fn figures(&self, into: &mut Vec<Figure>) {
        self.router().load().figures(into);
        let stats = self.stats();
        into.push(Figure::counter("uct_frames_received", stats.received(), "Frames that were taken from interfaces."));
        into.push(Figure::counter("uct_frames_sent", stats.sent(), "Frames that interfaces took."));
        for why in Loss::ALL {
            into.push(Figure::counter("uct_losses", stats.lost(why), why.sentence()).with("reason", why.name()));
        }
        into.push(Figure::gauge(
            "uct_neighbors",
            self.neighbors().len() as u64,
            "Neighbours that are known or asked for.",
        ));
        into.push(Figure::counter("uct_logged", self.log().logged.get(), "Packets that rules have logged."));
        let lost = "Lines of rules that were not written, because too many waited.";
        into.push(Figure::counter("uct_log_lost", self.log().lost.get(), lost));
    }
}

/// Most public addresses that are told apart; the rest is one pool.
const POOLS: usize = 64;

/// What the table holds, by kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections by protocol and state; protocols without states have `replied` and `unreplied`.
    pub states: BTreeMap<(String, &'static str), u64>,
    /// Ports (or ICMP ids) in use of each address that sources are translated to.
    pub pools: Vec<(IpAddr, u64)>,
    /// The same of all addresses beyond the first [`POOLS`].
    pub other_pools: u64,
}

impl Census {
    /// Walks the table.
    pub fn take(engine: &Engine, now: Time) -> Census {
        let mut census = Census::default();
        let mut pools: HashMap<IpAddr, HashSet<(u8, u16)>> = HashMap::new();
        for conn in (0..).map_while(|shard| engine.shard(shard)).flatten() {
            let status = conn.status();
            if status.contains(Status::DYING) || conn.deadline() <= now {
                continue;
            }
            let protocol = conn.original().protocol;
            let state =
                conn.state_name().unwrap_or(if status.contains(Status::SEEN_REPLY) { "replied" } else { "unreplied" });
            let protocol_name = protocol.name().map_or_else(|| protocol.0.to_string(), str::to_owned);
            *census.states.entry((protocol_name, state)).or_default() += 1;
            if status.contains(Status::SRC_NAT) {
                let outside = conn.reply();
                let port = match outside.l4 {
                    L4::Ports { dst, .. } | L4::Keys { dst, .. } => dst,
                    L4::Icmp { id, .. } => id,
                    L4::None => 0,
                };
                pools.entry(outside.dst).or_default().insert((protocol.0, port));
            }
        }
        let mut pools: Vec<(IpAddr, u64)> = pools.into_iter().map(|(ip, used)| (ip, used.len() as u64)).collect();
        pools.sort_by_key(|(ip, used)| (std::cmp::Reverse(*used), *ip));
        census.other_pools = pools.split_off(pools.len().min(POOLS)).iter().map(|(_, used)| used).sum();
        census.pools = pools;
        census
    }
}

impl Figures for Census {
    fn figures(&self, into: &mut Vec<Figure>) {
        for ((protocol, state), count) in &self.states {
            let figure = Figure::gauge("conntrack_connections", *count, "Connections by protocol and state.");
            into.push(figure.with("protocol", protocol.clone()).with("state", *state));
        }
        let help = "Ports and ICMP ids in use of an address that sources are translated to.";
        for (address, used) in &self.pools {
            into.push(Figure::gauge("conntrack_nat_ports_in_use", *used, help).with("pool", address.to_string()));
        }
        if self.other_pools > 0 {
            into.push(Figure::gauge("conntrack_nat_ports_in_use", self.other_pools, help).with("pool", "other"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_sentence() {
        for (table, names) in [(&INVALID[..], &Invalid::NAMES[..]), (&DROP[..], &Drop::NAMES[..])] {
            for name in names {
                assert_ne!(words(table, name), *name, "{name} has no sentence");
            }
            assert_eq!(table.len(), names.len());
        }
        let counters: Vec<&str> = Engine::new(1).stats().named().map(|(name, _)| name).collect();
        assert_eq!(counters, ENGINE.map(|(name, ..)| name));
    }

    #[test]
    fn names_are_those_that_prometheus_shows() {
        let mut all = Vec::new();
        let engine = Engine::new(1);
        engine.figures(&mut all);
        let shown: Vec<String> = all.iter().map(Figure::shown).collect();
        for name in ["conntrack_entries", "conntrack_limit", "conntrack_insert_failed_total"] {
            assert!(shown.iter().any(|s| s == name), "{name}");
        }
        assert!(shown.iter().any(|s| s == "conntrack_invalid_total{reason=\"tcp-new\"}"));
    }
}
