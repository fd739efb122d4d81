//! Where a capture was taken, and what a frame of it was before the original router touched it.
//!
//! * [`Vantage::Router`]: frames are what arrives at the router's interfaces. Frames that the capture marks as outgoing, or
//!   that carry the router's own link address as source, are counted and not replayed.
//! * [`Vantage::Inside`]: the capture was taken on the inside, after the original router's work. A packet from inside enters
//!   inside, as it is. A packet from outside to an inside host has been translated already; it is first turned into what
//!   the router had received for it:
//!
//! ```text
//!   in the capture          B:80 → A:40000
//!   its inverse             A:40000 → B:80        the original tuple of a connection that our router knows …
//!   that one's reply tuple  B:80 → T:17802        … and this is what our router must be given
//! ```
//!
//!   If no connection is found, it enters as it is.

use std::net::IpAddr;

use ipnet::IpNet;
use uct_engine::Packet;
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

/// The source address of a frame's IP packet.
pub(crate) fn source(link: LinkType, frame: &[u8]) -> Option<IpAddr> {
    let header = link::parse(link, frame).ok()?;
    addresses(frame.get(header.offset..)?).map(|(source, _)| source)
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

/// Turns a packet of an inside capture into what the router had received, and finds where that entered.
pub(crate) fn restore(
    router: &Router,
    inside: &[IpNet],
    iif: Dev,
    bytes: &mut [u8],
    wire_len: usize,
) -> (Dev, Restored) {
    let is_inside = |a: IpAddr| if inside.is_empty() { is_inside(a) } else { inside.iter().any(|p| p.contains(&a)) };
    let Some((source, destination)) = addresses(bytes) else { return (iif, Restored::No) };
    if is_inside(source) {
        return (iif, Restored::No);
    }
    let outside = router.toward(source).unwrap_or(iif);
    if !is_inside(destination) {
        return (outside, Restored::No);
    }
    match Packet::parse(bytes, wire_len) {
        Ok(mut packet) => (outside, uct_nat::restore(router.engine(), &mut packet)),
        Err(_) => (outside, Restored::No),
    }
}
