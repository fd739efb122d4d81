use proptest::prelude::*;
use uct_engine::{Ct, Engine, Silent, Template, Time, Track, Tracked};

use super::*;
use crate::packets::{self, ip};
use crate::{Here, Mapping, Nat, Range, Seeded};

const NOW: Time = Time::from_secs(1);
const A: &str = "10.0.0.2";
const B: &str = "198.51.100.9";
const M: &str = "198.51.100.77";
const T: &str = "203.0.113.1";
const WAN: Option<NonZeroU32> = NonZeroU32::new(2);

/// A router whose one connection, A:4000 → B:53, leaves as T:4000.
struct Router {
    engine: Engine,
    nat: Nat,
}

impl Router {
    fn new() -> Self {
        Router { engine: Engine::new(1), nat: Nat::new(Seeded::new(1)) }
    }

    fn with(mapping: Mapping) -> (Self, Vec<u8>) {
        let router = Router::new();
        let mut bytes = packets::udp(A, 4000, B, 53);
        router.pass(&mut bytes, mapping, WAN).unwrap();
        (router, bytes)
    }

    /// Both hooks of a forwarded packet.
    fn pass(&self, bytes: &mut [u8], mapping: Mapping, out: Option<NonZeroU32>) -> Result<[Rewrite; 2], Refusal> {
        let len = bytes.len();
        let mut packet = Packet::parse(bytes, len).unwrap();
        let Track::Tracked(Tracked { mut ct, dir, info }) =
            self.engine.track(&packet, Hook::Prerouting, &Template::default(), NOW, &mut Silent)
        else {
            panic!("not tracked")
        };
        let mut rewrites = [Rewrite::Nothing; 2];
        for (hook, done) in [Hook::Prerouting, Hook::Postrouting].into_iter().zip(&mut rewrites) {
            let manip = Manip::at(hook).unwrap();
            if let Some(unconfirmed) = ct.unconfirmed() {
                let mapping = if hook == Hook::Prerouting { Mapping::Null } else { mapping };
                let here = Here { address: Some(ip(T)), interface: WAN };
                self.nat.setup(&self.engine, unconfirmed, manip, &mapping, &here, NOW).unwrap();
            }
            *done = translate(&mut packet, &ct, dir, info, hook, out)?;
        }
        if let Ct::Unconfirmed(_) = ct {
            self.engine.confirm(ct, NOW);
        }
        Ok(rewrites)
    }
}

const SNAT: Mapping = Mapping::Snat(Range::address(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1))));
const MASQUERADE: Mapping = Mapping::Masquerade { ports: None, flags: crate::Flags::empty() };

fn addresses(bytes: &[u8]) -> (IpAddr, IpAddr) {
    let mut copy = bytes.to_vec();
    let len = copy.len();
    let packet = Packet::parse(&mut copy, len).unwrap();
    (packet.src(), packet.dst())
}

#[test]
fn a_reply_is_translated_back() {
    let (router, sent) = Router::with(SNAT);
    assert_eq!(addresses(&sent), (ip(T), ip(B)));
    let mut reply = packets::udp(B, 53, T, 4000);
    let [at_pre, at_post] = router.pass(&mut reply, SNAT, None).unwrap();
    assert_eq!(reply, packets::udp(B, 53, A, 4000));
    assert_eq!(at_pre, Rewrite::Header(Change { manip: Manip::Dst, from: ip(T), to: ip(A), id: 4000 }));
    assert_eq!(at_post, Rewrite::Nothing);
}

#[test]
fn an_error_is_translated_outside_and_inside() {
    let (router, sent) = Router::with(SNAT);
    let mut error = packets::icmp(M, T, 11, 0, [0; 4], &sent[..28]);
    let [at_pre, _] = router.pass(&mut error, SNAT, None).unwrap();
    assert_eq!(error, packets::icmp(M, A, 11, 0, [0; 4], &packets::udp(A, 4000, B, 53)[..28]));
    let outer = Change { manip: Manip::Dst, from: ip(T), to: ip(A), id: 4000 };
    let inner = Change { manip: Manip::Src, from: ip(T), to: ip(A), id: 4000 };
    assert!(
        matches!(at_pre, Rewrite::Error { outer: o, inner: i } if (o.manip, o.from, o.to) == (outer.manip, outer.from, outer.to) && i == inner)
    );
}

#[test]
fn an_error_from_inside_comes_from_the_public_address_whoever_sent_it() {
    let (router, _) = Router::with(SNAT);
    let mut reply = packets::udp(B, 53, T, 4000);
    router.pass(&mut reply, SNAT, None).unwrap();
    for sender in [A, "10.0.0.99"] {
        let mut error = packets::icmp(sender, B, 3, 3, [0; 4], &reply[..28]);
        router.pass(&mut error, SNAT, WAN).unwrap();
        assert_eq!(error, packets::icmp(T, B, 3, 3, [0; 4], &packets::udp(B, 53, T, 4000)[..28]));
    }
}

#[test]
fn a_redirect_is_dropped_about_translated_and_undecided_connections() {
    let redirect = |sent: &[u8], to| packets::icmp(M, to, 5, 1, [198, 51, 100, 1], &sent[..28]);
    let (router, sent) = Router::with(SNAT);
    assert_eq!(router.pass(&mut redirect(&sent, T), SNAT, None), Err(Refusal::Redirect));
    let (router, sent) = Router::with(Mapping::Null);
    assert!(router.pass(&mut redirect(&sent, A), SNAT, None).is_ok());
    // A connection older than NAT.
    let router = Router::new();
    let mut sent = packets::udp(A, 4000, B, 53);
    let len = sent.len();
    let packet = Packet::parse(&mut sent, len).unwrap();
    let track =
        |packet: &Packet<'_>| router.engine.track(packet, Hook::Prerouting, &Template::default(), NOW, &mut Silent);
    let Track::Tracked(tracked) = track(&packet) else { panic!() };
    router.engine.confirm(tracked.ct, NOW);
    assert_eq!(router.pass(&mut redirect(&sent, A), SNAT, None), Err(Refusal::Redirect));
}

#[test]
fn a_masqueraded_connection_may_not_leave_by_another_interface() {
    let again = || packets::udp(A, 4000, B, 53);
    let (router, _) = Router::with(MASQUERADE);
    assert!(router.pass(&mut again(), MASQUERADE, WAN).is_ok());
    assert_eq!(router.pass(&mut again(), MASQUERADE, NonZeroU32::new(3)), Err(Refusal::InterfaceChanged));
    // What was given a fixed address may; so may ICMP errors.
    let (router, _) = Router::with(SNAT);
    assert!(router.pass(&mut again(), SNAT, NonZeroU32::new(3)).is_ok());
}

#[test]
fn a_wrong_checksum_on_an_error_is_not_carried_on() {
    let (router, sent) = Router::with(SNAT);
    router.engine.settings().set(uct_engine::Sysctl::Checksum, 0).unwrap();
    let mut error = packets::icmp(M, T, 3, 1, [0; 4], &sent[..28]);
    error[22] ^= 1;
    assert_eq!(router.pass(&mut error, SNAT, None), Err(Refusal::BadChecksum));
}

#[test]
fn a_packet_that_the_capture_cut_is_rewritten_as_far_as_it_goes() {
    let (router, sent) = Router::with(SNAT);
    let quote = &sent[..28];
    let error = packets::icmp(M, T, 3, 1, [0; 4], quote);
    let mut whole = error.clone();
    router.pass(&mut whole, SNAT, None).unwrap();
    // Cut behind the quoted ports; the wire had it all.
    let mut cut = error[..52].to_vec();
    let mut packet = Packet::parse(&mut cut, error.len()).unwrap();
    assert!(packet.is_truncated());
    let Track::Tracked(Tracked { ct, dir, info }) =
        router.engine.track(&packet, Hook::Prerouting, &Template::default(), NOW, &mut Silent)
    else {
        panic!()
    };
    translate(&mut packet, &ct, dir, info, Hook::Prerouting, None).unwrap();
    // All but the ICMP checksum, which also covers the quoted UDP checksum's change that cannot be seen here.
    assert_eq!(cut[..22], whole[..22]);
    assert_eq!(cut[24..], whole[24..52]);
}

proptest! {
    /// No bytes make the errors' path panic, whatever the connection.
    #[test]
    fn no_error_panics(mut bytes in prop::collection::vec(any::<u8>(), 20..140), is_v6: bool, cut: bool) {
        let (router, sent) = Router::with(SNAT);
        let (conn, _) = router.engine.find(&{
            let mut copy = sent.clone();
            let len = copy.len();
            let packet = Packet::parse(&mut copy, len).unwrap();
            packet.tuple().unwrap().inverse().unwrap()
        }, uct_engine::Zone::DEFAULT).unwrap();
        let len = bytes.len();
        if is_v6 && len >= 40 {
            bytes[0] = 0x60;
            bytes[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
            bytes[6] = 58;
        } else {
            bytes[0] = 0x45;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            bytes[6..8].fill(0);
            bytes[9] = 1;
            bytes[10..12].fill(0);
            let check = !checksum::sum(&bytes[..20]);
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
        }
        if cut {
            bytes.truncate(len.saturating_sub(7).max(20));
        }
        if let Ok(mut packet) = Packet::parse(&mut bytes, len) {
            for dir in [Direction::Original, Direction::Reply] {
                for hook in Hook::ALL {
                    let _ = translate(&mut packet, &conn, dir, Info::Related, hook, None);
                    let _ = translate(&mut packet, &conn, dir, Info::Established, hook, None);
                }
            }
        }
    }
}
