//! A replay made ready: what every command that replays a capture is given, opened and checked in one place.
//!
//! ```text
//!   Input ─► Session::open ─► Opened { source, topology } ─► start ─► Session { replay, source }
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uct_engine::{Engine, Time};
use uct_pipeline::capture::{Ahead, CaptureError, Frame, Interface, Reader, Source};
use uct_pipeline::link::LinkType;
use uct_pipeline::replay::{ReadAhead, Replay, ReplayError};
use uct_pipeline::router::Router;
use uct_pipeline::topology::{Entry, Topology};
use uct_pipeline::vantage::Vantage;

use crate::args::{self, PortsArg, VantageArg};
use crate::moment::Moment;
use crate::ports::AsCaptured;
use crate::stdio::say;
use crate::{Failure, files, rules, sysctl};

/// A capture under way, up to a moment if one is named.
pub struct Capture {
    from: Ahead<From>,
    until: Option<Moment>,
    /// When the first frame came.
    first: Option<Time>,
}

/// A capture, read from the start or from where inference left it.
enum From {
    Start(Reader),
    /// Its first frames were read already, to infer a topology.
    ReadAhead(ReadAhead<Reader>),
}

impl Capture {
    /// The time until which the replay is to wait after the last frame, if a time was named.
    pub fn waits_until(&self) -> Option<Time> {
        self.until?.time(self.first?)
    }
}

impl Source for Capture {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some(frame) = self.from.next()? else { return Ok(None) };
        let first = *self.first.get_or_insert(frame.at);
        let is_beyond = self.until.is_some_and(|until| match until {
            Moment::Packet(last) => frame.number > last,
            other => other.time(first).is_some_and(|until| frame.at > until),
        });
        Ok((!is_beyond).then_some(frame))
    }

    fn interfaces(&self) -> &[Interface] {
        self.from.interfaces()
    }

    fn is_ready(&self) -> bool {
        self.from.is_ready()
    }

    fn peek(&self, n: usize) -> Option<(LinkType, &[u8])> {
        self.from.peek(n)
    }
}

impl Source for From {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        match self {
            From::Start(s) => s.next(),
            From::ReadAhead(s) => s.next(),
        }
    }

    fn interfaces(&self) -> &[Interface] {
        match self {
            From::Start(s) => s.interfaces(),
            From::ReadAhead(s) => s.interfaces(),
        }
    }

    fn peek(&self, n: usize) -> Option<(LinkType, &[u8])> {
        match self {
            From::Start(s) => s.peek(n),
            From::ReadAhead(s) => s.peek(n),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            From::Start(s) => s.is_ready(),
            From::ReadAhead(s) => s.is_ready(),
        }
    }
}

/// A capture that is open, and the router's surroundings.
pub struct Opened<'a> {
    args: &'a args::Setup,
    capture: &'a Path,
    engine: Arc<Engine>,
    source: From,
    until: Option<Moment>,
    entry: Entry,
    /// Given or inferred.
    pub topology: Topology,
}

/// What the command line calls the files of a replay, for messages.
#[derive(Clone, Debug)]
pub struct Names {
    capture: PathBuf,
    topology: Option<PathBuf>,
}

impl Names {
    /// What is wrong with the capture, and where.
    pub fn fault(&self, fault: &ReplayError) -> Failure {
        let ReplayError::NoInterface { number, name, known } = fault else { return Failure::input(fault) };
        let topology = self.topology.as_deref().map_or("the topology".into(), |path| path.display().to_string());
        Failure::input(format!(
            "{}: packet {number}: its interface '{name}' is not in {topology}, which has {known}: \
             add an [[interface]] named '{name}', or rename one",
            self.capture.display()
        ))
    }
}

/// A replay, ready to begin.
pub struct Session {
    /// Its files.
    pub names: Names,
    /// The replay, which has the router.
    pub replay: Replay,
    /// The capture.
    pub source: Capture,
}

/// The files that the command line names.
fn reads(input: &args::Input) -> Vec<files::Named<'_>> {
    let mut reads = vec![("IN", input.capture.as_path())];
    reads.extend(input.setup.rules.iter().map(|path| ("--rules", path.as_path())));
    reads.extend(input.setup.rules_at.iter().map(|change| ("--rules-at", change.rules.as_path())));
    reads.extend(input.setup.topology.iter().map(|path| ("--topology", path.as_path())));
    reads
}

impl Session {
    /// Checks the files of the command line (`writes` are those that it writes), opens the capture and finds out what
    /// surrounds the router; what was inferred is said on stderr.
    pub fn open<'a>(input: &'a args::Input, writes: &[files::Named<'_>]) -> Result<Opened<'a>, Failure> {
        let args = &input.setup;
        files::check(&reads(input), writes)?;
        if args.ports == PortsArg::Capture && input.capture.as_os_str() == "-" {
            return Err(Failure::usage("'--ports capture' reads the capture twice, so it cannot be standard input"));
        }
        let engine = Arc::new(Engine::new(args.seed));
        sysctl::set(engine.settings(), &args.sysctl)?;
        let reader = Reader::open(&input.capture).map_err(Failure::input)?;
        let (source, topology, entry) = match &args.topology {
            Some(path) => {
                let topology = Topology::open(path).map_err(Failure::input)?;
                (From::Start(reader), topology, Entry::Named)
            }
            None => {
                let (source, inferred) = ReadAhead::infer(reader, &args.inside);
                for note in &inferred.notes {
                    say(format_args!("uct: no --topology; {note}"));
                }
                (From::ReadAhead(source), inferred.topology, inferred.entry)
            }
        };
        Ok(Opened { args, capture: &input.capture, engine, source, until: input.at, entry, topology })
    }
}

impl Opened<'_> {
    /// Reads the rules and builds the router.
    pub fn start(self) -> Result<Session, Failure> {
        let Opened { args, capture, engine, source, until, entry, topology } = self;
        let rules = rules::load(args.rules.as_deref(), &args.rule)?;
        if let Some(strangers) = rules::strangers(&rules, &topology) {
            say(format_args!("uct: {strangers}"));
        }
        let router = Arc::new(match args.ports {
            PortsArg::Seed => Router::new(engine, rules, topology, args.seed),
            PortsArg::Capture => {
                let draw = AsCaptured::read(capture, args.seed).map_err(Failure::input)?;
                Router::with_draw(engine, rules, topology, args.seed, draw)
            }
        });
        let vantage = match args.vantage {
            Some(VantageArg::Router) => Vantage::Router,
            // One link and both ways: what the router sent is there, what it had received for it is not.
            None if entry != Entry::Routed => Vantage::Router,
            Some(VantageArg::Inside) | None => Vantage::Inside(args.inside.clone()),
        };
        if args.vantage.is_none() && entry == Entry::Routed {
            say("uct: no --topology; the capture is taken for one from the inside (--vantage inside)");
        }
        let mut replay = Replay::new(Arc::clone(&router), entry, vantage);
        for change in &args.rules_at {
            let rules = rules::load(Some(&change.rules), &args.rule)?;
            replay.change_rules(change.when.into(), rules);
        }
        let names = Names { capture: capture.to_owned(), topology: args.topology.clone() };
        let source = Capture { from: Ahead::new(source), until, first: None };
        Ok(Session { names, replay, source })
    }
}
