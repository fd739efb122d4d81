//! The transition matrix as a golden file, and connections as tables of segments.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::{Engine, Hook, Silent, Template, Time, Track};

/// Prints the whole table; `UCT_BLESS=1` writes the golden file anew.
#[test]
fn matrix_is_the_golden_one() {
    let mut out = String::new();
    for dir in [Direction::Original, Direction::Reply] {
        for class in Class::ALL {
            for state in TcpState::ALL {
                let (next, why) = transition(dir, class, state);
                let next = match next {
                    Next::To(state) => state.name(),
                    Next::Ignore => "ignore",
                    Next::Invalid => "invalid",
                };
                let class = class.to_string();
                writeln!(out, "{:8} {class:22} {:11} -> {next:11} {why}", dir.name(), state.name()).unwrap();
            }
        }
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tcp/matrix.txt");
    if std::env::var_os("UCT_BLESS").is_some() {
        std::fs::write(golden, &out).unwrap();
    }
    assert_eq!(out, include_str!("matrix.txt"), "run with UCT_BLESS=1 to write the golden file anew");
}

#[test]
fn only_flag_sets_that_a_tcp_sends_are_valid() {
    let valid: Vec<u8> = (0..=63u8).filter(|f| f & flag::PSH == 0 && are_flags_valid(*f)).collect();
    use flag::{ACK, FIN, RST, SYN, URG};
    let mut expected = vec![SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];
    expected.sort_unstable();
    assert_eq!(valid, expected);
}

/// One segment of a script: who sends it, flags, numbers relative to the sender's and the receiver's first.
struct Step {
    from: Direction,
    flags: u8,
    seq: u32,
    ack: u32,
    len: usize,
    win: u16,
}

const CLIENT_ISN: u32 = 0xffff_ff00; // so that the numbers wrap on the way
const SERVER_ISN: u32 = 5000;

fn bytes(step: &Step) -> Vec<u8> {
    let (src, dst, sport, dport, seq0, ack0) = match step.from {
        Direction::Original => ([10, 0, 0, 1], [10, 0, 0, 2], 40000, 80, CLIENT_ISN, SERVER_ISN),
        Direction::Reply => ([10, 0, 0, 2], [10, 0, 0, 1], 80, 40000, SERVER_ISN, CLIENT_ISN),
    };
    let mut tcp = etherparse::TcpHeader::new(sport, dport, seq0.wrapping_add(step.seq), step.win);
    tcp.acknowledgment_number = if step.flags & flag::ACK != 0 { ack0.wrapping_add(step.ack) } else { 0 };
    tcp.syn = step.flags & flag::SYN != 0;
    tcp.ack = step.flags & flag::ACK != 0;
    tcp.fin = step.flags & flag::FIN != 0;
    tcp.rst = step.flags & flag::RST != 0;
    tcp.psh = step.flags & flag::PSH != 0;
    let payload = vec![b'x'; step.len];
    let mut out = Vec::new();
    etherparse::PacketBuilder::ipv4(src, dst, 64).tcp_header(tcp).write(&mut out, &payload).unwrap();
    out
}

/// Runs a script, one line each: direction, flags, seq, ack, length, window → what `conntrack -L` would show of it.
fn run(settings: &[(&str, &str)], script: &[(&str, &str, u32, u32, usize, u16, &str)]) {
    let engine = Engine::new(1);
    for (k, v) in settings {
        engine.settings().set_by_name(k, v).unwrap();
    }
    let mut now = Time::from_secs(1000);
    for (line, (from, flags, seq, ack, len, win, expected)) in script.iter().enumerate() {
        let from = if *from == ">" { Direction::Original } else { Direction::Reply };
        let flags = flags.bytes().fold(0, |f, c| {
            f | match c {
                b'S' => flag::SYN,
                b'A' => flag::ACK,
                b'F' => flag::FIN,
                b'R' => flag::RST,
                b'P' => flag::PSH,
                _ => 0,
            }
        });
        let mut b = bytes(&Step { from, flags, seq: *seq, ack: *ack, len: *len, win: *win });
        let n = b.len();
        let packet = Packet::parse(&mut b, n).unwrap();
        let said = match engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent) {
            Track::Tracked(t) => {
                engine.confirm(t.ct, now);
                match engine.entries(now).first() {
                    None => "gone".to_owned(),
                    Some(e) => {
                        let mut s = format!("{} {}", e.proto.state_name().unwrap_or_default(), e.timeout.as_secs());
                        if !e.status.contains(crate::Status::SEEN_REPLY) {
                            s += " [UNREPLIED]";
                        }
                        if e.status.contains(crate::Status::ASSURED) {
                            s += " [ASSURED]";
                        }
                        s
                    }
                }
            }
            Track::Invalid(why) => format!("invalid {}", why.name()),
            other => format!("{other:?}"),
        };
        assert_eq!(said, *expected, "line {line} of the script");
        now = now + Duration::from_millis(1);
        engine.expire(now, usize::MAX);
    }
}

#[test]
fn a_whole_connection() {
    run(
        &[],
        &[
            (">", "S", 0, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"),
            ("<", "SA", 0, 1, 0, 64000, "SYN_RECV 60"),
            (">", "A", 1, 1, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            (">", "PA", 1, 1, 100, 64000, "ESTABLISHED 300 [ASSURED]"),
            ("<", "A", 1, 101, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            ("<", "PA", 1, 101, 500, 64000, "ESTABLISHED 300 [ASSURED]"),
            (">", "A", 101, 501, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            (">", "FA", 101, 501, 0, 64000, "FIN_WAIT 120 [ASSURED]"),
            ("<", "A", 501, 102, 0, 64000, "CLOSE_WAIT 60 [ASSURED]"),
            ("<", "FA", 501, 102, 0, 64000, "LAST_ACK 30 [ASSURED]"),
            (">", "A", 102, 502, 0, 64000, "TIME_WAIT 120 [ASSURED]"),
            // The client that closed first may open again at once.
            (">", "S", 70000, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"),
        ],
    );
}

#[test]
fn a_reset_must_be_exact() {
    run(
        &[],
        &[
            (">", "S", 0, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"),
            ("<", "SA", 0, 1, 0, 64000, "SYN_RECV 60"),
            (">", "A", 1, 1, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            ("<", "A", 1, 1, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            // Inside the window, not exact: passes, the state stays, the timeout is that of CLOSE.
            ("<", "R", 100, 0, 0, 0, "ESTABLISHED 10 [ASSURED]"),
            (">", "A", 1, 1, 0, 64000, "ESTABLISHED 300 [ASSURED]"),
            // Below what was acknowledged.
            ("<", "R", 0, 0, 0, 0, "invalid tcp-rst"),
            ("<", "R", 1, 0, 0, 0, "CLOSE 10 [ASSURED]"),
        ],
    );
}

#[test]
fn a_refused_connection_leaves_nothing() {
    run(&[], &[(">", "S", 0, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"), ("<", "RA", 0, 1, 0, 0, "gone")]);
}

#[test]
fn picked_up_in_mid_stream() {
    run(
        &[],
        &[
            (">", "PA", 9000, 77, 100, 500, "ESTABLISHED 300 [UNREPLIED]"),
            ("<", "A", 77, 9100, 0, 500, "ESTABLISHED 300"),
            (">", "A", 9100, 77, 0, 500, "ESTABLISHED 432000 [ASSURED]"),
        ],
    );
    run(&[("nf_conntrack_tcp_loose", "0")], &[(">", "A", 9000, 77, 0, 500, "invalid tcp-not-loose")]);
    run(&[], &[(">", "FA", 9000, 77, 0, 500, "invalid tcp-new")]);
    run(&[], &[(">", "SA", 9000, 77, 0, 500, "invalid tcp-new")]);
}

#[test]
fn simultaneous_open() {
    run(
        &[],
        &[
            (">", "S", 0, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"),
            ("<", "S", 0, 0, 0, 64000, "SYN_SENT2 119"),
            (">", "SA", 0, 1, 0, 64000, "SYN_RECV 60"),
            ("<", "SA", 0, 1, 0, 64000, "SYN_RECV 59"),
            (">", "A", 1, 1, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
        ],
    );
}

#[test]
fn a_stale_entry_comes_into_step_again() {
    run(
        &[],
        &[
            (">", "S", 0, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"),
            ("<", "SA", 0, 1, 0, 64000, "SYN_RECV 60"),
            (">", "A", 1, 1, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            // The client lost the connection and opens it again; the server, who lost it too, answers.
            (">", "S", 500_000, 0, 0, 64000, "ESTABLISHED 431999 [ASSURED]"),
            ("<", "SA", 900_000, 500_001, 0, 64000, "SYN_RECV 60 [ASSURED]"),
            (">", "A", 500_001, 900_001, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
        ],
    );
}

#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    run(
        &[],
        &[
            (">", "S", 0, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"),
            ("<", "SA", 0, 1, 0, 64000, "SYN_RECV 60"),
            (">", "A", 1, 1, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            ("<", "A", 1, 2, 0, 64000, "invalid tcp-ack-over"),
            ("<", "PA", 200_000, 1, 10, 64000, "invalid tcp-seq-over"),
        ],
    );
    run(
        &[("nf_conntrack_tcp_be_liberal", "1")],
        &[
            (">", "S", 0, 0, 0, 64000, "SYN_SENT 120 [UNREPLIED]"),
            ("<", "SA", 0, 1, 0, 64000, "SYN_RECV 60"),
            (">", "A", 1, 1, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
            ("<", "A", 1, 2, 0, 64000, "ESTABLISHED 432000 [ASSURED]"),
        ],
    );
}
