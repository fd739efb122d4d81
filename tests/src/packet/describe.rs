//! One line about an IP packet, for people who read a difference.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::observed::{hex, proto_name};

/// Whether the IP packet is a fragment.
#[must_use]
pub fn is_fragment(packet: &[u8]) -> bool {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => packet.get(6..8).is_some_and(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]) & 0x3fff != 0),
        Some(6) => upper(packet).is_some_and(|upper| upper.fragment.is_some()),
        _ => false,
    }
}

/// The identification of an IP packet that is a fragment.
#[must_use]
pub fn fragment_id(packet: &[u8]) -> Option<u32> {
    match packet.first()? >> 4 {
        4 if is_fragment(packet) => Some(u32::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]))),
        6 => upper(packet)?.fragment.map(|(_, id)| id),
        _ => None,
    }
}

/// Where the fragment header of an IPv6 packet is.
pub(super) fn fragment_header(packet: &[u8]) -> Option<usize> {
    let upper = upper(packet)?;
    upper.fragment?;
    Some(upper.header)
}

struct Upper {
    proto: u8,
    offset: usize,
    fragment: Option<(u16, u32)>,
    /// Where the fragment header is, if there is one.
    header: usize,
}

/// Where the upper layer of an IPv6 packet begins.
fn upper(packet: &[u8]) -> Option<Upper> {
    let mut proto = *packet.get(6)?;
    let mut offset = 40;
    let mut fragment = None;
    let mut header = 0;
    loop {
        match proto {
            0 | 43 | 60 => {
                let length = 8 + 8 * usize::from(*packet.get(offset + 1)?);
                (proto, offset) = (*packet.get(offset)?, offset + length);
            }
            44 => {
                let field = u16::from_be_bytes([*packet.get(offset + 2)?, *packet.get(offset + 3)?]);
                let id = packet.get(offset + 4..offset + 8)?;
                fragment = Some((field, u32::from_be_bytes([id[0], id[1], id[2], id[3]])));
                header = offset;
                (proto, offset) = (*packet.get(offset)?, offset + 8);
                if field >> 3 != 0 {
                    return Some(Upper { proto, offset, fragment, header });
                }
            }
            _ => return Some(Upper { proto, offset, fragment, header }),
        }
    }
}

/// One line about an IP packet.
#[must_use]
pub fn describe(packet: &[u8]) -> String {
    try_describe(packet).unwrap_or_else(|| format!("? {}", hex(&packet[..packet.len().min(64)])))
}

fn try_describe(packet: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (src, dst, ttl, id, proto, offset, fragment) = match packet.first()? >> 4 {
        4 => {
            let field = word(6)?;
            let fragment = (field & 0x3fff != 0).then_some((field << 3, u32::from(word(4)?), field & 0x2000 != 0));
            let a = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).to_string());
            let header = usize::from(packet[0] & 15) * 4;
            (a(12)?, a(16)?, packet[8], u32::from(word(4)?), *packet.get(9)?, header, fragment)
        }
        6 => {
            let a =
                |at: usize| Some(format!("[{}]", Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
            let upper = upper(packet)?;
            let fragment = upper.fragment.map(|(field, id)| (field & 0xfff8, id, field & 1 != 0));
            (a(8)?, a(24)?, packet[7], 0, upper.proto, upper.offset, fragment)
        }
        _ => return None,
    };
    let mut line = format!("{src} > {dst} {} ttl {ttl} id {id} len {}", proto_name(proto), packet.len());
    if let Some((at, id, more)) = fragment {
        let _ = write!(line, " frag {id}@{at}{}", if more { "+" } else { "" });
        if at != 0 {
            return Some(line);
        }
    }
    match proto {
        6 => {
            let long = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
            let Some(flags) = packet.get(offset + 13) else { return Some(line) };
            let names: String =
                "FSRPAUEC".chars().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1).map(|(_, c)| c).collect();
            let header = usize::from(packet[offset + 12] >> 4) * 4;
            let data = packet.len().saturating_sub(offset + header);
            let _ = write!(
                line,
                " {}>{} {names} seq {} ack {} win {} data {data}",
                word(offset)?,
                word(offset + 2)?,
                long(offset + 4)?,
                long(offset + 8)?,
                word(offset + 14)?
            );
            if header > 20 {
                let _ = write!(line, " opt {}", hex(packet.get(offset + 20..offset + header).unwrap_or(&[])));
            }
        }
        17 | 33 | 132 | 136 => {
            if let (Some(src), Some(dst)) = (word(offset), word(offset + 2)) {
                let _ = write!(line, " {src}>{dst}");
            }
            if proto == 132
                && let Some(kind) = packet.get(offset + 12)
            {
                let _ = write!(line, " chunk {kind}");
            }
        }
        1 | 58 => {
            if let (Some(kind), Some(id)) = (word(offset), word(offset + 4)) {
                let _ = write!(line, " type {} code {} id {id}", kind >> 8, kind & 255);
                let error = if proto == 1 { matches!(kind >> 8, 3 | 4 | 5 | 11 | 12) } else { kind >> 8 < 5 };
                if error && let Some(inner) = packet.get(offset + 8..) {
                    let _ = write!(line, " about ({})", describe(inner));
                }
            }
        }
        _ => {}
    }
    Some(line)
}
