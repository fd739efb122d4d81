//! The packet's way, in the order it happens.
//!
//! ```text
//!   frame ─► link ─► parse ─► defrag ─► PREROUTING ─► route ─┬─► FORWARD ─► POSTROUTING ─► confirm ─► refrag ─► out
//!                                       raw, track,          │    ttl, mtu    mangle, srcnat
//!                                       mangle, dstnat       └─► INPUT ─► confirm ─► the router itself
//!
//!   the router itself ─► route ─► OUTPUT ─► route again ─► POSTROUTING ─► confirm ─► out (or, by lo, INPUT)
//!                                 raw, track, mangle, dstnat, filter
//! ```
//!
//! At a hook the chains run in the order of their priorities, and so do the stops that are built in, at the priorities that
//! Linux gives them: defragmentation −400, tracking −200, NAT of destinations −100, NAT of sources 100, confirmation last.
//! What a stop decides is told to the [`Observer`]; a packet that is dropped between is never confirmed.
//!
//! Errors that a router sends (time exceeded, unreachable, fragmentation needed, a rule's reject) are packets of its own and
//! take the way of its own packets, from OUTPUT on.
//!
//! Sources: netfilter's hook priorities; which check comes before which hook (TTL and MTU before FORWARD, fragmentation after
//! POSTROUTING) was measured on Linux 6.18.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uct_engine::{Engine, Hook, Packet, Seen, Sysctl, Time};
use uct_nat::rules::{IfName, Ruleset, Step};
use uct_nat::{Draw, Nat, Seeded};

use crate::defrag::{self, Defrag, Gathered};
use crate::icmp_error::{Addressed, Peers};
use crate::link;
use crate::offload::Offload;
use crate::refrag;
use crate::route::{self, Hop, Routes};
use crate::topology::{DEFAULT_MTU, Dev, Topology};

mod answer;
mod drop;
mod links;
mod maxseg;
mod observe;
mod options;
mod own;
mod passing;
mod pull;
mod redirect;
mod rules;
mod stats;
mod stops;
mod swap;
mod tally;

use answer::Answer;
pub use drop::{Drop, RuleId};
pub use observe::{Cause, Observer, Silent};
use passing::{Halt, Origin, Passing, Tracking};
pub use stats::Stats;
use stops::interface;
pub use swap::{Change, InForce};
use tally::Tally;

/// How many connections are destroyed between two looks at the clock.
const EXPIRY_BATCH: usize = 1024;

/// A Linux router: tables, rules and routes, and the way of a packet through them.
#[derive(Debug)]
pub struct Router {
    engine: Arc<Engine>,
    nat: Arc<Nat>,
    rules: Arc<Ruleset>,
    topology: Topology,
    routes: Routes,
    /// The interfaces' names, as rules compare them.
    names: Vec<IfName>,
    lo: IfName,
    defrag: Arc<Mutex<Defrag>>,
    random: Arc<Mutex<SmallRng>>,
    peers: Arc<Mutex<Peers>>,
    stats: Arc<Stats>,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It left by an interface.
    Sent(Dev),
    /// The router itself got it.
    Delivered,
    /// It is a fragment that waits for the rest of its datagram.
    Held,
    /// It went no further.
    Dropped(Drop),
}

/// A packet on its way out, from its IP header on.
#[derive(Clone, Copy, Debug)]
pub struct Emitted<'a> {
    /// When it leaves.
    pub at: Time,
    /// By which interface.
    pub dev: Dev,
    /// Whose link address it is sent to.
    pub next: std::net::IpAddr,
    /// The packet.
    pub bytes: &'a [u8],
    /// Its length on the wire; more than `bytes` if it came from a snapped capture.
    pub wire_len: usize,
    /// What is left to the card that sends it.
    pub offload: Offload,
}

/// Where a router's packets go.
pub trait Emit {
    /// A packet leaves by an interface.
    fn emit(&mut self, packet: Emitted<'_>);

    /// A packet reaches the router itself.
    fn deliver(&mut self, packet: &[u8], at: Time) {
        let _ = (packet, at);
    }
}

/// A frame's IP packet as it arrives.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// When.
    pub at: Time,
    /// By which interface.
    pub iif: Dev,
    /// The packet, from its IP header on; link padding may follow.
    pub bytes: &'a mut [u8],
    /// How many bytes there were on the wire from the IP header on.
    pub wire_len: usize,
    /// For whom the link layer meant it; `None` for this host.
    pub link: Option<link::PacketType>,
    /// What its sender left to a card.
    pub offload: Offload,
    /// Where its connection was seen, by who has looked ahead ([`Engine::look_ahead`]).
    pub seen: Seen,
}

/// The interfaces' names, as rules compare them.
fn names(topology: &Topology) -> Vec<IfName> {
    topology.interfaces.iter().map(|i| IfName::new(&i.name)).collect()
}

impl Router {
    /// A router between the topology's interfaces. `seed` is where all that Linux draws at random comes from.
    pub fn new(engine: Arc<Engine>, rules: Ruleset, topology: Topology, seed: u64) -> Self {
        Self::with_draw(engine, rules, topology, seed, Seeded::new(seed))
    }

    /// The same, but the ports that NAT draws come from `draw`: a harness gives it those that a kernel drew.
    pub fn with_draw(
        engine: Arc<Engine>,
        rules: Ruleset,
        topology: Topology,
        seed: u64,
        draw: impl Draw + Send + 'static,
    ) -> Self {
        let routes = Routes::new(&topology);
        engine.keep_labels(rules.labels());
        let defrag = defrag::Settings {
            nf_conntrack_frag6_timeout: engine.settings().seconds(Sysctl::Frag6Timeout),
            nf_conntrack_frag6_high_thresh: engine.settings().get(Sysctl::Frag6HighThresh) as usize,
            ..defrag::Settings::default()
        };
        Router {
            engine,
            nat: Arc::new(Nat::new(draw)),
            rules: Arc::new(rules),
            names: names(&topology),
            lo: IfName::new("lo"),
            topology,
            routes,
            defrag: Arc::new(Mutex::new(Defrag::new(defrag))),
            random: Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))),
            peers: Arc::default(),
            stats: Arc::default(),
        }
    }

    /// The connection tracker.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The rules in force.
    pub fn rules(&self) -> &Ruleset {
        &self.rules
    }

    /// Puts other rules in force. What was decided about connections stays decided, but the timeouts that old rules gave them are
    /// gone with the rules' objects.
    pub fn set_rules(&mut self, rules: Ruleset) {
        self.forget_timeout_policies();
        self.engine.keep_labels(rules.labels());
        self.rules = Arc::new(rules);
    }

    /// The objects that gave connections timeouts of their own are gone.
    fn forget_timeout_policies(&self) {
        for conn in (0..).map_while(|shard| self.engine.shard(shard)).flatten() {
            conn.forget_timeout_policy();
        }
    }

    /// An interface loses an address: what was masqueraded with it is destroyed, and its routes are gone. With the last
    /// IPv4 address of an interface go all IPv4 routes over it, as in Linux.
    pub fn remove_address(&mut self, dev: Dev, address: IpAddr, now: Time) {
        let Some(losing) = self.topology.interfaces.get_mut(dev.index()) else { return };
        losing.addresses.retain(|net| net.addr() != address);
        if losing.addresses.iter().all(|net| net.addr().is_ipv6()) {
            self.topology.routes.retain(|route| route.dev != dev || route.to.addr().is_ipv6());
        }
        self.routes = Routes::new(&self.topology);
        self.nat.interface_lost(&self.engine, interface(dev), Some(address), now);
    }

    /// The router's surroundings.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether an address is the router's own.
    pub fn is_own(&self, address: IpAddr) -> bool {
        matches!(self.routes.output(address), route::Answer::Local(route::Delivery::Unicast))
    }

    /// The interface by which an address is reached.
    pub fn toward(&self, address: IpAddr) -> Option<Dev> {
        match self.routes.output(address) {
            route::Answer::Forward(hop) => Some(hop.dev),
            _ => None,
        }
    }

    /// Lets time pass until `now`: connections and incomplete datagrams that ran out are gone, each at its own time.
    pub fn pass_time(&self, now: Time, out: &mut impl Emit, observer: &mut impl Observer) {
        let out = &mut Tally::new(out, &self.stats);
        loop {
            // What the router says of a datagram that ran out meets the connections that live at that time.
            let datagram = self.defrag.lock().next_deadline().filter(|at| *at <= now);
            let until = datagram.unwrap_or(now);
            while self.engine.expire_telling(until, EXPIRY_BATCH, observer) == EXPIRY_BATCH {}
            self.nat.forget_gone(&self.engine);
            if datagram.is_none() {
                break;
            }
            let Some(expired) = self.defrag.lock().expire(until) else { continue };
            self.stats.fragments_lost.add(expired.fragments.into());
            observer.incomplete(&expired);
            self.reassembly_failed(&expired, out, observer);
        }
    }

    /// The MTU of an interface, in bytes.
    fn mtu(&self, dev: Dev) -> usize {
        self.topology.interface(dev).map_or(DEFAULT_MTU, |i| i.mtu) as usize
    }

    /// 32 random bits, for what Linux draws at random in headers.
    fn draw(&self) -> u32 {
        self.random.lock().random()
    }

    /// The way of a packet that arrives: stops 2 to 8, in strict order.
    pub fn receive(&self, arrival: Arrival<'_>, out: &mut impl Emit, observer: &mut impl Observer) -> Fate {
        self.take(arrival, &mut Tally::new(out, &self.stats), observer)
    }

    #[inline]
    fn take(&self, arrival: Arrival<'_>, out: &mut Tally<'_, impl Emit>, observer: &mut impl Observer) -> Fate {
        out.received();
        let fate = match self.gather(arrival, out, observer) {
            Ok(fate) => fate,
            Err(why) => {
                observer.dropped(&why);
                Fate::Dropped(why)
            }
        };
        out.fate(&fate);
        fate
    }

    /// The way of packets that have come together, one after the other, as [`Router::receive`] takes each; `arrivals` are spent.
    /// What became of each is told to `fate`, by its place in the batch.
    ///
    /// The table is asked for all of them before the first is taken ([`Engine::look_ahead`]), so that they wait for memory
    /// together.
    pub fn receive_batch(
        &self,
        arrivals: &mut [Arrival<'_>],
        out: &mut impl Emit,
        observer: &mut impl Observer,
        mut fate: impl FnMut(usize, Fate),
    ) {
        let out = &mut Tally::new(out, &self.stats);
        let mut first = 0;
        for batch in arrivals.chunks_mut(Engine::BATCH) {
            let mut ahead = self.engine.look_ahead(batch.iter().map(|arrival| &*arrival.bytes));
            for (n, arrival) in batch.iter_mut().enumerate() {
                let seen = ahead.next().unwrap_or_default();
                let arrival = Arrival { bytes: &mut *arrival.bytes, seen, ..*arrival };
                fate(first + n, self.take(arrival, out, observer));
            }
            first += batch.len();
        }
    }

    /// A packet that goes no further than its arrival.
    pub fn refuse(&self, why: Drop, observer: &mut impl Observer) -> Fate {
        observer.dropped(&why);
        self.stats.count_drop(&why);
        Fate::Dropped(why)
    }

    /// Stops 2 and 3: parse, and put fragments together.
    fn gather(
        &self,
        arrival: Arrival<'_>,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Result<Fate, Drop> {
        let Arrival { at, iif, bytes, wire_len, link, offload, seen } = arrival;
        let arrived = |packet| Passing {
            addressed: Addressed { link, delivery: None },
            ..Passing::new(packet, at, Origin::Interface(iif))
        };
        let mut packet = Packet::parse(bytes, wire_len).map_err(Drop::Malformed)?;
        packet.set_checksum(offload.checksum);
        if packet.is_truncated() {
            self.stats.truncated.count();
        }
        observer.began(Cause::Arrived(iif), &packet);
        if let Some(why) = Routes::refuse_early(packet.src(), packet.dst()) {
            return Err(Drop::Route(why));
        }
        if packet.fragment().is_none() {
            let mut p = arrived(packet);
            p.offload = offload;
            p.template.seen = seen;
            return Ok(self.pass(&mut p, out, observer));
        }
        match self.defrag.lock().gather(at, &packet) {
            Gathered::AsIs { lost } => {
                self.stats.fragments_lost.add(lost.into());
                Ok(self.pass(&mut arrived(packet), out, observer))
            }
            Gathered::Held { lost } => {
                self.stats.fragments_lost.add(lost.into());
                observer.held(lost);
                Ok(Fate::Held)
            }
            Gathered::Dropped(drop) => {
                self.stats.fragments_lost.add(drop.lost.into());
                Err(Drop::Fragment(drop.why))
            }
            Gathered::Whole(datagram) => {
                let defrag::Datagram { mut bytes, wire_len, fragmented, fragments } = *datagram;
                let whole = Packet::parse(&mut bytes, wire_len).map_err(Drop::Malformed)?;
                observer.whole(&whole, fragments);
                let mut p = Passing { fragmented: Some(fragmented), ..arrived(whole) };
                Ok(self.pass(&mut p, out, observer))
            }
        }
    }

    /// Stops 4 to 8; an answer that a drop calls for is sent from here.
    fn pass(&self, p: &mut Passing<'_>, out: &mut Tally<'_, impl Emit>, observer: &mut impl Observer) -> Fate {
        match self.route(p, out, observer) {
            Ok(fate) => fate,
            Err(Halt { why, answer }) => {
                observer.dropped(&why);
                if let Some(answer) = answer {
                    self.answer(p, answer, out, observer);
                }
                Fate::Dropped(why)
            }
        }
    }

    /// Prerouting, then where the packet goes from there.
    fn route(
        &self,
        p: &mut Passing<'_>,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Result<Fate, Halt> {
        self.traverse(p, Hook::Prerouting, observer)?;
        p.pull_for_routing();
        let answer = match p.origin {
            Origin::Interface(iif) => self.input_route(iif, &p.packet),
            Origin::Own | Origin::Loopback => self.routes.output(p.packet.dst()),
        };
        observer.routed(&answer);
        if !matches!(answer, route::Answer::Refused(_)) {
            self.read_options(p, answer)?;
        }
        match answer {
            route::Answer::Forward(hop) => self.forward(p, hop, out, observer),
            route::Answer::Local(delivery) => {
                p.addressed.delivery = Some(delivery);
                self.input(p, out, observer)
            }
            route::Answer::NoRoute => Err(Halt { why: Drop::NoRoute, answer: Some(Answer::NoRoute) }),
            route::Answer::Refused(route::Refusal::BeyondScope) if p.packet.ttl() <= 1 => {
                Err(Halt { why: Drop::TimeExceeded, answer: Some(Answer::TimeExceeded) })
            }
            route::Answer::Refused(why) => {
                let answer = (why == route::Refusal::BeyondScope).then_some(Answer::BeyondScope);
                Err(Halt { why: Drop::Route(why), answer })
            }
        }
    }

    /// Where a packet goes that came in by an interface.
    fn input_route(&self, iif: Dev, packet: &Packet<'_>) -> route::Answer {
        let (source, settings) = (packet.src(), self.engine.settings());
        let way = self.routes.input(iif, source, packet.dst());
        let (filter, redirects) = (settings.rp_filter(), settings.sends_redirects());
        self.routes.refuse_source(iif, source, way, filter, redirects).map_or(way, route::Answer::Refused)
    }

    /// From one interface to another.
    fn forward(
        &self,
        p: &mut Passing<'_>,
        hop: Hop,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Result<Fate, Halt> {
        p.hop = Some(hop);
        if !matches!(p.addressed.link, None | Some(link::PacketType::Host)) {
            return Err(Drop::NotUnicast.into());
        }
        if p.packet.ttl() <= 1 {
            return Err(Halt { why: Drop::TimeExceeded, answer: Some(Answer::TimeExceeded) });
        }
        if p.offload.segments.is_none() {
            let mtu = self.mtu(hop.dev);
            refrag::check(p.packet.bytes(), p.packet.wire_len(), p.fragmented.as_ref(), mtu)
                .map_err(|too_big| Halt { why: Drop::TooBig, answer: Some(Answer::TooBig(too_big.mtu)) })?;
        }
        p.packet.decrement_ttl();
        if p.origin == Origin::Interface(hop.dev) {
            self.redirect(p, hop, out, observer);
        }
        self.traverse(p, Hook::Forward, observer)?;
        self.leave_options(p, hop);
        self.leave(p, hop, out, observer)
    }

    /// Postrouting and out; on the way the packet's connection is confirmed.
    fn leave(
        &self,
        p: &mut Passing<'_>,
        hop: Hop,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Result<Fate, Halt> {
        p.hop = Some(hop);
        self.traverse(p, Hook::Postrouting, observer)?;
        self.send(p, hop, out, observer)?;
        Ok(Fate::Sent(hop.dev))
    }

    /// To the router itself; on the way the packet's connection is confirmed.
    fn input(
        &self,
        p: &mut Passing<'_>,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Result<Fate, Halt> {
        self.traverse(p, Hook::Input, observer)?;
        p.offload.complete(p.packet.bytes_mut());
        observer.delivered(&p.packet);
        out.deliver(p.packet.bytes(), p.at);
        Ok(Fate::Delivered)
    }

    /// What happens at a hook, in the order of priorities.
    fn traverse(&self, p: &mut Passing<'_>, hook: Hook, observer: &mut impl Observer) -> Result<(), Halt> {
        for step in self.rules.steps(p.packet.family(), hook) {
            match *step {
                Step::Defrag => {} // done on arrival, before anything else; the router's own packets are whole
                Step::Track => self.track(p, hook, observer)?,
                Step::Filter(chain) => self.filter(p, hook, chain, observer)?,
                Step::Nat => self.translate(p, hook, observer)?,
                Step::Confirm => self.confirm(p, observer)?,
            }
        }
        Ok(())
    }

    /// Stop 8, second half: out, cut as it came or as the link demands. What is to be cut by a card fits every link.
    fn send(
        &self,
        p: &mut Passing<'_>,
        hop: Hop,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Result<(), Halt> {
        let (wire_len, mtu, at) = (p.packet.wire_len(), self.mtu(hop.dev), p.at);
        let is_whole = p.offload.segments.is_some() || p.fragmented.is_none() && wire_len <= mtu;
        let offload = if is_whole {
            p.offload.settle(p.packet.bytes_mut());
            p.offload
        } else {
            p.offload.complete(p.packet.bytes_mut());
            Offload::default()
        };
        let bytes = p.packet.bytes();
        let mut emit = |bytes: &[u8], wire_len: usize| {
            let emitted = Emitted { at, dev: hop.dev, next: hop.next, bytes, wire_len, offload };
            observer.sent(&emitted);
            out.emit(emitted);
        };
        if is_whole {
            emit(bytes, wire_len);
            return Ok(());
        }
        let identification = || self.draw();
        match refrag::cut(bytes, wire_len, p.fragmented.as_ref(), mtu, identification, emit) {
            Ok(0) => Err(Drop::HeadersCut.into()),
            Ok(_) => Ok(()),
            Err(too_big) => Err(Halt { why: Drop::TooBig, answer: Some(Answer::TooBig(too_big.mtu)) }),
        }
    }
}
