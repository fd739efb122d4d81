use proptest::prelude::*;
use uct_engine::Packet;

use super::*;
use crate::packets::{self, ip};
use crate::translate::whole;

/// What is left of a packet's transport checksum when everything it covers is summed: ffff (which is 0) if it is right.
fn residue(bytes: &[u8]) -> u16 {
    let mut copy = bytes.to_vec();
    let len = copy.len();
    let packet = Packet::parse(&mut copy, len).unwrap();
    let segment = packet.transport().unwrap();
    let start = match packet.protocol() {
        Protocol::ICMP => 0,
        protocol => checksum::pseudo(packet.src(), packet.dst(), protocol, segment.len()),
    };
    match checksum::fold(checksum::add(start, segment)) {
        0 => 0xffff,
        sum => sum,
    }
}

fn apply(bytes: &mut [u8], wanted: &Tuple, manip: Manip) {
    let len = bytes.len();
    let mut packet = Packet::parse(bytes, len).unwrap();
    mangle(whole(&mut packet), wanted, manip).unwrap();
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Udp,
    Tcp,
    Ping,
}

fn build(kind: Kind, is_v6: bool, ports: (u16, u16), data: &[u8]) -> (Vec<u8>, Tuple) {
    let (src, dst) = if is_v6 { ("fd00::2", "2001:db8::9") } else { ("10.0.0.2", "198.51.100.9") };
    let (sport, dport) = ports;
    let (bytes, protocol, l4) = match kind {
        Kind::Udp => {
            (packets::udp_with(src, sport, dst, dport, data), Protocol::UDP, L4::Ports { src: sport, dst: dport })
        }
        Kind::Tcp => {
            (packets::tcp(src, sport, dst, dport, b"S", 1, 0), Protocol::TCP, L4::Ports { src: sport, dst: dport })
        }
        Kind::Ping => {
            let kind = if is_v6 { 128 } else { 8 };
            let [hi, lo] = sport.to_be_bytes();
            let protocol = if is_v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
            (packets::icmp(src, dst, kind, 0, [hi, lo, 0, 1], data), protocol, L4::Icmp { kind, code: 0, id: sport })
        }
    };
    (bytes, Tuple { src: ip(src), dst: ip(dst), protocol, l4 })
}

fn moved(tuple: &Tuple, manip: Manip, port: u16, last: u8) -> Tuple {
    let address =
        if tuple.src.is_ipv6() { ip(&format!("2001:db8:a::{last:x}")) } else { ip(&format!("203.0.113.{last}")) };
    let l4 = match (tuple.l4, manip) {
        (L4::Ports { dst, .. }, Manip::Src) => L4::Ports { src: port, dst },
        (L4::Ports { src, .. }, Manip::Dst) => L4::Ports { src, dst: port },
        (L4::Icmp { kind, code, .. }, _) => L4::Icmp { kind, code, id: port },
        (l4, _) => l4,
    };
    match manip {
        Manip::Src => Tuple { src: address, l4, ..*tuple },
        Manip::Dst => Tuple { dst: address, l4, ..*tuple },
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Udp), Just(Kind::Tcp), Just(Kind::Ping)]
}

fn ends() -> impl Strategy<Value = Manip> {
    prop_oneof![Just(Manip::Src), Just(Manip::Dst)]
}

proptest! {
    #[test]
    fn unmangling_gives_the_packet_back(
        kind in kinds(), is_v6: bool, manip in ends(), ports: (u16, u16), port: u16, last: u8,
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (before, tuple) = build(kind, is_v6, ports, &data);
        let mut bytes = before.clone();
        apply(&mut bytes, &moved(&tuple, manip, port, last), manip);
        let mut copy = bytes.clone();
        let len = copy.len();
        let packet = Packet::parse(&mut copy, len).unwrap();
        prop_assert_eq!(packet.tuple(), Some(moved(&tuple, manip, port, last)));
        apply(&mut bytes, &tuple, manip);
        prop_assert_eq!(bytes, before);
    }

    #[test]
    fn incremental_equals_full(
        kind in kinds(), is_v6: bool, manip in ends(), ports: (u16, u16), port: u16, last: u8,
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (mut bytes, tuple) = build(kind, is_v6, ports, &data);
        prop_assert_eq!(residue(&bytes), 0xffff);
        apply(&mut bytes, &moved(&tuple, manip, port, last), manip);
        prop_assert_eq!(residue(&bytes), 0xffff);
    }

    #[test]
    fn what_is_wrong_stays_wrong_by_as_much(
        kind in kinds(), is_v6: bool, manip in ends(), ports: (u16, u16), port: u16, last: u8, wrong in 1u16..0xffff,
    ) {
        let (mut bytes, tuple) = build(kind, is_v6, ports, b"data");
        let at = if is_v6 { 40 } else { 20 } + match kind { Kind::Udp => 6, Kind::Tcp => 16, Kind::Ping => 2 };
        bytes[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        let before = residue(&bytes);
        apply(&mut bytes, &moved(&tuple, manip, port, last), manip);
        prop_assert_eq!(residue(&bytes), before);
    }

    #[test]
    fn no_bytes_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120), transport in prop::option::of(0usize..130),
        protocol: u8, is_v6: bool, manip in ends(), cut: bool, which in 0usize..4,
    ) {
        let family = if is_v6 { Family::Ipv6 } else { Family::Ipv4 };
        let held = if cut { Held::Cut } else { Held::Whole };
        let l4 = [
            L4::Ports { src: 1, dst: 2 }, L4::Icmp { kind: 8, code: 0, id: 3 }, L4::Keys { src: 0, dst: 4 }, L4::None,
        ][which];
        let wanted = Tuple { src: ip("203.0.113.1"), dst: ip("2001:db8::1"), protocol: Protocol(protocol), l4 };
        let before = bytes.clone();
        let result = mangle(Target { bytes: &mut bytes, family, transport, held }, &wanted, manip);
        prop_assert!(result.is_ok() || bytes == before);
    }
}

#[test]
fn udp_without_a_checksum_keeps_none() {
    let (mut bytes, tuple) = build(Kind::Udp, false, (4000, 53), b"hello");
    bytes[26..28].fill(0);
    apply(&mut bytes, &moved(&tuple, Manip::Src, 5000, 1), Manip::Src);
    assert_eq!(bytes[26..28], [0, 0]);
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_written_ffff() {
    let mut met = 0;
    for port in 0..=u16::MAX {
        let (mut bytes, tuple) = build(Kind::Udp, false, (4000, 53), b"hello");
        apply(&mut bytes, &moved(&tuple, Manip::Src, port, 1), Manip::Src);
        assert_ne!(bytes[26..28], [0, 0]);
        met += usize::from(bytes[26..28] == [0xff, 0xff]);
    }
    assert_eq!(met, 1);
}

#[test]
fn sctp_is_computed_anew() {
    let mut segment = [4000u16, 53].map(u16::to_be_bytes).concat();
    segment.extend([0, 0, 0, 7, 1, 2, 3, 4, 1, 0, 0, 4]);
    let mut bytes = packets::raw("10.0.0.2", "198.51.100.9", Protocol::SCTP, &segment);
    let tuple = Tuple {
        src: ip("10.0.0.2"),
        dst: ip("198.51.100.9"),
        protocol: Protocol::SCTP,
        l4: L4::Ports { src: 4000, dst: 53 },
    };
    apply(&mut bytes, &moved(&tuple, Manip::Src, 5000, 1), Manip::Src);
    let segment = &bytes[20..];
    let right = checksum::crc32c([&segment[..8], &[0; 4], &segment[12..]]);
    assert_eq!(segment[8..12], right.to_le_bytes());
}

#[test]
fn eight_bytes_are_needed_unless_the_capture_cut_them() {
    for have in 0..8 {
        let (bytes, tuple) = build(Kind::Udp, false, (4000, 53), b"");
        let wanted = moved(&tuple, Manip::Src, 5000, 1);
        for (held, is_refused) in [(Held::Whole, true), (Held::Cut, false)] {
            let mut bytes = bytes[..20 + have].to_vec();
            let target = Target { bytes: &mut bytes, family: Family::Ipv4, transport: Some(20), held };
            let result = mangle(target, &wanted, Manip::Src);
            assert_eq!(result.is_err(), is_refused);
            if !is_refused {
                assert_eq!(bytes[12..16], [203, 0, 113, 1]);
                assert!(have < 2 || bytes[20..22] == 5000u16.to_be_bytes());
            }
        }
    }
}

#[test]
fn only_pptp_has_a_call_id_to_rewrite() {
    let wanted = Tuple {
        src: ip("198.51.100.9"),
        dst: ip("10.0.0.7"),
        protocol: Protocol::GRE,
        l4: L4::Keys { src: 0, dst: 0x1234 },
    };
    for (version, expected) in [(0, Ok([0, 9])), (1, Ok([0x12, 0x34])), (2, Err(Refusal::GreVersion(2)))] {
        let header = [0, version, 0x88, 0x0b, 0, 4, 0, 9];
        let mut bytes = packets::raw("198.51.100.9", "203.0.113.1", Protocol::GRE, &header);
        let target = Target { bytes: &mut bytes, family: Family::Ipv4, transport: Some(20), held: Held::Whole };
        let result = mangle(target, &wanted, Manip::Dst);
        assert_eq!(result.map(|()| [bytes[26], bytes[27]]), expected);
    }
}
