//! pnet's datalink: a plain packet socket, on every system that pnet knows.
//!
//! It knows nothing of what a host leaves to the card. Where the neighbour is a host on the same machine (veth, a bridge),
//! checksums must not be left to the card there (`ethtool -K IFACE tx off`): such a packet would arrive with half a checksum
//! and nothing that says so. What a router between [`super::ring`] and this one carries is finished before it leaves here.
//!
//! It cannot be waited for together with others: a source has a thread to itself.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};

use super::{Frame, Sent, Sink, Source};
use crate::link::Mac;
use crate::offload::Offload;

/// How long a source waits for a frame.
const WAIT: Duration = Duration::from_millis(50);
/// Long enough for what the kernel has put together (GRO).
const LONGEST: usize = 65536 + 18;

/// The receiving half.
pub struct PnetSource {
    receiver: Box<dyn DataLinkReceiver>,
    own: Option<Mac>,
    waiting: Vec<u8>,
    has_one: bool,
}

/// The sending half.
pub struct PnetSink {
    sender: Box<dyn DataLinkSender>,
    frame: Vec<u8>,
    segment: Vec<u8>,
    sent: Sent,
}

/// Opens an interface.
pub fn open(name: &str, mac: Option<Mac>) -> io::Result<(PnetSource, PnetSink)> {
    let interface = pnet_datalink::interfaces().into_iter().find(|i| i.name == name);
    let interface = interface.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "there is no such interface"))?;
    let config =
        Config { read_timeout: Some(WAIT), read_buffer_size: LONGEST, write_buffer_size: LONGEST, ..Config::default() };
    let Channel::Ethernet(sender, receiver) = pnet_datalink::channel(&interface, config)? else {
        return Err(io::Error::new(ErrorKind::Unsupported, "pnet has no Ethernet channel for it"));
    };
    let source = PnetSource { receiver, own: mac, waiting: Vec::new(), has_one: false };
    Ok((source, PnetSink { sender, frame: Vec::new(), segment: Vec::new(), sent: Sent::default() }))
}

impl PnetSource {
    /// Waits for the next frame that somebody else sent.
    fn fetch(&mut self) -> bool {
        let Ok(frame) = self.receiver.next() else { return false };
        let is_ours = self.own.is_some_and(|own| frame.get(6..12) == Some(&own.0[..]));
        self.waiting.clear();
        self.waiting.extend_from_slice(frame);
        !is_ours
    }
}

impl Source for PnetSource {
    fn receive(&mut self, most: usize, each: &mut dyn FnMut(Frame<'_>)) -> io::Result<usize> {
        // pnet answers a frame or waits; what it has read ahead comes at once.
        let mut count = 0;
        while std::mem::take(&mut self.has_one) && count < most {
            each(Frame { bytes: &mut self.waiting, offload: Offload::default() });
            count += 1;
        }
        Ok(count)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wait(&mut self, _most: Duration) {
        self.has_one = self.fetch();
    }
}

impl PnetSink {
    fn put(&mut self, len: usize) {
        let answer = match self.sender.send_to(&self.frame[..len], None) {
            Some(Ok(())) => Ok(()),
            Some(Err(e)) => Err(rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO)),
            None => Err(rustix::io::Errno::MSGSIZE),
        };
        self.sent.count(answer);
    }
}

impl Sink for PnetSink {
    fn send(&mut self, header: &[u8], packet: &[u8], offload: Offload) {
        let mut segment = std::mem::take(&mut self.segment);
        offload.segment(packet, &mut segment, |whole| {
            self.frame.clear();
            self.frame.extend_from_slice(header);
            self.frame.extend_from_slice(whole);
            self.put(self.frame.len());
        });
        self.segment = segment;
    }

    fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }
}
