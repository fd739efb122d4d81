//! What captures cost by themselves: reading frames, reading them ahead on another thread, and writing them.
//!
//! The capture is in memory and what is written goes nowhere, so that no disk is measured.

use std::hint::black_box;
use std::io::{self, Cursor};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use uct_engine::Time;
use uct_pipeline::capture::{Ahead, Crossing, Interface, Outgoing, Reader, Sink, Source, Writer};
use uct_pipeline::link::LinkType;

const FRAMES: u64 = 100_000;
/// Their lengths in bytes, in turn.
const LENGTHS: [usize; 8] = [54, 54, 54, 66, 174, 354, 754, 1502];

/// Bytes that many readers share.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Where what is written is kept.
#[derive(Clone, Default)]
struct Kept(Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(to: impl io::Write + Send + 'static) {
    let mut writer = Writer::new("memory", to).expect("a writer");
    let lan = Interface { name: Some("lan0".into()), link: LinkType::Ethernet, mac: None };
    let iface = writer.interface(&lan).expect("an interface");
    let payload = [0x45; 1502];
    for number in 0..FRAMES {
        let (head, bytes) = payload[..LENGTHS[number as usize % LENGTHS.len()]].split_at(14);
        let mut out = Outgoing::new(Time::from_nanos(number), iface, bytes);
        out.head = head;
        out.crossing = Some(Crossing::Outbound);
        writer.send(&out).expect("it is written");
    }
    writer.finish().expect("it is written");
}

fn read(mut source: impl Source) -> usize {
    let mut bytes = 0;
    while let Some(frame) = source.next().expect("the capture is good") {
        bytes += black_box(frame.bytes).len();
    }
    bytes
}

fn captures(c: &mut Criterion) {
    let kept = Kept::default();
    write(kept.clone());
    let capture = Arc::new(std::mem::take(&mut *kept.0.lock().expect("nobody panicked")));
    let reader = || Reader::new("memory", Cursor::new(Shared(Arc::clone(&capture)))).expect("a capture");
    let mut group = c.benchmark_group("capture");
    group.throughput(Throughput::Elements(FRAMES));
    group.bench_function("read", |b| b.iter_batched(reader, read, BatchSize::PerIteration));
    group.bench_function("read ahead", |b| b.iter_batched(reader, |r| read(Ahead::new(r)), BatchSize::PerIteration));
    group.bench_function("write", |b| b.iter(|| write(io::sink())));
    group.finish();
}

criterion_group!(benches, captures);
criterion_main!(benches);
