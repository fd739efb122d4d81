//! Nothing that a frame, a capture, a topology or a ruleset can contain makes the router panic, hang, grow without bound, or
//! lose count.
//!
//! `UCT_FUZZ_FRAMES` asks for more frames than the default, `UCT_FUZZ_SEED` for others. A failure names both.

mod alloc;
mod frames;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frames::{Frames, Given, interfaces};
use uct_engine::{Engine, Family, Listening, Packet, Sysctl, Time};
use uct_nat::rules::{Action, NoFiles, Ruleset};
use uct_pipeline::capture::{CaptureError, Frame, Interface, Source};
use uct_pipeline::replay::Replay;
use uct_pipeline::router::{self, Drop, Emit, Emitted, Fate, Observer, Router};
use uct_pipeline::topology::{Entry, Topology};
use uct_pipeline::vantage::Vantage;
use uct_tests::generate::world::World;
use uct_tests::observed;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

const RULES: &str = include_str!("everything.nft");
/// How many frames if nobody asks for more.
const FRAMES: u64 = 100_000;
/// Few, so that the table is always full.
const MOST_CONNECTIONS: u64 = 2_000;
/// No frame may take longer, however busy the machine is.
const HANG: Duration = Duration::from_secs(20);
/// What the router may hold beside what it held when its table was full for the first time.
const MOST_GROWTH: usize = 24 << 20;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One frame at a time.
struct One {
    interfaces: Vec<Interface>,
    given: Given,
    at: Time,
    number: u64,
}

impl Source for One {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.number += 1;
        Ok(Some(Frame {
            at: self.at,
            iface: self.given.iface,
            link: self.given.link,
            crossing: self.given.crossing,
            bytes: &self.given.bytes,
            wire_len: self.given.missing.saturating_add(self.given.bytes.len() as u32),
            number: self.number,
            offset: 0,
        }))
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}

/// Collects what leaves, and looks at it.
struct Collect<'a> {
    topology: &'a Topology,
    out: Vec<observed::Emitted>,
    faults: Vec<String>,
}

impl Emit for Collect<'_> {
    fn emit(&mut self, packet: Emitted<'_>) {
        let Some(interface) = self.topology.interface(packet.dev) else {
            return self.faults.push(format!("emitted on {:?}", packet.dev));
        };
        let mut bytes = packet.bytes.to_vec();
        if let Err(why) = Packet::parse(&mut bytes, packet.wire_len) {
            self.faults.push(format!("emitted a malformed packet: {why}"));
        }
        if packet.wire_len > interface.mtu as usize {
            self.faults.push(format!("emitted {} bytes by {}", packet.wire_len, interface.name));
        }
        self.out.push(observed::Emitted { iface: interface.name.clone(), packet: bytes });
    }

    fn deliver(&mut self, packet: &[u8], _: Time) {
        self.out.push(observed::Emitted { iface: observed::LOCAL.to_owned(), packet: packet.to_vec() });
    }
}

/// Listens to everything, so that what is only said to listeners is said.
#[derive(Default)]
struct Listener {
    text: String,
}

impl uct_engine::Observer for Listener {}
impl uct_nat::rules::Observer for Listener {}
impl Observer for Listener {
    fn is_listening(&self) -> bool {
        true
    }

    fn invalid(&mut self, why: uct_engine::Invalid) {
        let _ = write!(self.text, "{why}");
    }

    fn mapping(&mut self, _: uct_engine::Hook, _: uct_nat::rules::RuleId, action: &Action) {
        let _ = write!(self.text, "{action:?}");
    }

    fn mapped(&mut self, decision: &uct_nat::Decision) {
        let _ = write!(self.text, "{decision}");
    }

    fn dropped(&mut self, why: &Drop) {
        let _ = write!(self.text, "{why}");
    }
}

/// Every counter in which a frame can end.
fn books(replay: &Replay, router: &Router) -> BTreeMap<&'static str, u64> {
    let (counts, stats) = (replay.counts(), router.stats());
    let mut books = BTreeMap::from([
        ("outgoing", counts.outgoing),
        ("forwarded", stats.forwarded.get()),
        ("delivered", stats.delivered.get()),
        ("held", stats.held.get()),
    ]);
    for (name, count) in stats.dropped_by_reason() {
        assert_eq!(books.insert(name, count), None, "two counters of the name {name}");
    }
    books
}

/// The name of the counter in which a frame should have ended.
fn reason(fate: Option<&Fate>) -> &'static str {
    match fate {
        None => "outgoing",
        Some(Fate::Sent(_)) => "forwarded",
        Some(Fate::Delivered) => "delivered",
        Some(Fate::Held) => "held",
        Some(Fate::Dropped(why)) => why.name(),
    }
}

#[test]
fn any_frame_is_counted_under_one_reason() {
    let (seed, wanted) = (number("UCT_FUZZ_SEED", 1), number("UCT_FUZZ_FRAMES", FRAMES));
    eprintln!("UCT_FUZZ_SEED={seed} UCT_FUZZ_FRAMES={wanted}");
    let engine = Arc::new(Engine::new(seed));
    for (key, value) in
        [(Sysctl::Max, MOST_CONNECTIONS), (Sysctl::Buckets, 512), (Sysctl::Acct, 1), (Sysctl::Timestamp, 1)]
    {
        engine.settings().set(key, value).unwrap();
    }
    engine.listen(Listening::Yes);
    let topology = toml::to_string(&World::new().topology).unwrap();
    let topology = Topology::parse("world", &topology).unwrap();
    let rules = Ruleset::read("everything.nft", RULES, &NoFiles).unwrap();
    let router = Arc::new(Router::new(engine, rules, topology, seed));
    let mut replay = Replay::new(Arc::clone(&router), Entry::Named, Vantage::Router);
    let mut frames = Frames::new(seed);
    let given = frames.next();
    let mut one = One { interfaces: interfaces(), given, at: Time::from_secs(1_700_000_000), number: 0 };
    let mut out = Collect { topology: router.topology(), out: Vec::new(), faults: Vec::new() };
    let mut listener = Listener::default();
    let (mut events, mut full, mut slowest) = (Vec::new(), None, Duration::ZERO);
    let mut before: u64 = 0;
    let mut expected: BTreeMap<&'static str, u64> = BTreeMap::new();
    for n in 1..=wanted {
        let begin = Instant::now();
        let step = replay.step(&mut one, &mut out, &mut listener).unwrap().unwrap();
        let took = begin.elapsed();
        slowest = slowest.max(took);
        let about = || format!("frame {n} of seed {seed}: {:02x?} on {:?}", one.given.bytes, one.given.iface);
        assert!(took < HANG, "{took:?} for {}", about());
        assert!(out.faults.is_empty(), "{:?} for {}", out.faults, about());
        *expected.entry(reason(step.fate.as_ref())).or_default() += 1;
        let after: u64 = books(&replay, &router).values().sum();
        assert_eq!(after, before + 1, "{:?} for {}", step.fate, about());
        before = after;
        listener.text.clear();
        router.engine().take_events(&mut events);
        events.clear();
        if n % 1024 == 0 {
            let held = alloc::held();
            assert!(router.engine().count() as u64 <= MOST_CONNECTIONS);
            if router.engine().count() as u64 == MOST_CONNECTIONS || n * 4 > wanted {
                let full = *full.get_or_insert(held);
                assert!(held < full + MOST_GROWTH, "{full} bytes held became {held} by {}", about());
            }
        }
        frames.notice(std::mem::take(&mut out.out));
        one.given = frames.next();
        one.at = match n % 997 {
            0 => one.at - Duration::from_secs(3),
            _ => one.at + one.given.after,
        };
    }
    // The end of time.
    one.at = Time::MAX;
    replay.step(&mut one, &mut out, &mut listener).unwrap();
    assert_eq!(replay.counts().frames, wanted + 1);
    let mut books = books(&replay, &router);
    assert_eq!(books.values().sum::<u64>(), wanted + 1, "{books:?}");
    let received = router.stats().received.get();
    eprintln!("slowest {slowest:?}, received {received}, counters {books:#?}");
    for (name, count) in router.engine().stats().invalid_by_reason() {
        eprintln!("invalid {name} {count}");
    }
    for (name, value) in router.engine().stats().named() {
        eprintln!("{name} {value}");
    }
    let invalid: u64 = router.engine().stats().invalid_by_reason().map(|(_, n)| n).sum();
    let stats = router.engine().stats();
    assert_eq!(invalid, stats.invalid.get() + stats.error.get());
    books.retain(|name, count| expected.get(name).is_none_or(|n| *n != *count));
    assert!(books.values().all(|n| *n <= 1 + expected.values().max().unwrap()), "{books:?}");
    for family in [Family::Ipv4, Family::Ipv6] {
        let _ = family;
    }
}
