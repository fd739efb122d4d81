//! TUN and TAP devices: a link whose other end is the host's own stack.
//!
//! ```text
//!   host's stack ── tap0 ══ this process          a router without privileges on real interfaces: in a user namespace
//!                                                 anybody may make such a device
//! ```
//! Frames carry a `virtio_net_hdr`, so that the host's stack leaves checksums and segments to us and takes them unfinished. That
//! is why no crate is used here: those that there are cut segments before they hand them over.
//!
//! Every read and write is one frame. Sources: the kernel's tuntap document, `linux/if_tun.h`.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

pub use super::sys::Carries;
use super::{Frame, Lost, Sent, Sink, Source, sys};
use crate::link::LinkType;
use crate::offload::{self, Offload};

const LONGEST: usize = offload::HEADER + 14 + 65536;

/// The receiving half: what the host's stack sends.
#[derive(Debug)]
pub struct TapSource {
    file: Arc<File>,
    link: LinkType,
    buffer: Vec<u8>,
    lost: Lost,
}

/// The sending half: what the host's stack receives.
#[derive(Debug)]
pub struct TapSink {
    file: Arc<File>,
    link: LinkType,
    sent: Sent,
}

/// Makes a device, or takes the one of that name.
pub fn open(name: &str, carries: Carries) -> io::Result<(TapSource, TapSink)> {
    let link = match carries {
        Carries::Packets => LinkType::Raw,
        Carries::Frames => LinkType::Ethernet,
    };
    let file = Arc::new(sys::tun(name, carries)?);
    let sink = TapSink { file: Arc::clone(&file), link, sent: Sent::default() };
    Ok((TapSource { file, link, buffer: vec![0; LONGEST], lost: Lost::default() }, sink))
}

fn header(link: LinkType) -> usize {
    if link == LinkType::Ethernet { 14 } else { 0 }
}

impl Source for TapSource {
    fn link(&self) -> LinkType {
        self.link
    }

    fn receive(&mut self, most: usize, each: &mut dyn FnMut(Frame<'_>)) -> io::Result<usize> {
        let link = header(self.link);
        for count in 0..most {
            let len = match (&*self.file).read(&mut self.buffer) {
                Ok(len) => len,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(count),
                Err(e) => return Err(e),
            };
            let Some((card, bytes)) = self.buffer[..len].split_first_chunk_mut() else { continue };
            let offload =
                Offload::read(card, link).and_then(|offload| offload.checked(bytes.get_mut(link..).unwrap_or(&mut [])));
            match offload {
                Ok(offload) => each(Frame { bytes, offload }),
                Err(_) => self.lost.offload += 1,
            }
        }
        Ok(most)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }
}

impl Sink for TapSink {
    fn link(&self) -> LinkType {
        self.link
    }

    fn send(&mut self, header: &[u8], packet: &[u8], offload: Offload) {
        let card = offload.write(packet, header.len());
        let parts = [&card[..], header, packet].map(IoSlice::new);
        let written = (&*self.file).write_vectored(&parts);
        self.sent.count(
            written.map(drop).map_err(|e| rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO)),
        );
    }

    fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }
}
