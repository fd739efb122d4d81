//! The default line.

use std::fmt::{self, Write};

use uct_engine::{Direction, Entry, L4, Protocol, Status, ZoneScope};

use super::clock::ctime;
use super::{Format, Output, View};

pub(super) fn write(format: &Format<'_>, view: &View<'_>, out: &mut String) -> fmt::Result {
    let entry = view.entry;
    let tuple = &entry.original;
    if format.output.has(Output::EXTENDED) {
        let family = tuple.family();
        write!(out, "{:<8} {} ", family.name(), family.number())?;
    }
    write!(out, "{:<8} {} ", tuple.protocol.name().unwrap_or("unknown"), tuple.protocol.0)?;
    if view.shown.timeout.yes() && !entry.status.intersects(Status::OFFLOAD | Status::HW_OFFLOAD) {
        write!(out, "{} ", entry.timeout.as_secs())?;
    }
    if view.shown.state.yes()
        && let Some(state) = entry.proto.state_name()
    {
        write!(out, "{state} ")?;
    }
    direction(view, Direction::Original, out)?;
    if !entry.status.contains(Status::SEEN_REPLY) {
        out.push_str(" [UNREPLIED]");
    }
    out.push(' ');
    direction(view, Direction::Reply, out)?;
    if entry.status.contains(Status::HW_OFFLOAD) {
        out.push_str(" [HW_OFFLOAD]");
    } else if entry.status.contains(Status::OFFLOAD) {
        out.push_str(" [OFFLOAD]");
    } else if entry.status.contains(Status::ASSURED) {
        out.push_str(" [ASSURED]");
    }
    if view.shown.mark.yes() {
        write!(out, " mark={}", entry.mark)?;
    }
    if let Some(zone) = zone(entry, ZoneScope::Both) {
        write!(out, " zone={zone}")?;
    }
    if view.shown.totals.yes() {
        times(format, entry, out)?;
    }
    if view.shown.helper.yes()
        && let Some(helper) = &entry.helper
    {
        write!(out, " helper={helper}")?;
    }
    if let Some(uses) = view.shown.uses {
        write!(out, " use={uses}")?;
    }
    if format.output.has(Output::ID) {
        write!(out, " id={}", entry.id.0)?;
    }
    let labels = format.label_names(view);
    if !labels.is_empty() {
        write!(out, " labels={}", labels.join(","))?;
    }
    Ok(())
}

/// The zone, if it has this scope and is not 0.
pub(super) fn zone(entry: &Entry, scope: ZoneScope) -> Option<u16> {
    Some(entry.zone.id).filter(|id| *id != 0 && entry.zone.scope == scope)
}

fn direction(view: &View<'_>, dir: Direction, out: &mut String) -> fmt::Result {
    let entry = view.entry;
    let (tuple, scope, word) = match dir {
        Direction::Original => (&entry.original, ZoneScope::Original, "orig"),
        Direction::Reply => (&entry.reply, ZoneScope::Reply, "reply"),
    };
    write!(out, "{tuple}")?;
    if tuple.protocol == Protocol::DCCP && tuple.l4 == L4::None {
        // conntrack(8) expects ports of DCCP and is given none.
        out.push_str(" sport=0 dport=0");
    }
    if let Some(id) = zone(entry, scope) {
        write!(out, " zone-{word}={id}")?;
    }
    if view.shown.totals.yes()
        && let Some(counters) = entry.counters
    {
        let c = counters[dir as usize];
        write!(out, " packets={} bytes={}", c.packets, c.bytes)?;
    }
    Ok(())
}

/// `delta-time=`, `[start=…]`, `[stop=…]`.
fn times(format: &Format<'_>, entry: &Entry, out: &mut String) -> fmt::Result {
    let Some(start) = entry.start else { return Ok(()) };
    let end = entry.stop.unwrap_or(format.now);
    // Whole seconds of the clock, not of the time between.
    write!(out, " delta-time={}", end.as_secs().saturating_sub(start.as_secs()))?;
    if format.output.has(Output::KTIMESTAMP) {
        write!(out, " [start={}]", ctime(start, &format.zone))?;
        if let Some(stop) = entry.stop {
            write!(out, " [stop={}]", ctime(stop, &format.zone))?;
        }
    }
    Ok(())
}
