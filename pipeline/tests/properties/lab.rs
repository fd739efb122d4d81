//! A router in a laboratory: scenarios of `uct-tests` step by step, and what comes out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uct_engine::{Direction, Engine, Entry, Info, Invalid, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Arrival, Emit, Emitted, Fate, Observer, Router};
use uct_pipeline::topology::{Dev, Topology};
use uct_tests::generate::{Area, Player, Scope};
use uct_tests::observed::{self, LOCAL, Observed};
use uct_tests::packet::describe;
use uct_tests::scenario::{Setup, Step};

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Out {
    /// `None`: it was delivered to the router itself.
    pub(crate) dev: Option<Dev>,
    pub(crate) packet: Vec<u8>,
}

/// One packet, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// By which interface; `None` for the router's own.
    pub(crate) iif: Option<Dev>,
    pub(crate) packet: Vec<u8>,
    pub(crate) fate: Fate,
    pub(crate) out: Vec<Out>,
    /// The connection's number and the packet's direction, if it had one.
    pub(crate) tracked: Option<(u32, Direction)>,
}

#[derive(Default)]
pub(crate) struct Collect {
    pub(crate) out: Vec<Out>,
    tracked: Option<(u32, Direction)>,
}

impl Emit for Collect {
    fn emit(&mut self, packet: Emitted<'_>) {
        self.out.push(Out { dev: Some(packet.dev), packet: packet.bytes.to_vec() });
    }

    fn deliver(&mut self, packet: &[u8], _: Time) {
        self.out.push(Out { dev: None, packet: packet.to_vec() });
    }
}

/// Remembers the first packet's connection (that of an answer comes later).
#[derive(Default)]
struct Watch {
    tracked: Option<(u32, Direction)>,
    is_done: bool,
}

impl uct_engine::Observer for Watch {}
impl uct_nat::rules::Observer for Watch {}
impl Observer for Watch {
    fn is_listening(&self) -> bool {
        true
    }

    fn tracked(&mut self, entry: &Entry, dir: Direction, _: Info) {
        if !self.is_done {
            (self.tracked, self.is_done) = (Some((entry.id.0, dir)), true);
        }
    }

    fn invalid(&mut self, _: Invalid) {
        self.is_done = true;
    }
}

pub(crate) struct Lab {
    pub(crate) router: Router,
    now: Time,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in by {:?}: {}\n  {:?}", self.iif, describe(&self.packet), self.fate)?;
        self.out.iter().try_for_each(|out| write!(f, "\n  out by {:?}: {}", out.dev, describe(&out.packet)))
    }
}

/// Where two packets differ; nothing if they do not.
pub(crate) fn difference(one: &[u8], other: &[u8]) -> Option<String> {
    let at = one.iter().zip(other).position(|(a, b)| a != b);
    let at = at.or_else(|| (one.len() != other.len()).then_some(one.len().min(other.len())))?;
    Some(format!("from byte {at} on: {} | {}", describe(one), describe(other)))
}

/// The rules, but for those that rewrite what NAT does not: nobody undoes a segment size that a rule has set.
fn ruleset(text: &str) -> Ruleset {
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("maxseg")).collect();
    Ruleset::read("rules", &lines.join("\n"), &NoFiles).expect("rules")
}

impl Lab {
    pub(crate) fn new(setup: &Setup, seed: u64) -> Self {
        let engine = Arc::new(Engine::new(seed));
        for (name, value) in &setup.sysctls {
            engine.settings().set_by_name(&format!("net.{name}"), value).expect("a setting");
        }
        let topology = toml::to_string(&setup.topology).expect("a topology");
        let topology = Topology::parse("topology", &topology).expect("a topology");
        let rules = ruleset(&setup.rules);
        Lab { router: Router::new(engine, rules, topology, seed), now: Time::from_secs(1_700_000_000) }
    }

    /// Takes one step, if it is one that uct takes.
    pub(crate) fn step(&mut self, step: &Step) -> Option<Turn> {
        match step {
            Step::Frame { iface, bytes } => {
                let iif = self.router.topology().dev(iface).expect("an interface");
                Some(self.send(Some(iif), bytes.get(14..).unwrap_or(&[])))
            }
            Step::Local { bytes } => Some(self.send(None, bytes)),
            Step::Advance { seconds } => {
                self.now = self.now + Duration::from_secs((*seconds).into());
                None
            }
            Step::Rules { text } => {
                self.router.set_rules(ruleset(text));
                None
            }
            _ => None,
        }
    }

    /// A moment later.
    pub(crate) fn tick(&mut self) -> Time {
        self.now = self.now + Duration::from_millis(1);
        self.now
    }

    /// A packet arrives, or the router sends one itself.
    pub(crate) fn send(&mut self, iif: Option<Dev>, packet: &[u8]) -> Turn {
        self.now = self.now + Duration::from_millis(1);
        let (mut bytes, wire_len, at) = (packet.to_vec(), packet.len(), self.now);
        let (mut collect, mut watch) = (Collect::default(), Watch::default());
        self.router.pass_time(at, &mut collect, &mut watch);
        collect.out.clear();
        watch = Watch::default();
        let fate = match iif {
            Some(iif) => {
                let arrival = Arrival {
                    at,
                    iif,
                    bytes: &mut bytes,
                    wire_len,
                    link: None,
                    offload: Offload::default(),
                    seen: uct_engine::Seen::default(),
                };
                self.router.receive(arrival, &mut collect, &mut watch)
            }
            None => self.router.send_own(&mut bytes, wire_len, at, &mut collect, &mut watch),
        };
        collect.tracked = watch.tracked;
        Turn { iif, packet: without_padding(packet).to_vec(), fate, out: collect.out, tracked: collect.tracked }
    }

    /// The same in the words of the player.
    pub(crate) fn observed(&self, turn: &Turn) -> Observed {
        let name = |dev: Option<Dev>| dev.and_then(|dev| self.router.topology().interface(dev)).map(|i| i.name.clone());
        let out = turn.out.iter().map(|out| observed::Emitted {
            iface: name(out.dev).unwrap_or_else(|| LOCAL.to_owned()),
            packet: out.packet.clone(),
        });
        Observed { out: out.collect(), ..Observed::default() }
    }
}

/// What the IP header says is the packet; the link may have padded it.
fn without_padding(packet: &[u8]) -> &[u8] {
    let length = match packet {
        [first, _, high, low, ..] if first >> 4 == 4 => usize::from(u16::from_be_bytes([*high, *low])),
        [first, _, _, _, high, low, ..] if first >> 4 == 6 => 40 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => packet.len(),
    };
    packet.get(..length).unwrap_or(packet)
}

/// Plays a scenario in which every packet may answer what came out before, and shows each turn.
pub(crate) fn play(area: Area, seed: u64, mut turn: impl FnMut(&mut Lab, &Turn)) {
    let mut player = Player::new(area, Scope::Path, seed);
    let mut lab = Lab::new(player.setup(), seed);
    while let Some(step) = player.next_step() {
        if let Some(taken) = lab.step(&step) {
            player.notice(&lab.observed(&taken));
            turn(&mut lab, &taken);
        }
    }
}

/// How many scenarios of each area: `UCT_FUZZ_FRAMES` stands for a thousand frames of them all.
pub(crate) fn rounds(default: u64) -> u64 {
    std::env::var("UCT_FUZZ_FRAMES").ok().and_then(|text| text.parse::<u64>().ok()).map_or(default, |n| n / 1000)
}
