//! Datagrams that make the router itself speak: back out where they came in, to nowhere, with too many hops behind them, from
//! where their source is not.

use std::net::IpAddr;

use super::Traffic;
use super::random::Random;
use super::world::{Family, INSIDE, MIDDLE, OUTSIDE, Origin, Seen, Shot, World};
use crate::packet::build::{Ip, udp};

const NOWHERE: [&str; 2] = ["192.0.2.9", "2001:db8:dead::9"];

/// Datagrams of that kind. Nobody answers them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoutingTraffic;

fn parse(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Where a source that is not the sender's own could lie.
fn stranger(random: &mut Random, world: &World, family: Family) -> IpAddr {
    let host = |number: usize| world.hosts[number].address(family);
    match random.below(5) {
        0 => host(*random.pick(&MIDDLE)),
        1 => host(*random.pick(&OUTSIDE)),
        2 => host(*random.pick(&INSIDE)),
        3 => parse(NOWHERE[family as usize]),
        _ => world.router_address("dmz0", family),
    }
}

impl Traffic for RoutingTraffic {
    fn shoot(&mut self, random: &mut Random, world: &World) -> Option<Shot> {
        let family = if random.chance(75) { Family::V4 } else { Family::V6 };
        let address = |number: usize| world.hosts[number].address(family);
        let inside = *random.pick(&INSIDE[..2]);
        let (from, to) = match random.below(100) {
            // To a neighbour, by way of the router.
            0..25 => (inside, address(INSIDE[1])),
            // To the gateway's other side.
            25..40 => (OUTSIDE[0], address(OUTSIDE[2])),
            // From there.
            40..46 => (OUTSIDE[2], address(OUTSIDE[0])),
            46..66 => (inside, parse(NOWHERE[family as usize])),
            66..70 => (inside, world.router_address("wan0", family)),
            70..74 => (OUTSIDE[0], world.router_address("wan0", family)),
            _ => (inside, address(*random.pick(&OUTSIDE))),
        };
        // What is told to a broadcast address reaches the router's own stack, too: such packets call for nothing.
        let from_all = family == Family::V4 && random.chance(4);
        let (src, to) = if from_all {
            let all = random.pick::<&str>(&["192.168.1.255", "10.0.0.255", "203.0.113.255"]);
            (parse(all), address(*random.pick(&[INSIDE[1], OUTSIDE[0], OUTSIDE[2]])))
        } else if random.chance(15) {
            (stranger(random, world, family), to)
        } else {
            (address(from), to)
        };
        let mut ip = Ip::new(src, to);
        ip.id = random.bits() as u16;
        if !from_all && random.chance(25) {
            ip.ttl = 1;
        }
        let length = *random.pick(&[0, 4, 600]);
        let data = random.bytes(length);
        let dport = if from_all { 600 } else { *random.pick(&[600, 1000, 40000]) };
        let packet = udp(&ip, *random.pick(&[1, 2, 53]), dport, &data);
        Some(Shot { from: Origin::Host(from), packet })
    }

    fn notice(&mut self, _: &[Seen]) {}
}
