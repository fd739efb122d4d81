//! `uct diff`: what if? One capture replayed twice, and where the two part.
//!
//! ```text
//!            ┌─ a: settings, rules, seed, losses ─► Telling ─► Seen ─┐
//!   capture ─┤                                                      ├─ compared packet by packet ─► Report
//!            └─ b: …                              ─► Telling ─► Seen ─┘            then the two tables
//! ```
//! Both replays go on in step, so that memory holds two tables and one packet each. `--only-dir` needs to know which direction
//! a packet has: a first replay of that side, in which all arrive, tells.
//!
//! Exit codes: 0 the two are the same, 1 they differ (or the capture is at fault), 2 wrong usage.

use std::process::ExitCode;

use clap::Parser;

use crate::Failure;
use crate::args::{self, DirArg, Input, Setup, Side};
use crate::explain::filter;
use crate::explain::model::Explanation;
use crate::explain::tee::Loss;
use crate::explain::telling::Telling;
use crate::session::Session;
use crate::stdio::Coloured;

mod report;
mod seen;
mod split;

use report::Report;
use seen::Seen;

/// Runs the command.
pub fn run(args: &args::Diff) -> Result<ExitCode, Failure> {
    if args.input.capture.as_os_str() == "-" {
        return Err(Failure::usage("'uct diff' reads the capture twice, so it cannot be standard input"));
    }
    let mut a = side(&args.input, "--a", &args.a)?;
    let mut b = side(&args.input, "--b", &args.b)?;
    let mut report = Report::new(&args.a, &args.b);
    // A fault in the capture ends both; what came before counts.
    let mut fault = None;
    let (mut next_a, mut next_b) = (next(&mut a, &mut fault), next(&mut b, &mut fault));
    loop {
        let number = match (&next_a, &next_b) {
            (None, None) => break,
            (Some(x), None) | (None, Some(x)) => x.packet,
            (Some(x), Some(y)) => x.packet.min(y.packet),
        };
        let seen_a = take(&mut next_a, &mut a, number, &mut fault);
        let seen_b = take(&mut next_b, &mut b, number, &mut fault);
        report.packet(number, seen_a, seen_b);
    }
    // What is compared at the end is compared at one time.
    a.wait_until_asked();
    b.wait_until_asked();
    let end = a.now().max(b.now());
    for side in [&mut a, &mut b] {
        side.wait_until(end);
    }
    report.tables(a.router().engine().entries(end), b.router().engine().entries(end));

    let text = if args.json { report.json() } else { report.text() };
    let mut out = Coloured::new(args.color);
    out.print(&text)?;
    out.finish()?;
    match fault {
        Some(fault) => Err(fault),
        None => Ok(ExitCode::from(u8::from(report.is_different()))),
    }
}

/// The next packet of a side, if it is the one of this number.
fn take(
    waiting: &mut Option<Explanation>,
    side: &mut Telling,
    number: u64,
    fault: &mut Option<Failure>,
) -> Option<Seen> {
    if waiting.as_ref().is_none_or(|e| e.packet != number) {
        return None;
    }
    let taken = waiting.take();
    *waiting = next(side, fault);
    taken.map(Seen::of)
}

/// What a side does next; none at its end, or at a fault.
fn next(side: &mut Telling, fault: &mut Option<Failure>) -> Option<Explanation> {
    match side.next()? {
        Ok(told) => Some(told),
        Err(why) => {
            *fault = Some(why);
            None
        }
    }
}

/// One side, ready to be replayed.
fn side(input: &Input, option: &str, words: &str) -> Result<Telling, Failure> {
    let words = split::words(words).map_err(|why| Failure::usage(format!("{option}: {why}")))?;
    let side = Side::try_parse_from(words).map_err(|e| {
        let text = e.to_string();
        Failure::usage(format!("{option}: {}", text.trim_start_matches("error: ").trim_end()))
    })?;
    let input = Input { capture: input.capture.clone(), at: input.at, setup: merged(&input.setup, &side) };
    let mut loss = Loss::default();
    for text in &side.lose {
        loss.ranges.push(filter::range("--lose", text).map_err(Failure::usage)?);
    }
    if let Some(dir) = side.only_dir {
        let unwanted = match dir {
            DirArg::Original => "reply",
            DirArg::Reply => "original",
        };
        for e in Telling::new(Session::open(&input, &[])?.start()?, loss.clone()) {
            let e = e?;
            if e.ways.iter().any(|w| w.direction == Some(unwanted)) {
                loss.numbers.insert(e.packet);
            }
        }
    }
    Ok(Telling::new(Session::open(&input, &[])?.start()?, loss))
}

/// What both sides have, and what this one has of its own.
fn merged(common: &Setup, side: &Side) -> Setup {
    let both = |a: &[String], b: &[String]| a.iter().chain(b).cloned().collect();
    Setup {
        topology: side.topology.clone().or_else(|| common.topology.clone()),
        rules: side.rules.clone().or_else(|| common.rules.clone()),
        rule: both(&common.rule, &side.rule),
        rules_at: common.rules_at.iter().chain(&side.rules_at).cloned().collect(),
        sysctl: both(&common.sysctl, &side.sysctl),
        seed: side.seed.unwrap_or(common.seed),
        ports: side.ports.unwrap_or(common.ports),
        vantage: common.vantage,
        inside: common.inside.clone(),
    }
}
