//! Asking the rules: what they see of a packet, and what becomes of it when they have spoken.

use std::net::{IpAddr, Ipv4Addr};

use uct_engine::{Family, Hook};
use uct_nat::Mapping;
use uct_nat::rules::{
    self, AddressType, ChainId, Context, Decision, Fib, IfName, NatVerdict, PacketType, Reachable, Verdict,
};

use super::answer::Answer;
use super::{Drop, Halt, Observer, Origin, Passing, Router, Tracking};
use crate::link;
use crate::route::{self, Delivery};
use crate::topology::Dev;

impl Router {
    /// Asks one filter chain.
    pub(super) fn filter(
        &self,
        p: &mut Passing<'_>,
        hook: Hook,
        chain: ChainId,
        observer: &mut impl Observer,
    ) -> Result<(), Halt> {
        let verdict = self.ask(p, hook, |rules, cx| rules.filter(chain, cx, observer));
        observer.filtered(hook, chain, &verdict);
        match verdict.decision {
            Decision::Accept => Ok(()),
            _ => Err(halt(&verdict, p.packet.family())),
        }
    }

    /// Asks the NAT chains of a hook about a new connection.
    pub(super) fn decide(
        &self,
        p: &mut Passing<'_>,
        hook: Hook,
        observer: &mut impl Observer,
    ) -> Result<Mapping, Halt> {
        match self.ask(p, hook, |rules, cx| rules.nat(hook, cx, observer)) {
            NatVerdict::None => Ok(Mapping::Null),
            NatVerdict::Act(mapping, rule) => {
                observer.mapping(hook, rule, &mapping);
                Ok(mapping)
            }
            NatVerdict::Refused(verdict) => {
                observer.refused(hook, &verdict);
                Err(halt(&verdict, p.packet.family()))
            }
        }
    }

    /// Shows the rules a packet, and takes over what they changed of it.
    fn ask<T>(
        &self,
        p: &mut Passing<'_>,
        hook: Hook,
        question: impl FnOnce(&rules::Ruleset, &mut Context<'_>) -> T,
    ) -> T {
        let iif = match p.origin {
            Origin::Interface(dev) => Some(self.name(dev)),
            Origin::Loopback => Some(self.lo),
            Origin::Own => None,
        };
        let tracking = match &p.tracking {
            Tracking::Before => rules::Tracking::Before,
            Tracking::Untracked => rules::Tracking::Untracked,
            Tracking::Invalid => rules::Tracking::Invalid,
            Tracking::Tracked(t) => rules::Tracking::Tracked { ct: &t.ct, dir: t.dir, info: t.info },
        };
        let route_max_seg = || self.route_max_seg(p);
        let mut cx = Context {
            packet: &p.packet,
            hook,
            iif,
            oif: match hook {
                Hook::Prerouting | Hook::Input => None,
                _ => Some(p.hop.map_or(self.lo, |hop| self.name(hop.dev))),
            },
            packet_type: match p.addressed.link {
                None | Some(link::PacketType::Host | link::PacketType::Outgoing) => PacketType::Host,
                Some(link::PacketType::Broadcast) => PacketType::Broadcast,
                Some(link::PacketType::Multicast) => PacketType::Multicast,
                Some(link::PacketType::OtherHost) => PacketType::Other,
            },
            mark: p.mark,
            tracking,
            template: p.template,
            route_max_seg: &route_max_seg,
            max_seg: None,
            expectation: None,
            now: p.at,
            fib: self,
            engine: &self.engine,
        };
        let answer = question(&self.rules, &mut cx);
        let (mark, template) = (cx.mark, cx.template);
        let tracked = match cx.tracking {
            rules::Tracking::Untracked => Some(Tracking::Untracked), // notrack
            rules::Tracking::Before => Some(Tracking::Before),       // or a zone, which undoes it
            _ => None,
        };
        let max_seg = cx.max_seg;
        p.mark = mark;
        p.template = template;
        if let (Some(tracked), Tracking::Before | Tracking::Untracked) = (tracked, &p.tracking) {
            p.tracking = tracked;
        }
        if let Some(size) = max_seg {
            p.limit_max_seg(size);
        }
        answer
    }

    /// What `rt mtu` stands for: the least MTU of the way on and the way back, without the headers.
    fn route_max_seg(&self, p: &Passing<'_>) -> Option<u16> {
        const UNKNOWN: u16 = 536;
        let on = self.mtu(p.hop?.dev);
        let back = self.toward(p.packet.src()).map_or(on, |dev| self.mtu(dev));
        let headers = match p.packet.family() {
            Family::Ipv4 => 40,
            Family::Ipv6 => 60,
        };
        Some(on.min(back).checked_sub(headers).and_then(|size| size.try_into().ok()).unwrap_or(UNKNOWN))
    }

    fn name(&self, dev: Dev) -> IfName {
        self.names.get(dev.index()).copied().unwrap_or_default()
    }
}

fn halt(verdict: &Verdict, family: Family) -> Halt {
    match verdict.decision {
        Decision::Reject(with) => {
            Halt { why: Drop::Reject(verdict.rule), answer: Some(Answer::Reject(with.for_family(family))) }
        }
        _ => Drop::Rule(verdict.rule).into(),
    }
}

impl Router {
    /// Whether an address, or a broadcast address, is that of this interface.
    fn has_address(&self, name: IfName, address: IpAddr) -> bool {
        let mut nets =
            self.topology.interfaces.iter().filter(|i| IfName::new(&i.name) == name).flat_map(|i| &i.addresses);
        address == IpAddr::V4(Ipv4Addr::BROADCAST)
            || nets.any(|net| net.addr() == address || address.is_ipv4() && net.broadcast() == address)
    }
}

/// What `fib` asks.
impl Fib for Router {
    fn address_type(&self, address: IpAddr, device: Option<IfName>) -> AddressType {
        // As Linux looks it up: in the table of all, and then whose it is.
        let is_anothers = || device.is_some_and(|name| !self.has_address(name, address));
        if self.routes.is_broadcast(address) {
            return if is_anothers() { AddressType::Unicast } else { AddressType::Broadcast };
        }
        match self.routes.output(address) {
            route::Answer::Local(Delivery::Unicast) if is_anothers() => AddressType::Unicast,
            route::Answer::Local(Delivery::Unicast) => AddressType::Local,
            route::Answer::Local(Delivery::Broadcast) => AddressType::Broadcast,
            route::Answer::Local(Delivery::Multicast) => AddressType::Multicast,
            route::Answer::Forward(_) if address.is_multicast() => AddressType::Multicast,
            route::Answer::Forward(_) => AddressType::Unicast,
            // Of an IPv4 address Linux asks the table of local ones alone.
            route::Answer::NoRoute if address.is_ipv4() => AddressType::Unicast,
            route::Answer::NoRoute => AddressType::Unreachable,
            route::Answer::Refused(_) => AddressType::Unspec,
        }
    }

    fn reachable(&self, address: IpAddr, device: Option<IfName>) -> Reachable {
        match self.routes.output(address) {
            route::Answer::Forward(hop) if device.is_none_or(|d| d == self.name(hop.dev)) => Reachable::Yes,
            _ => Reachable::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uct_engine::Engine;
    use uct_nat::rules::{NoFiles, Ruleset};

    use super::*;
    use crate::topology::Topology;

    /// As `fib daddr type` and `fib daddr . iif type` answered on Linux 6.18, packets coming in by lan0.
    #[test]
    fn what_an_address_is_to_the_router_and_to_one_interface() {
        let topology = "[[interface]]\nname = \"lan0\"\naddresses = [\"10.0.0.1/24\", \"fd00::1/64\"]\n\
                        [[interface]]\nname = \"wan0\"\naddresses = [\"10.1.0.1/24\", \"fd01::1/64\"]\n";
        let topology = Topology::parse("t.toml", topology).expect("a topology");
        let rules = Ruleset::read("r.nft", "", &NoFiles).expect("rules");
        let router = Router::new(Arc::new(Engine::new(0)), rules, topology, 0);
        for (address, any, lan) in [
            ("10.0.0.1", AddressType::Local, AddressType::Local),
            ("10.1.0.1", AddressType::Local, AddressType::Unicast),
            ("10.0.0.255", AddressType::Broadcast, AddressType::Broadcast),
            ("10.1.0.255", AddressType::Broadcast, AddressType::Unicast),
            ("255.255.255.255", AddressType::Broadcast, AddressType::Broadcast),
            ("10.1.0.9", AddressType::Unicast, AddressType::Unicast),
            ("203.0.113.5", AddressType::Unicast, AddressType::Unicast),
            ("fd00::1", AddressType::Local, AddressType::Local),
            ("fd01::1", AddressType::Local, AddressType::Unicast),
            ("2001:db8::5", AddressType::Unreachable, AddressType::Unreachable),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(router.address_type(address, None), any, "{address}");
            assert_eq!(router.address_type(address, Some(IfName::new("lan0"))), lan, "{address} by lan0");
        }
    }
}
