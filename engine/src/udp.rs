//! The UDP, UDP-Lite and GRE trackers.
//!
//! A conversation lives 30 seconds until it is a *stream*: answered, and still in use two seconds after it began. A stream
//! lives 120 seconds and is assured. A quick question and answer (DNS) never becomes one. UDP-Lite waits for the answer only;
//! GRE (30 and 180 seconds) as well, and keeps the timeouts that were set when it began.
//!
//! Sources: RFC 768, RFC 3828, RFC 8200 §8.1; `nf_conntrack_udp_timeout`, `nf_conntrack_udp_timeout_stream`; measured: a
//! UDP checksum of 0 is accepted over IPv6 too; a UDP length below the IP payload is accepted; UDP-Lite's checksum is
//! verified with UDP's protocol number in the pseudo-header.

use std::time::Duration;

use crate::event::EventMask;
use crate::settings::{Settings, Timeouts};
use crate::state::{Assured, GreTimeouts, UdpStream, Update};
use crate::tcp::Verify;
use crate::{Family, Invalid, Packet, Protocol, Status, Sysctl, Time, checksum};

/// How long after its first packet a conversation becomes a stream.
const STREAM_AFTER: Duration = Duration::from_secs(2);

/// What every UDP packet must pass.
pub(crate) fn check(packet: &Packet<'_>, verify: Verify) -> Result<(), Invalid> {
    let held = packet.transport().ok_or(Invalid::NoTransport)?;
    let on_wire = packet.transport_wire_len();
    if on_wire < 8 || held.len() < 8 {
        return Err(Invalid::ShortPacket);
    }
    let length = usize::from(u16::from_be_bytes([held[4], held[5]]));
    if length < 8 || length > on_wire {
        return Err(Invalid::TruncatedPacket);
    }
    let sent = [held[6], held[7]];
    if sent == [0, 0] || verify == Verify::Nothing || held.len() < on_wire {
        return Ok(());
    }
    // As measured, the whole IP payload is summed, also where the UDP length says less.
    sum(packet, held, on_wire)
}

/// What every UDP-Lite packet must pass.
pub(crate) fn check_lite(packet: &Packet<'_>, verify: Verify) -> Result<(), Invalid> {
    let held = packet.transport().ok_or(Invalid::NoTransport)?;
    let on_wire = packet.transport_wire_len();
    if on_wire < 8 || held.len() < 8 {
        return Err(Invalid::ShortPacket);
    }
    let coverage = match usize::from(u16::from_be_bytes([held[4], held[5]])) {
        0 => on_wire,
        c if c < 8 || c > on_wire => return Err(Invalid::TruncatedPacket),
        c => c,
    };
    if [held[6], held[7]] == [0, 0] {
        return Err(Invalid::NoChecksum);
    }
    if verify == Verify::Nothing || held.len() < coverage {
        return Ok(());
    }
    // As measured, only the low byte of the length enters the sum over IPv4: a right checksum is wrong from 256 bytes on.
    let length = match packet.family() {
        Family::Ipv4 => on_wire & 0xff,
        Family::Ipv6 => on_wire,
    };
    sum(packet, &held[..coverage], length)
}

fn sum(packet: &Packet<'_>, covered: &[u8], length: usize) -> Result<(), Invalid> {
    let pseudo = checksum::pseudo(packet.src(), packet.dst(), Protocol::UDP, length);
    match checksum::fold(checksum::add(pseudo, covered)) {
        0xffff => Ok(()),
        _ => Err(Invalid::BadChecksum),
    }
}

/// Takes one packet of UDP.
pub(crate) fn update(stream: &UdpStream, status: Status, timeouts: Timeouts<'_>, now: Time) -> Update {
    if !status.contains(Status::SEEN_REPLY) {
        return refresh(timeouts, Sysctl::UdpTimeout, Assured::AsBefore);
    }
    if now <= { stream.after } {
        return refresh(timeouts, Sysctl::UdpTimeout, Assured::AsBefore);
    }
    let assured = if status.contains(Status::NAT_CLASH) { Assured::AsBefore } else { Assured::Now };
    refresh(timeouts, Sysctl::UdpTimeoutStream, assured)
}

/// Takes one packet of UDP-Lite, which is a stream as soon as it is answered.
pub(crate) fn update_lite(status: Status, timeouts: Timeouts<'_>) -> Update {
    match assured_by_reply(status) {
        None => refresh(timeouts, Sysctl::UdpTimeout, Assured::AsBefore),
        Some(assured) => refresh(timeouts, Sysctl::UdpTimeoutStream, assured),
    }
}

/// Takes one packet of GRE, which is a stream as soon as it is answered.
pub(crate) fn update_gre(status: Status, own: GreTimeouts) -> Update {
    let (timeout, key, assured) = match assured_by_reply(status) {
        None => (own.first, Sysctl::GreTimeout, Assured::AsBefore),
        Some(assured) => (own.stream, Sysctl::GreTimeoutStream, assured),
    };
    Update::Refresh { timeout, from: Some(key), events: EventMask::empty(), assured }
}

/// Once there was a reply, whether that makes the connection assured.
fn assured_by_reply(status: Status) -> Option<Assured> {
    let assured = if status.contains(Status::NAT_CLASH) { Assured::AsBefore } else { Assured::Now };
    status.contains(Status::SEEN_REPLY).then_some(assured)
}

/// The timeouts of a GRE conversation that begins now.
pub(crate) fn open_gre(settings: &Settings) -> GreTimeouts {
    GreTimeouts { first: settings.seconds(Sysctl::GreTimeout), stream: settings.seconds(Sysctl::GreTimeoutStream) }
}

/// The state of a conversation that begins now.
pub(crate) fn open(now: Time) -> UdpStream {
    UdpStream { after: now + STREAM_AFTER }
}

fn refresh(timeouts: Timeouts<'_>, key: Sysctl, assured: Assured) -> Update {
    Update::Refresh { timeout: timeouts.get(key), from: Some(key), events: EventMask::empty(), assured }
}
