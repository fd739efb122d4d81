//! What a router answers when it stops a packet: ICMP errors, and what a rule's `reject` asks for.
//!
//! The answer is one of the router's own packets and takes their way. It carries the connection of the packet that it
//! answers, in the other direction and as related, also if that connection is not confirmed (and then never will be): so its
//! quotation is translated back to what the sender knows. (Measured: a traceroute to a forwarded port shows the router with
//! the public address in its quotation.)

use std::mem;

use uct_engine::{Ct, Family, Info, Packet, Tracked};
use uct_nat::rules::Reject;

use super::{Cause, Emit, Observer, Origin, Passing, Router, Tally, Tracking};
use crate::defrag::Expired;
use crate::icmp_error::{self, Message, Silence};
use crate::route;
use crate::topology::Dev;

/// What a packet's sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its time to live is used up.
    TimeExceeded,
    /// No route leads to its destination.
    NoRoute,
    /// Its link-local source ends at its link.
    BeyondScope,
    /// It does not fit, and must not be cut; the MTU in bytes.
    TooBig(usize),
    /// This byte of its header makes no sense.
    Nonsense(u8),
    /// What a rule wants.
    Reject(Reject),
}

impl Router {
    /// Sends the answer to a packet that came in, if it may have one.
    pub(super) fn answer(
        &self,
        p: &mut Passing<'_>,
        answer: Answer,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) {
        let family = p.packet.family();
        let mut bytes = Vec::new();
        let message = match answer {
            Answer::TimeExceeded => Message::time_exceeded(family),
            Answer::NoRoute => {
                let from = p.packet.src();
                if family == Family::Ipv4 && !self.takes_turn(|peers| peers.no_route(p.at, from)) {
                    return observer.silent(Silence::TooMany);
                }
                Message::no_route(family)
            }
            Answer::BeyondScope => Message::beyond_scope(),
            Answer::TooBig(mtu) => Message::too_big(family, u32::try_from(mtu).unwrap_or(u32::MAX)),
            Answer::Nonsense(at) => Message::parameter_problem(at),
            Answer::Reject(Reject::TcpReset) => {
                if let Err(why) = icmp_error::reset(&p.packet, &mut bytes) {
                    return observer.silent(why);
                }
                if let Tracking::Tracked(Tracked { ct: Ct::Confirmed(conn), .. }) = &p.tracking {
                    self.engine.refused_with_reset(conn, p.at);
                }
                return self.send_answer(p, bytes, out, observer);
            }
            Answer::Reject(Reject::Icmp(code) | Reject::Icmpv6(code) | Reject::Icmpx(code)) => {
                if let Err(why) = icmp_error::check_reject(&p.packet) {
                    return observer.silent(why);
                }
                Message::unreachable(family, code)
            }
        };
        let iif = match p.origin {
            Origin::Interface(dev) => Some(dev),
            Origin::Own | Origin::Loopback => None,
        };
        if self.build(message, p, iif, &mut bytes, observer) {
            self.send_answer(p, bytes, out, observer);
        }
    }

    /// An error about a packet, if there may be one and there is an address to send it from.
    pub(super) fn build(
        &self,
        message: Message,
        p: &Passing<'_>,
        iif: Option<Dev>,
        bytes: &mut Vec<u8>,
        observer: &mut impl Observer,
    ) -> bool {
        let packet = &p.packet;
        if let Err(why) = icmp_error::check(message, packet, p.addressed) {
            observer.silent(why);
            return false;
        }
        let Some(iif) = iif else { return false };
        let source = self.routes.error_source(iif, packet.src(), packet.dst());
        if source.is_unspecified() {
            return false; // an inferred router, which has no address
        }
        let Some(options) = self.returned_options(p, source) else { return false };
        if !self.may_tell(message, packet.src(), p.at) {
            observer.silent(Silence::TooMany);
            return false;
        }
        icmp_error::build(message, packet, source, self.draw(), &options, bytes);
        true
    }

    pub(super) fn send_answer(
        &self,
        p: &mut Passing<'_>,
        mut bytes: Vec<u8>,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) {
        let len = bytes.len();
        let Ok(packet) = Packet::parse(&mut bytes, len) else { return };
        let tracking = match mem::replace(&mut p.tracking, Tracking::Before) {
            Tracking::Tracked(Tracked { ct, dir, .. }) => {
                Tracking::Tracked(Tracked { ct, dir: dir.inverse(), info: Info::Related })
            }
            Tracking::Before | Tracking::Untracked | Tracking::Invalid => Tracking::Before,
        };
        let link = match p.origin {
            Origin::Interface(dev) => Some(dev),
            Origin::Own | Origin::Loopback => p.link,
        };
        self.stats.answered.count();
        observer.began(Cause::Answer, &packet);
        self.output(&mut Passing { tracking, link, ..Passing::new(packet, p.at, Origin::Own) }, out, observer);
    }

    /// A datagram did not become whole in time; its sender is told where Linux tells it.
    pub(super) fn reassembly_failed(
        &self,
        expired: &Expired,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) {
        let Some(mut first) = expired.first.clone() else { return };
        // A piece that was trimmed to a multiple of eight bytes still claims its old length.
        let claimed = match first[..] {
            [0x40..=0x4f, _, high, low, ..] => u16::from_be_bytes([high, low]).into(),
            _ => 0,
        };
        let wire_len = first.len().max(claimed);
        let Ok(packet) = Packet::parse(&mut first, wire_len) else { return };
        let is_own = matches!(self.routes.output(packet.dst()), route::Answer::Local(_));
        if expired.family == Family::Ipv4 && !is_own {
            return;
        }
        let message = Message::reassembly_time_exceeded(expired.family);
        let mut bytes = Vec::new();
        let iif = self.toward(packet.src());
        let mut p = Passing::new(packet, expired.at, iif.map_or(Origin::Own, Origin::Interface));
        if self.build(message, &p, iif, &mut bytes, observer) {
            self.send_answer(&mut p, bytes, out, observer);
        }
    }
}
