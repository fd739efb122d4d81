//! Stop 4: which connection is this packet's, and what does it mean to it?
//!
//! ```text
//!   packet ─► transport check ─► ICMP error? ─► related to the connection it quotes
//!          ─► tuple ─► lookup ─► found: its connection and direction
//!                              └► nothing: a new Unconfirmed, if the protocol lets this packet open one
//!          ─► the protocol's tracker ─► Tracked · Invalid(why) · (reopened: look again)
//! ```
//!
//! The engine never drops a packet; what is Invalid goes on without a connection, as in Linux.

use crate::conn::{Seed, Unconfirmed};
use crate::engine::Engine;
use crate::event::EventMask;
use crate::observe::Observer;
use crate::sctp::{self, Sctp};
use crate::settings::Timeouts;
use crate::state::{Assured, State, Update};
use crate::table::Seen;
use crate::tcp::{self, Segment, Standing, Tcp, Verify};
use crate::tuple::Name;
use crate::{
    Checksum, Ct, Direction, Family, Gone, Hook, Info, Invalid, L4, Packet, Protocol, Status, Sysctl, Time, Tuple, Zone,
};
use crate::{icmp, udp};

/// What is known of a packet's connection before it is tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The zone to look in, which rules before tracking decided.
    pub zone: Zone,
    /// Where [`Engine::look_ahead`] saw it. It is looked at first, and changes nothing else.
    pub seen: Seen,
}

/// A packet and its connection.
#[derive(Debug)]
pub struct Tracked {
    /// The connection.
    pub ct: Ct,
    /// The packet's direction in it.
    pub dir: Direction,
    /// What the packet is to it.
    pub info: Info,
}

/// The answer of stop 4.
#[derive(Debug)]
pub enum Track {
    /// It has a connection.
    Tracked(Tracked),
    /// It needs none (neighbour discovery).
    Untracked,
    /// The tracker says no; the packet goes on without a connection.
    Invalid(Invalid),
    /// It would open a connection, and the table is full.
    TableFull,
}

/// What `check` learnt of the transport header.
enum Transport<'p> {
    Tcp(Segment),
    Sctp(sctp::Body<'p>),
    Other,
}

/// How often one packet may reopen a connection before it is given up; once is all that can happen without a race.
const MOST_REOPENINGS: usize = 4;

/// The transport part of a tuple, if there is enough of the transport header to read it.
#[inline]
pub(crate) fn l4(protocol: Protocol, transport: &[u8]) -> Option<L4> {
    match protocol {
        p if p.has_ports() => match transport {
            [s1, s0, d1, d0, ..] => {
                Some(L4::Ports { src: u16::from_be_bytes([*s1, *s0]), dst: u16::from_be_bytes([*d1, *d0]) })
            }
            _ => None,
        },
        Protocol::ICMP | Protocol::ICMPV6 => icmp::l4(transport),
        Protocol::GRE => gre(transport),
        _ => Some(L4::None),
    }
}

impl Packet<'_> {
    /// The tuple by which its connection is looked up; `None` if there is not enough of it.
    pub fn tuple(&self) -> Option<Tuple> {
        let l4 = l4(self.protocol(), self.transport()?)?;
        Some(Tuple { src: self.src(), dst: self.dst(), protocol: self.protocol(), l4 })
    }

    /// The same as it is looked up.
    #[inline]
    fn name(&self) -> Option<Name> {
        match (self.family(), self.bytes()) {
            (Family::Ipv4, [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..]) => {
                Name::of_v4([*a, *b, *c, *d, *e, *f, *g, *h], self.protocol(), self.transport()?)
            }
            _ => self.tuple().map(|tuple| Name::new(&tuple)),
        }
    }

    /// If it is an ICMP error, the tuple of the packet that it quotes.
    pub fn quoted_tuple(&self) -> Option<Tuple> {
        match icmp::check(self, Verify::Nothing) {
            Ok(icmp::Kind::Error(inverse)) if matches!(self.protocol(), Protocol::ICMP | Protocol::ICMPV6) => {
                inverse.inverse()
            }
            _ => None,
        }
    }
}

/// GRE: version 1 (PPTP) has a call id, every other has nothing that tells conversations apart, and neither has a header
/// that is cut before the call id.
fn gre(transport: &[u8]) -> Option<L4> {
    const ETHERTYPE_PPP: [u8; 2] = [0x88, 0x0b];
    match transport {
        [_, version, p1, p0, _, _, c1, c0, ..] if version & 0x07 == 1 => {
            let dst = u16::from_be_bytes([*c1, *c0]);
            ([*p1, *p0] == ETHERTYPE_PPP).then_some(L4::Keys { src: 0, dst })
        }
        _ => Some(L4::Keys { src: 0, dst: 0 }),
    }
}

impl Engine {
    /// Finds or makes the packet's connection, and moves its state.
    ///
    /// `hook` is where the packet enters: [`Hook::Prerouting`] verifies checksums, [`Hook::Output`] does not.
    pub fn track(
        &self,
        packet: &Packet<'_>,
        hook: Hook,
        template: &Template,
        now: Time,
        observer: &mut impl Observer,
    ) -> Track {
        let is_asked = hook == Hook::Prerouting && self.settings().is_on(Sysctl::Checksum);
        let verify =
            if is_asked && packet.checksum() == Checksum::Unverified { Verify::Checksum } else { Verify::Nothing };
        self.decide(packet, verify, template, now, observer)
    }

    /// The tracker says no.
    fn refuse(&self, packet: &Packet<'_>, why: Invalid) -> Track {
        let is_icmp = matches!(packet.protocol(), Protocol::ICMP | Protocol::ICMPV6);
        self.stats().count_invalid(why, is_icmp && !matches!(why, Invalid::IcmpUnsolicited(_)));
        Track::Invalid(why)
    }

    #[inline]
    fn decide(
        &self,
        packet: &Packet<'_>,
        verify: Verify,
        template: &Template,
        now: Time,
        observer: &mut impl Observer,
    ) -> Track {
        if packet.transport().is_none() {
            return self.refuse(packet, Invalid::NoTransport);
        }
        let checked = match packet.protocol() {
            Protocol::TCP => tcp::check(packet, verify).map(Transport::Tcp),
            Protocol::UDP => udp::check(packet, verify).map(|()| Transport::Other),
            Protocol::UDPLITE => udp::check_lite(packet, verify).map(|()| Transport::Other),
            Protocol::SCTP => sctp::check(packet, verify).map(Transport::Sctp),
            Protocol::ICMP | Protocol::ICMPV6 => match self.check_icmp(packet, verify, template, observer) {
                Ok(answer) => return answer,
                Err(None) => Ok(Transport::Other),
                Err(Some(why)) => return self.refuse(packet, why),
            },
            _ => Ok(Transport::Other),
        };
        let name = packet.name();
        // By reference: what is moved about costs more than what is asked of it.
        let (transport, name) = match (&checked, &name) {
            (Ok(transport), Some(name)) => (transport, name),
            (Ok(_), None) => return self.refuse(packet, Invalid::ShortPacket),
            // Linux finds or makes the connection first: in a full table what is not fit for one is lost like what is.
            (Err(_), Some(name)) if !self.has_room(name, template, now, observer) => return Track::TableFull,
            (Err(why), _) => return self.refuse(packet, *why),
        };

        for _ in 0..MOST_REOPENINGS {
            let found = self.table().find_seen(name, template.zone, template.seen);
            observer.lookup(&name.tuple(), template.zone, found.as_ref().map(|(c, d)| (c.id(), *d)));
            let (ct, dir) = match found {
                Some((conn, dir)) => (Ct::Confirmed(conn), dir),
                None => match self.open(packet, &name.tuple(), transport, template, now, observer) {
                    Ok(unconfirmed) => {
                        observer.opened(&unconfirmed);
                        (Ct::Unconfirmed(unconfirmed), Direction::Original)
                    }
                    Err(refusal) => return refusal,
                },
            };
            let status = ct.status();
            let info = match dir {
                Direction::Reply => Info::Established,
                Direction::Original if status.contains(Status::SEEN_REPLY) => Info::Established,
                Direction::Original if status.contains(Status::EXPECTED) => Info::Related,
                Direction::Original => Info::New,
            };
            match self.update(&ct, transport, dir, now, observer) {
                Update::Invalid { why, timeout } => {
                    if let (Some(timeout), Ct::Confirmed(conn)) = (timeout, &ct) {
                        observer.timeout(timeout, Some(Sysctl::TcpTimeoutUnacknowledged));
                        self.restart(conn, now, timeout);
                    }
                    return self.refuse(packet, why);
                }
                Update::Reopen => {
                    if let Ct::Confirmed(conn) = &ct
                        && self.destroy(conn, now, None)
                    {
                        observer.gone(conn, now, Gone::Reopened);
                    }
                    continue;
                }
                Update::Ignore { events } => ct.note(events),
                Update::Kill { events } => {
                    ct.count(dir, packet.wire_len());
                    ct.note(events);
                    if let Ct::Confirmed(conn) = &ct
                        && self.destroy(conn, now, None)
                    {
                        observer.gone(conn, now, Gone::Refused);
                    }
                }
                Update::Refresh { timeout, from, events, assured } => {
                    if assured == Assured::Now && !ct.set_status(Status::ASSURED).is_empty() {
                        ct.note(EventMask::ASSURED);
                    }
                    ct.note(events);
                    ct.count(dir, packet.wire_len());
                    if !status.contains(Status::FIXED_TIMEOUT) {
                        observer.timeout(timeout, from);
                        match &ct {
                            Ct::Confirmed(conn) => self.restart(conn, now, timeout),
                            Ct::Unconfirmed(u) => u.set_timeout(now, timeout),
                        }
                    }
                }
            }
            if dir == Direction::Reply && !ct.set_status(Status::SEEN_REPLY).is_empty() {
                ct.note(EventMask::REPLY);
            }
            return Track::Tracked(Tracked { ct, dir, info });
        }
        self.refuse(packet, Invalid::NoTransport)
    }

    /// ICMP: `Ok` if that settles it, `Err(None)` if the message goes the common way.
    fn check_icmp(
        &self,
        packet: &Packet<'_>,
        verify: Verify,
        template: &Template,
        observer: &mut impl Observer,
    ) -> Result<Track, Option<Invalid>> {
        let own = match packet.family() {
            Family::Ipv4 => Protocol::ICMP,
            Family::Ipv6 => Protocol::ICMPV6,
        };
        if packet.protocol() != own {
            return Err(Some(Invalid::IcmpFamily));
        }
        match icmp::check(packet, verify)? {
            icmp::Kind::Message => Err(None),
            icmp::Kind::Untracked => Ok(Track::Untracked),
            icmp::Kind::Error(tuple) => {
                let found = self.table().find(&Name::new(&tuple), template.zone);
                observer.lookup(&tuple, template.zone, found.as_ref().map(|(c, d)| (c.id(), *d)));
                let (conn, dir) = found.ok_or(Invalid::IcmpQuoteUnknown)?;
                if !icmp::is_addressed_to(packet, conn.tuple(dir).dst) {
                    return Err(Some(Invalid::IcmpQuoteMismatch));
                }
                Ok(Track::Tracked(Tracked { ct: Ct::Confirmed(conn), dir, info: Info::Related }))
            }
        }
    }

    /// Whether there is a connection for a packet, or room for one.
    fn has_room(&self, name: &Name, template: &Template, now: Time, observer: &mut impl Observer) -> bool {
        self.table().find(name, template.zone).is_some() || self.make_room(&name.tuple(), template.zone, now, observer)
    }

    /// Makes a connection for a packet that belongs to none.
    fn open(
        &self,
        packet: &Packet<'_>,
        tuple: &Tuple,
        transport: &Transport<'_>,
        template: &Template,
        now: Time,
        observer: &mut impl Observer,
    ) -> Result<Unconfirmed, Track> {
        let refuse = |why| self.refuse(packet, why);
        let kind = match tuple.l4 {
            L4::Icmp { kind, .. } => kind,
            _ => 0,
        };
        let reply = tuple.inverse().ok_or_else(|| refuse(Invalid::IcmpType(kind)))?;
        // Before the packet is looked at, as in Linux: also for what turns out to be no beginning.
        if !self.make_room(tuple, template.zone, now, observer) {
            return Err(Track::TableFull);
        }
        let state = match (tuple.protocol, transport) {
            (Protocol::TCP, Transport::Tcp(segment)) => {
                State::Tcp(Tcp::open(segment, self.settings()).map_err(refuse)?)
            }
            (Protocol::SCTP, Transport::Sctp(body)) => State::Sctp(Sctp::open(body).map_err(refuse)?),
            (Protocol::UDP, _) => State::Udp(udp::open(now)),
            (Protocol::UDPLITE, _) => State::Stream,
            (Protocol::GRE, _) => State::Gre(udp::open_gre(self.settings())),
            (Protocol::ICMP | Protocol::ICMPV6, _) => {
                icmp::open(tuple.family(), tuple.l4).map_err(refuse)?;
                State::Icmp
            }
            _ => State::Generic,
        };
        let opened = self.make(Seed {
            id: self.next_id(),
            original: *tuple,
            reply,
            zone: template.zone,
            state,
            accounting: self.settings().is_on(Sysctl::Acct),
            timestamps: self.settings().is_on(Sysctl::Timestamp),
            labels: self.labels(),
        });
        if let Some(expectation) = self.claim(tuple, template.zone, now) {
            opened.announced_by(expectation.wanted());
        }
        Ok(opened)
    }

    /// Asks the protocol's tracker what the packet means.
    fn update(
        &self,
        ct: &Ct,
        transport: &Transport<'_>,
        dir: Direction,
        now: Time,
        observer: &mut impl Observer,
    ) -> Update {
        let settings = self.settings();
        let status = ct.status();
        let remaining = ct.timeout(now);
        let protocol = ct.protocol();
        let policy = ct.timeout_policy();
        let mut state = ct.lock();
        let timeouts = Timeouts { settings, policy: policy.as_deref() };
        let plain = |key| Update::Refresh {
            timeout: timeouts.get(key),
            from: Some(key),
            events: EventMask::empty(),
            assured: Assured::AsBefore,
        };
        match (&mut *state, transport) {
            (State::Tcp(tcp), Transport::Tcp(segment)) => {
                let standing = Standing { status, remaining, settings, timeouts };
                tcp.update(segment, dir, &standing, observer)
            }
            (State::Sctp(sctp), Transport::Sctp(body)) => {
                let step = sctp.update(body, dir, &timeouts, observer);
                ct.note(step.events);
                if step.assured == Assured::Now && !ct.set_status(Status::ASSURED).is_empty() {
                    ct.note(EventMask::ASSURED);
                }
                step.update
            }
            (State::Tcp(_) | State::Sctp(_), _) => Update::Invalid { why: Invalid::ShortPacket, timeout: None },
            (State::Udp(stream), _) => udp::update(stream, status, timeouts, now),
            (State::Gre(own), _) => udp::update_gre(status, *own),
            (State::Stream, _) => udp::update_lite(status, timeouts),
            (State::Icmp, _) if protocol == Protocol::ICMPV6 => plain(Sysctl::Icmpv6Timeout),
            (State::Icmp, _) => plain(Sysctl::IcmpTimeout),
            (State::Generic, _) => plain(Sysctl::GenericTimeout),
        }
    }
}

#[cfg(test)]
mod tests;
