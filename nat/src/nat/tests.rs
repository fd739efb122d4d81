//! Tables of (what is in the table, rule, first packet) → (what the source or destination becomes, and the reason given).

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use proptest::prelude::*;
use uct_engine::{Confirm, Ct, Hook, Packet, Silent, Template, Track, Tracked, Zone, ZoneScope};

use super::*;
use crate::draw::Seeded;
use crate::packets::{self, ip};

const NOW: Time = Time::from_secs(1);
const WAN: Option<NonZeroU32> = NonZeroU32::new(2);
const SERVER: &str = "198.51.100.9";

struct World {
    engine: Engine,
    nat: Nat,
    here: Here,
    template: Template,
}

fn world_with(draw: impl Draw + Send + 'static) -> World {
    let here = Here { address: Some(ip("203.0.113.1")), interface: WAN };
    World { engine: Engine::new(1), nat: Nat::new(draw), here, template: Template::default() }
}

fn world() -> World {
    world_with(Seeded::new(7))
}

impl World {
    fn first(&self, bytes: &mut [u8]) -> Unconfirmed {
        let len = bytes.len();
        let packet = Packet::parse(bytes, len).unwrap();
        match self.engine.track(&packet, Hook::Prerouting, &self.template, NOW, &mut Silent) {
            Track::Tracked(Tracked { ct: Ct::Unconfirmed(ct), .. }) => ct,
            other => panic!("{other:?}"),
        }
    }

    fn decide(&self, ct: &mut Unconfirmed, manip: Manip, mapping: Mapping) -> Decision {
        self.nat.setup(&self.engine, ct, manip, &mapping, &self.here, NOW).unwrap().unwrap()
    }

    fn confirm(&self, ct: Unconfirmed) -> Result<ConnRef, ConnRef> {
        match self.engine.confirm(Ct::Unconfirmed(ct), NOW) {
            Confirm::Inserted(conn) => {
                self.nat.confirmed(&self.engine, &conn);
                Ok(conn)
            }
            Confirm::Clash(other) => Err(other),
            other => panic!("{other:?}"),
        }
    }

    /// A connection from the inside, masqueraded or as `mapping` says.
    fn out(&self, mut bytes: Vec<u8>, mapping: Mapping) -> (Decision, Result<ConnRef, ConnRef>) {
        let mut ct = self.first(&mut bytes);
        self.decide(&mut ct, Manip::Dst, Mapping::Null);
        let decision = self.decide(&mut ct, Manip::Src, mapping);
        (decision, self.confirm(ct))
    }

    fn udp(&self, src: &str, sport: u16, dst: &str, mapping: Mapping) -> (Decision, Result<ConnRef, ConnRef>) {
        self.out(packets::udp(src, sport, dst, 53), mapping)
    }
}

const MASQUERADE: Mapping = Mapping::Masquerade { ports: None, flags: Flags::empty() };

fn snat(ports: (u16, u16)) -> Mapping {
    Mapping::Snat(Range::address(ip("203.0.113.1")).with_ports(Ports::between(ports.0, ports.1)))
}

fn source(d: &Decision) -> (IpAddr, u16) {
    (d.after.src, d.after.l4.src_id())
}

#[test]
fn a_free_port_is_kept_and_the_bits_say_so() {
    let w = world();
    let (d, conn) = w.udp("10.0.0.2", 4000, SERVER, MASQUERADE);
    assert_eq!((source(&d), d.port), ((ip("203.0.113.1"), 4000), PortChoice::Kept));
    let conn = conn.unwrap();
    assert_eq!(conn.status(), Status::CONFIRMED | Status::SRC_NAT | Status::NAT_DONE);
    assert_eq!(conn.reply().to_string(), "src=198.51.100.9 dst=203.0.113.1 sport=53 dport=4000");
    assert_eq!(conn.original().to_string(), "src=10.0.0.2 dst=198.51.100.9 sport=4000 dport=53");
    assert_eq!(d.to_string(), "source 10.0.0.2:4000 becomes 203.0.113.1:4000; port kept");
}

#[test]
fn a_clash_moves_the_port_within_its_class_and_names_who_has_it() {
    for (port, class) in [(80, 1..=511), (511, 1..=511), (512, 600..=1023), (1023, 600..=1023), (1024, 1024..=65535)] {
        let w = world();
        let (_, first) = w.udp("10.0.0.2", port, SERVER, MASQUERADE);
        let (d, _) = w.udp("10.0.0.3", port, SERVER, MASQUERADE);
        assert_eq!(d.taken_by, Some(first.unwrap().id()));
        let PortChoice::Found(search) = d.port else { panic!("{d}") };
        assert_eq!(search.first..=search.last, class);
        assert!(class.contains(&source(&d).1) && source(&d).1 != port);
        // Another server is no clash.
        assert_eq!(w.udp("10.0.0.4", port, "198.51.100.10", MASQUERADE).0.port, PortChoice::Kept);
    }
}

#[test]
fn the_same_socket_keeps_its_drawn_port_for_other_servers() {
    let w = world();
    w.udp("10.0.0.2", 4000, SERVER, MASQUERADE).1.unwrap();
    let (drawn, second) = w.udp("10.0.0.3", 4000, SERVER, MASQUERADE);
    let (again, _) = w.udp("10.0.0.3", 4000, "198.51.100.10", MASQUERADE);
    assert_eq!((source(&again), again.port), (source(&drawn), PortChoice::Reused(second.unwrap().id())));
    // Unless the rule asks for a random port each time.
    let random = Mapping::Masquerade { ports: None, flags: Flags::RANDOM };
    assert!(matches!(w.udp("10.0.0.3", 4000, "198.51.100.11", random).0.port, PortChoice::Found(_)));
}

#[test]
fn a_mapping_is_forgotten_with_its_connection() {
    let w = world();
    w.udp("10.0.0.2", 4000, SERVER, MASQUERADE).1.unwrap();
    let (_, second) = w.udp("10.0.0.3", 4000, SERVER, MASQUERADE);
    let third = w.udp("10.0.0.3", 4000, "198.51.100.10", MASQUERADE).1.unwrap();
    assert_eq!(w.nat.sources.len(), 2);
    w.engine.destroy(&second.unwrap(), NOW, None);
    w.engine.destroy(&third, NOW, None);
    w.nat.forget_gone(&w.engine);
    assert_eq!(w.nat.sources.len(), 1);
    assert_eq!(w.udp("10.0.0.3", 4000, "198.51.100.11", MASQUERADE).0.port, PortChoice::Kept);
}

#[test]
fn a_full_range_drops_the_packet_at_confirmation() {
    let w = world();
    for client in 2..6 {
        w.udp(&format!("10.0.0.{client}"), 9, SERVER, snat((7000, 7003))).1.unwrap();
    }
    let (d, confirmed) = w.udp("10.0.0.9", 9, SERVER, snat((7000, 7003)));
    let PortChoice::Exhausted(search) = d.port else { panic!("{d}") };
    assert_eq!((search.tries, search.restarts), (4, 0));
    assert!(confirmed.is_err());
}

#[test]
fn a_search_tries_248_ports_and_gives_up() {
    for (size, tries, restarts) in [(20u16, 20, 0), (128, 128, 0), (129, 248, 4), (256, 248, 4)] {
        let w = world();
        for i in 0..size {
            let client = format!("10.1.{}.{}", i >> 8, i & 255);
            w.udp(&client, 5000 + i, SERVER, snat((5000, 4999 + size))).1.unwrap();
        }
        let found = w.engine.stats().found.get();
        let (d, _) = w.udp("10.0.0.9", 9, SERVER, snat((5000, 4999 + size)));
        let PortChoice::Exhausted(search) = d.port else { panic!("{d}") };
        assert_eq!((search.tries, search.restarts), (tries, restarts), "{size}");
        assert_eq!(w.engine.stats().found.get() - found, u64::from(tries));
    }
}

#[test]
fn the_only_port_allowed_is_not_looked_at() {
    let w = world();
    w.udp("10.0.0.2", 9, SERVER, snat((7000, 7000))).1.unwrap();
    let (d, confirmed) = w.udp("10.0.0.3", 7000, SERVER, snat((7000, 7000)));
    assert_eq!((d.port, d.taken_by), (PortChoice::Only, None));
    assert!(confirmed.is_err());
}

#[test]
fn dnat_takes_the_lowest_port_until_it_clashes() {
    let w = world();
    let range = Range::address(ip("10.0.0.7")).with_ports(Ports::between(6000, 6003));
    let ports = |public: u8| {
        let mut bytes = packets::udp(SERVER, 4000, &format!("203.0.113.{public}"), 8080);
        let mut ct = w.first(&mut bytes);
        let d = w.decide(&mut ct, Manip::Dst, Mapping::Dnat(range));
        let s = w.decide(&mut ct, Manip::Src, Mapping::Null);
        w.confirm(ct).unwrap();
        (d.after.l4.dst_id(), s.is_translated())
    };
    assert_eq!([1, 2, 3, 4].map(ports), [(6000, false), (6001, false), (6002, false), (6003, false)]);
    // Full: the last candidate stands, and the decision about the source mends the clash.
    assert_eq!(ports(5), (6003, true));
}

#[test]
fn dnat_can_change_a_source_port() {
    let w = world();
    let dnat = Mapping::Dnat(Range::address(ip("10.0.0.7")).with_ports(Ports::one(80)));
    let source_port = |public_port| {
        let mut ct = w.first(&mut packets::udp(SERVER, 1000, "203.0.113.1", public_port));
        w.decide(&mut ct, Manip::Dst, dnat);
        let d = w.decide(&mut ct, Manip::Src, Mapping::Null);
        (d.after.l4.src_id(), w.confirm(ct).unwrap().status())
    };
    assert_eq!(source_port(8080).0, 1000);
    let (moved, status) = source_port(8081);
    assert!((600..1024).contains(&moved) && moved != 1000);
    assert!(status.contains(Status::SRC_NAT | Status::DST_NAT));
}

#[test]
fn an_uninvited_packet_takes_the_port_that_a_client_wanted() {
    let w = world();
    let mut ct = w.first(&mut packets::udp(SERVER, 53, "203.0.113.1", 4000));
    w.decide(&mut ct, Manip::Dst, Mapping::Null);
    w.decide(&mut ct, Manip::Src, Mapping::Null);
    let inbound = w.confirm(ct).unwrap();
    let (d, _) = w.udp("10.0.0.2", 4000, SERVER, MASQUERADE);
    assert_eq!(d.taken_by, Some(inbound.id()));
    assert_ne!(source(&d).1, 4000);
}

#[test]
fn a_protocol_without_ports_cannot_be_mended() {
    let w = world();
    let esp = |client: &str| packets::raw(client, SERVER, Protocol(50), &[1; 16]);
    w.out(esp("10.0.0.2"), MASQUERADE).1.unwrap();
    let (d, confirmed) = w.out(esp("10.0.0.3"), MASQUERADE);
    assert_eq!(d.port, PortChoice::Stuck);
    assert!(confirmed.is_err());
    assert!(d.to_string().ends_with("taken by connection #1; no port may be changed here"), "{d}");
}

#[test]
fn a_zone_of_one_direction_sees_the_clash_and_one_of_both_does_not() {
    for (scope, clash) in [(ZoneScope::Original, true), (ZoneScope::Both, false)] {
        let mut w = world();
        w.template = Template { zone: Zone { id: 5, scope }, ..Template::default() };
        w.udp("10.0.0.2", 4000, SERVER, MASQUERADE).1.unwrap();
        w.template = Template { zone: Zone { id: 6, scope }, ..Template::default() };
        assert_eq!(w.udp("10.0.0.3", 4000, SERVER, MASQUERADE).0.taken_by.is_some(), clash);
    }
}

#[test]
fn an_ended_connection_is_evicted_from_a_small_range_only_by_a_later_number() {
    for (seq, evicts) in [(500u32, false), (5000, true)] {
        let w = world();
        let (_, conn) = w.out(packets::tcp("10.0.0.2", 10, SERVER, 80, b"S", 1000, 0), snat((7000, 7000)));
        let conn = conn.unwrap();
        // The server refuses in the handshake's last step, so that the entry is CLOSE and stays.
        for (flags, seq, ack, reply) in [(&b"SA"[..], 1, 1001, true), (b"A", 1001, 2, false), (b"R", 1001, 0, false)] {
            let mut bytes = if reply {
                packets::tcp(SERVER, 80, "203.0.113.1", 7000, flags, seq, ack)
            } else {
                packets::tcp("10.0.0.2", 10, SERVER, 80, flags, seq, ack)
            };
            let len = bytes.len();
            let packet = Packet::parse(&mut bytes, len).unwrap();
            w.engine.track(&packet, Hook::Prerouting, &w.template, NOW, &mut Silent);
        }
        assert_eq!(conn.tcp_progress().unwrap().0, TcpState::Close);
        let (d, confirmed) = w.out(packets::tcp("10.0.0.3", 10, SERVER, 80, b"S", seq, 0), snat((7000, 7000)));
        match d.port {
            PortChoice::Found(search) => assert_eq!(search.evicted, Some(conn.id())),
            PortChoice::Exhausted(_) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!((confirmed.is_ok(), conn.status().contains(Status::DYING)), (evicts, evicts));
    }
}

#[test]
fn two_halves_of_one_flow_do_not_move_each_other() {
    let w = world();
    let mut one = w.first(&mut packets::udp("10.0.0.2", 4000, SERVER, 53));
    let mut other = w.first(&mut packets::udp(SERVER, 53, "10.0.0.2", 4000));
    w.decide(&mut one, Manip::Dst, Mapping::Null);
    w.decide(&mut one, Manip::Src, Mapping::Null);
    w.confirm(one).unwrap();
    w.decide(&mut other, Manip::Dst, Mapping::Null);
    let d = w.decide(&mut other, Manip::Src, Mapping::Null);
    assert_eq!((d.is_translated(), d.port), (false, PortChoice::Kept));
}

#[test]
fn what_is_masqueraded_ends_with_its_interface_or_address() {
    let w = world();
    let masqueraded = w.udp("10.0.0.2", 4000, SERVER, MASQUERADE).1.unwrap();
    let translated = w.udp("10.0.0.3", 4001, SERVER, snat((7000, 7000))).1.unwrap();
    let interface = WAN.unwrap();
    assert_eq!(w.nat.interface_lost(&w.engine, interface, Some(ip("203.0.113.2")), NOW), 0);
    assert_eq!(w.nat.interface_lost(&w.engine, NonZeroU32::MIN, None, NOW), 0);
    assert_eq!(w.nat.interface_lost(&w.engine, interface, Some(ip("203.0.113.1")), NOW), 1);
    assert!(masqueraded.status().contains(Status::DYING) && !translated.status().contains(Status::DYING));
}

#[test]
fn rules_are_asked_by_first_packets_only() {
    let w = world();
    let mut ct = w.first(&mut packets::udp("10.0.0.2", 4000, SERVER, 53));
    assert_eq!(pending(&ct, Info::New, Manip::Dst), Pending::Decision);
    w.decide(&mut ct, Manip::Dst, Mapping::Null);
    assert_eq!(pending(&ct, Info::New, Manip::Dst), Pending::Nothing);
    assert_eq!(pending(&ct, Info::New, Manip::Src), Pending::Decision);
    // A connection older than the rules: they count its packets until it is answered, and change nothing.
    let conn = w.confirm(ct).unwrap();
    assert_eq!(pending(&conn, Info::New, Manip::Src), Pending::Rules);
    assert_eq!(pending(&conn, Info::Established, Manip::Src), Pending::Nothing);
    assert_eq!(pending(&conn, Info::Related, Manip::Src), Pending::Nothing);
}

#[test]
fn without_an_address_there_is_no_masquerade() {
    let mut w = world();
    w.here = Here::default();
    let mut ct = w.first(&mut packets::udp("10.0.0.2", 4000, SERVER, 53));
    let result = w.nat.setup(&w.engine, &mut ct, Manip::Src, &MASQUERADE, &w.here, NOW);
    assert_eq!(result, Err(NoAddress));
}

#[test]
fn an_address_of_the_other_family_leaves_the_packet_alone() {
    let w = world();
    let rule = Mapping::Snat(Range::address(ip("2001:db8::1")));
    let (d, conn) = w.udp("10.0.0.2", 4000, SERVER, rule);
    assert_eq!((d.is_translated(), conn.is_ok()), (false, true));
}

#[test]
fn a_shifted_port_keeps_its_distance() {
    let w = world();
    let ports = Ports { base: Some(6000), ..Ports::between(5000, 5100) };
    let mut ct = w.first(&mut packets::udp(SERVER, 4000, "203.0.113.1", 6042));
    let d = w.decide(&mut ct, Manip::Dst, Mapping::Dnat(Range::address(ip("10.0.0.7")).with_ports(ports)));
    assert_eq!(d.after.l4.dst_id(), 5042);
}

#[test]
fn a_draw_can_be_imposed() {
    let want = Arc::new(AtomicU16::new(0));
    let wanted = Arc::clone(&want);
    let w = world_with(move |ask: &Ask<'_>| ask.offset_of(wanted.load(Ordering::Relaxed)).unwrap());
    w.udp("10.0.0.2", 4000, SERVER, MASQUERADE).1.unwrap();
    for (client, port) in [(3, 17802), (4, 1024), (5, 65535), (6, 30761)] {
        want.store(port, Ordering::Relaxed);
        let (d, _) = w.udp(&format!("10.0.0.{client}"), 4000, SERVER, MASQUERADE);
        assert_eq!(source(&d).1, port, "{d}");
    }
}

proptest! {
    /// Whatever the rules and the packets: what is confirmed has a reply tuple of its own.
    #[test]
    fn reply_tuples_are_unique(
        seed: u64,
        packets in prop::collection::vec((2u8..6, 0usize..4, 0u8..2, 0usize..5), 1..60),
    ) {
        let w = world_with(Seeded::new(seed));
        let ports = [80u16, 600, 4000, 7000];
        let rules = [
            Mapping::Null,
            MASQUERADE,
            snat((7000, 7003)),
            Mapping::Masquerade { ports: None, flags: Flags::FULLY_RANDOM },
            Mapping::Snat(Range { addresses: Addresses::Within { first: ip("203.0.113.1"), last: ip("203.0.113.3") }, ..Range::default() }),
        ];
        let mut replies = std::collections::HashSet::new();
        for (client, port, server, rule) in packets {
            let mut bytes = packets::udp(&format!("10.0.0.{client}"), ports[port], &format!("198.51.100.{server}"), 53);
            let len = bytes.len();
            let packet = Packet::parse(&mut bytes, len).unwrap();
            let Track::Tracked(Tracked { ct: Ct::Unconfirmed(mut ct), .. }) =
                w.engine.track(&packet, Hook::Prerouting, &w.template, NOW, &mut Silent) else { continue };
            w.decide(&mut ct, Manip::Dst, Mapping::Null);
            let d = w.decide(&mut ct, Manip::Src, rules[rule]);
            let is_out_of_luck = matches!(d.port, PortChoice::Exhausted(_));
            match w.confirm(ct) {
                Ok(conn) => prop_assert!(replies.insert(conn.reply())),
                Err(_) => prop_assert!(is_out_of_luck),
            }
        }
    }
}
