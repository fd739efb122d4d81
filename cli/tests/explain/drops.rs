//! Every reason of the pipeline to drop a packet, provoked, and its sentence; and why a sender is not told.

use uct::explain::model::{Explanation, Step};
use uct_pipeline::router::Drop;
use uct_tests::packet::build::{fragments, frame, icmp, proto};

use crate::lab::{A, B, Lab, NAT, ROUTER, S, datagram, ip, ping, tcp};

/// Why the last packet was dropped. (The router's answer to it may be dropped as well.)
fn reason(explained: &[Explanation]) -> Option<&'static str> {
    let mut steps = explained.last()?.ways.iter().flat_map(|w| &w.steps);
    steps.find_map(|s| if let Step::Dropped { reason, .. } = s { Some(*reason) } else { None })
}

type Case = (&'static str, &'static str, fn() -> Lab);

fn nat() -> Lab {
    Lab::new(NAT)
}

fn filter(rule: &str) -> Lab {
    Lab::new(&format!(
        "table inet f {{\n\tchain forward {{\n\t\ttype filter hook forward priority 0; {rule}\n\t}}\n}}\n"
    ))
}

fn big(len: usize) -> Vec<u8> {
    let mut s = vec![0; len];
    s[..8].copy_from_slice(&[3, 232, 7, 208, (len >> 8) as u8, len as u8, 0, 0]);
    ip(A, S).packet(proto::UDP, &s)
}

/// One fragment of a datagram of `len` bytes: its part from `from` to `to`.
fn part(len: usize, from: usize, to: usize) -> Vec<u8> {
    let mut packet = big(len);
    packet[6] = 0;
    let pieces = fragments(&packet, 77, &[from, to]);
    let at = usize::from(from > 0);
    pieces[at].clone()
}

/// A datagram with IPv4 options.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut header = ip(A, S);
    header.options = options.to_vec();
    header.packet(proto::UDP, &[3, 232, 7, 208, 0, 8, 0, 0])
}

const CASES: &[Case] = &[
    ("ip-options", "It is dropped: its IPv4 options make no sense at byte 20.", || {
        nat().lan(with_options(&[7, 32, 4, 0, 0, 0, 0, 0]))
    }),
    ("ip-source-route", "It is dropped: it says itself which way to go (accept_source_route is 0).", || {
        nat().lan(with_options(&[131, 7, 4, 203, 0, 113, 80, 0]))
    }),
    ("link-short-header", "It is dropped: the frame has 3 bytes, its link header 14.", || {
        nat().raw("lan0", vec![2, 0, 0])
    }),
    ("link-too-many-tags", "It is dropped: more than", || {
        let mut tagged = frame("02:00:00:00:01:01", "02:00:00:00:09:09", &datagram((A, 1), (S, 2)));
        for _ in 0..16 {
            tagged.splice(12..12, [0x81, 0, 0, 1]);
        }
        nat().raw("lan0", tagged)
    }),
    ("not-ip", "It is dropped: not an IP packet.", || {
        let mut arp = frame("02:00:00:00:01:01", "02:00:00:00:09:09", &datagram((A, 1), (S, 2)));
        arp[12..14].copy_from_slice(&[8, 6]);
        nat().raw("lan0", arp)
    }),
    ("other-host", "It is dropped: addressed to another host's link address.", || {
        nat().raw("lan0", frame("02:00:00:00:77:77", "02:00:00:00:09:09", &datagram((A, 1), (S, 2))))
    }),
    ("ip-version", "It is dropped: IP version 9.", || nat().lan(vec![0x95; 40])),
    ("ip-short-header", "It is dropped: the IP header is cut: 12 bytes of 20.", || {
        nat().lan(datagram((A, 1), (S, 2))[..12].to_vec())
    }),
    ("ip-header-length", "It is dropped: IPv4 header length 16 is below 20.", || {
        let mut packet = datagram((A, 1), (S, 2));
        packet[0] = 0x44;
        nat().lan(packet)
    }),
    ("ip-length", "It is dropped: IP length 200 does not fit the 32 bytes that arrived.", || {
        let mut packet = datagram((A, 1), (S, 2));
        packet[2..4].copy_from_slice(&[0, 200]);
        nat().lan(packet)
    }),
    ("ip-header-checksum", "It is dropped: wrong IPv4 header checksum.", || {
        let mut packet = datagram((A, 1), (S, 2));
        packet[10] ^= 1;
        nat().lan(packet)
    }),
    (
        "ip-hop-by-hop",
        "It is dropped: hop-by-hop options: the one at byte 42 is broken, or says to discard the packet.",
        || {
            // Hop-by-hop options of an unknown kind whose highest bits say "discard".
            let mut packet = ping("fd00:1::10", "2001:db8:80::1", 1);
            let next = std::mem::replace(&mut packet[6], 0);
            let payload = u16::from_be_bytes([packet[4], packet[5]]) + 8;
            packet[4..6].copy_from_slice(&payload.to_be_bytes());
            packet.splice(40..40, [next, 0, 0x7e, 4, 0, 0, 0, 0]);
            nat().lan(packet)
        },
    ),
    ("fragment-duplicate", "It is dropped: the fragment is a duplicate.", || {
        nat().lan(part(300, 0, 104)).lan(part(300, 0, 104))
    }),
    ("fragment-overlap", "It is dropped: the fragment overlaps another (the datagram is given up).", || {
        nat().lan(part(300, 0, 104)).lan(part(300, 96, 200))
    }),
    ("fragment-ends-disagree", "It is dropped: the fragment disagrees with others about the datagram's end.", || {
        nat().lan(part(300, 200, 300)).lan(part(400, 304, 400))
    }),
    ("fragment-empty", "It is dropped: the fragment is empty.", || {
        let mut empty = part(300, 0, 104)[..20].to_vec();
        empty[3] = 20;
        uct_tests::packet::build::mend_ipv4(&mut empty);
        nat().lan(empty)
    }),
    ("fragment-too-long", "It is dropped: the datagram is longer than 65535 bytes.", || {
        let mut end = part(300, 200, 300);
        end[6..8].copy_from_slice(&8189_u16.to_be_bytes());
        uct_tests::packet::build::mend_ipv4(&mut end);
        let first = |lab: Lab, at: u16| {
            let mut piece = part(2000, 0, 1480);
            piece[6..8].copy_from_slice(&(0x2000 | (at / 8)).to_be_bytes());
            uct_tests::packet::build::mend_ipv4(&mut piece);
            lab.lan(piece)
        };
        (0..44)
            .fold(nat(), |lab, n| first(lab, n * 1480))
            .lan({
                let mut piece = part(2000, 0, 392);
                piece[6..8].copy_from_slice(&(0x2000_u16 | (44 * 1480 / 8)).to_be_bytes());
                uct_tests::packet::build::mend_ipv4(&mut piece);
                piece
            })
            .lan(end)
    }),
    ("fragment-ecn", "It is dropped: the fragments' ECN bits contradict each other.", || {
        let mut second = part(300, 104, 300);
        second[1] = 3;
        uct_tests::packet::build::mend_ipv4(&mut second);
        nat().lan(part(300, 0, 104)).lan(second)
    }),
    ("fragment-no-memory", "It is dropped: the memory for fragments is used up (high_thresh).", || {
        let packet = ping("fd00:1::10", "2001:db8:80::1", 1);
        nat().with(&["--sysctl", "nf_conntrack_frag6_high_thresh=0"]).lan(fragments(&packet, 7, &[8])[0].clone())
    }),
    ("fragment-headers", "It is dropped: its extension headers do not all stand in its first fragment.", || {
        // Destination options cut in the middle, and others behind them; the piece with the beginning comes last.
        let mut payload = vec![0; 56];
        payload[..4].copy_from_slice(&[0, 1, 1, 12]);
        payload[16..20].copy_from_slice(&[proto::ESP, 0, 1, 4]);
        let packet = ip("fd00:1::10", "2001:db8:80::1").packet(60, &payload);
        let mut pieces = fragments(&packet, 7, &[8, 16]);
        pieces.rotate_left(1);
        pieces.into_iter().fold(nat(), |lab, piece| lab.lan(piece))
    }),
    ("rule", "It is dropped: a rule dropped it (", || filter("udp dport 2000 drop").lan(datagram((A, 1), (S, 2000)))),
    ("rule", "It is dropped: the policy of the chain 'inet f forward' dropped it.", || {
        filter("policy drop;").lan(datagram((A, 1), (S, 2000)))
    }),
    ("reject", "It is dropped: a rule rejected it (", || filter("reject").lan(datagram((A, 1), (S, 2000)))),
    ("table-full", "It is dropped: the connection table is full (nf_conntrack_max).", || {
        nat().with(&["--sysctl", "nf_conntrack_max=1"]).lan(datagram((A, 1), (S, 2))).lan(datagram((A, 3), (S, 2)))
    }),
    ("no-address", "It is dropped: the interface has no address of this family to translate to.", || {
        let rules = "table ip n {\n\tchain p {\n\t\ttype nat hook prerouting priority -100; redirect\n\t}\n}\n";
        Lab::new(rules).change(|t| t.interface[0].addresses.remove(0).clear()).lan(datagram((A, 1), (S, 2)))
    }),
    ("nat-icmp-redirect", "It is dropped: an icmp redirect about a translated connection.", || {
        let quoted = datagram((ROUTER, 1000), (S, 2000));
        nat().lan(datagram((A, 1000), (S, 2000))).wan(icmp(
            &ip("203.0.113.254", ROUTER),
            5,
            1,
            [203, 0, 113, 9],
            &quoted,
        ))
    }),
    ("nat-bad-checksum", "It is dropped: an icmp error with a wrong checksum.", || {
        let quoted = datagram((ROUTER, 1000), (S, 2000));
        let mut error = icmp(&ip(S, ROUTER), 3, 3, [0; 4], &quoted);
        error[22] ^= 1;
        nat().with(&["--sysctl", "nf_conntrack_checksum=0"]).lan(datagram((A, 1000), (S, 2000))).wan(error)
    }),
    ("nat-short-header", "It is dropped: there are 4 of the 8 bytes of udp header that translation needs.", || {
        let quoted = &datagram((ROUTER, 1000), (S, 2000))[..24];
        nat().lan(datagram((A, 1000), (S, 2000))).wan(icmp(&ip(S, ROUTER), 3, 3, [0; 4], quoted))
    }),
    ("nat-gre-version", "It is dropped: GRE version 2 cannot be destination-translated.", || {
        let rules =
            "table ip n {\n\tchain p {\n\t\ttype nat hook prerouting priority -100; dnat to 198.51.100.9\n\t}\n}\n";
        Lab::new(rules).lan(ip(A, S).packet(proto::GRE, &[0, 2, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    }),
    ("martian-source", "It is dropped: the source address cannot have come from a link (martian source).", || {
        nat().lan(datagram(("127.0.0.1", 1), (S, 2)))
    }),
    (
        "martian-destination",
        "It is dropped: the destination address cannot be reached over a link (martian destination).",
        || nat().lan(datagram((A, 1), ("127.0.0.1", 2))),
    ),
    ("group-not-joined", "It is dropped: the destination is a group that the router has not joined.", || {
        nat().lan(datagram((A, 1), ("239.1.2.3", 2)))
    }),
    (
        "beyond-scope",
        "It is dropped: the source address is link-local, the destination on another link (beyond scope).",
        || nat().lan(datagram(("fe80::10", 1), ("2001:db8:80::1", 2))),
    ),
    ("no-route", "It is dropped: no route to its destination.", || {
        nat().lan(datagram(("fd00:1::10", 1), ("2001:470::1", 2)))
    }),
    ("not-unicast", "It is dropped: sent to all on the link, and not forwarded to another.", || {
        nat().raw("lan0", frame("ff:ff:ff:ff:ff:ff", "02:00:00:00:09:09", &datagram((A, 1), (S, 2))))
    }),
    ("time-exceeded", "It is dropped: its time to live is used up.", || {
        let mut hop = ip(A, S);
        hop.ttl = 1;
        nat().lan(uct_tests::packet::build::udp(&hop, 1, 2, b"data"))
    }),
    ("too-big", "It is dropped: larger than the next link's MTU, and not to be fragmented.", || {
        nat().change(|t| t.interface[1].mtu = 1280).lan(big(1400))
    }),
    (
        "clash",
        "It is dropped: NAT found no free tuple: its connection's reply tuple belongs to another connection.",
        || {
            let esp = |from| ip(from, S).packet(proto::ESP, &[0; 16]);
            nat().lan(esp(A)).lan(esp(B))
        },
    ),
];

#[test]
fn every_reason_has_its_sentence() {
    for (name, says, lab) in CASES {
        let explained = lab().explain();
        assert_eq!(reason(&explained), Some(*name), "{says}");
        let said = explained.last().map(|e| e.words.join("\n")).unwrap_or_default();
        assert!(said.contains(says), "{name}: it says:\n{said}\nand not: {says}");
    }
}

#[test]
fn no_reason_is_left_out() {
    let provoked: Vec<&str> = CASES.iter().map(|c| c.0).collect();
    // What this lab, a fixed router between Ethernet links, cannot be brought to: a capture that names no interfaces (see
    // below), other link types (the tests of `link`), a route that changes under a connection (those of nat), a filter of
    // sources that has to be switched on (those against the kernel).
    const ELSEWHERE: [&str; 6] = [
        "no-interface",
        "link-ip-version",
        "link-address-family",
        "link-type",
        "nat-interface-changed",
        "reverse-path",
    ];
    let missing: Vec<&&str> = Drop::NAMES.iter().filter(|n| !ELSEWHERE.contains(n) && !provoked.contains(n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A rule that stops a packet is named with its line and its text.
#[test]
fn a_rule_is_named_by_place_and_text() {
    let said = filter("udp dport 2000 counter drop").lan(datagram((A, 1), (S, 2000))).last();
    assert!(said.contains(".nft:3: udp dport 2000 counter drop)."), "{said}");
    assert!(said.contains("Its connection never enters the table."), "{said}");
    let nat_drop =
        "table ip n {\n\tchain p {\n\t\ttype nat hook postrouting priority 100\n\t\tudp dport 2000 drop\n\t}\n}\n";
    let said = Lab::new(nat_drop).lan(datagram((A, 1), (S, 2000))).last();
    assert!(said.contains(".nft:4: udp dport 2000 drop)."), "{said}");
}

/// What the router answers, and when it says nothing.
#[test]
fn answers_and_silences() {
    let reject = |with: &str| filter(&format!("reject {with}"));
    reject("")
        .lan(datagram((A, 1), (S, 2)))
        .says("The router answers with an ICMP error: port unreachable. It leaves by lan0 to 192.168.1.10.");
    reject("with tcp reset")
        .lan(tcp((A, 1), (S, 2), "S", 1, 0, 0))
        .says("The router answers with a reset. It leaves by lan0 to 192.168.1.10.");
    reject("with tcp reset")
        .lan(tcp((A, 1), (S, 2), "R", 1, 0, 0))
        .says("Its sender is not told: the packet is a TCP reset itself.");
    let error = icmp(&ip(A, S), 3, 3, [0; 4], &datagram((S, 9), (A, 10)));
    reject("").lan(error).says("Its sender is not told: the packet is an ICMP error itself.");
    let mut broken = datagram((A, 1), (S, 2));
    broken[29] ^= 1;
    reject("").lan(broken).says("Its sender is not told: the packet's checksum is wrong.");
    reject("").lan(datagram((A, 1), ("192.168.1.255", 2))).says("The router itself gets it.");
    Lab::new("table inet f {\n\tchain i {\n\t\ttype filter hook input priority 0; reject\n\t}\n}\n")
        .lan(datagram((A, 1), ("192.168.1.255", 2)))
        .says("Its sender is not told: the packet was sent to a group.");
}

/// A datagram that never gets whole.
#[test]
fn fragments_that_never_get_whole() {
    nat()
        .lan(part(300, 0, 104))
        .wait(31)
        .lan(datagram((A, 1), (S, 2)))
        .says("Before it, a datagram of which one fragment had come was given up: the rest did not come in time.");
    nat().lan(part(300, 0, 104)).says("A fragment: it waits for the rest of its datagram.");
    nat()
        .lan(part(300, 0, 104))
        .lan(part(300, 104, 300))
        .says("The last that was missing of 2 fragments: the datagram is whole, and goes on as one packet.");
    let mut lab = nat().lan(part(300, 0, 104));
    for n in 0..70 {
        let mut other = part(300, 0, 104);
        other[5] = 100 + n;
        uct_tests::packet::build::mend_ipv4(&mut other);
        lab = lab.lan(other);
    }
    lab.lan(part(300, 104, 300)).says("one fragment of it came too long ago and were given up");
}
