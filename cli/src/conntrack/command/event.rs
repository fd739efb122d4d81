//! `-E`: what happens, until a signal ends it.

use std::borrow::Cow;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use uct_engine::{Client, Entry, Event, EventKind, EventMask, Time};
use uct_pipeline::control::message::{Events, Request, Told};

use super::{Shell, expectation, filter, write_out};
use crate::conntrack::format::Format;
use crate::conntrack::options::Table;
use crate::conntrack::parse::Parsed;
use crate::conntrack::problem::{Problem, banner};

pub(super) fn run(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    if let Some(size) = parsed.buffer_size {
        eprintln!("NOTICE: Netlink socket buffer size has been set to {size} bytes.");
    }
    let stopped = stop_on_signal(shell)?;
    let kinds = (!parsed.events.is_empty()).then(|| parsed.events.iter().map(|k| Cow::Borrowed(k.name())).collect());
    let expectations = parsed.table == Table::Expect;
    let filter = (!expectations).then(|| filter(parsed));
    let events = Events { table: Some(Cow::Borrowed(parsed.table.name())), filter, kinds };
    let request = Request { id: Some(1), events: Some(events), ..Request::default() };
    shell.connection.send(&request).map_err(|e| e.problem())?;

    let format = Format::new(parsed.output, shell.labels, Time::ZERO);
    let (mut shown, mut text) = (0u64, String::new());
    let ended = loop {
        let reply = match shell.connection.receive() {
            Ok(Some(reply)) => reply,
            Ok(None) => break None,
            Err(e) => break Some(e.problem()),
        };
        if let Some(fault) = reply.error {
            break Some(super::super::client::Ended::Refused(fault).problem());
        }
        if let Some(gap) = reply.gap {
            let (from, to) = (gap.from.unwrap_or(0), gap.to.unwrap_or(0));
            eprintln!("WARNING: events {from} to {to} were lost: they came faster than they were read.");
        }
        let told = reply.event.unwrap_or_default();
        if let Some(event) = expectation::event(&told) {
            if shown == 0 {
                format.open_expectations(&mut text);
            }
            shown += 1;
            format.expectation_event(&event, &mut text);
        } else if let Some(event) = event(told) {
            if shown == 0 {
                format.open(&mut text);
            }
            shown += 1;
            format.event(&event, &mut text);
        }
        if !text.is_empty() && !shell.connection.has_more() {
            let written = write_out(shell.out, &text).and_then(|()| shell.out.flush());
            text.clear();
            if written.is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
                break None;
            }
        }
    };
    match (shown, expectations) {
        (0, _) => {}
        (_, true) => format.close_expectations(&mut text),
        (_, false) => format.close(&mut text),
    }
    let _ = write_out(shell.out, &text).and_then(|()| shell.out.flush());
    let what = if expectations { "expectation" } else { "flow" };
    let summary = format!("{}: {shown} {what} events have been shown.", banner());
    if stopped.load(Ordering::Acquire) {
        return Ok(summary);
    }
    eprintln!("{summary}");
    Err(ended.unwrap_or_else(|| Problem::Other("the router closed the connection".to_owned())))
}

/// A signal closes the socket: what is under way is still printed.
fn stop_on_signal(shell: &Shell<'_>) -> Result<Arc<AtomicBool>, Problem> {
    let cannot = |e: std::io::Error| Problem::Other(e.to_string());
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let stream = shell.connection.stream().map_err(cannot)?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(cannot)?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            flag.store(true, Ordering::Release);
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    Ok(stopped)
}

/// An event as it came over the wire.
fn event(told: Told) -> Option<Event> {
    let kind = match told.kind.as_deref()? {
        "NEW" => EventKind::New,
        "UPDATE" => EventKind::Update,
        "DESTROY" => EventKind::Destroy,
        _ => return None,
    };
    let names = told.mask.unwrap_or_default();
    let mask = names.iter().filter_map(|name| EventMask::from_name(name)).fold(EventMask::empty(), |m, b| m | b);
    let progname = told.progname.map(Cow::into_owned);
    Some(Event {
        seq: told.seq?,
        at: Time::from_nanos(told.at_ns?),
        kind,
        mask,
        entry: Entry::try_from(told.entry.as_ref()?).ok()?,
        by: told.portid.map(|portid| Arc::new(Client { portid, progname })),
    })
}
