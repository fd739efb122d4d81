//! The sender of an IPv4 packet that goes back out where it came in learns the shorter way (`send_redirects`).
//!
//! ```text
//!   TTL, MTU ─► TTL lowered ─► back to the sender's own link? ─► redirect (5/1) with the next hop ─► FORWARD
//! ```
//! The redirect leaves before the packet itself, and carries its connection as every answer does: so NAT drops it where the
//! connection is translated, for the sender does not know the addresses that are meant. Not told are senders beyond a gateway,
//! and who has chosen the way himself. (All measured; how often: [`crate::icmp_error::Peers`].)

use std::mem;
use std::net::IpAddr;

use uct_engine::{Info, Packet, Tracked};

use super::{Cause, Emit, Observer, Origin, Passing, Router, Tally, Tracking};
use crate::icmp_error::{Message, Turn};
use crate::route::Hop;

impl Router {
    /// Sends the redirect that a packet on its way to `hop` calls for, if any.
    pub(super) fn redirect(
        &self,
        p: &mut Passing<'_>,
        hop: Hop,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) {
        let (IpAddr::V4(_), IpAddr::V4(next)) = (p.packet.src(), hop.next) else { return };
        let calls_for_one = p.origin == Origin::Interface(hop.dev)
            && self.engine.settings().sends_redirects()
            && !p.options.is_source_routed()
            && self.routes.is_neighbor(hop.dev, p.packet.src());
        if !calls_for_one || self.peers.lock().redirect(p.at, p.packet.src()) == Turn::Withhold {
            return;
        }
        let mut bytes = Vec::new();
        let is_built = self.build(Message::redirect(next), p, Some(hop.dev), &mut bytes, observer);
        self.peers.lock().redirected(p.at, p.packet.src());
        if !is_built {
            return;
        }
        let len = bytes.len();
        let Ok(packet) = Packet::parse(&mut bytes, len) else { return };
        observer.aside();
        self.stats.answered.count();
        observer.began(Cause::Answer, &packet);
        // A connection that is not confirmed yet has one owner, so it is lent.
        let info = match &p.tracking {
            Tracking::Tracked(tracked) => Some(tracked.info),
            _ => None,
        };
        let tracking = match mem::replace(&mut p.tracking, Tracking::Before) {
            Tracking::Tracked(Tracked { ct, dir, .. }) => {
                Tracking::Tracked(Tracked { ct, dir: dir.inverse(), info: Info::Related })
            }
            other => {
                p.tracking = other;
                Tracking::Before
            }
        };
        let mut answer = Passing { tracking, link: Some(hop.dev), ..Passing::new(packet, p.at, Origin::Own) };
        if let Err(halt) = self.try_output(&mut answer, out, observer) {
            observer.dropped(&halt.why);
        }
        if let (Some(info), Tracking::Tracked(Tracked { ct, dir, .. })) = (info, answer.tracking) {
            p.tracking = Tracking::Tracked(Tracked { ct, dir: dir.inverse(), info });
        }
        observer.resumed();
    }
}
