//! A capture and nothing else: inside and outside are inferred, and said.

use crate::captures::{Packet, both_ways, pcap};
use crate::uct::Uct;

/// What a host or a switch on the inside would have captured: one interface without a name, both ways.
fn inside_pcap(test: &str, story: &str) -> Uct {
    let uct = Uct::at_home(test);
    let packets: Vec<Packet> = both_ways(story).into_iter().filter(|packet| packet.name == "lan0").collect();
    pcap(&uct.folder().join("any.pcap"), &packets);
    uct
}

const NOTES: [&str; 3] = [
    "uct: no --topology; one interface in the capture: inside is 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, \
     100.64.0.0/10, 169.254.0.0/16, fc00::/7, fe80::/10, outside is everything else",
    "uct: no --topology; outside: the router's address is not known; 192.0.2.1 and 2001:db8::1 stand for it",
    "uct: no --topology; the capture is taken for one from the inside (--vantage inside)",
];

#[test]
fn a_plain_pcap_is_tracked_without_nat() {
    let said = inside_pcap("plain", "same-port").words("replay any.pcap").run();
    assert_eq!(said.code, 0);
    let notes: Vec<_> = said.stderr.lines().take(NOTES.len()).collect();
    assert_eq!(notes, NOTES);
    let tuples = " src=192.168.1.10 dst=198.51.100.80 sport=40000 dport=80 \
                  src=198.51.100.80 dst=192.168.1.10 sport=80 dport=40000 [ASSURED]";
    assert!(said.text().lines().any(|line| line.contains(tuples)), "{}", said.text());
    assert!(!said.text().contains("UNREPLIED"), "{}", said.text());
    assert!(said.stderr.contains(" 0 dropped\n0 invalid\n"), "{}", said.stderr);
}

#[test]
fn a_plain_pcap_is_masqueraded_by_one_rule() {
    for (rule, address) in [("masquerade", "192.0.2.1"), ("snat ip to 203.0.113.1", "203.0.113.1")] {
        let said = inside_pcap("masquerade", "same-port")
            .words("replay any.pcap --rule")
            .word(format!("oifname outside {rule}"))
            .run();
        assert_eq!(said.code, 0);
        let replies: Vec<_> = said.text().lines().filter(|line| line.contains(&format!(" dst={address} "))).collect();
        assert_eq!(replies.len(), said.text().lines().count(), "{}", said.text());
        assert!(!said.text().contains("UNREPLIED"), "{}", said.text());
        // Two clients chose one port towards two servers, and one of them got another.
        let kept =
            replies.iter().filter(|line| line.contains(" sport=40000 dport=80 ") && line.contains(" dport=40000 "));
        assert_eq!(kept.count(), 2, "{}", said.text());
        assert!(said.stderr.contains("turned back into what the router had received"), "{}", said.stderr);
    }
}

#[test]
fn named_interfaces_are_a_router_with_the_address_that_packets_are_sent_to() {
    let with = Uct::at_home("named")
        .words("replay home-router.pcapng --topology home-router.toml --list --rule")
        .word("oifname wan0 masquerade")
        .run();
    let without =
        Uct::at_home("named").words("replay home-router.pcapng --list --rule").word("oifname wan0 masquerade").run();
    let notes: Vec<_> = without.stderr.lines().take(3).collect();
    assert_eq!(
        notes,
        [
            "uct: no --topology; lan0: 192.168.1.0/24 on its link",
            "uct: no --topology; wan0: the way to everything else",
            "uct: no --topology; wan0: 203.0.113.1 is the router's own address",
        ]
    );
    // The router's inside address cannot be guessed: a ping to it looks like one to a host.
    let forwarded = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.contains("dst=192.168.1.1 ")).map(str::to_owned).collect()
    };
    assert_eq!(forwarded(without.text()), forwarded(with.text()));
    assert!(!forwarded(with.text()).is_empty());
}

#[test]
fn rules_for_interfaces_that_are_not_there_are_remarked_upon() {
    let said =
        Uct::at_home("strangers").words("replay home-router.pcapng --rule").word("oifname outside masquerade").run();
    assert!(
        said.stderr.contains("uct: the rules name the interface outside, which is not there; there is: lan0, wan0\n"),
        "{}",
        said.stderr
    );
    let said = Uct::at_home("strangers").home_router().run();
    assert!(!said.stderr.contains("uct:"), "{}", said.stderr);
}

#[test]
fn an_inferred_topology_can_be_printed_to_start_from() {
    let printed = Uct::at_home("print").words("replay home-router.pcapng --print-topology").run();
    let rule = "--rules home-router.nft --list";
    let inferred = Uct::at_home("print").words("replay home-router.pcapng").words(rule).run();
    let given = Uct::at_home("print")
        .file("mine.toml", &printed.stdout)
        .words("replay home-router.pcapng --topology mine.toml")
        .words(rule)
        .run();
    assert_eq!(given.text(), inferred.text());
    assert!(!given.text().is_empty());
}
