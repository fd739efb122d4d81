use super::*;
use proptest::prelude::*;

const HOME: &str = r#"
[[interface]]
name = "lan0"
addresses = ["192.168.1.1/24", "2001:db8:1::1/64"]
mac = "02:00:00:00:01:01"
mtu = 1400

[[interface]]
name = "wan0"
addresses = ["203.0.113.1/24", "2001:db8:2::1/64"]

[[route]]
to = "default"
via = "203.0.113.254"
dev = "wan0"

[[route]]
to = "default"
via = "fe80::1"
dev = "wan0"

[[route]]
to = "198.51.100.7/32"
dev = "wan0"

[[route]]
to = "10.0.0.0/8"
via = "198.51.100.7"
dev = "wan0"

[[neighbor]]
address = "192.168.1.10"
mac = "02:00:00:00:01:02"

[[neighbor]]
address = "198.51.100.7"
mac = "02:00:00:00:02:02"
dev = "wan0"
"#;

fn why(text: &str) -> String {
    Topology::parse("home.toml", text).expect_err("refused").to_string()
}

#[test]
fn a_whole_topology() {
    let t = Topology::parse("home.toml", HOME).unwrap();
    let (lan, wan) = (t.dev("lan0").unwrap(), t.dev("wan0").unwrap());
    assert_eq!((lan, wan, t.dev("lan1")), (Dev(0), Dev(1), None));
    assert_eq!(t.interface(lan).unwrap().mtu, 1400);
    assert_eq!(t.interface(wan).unwrap().mtu, DEFAULT_MTU);
    let to: Vec<String> = t.routes.iter().map(|r| r.to.to_string()).collect();
    assert_eq!(to, ["0.0.0.0/0", "::/0", "198.51.100.7/32", "10.0.0.0/8"]);
    assert_eq!(t.neighbor(lan, "192.168.1.10".parse().unwrap()), Some(Mac([2, 0, 0, 0, 1, 2])));
    assert_eq!(t.neighbor(wan, "192.168.1.10".parse().unwrap()), None);
    assert_eq!(Topology::parse("again", &t.to_string()).unwrap(), t, "what is printed reads back");
    assert_eq!(Topology::parse("empty", "").unwrap(), Topology::default());
}

/// One line each: what is in the file, and what is said about it.
#[test]
fn refusals() {
    let i = |rest: &str| format!("[[interface]]\nname = \"lan0\"\n{rest}");
    let r = |rest: &str| format!("{}[[route]]\n{rest}", i("addresses = [\"192.168.1.1/24\"]\n"));
    let n = |rest: &str| format!("{}[[neighbor]]\n{rest}", i("addresses = [\"192.168.1.1/24\"]\n"));
    let table: Vec<(String, &str)> = vec![
        (
            i("addresses = [\"192.168.1.1/33\"]"),
            "home.toml:3: 192.168.1.1/33: prefix length is over 32, the length of an IPv4 address",
        ),
        (
            i("addresses = [\"::1/129\"]"),
            "home.toml:3: ::1/129: prefix length is over 128, the length of an IPv6 address",
        ),
        (
            i("addresses = [\n \"10.0.0.1/8\",\n \"192.168.1.1\"]"),
            "home.toml:5: 192.168.1.1: the prefix length is missing; 192.168.1.1/32 would be this one address",
        ),
        (i("addresses = [\"192.168.1.1/\"]"), "home.toml:3: 192.168.1.1/: \"\" is not a prefix length"),
        (i("addresses = [\"192.168.1.1/+8\"]"), "home.toml:3: 192.168.1.1/+8: \"+8\" is not a prefix length"),
        (
            i("addresses = [\"192.168.1.1/99999999999\"]"),
            "home.toml:3: 192.168.1.1/99999999999: prefix length is over 32, the length of an IPv4 address",
        ),
        (i("addresses = [\"192.168.1.256/24\"]"), "home.toml:3: 192.168.1.256/24: 192.168.1.256 is not an IP address"),
        (i("addresses = [\"lan/24\"]"), "home.toml:3: lan/24: lan is not an IP address"),
        (
            i("addresses = [\"224.0.0.1/4\"]"),
            "home.toml:3: 224.0.0.1/4: 224.0.0.1 is a multicast address, no host can have it",
        ),
        (
            i("addresses = [\"0.0.0.0/0\"]"),
            "home.toml:3: 0.0.0.0/0: 0.0.0.0 is the unspecified address, no host can have it",
        ),
        (
            i("addresses = [\"255.255.255.255/32\"]"),
            "home.toml:3: 255.255.255.255/32: 255.255.255.255 is the broadcast address, no host can have it",
        ),
        (i("addresses = [\"10.0.0.1/8\", \"10.0.0.1/24\"]"), "home.toml:3: second address 10.0.0.1 of lan0"),
        (
            i("mac = \"02:00\""),
            "home.toml:3: 02:00: not an Ethernet address: six hexadecimal bytes with colons are expected, as in 02:00:00:00:00:01",
        ),
        (i("mac = \"01:00:5e:00:00:01\""), "home.toml:3: 01:00:5e:00:00:01 is a group address, no host can have it"),
        (i("mtu = 67"), "home.toml:3: mtu 67: 68 to 65536 are allowed"),
        (i("mtu = -1"), "home.toml:3: mtu -1: 68 to 65536 are allowed"),
        (
            i("addresses = [\"2001:db8::1/64\"]\nmtu = 1000"),
            "home.toml:4: mtu 1000 with an IPv6 address: at least 1280 is needed (RFC 8200)",
        ),
        (i("\n[[interface]]\nname = \"lan0\""), "home.toml:5: second interface lan0"),
        (
            "[[interface]]\nname = \"local\"".into(),
            "home.toml:2: the name local stands for the router's own stack and cannot be an interface",
        ),
        ("[[interface]]\nname = \"\"".into(), "home.toml:2: interface name \"\" has 0 bytes: 1 to 255 are allowed"),
        (
            "[[interface]]\nname = \"a\\u001bb\"".into(),
            "home.toml:2: interface name \"a\\u{1b}b\": no control characters are allowed",
        ),
        (r("to = \"10.0.0.0/8\"\ndev = \"wan0\""), "home.toml:6: there is no interface wan0; there is: lan0"),
        (
            r("to = \"10.0.0.1/8\"\ndev = \"lan0\""),
            "home.toml:5: 10.0.0.1/8 has bits set beyond its prefix; 10.0.0.0/8 is meant?",
        ),
        (
            r("to = \"default\"\nvia = \"203.0.113.1\"\ndev = \"lan0\""),
            "home.toml:6: via 203.0.113.1: not reachable on lan0: no prefix there holds it",
        ),
        (
            r("to = \"default\"\nvia = \"192.168.1.1\"\ndev = \"lan0\""),
            "home.toml:6: via 192.168.1.1: that is the router's own address",
        ),
        (
            r("to = \"0.0.0.0/0\"\nvia = \"fe80::1\"\ndev = \"lan0\""),
            "home.toml:6: 0.0.0.0/0 via fe80::1: two different IP versions",
        ),
        (
            r("to = \"default\"\ndev = \"lan0\"\n[[route]]\nto = \"0.0.0.0/0\"\ndev = \"lan0\""),
            "home.toml:8: second route to 0.0.0.0/0",
        ),
        (
            n("address = \"10.1.1.1\"\nmac = \"02:00:00:00:00:01\""),
            "home.toml:5: no interface has 10.1.1.1 on its link: name its dev",
        ),
        (n("address = \"10.1.1\"\nmac = \"02:00:00:00:00:01\""), "home.toml:5: 10.1.1: not an IP address"),
        ("[[route]]\nto = \"default\"\ndev = \"a\"".into(), "home.toml:3: there is no interface a; there is: none"),
    ];
    for (text, want) in table {
        assert_eq!(why(&text), want);
    }
    // The sentences of these are the TOML crate's: only line and the names matter.
    for (text, line, word) in [
        (i("adresses = []"), "home.toml:3: ", "adresses"),
        ("[[router]]".into(), "home.toml:1: ", "router"),
        ("[[interface]]\nmtu = 1500".into(), "home.toml:1: ", "name"),
        (i("mtu = \"big\""), "home.toml:3: ", "expected"),
        ("\n\nname = \"x".into(), "home.toml:3: ", ""),
    ] {
        let why = why(&text);
        assert!(why.starts_with(line) && why.contains(word) && !why.contains('\n'), "{why}");
    }
    let missing = Topology::open(std::path::Path::new("/nonexistent.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent.toml: No such file"), "{missing}");
}

#[test]
fn two_sides_are_inferred_from_one_interface() {
    let mut inference = Inference::new(&[]);
    for source in ["192.168.1.10", "198.51.100.1"] {
        inference.see(Some("eth0"), source.parse().unwrap());
    }
    let inferred = inference.finish();
    assert_eq!(inferred.entry, Entry::Routed);
    let t = inferred.topology;
    assert_eq!(Topology::parse("x", &t.to_string()).unwrap(), t);
    let of = |dev: &str| -> Vec<String> {
        t.routes.iter().filter(|r| t.dev(dev) == Some(r.dev)).map(|r| r.to.to_string()).collect()
    };
    assert!(of("inside").contains(&"192.168.0.0/16".into()));
    assert_eq!(of("outside"), ["0.0.0.0/0", "::/0"]);
    let own = Inference::new(&["203.0.113.5/24".parse().unwrap()]).finish().topology;
    assert_eq!(own.routes[0].to.to_string(), "203.0.113.0/24");
    assert_eq!(own.routes.len(), 3);
    let all = Inference::new(&["0.0.0.0/0".parse().unwrap()]).finish().topology;
    assert_eq!(Topology::parse("x", &all.to_string()).unwrap(), all);
}

#[test]
fn named_interfaces_keep_their_names() {
    let mut inference = Inference::new(&[]);
    for (name, source, count) in [
        ("wan0", "198.51.100.1", 5),
        ("wan0", "10.0.0.9", 1), // a leak: most of 10.0.0.0/24 comes from dmz0
        ("dmz0", "10.0.0.9", 3),
        ("lan0", "192.168.1.10", 4),
        ("lan0", "2001:db8::1", 1),
        ("lan0", "fd00::1", 1),
    ] {
        for _ in 0..count {
            inference.see(Some(name), source.parse().unwrap());
        }
    }
    let inferred = inference.finish();
    assert_eq!(inferred.entry, Entry::NamedIfKnown);
    assert_eq!(
        inferred.notes,
        [
            "dmz0: 10.0.0.0/24 on its link",
            "lan0: 192.168.1.0/24, fd00::/64 on its link",
            "wan0: the way to everything else"
        ]
    );
    let t = inferred.topology;
    let routes: Vec<String> =
        t.routes.iter().map(|r| format!("{} {}", r.to, t.interface(r.dev).unwrap().name)).collect();
    assert_eq!(routes, ["10.0.0.0/24 dmz0", "192.168.1.0/24 lan0", "fd00::/64 lan0", "0.0.0.0/0 wan0", "::/0 wan0"]);
}

proptest! {
    #[test]
    fn any_text(text in "[\\[\\]a-z0-9./:=\" \n]{0,200}") {
        let _ = Topology::parse("x", &text);
    }

    #[test]
    fn flipped_files(at in any::<prop::sample::Index>(), byte in 32u8..127) {
        let mut text = HOME.as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        let text = String::from_utf8(text).unwrap();
        if let Ok(t) = Topology::parse("x", &text) {
            prop_assert_eq!(Topology::parse("x", &t.to_string()).unwrap(), t);
        }
    }
}
