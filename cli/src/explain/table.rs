//! The table as it stands at a moment, each connection with the packet that opened it and the rules that pinned it.

use std::fmt::Write as _;

use owo_colors::OwoColorize;
use serde::Serialize;
use uct_engine::{Manip, Time};

use super::filter::Filter;
use super::model::{Connection, Pin, VERSION};
use super::telling::Telling;
use super::words;
use crate::moment::date;

/// All connections at a moment.
#[derive(Debug, Serialize)]
pub struct Table {
    version: u32,
    /// Seconds since the capture's first frame.
    time: f64,
    time_ns: u64,
    table: Vec<Row>,
}

/// One connection.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    connection: Connection,
    /// Where the translation of its source was decided.
    source_by: Option<Pin>,
    /// Where the translation of its destination was decided.
    destination_by: Option<Pin>,
}

impl Table {
    /// The connections that the filter takes, as they stand now.
    pub fn of(telling: &Telling, filter: &Filter) -> Table {
        let now = telling.now();
        let entries = telling.router().engine().entries(now);
        let row = |entry: &uct_engine::Entry| {
            let record = telling.ledger().get(entry.id);
            let pin = |manip| telling.ledger().pin(entry.id, manip).filter(|p| p.rule.is_some()).cloned();
            Row {
                connection: Connection::of(entry, record.map(|r| r.opened)),
                source_by: pin(Manip::Src),
                destination_by: pin(Manip::Dst),
            }
        };
        let rows = entries.iter().map(row).filter(|row| filter.takes_connection(&row.connection)).collect();
        Table { version: VERSION, time: since(telling.first(), now), time_ns: now.as_nanos(), table: rows }
    }

    /// For programs: one line.
    pub fn json(&self, out: &mut String) {
        if let Ok(line) = serde_json::to_string(self) {
            out.push_str(&line);
            out.push('\n');
        }
    }

    /// For people.
    pub fn text(&self, out: &mut String) {
        let plural = if self.table.len() == 1 { "" } else { "s" };
        let when = date(Time::from_nanos(self.time_ns));
        let _ = writeln!(out, "At +{:.6} ({when}) the table has {} connection{plural}", self.time, self.table.len());
        for Row { connection: c, source_by, destination_by } in &self.table {
            let state = c.state.map_or(String::new(), |s| format!(" {s}"));
            let since = c.since.map_or(String::new(), |p| format!(", opened by packet {p}"));
            let number = format!("#{}", c.id);
            let _ = writeln!(out, "  {} {}{state}, {} s to live{since}", number.cyan(), c.original.protocol, c.timeout);
            let _ = writeln!(out, "    original {}", c.original.text);
            let reply = if c.is_translated() { c.reply.text.green().to_string() } else { c.reply.text.clone() };
            let _ = writeln!(out, "    reply    {reply}");
            for (end, pin) in [("source", source_by), ("destination", destination_by)] {
                if let Some(rule) = pin.as_ref().and_then(|p| p.rule.as_ref()) {
                    let _ = writeln!(out, "    {end} by {} {}", words::place(rule), rule.text);
                }
            }
            let shown: Vec<&str> =
                c.status.iter().copied().filter(|s| matches!(*s, "SEEN_REPLY" | "ASSURED")).collect();
            if !shown.is_empty() {
                let _ = writeln!(out, "    {}", shown.join(", "));
            }
        }
    }
}

/// Seconds from one time to another.
pub fn since(first: Time, now: Time) -> f64 {
    now.saturating_duration_since(first).as_secs_f64()
}
