//! Protocols without much state, held against what the kernel did with the same packets.
//!
//! `kernel/*.txt` were recorded on Linux 6.18 at a router between two hosts, default settings:
//!
//! ```text
//! @GRE without options, IPv4                                   a case: begins with an empty table
//! sysctl nf_conntrack_checksum 0                               a setting, for this case
//! wait 2500                                                    milliseconds
//! > 4500… => new | 47 10.0.1.2 10.0.2.2 0-0 30 1 [UNREPLIED]   from the first host: bytes from the IP header on
//!            verdict                        │  └ packets counted
//!                  each connection: tuple,  └ timeout as started; `kept` if it was not started anew
//! ```
//!
//! A verdict of `unseen`: the kernel dropped the packet before it came to the tracker.

use std::fmt::Write as _;

use std::time::Duration;

use super::*;
use crate::{Silent, Zone};

/// As the recording had it: so long that what is kept can be told from what is started anew.
const KEPT: Duration = Duration::from_secs(500_000);

struct Bench {
    engine: Engine,
    now: Time,
}

impl Bench {
    fn new() -> Bench {
        let engine = Engine::new(1);
        engine.settings().set(Sysctl::Acct, 1).unwrap();
        Bench { engine, now: Time::from_secs(1) }
    }

    fn verdict(&self, bytes: &mut [u8]) -> &'static str {
        let n = bytes.len();
        let Ok(packet) = Packet::parse(bytes, n) else { return "unseen" };
        match self.engine.track(&packet, Hook::Prerouting, &Template::default(), self.now, &mut Silent) {
            Track::Tracked(Tracked { ct, info, .. }) => {
                self.engine.confirm(ct, self.now);
                match info {
                    Info::New => "new",
                    Info::Related => "related",
                    _ => "established",
                }
            }
            Track::Untracked => "untracked",
            Track::Invalid(_) => "invalid",
            Track::TableFull => "table full",
        }
    }

    fn step(&self, bytes: &mut [u8]) -> String {
        for e in self.engine.entries(self.now) {
            let (conn, _) = self.engine.find(&e.original, Zone::DEFAULT).unwrap();
            conn.set_timeout(self.now, KEPT);
        }
        let mut out = self.verdict(bytes).to_owned();
        let mut entries: Vec<_> = self.engine.entries(self.now).iter().map(shown).collect();
        entries.sort_unstable();
        for e in entries {
            out += " | ";
            out += &e;
        }
        out
    }
}

fn shown(e: &crate::Entry) -> String {
    let t = &e.original;
    let mut out = format!("{} {} {} ", t.protocol.0, t.src, t.dst);
    match t.l4 {
        L4::Ports { src, dst } | L4::Keys { src, dst } => write!(out, "{src}-{dst} ").unwrap(),
        L4::Icmp { kind, code, id } => write!(out, "{kind}/{code}/{id} ").unwrap(),
        L4::None => {}
    }
    match e.timeout {
        KEPT => out += "kept",
        other => write!(out, "{}", other.as_secs()).unwrap(),
    }
    write!(out, " {}", e.counters.map_or(0, |[a, b]| a.packets + b.packets)).unwrap();
    if !e.status.contains(Status::SEEN_REPLY) {
        out += " [UNREPLIED]";
    }
    if e.status.contains(Status::ASSURED) {
        out += " [ASSURED]";
    }
    out
}

/// Replays a recording: every case whose end is another than the kernel's is told.
fn assert_as_recorded(recording: &str) {
    let mut wrong = String::new();
    let mut bench = Bench::new();
    let mut case = "";
    for line in recording.lines() {
        if let Some(name) = line.strip_prefix('@') {
            (bench, case) = (Bench::new(), name);
        } else if let Some(setting) = line.strip_prefix("sysctl ") {
            let (name, value) = setting.split_once(' ').unwrap();
            bench.engine.settings().set_by_name(name, value).unwrap();
        } else if let Some(ms) = line.strip_prefix("wait ") {
            bench.now = bench.now + Duration::from_millis(ms.parse().unwrap());
        } else {
            let (packet, expected) = line.split_once(" => ").unwrap();
            let hex = &packet[2..];
            let mut bytes: Vec<u8> =
                (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
            let said = bench.step(&mut bytes);
            let expected = expected.split("   # ").next().unwrap();
            if said != expected {
                writeln!(wrong, "{case}\n  kernel: {expected}\n  here:   {said}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn gre_is_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/gre.txt"));
}

#[test]
fn protocols_without_a_tracker_are_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/generic.txt"));
}

#[test]
fn udp_is_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/udp.txt"));
}

#[test]
fn udplite_is_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/udplite.txt"));
}

#[test]
fn icmp_messages_are_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/icmp.txt"));
}

#[test]
fn icmp_errors_are_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/errors.txt"));
}

#[test]
fn extension_headers_are_walked_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/extensions.txt"));
}

#[test]
fn hop_by_hop_options_are_judged_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/hopbyhop.txt"));
}
