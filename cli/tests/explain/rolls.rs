//! Nothing that can be said is left unprovoked: each enum of reasons has its roll here, which the compiler holds complete, and
//! each name on a roll is found in what the labs below are told.

use std::collections::BTreeSet;

use uct::explain::model::{Explanation, Step};
use uct_engine::Gone;
use uct_engine::tcp::{Ceiling, Exception};
use uct_nat::{AddressChoice, PortChoice, Start};
use uct_pipeline::icmp_error::Silence;
use uct_tests::packet::build::{fragments, icmp, proto};

use crate::lab::{A, B, Lab, NAT, ROUTER, S, T, datagram, ip, ping, tcp};

/// All variants of an enum by name. A new variant does not compile until it stands here.
macro_rules! roll {
    ($name:ident: $enum:ident { $($variant:ident),* $(,)? }) => {
        fn $name() -> Vec<&'static str> {
            #[allow(dead_code)]
            fn is_complete(one: &$enum) {
                match one { $($enum::$variant { .. } => {})* }
            }
            vec![$(stringify!($variant)),*]
        }
    };
}

roll!(exceptions: Exception {
    Reopens, NotReopened, Resynchronised, ChallengeAck, SimultaneousOpen, ResetWhileClosing, ResetInexact, ResetAnswers, SynAgain,
    Refused, Liberal, Parting, Repetition,
});
roll!(ceilings: Ceiling { Retransmissions, Reset, Unacknowledged, ZeroWindow, Unanswered });
roll!(ends: Gone { RanOut, Reopened, Refused, EarlyDrop, Evicted, InterfaceChanged });
roll!(silences: Silence { AboutError, LaterFragment, Group, NoSender, BadChecksum, AboutReset, NoTcp, TooMany });
roll!(addresses: AddressChoice { Kept, Only, Prefix, Hashed, HashedBySource });
roll!(ports: PortChoice { Kept, Only, Reused, Found, Exhausted, Stuck });
roll!(starts: Start { Lowest, Drawn, Shifted });

const CLIENT: (&str, u16) = (A, 40000);
const SERVER: (&str, u16) = (S, 80);

fn c(flags: &str, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    tcp(CLIENT, SERVER, flags, seq, ack, len)
}

fn s(flags: &str, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    tcp(SERVER, (ROUTER, 40000), flags, seq, ack, len)
}

fn nat() -> Lab {
    Lab::new(NAT)
}

/// One chain with one rule.
fn rule(hook: &str, rule: &str) -> Lab {
    Lab::new(&format!("table inet t {{\n\tchain c {{\n\t\ttype {hook}; {rule}\n\t}}\n}}\n"))
}

fn post(text: &str) -> Lab {
    rule("nat hook postrouting priority 100", text)
}

fn forward(text: &str) -> Lab {
    rule("filter hook forward priority 0", text)
}

/// What provokes TCP's departures and ceilings, and the ends of connections.
fn lives() -> Vec<Lab> {
    let closed =
        || nat().handshake().lan(c("FA", 1001, 5001, 0)).wan(s("FA", 5001, 1002, 0)).lan(c("A", 1002, 5002, 0));
    let last_ack = || nat().handshake().lan(c("FA", 1001, 5001, 0)).wan(s("FA", 5001, 1002, 0));
    let zero = uct_tests::packet::build::Tcp {
        sport: 40000,
        dport: 80,
        seq: 1001,
        ack: 5001,
        flags: 16,
        ..Default::default()
    };
    let one_port = post("ip protocol tcp snat ip to 203.0.113.1:5000");
    let public = (ROUTER, 5000);
    vec![
        closed().lan(c("S", 90_000, 0, 0)),
        nat().handshake().wan(s("R", 5001, 0, 0)).lan(c("S", 90_000, 0, 0)),
        nat().handshake().lan(c("S", 90_000, 0, 0)).wan(s("SA", 70_000, 90_001, 0)),
        last_ack().lan(c("S", 90_000, 0, 0)).wan(s("A", 5002, 1002, 0)),
        nat().lan(c("S", 1000, 0, 0)).wan(s("S", 5000, 0, 0)).lan(c("SA", 1000, 5001, 0)).wan(s("A", 5001, 1001, 0)),
        last_ack().lan(c("R", 1002, 0, 0)),
        nat().handshake().wan(s("R", 5100, 0, 0)),
        nat().lan(c("S", 1000, 0, 0)).wan(s("A", 7000, 8000, 0)).lan(c("R", 8000, 0, 0)),
        nat().lan(c("S", 1000, 0, 0)).lan(c("S", 1000, 0, 0)),
        nat().lan(c("S", 1000, 0, 0)).wan(s("RA", 0, 1001, 0)),
        nat().with(&["--sysctl", "nf_conntrack_tcp_be_liberal=1"]).handshake().lan(c("PA", 500_000, 5001, 9)),
        nat().handshake().lan(c("FA", 500_000, 5001, 0)).wan(s("FA", 700_000, 1001, 0)),
        (0..4).fold(nat().handshake(), |lab, _| lab.lan(c("A", 1001, 5001, 0))),
        nat().handshake().lan(c("PA", 1001, 5001, 10)),
        nat().lan(c("A", 1001, 5001, 0)),
        nat().handshake().lan(zero.packet(&ip(A, S))),
        nat().lan(datagram((A, 1), (S, 2))).wait(31).lan(datagram((B, 1), (S, 2))),
        (0..601)
            .fold(nat().with(&["--sysctl", "nf_conntrack_max=600", "--sysctl", "nf_conntrack_buckets=1"]), |lab, n| {
                lab.lan(datagram((A, 1000 + n), (S, 2)))
            }),
        one_port
            .lan(c("S", 1000, 0, 0))
            .wan(tcp(SERVER, public, "SA", 5000, 1001, 0))
            .lan(c("A", 1001, 5001, 0))
            .lan(c("FA", 1001, 5001, 0))
            .wan(tcp(SERVER, public, "FA", 5001, 1002, 0))
            .lan(c("A", 1002, 5002, 0))
            .lan(tcp((B, 40000), SERVER, "S", 90_000, 0, 0)),
    ]
}

/// What provokes NAT's ways to choose.
fn choices() -> Vec<Lab> {
    let udp = |from: &str, to: &str| datagram((from, 4000), (to, 53));
    let range = "ip protocol udp snat ip to 203.0.113.10-203.0.113.20";
    let two = || post("ip protocol udp snat ip to 203.0.113.1:7000-7001").lan(udp(A, S)).lan(udp(B, S));
    let esp = |from: &str| ip(from, S).packet(proto::ESP, &[0; 16]);
    vec![
        nat().lan(udp(A, S)).lan(udp(A, T)).lan(udp(B, S)),
        two().lan(udp("192.168.1.12", S)),
        nat().lan(esp(A)).lan(esp(B)),
        nat().lan(ping(A, S, 7)).lan(ping(B, S, 7)),
        rule("nat hook prerouting priority -100", "udp dport 53 dnat ip to 192.168.1.11:53").wan(udp(S, ROUTER)),
        rule("nat hook prerouting priority -100", "udp dport 53 dnat ip to 192.168.1.11:5353").wan(udp(S, ROUTER)),
        post(range).lan(udp(A, S)),
        post(&format!("{range} persistent")).lan(udp(A, S)),
        post("snat ip prefix to ip saddr map { 192.168.1.0/24 : 203.0.113.0/24 }").lan(udp(A, S)),
        rule("nat hook prerouting priority -100", "udp dport 6002 dnat ip to 192.168.1.11:6000-6003")
            .wan(datagram((S, 1000), (ROUTER, 6002))),
    ]
}

/// What provokes silence.
fn quiet() -> Vec<Lab> {
    let error = icmp(&ip(A, S), 3, 3, [0; 4], &datagram((S, 9), (A, 10)));
    let mut broken = datagram((A, 1), (S, 2));
    broken[29] ^= 1;
    let echo = fragments(&ping("fd00:1::10", "2001:db8:80::1", 1), 7, &[8]);
    let early = |text: &str| rule("filter hook prerouting priority 0", text);
    vec![
        forward("reject").lan(error),
        forward("reject").lan(broken),
        (0..7).fold(forward("reject"), |lab, n| lab.lan(datagram((A, 1), (S, 2 + n)))),
        forward("reject with tcp reset").lan(tcp((A, 1), (S, 2), "R", 1, 0, 0)),
        forward("meta l4proto tcp reject with tcp reset").lan(ip(A, S).packet(proto::TCP, &[0, 1, 0, 2])),
        forward("reject with icmpx admin-prohibited").lan(echo[0].clone()),
        rule("filter hook input priority 0", "reject").lan(datagram((A, 1), ("192.168.1.255", 2))),
        early("reject").lan(datagram(("0.0.0.0", 68), (S, 67))),
        early("reject").lan(echo[1].clone()),
    ]
}

/// Every reason found in the steps, by the name of the field that it stands in.
fn told(labs: Vec<Lab>) -> BTreeSet<(&'static str, String)> {
    let mut told = BTreeSet::new();
    for lab in labs {
        for explanation in lab.explain() {
            let Explanation { before, ways, words, .. } = explanation;
            for step in before.iter().chain(ways.iter().flat_map(|w| &w.steps)) {
                match step {
                    Step::Exception { why } => drop(told.insert(("exception", why.clone()))),
                    Step::Ceiling { why, .. } => drop(told.insert(("ceiling", why.clone()))),
                    Step::Silent { why } => {
                        assert!(words.iter().any(|w| w.contains(why.as_str())), "{why}: {words:?}");
                        told.insert(("silence", why.clone()));
                    }
                    Step::Gone { why, .. } => {
                        assert!(words.iter().any(|w| w.contains(why.as_str())), "{why}: {words:?}");
                        told.insert(("gone", why.clone()));
                    }
                    Step::Nat(nat) => {
                        told.insert(("address", nat.address.to_owned()));
                        told.insert(("port", nat.port.to_owned()));
                        told.extend(nat.search.iter().map(|s| ("start", s.start.to_owned())));
                    }
                    _ => {}
                }
            }
        }
    }
    told
}

/// The name of a variant as JSON has it.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[test]
fn nothing_is_left_unprovoked() {
    let told = told(lives().into_iter().chain(choices()).chain(quiet()).collect());
    // What a replay cannot be brought to: its routes do not change, no nft rule asks for a shifted range, and a later fragment
    // waits for the others before anybody could answer it. The tests of nat and of `icmp_error` have these.
    const ELSEWHERE: [&str; 3] = ["InterfaceChanged", "Shifted", "LaterFragment"];
    let said = |kind: &'static str, names: Vec<&'static str>, is: &dyn Fn(&str, &str) -> bool| -> Vec<String> {
        let is_told = |name: &&'static str| told.iter().any(|(k, why)| *k == kind && is(name, why));
        let missing = names.into_iter().filter(|n| !ELSEWHERE.contains(n) && !is_told(n));
        missing.map(|n| format!("{kind} {n}")).collect()
    };
    let exception = |name: &str, why: &str| {
        let all = [
            Exception::Reopens,
            Exception::NotReopened,
            Exception::Resynchronised,
            Exception::ChallengeAck,
            Exception::SimultaneousOpen,
            Exception::ResetWhileClosing,
            Exception::ResetInexact,
            Exception::ResetAnswers,
            Exception::SynAgain,
            Exception::Refused,
            Exception::Liberal,
            Exception::Parting,
            Exception::Repetition(2),
        ];
        all.iter().any(|e| format!("{e:?}").starts_with(name) && e.to_string() == why)
    };
    let ceiling = |name: &str, why: &str| {
        let all = [
            Ceiling::Retransmissions,
            Ceiling::Reset,
            Ceiling::Unacknowledged,
            Ceiling::ZeroWindow,
            Ceiling::Unanswered,
        ];
        all.iter().any(|e| format!("{e:?}") == name && e.to_string() == why)
    };
    let gone = |name: &str, why: &str| {
        let all = [Gone::RanOut, Gone::Reopened, Gone::Refused, Gone::EarlyDrop, Gone::Evicted];
        all.iter().any(|e| format!("{e:?}") == name && e.to_string() == why)
    };
    let silence = |name: &str, why: &str| {
        let all = [
            Silence::AboutError,
            Silence::LaterFragment,
            Silence::Group,
            Silence::NoSender,
            Silence::BadChecksum,
            Silence::AboutReset,
            Silence::NoTcp,
            Silence::TooMany,
        ];
        all.iter().any(|e| format!("{e:?}") == name && e.to_string() == why)
    };
    let named = |name: &str, word: &str| snake(name) == word;
    let missing = [
        said("exception", exceptions(), &exception),
        said("ceiling", ceilings(), &ceiling),
        said("gone", ends(), &gone),
        said("silence", silences(), &silence),
        said("address", addresses(), &named),
        said("port", ports(), &named),
        said("start", starts(), &named),
    ]
    .concat();
    assert!(missing.is_empty(), "{missing:?}\n{told:#?}");
}
