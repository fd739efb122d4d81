//! `-o json`: one object a line; see docs/json.md.

use std::fmt::{self, Write};

use uct_pipeline::control::flat::Flat;

use super::{Format, View};

pub(super) fn write(format: &Format<'_>, view: &View<'_>, out: &mut String) -> fmt::Result {
    let entry = view.entry;
    let mut flat = Flat::from(entry);
    if !view.shown.state.yes() {
        flat.state = None;
    }
    if !view.shown.totals.yes() {
        (flat.orig_packets, flat.orig_bytes, flat.reply_packets, flat.reply_bytes) = (None, None, None, None);
        (flat.start_ns, flat.stop_ns) = (None, None);
    }
    let Ok(object) = serde_json::to_string(&flat) else { return Err(fmt::Error) };
    let body = object.strip_prefix('{').unwrap_or(&object);
    let body = body.strip_suffix('}').unwrap_or(body);

    out.push('{');
    if let Some(event) = view.event {
        write!(out, "\"event\":\"{}\",\"event_timestamp\":{},\"seq\":{},", event.kind.name(), event.at, event.seq)?;
    }
    out.push_str(body);
    if let Some(uses) = view.shown.uses {
        write!(out, ",\"use\":{uses}")?;
    }
    if let (Some(map), Some(bits)) = (format.labels, entry.labels) {
        write!(out, ",\"labels\":{}", quote(&map.names(bits).join(",")))?;
    }
    if let Some(start) = entry.start.filter(|_| view.shown.totals.yes()) {
        let end = entry.stop.unwrap_or(format.now);
        write!(out, ",\"delta_time\":{}", end.as_secs().saturating_sub(start.as_secs()))?;
        write!(out, ",\"start_epoch\":{}", start.as_secs())?;
        if let Some(stop) = entry.stop {
            write!(out, ",\"stop_epoch\":{}", stop.as_secs())?;
        }
    }
    if let Some(by) = view.event.and_then(|e| e.by.as_deref()) {
        write!(out, ",\"portid\":{}", by.portid)?;
        if let Some(name) = &by.progname {
            write!(out, ",\"progname\":{}", quote(name))?;
        }
    }
    out.write_char('}')
}

/// A JSON string.
fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
