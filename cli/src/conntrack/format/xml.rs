//! `-o xml`.
//!
//! The real tool leaves `<layer4>` of ICMP empty and prints SCTP states by TCP's names. The first is kept (a script may
//! compare), the second is not.

use std::fmt::{self, Write};

use uct_engine::{Direction, Entry, EventKind, L4, Protocol, Status, Tuple, ZoneScope};

use super::line::zone;
use super::{Format, Output, View, clock};

pub(super) fn write(format: &Format<'_>, view: &View<'_>, out: &mut String) -> fmt::Result {
    out.push_str(match view.event.map(|e| e.kind) {
        None => "<flow>",
        Some(EventKind::New) => "<flow type=\"new\">",
        Some(EventKind::Update) => "<flow type=\"update\">",
        Some(EventKind::Destroy) => "<flow type=\"destroy\">",
    });
    direction(view, Direction::Original, out)?;
    direction(view, Direction::Reply, out)?;
    independent(format, view, out)?;
    if view.shown.helper.yes()
        && let Some(helper) = &view.entry.helper
    {
        write!(out, "<helper>{}</helper>", escape(helper))?;
    }
    if let Some(event) = view.event
        && format.output.has(Output::TIMESTAMP)
    {
        clock::when(event.at, &format.zone, out)?;
    }
    out.write_str("</flow>")
}

fn direction(view: &View<'_>, dir: Direction, out: &mut String) -> fmt::Result {
    let entry = view.entry;
    let (tuple, scope) = match dir {
        Direction::Original => (&entry.original, ZoneScope::Original),
        Direction::Reply => (&entry.reply, ZoneScope::Reply),
    };
    write!(out, "<meta direction=\"{}\">", dir.name())?;
    layers(tuple, out)?;
    if let Some(zone) = zone(entry, scope) {
        write!(out, "<zone>{zone}</zone>")?;
    }
    if view.shown.totals.yes()
        && let Some(counters) = entry.counters
    {
        let c = counters[dir as usize];
        write!(out, "<counters><packets>{}</packets><bytes>{}</bytes></counters>", c.packets, c.bytes)?;
    }
    out.write_str("</meta>")
}

/// `<layer3>` and `<layer4>` of a tuple.
pub(super) fn layers(tuple: &Tuple, out: &mut String) -> fmt::Result {
    let family = tuple.family();
    write!(out, "<layer3 protonum=\"{}\" protoname=\"{}\">", family.number(), family.name())?;
    write!(out, "<src>{}</src><dst>{}</dst></layer3>", tuple.src, tuple.dst)?;
    let protocol = tuple.protocol;
    write!(out, "<layer4 protonum=\"{}\" protoname=\"{}\">", protocol.0, protocol.name().unwrap_or("unknown"))?;
    match tuple.l4 {
        L4::Ports { src, dst } => write!(out, "<sport>{src}</sport><dport>{dst}</dport>")?,
        L4::Keys { src, dst } => write!(out, "<srckey>{src:#x}</srckey><dstkey>{dst:#x}</dstkey>")?,
        L4::None if protocol == Protocol::DCCP => out.write_str("<sport>0</sport><dport>0</dport>")?,
        L4::Icmp { .. } | L4::None => {}
    }
    out.write_str("</layer4>")
}

fn independent(format: &Format<'_>, view: &View<'_>, out: &mut String) -> fmt::Result {
    let entry = view.entry;
    out.write_str("<meta direction=\"independent\">")?;
    if view.shown.state.yes()
        && let Some(state) = entry.proto.state_name()
    {
        write!(out, "<state>{state}</state>")?;
    }
    if view.shown.timeout.yes() {
        write!(out, "<timeout>{}</timeout>", entry.timeout.as_secs())?;
    }
    if view.shown.mark.yes() {
        write!(out, "<mark>{}</mark>", entry.mark)?;
    }
    let labels = format.label_names(view);
    if !labels.is_empty() {
        out.write_str("<labels>")?;
        for label in labels {
            write!(out, "<label>{}</label>", escape(label))?;
        }
        out.write_str("</labels>")?;
    }
    if let Some(zone) = zone(entry, ZoneScope::Both) {
        write!(out, "<zone>{zone}</zone>")?;
    }
    if let Some(uses) = view.shown.uses {
        write!(out, "<use>{uses}</use>")?;
    }
    write!(out, "<id>{}</id>", entry.id.0)?;
    if entry.status.contains(Status::ASSURED) {
        out.write_str("<assured/>")?;
    } else if !entry.status.contains(Status::SEEN_REPLY) {
        out.write_str("<unreplied/>")?;
    }
    if view.shown.totals.yes() {
        times(format, entry, out)?;
    }
    out.write_str("</meta>")
}

fn times(format: &Format<'_>, entry: &Entry, out: &mut String) -> fmt::Result {
    let Some(start) = entry.start else { return Ok(()) };
    if format.output.has(Output::KTIMESTAMP) {
        write!(out, "<timestamp><start>{}</start>", start.as_nanos())?;
        if let Some(stop) = entry.stop {
            write!(out, "<stop>{}</stop>", stop.as_nanos())?;
        }
        out.write_str("</timestamp>")?;
    }
    let delta = match entry.stop {
        Some(stop) => stop.saturating_duration_since(start).as_secs(),
        None => format.now.as_secs().saturating_sub(start.as_secs()),
    };
    write!(out, "<deltatime>{delta}</deltatime>")
}

/// Text within an element.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
