//! `uct explain`: what a Linux router would do with every packet of a capture, and why.
//!
//! ```text
//!   Replay ──tells──► Explainer ──► Explanation ──┬─► words     sentences, in every form below
//!                      Ledger                     ├─► text      sentences, then each stop with its numbers
//!                                                 ├─► brief     one line
//!                                                 └─► json      all of it
//! ```
//! The replay is the one that `uct replay` does; explanation only listens. What is shown is chosen after it happened: the
//! packets before are replayed all the same.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use uct_pipeline::capture::CaptureError;
use uct_pipeline::router::Router;

use crate::Failure;
use crate::args;
use crate::session::{Capture, Session};

pub mod annotate;
pub mod brief;
pub mod filter;
pub mod header;
pub mod ledger;
pub mod model;
pub mod observer;
pub mod tee;
pub mod telling;
pub mod text;
pub mod words;

use annotate::Annotator;
use filter::Filter;
use model::Explanation;
use tee::{Loss, Tee};
use telling::Telling;

/// Runs the command.
pub fn run(args: &args::Explain) -> Result<ExitCode, Failure> {
    let filter = Filter::new(&args.packet, args.conn.as_deref()).map_err(Failure::usage)?;
    let session = Session::open(&args.input)?.start()?;
    let mut writing = Writing::of(&args.out, &session.router)?;
    let is_quiet = args.out.is_stdout();
    let mut out = io::BufWriter::new(anstream::AutoStream::new(io::stdout(), args.color.choice()));
    let mut text = String::new();
    let done = each(session, |explanation, source| {
        if !filter.takes(&explanation) {
            return Ok(if filter.is_past(explanation.packet) { Flow::Enough } else { Flow::On });
        }
        writing.write(&explanation, source).map_err(Failure::input)?;
        if is_quiet {
            return Ok(Flow::On);
        }
        text.clear();
        if args.json {
            let line = serde_json::to_string(&explanation).map_err(|e| Failure::input(format!("JSON: {e}")))?;
            text.push_str(&line);
            text.push('\n');
        } else if args.brief {
            brief::write(&explanation, &mut text);
        } else {
            text::write(&explanation, &mut text);
        }
        match out.write_all(text.as_bytes()) {
            Ok(()) => Ok(Flow::On),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Enough),
            Err(e) => Err(Failure::input(format!("standard output: {e}"))),
        }
    });
    writing.finish().map_err(Failure::input)?;
    match out.flush() {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::input(format!("standard output: {e}"))),
        _ => done.map(|()| ExitCode::SUCCESS),
    }
}

/// The capture that is written, if one is.
enum Writing {
    Nothing,
    Annotated(Annotator),
}

impl Writing {
    fn of(out: &args::Out, router: &Arc<Router>) -> Result<Writing, Failure> {
        match &out.write {
            None => Ok(Writing::Nothing),
            Some(_) if !out.annotate => Err(Failure::usage(
                "'uct explain --write' writes an annotated capture: say --annotate, or use 'uct replay'",
            )),
            Some(path) => {
                let annotator = Annotator::create(path, Arc::clone(router)).map_err(Failure::input)?;
                Ok(Writing::Annotated(annotator))
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
