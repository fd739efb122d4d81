//! `uct replay`: a capture in, what a Linux router would have done out.
//!
//! Stdout carries what was asked for (table, events, counters, or the emitted packets); progress, notes and the summary go to
//! stderr. Exit codes: 0 done; 1 a file is at fault (of a capture, what came before still counts); 2 wrong usage.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use uct_engine::Listening;
use uct_pipeline::capture::{CaptureError, Fault, Source, Writer};
use uct_pipeline::replay::{Discard, Replay, Step, ToSink};
use uct_pipeline::router::{Emit, Observer, Silent};

use crate::Failure;
use crate::args;
use crate::conntrack::format::{Format, Output, OutputError, Seen};
use crate::events::{Heard, Hearing};
use crate::explain::annotate::Annotator;
use crate::explain::observer::Explainer;
use crate::explain::tee::{Loss, Tee};
use crate::session::{Capture, Names, Session};
use crate::stdio::{lost, print, say};

/// What `--output` knows.
const FORMATS: &str = "extended, id, timestamp, ktimestamp, labels, xml, save, json";

/// Runs the command.
pub fn run(args: &args::Replay) -> Result<ExitCode, Failure> {
    let output = formats(&args.output)?;
    let is_stdout_taken = args.out.is_stdout();
    if is_stdout_taken && (args.list || args.events || args.stats || args.print_topology) {
        return Err(Failure::usage(
            "'--write -' sends packets to stdout; --list, --events, --stats and --print-topology want it too",
        ));
    }
    let writes: Vec<_> = args.out.write.iter().map(|path| ("--write", path.as_path())).collect();
    let opened = Session::open(&args.input, &writes)?;
    if args.print_topology {
        return print(&opened.topology.to_string()).map(|()| ExitCode::SUCCESS);
    }
    let Session { names, replay, mut source } = opened.start()?;
    let listening = if args.events { Listening::Yes } else { Listening::No };
    replay.router().engine().listen(listening);
    let topology = replay.router().topology().clone();
    let mut job = Job { args, output, names, replay, stdout: Stdout::Read, started: Instant::now() };

    let mut silent = Silent;
    let mut hearing = Hearing::of(listening);
    let fault = match &args.out.write {
        Some(path) if args.out.annotate => {
            let mut annotator = Annotator::create(path, topology).map_err(unwritten)?;
            let mut explainer = Explainer::new(job.replay.router());
            let mut source = Tee::new(source, Loss::default());
            let fault = job.drive(&mut source, &mut Discard, &mut explainer, |step, source, _, explainer, heard| {
                let explanation = explainer.finish(step, source.interface_name());
                heard.extend(explanation.logged().map(|line| Heard::Log { at: step.at, line: line.to_owned() }));
                annotator.write(&explanation, source).map_err(unwritten)
            })?;
            job.wait(source.inner(), &mut Discard, &mut silent)?;
            annotator.finish().map_err(unwritten)?;
            fault
        }
        Some(path) => {
            let mut writer = Writer::create(path).map_err(unwritten)?;
            let mut sink = ToSink::new(&mut writer, &topology).map_err(unwritten)?;
            let fault = job.drive(&mut source, &mut sink, &mut hearing, |_, _, sink, hearing, heard| {
                hearing.take(heard);
                sink.take_fault().map_or(Ok(()), |e| Err(unwritten(e)))
            })?;
            job.wait(&source, &mut sink, &mut silent)?;
            sink.finish().map_err(unwritten)?;
            fault
        }
        None => {
            let fault = job.drive(&mut source, &mut Discard, &mut hearing, |_, _, _, hearing, heard| {
                hearing.take(heard);
                Ok(())
            })?;
            job.wait(&source, &mut Discard, &mut silent)?;
            fault
        }
    };
    let is_listed = args.list || !(args.events || args.stats || is_stdout_taken);
    job.report(is_listed)?;
    match fault {
        Some(fault) => Err(fault),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Why what the router emitted could not be written.
pub(crate) fn unwritten(why: CaptureError) -> Failure {
    match &why.fault {
        Fault::Io(e) => lost(&why.file, e),
        _ => Failure::input(why),
    }
}

/// The words of `--output`.
fn formats(words: &[String]) -> Result<Output, Failure> {
    let refuse = |why: OutputError| match why {
        OutputError::Unknown(word) => Failure::usage(format!("--output: no format '{word}'; there are {FORMATS}")),
        other => Failure::usage(format!("--output: {other}")),
    };
    let mut output = Output::default();
    for word in words {
        output.add(word).map_err(refuse)?;
    }
    output.check().map_err(refuse)?;
    Ok(output)
}

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Read,
    Closed,
}

struct Job<'a> {
    args: &'a args::Replay,
    output: Output,
    names: Names,
    replay: Replay,
    stdout: Stdout,
    started: Instant,
}

impl Job<'_> {
    /// Takes every frame. A fault in the capture ends it, and is answered: what came before counts.
    fn drive<S: Source, E: Emit, O: Observer>(
        &mut self,
        source: &mut S,
        out: &mut E,
        observer: &mut O,
        mut after: impl FnMut(&Step, &mut S, &mut E, &mut O, &mut Vec<Heard>) -> Result<(), Failure>,
    ) -> Result<Option<Failure>, Failure> {
        const LOOK: u64 = 4096;
        let bar = progress(&self.args.input.capture);
        let mut heard = Vec::new();
        let mut text = String::new();
        let mut frames = 0;
        let fault = loop {
            match self.replay.step(source, out, observer) {
                Ok(Some(step)) => {
                    after(&step, source, out, observer, &mut heard)?;
                    frames += 1;
                    if frames % LOOK == 0 {
                        bar.set_position(step.offset);
                    }
                }
                Ok(None) => break None,
                Err(fault) => break Some(self.names.fault(&fault)),
            }
            if self.args.events {
                self.print_events(&mut heard, &mut text)?;
            }
        };
        bar.finish_and_clear();
        Ok(fault)
    }

    /// Waits until the time that `--at` names, if it names one.
    fn wait(&mut self, source: &Capture, out: &mut impl Emit, observer: &mut impl Observer) -> Result<(), Failure> {
        let Some(until) = source.waits_until() else { return Ok(()) };
        self.replay.wait_until(until, out, observer);
        if self.args.events { self.print_events(&mut Vec::new(), &mut String::new()) } else { Ok(()) }
    }

    /// Prints. Where nobody reads any more, the work goes on only if there is a file to write.
    fn print(&mut self, text: &str) -> Result<(), Failure> {
        if self.stdout == Stdout::Closed {
            return Ok(());
        }
        match print(text) {
            Err(failure) if failure.is_enough() && self.args.out.write.is_some() => {
                self.stdout = Stdout::Closed;
                Ok(())
            }
            other => other,
        }
    }

    fn print_events(&mut self, heard: &mut Vec<Heard>, text: &mut String) -> Result<(), Failure> {
        Heard::take_events(self.replay.router().engine(), heard);
        if heard.is_empty() {
            return Ok(());
        }
        let format = Format::new(self.output, None, self.replay.now());
        text.clear();
        for heard in heard.drain(..) {
            match heard {
                Heard::Event(event) => format.event(&event, text),
                Heard::Log { at, line } => format.log(at, &line, text),
            }
        }
        self.print(text)
    }

    /// Prints what was asked for at the end, and the summary.
    fn report(&mut self, is_listed: bool) -> Result<(), Failure> {
        let engine = self.replay.router().engine();
        let now = self.replay.now();
        let mut text = String::new();
        if is_listed {
            let format = Format::new(self.output, None, now);
            let entries = engine.entries(now);
            if !entries.is_empty() {
                format.open(&mut text);
            }
            for entry in &entries {
                format.entry(entry, Seen::Listed, &mut text);
            }
            if !entries.is_empty() {
                format.close(&mut text);
            }
        }
        if self.args.stats {
            self.stats(&mut text);
        }
        self.print(&text)?;
        say(self.summary().trim_end());
        Ok(())
    }

    fn stats(&self, text: &mut String) {
        let engine = self.replay.router().engine();
        text.push_str("cpu=0   \t");
        for (name, value) in engine.stats().named() {
            let _ = write!(text, "{name}={value} ");
        }
        text.push('\n');
        for (name, value) in engine.stats().invalid_by_reason() {
            let _ = writeln!(text, "invalid {name}={value}");
        }
        for (name, value) in self.replay.router().stats().dropped_by_reason() {
            let _ = writeln!(text, "drop {name}={value}");
        }
    }

    /// A few lines for a person.
    fn summary(&self) -> String {
        let engine = self.replay.router().engine();
        let stats = self.replay.router().stats();
        let counts = self.replay.counts();
        let seconds = self.started.elapsed().as_secs_f64();
        let reasons = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| {
            let list: Vec<String> = pairs.map(|(name, n)| format!("{name} {}", HumanCount(n))).collect();
            if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
        };
        let mut s = String::new();
        let _ = write!(s, "{} in", many(counts.frames, "packet"));
        for (n, what) in [
            (counts.outgoing, "sent by the router itself and left out"),
            (counts.restored, "turned back into what the router had received"),
            (stats.truncated.get(), "cut by the capture"),
            (counts.back_in_time, "with a time before the previous packet's"),
        ] {
            if n > 0 {
                let _ = write!(s, ", {} {what}", HumanCount(n));
            }
        }
        let _ = writeln!(s);
        let _ = write!(s, "{} forwarded", HumanCount(stats.forwarded.get()));
        for (n, what) in [
            (stats.own.get(), "of the router's own sent"),
            (stats.delivered.get(), "delivered to the router"),
            (stats.held.get(), "fragments held for the rest"),
        ] {
            if n > 0 {
                let _ = write!(s, ", {} {what}", HumanCount(n));
            }
        }
        let _ = writeln!(s, ", {} dropped{}", HumanCount(stats.dropped()), reasons(&mut stats.dropped_by_reason()));
        let invalid = engine.stats().invalid.get() + engine.stats().error.get();
        let _ = writeln!(s, "{} invalid{}", HumanCount(invalid), reasons(&mut engine.stats().invalid_by_reason()));
        let made = many(engine.stats().insert.get(), "connection");
        let _ = writeln!(s, "{made} made, {} live", HumanCount(engine.count() as u64));
        let rate = if seconds > 0.0 { counts.frames as f64 / seconds } else { 0.0 };
        let _ = writeln!(s, "{:.3} s, {} packets per second", seconds, HumanCount(rate as u64));
        s
    }
}

/// A number of things.
fn many(n: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(n), if n == 1 { "" } else { "s" })
}

/// A progress bar on stderr, if that is a terminal and the length is known.
pub(crate) fn progress(input: &Path) -> ProgressBar {
    let len = std::fs::metadata(input).ok().filter(|m| m.is_file()).map(|m| m.len());
    let bar = match len {
        Some(len) => ProgressBar::new(len),
        None => ProgressBar::new_spinner(),
    };
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bytes}/{total_bytes} {wide_bar} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
