//! Reading ahead: a source on a thread of its own, which gives out its frames in the same order.
//!
//! ```text
//!   thread:  Source::next ─► batch ─► batch ─►┐ (a few batches, which go round)
//!   caller:  Ahead::next  ◄── frame, frame …  ◄┘
//! ```
//!
//! # Invariants
//! - What it answers is what the source answers, frame by frame and fault by fault.
//! - Memory is bounded: [`BATCHES`] batches of [`FRAMES`] frames, or of [`BYTES`] bytes and one frame more.
//! - A frame never waits for others that are not there yet: a batch ends before the source would have to wait
//!   ([`Source::is_ready`]).
//!
//! With one processor there is nobody to read ahead, and the source is read as it is.

use std::io;
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};
use uct_engine::Time;

use super::{CaptureError, Crossing, Fault, Frame, Interface, InterfaceId, Source};
use crate::link::LinkType;

/// How many batches there are.
const BATCHES: usize = 4;
/// Most frames of a batch.
const FRAMES: usize = 512;
/// With so many bytes a batch is full.
const BYTES: usize = 256 << 10;

/// A frame but for its bytes, which end where they say in the batch's.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: Time,
    iface: InterfaceId,
    link: LinkType,
    crossing: Option<Crossing>,
    wire_len: u32,
    number: u64,
    offset: u64,
    end: usize,
}

/// Frames on their way from the thread to the caller.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    frames: Vec<Place>,
    /// Interfaces that the source had not seen before.
    interfaces: Vec<Interface>,
    /// What comes after the frames.
    then: Then,
}

#[derive(Debug, Default)]
enum Then {
    #[default]
    More,
    End,
    Fault(CaptureError),
}

/// A source that reads ahead.
pub struct Ahead<S> {
    way: Way<S>,
}

enum Way<S> {
    /// Read when asked.
    Here(S),
    Thread(Box<Reading>),
}

/// The caller's end.
struct Reading {
    full: Receiver<Batch>,
    empty: Sender<Batch>,
    batch: Batch,
    /// The next frame of the batch.
    next: usize,
    /// Where its bytes begin.
    start: usize,
    interfaces: Vec<Interface>,
}

impl<S: Source + Send + 'static> Ahead<S> {
    /// Begins to read.
    pub fn new(source: S) -> Self {
        let way = match thread::available_parallelism() {
            Ok(n) if n.get() > 1 => {
                Self::spawn(source).map_or_else(Way::Here, |reading| Way::Thread(Box::new(reading)))
            }
            _ => Way::Here(source),
        };
        Ahead { way }
    }

    /// Starts the thread; gives the source back if there can be none.
    fn spawn(source: S) -> Result<Reading, S> {
        let interfaces = source.interfaces().to_vec();
        let known = interfaces.len();
        let (filled, full) = bounded(BATCHES);
        let (empty, emptied) = bounded(BATCHES);
        for _ in 1..BATCHES {
            let _ = empty.send(Batch::default());
        }
        // The source goes over by a channel, so that it is still here if the thread cannot be started.
        let (give, take) = bounded::<S>(1);
        let thread = thread::Builder::new().name("uct-read".into());
        let started = thread.spawn(move || {
            if let Ok(source) = take.recv() {
                read(source, known, &filled, &emptied);
            }
        });
        match started {
            Ok(_) => {
                let _ = give.send(source);
                Ok(Reading { full, empty, batch: Batch::default(), next: 0, start: 0, interfaces })
            }
            Err(_) => Err(source),
        }
    }
}

/// Fills batches until the source ends or nobody takes them any more.
fn read<S: Source>(mut source: S, mut known: usize, filled: &Sender<Batch>, emptied: &Receiver<Batch>) {
    while let Ok(mut batch) = emptied.recv() {
        batch.bytes.clear();
        batch.frames.clear();
        batch.interfaces.clear();
        while matches!(batch.then, Then::More) && batch.frames.len() < FRAMES && batch.bytes.len() < BYTES {
            if !batch.frames.is_empty() && !source.is_ready() {
                break;
            }
            match source.next() {
                Ok(Some(frame)) => batch.push(&frame),
                Ok(None) => batch.then = Then::End,
                Err(fault) => batch.then = Then::Fault(fault),
            }
        }
        batch.interfaces.extend_from_slice(source.interfaces().get(known..).unwrap_or(&[]));
        known += batch.interfaces.len();
        let is_over = !matches!(batch.then, Then::More);
        if filled.send(batch).is_err() || is_over {
            break;
        }
    }
}

impl Batch {
    fn push(&mut self, frame: &Frame<'_>) {
        self.bytes.extend_from_slice(frame.bytes);
        let Frame { at, iface, link, crossing, wire_len, number, offset, .. } = *frame;
        self.frames.push(Place { at, iface, link, crossing, wire_len, number, offset, end: self.bytes.len() });
    }
}

impl Reading {
    /// Takes the next batch. Answers whether there may be frames in it.
    fn advance(&mut self) -> Result<Step, CaptureError> {
        match std::mem::take(&mut self.batch.then) {
            Then::More => {}
            Then::End => {
                self.batch.then = Then::End;
                return Ok(Step::End);
            }
            Then::Fault(fault) => {
                self.batch.then = Then::End;
                return Err(fault);
            }
        }
        let next = self.full.recv().map_err(|_| {
            self.batch.then = Then::End;
            let fault = Fault::Io(io::Error::other("the thread that reads it has ended early"));
            CaptureError { file: "the capture".into(), place: None, fault }
        })?;
        let _ = self.empty.send(std::mem::replace(&mut self.batch, next));
        (self.next, self.start) = (0, 0);
        self.interfaces.append(&mut self.batch.interfaces);
        Ok(Step::Frames)
    }

    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        while self.next >= self.batch.frames.len() {
            if let Step::End = self.advance()? {
                return Ok(None);
            }
        }
        let Place { at, iface, link, crossing, wire_len, number, offset, end } = self.batch.frames[self.next];
        let bytes = &self.batch.bytes[self.start..end];
        self.next += 1;
        self.start = end;
        Ok(Some(Frame { at, iface, link, crossing, bytes, wire_len, number, offset }))
    }
}

enum Step {
    Frames,
    End,
}

impl<S: Source> Source for Ahead<S> {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        match &mut self.way {
            Way::Here(source) => source.next(),
            Way::Thread(reading) => reading.next(),
        }
    }

    fn interfaces(&self) -> &[Interface] {
        match &self.way {
            Way::Here(source) => source.interfaces(),
            Way::Thread(reading) => &reading.interfaces,
        }
    }

    fn is_ready(&self) -> bool {
        match &self.way {
            Way::Here(source) => source.is_ready(),
            Way::Thread(reading) => reading.next < reading.batch.frames.len() || !reading.full.is_empty(),
        }
    }

    fn peek(&self, n: usize) -> Option<(LinkType, &[u8])> {
        let Way::Thread(reading) = &self.way else { return None };
        let at = reading.next + n;
        let place = reading.batch.frames.get(at)?;
        let start =
            at.checked_sub(1).and_then(|before| reading.batch.frames.get(before)).map_or(0, |before| before.end);
        Some((place.link, reading.batch.bytes.get(start..place.end)?))
    }
}
