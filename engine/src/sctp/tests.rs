//! The transition matrix as a golden file, and what the kernel did with the same packets.
//!
//! `kernel/*.txt` were recorded on Linux 6.18: each line is a packet and what the kernel made of it. `@name` begins anew: an
//! empty table, then the packets of that name below.
//!
//! ```text
//! @established > b SHUTDOWN => established SHUTDOWN_SENT shutdown_sent b,a counted [ASSURED] update
//!  │           │ │ │           │           │             │             │   │       │         └ events
//!  │           │ │ chunks      verdict     state         timeout       │   │       status
//!  │           │ tag                                     started anew  │   accounting
//!  set-up      direction, of the first packet's sender                 tags, original and reply
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::client::{Known, NewConn};
use crate::{Engine, Event, Hook, Info, Listening, ProtoInfo, Silent, Status, Template, Time, Track, Tuple, Zone};

/// Prints the whole table; `UCT_BLESS=1` writes the golden file anew.
#[test]
fn matrix_is_the_golden_one() {
    let mut out = String::new();
    for dir in [Direction::Original, Direction::Reply] {
        for chunk in Chunk::ALL {
            for state in SctpState::ALL {
                let (next, why) = transition(dir, chunk, state);
                let next = match next {
                    Next::To(state) => state.name(),
                    Next::Invalid => "invalid",
                };
                let chunk = chunk.to_string();
                writeln!(out, "{:8} {chunk:17} {:17} -> {next:17} {why}", dir.name(), state.name()).unwrap();
            }
        }
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sctp/matrix.txt");
    if std::env::var_os("UCT_BLESS").is_some() {
        std::fs::write(golden, &out).unwrap();
    }
    assert_eq!(out, include_str!("matrix.txt"), "run with UCT_BLESS=1 to write the golden file anew");
}

/// The packets that lead to a state.
fn setup(name: &str) -> &'static [&'static str] {
    match name {
        "none" => &[],
        "closed" => &["> 0 INIT:a"],
        "cookie_wait" => &["> 0 INIT:a", "< a INIT_ACK:b"],
        "cookie_echoed" => &["> 0 INIT:a", "< a INIT_ACK:b", "> b COOKIE_ECHO"],
        "established" => &["> 0 INIT:a", "< a INIT_ACK:b", "> b COOKIE_ECHO", "< a COOKIE_ACK"],
        "shutdown_sent" => &["@established", "> b SHUTDOWN"],
        "shutdown_recd" => &["@established", "< a SHUTDOWN"],
        "shutdown_ack_sent" => &["@established", "> b SHUTDOWN", "< a SHUTDOWN_ACK"],
        "completed" => &["@established", "> b SHUTDOWN", "< a SHUTDOWN_ACK", "> b SHUTDOWN_COMPLETE"],
        "aborted" => &["@established", "> b ABORT"],
        "heartbeat_sent" => &["> b HEARTBEAT"],
        "heartbeat_acked" => &["> b HEARTBEAT", "< a HEARTBEAT_ACK"],
        "late_shutdown_ack" => &["> b SHUTDOWN_ACK"],
        "restart_init" => &["@established", "> 0 INIT:c"],
        "restart_init_ack" => &["@established", "> 0 INIT:c", "< c INIT_ACK:d"],
        "peer_restart_init" => &["@established", "< 0 INIT:d"],
        "peer_restart_init_ack" => &["@established", "< 0 INIT:d", "> d INIT_ACK:c"],
        "collision" => &["> 0 INIT:a", "< 0 INIT:b"],
        "late_collision" => &["> 0 INIT:a", "< a INIT_ACK:b", "< 0 INIT:d"],
        other => panic!("no set-up {other}"),
    }
}

/// `NAME[:announced tag][/flags]`, or `#` and the bytes.
fn chunk(words: &str) -> Vec<u8> {
    const NAMES: [&str; 15] = [
        "DATA",
        "INIT",
        "INIT_ACK",
        "SACK",
        "HEARTBEAT",
        "HEARTBEAT_ACK",
        "ABORT",
        "SHUTDOWN",
        "SHUTDOWN_ACK",
        "ERROR",
        "COOKIE_ECHO",
        "COOKIE_ACK",
        "ECNE",
        "CWR",
        "SHUTDOWN_COMPLETE",
    ];
    let hex = |s: &str| u32::from_str_radix(s, 16).unwrap();
    if let Some(raw) = words.strip_prefix('#') {
        return (0..raw.len() / 2).map(|i| hex(&raw[2 * i..2 * i + 2]) as u8).collect();
    }
    let (words, flags) = words.split_once('/').map_or((words, 0), |(w, f)| (w, hex(f) as u8));
    let (name, tag) = words.split_once(':').map_or((words, 0), |(w, t)| (w, hex(t)));
    let known = NAMES.iter().position(|n| *n == name);
    let kind = known.map_or_else(|| name[1..].parse().unwrap(), |k| k as u8);
    let body: Vec<u8> = match kind {
        1 | 2 => [&tag.to_be_bytes()[..], &[0, 0, 255, 255, 0, 10, 0, 10, 0, 0, 3, 232]].concat(),
        0 => [&[0; 12][..], b"hi!!"].concat(),
        3 => vec![0; 12],
        7 | 12 | 13 => vec![0; 4],
        10 => b"cook".to_vec(),
        4 | 5 => b"\0\x01\0\x08hbhb".to_vec(),
        9 => vec![0, 1, 0, 4],
        _ => vec![],
    };
    let mut out = vec![kind, flags];
    out.extend((4 + body.len() as u16).to_be_bytes());
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn datagram(from: Direction, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let (src, dst, ports) = match from {
        Direction::Original => ([10, 0, 1, 2], [10, 0, 2, 2], [19, 136, 0, 80]),
        Direction::Reply => ([10, 0, 2, 2], [10, 0, 1, 2], [0, 80, 19, 136]),
    };
    let mut sctp = [&ports[..], &tag.to_be_bytes(), &[0; 4], chunks].concat();
    let sum = checksum::crc32c([&sctp, &[], &[]]);
    sctp[8..12].copy_from_slice(&sum.to_le_bytes());
    let mut ip = etherparse::Ipv4Header::new(sctp.len() as u16, 64, 132.into(), src, dst).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    [ip.to_bytes().to_vec(), sctp].concat()
}

/// One association in an engine, asked the way the kernel was asked.
struct Bench {
    engine: Engine,
    now: Time,
}

/// As the recording had it: so long that what is kept can be told from what is started anew.
const KEPT: Duration = Duration::from_secs(500_000);

impl Bench {
    fn new() -> Bench {
        let engine = Engine::new(1);
        engine.settings().set(Sysctl::Acct, 1).unwrap();
        engine.listen(Listening::Yes);
        Bench { engine, now: Time::from_secs(1) }
    }

    fn begin(&mut self, name: &str) {
        *self = Bench::new();
        self.lead_to(name);
        self.events();
    }

    fn lead_to(&mut self, name: &str) {
        if name == "injected" {
            return self.inject();
        }
        for step in setup(name) {
            match step.strip_prefix('@') {
                Some(other) => self.lead_to(other),
                None => drop(self.send(step)),
            }
        }
    }

    /// A client enters the association and says nothing of its state.
    fn inject(&self) {
        let l4 = crate::L4::Ports { src: 5000, dst: 80 };
        let original =
            Tuple { src: [10, 0, 1, 2].into(), dst: [10, 0, 2, 2].into(), protocol: crate::Protocol::SCTP, l4 };
        let new = NewConn {
            original,
            reply: original.inverse().unwrap(),
            zone: Zone::DEFAULT,
            status: Status::empty(),
            timeout: KEPT,
            mark: 0,
            labels: None,
            helper: None,
            known: Known::Nothing,
            counters: None,
            start: None,
        };
        self.engine.create(new, self.now, None).unwrap();
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.engine.take_events(&mut events);
        events
    }

    fn send(&mut self, step: &str) -> &'static str {
        let [from, tag, chunks] = step.split(' ').collect::<Vec<_>>()[..] else { panic!("{step}") };
        let from = if from == ">" { Direction::Original } else { Direction::Reply };
        let chunks: Vec<u8> = chunks.split('+').flat_map(chunk).collect();
        let mut bytes = datagram(from, u32::from_str_radix(tag, 16).unwrap(), &chunks);
        let n = bytes.len();
        let packet = Packet::parse(&mut bytes, n).unwrap();
        match self.engine.track(&packet, Hook::Prerouting, &Template::default(), self.now, &mut Silent) {
            Track::Tracked(t) => {
                self.engine.confirm(t.ct, self.now);
                if t.info == Info::New { "new" } else { "established" }
            }
            Track::Invalid(_) => "invalid",
            other => panic!("{other:?}"),
        }
    }

    /// One packet, and what is to be seen afterwards, in the words of the recording.
    fn step(&mut self, step: &str) -> String {
        let count = |e: &crate::Entry| e.counters.map_or(0, |[a, b]| a.packets + b.packets);
        let before = self.engine.entries(self.now).first().map(count).unwrap_or(0);
        if let Some(e) = self.engine.entries(self.now).first() {
            let (conn, _) = self.engine.find(&e.original, Zone::DEFAULT).unwrap();
            conn.set_timeout(self.now, KEPT);
        }
        self.events();
        let verdict = self.send(step);
        let events: Vec<_> = self.events().iter().map(|e| e.kind.name().to_lowercase()).collect();
        let events = if events.is_empty() { "-".to_owned() } else { events.join(",") };
        let Some(e) = self.engine.entries(self.now).into_iter().next() else {
            return format!("{verdict} nothing {events}");
        };
        let ProtoInfo::Sctp { state, vtags: [a, b] } = e.proto else { panic!("{e:?}") };
        let timeout = if e.timeout == KEPT {
            "kept"
        } else {
            let of = |s: &SctpState| {
                let own = s.timeout().map_or(Duration::from_secs(10), |k| self.engine.settings().seconds(k));
                own == e.timeout
            };
            // Several states share their length; the recording had them differ.
            if of(&state) { state.name() } else { "another" }
        };
        let timeout = timeout.to_lowercase();
        let counted = if count(&e) > before { "counted" } else { "uncounted" };
        let mut out = format!("{verdict} {state} {timeout} {a:x},{b:x} {counted}");
        if !e.status.contains(Status::SEEN_REPLY) {
            out += " [UNREPLIED]";
        }
        if e.status.contains(Status::ASSURED) {
            out += " [ASSURED]";
        }
        out + " " + &events
    }
}

/// Replays a recording; answers each beginning's first line that came out otherwise, with what came out and what led to it.
fn replay(recording: &str) -> Vec<String> {
    let mut bench = Bench::new();
    let mut wrong = Vec::new();
    let mut led = Vec::new();
    for line in recording.lines().filter(|l| !l.is_empty() && !l.starts_with("# ")) {
        let (packet, expected) = line.split_once(" => ").unwrap();
        let step = match packet.strip_prefix('@') {
            Some(named) => {
                let (name, step) = named.split_once(' ').unwrap();
                bench.begin(name);
                led.clear();
                step
            }
            None if led.is_empty() => continue,
            None => packet,
        };
        led.push(line);
        let said = bench.step(step);
        if said != expected {
            wrong.push(format!("{}\n    here: {said}\n", led.join("\n")));
            led.clear();
        }
    }
    wrong
}

fn assert_as_recorded(recording: &str) {
    let wrong = replay(recording);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

#[test]
fn every_chunk_in_every_state_is_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/matrix.txt"));
}

#[test]
fn collisions_restarts_bundles_and_broken_lengths_are_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/cases.txt"));
}

#[test]
fn random_associations_are_as_the_kernel_did() {
    assert_as_recorded(include_str!("kernel/random.txt"));
}

/// A longer recording, if one is at hand.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may read the recording it is given")]
fn another_recording_is_as_the_kernel_did() {
    let Some(path) = std::env::var_os("UCT_SCTP_RECORDING") else { return };
    assert_as_recorded(&std::fs::read_to_string(path).unwrap());
}

/// What a first packet of these bytes is, with checksums verified or not.
fn first(bytes: &[u8], checksum: u64) -> Result<(), Invalid> {
    let engine = Engine::new(1);
    engine.settings().set(Sysctl::Checksum, checksum).unwrap();
    let mut ip = etherparse::Ipv4Header::new(bytes.len() as u16, 64, 132.into(), [10, 0, 1, 2], [10, 0, 2, 2]).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    let mut bytes = [ip.to_bytes().to_vec(), bytes.to_vec()].concat();
    let n = bytes.len();
    let packet = Packet::parse(&mut bytes, n).unwrap();
    match engine.track(&packet, Hook::Prerouting, &Template::default(), Time::from_secs(1), &mut Silent) {
        Track::Tracked(_) => Ok(()),
        Track::Invalid(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_checksum_is_crc32c_with_its_lowest_byte_first() {
    let good = datagram(Direction::Original, 0, &chunk("INIT:a"))[20..].to_vec();
    let with = |sum: [u8; 4]| [&good[..8], &sum, &good[12..]].concat();
    assert_eq!(first(&good, 1), Ok(()));
    assert_eq!(first(&with([0; 4]), 1), Err(Invalid::BadChecksum), "zero is no exception");
    assert_eq!(first(&with([good[11], good[10], good[9], good[8]]), 1), Err(Invalid::BadChecksum));
    assert_eq!(first(&with([0, 0, 0, 1]), 0), Ok(()), "not verified with nf_conntrack_checksum=0");
}

#[test]
fn an_init_must_be_whole() {
    let good = datagram(Direction::Original, 0, &chunk("INIT:a"))[20..].to_vec();
    let whole: Vec<_> = (0..=good.len()).filter(|n| first(&good[..*n], 0).is_ok()).collect();
    assert_eq!(whole, [32]);
}
