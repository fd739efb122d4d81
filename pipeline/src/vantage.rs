//! Where a capture was taken, and what a frame of it was before the original router touched it.
//!
//! * [`Vantage::Router`]: frames are what arrives at the router's interfaces. Frames that the capture marks as outgoing, or
//!   that carry the router's own link address as source, are counted and not replayed.
//! * [`Vantage::Inside`]: the capture was taken on the inside, and holds what inside hosts sent and what the original router
//!   sent to them. What they sent enters inside, as it is. What the router sent is turned back into what it had received:
//!
//! ```text
//!   in the capture          B:80 → A:40000
//!   its inverse             A:40000 → B:80        the original tuple of a connection that our router knows …
//!   that one's reply tuple  B:80 → T:17802        … and this is what our router must be given
//! ```
//!
//! | the reply tuple is from | the router had it from | so it |
//! |---|---|---|
//! | outside | outside | enters there |
//! | the router's own address (redirect) | its own stack | begins at the output hook |
//! | an inside host (hairpin) | the same link: it is in the capture as well | is left out |
//!
//! Without such a connection, what the router's own address sent is its own, but for ICMP errors, which ours makes by
//! itself; everything else enters as it is, where its source is routed to. (A connection that was opened from outside and
//! translated on its way in shows only its translated side here: it enters so.)
//!
//! A translated datagram in fragments is known by its first; later ones follow it, as long as they come later.

use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::IpNet;
use uct_engine::{Direction, Packet, Tuple, Zone};
use uct_nat::Restored;

use crate::link::{self, LinkType};
use crate::router::Router;
use crate::topology::{Dev, is_inside};

/// Where a capture was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vantage {
    /// At the router's interfaces.
    #[default]
    Router,
    /// On the inside. The prefixes name the inside; none means private and unique-local space.
    Inside(Vec<IpNet>),
}

/// Source and destination of a frame's IP packet.
pub(crate) fn ends(link: LinkType, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let header = link::parse(link, frame).ok()?;
    addresses(frame.get(header.offset..)?)
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let a: [u8; 8] = packet.get(12..20)?.try_into().ok()?;
            Some(([a[0], a[1], a[2], a[3]].into(), [a[4], a[5], a[6], a[7]].into()))
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some((source.into(), destination.into()))
        }
        _ => None,
    }
}

/// Where a packet entered of which only the addresses are known: where its source is routed to.
pub(crate) fn entry(router: &Router, packet: &[u8]) -> Option<Dev> {
    let (source, _) = addresses(packet)?;
    router.toward(source)
}

/// What a frame of an inside capture had been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Was {
    /// It had arrived by this interface.
    Received(Dev, Restored),
    /// The router's own stack had sent it.
    Own(Restored),
    /// The router had made it out of another frame of the capture, or about one.
    Made,
}

/// Which datagram a fragment belongs to.
type Datagram = (IpAddr, IpAddr, u32);

/// How many datagrams in fragments are remembered.
const MOST_DATAGRAMS: usize = 256;

/// Traces the frames of an inside capture back.
#[derive(Debug)]
pub(crate) struct Inside {
    prefixes: Vec<IpNet>,
    /// What the first fragment of a datagram was turned into.
    datagrams: VecDeque<(Datagram, Tuple)>,
}

impl Inside {
    pub(crate) fn new(prefixes: Vec<IpNet>) -> Self {
        Inside { prefixes, datagrams: VecDeque::new() }
    }

    fn holds(&self, address: IpAddr) -> bool {
        if self.prefixes.is_empty() { is_inside(address) } else { self.prefixes.iter().any(|p| p.contains(&address)) }
    }

    /// Turns a packet into what the original router had received, and finds where that entered; `iif` is the interface of
    /// the capture.
    pub(crate) fn trace(&mut self, router: &Router, iif: Dev, bytes: &mut [u8], wire_len: usize) -> Was {
        let from = |source: IpAddr| router.toward(source).unwrap_or(iif);
        let Some((source, _)) = addresses(bytes) else { return Was::Received(iif, Restored::No) };
        let as_it_is = Was::Received(if self.holds(source) { iif } else { from(source) }, Restored::No);
        let Ok(mut packet) = Packet::parse(bytes, wire_len) else { return as_it_is };
        if packet.quoted_tuple().is_some() {
            return match as_it_is {
                _ if router.is_own(source) => Was::Made,
                Was::Received(dev, _) if !self.holds(source) => {
                    Was::Received(dev, uct_nat::restore(router.engine(), &mut packet))
                }
                _ => as_it_is,
            };
        }
        let datagram = packet.fragment().map(|fragment| (packet.src(), packet.dst(), fragment.id));
        let Some(tuple) = packet.tuple() else {
            let known = datagram.and_then(|d| self.datagrams.iter().find(|(known, _)| *known == d));
            let Some((_, reply)) = known.copied() else { return as_it_is };
            let restored = uct_nat::rewrite(&mut packet, &reply);
            return self.restored(router, iif, &reply, restored);
        };
        let found = tuple.inverse().and_then(|inverse| router.engine().find(&inverse, Zone::DEFAULT));
        match found {
            Some((conn, Direction::Original)) if conn.reply() != tuple => {
                let reply = conn.reply();
                if let Some(datagram) = datagram {
                    self.datagrams.truncate(MOST_DATAGRAMS - 1);
                    self.datagrams.push_front((datagram, reply));
                }
                let restored = uct_nat::rewrite(&mut packet, &reply);
                self.restored(router, iif, &reply, restored)
            }
            Some((conn, Direction::Reply)) if conn.original() != tuple && self.holds(conn.original().src) => Was::Made,
            _ if router.is_own(source) => Was::Own(Restored::No),
            _ => as_it_is,
        }
    }

    /// Where an answer came from that carries this reply tuple again.
    fn restored(&self, router: &Router, iif: Dev, reply: &Tuple, restored: Restored) -> Was {
        match reply.src {
            own if router.is_own(own) => Was::Own(restored),
            inside if self.holds(inside) => Was::Made,
            outside => Was::Received(router.toward(outside).unwrap_or(iif), restored),
        }
    }
}
