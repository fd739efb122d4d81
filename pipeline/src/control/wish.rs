//! A client's words for a connection, turned into the engine's.

use std::time::Duration;

use uct_engine::client::{self, Known, NewConn, Refusal};
use uct_engine::sctp::SctpState;
use uct_engine::tcp::TcpState;
use uct_engine::{Counters, Direction, L4, ProtoInfo, Protocol, Time, Tuple, Zone, ZoneScope};

use super::filter::{NatTo, bits_of};
use super::flat;
use super::message::{Create, Fault, Side};
use super::serve::invalid;

/// Whether a connection is in that state already.
pub(super) fn is_known_already(known: Known, proto: &ProtoInfo) -> bool {
    match (known, *proto) {
        (Known::Nothing, _) => true,
        (Known::Tcp(wanted), ProtoInfo::Tcp { state, .. }) => wanted == state,
        (Known::Sctp { state: wanted, vtags: tags }, ProtoInfo::Sctp { state, vtags }) => {
            (wanted, tags) == (state, vtags)
        }
        _ => false,
    }
}

/// The state that a client names. SCTP's comes with both tags.
pub(super) fn known(protocol: Protocol, state: Option<&str>, vtags: [Option<u32>; 2]) -> Result<Known, Fault> {
    let unknown = |name: &str| invalid(format!("unknown state '{name}'"));
    match (protocol, state, vtags) {
        (Protocol::TCP, Some(name), _) => TcpState::by_name(name).map(Known::Tcp).ok_or_else(|| unknown(name)),
        (Protocol::SCTP, Some(name), [Some(original), Some(reply)]) => {
            let state = SctpState::by_name(name).ok_or_else(|| unknown(name))?;
            Ok(Known::Sctp { state, vtags: [original, reply] })
        }
        (Protocol::SCTP, Some(_), _) => Err(invalid("SCTP's state comes with both tags")),
        _ => Ok(Known::Nothing),
    }
}

/// A tuple as a client gives it; what ICMP's answer carries follows from the question.
pub(super) fn tuple(protocol: Protocol, side: &Side, inverse: Option<&Tuple>) -> Result<Tuple, Fault> {
    let incomplete = || invalid("a tuple is not complete");
    let (src, dst) = side.src.zip(side.dst).ok_or_else(incomplete)?;
    let ends = side.sport.zip(side.dport).ok_or_else(incomplete);
    let l4 = match protocol {
        p if p.has_ports() => {
            let (src, dst) = ends?;
            L4::Ports { src, dst }
        }
        Protocol::GRE => {
            let (src, dst) = ends?;
            L4::Keys { src, dst }
        }
        Protocol::ICMP | Protocol::ICMPV6 => match (side.icmp_type, side.icmp_code, inverse) {
            (Some(kind), Some(code), _) => L4::Icmp { kind, code, id: side.icmp_id.unwrap_or(0) },
            (_, _, Some(inverse)) => inverse.inverse().ok_or_else(|| Fault::from(Refusal::Invalid))?.l4,
            _ => return Err(incomplete()),
        },
        _ => L4::None,
    };
    Ok(Tuple { src, dst, protocol, l4 })
}

/// The original tuple and zone of a wish, if they can be told.
pub(super) fn asked_original(create: &Create) -> Option<(Tuple, Zone)> {
    let side = create.original.as_ref()?;
    Some((tuple(Protocol(create.protocol?), side, None).ok()?, zone(create).ok()?))
}

pub(super) fn zone(create: &Create) -> Result<Zone, Fault> {
    Ok(match (create.zone, create.orig_zone, create.reply_zone) {
        (None, None, None) => Zone::DEFAULT,
        (Some(id), None, None) => Zone { id, scope: ZoneScope::Both },
        // Zone 0 of one direction is zone 0.
        (None, Some(0), None) | (None, None, Some(0)) => Zone::DEFAULT,
        (None, Some(id), None) => Zone { id, scope: ZoneScope::Original },
        (None, None, Some(id)) => Zone { id, scope: ZoneScope::Reply },
        _ => return Err(Refusal::Invalid.into()),
    })
}

pub(super) fn new_conn(create: Create) -> Result<NewConn, Fault> {
    let protocol = Protocol(create.protocol.ok_or_else(|| invalid("a protocol is needed"))?);
    let (original, reply) = match (&create.original, &create.reply) {
        (Some(original), Some(reply)) => {
            let original = tuple(protocol, original, None)?;
            let mut reply = reply.clone();
            if create.src_nat.is_some() || create.dst_nat.is_some() {
                // The end that is translated need not be said twice.
                let to = |nat: Option<NatTo>| nat.and_then(|n| n.addr);
                reply.src = reply.src.or(to(create.dst_nat)).or(Some(original.dst));
                reply.dst = reply.dst.or(to(create.src_nat)).or(Some(original.src));
            }
            (original, tuple(protocol, &reply, Some(&original))?)
        }
        (Some(side), None) | (None, Some(side)) => {
            let dir = if create.original.is_some() { Direction::Original } else { Direction::Reply };
            client::complete(tuple(protocol, side, None)?, dir).ok_or(Refusal::Invalid)?
        }
        (None, None) => return Err(invalid("a tuple is needed")),
    };
    let zone = zone(&create)?;
    let counters = create
        .counters
        .map(|[op, ob, rp, rb]| [Counters { packets: op, bytes: ob }, Counters { packets: rp, bytes: rb }]);
    Ok(NewConn {
        original,
        reply,
        zone,
        status: flat::status(create.status.as_deref().unwrap_or_default()).map_err(|e| invalid(e.to_string()))?,
        timeout: Duration::from_secs(create.timeout.ok_or_else(|| invalid("a timeout is needed"))?.into()),
        mark: create.mark.unwrap_or(0),
        labels: create.label_bits.as_deref().map(bits_of).transpose().map_err(invalid)?,
        helper: create.helper.as_deref().map(Into::into),
        known: known(protocol, create.state.as_deref(), [create.orig_vtag, create.reply_vtag])?,
        counters,
        start: create.start_ns.map(Time::from_nanos),
    })
}
