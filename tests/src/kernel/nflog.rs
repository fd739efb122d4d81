//! What the router's own stack receives, seen and taken away at the last moment.
//!
//! ```text
//!   … INPUT rules ─► NAT ─► confirm ─► log to group, drop
//! ```
//!
//! A rule behind everything else at the input hook logs each packet whole and drops it. The connection is confirmed by
//! then, so the table is as if the packet had been delivered, but no socket and no stack answers it. The rule must be
//! loaded before the first rule that speaks of connections: of two functions with the same priority the kernel puts the
//! later one first, and confirmation comes with the lowest priority there is.

use std::io;

use super::netlink::{ACK, Message, Netlink, REQUEST, Request, find};

const SUBSYSTEM: u8 = 4;
const PACKET: u8 = 0;
const CONFIG: u8 = 1;
const GROUP: u16 = 7777;
const COPY_PACKET: u8 = 2;

/// The rules that log and drop what is delivered locally.
pub(crate) const RULES: &str = "table inet uctd_delivered {
  chain delivered {
    type filter hook input priority 2147483647; policy accept
    log group 7777 snaplen 65535 queue-threshold 1 drop
  }
}
";

/// A listener to the packets that were delivered locally.
pub(crate) struct Delivered {
    netlink: Netlink,
}

impl Delivered {
    /// Listens in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Delivered> {
        let mut netlink = Netlink::open(0)?;
        let bind = Request::new(SUBSYSTEM, CONFIG, REQUEST | ACK, 0).resource(GROUP).attribute(1, &[1]);
        netlink.request(bind, |_| {})?;
        let [a, b, c, d] = 0xffff_u32.to_be_bytes();
        let mode = Request::new(SUBSYSTEM, CONFIG, REQUEST | ACK, 0)
            .resource(GROUP)
            .attribute(2, &[a, b, c, d, COPY_PACKET, 0])
            .attribute(5, &1_u32.to_be_bytes());
        netlink.request(mode, |_| {})?;
        Ok(Delivered { netlink })
    }

    /// Gives every packet delivered since the last call to `each`, from the IP header on.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.netlink.drain(|message: Message<'_>| {
            if message.subsystem == SUBSYSTEM
                && message.kind == PACKET
                && let Some(packet) = find(message.body, 9)
            {
                each(packet);
            }
        })
    }
}
