//! Netlink messages of the netfilter subsystems, as far as the harness needs them.
//!
//! ```text
//!  nlmsghdr 16 │ nfgenmsg 4 │ attribute: length 2 · type 2 · value · padding to 4 │ attribute │ …
//! ```
//!
//! Header fields are in host order, the values of netfilter's attributes in network order. Source: the public headers
//! `linux/netlink.h` and `linux/netfilter/nfnetlink*.h`, which state the interface.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Flags of a request.
pub(crate) const REQUEST: u16 = 1;
/// The answer has several messages.
pub(crate) const MULTI: u16 = 2;
/// Confirm the request, also when it went well.
pub(crate) const ACK: u16 = 4;
/// All objects, not one.
pub(crate) const DUMP: u16 = 0x300;
/// Bits on a message that announce a new object rather than a changed one.
pub(crate) const CREATE: u16 = 0x400;

const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// Marks an attribute that holds others.
pub(crate) const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// A message under construction.
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Starts a message for `subsystem`.
    pub(crate) fn new(subsystem: u8, kind: u8, flags: u16, family: u8) -> Request {
        let mut bytes = vec![0; 20];
        bytes[4..6].copy_from_slice(&(u16::from(subsystem) << 8 | u16::from(kind)).to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[16] = family;
        Request { bytes }
    }

    /// The resource number of the message, for example the group of a log.
    pub(crate) fn resource(mut self, id: u16) -> Request {
        self.bytes[18..20].copy_from_slice(&id.to_be_bytes());
        self
    }

    /// Adds one attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        put_attribute(&mut self.bytes, kind, value);
        self
    }

    /// Adds one attribute that holds others.
    pub(crate) fn nested(self, kind: u16, value: &[u8]) -> Request {
        self.attribute(kind | NESTED, value)
    }

    fn finish(mut self, seq: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&seq.to_ne_bytes());
        self.bytes
    }
}

/// Appends an attribute.
pub(crate) fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes of a message or of a nested attribute: type and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The value of the first attribute of that type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A number in network order, whatever its width.
pub(crate) fn number(value: &[u8]) -> u64 {
    value.iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// A received message.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Subsystem and kind within it.
    pub(crate) subsystem: u8,
    /// The kind of the message within its subsystem.
    pub(crate) kind: u8,
    /// The header's flags.
    pub(crate) flags: u16,
    /// The address family it is about.
    pub(crate) family: u8,
    /// The attributes, or the address family's resource number for messages without them.
    pub(crate) body: &'a [u8],
}

/// What one datagram from the kernel holds.
pub(crate) enum Received<'a> {
    /// A message of a subsystem.
    Message(Message<'a>),
    /// The end of a request: 0 or the error number.
    End(i32),
}

fn parse(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(0..16)?;
        let length = u32::from_ne_bytes(header[0..4].try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        let payload = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(match kind {
            TYPE_ERROR | TYPE_DONE => {
                let code = payload.get(0..4).map_or(0, |c| i32::from_ne_bytes([c[0], c[1], c[2], c[3]]));
                Received::End(-code)
            }
            _ => Received::Message(Message {
                subsystem: (kind >> 8) as u8,
                kind: kind as u8,
                flags,
                family: payload.first().copied().unwrap_or(0),
                body: payload.get(4..).unwrap_or(&[]),
            }),
        })
    })
}

/// One netlink socket.
pub(crate) struct Netlink {
    socket: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace that listens to `groups`, one bit each.
    pub(crate) fn open(groups: u32) -> io::Result<Netlink> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        // A burst of events that does not fit would be lost without a trace in the comparison.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Netlink { socket, seq: 1, buffer: vec![0; 1 << 17] })
    }

    /// Sends one request and gives every message of the answer to `each`, until the kernel says that it is complete.
    pub(crate) fn request(&mut self, request: Request, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        self.send(vec![request])?;
        loop {
            let length = self.receive(RecvFlags::empty())?;
            for received in parse(&self.buffer[..length]) {
                match received {
                    Received::End(0) => return Ok(()),
                    Received::End(code) => return Err(io::Error::from_raw_os_error(code)),
                    Received::Message(message) => {
                        each(message);
                        // The answer about one object ends without a further word unless one was asked for.
                        if message.flags & MULTI == 0 {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Sends several requests at once, each of which is answered by exactly one message or by an error, and gives the
    /// answers in the order of the requests: `None` where the kernel gave an error.
    pub(crate) fn batch(
        &mut self,
        requests: Vec<Request>,
        mut each: impl FnMut(usize, Result<Message<'_>, i32>),
    ) -> io::Result<()> {
        let expected = requests.len();
        let mut answered = 0;
        if expected == 0 {
            return Ok(());
        }
        self.send(requests)?;
        while answered < expected {
            let length = self.receive(RecvFlags::empty())?;
            for received in parse(&self.buffer[..length]) {
                match received {
                    Received::End(code) => each(answered, Err(code)),
                    Received::Message(message) => each(answered, Ok(message)),
                }
                answered += 1;
            }
        }
        Ok(())
    }

    /// Gives every message that already waits to `each`, without waiting for more.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        loop {
            match self.receive(RecvFlags::DONTWAIT) {
                Ok(length) => {
                    for received in parse(&self.buffer[..length]) {
                        if let Received::Message(message) = received {
                            each(message);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for request in requests {
            self.seq += 1;
            bytes.extend(request.finish(self.seq));
        }
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
    }

    fn receive(&mut self, flags: RecvFlags) -> io::Result<usize> {
        let (length, _) = rustix::net::recv(&self.socket, &mut self.buffer[..], flags)?;
        Ok(length)
    }
}
