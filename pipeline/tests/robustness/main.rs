//! Nothing that a frame, a capture, a topology or a ruleset can contain makes the router panic, hang, grow without bound, or
//! lose count.
//!
//! `UCT_FUZZ_FRAMES` asks for more frames than the default, `UCT_FUZZ_SEED` for others. A failure names both.

mod alloc;
mod bounded;
mod frames;
mod table;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use frames::{Frames, Given, interfaces};
use uct_engine::{Engine, Invalid, Listening, Packet, Sysctl, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::capture::{CaptureError, Frame, Interface, Source};
use uct_pipeline::replay::Replay;
use uct_pipeline::router::{Drop, Emit, Emitted, Fate, Observer, Router};
use uct_pipeline::topology::{Entry, Inference, Topology};
use uct_pipeline::vantage::Vantage;
use uct_tests::observed;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

const RULES: &str = include_str!("everything.nft");
/// How many frames if nobody asks for more.
const FRAMES: u64 = 100_000;
/// No frame may take longer, however busy the machine is.
const HANG: Duration = Duration::from_secs(20);
/// What the router may hold beside what it held when its table was full for the first time.
const MOST_GROWTH: usize = 24 << 20;

/// Memory is counted for the whole process, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

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

    fn dropped(&mut self, why: &Drop) {
        let _ = write!(self.text, "{why}");
    }
}

/// Where the frames go.
struct World {
    topology: Topology,
    entry: Entry,
    vantage: Vantage,
    /// Nanoseconds that pass in a nanosecond: below one the table is full at all times.
    pace: f64,
    sysctls: &'static [(Sysctl, u64)],
}

/// A router with addresses, and a link without (which masquerade and redirect can do nothing with).
fn home(pace: f64, sysctls: &'static [(Sysctl, u64)]) -> World {
    let mut text = toml::to_string(&uct_tests::generate::world::World::new().topology).unwrap();
    text.push_str("[[interface]]\nname = \"tun0\"\nmtu = 1280\n");
    for to in ["192.0.2.0/24", "2001:db8:f::/64"] {
        text.push_str(&format!("[[route]]\nto = \"{to}\"\ndev = \"tun0\"\n"));
    }
    for (to, via) in [("0.0.0.0/0", "203.0.113.254"), ("2000::/4", "2001:db8:2::254")] {
        text.push_str(&format!("[[route]]\nto = \"{to}\"\nvia = \"{via}\"\ndev = \"wan0\"\n"));
    }
    let topology = Topology::parse("home", &text).unwrap();
    World { topology, entry: Entry::Named, vantage: Vantage::Router, pace, sysctls }
}

/// The names of all reasons that were counted.
type Reasons = BTreeSet<&'static str>;

/// Sends frames, and keeps books beside the router's.
fn run(name: &str, world: World, share: u64) -> Reasons {
    let (seed, wanted) = (number("UCT_FUZZ_SEED", 1), number("UCT_FUZZ_FRAMES", FRAMES) / share);
    eprintln!("{name}: UCT_FUZZ_SEED={seed}, {wanted} frames");
    let engine = Arc::new(Engine::new(seed));
    for (key, value) in world.sysctls {
        engine.settings().set(*key, *value).unwrap();
    }
    let most = u64::from(engine.settings().get(Sysctl::Max));
    engine.listen(Listening::Yes);
    let rules = Ruleset::read("everything.nft", RULES, &NoFiles).unwrap();
    let router = Arc::new(Router::new(engine, rules, world.topology, seed));
    let mut replay = Replay::new(Arc::clone(&router), world.entry, world.vantage);
    let mut frames = Frames::new(seed);
    let mut one = One { interfaces: interfaces(), given: frames.next(), at: Time::from_secs(1_700_000_000), number: 0 };
    let mut out = Collect { topology: router.topology(), out: Vec::new(), faults: Vec::new() };
    let mut listener = Listener::default();
    let (mut events, mut full, mut slowest) = (Vec::new(), None, Duration::ZERO);
    let mut books = Books::default();
    for n in 1..=wanted {
        let begin = Instant::now();
        let step = replay.step(&mut one, &mut out, &mut listener).unwrap().unwrap();
        let took = begin.elapsed();
        slowest = slowest.max(took);
        let about = || format!("frame {n} of seed {seed} on {}: {:02x?}", one.given.iface.0, one.given.bytes);
        assert!(took < HANG, "{took:?} for {}", about());
        assert!(out.faults.is_empty(), "{:?} for {}", out.faults, about());
        if let Err(why) = books.enter(step.fate.as_ref(), &replay, &router) {
            panic!("{why} for {}", about());
        }
        listener.text.clear();
        router.engine().take_events(&mut events);
        if let Err(why) = table::check(router.engine(), &events, n) {
            panic!("{why} after {}", about());
        }
        events.clear();
        if n % 1024 == 0 {
            assert!(router.engine().count() as u64 <= most);
            if n * 4 > wanted {
                let held = alloc::held();
                let full = *full.get_or_insert(held);
                assert!(held < full + MOST_GROWTH, "{full} bytes held became {held} by {}", about());
            }
        }
        frames.notice(std::mem::take(&mut out.out));
        one.given = frames.next();
        one.at = match n % 997 {
            0 => one.at - Duration::from_secs(3),
            _ => one.at + one.given.after.mul_f64(world.pace),
        };
    }
    // The end of time.
    one.at = Time::MAX;
    let step = replay.step(&mut one, &mut out, &mut listener).unwrap().unwrap();
    books.enter(step.fate.as_ref(), &replay, &router).unwrap();
    assert_eq!(replay.counts().frames, wanted + 1);
    assert_eq!(books.0.values().sum::<u64>(), wanted + 1);
    let stats = router.engine().stats();
    let invalid: BTreeMap<_, _> = stats.invalid_by_reason().collect();
    assert_eq!(invalid.values().sum::<u64>(), stats.invalid.get() + stats.error.get());
    eprintln!("slowest {slowest:?}, {:?}, invalid {invalid:?}", books.0);
    eprintln!("{:?}", stats.named().collect::<Vec<_>>());
    books.0.keys().chain(invalid.keys()).copied().collect()
}

/// How often each fate was met, by the answers that the replay gave.
#[derive(Default)]
struct Books(BTreeMap<&'static str, u64>);

impl Books {
    /// Enters an answer, and compares with the counters: the one of that name has moved by one, and no other.
    fn enter(&mut self, fate: Option<&Fate>, replay: &Replay, router: &Router) -> Result<(), String> {
        let is_own = |at: u64| self.0.get("own").copied().unwrap_or(0) != at;
        let name = match fate {
            None => "outgoing",
            Some(Fate::Sent(_)) if is_own(router.stats().own.get()) => "own",
            Some(Fate::Sent(_)) => "forwarded",
            Some(Fate::Delivered) => "delivered",
            Some(Fate::Held) => "held",
            Some(Fate::Dropped(why)) => why.name(),
        };
        *self.0.entry(name).or_default() += 1;
        let outgoing = [("outgoing", replay.counts().outgoing)].into_iter();
        let counted: BTreeMap<_, _> = outgoing.chain(router.stats().fates()).filter(|(_, n)| *n > 0).collect();
        if counted == self.0 { Ok(()) } else { Err(format!("{fate:?}: counted {counted:?}, answered {:?}", self.0)) }
    }
}

const COUNT_ALL: &[(Sysctl, u64)] =
    &[(Sysctl::Max, 2000), (Sysctl::Buckets, 512), (Sysctl::Acct, 1), (Sysctl::Timestamp, 1)];
const SMALL: &[(Sysctl, u64)] = &[
    (Sysctl::Max, 60),
    (Sysctl::Buckets, 16),
    (Sysctl::Checksum, 0),
    (Sysctl::TcpBeLiberal, 1),
    (Sysctl::TcpLoose, 0),
    (Sysctl::Frag6HighThresh, 8000),
];

#[test]
fn any_frame_is_counted_under_one_reason() {
    let _alone = alone();
    let mut seen = run("a router", home(1.0, COUNT_ALL), 2);
    seen.extend(run("a small slow router", home(0.02, SMALL), 4));
    let inside = Vantage::Inside(vec!["192.168.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()]);
    seen.extend(run("a capture from inside", World { vantage: inside, ..home(1.0, COUNT_ALL) }, 8));
    let inferred = Inference::new(&[]).finish();
    let world = World { topology: inferred.topology, entry: inferred.entry, ..home(1.0, COUNT_ALL) };
    seen.extend(run("an inferred router", world, 8));
    let missing: Vec<_> = Drop::NAMES.iter().chain(&Invalid::NAMES).filter(|name| !seen.contains(*name)).collect();
    eprintln!("never met: {missing:?}");
}
