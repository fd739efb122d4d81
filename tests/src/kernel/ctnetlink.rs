//! Entries, expectations, events and counters as ctnetlink tells them, turned into the plain words of `observed`.
//!
//! The attribute numbers are the interface stated by the public header `linux/netfilter/nfnetlink_conntrack.h`.
//!
//! Invariant: an entry is asked for by the very bytes of its original tuple and zone as the kernel announced them, so
//! nothing is lost in translation, whatever its protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{self, CREATE, Message, Request, attributes, find, number};
use crate::observed::{Entry, Event, EventKind, Expectation, L4, Proto, Side, Stamped, Stats, Tuple};

/// Subsystem of entries.
pub(crate) const CONNTRACK: u8 = 1;
/// Subsystem of expectations.
pub(crate) const EXPECT: u8 = 2;
/// Multicast groups of all events, one bit each: new, update, destroy, and the same for expectations.
pub(crate) const ALL_EVENTS: u32 = 0b11_1111;

const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;
const GET_STATS_CPU: u8 = 4;
const GET_STATS: u8 = 5;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const HELP: u16 = 5;
const TIMEOUT: u16 = 7;
const MARK: u16 = 8;
const COUNTERS_ORIG: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const ID: u16 = 12;
const TUPLE_MASTER: u16 = 14;
const SEQ_ADJ_ORIG: u16 = 15;
const SEQ_ADJ_REPLY: u16 = 16;
const ZONE: u16 = 18;
const TIMESTAMP: u16 = 20;
const LABELS: u16 = 22;

/// An entry as the harness follows it from step to step.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The kernel's name for it.
    pub(crate) id: u32,
    family: u8,
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
}

impl Known {
    /// The handle by which the entry that `message` is about can be asked for again.
    pub(crate) fn of(message: Message<'_>) -> Option<Known> {
        Some(Known {
            id: find(message.body, ID).map(number)? as u32,
            family: message.family,
            tuple: find(message.body, TUPLE_ORIG)?.to_vec(),
            zone: find(message.body, ZONE).map(<[u8]>::to_vec),
        })
    }

    fn request(&self, kind: u8, flags: u16) -> Request {
        let request = Request::new(CONNTRACK, kind, flags, self.family).nested(TUPLE_ORIG, &self.tuple);
        match &self.zone {
            Some(zone) => request.attribute(ZONE, zone),
            None => request,
        }
    }

    /// Asks for the entry.
    pub(crate) fn get(&self) -> Request {
        self.request(GET, netlink::REQUEST)
    }

    /// Removes the entry.
    pub(crate) fn delete(&self) -> Request {
        self.request(DELETE, netlink::REQUEST | netlink::ACK)
    }

    /// Gives the entry `seconds` more to live, from now.
    pub(crate) fn set_timeout(&self, seconds: u32) -> Request {
        self.request(NEW, netlink::REQUEST | netlink::ACK).attribute(TIMEOUT, &seconds.to_be_bytes())
    }
}

/// A UDP connection of nobody, one for each number.
pub(crate) struct Stranger {
    tuples: [Vec<u8>; 2],
}

/// The stranger of a number.
pub(crate) fn stranger(number: u32) -> Stranger {
    let [_, high, a, b] = number.to_be_bytes();
    let (client, server) = (([100, 64, 0, high], [a, b]), ([100, 127, 0, 1], [0, 53]));
    let tuple = |(src, sport): ([u8; 4], [u8; 2]), (dst, dport): ([u8; 4], [u8; 2])| {
        let mut bytes = Vec::new();
        let mut part = |kind: u16, values: &[(u16, &[u8])]| {
            let mut nested = Vec::new();
            values.iter().for_each(|(kind, value)| netlink::put_attribute(&mut nested, *kind, value));
            netlink::put_attribute(&mut bytes, kind | netlink::NESTED, &nested);
        };
        part(1, &[(1, &src), (2, &dst)]);
        part(2, &[(1, &[17]), (2, &sport), (3, &dport)]);
        bytes
    };
    Stranger { tuples: [tuple(client, server), tuple(server, client)] }
}

impl Stranger {
    /// Puts it into the table, for a day.
    pub(crate) fn create(&self, assured: bool) -> Request {
        let status: u32 = if assured { 0b1110 } else { 0b1000 };
        Request::new(CONNTRACK, NEW, netlink::REQUEST | netlink::ACK | CREATE, 2)
            .nested(TUPLE_ORIG, &self.tuples[0])
            .nested(TUPLE_REPLY, &self.tuples[1])
            .attribute(TIMEOUT, &86_400_u32.to_be_bytes())
            .attribute(STATUS, &status.to_be_bytes())
    }

    /// Takes it out.
    pub(crate) fn delete(&self) -> Request {
        Request::new(CONNTRACK, DELETE, netlink::REQUEST | netlink::ACK, 2).nested(TUPLE_ORIG, &self.tuples[0])
    }
}

/// Asks for the whole table.
pub(crate) fn dump() -> Request {
    Request::new(CONNTRACK, GET, netlink::REQUEST | netlink::DUMP, 0)
}

/// Empties the table.
pub(crate) fn flush() -> Request {
    Request::new(CONNTRACK, DELETE, netlink::REQUEST | netlink::ACK, 0)
}

/// Asks for all expectations.
pub(crate) fn dump_expectations() -> Request {
    Request::new(EXPECT, GET, netlink::REQUEST | netlink::DUMP, 0)
}

/// Removes all expectations.
pub(crate) fn flush_expectations() -> Request {
    Request::new(EXPECT, DELETE, netlink::REQUEST | netlink::ACK, 0)
}

/// Asks for the counters of every processor.
pub(crate) fn stats() -> Request {
    Request::new(CONNTRACK, GET_STATS_CPU, netlink::REQUEST | netlink::DUMP, 0)
}

/// Asks for the number of entries.
pub(crate) fn count() -> Request {
    Request::new(CONNTRACK, GET_STATS, netlink::REQUEST, 0)
}

/// The number of entries out of the answer to [`count`].
pub(crate) fn parse_count(message: Message<'_>) -> u32 {
    find(message.body, 1).map_or(0, number) as u32
}

/// Adds one processor's counters to `sum`.
pub(crate) fn add_stats(sum: &mut Stats, message: Message<'_>) {
    for (kind, value) in attributes(message.body) {
        let field = match kind {
            2 => &mut sum.found,
            4 => &mut sum.invalid,
            8 => &mut sum.insert,
            9 => &mut sum.insert_failed,
            10 => &mut sum.drop,
            11 => &mut sum.early_drop,
            12 => &mut sum.error,
            14 => &mut sum.clash_resolve,
            15 => &mut sum.chaintoolong,
            _ => continue,
        };
        *field = field.wrapping_add(number(value) as u32);
    }
}

/// What a message of one of the event groups says.
pub(crate) fn parse_event(message: Message<'_>) -> Option<Event> {
    let kind = match (message.kind, message.flags & CREATE) {
        (NEW, 0) => EventKind::Update,
        (NEW, _) => EventKind::New,
        (DELETE, _) => EventKind::Destroy,
        _ => return None,
    };
    match message.subsystem {
        CONNTRACK => Some(Event::Conn(kind, parse_entry(message)?)),
        EXPECT => Some(Event::Expect(kind, parse_expectation(message)?)),
        _ => None,
    }
}

/// The entry that a message describes.
pub(crate) fn parse_entry(message: Message<'_>) -> Option<Entry> {
    let mut original = Side { tuple: nothing(), zone: 0, counters: None, seqadj: None };
    let mut reply = original;
    let mut entry_zone = None;
    let mut entry = Entry {
        original,
        reply,
        status: 0,
        timeout: None,
        proto: Proto::None,
        mark: 0,
        helper: None,
        labels: Vec::new(),
        master: None,
        stamped: Stamped::No,
        id: 0,
    };
    for (kind, value) in attributes(message.body) {
        match kind {
            TUPLE_ORIG => (original.tuple, original.zone) = parse_tuple(value)?,
            TUPLE_REPLY => (reply.tuple, reply.zone) = parse_tuple(value)?,
            STATUS => entry.status = number(value) as u32,
            PROTOINFO => entry.proto = parse_protoinfo(value),
            HELP => entry.helper = find(value, 1).map(text),
            TIMEOUT => entry.timeout = Some(number(value) as u32),
            MARK => entry.mark = number(value) as u32,
            COUNTERS_ORIG => original.counters = Some(parse_counters(value)),
            COUNTERS_REPLY => reply.counters = Some(parse_counters(value)),
            ID => entry.id = number(value) as u32,
            TUPLE_MASTER => entry.master = parse_tuple(value).map(|(tuple, _)| tuple),
            SEQ_ADJ_ORIG => original.seqadj = parse_seqadj(value),
            SEQ_ADJ_REPLY => reply.seqadj = parse_seqadj(value),
            ZONE => entry_zone = Some(number(value) as u16),
            TIMESTAMP => entry.stamped = if find(value, 2).is_some() { Stamped::Both } else { Stamped::Start },
            LABELS => entry.labels = value.to_vec(),
            _ => {}
        }
    }
    if let Some(zone) = entry_zone {
        (original.zone, reply.zone) = (zone, zone);
    }
    (entry.original, entry.reply) = (original, reply);
    Some(entry)
}

/// The expectation that a message describes.
pub(crate) fn parse_expectation(message: Message<'_>) -> Option<Expectation> {
    let body = message.body;
    let word = |kind| find(body, kind).map_or(0, |value| number(value) as u32);
    Some(Expectation {
        master: parse_tuple(find(body, 1)?)?.0,
        tuple: parse_tuple(find(body, 2)?)?.0,
        mask: parse_tuple(find(body, 3)?)?.0,
        timeout: word(4),
        flags: word(8),
        class: word(9),
        helper: find(body, 6).map(text),
        zone: word(7) as u16,
        nat: find(body, 10).and_then(|nat| {
            let direction = find(nat, 1).map_or(0, |value| number(value) as u32);
            Some((direction, parse_tuple(find(nat, 2)?)?.0))
        }),
    })
}

fn nothing() -> Tuple {
    Tuple { src: Ipv4Addr::UNSPECIFIED.into(), dst: Ipv4Addr::UNSPECIFIED.into(), proto: 0, l4: L4::None }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_string()
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

/// A tuple and the zone written inside it, which stands there only if the other direction has another zone.
fn parse_tuple(bytes: &[u8]) -> Option<(Tuple, u16)> {
    let mut tuple = nothing();
    let mut zone = 0;
    for (kind, value) in attributes(bytes) {
        match kind {
            1 => {
                for (kind, value) in attributes(value) {
                    match kind {
                        1 | 3 => tuple.src = address(value)?,
                        2 | 4 => tuple.dst = address(value)?,
                        _ => {}
                    }
                }
            }
            2 => {
                let field = |kind| find(value, kind).map(number);
                tuple.proto = field(1)? as u8;
                tuple.l4 = if let (Some(src), Some(dst)) = (field(2), field(3)) {
                    L4::Ports(src as u16, dst as u16)
                } else if let (Some(id), Some(kind), Some(code)) =
                    (field(4).or(field(7)), field(5).or(field(8)), field(6).or(field(9)))
                {
                    L4::Icmp(kind as u8, code as u8, id as u16)
                } else {
                    L4::None
                };
            }
            3 => zone = number(value) as u16,
            _ => {}
        }
    }
    Some((tuple, zone))
}

fn parse_counters(bytes: &[u8]) -> (u64, u64) {
    (find(bytes, 1).map_or(0, number), find(bytes, 2).map_or(0, number))
}

fn parse_seqadj(bytes: &[u8]) -> Option<(u32, i32, i32)> {
    let word = |kind| find(bytes, kind).map(|value| number(value) as u32);
    Some((word(1)?, word(2)? as i32, word(3)? as i32))
}

fn parse_protoinfo(bytes: &[u8]) -> Proto {
    let Some((kind, value)) = attributes(bytes).next() else { return Proto::None };
    let byte = |kind| find(value, kind).and_then(|v| v.first().copied()).unwrap_or(0);
    match kind {
        1 => Proto::Tcp { state: byte(1), wscale: [byte(2), byte(3)], flags: [byte(4), byte(5)] },
        3 => {
            let word = |kind| find(value, kind).map_or(0, |v| number(v) as u32);
            Proto::Sctp { state: byte(1), vtag: [word(2), word(3)] }
        }
        _ => Proto::None,
    }
}
