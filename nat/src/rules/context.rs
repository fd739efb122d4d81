//! What a rule may look at and change: the packet and what is known about it.

use super::types::pack_name;
use super::{Hook, Logged, RuleId};
use std::fmt;
use std::net::IpAddr;
use uct_engine::{Conn, Direction, Engine, Info, Packet, Template, Time};

/// An interface's name as the kernel keeps it: sixteen bytes, so that comparing costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct IfName(pub(super) u128);

impl IfName {
    /// Of a name; what is beyond the fifteenth byte is cut off.
    pub fn new(name: &str) -> IfName {
        IfName(pack_name(name))
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_be_bytes();
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        f.write_str(&String::from_utf8_lossy(&bytes[..end]))
    }
}

/// Whom the link layer addressed the packet to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PacketType {
    /// This host.
    #[default]
    Host = 0,
    /// Everybody.
    Broadcast = 1,
    /// A group.
    Multicast = 2,
    /// Somebody else.
    Other = 3,
}

/// What an address is to the router (`fib … type`), with the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressType {
    /// Not known.
    #[default]
    Unspec = 0,
    /// Somebody else's.
    Unicast = 1,
    /// The router's own.
    Local = 2,
    /// A broadcast address.
    Broadcast = 3,
    /// An anycast address.
    Anycast = 4,
    /// A group's.
    Multicast = 5,
    /// Its packets vanish.
    Blackhole = 6,
    /// There is no route.
    Unreachable = 7,
    /// Forbidden.
    Prohibit = 8,
}

/// Whether the route to an address leads through an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachable {
    /// It does.
    Yes,
    /// It does not, or there is none.
    No,
}

/// What rules ask the routing table (`fib`).
pub trait Fib {
    /// What an address is to the router, or to one of its interfaces: what belongs to another interface is unicast there.
    fn address_type(&self, address: IpAddr, device: Option<IfName>) -> AddressType;

    /// Whether `address` would be reached by way of `device`, or by any if none is given.
    fn reachable(&self, address: IpAddr, device: Option<IfName>) -> Reachable;
}

/// A routing table that knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFib;

impl Fib for NoFib {
    fn address_type(&self, _: IpAddr, _: Option<IfName>) -> AddressType {
        AddressType::Unspec
    }

    fn reachable(&self, _: IpAddr, _: Option<IfName>) -> Reachable {
        Reachable::No
    }
}

/// What connection tracking has to say about the packet.
#[derive(Debug, Clone, Copy)]
pub enum Tracking<'a> {
    /// Not asked yet: the chain runs before it.
    Before,
    /// A rule, or the tracker, lets it go untracked.
    Untracked,
    /// It belongs to nothing.
    Invalid,
    /// It belongs to this connection.
    Tracked {
        /// The connection.
        ct: &'a Conn,
        /// The packet's direction in it.
        dir: Direction,
        /// What the packet is to it.
        info: Info,
    },
}

/// A packet on its way, for rules to look at and to mark.
///
/// The caller fills it in at the first hook and hands it to each chain in turn; what rules change (`mark`, `template`, `tracking`,
/// `max_seg`, `expectation`) is in the fields afterwards, what they change of the connection is in the connection.
pub struct Context<'a> {
    /// The packet.
    pub packet: &'a Packet<'a>,
    /// The hook it is at.
    pub hook: Hook,
    /// The interface it came in by; none for the router's own packets.
    pub iif: Option<IfName>,
    /// The interface it leaves by, once that is known.
    pub oif: Option<IfName>,
    /// Whom the link layer addressed it to.
    pub packet_type: PacketType,
    /// Its mark.
    pub mark: u32,
    /// Its connection.
    pub tracking: Tracking<'a>,
    /// What rules before tracking have decided: the zone.
    pub template: Template,
    /// Says the segment size that the route's MTU allows (`rt mtu`); none before the packet is routed.
    pub route_max_seg: &'a dyn Fn() -> Option<u16>,
    /// The largest segment size that rules want the packet to announce, not carried out yet.
    pub max_seg: Option<u16>,
    /// The number of an expectation that a rule wants: [`super::Ruleset::expectation`].
    pub expectation: Option<u32>,
    /// The time.
    pub now: Time,
    /// The routing table.
    pub fib: &'a dyn Fib,
    /// The connections, for `ct count`.
    pub engine: &'a Engine,
}

/// Hears what rules do. Empty by default and statically dispatched: not listening costs nothing.
pub trait Observer {
    /// All of a rule's matches were true, and its statements took effect.
    fn matched(&mut self, rule: RuleId) {
        let _ = rule;
    }

    /// A `log` statement was passed.
    fn log(&mut self, logged: &Logged<'_, '_>) {
        let _ = logged;
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
