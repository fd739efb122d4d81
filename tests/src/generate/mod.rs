//! Random scenarios that look at what comes out before they go on.
//!
//! ```text
//!   seed ─► Player ── step ──► kernel ── Observed ──┐
//!             ▲                                     │   the next packet may answer it
//!             └─────────────────────────────────────┘
//! ```
//!
//! A player belongs to an area; the area says which traffic, which settings and which rules. The same seed gives the
//! same scenario as long as the kernel draws no random port; a stored scenario is data and does not need its seed.

mod fragments;
mod icmp;
mod oddities;
mod random;
mod routing;
mod rules;
mod sctp;
mod settings;
mod tcp;
mod udp;
pub mod world;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::str::FromStr;

pub use self::random::Random;
use self::world::{Family, INSIDE, MIDDLE, OUTSIDE, Origin, Seen, Shot, World, destination, source};
use crate::observed::Observed;
use crate::packet::build::{mend_ipv4, proto};
use crate::scenario::{Full, Setup, Step};

/// A source of packets.
pub trait Traffic {
    /// The next packet.
    fn shoot(&mut self, random: &mut Random, world: &World) -> Option<Shot>;

    /// What came out after the last packet, whosever it was.
    fn notice(&mut self, seen: &[Seen]);
}

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The TCP state machine.
    Tcp,
    /// UDP, UDP-Lite, GRE and protocols without ports.
    Udp,
    /// ICMP queries and errors about all other traffic.
    Icmp,
    /// Translation of everything.
    Nat,
    /// Fragments, with and without translation.
    Frag,
    /// The SCTP state machine.
    Sctp,
    /// What the router tells hosts by itself, and how often; where packets may come from.
    Router,
    /// A full table in which nothing can be given up.
    Full,
    /// A full table in which something is given up for every new connection.
    Early,
    /// All of it at once, with rules that drop, mark, zone and do not track.
    Mixed,
}

impl Area {
    /// All of them.
    pub const ALL: [Area; 10] = [
        Area::Tcp,
        Area::Udp,
        Area::Icmp,
        Area::Nat,
        Area::Frag,
        Area::Sctp,
        Area::Router,
        Area::Full,
        Area::Early,
        Area::Mixed,
    ];

    /// Those that need neither real seconds nor a whole table: played if nobody names any.
    pub const QUICK: [Area; 7] = [Area::Tcp, Area::Udp, Area::Icmp, Area::Nat, Area::Frag, Area::Sctp, Area::Mixed];

    /// Scenarios that can be played at one time.
    #[must_use]
    pub fn most_threads(self) -> usize {
        if matches!(self, Area::Full | Area::Early) { crate::kernel::SPACE } else { usize::MAX }
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Area::Tcp => "tcp",
            Area::Udp => "udp",
            Area::Icmp => "icmp",
            Area::Nat => "nat",
            Area::Frag => "frag",
            Area::Sctp => "sctp",
            Area::Router => "router",
            Area::Full => "full",
            Area::Early => "early",
            Area::Mixed => "mixed",
        }
    }
}

impl FromStr for Area {
    type Err = String;

    fn from_str(text: &str) -> Result<Area, String> {
        let found = Area::ALL.into_iter().find(|area| area.name() == text);
        found.ok_or_else(|| format!("no area {text}; there are {}", Area::ALL.map(Area::name).join(", ")))
    }
}

/// How much of uct the scenario may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Tracking alone: every packet is forwarded, no rule decides anything.
    Engine,
    /// The whole path.
    Path,
}

/// Makes one scenario, step by step.
pub struct Player {
    random: Random,
    world: World,
    area: Area,
    scope: Scope,
    setup: Setup,
    traffic: Vec<(u32, Box<dyn Traffic>)>,
    waiting: VecDeque<Shot>,
    left: usize,
    /// Addresses that interfaces have lost.
    lost: BTreeSet<&'static str>,
    /// How many packets in a hundred are odd in what any packet has.
    odd: u32,
}

impl Player {
    /// A player of `area`, grown from `seed`.
    #[must_use]
    pub fn new(area: Area, scope: Scope, seed: u64) -> Player {
        let mut random = Random::new(seed);
        let world = World::new();
        let mut sysctls = settings::draw(&mut random);
        if area == Area::Router {
            sysctls.extend(settings::draw_router(&mut random));
        }
        let full = match area {
            // Without events the whole table would have to be listed.
            Area::Full | Area::Early => {
                sysctls.retain(|(name, _)| !name.ends_with("conntrack_events"));
                let room = if area == Area::Full { random.between(1, 6) } else { 0 };
                Some(Full { room, assured: area == Area::Full })
            }
            _ => None,
        };
        let setup =
            Setup { full, sysctls, rules: rules::draw(&mut random, area, scope), topology: world.topology.clone() };
        let traffic = traffic(&mut random, area);
        let left = 15 + random.below(40);
        let odd = *random.pick(&[0, 1, 5]);
        Player {
            random,
            world,
            area,
            scope,
            setup,
            traffic,
            waiting: VecDeque::new(),
            left,
            lost: BTreeSet::new(),
            odd,
        }
    }

    /// What holds before the first step.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The next step, until the scenario is over.
    pub fn next_step(&mut self) -> Option<Step> {
        if let Some(shot) = self.waiting.pop_front() {
            return Some(self.send(&shot));
        }
        self.left = self.left.checked_sub(1)?;
        if self.random.chance(if self.area == Area::Router { 9 } else { 4 }) {
            return Some(Step::Advance { seconds: settings::draw_seconds(&mut self.random, self.area) });
        }
        if self.scope == Scope::Path
            && matches!(self.area, Area::Mixed | Area::Nat | Area::Full)
            && self.random.chance(1)
        {
            // An interface loses its address: masquerading forgets its connections, and the routes are gone.
            if self.random.chance(4) {
                let (iface, address) = *self.random.pick(&[
                    ("wan0", "203.0.113.1/24"),
                    ("dmz0", "10.0.0.1/24"),
                    ("wan0", "2001:db8:2::1/64"),
                    ("dmz0", "fd00:3::1/64"),
                ]);
                if self.lost.insert(address) {
                    // Of the errors about what has no route any more the kernel sends a sender five at once.
                    self.left = self.left.min(5);
                    return Some(Step::DeleteAddress { iface: iface.into(), address: address.into() });
                }
            }
            return Some(Step::Rules { text: rules::draw(&mut self.random, self.area, self.scope) });
        }
        if self.scope == Scope::Path && self.random.chance(1) {
            let change = settings::draw_change(&mut self.random);
            let is_events = matches!(&change, Step::Sysctl { name, .. } if name.ends_with("conntrack_events"));
            if !(is_events && self.setup.full.is_some()) {
                return Some(change);
            }
        }
        let weights: Vec<u32> = self.traffic.iter().map(|(weight, _)| *weight).collect();
        let index = self.random.weighted(&weights);
        let mut shot = self.traffic[index].1.shoot(&mut self.random, &self.world)?;
        while shot.from == Origin::Router && !self.may_send(&shot.packet) {
            shot = self.traffic[index].1.shoot(&mut self.random, &self.world)?;
        }
        if self.scope == Scope::Path && shot.from != Origin::Router && self.random.chance(self.odd) {
            oddities::alter(&mut self.random, &mut shot.packet);
        }
        if self.area == Area::Frag || (self.area == Area::Mixed && self.random.chance(5)) {
            self.waiting.extend(fragments::cut(&mut self.random, &shot));
            let first = self.waiting.pop_front()?;
            return Some(self.send(&first));
        }
        Some(self.send(&shot))
    }

    /// The step that sends a packet. Short frames are padded on some links.
    fn send(&mut self, shot: &Shot) -> Step {
        let mut step = self.world.send(shot);
        if let Step::Frame { bytes, .. } = &mut step
            && self.odd > 0
            && self.random.chance(3)
        {
            let length = 1 + self.random.below(40);
            bytes.extend(self.random.bytes(length));
        }
        step
    }

    /// Whether the router's stack would send such a packet, from itself to somebody else.
    fn may_send(&self, packet: &[u8]) -> bool {
        let own = |address: Option<IpAddr>| address.is_some_and(|address| self.world.is_router(address));
        packet.len() <= 1500 && own(source(packet)) && !own(destination(packet))
    }

    /// Looks at what the last step did.
    pub fn notice(&mut self, observed: &Observed) {
        let seen = self.world.notice(observed);
        for (_, traffic) in &mut self.traffic {
            traffic.notice(&seen);
        }
    }
}

fn traffic(random: &mut Random, area: Area) -> Vec<(u32, Box<dyn Traffic>)> {
    use icmp::IcmpTraffic;
    use sctp::SctpTraffic;
    use tcp::TcpTraffic;
    use udp::DatagramTraffic;
    let odd = *random.pick(&[0, 10, 25, 50]);
    let all = [proto::UDP, proto::UDP, proto::UDPLITE, proto::GRE, proto::ESP, 33, 253];
    match area {
        Area::Tcp => vec![(95, Box::new(TcpTraffic::new(odd))), (5, Box::new(IcmpTraffic::new(100)))],
        Area::Udp => vec![(95, Box::new(DatagramTraffic::new(&all))), (5, Box::new(IcmpTraffic::new(100)))],
        Area::Icmp => vec![
            (50, Box::new(IcmpTraffic::new(65))),
            (20, Box::new(TcpTraffic::new(10))),
            (20, Box::new(DatagramTraffic::new(&all))),
            (10, Box::new(SctpTraffic::new(10))),
        ],
        Area::Sctp => vec![(95, Box::new(SctpTraffic::new(odd))), (5, Box::new(IcmpTraffic::new(100)))],
        Area::Frag => vec![
            (60, Box::new(DatagramTraffic::new(&all))),
            (20, Box::new(IcmpTraffic::new(10))),
            (20, Box::new(TcpTraffic::new(5))),
        ],
        Area::Nat => vec![
            (40, Box::new(TcpTraffic::new(5))),
            (35, Box::new(DatagramTraffic::new(&all))),
            (15, Box::new(IcmpTraffic::new(50))),
            (10, Box::new(SctpTraffic::new(5))),
        ],
        Area::Router => vec![
            (80, Box::new(routing::RoutingTraffic)),
            (10, Box::new(TcpTraffic::new(5))),
            (10, Box::new(IcmpTraffic::new(30))),
        ],
        Area::Full | Area::Early | Area::Mixed => vec![
            (35, Box::new(TcpTraffic::new(odd))),
            (30, Box::new(DatagramTraffic::new(&all))),
            (20, Box::new(IcmpTraffic::new(50))),
            (15, Box::new(SctpTraffic::new(odd))),
        ],
    }
}

/// Two ends of a new conversation: where it starts, from which address and port, and to which.
fn endpoints(
    random: &mut Random,
    world: &World,
    sports: &[u16],
    dports: &[u16],
) -> (Origin, (IpAddr, u16), (IpAddr, u16)) {
    let family = if random.chance(65) { Family::V4 } else { Family::V6 };
    let (inside, outside, middle) = (*random.pick(&INSIDE), *random.pick(&OUTSIDE), *random.pick(&MIDDLE));
    let address = |number: usize| world.hosts[number].address(family);
    let router = |iface| world.router_address(iface, family);
    let (from, src, dst) = match random.below(100) {
        0..55 => (Origin::Host(inside), address(inside), address(outside)),
        55..67 => (Origin::Host(outside), address(outside), router("wan0")),
        67..72 => (Origin::Host(outside), address(outside), address(middle)),
        72..77 => (Origin::Host(inside), address(inside), address(middle)),
        77..81 => (Origin::Host(inside), address(inside), router("wan0")),
        81..84 => (Origin::Host(inside), address(inside), router("lan0")),
        84..88 => (Origin::Host(middle), address(middle), address(outside)),
        88..92 => (Origin::Host(outside), address(outside), address(inside)),
        92..97 => (Origin::Router, router("wan0"), address(outside)),
        _ => (Origin::Router, router("lan0"), address(inside)),
    };
    (from, (src, *random.pick(sports)), (dst, *random.pick(dports)))
}

/// Cuts an IP packet to `keep` bytes and makes its length field say so.
fn cut(packet: &mut Vec<u8>, keep: usize) {
    packet.truncate(keep);
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            mend_ipv4(packet);
        }
        Some(6) => {
            let length = packet.len().saturating_sub(40) as u16;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
        }
        _ => {}
    }
}
