//! Random rulesets out of the subset's grammar: every kind of table, chain, set, match and statement, put together at random but
//! where they may stand.
//!
//! What uct accepts of them goes to nft in `kernel`.

use crate::support::read;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;

/// A hook, and the chain types and priorities that are tried there.
const BASES: &[&str] = &[
    "filter hook prerouting priority raw",
    "filter hook prerouting priority mangle + 3",
    "filter hook input priority filter",
    "filter hook input priority security",
    "filter hook forward priority filter - 10",
    "filter hook forward priority 0",
    "filter hook output priority -150",
    "filter hook postrouting priority srcnat - 1",
    "route hook output priority mangle",
    "nat hook prerouting priority dstnat",
    "nat hook output priority -100",
    "nat hook input priority 100",
    "nat hook postrouting priority srcnat + 1",
];

/// Matches of any family.
const MATCHES: &[&str] = &[
    "iifname {IF}",
    "oifname != {IF}",
    "iif lan0",
    "iifname { \"lan*\", wan0 }",
    "meta l4proto { tcp, udp }",
    "meta l4proto != icmp",
    "meta mark {MARK}",
    "mark and 0xff00 == {MARK}",
    "meta mark & 0xf != { 1, 2, 5-7 }",
    "meta length {CMP} {PORT}",
    "meta pkttype { broadcast, multicast }",
    "meta protocol ip",
    "tcp dport {PORT}",
    "tcp dport != { {PORT}, ssh, 8000-8100 }",
    "tcp sport {CMP} {PORT}",
    "tcp flags syn / syn,ack",
    "tcp flags & (fin|syn|rst|ack) == syn",
    "tcp flags ! ack,rst",
    "tcp flags { syn, syn | ack }",
    "tcp window < 1000",
    "udp dport 1024-{HIGH}",
    "udp length != 28",
    "udplite sport {PORT}",
    "sctp dport { {PORT} }",
    "dccp sport {PORT}",
    "meta l4proto { tcp, udp } th dport {PORT}",
    "ct state established,related",
    "ct state { new, untracked }",
    "ct state != invalid",
    "ct status dnat",
    "ct status & (snat | dnat) != 0",
    "ct direction reply",
    "ct mark {MARK}",
    "ct mark and 0xf0 != 0x10",
    "ct expiration 10s-2h",
    "ct helper \"ftp\"",
    "ct label {SMALL}",
    "ct zone {SMALL}",
    "meta l4proto tcp ct original proto-dst {PORT}",
    "ct reply packets > {PORT}",
    "ct bytes >= 100000",
    "fib saddr type unicast",
    "fib daddr type { local, broadcast }",
    "fib daddr . iif type local",
    "fib saddr . iif oif missing",
    "fib saddr oif exists",
    "iifname . tcp dport { \"lan0\" . {PORT}, \"wan0\" . 22-25 }",
    "tcp dport . tcp sport { {PORT} . 1-5 }",
    "tcp dport @ports",
    "meta l4proto . th dport { tcp . {PORT}, udp . 53 }",
];

const MATCHES4: &[&str] = &[
    "ip saddr {V4}",
    "ip daddr != {V4}/24",
    "ip saddr 10.0.0.1-10.0.3.{SMALL}",
    "ip saddr { 10.0.0.0/8, 192.168.1.1, 172.16.0.1-172.16.0.9 }",
    "ip daddr & 255.0.255.0 == 10.0.1.0",
    "ip protocol { tcp, udp, 47 }",
    "ip ttl {CMP} {SMALL}",
    "ip dscp { ef, cs1 }",
    "ip frag-off & 0x1fff == 0",
    "ip length 100-200",
    "ip saddr . tcp dport { 10.0.0.0/24 . {PORT}, {V4} . 80-90 }",
    "ip saddr @hosts",
    "ip daddr @nets",
    "icmp type { echo-request, time-exceeded }",
    "icmp type . icmp code { destination-unreachable . 4 }",
    "ct original ip saddr {V4}",
];

const MATCHES6: &[&str] = &[
    "ip6 saddr {V6}",
    "ip6 daddr {V6}/64",
    "ip6 nexthdr != udp",
    "ip6 hoplimit 255",
    "ip6 saddr { fd00::/8, 2001:db8::1 }",
    "icmpv6 type packet-too-big",
    "icmpv6 type { nd-neighbor-solicit, echo-reply }",
    "ct reply ip6 daddr {V6}",
];

/// Statements after which a rule goes on.
const STATEMENTS: &[&str] = &[
    "counter",
    "counter packets 3 bytes 120",
    "counter name \"hits\"",
    "log",
    "log prefix \"seen: \" level info",
    "log prefix \"g\" group 2",
    "limit rate {SMALL}/second",
    "limit rate over 10 mbytes/minute burst 4096 bytes",
    "limit rate 5/hour burst 9 packets",
    "ct count over {SMALL}",
    "meta mark set {MARK}",
    "meta mark set ct mark",
    "ct mark set meta mark and 0xff or 0x100",
    "ct mark set {MARK}",
    "ct mark set tcp dport map { 80 : 1, 443 : 2 }",
    "meta nftrace set 1",
    "ct label set {SMALL}",
];

const VERDICTS: &[&str] = &[
    "accept",
    "drop",
    "continue",
    "return",
    "jump more",
    "goto more",
    "reject",
    "reject with tcp reset",
    "reject with icmpx admin-prohibited",
    "tcp dport vmap { {PORT} : accept, 1-5 : jump more }",
    "tcp dport vmap @verdicts",
    "ct state vmap { established : accept, invalid : drop }",
    "iifname . tcp dport vmap { \"lan0\" . 22 : accept, \"wan0\" . 22 : drop }",
    "notrack",
    "ct original zone set {SMALL}",
    "tcp flags syn tcp option maxseg size set rt mtu",
    "tcp flags syn tcp option maxseg size set 1400",
];

const NAT: &[&str] = &[
    "masquerade",
    "masquerade random,persistent",
    "meta l4proto udp masquerade to :1024-{HIGH} fully-random",
    "redirect",
    "tcp dport 80 redirect to :{PORT}",
    "udp dport 53 redirect to :5353-5363 random",
    "accept",
    "return",
];

const NAT4: &[&str] = &[
    "snat ip to {V4}",
    "snat ip to 10.0.0.1-10.9.9.{SMALL} persistent",
    "tcp sport 1-9 snat ip to {V4}:{PORT}-{HIGH}",
    "dnat ip to {V4}",
    "tcp dport {PORT} dnat ip to {V4}:{PORT}",
    "dnat ip to tcp dport map { 80 : 10.0.0.1 . 8080, 22 : 10.0.0.2 . 2222 }",
    "dnat ip prefix to ip daddr map { 203.0.113.0/28 : 10.9.0.0/28 }",
    "snat ip to ip saddr map { 10.1.0.0/16 : 203.0.113.1, 10.2.0.0/16 : 203.0.113.2 }",
    "dnat ip to tcp dport map @forwards",
];

const NAT6: &[&str] = &[
    "snat ip6 to {V6}",
    "tcp dport {PORT} dnat ip6 to [{V6}]:{PORT}",
    "ip6 saddr fd00::/64 snat ip6 prefix to 2001:db8::/64",
];

struct Grammar {
    random: SmallRng,
}

impl Grammar {
    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.random.random_range(0..from.len())]
    }

    /// A template with its places filled.
    fn fill(&mut self, template: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('{') {
            text.push_str(before);
            let name = behind.split_once('}').map_or("", |(name, _)| name);
            let filled = match name {
                "IF" => self.pick(&["lan0", "\"wan0\"", "\"lan*\"", "lo"]).to_owned(),
                "MARK" => format!("{:#x}", self.random.random_range(0..0x10000)),
                "CMP" => self.pick(&["<", ">", "<=", ">=", "!=", "=="]).to_owned(),
                "PORT" => self.random.random_range(26..1000).to_string(),
                "HIGH" => self.random.random_range(2000..65536).to_string(),
                "SMALL" => self.random.random_range(10..99).to_string(),
                "V4" => format!("10.{}.{}.1", self.random.random_range(0..9), self.random.random_range(0..9)),
                "V6" => format!("2001:db8:{:x}::1", self.random.random_range(1..0xffff)),
                _ => {
                    text.push('{');
                    rest = behind;
                    continue;
                }
            };
            text.push_str(&filled);
            rest = &behind[name.len() + 1..];
        }
        text + rest
    }

    fn one(&mut self, any: &[&'static str], four: &[&'static str], six: &[&'static str], family: &str) -> String {
        let template = match (self.random.random_range(0..3), family) {
            (0, "ip" | "inet") => self.pick(four),
            (1, "ip6" | "inet") => self.pick(six),
            _ => self.pick(any),
        };
        self.fill(template)
    }

    /// A rule for a chain of this kind.
    fn rule(&mut self, family: &str, base: &str) -> String {
        let mut parts = Vec::new();
        for _ in 0..self.random.random_range(0..3) {
            parts.push(self.one(MATCHES, MATCHES4, MATCHES6, family));
        }
        if self.random.random_bool(0.4) {
            let statement = self.pick(STATEMENTS);
            parts.push(self.fill(statement));
        }
        let end = if base.starts_with("nat") {
            self.one(NAT, NAT4, NAT6, family)
        } else {
            let verdict = self.pick(VERDICTS);
            self.fill(verdict)
        };
        parts.push(end);
        if self.random.random_bool(0.2) {
            parts.push(format!("comment \"rule {}\"", self.random.random_range(0..9)));
        }
        parts.join(" ")
    }

    /// Puts rules into a chain, each only if the ruleset is still accepted with it, so that one that cannot stand there does not cost
    /// the others.
    fn ruleset(&mut self) -> String {
        let mut whole = String::new();
        for table in 0..self.random.random_range(1..3) {
            let family = self.pick(&["ip", "ip6", "inet"]);
            let mut head = format!("table {family} t{table} {{\n");
            head += "\tcounter hits {\n\t}\n\n\tset ports {\n\t\ttype inet_service\n\t\tflags interval\n\t\telements = { 22, 80, 8000-8100 }\n\t}\n\n";
            head +=
                "\tmap verdicts {\n\t\ttype inet_service : verdict\n\t\telements = { 22 : accept, 23 : drop }\n\t}\n\n";
            if family != "ip6" {
                head += "\tset hosts {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.1, 10.0.0.2 }\n\t}\n\n";
                head += "\tset nets {\n\t\ttypeof ip daddr\n\t\tflags interval\n\t\tauto-merge\n\t\telements = { 10.0.0.0/8, 10.1.0.0/16 }\n\t}\n\n";
                head += "\tmap forwards {\n\t\ttype inet_service : ipv4_addr . inet_service\n\t\telements = { 80 : 10.0.0.1 . 8080 }\n\t}\n\n";
            }
            head += "\tchain more {\n\t\tcounter\n\t}\n";
            for chain in 0..self.random.random_range(1..4) {
                let base = self.pick(BASES);
                let policy = self.pick(&["", " policy accept;", " policy drop;"]);
                let mut body = format!("\n\tchain c{chain} {{\n\t\ttype {base};{policy}\n");
                for _ in 0..self.random.random_range(0..7) {
                    let rule = self.rule(family, base);
                    let mut tried = body.clone();
                    let _ = writeln!(tried, "\t\t{rule}");
                    if read(&format!("{whole}{head}{tried}\t}}\n}}\n")).is_ok() {
                        body = tried;
                    }
                }
                let tried = format!("{head}{body}\t}}\n");
                if read(&format!("{whole}{tried}}}\n")).is_ok() {
                    head = tried;
                }
            }
            whole += &head;
            whole += "}\n";
        }
        whole
    }
}

/// How many rulesets are made if nobody asks for more with `UCT_FUZZ_RULESETS`; `UCT_FUZZ_SEED` asks for others.
const RULESETS: usize = 150;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Random rulesets that uct accepts. The seed is printed with what they are used for.
pub(crate) fn random_rulesets() -> (u64, Vec<String>) {
    let seed = asked("UCT_FUZZ_SEED").unwrap_or(11);
    let mut grammar = Grammar { random: SmallRng::seed_from_u64(seed) };
    let count = asked("UCT_FUZZ_RULESETS").map_or(RULESETS, |n| n as usize);
    (seed, (0..count).map(|_| grammar.ruleset()).collect())
}

/// The generator reaches the whole grammar: every template stands in some ruleset.
#[test]
fn every_template_is_accepted_somewhere() {
    let mut grammar = Grammar { random: SmallRng::seed_from_u64(5) };
    for (templates, bases) in [
        (MATCHES, BASES),
        (MATCHES4, BASES),
        (MATCHES6, BASES),
        (STATEMENTS, BASES),
        (VERDICTS, BASES),
        (NAT, &BASES[9..]),
        (NAT4, &BASES[9..]),
        (NAT6, &BASES[9..]),
    ] {
        for template in templates {
            let rule = grammar.fill(template);
            let stands = bases.iter().any(|base| {
                let sets = "\tcounter hits {\n\t}\n\tset ports {\n\t\ttype inet_service\n\t}\n\tset hosts {\n\t\ttype ipv4_addr\n\t}\n\
                            \tset nets {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t}\n\tmap verdicts {\n\t\ttype inet_service : verdict\n\t}\n\
                            \tmap forwards {\n\t\ttype inet_service : ipv4_addr . inet_service\n\t}\n\tchain more {\n\t}\n";
                let text = format!("table inet t {{\n{sets}\tchain c {{\n\t\ttype {base};\n\t\t{rule}\n\t}}\n}}\n");
                read(&text).is_ok()
            });
            assert!(stands, "{rule}");
        }
    }
}
