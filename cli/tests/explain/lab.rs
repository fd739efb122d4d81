//! A router in a test: packets in, explanations out, by the library that the command is made of.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;
use uct::args::{Cli, Command};
use uct::explain::model::Explanation;
use uct::explain::{Flow, each};
use uct::session::Session;
use uct_tests::packet::build::{Ip, Tcp, frame, icmp, udp};
use uct_tests::scenario::{Interface, Neighbor, Route, Scenario, Setup, Step, Topology, export};

pub(crate) const A: &str = "192.168.1.10";
pub(crate) const B: &str = "192.168.1.11";
pub(crate) const ROUTER: &str = "203.0.113.1";
pub(crate) const S: &str = "198.51.100.80";
pub(crate) const T: &str = "198.51.100.81";

/// Masquerade, nothing else.
pub(crate) const NAT: &str = "table ip nat {\n\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat\n\t\toifname \"wan0\" masquerade\n\t}\n}\n";

/// What arrives, in order, a millisecond apart.
pub(crate) struct Lab {
    scenario: Scenario,
    more: Vec<String>,
}

pub(crate) fn topology() -> Topology {
    let interface = |name: &str, mac: &str, addresses: &[&str]| Interface {
        name: name.to_owned(),
        mac: mac.to_owned(),
        addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        mtu: 1500,
    };
    let neighbor = |address: &str, mac: &str, dev: &str| Neighbor {
        address: address.to_owned(),
        mac: mac.to_owned(),
        dev: dev.to_owned(),
    };
    let route = |to: &str, via: &str| Route { to: to.to_owned(), via: Some(via.to_owned()), dev: "wan0".to_owned() };
    Topology {
        interface: vec![
            interface("lan0", LAN, &["192.168.1.1/24", "fd00:1::1/64"]),
            interface("wan0", WAN, &["203.0.113.1/24", "2001:db8:113::1/64"]),
        ],
        route: vec![route("0.0.0.0/0", "203.0.113.254"), route("2001:db8::/32", "2001:db8:113::fe")],
        neighbor: vec![
            neighbor("203.0.113.254", "02:00:00:00:02:fe", "wan0"),
            neighbor(A, "02:00:00:00:01:0a", "lan0"),
        ],
    }
}

const LAN: &str = "02:00:00:00:01:01";
const WAN: &str = "02:00:00:00:02:01";
const PEER: &str = "02:00:00:00:09:09";

pub(crate) fn ip(src: &str, dst: &str) -> Ip {
    Ip::new(src.parse::<IpAddr>().expect("an address"), dst.parse::<IpAddr>().expect("an address"))
}

/// A TCP segment: flags by letter, numbers, window 8192.
pub(crate) fn tcp(src: (&str, u16), dst: (&str, u16), flags: &str, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    let mut t = Tcp { sport: src.1, dport: dst.1, seq, ack, window: 8192, data: vec![b'x'; len], ..Tcp::default() };
    for letter in flags.chars() {
        t.flags |= 1 << "FSRPAUEC".find(letter).expect("a flag");
    }
    t.packet(&ip(src.0, dst.0))
}

pub(crate) fn datagram(src: (&str, u16), dst: (&str, u16)) -> Vec<u8> {
    udp(&ip(src.0, dst.0), src.1, dst.1, b"data")
}

pub(crate) fn ping(src: &str, dst: &str, id: u16) -> Vec<u8> {
    let [hi, lo] = id.to_be_bytes();
    icmp(&ip(src, dst), 8, 0, [hi, lo, 0, 1], b"ping")
}

impl Lab {
    pub(crate) fn new(rules: &str) -> Lab {
        let setup = Setup { rules: rules.to_owned(), topology: topology(), ..Setup::default() };
        Lab { scenario: Scenario { name: "lab".to_owned(), setup, steps: Vec::new() }, more: Vec::new() }
    }

    /// With another surrounding.
    pub(crate) fn change(mut self, change: impl FnOnce(&mut Topology)) -> Lab {
        change(&mut self.scenario.setup.topology);
        self
    }

    /// With more options on the command line.
    pub(crate) fn with(mut self, options: &[&str]) -> Lab {
        self.more.extend(options.iter().map(|o| (*o).to_owned()));
        self
    }

    pub(crate) fn lan(self, packet: Vec<u8>) -> Lab {
        self.raw("lan0", frame(LAN, PEER, &packet))
    }

    pub(crate) fn wan(self, packet: Vec<u8>) -> Lab {
        self.raw("wan0", frame(WAN, PEER, &packet))
    }

    pub(crate) fn own(mut self, packet: Vec<u8>) -> Lab {
        self.scenario.steps.push(Step::Local { bytes: packet });
        self
    }

    /// A frame as it is.
    pub(crate) fn raw(mut self, iface: &str, bytes: Vec<u8>) -> Lab {
        self.scenario.steps.push(Step::Frame { iface: iface.to_owned(), bytes });
        self
    }

    pub(crate) fn wait(mut self, seconds: u32) -> Lab {
        self.scenario.steps.push(Step::Advance { seconds });
        self
    }

    /// A whole handshake from A:40000 to S:80. Next numbers: 1001 and 5001.
    pub(crate) fn handshake(self) -> Lab {
        self.lan(tcp((A, 40000), (S, 80), "S", 1000, 0, 0))
            .wan(tcp((S, 80), (ROUTER, 40000), "SA", 5000, 1001, 0))
            .lan(tcp((A, 40000), (S, 80), "A", 1001, 5001, 0))
    }

    /// What there is to tell of every packet.
    pub(crate) fn explain(self) -> Vec<Explanation> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let file = |suffix: &str| -> PathBuf {
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-{}-{serial}.{suffix}", std::process::id()))
        };
        let (capture, topology, rules) = (file("pcapng"), file("toml"), file("nft"));
        std::fs::write(&capture, export::capture(&self.scenario).expect("a capture")).expect("the scratch folder");
        std::fs::write(&topology, toml::to_string(&self.scenario.setup.topology).expect("TOML")).expect("scratch");
        std::fs::write(&rules, &self.scenario.setup.rules).expect("the scratch folder");
        let mut line: Vec<String> = vec!["uct".to_owned(), "explain".to_owned(), capture.display().to_string()];
        line.extend(["--topology".to_owned(), topology.display().to_string()]);
        line.extend(["--rules".to_owned(), rules.display().to_string()]);
        line.extend(self.more);
        let Command::Explain(args) = Cli::parse_from(line).command else { panic!("not explain") };
        let session =
            Session::open(&args.input, &[]).and_then(|o| o.start()).unwrap_or_else(|f| panic!("{}", f.message));
        let mut all = Vec::new();
        each(session, |e, _| {
            all.push(e);
            Ok(Flow::On)
        })
        .unwrap_or_else(|f| panic!("{}", f.message));
        for file in [capture, topology, rules] {
            let _ = std::fs::remove_file(file);
        }
        all
    }

    /// The sentences about the last packet.
    pub(crate) fn last(self) -> String {
        self.explain().pop().map(|e| e.words.join("\n")).unwrap_or_default()
    }

    /// Checks that a sentence about the last packet has these words.
    #[track_caller]
    pub(crate) fn says(self, words: &str) {
        let said = self.last();
        assert!(said.contains(words), "it says:\n{said}\nand not: {words}");
    }
}
