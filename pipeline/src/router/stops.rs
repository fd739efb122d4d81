//! The stops at which a packet meets its connection: tracking, translation, confirmation.

use std::num::NonZeroU32;

use uct_engine::{
    Checksum, Confirm, Ct, Direction, Family, Gone, Hook, Invalid, Manip, Packet, Protocol, Sysctl, Track, Tracked,
};
use uct_nat::{Here, Mapping, Pending, Refusal};

use super::{Drop, Halt, Observer, Origin, Passing, Router, Tracking};
use crate::topology::Dev;

/// An interface as the connections that borrow its address remember it: Linux counts them from 1.
#[inline]
pub(super) fn interface(dev: Dev) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(dev.0.into())
}

/// Whether the tracker, if it verifies checksums, has found this packet's right. It is not summed up again then, as in Linux: a rule that
/// rewrites the packet and makes its checksum wrong does not keep a later one from rejecting it.
fn has_verified(packet: &Packet<'_>, track: &Track) -> bool {
    let is_summed = matches!(packet.protocol(), Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6);
    let unseen = matches!(
        track,
        Track::Invalid(Invalid::BadChecksum | Invalid::NoTransport | Invalid::ShortPacket | Invalid::TruncatedPacket)
            | Track::TableFull
    );
    is_summed && !unseen && packet.checksum() == Checksum::Unverified && !packet.is_truncated()
}

impl Router {
    /// Stop 4.
    pub(super) fn track(&self, p: &mut Passing<'_>, hook: Hook, observer: &mut impl Observer) -> Result<(), Halt> {
        if !matches!(p.tracking, Tracking::Before) {
            if matches!(p.tracking, Tracking::Untracked) {
                observer.untracked();
            }
            return Ok(()); // a rule said notrack, or it carries the connection of the packet that it answers
        }
        if hook == Hook::Prerouting && self.engine.settings().is_on(Sysctl::Checksum) {
            p.pull_for_tracking();
        }
        let track = self.engine.track(&p.packet, hook, &p.template, p.at, observer);
        if hook == Hook::Prerouting && has_verified(&p.packet, &track) && self.engine.settings().is_on(Sysctl::Checksum)
        {
            p.packet.set_checksum(Checksum::Verified);
        }
        p.tracking = match track {
            Track::Tracked(tracked) => {
                if observer.is_listening() {
                    observer.tracked(&tracked.ct.entry(p.at), tracked.dir, tracked.info);
                }
                Tracking::Tracked(tracked)
            }
            Track::Untracked => {
                observer.untracked();
                Tracking::Untracked
            }
            Track::Invalid(why) => {
                observer.invalid(why);
                Tracking::Invalid
            }
            Track::TableFull => return Err(Drop::TableFull.into()),
        };
        Ok(())
    }

    /// Stops 5 and 7: the decision about one end of a new connection, and the rewriting of every packet.
    pub(super) fn translate(&self, p: &mut Passing<'_>, hook: Hook, observer: &mut impl Observer) -> Result<(), Halt> {
        let (Some(manip), Tracking::Tracked(tracked)) = (Manip::at(hook), &p.tracking) else { return Ok(()) };
        let pending = uct_nat::pending(&tracked.ct, tracked.info, manip);
        if pending != Pending::Nothing {
            let mapping = self.decide(p, hook, observer)?;
            let here = self.here(p, hook, &mapping);
            if let (Pending::Decision, Tracking::Tracked(tracked)) = (pending, &mut p.tracking)
                && let Some(unconfirmed) = tracked.ct.unconfirmed()
            {
                let decision = self.nat.setup(&self.engine, unconfirmed, manip, &mapping, &here, p.at);
                match decision {
                    Ok(Some(decision)) => observer.mapped(&decision),
                    Ok(None) => {}
                    Err(_) => return Err(Drop::NoAddress.into()),
                }
            }
        }
        let Tracking::Tracked(tracked) = &p.tracking else { return Ok(()) };
        let out = p.hop.map(|hop| interface(hop.dev));
        match uct_nat::translate(&mut p.packet, &tracked.ct, tracked.dir, tracked.info, hook, out) {
            Ok(rewrite) => {
                observer.rewritten(hook, &rewrite, &p.packet);
                if p.fragmented.is_some() {
                    let info = tracked.info;
                    p.pull_for_nat(info, rewrite);
                }
                Ok(())
            }
            Err(why) => {
                if let (Refusal::InterfaceChanged, Ct::Confirmed(conn)) = (why, &tracked.ct)
                    && self.engine.kill(conn, tracked.dir, &p.packet, p.at)
                {
                    observer.gone(conn, p.at, Gone::InterfaceChanged);
                }
                Err(Drop::Nat(why).into())
            }
        }
    }

    /// The addresses that masquerade and redirect borrow.
    fn here(&self, p: &Passing<'_>, hook: Hook, mapping: &Mapping) -> Here {
        match (mapping, p.hop, p.origin) {
            (Mapping::Masquerade { .. }, Some(hop), _) => {
                Here { address: self.routes.masquerade(hop, p.packet.dst()), interface: Some(interface(hop.dev)) }
            }
            (Mapping::Redirect { .. }, ..) if hook == Hook::Output => {
                let address = match p.packet.family() {
                    Family::Ipv4 => std::net::Ipv4Addr::LOCALHOST.into(),
                    Family::Ipv6 => std::net::Ipv6Addr::LOCALHOST.into(),
                };
                Here { address: Some(address), interface: None }
            }
            (Mapping::Redirect { .. }, _, Origin::Interface(iif)) => {
                Here { address: self.routes.primary(iif, p.packet.dst()), interface: None }
            }
            _ => Here::default(),
        }
    }

    /// Stop 8, first half: a new connection enters the table, and what happened to it is told.
    pub(super) fn confirm(&self, p: &mut Passing<'_>, observer: &mut impl Observer) -> Result<(), Halt> {
        if let Tracking::Tracked(Tracked { ct: Ct::Confirmed(conn), .. }) = &p.tracking {
            self.engine.leaves(conn, p.at);
            if observer.is_listening() {
                observer.confirmed(&Confirm::Known(conn.clone()));
            }
            return Ok(());
        }
        // An answer does not confirm the connection of the packet that it answers: that was refused, or goes on itself.
        let is_answer = |t: &Tracked| matches!(t.ct, Ct::Unconfirmed(_)) && t.dir == Direction::Reply;
        if matches!(&p.tracking, Tracking::Tracked(tracked) if is_answer(tracked)) {
            return Ok(());
        }
        let Tracking::Tracked(Tracked { ct, dir, info }) = std::mem::replace(&mut p.tracking, Tracking::Untracked)
        else {
            return Ok(());
        };
        let confirm = self.engine.confirm(ct, p.at);
        observer.confirmed(&confirm);
        let conn = match confirm {
            Confirm::Known(conn) | Confirm::Merged(conn) => conn,
            Confirm::Inserted(conn) => {
                self.nat.confirmed(&self.engine, &conn);
                conn
            }
            Confirm::Clash(_) => return Err(Drop::Clash.into()),
        };
        p.tracking = Tracking::Tracked(Tracked { ct: Ct::Confirmed(conn), dir, info });
        Ok(())
    }
}
