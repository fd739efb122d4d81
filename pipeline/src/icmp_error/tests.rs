use super::*;
use proptest::prelude::*;
use std::time::Duration;
use uct_engine::Time;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn parsed<T>(bytes: &[u8], then: impl FnOnce(&Packet<'_>) -> T) -> T {
    let (mut bytes, len) = (bytes.to_vec(), bytes.len());
    then(&Packet::parse(&mut bytes, len).unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn error(message: Message, packet: &[u8], source: &str, identification: u32) -> Vec<u8> {
    parsed(packet, |p| {
        let mut out = vec![];
        check(message, p, Addressed::default()).unwrap();
        build(message, p, ip(source), identification, &[], &mut out);
        out
    })
}

const UDP4: &str = "45000030123400000111a9ccc0a8010acb00710a03e807d0001c9bdc000102030405060708090a0b0c0d0e0f10111213";
const UDP6: &str = "60000000001c110120010db800010000000000000000001020010db800020000000000000000001003e807d0001c3e05\
                    000102030405060708090a0b0c0d0e0f10111213";

/// Byte for byte what the kernel sent.
#[test]
fn recorded_errors() {
    assert_eq!(
        error(Message::time_exceeded(Family::Ipv4), &hex(UDP4), "192.168.1.1", 0xe0f3),
        hex("45c0004ce0f30000400115a2c0a80101c0a8010a0b00f2ea00000000\
             45000030123400000111a9ccc0a8010acb00710a03e807d0001c9bdc000102030405060708090a0b0c0d0e0f10111213")
    );
    assert_eq!(
        error(Message::time_exceeded(Family::Ipv6), &hex(UDP6), "2001:db8:1::1", 0x58002),
        hex("60058002004c3a4020010db800010000000000000000000120010db80001000000000000000000100300300400000000\
             60000000001c110120010db800010000000000000000001020010db800020000000000000000001003e807d0001c3e05\
             000102030405060708090a0b0c0d0e0f10111213")
    );
    // reject in the forward chain: the TTL is one lower.
    assert_eq!(
        error(
            Message::port_unreachable(Family::Ipv4),
            &hex("45000030123400003f116bccc0a8010acb00710a03e807d0001c9bdc000102030405060708090a0b0c0d0e0f10111213"),
            "192.168.1.1",
            0x1b3a
        ),
        hex("45c0004c1b3a00004001db5bc0a80101c0a8010a0303fae700000000\
             45000030123400003f116bccc0a8010acb00710a03e807d0001c9bdc000102030405060708090a0b0c0d0e0f10111213")
    );
    assert_eq!(
        error(
            Message::port_unreachable(Family::Ipv6),
            &hex("60000000001c113f20010db800010000000000000000001020010db800020000000000000000001003e807d0001c3e05\
                  000102030405060708090a0b0c0d0e0f10111213"),
            "2001:db8:1::1",
            0xd84d1
        ),
        hex("600d84d1004c3a4020010db800010000000000000000000120010db8000100000000000000000010010431c200000000\
             60000000001c113f20010db800010000000000000000001020010db800020000000000000000001003e807d0001c3e05\
             000102030405060708090a0b0c0d0e0f10111213")
    );
    let redirected =
        hex("45000030123400003f11e623c0a8010ac0a8010b03e807d0001c1634000102030405060708090a0b0c0d0e0f10111213");
    assert_eq!(
        error(Message::redirect(Ipv4Addr::new(192, 168, 1, 11)), &redirected, "192.168.1.1", 0xe3c0),
        [&hex("45c0004ce3c00000400112d5c0a80101c0a8010a0501bcdec0a8010b")[..], &redirected].concat()
    );
}

#[test]
fn recorded_resets() {
    let reset = |text| {
        parsed(&hex(text), |p| {
            let mut out = vec![];
            reset(p, &mut out).map(|()| out)
        })
    };
    assert_eq!(
        reset("4528002812344000320638b7c0a8010acb00710a03e800500000006400000000500203e8a9a10000").unwrap(),
        hex("450000280000400040063d13cb00710ac0a8010a005003e8000000000000006550140000ad760000")
    );
    assert_eq!(
        reset(
            "628123450014063220010db800010000000000000000001020010db800020000000000000000001003e8005000000064\
               00000000500203e84bca0000"
        )
        .unwrap(),
        hex("600000000014064020010db800020000000000000000001020010db8000100000000000000000010005003e800000000\
             00000065501400004f9f0000")
    );
}

/// A TCP segment 1000 > 80, sequence 100, acknowledging 0x5000.
fn segment(flags: u8, data: &[u8]) -> Vec<u8> {
    let mut p = hex("45000000123440004006 0000 c0a8010acb00710a 03e80050 00000064 00005000 5000 03e8 0000 0000");
    p[33] = flags;
    p.extend_from_slice(data);
    let len = p.len();
    p[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    p[10..12].fill(0);
    let sum = !checksum::sum(&p[..20]);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = checksum::pseudo(ip("192.168.1.10"), ip("203.0.113.10"), Protocol::TCP, len - 20);
    finish(&mut p, 20, 16, pseudo);
    p
}

#[test]
fn what_a_reset_acknowledges() {
    // Flags and data of the segment; flags, sequence and acknowledgement of the reset.
    let table: &[(u8, &[u8], u8, u32, u32)] = &[
        (0x02, b"", 0x14, 0, 101),
        (0x10, b"", 0x04, 0x5000, 0),
        (0x18, b"hello", 0x04, 0x5000, 0),
        (0x11, b"", 0x04, 0x5000, 0),
        (0x12, b"", 0x04, 0x5000, 0),
        (0x00, b"abc", 0x14, 0, 103),
        (0x01, b"ab", 0x14, 0, 103),
        (0x02, b"tfo", 0x14, 0, 104),
    ];
    for (flags, data, want_flags, sequence, acknowledge) in table {
        let mut out = vec![];
        parsed(&segment(*flags, data), |p| reset(p, &mut out)).unwrap();
        let number = |at: usize| u32::from_be_bytes(out[at..at + 4].try_into().unwrap());
        assert_eq!((out[33], number(24), number(28)), (*want_flags, *sequence, *acknowledge), "{flags:02x}");
    }
    let silent = |bytes: &[u8]| parsed(bytes, |p| reset(p, &mut vec![]).unwrap_err());
    assert_eq!(silent(&segment(0x04, b"")), Silence::AboutReset);
    assert_eq!(silent(&segment(0x14, b"")), Silence::AboutReset);
    let mut wrong = segment(0x02, b"");
    wrong[36] ^= 1;
    assert_eq!(silent(&wrong), Silence::BadChecksum);
    assert_eq!(silent(&hex(UDP4)), Silence::NoTcp);
}

/// IPv4 with a given protocol and payload, from 192.168.1.10 to 203.0.113.10.
fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = hex("45000000123400000100 0000 c0a8010acb00710a");
    p[9] = protocol;
    p.extend_from_slice(payload);
    let len = p.len();
    p[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    let sum = !checksum::sum(&p[..20]);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = hex("60000000 0000 0001 20010db8000100000000000000000010 20010db8000200000000000000000010");
    p[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    p[6] = next;
    p.extend_from_slice(payload);
    p
}

#[test]
fn lengths_and_class() {
    let len = |payload: usize| {
        error(Message::time_exceeded(Family::Ipv4), &v4(17, &vec![0; payload]), "192.168.1.1", 0).len()
    };
    assert_eq!([len(508), len(527), len(528), len(529), len(1400)], [556, 575, 576, 576, 576]);
    let len = |payload: usize| error(Message::time_exceeded(Family::Ipv6), &v6(17, &vec![0; payload]), "::1", 0).len();
    assert_eq!([len(1188), len(1191), len(1192), len(1193), len(1408)], [1276, 1279, 1280, 1280, 1280]);
    for (tos, want) in [(0, 0xc0), (0x28, 0xc8), (2, 0xc2), (3, 0xc2), (0x10, 0xd0), (0xb8, 0xd8), (0xff, 0xde)] {
        let mut packet = v4(17, &[0; 8]);
        packet[1] = tos;
        packet[10..12].fill(0);
        let sum = !checksum::sum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(error(Message::time_exceeded(Family::Ipv4), &packet, "192.168.1.1", 0)[1], want);
    }
    let too_big = error(Message::too_big(Family::Ipv4, 1280), &v4(17, &[0; 8]), "192.168.1.1", 0);
    assert_eq!(too_big[20..22], [3, 4]);
    assert_eq!(too_big[24..28], [0, 0, 5, 0]);
}

#[test]
fn what_is_never_answered() {
    let answer = |bytes: &[u8], addressed| parsed(bytes, |p| check(Message::time_exceeded(p.family()), p, addressed));
    let plain = Addressed::default();
    for kind in 0..=255u8 {
        let body = [kind, 0, 0, 0, 0, 1, 0, 1];
        let want = if matches!(kind, 0 | 8 | 13..=18) { Ok(()) } else { Err(Silence::AboutError) };
        assert_eq!(answer(&v4(1, &body), plain), want, "ICMP type {kind}");
        let want = if kind >= 128 { Ok(()) } else { Err(Silence::AboutError) };
        assert_eq!(answer(&v6(58, &body), plain), want, "ICMPv6 type {kind}");
        let hop_by_hop = [58, 0, 1, 4, 0, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(answer(&v6(0, &hop_by_hop), plain), want, "ICMPv6 type {kind} behind options");
    }
    assert_eq!(answer(&v4(1, &[]), plain), Err(Silence::AboutError));
    assert_eq!(answer(&v6(58, &[]), plain), Err(Silence::AboutError));
    assert_eq!(answer(&v4(99, &[]), plain), Ok(()));
    let mut fragment = v4(17, &[0; 16]);
    fragment[7] = 1;
    fragment[11] -= 1;
    assert_eq!(answer(&fragment, plain), Err(Silence::LaterFragment));
    assert_eq!(answer(&v6(44, &[58, 0, 0, 9, 0, 0, 0, 7, 1, 1, 1, 1]), plain), Ok(()), "a later fragment of IPv6");
    let mut nobody = v6(17, &[0; 8]);
    nobody[8..24].fill(0);
    assert_eq!(answer(&nobody, plain), Err(Silence::NoSender));
    for addressed in [
        Addressed { link: Some(PacketType::Broadcast), delivery: None },
        Addressed { link: Some(PacketType::Multicast), delivery: None },
        Addressed { link: None, delivery: Some(Delivery::Broadcast) },
        Addressed { link: None, delivery: Some(Delivery::Multicast) },
    ] {
        assert_eq!(answer(&v4(17, &[0; 8]), addressed), Err(Silence::Group));
        assert_eq!(answer(&v6(17, &[0; 8]), addressed), Err(Silence::Group));
        let too_big = parsed(&v6(17, &[0; 8]), |p| check(Message::too_big(Family::Ipv6, 1280), p, addressed));
        assert_eq!(too_big, Ok(()), "IPv6 must learn of the MTU of groups as well (RFC 4443 section 2.4)");
    }
    let mut group = v6(17, &[0; 8]);
    group[24] = 0xff;
    assert_eq!(answer(&group, plain), Err(Silence::Group));
}

#[test]
fn what_reject_believes() {
    let reject = |bytes: &[u8]| parsed(bytes, check_reject).is_ok();
    let x = [0x78; 30];
    // Protocol, payload, answered over IPv4, over IPv6; as measured.
    let table: &[(u8, &[u8], [bool; 2])] = &[
        (99, &x, [false, false]),
        (99, &[0xff, 0xff, 0, 0], [true, false]),
        (99, &[0; 30], [true, false]),
        (99, &[0; 29], [true, false]),
        (99, &[0, 1, 0, 0], [false, false]),
        (99, &[0xff, 0xfe, 0, 1], [true, false]),
        (99, &[0xff, 0xfe, 0, 2], [false, false]),
        (99, &[], [true, false]),
        (99, &[1], [false, false]),
        (47, &x, [true, true]),
        (50, &x, [true, true]),
        (51, b"xyxyxy", [true, false]),
        (132, &x, [true, true]),
        (136, &x, [true, true]),
        (33, &x, [false, false]),
        (89, &x, [false, false]),
        (17, &[3, 232, 7, 208, 0, 8, 0, 0], [true, true]),
        (17, &[3, 232, 7, 208, 0, 8, 0, 1], [false, false]),
    ];
    for (protocol, payload, want) in table {
        let got = [reject(&v4(*protocol, payload)), reject(&v6(*protocol, payload))];
        assert_eq!(got, *want, "protocol {protocol} {payload:02x?}");
    }
    assert!(reject(&hex(UDP4)) && reject(&hex(UDP6)));
}

/// So many milliseconds after some moment.
fn after(ms: u64) -> Time {
    Time::from_secs(1000) + Duration::from_millis(ms)
}

#[test]
fn rates_of_errors() {
    let count = |peers: &mut Peers, interval: u64, gap: u64, n: u64| {
        let interval = Duration::from_millis(interval);
        (0..n).filter(|i| peers.error(after(i * gap), ip("192.168.1.10"), interval) == Turn::Send).count()
    };
    let mut peers = Peers::default();
    assert_eq!(count(&mut peers, 1000, 1, 15), 6);
    assert_eq!(peers.error(after(0), ip("192.168.1.11"), Duration::from_secs(1)), Turn::Send, "another host");
    // 8 seconds of them: six at once, then one a second.
    assert_eq!(count(&mut Peers::default(), 1000, 50, 160), 6 + 7);
    // 3 seconds of them, one more every 100 ms.
    assert_eq!(count(&mut Peers::default(), 100, 20, 150), 35);
    assert_eq!(count(&mut Peers::default(), 0, 0, 1000), 1000);
    let mask = 6168;
    assert!(Message::time_exceeded(Family::Ipv4).is_limited(mask) && Message::no_route(Family::Ipv6).is_limited(mask));
    assert!(!Message::redirect(Ipv4Addr::LOCALHOST).is_limited(mask));
    assert!(!Message::too_big(Family::Ipv4, 1280).is_limited(mask));
    assert!(!Message::too_big(Family::Ipv6, 1280).is_limited(mask));
}

/// "No route" is limited twice: five seconds' worth at one a second, and then as every error.
#[test]
fn rates_of_no_route() {
    let host = ip("192.168.1.10");
    let mut peers = Peers::default();
    assert_eq!((0..9).filter(|_| peers.no_route(after(0), host) == Turn::Send).count(), 5);
    let mut peers = Peers::default();
    let mut both = || {
        peers.no_route(after(0), host) == Turn::Send
            && peers.error(after(0), host, Duration::from_secs(1)) == Turn::Send
    };
    assert_eq!((0..9).filter(|_| both()).count(), 2);
}

#[test]
fn rates_of_redirects() {
    let host = ip("192.168.1.10");
    let mut peers = Peers::default();
    let mut sent = Vec::new();
    for ms in (0..60_000).step_by(10) {
        if peers.redirect(after(ms), host) == Turn::Send {
            peers.redirected(after(ms), host);
            sent.push(ms);
        }
    }
    assert_eq!(sent, [0, 50, 140, 310, 640, 1290, 2580, 5150, 10_280]);
    // The reasons went on, so there is no silence; after it they begin anew.
    assert_eq!(peers.redirect(after(80_000), host), Turn::Withhold);
    assert_eq!(peers.redirect(after(101_000), host), Turn::Send);
    peers.redirected(after(101_000), host);
    // A redirect takes what was saved for errors.
    assert_eq!(peers.error(after(101_900), host, Duration::from_secs(1)), Turn::Withhold);
    assert_eq!(peers.error(after(102_000), host, Duration::from_secs(1)), Turn::Send);
}

proptest! {
    /// Whatever is quoted: no panic, the bounds hold, the answer parses and its checksum is right.
    #[test]
    fn any_packet(payload in prop::collection::vec(any::<u8>(), 0..2000), protocol: u8, six: bool, rest: u32) {
        let bytes = if six { v6(protocol, &payload) } else { v4(protocol, &payload) };
        // Broken hop-by-hop options never get as far as an answer.
        prop_assume!(Packet::parse(&mut bytes.clone(), bytes.len()).is_ok());
        let message = Message::too_big(if six { Family::Ipv6 } else { Family::Ipv4 }, rest);
        let source = ip(if six { "2001:db8:1::1" } else { "192.168.1.1" });
        let mut out = vec![];
        parsed(&bytes, |p| {
            let _ = check(message, p, Addressed::default());
            let _ = check_reject(p);
            let _ = reset(p, &mut vec![]);
            build(message, p, source, rest, &[], &mut out);
        });
        let most = if six { 1280 } else { 576 };
        prop_assert!(out.len() <= most);
        parsed(&out, |p| {
            prop_assert_eq!(p.wire_len(), p.bytes().len());
            let transport = p.transport().unwrap_or(&[]);
            let pseudo = if six { checksum::pseudo(p.src(), p.dst(), Protocol::ICMPV6, transport.len()) } else { 0 };
            prop_assert_eq!(checksum::fold(checksum::add(pseudo, transport)), 0xffff);
            Ok(())
        })?;
    }
}
