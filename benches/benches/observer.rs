//! What listening costs: the same frames through the same router, with nobody, with one who counts, and with the explainer.
//!
//! The observer's methods are called statically and are empty by default: with [`Silent`] there is nothing to call. The line of
//! figures to look at is the ratio of the three, taken in one run.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use uct::explain::observer::Explainer;
use uct_engine::{Engine, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::capture::{CaptureError, Crossing, Frame, Interface, InterfaceId, Reader, Source};
use uct_pipeline::link::LinkType;
use uct_pipeline::replay::{Discard, Replay};
use uct_pipeline::router::{self, Drop, Router, Silent};
use uct_pipeline::topology::{Entry, Topology};
use uct_pipeline::vantage::Vantage;

/// A frame in memory.
struct Kept {
    at: Time,
    iface: InterfaceId,
    link: LinkType,
    crossing: Option<Crossing>,
    bytes: Vec<u8>,
    wire_len: u32,
    number: u64,
    offset: u64,
}

/// A capture in memory.
struct Frames<'a> {
    frames: &'a [Kept],
    interfaces: &'a [Interface],
    next: usize,
}

impl Source for Frames<'_> {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some(k) = self.frames.get(self.next) else { return Ok(None) };
        self.next += 1;
        Ok(Some(Frame {
            at: k.at,
            iface: k.iface,
            link: k.link,
            crossing: k.crossing,
            bytes: &k.bytes,
            wire_len: k.wire_len,
            number: k.number,
            offset: k.offset,
        }))
    }

    fn interfaces(&self) -> &[Interface] {
        self.interfaces
    }
}

/// Counts what is dropped and what leaves: the cheapest observer that hears anything.
#[derive(Default)]
struct Counter(u64);

impl uct_engine::Observer for Counter {}
impl uct_nat::rules::Observer for Counter {}
impl router::Observer for Counter {
    fn dropped(&mut self, _: &Drop) {
        self.0 += 1;
    }

    fn sent(&mut self, _: &router::Emitted<'_>) {
        self.0 += 1;
    }
}

fn story(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps").join(name)
}

fn replay() -> Replay {
    let topology = Topology::open(&story("home-router.toml")).expect("a topology");
    let text = std::fs::read_to_string(story("home-router.nft")).expect("rules");
    let rules = Ruleset::read("home-router.nft", &text, &NoFiles).expect("rules");
    let router = Router::new(Arc::new(Engine::new(0)), rules, topology, 0);
    Replay::new(Arc::new(router), Entry::Named, Vantage::Router)
}

fn run(replay: &mut Replay, mut source: Frames<'_>, observer: &mut impl router::Observer) -> u64 {
    let mut frames = 0;
    while let Some(step) = replay.step(&mut source, &mut Discard, observer).expect("the capture is good") {
        frames += black_box(step.number);
    }
    frames
}

fn observers(c: &mut Criterion) {
    let mut reader = Reader::open(&story("home-router.pcapng")).expect("a capture");
    let mut frames = Vec::new();
    while let Some(f) = reader.next().expect("the capture is good") {
        let Frame { at, iface, link, crossing, wire_len, number, offset, .. } = f;
        frames.push(Kept { at, iface, link, crossing, bytes: f.bytes.to_vec(), wire_len, number, offset });
    }
    let interfaces = reader.interfaces().to_vec();
    let source = || Frames { frames: &frames, interfaces: &interfaces, next: 0 };
    let mut group = c.benchmark_group("observer");
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("silent", |b| {
        b.iter_batched(replay, |mut r| run(&mut r, source(), &mut Silent), BatchSize::SmallInput);
    });
    group.bench_function("counter", |b| {
        b.iter_batched(replay, |mut r| run(&mut r, source(), &mut Counter::default()), BatchSize::SmallInput);
    });
    group.bench_function("explainer", |b| {
        b.iter_batched(
            replay,
            |mut r| {
                let mut explainer = Explainer::new(r.router());
                let mut source = source();
                let mut words = 0;
                while let Some(step) = r.step(&mut source, &mut Discard, &mut explainer).expect("the capture is good") {
                    words += explainer.finish(&step, None).words.len();
                }
                words
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, observers);
criterion_main!(benches);
