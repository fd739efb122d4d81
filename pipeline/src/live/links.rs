//! What the kernel says of its interfaces: who is there, up, with which link address, and whether the host has addresses on it.
//!
//! ```text
//!   nlmsghdr 16 │ ifinfomsg 16 or ifaddrmsg 8 │ attribute: length 2 · type 2 · value · padding to 4 │ …
//! ```
//! The kernel tells of every change; what it tells is taken as a reason to ask for everything anew, so that nothing is missed
//! when the messages are too many.
//!
//! Sources: rtnetlink(7), `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::station::Carrier;
use crate::link::Mac;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
const HEADER: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number, which is another if it went and came back.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its link address, if it has an Ethernet one.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether frames pass.
    pub carrier: Carrier,
}

/// A line to the kernel.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
}

/// Whether a line hears of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// It only answers.
    Ignored,
    /// It becomes readable when something changes.
    Told,
}

impl Links {
    /// Opens a line.
    pub fn open(changes: Changes) -> io::Result<Links> {
        // No protocol is NETLINK_ROUTE.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let groups = if changes == Changes::Told { GROUPS } else { 0 };
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Links { socket })
    }

    /// Throws away what was told: it will be asked for.
    pub fn drain(&self) {
        let mut buffer = vec![0; 1 << 15];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn dump(&self, ask: u16, kind: u16, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut request = [0; HEADER + 16];
        let len = request.len() as u32;
        request[..4].copy_from_slice(&len.to_ne_bytes());
        request[4..6].copy_from_slice(&ask.to_ne_bytes());
        request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (len, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut messages = &buffer[..len];
            while let (Some(len), Some(this)) = (word(messages, 0), half(messages, 4)) {
                let len = len as usize;
                let Some(message) = messages.get(HEADER..len) else { break };
                match this {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code = word(message, 0).map_or(0, |code| code.cast_signed());
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    this if this == kind => each(message),
                    _ => {}
                }
                messages = messages.get(len.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    }

    /// The host's interfaces.
    pub fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let mut found = Vec::new();
        self.dump(RTM_GETLINK, RTM_NEWLINK, |message| found.extend(interface(message)))?;
        Ok(found)
    }

    /// The host's addresses, each with the number of its interface.
    pub fn addresses(&self) -> io::Result<Vec<(u32, IpAddr)>> {
        let mut found = Vec::new();
        self.dump(RTM_GETADDR, RTM_NEWADDR, |message| found.extend(address(message)))?;
        Ok(found)
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn interface(message: &[u8]) -> Option<Interface> {
    let (index, flags) = (word(message, 4)?, word(message, 8)?);
    let attributes = message.get(16..)?;
    let name = find(attributes, IFLA_IFNAME)?;
    let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
    let mac = find(attributes, IFLA_ADDRESS).and_then(|mac| <[u8; 6]>::try_from(mac).ok()).map(Mac);
    let mtu = find(attributes, IFLA_MTU).and_then(|mtu| word(mtu, 0)).unwrap_or(1500);
    let carrier = match (flags & IFF_UP != 0, flags & IFF_LOWER_UP != 0) {
        (true, true) => Carrier::Up,
        (true, false) => Carrier::Lost,
        (false, _) => Carrier::Down,
    };
    Some(Interface { index, name, mac, mtu, carrier })
}

fn address(message: &[u8]) -> Option<(u32, IpAddr)> {
    let (index, attributes) = (word(message, 4)?, message.get(8..)?);
    let bytes = find(attributes, IFA_LOCAL).or_else(|| find(attributes, IFA_ADDRESS))?;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
    Some((index, address))
}

/// The value of the first attribute of that type.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (len, kind) = (usize::from(half(attributes, 0)?), half(attributes, 2)?);
        let value = attributes.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there() {
        let links = Links::open(Changes::Ignored).unwrap();
        let interfaces = links.interfaces().unwrap();
        let lo = interfaces.iter().find(|i| i.name == "lo").unwrap();
        assert_eq!(lo.mtu, 65536);
        assert!(links.addresses().unwrap().iter().all(|(index, _)| *index != 0));
    }
}
