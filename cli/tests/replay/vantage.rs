//! Captures that were taken elsewhere than at all of the router's interfaces, one way.

use std::collections::BTreeMap;

use crate::captures::{Packet, Says, both_ways, pcapng};
use crate::uct::{Said, Uct, recorded};

/// A story's files but for its capture, and the words that replay `capture.pcapng` with them.
fn story(test: &str, name: &str) -> Uct {
    let mut uct = Uct::at_home(&format!("{test}-{name}"));
    for extension in ["toml", "nft"] {
        uct = uct.file(&format!("{name}.{extension}"), recorded(&format!("{name}.{extension}")));
    }
    uct.words(&format!("replay capture.pcapng --topology {name}.toml --rules {name}.nft --sysctl nf_conntrack_acct=1"))
}

#[test]
fn what_the_router_sent_is_left_out() {
    let arrivals = Uct::at_home("arrivals").home_router().words("--sysctl nf_conntrack_acct=1 --list");
    let expected = arrivals.run();
    // The two packets that the router's own stack sent are not in a capture of its interfaces.
    let table = |said: &Said| -> Vec<String> {
        let forwarded = |line: &&str| !line.contains("dst=192.168.1.1 ") && !line.contains("src=192.0.2.66 ");
        said.text().lines().filter(forwarded).map(|line| fields(line).0).collect()
    };
    assert_eq!(table(&expected).len(), 6);
    for says in [Says::Flags, Says::Cooked, Says::Macs] {
        let uct = story(&format!("both-ways-{says:?}"), "home-router");
        // Nothing else tells which way they went.
        let uct = if says == Says::Macs {
            uct
        } else {
            uct.edit("home-router.toml", "mac = \"02:00:c0:a8:01:01\"", "").edit(
                "home-router.toml",
                "mac = \"02:00:cb:00:71:01\"",
                "",
            )
        };
        pcapng(&uct.folder().join("capture.pcapng"), &both_ways("home-router"), says);
        let said = uct.run();
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert_eq!(table(&said), table(&expected), "{says:?}");
        let first = said.stderr.lines().next();
        assert_eq!(first, Some("118 packets in, 57 sent by the router itself and left out"), "{says:?}");
    }
}

/// A line of a listing, by its fields, without the timeout.
fn fields(line: &str) -> (String, u64) {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let timeout = words.remove(2).parse().expect("a timeout");
    (words.join(" "), timeout)
}

/// The connections that inside hosts have opened, by their original tuples; ports that were drawn are one port.
fn opened_inside<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, (String, u64)> {
    let from_inside = |line: &&str| line.contains(" src=192.168.1.1") || line.contains(" src=fd00:1::1");
    let mut table = BTreeMap::new();
    for line in lines.filter(from_inside) {
        if line.contains(" src=192.168.1.1 ") && line.find(" src=192.168.1.1 ") == line.find(" src=") {
            continue; // the router itself
        }
        let (text, timeout) = fields(line);
        let key = |name: &str| if text.contains(" dport=") { format!(" {name}port=") } else { " id=".to_owned() };
        let value = |key: &str, which: usize| {
            let found = text.match_indices(key).nth(which).map(|(at, _)| &text[at + key.len()..]);
            found.and_then(|rest| rest.split(' ').next()).map(str::to_owned)
        };
        let (kept, got) = (value(&key("s"), 0), value(&key("d"), 1));
        let drawn = got.as_ref().filter(|got| Some(*got) != kept.as_ref());
        let plain = match drawn {
            Some(got) => {
                let what = format!("{}{got}", key("d"));
                let at = text.rfind(&what).expect("the port");
                format!("{} drawn{}", &text[..at], &text[at + what.len()..])
            }
            None => text.clone(),
        };
        let original = text.split(" [UNREPLIED]").next().unwrap_or("").to_owned();
        let original = original.split(" src=").nth(1).unwrap_or("").to_owned();
        table.insert(format!("{} {original}", text.split(' ').next().unwrap_or("")), (plain, timeout));
    }
    table
}

fn from_inside(name: &str) -> (BTreeMap<String, (String, u64)>, Said) {
    let uct = story("inside", name).words("--vantage inside --inside 192.168.1.0/24 --inside fd00:1::/64");
    let packets: Vec<Packet> = both_ways(name).into_iter().filter(|packet| packet.name == "lan0").collect();
    pcapng(&uct.folder().join("capture.pcapng"), &packets, Says::Nothing);
    let said = uct.run();
    assert_eq!(said.code, 0, "{name}: {}", said.stderr);
    (opened_inside(said.text().lines()), said)
}

fn same_as_recorded(name: &str) -> Said {
    let list = String::from_utf8(recorded(&format!("{name}.list"))).expect("text");
    let truth = opened_inside(list.lines());
    let (ours, said) = from_inside(name);
    assert!(!truth.is_empty());
    for (key, (text, timeout)) in &truth {
        let Some((our_text, our_timeout)) = ours.get(key) else { panic!("{name}: no {text}\n{}", said.text()) };
        assert_eq!(our_text, text, "{name}");
        assert!(timeout.abs_diff(*our_timeout) <= 1, "{name}: {timeout} became {our_timeout}: {text}");
    }
    assert_eq!(ours.len(), truth.len(), "{name}: {}", said.text());
    said
}

macro_rules! inside {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            same_as_recorded($name);
        })*
    };
}

inside! {
    inside_of_a_home_router "home-router"
    inside_of_a_clash_of_ports "same-port"
    inside_of_a_redirecting_proxy "redirect-proxy"
    inside_of_traceroutes "traceroute"
    inside_of_repeated_syns "syn-again"
    inside_of_ipv6_masquerade "ipv6-masquerade"
    inside_of_old_connections "mid-stream"
    inside_of_fragments "fragments"
    inside_of_ends "half-closed"
    inside_of_streams "udp-stream"
    inside_of_a_hairpin "port-forward"
}
