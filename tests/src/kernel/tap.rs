//! A cable whose far end is this process: what is written arrives at the router's interface, what the router sends can
//! be read.
//!
//! A tap device was chosen over a veth pair because it makes the harness exact: the kernel takes a written frame through
//! its whole receive path before `write` returns, so that all a packet causes has happened by then, and a far end that
//! is no network device at all cannot answer, resolve or advertise anything. No offload is switched on, so checksums are
//! computed and segments cut before a frame can be read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Updater, ioctl};

const TUNSETIFF: Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` with the flags in its union, as `TUNSETIFF` reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// One interface of the router, held at its far end.
pub(crate) struct Tap {
    file: File,
    buffer: Vec<u8>,
}

impl Tap {
    /// Makes the interface in the calling thread's namespace.
    pub(crate) fn new(name: &str) -> io::Result<Tap> {
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
        let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
        if name.len() >= request.name.len() {
            return Err(io::Error::other(format!("interface name {name} is too long")));
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: `TUNSETIFF` reads (and writes back) one `struct ifreq`, 40 bytes, which `InterfaceRequest` is.
        unsafe { ioctl(file.as_fd(), Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request))? };
        Ok(Tap { file, buffer: vec![0; 1 << 16] })
    }

    /// Lets a frame arrive. When this returns the router has done all it will do with it.
    pub(crate) fn inject(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write_all(frame)
    }

    /// Gives every frame that the router has sent to `each`.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            match self.file.read(&mut self.buffer) {
                Ok(length) => each(&self.buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
