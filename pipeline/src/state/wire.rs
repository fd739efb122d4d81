//! The records of a state file, field by field. A change here is a change of the format's version.
//!
//! Names stand for what has them (states, settings): they outlive the order of an enum. Flags are the numbers that netlink
//! carries.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uct_engine::client::Refusal;
use uct_engine::expect::{ExpectFlags, ExpectMask, Expectation, NewExpectation};
use uct_engine::sctp::{SavedSctp, SctpState, Seen};
use uct_engine::tcp::{Before, Class, Expected as Met, Peer, PeerFlags, SavedTcp, Seq, TcpState};
use uct_engine::{
    Counters, Direction, Engine, L4, Protocol, Saved, SavedState, SeqAdjust, Status, Sysctl, Time, TimeoutPolicy,
    Tuple, Zone, ZoneScope,
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    Begin { written_ns: u64, interfaces: Vec<String> },
    Conn(Box<Conn>),
    Expectation(Box<Expected>),
    End { records: u64 },
}

impl Record {
    pub(super) fn conn(saved: &Saved) -> Record {
        Record::Conn(Box::new(Conn::of(saved)))
    }

    pub(super) fn expectation(e: &Expectation, now: Time) -> Record {
        Record::Expectation(Box::new(Expected::of(e, now)))
    }
}

/// A tuple: addresses, the protocol's number, and what it has of ports, keys, or type, code and id.
#[derive(Debug, Serialize, Deserialize)]
struct WireTuple {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    l4: WireL4,
}

#[derive(Debug, Serialize, Deserialize)]
enum WireL4 {
    None,
    Ports(u16, u16),
    Keys(u16, u16),
    Icmp(u8, u8, u16),
}

impl From<&Tuple> for WireTuple {
    fn from(t: &Tuple) -> Self {
        let l4 = match t.l4 {
            L4::Ports { src, dst } => WireL4::Ports(src, dst),
            L4::Keys { src, dst } => WireL4::Keys(src, dst),
            L4::Icmp { kind, code, id } => WireL4::Icmp(kind, code, id),
            L4::None => WireL4::None,
        };
        WireTuple { src: t.src, dst: t.dst, protocol: t.protocol.0, l4 }
    }
}

impl WireTuple {
    /// `None` if the protocol's tuples are of another kind.
    fn read(&self) -> Option<Tuple> {
        let protocol = Protocol(self.protocol);
        let l4 = match self.l4 {
            WireL4::Ports(src, dst) if protocol.has_ports() => L4::Ports { src, dst },
            WireL4::Keys(src, dst) if protocol == Protocol::GRE => L4::Keys { src, dst },
            WireL4::Icmp(kind, code, id) if matches!(protocol, Protocol::ICMP | Protocol::ICMPV6) => {
                L4::Icmp { kind, code, id }
            }
            WireL4::None if !protocol.has_ports() => L4::None,
            _ => return None,
        };
        Some(Tuple { src: self.src, dst: self.dst, protocol, l4 })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct WireZone(u16, u8);

impl From<Zone> for WireZone {
    fn from(zone: Zone) -> Self {
        let scope = match zone.scope {
            ZoneScope::Both => 0,
            ZoneScope::Original => 1,
            ZoneScope::Reply => 2,
        };
        WireZone(zone.id, scope)
    }
}

impl WireZone {
    fn read(&self) -> Option<Zone> {
        let scope = match self.1 {
            0 => ZoneScope::Both,
            1 => ZoneScope::Original,
            2 => ZoneScope::Reply,
            _ => return None,
        };
        Some(Zone { id: self.0, scope })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Conn {
    original: WireTuple,
    reply: WireTuple,
    zone: WireZone,
    status: u32,
    deadline_ns: u64,
    mark: u32,
    /// The place of its interface among the names of the first record, from 1.
    bound: Option<NonZeroU32>,
    /// Packets, bytes, packets, bytes.
    counters: Option<[u64; 4]>,
    start_ns: Option<u64>,
    labels: Option<u128>,
    helper: Option<String>,
    master: Option<(WireTuple, WireZone)>,
    timeouts: Option<Policy>,
    /// Correction, before, after; original and reply.
    seq_adjust: Option<[(u32, i32, i32); 2]>,
    state: WireState,
}

/// A timeout policy: its name, and seconds by the names of settings; SYN_SENT2 has none.
#[derive(Debug, Serialize, Deserialize)]
struct Policy {
    name: String,
    seconds: Vec<(String, u32)>,
    syn_sent2: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
enum WireState {
    None,
    Tcp { state: String, peers: [WirePeer; 2], before: WireBefore, retrans: u8 },
    Sctp { state: String, vtags: [u32; 2], inits: [bool; 2], strange_heartbeat: Option<bool> },
    Udp { stream_after_ns: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
struct WirePeer {
    end: u32,
    max_end: u32,
    max_win: u32,
    max_ack: u32,
    scale: u8,
    flags: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireBefore {
    /// Where the class stands among [`Class::ALL`].
    class: u8,
    reply: bool,
    seq: u32,
    ack: u32,
    end: u32,
    window: u16,
    scale: u8,
    flags: u8,
    challenge: bool,
    simultaneous_open: bool,
}

fn direction(reply: bool) -> Direction {
    if reply { Direction::Reply } else { Direction::Original }
}

impl From<&SavedTcp> for WireState {
    fn from(tcp: &SavedTcp) -> Self {
        let Before { class, dir, seq, ack, end, window, scale, flags, challenge, simultaneous_open } = tcp.before;
        WireState::Tcp {
            state: tcp.state.name().to_owned(),
            peers: tcp.peers.map(|p| WirePeer {
                end: p.end.0,
                max_end: p.max_end.0,
                max_win: p.max_win,
                max_ack: p.max_ack.0,
                scale: p.scale,
                flags: p.flags.bits(),
            }),
            before: WireBefore {
                class: Class::ALL.iter().position(|c| *c == class).unwrap_or(0) as u8,
                reply: dir == Direction::Reply,
                seq: seq.0,
                ack: ack.0,
                end: end.0,
                window,
                scale,
                flags: flags.bits(),
                challenge: challenge == Met::Yes,
                simultaneous_open: simultaneous_open == Met::Yes,
            },
            retrans: tcp.retrans,
        }
    }
}

impl WireState {
    fn of(state: &SavedState) -> WireState {
        match state {
            SavedState::None => WireState::None,
            SavedState::Tcp(tcp) => tcp.into(),
            SavedState::Sctp(sctp) => WireState::Sctp {
                state: sctp.state.name().to_owned(),
                vtags: sctp.vtags,
                inits: sctp.inits.map(|seen| seen == Seen::Yes),
                strange_heartbeat: sctp.strange_heartbeat.map(|dir| dir == Direction::Reply),
            },
            SavedState::Udp(after) => WireState::Udp { stream_after_ns: after.as_nanos() },
        }
    }

    fn read(&self) -> Option<SavedState> {
        Some(match self {
            WireState::None => SavedState::None,
            WireState::Udp { stream_after_ns } => SavedState::Udp(Time::from_nanos(*stream_after_ns)),
            WireState::Sctp { state, vtags, inits, strange_heartbeat } => SavedState::Sctp(SavedSctp {
                state: SctpState::by_name(state)?,
                vtags: *vtags,
                inits: inits.map(|seen| if seen { Seen::Yes } else { Seen::No }),
                strange_heartbeat: strange_heartbeat.map(direction),
            }),
            WireState::Tcp { state, peers, before, retrans } => {
                let peer = |p: &WirePeer| {
                    // No shift by more than RFC 7323 allows.
                    (p.scale <= 14).then_some(Peer {
                        end: Seq(p.end),
                        max_end: Seq(p.max_end),
                        max_win: p.max_win,
                        max_ack: Seq(p.max_ack),
                        scale: p.scale,
                        flags: PeerFlags::from_bits_truncate(p.flags),
                    })
                };
                let expected = |yes: bool| if yes { Met::Yes } else { Met::No };
                SavedState::Tcp(SavedTcp {
                    state: TcpState::by_name(state)?,
                    peers: [peer(&peers[0])?, peer(&peers[1])?],
                    before: Before {
                        class: *Class::ALL.get(usize::from(before.class))?,
                        dir: direction(before.reply),
                        seq: Seq(before.seq),
                        ack: Seq(before.ack),
                        end: Seq(before.end),
                        window: before.window,
                        scale: Some(before.scale).filter(|scale| *scale <= 14)?,
                        flags: PeerFlags::from_bits_truncate(before.flags),
                        challenge: expected(before.challenge),
                        simultaneous_open: expected(before.simultaneous_open),
                    },
                    retrans: *retrans,
                })
            }
        })
    }
}

impl Conn {
    fn of(s: &Saved) -> Conn {
        Conn {
            original: (&s.original).into(),
            reply: (&s.reply).into(),
            zone: s.zone.into(),
            status: s.status.bits(),
            deadline_ns: s.deadline.as_nanos(),
            mark: s.mark,
            bound: s.bound,
            counters: s.counters.map(|[o, r]| [o.packets, o.bytes, r.packets, r.bytes]),
            start_ns: s.start.map(Time::as_nanos),
            labels: s.labels,
            helper: s.helper.as_deref().map(str::to_owned),
            master: s.master.as_ref().map(|(tuple, zone)| (tuple.into(), (*zone).into())),
            timeouts: s.timeouts.as_deref().map(|policy| Policy {
                name: policy.name.clone(),
                seconds: policy.values().map(|(key, seconds)| (key.name().to_owned(), seconds)).collect(),
                syn_sent2: policy.syn_sent2(),
            }),
            seq_adjust: s.seq_adjust.map(|both| both.map(|a| (a.correction, a.before, a.after))),
            state: WireState::of(&s.state),
        }
    }

    /// What was saved; `None` if it cannot have been.
    pub(super) fn read(&self) -> Option<Saved> {
        let timeouts = match &self.timeouts {
            None => None,
            Some(policy) => {
                let seconds = policy.seconds.iter().map(|(name, seconds)| Some((Sysctl::by_name(name)?, *seconds)));
                let seconds: Option<Vec<_>> = seconds.collect();
                Some(Arc::new(TimeoutPolicy::from_values(policy.name.clone(), seconds?, policy.syn_sent2)))
            }
        };
        let master = match &self.master {
            None => None,
            Some((tuple, zone)) => Some((tuple.read()?, zone.read()?)),
        };
        Some(Saved {
            original: self.original.read()?,
            reply: self.reply.read()?,
            zone: self.zone.read()?,
            status: Status::from_bits_truncate(self.status),
            deadline: Time::from_nanos(self.deadline_ns),
            mark: self.mark,
            bound: self.bound,
            counters: self
                .counters
                .map(|[op, ob, rp, rb]| [Counters { packets: op, bytes: ob }, Counters { packets: rp, bytes: rb }]),
            start: self.start_ns.map(Time::from_nanos),
            labels: self.labels,
            helper: self.helper.as_deref().map(Into::into),
            master,
            timeouts,
            seq_adjust: self
                .seq_adjust
                .map(|both| both.map(|(correction, before, after)| SeqAdjust { correction, before, after })),
            state: self.state.read()?,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Expected {
    tuple: WireTuple,
    mask: (IpAddr, u16),
    master: WireTuple,
    zone: WireZone,
    class: u32,
    helper: Option<String>,
    deadline_ns: u64,
    flags: u32,
}

impl Expected {
    fn of(e: &Expectation, now: Time) -> Expected {
        let wanted = e.wanted();
        Expected {
            tuple: (&wanted.tuple).into(),
            mask: (wanted.mask.src, wanted.mask.src_id),
            master: (&wanted.master.original()).into(),
            zone: wanted.master.zone().into(),
            class: wanted.class,
            helper: wanted.helper.as_deref().map(str::to_owned),
            deadline_ns: (now + e.entry(now).timeout).as_nanos(),
            flags: wanted.flags.bits(),
        }
    }

    /// Expects it again; its deadline goes back by so much.
    pub(super) fn restore(&self, engine: &Engine, back: Duration, now: Time) -> Result<(), Refusal> {
        let timeout = (Time::from_nanos(self.deadline_ns) - back).saturating_duration_since(now);
        if timeout.is_zero() {
            return Err(Refusal::Expired);
        }
        let (Some(tuple), Some(master), Some(zone)) = (self.tuple.read(), self.master.read(), self.zone.read()) else {
            return Err(Refusal::Invalid);
        };
        let (master, _) = engine.find(&master, zone).ok_or(Refusal::Missing)?;
        let new = NewExpectation {
            tuple,
            mask: ExpectMask { src: self.mask.0, src_id: self.mask.1 },
            master,
            class: self.class,
            helper: self.helper.as_deref().map(Into::into),
            timeout,
            flags: ExpectFlags::from_bits_truncate(self.flags),
        };
        engine.expect(new, now, None).map(drop)
    }
}
