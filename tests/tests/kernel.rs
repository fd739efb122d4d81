//! The kernel side by itself.

use uct_tests::kernel::Kernel;
use uct_tests::packet::build::{Ip, Tcp, flag, frame, udp};
use uct_tests::scenario::{Interface, Neighbor, Setup, Step, Topology};

fn setup() -> Setup {
    let topology = Topology {
        interface: vec![
            Interface {
                name: "lan0".into(),
                mac: "02:00:00:00:01:01".into(),
                addresses: vec!["192.168.1.1/24".into(), "fd00:1::1/64".into()],
                mtu: 1500,
            },
            Interface {
                name: "wan0".into(),
                mac: "02:00:00:00:02:01".into(),
                addresses: vec!["203.0.113.1/24".into(), "2001:db8:2::1/64".into()],
                mtu: 1500,
            },
        ],
        route: vec![],
        neighbor: vec![
            Neighbor { address: "192.168.1.10".into(), mac: "02:00:00:00:01:10".into(), dev: "lan0".into() },
            Neighbor { address: "203.0.113.80".into(), mac: "02:00:00:00:02:80".into(), dev: "wan0".into() },
        ],
    };
    let rules = "table ip nat {
  chain post {
    type nat hook postrouting priority 100
    oifname wan0 masquerade
  }
}
table inet filter {
  chain forwarded {
    type filter hook forward priority 0
    ct state invalid counter
  }
}
";
    Setup { sysctls: vec![("netfilter.nf_conntrack_acct".into(), "1".into())], rules: rules.into(), topology }
}

#[test]
fn masquerade() {
    let mut kernel = Kernel::new().unwrap();
    let setup = setup();
    kernel.begin(&setup).unwrap();
    let c = "192.168.1.10".parse().unwrap();
    let s = "203.0.113.80".parse().unwrap();
    let r = "203.0.113.1".parse().unwrap();
    let lan =
        |p: Vec<u8>| Step::Frame { iface: "lan0".into(), bytes: frame("02:00:00:00:01:01", "02:00:00:00:01:10", &p) };
    let wan =
        |p: Vec<u8>| Step::Frame { iface: "wan0".into(), bytes: frame("02:00:00:00:02:01", "02:00:00:00:02:80", &p) };
    let steps = [
        lan(Tcp { sport: 4000, dport: 80, seq: 1, flags: flag::SYN, window: 1000, ..Tcp::default() }
            .packet(&Ip::new(c, s))),
        wan(Tcp {
            sport: 80,
            dport: 4000,
            seq: 10,
            ack: 2,
            flags: flag::SYN | flag::ACK,
            window: 1000,
            ..Tcp::default()
        }
        .packet(&Ip::new(s, r))),
        lan(Tcp { sport: 4000, dport: 80, seq: 2, ack: 11, flags: flag::ACK, window: 1000, ..Tcp::default() }
            .packet(&Ip::new(c, s))),
        lan(udp(&Ip::new(c, s), 5000, 53, b"hello")),
        wan(udp(&Ip::new(s, r), 53, 5000, b"hello")),
        wan(udp(&Ip::new(s, r), 9, 5000, b"to the router")),
        Step::Local { bytes: udp(&Ip::new(r, s), 777, 53, b"own") },
        Step::Advance { seconds: 10 },
        lan(udp(&Ip::new(c, s), 5000, 53, b"hello")),
        Step::Advance { seconds: 30 },
        Step::Advance { seconds: 1 },
    ];
    for step in &steps {
        let t = std::time::Instant::now();
        let seen = kernel.step(step).unwrap();
        println!(
            "{} ({:?})\n{seen}",
            step.packet()
                .map(|b| uct_tests::packet::describe(&b[if b[0] == 2 { 14 } else { 0 }..]))
                .unwrap_or(format!("{step:?}")),
            t.elapsed()
        );
        kernel.verify().unwrap();
    }
    let t = std::time::Instant::now();
    kernel.begin(&setup).unwrap();
    println!("begin again {:?}", t.elapsed());
    let mut other = setup.clone();
    other.rules = other.rules.replace("masquerade", "masquerade random");
    let t = std::time::Instant::now();
    kernel.begin(&other).unwrap();
    println!("begin other rules {:?}", t.elapsed());
    let t = std::time::Instant::now();
    other.topology.interface[0].mtu = 1400;
    kernel.begin(&other).unwrap();
    println!("begin other topology {:?}", t.elapsed());
    let t = std::time::Instant::now();
    for i in 0..1000u16 {
        kernel.step(&lan(udp(&Ip::new(c, s), 5000 + i % 20, 53, b"hello"))).unwrap();
    }
    println!("1000 packets {:?}", t.elapsed());
}
