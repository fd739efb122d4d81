use uct_engine::{Engine, Hook, Packet, Template};
use uct_nat::rules::{Context, NoFib, NoFiles, PacketType, Ruleset, Tracking};
use uct_tests::packet::build::{Ip, udp};

use super::*;

fn rules(statement: &str) -> String {
    format!("table inet t {{\n chain f {{ type filter hook forward priority 0; {statement}; }}\n}}")
}

fn ip4() -> Ip {
    Ip::new("192.168.1.10".parse().unwrap(), "198.51.100.80".parse().unwrap())
}

#[test]
fn a_full_book_loses_and_counts() {
    let book = LogBook::default();
    let text = rules("log prefix \"seen: \"");
    let rules = Ruleset::read("rules", &text, &NoFiles).unwrap();
    let (engine, mut bytes) = (Engine::new(1), udp(&ip4(), 1, 2, b""));
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    let mut cx = Context {
        packet: &packet,
        hook: Hook::Forward,
        iif: None,
        oif: None,
        packet_type: PacketType::Host,
        mark: 0,
        tracking: Tracking::Before,
        template: Template::default(),
        max_seg: None,
        route_max_seg: &|| None,
        expectation: None,
        now: Time::ZERO,
        fib: &NoFib,
        engine: &engine,
    };
    let chain = rules.chains().next().unwrap();
    for _ in 0..MOST + 3 {
        rules.filter(chain, &mut cx, &mut Logging(&book));
    }
    assert_eq!((book.logged.get(), book.lost.get()), (MOST as u64, 3));
    let mut lines = Vec::new();
    book.take(&mut lines);
    assert_eq!(lines.len(), MOST);
    assert!(
        lines[0].text.starts_with("seen: IN= OUT= SRC=192.168.1.10 DST=198.51.100.80 LEN=28 "),
        "{}",
        lines[0].text
    );
}
