//! In one long pause things run out in the order of their times, not of their kinds.

use std::sync::Arc;
use std::time::Duration;

use etherparse::PacketBuilder;
use uct_engine::{Conn, Engine, Gone, Seen, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::defrag::Expired;
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Arrival, Emit, Emitted, Observer, Router, Silent};
use uct_pipeline::topology::{Dev, Topology};

struct Nowhere;

impl Emit for Nowhere {
    fn emit(&mut self, _: Emitted<'_>) {}
}

/// What ran out, and after how many seconds.
#[derive(Default)]
struct Order(Vec<(&'static str, u64)>);

const BEGIN: Time = Time::from_secs(1_700_000_000);

impl uct_engine::Observer for Order {
    fn gone(&mut self, _: &Conn, at: Time, _: Gone) {
        self.0.push(("connection", at.saturating_duration_since(BEGIN).as_secs()));
    }
}

impl uct_nat::rules::Observer for Order {}

impl Observer for Order {
    fn incomplete(&mut self, expired: &Expired) {
        self.0.push(("datagram", expired.at.saturating_duration_since(BEGIN).as_secs()));
    }
}

/// As measured: an error about a datagram that is not whole after 30 seconds meets a connection that lives for 300, also where nothing
/// came for days.
#[test]
fn datagrams_and_connections_run_out_each_at_its_time() {
    let topology = "[[interface]]\nname = \"lan0\"\naddresses = [\"10.0.0.1/8\"]\n\
                    [[interface]]\nname = \"wan0\"\naddresses = [\"203.0.113.1/24\"]\n\
                    [[route]]\nto = \"default\"\nvia = \"203.0.113.254\"\ndev = \"wan0\"\n";
    let topology = Topology::parse("topology", topology).unwrap();
    let rules = Ruleset::read("rules", "", &NoFiles).unwrap();
    let router = Router::new(Arc::new(Engine::new(1)), rules, topology, 1);
    let receive = |bytes: &mut Vec<u8>| {
        let (wire_len, offload) = (bytes.len(), Offload::default());
        let arrival = Arrival { at: BEGIN, iif: Dev(0), bytes, wire_len, link: None, offload, seen: Seen::default() };
        router.receive(arrival, &mut Nowhere, &mut Silent)
    };
    let ends = || PacketBuilder::ipv4([10, 0, 0, 2], [198, 51, 100, 7], 64);
    let (mut long, mut short, mut piece) = (Vec::new(), Vec::new(), Vec::new());
    ends().tcp(1, 80, 1, 500).ack(1).write(&mut long, &[]).unwrap();
    ends().icmpv4_echo_request(1, 1).write(&mut short, &[]).unwrap();
    ends().udp(1, 53).write(&mut piece, &[0; 16]).unwrap();
    piece[6] = 0x20;
    piece[10..12].fill(0);
    let sum = !uct_engine::checksum::sum(&piece[..20]);
    piece[10..12].copy_from_slice(&sum.to_be_bytes());
    router.engine().settings().set_by_name("nf_conntrack_icmp_timeout", "20").unwrap();
    for bytes in [&mut long, &mut piece, &mut short] {
        receive(bytes);
    }
    let mut order = Order::default();
    router.pass_time(BEGIN + Duration::from_secs(1_000_000), &mut Nowhere, &mut order);
    assert_eq!(order.0, [("connection", 20), ("datagram", 30), ("connection", 300)]);
}
