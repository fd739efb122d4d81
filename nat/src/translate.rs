//! Rewriting a packet at a hook, as its connection's tuples ask.
//!
//! A packet of one direction is made to look like the inverse of the *other* direction's tuple: its destination at
//! prerouting and output, its source at postrouting and input. The status bits say which end is translated; for packets
//! in reply direction they change places, for what is the source's end to one direction is the destination's to the other.
//!
//! # ICMP errors
//! ```text
//!            A ─────────── R ─────────── M ─────────── B       A→B is masqueraded as T→B; M cannot pass it on.
//!                A→B            T→B
//!                          ◄──────────── M→T [ T→B ]           the error quotes what M saw
//!    ◄──────────────────── M→A [ A→B ]                         R translates outside and inside
//! ```
//! Outside, the error is a packet of the direction in which it travels. Inside is a packet of the other direction, so the
//! other end of it is rewritten, to what the connection's *own* tuple of that direction says. Quoted checksums are
//! mended incrementally, so far as they are there.
//!
//! An error sent by a host behind a translated address leaves as from that address, whoever sent it. A redirect about a
//! translated connection is dropped: it would teach the two hosts to talk past the translation.
//!
//! Invariant: applying the opposite direction's translation to a rewritten packet gives back the packet.
//! Sources: RFC 5508, RFC 3022 §4.3, measured.

use std::net::IpAddr;
use std::num::NonZeroU32;

use uct_engine::checksum::{self, Delta};
use uct_engine::{Conn, Direction, Family, Hook, Info, L4, Manip, Packet, Protocol, Quote, Status, Tuple};

use crate::mangle::{self, Held, Refusal, Target};

/// One end of a packet, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The end.
    pub manip: Manip,
    /// The address before.
    pub from: IpAddr,
    /// The address after.
    pub to: IpAddr,
    /// The port, id or key after. (The one before is in the packet that came in.)
    pub id: u16,
}

/// What was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing: this end is not translated.
    Nothing,
    /// One end.
    Header(Change),
    /// One end of an ICMP error, and one of the packet that it quotes.
    Error {
        /// The error's own header.
        outer: Change,
        /// The quoted header.
        inner: Change,
    },
}

/// Rewrites a packet at a hook. On `Err` nothing has changed, and the packet is to be dropped.
///
/// `out` is the interface by which the packet leaves; it counts at postrouting only.
#[inline(always)]
pub fn translate(
    packet: &mut Packet<'_>,
    conn: &Conn,
    dir: Direction,
    info: Info,
    hook: Hook,
    out: Option<NonZeroU32>,
) -> Result<Rewrite, Refusal> {
    let Some(manip) = Manip::at(hook) else { return Ok(Rewrite::Nothing) };
    if info == Info::Related && matches!(packet.protocol(), Protocol::ICMP | Protocol::ICMPV6) {
        return error(packet, conn, dir, manip);
    }
    if hook == Hook::Postrouting
        && dir == Direction::Original
        && conn.bound_to().is_some_and(|bound| out.is_some_and(|out| out != bound))
    {
        return Err(Refusal::InterfaceChanged);
    }
    if !is_translated(conn.status(), dir, manip) {
        return Ok(Rewrite::Nothing);
    }
    if let Some([src, dst]) = conn.ends_v4(dir.inverse()) {
        let (from, to) = match manip {
            Manip::Src => (packet.src(), dst),
            Manip::Dst => (packet.dst(), src),
        };
        let (protocol, l4) = (conn.protocol(), L4::Ports { src: dst.1, dst: src.1 });
        mangle::mangle_v4(whole(packet), protocol, l4, to.0, manip)?;
        return Ok(Rewrite::Header(Change { manip, from, to: IpAddr::V4(to.0), id: to.1 }));
    }
    rewrite_header(packet, conn, dir, manip)
}

/// One end of a packet that is not of IPv4, or has no ports.
#[inline(never)]
fn rewrite_header(packet: &mut Packet<'_>, conn: &Conn, dir: Direction, manip: Manip) -> Result<Rewrite, Refusal> {
    let Some(wanted) = conn.tuple(dir.inverse()).inverse() else { return Ok(Rewrite::Nothing) };
    let change = change(packet.src(), packet.dst(), &wanted, manip);
    mangle::mangle(whole(packet), &wanted, manip)?;
    Ok(Rewrite::Header(change))
}

/// Whether the end `manip` of a packet of this direction is to be rewritten.
#[inline]
fn is_translated(status: Status, dir: Direction, manip: Manip) -> bool {
    status.contains(match dir {
        Direction::Original => manip.bit(),
        Direction::Reply => manip.inverse().bit(),
    })
}

#[inline]
fn change(src: IpAddr, dst: IpAddr, wanted: &Tuple, manip: Manip) -> Change {
    match manip {
        Manip::Src => Change { manip, from: src, to: wanted.src, id: wanted.l4.src_id() },
        Manip::Dst => Change { manip, from: dst, to: wanted.dst, id: wanted.l4.dst_id() },
    }
}

#[inline]
fn held(packet: &Packet<'_>) -> Held {
    if packet.is_truncated() { Held::Cut } else { Held::Whole }
}

#[inline]
pub(crate) fn whole<'a>(packet: &'a mut Packet<'_>) -> Target<'a> {
    Target {
        family: packet.family(),
        transport: packet.transport_offset(),
        held: held(packet),
        bytes: packet.bytes_mut(),
    }
}

const ICMP_HEADER: usize = 8;

/// An ICMP error: both headers, and the checksum over the inner one.
#[cold]
fn error(packet: &mut Packet<'_>, conn: &Conn, dir: Direction, manip: Manip) -> Result<Rewrite, Refusal> {
    const REDIRECT: u8 = 5;
    let (family, held, protocol) = (packet.family(), held(packet), packet.protocol());
    let need = ICMP_HEADER
        + match family {
            Family::Ipv4 => 20,
            Family::Ipv6 => 40,
        };
    let Some(message) = packet.transport().filter(|m| m.len() >= need) else {
        let have = packet.transport().map_or(0, <[u8]>::len);
        return if held == Held::Cut { Ok(Rewrite::Nothing) } else { Err(Refusal::Cut { protocol, have, need }) };
    };
    if held == Held::Whole && !is_sum_right(packet, message) {
        return Err(Refusal::BadChecksum);
    }
    let status = conn.status();
    if family == Family::Ipv4
        && message[0] == REDIRECT
        && (!status.contains(Status::NAT_DONE) || status.intersects(Status::NAT))
    {
        return Err(Refusal::Redirect);
    }
    if !is_translated(status, dir, manip) {
        return Ok(Rewrite::Nothing);
    }
    rewrite_error(packet, &conn.tuple(dir.inverse()), manip)
}

/// Makes an ICMP error quote `quoted` at the end that `manip` does not name, and come from (or go to) its other end.
pub(crate) fn rewrite_error(packet: &mut Packet<'_>, quoted: &Tuple, manip: Manip) -> Result<Rewrite, Refusal> {
    let (family, held) = (packet.family(), held(packet));
    let (Some(mut wanted), Some(message)) = (quoted.inverse(), packet.transport()) else { return Ok(Rewrite::Nothing) };
    wanted.protocol = packet.protocol();
    let outer = change(packet.src(), packet.dst(), &wanted, manip);

    let before = checksum::sum(message);
    let Some(message) = packet.transport_mut() else { return Ok(Rewrite::Nothing) };
    let Some(bytes) = message.get_mut(ICMP_HEADER..) else { return Ok(Rewrite::Nothing) };
    let Some(quote) = Quote::read(family, bytes) else { return Ok(Rewrite::Nothing) };
    let inner = change(quote.src, quote.dst, quoted, manip.inverse());
    mangle::mangle(Target { bytes, family, transport: Some(quote.transport), held }, quoted, manip.inverse())?;
    let after = checksum::sum(message);
    // The error's checksum covers the quote; a pseudo-header's change follows with the outer address.
    let field = Delta::default().word(before, after).apply(u16::from_be_bytes([message[2], message[3]]));
    message[2..4].copy_from_slice(&field.to_be_bytes());
    mangle::mangle(whole(packet), &wanted, manip)?;
    Ok(Rewrite::Error { outer, inner })
}

fn is_sum_right(packet: &Packet<'_>, message: &[u8]) -> bool {
    let start = match packet.family() {
        Family::Ipv4 => 0,
        Family::Ipv6 => checksum::pseudo(packet.src(), packet.dst(), Protocol::ICMPV6, message.len()),
    };
    checksum::fold(checksum::add(start, message)) == 0xffff
}

#[cfg(test)]
#[path = "translate/tests.rs"]
mod tests;
