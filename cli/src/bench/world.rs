//! The router under load, and chunks of packets that go through it.
//!
//! ```text
//!   10.0.0.0/8 ── lan0 ┤ router ├ wan0 (203.0.113.1) ── 198.18.0.0/15
//! ```
//! A chunk is filled with packets first, and only what the router does with them afterwards is timed: what it costs to make a
//! packet is in no figure. A chunk fits in a core's second-level cache, where a network card would put packets too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uct_engine::{Direction, Engine, Sysctl, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Arrival, Emit, Emitted, Fate, Router, Silent};
use uct_pipeline::topology::{Dev, Topology};

use super::flow::{Bytes, Flows, Kind, LEN, MOST, PUBLIC, SERVER, SERVER_PORT};
use crate::Failure;
use crate::args::{NatArg, ProtoArg};

/// Packets of one chunk.
pub const CHUNK: usize = 4096;
/// When the load begins.
pub const EPOCH: Time = Time::from_secs(1_000_000_000);

const LAN: Dev = Dev(0);
const WAN: Dev = Dev(1);
const TOPOLOGY: &str = r#"
[[interface]]
name = "lan0"
addresses = ["10.0.0.1/8"]

[[interface]]
name = "wan0"
addresses = ["203.0.113.1/24"]

[[route]]
to = "default"
via = "203.0.113.254"
dev = "wan0"
"#;

/// A router and the connections through it.
#[derive(Debug)]
pub struct World {
    /// The router.
    pub router: Router,
    /// The connections.
    pub flows: Flows,
}

/// A load: what kind of connections, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// TCP or UDP.
    pub proto: ProtoArg,
    /// How they are translated.
    pub nat: NatArg,
    /// How many connections stand in the table.
    pub connections: u32,
    /// How many more may come and go.
    pub spare: u32,
}

impl World {
    /// A router with an empty table; `more` is a ruleset in nft's syntax besides the one that translates.
    pub fn new(load: &Load, more: &str) -> Result<Self, Failure> {
        let count = load.connections.saturating_add(load.spare).min(MOST);
        let translate = match load.nat {
            NatArg::None => String::new(),
            NatArg::Snat => format!(
                "table ip bench {{\nchain srcnat {{\ntype nat hook postrouting priority srcnat; \
                 oifname \"wan0\" snat to {PUBLIC}\n}}\n}}\n"
            ),
            NatArg::Dnat => format!(
                "table ip bench {{\nchain dstnat {{\ntype nat hook prerouting priority dstnat; \
                 iifname \"wan0\" ip daddr {PUBLIC} meta l4proto {{ tcp, udp }} th dport 443 \
                 dnat to {SERVER}:{SERVER_PORT}\n}}\n}}\n"
            ),
        };
        let rules = Ruleset::read("bench", &format!("{translate}{more}"), &NoFiles).map_err(Failure::input)?;
        let topology = Topology::parse("bench", TOPOLOGY).map_err(Failure::input)?;
        let engine = Engine::new(1);
        let settings = [
            (Sysctl::Max, 0),
            // Connections that stand in the table do not run out while others do.
            (Sysctl::UdpTimeout, 432_000),
            (Sysctl::UdpTimeoutStream, 432_000),
        ];
        for (key, value) in settings {
            engine.settings().set(key, value).map_err(Failure::input)?;
        }
        let router = Router::new(Arc::new(engine), rules, topology, 1);
        Ok(World { router, flows: Flows::new(count, load.proto, load.nat) })
    }

    /// Opens connections `from..to`: each is established afterwards. Answers how long their first packets took.
    pub fn open(&self, from: u32, to: u32, batch: usize) -> Result<Duration, Failure> {
        let mut chunk = Chunk::new();
        let mut took = Duration::ZERO;
        let steps =
            [(Direction::Original, Kind::Open), (Direction::Reply, Kind::Open), (Direction::Original, Kind::Data)];
        for start in (from..to).step_by(CHUNK) {
            for (n, (dir, kind)) in steps.into_iter().enumerate() {
                chunk.fill(&self.flows, (start..to).take(CHUNK).map(|at| (at, dir, kind)));
                let spent = chunk.run(self, batch, EPOCH, Duration::ZERO)?;
                if n == 0 {
                    took += spent;
                }
            }
        }
        Ok(took)
    }
}

/// Packets that are ready.
#[derive(Debug)]
pub struct Chunk {
    packets: Vec<Bytes>,
    whose: Vec<(u32, Direction, Kind)>,
}

/// Sees what leaves.
struct Leaving<'a> {
    chunk: &'a [(u32, Direction, Kind)],
    flows: &'a Flows,
    /// How many have left; each leaves once, in order.
    sent: usize,
}

impl Emit for Leaving<'_> {
    fn emit(&mut self, packet: Emitted<'_>) {
        if let Some((at, Direction::Original, Kind::Open)) = self.chunk.get(self.sent) {
            self.flows.opened(*at, packet.bytes);
        }
        self.sent += 1;
    }
}

impl Chunk {
    /// An empty chunk.
    pub fn new() -> Self {
        Chunk { packets: Vec::with_capacity(CHUNK), whose: Vec::with_capacity(CHUNK) }
    }

    /// How many packets are in it.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Makes packets: the next one of each connection and direction that is named.
    pub fn fill(&mut self, flows: &Flows, whose: impl Iterator<Item = (u32, Direction, Kind)>) {
        self.packets.clear();
        self.whose.clear();
        for (at, dir, kind) in whose {
            let mut bytes = [0; LEN];
            flows.packet(at, dir, kind, &mut bytes);
            self.packets.push(bytes);
            self.whose.push((at, dir, kind));
        }
    }

    /// Sends the packets through the router, so many at a time; time stands at `now` for the first batch and goes on by
    /// `step` with each. Answers how long it took. Every packet must come through.
    pub fn run(&mut self, world: &World, batch: usize, now: Time, step: Duration) -> Result<Duration, Failure> {
        let World { router, flows } = world;
        let mut out = Leaving { chunk: &self.whose, flows, sent: 0 };
        let (mut now, mut at) = (now, 0);
        let begin = Instant::now();
        for packets in self.packets.chunks_mut(batch) {
            router.pass_time(now, &mut out, &mut Silent);
            let first = at;
            let arrivals = packets.iter_mut().map(|bytes| {
                let (_, dir, _) = self.whose[at];
                at += 1;
                let iif = if flows.is_from_inside(dir) { LAN } else { WAN };
                Arrival {
                    at: now,
                    iif,
                    bytes,
                    wire_len: LEN,
                    link: None,
                    offload: Offload::default(),
                    seen: uct_engine::Seen::default(),
                }
            });
            let mut arrivals: Vec<_> = arrivals.collect();
            let mut failure = None;
            router.receive_batch(&mut arrivals, &mut out, &mut Silent, |n, fate| {
                if !matches!(fate, Fate::Sent(_)) && failure.is_none() {
                    failure = Some(lost(&fate, self.whose[first + n]));
                }
            });
            if let Some(failure) = failure {
                return Err(failure);
            }
            now = now + step;
        }
        let took = begin.elapsed();
        for (at, dir, _) in &self.whose {
            flows.seen(*at, *dir);
        }
        Ok(took)
    }

    /// The same walk over the packets without a router: what the loop itself costs.
    pub fn walk(&mut self, world: &World, batch: usize) -> Duration {
        let World { flows, .. } = world;
        let mut out = Leaving { chunk: &[], flows, sent: 0 };
        let begin = Instant::now();
        for packets in self.packets.chunks_mut(batch) {
            for bytes in packets {
                let (_, dir, _) = self.whose[out.sent];
                let iif = if flows.is_from_inside(dir) { LAN } else { WAN };
                let arrival = std::hint::black_box(Arrival {
                    at: EPOCH,
                    iif,
                    bytes,
                    wire_len: LEN,
                    link: None,
                    offload: Offload::default(),
                    seen: uct_engine::Seen::default(),
                });
                let next = PUBLIC.into();
                out.emit(Emitted {
                    at: EPOCH,
                    dev: iif,
                    next,
                    bytes: arrival.bytes,
                    wire_len: LEN,
                    offload: arrival.offload,
                });
            }
        }
        begin.elapsed()
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new()
    }
}

#[cold]
fn lost(fate: &Fate, (at, dir, kind): (u32, Direction, Kind)) -> Failure {
    Failure::input(format!("a packet of connection {at} ({dir:?}, {kind:?}) did not come through: {fate:?}"))
}
