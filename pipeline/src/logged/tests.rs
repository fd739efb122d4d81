use uct_engine::{Engine, Hook, Template};
use uct_nat::rules::{Context, IfName, NoFib, NoFiles, PacketType, Ruleset, Step, Tracking};
use uct_tests::packet::build::{Ip, Tcp, flag, icmp, udp};

use super::*;
use uct_engine::Packet;

/// The lines that a ruleset logs of a packet at forward.
fn logged(rules: &str, mut bytes: Vec<u8>) -> Vec<String> {
    let rules = Ruleset::read("rules", rules, &NoFiles).unwrap();
    let (engine, book, len) = (Engine::new(1), LogBook::default(), bytes.len());
    let packet = Packet::parse(&mut bytes, len).unwrap();
    let mut cx = Context {
        packet: &packet,
        hook: Hook::Forward,
        iif: Some(IfName::new("lan0")),
        oif: Some(IfName::new("wan0")),
        packet_type: PacketType::Host,
        mark: 0,
        tracking: Tracking::Invalid,
        template: Template::default(),
        max_seg: None,
        expectation: None,
        now: Time::from_secs(1),
        fib: &NoFib,
        engine: &engine,
    };
    for step in rules.steps(packet.family(), Hook::Forward) {
        if let Step::Filter(chain) = step {
            rules.filter(*chain, &mut cx, &mut Logging(&book));
        }
    }
    let mut lines = Vec::new();
    if book.logged.get() > 0 {
        book.take(&mut lines);
    }
    lines.into_iter().map(|l| l.text).collect()
}

fn rules(statement: &str) -> String {
    format!("table inet t {{\n chain f {{ type filter hook forward priority 0; {statement}; }}\n}}")
}

fn ip4() -> Ip {
    Ip::new("192.168.1.10".parse().unwrap(), "198.51.100.80".parse().unwrap())
}

fn ip6() -> Ip {
    Ip::new("2001:db8::10".parse().unwrap(), "2001:db8:1::1".parse().unwrap())
}

#[test]
fn lines_are_the_kernels() {
    let syn = Tcp { sport: 4000, dport: 443, window: 64240, flags: flag::SYN, ..Tcp::default() };
    assert_eq!(
        logged(&rules("log prefix \"NEW: \""), syn.packet(&ip4())),
        [
            "NEW: IN=lan0 OUT=wan0 SRC=192.168.1.10 DST=198.51.100.80 LEN=40 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=TCP SPT=4000 \
          DPT=443 WINDOW=64240 RES=0x00 SYN URGP=0"
        ]
    );
    assert_eq!(
        logged(&rules("meta mark set 7 log"), udp(&ip4(), 5353, 53, b"?")),
        [
            "IN=lan0 OUT=wan0 SRC=192.168.1.10 DST=198.51.100.80 LEN=29 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=UDP SPT=5353 DPT=53 \
          LEN=9 MARK=0x7"
        ]
    );
    assert_eq!(
        logged(&rules("log"), icmp(&ip6(), 128, 0, [0, 9, 0, 2], b"")),
        [
            "IN=lan0 OUT=wan0 SRC=2001:0db8:0000:0000:0000:0000:0000:0010 DST=2001:0db8:0001:0000:0000:0000:0000:0001 LEN=48 TC=0 \
          HOPLIMIT=64 FLOWLBL=0 PROTO=ICMPv6 TYPE=128 CODE=0 ID=9 SEQ=2"
        ]
    );
    assert_eq!(logged(&rules("tcp dport 22 log"), udp(&ip4(), 5353, 53, b"?")), [""; 0]);
}

#[test]
fn a_full_book_loses_and_counts() {
    let book = LogBook::default();
    let text = rules("log");
    let rules = Ruleset::read("rules", &text, &NoFiles).unwrap();
    let (engine, mut bytes) = (Engine::new(1), udp(&ip4(), 1, 2, b""));
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    let cx = Context {
        packet: &packet,
        hook: Hook::Forward,
        iif: None,
        oif: None,
        packet_type: PacketType::Host,
        mark: 0,
        tracking: Tracking::Before,
        template: Template::default(),
        max_seg: None,
        expectation: None,
        now: Time::ZERO,
        fib: &NoFib,
        engine: &engine,
    };
    let rule = rules.rules().next().unwrap();
    let log = uct_nat::rules::Log::default();
    (0..MOST + 3).for_each(|_| book.put(&Logged { rule, log: &log, cx: &cx }));
    assert_eq!((book.logged.get(), book.lost.get()), (MOST as u64, 3));
    let mut lines = Vec::new();
    book.take(&mut lines);
    assert_eq!(lines.len(), MOST);
}
