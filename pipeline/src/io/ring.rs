//! AF_PACKET: frames of a Linux interface in memory that the kernel shares with us.
//!
//! ```text
//!   kernel ─► slot │ slot │ slot │ …  ─► rewritten in the slot ─► copied once into the sending batch ─► sendmmsg(2)
//!             └ longer than a slot: the slot says so, the frame waits in the socket's queue ─► recv(2)
//! ```
//! # What was decided, and why
//! - *Version 2 of the ring.* Version 3 packs frames into blocks and hands a block over when it is full or at the earliest
//!   a clock tick later: a lone packet would wait for milliseconds. Version 2 hands over each frame as it comes.
//! - *Short slots.* A slot holds a frame of the interface's MTU. Segments that are to be cut later are up to 64 KB long, and
//!   slots for them would spread the ring over 32 times the memory; `PACKET_COPY_THRESH` lets them wait in the socket's queue.
//! - *`sendmmsg` and no ring to send.* The kernel gives a sending slot back when nobody owns the packet any more, and a veth
//!   takes the ownership away as it hands the packet to the other side, whose socket still reads from that slot: the next frame
//!   would overwrite what is not yet read. Besides, `sendmmsg` costs a copy and saves no more than one system call a batch.
//! - *`PACKET_VNET_HDR`*, so that checksums and segments are left to the next card ([`crate::offload`]).
//! - *`PACKET_FANOUT_HASH`* spreads frames over the workers by flow: a flow's packets stay in order.
//! - *`PACKET_IGNORE_OUTGOING`*: what we send does not come back.
//!
//! Sources: packet(7); the kernel's packet_mmap document; `linux/if_packet.h` (layouts and constants).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags};

pub use super::sys::Addresses;
use super::sys::{Ring, Slot, Socket};
use super::{Frame, Lost, Sent, Sink, Source};
use crate::offload::{self, Offload};

/// Bytes of an Ethernet header.
const LINK: usize = 14;
/// What a slot holds besides the frame: its own header, an address, alignment.
const SLOT_HEADER: usize = 96;
/// The longest frame: 64 KB of IP, link header, tags.
const LONGEST: usize = 65536 + 64;
/// How many frames go out with one system call.
const BATCH: usize = 64;
/// Frames longer than this are sent from where they lie.
const SHORT: usize = 4096;
/// What the socket may hold of long frames that were not read yet, and of frames on their way out, in bytes.
const BUFFER: u32 = 8 << 20;

/// How an interface's rings are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Slots of each ring.
    pub slots: u32,
    /// The interface's MTU in bytes.
    pub mtu: u32,
    /// Whether to take frames for any link address, because the topology names one that is not the card's.
    pub addresses: Addresses,
}

/// The receiving half.
#[derive(Debug)]
pub struct RingSource {
    socket: Arc<Socket>,
    ring: Ring,
    long: Vec<u8>,
    lost: Lost,
}

/// The sending half.
#[derive(Debug)]
pub struct RingSink {
    socket: Arc<Socket>,
    buffer: Vec<u8>,
    ends: Vec<usize>,
    sent: Sent,
}

/// Opens an interface by its number, for so many workers.
pub fn open(ifindex: u32, workers: usize, options: Options) -> io::Result<Vec<(RingSource, RingSink)>> {
    let mut group = None;
    (0..workers)
        .map(|_| {
            let (socket, ring) = listen(ifindex, options)?;
            if workers > 1 {
                group = Some(socket.join_fanout(group)?);
            }
            let socket = Arc::new(socket);
            let sink = RingSink::on(Arc::clone(&socket));
            let source = RingSource { socket, ring, long: Vec::new(), lost: Lost::default() };
            Ok((source, sink))
        })
        .collect()
}

/// Opens an interface only to send.
pub fn open_sink(ifindex: u32) -> io::Result<RingSink> {
    let socket = Socket::open()?;
    socket.carry_offloads()?;
    socket.buffers(BUFFER)?;
    socket.bind_to_send(ifindex)?;
    Ok(RingSink::on(Arc::new(socket)))
}

fn listen(ifindex: u32, options: Options) -> io::Result<(Socket, Ring)> {
    let slot = (options.mtu as usize + LINK + SLOT_HEADER).next_power_of_two().max(2048);
    let socket = Socket::open()?;
    socket.carry_offloads()?;
    socket.buffers(BUFFER)?;
    socket.ignore_outgoing()?;
    let ring = socket.map(slot, options.slots as usize)?;
    socket.bind(ifindex)?;
    socket.listen_to(ifindex, options.addresses)?;
    Ok((socket, ring))
}

impl RingSource {
    /// Counts what the kernel lost since it was last asked.
    fn count_drops(&mut self) {
        self.lost.full += self.socket.take_drops().map_or(0, u64::from);
    }
}

/// Splits a frame with its `virtio_net_hdr` and checks the one against the other.
fn read(bytes: &mut [u8]) -> Result<Frame<'_>, offload::NotUnderstood> {
    let (header, bytes) = bytes.split_first_chunk_mut::<{ offload::HEADER }>().ok_or(offload::NotUnderstood)?;
    let offload = Offload::read(header, LINK)?;
    let offload = offload.checked(bytes.get_mut(LINK..).unwrap_or(&mut []))?;
    Ok(Frame { bytes, offload })
}

impl Source for RingSource {
    fn receive(&mut self, most: usize, each: &mut dyn FnMut(Frame<'_>)) -> io::Result<usize> {
        let mut count = 0;
        while count < most {
            let Some(slot) = self.ring.next() else { break };
            count += 1;
            match slot {
                Slot::Tagged => self.lost.tagged += 1,
                Slot::Cut => self.lost.long += 1,
                Slot::Whole(bytes) => match read(bytes) {
                    Ok(frame) => each(frame),
                    Err(_) => self.lost.offload += 1,
                },
                queued => {
                    let is_tagged = matches!(queued, Slot::QueuedTagged);
                    self.long.resize(LONGEST, 0);
                    match rustix::net::recv(&*self.socket, &mut self.long[..], RecvFlags::DONTWAIT) {
                        Ok(_) if is_tagged => self.lost.tagged += 1,
                        Ok((_, len)) if len <= LONGEST => match read(&mut self.long[..len]) {
                            Ok(frame) => each(frame),
                            Err(_) => self.lost.offload += 1,
                        },
                        _ => self.lost.long += 1,
                    }
                }
            }
            self.ring.give_back();
        }
        Ok(count)
    }

    fn peek(&self, n: usize) -> Option<&[u8]> {
        let bytes = self.ring.peek(n)?;
        Some(bytes.get(offload::HEADER..).unwrap_or(&[]))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn take_lost(&mut self) -> Lost {
        self.count_drops();
        std::mem::take(&mut self.lost)
    }
}

impl RingSink {
    fn on(socket: Arc<Socket>) -> Self {
        RingSink {
            socket,
            buffer: Vec::with_capacity(BATCH * SHORT / 2),
            ends: Vec::with_capacity(BATCH),
            sent: Sent::default(),
        }
    }
}

impl Sink for RingSink {
    fn send(&mut self, header: &[u8], packet: &[u8], offload: Offload) {
        let card = offload.write(packet, header.len());
        if packet.len() > SHORT {
            self.flush();
            let parts = [&card[..], header, packet].map(io::IoSlice::new);
            let sent =
                rustix::net::sendmsg(&*self.socket, &parts, &mut SendAncillaryBuffer::default(), SendFlags::DONTWAIT);
            return self.sent.count(sent.map(drop));
        }
        self.buffer.extend_from_slice(&card);
        self.buffer.extend_from_slice(header);
        self.buffer.extend_from_slice(packet);
        self.ends.push(self.buffer.len());
        if self.ends.len() == BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let mut start = 0;
        let frames: Vec<[io::IoSlice<'_>; 1]> = self
            .ends
            .iter()
            .map(|end| {
                let frame = &self.buffer[start..*end];
                start = *end;
                [io::IoSlice::new(frame)]
            })
            .collect();
        let mut nothing: Vec<_> = frames.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<_> = frames.iter().zip(&mut nothing).map(|(f, n)| MMsgHdr::new(f, n)).collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            // What does not leave is the first of the rest, and the reason is its own.
            match rustix::net::sendmmsg(&*self.socket, rest, SendFlags::DONTWAIT) {
                Ok(0) => break,
                Ok(n) => {
                    self.sent.frames += n as u64;
                    rest = &mut rest[n..];
                }
                Err(why) => {
                    self.sent.count(Err(why));
                    rest = &mut rest[1..];
                }
            }
        }
        self.ends.clear();
        self.buffer.clear();
    }

    fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }
}
