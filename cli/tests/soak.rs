//! Many clients at once, polite and otherwise, while packets flow: no entry is lost, no answer is wrong, memory stays.
//!
//! `UCT_SOAK` is how many seconds (2, if it is not said); the figures are printed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uct_engine::Engine;
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::control::{Clock, Options, RealClock, Server};
use uct_pipeline::router::{Arrival, Emit, Emitted, Fate, Router, Silent};
use uct_pipeline::topology::Topology;
use uct_tests::packet::build::{Ip, udp};

/// Flows that packets keep alive.
const FLOWS: u32 = 20_000;

struct Talk {
    reader: BufReader<UnixStream>,
}

impl Talk {
    fn open(path: &Path) -> Talk {
        Talk { reader: BufReader::new(UnixStream::connect(path).unwrap()) }
    }

    /// Hands on all replies to a request; answers the last, which ends it.
    fn each(&mut self, request: &Value, mut on: impl FnMut(&Value)) -> Value {
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "the server closed");
            let reply: Value = serde_json::from_str(&line).unwrap();
            if reply.get("done").is_some() || reply.get("error").is_some() {
                return reply;
            }
            on(&reply);
        }
    }

    /// All replies but the last.
    fn ask(&mut self, request: &Value) -> Vec<Value> {
        let mut replies = Vec::new();
        let last = self.each(request, |reply| replies.push(reply.clone()));
        assert!(last.get("done").is_some(), "{last}");
        replies
    }

    /// What a request counts; what it shows is read and forgotten.
    fn count(&mut self, request: &Value) -> u64 {
        let last = self.each(request, |_| {});
        last["done"]["count"].as_u64().unwrap_or_else(|| panic!("{last}"))
    }
}

/// Enters its own entries, finds exactly them, and takes them away, again and again.
fn work(path: &Path, client: u32, ended: &AtomicBool) -> u64 {
    let mut talk = Talk::open(path);
    let net = format!("10.{client}.0.0");
    let filter = json!({"orig_src": net, "orig_src_mask": "255.255.0.0"});
    let mut rounds = 0;
    while !ended.load(Ordering::Relaxed) {
        let batch: Vec<Value> = (0..50)
            .map(|n| {
                let side = json!({"src": format!("10.{client}.0.{n}"), "dst": "10.255.0.1", "sport": 1, "dport": 2});
                json!({"create": {"protocol": 17, "original": side, "timeout": 600, "mark": client}})
            })
            .collect();
        assert_eq!(talk.count(&json!({ "batch": batch })), 50);
        let replies = talk.ask(&json!({"list": {"filter": filter}}));
        let listed: usize = replies.iter().filter_map(|r| r["entries"].as_array()).map(Vec::len).sum();
        assert_eq!(listed, 50, "client {client}");
        assert_eq!(talk.count(&json!({"update": {"filter": filter, "mark": client + 1000}})), 50);
        assert_eq!(talk.count(&json!({"delete": {"filter": filter}})), 50);
        rounds += 1;
    }
    rounds
}

/// Hears of one client's entries; what it misses it is told.
fn watch(path: &Path, client: u32, ended: &AtomicBool) -> u64 {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut reader = BufReader::new(stream);
    let filter = json!({"orig_src": format!("10.{client}.0.0"), "orig_src_mask": "255.255.0.0"});
    let request = json!({"events": {"filter": filter}});
    reader.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    let (mut heard, mut last, mut line) = (0, 0, String::new());
    while !ended.load(Ordering::Relaxed) {
        // A timeout leaves what was read in `line`.
        if reader.read_line(&mut line).is_err() || !line.ends_with('\n') {
            continue;
        }
        let reply: Value = serde_json::from_str(&line).unwrap();
        line.clear();
        if let Some(seq) = reply["event"]["seq"].as_u64() {
            assert!(seq > last, "events in order");
            last = seq;
            heard += 1;
        }
    }
    heard
}

/// Real commands that are killed in the middle of a listing, or while they follow events.
fn kill(path: &Path, ended: &AtomicBool) -> u64 {
    let mut killed = 0;
    while !ended.load(Ordering::Relaxed) {
        let words: &[&str] = if killed % 2 == 0 { &["-L"] } else { &["-E"] };
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_uct"))
            .args(["conntrack", "--socket"])
            .arg(path)
            .args(words)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Nobody reads the pipe: it is in the middle when it ends.
        std::thread::sleep(Duration::from_millis(100));
        let _ = child.kill();
        let _ = child.wait();
        killed += 1;
    }
    killed
}

/// Garbage, half requests, vanishing.
fn misbehave(path: &Path, client: u32, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let Ok(mut stream) = UnixStream::connect(path) else { continue };
        let words: &[u8] = match client % 4 {
            0 => b"\xff\x00 garbage\n{\"id\":1}\n",
            1 => b"{\"list\":{}}\n{\"list\":{}}\n{\"events\":{}}\n",
            2 => b"{\"id\":1,\"list\":",
            _ => b"",
        };
        let _ = stream.write_all(words);
        std::thread::sleep(Duration::from_millis(5));
    }
}

const TOPOLOGY: &str = r#"
[[interface]]
name = "lan"
addresses = ["192.168.0.1/16"]
[[interface]]
name = "wan"
addresses = ["203.0.113.1/24"]
[[route]]
to = "0.0.0.0/0"
via = "203.0.113.254"
dev = "wan"
"#;

const RULES: &str = "\
table ip t {
    chain f { type filter hook forward priority 0; ct state invalid drop; }
    chain n { type nat hook postrouting priority 100; oifname wan masquerade; }
}";

struct Counted(u64);

impl Emit for Counted {
    fn emit(&mut self, _: Emitted<'_>) {
        self.0 += 1;
    }
}

/// Packets of the flows through the whole router, round and round: rules, NAT, routes. Answers how many.
fn packets(router: &Router, clock: &dyn Clock, ended: &AtomicBool) -> u64 {
    let server = "172.16.0.1".parse().unwrap();
    let flows: Vec<Vec<u8>> = (0..FLOWS)
        .map(|flow| {
            let source = std::net::Ipv4Addr::from_bits(0xc0a8_1000 + (flow >> 8));
            udp(&Ip::new(source.into(), server), 20_000 + (flow & 0xff) as u16, 53, b"x")
        })
        .collect();
    let iif = router.topology().dev("lan").unwrap();
    let (mut left, mut bytes, mut rounds) = (Counted(0), Vec::new(), 0);
    while rounds == 0 || !ended.load(Ordering::Relaxed) {
        for flow in &flows {
            bytes.clear();
            bytes.extend_from_slice(flow);
            let wire_len = bytes.len();
            let arrival = Arrival {
                at: clock.now(),
                iif,
                bytes: &mut bytes,
                wire_len,
                link: None,
                offload: Default::default(),
                seen: Default::default(),
            };
            let fate = router.receive(arrival, &mut left, &mut Silent);
            assert!(matches!(fate, Fate::Sent(_)), "{fate:?}");
        }
        rounds += 1;
    }
    assert_eq!(left.0, rounds * u64::from(FLOWS), "every packet left");
    left.0
}

fn resident_megabytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn soak() {
    let seconds = std::env::var("UCT_SOAK").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let path: PathBuf = std::env::temp_dir().join(format!("uct-soak-{}.sock", std::process::id()));
    let engine = Arc::new(Engine::new(1));
    engine.settings().set_by_name("nf_conntrack_acct", "1").unwrap();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
    let server = Server::bind(Options::at(&path), Arc::clone(&engine), Arc::clone(&clock)).unwrap();
    let rules = Ruleset::read("rules", RULES, &NoFiles).unwrap();
    let router = Arc::new(Router::new(engine, rules, Topology::parse("topology", TOPOLOGY).unwrap(), 1));
    let server = server.with_gauge(Arc::clone(&router) as Arc<_>);
    std::thread::spawn(move || server.run());
    let ended = AtomicBool::new(false);
    let (rounds, heard, listed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (killed, full) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut early, mut sent) = (0, 0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| packets(&router, &*clock, &ended));
        for client in 0..64u32 {
            let (path, ended) = (&path, &ended);
            let (rounds, heard, listed, killed, full) = (&rounds, &heard, &listed, &killed, &full);
            scope.spawn(move || match client {
                0..32 => drop(rounds.fetch_add(work(path, client, ended), Ordering::Relaxed)),
                32..40 => drop(heard.fetch_add(watch(path, client - 32, ended), Ordering::Relaxed)),
                40..44 => {
                    let mut talk = Talk::open(path);
                    while !ended.load(Ordering::Relaxed) {
                        listed.fetch_add(talk.count(&json!({"list": {}})), Ordering::Relaxed);
                        // The flows of the packets are there every time, each once, and translated.
                        let flows = json!({"orig_dst": "172.16.0.1", "src_nat": {"addr": "203.0.113.1"}});
                        let all_there = full.load(Ordering::Relaxed);
                        let replies = talk.ask(&json!({"summary": {"filter": flows, "talkers": 8}}));
                        let most = u64::from(FLOWS);
                        let seen = replies[0]["summary"]["matched"].as_u64().unwrap();
                        assert!(seen <= most && (seen == most || !all_there), "{seen} flows");
                        full.fetch_or(seen == most, Ordering::Relaxed);
                    }
                }
                44..48 => drop(killed.fetch_add(kill(path, ended), Ordering::Relaxed)),
                _ => misbehave(path, client, ended),
            });
        }
        std::thread::sleep(Duration::from_secs(seconds) / 2);
        early = resident_megabytes();
        std::thread::sleep(Duration::from_secs(seconds) / 2);
        ended.store(true, Ordering::Relaxed);
        sent = traffic.join().unwrap();
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let late = resident_megabytes();
    let mut talk = Talk::open(&path);
    assert_eq!(talk.count(&json!({"count": {}})), u64::from(FLOWS), "exactly the flows of the packets are left");
    assert_eq!(talk.count(&json!({"list": {"filter": {"orig_dst": "172.16.0.1"}}})), u64::from(FLOWS));
    let per_second = |n: u64| (n as f64 / elapsed) as u64;
    eprintln!(
        "{elapsed:.1} s: {} packets/s through the router, {} entries made, changed and deleted/s, {} events heard/s, {} entries \
         listed/s, {} clients killed; memory {early} MB halfway, {late} MB at the end",
        per_second(sent),
        per_second(rounds.into_inner() * 50),
        per_second(heard.into_inner()),
        per_second(listed.into_inner()),
        killed.into_inner(),
    );
    // A short run has just begun to fill its queues halfway.
    let most = if seconds < 20 { 1000 } else { early + 150 };
    assert!(late < most, "memory grew from {early} MB to {late} MB");
    let _ = std::fs::remove_file(&path);
}
