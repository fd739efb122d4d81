//! Packet sockets, the memory that they share with the kernel, and TUN devices: all unsafe code of packet I/O is here.
//!
//! ```text
//!   slot:  tpacket2_hdr 32 │ sockaddr_ll │ … │ virtio_net_hdr 10 │ frame
//!          status, len, snaplen, mac …                            └ at tp_mac
//! ```
//! # Why it is sound
//! - The mapping lives as long as [`Ring`], which keeps it to itself and unmaps it in `drop`. `Ring` is not `Clone`.
//! - A slot's bytes are ours from when its status has `TP_STATUS_USER` (read with acquire: what the kernel wrote before is seen)
//!   until we write `TP_STATUS_KERNEL` (with release: what we read and wrote is done). [`Ring::next`] borrows the ring for as
//!   long as the bytes are used, and [`Ring::give_back`] needs that borrow to be over.
//! - Offsets and lengths that stand in a slot are checked against the slot's size before a slice is made of them.
//! - Every pointer that is given to a system call points to a live value of the stated size.
//!
//! Sources: packet(7), `linux/if_packet.h`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use std::fs::File;

use crate::offload;

const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUN_F_CSUM: libc::c_ulong = 1;
const TUN_F_TSO4: libc::c_ulong = 2;
const TUN_F_TSO6: libc::c_ulong = 4;
const TUN_F_TSO_ECN: libc::c_ulong = 8;
const FANOUT_HASH: u32 = 0;
const FANOUT_FLAG_UNIQUEID: u32 = 0x2000;

/// For which link addresses a card is to take frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// For its own, and for groups.
    Own,
    /// For all.
    Any,
}

/// An AF_PACKET socket.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

/// `struct tpacket_req`.
#[repr(C)]
struct Request {
    block_size: u32,
    blocks: u32,
    frame_size: u32,
    frames: u32,
}

/// `struct tpacket_stats`.
#[repr(C)]
#[derive(Default)]
struct Statistics {
    packets: u32,
    drops: u32,
}

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Socket {
    /// A socket that hears nothing yet.
    pub(super) fn open() -> io::Result<Socket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket(2) takes no pointer.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        done(fd)?;
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Socket(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let (value, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
        // SAFETY: the pointer is to a live T and the length is that of T.
        done(unsafe { libc::setsockopt(self.0.as_raw_fd(), level, option, value, len) })
    }

    fn get<T: Default>(&self, option: libc::c_int) -> io::Result<T> {
        let mut value = T::default();
        let mut len = size_of::<T>() as libc::socklen_t;
        let to = std::ptr::from_mut(&mut value).cast();
        // SAFETY: the pointer is to a live T, the length is that of T; both T's used here are plain numbers.
        done(unsafe { libc::getsockopt(self.0.as_raw_fd(), libc::SOL_PACKET, option, to, &raw mut len) })?;
        Ok(value)
    }

    /// Frames come and go with a `virtio_net_hdr`.
    pub(super) fn carry_offloads(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1u32)
    }

    /// What is sent by this host is not received.
    pub(super) fn ignore_outgoing(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1u32)
    }

    /// How much may wait in the socket, in bytes. What the system's limit does not allow is left at that limit.
    pub(super) fn buffers(&self, bytes: u32) -> io::Result<()> {
        for (force, ask) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            self.set(libc::SOL_SOCKET, force, &bytes).or_else(|_| self.set(libc::SOL_SOCKET, ask, &bytes))?;
        }
        Ok(())
    }

    fn bind_as(&self, ifindex: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: all noughts is a sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = ifindex as libc::c_int;
        let (at, len) = (std::ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t);
        // SAFETY: the pointer is to a live sockaddr_ll and the length is its.
        done(unsafe { libc::bind(self.0.as_raw_fd(), at, len) })
    }

    /// Hears all frames of an interface from now on.
    pub(super) fn bind(&self, ifindex: u32) -> io::Result<()> {
        self.bind_as(ifindex, libc::ETH_P_ALL as u16)
    }

    /// Sends to an interface and hears nothing.
    pub(super) fn bind_to_send(&self, ifindex: u32) -> io::Result<()> {
        self.bind_as(ifindex, 0)
    }

    /// Groups, and the addresses of others if asked, pass the card's filter.
    pub(super) fn listen_to(&self, ifindex: u32, addresses: Addresses) -> io::Result<()> {
        let kind = match addresses {
            Addresses::Own => libc::PACKET_MR_ALLMULTI,
            Addresses::Any => libc::PACKET_MR_PROMISC,
        };
        let request = libc::packet_mreq {
            mr_ifindex: ifindex as libc::c_int,
            mr_type: kind as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Shares an interface's frames with the other sockets of the group; the first makes the group. Answers its number.
    pub(super) fn join_fanout(&self, group: Option<u16>) -> io::Result<u16> {
        match group {
            Some(group) => {
                self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &(FANOUT_HASH << 16 | u32::from(group)))?;
                Ok(group)
            }
            None => {
                let flags = FANOUT_HASH | FANOUT_FLAG_UNIQUEID;
                self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &(flags << 16))?;
                Ok(self.get::<u32>(libc::PACKET_FANOUT)? as u16)
            }
        }
    }

    /// How many frames found no room since the last call.
    pub(super) fn take_drops(&self) -> io::Result<u32> {
        Ok(self.get::<Statistics>(libc::PACKET_STATISTICS)?.drops)
    }

    /// Makes the ring. `slot` is a power of two.
    pub(super) fn map(&self, slot: usize, slots: usize) -> io::Result<Ring> {
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as u32))?;
        // Frames longer than a slot wait in the socket's queue.
        self.set(libc::SOL_PACKET, libc::PACKET_COPY_THRESH, &1u32)?;
        let block = slot.max(1 << 16);
        let slots = slots.next_multiple_of(block / slot);
        let request = Request {
            block_size: block as u32,
            blocks: (slots * slot / block) as u32,
            frame_size: slot as u32,
            frames: slots as u32,
        };
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let len = slots * slot;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED | libc::MAP_POPULATE, self.0.as_raw_fd(), 0)
        };
        match NonNull::new(at.cast::<u8>()).filter(|_| at != libc::MAP_FAILED) {
            Some(at) => Ok(Ring { at, len, slot, slots, next: 0 }),
            None => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The slots, in the order in which the kernel fills them.
#[derive(Debug)]
pub(super) struct Ring {
    at: NonNull<u8>,
    len: usize,
    slot: usize,
    slots: usize,
    next: usize,
}

// SAFETY: the mapping belongs to this value alone, and is reached through `&mut self` only.
unsafe impl Send for Ring {}

/// What a slot has.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    /// A `virtio_net_hdr` and a frame.
    Whole(&'a mut [u8]),
    /// The frame is longer than the slot and waits in the socket's queue.
    Queued,
    /// The frame is longer than the slot, and there was no room in the queue either.
    Cut,
    /// The frame had a VLAN tag.
    Tagged,
    /// It had one, and waits in the socket's queue.
    QueuedTagged,
}

impl Ring {
    /// Where a slot begins, counted from the next one.
    fn place(&self, ahead: usize) -> *mut u8 {
        // SAFETY: the remainder is below `slots`, so the slot is within the mapping.
        unsafe { self.at.as_ptr().add((self.next + ahead) % self.slots * self.slot) }
    }

    fn status(&self, ahead: usize) -> &AtomicU32 {
        // SAFETY: the first four bytes of a slot are its status, aligned because slots are, and both sides reach it by atomic accesses
        // only.
        unsafe { AtomicU32::from_ptr(self.place(ahead).cast()) }
    }

    /// Where the frame stands in a slot that is ours and holds a whole one: start and end, `virtio_net_hdr` included.
    fn extent(&self, ahead: usize) -> Option<(usize, usize)> {
        // SAFETY: the slot is within the mapping, and is ours until its status is given back; a tpacket2_hdr is plain numbers.
        let header = unsafe { self.place(ahead).cast::<libc::tpacket2_hdr>().read() };
        let end = usize::from(header.tp_mac) + header.tp_snaplen as usize;
        let start = usize::from(header.tp_mac).checked_sub(offload::HEADER)?;
        (header.tp_snaplen >= header.tp_len && end <= self.slot).then_some((start, end))
    }

    /// The frame in a slot, counted from the next one; empty if it is not one that is whole. `None` if the kernel has not filled it.
    pub(super) fn peek(&self, ahead: usize) -> Option<&[u8]> {
        let status = self.status(ahead).load(Ordering::Acquire);
        if ahead >= self.slots || status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let is_odd = status & (libc::TP_STATUS_COPY | libc::TP_STATUS_VLAN_VALID) != 0;
        let Some((start, end)) = self.extent(ahead).filter(|_| !is_odd) else { return Some(&[]) };
        // SAFETY: start <= end <= slot, so the bytes are within this slot, which is ours until `give_back`; the borrow of `self` keeps that
        // from being called, and from being rewritten meanwhile.
        Some(unsafe { std::slice::from_raw_parts(self.place(ahead).add(start), end - start) })
    }

    /// What the next slot has, if the kernel has filled it.
    pub(super) fn next(&mut self) -> Option<Slot<'_>> {
        let status = self.status(0).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        match (status & libc::TP_STATUS_COPY != 0, status & libc::TP_STATUS_VLAN_VALID != 0) {
            (true, true) => return Some(Slot::QueuedTagged),
            (true, false) => return Some(Slot::Queued),
            (false, true) => return Some(Slot::Tagged),
            (false, false) => {}
        }
        let Some((start, end)) = self.extent(0) else { return Some(Slot::Cut) };
        // SAFETY: start <= end <= slot, so the bytes are within this slot, which is ours until `give_back`; the borrow of
        // `self` keeps that from being called.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.place(0).add(start), end - start) };
        Some(Slot::Whole(bytes))
    }

    /// The kernel may fill that slot again.
    pub(super) fn give_back(&mut self) {
        self.status(0).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping, and nothing borrows from it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// What a TUN device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// IP packets (`tun`).
    Packets,
    /// Ethernet frames (`tap`).
    Frames,
}

/// Makes a TUN device, or takes the one of that name. What is read and written begins with a `virtio_net_hdr`.
pub(super) fn tun(name: &str, carries: Carries) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut request = [0u8; size_of::<libc::ifreq>()];
    if name.len() >= libc::IFNAMSIZ || name.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name of an interface has 1 to 15 bytes"));
    }
    let kind = match carries {
        Carries::Packets => libc::IFF_TUN,
        Carries::Frames => libc::IFF_TAP,
    };
    let flags = (kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as u16;
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[libc::IFNAMSIZ..libc::IFNAMSIZ + 2].copy_from_slice(&flags.to_ne_bytes());
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: TUNSETIFF reads and writes one ifreq; the pointer is to a live buffer of that size.
    done(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) })?;
    let offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    // SAFETY: TUNSETOFFLOAD takes a number, no pointer.
    done(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, offloads) })?;
    Ok(file)
}
