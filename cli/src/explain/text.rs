//! The explanation for people: a headline, the words, then each stop with its numbers.
//!
//! Text is written with colours; whoever prints it takes them out where they are not wanted. Red is what was and is not any
//! more, or what went wrong; green is what NAT made; cyan is a connection's number.

use std::fmt::Write as _;

use owo_colors::OwoColorize;

use super::header::{Change, Header};
use super::model::{ConnRef, EndView, Explanation, NatStep, Origin, Rule, Step, TupleView, Verdict, Way, WindowTest};
use super::words;

/// Width of the labels.
const LABEL: usize = 10;

/// Writes one packet's explanation, with an empty line after it.
pub fn write(e: &Explanation, out: &mut String) {
    let came = e.ways.iter().find(|w| w.origin != Origin::Answer).and_then(|w| w.came.as_ref());
    headline(e, came, out);
    for sentence in &e.words {
        let _ = writeln!(out, "  {}", sentence_painted(sentence));
    }
    for step in &e.before {
        if let Step::Gone { .. } = step {
            row("expired", &gone(step), out);
        }
    }
    for way in &e.ways {
        if way.origin == Origin::Answer
            && let Some(h) = &way.came
        {
            row("answer", &describe(h), out);
        }
        for (at, step) in way.steps.iter().enumerate() {
            self::step(step, at, way, out);
        }
        left(way, out);
    }
    out.push('\n');
}

fn headline(e: &Explanation, came: Option<&Header>, out: &mut String) {
    let interface = e.interface.as_deref().unwrap_or("-");
    let _ =
        write!(out, "{} {} {interface}", format_args!("#{}", e.packet).bold(), format_args!("+{:.6}", e.time).dimmed());
    match came {
        Some(h) => {
            let _ = writeln!(out, "  {}", describe(h).bold());
        }
        None => {
            let _ = writeln!(out, "  {}", "no IP packet".bold());
        }
    }
}

/// `TCP 192.168.1.10:40000 → 198.51.100.80:443 SYN, 60 bytes`.
pub fn describe(h: &Header) -> String {
    let kind = h.kind();
    let gap = if kind.is_empty() { "" } else { "  " };
    let cut = if h.truncated { ", cut by the capture" } else { "" };
    format!("{} {h}{gap}{kind}  ({} bytes, TTL {}{cut})", h.protocol_name(), h.length, h.ttl)
}

fn sentence_painted(text: &str) -> String {
    if text.starts_with("INVALID") || text.starts_with("It is dropped") || text.starts_with("A clash") {
        text.red().bold().to_string()
    } else if text.contains(": a leak") {
        text.red().to_string()
    } else {
        text.to_owned()
    }
}

fn row(label: &str, text: &str, out: &mut String) {
    let _ = writeln!(out, "    {} {text}", format_args!("{label:LABEL$}").dimmed());
}

fn more(text: &str, out: &mut String) {
    row("", text, out);
}

fn number(id: u32) -> String {
    format!("#{id}").cyan().to_string()
}

fn conn(c: &ConnRef) -> String {
    match c.since {
        Some(packet) => format!("{} (packet {packet})", number(c.id)),
        None => number(c.id),
    }
}

fn rule(r: &Rule) -> String {
    format!("{} {}", words::place(r).bold(), r.text.italic())
}

fn seconds(s: f64) -> String {
    if s.fract() == 0.0 { format!("{s} s") } else { format!("{s:.3} s") }
}

fn step(step: &Step, at: usize, way: &Way, out: &mut String) {
    match step {
        Step::Restored => row("vantage", "turned back into what the router had received", out),
        Step::Held { lost } => row("fragment", &held(*lost), out),
        Step::Whole { fragments, header } => {
            row("fragment", &format!("{fragments} fragments make one packet: {}", describe(header)), out);
        }
        Step::Incomplete { .. } => {}
        Step::Lookup { tuple, zone, found, direction } => lookup(tuple, *zone, found.as_ref(), *direction, out),
        Step::Opened { connection, .. } => row("opens", &format!("connection {}", number(*connection)), out),
        Step::Transition { segment, state, next, outcome, why, direction } => {
            let arrow = match (*outcome, next) {
                (_, Some(next)) if next == state => (*state).to_owned(),
                (_, Some(next)) => format!("{state} → {}", next.bold()),
                (outcome, _) => format!("{state}, {outcome}"),
            };
            row("state", &format!("{arrow}  {segment} in {direction} direction: {why}"), out);
        }
        Step::Exception { why } => row("", why, out),
        Step::Window { verdict, receiver_unseen, tests, .. } => {
            window(verdict, *receiver_unseen, way.info != Some("invalid"), tests, out);
        }
        Step::Ends { original, reply } => {
            row("ends", &end("original", original), out);
            more(&end("reply   ", reply), out);
        }
        Step::Ceiling { .. } => {} // told with the timeout
        Step::Timeout { seconds: s, setting } => {
            let ceiling = way.steps[..at].iter().rev().find_map(|s| match s {
                Step::Ceiling { own, why } => Some((*own, why)),
                _ => None,
            });
            let setting = setting.map_or(String::new(), |s| format!(" ({s})"));
            row(
                "timeout",
                &match ceiling {
                    Some((own, why)) => format!("{} instead of {}{setting}: {why}", seconds(*s), seconds(own)),
                    None => format!("{}{setting}", seconds(*s)),
                },
                out,
            );
        }
        Step::Tracked { connection, direction, info, .. } => {
            row("tracked", &format!("{} {direction}, ct state {info}", number(*connection)), out);
        }
        Step::Invalid { reason, why, .. } => row("invalid", &format!("{} ({reason})", why.red()), out),
        Step::Untracked => row("tracked", "no: untracked", out),
        // What decides is told with the decision.
        Step::Rule { rule: r } if decides(r, &way.steps[at + 1..]) => {}
        Step::Rule { rule: r } => row("rule", &rule(r), out),
        Step::Log { line, rule: r, .. } => row("log", &format!("{line}  {}", words::place(r)), out),
        Step::Chain { hook, chain, decision, rule: r } => {
            let by = r.as_ref().map_or_else(|| "by its policy".to_owned(), rule);
            let decision = if decision == "accept" { decision.clone() } else { decision.red().to_string() };
            row(hook, &format!("{decision}  {by}  {}", format_args!("(chain {chain})").dimmed()), out);
        }
        Step::Mapping { .. } => {} // told with the decision
        Step::Nat(nat) => self::nat(nat, way, out),
        Step::Rewritten { hook, changes, pinned } => rewritten(hook, changes, pinned.as_ref(), out),
        Step::Routed { to, interface, next_hop, why } => {
            routed(to, interface.as_deref(), *next_hop, why.as_deref(), out)
        }
        Step::Confirmed { outcome, connection, by } => confirmed(outcome, *connection, by.as_ref(), way, out),
        Step::Gone { .. } => row("gone", &gone(step), out),
        Step::Dropped { reason, why, rule: r } => {
            let by = r.as_ref().map_or(String::new(), |r| format!("  {}", rule(r)));
            row("dropped", &format!("{} ({reason}){by}", why.red()), out);
        }
        Step::Silent { why } => row("silent", why, out),
        Step::Delivered { header } => row("delivered", &format!("to the router itself: {}", describe(header)), out),
    }
}

fn held(lost: u32) -> String {
    match lost {
        0 => "held until the datagram is whole".to_owned(),
        n => format!("held until the datagram is whole; {n} earlier ones were given up"),
    }
}

fn lookup(tuple: &TupleView, zone: u16, found: Option<&ConnRef>, direction: Option<&str>, out: &mut String) {
    let zone = if zone == 0 { String::new() } else { format!(" in zone {zone}") };
    let found = match (found, direction) {
        (Some(c), Some(dir)) => format!("the {dir} tuple of {}", conn(c)),
        _ => "nothing".to_owned(),
    };
    row("lookup", &format!("{} {}{zone}: {found}", tuple.protocol, tuple.text), out);
}

fn window(verdict: &str, receiver_unseen: bool, is_accepted: bool, tests: &[WindowTest], out: &mut String) {
    let is_inside = verdict == "inside";
    let verdict = match verdict {
        "inside" => verdict.to_owned(),
        _ => verdict.replace('_', " ").red().to_string(),
    };
    if tests.is_empty() {
        return row("window", &format!("{verdict}: nothing to compare with yet"), out);
    }
    // A segment cannot be held against a receiver of whom nothing is known; the engine accepts it.
    let is_vague = receiver_unseen && is_accepted;
    match (is_vague, is_inside) {
        (true, true) => row("window", "inside, though nothing was seen of the receiver yet", out),
        (true, false) => row("window", "not to be judged: nothing was seen of the receiver yet", out),
        (false, _) => row("window", &verdict, out),
    }
    for t in tests.iter().filter(|t| !is_vague || matches!(t.test, "I" | "II")) {
        let sign = if matches!(t.test, "I" | "III") { '≤' } else { '≥' };
        let holds = if t.holds { "holds".to_owned() } else { "fails".red().bold().to_string() };
        let distance = t.bound.wrapping_sub(t.value) as i32;
        let line = format!(
            "{:<3} {:<36} {} {sign} {}{}  {holds} by {}",
            t.test,
            t.says,
            t.value,
            t.bound,
            words::set_by(t),
            distance.unsigned_abs()
        );
        more(&line, out);
    }
}

fn end(name: &str, e: &EndView) -> String {
    let ack = e.max_ack.map_or(String::new(), |a| format!(" maxack {a}"));
    let flags = if e.flags.is_empty() { String::new() } else { format!(" {}", e.flags.join(",")) };
    format!("{name} end {} maxend {} maxwin {}{ack} scale {}{flags}", e.end, e.max_end, e.max_win, e.scale)
        .dimmed()
        .to_string()
}

fn nat(nat: &NatStep, way: &Way, out: &mut String) {
    let asked = match (&nat.rule, &nat.action) {
        (Some(r), Some(action)) => format!("{action}  {}", rule(r)),
        _ => "no rule asks for a translation".to_owned(),
    };
    row("nat", &format!("{}: {asked}", nat.end), out);
    let (old, new) = (words::end_of(nat, &nat.before), words::end_of(nat, &nat.after));
    let address = match nat.address {
        "kept" | "only" => String::new(),
        how => format!(", address {}", how.replace('_', " ")),
    };
    if nat.before == nat.after {
        more(&format!("{old} stays{address}, {} {}", words::id_word(nat), nat.port), out);
    } else {
        more(&format!("{} → {}{address}, {} {}", old.red(), new.green(), words::id_word(nat), nat.port), out);
    }
    if let Some(taken) = &nat.taken_by {
        more(&format!("the first choice's reply tuple is taken by {}", conn(taken)), out);
    }
    if let Some(reused) = &nat.reused {
        more(&format!("the mapping of {}, of the same source", conn(reused)), out);
    }
    if let Some(s) = &nat.search {
        let start = match s.start {
            "lowest" => "lowest first".to_owned(),
            start => format!("{start} offset {}", s.offset),
        };
        let evicted = s.evicted.as_ref().map_or(String::new(), |c| format!(", evicts {}", conn(c)));
        let plural = if s.tries == 1 { "try" } else { "tries" };
        more(
            &format!(
                "searched {}-{}, {start}, {} {plural}, {} restarts{evicted}",
                s.first, s.last, s.tries, s.restarts
            ),
            out,
        );
    }
    if nat.before == nat.after {
        return;
    }
    let (Some(connection), Some(reply)) = (&way.connection, &nat.reply) else { return };
    more(&format!("original tuple {} stays", connection.original.text), out);
    more(&format!("reply tuple    {}", reply.text.green()), out);
}

/// Whether the decision that comes next names this rule anyway.
fn decides(rule: &Rule, rest: &[Step]) -> bool {
    match rest.first() {
        Some(Step::Mapping { rule: r, .. } | Step::Chain { rule: Some(r), .. }) => r == rule,
        _ => false,
    }
}

fn rewritten(hook: &str, changes: &[Change], pinned: Option<&super::model::Pin>, out: &mut String) {
    if changes.is_empty() {
        return;
    }
    let list: Vec<String> =
        changes.iter().map(|c| format!("{} {} → {}", c.field, c.old.red(), c.new.green())).collect();
    row("rewritten", &format!("at {hook}: {}", list.join(", ")), out);
    if let Some(pin) = pinned {
        let by = pin.rule.as_ref().map_or(String::new(), |r| format!(" by {}", rule(r)));
        more(&format!("decided for packet {}{by}", pin.packet), out);
    }
}

fn routed(to: &str, interface: Option<&str>, next: Option<std::net::IpAddr>, why: Option<&str>, out: &mut String) {
    let text = match (to, interface, next) {
        ("forward", Some(interface), Some(next)) => format!("{interface}, next hop {next}"),
        ("local", ..) => format!("to the router itself{}", why.map_or(String::new(), |w| format!(" ({w})"))),
        ("none", ..) => "no route".red().to_string(),
        _ => why.unwrap_or("refused").red().to_string(),
    };
    row("route", &text, out);
}

fn confirmed(outcome: &str, id: u32, by: Option<&ConnRef>, way: &Way, out: &mut String) {
    let other = by.map(conn).unwrap_or_default();
    match outcome {
        "inserted" => {
            row("confirmed", &format!("{} stands in the table now, under both tuples", number(id)), out);
            if let Some(c) = way.connection.as_ref().filter(|c| !c.is_translated()) {
                more(&format!("original {}", c.original.text), out);
                more(&format!("reply    {}", c.reply.text), out);
            }
        }
        "merged" => row("confirmed", &format!("joins {other}, which was opened meanwhile"), out),
        "clash" => row("clash", &format!("{} {other}", "its tuple belongs to".red()), out),
        _ => {}
    }
}

fn gone(step: &Step) -> String {
    let Step::Gone { connection, original, state, time, why, .. } = step else { return String::new() };
    let state = state.map_or(String::new(), |s| format!(" {s}"));
    format!("{} {} {}{state}, at +{time:.6}: {why}", conn(connection), original.protocol, original.text)
}

fn left(way: &Way, out: &mut String) {
    for left in &way.left {
        let header = left.header.as_ref().map(describe).unwrap_or_default();
        row("out", &format!("{} to {}: {header}", left.interface.bold(), left.next_hop), out);
    }
}

/// Whether something is worth a look: for `--brief`.
pub fn is_bad(e: &Explanation) -> bool {
    e.verdict == Verdict::Drop || e.ways.iter().any(|w| w.info == Some("invalid"))
}
