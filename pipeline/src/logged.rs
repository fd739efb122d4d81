//! What a rule's `log` says of a packet, in the kernel's words, on its way to whoever writes it down.
//!
//! ```text
//!   worker ── rule with `log` ─► LogBook (bounded) ─► a thread ─► the log, and who listens over the socket
//!
//!   NEW: IN=lan0 OUT=wan0 SRC=192.168.1.10 DST=198.51.100.80 LEN=60 TOS=0x00 PREC=0x00 TTL=63 ID=1 DF PROTO=TCP SPT=4000 DPT=443
//!        WINDOW=64240 RES=0x00 SYN URGP=0                                                                 (one line)
//! ```
//!
//! A worker never waits for it: what finds the book full is counted and left out. Rules that log much have `limit` for that.
//! No packet without a `log` costs anything.
//!
//! Source: the kernel's own lines (`nf_log_syslog`), measured on Linux 6.18. `MAC=` is left out: the link header is not the rules'.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;

use parking_lot::{Condvar, Mutex};
use uct_engine::{Counter, Family, Packet, Protocol, Time};
use uct_nat::rules::{Context, RuleId};

/// Lines that wait to be written.
const MOST: usize = 4096;

/// What a rule said of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// When.
    pub at: Time,
    /// The rule.
    pub rule: RuleId,
    /// The line: the rule's prefix, then the packet.
    pub text: String,
}

/// Lines on their way.
#[derive(Debug, Default)]
pub struct LogBook {
    waiting: Mutex<VecDeque<Logged>>,
    filled: Condvar,
    /// Lines that were written here.
    pub logged: Counter,
    /// Lines that found no room.
    pub lost: Counter,
}

impl LogBook {
    /// Takes a line, unless too many wait already.
    pub fn put(&self, rule: RuleId, prefix: &str, cx: &Context<'_>) {
        if self.waiting.lock().len() >= MOST {
            return self.lost.count();
        }
        let line = Logged { at: cx.now, rule, text: line(prefix, cx) };
        self.logged.count();
        self.waiting.lock().push_back(line);
        self.filled.notify_one();
    }

    /// Hands over what waits; waits for something if nothing does.
    pub fn take(&self, into: &mut Vec<Logged>) {
        let mut waiting = self.waiting.lock();
        while waiting.is_empty() {
            self.filled.wait(&mut waiting);
        }
        into.extend(waiting.drain(..));
    }
}

/// An observer that hears nothing but `log`.
#[derive(Clone, Copy, Debug)]
pub struct Logging<'a>(pub &'a LogBook);

impl uct_engine::Observer for Logging<'_> {}

impl uct_nat::rules::Observer for Logging<'_> {
    fn log(&mut self, rule: RuleId, prefix: &str, cx: &Context<'_>) {
        self.0.put(rule, prefix, cx);
    }
}

impl crate::router::Observer for Logging<'_> {}

/// The line.
fn line(prefix: &str, cx: &Context<'_>) -> String {
    let mut out = prefix.to_owned();
    let name = |interface: Option<uct_nat::rules::IfName>| interface.map(|i| i.to_string()).unwrap_or_default();
    let _ = write!(out, "IN={} OUT={} ", name(cx.iif), name(cx.oif));
    let packet = cx.packet;
    ip(packet, &mut out);
    transport(packet, &mut out);
    if cx.mark != 0 {
        let _ = write!(out, "MARK={:#x} ", cx.mark);
    }
    out.truncate(out.trim_end().len());
    out
}

fn word(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn ip(packet: &Packet<'_>, out: &mut String) {
    let bytes = packet.bytes();
    let _ = match packet.family() {
        Family::Ipv4 => {
            let tos = byte(bytes, 1);
            let flags = word(bytes, 6);
            let _ = write!(
                out,
                "SRC={} DST={} LEN={} TOS={:#04x} PREC={:#04x} TTL={} ID={} ",
                packet.src(),
                packet.dst(),
                word(bytes, 2),
                tos & 0x1e,
                tos & 0xe0,
                packet.ttl(),
                word(bytes, 4)
            );
            for (bit, name) in [(0x8000, "CE "), (0x4000, "DF "), (0x2000, "MF ")] {
                if flags & bit != 0 {
                    out.push_str(name);
                }
            }
            match flags & 0x1fff {
                0 => Ok(()),
                at => write!(out, "FRAG:{at} "),
            }
        }
        Family::Ipv6 => {
            let first = u32::from(word(bytes, 0)) << 16 | u32::from(word(bytes, 2));
            write!(
                out,
                "SRC={} DST={} LEN={} TC={} HOPLIMIT={} FLOWLBL={} ",
                full(packet.src()),
                full(packet.dst()),
                usize::from(word(bytes, 4)) + 40,
                first >> 20 & 0xff,
                packet.ttl(),
                first & 0xf_ffff
            )
        }
    };
}

/// An IPv6 address with all of its digits.
fn full(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|word| format!("{word:04x}")).join(":"),
    }
}

fn transport(packet: &Packet<'_>, out: &mut String) {
    let later = packet.fragment().is_some_and(|f| f.offset > 0);
    let held = if later { &[][..] } else { packet.transport().unwrap_or_default() };
    let name = match packet.protocol() {
        Protocol::TCP => "TCP",
        Protocol::UDP => "UDP",
        Protocol::UDPLITE => "UDPLITE",
        Protocol::ICMP => "ICMP",
        Protocol::ICMPV6 => "ICMPv6",
        other => {
            let _ = write!(out, "PROTO={} ", other.0);
            return;
        }
    };
    let _ = write!(out, "PROTO={name} ");
    let incomplete = |out: &mut String| {
        if !later {
            let _ = write!(out, "INCOMPLETE [{} bytes] ", held.len());
        }
    };
    let (ports, needed) = match packet.protocol() {
        Protocol::TCP => (true, 20),
        Protocol::ICMP | Protocol::ICMPV6 => (false, 4),
        _ => (true, 8),
    };
    if held.len() < needed {
        return incomplete(out);
    }
    if ports {
        let _ = write!(out, "SPT={} DPT={} ", word(held, 0), word(held, 2));
    }
    match packet.protocol() {
        Protocol::TCP => {
            let _ = write!(out, "WINDOW={} RES={:#04x} ", word(held, 14), (held[12] & 0x0f) << 2);
            const FLAGS: [(u8, &str); 8] = [
                (0x80, "CWR "),
                (0x40, "ECE "),
                (0x20, "URG "),
                (0x10, "ACK "),
                (0x08, "PSH "),
                (0x04, "RST "),
                (0x02, "SYN "),
                (0x01, "FIN "),
            ];
            for (bit, name) in FLAGS {
                if held[13] & bit != 0 {
                    out.push_str(name);
                }
            }
            let _ = write!(out, "URGP={} ", word(held, 18));
        }
        Protocol::UDP | Protocol::UDPLITE => {
            let _ = write!(out, "LEN={} ", word(held, 4));
        }
        _ => {
            let (kind, code) = (held[0], held[1]);
            let _ = write!(out, "TYPE={kind} CODE={code} ");
            let is_echo = matches!((packet.family(), kind), (Family::Ipv4, 0 | 8) | (Family::Ipv6, 128 | 129));
            if is_echo && held.len() >= 8 {
                let _ = write!(out, "ID={} SEQ={} ", word(held, 4), word(held, 6));
            }
        }
    }
}

#[cfg(test)]
mod tests;
