//! The router as a host, when it has no other: what a machine without any service says to those who speak to it.
//!
//! | it gets | it answers |
//! |---|---|
//! | echo request to an own address; IPv6 also to a group | echo reply from there |
//! | UDP to an own address | port unreachable, within the rate |
//! | TCP to an own address, but for resets | reset |
//! | another protocol to an own address | protocol unreachable (IPv6: parameter problem 4/1), within the rate |
//! | anything to a broadcast or group | nothing |
//!
//! Sources: RFC 792, RFC 4443, RFC 1122 section 3.2.2, RFC 9293 section 3.5.2.

use std::net::IpAddr;

use uct_engine::{Family, Packet, Protocol, checksum};

use crate::icmp_error::{self, Addressed, Message};

const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const HOP_LIMIT: u8 = 64;

/// What a host says to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing.
    Nothing,
    /// This packet.
    Packet(Vec<u8>),
    /// This error, if the rate allows one more.
    Error(Message),
}

/// What the router says to a packet for it; `own` is whether it was for one of its addresses and no group.
pub(super) fn reply(packet: &Packet<'_>, own: Own, from: Option<IpAddr>) -> Reply {
    let family = packet.family();
    let body = packet.transport().unwrap_or(&[]);
    let is_echo = match (family, packet.protocol(), body.first()) {
        (Family::Ipv4, Protocol::ICMP, Some(&ECHO_REQUEST)) => own == Own::Yes,
        (Family::Ipv6, Protocol::ICMPV6, Some(&ECHO_REQUEST_V6)) => true,
        _ => false,
    };
    let source = if own == Own::Yes { Some(packet.dst()) } else { from };
    match (is_echo, source) {
        (true, Some(source)) => return echo(packet, source).map_or(Reply::Nothing, Reply::Packet),
        (true, None) => return Reply::Nothing,
        (false, _) if own == Own::No => return Reply::Nothing,
        (false, _) => {}
    }
    match packet.protocol() {
        Protocol::ICMP | Protocol::ICMPV6 => Reply::Nothing,
        Protocol::TCP => {
            let mut bytes = Vec::new();
            match icmp_error::reset(packet, &mut bytes) {
                Ok(()) => Reply::Packet(bytes),
                Err(_) => Reply::Nothing,
            }
        }
        Protocol::UDP | Protocol::UDPLITE => error(packet, Message::port_unreachable(family)),
        _ => error(packet, Message::protocol_unreachable(family)),
    }
}

/// Whether a packet was for an address of the router, and not for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// For an address.
    Yes,
    /// For a group, or for all.
    No,
}

fn error(packet: &Packet<'_>, message: Message) -> Reply {
    let is_fit = icmp_error::check(message, packet, Addressed::default()).is_ok();
    if is_fit { Reply::Error(message) } else { Reply::Nothing }
}

/// The same packet back, as a reply. One whose checksum is wrong was damaged and is not answered.
fn echo(packet: &Packet<'_>, source: IpAddr) -> Option<Vec<u8>> {
    let (to, at) = (packet.src(), packet.transport_offset()?);
    if to.is_unspecified() || to.is_multicast() {
        return None;
    }
    let is_v6 = packet.family() == Family::Ipv6;
    let body = packet.transport()?;
    let len = body.len();
    let request = if is_v6 { checksum::pseudo(to, packet.dst(), Protocol::ICMPV6, len) } else { 0 };
    if checksum::fold(checksum::add(request, body)) != 0xffff {
        return None;
    }
    let mut bytes = packet.bytes().to_vec();
    match (source, to) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            bytes.get_mut(12..16)?.copy_from_slice(&source.octets());
            bytes.get_mut(16..20)?.copy_from_slice(&to.octets());
            bytes[8] = HOP_LIMIT;
            bytes[10..12].copy_from_slice(&[0, 0]);
            let sum = !checksum::sum(bytes.get(..packet.ip_header_len())?);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            bytes.get_mut(8..24)?.copy_from_slice(&source.octets());
            bytes.get_mut(24..40)?.copy_from_slice(&to.octets());
            bytes[7] = HOP_LIMIT;
        }
        _ => return None,
    }
    let body = bytes.get_mut(at..).filter(|b| b.len() >= 8)?;
    body[0] = if is_v6 { ECHO_REPLY_V6 } else { 0 };
    body[2..4].copy_from_slice(&[0, 0]);
    let pseudo = if is_v6 { checksum::pseudo(source, to, Protocol::ICMPV6, len) } else { 0 };
    let sum = !checksum::fold(checksum::add(pseudo, body));
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo request from 192.0.2.2 to 192.0.2.1.
    fn request() -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 9, 1, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1];
        let sum = !checksum::sum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend([8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let sum = !checksum::sum(&bytes[20..]);
        bytes[22..24].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn said(mut bytes: Vec<u8>, own: Own) -> Reply {
        let len = bytes.len();
        reply(&Packet::parse(&mut bytes, len).unwrap(), own, None)
    }

    #[test]
    fn an_echo_comes_back_from_where_it_went() {
        let Reply::Packet(bytes) = said(request(), Own::Yes) else { panic!("no reply") };
        assert_eq!((&bytes[12..16], &bytes[16..20], bytes[8]), (&[192, 0, 2, 1][..], &[192, 0, 2, 2][..], 64));
        assert_eq!((bytes[20], &bytes[24..]), (0, &request()[24..]));
        assert_eq!((checksum::sum(&bytes[..20]), checksum::sum(&bytes[20..])), (0xffff, 0xffff));
    }

    #[test]
    fn neither_a_broadcast_nor_a_damaged_request_is_answered() {
        assert_eq!(said(request(), Own::No), Reply::Nothing);
        let mut damaged = request();
        damaged[30] ^= 1;
        assert_eq!(said(damaged, Own::Yes), Reply::Nothing);
    }

    #[test]
    fn nobody_listens() {
        let with = |protocol: u8| {
            let mut bytes = request();
            bytes[9] = protocol;
            bytes[10..12].copy_from_slice(&[0, 0]);
            let sum = !checksum::sum(&bytes[..20]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            said(bytes, Own::Yes)
        };
        assert_eq!(with(17), Reply::Error(Message::port_unreachable(Family::Ipv4)));
        assert_eq!(with(99), Reply::Error(Message::protocol_unreachable(Family::Ipv4)));
        assert_eq!(with(6), Reply::Nothing, "no whole TCP header");
    }
}
