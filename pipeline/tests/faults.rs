//! Faults at the links and floods: what was established goes on, memory is bounded, and what is lost has a reason that is counted.
//!
//! Against [`Station`] as a value, with a clock of its own: each story is the same every time. A connection of 192.168.1.10:5000 to
//! 203.0.113.80:53 is there first, has been answered twice, and is asked to go on at the end of each story.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use uct_engine::{Engine, Sysctl, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::io::Frame;
use uct_pipeline::link::{LinkType, Mac};
use uct_pipeline::live::arp::{self, Arp, Operation};
use uct_pipeline::live::neighbors::MOST;
use uct_pipeline::live::{Carrier, Link, Options, Scratch, Station, Wires};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Router, Silent};
use uct_pipeline::topology::{Dev, Topology};
use uct_tests::packet::build::{Ip, fragments, icmp, mend_ipv4, udp};

const TOPOLOGY: &str = r#"
interface = [{ name = "lan0", addresses = ["192.168.0.1/16"], mac = "02:00:00:00:00:02" },
             { name = "wan0", addresses = ["203.0.113.1/24"], mac = "02:00:00:00:00:03" }]
neighbor = [{ address = "192.168.1.10", mac = "02:00:00:00:00:01" }, { address = "203.0.113.80", mac = "02:00:00:00:00:04" }]
"#;
const RULES: &str =
    "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; }";
const LAN: Dev = Dev(0);
const WAN: Dev = Dev(1);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// What has left, by device.
#[derive(Default)]
struct Cables([Vec<Vec<u8>>; 2]);

impl Wires for Cables {
    fn link(&self, _: Dev) -> Option<LinkType> {
        Some(LinkType::Ethernet)
    }

    fn send(&mut self, dev: Dev, header: &[u8], packet: &[u8], _: Offload) {
        self.0[dev.index()].push([header, packet].concat());
    }
}

struct World {
    station: Station,
    scratch: Scratch,
    cables: Cables,
    now: Time,
}

fn world(most: u64) -> World {
    let engine = Arc::new(Engine::new(1));
    engine.settings().set(Sysctl::Max, most).unwrap();
    let rules = Ruleset::read("rules", RULES, &NoFiles).unwrap();
    let router = Router::new(engine, rules, Topology::parse("topology", TOPOLOGY).unwrap(), 1);
    let station = Station::new(router, Options::default());
    let now = Time::from_secs(1_700_000_000);
    let mut world = World { station, scratch: Scratch::default(), cables: Cables::default(), now };
    // The second answer after more than two seconds makes a stream of it: assured, and so not first to go.
    assert!(world.goes_on());
    world.pass(Duration::from_secs(3));
    assert!(world.goes_on());
    world.pass(Duration::from_secs(1));
    assert!(world.goes_on());
    world
}

impl World {
    fn frame(&mut self, dev: Dev, ethertype: u16, packet: &[u8]) {
        let (own, other) = if dev == LAN { (2, 1) } else { (3, 4) };
        let mut bytes = vec![2, 0, 0, 0, 0, own, 2, 0, 0, 0, 0, other];
        bytes.extend_from_slice(&ethertype.to_be_bytes());
        bytes.extend_from_slice(packet);
        let frame = Frame { bytes: &mut bytes, offload: Offload::default() };
        let (router, link) = (self.station.router().load(), LinkType::Ethernet);
        self.station.receive(&router, dev, link, frame, self.now, &mut self.scratch, &mut self.cables, &mut Silent);
    }

    fn packet(&mut self, dev: Dev, packet: &[u8]) {
        self.frame(dev, 0x0800, packet);
    }

    /// Time passes as the clock's thread lets it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(100);
            let router = self.station.router().load();
            self.station.tick(&router, self.now, &mut self.scratch, &mut self.cables, &mut Silent);
        }
    }

    /// What has left by a device since the last look, from the IP header on.
    fn sent(&mut self, dev: Dev) -> Vec<Vec<u8>> {
        self.cables.0[dev.index()].drain(..).filter(|f| f[12..14] == [8, 0]).map(|f| f[14..].to_vec()).collect()
    }

    /// Whether the connection carries a packet there, translated, and one back.
    fn goes_on(&mut self) -> bool {
        self.cables = Cables::default();
        self.packet(LAN, &udp(&Ip::new(CLIENT, SERVER), 5000, 53, b"and on"));
        let Some(there) = self.sent(WAN).pop() else { return false };
        let port = u16::from_be_bytes([there[20], there[21]]);
        if there[12..16] != [203, 0, 113, 1] {
            return false;
        }
        self.packet(WAN, &udp(&Ip::new(SERVER, OUTSIDE), 53, port, b"and on"));
        self.sent(LAN).pop().is_some_and(|back| back[16..20] == [192, 168, 1, 10] && back[22..24] == [0x13, 0x88])
    }

    fn link(&mut self, carrier: Carrier) {
        let mac = Some(Mac([2, 0, 0, 0, 0, 3]));
        let link = Link { carrier, mac, mtu: 1500 };
        self.station.link_changed(WAN, link, self.now, &mut self.scratch, &mut self.cables);
    }

    fn lost(&self) -> BTreeMap<&'static str, u64> {
        self.station.stats().lost_by_reason().collect()
    }

    fn dropped(&self) -> BTreeMap<&'static str, u64> {
        self.station.router().load().stats().dropped_by_reason().filter(|(_, n)| *n > 0).collect()
    }

    fn count(&self) -> usize {
        self.station.router().load().engine().count()
    }
}

fn inside(n: u32) -> IpAddr {
    IpAddr::V4((0xc0a8_0200 + n % 60_000).into())
}

#[test]
fn a_cable_is_pulled_and_put_back() {
    let mut world = world(1000);
    world.link(Carrier::Lost);
    assert!(!world.goes_on());
    assert_eq!(world.lost(), [("interface-down", 1)].into());
    world.link(Carrier::Up);
    // Whoever is behind the link is asked for anew, but the topology's neighbours are known for good.
    assert!(world.goes_on());
    assert_eq!(world.lost(), [("interface-down", 1)].into());
}

/// As in Linux: what had borrowed its address by masquerade is gone, and a new connection may be opened.
#[test]
fn an_interface_is_taken_down_and_comes_back() {
    let mut world = world(1000);
    assert_eq!(world.count(), 1);
    world.link(Carrier::Down);
    assert_eq!(world.count(), 0);
    assert!(!world.goes_on());
    assert_eq!(world.lost(), [("interface-down", 1)].into());
    world.link(Carrier::Up);
    assert!(world.goes_on());
    assert_eq!(world.count(), 1);
}

/// 192.168.9.9 has answered once and never again. Who sends to it is told, and the others do not notice.
#[test]
fn a_neighbor_dies() {
    let mut world = world(1000);
    let dead = IpAddr::from([203, 0, 113, 99]);
    let ask = |world: &mut World| world.packet(LAN, &udp(&Ip::new(CLIENT, dead), 6000, 53, b"are you there"));
    ask(&mut world);
    let there = Arp {
        operation: Operation::Reply,
        sender: (Mac([2, 0, 0, 0, 0, 9]), [203, 0, 113, 99].into()),
        target: (Mac([2, 0, 0, 0, 0, 3]), [203, 0, 113, 1].into()),
    };
    world.frame(WAN, arp::ETHERTYPE, &there.write());
    assert_eq!(world.sent(WAN).len(), 1, "what waited leaves when the neighbour answers");
    // It is silent from here on. It is believed for a while, asked, and given up.
    let mut told = 0;
    for _ in 0..120 {
        ask(&mut world);
        world.pass(Duration::from_secs(1));
        told += world.sent(LAN).iter().filter(|p| p[9] == 1 && p[20] == 3 && p[21] == 1).count();
        assert!(world.goes_on());
    }
    assert!(told > 0, "the sender was never told");
    let lost = world.lost();
    assert!(lost["neighbor-failed"] > 0 && lost.len() == 1, "{lost:?}");
    assert_eq!(world.station.neighbors().waiting() / 65536, 0);
}

#[test]
fn the_table_is_full() {
    let mut world = world(100);
    for n in 0..5000 {
        world.packet(LAN, &udp(&Ip::new(inside(n), SERVER), 7000, 53, b"new"));
        assert!(world.count() <= 100);
    }
    // What was never answered makes room. Make all of it answered and assured, and there is no room any more.
    assert!(world.goes_on());
    let mut world = self::world(50);
    for n in 0..200 {
        for _ in 0..2 {
            world.cables = Cables::default();
            world.packet(LAN, &udp(&Ip::new(inside(n), SERVER), 7000, 53, b"new"));
            if let Some(there) = world.sent(WAN).pop() {
                let port = u16::from_be_bytes([there[20], there[21]]);
                world.packet(WAN, &udp(&Ip::new(SERVER, OUTSIDE), 53, port, b"yes"));
            }
            world.now = world.now + Duration::from_millis(2100);
        }
        let there = udp(&Ip::new(inside(n), SERVER), 7000, 53, b"stream");
        world.packet(LAN, &there);
        assert!(world.count() <= 50);
    }
    assert!(world.goes_on());
    assert!(world.dropped().keys().all(|why| *why == "table-full"), "{:?}", world.dropped());
}

#[test]
fn a_flood_of_new_connections() {
    let mut world = world(1000);
    for n in 0..50_000 {
        world.packet(LAN, &udp(&Ip::new(inside(n), SERVER), 1024 + (n / 60_000) as u16, 53, b"?"));
        if n % 1000 == 0 {
            world.pass(Duration::from_millis(100));
            assert!(world.goes_on(), "after {n}");
        }
        assert!(world.count() <= 1000);
    }
    let router = world.station.router().load();
    let made_room = router.engine().stats().early_drop.get();
    let full = router.stats().dropped_by_reason().find(|(why, _)| *why == "table-full").map_or(0, |(_, n)| n);
    assert_eq!(made_room + full, 49_001, "{made_room} made room, {full} found none");
    assert_eq!(router.engine().stats().drop.get(), full);
}

#[test]
fn a_flood_of_fragments() {
    let mut world = world(1000);
    let whole = udp(&Ip::new(inside(1), SERVER), 5000, 53, &[0; 1400]);
    for n in 0..20_000u32 {
        let mut piece = fragments(&whole, n, &[1024]).swap_remove(0);
        piece[12..16].copy_from_slice(&(0xc0a8_0200 + n).to_be_bytes());
        mend_ipv4(&mut piece);
        world.packet(LAN, &piece);
        if n % 1000 == 0 {
            assert!(world.goes_on(), "after {n}");
        }
    }
    world.pass(Duration::from_secs(31));
    assert!(world.goes_on());
    let router = world.station.router().load();
    let fates: BTreeMap<_, _> = router.stats().fates().collect();
    let lost = router.stats().fragments_lost.get();
    // What was held was lost in the end; what found no room was dropped at once.
    let dropped: u64 = world.dropped().values().sum();
    assert_eq!(router.stats().dropped(), dropped);
    assert!(lost + dropped >= 20_000, "{lost} lost, {fates:?}, {:?}", world.dropped());
    assert!(world.dropped().keys().all(|why| why.contains("fragment")), "{:?}", world.dropped());
}

/// Errors about connections that there are not.
#[test]
fn a_flood_of_icmp_errors() {
    let mut world = world(1000);
    for n in 0..20_000u32 {
        let about = udp(&Ip::new(OUTSIDE, SERVER), 1024 + (n % 50_000) as u16, 9999, b"");
        world.packet(WAN, &icmp(&Ip::new(SERVER, OUTSIDE), 3, 3, [0; 4], &about));
    }
    assert!(world.goes_on());
    assert_eq!(world.count(), 1);
    let router = world.station.router().load();
    let invalid: BTreeMap<_, _> = router.engine().stats().invalid_by_reason().collect();
    assert_eq!(invalid.values().sum::<u64>(), 20_000, "{invalid:?}");
}

/// Errors that the router is made to send: it sends six, and then one a second.
#[test]
fn a_flood_that_asks_for_icmp_errors() {
    let mut world = world(1000);
    for n in 0..10_000u32 {
        let mut dies = udp(&Ip::new(inside(1), SERVER), 1024 + (n % 50_000) as u16, 53, b"");
        dies[8] = 1;
        mend_ipv4(&mut dies);
        world.packet(LAN, &dies);
    }
    // The answers wait for the link address of the one who asked for them.
    assert!(world.station.neighbors().waiting() < 6 * 2048);
    assert!(world.goes_on());
    assert_eq!(world.dropped()["time-exceeded"], 10_000);
}

/// Everybody says that he is there, and asks for the router.
#[test]
fn a_flood_of_arp() {
    let mut world = world(1000);
    for n in 0..50_000u32 {
        let [_, _, a, b] = n.to_be_bytes();
        let asks = Arp {
            operation: Operation::Request,
            sender: (Mac([2, 1, 0, 0, a, b]), (0xc0a8_0200 + n % 60_000).into()),
            target: (Mac::default(), [192, 168, 0, 1].into()),
        };
        world.frame(LAN, arp::ETHERTYPE, &asks.write());
        world.cables = Cables::default();
        assert!(world.station.neighbors().len() <= MOST);
    }
    assert!(world.goes_on());
}

/// Somebody sends to hosts that there are not: each has to be asked for.
#[test]
fn a_scan_of_an_empty_network() {
    let mut world = world(100_000);
    for n in 0..20_000u32 {
        let nobody = IpAddr::V4((0xc0a8_0200 + n % 60_000).into());
        world.packet(WAN, &udp(&Ip::new(SERVER, nobody), 5000, 53, &[0; 1000]));
        assert!(world.station.neighbors().len() <= MOST);
    }
    let lost = world.lost();
    assert!(lost["neighbor-table-full"] >= 18_000, "{lost:?}");
    assert!(world.goes_on());
    // Those for which there was room are given up in the end, and so there is room again.
    world.pass(Duration::from_secs(90));
    assert!(world.lost()["neighbor-failed"] > 900, "{:?}", world.lost());
    assert_eq!(world.station.neighbors().waiting(), 0);
    assert!(world.goes_on());
}

/// Too much for one who does not answer: the oldest goes.
#[test]
fn much_for_a_neighbor_that_is_silent() {
    let mut world = world(1000);
    for _ in 0..1000 {
        world.packet(WAN, &udp(&Ip::new(SERVER, inside(7)), 5000, 53, &[0; 1400]));
        assert!(world.station.neighbors().waiting() <= 400_000);
    }
    assert!(world.lost()["neighbor-queue-full"] > 700, "{:?}", world.lost());
    assert!(world.goes_on());
}
