//! What nft 1.0.6 accepts, and what Linux 6.18 did with connections that a rule at the filter priority gave a policy.

use std::sync::Arc;

use super::*;
use crate::tcp::flag;
use crate::{Engine, Hook, Packet, Silent, Template, Time, Track};

const CLIENT: [u8; 4] = [10, 0, 1, 2];
const SERVER: [u8; 4] = [10, 0, 2, 2];

fn policy(protocol: Protocol, named: &[(&str, u32)]) -> TimeoutPolicy {
    TimeoutPolicy::from_nft(protocol, named).unwrap()
}

#[test]
fn nft_names_the_states_of_tcp_and_udp() {
    for state in
        "syn_sent syn_recv established fin_wait close_wait last_ack time_wait close syn_sent2 retrans unack".split(' ')
    {
        assert!(TimeoutPolicy::from_nft(Protocol::TCP, &[(state, 77)]).is_ok(), "{state}");
    }
    for state in ["none", "listen", "max_retrans", "unacknowledged", "SYN_SENT", "syn_se", "replied"] {
        let wrong = TimeoutPolicy::from_nft(Protocol::TCP, &[(state, 77)]).unwrap_err();
        assert_eq!(wrong.to_string(), format!("'{state}' is not a state of tcp"));
    }
    assert_eq!(TimeoutPolicy::states(Protocol::UDP).collect::<Vec<_>>(), ["unreplied", "replied"]);
    assert!(TimeoutPolicy::from_nft(Protocol::UDP, &[("established", 7)]).is_err());
    for protocol in [Protocol::SCTP, Protocol::UDPLITE, Protocol::GRE, Protocol::ICMP, Protocol(253)] {
        assert_eq!(TimeoutPolicy::from_nft(protocol, &[]), Err(PolicyError::Protocol(protocol)));
    }
}

#[test]
fn a_state_named_twice_counts_by_its_last_value() {
    let p = policy(Protocol::TCP, &[("close", 7), ("close", 9)]);
    assert_eq!(p.get(Sysctl::TcpTimeoutClose), Some(seconds(9)));
}

#[test]
fn what_is_not_named_has_the_built_in_default_and_not_the_sysctl() {
    let settings = Settings::default();
    settings.set(Sysctl::UdpTimeout, 55).unwrap();
    settings.set(Sysctl::TcpTimeoutUnacknowledged, 21).unwrap();
    let udp = policy(Protocol::UDP, &[("replied", 88)]);
    let timeouts = Timeouts { settings: &settings, policy: Some(&udp) };
    assert_eq!(timeouts.get(Sysctl::UdpTimeout), seconds(30));
    assert_eq!(timeouts.get(Sysctl::TcpTimeoutUnacknowledged), seconds(21), "another protocol's");
    let tcp = policy(Protocol::TCP, &[("syn_sent", 71)]);
    let timeouts = Timeouts { settings: &settings, policy: Some(&tcp) };
    assert_eq!(timeouts.get(Sysctl::TcpTimeoutUnacknowledged), seconds(300));
}

fn segment(from_client: u8, flags: u8, seq: u32, ack: u32, payload: usize) -> Vec<u8> {
    let (src, dst, ports) = if from_client == b'>' { (CLIENT, SERVER, (5, 6)) } else { (SERVER, CLIENT, (6, 5)) };
    let mut tcp = etherparse::TcpHeader::new(ports.0, ports.1, seq, 60000);
    tcp.acknowledgment_number = ack;
    tcp.syn = flags & flag::SYN != 0;
    tcp.ack = flags & flag::ACK != 0;
    tcp.fin = flags & flag::FIN != 0;
    let mut out = Vec::new();
    etherparse::PacketBuilder::ipv4(src, dst, 64).tcp_header(tcp).write(&mut out, &vec![0; payload]).unwrap();
    out
}

fn datagram(from_client: u8) -> Vec<u8> {
    let (src, dst, ports) = if from_client == b'>' { (CLIENT, SERVER, (5, 6)) } else { (SERVER, CLIENT, (6, 5)) };
    let mut out = Vec::new();
    etherparse::PacketBuilder::ipv4(src, dst, 64).udp(ports.0, ports.1).write(&mut out, b"hi").unwrap();
    out
}

/// The seconds that the connection has after each packet, given the policy by a rule behind the tracker.
fn run(policy: TimeoutPolicy, packets: &[Vec<u8>]) -> Vec<Option<u64>> {
    let (engine, policy, now) = (Engine::new(1), Arc::new(policy), Time::from_secs(1));
    packets
        .iter()
        .map(|bytes| {
            let mut bytes = bytes.clone();
            let n = bytes.len();
            let packet = Packet::parse(&mut bytes, n).unwrap();
            engine.expire(now, usize::MAX);
            match engine.track(&packet, Hook::Prerouting, &Template::default(), now, &mut Silent) {
                Track::Tracked(t) => {
                    t.ct.set_timeout_policy(&policy);
                    engine.confirm(t.ct, now);
                }
                other => panic!("{other:?}"),
            }
            engine.expire(now, usize::MAX);
            engine.entries(now).first().map(|e| e.timeout.as_secs())
        })
        .collect()
}

const SYN: u8 = flag::SYN;
const SYN_ACK: u8 = flag::SYN | flag::ACK;
const ACK: u8 = flag::ACK;
const FIN_ACK: u8 = flag::FIN | flag::ACK;

fn handshake() -> Vec<Vec<u8>> {
    vec![segment(b'>', SYN, 100, 0, 0), segment(b'<', SYN_ACK, 500, 101, 0), segment(b'>', ACK, 101, 501, 0)]
}

#[test]
fn udp_has_its_policys_timeouts_from_the_first_packet_on() {
    let p = policy(Protocol::UDP, &[("unreplied", 77), ("replied", 88)]);
    assert_eq!(run(p, &[datagram(b'>'), datagram(b'>'), datagram(b'<')]), [Some(77); 3]);
}

#[test]
fn tcp_goes_through_its_policys_timeouts() {
    let p = policy(Protocol::TCP, &[("syn_sent", 71), ("syn_recv", 72), ("established", 73), ("fin_wait", 74)]);
    let packets = [handshake(), vec![segment(b'>', FIN_ACK, 101, 501, 0)]].concat();
    assert_eq!(run(p, &packets), [71, 72, 73, 74].map(Some));
}

#[test]
fn a_picked_up_connection_first_gets_the_opening_states_timeout() {
    let p = policy(Protocol::TCP, &[("syn_sent", 71), ("established", 73)]);
    let packets = [segment(b'>', ACK, 101, 501, 0), segment(b'<', ACK, 501, 101, 0), segment(b'>', ACK, 101, 501, 0)];
    assert_eq!(run(p, &packets), [71, 73, 73].map(Some));
}

#[test]
fn the_ceilings_are_the_policys() {
    let p = policy(Protocol::TCP, &[("established", 1000), ("retrans", 22), ("unack", 33)]);
    let packets = [handshake(), vec![segment(b'>', ACK, 101, 501, 4)]].concat();
    assert_eq!(run(p, &packets), [120, 22, 1000, 33].map(Some));
}

#[test]
fn syn_sent2_can_be_named() {
    let p = policy(Protocol::TCP, &[("syn_sent2", 99), ("retrans", 22), ("unack", 33)]);
    let packets = [segment(b'>', SYN, 100, 0, 0), segment(b'<', SYN, 500, 0, 0)];
    // The packet that makes it SYN_SENT2 does not start a timeout; the entry keeps what the SYN started.
    assert_eq!(run(p, &packets), [Some(120), Some(120)]);
}

#[test]
fn a_timeout_of_zero_leaves_nothing() {
    let p = policy(Protocol::UDP, &[("unreplied", 0)]);
    assert_eq!(run(p, &[datagram(b'>'), datagram(b'>')]), [None, None]);
}
