//! A capture through a router: frames find their interface, time passes, packets take their way.
//!
//! ```text
//!   Source ─► which interface? ─► vantage ─► clock: what ran out by now is destroyed ─► Router::receive ─► Emit
//! ```
//!
//! The clock is the capture's and never goes back: a frame that claims to be earlier than the one before it counts as
//! simultaneous. Everything that happens is a function of the capture, the topology, the rules, the settings and the seed.
//!
//! # Which interface
//! By the name that the capture gives it (pcapng `if_name`); [`crate::topology::LOCAL`] is the router's own stack. A capture
//! without names is taken apart by source addresses: a frame entered where its source is routed to.
//!
//! # Vantage
//! See [`crate::vantage`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use uct_engine::{Ahead, Engine, Seen, Time};
use uct_nat::Restored;
use uct_nat::rules::Ruleset;

use crate::capture::{CaptureError, Crossing, Frame, Interface, InterfaceId, Outgoing, Sink, Source};
use crate::link::{self, LinkType, Mac, Network, PacketType};
use crate::offload::Offload;
use crate::router::{Arrival, Drop, Emit, Emitted, Fate, Observer, Router};
use crate::topology::{Dev, Entry, Inference, Inferred, LOCAL, Topology};
use crate::vantage::{self, Inside, Vantage, Was};

/// How many frames are read ahead to infer a topology.
const READ_AHEAD: usize = 10_000;

/// Why a replay ended early.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The capture is at fault.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Rules were to change, and somebody else has the router.
    #[error("packet {number}: the rules cannot change, for the router is in use elsewhere")]
    Shared {
        /// The frame's number.
        number: u64,
    },
    /// A frame of an interface that the router does not have.
    #[error(
        "packet {number}: its interface '{name}' is not in the topology, which has {known}: \
         add an [[interface]] named '{name}', or rename one"
    )]
    NoInterface {
        /// The frame's number.
        number: u64,
        /// The capture's name for the interface.
        name: String,
        /// The topology's interfaces.
        known: String,
    },
}

/// What a replay did with frames before they were packets of the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames read.
    pub frames: u64,
    /// Frames that the router itself had sent, left out.
    pub outgoing: u64,
    /// Replies that were turned into what the router had received for them ([`Vantage::Inside`]).
    pub restored: u64,
    /// Frames whose time went back.
    pub back_in_time: u64,
}

/// Where a frame of one of the capture's interfaces goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Dev(Dev),
    Local,
    BySource,
    Nowhere,
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    router: Arc<Router>,
    entry: Entry,
    /// If the capture was taken inside.
    inside: Option<Inside>,
    ports: Vec<Port>,
    now: Time,
    counts: Counts,
    /// The frame at hand, which the way rewrites.
    buffer: Vec<u8>,
    /// Where the connections of the frames that come next were seen.
    ahead: Ahead,
    /// When the first frame came.
    first: Option<Time>,
    /// Rules that come into force later.
    changes: VecDeque<(When, Ruleset)>,
}

/// One step of a replay.
#[derive(Clone, Debug)]
pub struct Step {
    /// The frame's number.
    pub number: u64,
    /// Where it stands in the capture, in bytes.
    pub offset: u64,
    /// When it arrived.
    pub at: Time,
    /// What became of it; `None` if it was not for the router.
    pub fate: Option<Fate>,
}

/// When a replay puts other rules in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// After this frame.
    Frame(u64),
    /// So long after the first frame.
    After(Duration),
    /// At this time.
    At(Time),
}

impl When {
    /// Whether a frame comes later.
    fn is_before(self, number: u64, at: Time, first: Time) -> bool {
        match self {
            When::Frame(last) => number > last,
            When::After(span) => at > first + span,
            When::At(time) => at > time,
        }
    }
}

impl Replay {
    /// Prepares a replay.
    pub fn new(router: Arc<Router>, entry: Entry, vantage: Vantage) -> Self {
        let inside = match vantage {
            Vantage::Router => None,
            Vantage::Inside(prefixes) => Some(Inside::new(prefixes)),
        };
        Replay {
            router,
            entry,
            inside,
            ports: Vec::new(),
            now: Time::ZERO,
            counts: Counts::default(),
            buffer: Vec::new(),
            ahead: Ahead::default(),
            first: None,
            changes: VecDeque::new(),
        }
    }

    /// The router.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Puts other rules in force at a moment; the moments of several changes must follow each other. Nobody else may have the
    /// router then.
    pub fn change_rules(&mut self, when: When, rules: Ruleset) {
        self.changes.push_back((when, rules));
    }

    /// Puts in force what is due before a frame.
    fn change(&mut self, number: u64, at: Time, observer: &mut impl Observer) -> Result<(), ReplayError> {
        let first = *self.first.get_or_insert(at);
        while let Some((_, rules)) = self.changes.pop_front_if(|(when, _)| when.is_before(number, at, first)) {
            let router = Arc::get_mut(&mut self.router).ok_or(ReplayError::Shared { number })?;
            router.set_rules(rules);
            observer.rules_changed(router);
        }
        Ok(())
    }

    /// The virtual clock: the latest time that a frame carried.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Lets time pass without a frame: what runs out until `now` is gone.
    pub fn wait_until(&mut self, now: Time, out: &mut impl Emit, observer: &mut impl Observer) {
        self.now = self.now.max(now);
        self.router.pass_time(self.now, out, observer);
    }

    /// Takes one frame from the capture; `None` at its end.
    pub fn step(
        &mut self,
        source: &mut impl Source,
        out: &mut impl Emit,
        observer: &mut impl Observer,
    ) -> Result<Option<Step>, ReplayError> {
        let seen = self.ahead.next().unwrap_or_else(|| self.look_ahead(source));
        let Some(frame) = source.next()? else { return Ok(None) };
        let (number, offset, at, iface, link) = (frame.number, frame.offset, frame.at, frame.iface, frame.link);
        let missing = frame.missing() as usize;
        self.buffer.clear();
        self.buffer.extend_from_slice(frame.bytes);
        let is_marked_outgoing = frame.crossing == Some(Crossing::Outbound);
        let port = self.port(source.interfaces(), iface, number)?;
        self.change(number, at, observer)?;
        self.counts.frames += 1;
        if at < self.now {
            self.counts.back_in_time += 1;
        }
        self.now = self.now.max(at);
        observer.clock(number, self.now);
        self.router.pass_time(self.now, out, observer);
        observer.entered();
        let mut buffer = std::mem::take(&mut self.buffer);
        let fate = self.packet(&mut buffer, port, link, missing, is_marked_outgoing, seen, out, observer);
        self.buffer = buffer;
        Ok(Some(Step { number, offset, at: self.now, fate }))
    }

    /// Looks ahead for the frames that are at hand ([`Engine::look_ahead`]), and answers what was seen for the first.
    fn look_ahead(&mut self, source: &impl Source) -> Seen {
        let packet =
            |(link, frame)| link::parse(link, frame).ok().and_then(|header| frame.get(header.offset..)).unwrap_or(&[]);
        let frames = (0..Engine::BATCH).map_while(|n| source.peek(n));
        self.ahead = self.router.engine().look_ahead(frames.map(packet));
        self.ahead.next().unwrap_or_default()
    }

    #[allow(clippy::too_many_arguments)] // one frame's facts, each of a type of its own
    fn packet(
        &mut self,
        frame: &mut [u8],
        port: Port,
        link: LinkType,
        missing: usize,
        is_marked_outgoing: bool,
        seen: Seen,
        out: &mut impl Emit,
        observer: &mut impl Observer,
    ) -> Option<Fate> {
        let router = Arc::clone(&self.router);
        let header = match link::parse(link, frame) {
            Ok(header) => header,
            Err(why) => return Some(router.refuse(Drop::Link(why), observer)),
        };
        let is_own_mac = |mac: Option<Mac>| {
            mac.is_some() && router.topology().interfaces.iter().any(|i| i.mac.is_some() && i.mac == mac)
        };
        if port != Port::Local && self.inside.is_none() {
            let is_outgoing = header.packet_type == Some(PacketType::Outgoing) || is_own_mac(header.source);
            if is_marked_outgoing || is_outgoing {
                self.counts.outgoing += 1;
                return None;
            }
        }
        if !matches!(header.network, Network::Ipv4 | Network::Ipv6) {
            return Some(router.refuse(Drop::NotIp, observer));
        }
        let bytes = &mut frame[header.offset..];
        let wire_len = bytes.len() + missing;
        let at = self.now;
        let iif = match port {
            Port::Local => return Some(router.send_own(bytes, wire_len, at, out, observer)),
            Port::Dev(dev) => dev,
            Port::Nowhere => return Some(router.refuse(Drop::NoInterface, observer)),
            Port::BySource => match vantage::entry(&router, bytes) {
                Some(dev) => dev,
                None => return Some(router.refuse(Drop::NoInterface, observer)),
            },
        };
        let mac = router.topology().interface(iif).and_then(|i| i.mac);
        let is_for_another = header.packet_type == Some(PacketType::OtherHost)
            || matches!((mac, header.destination), (Some(own), Some(to)) if to != own && !to.is_group());
        if let Some(inside) = &mut self.inside {
            // What inside hosts say to each other is none of the router's business; what it says to them is.
            if is_for_another && !is_own_mac(header.source) && mac.is_some() {
                return Some(router.refuse(Drop::OtherHost, observer));
            }
            let was = inside.trace(&router, iif, bytes, wire_len);
            if let Was::Received(_, Restored::Yes) | Was::Own(Restored::Yes) = was {
                self.counts.restored += 1;
                observer.restored();
            }
            return match was {
                Was::Received(iif, _) => Some(router.receive(
                    Arrival { at, iif, bytes, wire_len, link: None, offload: Offload::default(), seen },
                    out,
                    observer,
                )),
                Was::Own(_) => Some(router.send_own(bytes, wire_len, at, out, observer)),
                Was::Made => {
                    self.counts.outgoing += 1;
                    None
                }
            };
        }
        if is_for_another {
            return Some(router.refuse(Drop::OtherHost, observer));
        }
        let link = header.packet_type;
        Some(router.receive(
            Arrival { at, iif, bytes, wire_len, link, offload: Offload::default(), seen },
            out,
            observer,
        ))
    }

    /// Where frames of a capture's interface go.
    fn port(&mut self, interfaces: &[Interface], iface: InterfaceId, number: u64) -> Result<Port, ReplayError> {
        while self.ports.len() <= iface.index() {
            let next = interfaces.get(self.ports.len()).and_then(|i| i.name.as_deref());
            let topology = self.router.topology();
            self.ports.push(match (self.entry, next) {
                (_, Some(LOCAL)) => Port::Local,
                (Entry::Routed, _) | (_, None) => Port::BySource,
                (Entry::Named | Entry::NamedIfKnown, Some(name)) => match topology.dev(name) {
                    Some(dev) => Port::Dev(dev),
                    None if self.entry == Entry::NamedIfKnown => Port::Nowhere,
                    None => {
                        let known: Vec<_> = topology.interfaces.iter().map(|i| i.name.as_str()).collect();
                        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                        return Err(ReplayError::NoInterface { number, name: name.to_owned(), known });
                    }
                },
            });
        }
        Ok(self.ports[iface.index()])
    }
}

/// Writes what a router emits to a sink, with link headers and the topology's interface names.
pub struct ToSink<'a, S> {
    sink: &'a mut S,
    topology: &'a Topology,
    ids: Vec<InterfaceId>,
    header: Vec<u8>,
    /// The first fault; after it nothing is written.
    fault: Option<CaptureError>,
}

impl<'a, S: Sink> ToSink<'a, S> {
    /// Announces the topology's interfaces to the sink.
    pub fn new(sink: &'a mut S, topology: &'a Topology) -> Result<Self, CaptureError> {
        let mut ids = Vec::new();
        for i in &topology.interfaces {
            let interface = Interface { name: Some(i.name.clone()), link: LinkType::Ethernet, mac: i.mac };
            ids.push(sink.interface(&interface)?);
        }
        Ok(ToSink { sink, topology, ids, header: Vec::new(), fault: None })
    }

    /// The first fault since the last call.
    pub fn take_fault(&mut self) -> Option<CaptureError> {
        self.fault.take()
    }

    /// Sends what is buffered.
    pub fn finish(self) -> Result<(), CaptureError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => self.sink.finish(),
        }
    }
}

impl<S: Sink> Emit for ToSink<'_, S> {
    fn emit(&mut self, packet: Emitted<'_>) {
        let Some(id) = self.ids.get(packet.dev.index()).copied() else { return };
        ethernet_header(self.topology, &packet, &mut self.header);
        let mut outgoing = Outgoing::new(packet.at, id, packet.bytes);
        outgoing.wire_len = (self.header.len() + packet.wire_len) as u32;
        outgoing.head = &self.header;
        outgoing.crossing = Some(Crossing::Outbound);
        if self.fault.is_none() {
            self.fault = self.sink.send(&outgoing).err();
        }
    }
}

/// Builds the Ethernet header with which a packet leaves, with the link addresses that the topology knows.
fn ethernet_header(topology: &Topology, packet: &Emitted<'_>, header: &mut Vec<u8>) {
    let own = topology.interface(packet.dev).and_then(|i| i.mac).unwrap_or_default();
    let to = topology.neighbor(packet.dev, packet.next).unwrap_or_default();
    let network = if packet.bytes.first().is_some_and(|b| b >> 4 == 6) { Network::Ipv6 } else { Network::Ipv4 };
    header.clear();
    link::build(LinkType::Ethernet, network, own, to, header);
}

/// Builds the Ethernet frame in which a packet leaves. Answers its length on the wire.
pub fn ethernet(topology: &Topology, packet: &Emitted<'_>, frame: &mut Vec<u8>) -> u32 {
    ethernet_header(topology, packet, frame);
    let wire_len = frame.len() + packet.wire_len;
    frame.extend_from_slice(packet.bytes);
    wire_len as u32
}

/// Throws away what a router emits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Emit for Discard {
    fn emit(&mut self, _packet: Emitted<'_>) {}
}

/// A frame of a capture, kept.
struct Kept {
    at: Time,
    iface: InterfaceId,
    link: LinkType,
    crossing: Option<Crossing>,
    bytes: Vec<u8>,
    wire_len: u32,
    number: u64,
    offset: u64,
}

/// A source of which the first frames were read already, to infer a topology.
pub struct ReadAhead<S> {
    source: S,
    kept: VecDeque<Kept>,
    current: Option<Kept>,
    fault: Option<CaptureError>,
}

impl<S: Source> ReadAhead<S> {
    /// Reads the first frames and infers from them; `inside` names the inside prefixes, none means the usual ones.
    ///
    /// A fault in the capture is kept for its place in the order of frames.
    pub fn infer(mut source: S, inside: &[ipnet::IpNet]) -> (Self, Inferred) {
        let mut inference = Inference::new(inside);
        let mut kept = VecDeque::new();
        let mut fault = None;
        while kept.len() < READ_AHEAD {
            let frame = match source.next() {
                Ok(Some(frame)) => Kept::from(&frame),
                Ok(None) => break,
                Err(e) => {
                    fault = Some(e);
                    break;
                }
            };
            let name = source.interfaces().get(frame.iface.index()).and_then(|i| i.name.as_deref());
            if let Some((source, destination)) = vantage::ends(frame.link, &frame.bytes)
                && name != Some(LOCAL)
                && frame.crossing != Some(Crossing::Outbound)
            {
                inference.see(name, source, destination);
            }
            kept.push_back(frame);
        }
        (ReadAhead { source, kept, current: None, fault }, inference.finish())
    }
}

impl From<&Frame<'_>> for Kept {
    fn from(f: &Frame<'_>) -> Self {
        Kept {
            at: f.at,
            iface: f.iface,
            link: f.link,
            crossing: f.crossing,
            bytes: f.bytes.to_vec(),
            wire_len: f.wire_len,
            number: f.number,
            offset: f.offset,
        }
    }
}

impl<S: Source> Source for ReadAhead<S> {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.current = self.kept.pop_front();
        match &self.current {
            Some(k) => Ok(Some(Frame {
                at: k.at,
                iface: k.iface,
                link: k.link,
                crossing: k.crossing,
                bytes: &k.bytes,
                wire_len: k.wire_len,
                number: k.number,
                offset: k.offset,
            })),
            None => match self.fault.take() {
                Some(fault) => Err(fault),
                None => self.source.next(),
            },
        }
    }

    fn interfaces(&self) -> &[Interface] {
        self.source.interfaces()
    }

    fn is_ready(&self) -> bool {
        !self.kept.is_empty() || self.fault.is_some() || self.source.is_ready()
    }

    fn peek(&self, n: usize) -> Option<(LinkType, &[u8])> {
        match self.kept.get(n) {
            Some(kept) => Some((kept.link, &kept.bytes)),
            None if self.fault.is_some() => None,
            None => self.source.peek(n - self.kept.len()),
        }
    }
}
