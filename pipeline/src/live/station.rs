//! A router with its links: frames in, frames out.
//!
//! ```text
//!   frame ─► link header: for us? ─┬─► ARP ──────────────────────────────────┐
//!                                  └─► the way ─┬─► out: whose link address? ─┼─► Wires
//!                                               │    not known: ask, let wait │
//!                                               └─► for us: discovery, ping, ─┘
//!                                                   or the host's own stack
//! ```
//! It has no thread, no clock and no interface of its own: `now` is given, and frames leave by the caller's [`Wires`]. So a
//! program that carries packets by itself has a whole router in one value, and any number of workers may share it.
//!
//! Neighbour discovery's own messages do not take the way of the router's own packets: rules at the output hook do not see
//! them, and neither does tracking (which leaves them untracked in Linux, too).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use uct_engine::{Ahead, Packet, Seen, Time};
use uct_nat::rules::Ruleset;

use super::arp::{self, Arp, Operation};
use super::host::{self, Own, Reply};
use super::nd;
use super::neighbors::{Heard, Neighbors, Question, Queued, Waiting};
use super::stats::{Loss, Stats};
use crate::io::Frame;
use crate::link::{self, LinkType, Mac, Network, PacketType};
use crate::logged::LogBook;
use crate::offload::Offload;
use crate::router::{Arrival, Change, Drop, Emit, Emitted, InForce, Observer, Router};
use crate::topology::{DEFAULT_MTU, Dev, Topology};

/// How many packets the router may send itself because of one that came.
const ECHOES: usize = 16;
/// How often hosts are told that here is a router, unasked (RFC 4861: at most half an hour; short, for links come and go).
const ADVERTISE: Duration = Duration::from_secs(200);
/// How seldom a host that asks is answered (RFC 4861 section 6.2.6, `MIN_DELAY_BETWEEN_RAS`).
const ADVERTISE_PAUSE: Duration = Duration::from_secs(3);

/// Where a station's frames go.
pub trait Wires {
    /// What frames on that link begin with; `None` if there is no such link now.
    fn link(&self, dev: Dev) -> Option<LinkType>;

    /// Takes a frame in two parts, link header and packet.
    fn send(&mut self, dev: Dev, header: &[u8], packet: &[u8], offload: Offload);

    /// Takes a packet for the host's own stack, if the station leaves those to it ([`Services::Host`]).
    fn deliver(&mut self, packet: &[u8]) {
        let _ = packet;
    }
}

/// Who answers what the router itself is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Services {
    /// The station: it answers pings and refuses everything else.
    #[default]
    None,
    /// The host's stack, behind [`Wires::deliver`].
    Host,
}

/// What a station does besides forwarding.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who answers what the router itself is sent.
    pub services: Services,
    /// Links on which hosts are told that here is an IPv6 router.
    pub advertise: Vec<Dev>,
}

/// What is known of an interface's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether frames pass.
    pub carrier: Carrier,
    /// Its link address.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// Whether frames pass over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// They do.
    Up,
    /// The interface is set up, but there is nobody at the other end.
    Lost,
    /// The interface is down, or gone.
    Down,
}

/// What a topology demands of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demanded {
    /// The link address; otherwise it is the interface's own.
    pub mac: Option<Mac>,
    /// The MTU in bytes; more than the interface's is not used.
    pub mtu: u32,
}

fn demanded(topology: &Topology) -> Vec<Demanded> {
    topology.interfaces.iter().map(|i| Demanded { mac: i.mac, mtu: i.mtu }).collect()
}

/// A router with its links.
#[derive(Debug)]
pub struct Station {
    router: InForce,
    /// What the topology demands of each link, whatever the link says itself.
    demanded: Mutex<Vec<Demanded>>,
    log: LogBook,
    neighbors: Neighbors,
    stats: Stats,
    options: Options,
    down: Vec<AtomicBool>,
    /// When each link is told next that here is a router, and when it may be at the earliest.
    advertise: Mutex<Vec<(Dev, Time, Time)>>,
}

/// What one worker keeps for himself between packets.
#[derive(Debug, Default)]
pub struct Scratch {
    kept: Kept,
    delivered: Vec<Delivered>,
    segment: Vec<u8>,
    ahead: Ahead,
}

/// A packet for the router itself, and where it came from.
#[derive(Debug)]
struct Delivered {
    packet: Vec<u8>,
    from: Option<(Dev, Mac)>,
}

/// Link addresses that a worker has looked up, until the neighbours move on.
#[derive(Debug)]
struct Kept {
    generation: u64,
    entries: Vec<Option<(Dev, IpAddr, Mac)>>,
}

const KEPT: usize = 256;

impl Default for Kept {
    fn default() -> Self {
        Kept { generation: u64::MAX, entries: vec![None; KEPT] }
    }
}

impl Kept {
    fn slot(dev: Dev, address: IpAddr) -> usize {
        let low = match address {
            IpAddr::V4(a) => a.to_bits(),
            IpAddr::V6(a) => a.to_bits() as u32,
        };
        (low ^ low >> 8 ^ u32::from(dev.0) << 4) as usize % KEPT
    }

    fn lookup(&mut self, neighbors: &Neighbors, dev: Dev, address: IpAddr, now: Time) -> Option<Mac> {
        let generation = neighbors.generation();
        if self.generation != generation {
            self.entries.fill(None);
            self.generation = generation;
        }
        let slot = &mut self.entries[Self::slot(dev, address)];
        match slot {
            Some((d, a, mac)) if (*d, *a) == (dev, address) => Some(*mac),
            _ => {
                let mac = neighbors.lookup(dev, address, now)?;
                *slot = Some((dev, address, mac));
                Some(mac)
            }
        }
    }
}

impl Station {
    /// A router with its links, all of them up. The topology's neighbours are known for good.
    pub fn new(router: Router, options: Options) -> Self {
        let neighbors = Neighbors::default();
        for n in &router.topology().neighbors {
            neighbors.fix(n.dev, n.address, n.mac);
        }
        let down = router.topology().interfaces.iter().map(|_| AtomicBool::new(false)).collect();
        let advertise = options.advertise.iter().map(|dev| (*dev, Time::ZERO, Time::ZERO)).collect();
        Station {
            demanded: Mutex::new(demanded(router.topology())),
            router: InForce::new(router),
            log: LogBook::default(),
            neighbors,
            stats: Stats::default(),
            options,
            down,
            advertise: Mutex::new(advertise),
        }
    }

    /// The router in force. Workers load it for a batch.
    pub fn router(&self) -> &InForce {
        &self.router
    }

    /// What rules have logged.
    pub fn log(&self) -> &LogBook {
        &self.log
    }

    /// Puts other rules and surroundings in force: see [`InForce::replace`]. The interfaces must be those that there are.
    pub fn replace(&self, rules: Ruleset, topology: &Topology, now: Time) -> Change {
        let change = self.router.replace(rules, topology.clone(), now);
        let router = self.router.load();
        self.neighbors.fix_only(&router.topology().neighbors);
        let mut all = self.demanded.lock();
        for (known, interface) in all.iter_mut().zip(&router.topology().interfaces) {
            if let Some(i) = topology.interfaces.iter().find(|i| i.name == interface.name) {
                *known = Demanded { mac: i.mac, mtu: i.mtu };
            }
        }
        change
    }

    /// What the topology demands of a link.
    pub fn demanded(&self, dev: Dev) -> Demanded {
        self.demanded.lock().get(dev.index()).copied().unwrap_or(Demanded { mac: None, mtu: DEFAULT_MTU })
    }

    /// The neighbours.
    pub fn neighbors(&self) -> &Neighbors {
        &self.neighbors
    }

    /// What is lost at the links.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn is_down(&self, dev: Dev) -> bool {
        self.down.get(dev.index()).is_none_or(|down| down.load(Ordering::Relaxed))
    }

    /// Asks memory for what the frames will need that come next, in this order, by links of this kind: see [`uct_engine::Engine::look_ahead`].
    pub fn look_ahead<'a>(
        &self,
        router: &Router,
        link: LinkType,
        frames: impl Iterator<Item = &'a [u8]>,
        scratch: &mut Scratch,
    ) {
        let packet = |frame: &'a [u8]| link::parse(link, frame).ok().and_then(|h| frame.get(h.offset..)).unwrap_or(&[]);
        scratch.ahead = router.engine().look_ahead(frames.map(packet));
    }

    /// A frame that came by an interface.
    #[allow(clippy::too_many_arguments, reason = "what a packet meets, each of a type of its own")]
    pub fn receive(
        &self,
        router: &Router,
        dev: Dev,
        link: LinkType,
        frame: Frame<'_>,
        at: Time,
        scratch: &mut Scratch,
        wires: &mut impl Wires,
        observer: &mut impl Observer,
    ) {
        let Frame { bytes, offload } = frame;
        let seen = scratch.ahead.next().unwrap_or_default();
        let header = match link::parse(link, bytes) {
            Ok(header) => header,
            Err(why) => {
                router.refuse(Drop::Link(why), observer);
                return;
            }
        };
        let own = router.topology().interface(dev).and_then(|i| i.mac);
        let is_ours = header.packet_type.is_some() || header.destination.is_none() || header.destination == own;
        if !is_ours || !header.tags.ids().is_empty() {
            router.refuse(Drop::OtherHost, observer);
            return;
        }
        let from = header.source.map(|mac| (dev, mac));
        let mut out = Out { station: self, router, at, from, scratch, wires };
        let packet = &mut bytes[header.offset..];
        match header.network {
            Network::Ipv4 | Network::Ipv6 => {
                if offload.segments.is_some() && offload.longest(packet) > router.least_mtu() {
                    // On one of the links a segment would be too long, or would have to be cut: each is its own packet.
                    let mut segment = std::mem::take(&mut out.scratch.segment);
                    offload.segment(packet, &mut segment, |segment| {
                        out.arrive(dev, segment, Offload::default(), header.packet_type, seen, observer);
                    });
                    out.scratch.segment = segment;
                } else {
                    out.arrive(dev, packet, offload, header.packet_type, seen, observer);
                }
            }
            Network::Other(arp::ETHERTYPE) => {
                let to_us = header.packet_type.is_none();
                match (Arp::read(packet), own) {
                    (Some(arp), Some(own)) => out.arp(dev, own, arp, to_us),
                    _ => self.stats.add(Loss::Discovery, 1),
                }
            }
            Network::Other(_) => {
                router.refuse(Drop::NotIp, observer);
            }
        }
        out.hear(observer);
    }

    /// A packet that the host's own stack sends by way of this router.
    #[allow(clippy::too_many_arguments, reason = "what a packet meets, each of a type of its own")]
    pub fn send_own(
        &self,
        router: &Router,
        packet: &mut [u8],
        offload: Offload,
        at: Time,
        scratch: &mut Scratch,
        wires: &mut impl Wires,
        observer: &mut impl Observer,
    ) {
        let mut out = Out { station: self, router, at, from: None, scratch, wires };
        let mut buffer = Vec::new();
        offload.segment(packet, &mut buffer, |packet| {
            let len = packet.len();
            router.send_own(packet, len, at, &mut out, observer);
        });
        out.hear(observer);
    }

    /// Lets time pass: connections and datagrams run out, neighbours are asked again, hosts are told of the router.
    pub fn tick(
        &self,
        router: &Router,
        now: Time,
        scratch: &mut Scratch,
        wires: &mut impl Wires,
        observer: &mut impl Observer,
    ) {
        let mut out = Out { station: self, router, at: now, from: None, scratch, wires };
        router.pass_time(now, &mut out, observer);
        let due = self.neighbors.tick(now);
        for question in due.questions {
            out.ask(question);
        }
        for mut waiting in due.failed {
            self.stats.add(Loss::NeighborFailed, 1);
            router.next_hop_failed(&mut waiting.packet, waiting.dev, now, &mut out, observer);
        }
        out.hear(observer);
        let mut links = self.advertise.lock();
        for (dev, next, earliest) in links.iter_mut().filter(|(_, next, _)| *next <= now) {
            *next = now + ADVERTISE;
            *earliest = now + ADVERTISE_PAUSE;
            out.advertise(*dev);
        }
    }

    /// What is now known of an interface's link. A link that comes up is told who is there.
    pub fn link_changed(&self, dev: Dev, link: Link, now: Time, scratch: &mut Scratch, wires: &mut impl Wires) {
        let is_other = |known: &crate::topology::Interface| known.mac != link.mac || known.mtu != link.mtu;
        if self.router.load().topology().interface(dev).is_some_and(is_other) {
            self.router.update(|router| router.set_link(dev, link.mac, link.mtu));
        }
        let router = self.router.load();
        let is_down = link.carrier != Carrier::Up;
        let Some(was_down) = self.down.get(dev.index()) else { return };
        was_down.store(is_down, Ordering::Relaxed);
        if is_down {
            self.stats.add(Loss::InterfaceDown, self.neighbors.forget(dev).len() as u64);
            if link.carrier == Carrier::Down {
                router.link_down(dev, now);
            }
            return;
        }
        Out { station: self, router: &router, at: now, from: None, scratch, wires }.announce(dev);
    }
}

/// Where the way's packets go: to links, and to the router itself.
struct Out<'a, W> {
    station: &'a Station,
    router: &'a Router,
    at: Time,
    /// Where the packet at hand came from.
    from: Option<(Dev, Mac)>,
    scratch: &'a mut Scratch,
    wires: &'a mut W,
}

impl<W: Wires> Emit for Out<'_, W> {
    fn emit(&mut self, packet: Emitted<'_>) {
        let (dev, next) = (packet.dev, packet.next);
        let link = if self.station.is_down(dev) { None } else { self.wires.link(dev) };
        match link {
            Some(LinkType::Ethernet) => {}
            Some(_) => return self.wires.send(dev, &[], packet.bytes, packet.offload),
            None => return self.station.stats.add(Loss::InterfaceDown, 1),
        }
        let mac =
            self.scratch.kept.lookup(&self.station.neighbors, dev, next, self.at).or_else(|| self.group(dev, next));
        match mac {
            Some(mac) => self.frame(dev, mac, packet.bytes, packet.offload),
            None => self.hold(dev, next, packet.bytes, packet.offload),
        }
    }

    fn deliver(&mut self, packet: &[u8], _at: Time) {
        if self.scratch.delivered.len() < ECHOES {
            self.scratch.delivered.push(Delivered { packet: packet.to_vec(), from: self.from });
        }
    }
}

impl<W: Wires> Out<'_, W> {
    fn arrive(
        &mut self,
        iif: Dev,
        bytes: &mut [u8],
        offload: Offload,
        link: Option<PacketType>,
        seen: Seen,
        observer: &mut impl Observer,
    ) {
        let (router, at, wire_len) = (self.router, self.at, bytes.len());
        router.receive(Arrival { at, iif, bytes, wire_len, link, offload, seen }, self, observer);
    }

    fn mac(&self, dev: Dev) -> Mac {
        self.router.topology().interface(dev).and_then(|i| i.mac).unwrap_or_default()
    }

    fn frame(&mut self, dev: Dev, to: Mac, packet: &[u8], offload: Offload) {
        let ethertype: [u8; 2] = if packet.first().is_some_and(|b| b >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
        self.frame_of(ethertype, dev, to, packet, offload);
    }

    fn frame_of(&mut self, ethertype: [u8; 2], dev: Dev, to: Mac, packet: &[u8], offload: Offload) {
        let mut header = [0; 14];
        header[..6].copy_from_slice(&to.0);
        header[6..12].copy_from_slice(&self.mac(dev).0);
        header[12..].copy_from_slice(&ethertype);
        self.wires.send(dev, &header, packet, offload);
    }

    /// The link address of a group, which nobody is asked for (RFC 1112, RFC 2464).
    fn group(&self, dev: Dev, next: IpAddr) -> Option<Mac> {
        match next {
            IpAddr::V4(a) if a.is_multicast() => {
                let [_, b, c, d] = a.octets();
                Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            IpAddr::V4(a) => {
                let is_directed = |net: &IpNet| match net {
                    IpNet::V4(net) => net.prefix_len() <= 30 && net.broadcast() == a,
                    IpNet::V6(_) => false,
                };
                let is_to_all = a.is_broadcast() || self.router.addresses(dev).iter().any(is_directed);
                is_to_all.then_some(Mac::BROADCAST)
            }
            IpAddr::V6(a) => group_v6(a),
        }
    }

    fn hold(&mut self, dev: Dev, next: IpAddr, packet: &[u8], offload: Offload) {
        let stats = &self.station.stats;
        let waiting = Waiting { packet: packet.to_vec(), offload, dev };
        match self.station.neighbors.queue(next, waiting, self.at) {
            Queued::Known(mac) => self.frame(dev, mac, packet, offload),
            Queued::NoRoom => stats.add(Loss::NeighborTableFull, 1),
            Queued::Waits { question, displaced } => {
                stats.add(Loss::NeighborQueueFull, displaced as u64);
                if let Some(question) = question {
                    self.ask(question);
                }
            }
        }
    }

    fn release(&mut self, to: Mac, waiting: Vec<Waiting>) {
        for w in waiting {
            self.frame(w.dev, to, &w.packet, w.offload);
        }
    }

    /// Sends a question for a link address.
    fn ask(&mut self, question: Question) {
        let Question { dev, address, to } = question;
        if self.station.is_down(dev) || self.wires.link(dev).is_none() {
            return;
        }
        let own = self.mac(dev);
        match address {
            IpAddr::V4(target) => {
                let sender = (own, self.source_v4(dev, target));
                let arp = Arp { operation: Operation::Request, sender, target: (Mac::default(), target) };
                self.frame_of(
                    arp::ETHERTYPE.to_be_bytes(),
                    dev,
                    to.unwrap_or(Mac::BROADCAST),
                    &arp.write(),
                    Offload::default(),
                );
            }
            IpAddr::V6(target) => {
                let Some(source) = self.source_v6(dev) else { return };
                let group = nd::solicited_node(target);
                let (to, dst) = match to {
                    Some(mac) => (Some(mac), target),
                    None => (group_v6(group), group),
                };
                let packet = nd::solicit(source, own, target, dst);
                self.frame(dev, to.unwrap_or(Mac::BROADCAST), &packet, Offload::default());
            }
        }
    }

    fn source_v4(&self, dev: Dev, near: Ipv4Addr) -> Ipv4Addr {
        let mut own = self.router.addresses(dev).iter().filter_map(|net| match net {
            IpNet::V4(net) => Some(*net),
            IpNet::V6(_) => None,
        });
        let first = own.clone().next();
        let sharing = own.find(|net| net.contains(&near));
        sharing.or(first).map_or(Ipv4Addr::UNSPECIFIED, |net| net.addr())
    }

    /// The address of link scope, else any.
    fn source_v6(&self, dev: Dev) -> Option<Ipv6Addr> {
        let own = self.router.addresses(dev).iter().filter_map(|net| match net {
            IpNet::V6(net) => Some(net.addr()),
            IpNet::V4(_) => None,
        });
        own.clone().find(Ipv6Addr::is_unicast_link_local).or_else(|| own.clone().next())
    }

    /// Whether an address can be behind a link at all.
    fn is_behind(&self, dev: Dev, address: IpAddr) -> bool {
        let is_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
        !self.router.is_own_on(dev, address) && (is_local || self.router.toward(address) == Some(dev))
    }

    fn arp(&mut self, dev: Dev, own: Mac, arp: Arp, to_us: bool) {
        let (mac, sender) = arp.sender;
        let asks_us = arp.operation == Operation::Request && self.router.is_own(arp.target.1.into());
        let how = match arp.operation {
            Operation::Reply if to_us => Heard::Answered,
            Operation::Request if asks_us => Heard::Introduced,
            _ => Heard::Announced,
        };
        if !sender.is_unspecified() && self.is_behind(dev, sender.into()) {
            let waiting = self.station.neighbors.heard(dev, sender.into(), mac, how, self.at);
            self.release(mac, waiting);
        }
        if asks_us {
            let answer = Arp { operation: Operation::Reply, sender: (own, arp.target.1), target: arp.sender };
            self.frame_of(arp::ETHERTYPE.to_be_bytes(), dev, mac, &answer.write(), Offload::default());
        }
    }

    /// The router gets what the way has delivered to it.
    fn hear(&mut self, observer: &mut impl Observer) {
        let mut heard = 0;
        while let Some(delivered) = self.scratch.delivered.pop() {
            heard += 1;
            if heard <= ECHOES {
                self.hear_one(delivered, observer);
            }
        }
    }

    fn hear_one(&mut self, delivered: Delivered, observer: &mut impl Observer) {
        let Delivered { mut packet, from } = delivered;
        let len = packet.len();
        let Ok(parsed) = Packet::parse(&mut packet, len) else { return };
        if nd::is_discovery(&parsed) {
            match (nd::read(&parsed), from) {
                (Some(message), Some((dev, mac))) => return self.discovery(dev, mac, parsed.src(), message),
                _ => return self.station.stats.add(Loss::Discovery, 1),
            }
        }
        if self.station.options.services == Services::Host {
            return self.wires.deliver(&packet);
        }
        let (router, at, link) = (self.router, self.at, from.map(|(dev, _)| dev));
        let dst = parsed.dst();
        let is_own = link.map_or(router.is_own(dst), |dev| router.is_own_on(dev, dst));
        let own = if is_own { Own::Yes } else { Own::No };
        let source = link.and_then(|dev| self.source_v6(dev)).map(IpAddr::V6);
        match host::reply(&parsed, own, source) {
            Reply::Nothing => {}
            Reply::Packet(mut bytes) => {
                let len = bytes.len();
                router.send_own_on(link, &mut bytes, len, at, self, observer);
            }
            Reply::Error(message) => router.answer_delivered(&mut packet, link, message, at, self, observer),
        }
    }

    fn discovery(&mut self, dev: Dev, from: Mac, src: IpAddr, message: nd::Message) {
        let own = self.mac(dev);
        match message {
            nd::Message::Solicit { target, mac } => {
                if !self.router.is_own_on(dev, target.into()) {
                    return;
                }
                if let (IpAddr::V6(to), false) = (src, src.is_unspecified()) {
                    if let Some(mac) = mac.filter(|_| self.is_behind(dev, src)) {
                        let waiting = self.station.neighbors.heard(dev, src, mac, Heard::Introduced, self.at);
                        self.release(mac, waiting);
                    }
                    let packet = nd::advertise(target, own, to, nd::Asked::Yes);
                    self.frame(dev, mac.unwrap_or(from), &packet, Offload::default());
                } else {
                    // Somebody wants the address for himself: all must hear that it is taken.
                    let packet = nd::advertise(target, own, nd::ALL_NODES, nd::Asked::No);
                    self.frame(dev, group_v6(nd::ALL_NODES).unwrap_or(from), &packet, Offload::default());
                }
            }
            nd::Message::Advertise { target, mac, asked, known } => {
                let target = IpAddr::V6(target);
                let before = self.station.neighbors.lookup(dev, target, self.at);
                let Some(mac) = mac.or(before) else { return };
                if known == nd::Known::Keep && before.is_some_and(|before| before != mac) {
                    return;
                }
                let how = if asked == nd::Asked::Yes { Heard::Answered } else { Heard::Announced };
                if self.is_behind(dev, target) {
                    let waiting = self.station.neighbors.heard(dev, target, mac, how, self.at);
                    self.release(mac, waiting);
                }
            }
            nd::Message::SolicitRouter { .. } => {
                let mut links = self.station.advertise.lock();
                let Some((_, _, earliest)) = links.iter_mut().find(|(on, ..)| *on == dev) else { return };
                if *earliest > self.at {
                    return;
                }
                *earliest = self.at + ADVERTISE_PAUSE;
                drop(links);
                self.advertise(dev);
            }
            nd::Message::Other => {}
        }
    }

    /// Tells a link that here is a router.
    fn advertise(&mut self, dev: Dev) {
        let Some(source) = self.source_v6(dev).filter(Ipv6Addr::is_unicast_link_local) else { return };
        if self.station.is_down(dev) || self.wires.link(dev).is_none() {
            return;
        }
        let prefixes: Vec<_> = self
            .router
            .addresses(dev)
            .iter()
            .filter_map(|net| match net {
                IpNet::V6(net) if !net.addr().is_unicast_link_local() => Some(*net),
                _ => None,
            })
            .collect();
        let mtu = self.router.topology().interface(dev).map_or(1280, |i| i.mtu);
        let packet = nd::advertise_router(source, self.mac(dev), nd::ALL_NODES, mtu, &prefixes);
        self.frame(dev, group_v6(nd::ALL_NODES).unwrap_or(Mac::BROADCAST), &packet, Offload::default());
    }

    /// Tells a link which addresses are ours, so that who knew them elsewhere knows better.
    fn announce(&mut self, dev: Dev) {
        if self.wires.link(dev) != Some(LinkType::Ethernet) {
            return;
        }
        let own = self.mac(dev);
        for net in self.router.addresses(dev) {
            match net.addr() {
                IpAddr::V4(address) => {
                    let arp = Arp {
                        operation: Operation::Request,
                        sender: (own, address),
                        target: (Mac::default(), address),
                    };
                    self.frame_of(arp::ETHERTYPE.to_be_bytes(), dev, Mac::BROADCAST, &arp.write(), Offload::default());
                }
                IpAddr::V6(address) => {
                    let packet = nd::advertise(address, own, nd::ALL_NODES, nd::Asked::No);
                    self.frame(dev, group_v6(nd::ALL_NODES).unwrap_or(Mac::BROADCAST), &packet, Offload::default());
                }
            }
        }
        let links = self.station.advertise.lock();
        let is_told = links.iter().any(|(on, ..)| *on == dev);
        drop(links);
        if is_told {
            self.advertise(dev);
        }
    }
}

fn group_v6(address: Ipv6Addr) -> Option<Mac> {
    let [.., a, b, c, d] = address.octets();
    address.is_multicast().then_some(Mac([0x33, 0x33, a, b, c, d]))
}
