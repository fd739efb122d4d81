//! Replays packets that were sent through Linux 6.18 and compares what came out, byte for byte, and the table at the end.
//!
//! Each file in `kernel/` holds stories:
//! ```text
//! story two clients with the same port
//! post masquerade 203.0.113.1          the rule for what leaves by wan     (pre: for what enters by wan)
//! checksum 0                           nf_conntrack_checksum
//! at 16                                milliseconds
//! in lan 4500…                         what was sent
//! out 4500…                            what came out on the other side, or none
//! ct 17 10.1.0.2 198.51.100.9 4000 53 | 198.51.100.9 203.0.113.1 53 4000 | 0x188     the table; status bits
//! ```
//! Where Linux drew a port at random, the draw is read from what came out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::IpNet;
use uct_engine::checksum::Delta;
use uct_engine::{
    Confirm, Engine, Family, Hook, L4, Manip, Packet, Protocol, Silent, Status, Sysctl, Template, Time, Track, Tracked,
    Tuple,
};
use uct_nat::{Addresses, Ask, Flags, Here, Mapping, Nat, Pending, Ports, Range, Seeded, pending, translate};

const WAN: NonZeroU32 = NonZeroU32::new(2).unwrap();
const NAT_BITS: Status = Status::NAT.union(Status::NAT_DONE);
const NOTHING: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Rule {
    mapping: Mapping,
    address: Option<IpAddr>,
    protocols: Option<[u8; 4]>,
    dport: Option<u16>,
    from: Option<IpNet>,
}

impl Rule {
    fn parse(text: &str) -> Rule {
        let mut words = text.split_whitespace();
        let kind = words.next().unwrap();
        let mut rule = Rule { mapping: Mapping::Null, address: None, protocols: None, dport: None, from: None };
        let (mut addresses, mut ports, mut flags) = (Addresses::Keep, None, Flags::empty());
        for word in words {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            if let Some(list) = word.strip_prefix("proto=") {
                let mut all = [0; 4];
                list.split(',').zip(&mut all).for_each(|(p, place)| *place = p.parse().unwrap());
                rule.protocols = Some(all);
            } else if let Some(port) = word.strip_prefix("dport=") {
                rule.dport = Some(port.parse().unwrap());
            } else if let Some(net) = word.strip_prefix("from=") {
                rule.from = Some(net.parse().unwrap());
            } else if let Ok(net) = word.parse() {
                addresses = Addresses::Prefix(net);
            } else if let (Ok(first), Ok(last)) = (first.parse::<IpAddr>(), last.parse()) {
                addresses = Addresses::Within { first, last };
                rule.address = Some(first);
            } else if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
                ports = Some(Ports::between(first, last));
            } else {
                flags |= match word {
                    "random" => Flags::RANDOM,
                    "fully-random" => Flags::FULLY_RANDOM,
                    "persistent" => Flags::PERSISTENT,
                    other => panic!("{other}"),
                };
            }
        }
        let range = Range { addresses, ports, flags };
        rule.mapping = match kind {
            "masquerade" => Mapping::Masquerade { ports, flags },
            "redirect" => Mapping::Redirect { ports, flags },
            "snat" => Mapping::Snat(range),
            "dnat" => Mapping::Dnat(range),
            other => panic!("{other}"),
        };
        rule
    }

    fn matches(&self, tuple: &Tuple) -> bool {
        self.protocols.is_none_or(|all| all.contains(&tuple.protocol.0))
            && self.dport.is_none_or(|port| tuple.l4.dst_id() == port)
            && self.from.is_none_or(|net| net.contains(&tuple.src))
    }
}

struct Router {
    engine: Engine,
    nat: Nat,
    pre: Option<Rule>,
    post: Option<Rule>,
    /// The id that the kernel's packet carries, for the draw; source in the high half.
    drawn: Arc<AtomicU32>,
    said: String,
}

impl Router {
    fn new() -> Self {
        let drawn = Arc::new(AtomicU32::new(NOTHING));
        let read = Arc::clone(&drawn);
        let draw = move |ask: &Ask<'_>| {
            let ids = read.load(Ordering::Relaxed);
            let port = if ask.manip == Manip::Src { ids >> 16 } else { ids & 0xffff } as u16;
            if ids == NOTHING { 0 } else { ask.offset_of(port).unwrap_or(0) }
        };
        Router { engine: Engine::new(1), nat: Nat::new(draw), pre: None, post: None, drawn, said: String::new() }
    }

    fn is_own(address: IpAddr) -> bool {
        ["203.0.113.1", "10.0.0.1", "2001:db8:a::1", "fd00:a::1"]
            .iter()
            .any(|a| address == a.parse::<IpAddr>().unwrap())
    }

    fn route(address: IpAddr) -> &'static str {
        let inside = match address {
            IpAddr::V4(a) => a.octets()[0] == 10,
            IpAddr::V6(a) => a.segments()[0] == 0xfd00,
        };
        if inside { "lan" } else { "wan" }
    }

    /// NAT at one hook. `None`: dropped.
    fn at(
        &mut self,
        packet: &mut Packet<'_>,
        t: &mut Tracked,
        hook: Hook,
        rule: Option<Rule>,
        now: Time,
    ) -> Option<()> {
        let manip = Manip::at(hook)?;
        if pending(&t.ct, t.info, manip) == Pending::Decision {
            let seen = t.ct.reply().inverse().unwrap();
            let rule = rule.filter(|r| r.matches(&seen));
            let mapping = rule.map_or(Mapping::Null, |r| r.mapping);
            let here = Here { address: rule.and_then(|r| r.address), interface: Some(WAN) };
            let ct = t.ct.unconfirmed().unwrap();
            let decision = self.nat.setup(&self.engine, ct, manip, &mapping, &here, now).unwrap().unwrap();
            self.said += &format!("  {}: {decision}\n", hook.name());
        }
        match translate(packet, &t.ct, t.dir, t.info, hook, Some(WAN)) {
            Ok(_) => Some(()),
            Err(why) => {
                self.said += &format!("  {}: dropped: {why}\n", hook.name());
                None
            }
        }
    }

    /// Answers by which side it leaves.
    fn forward(&mut self, from_wan: bool, bytes: &mut [u8], now: Time) -> Option<&'static str> {
        self.said.clear();
        self.engine.expire(now, usize::MAX);
        let len = bytes.len();
        let mut packet = Packet::parse(bytes, len).ok()?;
        let tracked = match self.engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent) {
            Track::Tracked(tracked) => Some(tracked),
            Track::Invalid(why) => {
                self.said += &format!("  invalid: {why}\n");
                None
            }
            Track::Untracked => None,
            Track::TableFull => return None,
        };
        let Some(mut t) = tracked else {
            if Self::is_own(packet.dst()) {
                return None;
            }
            hop(&mut packet);
            return Some(Self::route(packet.dst()));
        };
        self.at(&mut packet, &mut t, Hook::Prerouting, self.pre.filter(|_| from_wan), now)?;
        let local = Self::is_own(packet.dst());
        let out = Self::route(packet.dst());
        let post = self.post.filter(|_| !local && out == "wan");
        if !local {
            hop(&mut packet);
        }
        self.at(&mut packet, &mut t, if local { Hook::Input } else { Hook::Postrouting }, post, now)?;
        match self.engine.confirm(t.ct, now) {
            Confirm::Inserted(conn) => self.nat.confirmed(&self.engine, &conn),
            Confirm::Known(_) | Confirm::Merged(_) => {}
            Confirm::Clash(other) => {
                self.said += &format!("  clash with #{}\n", other.id().0);
                return None;
            }
        }
        (!local).then_some(out)
    }

    fn table(&self, now: Time) -> BTreeSet<String> {
        let end = |t: &Tuple| match t.l4 {
            L4::Icmp { kind, code, id } => format!("{} {} {kind}/{code} {id}", t.src, t.dst),
            l4 => format!("{} {} {} {}", t.src, t.dst, l4.src_id(), l4.dst_id()),
        };
        let line = |e: &uct_engine::Entry| {
            let bits = e.status & NAT_BITS;
            format!("ct {} {} | {} | {:#x}", e.original.protocol.0, end(&e.original), end(&e.reply), bits.bits())
        };
        self.engine.entries(now).iter().map(line).collect()
    }
}

/// What a router does to every packet.
fn hop(packet: &mut Packet<'_>) {
    let family = packet.family();
    let bytes = packet.bytes_mut();
    match family {
        Family::Ipv4 => {
            let word = |b: &[u8], at| u16::from_be_bytes([b[at], b[at + 1]]);
            let old = word(bytes, 8);
            let check = Delta::default().word(old, old - 0x100).apply(word(bytes, 10));
            bytes[8] -= 1;
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
        }
        Family::Ipv6 => bytes[7] -= 1,
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The ids of an emitted packet: source in the high half.
fn ids(bytes: &[u8]) -> u32 {
    let mut copy = bytes.to_vec();
    let len = copy.len();
    let Ok(packet) = Packet::parse(&mut copy, len) else { return NOTHING };
    let word = |at: usize| {
        packet.transport().and_then(|t| t.get(at..at + 2)).map_or(0, |w| u32::from(u16::from_be_bytes([w[0], w[1]])))
    };
    match packet.protocol() {
        Protocol::ICMP | Protocol::ICMPV6 => word(4) << 16 | word(4),
        _ => word(0) << 16 | word(2),
    }
}

/// Plays a file; answers how many packets were compared, and what differed.
fn play(text: &str) -> (usize, Vec<String>) {
    let mut packets = 0;
    let mut wrong = Vec::new();
    for story in text.split("\nstory ").skip(1) {
        let mut lines = story.lines();
        let name = lines.next().unwrap();
        let mut router = Router::new();
        let (mut now, mut sent, mut truth) = (Time::from_secs(1), None, BTreeSet::new());
        for (number, line) in lines.enumerate().map(|(n, l)| (n + 2, l)) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "pre" => router.pre = Some(Rule::parse(rest)),
                "post" => router.post = Some(Rule::parse(rest)),
                "checksum" => {
                    router.engine.settings().set(Sysctl::Checksum, rest.parse().unwrap()).unwrap();
                }
                "at" => now = Time::from_nanos(1_000_000 * rest.parse::<u64>().unwrap()),
                "in" => sent = Some((rest.starts_with("wan"), unhex(&rest[4..]))),
                "out" => {
                    let (from_wan, mut bytes) = sent.take().unwrap();
                    let drawn = rest.split_once(' ').map_or(NOTHING, |(_, packet)| ids(&unhex(packet)));
                    router.drawn.store(drawn, Ordering::Relaxed);
                    let before = hex(&bytes);
                    let side = router.forward(from_wan, &mut bytes, now);
                    let got = side.map_or("none".to_owned(), |side| format!("{side} {}", hex(&bytes)));
                    packets += 1;
                    if got != rest {
                        let said = &router.said;
                        wrong.push(format!(
                            "{name}, line {number}\n in     {before}\n kernel {rest}\n uct    {got}\n{said}"
                        ));
                    }
                }
                "ct" => {
                    let (tuples, status) = rest.rsplit_once(" | ").unwrap();
                    let status = u32::from_str_radix(status.trim_start_matches("0x"), 16).unwrap();
                    truth.insert(format!("ct {tuples} | {:#x}", status & NAT_BITS.bits()));
                }
                _ => {}
            }
        }
        let table = router.table(now);
        for line in truth.difference(&table) {
            wrong.push(format!("{name}: kernel has {line}\n"));
        }
        for line in table.difference(&truth) {
            wrong.push(format!("{name}: uct has    {line}\n"));
        }
    }
    (packets, wrong)
}

fn same(text: &str, at_least: usize) {
    let (packets, wrong) = play(text);
    assert!(wrong.is_empty(), "{} of {packets}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(packets >= at_least, "{packets}");
}

#[test]
fn errors_and_headers() {
    same(include_str!("kernel/errors.txt"), 300);
}

#[test]
fn a_seed_draws_the_same_ports_again() {
    let draw = |seed| {
        let engine = Engine::new(1);
        let nat = Nat::new(Seeded::new(seed));
        let rule = Rule::parse("masquerade 203.0.113.1");
        let mut router =
            Router { engine, nat, pre: None, post: Some(rule), drawn: Arc::default(), said: String::new() };
        let first = unhex("45000021000100004011468c0a010002c63364099c400050000d8fba68656c6c6f");
        let mut ports = Vec::new();
        for client in 2..40u8 {
            let mut bytes = first.clone();
            bytes[15] = client;
            bytes[26] = 0;
            bytes[27] = 0;
            bytes[10..12].fill(0);
            let check = !uct_engine::checksum::sum(&bytes[..20]);
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
            router.forward(false, &mut bytes, Time::from_secs(1)).unwrap();
            ports.push(ids(&bytes) >> 16);
        }
        ports
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
    let unique: BTreeSet<_> = draw(5).into_iter().collect();
    assert_eq!(unique.len(), 38);
}

#[test]
fn decisions() {
    same(include_str!("kernel/decisions.txt"), 250);
}

/// A few hosts and ports, so that everything collides, through every kind of rule.
#[test]
fn random_traffic() {
    same(include_str!("kernel/random.txt"), 600);
}

/// More stories, recorded elsewhere: `UCT_STORIES=file cargo test -p uct-nat --test kernel`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test may read a file")]
fn stories_from_elsewhere() {
    let Some(path) = std::env::var_os("UCT_STORIES") else { return };
    same(&std::fs::read_to_string(path).unwrap(), 1);
}
