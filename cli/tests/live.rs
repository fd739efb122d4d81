//! What clients do to the table counts for the next packet of a router, and what packets do is told to clients.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use uct_engine::Engine;
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::control::{Clock, Options, RealClock, Server};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Arrival, Emit, Emitted, Fate, Router, Silent};
use uct_pipeline::topology::Topology;
use uct_tests::packet::build::{Ip, udp};

const TOPOLOGY: &str = r#"
[[interface]]
name = "lan"
addresses = ["192.168.1.1/24"]
[[interface]]
name = "wan"
addresses = ["203.0.113.1/24"]
[[route]]
to = "0.0.0.0/0"
via = "203.0.113.254"
dev = "wan"
"#;

/// Marked packets are dropped at forward. As in Linux nothing is translated where no chain is of type nat, so there is one.
const RULES: &str = "\
table ip t {
    chain f { type filter hook forward priority 0; ct mark 66 drop; ct label 5 drop; }
    chain n { type nat hook postrouting priority 100; }
}";

/// A router in this process, and its socket.
struct Live {
    router: Router,
    clock: Arc<dyn Clock>,
    socket: PathBuf,
}

#[derive(Default)]
struct Last(Option<Vec<u8>>);

impl Emit for Last {
    fn emit(&mut self, packet: Emitted<'_>) {
        self.0 = Some(packet.bytes.to_vec());
    }
}

impl Live {
    fn start(name: &str) -> Live {
        let socket = std::env::temp_dir().join(format!("uct-live-{name}-{}.sock", std::process::id()));
        let engine = Arc::new(Engine::new(1));
        let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
        let server = Server::bind(Options::at(&socket), Arc::clone(&engine), Arc::clone(&clock)).unwrap();
        std::thread::spawn(move || server.run());
        let rules = Ruleset::read("rules", RULES, &NoFiles).unwrap();
        let router = Router::new(engine, rules, Topology::parse("topology", TOPOLOGY).unwrap(), 1);
        Live { router, clock, socket }
    }

    /// Sends a datagram through; answers source and destination as it left.
    fn send(&self, iface: usize, from: (&str, u16), to: (&str, u16)) -> Result<[(IpAddr, u16); 2], Fate> {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut bytes = udp(&Ip::new(address(from.0), address(to.0)), from.1, to.1, b"?");
        let wire_len = bytes.len();
        let iif = self.router.topology().dev(["lan", "wan"][iface]).unwrap();
        let arrival = Arrival {
            at: self.clock.now(),
            iif,
            bytes: &mut bytes,
            wire_len,
            link: None,
            offload: Offload::default(),
            seen: uct_engine::Seen::default(),
        };
        let mut last = Last::default();
        let fate = self.router.receive(arrival, &mut last, &mut Silent);
        let Some(out) = last.0 else { return Err(fate) };
        let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&out[at..at + 4]).unwrap());
        let port = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
        Ok([(ip(12), port(20)), (ip(16), port(22))])
    }

    fn conntrack(&self, line: &str) -> String {
        let out = Command::new(env!("CARGO_BIN_EXE_uct"))
            .args(["conntrack", "--socket"])
            .arg(&self.socket)
            .args(line.split_whitespace())
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn at(address: &str, port: u16) -> (IpAddr, u16) {
    (address.parse().unwrap(), port)
}

const INSIDE: (&str, u16) = ("192.168.1.10", 4000);
const OUTSIDE: (&str, u16) = ("198.51.100.53", 53);

#[test]
fn an_entered_translation_translates_until_it_is_deleted() {
    let live = Live::start("nat");
    live.conntrack(
        "-I -s 192.168.1.10 -d 198.51.100.53 -p udp --sport 4000 --dport 53 -t 100 --src-nat 203.0.113.1:7777",
    );
    assert_eq!(live.send(0, INSIDE, OUTSIDE), Ok([at("203.0.113.1", 7777), at("198.51.100.53", 53)]));
    assert_eq!(
        live.send(1, OUTSIDE, ("203.0.113.1", 7777)),
        Ok([at("198.51.100.53", 53), at("192.168.1.10", 4000)]),
        "the answer finds its way back"
    );
    assert!(!live.conntrack("-L -p udp --src-nat").contains("UNREPLIED"));
    live.conntrack("-D -p udp");
    assert_eq!(live.send(0, INSIDE, OUTSIDE), Ok([at("192.168.1.10", 4000), at("198.51.100.53", 53)]));
}

#[test]
fn marks_labels_and_timeouts_count_for_the_next_packet() {
    let live = Live::start("mark");
    assert!(live.send(0, INSIDE, OUTSIDE).is_ok());
    live.conntrack("-U -p udp -m 66");
    assert!(matches!(live.send(0, INSIDE, OUTSIDE), Err(Fate::Dropped(_))));
    live.conntrack("-U -p udp -m 0");
    assert!(live.send(0, INSIDE, OUTSIDE).is_ok());
    live.conntrack("-U -p udp -t 1");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(live.conntrack("-C"), "0\n", "it ran out at its time");
    assert!(live.send(0, INSIDE, OUTSIDE).is_ok());
    live.conntrack("-F");
    live.conntrack("-I -s 192.168.1.10 -d 198.51.100.53 -p udp --sport 4000 --dport 53 -t 100 --label-bits 0x20");
    assert!(matches!(live.send(0, INSIDE, OUTSIDE), Err(Fate::Dropped(_))), "a rule sees the label");
}

#[test]
fn clients_hear_of_packets_and_of_each_other() {
    let live = Live::start("events");
    let mut follower = Command::new(env!("CARGO_BIN_EXE_uct"))
        .args(["conntrack", "--socket"])
        .arg(&live.socket)
        .args(["-E", "-o", "id"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Until it listens: something that happens again and again.
    let mut tries = 0;
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| lines.next().unwrap());
        while !first.is_finished() {
            tries += 1;
            assert!(tries < 500, "no event");
            let port = 10_000 + tries;
            let _ = live.send(0, ("192.168.1.10", port), OUTSIDE);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        first.join().unwrap()
    });
    assert!(first.starts_with("    [NEW] udp      17 30 src=192.168.1.10"), "{first}");
    assert!(live.send(0, INSIDE, OUTSIDE).is_ok());
    assert!(live.send(1, OUTSIDE, INSIDE).is_ok());
    live.conntrack("-D -p udp --sport 4000");
    let told: Vec<String> = lines.by_ref().filter(|l| l.contains("sport=4000")).take(3).collect();
    assert!(told[0].starts_with("    [NEW] udp      17 30 ") && !told[0].contains("mark="), "{}", told[0]);
    assert!(told[1].starts_with(" [UPDATE] udp      17 30 "), "{}", told[1]);
    assert!(told[2].starts_with("[DESTROY] udp      17 ") && told[2].contains(" [USERSPACE] portid="), "{}", told[2]);
    assert!(told[2].ends_with(" progname=uct"), "{}", told[2]);
    let _ = follower.kill();
    let _ = follower.wait();
}
