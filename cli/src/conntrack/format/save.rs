//! `-o save`: the command line that makes the entry anew. `-R` reads a file of them.
//!
//! As in the real tool, mark, labels, helper and counters are left out; `-o save,full` adds them, in options of which
//! `--helper`, `--counters`, `--label-bits` and `--start` are ours alone.

use std::fmt::{self, Write};

use uct_engine::{EventKind, L4, ProtoInfo, Protocol, Status, ZoneScope};

use super::line::zone;
use super::{Format, Output, Seen, View};

/// The status bits that `-u` takes, in the order in which they are printed.
const PRINTED: [(Status, &str); 4] = [
    (Status::EXPECTED, "EXPECTED"),
    (Status::SEEN_REPLY, "SEEN_REPLY"),
    (Status::ASSURED, "ASSURED"),
    (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
];

pub(super) fn write(format: &Format<'_>, view: &View<'_>, out: &mut String) -> fmt::Result {
    let entry = view.entry;
    let (original, reply) = (&entry.original, &entry.reply);
    out.write_str(match (view.event.map(|e| e.kind), view.seen) {
        (Some(EventKind::Update), _) => "-U",
        (Some(EventKind::Destroy), _) | (None, Seen::Deleted) => "-D",
        _ => "-A",
    })?;
    if view.shown.timeout.yes() {
        write!(out, " -t {}", entry.timeout.as_secs())?;
    }
    let names: Vec<_> = PRINTED.iter().filter(|(bit, _)| entry.status.contains(*bit)).map(|(_, name)| *name).collect();
    write!(out, " -u {}", if names.is_empty() { "UNSET".to_owned() } else { names.join(",") })?;
    for (scope, option) in
        [(ZoneScope::Both, "-w"), (ZoneScope::Original, "--orig-zone"), (ZoneScope::Reply, "--reply-zone")]
    {
        if let Some(zone) = zone(entry, scope) {
            write!(out, " {option} {zone}")?;
        }
    }
    write!(out, " -s {} -d {}", original.src, original.dst)?;
    let dnat = entry.status.contains(Status::DST_NAT) && reply.src != original.dst;
    let snat = entry.status.contains(Status::SRC_NAT) && reply.dst != original.src;
    write!(out, " {} {}", if dnat { "-g" } else { "-r" }, reply.src)?;
    write!(out, " {} {}", if snat { "-n" } else { "-q" }, reply.dst)?;
    match original.protocol.name() {
        Some(name) => write!(out, " -p {name}")?,
        None => write!(out, " -p {}", original.protocol.0)?,
    }
    match (original.l4, reply.l4) {
        (L4::Ports { src, dst }, L4::Ports { src: rsrc, dst: rdst }) => {
            write!(out, " --sport {src} --dport {dst} --reply-port-src {rsrc} --reply-port-dst {rdst}")?;
        }
        (L4::Keys { src, dst }, L4::Keys { src: rsrc, dst: rdst }) => {
            write!(out, " --srckey {src} --dstkey {dst} --reply-key-src {rsrc} --reply-key-dst {rdst}")?;
        }
        (L4::Icmp { kind, code, id }, _) => {
            let name = if original.protocol == Protocol::ICMPV6 { "icmpv6" } else { "icmp" };
            write!(out, " --{name}-type {kind} --{name}-code {code} --{name}-id {id}")?;
        }
        _ => {}
    }
    if view.shown.state.yes()
        && let Some(state) = entry.proto.state_name()
    {
        write!(out, " --state {state}")?;
    }
    let gone = view.event.is_some_and(|e| e.kind == EventKind::Destroy);
    if let ProtoInfo::Sctp { vtags: [original, reply], .. } = entry.proto
        && view.shown.state.yes()
        && !gone
    {
        write!(out, " --orig-vtag {original} --reply-vtag {reply}")?;
    }
    if format.output.has(Output::FULL) {
        full(view, out)?;
    }
    Ok(())
}

/// What the real format loses.
fn full(view: &View<'_>, out: &mut String) -> fmt::Result {
    let entry = view.entry;
    if entry.mark != 0 {
        write!(out, " -m {}", entry.mark)?;
    }
    if let Some(labels) = entry.labels.filter(|l| *l != 0) {
        write!(out, " --label-bits {labels:#x}")?;
    }
    if let Some(helper) = &entry.helper {
        write!(out, " --helper {helper}")?;
    }
    if let Some([o, r]) = entry.counters {
        write!(out, " --counters {}:{}:{}:{}", o.packets, o.bytes, r.packets, r.bytes)?;
    }
    if let Some(start) = entry.start {
        write!(out, " --start {}", start.as_nanos())?;
    }
    Ok(())
}
