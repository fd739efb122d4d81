//! What was written is read again as it was, and what is damaged is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use uct_engine::expect::{ExpectFlags, ExpectMask, NewExpectation};
use uct_engine::tcp::{TcpState, flag};
use uct_engine::{Hook, Packet, Protocol, Silent, Sysctl, Template, TimeoutPolicy, Track, Zone};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_tests::packet::build::{Ip, Tcp, udp};

use super::*;
use crate::offload::Offload;
use crate::router::{Arrival, Emit, Emitted};
use crate::topology::Topology;

/// A folder that is gone with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("uct-state-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("table.state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(secs: u64) -> Time {
    Time::from_secs(1_795_000_000 + secs)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pass(engine: &Engine, mut bytes: Vec<u8>, now: Time) {
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    let Track::Tracked(tracked) = engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent)
    else {
        panic!("not tracked")
    };
    engine.confirm(tracked.ct, now);
}

/// A table with a bit of everything.
fn full(seed: u64) -> Engine {
    let engine = Engine::new(seed);
    engine.settings().set(Sysctl::Acct, 1).unwrap();
    engine.settings().set(Sysctl::Timestamp, 1).unwrap();
    let (client, server) = (ip("192.168.1.10"), ip("198.51.100.80"));
    let (to, from) = (Ip::new(client, server), Ip::new(server, client));
    let client = Tcp { sport: 4000, dport: 443, window: 60_000, ..Tcp::default() };
    let server = Tcp { sport: 443, dport: 4000, window: 60_000, ..Tcp::default() };
    pass(&engine, Tcp { seq: 99, flags: flag::SYN, ..client.clone() }.packet(&to), at(0));
    pass(&engine, Tcp { seq: 499, ack: 100, flags: flag::SYN | flag::ACK, ..server }.packet(&from), at(0));
    let data = b"hello".to_vec();
    pass(&engine, Tcp { seq: 100, ack: 500, flags: flag::ACK, data, ..client }.packet(&to), at(0));
    pass(&engine, udp(&to, 5353, 53, b"?"), at(1));
    pass(&engine, udp(&Ip::new(ip("2001:db8::1"), ip("2001:db8::2")), 123, 123, b"time"), at(1));
    let all: Vec<_> = (0..).map_while(|shard| engine.shard(shard)).flatten().collect();
    let master = all.iter().find(|c| c.original().protocol == Protocol::TCP).unwrap();
    master.set_mark(0x2a);
    master.set_labels(1 << 77 | 1);
    master.with_extras(|e| {
        e.helper = Some("ftp".into());
        let mut policy = TimeoutPolicy::from_nft(Protocol::TCP, &[("established", 1234), ("syn_sent2", 9)]).unwrap();
        policy.name = "patient".into();
        e.timeouts = Some(Arc::new(policy));
    });
    let mut tuple = master.original();
    tuple.l4 = uct_engine::L4::Ports { src: 0, dst: 20 };
    let new = NewExpectation {
        tuple,
        mask: ExpectMask { src: ip("255.255.255.255"), src_id: 0 },
        master: master.clone(),
        class: 1,
        helper: Some("ftp".into()),
        timeout: Duration::from_secs(300),
        flags: ExpectFlags::PERMANENT,
    };
    engine.expect(new, at(1), None).unwrap();
    engine
}

fn all(engine: &Engine) -> Vec<Saved> {
    let conns = (0..).map_while(|shard| engine.shard(shard)).flatten();
    let mut all: Vec<_> = conns.map(|c| c.save()).collect();
    all.sort_by_key(|s| (s.original, s.zone.id));
    all
}

#[test]
fn what_was_written_is_read() {
    let folder = Folder::new();
    let engine = full(1);
    let written = write(&folder.file(), &engine, &[], at(2)).unwrap();
    assert_eq!((written.connections, written.expectations), (3, 1));
    assert_eq!(written.bytes, fs::metadata(folder.file()).unwrap().len());
    let other = Engine::new(2);
    let state = read(&folder.file()).unwrap().unwrap();
    assert_eq!(state.written(), at(2));
    let restored = state.restore(&other, None, at(2));
    assert_eq!(restored, Restored { connections: 3, expectations: 1, ..Restored::default() });
    assert_eq!(all(&engine), all(&other));
    let (was, is) = (engine.expectations()[0].entry(at(2)), other.expectations()[0].entry(at(2)));
    assert_eq!((was.tuple, was.mask, was.master, was.class), (is.tuple, is.mask, is.master, is.class));
    assert_eq!((was.timeout, was.flags, was.helper), (is.timeout, is.flags, is.helper));
    let tcp = other.find(&all(&other)[0].original, Zone::DEFAULT).unwrap().0;
    assert_eq!(tcp.original().protocol, Protocol::TCP);
    assert_eq!(tcp.tcp_progress().map(|(state, end)| (state, end.0)), Some((TcpState::Established, 105)));
}

#[test]
fn the_time_in_between_counts_and_a_clock_that_went_back_does_not() {
    let folder = Folder::new();
    write(&folder.file(), &full(1), &[], at(2)).unwrap();
    let later = Engine::new(2);
    let restored = read(&folder.file()).unwrap().unwrap().restore(&later, None, at(32));
    assert_eq!((restored.connections, restored.expired), (1, 2), "UDP is over");
    assert_eq!(later.expectations()[0].entry(at(32)).timeout, Duration::from_secs(269));
    let earlier = Engine::new(3);
    let restored = read(&folder.file()).unwrap().unwrap().restore(&earlier, None, Time::from_secs(60));
    assert_eq!(restored.connections, 3);
    let udp = earlier.entries(Time::from_secs(60)).into_iter().find(|e| e.original.protocol == Protocol::UDP);
    assert_eq!(udp.unwrap().timeout, Duration::from_secs(29), "no time has passed");
}

#[test]
fn a_file_that_is_not_whole_is_refused() {
    let folder = Folder::new();
    let file = folder.file();
    assert!(read(&file).unwrap().is_none(), "none is no fault");
    write(&file, &full(1), &[], at(2)).unwrap();
    let whole = fs::read(&file).unwrap();
    let say = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        read(&file).unwrap_err().to_string()
    };
    for len in 0..whole.len() {
        assert!(say(&whole[..len]).contains("damaged"), "cut at {len}");
    }
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let text = say(&bytes);
        assert!(text.contains("damaged") || text.contains("of version"), "{place}: {text}");
    }
    let mut newer = whole.clone();
    newer[8] = 9;
    assert!(say(&newer).ends_with("table.state: of version 9; this program reads version 1"), "{}", say(&newer));
    assert!(say(b"").ends_with("table.state: damaged: it does not begin as one"), "{}", say(b""));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(read(&file).is_err());
}

/// A file with any records, but a right checksum.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes(), body].concat();
    let sum = CRC.checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

proptest! {
    /// The checksum keeps accidents out; this is what is left for malice.
    #[test]
    fn what_is_sealed_and_wrong_is_refused_too(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = Folder::new();
        let file = folder.file();
        write(&file, &full(1), &[], at(2)).unwrap();
        let whole = fs::read(&file).unwrap();
        let mut body = whole[12..whole.len() - 8].to_vec();
        for (place, value) in &places {
            let place = place.index(body.len());
            body[place] = *value;
        }
        if places.len() == 1 {
            body.truncate(cut.index(body.len()));
        }
        fs::write(&file, sealed(&body)).unwrap();
        if let Ok(Some(state)) = read(&file) {
            let engine = Engine::new(3);
            let _ = state.restore(&engine, None, at(3));
            prop_assert!(engine.count() <= 3);
            engine.expire(Time::MAX, usize::MAX);
            prop_assert_eq!(engine.count(), 0);
        }
    }
}

#[test]
fn an_old_file_is_replaced_whole_and_a_failure_leaves_it() {
    let folder = Folder::new();
    let file = folder.file();
    write(&file, &full(1), &[], at(2)).unwrap();
    fs::write(folder.0.join("table.state.new"), b"left by one that was killed").unwrap();
    let written = write(&file, &Engine::new(1), &[], at(3)).unwrap();
    assert_eq!(written.connections, 0);
    assert_eq!(read(&file).unwrap().unwrap().written(), at(3));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside it");
    let nowhere = write(&folder.0.join("none/table.state"), &full(1), &[], at(3)).unwrap_err().to_string();
    assert!(nowhere.ends_with("none/table.state: No such file or directory"), "{nowhere}");
}

/// The format: a file that an earlier build wrote. `UCT_BLESS=1` writes it anew, which asks for another [`VERSION`].
#[test]
fn the_format_stays() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/state/version-1.state");
    if std::env::var_os("UCT_BLESS").is_some() {
        write(Path::new(golden), &full(1), &["lan".into(), "wan".into()], at(2)).unwrap();
    }
    let engine = Engine::new(5);
    let restored = read(Path::new(golden)).unwrap().unwrap().restore(&engine, None, at(2));
    assert_eq!((restored.connections, restored.expectations), (3, 1));
    assert_eq!(all(&engine), all(&full(1)));
}

struct Nowhere;

impl Emit for Nowhere {
    fn emit(&mut self, _: Emitted<'_>) {}
}

#[test]
fn a_borrowed_address_is_found_again_by_its_interfaces_name() {
    const LAN: &str = "[[interface]]\nname = \"lan\"\naddresses = [\"192.168.1.1/24\"]\n";
    const WAN: &str = "[[interface]]\nname = \"wan\"\naddresses = [\"203.0.113.1/24\"]\n";
    const DEFAULT: &str = "[[route]]\nto = \"default\"\nvia = \"203.0.113.254\"\ndev = \"wan\"\n";
    const RULES: &str = "table ip t {\nchain n { type nat hook postrouting priority 100; oifname wan masquerade; }\n}";
    let router = |text: &[&str]| {
        let rules = Ruleset::read("rules", RULES, &NoFiles).unwrap();
        Router::new(Arc::new(Engine::new(1)), rules, Topology::parse("topology", &text.concat()).unwrap(), 1)
    };
    let names = |router: &Router| router.topology().interfaces.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    let send = |router: &Router, port: u16| {
        let mut bytes = udp(&Ip::new(ip("192.168.1.10"), ip("198.51.100.53")), port, 53, b"?");
        let wire_len = bytes.len();
        let iif = router.topology().dev("lan").unwrap();
        let arrival = Arrival {
            at: at(0),
            iif,
            bytes: &mut bytes,
            wire_len,
            link: None,
            offload: Offload::default(),
            seen: uct_engine::Seen::default(),
        };
        router.receive(arrival, &mut Nowhere, &mut crate::router::Silent)
    };
    let folder = Folder::new();
    let file = folder.file();
    let first = router(&[LAN, WAN, DEFAULT]);
    send(&first, 4000);
    write(&file, first.engine(), &names(&first), at(0)).unwrap();

    let turned = router(&[WAN, LAN, DEFAULT]);
    let restored = read(&file).unwrap().unwrap().restore(turned.engine(), Some(&turned), at(1));
    assert_eq!(restored.connections, 1);
    let conn = &all(turned.engine())[0];
    assert_eq!(conn.bound, NonZeroU32::new(1), "wan is the first now");
    assert_eq!(conn.reply.dst, ip("203.0.113.1"));

    let moved = WAN.replace("203.0.113.1/", "203.0.113.9/");
    let elsewhere = router(&[LAN, &moved, DEFAULT]);
    let restored = read(&file).unwrap().unwrap().restore(elsewhere.engine(), Some(&elsewhere), at(1));
    assert_eq!(restored, Restored { address_gone: 1, ..Restored::default() });
}

/// How long a large table takes: `cargo test -p uct-pipeline --release --lib -- --ignored a_million --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_million_connections() {
    const CONNECTIONS: u32 = 1_000_000;
    let folder = Folder::new();
    let engine = Engine::new(1);
    engine.settings().set(Sysctl::Max, 0).unwrap();
    engine.settings().set(Sysctl::Acct, 1).unwrap();
    for n in 0..CONNECTIONS {
        let client = IpAddr::V4((0x0a00_0000 | n >> 4).into());
        let to = Ip::new(client, ip("198.51.100.80"));
        let port = 1024 + (n & 15) as u16;
        let syn = Tcp { sport: port, dport: 443, window: 60_000, flags: flag::SYN, ..Tcp::default() };
        pass(&engine, syn.packet(&to), at(0));
    }
    let begun = std::time::Instant::now();
    let written = write(&folder.file(), &engine, &[], at(1)).unwrap();
    let wrote = begun.elapsed();
    drop(engine);
    let other = Engine::new(2);
    other.settings().set(Sysctl::Max, 0).unwrap();
    let begun = std::time::Instant::now();
    let state = read(&folder.file()).unwrap().unwrap();
    let looked = begun.elapsed();
    let restored = state.restore(&other, None, at(1));
    assert_eq!(restored.connections, CONNECTIONS as usize);
    eprintln!(
        "{} bytes; written in {wrote:?}, read in {looked:?}, restored in {:?}",
        written.bytes,
        begun.elapsed() - looked
    );
}
