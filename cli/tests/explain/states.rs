//! TCP's departures from its table, the window's verdicts, the ceilings of timeouts, and why connections are gone: each
//! provoked, each with its sentence.

use uct::explain::model::{Explanation, Step};
use uct_engine::tcp::{Ceiling, Exception};
use uct_tests::packet::build::Tcp;

use crate::lab::{A, B, Lab, NAT, ROUTER, S, T, datagram, ip, tcp};

const CLIENT: (&str, u16) = (A, 40000);
const SERVER: (&str, u16) = (S, 80);
const PUBLIC: (&str, u16) = (ROUTER, 40000);

fn nat() -> Lab {
    Lab::new(NAT)
}

fn c(flags: &str, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    tcp(CLIENT, SERVER, flags, seq, ack, len)
}

fn s(flags: &str, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    tcp(SERVER, PUBLIC, flags, seq, ack, len)
}

fn steps(e: &Explanation) -> impl Iterator<Item = &Step> {
    e.ways.iter().flat_map(|w| &w.steps)
}

#[track_caller]
fn departs(lab: Lab, why: Exception) {
    let explained = lab.explain();
    let last = explained.last().expect("a packet");
    let found: Vec<&String> =
        steps(last).filter_map(|s| if let Step::Exception { why } = s { Some(why) } else { None }).collect();
    assert!(found.contains(&&why.to_string()), "{found:?} {:?}", last.words);
    let said = last.words.join("\n").to_lowercase();
    assert!(said.contains(&why.to_string().to_lowercase()), "{said}");
}

#[test]
fn departures_from_the_table() {
    let closed =
        || nat().handshake().lan(c("FA", 1001, 5001, 0)).wan(s("FA", 5001, 1002, 0)).lan(c("A", 1002, 5002, 0));
    departs(closed().lan(c("S", 90_000, 0, 0)), Exception::Reopens);
    departs(nat().handshake().wan(s("R", 5001, 0, 0)).lan(c("S", 90_000, 0, 0)), Exception::NotReopened);
    departs(nat().handshake().lan(c("S", 90_000, 0, 0)).wan(s("SA", 70_000, 90_001, 0)), Exception::Resynchronised);
    let last_ack = || nat().handshake().lan(c("FA", 1001, 5001, 0)).wan(s("FA", 5001, 1002, 0));
    departs(last_ack().lan(c("S", 90_000, 0, 0)).wan(s("A", 5002, 1002, 0)), Exception::ChallengeAck);
    departs(
        nat().lan(c("S", 1000, 0, 0)).wan(s("S", 5000, 0, 0)).lan(c("SA", 1000, 5001, 0)).wan(s("A", 5001, 1001, 0)),
        Exception::SimultaneousOpen,
    );
    departs(last_ack().lan(c("R", 1002, 0, 0)), Exception::ResetWhileClosing);
    departs(nat().handshake().wan(s("R", 5100, 0, 0)), Exception::ResetInexact);
    departs(nat().lan(c("S", 1000, 0, 0)).wan(s("A", 7000, 8000, 0)).lan(c("R", 8000, 0, 0)), Exception::ResetAnswers);
    departs(nat().lan(c("S", 1000, 0, 0)).lan(c("S", 1000, 0, 0)), Exception::SynAgain);
    departs(nat().lan(c("S", 1000, 0, 0)).wan(s("RA", 0, 1001, 0)), Exception::Refused);
    departs(
        nat().with(&["--sysctl", "nf_conntrack_tcp_be_liberal=1"]).handshake().lan(c("PA", 500_000, 5001, 9)),
        Exception::Liberal,
    );
    departs(nat().handshake().lan(c("FA", 500_000, 5001, 0)).wan(s("FA", 700_000, 1001, 0)), Exception::Parting);
    departs(nat().handshake().lan(c("A", 1001, 5001, 0)).lan(c("A", 1001, 5001, 0)), Exception::Repetition(2));
}

#[test]
fn what_lies_beside_the_window() {
    let transfer = || {
        (0..3).fold(nat().handshake(), |lab, n| {
            lab.lan(c("PA", 1001 + n * 8000, 5001, 8000)).wan(s("A", 5001, 9001 + n * 8000, 0))
        })
    };
    transfer().lan(c("PA", 1001, 5001, 100)).says(
        "It is older than the receiver's window: data that was acknowledged already. It passes and changes nothing.",
    );
    let far = |lab: Lab| {
        (0..20)
            .fold(lab, |lab, n| lab.wan(s("PA", 5001 + n * 8000, 1001, 8000)).lan(c("A", 1001, 13_001 + n * 8000, 0)))
    };
    far(nat().handshake())
        .lan(c("A", 1001, 5001, 0))
        .says("Its acknowledgement is long overtaken. It passes and changes nothing.");
    nat().handshake().lan(c("PA", 9_300, 5001, 100)).says(
        "It begins beyond the receiver's window, but by less than one whole window: it passes, and does not refresh the \
         timeout.",
    );
    nat().handshake().lan(c("S", 90_000, 0, 0)).says("It passes and changes nothing, the state stays ESTABLISHED:");
    nat().handshake().lan(c("FA", 1001, 5001, 0)).says("ESTABLISHED → FIN_WAIT: the first FIN.");
}

/// Each of the four tests names its two numbers, and the packets that set the bound.
#[test]
fn the_window_s_tests_name_their_numbers() {
    let explained = nat().handshake().lan(c("PA", 1001, 5001, 100)).explain();
    let tests = steps(&explained[3]).find_map(|s| if let Step::Window { tests, .. } = s { Some(tests) } else { None });
    let told: Vec<_> =
        tests.expect("a window").iter().map(|t| (t.test, t.value, t.bound, t.holds, t.set_by.clone())).collect();
    assert_eq!(
        told,
        [
            ("I", 1001, 9193, true, vec![2]),
            ("II", 1101, 1001_u32.wrapping_sub(8192), true, vec![1, 2]),
            ("III", 5001, 5001, true, vec![2]),
            ("IV", 5001, 5001_u32.wrapping_sub(66_000), true, vec![1, 2]),
        ]
    );
}

#[test]
fn ceilings_of_timeouts() {
    #[track_caller]
    fn lowered(lab: Lab, why: Ceiling, to: f64) {
        let explained = lab.explain();
        let last = explained.last().expect("a packet");
        let found = steps(last).find_map(|s| if let Step::Ceiling { why, .. } = s { Some(why.clone()) } else { None });
        assert_eq!(found, Some(why.to_string()), "{:?}", last.words);
        let timeout =
            steps(last).find_map(|s| if let Step::Timeout { seconds, .. } = s { Some(*seconds) } else { None });
        assert_eq!(timeout, Some(to));
    }
    lowered(nat().handshake().lan(c("PA", 1001, 5001, 10)), Ceiling::Unacknowledged, 300.0);
    lowered(nat().handshake().wan(s("R", 5100, 0, 0)), Ceiling::Reset, 10.0);
    lowered(nat().lan(c("A", 1001, 5001, 0)), Ceiling::Unanswered, 300.0);
    let again = (0..4).fold(nat().handshake(), |lab, _| lab.lan(c("A", 1001, 5001, 0)));
    lowered(again, Ceiling::Retransmissions, 300.0);
    let closed = Tcp { sport: 40000, dport: 80, seq: 1001, ack: 5001, flags: 16, ..Tcp::default() };
    lowered(nat().handshake().lan(closed.packet(&ip(A, S))), Ceiling::ZeroWindow, 300.0);
}

#[test]
fn why_connections_are_gone() {
    nat().lan(datagram((A, 1), (S, 2))).wait(31).lan(datagram((B, 1), (S, 2))).says(
        "Before it, connection #1 (opened by packet 1), udp 192.168.1.10:1 → 198.51.100.80:2, left the table: its timeout ran \
         out.",
    );
    nat().handshake().lan(c("R", 1001, 0, 0)).lan(c("S", 90_000, 0, 0)).says(
        "Connection #1 (opened by packet 1) leaves the table: it had ended, and a SYN opens a new connection on its tuple.",
    );
    nat().lan(c("S", 1000, 0, 0)).wan(s("RA", 0, 1001, 0)).says("it was refused before anything was answered");
    let full = nat().with(&["--sysctl", "nf_conntrack_max=600", "--sysctl", "nf_conntrack_buckets=1"]);
    (0..601)
        .fold(full, |lab, n| lab.lan(datagram((A, 1000 + n), (S, 2))))
        .says("the table was full, and it was not assured (early drop)");
}

/// A connection that has ended makes room for a port. (That one leaves by another interface than it borrowed its address from
/// cannot happen here: a replay's routes do not change.)
#[test]
fn nat_takes_ended_connections_out() {
    let rules = "table ip n {\n\tchain p {\n\t\ttype nat hook postrouting priority 100\n\t\tip protocol tcp oifname \"wan0\" snat to 203.0.113.1:5000\n\t}\n}\n";
    let public = (ROUTER, 5000);
    Lab::new(rules)
        .lan(c("S", 1000, 0, 0))
        .wan(tcp(SERVER, public, "SA", 5000, 1001, 0))
        .lan(c("A", 1001, 5001, 0))
        .lan(c("FA", 1001, 5001, 0))
        .wan(tcp(SERVER, public, "FA", 5001, 1002, 0))
        .lan(c("A", 1002, 5002, 0))
        .lan(tcp((B, 40000), SERVER, "S", 90_000, 0, 0))
        .says(
            "it is the only port that the rule allows, and it is free; connection #1 (opened by packet 1), which has ended, had to \
             make room",
        );
}

/// The router's own packets are told of like any other.
#[test]
fn own_packets() {
    Lab::new(NAT).own(datagram((ROUTER, 1), (S, 2))).says("it opens connection #1.\nThe rule at ");
    Lab::new(NAT)
        .lan(datagram((A, 1), (T, 2)))
        .wan(datagram((T, 2), (ROUTER, 1)))
        .says("An answer within connection #1");
}
