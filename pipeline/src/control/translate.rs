//! NAT for connections that a client enters: the reply tuple that `--src-nat` and `--dst-nat` ask for.
//!
//! As in Linux, an address without a port keeps the port if it is free, and otherwise takes a free one of the same class
//! (below 512, below 1024, the rest); a port that was asked for must be free. Asking for a translation decides both ends:
//! no rule is consulted for such a connection any more.

use uct_engine::client::NewConn;
use uct_engine::{Engine, L4, Status};

use super::filter::NatTo;

/// How many ports are tried.
const TRIES: u16 = 256;

/// Alters the reply tuple and sets NAT's status bits.
pub(super) fn translate(engine: &Engine, new: &mut NewConn, src: Option<NatTo>, dst: Option<NatTo>) {
    if src.is_none() && dst.is_none() {
        return;
    }
    if let Some(addr) = dst.and_then(|to| to.addr) {
        new.reply.src = addr;
    }
    if let Some(addr) = src.and_then(|to| to.addr) {
        new.reply.dst = addr;
    }
    if let L4::Ports { src: from, dst: to } = &mut new.reply.l4 {
        if let Some(port) = dst.and_then(|d| d.port) {
            *from = port;
        }
        match src {
            Some(NatTo { port: Some(port), .. }) => *to = port,
            Some(_) => {
                let wish = *to;
                if let Some(free) = free_port(engine, new, wish)
                    && let L4::Ports { dst, .. } = &mut new.reply.l4
                {
                    *dst = free;
                }
            }
            None => {}
        }
    }
    let ends = |l4: L4| match l4 {
        L4::Ports { src, dst } => (src, dst),
        _ => (0, 0),
    };
    let (was, is) = (new.original, new.reply);
    let ((old_src, old_dst), (new_src, new_dst)) = (ends(was.l4), ends(is.l4));
    new.status |= Status::NAT_DONE;
    new.status.set(Status::DST_NAT, dst.is_some() && (was.dst != is.src || old_dst != new_src));
    new.status.set(Status::SRC_NAT, src.is_some() && (was.src != is.dst || old_src != new_dst));
}

/// The port itself, or one of its class near a place that depends on the source.
fn free_port(engine: &Engine, new: &NewConn, wish: u16) -> Option<u16> {
    let (first, last) = match wish {
        0..512 => (1, 511),
        512..1024 => (600, 1023),
        _ => (1024, u16::MAX),
    };
    let free = |port: u16| {
        let mut reply = new.reply;
        if let L4::Ports { dst, .. } = &mut reply.l4 {
            *dst = port;
        }
        engine.find(&reply, new.zone).is_none()
    };
    if free(wish) {
        return Some(wish);
    }
    let range = last - first;
    let begin = wish.wrapping_mul(0x9e37).rotate_left(5);
    (0..TRIES).map(|n| first + begin.wrapping_add(n.wrapping_mul(7)) % (range + 1).max(1)).find(|port| free(*port))
}
