//! The ten pains: what people ask in thread after thread, each as a small capture in `pcaps/pains/`, made here.
//!
//! The captures are a function of this file (`UCT_BLESS=1` writes them anew), uct's answer to each is the sentence beside it, and
//! where a kernel can be asked it does the same with the same packets.

use std::path::{Path, PathBuf};
use std::process::Command;

use uct_tests::kernel::{self, Kernel};
use uct_tests::packet::build::{fragments, frame, proto, udp};
use uct_tests::scenario::{Neighbor, Scenario, Setup, Step, export};
use uct_tests::uct::PathSubject;

use crate::lab::{datagram, ip, tcp, topology};

/// Inside hosts.
const INSIDE: [&str; 6] =
    ["192.168.1.10", "192.168.1.11", "192.168.1.12", "192.168.1.13", "192.168.1.14", "192.168.1.20"];
const NEW: &str = "192.168.1.21";
const ROUTER: &str = "203.0.113.1";
const S: &str = "198.51.100.80";
const PEER: &str = "198.51.100.7";

/// One pain: what is asked, uct's answer about a packet, and how it comes to that.
struct Pain {
    name: &'static str,
    /// The packet that the question is about, and what uct says of it.
    packet: u64,
    says: &'static str,
    rules: &'static str,
    /// Rules that come into force after this packet.
    later: Option<(u64, &'static str)>,
    steps: fn(&mut Script),
}

/// Steps in the making.
#[derive(Default)]
struct Script(Vec<Step>);

impl Script {
    fn lan(&mut self, packet: Vec<u8>) {
        let iface = "lan0".to_owned();
        self.0.push(Step::Frame { iface, bytes: frame("02:00:00:00:01:01", &mac(&packet), &packet) });
    }

    fn wan(&mut self, packet: Vec<u8>) {
        let iface = "wan0".to_owned();
        self.0.push(Step::Frame { iface, bytes: frame("02:00:00:00:02:01", "02:00:00:00:02:fe", &packet) });
    }

    fn wait(&mut self, seconds: u32) {
        self.0.push(Step::Advance { seconds });
    }

    /// A connection from `from` to the server, opened on both sides of masquerade.
    fn open(&mut self, from: (&str, u16)) {
        self.lan(tcp(from, (S, 80), "S", 1000, 0, 0));
        self.wan(tcp((S, 80), (ROUTER, from.1), "SA", 5000, 1001, 0));
        self.lan(tcp(from, (S, 80), "A", 1001, 5001, 0));
    }
}

/// An inside host's hardware address ends in its address's last byte.
fn mac(packet: &[u8]) -> String {
    format!("02:00:00:00:01:{:02x}", packet.get(15).copied().unwrap_or(0))
}

const MASQUERADE: &str = "\
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat
		oifname \"wan0\" masquerade
	}
}
";

const PAINS: &[Pain] = &[
    Pain {
        name: "invalid-leak",
        packet: 4,
        says: "INVALID: SEQ is over upper bound 13194: it is 60001 (over the window of the receiver). It begins at 60001, and its \
               receiver has allowed no more than 13193 (packet 3): 46808 bytes beyond. With nf_conntrack_tcp_be_liberal=1 it \
               would have been taken. The router itself gets it, without a connection. Its TCP knows nothing of that \
               connection, and will refuse it with a reset.",
        rules: MASQUERADE,
        later: None,
        steps: |s| {
            s.open((INSIDE[0], 40000));
            // The server is far ahead, as after a lost window update or a capture with holes.
            s.wan(tcp((S, 80), (ROUTER, 40000), "PA", 60_001, 1001, 100));
            // A connection that the router has never known says goodbye.
            s.lan(tcp((INSIDE[1], 40001), (S, 80), "FA", 7000, 9000, 0));
        },
    },
    Pain {
        name: "hole-punch",
        packet: 2,
        says: "the first choice was taken: answers to it belong to connection #1 (opened by packet 1); a free port was searched \
               in 1024-65535, from a random place, and ",
        rules: "\
table inet filter {
	chain input {
		type filter hook input priority filter; policy accept
		# What was not asked for and is dropped here never stands in the table.
		iifname \"wan0\" udp dport 5001 ct state new drop
	}
}
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat
		oifname \"wan0\" masquerade
	}
}
",
        later: None,
        steps: |s| {
            // The peer's packet is first: it makes an entry to the router itself.
            s.wan(datagram((PEER, 6000), (ROUTER, 5000)));
            s.lan(datagram((INSIDE[0], 5000), (PEER, 6000)));
            // The same with a port whose strangers are dropped at input.
            s.wan(datagram((PEER, 6001), (ROUTER, 5001)));
            s.lan(datagram((INSIDE[0], 5001), (PEER, 6001)));
            s.wan(datagram((PEER, 6001), (ROUTER, 5001)));
        },
    },
    Pain {
        name: "dnat-source-port",
        packet: 2,
        says: "No NAT rule asked for it, but a clash must be mended: NAT changes its source from 198.51.100.7:1000 to \
               198.51.100.7:",
        rules: "\
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat
		iifname \"wan0\" tcp dport { 8001, 8002 } dnat to 192.168.1.20:80
	}
}
",
        later: None,
        steps: |s| {
            s.wan(tcp((PEER, 1000), (ROUTER, 8001), "S", 1000, 0, 0));
            s.wan(tcp((PEER, 1000), (ROUTER, 8002), "S", 2000, 0, 0));
        },
    },
    Pain {
        name: "port-exhaustion",
        packet: 5,
        says: "none of 4 ports of 7000-7003 that were tried is free. A clash: at the end of its way its tuple belonged to \
               connection #",
        rules: "\
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat
		ip protocol udp oifname \"wan0\" snat to 203.0.113.1:7000-7003
	}
}
",
        later: None,
        steps: |s| {
            for host in &INSIDE[..5] {
                s.lan(datagram((host, 5353), (S, 53)));
            }
            // To another server the same ports are free.
            s.lan(datagram((INSIDE[4], 5353), ("198.51.100.81", 53)));
        },
    },
    Pain {
        name: "stale-udp",
        packet: 3,
        says: "As decided for packet 1 by the rule at stale-udp.nft:4: destination address 203.0.113.1 becomes 192.168.1.20. \
               The rules have changed since, but what was decided about a connection stays for as long as it lives, and every \
               packet prolongs its life: `conntrack -D -p udp -s 198.51.100.7 -d 203.0.113.1 --sport 5000 --dport 514` ends it.",
        rules: "\
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat
		iifname \"wan0\" udp dport 514 dnat to 192.168.1.20
	}
}
",
        later: Some((
            2,
            "\
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat
		iifname \"wan0\" udp dport 514 dnat to 192.168.1.21
	}
}
",
        )),
        steps: |s| {
            s.wan(datagram((PEER, 5000), (ROUTER, 514)));
            s.wan(datagram((PEER, 5000), (ROUTER, 514)));
            // The backend has moved; this sender goes on, a new one finds the new backend.
            s.wan(datagram((PEER, 5000), (ROUTER, 514)));
            s.wan(datagram((PEER, 5001), (ROUTER, 514)));
            s.wait(20);
            s.wan(datagram((PEER, 5000), (ROUTER, 514)));
            s.wait(31);
            s.wan(datagram((PEER, 5000), (ROUTER, 514)));
        },
    },
    Pain {
        name: "asymmetric",
        packet: 2,
        says: "INVALID: ACK in original direction is invalid in state SYN_SENT: no SYN/ACK was seen that it could acknowledge. \
               It is dropped: a rule dropped it (asymmetric.nft:4: ct state invalid drop).",
        rules: "\
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy accept
		ct state invalid drop
	}
}
",
        later: None,
        steps: |s| {
            // The SYN/ACK takes another way.
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "S", 1000, 0, 0));
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "A", 1001, 5001, 0));
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "PA", 1001, 5001, 50));
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "S", 1000, 0, 0));
        },
    },
    Pain {
        name: "lost-fragment",
        packet: 6,
        says: "Before it, a datagram of which 2 fragments had come was given up: the rest did not come in time.",
        rules: MASQUERADE,
        later: None,
        steps: |s| {
            let whole = |id: u32| {
                let mut packet = udp(&ip(INSIDE[0], S), 5000, 5001, &[b'x'; 3000]);
                packet[6] = 0;
                uct_tests::packet::build::mend_ipv4(&mut packet);
                fragments(&packet, id, &[1480, 2960])
            };
            // In any order: all leave when the last has come.
            let mut pieces = whole(1);
            pieces.reverse();
            pieces.into_iter().for_each(|p| s.lan(p));
            // The middle one is lost: nothing leaves.
            let pieces = whole(2);
            s.lan(pieces[0].clone());
            s.lan(pieces[2].clone());
            s.wait(31);
            s.lan(datagram((INSIDE[0], 5000), (S, 5002)));
        },
    },
    Pain {
        name: "hairpin",
        packet: 3,
        says: "(dnat to 192.168.1.20) changes its destination from 203.0.113.1:81 to 192.168.1.20:81; the port is free and stays. \
               The rule at hairpin.nft:9 (masquerade) changes its source from 192.168.1.10:40001 to 192.168.1.1:40001; the port \
               is free and stays. It leaves by lan0 as 192.168.1.1:40001 → 192.168.1.20:81.",
        rules: "\
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat
		ip daddr 203.0.113.1 tcp dport { 80, 81 } dnat to 192.168.1.20
	}
	chain postrouting {
		type nat hook postrouting priority srcnat
		# Without this the server answers its neighbour directly, from an address that it never asked.
		iifname \"lan0\" oifname \"lan0\" tcp dport 81 masquerade
	}
}
",
        later: None,
        steps: |s| {
            // Without translation of the source the answer does not come this way, and the client asks again.
            s.lan(tcp((INSIDE[0], 40000), (ROUTER, 80), "S", 1000, 0, 0));
            s.lan(tcp((INSIDE[0], 40000), (ROUTER, 80), "S", 1000, 0, 0));
            // With it the router stands between them both ways.
            s.lan(tcp((INSIDE[0], 40001), (ROUTER, 81), "S", 2000, 0, 0));
            s.lan(tcp((INSIDE[5], 81), ("192.168.1.1", 40001), "SA", 7000, 2001, 0));
            s.lan(tcp((INSIDE[0], 40001), (ROUTER, 81), "A", 2001, 7001, 0));
        },
    },
    Pain {
        name: "time-wait-reuse",
        packet: 7,
        says: "Connection #1 (opened by packet 1) leaves the table: it had ended, and a SYN opens a new connection on its tuple. \
               Nobody knows its tuple: it opens connection #2.",
        rules: MASQUERADE,
        later: None,
        steps: |s| {
            s.open((INSIDE[0], 40000));
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "FA", 1001, 5001, 0));
            s.wan(tcp((S, 80), (ROUTER, 40000), "FA", 5001, 1002, 0));
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "A", 1002, 5002, 0));
            // The client opens again from the same port: the old entry makes room.
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "S", 90_000, 0, 0));
            // The server resets it; a SYN then passes, but the entry stays closed until the server answers.
            s.wan(tcp((S, 80), (ROUTER, 40000), "SA", 50_000, 90_001, 0));
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "A", 90_001, 50_001, 0));
            s.wan(tcp((S, 80), (ROUTER, 40000), "RA", 50_001, 90_001, 0));
            s.lan(tcp((INSIDE[0], 40000), (S, 80), "S", 190_000, 0, 0));
        },
    },
    Pain {
        name: "clash",
        packet: 2,
        says: "A clash: at the end of its way its tuple belonged to connection #1 (opened by packet 1); the connection does not \
               enter the table. It is dropped: NAT found no free tuple",
        rules: MASQUERADE,
        later: None,
        steps: |s| {
            // Two clients speak IPsec (ESP, which has no ports) with one server.
            let esp = |from: &str| ip(from, S).packet(proto::ESP, &[0, 0, 0, 7, 0, 0, 0, 1, 9, 9, 9, 9]);
            s.lan(esp(INSIDE[0]));
            s.lan(esp(INSIDE[1]));
            s.wan(ip(S, ROUTER).packet(proto::ESP, &[0, 0, 0, 8, 0, 0, 0, 1, 9, 9, 9, 9]));
        },
    },
];

impl Pain {
    fn scenario(&self) -> Scenario {
        let mut topology = topology();
        topology.neighbor.retain(|n| n.address == "203.0.113.254");
        for host in INSIDE.into_iter().chain([NEW]) {
            let last: u8 = host.rsplit('.').next().and_then(|n| n.parse().ok()).expect("an address");
            let mac = format!("02:00:00:00:01:{last:02x}");
            topology.neighbor.push(Neighbor { address: host.to_owned(), mac, dev: "lan0".to_owned() });
        }
        let mut script = Script::default();
        (self.steps)(&mut script);
        if let Some((after, rules)) = self.later {
            let at = usize::try_from(after).expect("a small number");
            script.0.insert(at, Step::Rules { text: rules.to_owned() });
        }
        let setup = Setup { rules: self.rules.to_owned(), topology, ..Setup::default() };
        Scenario { name: self.name.to_owned(), setup, steps: script.0 }
    }

    fn file(&self, suffix: &str) -> PathBuf {
        folder().join(format!("{}.{suffix}", self.name))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/pains")
}

/// A file, written anew if that was asked for.
#[track_caller]
fn golden(path: &Path, is: &[u8]) {
    if std::env::var_os("UCT_BLESS").is_some() {
        // In one step: other tests read it at the same time.
        let fresh = path.with_extension("fresh");
        std::fs::write(&fresh, is).and_then(|()| std::fs::rename(&fresh, path)).expect("the folder can be written");
    }
    let was = std::fs::read(path).unwrap_or_default();
    assert!(was == is, "{} is not what is made here; UCT_BLESS=1 writes it anew", path.display());
}

#[test]
fn the_captures_are_those_of_this_file() {
    for pain in PAINS {
        let scenario = pain.scenario();
        golden(&pain.file("pcapng"), &export::capture(&scenario).expect("a capture"));
        golden(&pain.file("nft"), pain.rules.as_bytes());
        golden(&pain.file("toml"), toml::to_string(&scenario.setup.topology).expect("TOML").as_bytes());
        if let Some((after, rules)) = pain.later {
            golden(&pain.file("later.nft"), rules.as_bytes());
            golden(&pain.file("args"), format!("--rules-at\n{after}={}.later.nft\n", pain.name).as_bytes());
        }
    }
}

/// The sentence that answers the question.
#[test]
fn each_has_its_answer() {
    for pain in PAINS {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
        command.current_dir(folder()).arg("explain").arg(format!("{}.pcapng", pain.name));
        command.args([
            "--topology",
            &format!("{}.toml", pain.name),
            "--rules",
            &format!("{}.nft", pain.name),
            "--json",
        ]);
        if let Ok(args) = std::fs::read_to_string(pain.file("args")) {
            command.args(args.lines());
        }
        let done = command.args(["--packet", &pain.packet.to_string()]).output().expect("uct runs");
        let object: serde_json::Value = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|e| panic!("{}: {e} {}", pain.name, String::from_utf8_lossy(&done.stderr)));
        let words: Vec<&str> =
            object["words"].as_array().expect("a list").iter().map(|w| w.as_str().expect("text")).collect();
        let said = words.join(" ");
        assert!(said.contains(pain.says), "{}: it says\n{said}\nand not\n{}", pain.name, pain.says);
    }
}

/// The kernel does the same with the same packets: what leaves, the table, the events.
#[test]
fn the_kernel_does_the_same() {
    if let Err(reason) = kernel::available() {
        kernel::skip_or_fail(&reason);
        return;
    }
    let mut kernel = Kernel::new().expect("a kernel");
    for pain in PAINS {
        // A machine that is busy elsewhere may be too slow for a story's times.
        let mut play = || uct_tests::run::replay(&mut kernel, Some(&mut PathSubject::default()), &pain.scenario());
        let outcome = (0..20)
            .map(|_| play())
            .find(|done| !done.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::TimedOut))
            .expect("a machine that is fast enough")
            .expect(pain.name);
        if let Some(difference) = outcome.difference {
            panic!("{}, step {}:\n{}", pain.name, difference.step, difference.lines.join("\n"));
        }
    }
}
