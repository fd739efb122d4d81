//! What rules decide about packets.

use crate::support::read;
use std::net::IpAddr;
use std::time::Duration;
use uct_engine::checksum::sum;
use uct_engine::{
    Confirm, Ct, Engine, Family, Info, Packet, Protocol, Silent as Quiet, Template, Time, Track, Tracked,
};
use uct_nat::rules::{
    AddressType, Context, Decision, Fib, Hook, IfName, Logged, NatVerdict, NoFib, Observer, PacketType, Reachable,
    Reject, RuleId, Ruleset, Silent, Step, Tracking,
};

const SYN: u8 = 2;
const ACK: u8 = 16;

/// An IPv4 or IPv6 packet with a transport header.
fn packet(protocol: Protocol, src: &str, dst: &str, transport: &[u8]) -> Vec<u8> {
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut bytes = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = vec![0x45, 0xb8, 0, 0, 0, 1, 0, 0, 64, protocol.0, 0, 0];
            header[2..4].copy_from_slice(&(20 + transport.len() as u16).to_be_bytes());
            header.extend(src.octets());
            header.extend(dst.octets());
            let check = !sum(&header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
            header
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol.0, 64];
            header[4..6].copy_from_slice(&(transport.len() as u16).to_be_bytes());
            header.extend(src.octets());
            header.extend(dst.octets());
            header
        }
        _ => panic!("two families"),
    };
    bytes.extend(transport);
    bytes
}

fn tcp(src: &str, sport: u16, dst: &str, dport: u16, flags: u8) -> Vec<u8> {
    let mut header =
        [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0; 8], &[0x50, flags, 0x20, 0], &[0; 4]].concat();
    header[7] = 1;
    packet(Protocol::TCP, src, dst, &header)
}

fn udp(src: &str, sport: u16, dst: &str, dport: u16) -> Vec<u8> {
    packet(Protocol::UDP, src, dst, &[&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0, 8, 0, 0]].concat())
}

fn icmp(src: &str, dst: &str, kind: u8, code: u8) -> Vec<u8> {
    packet(Protocol::ICMP, src, dst, &[kind, code, 0, 0, 0, 7, 0, 1])
}

/// Which rules were heard of.
#[derive(Default)]
struct Heard {
    matched: Vec<RuleId>,
    logged: Vec<String>,
}

impl Observer for Heard {
    fn matched(&mut self, rule: RuleId) {
        self.matched.push(rule);
    }

    fn log(&mut self, logged: &Logged<'_, '_>) {
        self.logged.push(logged.log.prefix.to_string());
    }
}

/// Rules and the connections they see.
struct World {
    engine: Engine,
    rules: Ruleset,
    now: Time,
    mark: u32,
    iif: Option<&'static str>,
    oif: Option<&'static str>,
}

/// What became of a packet, and what rules left on it.
#[derive(Debug)]
struct Seen {
    decision: Decision,
    rule: Option<RuleId>,
    mark: u32,
    template: Template,
    max_seg: Option<u16>,
    untracked: bool,
    logged: Vec<String>,
    matched: usize,
}

impl World {
    fn new(rules: &str) -> World {
        let rules = read(rules).unwrap_or_else(|refusal| panic!("{}", refusal.render(uct_nat::rules::Colour::Never)));
        let engine = Engine::new(1);
        engine.settings().set_by_name("nf_conntrack_checksum", "0").unwrap();
        World { engine, rules, now: Time::from_secs(1000), mark: 0, iif: Some("lan0"), oif: Some("wan0") }
    }

    /// A chain at forward with these rules.
    fn forward(rules: &str) -> World {
        World::new(&format!(
            "table inet t {{\n chain r {{\n }}\n chain c {{\n type filter hook forward priority 0;\n {rules}\n }}\n}}\n"
        ))
    }

    fn track(&self, packet: &Packet<'_>) -> Option<Tracked> {
        match self.engine.track(packet, Hook::Prerouting, &Template::default(), self.now, &mut Quiet) {
            Track::Tracked(tracked) => Some(tracked),
            _ => None,
        }
    }

    /// Tracks the packet, asks the filter chains of a hook, confirms the connection.
    fn send(&self, hook: Hook, mut bytes: Vec<u8>) -> Seen {
        let length = bytes.len();
        let packet = Packet::parse(&mut bytes, length).unwrap();
        let tracked = self.track(&packet);
        let tracking = match &tracked {
            Some(t) => Tracking::Tracked { ct: &t.ct, dir: t.dir, info: t.info },
            None => Tracking::Invalid,
        };
        let seen = self.ask(hook, &packet, tracking);
        if let Some(Tracked { ct: ct @ Ct::Unconfirmed(_), .. }) = tracked
            && seen.decision == Decision::Accept
        {
            assert!(matches!(self.engine.confirm(ct, self.now), Confirm::Inserted(_)));
        }
        seen
    }

    fn ask(&self, hook: Hook, packet: &Packet<'_>, tracking: Tracking<'_>) -> Seen {
        let mut heard = Heard::default();
        let mut cx = self.context(hook, packet, tracking);
        let (mut decision, mut rule) = (Decision::Accept, None);
        for step in self.rules.steps(packet.family(), hook) {
            let Step::Filter(chain) = step else { continue };
            let verdict = self.rules.filter(*chain, &mut cx, &mut heard);
            (decision, rule) = (verdict.decision, verdict.rule);
            if decision != Decision::Accept {
                break;
            }
        }
        let untracked = matches!(cx.tracking, Tracking::Untracked);
        Seen {
            decision,
            rule,
            mark: cx.mark,
            template: cx.template,
            max_seg: cx.max_seg,
            untracked,
            logged: heard.logged,
            matched: heard.matched.len(),
        }
    }

    fn context<'a>(&'a self, hook: Hook, packet: &'a Packet<'a>, tracking: Tracking<'a>) -> Context<'a> {
        Context {
            packet,
            hook,
            iif: self.iif.map(IfName::new),
            oif: self.oif.map(IfName::new),
            packet_type: PacketType::Host,
            mark: self.mark,
            tracking,
            template: Template::default(),
            route_max_seg: &|| Some(1452),
            max_seg: None,
            expectation: None,
            now: self.now,
            fib: &Lab,
            engine: &self.engine,
        }
    }

    fn nat(&self, hook: Hook, mut bytes: Vec<u8>) -> NatVerdict {
        let length = bytes.len();
        let packet = Packet::parse(&mut bytes, length).unwrap();
        let tracked = self.track(&packet).unwrap();
        let tracking = Tracking::Tracked { ct: &tracked.ct, dir: tracked.dir, info: tracked.info };
        self.rules.nat(hook, &mut self.context(hook, &packet, tracking), &mut Silent)
    }

    fn accepts(&self, bytes: Vec<u8>) -> bool {
        self.send(Hook::Forward, bytes).decision == Decision::Accept
    }

    fn line(&self, rule: Option<RuleId>) -> u32 {
        rule.and_then(|id| self.rules.rule(id)).map_or(0, |view| view.location.line)
    }
}

/// 10.0.0.1 is the router's; 192.168.0.0/16 is reached by wan0.
struct Lab;

impl Fib for Lab {
    fn address_type(&self, address: IpAddr, device: Option<IfName>) -> AddressType {
        match address {
            IpAddr::V4(a) if a.octets() == [10, 0, 0, 1] && device.is_none_or(|d| d == IfName::new("lan0")) => {
                AddressType::Local
            }
            IpAddr::V4(a) if a.is_multicast() => AddressType::Multicast,
            _ => AddressType::Unicast,
        }
    }

    fn reachable(&self, address: IpAddr, device: Option<IfName>) -> Reachable {
        let by = match address {
            IpAddr::V4(a) if a.octets()[0] == 192 => "wan0",
            _ => "lan0",
        };
        if device.is_none_or(|d| d == IfName::new(by)) { Reachable::Yes } else { Reachable::No }
    }
}

/// Whether a rule with this match takes the packet.
fn matches(condition: &str, bytes: &[u8]) -> bool {
    !World::forward(&format!("{condition} drop")).accepts(bytes.to_vec())
}

#[test]
fn matches_on_headers() {
    let web = tcp("10.0.0.2", 40000, "192.0.2.1", 80, SYN);
    let web6 = tcp("2001:db8::2", 40000, "2001:db8::1", 80, SYN);
    let dns = udp("10.0.0.2", 5353, "192.0.2.1", 53);
    let ping = icmp("10.0.0.2", "192.0.2.1", 8, 0);
    for (condition, packet, want) in [
        ("tcp dport 80", &web, true),
        ("tcp dport 80", &web6, true),
        ("tcp dport 53", &dns, false),
        ("th dport 53", &dns, true),
        ("udp dport != 80", &dns, true),
        ("udp dport != 80", &web, false),
        ("tcp dport { 22, 80-90 }", &web, true),
        ("tcp dport != { 22, 80-90 }", &web, false),
        ("tcp dport 81-90", &web, false),
        ("tcp dport > 79", &web, true),
        ("tcp sport 1024-65535 tcp dport http", &web, true),
        ("ip saddr 10.0.0.0/8", &web, true),
        ("ip saddr 10.0.0.0/8", &web6, false),
        ("ip saddr != 10.0.0.0/8", &web6, false),
        ("ip saddr != 11.0.0.0/8", &web, true),
        ("ip6 saddr 2001:db8::/32", &web6, true),
        ("ip saddr & 255.0.0.255 == 10.0.0.2", &web, true),
        ("ip daddr { 192.0.2.0/24, 198.51.100.1 }", &web, true),
        ("ip saddr . tcp dport { 10.0.0.2 . 80 }", &web, true),
        ("ip saddr . tcp dport { 10.0.0.0/24 . 79-81 }", &web, true),
        ("ip saddr . tcp dport { 10.0.0.0/24 . 81-82, 10.0.1.0/24 . 80 }", &web, false),
        ("ip protocol tcp", &web, true),
        ("ip6 nexthdr tcp", &web6, true),
        ("meta l4proto { tcp, udp }", &dns, true),
        ("meta l4proto != { tcp, udp }", &ping, true),
        ("meta nfproto ipv6", &web6, true),
        ("meta nfproto ipv6", &web, false),
        ("meta protocol ip6", &web6, true),
        ("meta length 40", &web, true),
        ("meta length > 40", &web, false),
        ("icmp type echo-request", &ping, true),
        ("icmp type { echo-reply, destination-unreachable }", &ping, false),
        ("icmp type . icmp code { 8 . 0 }", &ping, true),
        ("icmpv6 type echo-request", &ping, false),
        ("ip dscp ef", &web, true),
        ("ip ttl 64", &web, true),
        ("ip version 4", &web, true),
        ("ip6 hoplimit < 65", &web6, true),
        ("tcp flags syn", &web, true),
        ("tcp flags ack", &web, false),
        ("tcp flags & (syn|ack) == syn", &web, true),
        ("tcp flags syn / syn,ack", &web, true),
        ("tcp flags != syn / syn,ack", &web, false),
        ("tcp flags ! ack,rst", &web, true),
        ("tcp flags == syn", &web, true),
        ("tcp flags { syn | ack, ack }", &web, false),
        ("tcp window 0x2000 tcp doff 5 tcp sequence 1", &web, true),
        ("iifname lan0", &web, true),
        ("iifname \"lan*\" oifname != \"lan*\"", &web, true),
        ("iifname { \"wan*\", \"lo\" }", &web, false),
        ("iifname . tcp dport { \"lan*\" . 80 }", &web, true),
        ("iifname . oifname { lan0 . wan0 }", &web, true),
        ("meta pkttype host", &web, true),
        ("meta mark 0", &web, true),
        ("fib saddr type unicast fib daddr type != local", &web, true),
        ("fib saddr . iif oif exists", &web, true),
        ("fib saddr . iif oif missing", &tcp("192.168.0.1", 1, "10.0.0.9", 80, SYN), true),
        ("fib daddr type local", &tcp("192.168.0.1", 1, "10.0.0.1", 80, SYN), true),
        ("fib daddr . iif type local", &tcp("192.168.0.1", 1, "10.0.0.1", 80, SYN), true),
        ("fib saddr oif missing", &tcp("192.168.0.1", 1, "10.0.0.1", 80, SYN), false),
    ] {
        assert_eq!(matches(condition, packet), want, "{condition}");
    }
}

#[test]
fn a_port_is_not_read_from_a_later_fragment() {
    let mut fragment = udp("10.0.0.2", 53, "192.0.2.1", 53);
    fragment[6..8].copy_from_slice(&[0x00, 0x10]);
    fragment[10..12].copy_from_slice(&[0, 0]);
    let check = !sum(&fragment[..20]);
    fragment[10..12].copy_from_slice(&check.to_be_bytes());
    for (condition, want) in [
        ("udp dport 53", false),
        ("udp dport != 53", false),
        ("udp dport { 53 }", false),
        ("udp dport != { 1, 2 }", false),
        ("udp dport != 1-2", false),
        ("meta l4proto udp", true),
        ("ip frag-off & 0x1fff != 0", true),
    ] {
        assert_eq!(matches(condition, &fragment), want, "{condition}");
    }
}

#[test]
fn matches_on_the_connection() {
    let (client, server) = ("10.0.0.2", "192.0.2.1");
    let request = || udp(client, 4000, server, 53);
    let reply = || udp(server, 53, client, 4000);
    for (condition, first, second) in [
        ("ct state new", true, false),
        ("ct state established,related", false, true),
        ("ct state { new, established }", true, true),
        ("ct state != established", true, false),
        ("ct state != established,related", true, true),
        ("ct direction reply", false, true),
        ("ct status seen-reply,expected", false, true),
        ("ct status confirmed", false, true),
        ("ct original ip saddr 10.0.0.0/8 ct reply ip saddr 192.0.2.1", true, true),
        ("ct original ip6 saddr ::/0", false, false),
        ("meta l4proto udp ct original proto-dst 53 ct reply proto-dst 4000", true, true),
        ("ct l3proto ipv4 ct protocol udp", true, true),
        ("ct mark 0 ct zone 0", true, true),
        ("ct label 5", false, false),
        ("ct label != 5", true, true),
        ("ct helper != \"ftp\"", false, false),
        ("ct expiration > 29s", false, true),
    ] {
        let both = World::forward(&format!("{condition} log prefix \"hit\""));
        let heard = |bytes| both.send(Hook::Forward, bytes).logged.len() == 1;
        assert_eq!((heard(request()), heard(reply())), (first, second), "{condition}");
    }
}

#[test]
fn without_a_connection_only_its_state_is_known() {
    let world = World::forward(
        "ct state invalid log prefix \"invalid\"\n ct state untracked log prefix \"untracked\"\n ct mark 0 log prefix \"mark\"\n \
         ct mark != 1 log prefix \"not\"\n ct direction original log prefix \"dir\"\n ct label != 1 log prefix \"label\"",
    );
    let mut bytes = tcp("10.0.0.2", 1, "192.0.2.1", 2, SYN);
    let length = bytes.len();
    let packet = Packet::parse(&mut bytes, length).unwrap();
    for (tracking, want) in
        [(Tracking::Invalid, "invalid"), (Tracking::Before, "invalid"), (Tracking::Untracked, "untracked")]
    {
        assert_eq!(world.ask(Hook::Forward, &packet, tracking).logged, [want]);
    }
}

#[test]
fn verdicts_end_what_they_end() {
    let world = World::new(
        "table ip t {
 chain regular {
  tcp dport 1 accept
  tcp dport 2 drop
  tcp dport 3 return
  tcp dport 4 continue
  tcp dport 4-5 log prefix \"five\"
 }
 chain last {
  tcp dport 6 log prefix \"six\"
 }
 chain first {
  type filter hook forward priority -10; policy accept;
  jump regular
  tcp dport 3 log prefix \"back\"
  tcp dport 6 goto last
  tcp dport 6 log prefix \"never\"
  tcp dport 7 reject
  tcp dport 8 reject with tcp reset
 }
 chain second {
  type filter hook forward priority 10; policy drop;
  tcp dport 1-4 accept
 }
}
",
    );
    let ask = |dport| world.send(Hook::Forward, tcp("10.0.0.2", 1000 + dport, "192.0.2.1", dport, SYN));
    let seen: Vec<_> = (1..=9)
        .map(|dport| {
            let seen = ask(dport);
            (seen.decision, world.line(seen.rule), seen.logged.join(" "))
        })
        .collect();
    let plain = |decision, line| (decision, line, String::new());
    let logged = |decision, line, text: &str| (decision, line, text.to_owned());
    assert_eq!(
        seen,
        [
            plain(Decision::Accept, 23),
            plain(Decision::Drop, 4),
            logged(Decision::Accept, 23, "back"),
            logged(Decision::Accept, 23, "five"),
            logged(Decision::Drop, 0, "five"),
            logged(Decision::Drop, 0, "six"),
            plain(Decision::Reject(Reject::Icmp(3)), 18),
            plain(Decision::Reject(Reject::TcpReset), 19),
            plain(Decision::Drop, 0),
        ]
    );
}

#[test]
fn reject_speaks_the_packets_family() {
    let world = World::forward("tcp dport 1 reject with icmpx host-unreachable\n reject");
    let v4 = |dport| world.send(Hook::Forward, tcp("10.0.0.2", 9, "192.0.2.1", dport, SYN)).decision;
    let v6 = |dport| world.send(Hook::Forward, tcp("2001:db8::2", 9, "2001:db8::1", dport, SYN)).decision;
    assert_eq!([v4(1), v4(2)], [Decision::Reject(Reject::Icmp(1)), Decision::Reject(Reject::Icmp(3))]);
    assert_eq!([v6(1), v6(2)], [Decision::Reject(Reject::Icmpv6(3)), Decision::Reject(Reject::Icmpv6(4))]);
}

#[test]
fn maps_give_verdicts_and_values() {
    let world = World::new(
        "table ip t {
 map marks {
  type ipv4_addr . inet_service : mark
  flags interval
  elements = { 10.0.0.0/24 . 80-90 : 7, 10.0.1.0/24 . 80 : 8 }
 }
 chain b {
  meta mark set meta mark or 0x100
 }
 chain c {
  type filter hook forward priority 0;
  meta mark set ip saddr . tcp dport map @marks
  tcp dport vmap { 85 : jump b, 86 : drop, 87-90 : continue, * : accept }
  meta mark set meta mark or 0x1000
 }
}
",
    );
    let ask = |src: &str, dport| {
        let seen = world.send(Hook::Forward, tcp(src, 2000 + dport, "192.0.2.1", dport, SYN));
        (seen.decision, seen.mark)
    };
    assert_eq!(ask("10.0.0.5", 80), (Decision::Accept, 7));
    assert_eq!(ask("10.0.1.5", 80), (Decision::Accept, 8));
    assert_eq!(ask("10.0.2.5", 80), (Decision::Accept, 0), "a key that the map lacks ends the rule");
    assert_eq!(ask("10.0.0.5", 85), (Decision::Accept, 0x1107));
    assert_eq!(ask("10.0.0.5", 86), (Decision::Drop, 7));
    assert_eq!(ask("10.0.0.5", 88), (Decision::Accept, 0x1007));
}

#[test]
fn marks_are_computed() {
    for (value, want) in [
        ("0x10", 0x10),
        ("meta mark", 0xabcd),
        ("meta mark and 0xff", 0xcd),
        ("meta mark & 0xff00 | 0x1", 0xab01),
        ("meta mark and 0xff or 0x100", 0x1cd),
        ("meta mark xor 0xffff", 0x5432),
        ("meta mark or 0x10 and 0x11", 0xabdd),
        ("meta mark << 4", 0xabcd0),
        ("meta mark >> 8", 0xab),
        ("1 or 2", 3),
        ("ct mark or 0x5", 5),
    ] {
        let mut world = World::forward(&format!("ct mark set {value}\n meta mark set ct mark"));
        world.mark = 0xabcd;
        assert_eq!(world.send(Hook::Forward, udp("10.0.0.2", 1, "192.0.2.1", 2)).mark, want, "{value}");
    }
}

#[test]
fn statements_leave_their_traces() {
    let world = World::new(
        "table inet t {
 ct helper ftp { type \"ftp\" protocol tcp; }
 ct timeout slow { protocol tcp; policy = { established : 77 }; }
 counter all { }
 chain raw {
  type filter hook prerouting priority raw
  udp dport 9 notrack
  tcp dport 9 ct original zone set 5
 }
 chain c {
  type filter hook forward priority 0
  tcp dport 21 ct helper set \"ftp\" ct timeout set \"slow\" ct label set 3 ct mark set 9
  tcp flags syn tcp option maxseg size set rt mtu
  tcp dport 22 tcp option maxseg size set 1400
  udp dport 21 ct helper set \"ftp\"
  counter name all counter
 }
}
",
    );
    let mut bytes = udp("10.0.0.2", 1, "192.0.2.1", 9);
    let packet = Packet::parse(&mut bytes, 28).unwrap();
    assert!(world.ask(Hook::Prerouting, &packet, Tracking::Before).untracked);
    let mut bytes = tcp("10.0.0.2", 1, "192.0.2.1", 9, SYN);
    let packet = Packet::parse(&mut bytes, 40).unwrap();
    assert_eq!(world.ask(Hook::Prerouting, &packet, Tracking::Before).template.zone.id, 5);

    let seen = world.send(Hook::Forward, tcp("10.0.0.2", 1, "192.0.2.1", 21, SYN));
    assert_eq!(seen.max_seg, Some(1452));
    let mut bytes = tcp("10.0.0.2", 1, "192.0.2.1", 21, ACK);
    let conn = world.track(&Packet::parse(&mut bytes, 40).unwrap());
    if let Some(tracked) = conn {
        assert_eq!((tracked.ct.helper().as_deref(), tracked.ct.labels(), tracked.ct.mark()), (Some("ftp"), Some(8), 9));
        assert!(tracked.ct.with_extras(|e| e.timeouts.as_ref().is_some_and(|t| t.name == "slow")));
    }
    assert_eq!(world.send(Hook::Forward, tcp("10.0.0.2", 1, "192.0.2.1", 22, SYN)).max_seg, Some(1400));
    world.send(Hook::Forward, udp("10.0.0.2", 1, "192.0.2.1", 21));
    let counted: Vec<u64> = world.rules.rules().filter_map(|id| world.rules.counters(id)).map(|c| c.packets).collect();
    assert_eq!(counted, [3]);
}

#[test]
fn limits_follow_the_given_time() {
    let mut world = World::forward("limit rate 2/second burst 3 packets accept\n drop");
    let mut port = 0;
    let mut burst = |world: &World, count| {
        (0..count)
            .filter(|_| {
                port += 1;
                world.accepts(udp("10.0.0.2", port, "192.0.2.1", 2))
            })
            .count()
    };
    assert_eq!(burst(&world, 10), 3);
    world.now = world.now + Duration::from_millis(499);
    assert_eq!(burst(&world, 10), 0);
    world.now = world.now + Duration::from_millis(1);
    assert_eq!(burst(&world, 10), 1);
    world.now = world.now + Duration::from_secs(60);
    assert_eq!(burst(&world, 10), 3);

    let over = World::forward("limit rate over 100 bytes/second burst 28 bytes drop");
    let passed = (0..10).filter(|&port| over.accepts(udp("10.0.0.2", port, "192.0.2.1", 2))).count();
    assert_eq!(passed, 4, "128 bytes at once are four packets of 28");
}

#[test]
fn connections_are_counted_while_they_live() {
    let mut world = World::forward("ct count over 2 drop");
    let open = |world: &World, port| world.accepts(udp("10.0.0.2", port, "192.0.2.1", 53));
    assert_eq!([open(&world, 1), open(&world, 2), open(&world, 2), open(&world, 3)], [true, true, true, false]);
    world.now = world.now + Duration::from_secs(31);
    world.engine.expire(world.now, usize::MAX);
    assert!(open(&world, 4), "the first two have run out");
}

#[test]
fn nat_asks_for_what_is_written() {
    for (rule, hook, packet, want) in [
        ("ip|masquerade", Hook::Postrouting, tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN), "masquerade"),
        (
            "ip|snat to 1.2.3.4-1.2.3.8 persistent",
            Hook::Postrouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN),
            "snat to 1.2.3.4-1.2.3.8 persistent",
        ),
        (
            "ip|tcp dport 80 snat to 1.2.3.4:100-200 random",
            Hook::Postrouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN),
            "snat to 1.2.3.4:100-200 random",
        ),
        ("ip|udp dport 80 snat to 1.2.3.4", Hook::Postrouting, tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN), "-"),
        (
            "ip|dnat to 10.9.0.0/24",
            Hook::Prerouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN),
            "dnat to 10.9.0.0-10.9.0.255",
        ),
        (
            "ip|dnat prefix to 10.9.0.0/24",
            Hook::Prerouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN),
            "dnat prefix to 10.9.0.0/24",
        ),
        (
            "ip|dnat to tcp dport map { 80 : 10.9.0.1 . 8080, 81 : 10.9.0.2 . 22 }",
            Hook::Prerouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 81, SYN),
            "dnat to 10.9.0.2:22",
        ),
        ("ip|dnat to tcp dport map { 80 : 10.9.0.1 }", Hook::Prerouting, tcp("10.0.0.2", 1, "192.0.2.1", 81, SYN), "-"),
        (
            "ip|dnat prefix to ip daddr map { 192.0.2.0/24 : 10.8.0.0/24 }",
            Hook::Prerouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 81, SYN),
            "dnat prefix to 10.8.0.0/24",
        ),
        (
            "ip|tcp dport 80 redirect to :8080-8090",
            Hook::Prerouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN),
            "redirect to :8080-8090",
        ),
        (
            "ip|tcp dport 80 redirect to : tcp dport map { 80 : 81 }",
            Hook::Prerouting,
            tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN),
            "redirect to :81",
        ),
        ("inet|tcp dport 80 dnat to :81", Hook::Prerouting, tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN), "dnat to :81"),
        ("inet|dnat ip6 to 2001:db8::9", Hook::Prerouting, tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN), "-"),
        (
            "inet|tcp dport 80 dnat ip6 to [2001:db8::9]:81",
            Hook::Prerouting,
            tcp("2001:db8::2", 1, "2001:db8::1", 80, SYN),
            "dnat to [2001:db8::9]:81",
        ),
        ("ip|dnat to ip saddr", Hook::Output, tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN), "dnat to 10.0.0.2"),
        ("ip|drop", Hook::Prerouting, tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN), "refused"),
    ] {
        let (family, rule) = rule.split_once('|').unwrap();
        let text =
            format!("table {family} t {{\n chain c {{\n type nat hook {} priority 0\n {rule}\n }}\n}}\n", hook.name());
        let world = World::new(&text);
        let found = match world.nat(hook, packet) {
            NatVerdict::None => "-".to_owned(),
            NatVerdict::Act(mapping, id) => {
                assert_eq!(world.line(Some(id)), 4);
                mapping.to_string()
            }
            NatVerdict::Refused(_) => "refused".to_owned(),
        };
        assert_eq!(found, want, "{rule}");
    }
}

#[test]
fn nat_chains_are_asked_in_turn_until_one_acts() {
    let text = |first: &str, second: &str| {
        format!(
            "table ip t {{\n chain b {{\n type nat hook prerouting priority -90\n {second}\n }}\n \
             chain a {{\n type nat hook prerouting priority -100\n {first}\n }}\n}}\n"
        )
    };
    let act = |first, second| match World::new(&text(first, second))
        .nat(Hook::Prerouting, tcp("10.0.0.2", 1, "192.0.2.1", 80, SYN))
    {
        NatVerdict::Act(mapping, _) => mapping.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(act("accept", "dnat to 10.9.0.1"), "dnat to 10.9.0.1");
    assert_eq!(act("dnat to 10.9.0.2", "dnat to 10.9.0.1"), "dnat to 10.9.0.2");
    assert!(act("drop", "dnat to 10.9.0.1").contains("Drop"));
}

#[test]
fn steps_stand_in_their_order() {
    let steps = |text: &str, family, hook| {
        let rules = read(text).unwrap();
        let name = |step: &Step| match step {
            Step::Filter(chain) => rules.chain(*chain).unwrap().name.to_owned(),
            other => format!("{other:?}"),
        };
        rules.steps(family, hook).iter().map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(steps("", Family::Ipv4, Hook::Prerouting), "Defrag Track");
    assert_eq!(steps("", Family::Ipv4, Hook::Forward), "");
    assert_eq!(steps("", Family::Ipv6, Hook::Postrouting), "Confirm");
    let text = "table ip t {
 chain late { type filter hook prerouting priority 0; }
 chain early { type filter hook prerouting priority -450; }
 chain before { type filter hook prerouting priority -100; }
 chain nat { type nat hook postrouting priority srcnat; }
 chain after { type filter hook prerouting priority -100; }
 chain same { type filter hook prerouting priority 0; }
 chain at { type filter hook prerouting priority -200; }
 chain out { type filter hook postrouting priority 2147483647; }
}
";
    assert_eq!(steps(text, Family::Ipv4, Hook::Prerouting), "early Defrag Track at after Nat before same late");
    assert_eq!(steps(text, Family::Ipv4, Hook::Postrouting), "Nat out Confirm");
    assert_eq!(steps(text, Family::Ipv4, Hook::Output), "Defrag Track Nat");
    assert_eq!(steps(text, Family::Ipv6, Hook::Prerouting), "Defrag Track");
}

#[test]
fn commands_take_effect_in_order() {
    let count = |text: &str| read(text).unwrap().steps(Family::Ipv4, Hook::Forward).len();
    let chain = "table ip t {\n chain c { type filter hook forward priority 0; }\n}\n";
    assert_eq!(count(chain), 1);
    assert_eq!(count(&format!("{chain}flush ruleset\n")), 0);
    assert_eq!(count(&format!("{chain}flush ruleset ip6\n")), 1);
    assert_eq!(count(&format!("{chain}delete table t\n")), 0);
    assert_eq!(count(&format!("{chain}{chain}")), 1);
    let world = World::new(&format!("{chain}add rule t c tcp dport 1 drop\ninsert rule t c tcp dport 1 accept\n"));
    assert!(world.accepts(tcp("10.0.0.2", 1, "192.0.2.1", 1, SYN)), "the inserted rule comes first");
    let world = World::new(&format!("{chain}add rule t c drop\nflush chain t c\n"));
    assert!(world.accepts(tcp("10.0.0.2", 1, "192.0.2.1", 1, SYN)));
    let world = World::new(&format!(
        "{chain}add set t s {{ type ipv4_addr; }}\nadd rule t c ip saddr @s drop\nadd element t s {{ 10.0.0.2 }}\n"
    ));
    assert!(!world.accepts(tcp("10.0.0.2", 1, "192.0.2.1", 1, SYN)), "elements may come after the rule");
}

#[test]
fn related_packets_are_called_so() {
    let world = World::forward("ct state related log prefix \"related\"");
    world.send(Hook::Forward, udp("10.0.0.2", 4000, "192.0.2.1", 53));
    let quoted = udp("10.0.0.2", 4000, "192.0.2.1", 53);
    let error = packet(Protocol::ICMP, "192.0.2.9", "10.0.0.2", &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat());
    let mut bytes = error.clone();
    let length = bytes.len();
    let tracked = world.track(&Packet::parse(&mut bytes, length).unwrap()).unwrap();
    assert_eq!(tracked.info, Info::Related);
    assert_eq!(world.send(Hook::Forward, error).logged, ["related"]);
}

#[test]
fn a_statement_with_nothing_to_change_lets_the_rule_go_on() {
    let world = World::forward("ct mark set 7 ct label set 3 drop\n accept");
    let mut bytes = tcp("10.0.0.2", 1, "192.0.2.1", 2, SYN);
    let packet = Packet::parse(&mut bytes, 40).unwrap();
    for tracking in [Tracking::Invalid, Tracking::Untracked] {
        assert_eq!(world.ask(Hook::Forward, &packet, tracking).decision, Decision::Drop);
    }
    let world = World::forward("ct mark set ct mark or 7 drop\n accept");
    assert_eq!(
        world.ask(Hook::Forward, &packet, Tracking::Invalid).decision,
        Decision::Accept,
        "what is not there is not read"
    );
    let world = World::forward("tcp option maxseg size set 100 drop\n accept");
    assert!(world.accepts(udp("10.0.0.2", 1, "192.0.2.1", 2)), "only TCP has options");
}

/// One observer hears of a rule once all of its matches were true.
#[test]
fn observers_hear_of_rules_that_matched() {
    let world = World::forward("tcp dport 1 counter\n tcp dport 2 counter\n counter\n drop");
    assert_eq!(world.send(Hook::Forward, tcp("10.0.0.2", 1, "192.0.2.1", 2, SYN)).matched, 3);
    let _ = NoFib;
}
