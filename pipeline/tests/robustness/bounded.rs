//! Memory is bounded by the settings alone: also while the clock stands still, which a capture can make it do.

use std::net::IpAddr;
use std::sync::Arc;

use uct_engine::{Engine, Sysctl, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::offload::Offload;
use uct_pipeline::replay::Discard;
use uct_pipeline::router::{Arrival, Router, Silent};
use uct_pipeline::topology::{Dev, Topology};
use uct_tests::packet::build::{Ip, Tcp, flag, fragments, udp};

use crate::{alloc, alone};

const TOPOLOGY: &str = r#"
[[interface]]
name = "lan0"
addresses = ["10.0.0.1/8"]
[[interface]]
name = "wan0"
addresses = ["203.0.113.1/24"]
"#;
const RULES: &str =
    "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname \"wan0\" masquerade; }; }";
const LAN: Dev = Dev(0);
const WAN: Dev = Dev(1);

fn router(most: u64) -> Router {
    let engine = Arc::new(Engine::new(1));
    engine.settings().set(Sysctl::Max, most).unwrap();
    engine.settings().set(Sysctl::Buckets, 64).unwrap();
    let rules = Ruleset::read("rules", RULES, &NoFiles).unwrap();
    Router::new(engine, rules, Topology::parse("topology", TOPOLOGY).unwrap(), 1)
}

fn send(router: &Router, iif: Dev, at: Time, mut packet: Vec<u8>) {
    let wire_len = packet.len();
    router.pass_time(at, &mut Discard, &mut Silent);
    router.receive(
        Arrival {
            at,
            iif,
            bytes: &mut packet,
            wire_len,
            link: None,
            offload: Offload::default(),
            seen: uct_engine::Seen::default(),
        },
        &mut Discard,
        &mut Silent,
    );
}

fn inside(n: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + 2 + n % 60_000).into())
}

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 80));
const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

/// Sends `many` rounds and asks that memory stays where it was after the first tenth of them.
fn stays(many: u32, most: usize, mut round: impl FnMut(u32)) {
    let mut then = 0;
    for n in 0..many {
        round(n);
        if n == many / 10 {
            then = alloc::held();
        }
    }
    let grown = alloc::held().saturating_sub(then);
    assert!(grown < most, "{grown} bytes more than after a tenth of {many} rounds");
}

#[test]
fn connections_that_come_and_go_in_one_instant() {
    let _alone = alone();
    let router = router(1000);
    let at = Time::from_secs(1_700_000_000);
    stays(100_000, 1 << 20, |n| {
        let port = 1024 + (n % 60_000) as u16;
        let syn = Tcp { sport: port, dport: 80, seq: n, flags: flag::SYN, window: 1000, ..Tcp::default() };
        let reset =
            Tcp { sport: 80, dport: port, ack: n.wrapping_add(1), flags: flag::RST | flag::ACK, ..Tcp::default() };
        send(&router, LAN, at, syn.packet(&Ip::new(inside(n), SERVER)));
        send(&router, WAN, at, reset.packet(&Ip::new(SERVER, ROUTER)));
    });
    assert_eq!(router.engine().stats().insert.get(), 100_000);
    assert_eq!(router.engine().count(), 0);
}

#[test]
fn more_connections_than_the_table_takes() {
    let _alone = alone();
    let router = router(500);
    stays(100_000, 1 << 20, |n| {
        let at = Time::from_secs(1_700_000_000 + u64::from(n) / 50_000);
        send(&router, LAN, at, udp(&Ip::new(inside(n), SERVER), 1024 + (n >> 3) as u16, 53, b"?"));
    });
    assert!(router.engine().stats().early_drop.get() > 50_000);
    assert_eq!(router.engine().count(), 500);
}

#[test]
fn datagrams_that_never_become_whole() {
    let _alone = alone();
    let router = router(500);
    let at = Time::from_secs(1_700_000_000);
    let whole = udp(&Ip::new(inside(1), SERVER), 5000, 53, &[0; 1000]);
    stays(50_000, 1 << 20, |n| {
        let mut piece = fragments(&whole, n, &[512]).swap_remove(0);
        piece[12..16].copy_from_slice(&(0x0a00_0000 + n).to_be_bytes());
        uct_tests::packet::build::mend_ipv4(&mut piece);
        send(&router, LAN, at, piece);
    });
    assert_eq!(router.stats().fates().map(|(_, n)| n).sum::<u64>(), 50_000);
}
