use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use uct_engine::{Engine, Status};
use uct_nat::rules::NoFiles;
use uct_tests::packet::build::{Ip, udp};

use super::*;
use crate::offload::Offload;
use crate::router::{Arrival, Emit, Emitted, Fate, Silent};

const LAN: &str = "[[interface]]\nname = \"lan\"\naddresses = [\"192.168.1.1/24\"]\n";
const WAN: &str = "[[interface]]\nname = \"wan\"\naddresses = [\"203.0.113.1/24\"]\n";
const DEFAULT: &str = "[[route]]\nto = \"default\"\nvia = \"203.0.113.254\"\ndev = \"wan\"\n";
const MASQUERADE: &str = "table ip t {
    chain n { type nat hook postrouting priority 100; oifname wan masquerade; }
}";

fn topology(text: &[&str]) -> Topology {
    Topology::parse("topology", &text.concat()).unwrap()
}

fn rules(text: &str) -> Ruleset {
    Ruleset::read("rules", text, &NoFiles).unwrap()
}

fn in_force() -> InForce {
    let router = Router::new(Arc::new(Engine::new(1)), rules(MASQUERADE), topology(&[LAN, WAN, DEFAULT]), 1);
    InForce::new(router)
}

#[derive(Default)]
struct Sources(Vec<IpAddr>);

impl Emit for Sources {
    fn emit(&mut self, packet: Emitted<'_>) {
        self.0.push(IpAddr::from(<[u8; 4]>::try_from(&packet.bytes[12..16]).unwrap()));
    }
}

/// Sends a datagram from inside; answers with which source it left.
fn send(router: &Router, port: u16, now: Time) -> Result<IpAddr, Fate> {
    let mut bytes = udp(&Ip::new(ip("192.168.1.10"), ip("198.51.100.53")), port, 53, b"?");
    let wire_len = bytes.len();
    let iif = router.topology().dev("lan").unwrap();
    let mut out = Sources::default();
    let fate = router.receive(
        Arrival {
            at: now,
            iif,
            bytes: &mut bytes,
            wire_len,
            link: None,
            offload: Offload::default(),
            seen: uct_engine::Seen::default(),
        },
        &mut out,
        &mut Silent,
    );
    out.0.first().copied().ok_or(fate)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn connections_outlive_other_rules_and_new_ones_obey_them() {
    let now = Time::from_secs(1000);
    let router = in_force();
    assert_eq!(send(&router.load(), 4000, now), Ok(ip("203.0.113.1")));
    let drops = rules("table ip t {\nchain f { type filter hook forward priority 0; ct state new drop; }\n}");
    let change = router.replace(drops, topology(&[LAN, WAN, DEFAULT]), now);
    assert_eq!(change, Change::default());
    assert_eq!(router.load().engine().count(), 1);
    assert!(send(&router.load(), 4001, now).is_err(), "the new rules hold");
    assert!(router.load().engine().entries(now).iter().all(|e| e.status.contains(Status::SRC_NAT)));
    assert_eq!(router.load().stats().received.get(), 2, "counters go on");
}

#[test]
fn an_address_that_goes_takes_its_connections_and_interfaces_keep_their_places() {
    let now = Time::from_secs(1000);
    let router = in_force();
    assert_eq!(send(&router.load(), 4000, now), Ok(ip("203.0.113.1")));
    let other = WAN.replace("203.0.113.1/", "203.0.113.2/");
    let dmz = "[[interface]]\nname = \"dmz\"\naddresses = [\"10.0.0.1/24\"]\n";
    let change = router.replace(rules(MASQUERADE), topology(&[dmz, &other, LAN, DEFAULT]), now);
    assert_eq!(change, Change { added: vec!["dmz".into()], removed: vec![], destroyed: 1 });
    let names = |r: &Router| r.topology().interfaces.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&router.load()), ["lan", "wan", "dmz"]);
    assert_eq!(send(&router.load(), 4000, now), Ok(ip("203.0.113.2")));
    let change = router.replace(rules(MASQUERADE), topology(&[&other, DEFAULT]), now);
    assert_eq!(change.removed, ["lan", "dmz"]);
    assert_eq!(names(&router.load()), ["lan", "wan", "dmz"], "places stay");
    assert!(router.load().topology().interfaces[0].addresses.is_empty());
}

#[test]
fn packets_flow_while_rules_change() {
    let router = in_force();
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut now = Time::from_secs(1000);
            while !over.load(Ordering::Relaxed) {
                now = now + std::time::Duration::from_micros(10);
                let from = send(&router.load(), 4000, now);
                assert!(from == Ok(ip("203.0.113.1")), "{from:?}");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..200 {
            router.replace(rules(MASQUERADE), topology(&[LAN, WAN, DEFAULT]), Time::from_secs(1000));
        }
        let enough = sent.load(Ordering::Relaxed) + 100;
        while sent.load(Ordering::Relaxed) < enough {
            std::thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(router.load().engine().count(), 1);
}
