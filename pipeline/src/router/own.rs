//! The router's own packets: from its stack, and those that it makes to answer others.
//!
//! ```text
//!   route ─► OUTPUT ─► destination changed? route again ─► POSTROUTING ─► out
//!                                                                     └─► own address: by lo to INPUT
//! ```
//! A packet that stays on lo keeps the connection that tracking gave it at the output hook; prerouting then has nothing left to
//! do.

use uct_engine::{Hook, Packet, Time};

use super::{Cause, Drop, Emit, Fate, Halt, Observer, Origin, Passing, Router, Tally};
use crate::route;
use crate::topology::Dev;

impl Router {
    /// A packet that the router's own stack sends.
    pub fn send_own(
        &self,
        bytes: &mut [u8],
        wire_len: usize,
        at: Time,
        out: &mut impl Emit,
        observer: &mut impl Observer,
    ) -> Fate {
        self.send_own_on(None, bytes, wire_len, at, out, observer)
    }

    /// The same, from a socket that is bound to a link: that is where link-local destinations are.
    pub fn send_own_on(
        &self,
        link: Option<Dev>,
        bytes: &mut [u8],
        wire_len: usize,
        at: Time,
        out: &mut impl Emit,
        observer: &mut impl Observer,
    ) -> Fate {
        let out = &mut Tally::new(out, &self.stats);
        out.received();
        let packet = match Packet::parse(bytes, wire_len) {
            Ok(packet) => packet,
            Err(why) => return self.refuse(Drop::Malformed(why), observer),
        };
        observer.began(Cause::Own, &packet);
        let fate = self.output(&mut Passing { link, ..Passing::new(packet, at, Origin::Own) }, out, observer);
        self.stats.count(&fate, &self.stats.own);
        fate
    }

    /// From the output hook on. Errors about own packets are not answered: whoever sent them is here.
    pub(super) fn output(
        &self,
        p: &mut Passing<'_>,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Fate {
        match self.try_output(p, out, observer) {
            Ok(fate) => fate,
            Err(Halt { why, .. }) => {
                observer.dropped(&why);
                Fate::Dropped(why)
            }
        }
    }

    pub(super) fn try_output(
        &self,
        p: &mut Passing<'_>,
        out: &mut Tally<'_, impl Emit>,
        observer: &mut impl Observer,
    ) -> Result<Fate, Halt> {
        let before = p.packet.dst();
        let mut answer = self.routes.output_on(p.link, before);
        p.hop = hop(&answer);
        if answer == route::Answer::NoRoute {
            return Err(Drop::NoRoute.into());
        }
        self.traverse(p, Hook::Output, observer)?;
        if p.packet.dst() != before {
            answer = self.routes.output_on(p.link, p.packet.dst());
            p.hop = hop(&answer);
        }
        observer.routed(&answer);
        match answer {
            route::Answer::Forward(hop) => self.leave(p, hop, out, observer),
            route::Answer::Local(_) => {
                self.traverse(p, Hook::Postrouting, observer)?;
                p.origin = Origin::Loopback;
                self.traverse(p, Hook::Prerouting, observer)?;
                self.input(p, out, observer)
            }
            route::Answer::NoRoute => Err(Drop::NoRoute.into()),
            route::Answer::Refused(why) => Err(Drop::Route(why).into()),
        }
    }
}

fn hop(answer: &route::Answer) -> Option<route::Hop> {
    match answer {
        route::Answer::Forward(hop) => Some(*hop),
        _ => None,
    }
}
