//! What links tell a router, and what it tells when they fail.

use std::net::IpAddr;

use ipnet::IpNet;
use uct_engine::{Family, Packet, Sysctl, Time};

use super::{Emit, Observer, Origin, Passing, Router, Tally, interface};
use crate::icmp_error::{self, Message, Peers, Turn};
use crate::link::Mac;
use crate::route::Routes;
use crate::topology::Dev;

impl Router {
    /// An interface has this link address and this MTU in bytes from now on. Addresses that follow from the link address follow
    /// it.
    ///
    /// A router in force is changed by [`super::InForce::update`].
    pub fn set_link(&mut self, dev: Dev, mac: Option<Mac>, mtu: u32) {
        let Some(interface) = self.topology.interfaces.get_mut(dev.index()) else { return };
        interface.mac = mac;
        interface.mtu = mtu;
        self.routes = Routes::new(&self.topology);
    }

    /// An interface went down: connections that borrow its address are destroyed, as in Linux. Answers how many.
    pub fn link_down(&self, dev: Dev, now: Time) -> usize {
        self.nat.interface_lost(&self.engine, interface(dev), None, now)
    }

    /// Whether an error may be sent now, and counts it if so.
    pub(crate) fn may_tell(&self, message: Message, to: IpAddr, now: Time) -> bool {
        let settings = self.engine.settings();
        if !message.is_limited(settings.get(Sysctl::IcmpRatemask)) {
            return true;
        }
        let interval = settings.milliseconds(match to {
            IpAddr::V4(_) => Sysctl::IcmpRatelimit,
            IpAddr::V6(_) => Sysctl::Icmp6Ratelimit,
        });
        self.takes_turn(|peers| peers.error(now, to, interval))
    }

    /// Whether one of the limits lets a message pass; if not, that is counted.
    pub(super) fn takes_turn(&self, ask: impl FnOnce(&mut Peers) -> Turn) -> bool {
        let turn = ask(&mut self.peers.lock());
        if turn == Turn::Withhold {
            self.stats.withheld.count();
        }
        turn == Turn::Send
    }

    /// Whether an address is the router's own; one of link scope only on `dev`.
    pub fn is_own_on(&self, dev: Dev, address: IpAddr) -> bool {
        self.routes.is_own(dev, address)
    }

    /// An interface's addresses, the one that follows from its link address among them.
    pub fn addresses(&self, dev: Dev) -> &[IpNet] {
        self.routes.addresses(dev)
    }

    /// The least MTU of all interfaces, in bytes.
    pub fn least_mtu(&self) -> usize {
        self.topology.interfaces.iter().map(|i| i.mtu as usize).min().unwrap_or(usize::MAX)
    }

    /// The router's own stack answers a packet that it was given with an error.
    pub fn answer_delivered(
        &self,
        bytes: &mut [u8],
        link: Option<Dev>,
        message: Message,
        at: Time,
        out: &mut impl Emit,
        observer: &mut impl Observer,
    ) {
        let len = bytes.len();
        let Ok(packet) = Packet::parse(bytes, len) else { return };
        let source = packet.dst();
        if !self.may_tell(message, packet.src(), at) {
            return;
        }
        let mut answer = Vec::new();
        icmp_error::build(message, &packet, source, self.draw(), &[], &mut answer);
        let mut p = Passing { link, ..Passing::new(packet, at, Origin::Own) };
        self.send_answer(&mut p, answer, &mut Tally::new(out, &self.stats), observer);
    }

    /// Nobody behind `dev` has the link address of a packet's next hop: its sender is told.
    pub fn next_hop_failed(
        &self,
        bytes: &mut [u8],
        dev: Dev,
        at: Time,
        out: &mut impl Emit,
        observer: &mut impl Observer,
    ) {
        let len = bytes.len();
        let Ok(packet) = Packet::parse(bytes, len) else { return };
        let message = Message::host_unreachable(packet.family());
        // The way back is where it came from; a packet that carries an own address came from behind no link.
        let iif = match packet.family() {
            Family::Ipv4 => Some(dev),
            Family::Ipv6 => self.toward(packet.src()).or(Some(dev)),
        };
        let mut p = Passing::new(packet, at, Origin::Own);
        let mut answer = Vec::new();
        if self.build(message, &p, iif, &mut answer, observer) {
            self.send_answer(&mut p, answer, &mut Tally::new(out, &self.stats), observer);
        }
    }
}
