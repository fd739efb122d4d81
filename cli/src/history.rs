//! `uct history`: the lives of connections, event by event.
//!
//! ```text
//!   Telling ─► Explanation ─► Lives: for each connection what changed, and by which packet
//! ```
//! Told is what changed: the opening and who gave it which address, states, status bits, the mark; packets that were invalid or
//! dropped; the end and why. Packets between are counted together, so that a life is as long as it is eventful.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::process::ExitCode;

use owo_colors::OwoColorize;
use serde::Serialize;

use crate::Failure;
use crate::args;
use crate::explain::filter::Filter;
use crate::explain::model::{Connection, Explanation, Origin, Step, VERSION, Way};
use crate::explain::tee::Loss;
use crate::explain::telling::Telling;
use crate::explain::words;
use crate::session::Session;
use crate::stdio::Coloured;

/// Something that happened to a connection.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// The packet that it happened to; none if it was time alone.
    pub packet: Option<u64>,
    /// Seconds since the capture's first frame.
    pub time: f64,
    /// `opened`, `translated`, `state`, `status`, `mark`, `packets`, `invalid`, `related`, `dropped`, `gone`.
    pub event: &'static str,
    /// What, in words.
    pub what: String,
}

/// One connection from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Life {
    /// As it was last seen.
    pub connection: Connection,
    /// The packet that opened it.
    pub opened: u64,
    /// When that was, in seconds since the first frame.
    pub since: f64,
    /// When it left the table, and why; none if it stands there still.
    pub end: Option<(f64, String)>,
    /// Whether it ever stood in the table.
    pub confirmed: bool,
    /// What happened.
    pub events: Vec<Event>,
    /// Packets since the last event: how many, the first, the last, and the last one's time.
    quiet: Option<(u64, u64, u64, f64)>,
}

/// The lives of all connections, in the order in which they began.
#[derive(Debug, Default)]
pub struct Lives(BTreeMap<u32, Life>);

impl Lives {
    /// Takes in what one packet did.
    pub fn take(&mut self, e: &Explanation) {
        self.gone(&e.before);
        for way in e.ways.iter().filter(|w| w.origin != Origin::Answer) {
            self.way(e, way);
        }
    }

    /// Takes in what time alone did.
    pub fn gone(&mut self, steps: &[Step]) {
        for step in steps {
            if let Step::Gone { connection, time, why, .. } = step {
                self.end(connection.id, None, *time, why);
            }
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Life> {
        self.0.values()
    }

    fn way(&mut self, e: &Explanation, way: &Way) {
        for step in &way.steps {
            if let Step::Gone { connection, time, why, .. } = step {
                self.end(connection.id, Some(e.packet), *time, why);
            }
        }
        let Some(connection) = &way.connection else {
            self.invalid(e, way);
            return;
        };
        let opens = way.steps.iter().any(|s| matches!(s, Step::Opened { connection: id, .. } if *id == connection.id));
        let dropped = way.steps.iter().find_map(|s| match s {
            Step::Dropped { why, rule, .. } => {
                Some(rule.as_ref().map_or_else(|| why.clone(), |r| format!("{why} ({}: {})", words::place(r), r.text)))
            }
            _ => None,
        });
        let mut found: Vec<(&'static str, String)> = Vec::new();
        if opens {
            let kind = way.came.as_ref().map_or(String::new(), |h| format!("{} {}", h.protocol_name(), h.kind()));
            found.push(("opened", format!("opened by {}", kind.trim_end())));
            let life = Life {
                connection: connection.clone(),
                opened: e.packet,
                since: e.time,
                end: None,
                confirmed: false,
                events: Vec::new(),
                quiet: None,
            };
            self.0.insert(connection.id, life);
        }
        let Some(life) = self.0.get_mut(&connection.id) else { return };
        for step in &way.steps {
            match step {
                Step::Nat(nat) => found.extend(words::decision(nat).map(|text| ("translated", text))),
                Step::Transition { state, next: Some(next), why, .. } if next != state => {
                    found.push(("state", format!("{state} → {next}: {why}")));
                }
                Step::Confirmed { outcome: "inserted", .. } => life.confirmed = true,
                Step::Tracked { info: "related", .. } if way.came.as_ref().is_some_and(|h| h.quoted.is_some()) => {
                    let kind = way.came.as_ref().map_or(String::new(), |h| h.kind());
                    found.push(("related", format!("an ICMP {kind}")));
                }
                _ => {}
            }
        }
        // A new one has its first bits by the time it is seen; what a packet adds later is news.
        let news: Vec<&str> = connection
            .status
            .iter()
            .copied()
            .filter(|s| matches!(*s, "SEEN_REPLY" | "ASSURED") && (opens || !life.connection.status.contains(s)))
            .collect();
        if !news.is_empty() {
            found.push(("status", news.join(", ")));
        }
        if connection.mark != life.connection.mark || (opens && connection.mark != 0) {
            found.push(("mark", format!("mark {}", connection.mark)));
        }
        found.extend(dropped.map(|why| ("dropped", format!("the packet is dropped: {why}"))));
        life.connection = connection.clone();
        if found.is_empty() {
            let (n, first, ..) = life.quiet.unwrap_or((0, e.packet, 0, 0.0));
            life.quiet = Some((n + 1, first, e.packet, e.time));
        }
        for (event, what) in found {
            life.push(Event { packet: Some(e.packet), time: e.time, event, what });
        }
    }

    /// A packet that met a connection and was refused.
    fn invalid(&mut self, e: &Explanation, way: &Way) {
        let found = way.steps.iter().find_map(|s| match s {
            Step::Lookup { found: Some(conn), .. } => Some(conn.id),
            _ => None,
        });
        let why = way.steps.iter().find_map(|s| match s {
            Step::Invalid { why, .. } => Some(why),
            _ => None,
        });
        if let (Some(life), Some(why)) = (found.and_then(|id| self.0.get_mut(&id)), why) {
            let what = format!("INVALID: {why}");
            life.push(Event { packet: Some(e.packet), time: e.time, event: "invalid", what });
        }
    }

    fn end(&mut self, id: u32, packet: Option<u64>, time: f64, why: &str) {
        if let Some(life) = self.0.get_mut(&id) {
            life.end = Some((time, why.to_owned()));
            life.push(Event { packet, time, event: "gone", what: format!("gone: {why}") });
        }
    }
}

impl Life {
    fn push(&mut self, event: Event) {
        self.flush();
        self.events.push(event);
    }

    /// Tells of the packets that changed nothing.
    fn flush(&mut self) {
        if let Some((n, first, last, time)) = self.quiet.take() {
            let what = match n {
                1 => format!("packet {last} changed nothing but the timeout"),
                n => format!("{n} packets ({first} to {last}) changed nothing but the timeout"),
            };
            self.events.push(Event { packet: Some(last), time, event: "packets", what });
        }
    }
}

/// Replays a capture and tells all lives in it.
pub fn lives(input: &args::Input) -> Result<(Lives, Telling, Option<Failure>), Failure> {
    let mut telling = Telling::new(Session::open(input, &[])?.start()?, Loss::default());
    let (mut lives, mut fault) = (Lives::default(), None);
    for told in telling.by_ref() {
        match told {
            Ok(e) => lives.take(&e),
            Err(failure) => fault = Some(failure),
        }
    }
    let steps = telling.wait_until_asked();
    lives.gone(&steps);
    lives.0.values_mut().for_each(Life::flush);
    Ok((lives, telling, fault))
}

/// Runs the command.
pub fn run(args: &args::History) -> Result<ExitCode, Failure> {
    let filter = Filter::new(&[], args.conn.as_deref()).map_err(Failure::usage)?;
    let (lives, telling, fault) = lives(&args.input)?;
    // What a connection has still to live is that of now, not of its last packet.
    let now = telling.now();
    let standing: HashMap<u32, u64> =
        telling.router().engine().entries(now).iter().map(|e| (e.id.0, e.timeout.as_secs())).collect();
    let mut out = Coloured::new(args.color);
    let mut text = String::new();
    for life in lives.all().filter(|l| filter.takes_connection(&l.connection)) {
        text.clear();
        if args.json {
            json(life, &mut text)
        } else {
            show(life, standing.get(&life.connection.id).copied(), &mut text)
        }
        out.print(&text)?;
    }
    out.finish()?;
    fault.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn json(life: &Life, out: &mut String) {
    #[derive(Serialize)]
    struct Line<'a> {
        version: u32,
        connection: u32,
        protocol: &'a str,
        original: &'a str,
        reply: &'a str,
        #[serde(flatten)]
        event: &'a Event,
    }
    let c = &life.connection;
    for event in &life.events {
        let line = Line {
            version: VERSION,
            connection: c.id,
            protocol: &c.original.protocol,
            original: &c.original.text,
            reply: &c.reply.text,
            event,
        };
        if let Ok(line) = serde_json::to_string(&line) {
            out.push_str(&line);
            out.push('\n');
        }
    }
}

fn show(life: &Life, to_live: Option<u64>, out: &mut String) {
    let c = &life.connection;
    let number = format!("#{}", c.id);
    let reply = if c.is_translated() { c.reply.text.green().to_string() } else { c.reply.text.clone() };
    let _ = writeln!(out, "{} {} {}, answers {reply}", number.cyan().bold(), c.original.protocol, c.original.text);
    for event in &life.events {
        let packet = event.packet.map_or(String::new(), |p| format!("#{p}"));
        let what = match event.event {
            "invalid" | "dropped" => event.what.red().to_string(),
            _ => event.what.clone(),
        };
        let _ = writeln!(out, "  {packet:>7}  {:>14}  {what}", format!("+{:.6}", event.time));
    }
    let _ = match (&life.end, to_live) {
        (None, Some(seconds)) => {
            let state = c.state.map_or(String::new(), |s| format!(", {s}"));
            writeln!(out, "  {:>7}  {:>14}  still there{state}, {seconds} s to live", "", "")
        }
        (None, None) => writeln!(out, "  {:>7}  {:>14}  never in the table", "", ""),
        _ => Ok(()),
    };
    out.push('\n');
}
