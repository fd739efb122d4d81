//! The commands on the table of expectations.

use std::borrow::Cow;
use std::io;

use uct_engine::expect::{ExpectEntry, ExpectEvent, ExpectEventKind};
use uct_engine::{Family, Time};
use uct_pipeline::control::filter::Filter;
use uct_pipeline::control::message::{CreateExpectation, List, Reply, Request, Side, Told, WhichExpectation};

use super::{Shell, write_out};
use crate::conntrack::client::Ended;
use crate::conntrack::format::Format;
use crate::conntrack::parse::{Pair, Parsed};
use crate::conntrack::problem::{Problem, banner};

/// A summary is always about what has been shown.
fn summary(count: u64) -> String {
    format!("{}: {count} expectations have been shown.", banner())
}

/// `-L expect`: of IPv4, unless `-f` says otherwise.
pub(super) fn list(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    let family = parsed.family.unwrap_or(Family::Ipv4);
    let filter = Filter { family: Some(family.number()), ..Filter::default() };
    let list = List { table: Some(Cow::Borrowed("expect")), filter: Some(filter), zero: None };
    let mut format = Format::new(parsed.output, shell.labels, Time::ZERO);
    let (mut shown, mut text) = (0, String::new());
    let out = &mut *shell.out;
    let done = shell.connection.ask(Request { list: Some(list), ..Request::default() }, |reply| {
        for (entry, now) in entries(reply) {
            format.now = now;
            if shown == 0 {
                format.open_expectations(&mut text);
            }
            shown += 1;
            format.expectation(&entry, &mut text);
        }
        let written = write_out(out, &text);
        text.clear();
        written
    });
    if shown > 0 {
        format.close_expectations(&mut text);
    }
    let _ = write_out(shell.out, &text).and_then(|()| shell.out.flush());
    done.map_err(|e| e.problem())?;
    Ok(summary(shown))
}

fn entries(reply: &Reply) -> impl Iterator<Item = (ExpectEntry, Time)> {
    let now = Time::from_nanos(reply.now_ns.unwrap_or(0));
    let flats = reply.expectations.as_deref().unwrap_or_default();
    flats.iter().filter_map(move |flat| ExpectEntry::try_from(flat).ok().map(|entry| (entry, now)))
}

fn side(pair: Pair, ends: [Option<u16>; 2], parsed: &Parsed) -> Side {
    Side {
        src: pair.src,
        dst: pair.dst,
        sport: ends[0],
        dport: ends[1],
        icmp_type: parsed.fields.icmp[0],
        icmp_code: parsed.fields.icmp[1],
        icmp_id: parsed.fields.id,
    }
}

fn which(parsed: &Parsed) -> Option<WhichExpectation> {
    Some(WhichExpectation {
        protocol: parsed.protocol.map(|p| p.0),
        tuple: Some(side(parsed.original, parsed.fields.original, parsed)),
    })
}

/// ctnetlink's answers about expectations have plain words.
fn problem(ended: Ended) -> Problem {
    match ended.code() {
        "exists" => Problem::failed("File exists"),
        "missing" => Problem::failed("No such file or directory"),
        "full" => Problem::failed("Too many open files"),
        _ => ended.problem(),
    }
}

/// `-G expect`: no summary.
pub(super) fn get(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<Option<String>, Problem> {
    let mut format = Format::new(parsed.output, shell.labels, Time::ZERO);
    let mut text = String::new();
    let request = Request { get_expectation: which(parsed), ..Request::default() };
    let done = shell.connection.ask(request, |reply| {
        for (entry, now) in entries(reply) {
            format.now = now;
            format.expectation(&entry, &mut text);
        }
        Ok::<(), io::Error>(())
    });
    let _ = write_out(shell.out, &text).and_then(|()| shell.out.flush());
    done.map_err(problem)?;
    Ok(None)
}

/// `-D expect`.
pub(super) fn delete(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    let request = Request { delete_expectation: which(parsed), ..Request::default() };
    shell.connection.simply(request).map(summary).map_err(problem)
}

/// `-I expect`: no summary.
pub(super) fn create(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<Option<String>, Problem> {
    let create = CreateExpectation {
        protocol: parsed.protocol.map(|p| p.0),
        master: Some(side(parsed.original, parsed.fields.original, parsed)),
        tuple: Some(side(parsed.tuple, parsed.fields.tuple, parsed)),
        mask: Some(side(parsed.mask, parsed.fields.mask, parsed)),
        timeout: parsed.timeout,
        class: None,
        helper: None,
        permanent: None,
    };
    let request = Request { create_expectation: Some(create), ..Request::default() };
    shell.connection.simply(request).map_err(problem)?;
    Ok(None)
}

/// An event as it came over the wire.
pub(super) fn event(told: &Told) -> Option<ExpectEvent> {
    let kind = match told.kind.as_deref()? {
        "NEW" => ExpectEventKind::New,
        "DESTROY" => ExpectEventKind::Destroy,
        _ => return None,
    };
    Some(ExpectEvent {
        seq: told.seq?,
        at: Time::from_nanos(told.at_ns?),
        kind,
        entry: ExpectEntry::try_from(told.expectation.as_ref()?).ok()?,
        by: None,
    })
}
