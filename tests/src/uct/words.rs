//! uct's words in those of `observed`.
//!
//! An event carries only what the kernel would put into its message: a part of the entry is there if the event is about
//! it. Which part goes with which event was measured.

use uct_engine::{self as uct, Direction, EventMask, ProtoInfo};

use crate::observed::{Entry, Event, EventKind, L4, Proto, Side, Stamped, Tuple};

pub(crate) fn tuple(tuple: &uct::Tuple) -> Tuple {
    let l4 = match tuple.l4 {
        uct::L4::Ports { src, dst } | uct::L4::Keys { src, dst } => L4::Ports(src, dst),
        uct::L4::Icmp { kind, code, id } => L4::Icmp(kind, code, id),
        uct::L4::None => L4::None,
    };
    Tuple { src: tuple.src, dst: tuple.dst, proto: tuple.protocol.0, l4 }
}

fn proto(info: &ProtoInfo) -> Proto {
    match info {
        ProtoInfo::None => Proto::None,
        ProtoInfo::Sctp { state, vtags } => {
            let number = uct::sctp::SctpState::ALL.iter().position(|other| other == state).unwrap_or(0);
            Proto::Sctp { state: number as u8, vtag: *vtags }
        }
        ProtoInfo::Tcp { state, peers } => {
            let number = uct::tcp::TcpState::ALL.iter().position(|other| other == state).unwrap_or(0);
            Proto::Tcp {
                state: number as u8,
                wscale: peers.map(|peer| peer.scale),
                flags: peers.map(|peer| peer.flags.bits()),
            }
        }
    }
}

pub(crate) fn entry(entry: &uct::Entry) -> Entry {
    let side = |dir: Direction| {
        let own = if dir == Direction::Original { &entry.original } else { &entry.reply };
        let counters = entry.counters.map(|counters| counters[dir as usize]);
        Side {
            tuple: tuple(own),
            zone: entry.zone.id(dir),
            counters: counters.map(|counters| (counters.packets, counters.bytes)),
            seqadj: None,
        }
    };
    Entry {
        original: side(Direction::Original),
        reply: side(Direction::Reply),
        status: entry.status.bits(),
        timeout: Some(u32::try_from(entry.timeout.as_secs()).unwrap_or(u32::MAX)),
        proto: proto(&entry.proto),
        mark: entry.mark,
        helper: entry.helper.as_deref().map(str::to_string),
        // Room without a label in it is not told.
        labels: entry.labels.filter(|labels| *labels != 0).map_or(Vec::new(), |labels| labels.to_le_bytes().to_vec()),
        master: entry.master.as_ref().map(tuple),
        stamped: if entry.start.is_some() { Stamped::Start } else { Stamped::No },
        id: entry.id.0,
    }
}

pub(crate) fn event(event: &uct::Event) -> Event {
    let mut seen = entry(&event.entry);
    let kind = match event.kind {
        uct::EventKind::New => EventKind::New,
        uct::EventKind::Update => EventKind::Update,
        uct::EventKind::Destroy => EventKind::Destroy,
    };
    if kind == EventKind::Destroy {
        seen.timeout = seen.timeout.filter(|seconds| *seconds > 0);
        seen.labels.clear();
        seen.master = None;
        seen.helper = None;
        if seen.stamped == Stamped::Start {
            seen.stamped = Stamped::Both;
        }
        // The last word about the protocol is its state alone.
        seen.proto = match seen.proto {
            Proto::Tcp { state, .. } => Proto::Tcp { state, wscale: [0; 2], flags: [0; 2] },
            Proto::Sctp { state, .. } => Proto::Sctp { state, vtag: [0; 2] },
            Proto::None => Proto::None,
        };
    } else {
        seen.stamped = Stamped::No;
        (seen.original.counters, seen.reply.counters) = (None, None);
        if !event.mask.contains(EventMask::PROTOINFO) {
            seen.proto = Proto::None;
        }
        if !event.mask.contains(EventMask::LABEL) {
            seen.labels.clear();
        }
        if !event.mask.contains(EventMask::RELATED) {
            seen.master = None;
        }
    }
    Event::Conn(kind, seen)
}
