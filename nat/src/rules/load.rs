//! Reading a value for a rule: from the packet's bytes, its metadata, its connection, the routing table.
//!
//! What is not there has no value, and a match on it is not true, not even with `!=`: a port of a later fragment, the mark of an
//! untracked packet, the IPv6 address of an IPv4 connection.

use super::context::{Context, Reachable, Tracking};
use super::fields::{CtDir, CtKey, FibAddress, FibDevice, FibResult, Header, MetaKey};
use super::program::{Data, Load};
use super::ruleset::Ruleset;
use super::set::{Key, pack};
use super::types::{Interval, mask, pack_name};
use std::net::IpAddr;
use uct_engine::{Conn, Direction, Family, Info, More, Time, Tuple, Zone};

impl Ruleset {
    pub(super) fn load(&self, load: &Load, cx: &Context<'_>) -> Option<u128> {
        match load {
            Load::Const(value) => Some(*value),
            Load::Bits { header, offset, bits } => bits_at(cx, *header, *offset, *bits),
            Load::Meta(key) => meta(*key, cx),
            Load::Ct(key, dir) => ct(*key, *dir, cx),
            Load::Fib(address, device, result) => Some(fib(*address, *device, *result, cx)),
            Load::Bitwise { value, and, xor } => self.load(value, cx).map(|value| (value & and) ^ xor),
            Load::Shl(value, by) => self.load(value, cx).map(|value| (value << by) & mask(32)),
            Load::Shr(value, by) => self.load(value, cx).map(|value| value >> by),
            Load::Map { key, map, field } => {
                self.values(key, *map, cx)?.get(usize::from(*field)).map(|value| value.first)
            }
        }
    }

    /// The slot of a set or map that the packet falls into.
    pub(super) fn slot(&self, key: &[Load], set: u32, cx: &Context<'_>) -> Option<u32> {
        let keys = &self.lookups.get(set as usize)?.keys;
        match key {
            [one] => keys.find_one(self.load(one, cx)?),
            several => keys.find(&self.key(several, cx)?),
        }
    }

    /// The whole key, if the packet has all of it.
    pub(super) fn key(&self, fields: &[Load], cx: &Context<'_>) -> Option<Key> {
        let mut values = Key::default();
        for (to, field) in values.iter_mut().zip(fields) {
            *to = self.load(field, cx)?;
        }
        Some(pack(values.into_iter()))
    }

    /// What a map has for the packet.
    pub(super) fn values(&self, key: &[Load], map: u32, cx: &Context<'_>) -> Option<&[Interval]> {
        let slot = self.slot(key, map, cx)?;
        match self.lookups.get(map as usize)?.values.get(slot as usize)? {
            Data::Values(values) => Some(values),
            _ => None,
        }
    }
}

fn bits_at(cx: &Context<'_>, header: Header, offset: u16, bits: u8) -> Option<u128> {
    let (first, end) = (usize::from(offset / 8), usize::from((offset + u16::from(bits)).div_ceil(8)));
    let bytes = match (header, cx.packet.transport()) {
        (Header::Network, _) => cx.packet.bytes(),
        (Header::Transport, Some(transport)) => transport,
        // As measured: of an IPv6 fragment that was not put together, nft takes the IP header for the transport header.
        (Header::Transport, None) if is_later_ipv6_fragment(cx) && matches!(end - first, 1 | 2 | 4) => {
            cx.packet.bytes()
        }
        (Header::Transport, None) => return None,
    };
    let held = bytes.get(first..end)?;
    let value = held.iter().fold(0u128, |value, byte| (value << 8) | u128::from(*byte));
    let below = end * 8 - usize::from(offset) - usize::from(bits);
    Some((value >> below) & mask(bits))
}

fn is_later_ipv6_fragment(cx: &Context<'_>) -> bool {
    cx.packet.family() == Family::Ipv6 && cx.packet.fragment().is_some_and(|fragment| fragment.offset != 0)
}

fn meta(key: MetaKey, cx: &Context<'_>) -> Option<u128> {
    Some(match key {
        // An IPv6 packet whose headers lead nowhere has no transport protocol.
        MetaKey::L4Proto if cx.packet.family() == Family::Ipv6 && cx.packet.transport_offset().is_none() => {
            let later_fragment = cx.packet.fragment().is_some_and(|f| f.offset != 0 || f.more == More::Fragments);
            return later_fragment.then(|| cx.packet.protocol().0.into());
        }
        MetaKey::L4Proto => cx.packet.protocol().0.into(),
        MetaKey::NfProto => cx.packet.family().number().into(),
        MetaKey::Protocol => match cx.packet.family() {
            Family::Ipv4 => 0x0800,
            Family::Ipv6 => 0x86dd,
        },
        MetaKey::Mark => cx.mark.into(),
        // Without a device the name is empty and the index zero: `iifname != "lan0"` is then true.
        MetaKey::IifName | MetaKey::Iif => cx.iif.map_or(0, |name| name.0),
        MetaKey::OifName | MetaKey::Oif => cx.oif.map_or(0, |name| name.0),
        MetaKey::PktType => cx.packet_type as u128,
        MetaKey::Length => cx.packet.wire_len() as u128,
    })
}

fn ct(key: CtKey, dir: Option<CtDir>, cx: &Context<'_>) -> Option<u128> {
    let (conn, packet_dir, info) = match cx.tracking {
        Tracking::Tracked { ct, dir, info } => (ct, dir, info),
        _ if key != CtKey::State => return None,
        Tracking::Untracked => return Some(64),
        // A template is enough to be called new.
        Tracking::Before if cx.template.zone != Zone::DEFAULT => return Some(8),
        Tracking::Before | Tracking::Invalid => return Some(1),
    };
    let tuple = conn.tuple(direction(dir.unwrap_or(CtDir::Original)));
    Some(match key {
        CtKey::State => match info {
            Info::Established => 2,
            Info::Related => 4,
            Info::New => 8,
        },
        CtKey::Direction => packet_dir as u128,
        CtKey::Status => conn.status().bits().into(),
        CtKey::Mark => conn.mark().into(),
        CtKey::Expiration => expiration(conn, cx.now),
        CtKey::Helper => pack_name(&conn.helper()?),
        CtKey::Label => conn.labels().unwrap_or(0),
        CtKey::Zone => match dir {
            None => conn.zone().id.into(),
            Some(dir) => conn.zone().id(direction(dir)).into(),
        },
        CtKey::Id => conn.id().0.into(),
        CtKey::L3Proto => tuple.family().number().into(),
        CtKey::Protocol => tuple.protocol.0.into(),
        CtKey::SrcIp => v4(tuple.src)?,
        CtKey::DstIp => v4(tuple.dst)?,
        CtKey::SrcIp6 => v6(tuple.src)?,
        CtKey::DstIp6 => v6(tuple.dst)?,
        CtKey::ProtoSrc => source_id(&tuple),
        CtKey::ProtoDst => tuple.l4.dst_id().into(),
        CtKey::Bytes => counted(conn, dir).1,
        CtKey::Packets => counted(conn, dir).0,
        CtKey::AvgPkt => match counted(conn, dir) {
            (0, _) => 0,
            (packets, bytes) => bytes / packets,
        },
    })
}

fn direction(dir: CtDir) -> Direction {
    match dir {
        CtDir::Original => Direction::Original,
        CtDir::Reply => Direction::Reply,
    }
}

/// Milliseconds until a confirmed connection runs out; one that is not in the table yet has no such time.
fn expiration(conn: &Conn, now: Time) -> u128 {
    if conn.status().contains(uct_engine::Status::CONFIRMED) { conn.timeout(now).as_millis() } else { 0 }
}

fn source_id(tuple: &Tuple) -> u128 {
    tuple.l4.src_id().into()
}

/// Packets and bytes, of one direction or of both; zero if they are not counted.
fn counted(conn: &Conn, dir: Option<CtDir>) -> (u128, u128) {
    let of = |dir| conn.counters(dir).map_or((0, 0), |c| (u128::from(c.packets), u128::from(c.bytes)));
    match dir {
        Some(dir) => of(direction(dir)),
        None => {
            let (original, reply) = (of(Direction::Original), of(Direction::Reply));
            (original.0 + reply.0, original.1 + reply.1)
        }
    }
}

fn v4(address: IpAddr) -> Option<u128> {
    match address {
        IpAddr::V4(address) => Some(u32::from(address).into()),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: IpAddr) -> Option<u128> {
    match address {
        IpAddr::V6(address) => Some(address.into()),
        IpAddr::V4(_) => None,
    }
}

fn fib(address: FibAddress, device: FibDevice, result: FibResult, cx: &Context<'_>) -> u128 {
    let address = match address {
        FibAddress::Source => cx.packet.src(),
        FibAddress::Destination => cx.packet.dst(),
    };
    let device = match device {
        FibDevice::Any => None,
        FibDevice::Iif => cx.iif,
    };
    match result {
        FibResult::Type => cx.fib.address_type(address, device) as u128,
        FibResult::OifPresent => match cx.fib.reachable(address, device) {
            Reachable::Yes => 1,
            Reachable::No => 0,
        },
    }
}
