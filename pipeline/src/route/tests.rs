use super::*;
use proptest::prelude::*;

/// The router of the measurements: lan0 and wan0 with a default route.
fn lab() -> (Topology, Routes) {
    let topology = Topology::parse(
        "lab",
        r#"
        interface = [
          { name = "lan0", addresses = ["192.168.1.1/24", "2001:db8:1::1/64"], mac = "02:00:00:00:01:01" },
          { name = "wan0", addresses = ["203.0.113.1/24", "203.0.113.2/24", "2001:db8:2::1/64"], mac = "02:00:00:00:02:01" },
        ]
        route = [
          { to = "default", via = "203.0.113.254", dev = "wan0" },
          { to = "default", via = "2001:db8:2::fe", dev = "wan0" },
          { to = "10.0.0.0/8", dev = "lan0" },
          { to = "10.1.0.0/16", via = "192.168.1.9", dev = "lan0" },
        ]
        "#,
    );
    let topology = topology.unwrap();
    let routes = Routes::new(&topology);
    (topology, routes)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// In words, as the tables below write it.
fn word(answer: Answer) -> String {
    match answer {
        Answer::Forward(Hop { dev, next }) => format!("{} via {next}", ["lan0", "wan0"][dev.index()]),
        Answer::Local(delivery) => format!("{delivery:?}").to_lowercase(),
        Answer::NoRoute => "no route".into(),
        Answer::Refused(refusal) => format!("{refusal:?}"),
    }
}

/// What the kernel did with each pair of addresses, coming in on lan0.
#[test]
fn as_measured() {
    let (_, routes) = lab();
    let table = "
        192.168.1.10     203.0.113.10     wan0 via 203.0.113.10
        192.168.1.10     198.51.100.5     wan0 via 203.0.113.254
        192.168.1.10     192.168.1.11     lan0 via 192.168.1.11
        192.168.1.10     192.168.1.10     lan0 via 192.168.1.10
        192.168.1.10     192.168.1.1      unicast
        192.168.1.10     203.0.113.1      unicast
        192.168.1.10     192.168.1.255    broadcast
        192.168.1.10     203.0.113.255    broadcast
        192.168.1.10     203.0.113.0      wan0 via 203.0.113.0
        192.168.1.10     255.255.255.255  broadcast
        192.168.1.10     224.0.0.1        multicast
        192.168.1.10     224.0.0.251      NotJoined
        192.168.1.10     239.1.2.3        NotJoined
        192.168.1.10     240.0.0.1        wan0 via 203.0.113.254
        192.168.1.10     127.0.0.1        MartianDestination
        192.168.1.10     0.0.0.0          MartianDestination
        192.168.1.10     0.1.2.3          wan0 via 203.0.113.254
        192.168.1.10     169.254.1.1      wan0 via 203.0.113.254
        0.0.0.0          255.255.255.255  broadcast
        0.0.0.0          0.0.0.0          broadcast
        0.0.0.0          224.0.0.1        multicast
        0.0.0.0          192.168.1.1      MartianSource
        0.0.0.0          192.168.1.255    MartianSource
        0.0.0.0          203.0.113.10     MartianSource
        127.0.0.1        192.168.1.1      MartianSource
        127.0.0.1        203.0.113.10     MartianSource
        192.168.1.1      192.168.1.1      MartianSource
        192.168.1.1      192.168.1.255    MartianSource
        192.168.1.1      255.255.255.255  MartianSource
        192.168.1.1      224.0.0.1        MartianSource
        203.0.113.1      192.168.1.1      MartianSource
        203.0.113.1      203.0.113.10     MartianSource
        192.168.1.255    192.168.1.1      unicast
        192.168.1.255    203.0.113.10     wan0 via 203.0.113.10
        255.255.255.255  192.168.1.1      MartianSource
        224.0.0.1        192.168.1.1      MartianSource
        8.8.8.8          192.168.1.1      unicast
        8.8.8.8          192.168.1.255    broadcast
        8.8.8.8          203.0.113.10     wan0 via 203.0.113.10
        0.1.2.3          192.168.1.1      unicast
        240.0.0.1        203.0.113.10     wan0 via 203.0.113.10
        203.0.113.10     192.168.1.10     lan0 via 192.168.1.10
        203.0.113.10     10.9.0.1         lan0 via 10.9.0.1
        203.0.113.10     10.1.0.1         lan0 via 192.168.1.9

        2001:db8:1::10   2001:db8:2::10   wan0 via 2001:db8:2::10
        2001:db8:1::10   2001:db8:9::10   wan0 via 2001:db8:2::fe
        2001:db8:1::10   2001:db8:1::1    unicast
        2001:db8:1::10   2001:db8:1::     unicast
        2001:db8:1::10   2001:db8:2::     unicast
        2001:db8:1::10   2001:db8:1::11   lan0 via 2001:db8:1::11
        2001:db8:1::10   ::1              MartianDestination
        2001:db8:1::10   ::               wan0 via 2001:db8:2::fe
        2001:db8:1::10   ff00::1          MartianDestination
        2001:db8:1::10   ff01::1          MartianDestination
        2001:db8:1::10   ff02::1          multicast
        2001:db8:1::10   ff02::2          multicast
        2001:db8:1::10   ff05::2          multicast
        2001:db8:1::10   ff05::1          NotJoined
        2001:db8:1::10   ff02::fb         NotJoined
        2001:db8:1::10   ff02::1:ff00:1   multicast
        2001:db8:1::10   ff02::1:ff00:9   NotJoined
        2001:db8:1::10   fe80::ff:fe00:101 unicast
        2001:db8:1::10   fe80::ff:fe00:201 lan0 via fe80::ff:fe00:201
        2001:db8:1::10   fe80::           unicast
        2001:db8:1::10   fe80::10         lan0 via fe80::10
        2001:db8:1::10   fc00::1          wan0 via 2001:db8:2::fe
        2001:db8:1::10   ::ffff:1.2.3.4   wan0 via 2001:db8:2::fe
        ::1              2001:db8:2::10   MartianSource
        ::               2001:db8:2::10   MartianSource
        ::               2001:db8:1::1    unicast
        ::               ff02::1          multicast
        ff02::1          2001:db8:2::10   MartianSource
        fe80::10         2001:db8:2::10   BeyondScope
        fe80::10         2001:db8:1::1    unicast
        fe80::10         2001:db8:2::1    unicast
        fe80::10         fe80::11         lan0 via fe80::11
        2001:db8:1::1    2001:db8:2::10   wan0 via 2001:db8:2::10
        2001:db8:1::1    2001:db8:1::1    unicast
        fec0::1          2001:db8:2::10   wan0 via 2001:db8:2::10
    ";
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut words = line.split_whitespace();
        let (source, destination) = (words.next().unwrap(), words.next().unwrap());
        let want = words.collect::<Vec<_>>().join(" ");
        assert_eq!(word(routes.input(Dev(0), ip(source), ip(destination))), want, "{source} > {destination}");
    }
}

#[test]
fn without_a_default_route_there_is_none() {
    let (mut topology, _) = lab();
    topology.routes.clear();
    let routes = Routes::new(&topology);
    for (source, destination) in
        [("192.168.1.10", "198.51.100.5"), ("192.168.1.10", "240.0.0.1"), ("2001:db8:1::10", "2001:db8:9::1")]
    {
        assert_eq!(routes.input(Dev(0), ip(source), ip(destination)), Answer::NoRoute);
        assert_eq!(routes.output(ip(destination)), Answer::NoRoute);
    }
    // The source is only asked about when there is a way.
    assert_eq!(routes.input(Dev(0), ip("192.168.1.1"), ip("198.51.100.5")), Answer::NoRoute);
}

#[test]
fn own_packets_and_their_addresses() {
    let (_, routes) = lab();
    let table = [
        ("192.168.1.1", "unicast", None),
        ("127.0.0.1", "unicast", None),
        ("192.168.1.77", "lan0 via 192.168.1.77", Some("192.168.1.1")),
        ("192.168.1.255", "lan0 via 192.168.1.255", Some("192.168.1.1")),
        ("8.8.8.8", "wan0 via 203.0.113.254", Some("203.0.113.1")),
        ("255.255.255.255", "wan0 via 203.0.113.254", Some("203.0.113.1")),
        ("10.0.0.1", "lan0 via 10.0.0.1", Some("192.168.1.1")),
        ("2001:db8:1::9", "lan0 via 2001:db8:1::9", Some("2001:db8:1::1")),
        ("2001:db8:9::9", "wan0 via 2001:db8:2::fe", Some("2001:db8:2::1")),
        ("::1", "unicast", None),
    ];
    for (to, want, source) in table {
        assert_eq!(word(routes.output(ip(to))), want, "{to}");
        if let Some(source) = source {
            assert_eq!(routes.source_for(ip(to)), Some(ip(source)), "{to}");
        }
    }
    let hop = |to| match routes.output(ip(to)) {
        Answer::Forward(hop) => hop,
        other => panic!("{other:?}"),
    };
    assert_eq!(routes.masquerade(hop("8.8.8.8"), ip("8.8.8.8")), Some(ip("203.0.113.1")));
    assert_eq!(routes.masquerade(hop("2001:db8:9::1"), ip("2001:db8:9::1")), Some(ip("2001:db8:2::1")));
    assert_eq!(routes.primary(Dev(1), ip("8.8.8.8")), Some(ip("203.0.113.1")));
    assert_eq!(routes.primary(Dev(0), ip("::")), Some(ip("2001:db8:1::1")));
    assert_eq!(routes.primary(Dev(9), ip("::")), None);
    assert!(routes.is_own(Dev(0), ip("fe80::ff:fe00:101")) && !routes.is_own(Dev(1), ip("fe80::ff:fe00:101")));
}

#[test]
fn errors_are_sent_from() {
    let (mut topology, routes) = lab();
    let from =
        |routes: &Routes, sender, destination| routes.error_source(Dev(0), ip(sender), ip(destination)).to_string();
    // As measured, on packets that came in by lan0.
    for (sender, destination, source) in [
        ("192.168.1.10", "203.0.113.10", "192.168.1.1"),
        ("192.168.1.10", "203.0.113.1", "203.0.113.1"),
        ("203.0.113.10", "192.168.1.11", "203.0.113.1"),
        ("8.8.8.8", "192.168.1.11", "203.0.113.1"),
        ("2001:db8:1::10", "2001:db8:2::10", "2001:db8:1::1"),
        ("2001:db8:1::10", "2001:db8:2::1", "2001:db8:2::1"),
        ("2001:db8:1::10", "2001:db8:1::", "2001:db8:1::"),
        ("2001:db8:2::10", "2001:db8:1::11", "2001:db8:1::1"),
        ("2001:db8:99::1", "2001:db8:1::11", "2001:db8:1::1"),
        ("fe80::10", "2001:db8:2::10", "fe80::ff:fe00:101"),
    ] {
        assert_eq!(from(&routes, sender, destination), source, "{sender} > {destination}");
    }
    let no_global = |a: &IpNet| !matches!(a, IpNet::V6(_));
    topology.interfaces[0].addresses.retain(no_global);
    let routes = Routes::new(&topology);
    assert_eq!(from(&routes, "2001:db8:1::10", "2001:db8:2::10"), "2001:db8:2::1");
    topology.interfaces.iter_mut().for_each(|i| i.addresses.clear());
    let routes = Routes::new(&topology);
    assert_eq!(from(&routes, "2001:db8:1::10", "2001:db8:2::10"), "::1");
    assert_eq!(from(&routes, "192.168.1.10", "203.0.113.10"), "192.0.0.8");
}

/// The slow way: every prefix, the longest that holds the address.
fn slow(topology: &Topology, to: IpAddr) -> Option<Hop> {
    let own = topology
        .interfaces
        .iter()
        .enumerate()
        .flat_map(|(i, interface)| interface.addresses.iter().map(move |net| (net.trunc(), Dev(i as u16), None)));
    let routes = topology.routes.iter().map(|r| (r.to, r.dev, r.via));
    let mut best: Option<(IpNet, Dev, Option<IpAddr>)> = None;
    for (net, dev, via) in own.chain(routes) {
        if net.contains(&to) && best.is_none_or(|(b, _, _)| net.prefix_len() > b.prefix_len()) {
            best = Some((net, dev, via));
        }
    }
    best.map(|(_, dev, via)| Hop { dev, next: via.unwrap_or(to) })
}

fn nearby() -> impl Strategy<Value = (u32, u8)> {
    // Few bits vary, so that prefixes nest and overlap.
    (prop_oneof![0x0a00_0000u32..0x0a00_0040, Just(0xc0a8_0100), any::<u32>()], 0u8..=32)
}

proptest! {
    #[test]
    fn the_longest_prefix_wins(routes in prop::collection::vec((nearby(), 0u16..2), 0..40), to in nearby()) {
        let (mut topology, _) = lab();
        topology.routes.clear();
        for ((bits, len), dev) in routes {
            let net = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), len).trunc());
            if topology.routes.iter().all(|r| r.to != net) {
                topology.routes.push(crate::topology::Route { to: net, via: None, dev: Dev(dev) });
            }
        }
        let to = IpAddr::V4(Ipv4Addr::from_bits(to.0));
        match Routes::new(&topology).input(Dev(0), ip("8.8.8.8"), to) {
            Answer::Forward(hop) => prop_assert_eq!(Some(hop), slow(&topology, to)),
            Answer::NoRoute => prop_assert_eq!(None, slow(&topology, to)),
            Answer::Local(_) | Answer::Refused(_) => {}
        }
    }
}

#[test]
fn ranges_answer_as_the_rules_do() {
    let (_, routes) = lab();
    // Each change and what is around it, against each other.
    let near = |text: &str| {
        let IpAddr::V4(address) = ip(text) else { panic!("{text}") };
        let bits = address.to_bits();
        [bits.saturating_sub(1), bits, bits.saturating_add(1)].map(Ipv4Addr::from)
    };
    let texts = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.1.0.0",
        "10.1.255.255",
        "10.255.255.255",
        "126.255.255.255",
        "127.255.255.255",
        "192.168.1.0",
        "192.168.1.1",
        "192.168.1.255",
        "203.0.113.0",
        "203.0.113.1",
        "203.0.113.2",
        "203.0.113.255",
        "223.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "8.8.8.8",
    ];
    let addresses: Vec<Ipv4Addr> = texts.into_iter().flat_map(near).collect();
    let mut by_rule = 0;
    for source in &addresses {
        for destination in &addresses {
            let answer = routes.input(Dev(0), (*source).into(), (*destination).into());
            assert_eq!(answer, routes.input_v4(*source, *destination), "{source} to {destination}");
            by_rule += u32::from([source, destination].iter().any(|a| routes.ranges.way(**a) == Way::Odd));
        }
    }
    assert!(by_rule > 0 && by_rule < (addresses.len() * addresses.len()) as u32, "{by_rule}");
}

proptest! {
    #[test]
    fn ranges_answer_as_the_rules_do_for_any_routes(
        nets in prop::collection::vec((any::<u32>(), 0u8..=32, any::<bool>()), 0..12),
        addresses in prop::collection::vec(any::<u32>(), 8),
    ) {
        let mut topology = lab().0;
        for (address, len, is_via) in &nets {
            let Ok(net) = Ipv4Net::new((*address).into(), *len) else { continue };
            let via = is_via.then(|| ip("192.168.1.7"));
            topology.routes.push(crate::topology::Route { to: IpNet::V4(net.trunc()), via, dev: Dev(0) });
        }
        let routes = Routes::new(&topology);
        let edges = nets.iter().filter_map(|(address, len, _)| Ipv4Net::new((*address).into(), *len).ok());
        let edges = edges.flat_map(|n| {
            let (first, last) = (n.network().to_bits(), n.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
        });
        for destination in edges.chain(addresses.iter().copied()).map(Ipv4Addr::from) {
            let source = Ipv4Addr::from(addresses[0]);
            prop_assert_eq!(routes.input(Dev(0), source.into(), destination.into()), routes.input_v4(source, destination));
        }
    }
}
