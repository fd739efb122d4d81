//! A wire within the process: what one end sends, the other receives. For tests, and for programs that carry packets
//! themselves.
//!
//! ```text
//!   (Source, Sink) ══ wire ══ (Source, Sink)
//! ```
//! A wire holds so many frames each way; what does not fit is lost, as on a card.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Frame, Lost, Sent, Sink, Source};
use crate::offload::Offload;

/// One direction.
#[derive(Debug)]
struct Lane {
    frames: Mutex<VecDeque<(Vec<u8>, Offload)>>,
    filled: Condvar,
    most: usize,
}

/// The receiving half of an end.
#[derive(Debug)]
pub struct End {
    lane: Arc<Lane>,
}

/// The sending half of an end.
#[derive(Debug)]
pub struct Entrance {
    lane: Arc<Lane>,
    sent: Sent,
}

/// A wire that holds `most` frames each way: its two ends.
pub fn wire(most: usize) -> [(End, Entrance); 2] {
    let lane = || Arc::new(Lane { frames: Mutex::default(), filled: Condvar::new(), most });
    let (there, back) = (lane(), lane());
    let end = |from: &Arc<Lane>, to: &Arc<Lane>| {
        (End { lane: Arc::clone(from) }, Entrance { lane: Arc::clone(to), sent: Sent::default() })
    };
    [end(&back, &there), end(&there, &back)]
}

impl End {
    /// Takes the next frame, if one has come.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.lane.frames.lock().pop_front().map(|(bytes, _)| bytes)
    }
}

impl Source for End {
    fn receive(&mut self, most: usize, each: &mut dyn FnMut(Frame<'_>)) -> io::Result<usize> {
        let mut frames = self.lane.frames.lock();
        let count = frames.len().min(most);
        let batch: Vec<_> = frames.drain(..count).collect();
        drop(frames);
        for (mut bytes, offload) in batch {
            each(Frame { bytes: &mut bytes, offload });
        }
        Ok(count)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wait(&mut self, most: Duration) {
        let mut frames = self.lane.frames.lock();
        if frames.is_empty() {
            self.lane.filled.wait_for(&mut frames, most);
        }
    }

    fn take_lost(&mut self) -> Lost {
        Lost::default()
    }
}

impl Sink for Entrance {
    fn send(&mut self, header: &[u8], packet: &[u8], offload: Offload) {
        let mut frames = self.lane.frames.lock();
        if frames.len() >= self.lane.most {
            self.sent.full += 1;
            return;
        }
        frames.push_back(([header, packet].concat(), offload));
        self.sent.frames += 1;
        self.lane.filled.notify_one();
    }

    fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }
}
