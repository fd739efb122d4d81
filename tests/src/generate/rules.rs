//! Rulesets for random scenarios, put together from pieces.

use std::fmt::Write as _;

use super::random::Random;
use super::{Area, Scope};

/// A chain that makes the kernel track and decides nothing.
const TRACK: &str = "table inet track {
  chain forwarded {
    type filter hook forward priority 0; policy accept
    ct state invalid counter
  }
}
";

const SNAT4: [&str; 18] = [
    "oifname wan0 masquerade",
    "oifname wan0 masquerade",
    "oifname wan0 masquerade random",
    "oifname wan0 masquerade fully-random",
    "oifname wan0 meta l4proto { tcp, udp } masquerade to :7000-7003",
    "oifname wan0 snat to 203.0.113.1",
    "oifname wan0 snat to 203.0.113.1-203.0.113.4",
    "oifname wan0 snat to 203.0.113.1-203.0.113.4 persistent",
    "oifname wan0 snat to 203.0.113.2-203.0.113.3 random",
    "oifname wan0 meta l4proto tcp snat to 203.0.113.1:5000-5002",
    "oifname wan0 meta l4proto udp snat to 203.0.113.1:600",
    "oifname wan0 meta l4proto icmp snat to 203.0.113.2",
    "ip saddr 192.168.1.0/24 ip daddr 10.0.0.0/24 masquerade",
    "oifname lan0 masquerade",
    "oifname wan0 ip saddr 192.168.1.10 snat to 203.0.113.3",
    "oifname wan0 snat ip prefix to ip saddr map { 192.168.1.0/24 : 203.0.113.0/24 }",
    "oifname wan0 meta l4proto udp masquerade to :5000-5001 random",
    "oifname wan0 meta l4proto { tcp, udp, sctp } snat to 203.0.113.1-203.0.113.2:600-601 fully-random",
];

const SNAT6: [&str; 7] = [
    "oifname wan0 masquerade",
    "oifname wan0 snat to 2001:db8:2::1",
    "oifname wan0 snat to 2001:db8:2::1-2001:db8:2::4",
    "oifname wan0 snat to 2001:db8:2::2-2001:db8:2::4 persistent",
    "oifname wan0 meta l4proto tcp snat to [2001:db8:2::1]:5000-5002",
    "oifname wan0 masquerade random",
    "oifname wan0 snat ip6 prefix to ip6 saddr map { fd00:1::/64 : 2001:db8:2::/64 }",
];

const DNAT4: [&str; 16] = [
    "ip daddr 203.0.113.1 tcp dport 80 dnat to 10.0.0.5",
    "ip daddr 203.0.113.1 tcp dport { 80, 1000 } dnat to 10.0.0.5:80",
    "ip daddr 203.0.113.1 udp dport 5000-60000 dnat to 10.0.0.6:53",
    "ip daddr 203.0.113.1 udp dport 53 dnat to 192.168.1.10",
    "iifname wan0 tcp dport 40000 dnat to 10.0.0.5-10.0.0.6:80",
    "iifname wan0 udp dport 600 dnat to 192.168.1.10-192.168.1.12",
    "iifname lan0 udp dport 53 redirect",
    "iifname lan0 tcp dport 80 redirect to :1000",
    "iifname lan0 tcp dport 1000 dnat to 203.0.113.80:80",
    "iifname wan0 meta l4proto gre dnat to 10.0.0.5",
    "ip daddr 203.0.113.1 icmp type echo-request dnat to 10.0.0.6",
    "iifname wan0 sctp dport 80 dnat to 10.0.0.5:5000",
    "iifname lan0 tcp dport 40000 dnat to 203.0.113.80:1000-1003",
    "iifname wan0 dnat to tcp dport map { 80 : 10.0.0.5 . 1000, 1000 : 10.0.0.6 . 80 }",
    "iifname wan0 dnat ip prefix to ip daddr map { 203.0.113.0/30 : 10.0.0.4/30 }",
    "ip daddr 203.0.113.1 udp dport { 53, 600 } dnat to 192.168.1.11:53 random",
];

const DNAT6: [&str; 5] = [
    "ip6 daddr 2001:db8:2::1 tcp dport 80 dnat to [fd00:3::5]:80",
    "ip6 daddr 2001:db8:2::1 udp dport 53 dnat to fd00:3::6",
    "iifname wan0 tcp dport { 1000, 40000 } dnat to [fd00:1::10]:80",
    "iifname lan0 udp dport 5000 redirect to :53",
    "iifname wan0 dnat ip6 prefix to ip6 daddr map { 2001:db8:2::/126 : fd00:3::4/126 }",
];

const FILTER: [&str; 25] = [
    "ct state invalid drop",
    "ct state invalid drop",
    "ct state established,related accept",
    "iifname wan0 ct state new ct status dnat accept",
    "iifname wan0 ct state new tcp dport 1000 drop",
    "udp dport 600 ct state new drop",
    "udp dport 600 drop",
    "tcp flags & (fin|rst) != 0 drop",
    "ip daddr 198.51.100.8 drop",
    "ip6 daddr 2001:db8:99::8 ct state new drop",
    "ct direction reply udp sport 53 drop",
    "iifname lan0 tcp dport 1000 reject",
    "iifname lan0 tcp dport 1000 reject with tcp reset",
    "udp dport 40000 reject",
    "ct label 5 tcp dport 1000 drop",
    "ct mark 17 tcp flags syn / syn,rst drop",
    "ct original ip saddr 192.168.1.10 tcp dport 40000 ct reply ip saddr 203.0.113.80 drop",
    "ct status assured udp sport 5000 drop",
    "tcp dport 80 ct state new ct count over 2 drop",
    "udp dport 5000 ct state new ct count over 1 reject",
    "ct state new ct count over 3 drop",
    "tcp option maxseg size set 1200",
    "oifname wan0 tcp flags syn tcp option maxseg size set rt mtu",
    "iifname lan0 tcp option maxseg size set rt mtu",
    "meta l4proto { 50, 253 } ct state new limit rate 1/hour burst 2 packets accept",
];

const RAW: [&str; 8] = [
    "udp dport 53 notrack",
    "tcp sport 80 notrack",
    "icmp type echo-request notrack",
    "ip saddr 192.168.1.11 ct zone set 7",
    "iifname dmz0 ct zone set 9",
    "iifname lan0 udp dport 5000 ct original zone set 5",
    "iifname lan0 tcp dport 1000 ct reply zone set 6",
    "iifname wan0 ct zone set 7",
];

const MARK: [&str; 14] = [
    "tcp dport 80 ct mark set 17",
    "ct state new meta mark set 5",
    "ct mark set meta mark",
    "meta l4proto udp ct mark set 0x80000001",
    "ct state established ct mark set 3",
    "ct mark 17 counter",
    "ct state new ct label set 5",
    "ct label set 77",
    "udp dport 53 ct mark set ct mark or 0x100",
    "udp dport { 53, 5000 } ct timeout set \"datagrams\"",
    "tcp dport { 80, 1000 } ct timeout set \"segments\"",
    "ct timeout set \"segments\"",
    "tcp option maxseg size set 1000",
    "tcp flags syn / syn,rst tcp option maxseg size set 536",
];

/// Objects that rules of [`MARK`] name.
const OBJECTS: &str = "  ct timeout datagrams {
    protocol udp
    policy = { unreplied : 12, replied : 45 }
  }
  ct timeout segments {
    protocol tcp
    policy = { syn_sent : 20, established : 77, fin_wait : 9, close : 4, unack : 33, retrans : 21 }
  }
";

/// The ruleset for a scenario of `area`.
pub(crate) fn draw(random: &mut Random, area: Area, scope: Scope) -> String {
    let mut rules = TRACK.to_string();
    if scope == Scope::Engine {
        return rules;
    }
    let translate = match area {
        Area::Nat => 100,
        Area::Mixed => 80,
        Area::Full | Area::Early => 40,
        Area::Icmp | Area::Frag => 60,
        Area::Tcp | Area::Udp | Area::Sctp | Area::Router => 20,
    };
    if random.chance(translate) {
        nat(random, &mut rules);
    }
    if area == Area::Mixed || random.chance(if area == Area::Router { 40 } else { 15 }) {
        filter(random, &mut rules);
    }
    rules
}

fn some<'a>(random: &mut Random, pieces: &[&'a str], most: u32) -> Vec<&'a str> {
    (0..random.between(0, most)).map(|_| *random.pick(pieces)).collect()
}

fn chain(rules: &mut String, name: &str, kind: &str, hook: &str, priority: i32, lines: &[&str]) {
    let _ = writeln!(rules, "  chain {name} {{\n    type {kind} hook {hook} priority {priority}; policy accept");
    for line in lines {
        let _ = writeln!(rules, "    {line}");
    }
    rules.push_str("  }\n");
}

fn nat(random: &mut Random, rules: &mut String) {
    for (family, snat, dnat) in [("ip", &SNAT4[..], &DNAT4[..]), ("ip6", &SNAT6[..], &DNAT6[..])] {
        let _ = writeln!(rules, "table {family} nat {{");
        chain(rules, "before", "nat", "prerouting", -100, &some(random, dnat, 4));
        let mut sources = some(random, snat, 2);
        sources.push(*random.pick(&snat[..2]));
        chain(rules, "after", "nat", "postrouting", 100, &sources);
        if random.chance(15) {
            let line = match family {
                "ip" => "udp dport 53 dnat to 203.0.113.81:5000",
                _ => "udp dport 53 dnat to [2001:db8:2::81]:5000",
            };
            chain(rules, "own", "nat", "output", -100, &[line]);
        }
        if random.chance(8) {
            let line = match family {
                "ip" => "iifname lan0 tcp dport 80 snat to 192.168.1.77",
                _ => "iifname lan0 tcp dport 80 snat to fd00:1::77",
            };
            chain(rules, "delivered", "nat", "input", 100, &[line]);
        }
        rules.push_str("}\n");
    }
}

fn filter(random: &mut Random, rules: &mut String) {
    rules.push_str("table inet decide {\n");
    rules.push_str(OBJECTS);
    if random.chance(40) {
        chain(rules, "early", "filter", "prerouting", -300, &some(random, &RAW, 2));
    }
    if random.chance(40) {
        chain(rules, "mangle", "filter", "prerouting", -150, &some(random, &MARK, 3));
    }
    chain(rules, "decide", "filter", "forward", 0, &some(random, &FILTER, 4));
    if random.chance(30) {
        let lines: Vec<&str> = some(random, &FILTER, 2)
            .into_iter()
            .filter(|line| !line.contains("reject") && !line.contains("rt mtu"))
            .collect();
        chain(rules, "coming", "filter", "input", 0, &lines);
    }
    if random.chance(20) {
        let lines: Vec<&str> = some(random, &FILTER, 2)
            .into_iter()
            .filter(|line| !line.contains("iifname") && !line.contains("reject"))
            .collect();
        chain(rules, "leaving", "filter", "postrouting", 50, &lines);
    }
    rules.push_str("}\n");
}
