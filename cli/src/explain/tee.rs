//! A source that remembers the frame it gave last: the router rewrites its own copy.

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
}

/// Passes frames on, and keeps a copy of the last.
pub struct Tee<S> {
    source: S,
    last: Option<Kept>,
}

impl<S: Source> Tee<S> {
    /// Over this source.
    pub fn new(source: S) -> Self {
        Tee { source, last: None }
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
        let frame = self.source.next()?;
        if let Some(f) = &frame {
            let mut bytes = self.last.take().map_or(Vec::new(), |kept| kept.bytes);
            bytes.clear();
            bytes.extend_from_slice(f.bytes);
            let Frame { at, iface, link, crossing, wire_len, .. } = *f;
            self.last = Some(Kept { at, iface, link, crossing, bytes, wire_len });
        }
        Ok(frame)
    }

    fn interfaces(&self) -> &[Interface] {
        self.source.interfaces()
    }
}
