//! Every way in which NAT makes a new tuple, provoked, and its sentence.

use uct::explain::model::{NatStep, Step};

use crate::lab::{A, B, Lab, NAT, ROUTER, S, T, datagram, ip, ping, tcp};

fn post(rule: &str) -> Lab {
    Lab::new(&format!(
        "table ip n {{\n\tchain p {{\n\t\ttype nat hook postrouting priority 100\n\t\t{rule}\n\t}}\n}}\n"
    ))
}

fn pre(rule: &str) -> Lab {
    Lab::new(&format!(
        "table ip n {{\n\tchain p {{\n\t\ttype nat hook prerouting priority -100\n\t\t{rule}\n\t}}\n}}\n"
    ))
}

/// The decisions about the last packet that changed something or wanted to.
fn decisions(lab: Lab) -> Vec<NatStep> {
    let explained = lab.explain();
    let ways = explained.into_iter().next_back().map(|e| e.ways).unwrap_or_default();
    ways.into_iter().flat_map(|w| w.steps).filter_map(|s| if let Step::Nat(n) = s { Some(*n) } else { None }).collect()
}

#[test]
fn ports_kept_reused_found_exhausted_stuck() {
    let udp = |from: &str, to: &str| datagram((from, 4000), (to, 53));
    Lab::new(NAT).lan(udp(A, S)).says(
        "(masquerade) changes its source from 192.168.1.10:4000 to 203.0.113.1:4000; the port is free and stays.",
    );
    Lab::new(NAT)
        .lan(udp(A, S))
        .lan(udp(A, T))
        .says("the same source has this mapping already in connection #1 (opened by packet 1), and it is used again.");
    Lab::new(NAT).lan(udp(A, S)).lan(udp(B, S)).says(
        "the first choice was taken: answers to it belong to connection #1 (opened by packet 1); a free port was searched in \
         1024-65535, from a random place, and ",
    );
    let low = decisions(Lab::new(NAT).lan(datagram((A, 500), (S, 500))).lan(datagram((B, 500), (S, 500))));
    let search = low.iter().find_map(|n| n.search.as_ref()).expect("a search");
    assert_eq!((search.first, search.last, search.start, search.restarts), (1, 511, "drawn", 0));

    let two = "ip protocol udp oifname \"wan0\" snat to 203.0.113.1:7000-7001";
    post(two)
        .lan(udp(A, S))
        .lan(udp(B, S))
        .lan(udp("192.168.1.12", S))
        .says("none of 2 ports of 7000-7001 that were tried is free.\nA clash: at the end of its way its tuple belonged to connection #");
    let one = "ip protocol udp oifname \"wan0\" snat to 203.0.113.1:7000";
    post(one).lan(udp(A, S)).says("it is the only port that the rule allows, and it is free");
    let esp = |from| ip(from, S).packet(50, &[0; 16]);
    Lab::new(NAT).lan(esp(A)).lan(esp(B)).says("there is no port that may be changed.");
    Lab::new(NAT).lan(ping(A, S, 7)).lan(ping(B, S, 7)).says("a free id was searched in 0-65535, from a random place");
}

#[test]
fn destinations() {
    pre("udp dport 53 dnat to 192.168.1.11:5353").wan(datagram((S, 1000), (ROUTER, 53))).says(
        "(dnat to 192.168.1.11:5353) changes its destination from 203.0.113.1:53 to 192.168.1.11:5353; it is the only port that \
         the rule allows, and it is free.",
    );
    pre("udp dport 6000-6003 dnat to 192.168.1.11:6000-6003")
        .wan(datagram((S, 1000), (ROUTER, 6002)))
        .says("the port is free and stays");
    pre("udp dport 53 redirect to :5353")
        .lan(datagram((A, 1000), (S, 53)))
        .says("(redirect to :5353) changes its destination from 198.51.100.80:53 to 192.168.1.1:5353");
    let kept = decisions(pre("udp dport 53 dnat to 192.168.1.11").wan(datagram((S, 1000), (ROUTER, 53))));
    assert_eq!((kept[0].end, kept[0].port, kept[0].address), ("destination", "kept", "only"));
}

#[test]
fn addresses_of_a_range() {
    post("oifname \"wan0\" snat to 203.0.113.10-203.0.113.20")
        .lan(datagram((A, 1), (S, 2)))
        .says("a hash of source and destination chose the address");
    post("oifname \"wan0\" snat to 203.0.113.10-203.0.113.20 persistent")
        .lan(datagram((A, 1), (S, 2)))
        .says("a hash of the source chose the address (persistent)");
    post("oifname \"wan0\" snat ip prefix to ip saddr map { 192.168.1.0/24 : 203.0.113.0/24 }")
        .lan(datagram((A, 1), (S, 2)))
        .says(
            "changes its source from 192.168.1.10:1 to 203.0.113.10:1; the network's part of the address was replaced",
        );
    let random = decisions(post("oifname \"wan0\" masquerade random").lan(datagram((A, 4000), (S, 53))));
    let nat = random.iter().find(|n| n.end == "source").expect("a decision");
    assert_eq!((nat.port, nat.taken_by), ("found", None));
}

/// A clash is mended even where no rule matches, and the change of a source port that no admin asked for is explained.
#[test]
fn clashes_are_mended_without_a_rule() {
    let both = "tcp dport { 8001, 8002 } dnat to 192.168.1.11:80";
    pre(both).wan(tcp((S, 1000), (ROUTER, 8001), "S", 1, 0, 0)).wan(tcp((S, 1000), (ROUTER, 8002), "S", 1, 0, 0)).says(
        "No NAT rule asked for it, but a clash must be mended: NAT changes its source from 198.51.100.80:1000 to \
             198.51.100.80:",
    );
}

/// Later packets say where their translation was decided.
#[test]
fn the_rule_that_pinned_the_connection_is_named() {
    let said = Lab::new(NAT).lan(datagram((A, 4000), (S, 53))).wan(datagram((S, 53), (ROUTER, 4000))).last();
    assert!(said.contains("As decided for packet 1 by the rule at "), "{said}");
    assert!(said.contains(".nft:4: destination address 203.0.113.1 becomes 192.168.1.10."), "{said}");
}
