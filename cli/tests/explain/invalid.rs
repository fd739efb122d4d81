//! Every reason of the tracker to say no, provoked, and its sentence. And what lets it pass does so.

use uct::explain::model::{Explanation, Step};
use uct_engine::Invalid;
use uct_tests::packet::build::{LiteSum, Tcp, fragments, icmp, proto, sctp, sctp_chunk, udplite};

use crate::lab::{A, Lab, NAT, ROUTER, S, datagram, ip, ping, tcp};

/// The reason that the last packet was found invalid for.
fn reason(explained: &[Explanation]) -> Option<&'static str> {
    explained.last()?.ways.iter().flat_map(|w| &w.steps).find_map(|s| match s {
        Step::Invalid { reason, .. } => Some(*reason),
        _ => None,
    })
}

struct Case {
    name: &'static str,
    lab: fn() -> Lab,
    says: &'static str,
    remedy: Option<&'static str>,
}

const fn case(name: &'static str, says: &'static str, lab: fn() -> Lab) -> Case {
    Case { name, lab, says, remedy: None }
}

const fn cured(name: &'static str, says: &'static str, remedy: &'static str, lab: fn() -> Lab) -> Case {
    Case { name, lab, says, remedy: Some(remedy) }
}

fn nat() -> Lab {
    Lab::new(NAT)
}

fn broken(mut packet: Vec<u8>) -> Vec<u8> {
    let last = packet.len() - 1;
    packet[last] ^= 0x55;
    packet
}

fn cut(packet: &[u8], len: usize) -> Vec<u8> {
    let mut packet = packet[..len].to_vec();
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    uct_tests::packet::build::mend_ipv4(&mut packet);
    packet
}

const CASES: &[Case] = &[
    case("no-transport", "INVALID: no transport header can be found.", || {
        // A packet whose fragment bits are not gathered: an IPv6 packet that ends without a transport header.
        nat().lan(ip("fd00:1::10", "2001:db8:80::1").packet(59, &[0; 8]))
    }),
    case("short-packet", "INVALID: short packet: the transport header is cut.", || {
        nat().lan(ip(A, S).packet(proto::UDP, &[0, 1, 0, 2]))
    }),
    case("truncated-packet", "INVALID: truncated or malformed packet: a length contradicts the packet's size.", || {
        let mut packet = datagram((A, 1000), (S, 2000));
        packet[24] = 9;
        nat().lan(packet)
    }),
    cured(
        "bad-checksum",
        "INVALID: bad checksum. With nf_conntrack_checksum=0 it would have been taken.",
        "nf_conntrack_checksum=0",
        || nat().lan(broken(datagram((A, 1000), (S, 2000)))),
    ),
    case("no-checksum", "INVALID: UDP-Lite without a checksum.", || {
        let mut packet = udplite(&ip(A, S), 1000, 2000, b"data", 0, LiteSum::Kernel);
        packet[26..28].fill(0);
        nat().lan(packet)
    }),
    case("tcp-flags", "INVALID: invalid tcp flag combination 0x03.", || {
        nat().lan(tcp((A, 40000), (S, 80), "SF", 1, 0, 0))
    }),
    case("tcp-new", "INVALID: RST cannot open a connection.", || nat().lan(tcp((A, 40000), (S, 80), "R", 1, 0, 0))),
    cured(
        "tcp-not-loose",
        "INVALID: not a SYN, and nf_conntrack_tcp_loose is 0. With nf_conntrack_tcp_loose=1 it would have been taken.",
        "nf_conntrack_tcp_loose=1",
        || nat().with(&["--sysctl", "nf_conntrack_tcp_loose=0"]).lan(tcp((A, 40000), (S, 80), "A", 1, 1, 0)),
    ),
    case(
        "tcp-state",
        "INVALID: ACK in original direction is invalid in state SYN_SENT: no SYN/ACK was seen that it could acknowledge.",
        || nat().lan(tcp((A, 40000), (S, 80), "S", 1000, 0, 0)).lan(tcp((A, 40000), (S, 80), "A", 1001, 5001, 0)),
    ),
    cured(
        "tcp-seq-over",
        "It begins at 101001, and its receiver has allowed no more than 9193 (packet 2): 91808 bytes beyond. With \
         nf_conntrack_tcp_be_liberal=1 it would have been taken.",
        "nf_conntrack_tcp_be_liberal=1",
        || nat().handshake().lan(tcp((A, 40000), (S, 80), "PA", 101_001, 5001, 100)),
    ),
    cured(
        "tcp-ack-over",
        "It acknowledges 6000, and the other side has sent no more than up to 5001 (packet 2): 999 bytes that nobody has \
         seen. With nf_conntrack_tcp_be_liberal=1 it would have been taken.",
        "nf_conntrack_tcp_be_liberal=1",
        || nat().handshake().lan(tcp((A, 40000), (S, 80), "A", 1001, 6000, 0)),
    ),
    cured(
        "tcp-rst",
        "INVALID: SEQ is under 1101: it is 1001 (acknowledged already). With nf_conntrack_tcp_ignore_invalid_rst=1 it would \
         have been taken.",
        "nf_conntrack_tcp_ignore_invalid_rst=1",
        || {
            nat()
                .handshake()
                .lan(tcp((A, 40000), (S, 80), "PA", 1001, 5001, 100))
                .wan(tcp((S, 80), (ROUTER, 40000), "A", 5001, 1101, 0))
                .lan(tcp((A, 40000), (S, 80), "R", 1001, 0, 0))
        },
    ),
    case("icmp-type", "INVALID: invalid icmp type 42.", || nat().lan(icmp(&ip(A, S), 42, 0, [0; 4], b""))),
    case("icmp-unsolicited", "INVALID: icmp type 0 answers no known query.", || {
        nat().wan(icmp(&ip(S, ROUTER), 0, 0, [0, 7, 0, 1], b"pong"))
    }),
    case("icmp-quote-unreadable", "INVALID: the packet quoted in the icmp error cannot be read.", || {
        nat().wan(icmp(&ip(S, ROUTER), 3, 3, [0; 4], &datagram((ROUTER, 1000), (S, 2000))[..22]))
    }),
    case("icmp-quote-unknown", "INVALID: icmp error about an unknown connection.", || {
        nat().wan(icmp(&ip(S, ROUTER), 3, 3, [0; 4], &datagram((ROUTER, 1000), (S, 2000))))
    }),
    case(
        "icmp-quote-mismatch",
        "INVALID: icmp error not addressed to the sender of the packet that it quotes.",
        || {
            let quoted = datagram((ROUTER, 1000), (S, 2000));
            nat().lan(datagram((A, 1000), (S, 2000))).wan(icmp(&ip(S, A), 3, 3, [0; 4], &quoted))
        },
    ),
    case("icmp-family", "INVALID: icmp of the wrong IP version.", || {
        nat().lan(ip(A, S).packet(proto::ICMPV6, &[128, 0, 0, 0, 0, 1, 0, 1]))
    }),
    case(
        "sctp-state",
        "INVALID: SHUTDOWN in reply direction is invalid in state HEARTBEAT_SENT: a heartbeat is answered by HEARTBEAT ACK.",
        || {
            nat().lan(sctp(&ip(A, S), 4000, 80, 0x22, &sctp_chunk(4, 0, &[0; 4]))).wan(sctp(
                &ip(S, ROUTER),
                80,
                4000,
                0,
                &sctp_chunk(7, 0, &[0; 4]),
            ))
        },
    ),
    case("sctp-chunks", "INVALID: invalid SCTP chunks.", || {
        let two = [init(1, 0x11), sctp_chunk(0, 3, &[0; 16])].concat();
        nat().lan(sctp(&ip(A, S), 4000, 80, 0, &two))
    }),
    case("sctp-vtag", "INVALID: wrong SCTP verification tag 0x00000099.", || {
        associating().lan(sctp(&ip(A, S), 4000, 80, 0x99, &sctp_chunk(10, 0, &[1; 8])))
    }),
    case("sctp-init-ack", "INVALID: SCTP INIT ACK announces tag 0x00000077, another is known.", || {
        // Both ends opened at once.
        nat()
            .lan(sctp(&ip(A, S), 4000, 80, 0, &init(1, 0x11)))
            .wan(sctp(&ip(S, ROUTER), 80, 4000, 0, &init(1, 0x22)))
            .wan(sctp(&ip(S, ROUTER), 80, 4000, 0x11, &init(2, 0x77)))
    }),
    case("sctp-new", "INVALID: DATA cannot open an association.", || {
        nat().lan(sctp(&ip(A, S), 4000, 80, 0x22, &sctp_chunk(0, 3, &[0; 16])))
    }),
];

/// An INIT, or with kind 2 an INIT ACK, that announces a tag.
fn init(kind: u8, tag: u32) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    sctp_chunk(kind, 0, &value)
}

/// INIT and its answer: tags 0x11 of the client, 0x22 of the server.
fn associating() -> Lab {
    nat().lan(sctp(&ip(A, S), 4000, 80, 0, &init(1, 0x11))).wan(sctp(&ip(S, ROUTER), 80, 4000, 0x11, &init(2, 0x22)))
}

#[test]
fn every_reason_has_its_sentence() {
    for case in CASES {
        let explained = (case.lab)().explain();
        assert_eq!(reason(&explained), Some(case.name));
        let said = explained.last().map(|e| e.words.join("\n")).unwrap_or_default();
        assert!(said.contains(case.says), "{}: it says:\n{said}\nand not: {}", case.name, case.says);
        assert_eq!(said.contains("would have been taken"), case.remedy.is_some(), "{}", case.name);
    }
}

#[test]
fn no_reason_is_left_out() {
    let provoked: Vec<&str> = CASES.iter().map(|c| c.name).collect();
    let missing: Vec<&&str> = Invalid::NAMES.iter().filter(|n| !provoked.contains(n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What is said to have let the packet pass lets it pass.
#[test]
fn the_remedy_helps() {
    for case in CASES {
        let Some(remedy) = case.remedy else { continue };
        let explained = (case.lab)().with(&["--sysctl", remedy]).explain();
        assert_eq!(reason(&explained), None, "{}: {remedy}", case.name);
    }
}

/// What becomes of an invalid packet: it goes on, untranslated, and where nobody can answer it.
#[test]
fn an_invalid_packet_leaks_or_reaches_the_router() {
    nat().lan(tcp((A, 40000), (S, 80), "FA", 1, 1, 0)).says(
        "It leaves by wan0 untranslated, with its private source 192.168.1.10: a leak, and no answer will find back.",
    );
    nat().wan(tcp((S, 80), (ROUTER, 40000), "SA", 1, 1, 0)).says(
        "The router itself gets it, without a connection.\nIts TCP knows nothing of that connection, and will refuse it \
         with a reset.",
    );
    nat()
        .wan(icmp(&ip(S, ROUTER), 0, 0, [0, 7, 0, 1], b"pong"))
        .says("The router itself gets it, without a connection.");
}

/// Where the capture holds less than the wire did, no checksum is blamed.
#[test]
fn what_the_capture_cut_is_not_blamed() {
    let whole = Tcp { sport: 40000, dport: 80, seq: 1, flags: 2, ..Tcp::default() }.packet(&ip(A, S));
    nat().lan(whole.clone()).says("it opens connection #1");
    nat().lan(cut(&whole, 38)).says("INVALID: short packet");
}

#[test]
fn fragments_that_are_not_gathered_have_no_transport() {
    let packet = ping("fd00:1::10", "2001:db8:80::1", 1);
    // The first fragment has no whole ICMPv6 header: it goes on as it is.
    let pieces = fragments(&packet, 7, &[8]);
    let explained = nat().lan(pieces[1].clone()).explain();
    assert_eq!(
        explained.last().map(|e| e.words.join(" ")).as_deref(),
        Some("A fragment: it waits for the rest of its datagram.")
    );
}
