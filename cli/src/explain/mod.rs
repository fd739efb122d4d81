//! `uct explain`: what a Linux router would do with every packet of a capture, and why.
//!
//! ```text
//!   Replay ──tells──► Explainer ──► Explanation ──┬─► words     sentences, in every form below
//!                      Ledger                     ├─► text      sentences, then each stop with its numbers
//!                                                 ├─► brief     one line
//!                                                 ├─► json      all of it
//!                                                 └─► html      a page to step through
//! ```
//! The replay is the one that `uct replay` does; explanation only listens. What is shown is chosen after it happened: the
//! packets before are replayed all the same.

use std::process::ExitCode;

use uct_pipeline::capture::CaptureError;
use uct_pipeline::router::Router;

use crate::Failure;
use crate::args;
use crate::replay::unwritten;
use crate::session::{Capture, Session};
use crate::stdio::Coloured;

pub mod annotate;
pub mod book;
pub mod brief;
pub mod filter;
pub mod header;
pub mod html;
pub mod ledger;
pub mod model;
pub mod observer;
pub mod table;
pub mod tee;
pub mod telling;
pub mod text;
pub mod words;

use annotate::Annotator;
use filter::Filter;
use html::Page;
use model::Explanation;
use tee::{Loss, Tee};
use telling::Telling;

/// Runs the command.
pub fn run(args: &args::Explain) -> Result<ExitCode, Failure> {
    let filter = Filter::new(&args.packet, args.conn.as_deref()).map_err(Failure::usage)?;
    let named = [("--write", &args.out.write), ("--html", &args.html)];
    let writes: Vec<_> = named.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?))).collect();
    if writes.iter().filter(|(_, path)| path.as_os_str() == "-").count() > 1 {
        return Err(Failure::usage("--write and --html are both '-': standard output holds one file only"));
    }
    let session = Session::open(&args.input, &writes)?.start()?;
    if args.input.at.is_some() && writes.is_empty() {
        return run_at(args, &filter, session);
    }
    let mut writing = Writing::of(&args.out, session.replay.router())?;
    let mut page = match &args.html {
        Some(path) => Some(Page::create(path, &args.input.capture, session.replay.router())?),
        None => None,
    };
    let mut is_read = !args.out.is_stdout() && page.is_none();
    let mut out = Coloured::new(args.color);
    let mut text = String::new();
    let done = each(session, |explanation, source| {
        if !filter.takes(&explanation) {
            if let Some(page) = &mut page {
                page.aside(&explanation)?;
            }
            return Ok(if filter.is_past(explanation.packet) { Flow::Enough } else { Flow::On });
        }
        writing.write(&explanation, source).map_err(unwritten)?;
        if let Some(page) = &mut page {
            page.step(&explanation)?;
        }
        if is_read {
            text.clear();
            show(args, &explanation, &mut text)?;
            match out.print(&text) {
                // Where nobody reads any more, the work goes on only if there is a file to write.
                Err(failure) if failure.is_enough() && args.out.write.is_some() => is_read = false,
                other => other?,
            }
        }
        Ok(Flow::On)
    });
    writing.finish().map_err(unwritten)?;
    if let Some(page) = page {
        page.finish()?;
    }
    if is_read {
        out.finish()?;
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// The form that was asked for.
fn show(args: &args::Explain, explanation: &Explanation, text: &mut String) -> Result<(), Failure> {
    if args.json {
        let line = serde_json::to_string(explanation).map_err(|e| Failure::input(format!("JSON: {e}")))?;
        text.push_str(&line);
        text.push('\n');
    } else if args.brief {
        brief::write(explanation, text);
    } else {
        text::write(explanation, text);
    }
    Ok(())
}

/// The capture that is written, if one is.
enum Writing {
    Nothing,
    Annotated(Box<Annotator>),
}

impl Writing {
    fn of(out: &args::Out, router: &Router) -> Result<Writing, Failure> {
        match &out.write {
            None => Ok(Writing::Nothing),
            Some(_) if !out.annotate => Err(Failure::usage(
                "'uct explain --write' writes an annotated capture: say --annotate, or use 'uct replay'",
            )),
            Some(path) => {
                let annotator = Annotator::create(path, router.topology().clone()).map_err(unwritten)?;
                Ok(Writing::Annotated(Box::new(annotator)))
            }
        }
    }

    fn write(&mut self, e: &Explanation, source: &Tee<Capture>) -> Result<(), CaptureError> {
        match self {
            Writing::Nothing => Ok(()),
            Writing::Annotated(annotator) => annotator.write(e, source),
        }
    }

    fn finish(&mut self) -> Result<(), CaptureError> {
        match self {
            Writing::Nothing => Ok(()),
            Writing::Annotated(annotator) => annotator.finish(),
        }
    }
}

/// Whether there is more to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    On,
    /// No more is wanted.
    Enough,
}

/// `--at`: the packet before the moment, and the table as it stands then.
fn run_at(args: &args::Explain, filter: &Filter, session: Session) -> Result<ExitCode, Failure> {
    let mut telling = Telling::new(session, Loss::default());
    let (mut last, mut fault) = (None, None);
    for told in telling.by_ref() {
        match told {
            Ok(explanation) if filter.takes(&explanation) => last = Some(explanation),
            Ok(_) => {}
            Err(failure) => fault = Some(failure),
        }
    }
    telling.wait_until_asked();
    let mut text = String::new();
    if let Some(explanation) = &last {
        show(args, explanation, &mut text)?;
    }
    let table = table::Table::of(&telling, filter);
    if args.json {
        table.json(&mut text)
    } else {
        table.text(&mut text)
    }
    let mut out = Coloured::new(args.color);
    out.print(&text)?;
    out.finish()?;
    fault.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Replays a session and hands over what there is to tell of each packet, with the source that has its frame still.
pub fn each(
    session: Session,
    mut tell: impl FnMut(Explanation, &Tee<Capture>) -> Result<Flow, Failure>,
) -> Result<(), Failure> {
    let mut telling = Telling::new(session, Loss::default());
    while let Some(explanation) = telling.next().transpose()? {
        if tell(explanation, telling.source())? == Flow::Enough {
            break;
        }
    }
    Ok(())
}
