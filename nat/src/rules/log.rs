//! What a `log` statement says: the kernel's line about a packet.
//!
//! ```text
//!   fwd: IN=lan0 OUT=wan0 SRC=192.168.1.10 DST=198.51.100.80 LEN=60 TOS=0x00 PREC=0x00 TTL=63 ID=4479 DF PROTO=TCP SPT=…
//!   └prefix └ interfaces  └ IP header                                                        └ transport header  MARK=0x7
//! ```
//!
//! | flag | adds |
//! |---|---|
//! | `tcp sequence` | `SEQ= ACK=` |
//! | `tcp options` | `OPT (hex)` after the TCP header's fields |
//! | `ip options` | `OPT (hex)` of IPv4, `OPT ( … )` around what is said of IPv6's extension headers |
//! | `all` | all of these |
//! | `ether`, `skuid` | nothing: a packet within the router has no link header, and no socket |
//!
//! Invariant: any bytes make a line; a header that is cut is `INCOMPLETE` with the number of bytes there are, and if
//! it is TCP's, UDP's or ICMPv6's, not even the mark follows. Of IPv6's ESP and AH only `ip options` tells.
//!
//! Sources: the kernel's lines in its ring buffer for the same packets (`cli/tests/replay/logged.rs` compares them); of
//! those only `MAC=…` is left out.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr};

use bitflags::bitflags;
use uct_engine::Family;

use super::{Context, RuleId};

bitflags! {
    /// What the line has besides the headers' main fields.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LogFlags: u8 {
        /// TCP sequence and acknowledgement numbers.
        const TCP_SEQUENCE = 1;
        /// TCP options.
        const TCP_OPTIONS = 2;
        /// IPv4 options, IPv6 extension headers.
        const IP_OPTIONS = 4;
    }
}

/// How grave a line is, syslog's levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `emerg`
    Emergency,
    /// `alert`
    Alert,
    /// `crit`
    Critical,
    /// `err`
    Error,
    /// `warn`, what a rule that says nothing means.
    #[default]
    Warning,
    /// `notice`
    Notice,
    /// `info`
    Info,
    /// `debug`
    Debug,
}

impl LogLevel {
    /// By nft's word.
    pub(super) fn named(word: &str) -> Option<LogLevel> {
        Some(match word {
            "emerg" => LogLevel::Emergency,
            "alert" => LogLevel::Alert,
            "crit" => LogLevel::Critical,
            "err" => LogLevel::Error,
            "warn" => LogLevel::Warning,
            "notice" => LogLevel::Notice,
            "info" => LogLevel::Info,
            "debug" => LogLevel::Debug,
            _ => return None,
        })
    }
}

/// A `log` statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// What each line begins with; nothing is put between.
    pub prefix: Box<str>,
    /// How grave it is.
    pub level: LogLevel,
    /// What else is said.
    pub flags: LogFlags,
}

/// A packet that has passed a `log` statement: as text, the kernel's line, without a newline.
pub struct Logged<'a, 'p> {
    /// The rule.
    pub rule: RuleId,
    /// Its statement.
    pub log: &'a Log,
    /// The packet, and where it is.
    pub cx: &'a Context<'p>,
}

impl fmt::Debug for Logged<'_, '_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logged").field("rule", &self.rule).field("line", &self.to_string()).finish()
    }
}

impl Display for Logged<'_, '_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cx = self.cx;
        f.write_str(&self.log.prefix)?;
        f.write_str("IN=")?;
        cx.iif.map_or(Ok(()), |name| name.fmt(f))?;
        f.write_str(" OUT=")?;
        cx.oif.map_or(Ok(()), |name| name.fmt(f))?;
        let line = Line { flags: self.log.flags };
        let went = match cx.packet.family() {
            Family::Ipv4 => line.ipv4(cx.packet.bytes(), Depth::Packet, f)?,
            Family::Ipv6 => line.ipv6(cx.packet.bytes(), Depth::Packet, f)?,
        };
        if went == Went::Through && cx.mark != 0 { write!(f, " MARK={:#x}", cx.mark) } else { Ok(()) }
    }
}

/// Whose headers are described: an error's quote is not looked into a second time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Packet,
    Quote,
}

/// Whether the headers could be described to their end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Went {
    Through,
    Short,
}

type Written = Result<Went, fmt::Error>;

/// How a line is written. Every part writes the blank before itself.
#[derive(Clone, Copy)]
struct Line {
    flags: LogFlags,
}

/// What follows the network header: the whole of it, or a fragment other than the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    First,
    Later,
}

impl Line {
    fn ipv4(self, bytes: &[u8], depth: Depth, f: &mut Formatter<'_>) -> Written {
        let Some(header) = bytes.first_chunk::<20>() else { return truncated(f) };
        let [_, tos, l0, l1, i0, i1, f0, f1, ttl, protocol, ..] = *header;
        let (src, dst) = (ipv4_at(bytes, 12), ipv4_at(bytes, 16));
        let len = u16::from_be_bytes([l0, l1]);
        write!(f, " SRC={src} DST={dst} LEN={len} TOS=0x{:02X} PREC=0x{:02X}", tos & 0x1e, tos & 0xe0)?;
        write!(f, " TTL={ttl} ID={}", u16::from_be_bytes([i0, i1]))?;
        let fragment = u16::from_be_bytes([f0, f1]);
        for (bit, word) in [(0x8000, " CE"), (0x4000, " DF"), (0x2000, " MF")] {
            if fragment & bit != 0 {
                f.write_str(word)?;
            }
        }
        let offset = fragment & 0x1fff;
        if offset != 0 {
            write!(f, " FRAG:{offset}")?;
        }
        let header_len = usize::from(header[0] & 0x0f) * 4;
        if header_len > 20 && self.flags.contains(LogFlags::IP_OPTIONS) {
            let Some(options) = bytes.get(20..header_len) else { return truncated(f) };
            hex_options(options, f)?;
        }
        let part = if offset == 0 { Part::First } else { Part::Later };
        let rest = bytes.get(header_len..).unwrap_or_default();
        match protocol {
            1 => self.icmp(rest, part, depth, f),
            51 => security("PROTO=AH", rest, part, f),
            50 => security("PROTO=ESP", rest, part, f),
            _ => self.transport(protocol, rest, part, f),
        }
    }

    fn ipv6(self, bytes: &[u8], depth: Depth, f: &mut Formatter<'_>) -> Written {
        let Some(header) = bytes.first_chunk::<40>() else { return truncated(f) };
        let word = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        let len = usize::from(u16::from_be_bytes([header[4], header[5]])) + 40;
        f.write_str(" SRC=")?;
        full(ipv6_at(bytes, 8), f)?;
        f.write_str(" DST=")?;
        full(ipv6_at(bytes, 24), f)?;
        write!(f, " LEN={len} TC={} HOPLIMIT={} FLOWLBL={}", word >> 20 & 0xff, header[7], word & 0xf_ffff)?;

        let is_told = self.flags.contains(LogFlags::IP_OPTIONS);
        let (mut next, mut at, mut part) = (header[6], 40, Part::First);
        while matches!(next, 0 | 43 | 44 | 50 | 51 | 60) {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(&[following, units]) = rest.first_chunk() else { return truncated(f) };
            if is_told {
                f.write_str(" OPT (")?;
            }
            let header_len = match next {
                44 => {
                    let Some(&[_, _, o0, o1, a, b, c, d]) = rest.first_chunk() else { return truncated(f) };
                    let field = u16::from_be_bytes([o0, o1]);
                    write!(f, " FRAG:{}", field & !7)?;
                    if field & 1 != 0 {
                        f.write_str(" INCOMPLETE")?;
                    }
                    write!(f, " ID:{:08x}", u32::from_be_bytes([a, b, c, d]))?;
                    if field & !7 != 0 {
                        part = Part::Later;
                    }
                    8
                }
                50 => {
                    if is_told && security("ESP", rest, part, f)? == Went::Through {
                        f.write_str(" )")?;
                    }
                    return Ok(Went::Short);
                }
                51 => {
                    if is_told && security("AH", rest, part, f)? == Went::Short {
                        return Ok(Went::Short);
                    }
                    if part == Part::Later {
                        return Ok(Went::Short);
                    }
                    usize::from(units) * 4 + 8
                }
                _ => usize::from(units) * 8 + 8,
            };
            if is_told {
                f.write_str(" )")?;
            }
            (next, at) = (following, at + header_len);
        }
        let rest = bytes.get(at..).unwrap_or_default();
        match next {
            58 => self.icmpv6(rest, part, depth, f),
            _ => self.transport(next, rest, part, f),
        }
    }

    fn transport(self, protocol: u8, rest: &[u8], part: Part, f: &mut Formatter<'_>) -> Written {
        match protocol {
            6 => self.tcp(rest, part, f),
            17 => udp("UDP", rest, part, f),
            136 => udp("UDPLITE", rest, part, f),
            other => through(write!(f, " PROTO={other}")),
        }
    }

    fn tcp(self, rest: &[u8], part: Part, f: &mut Formatter<'_>) -> Written {
        f.write_str(" PROTO=TCP")?;
        if part == Part::Later {
            return Ok(Went::Through);
        }
        let Some(h) = rest.first_chunk::<20>() else { return cut_short(rest, f) };
        let half = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        write!(f, " SPT={} DPT={}", half(0), half(2))?;
        if self.flags.contains(LogFlags::TCP_SEQUENCE) {
            write!(f, " SEQ={} ACK={}", word(4), word(8))?;
        }
        write!(f, " WINDOW={} RES=0x{:02x}", half(14), (h[12] & 0x0e) << 2)?;
        if h[12] & 1 != 0 {
            f.write_str(" AE")?;
        }
        const FLAGS: [(u8, &str); 8] = [
            (0x80, " CWR"),
            (0x40, " ECE"),
            (0x20, " URG"),
            (0x10, " ACK"),
            (0x08, " PSH"),
            (0x04, " RST"),
            (0x02, " SYN"),
            (0x01, " FIN"),
        ];
        for (bit, name) in FLAGS {
            if h[13] & bit != 0 {
                f.write_str(name)?;
            }
        }
        write!(f, " URGP={}", half(18))?;
        let header_len = usize::from(h[12] >> 4) * 4;
        if header_len > 20 && self.flags.contains(LogFlags::TCP_OPTIONS) {
            let Some(options) = rest.get(20..header_len) else {
                return f.write_str(NO_OPTIONS).map(|()| Went::Short);
            };
            hex_options(options, f)?;
        }
        Ok(Went::Through)
    }

    fn icmp(self, rest: &[u8], part: Part, depth: Depth, f: &mut Formatter<'_>) -> Written {
        f.write_str(" PROTO=ICMP")?;
        if part == Part::Later {
            return Ok(Went::Through);
        }
        let Some(&[kind, code, _, _, a, b, c, d]) = rest.first_chunk() else { return incomplete(rest, f) };
        write!(f, " TYPE={kind} CODE={code}")?;
        let least = match kind {
            // An error quotes at least a header.
            3 | 4 | 5 | 11 | 12 => 28,
            13 | 14 => 20,
            17 | 18 => 12,
            _ => 8,
        };
        if rest.len() < least {
            return incomplete(rest, f);
        }
        match kind {
            0 | 8 => return echo([a, b, c, d], f),
            12 => return through(write!(f, " PARAMETER={a}")),
            5 => write!(f, " GATEWAY={}", Ipv4Addr::from([a, b, c, d]))?,
            3 | 4 | 11 => {}
            _ => return Ok(Went::Through),
        }
        if depth == Depth::Packet {
            bracketed(fmt::from_fn(|f| self.ipv4(&rest[8..], Depth::Quote, f).map(drop)), f)?;
        }
        through(if (kind, code) == (3, 4) { write!(f, " MTU={}", u16::from_be_bytes([c, d])) } else { Ok(()) })
    }

    fn icmpv6(self, rest: &[u8], part: Part, depth: Depth, f: &mut Formatter<'_>) -> Written {
        f.write_str(" PROTO=ICMPv6")?;
        if part == Part::Later {
            return Ok(Went::Through);
        }
        let Some(&[kind, code, _, _, a, b, c, d]) = rest.first_chunk() else { return cut_short(rest, f) };
        write!(f, " TYPE={kind} CODE={code}")?;
        let word = u32::from_be_bytes([a, b, c, d]);
        match kind {
            128 | 129 => return echo([a, b, c, d], f),
            4 => write!(f, " POINTER={word:08x}")?,
            1..=3 => {}
            _ => return Ok(Went::Through),
        }
        if depth == Depth::Packet {
            bracketed(fmt::from_fn(|f| self.ipv6(&rest[8..], Depth::Quote, f).map(drop)), f)?;
        }
        through(if kind == 2 { write!(f, " MTU={word}") } else { Ok(()) })
    }
}

fn through(written: fmt::Result) -> Written {
    written.map(|()| Went::Through)
}

/// What is quoted begins at the bracket and ends with a blank, but for what is cut.
fn bracketed(quote: impl Display, f: &mut Formatter<'_>) -> fmt::Result {
    let quote = quote.to_string();
    let end = if quote.ends_with(TRUNCATED) || quote.ends_with(" )") || quote.ends_with(NO_OPTIONS) { "" } else { " " };
    write!(f, " [{}{end}]", quote.strip_prefix(' ').unwrap_or(&quote))
}

const TRUNCATED: &str = " TRUNCATED";

/// TCP options that are cut.
const NO_OPTIONS: &str = " OPT (TRUNCATED)";

fn truncated(f: &mut Formatter<'_>) -> Written {
    f.write_str(TRUNCATED).map(|()| Went::Short)
}

fn udp(name: &str, rest: &[u8], part: Part, f: &mut Formatter<'_>) -> Written {
    write!(f, " PROTO={name}")?;
    if part == Part::Later {
        return Ok(Went::Through);
    }
    let Some(&[s0, s1, d0, d1, l0, l1, _, _]) = rest.first_chunk() else { return cut_short(rest, f) };
    let half = |a, b| u16::from_be_bytes([a, b]);
    through(write!(f, " SPT={} DPT={} LEN={}", half(s0, s1), half(d0, d1), half(l0, l1)))
}

/// AH and ESP: the security parameters index.
fn security(name: &str, rest: &[u8], part: Part, f: &mut Formatter<'_>) -> Written {
    write!(f, " {name}")?;
    if part == Part::Later {
        return Ok(Went::Through);
    }
    let (at, min) = if name.ends_with("AH") { (4, 12) } else { (0, 8) };
    match rest.get(at..at + 4) {
        Some(&[a, b, c, d]) if rest.len() >= min => through(write!(f, " SPI={:#x}", u32::from_be_bytes([a, b, c, d]))),
        _ => incomplete(rest, f),
    }
}

fn echo([a, b, c, d]: [u8; 4], f: &mut Formatter<'_>) -> Written {
    through(write!(f, " ID={} SEQ={}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn incomplete(rest: &[u8], f: &mut Formatter<'_>) -> Written {
    write!(f, " INCOMPLETE [{} bytes]", rest.len()).map(|()| Went::Through)
}

/// TCP's, UDP's or ICMPv6's header is not all there: the line ends.
fn cut_short(rest: &[u8], f: &mut Formatter<'_>) -> Written {
    incomplete(rest, f).map(|_| Went::Short)
}

fn hex_options(options: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(" OPT (")?;
    for byte in options {
        write!(f, "{byte:02X}")?;
    }
    f.write_str(")")
}

/// An address with all its digits, as the kernel prints it.
fn full(address: Ipv6Addr, f: &mut Formatter<'_>) -> fmt::Result {
    for (i, group) in address.segments().into_iter().enumerate() {
        if i > 0 {
            f.write_str(":")?;
        }
        write!(f, "{group:04x}")?;
    }
    Ok(())
}

fn ipv4_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).map_or(Ipv4Addr::UNSPECIFIED, |b| Ipv4Addr::from(*b))
}

fn ipv6_at(bytes: &[u8], at: usize) -> Ipv6Addr {
    bytes.get(at..).and_then(<[u8]>::first_chunk::<16>).map_or(Ipv6Addr::UNSPECIFIED, |b| Ipv6Addr::from(*b))
}
