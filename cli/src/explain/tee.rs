//! A source that remembers the frame it gave last (the router rewrites its own copy), and that can lose some.

use std::collections::HashSet;

use uct_engine::Time;
use uct_pipeline::capture::{CaptureError, Crossing, Frame, Interface, InterfaceId, Source};
use uct_pipeline::link::LinkType;

/// A frame as it stood in the capture.
#[derive(Clone, Debug)]
pub struct Kept {
    /// When it was captured.
    pub at: Time,
    /// Where.
    pub iface: InterfaceId,
    /// What the bytes begin with.
    pub link: LinkType,
    /// Which way it went, if the capture says so.
    pub crossing: Option<Crossing>,
    /// The frame.
    pub bytes: Vec<u8>,
    /// Its length on the wire.
    pub wire_len: u32,
    number: u64,
    offset: u64,
}

/// Frames that do not arrive, by number.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// From the first to the last, both included.
    pub ranges: Vec<(u64, u64)>,
    /// Single ones.
    pub numbers: HashSet<u64>,
}

impl Loss {
    /// Whether a frame does not arrive.
    pub fn takes(&self, number: u64) -> bool {
        self.numbers.contains(&number) || self.ranges.iter().any(|(a, b)| (*a..=*b).contains(&number))
    }
}

/// Passes frames on, and keeps a copy of the last.
pub struct Tee<S> {
    source: S,
    loss: Loss,
    last: Option<Kept>,
}

impl<S: Source> Tee<S> {
    /// Over this source, without those frames.
    pub fn new(source: S, loss: Loss) -> Self {
        Tee { source, loss, last: None }
    }

    /// The source that passes through.
    pub fn inner(&self) -> &S {
        &self.source
    }

    /// The last frame.
    pub fn last(&self) -> Option<&Kept> {
        self.last.as_ref()
    }

    /// The interface where the last frame was captured.
    pub fn interface(&self) -> Option<&Interface> {
        self.source.interfaces().get(self.last.as_ref()?.iface.index())
    }

    /// The capture's name of it.
    pub fn interface_name(&self) -> Option<String> {
        self.interface()?.name.clone()
    }
}

impl<S: Source> Source for Tee<S> {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        loop {
            let Some(f) = self.source.next()? else { return Ok(None) };
            let mut bytes = self.last.take().map_or(Vec::new(), |kept| kept.bytes);
            bytes.clear();
            bytes.extend_from_slice(f.bytes);
            let Frame { at, iface, link, crossing, wire_len, number, offset, .. } = f;
            self.last = Some(Kept { at, iface, link, crossing, bytes, wire_len, number, offset });
            if !self.loss.takes(number) {
                break;
            }
        }
        Ok(self.last.as_ref().map(|k| Frame {
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
        self.source.interfaces()
    }
}
