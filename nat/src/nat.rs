//! Stops 5 and 7: which reply tuple a new connection gets.
//!
//! ```text
//!  first packet                         curr = what it carries by now (the inverse of its reply tuple)
//!    │  1  source only, not random      curr suits the rule: and is free ───────────────────────► keep all
//!    │                                  else a live mapping of the same source suits, and is free ► reuse it
//!    │  2  address                      the only one · hash over the range · prefix
//!    │  3  not random                   port suits (or none is asked for), and is free ──────────► keep the port
//!    └► 4  search                       from a random (or the lowest) port, until a reply tuple is free
//! ```
//! "Free" is: the reply tuple that would follow is not in the table, in either direction, in this zone. So the same public
//! port serves many clients as long as their servers differ.
//!
//! # The search
//! Over the rule's ports; without such, a source port stays in its class (1-511, 512-1023 to 600-1023, 1024-65535: what
//! servers see as privileged stays privileged), an ICMP id may become any, a destination port may not change. At most 128
//! ports in a row are tried, then 64 elsewhere, 32, 16, 8. The last 32 tries of a round may evict a TCP connection that is
//! closed already, if the new connection's sequence numbers are ahead. If nothing is free, the last candidate stands, and
//! the packet is dropped when it is confirmed, unless the decision about its other end mends the clash.
//!
//! # Invariants
//! The original tuple never changes. A decision is taken once for each end ([`Manip::done`]), before confirmation. No more
//! than 250 lookups for one decision. What is drawn comes from [`Draw`] alone.
//!
//! # Sources
//! RFC 3022, RFC 4787 (UDP), RFC 5382 (TCP), RFC 5508 (ICMP) for the words and what is good; Linux 6.18, measured, for what
//! is done.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use parking_lot::Mutex;
use uct_engine::tcp::{Seq, TcpState};
use uct_engine::{
    Conn, ConnId, ConnRef, Direction, Engine, Info, L4, Manip, Protocol, Status, Time, Tuple, Unconfirmed,
};

use crate::decision::{AddressChoice, Decision, NoAddress, PortChoice, Search, Start};
use crate::draw::{Ask, Draw};
use crate::range::{Addresses, Flags, Mapping, Ports, Range};
use crate::source::{Mapped, Sources};
use crate::spread::{self, Spread};

/// Most ports tried in a row.
const MOST_TRIES: u32 = 128;
/// A round shorter than this is the last.
const LAST_ROUND: u32 = 16;
/// The last tries of a round may evict.
const EVICTING_TRIES: u32 = 32;

/// Where the packet is, as far as masquerade and redirect ask.
///
/// Which address an interface offers is routing's business; measured on Linux 6.18:
/// * masquerade, IPv4: the first address of the out-interface whose subnet holds the next hop, else its first; a route's
///   `src` does not count. IPv6: source address selection (RFC 6724) among the out-interface's addresses.
/// * redirect, IPv4: the first address of the in-interface. IPv6: its newest address of the scope of the packet's
///   destination (link-local for link-local and for a link's multicast groups).
/// * redirect at the output hook: 127.0.0.1 or ::1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The address to masquerade with or to redirect to. `None` if there is none, and for other mappings.
    pub address: Option<IpAddr>,
    /// Masquerade: the out-interface.
    pub interface: Option<NonZeroU32>,
}

/// Whether the rules are to be asked about an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Ask them, then call [`Nat::setup`] with what they say.
    Decision,
    /// Ask them, for they count and may drop; but the connection is older than NAT and stays untranslated.
    Rules,
    /// The decision was taken, or this packet is none to take it.
    Nothing,
}

/// Whether the NAT rules are to be asked about a packet: only while its connection has not been answered, and only if
/// nothing was decided about this end yet. (ICMP errors are never asked about.)
#[inline]
pub fn pending(conn: &Conn, info: Info, manip: Manip) -> Pending {
    let status = conn.status();
    match info {
        Info::Established => Pending::Nothing,
        Info::New | Info::Related if status.contains(manip.done()) => Pending::Nothing,
        Info::Related if !status.contains(Status::EXPECTED) => Pending::Nothing,
        Info::New | Info::Related if status.contains(Status::CONFIRMED) => Pending::Rules,
        Info::New | Info::Related => Pending::Decision,
    }
}

/// Takes NAT's decisions.
pub struct Nat {
    sources: Sources,
    draw: Mutex<Box<dyn Draw + Send>>,
}

impl fmt::Debug for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nat").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl Nat {
    /// NAT that draws its ports from `draw`: [`crate::Seeded`], or a closure.
    pub fn new(draw: impl Draw + Send + 'static) -> Self {
        Nat { sources: Sources::new(), draw: Mutex::new(Box::new(draw)) }
    }

    /// Decides about one end of a new connection: sets its reply tuple and its status bits.
    ///
    /// `mapping` is what the rules said, [`Mapping::Null`] if none matched. A clash that cannot be mended is no error here:
    /// it shows when the connection is confirmed. Nothing happens if the decision was taken already (`None`).
    pub fn setup(
        &self,
        engine: &Engine,
        ct: &mut Unconfirmed,
        manip: Manip,
        mapping: &Mapping,
        here: &Here,
        now: Time,
    ) -> Result<Option<Decision>, NoAddress> {
        if ct.status().contains(manip.done()) {
            return Ok(None);
        }
        if manip == Manip::Dst {
            // The decision about its source comes later, and looks there.
            self.sources.ask(ct);
        }
        self.forget_gone(engine);
        let Some(before) = ct.reply().inverse() else { return Ok(None) };
        let range = match *mapping {
            Mapping::Null => null(&before, manip),
            Mapping::Snat(range) | Mapping::Dnat(range) => range,
            Mapping::Masquerade { ports, flags } => {
                if ct.original().src == Ipv4Addr::UNSPECIFIED {
                    null(&before, manip)
                } else {
                    let address = here.address.ok_or(NoAddress)?;
                    if let Some(interface) = here.interface {
                        ct.bind_to(interface);
                    }
                    Range { addresses: Addresses::one(address), ports, flags }
                }
            }
            Mapping::Redirect { ports, flags } => {
                let address = here.address.ok_or(NoAddress)?;
                Range { addresses: Addresses::one(address), ports, flags }
            }
        };
        let addresses = match range.addresses {
            Addresses::Prefix(net) => {
                Addresses::one(in_prefix(net, if manip == Manip::Src { before.src } else { before.dst }))
            }
            addresses => addresses,
        };
        let chooser = Chooser { nat: self, engine, ct, manip, range: &range, addresses, now };
        let decision = chooser.choose(before);
        if decision.is_translated() {
            if let Some(reply) = decision.after.inverse() {
                ct.alter_reply(reply);
            }
            ct.set_status(manip.bit());
        }
        ct.set_status(manip.done());
        Ok(Some(decision))
    }

    /// A connection that NAT decided about stands in the table now: its mapping serves others from the same source.
    pub fn confirmed(&self, engine: &Engine, conn: &ConnRef) {
        if conn.status().contains(Status::SRC_NAT_DONE) {
            self.sources.add(engine, conn);
            // Between insertion and this line another thread may have destroyed and forgotten it.
            if conn.status().contains(Status::DYING) {
                self.sources.remove(conn);
            }
        }
    }

    /// Forgets the mappings of connections that were destroyed. [`Nat::setup`] does so by itself; call it as well after
    /// large expiries, so that the engine's list does not wait for the next new connection.
    pub fn forget_gone(&self, engine: &Engine) {
        let mut gone = Vec::new();
        engine.take_gone(&mut gone);
        for conn in &gone {
            self.sources.remove(conn);
        }
    }

    /// An interface went down (`address` is `None`) or lost an address: what was masqueraded with it is destroyed. Answers
    /// how many connections were.
    pub fn interface_lost(&self, engine: &Engine, interface: NonZeroU32, address: Option<IpAddr>, now: Time) -> usize {
        let is_lost = |conn: &ConnRef| {
            conn.bound_to() == Some(interface) && address.is_none_or(|address| conn.reply().dst == address)
        };
        let mut lost: Vec<_> = (0..).map_while(|shard| engine.shard(shard)).flatten().filter(is_lost).collect();
        lost.sort_unstable_by_key(|conn| conn.id());
        lost.iter().filter(|conn| engine.destroy(conn, now, None)).count()
    }
}

/// No rule matched: the address may only be what it is.
fn null(before: &Tuple, manip: Manip) -> Range {
    Range::address(match manip {
        Manip::Src => before.src,
        Manip::Dst => before.dst,
    })
}

/// One decision in the making.
struct Chooser<'a> {
    nat: &'a Nat,
    engine: &'a Engine,
    ct: &'a Unconfirmed,
    manip: Manip,
    range: &'a Range,
    /// The same addresses; of a prefix, the one that this host gets.
    addresses: Addresses,
    now: Time,
}

impl Chooser<'_> {
    fn choose(&self, before: Tuple) -> Decision {
        let is_random = self.range.flags.intersects(Flags::ANY_RANDOM);
        let mut decision = Decision {
            manip: self.manip,
            before,
            after: before,
            address: AddressChoice::Kept,
            port: PortChoice::Kept,
            taken_by: None,
        };
        if self.manip == Manip::Src && !is_random {
            if self.suits(&before) {
                match self.taken_at_first(&before) {
                    None => return decision,
                    Some(id) => decision.taken_by = Some(id),
                }
            } else if let Some((id, tuple)) = self.reuse(&before) {
                match self.taken(&tuple) {
                    None => return Decision { after: tuple, port: PortChoice::Reused(id), ..decision },
                    Some(id) => decision.taken_by = Some(id),
                }
            }
        }
        (decision.after, decision.address) = self.address(before);
        if !is_random {
            match self.range.ports {
                Some(ports) if ports.base.is_none() && ports.hold(&decision.after, self.manip) => {
                    if ports.first == ports.last {
                        return Decision { port: PortChoice::Only, ..decision };
                    }
                    match self.taken(&decision.after) {
                        None => return decision,
                        Some(id) => decision.taken_by = Some(id),
                    }
                }
                Some(_) => {}
                None => match self.taken(&decision.after) {
                    None => return decision,
                    Some(id) => decision.taken_by = Some(id),
                },
            }
        }
        (decision.after, decision.port) = self.search(decision.after);
        decision
    }

    /// Whether the source suits the rule as it is.
    fn suits(&self, tuple: &Tuple) -> bool {
        self.addresses.hold(tuple.src) && self.range.ports.is_none_or(|p| p.hold(tuple, Manip::Src))
    }

    /// Another live connection's translation of the same source.
    fn reuse(&self, before: &Tuple) -> Option<(ConnId, Tuple)> {
        let with = |mapped: Mapped| Tuple { src: mapped.address, l4: with_src_id(before.l4, mapped.id), ..*before };
        let (id, mapped) =
            self.nat.sources.find(self.engine, before, self.ct.zone(), |mapped| self.suits(&with(mapped)))?;
        Some((id, with(mapped)))
    }

    /// Step 2.
    fn address(&self, tuple: Tuple) -> (Tuple, AddressChoice) {
        let old = match self.manip {
            Manip::Src => tuple.src,
            Manip::Dst => tuple.dst,
        };
        let (new, choice) = match self.range.addresses {
            Addresses::Keep => (old, AddressChoice::Kept),
            Addresses::Prefix(net) => (in_prefix(net, old), AddressChoice::Prefix),
            Addresses::Within { first, last } if first == last => {
                (first, if first == old { AddressChoice::Kept } else { AddressChoice::Only })
            }
            Addresses::Within { first, last } => {
                let (spread, choice) = if self.range.flags.contains(Flags::PERSISTENT) {
                    (Spread::Persistent, AddressChoice::HashedBySource)
                } else {
                    (Spread::ByDestination, AddressChoice::Hashed)
                };
                (spread::choose(&tuple, self.manip, first, last, spread, self.ct.zone().id), choice)
            }
        };
        // An address of the other family cannot be meant.
        if new.is_ipv4() != old.is_ipv4() {
            return (tuple, AddressChoice::Kept);
        }
        match self.manip {
            Manip::Src => (Tuple { src: new, ..tuple }, choice),
            Manip::Dst => (Tuple { dst: new, ..tuple }, choice),
        }
    }

    /// The ports to search, or `None` if there is nothing to change.
    fn searchable(&self, tuple: &Tuple) -> Option<Ports> {
        let ports = self.range.ports.map(|p| Ports { first: p.first.min(p.last), last: p.first.max(p.last), ..p });
        match tuple.l4 {
            L4::Icmp { .. } => Some(ports.unwrap_or(Ports::between(0, u16::MAX))),
            // Only the calls of a PPTP control connection have keys that its helper knows how to change.
            L4::Keys { .. } if self.ct.master().is_some() => Some(ports.unwrap_or(Ports::between(1, u16::MAX))),
            L4::Ports { src, .. } => match (ports, self.manip) {
                (Some(ports), _) => Some(ports),
                (None, Manip::Dst) => None,
                (None, Manip::Src) => Some(match src {
                    0..512 => Ports::between(1, 511),
                    512..1024 => Ports::between(600, 1023),
                    _ => Ports::between(1024, u16::MAX),
                }),
            },
            L4::Keys { .. } | L4::None => None,
        }
    }

    /// Step 4.
    fn search(&self, mut tuple: Tuple) -> (Tuple, PortChoice) {
        let Some(ports) = self.searchable(&tuple) else { return (tuple, PortChoice::Stuck) };
        let size = u32::from(ports.last) - u32::from(ports.first) + 1;
        let mut round = 0;
        let draw = |tuple: &Tuple, tries, round| {
            let original = self.ct.original();
            let would_take = |port| {
                let candidate = Tuple { l4: with_id(tuple.l4, self.manip, port), ..*tuple };
                matches!(self.look(&candidate, tries), Look::Free | Look::Evictable(_))
            };
            let ask = Ask {
                original: &original,
                wanted: tuple,
                manip: self.manip,
                first: ports.first,
                size,
                tries,
                round,
                would_take: &would_take,
            };
            self.nat.draw.lock().offset(&ask)
        };
        let mut in_a_row = size.min(MOST_TRIES);
        let own = match (tuple.l4, self.manip) {
            (L4::Icmp { id, .. }, _) => id,
            (l4, Manip::Src) => l4.src_id(),
            (l4, Manip::Dst) => l4.dst_id(),
        };
        let mut start = match ports.base {
            Some(base) => Start::Shifted(own.wrapping_sub(base)),
            None if self.manip == Manip::Src || self.range.flags.intersects(Flags::ANY_RANDOM) => {
                Start::Drawn(draw(&tuple, in_a_row, round))
            }
            None => Start::Lowest,
        };
        let mut search = Search { first: ports.first, last: ports.last, start, tries: 0, restarts: 0, evicted: None };
        loop {
            let mut offset = match start {
                Start::Lowest => 0,
                Start::Drawn(offset) | Start::Shifted(offset) => offset,
            };
            for i in 0..in_a_row {
                // The remainder is below the range's size, so the sum is a port of the range.
                let port = ports.first + (u32::from(offset) % size) as u16;
                tuple.l4 = with_id(tuple.l4, self.manip, port);
                search.tries += 1;
                match self.look(&tuple, in_a_row - i) {
                    Look::Taken => {}
                    Look::Free => return (tuple, PortChoice::Found(search)),
                    Look::Evictable(other) => {
                        self.engine.destroy(&other, self.now, None);
                        search.evicted = Some(other.id());
                        return (tuple, PortChoice::Found(search));
                    }
                }
                offset = offset.wrapping_add(1);
            }
            if in_a_row >= size || in_a_row < LAST_ROUND {
                return (tuple, PortChoice::Exhausted(search));
            }
            in_a_row /= 2;
            round += 1;
            start = Start::Drawn(draw(&tuple, in_a_row, round));
            search.start = start;
            search.restarts = round;
        }
    }

    /// Who has the reply tuple that would follow.
    fn taken(&self, tuple: &Tuple) -> Option<ConnId> {
        let reply = tuple.inverse()?;
        self.engine.taken(&reply, self.ct).map(|conn| conn.id())
    }

    /// The same for the first choice. Two packets of one untranslated flow that arrive in both directions at once each
    /// look new. They clash only with each other; that is resolved when they are confirmed, and moves no port.
    fn taken_at_first(&self, tuple: &Tuple) -> Option<ConnId> {
        let reply = tuple.inverse()?;
        let other = self.engine.taken(&reply, self.ct)?;
        let may_merge = matches!(
            tuple.protocol,
            Protocol::UDP | Protocol::UDPLITE | Protocol::ICMP | Protocol::ICMPV6 | Protocol::GRE
        );
        let is_plain = |conn: &Conn| !conn.status().intersects(Status::NAT | Status::SEQ_ADJUST);
        let is_same_reversed = may_merge
            && is_plain(self.ct)
            && is_plain(&other)
            && other.original() == self.ct.reply()
            && other.reply() == self.ct.original();
        (!is_same_reversed).then(|| other.id())
    }

    /// What stands in a candidate's way. One of the last tries may evict a closed connection.
    fn look(&self, tuple: &Tuple, tries_left: u32) -> Look {
        let Some(reply) = tuple.inverse() else { return Look::Taken };
        let opens = self.ct.tcp_progress().filter(|(state, _)| *state == TcpState::SynSent);
        let Some((_, new_end)) = opens.filter(|_| tries_left <= EVICTING_TRIES) else {
            return if self.engine.taken(&reply, self.ct).is_none() { Look::Free } else { Look::Taken };
        };
        match self.engine.find(&reply, self.ct.zone()) {
            None => Look::Free,
            Some((other, Direction::Reply)) if may_evict(&other, new_end) => Look::Evictable(other),
            Some(_) => Look::Taken,
        }
    }
}

/// What stands in a candidate's way.
enum Look {
    Free,
    Taken,
    /// This connection, which has ended.
    Evictable(ConnRef),
}

/// Whether a SYN whose number is `new_end` may evict a connection: a source-translated TCP connection that has ended, and
/// whose last number is behind.
fn may_evict(other: &Conn, new_end: Seq) -> bool {
    let status = other.status();
    let has_ended = |state| matches!(state, TcpState::TimeWait | TcpState::Close | TcpState::SynSent2);
    status.contains(Status::SRC_NAT)
        && !status.intersects(Status::FIXED_TIMEOUT | Status::DYING | Status::OFFLOAD | Status::HW_OFFLOAD)
        && other.tcp_progress().is_some_and(|(state, old_end)| has_ended(state) && new_end.after(old_end))
}

/// The host's bits of `old` in the network `net`; `old` itself if it is of the other family.
fn in_prefix(net: ipnet::IpNet, old: IpAddr) -> IpAddr {
    match (net, old) {
        (ipnet::IpNet::V4(net), IpAddr::V4(old)) => {
            let mask = u32::from(net.netmask());
            IpAddr::V4((u32::from(net.network()) & mask | u32::from(old) & !mask).into())
        }
        (ipnet::IpNet::V6(net), IpAddr::V6(old)) => {
            let mask = u128::from(net.netmask());
            IpAddr::V6((u128::from(net.network()) & mask | u128::from(old) & !mask).into())
        }
        _ => old,
    }
}

fn with_src_id(l4: L4, id: u16) -> L4 {
    with_id(l4, Manip::Src, id)
}

/// The same with another port, key or id. (An ICMP id belongs to both ends.)
fn with_id(l4: L4, manip: Manip, new: u16) -> L4 {
    match (l4, manip) {
        (L4::Ports { dst, .. }, Manip::Src) => L4::Ports { src: new, dst },
        (L4::Ports { src, .. }, Manip::Dst) => L4::Ports { src, dst: new },
        (L4::Keys { dst, .. }, Manip::Src) => L4::Keys { src: new, dst },
        (L4::Keys { src, .. }, Manip::Dst) => L4::Keys { src, dst: new },
        (L4::Icmp { kind, code, .. }, _) => L4::Icmp { kind, code, id: new },
        (L4::None, _) => L4::None,
    }
}

#[cfg(test)]
#[path = "nat/tests.rs"]
mod tests;
