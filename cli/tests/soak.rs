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
use uct_engine::{Engine, Hook, Packet, Silent, Template, Track};
use uct_pipeline::control::{Clock, Options, RealClock, Server};

/// Flows that packets keep alive.
const FLOWS: u32 = 20_000;

struct Talk {
    reader: BufReader<UnixStream>,
}

impl Talk {
    fn open(path: &Path) -> Talk {
        Talk { reader: BufReader::new(UnixStream::connect(path).unwrap()) }
    }

    /// All replies to a request; the last one ends it.
    fn ask(&mut self, request: &Value) -> Vec<Value> {
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut replies = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "the server closed");
            let reply: Value = serde_json::from_str(&line).unwrap();
            let last = reply.get("done").is_some() || reply.get("error").is_some();
            replies.push(reply);
            if last {
                return replies;
            }
        }
    }

    fn count(&mut self, request: &Value) -> u64 {
        let replies = self.ask(request);
        replies.last().and_then(|r| r["done"]["count"].as_u64()).unwrap_or_else(|| panic!("{replies:?}"))
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

/// Packets of the flows, round and round. Answers how many.
fn packets(engine: &Engine, clock: &dyn Clock, ended: &AtomicBool) -> u64 {
    let mut sent = 0;
    while sent < u64::from(FLOWS) || !ended.load(Ordering::Relaxed) {
        let flow = (sent % u64::from(FLOWS)) as u32;
        let mut bytes = Vec::with_capacity(40);
        let source = std::net::Ipv4Addr::from_bits(0xc0a8_0000 + (flow >> 8));
        etherparse::PacketBuilder::ipv4(source.octets(), [172, 16, 0, 1], 64)
            .udp(1000 + (flow & 0xff) as u16, 53)
            .write(&mut bytes, b"x")
            .unwrap();
        let len = bytes.len();
        let packet = Packet::parse(&mut bytes, len).unwrap();
        let now = clock.now();
        match engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent) {
            Track::Tracked(tracked) => drop(engine.confirm(tracked.ct, now)),
            other => panic!("{other:?}"),
        }
        sent += 1;
    }
    sent
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
    let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
    let server = Server::bind(Options::at(&path), Arc::clone(&engine), Arc::clone(&clock)).unwrap();
    std::thread::spawn(move || server.run());
    let ended = AtomicBool::new(false);
    let (rounds, heard, listed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (mut early, mut sent) = (0, 0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| packets(&engine, &*clock, &ended));
        for client in 0..64u32 {
            let (path, ended) = (&path, &ended);
            let (rounds, heard, listed) = (&rounds, &heard, &listed);
            scope.spawn(move || match client {
                0..32 => drop(rounds.fetch_add(work(path, client, ended), Ordering::Relaxed)),
                32..40 => drop(heard.fetch_add(watch(path, client - 32, ended), Ordering::Relaxed)),
                40..44 => {
                    let mut talk = Talk::open(path);
                    while !ended.load(Ordering::Relaxed) {
                        listed.fetch_add(talk.count(&json!({"list": {}})), Ordering::Relaxed);
                    }
                }
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
        "{elapsed:.1} s: {} packets/s, {} entries made, changed and deleted/s, {} events heard/s, {} entries listed/s; \
         memory {early} MB halfway, {late} MB at the end",
        per_second(sent),
        per_second(rounds.into_inner() * 50),
        per_second(heard.into_inner()),
        per_second(listed.into_inner()),
    );
    assert!(late < early + 150, "memory grew from {early} MB to {late} MB");
    let _ = std::fs::remove_file(&path);
}
