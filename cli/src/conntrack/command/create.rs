//! `-I`, and `-A`, to which an existing entry is no error.

use std::borrow::Cow;

use uct_engine::Status;
use uct_pipeline::control::message::{Create, Request, Side};

use super::{Shell, bit_list, canonical_state, is_icmp, nat_to, summary};
use crate::conntrack::options::{Command, Table};
use crate::conntrack::parse::{Pair, Parsed};
use crate::conntrack::problem::Problem;
use crate::conntrack::protocol::Kind;

/// One direction, if any of it was given.
pub(super) fn side(parsed: &Parsed, pair: Pair, ends: [Option<u16>; 2]) -> Option<Side> {
    if pair == Pair::default() {
        return None;
    }
    let icmp = parsed.protocol.is_some_and(is_icmp);
    Some(Side {
        src: pair.src,
        dst: pair.dst,
        sport: ends[0],
        dport: ends[1],
        icmp_type: parsed.fields.icmp[0].filter(|_| icmp),
        icmp_code: parsed.fields.icmp[1].filter(|_| icmp),
        icmp_id: parsed.fields.id.filter(|_| icmp),
    })
}

pub(super) fn request(parsed: &Parsed) -> Request {
    let kind = parsed.protocol.map(Kind::of);
    let original = side(parsed, parsed.original, parsed.fields.original);
    let mut reply = side(parsed, parsed.reply, parsed.fields.reply);
    if reply.is_none() && (parsed.src_nat.is_some() || parsed.dst_nat.is_some()) {
        // As `-o save` writes it for an entry whose both ends are translated: ports, and no addresses.
        let [sport, dport] = parsed.fields.reply;
        reply = sport.zip(dport).map(|(s, d)| Side { sport: Some(s), dport: Some(d), ..Side::default() });
    }
    if original.is_some()
        && let Some(reply) = &mut reply
    {
        // What ICMP's answer carries follows from the question.
        (reply.icmp_type, reply.icmp_code) = (None, None);
    }
    let status = parsed.status.unwrap_or_default().set;
    let create = Create {
        protocol: parsed.protocol.map(|p| p.0),
        original,
        reply,
        zone: parsed.zone,
        orig_zone: parsed.orig_zone,
        reply_zone: parsed.reply_zone,
        status: Some(status_names(status)),
        timeout: parsed.timeout,
        mark: parsed.mark.map(|(value, _)| value),
        label_bits: parsed.label_add.or(parsed.full.labels).map(bit_list),
        helper: parsed.full.helper.clone().map(Cow::Owned),
        state: parsed.fields.state.map(|s| Cow::Borrowed(canonical_state(kind, s))),
        orig_vtag: parsed.fields.vtags[0],
        reply_vtag: parsed.fields.vtags[1],
        src_nat: parsed.src_nat.map(nat_to),
        dst_nat: parsed.dst_nat.map(nat_to),
        counters: parsed.full.counters.map(|[o, r]| [o.packets, o.bytes, r.packets, r.bytes]),
        start_ns: parsed.full.start,
        may_exist: (parsed.command == Command::Add).then_some(true),
    };
    Request { create: Some(create), ..Request::default() }
}

/// Status bits by name.
pub(super) fn status_names(status: Status) -> Vec<Cow<'static, str>> {
    status.names().map(Cow::Borrowed).collect()
}

pub(super) fn run(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    if parsed.table == Table::Expect {
        return Err(Problem::failed("function not implemented"));
    }
    let count = shell.connection.simply(request(parsed)).map_err(|e| match (parsed.command, e.code()) {
        // The real tool has words for this error of -I, and none for -A.
        (Command::Add, "invalid") => Problem::failed("Invalid argument"),
        _ => e.problem(),
    })?;
    Ok(summary(count, if parsed.command == Command::Add { "added" } else { "created" }))
}
