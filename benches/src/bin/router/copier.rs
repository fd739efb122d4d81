//! The limit of this I/O: frames from one ring to the other, with nothing between but two link addresses.
//!
//! What a router costs beyond it is the router's; what it costs itself is the kernel's packet sockets.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};
use uct_pipeline::io::ring::{self, Addresses, Options};
use uct_pipeline::io::{Frame, Sink, Source};

use super::world::{self, Mac};

const BATCH: usize = 64;

/// Copies between `lan0` and `wan0` until it is killed.
pub(crate) fn run() -> io::Result<()> {
    let open = |name| -> io::Result<_> {
        let options = Options { slots: 1024, mtu: 1500, addresses: Addresses::Own };
        Ok(ring::open(world::ifindex(name)?, 1, options)?.remove(0))
    };
    let ((mut lan, mut to_lan), (mut wan, mut to_wan)) = (open("lan0")?, open("wan0")?);
    loop {
        let there = copy(&mut lan, world::LAN, &mut to_wan, world::WAN, world::SERVER)?;
        let back = copy(&mut wan, world::WAN, &mut to_lan, world::LAN, world::CLIENT)?;
        if there + back == 0 {
            let fds: [Option<BorrowedFd<'_>>; 2] = [lan.fd(), wan.fd()];
            let mut polled: Vec<_> =
                fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            rustix::event::poll(&mut polled, None)?;
        }
    }
}

fn copy(from: &mut impl Source, own: Mac, to: &mut impl Sink, src: Mac, dst: Mac) -> io::Result<usize> {
    let header = world::header(dst, src);
    let count = from.receive(BATCH, &mut |Frame { bytes, offload }| {
        // As a router: what is for others, and what is no IPv4, stays here.
        if bytes.len() > 14 && bytes[..6] == own && bytes[12..14] == header[12..] {
            to.send(&header, &bytes[14..], offload);
        }
    })?;
    to.flush();
    Ok(count)
}
