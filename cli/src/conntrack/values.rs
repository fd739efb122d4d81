//! What stands after an option.
//!
//! Addresses are read as C reads them (`10.1` is 10.0.0.1). Numbers are read strictly: where the real tool cuts off what
//! does not fit, or takes 0, we say so (docs/differences.md).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uct_engine::{Family, Protocol, Status};

use super::problem::Problem;

/// An address and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// The address.
    pub addr: IpAddr,
    /// A mask, if a prefix length was given.
    pub mask: Option<IpAddr>,
}

/// What stands after `-n`, `-g` or `-j`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatTo {
    /// The address.
    pub addr: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
}

/// What stands after `-u`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusWish {
    /// Bits that are to be set.
    pub set: Status,
    /// Bits that are to be unset.
    pub unset: Status,
}

/// A number that cannot be read.
pub fn unexpected(value: &str, option: &str) -> Problem {
    Problem::Other(format!("unexpected value '{value}' with {option} option"))
}

/// A decimal, octal (0…) or hexadecimal (0x…) number.
pub fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign.
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A number of at most 32 bits.
pub fn u32(text: &str, option: &str) -> Result<u32, Problem> {
    number(text).and_then(|n| n.try_into().ok()).ok_or_else(|| unexpected(text, option))
}

/// A number of at most 16 bits.
pub fn u16(text: &str, option: &str) -> Result<u16, Problem> {
    number(text).and_then(|n| n.try_into().ok()).ok_or_else(|| unexpected(text, option))
}

/// A port.
pub fn port(text: &str) -> Result<u16, Problem> {
    number(text).and_then(|n| n.try_into().ok()).ok_or_else(|| Problem::usage(format!("Invalid port `{text}'")))
}

/// `N` or `N/MASK`.
pub fn mark(text: &str) -> Result<(u32, u32), Problem> {
    let bad = || unexpected(text, "-m");
    let read = |word| number(word).and_then(|n| u32::try_from(n).ok()).ok_or_else(bad);
    match text.split_once('/') {
        Some((value, mask)) => Ok((read(value)?, read(mask)?)),
        None => Ok((read(text)?, u32::MAX)),
    }
}

/// An address.
pub fn address(text: &str) -> Result<IpAddr, Problem> {
    inet_aton(text)
        .map(IpAddr::V4)
        .or_else(|| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6))
        .ok_or_else(|| Problem::usage(format!("Invalid IP address `{text}'")))
}

/// An address without a prefix length.
pub fn host(text: &str, option: &str) -> Result<IpAddr, Problem> {
    if let Some((addr, _)) = text.split_once('/') {
        address(addr)?;
        return Err(Problem::usage(format!("CIDR notation unavailable for `--{option}'")));
    }
    address(text)
}

/// An address, perhaps with a prefix length.
pub fn net(text: &str) -> Result<Net, Problem> {
    let Some((addr, len)) = text.split_once('/') else { return Ok(Net { addr: address(text)?, mask: None }) };
    let addr = address(addr)?;
    let bits = match Family::of(addr) {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    };
    let len = len.parse::<u32>().ok().filter(|n| *n <= bits).ok_or_else(|| Problem::usage("Invalid netmask"))?;
    let mask = match addr {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - len).unwrap_or(0))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - len).unwrap_or(0))),
    };
    Ok(Net { addr, mask: Some(mask) })
}

/// `IP`, `IP:PORT` or `[IP6]:PORT`.
pub fn nat(text: &str, option: &str) -> Result<NatTo, Problem> {
    let (addr, port_text) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((addr, after)) = rest.split_once(']') else {
                return Err(Problem::usage("No closing ']' around IPv6 address"));
            };
            if addr.is_empty() {
                return Err(Problem::usage("No IPv6 address specified"));
            }
            match after.strip_prefix(':') {
                Some(port) => (addr, Some(port)),
                None => return Err(Problem::usage(format!("Invalid IP address `{text}'"))),
            }
        }
        None => match text.split_once(':') {
            Some((addr, port)) if !port.contains(':') => (addr, Some(port)),
            _ => (text, None),
        },
    };
    let port = match port_text {
        Some("") => return Err(Problem::usage("No port specified after `:'")),
        Some(text) => {
            let number = text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            Some(number.ok_or_else(|| Problem::usage(format!("Invalid port `{text}'")))?)
        }
        None => None,
    };
    Ok(NatTo { addr: Some(host(addr, option)?), port })
}

/// An IPv4 address in any of the forms that C takes: one to four numbers, the last filling what is left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> =
        text.split('.').map(|part| if part.is_empty() { None } else { number(part) }).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|p| *p > 255) {
        return None;
    }
    let room = 8 * (4 - leading.len() as u32);
    if *last >= 1 << room {
        return None;
    }
    let high = leading.iter().enumerate().fold(0u64, |bits, (i, p)| bits | p << (24 - 8 * i));
    u32::try_from(high | last).ok().map(Ipv4Addr::from_bits)
}

/// A protocol by the name that netfilter's tools have for it, by its name in /etc/protocols, or by its number.
pub fn protocol(text: &str) -> Result<Protocol, Problem> {
    let known = [
        Protocol::TCP,
        Protocol::UDP,
        Protocol::UDPLITE,
        Protocol::SCTP,
        Protocol::DCCP,
        Protocol::ICMP,
        Protocol::ICMPV6,
        Protocol::GRE,
    ];
    known
        .into_iter()
        .find(|p| p.name().is_some_and(|name| name.eq_ignore_ascii_case(text)))
        .or_else(|| number(text).and_then(|n| n.try_into().ok()).map(Protocol))
        .or_else(|| listed_protocol(text))
        .ok_or_else(|| Problem::usage(format!("`{text}' unsupported protocol")))
}

fn listed_protocol(name: &str) -> Option<Protocol> {
    let text = std::fs::read_to_string("/etc/protocols").unwrap_or_default();
    let mut entries = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let first = words.next()?;
        let number = words.next()?.parse().ok()?;
        (first == name || words.any(|alias| alias == name)).then_some(Protocol(number))
    });
    entries.next()
}

/// The words of `-u`. Warnings go to `warn`.
pub fn status(text: &str, warn: &mut dyn FnMut(&str)) -> Result<StatusWish, Problem> {
    const WORDS: [(&str, Status); 10] = [
        ("ASSURED", Status::ASSURED),
        ("SEEN_REPLY", Status::SEEN_REPLY),
        ("UNSET", Status::empty()),
        ("SRC_NAT", Status::SRC_NAT),
        ("DST_NAT", Status::DST_NAT),
        ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT),
        ("EXPECTED", Status::EXPECTED),
        ("OFFLOAD", Status::OFFLOAD),
        ("HW_OFFLOAD", Status::HW_OFFLOAD),
        ("UNREPLIED", Status::SEEN_REPLY),
    ];
    let mut wish = StatusWish::default();
    for word in text.split(',') {
        let (name, negated) = match word.strip_prefix('!') {
            Some(name) => (name, Negated::Yes),
            None => (word, Negated::No),
        };
        let upper = name.to_ascii_uppercase();
        let found = WORDS.iter().find(|(w, _)| !name.is_empty() && w.starts_with(&upper));
        let Some((word, bits)) = found else { return Err(Problem::usage(format!("Bad parameter `{name}'"))) };
        match (*word, negated) {
            ("SRC_NAT", _) => warn("WARNING: ignoring SRC_NAT, use --src-nat instead"),
            ("DST_NAT", _) => warn("WARNING: ignoring DST_NAT, use --dst-nat instead"),
            // Itself a negation.
            ("UNREPLIED", Negated::No) => wish.unset |= *bits,
            ("UNREPLIED", Negated::Yes) => wish.set |= *bits,
            (_, Negated::No) => wish.set |= *bits,
            (_, Negated::Yes) => wish.unset |= *bits,
        }
    }
    Ok(wish)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Negated {
    No,
    Yes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, addr) in [("1.2.3", "1.2.0.3"), ("10.1", "10.0.0.1"), ("0x7f.1", "127.0.0.1"), ("5", "0.0.0.5")] {
            assert_eq!(address(text), Ok(addr.parse().unwrap()), "{text}");
        }
        assert_eq!(address("2001:DB8::1.1.1.1"), Ok("2001:db8::101:101".parse().unwrap()));
        for text in ["", "1.2.3.4.5", "300.1.1.1", "fd00:::1", "fd00::g", "abc", "[::1]", "1..2", "-1"] {
            assert_eq!(address(text), Err(Problem::usage(format!("Invalid IP address `{text}'"))));
        }
        assert_eq!(net("192.168.1.77/24").unwrap().mask, Some("255.255.255.0".parse().unwrap()));
        assert_eq!(net("::/0").unwrap().mask, Some("::".parse().unwrap()));
        for text in ["1.1.1.1/33", "1.1.1.1/", "1.1.1.1/a", "::1/129"] {
            assert_eq!(net(text), Err(Problem::usage("Invalid netmask")), "{text}");
        }
    }

    #[test]
    fn translations() {
        let to = |addr: &str, port| NatTo { addr: Some(addr.parse().unwrap()), port };
        assert_eq!(nat("1.1.1.1:80", "src-nat"), Ok(to("1.1.1.1", Some(80))));
        assert_eq!(nat("[2001:db8::3]:80", "src-nat"), Ok(to("2001:db8::3", Some(80))));
        assert_eq!(nat("::1:4", "src-nat"), Ok(to("::1:4", None)));
        for (text, message) in [
            ("1.1.1.1:", "No port specified after `:'"),
            ("1.1.1.1:99999", "Invalid port `99999'"),
            ("[::1]::", "Invalid port `:'"),
            ("[]:4", "No IPv6 address specified"),
            ("[::1", "No closing ']' around IPv6 address"),
            ("[::1]", "Invalid IP address `[::1]'"),
            ("1.1.1.1/8", "CIDR notation unavailable for `--src-nat'"),
        ] {
            assert_eq!(nat(text, "src-nat"), Err(Problem::usage(message)), "{text}");
        }
    }

    #[test]
    fn marks_and_status() {
        assert_eq!(mark("0x10/0xff"), Ok((16, 255)));
        assert_eq!(mark("010"), Ok((8, u32::MAX)));
        assert!(mark("zz").is_err() && mark("1/").is_err() && mark("-1").is_err() && mark("99999999999").is_err());
        let mut warnings = Vec::new();
        let mut warn = |w: &str| warnings.push(w.to_owned());
        let wish = status("see,!ASSURED,SRC_NAT", &mut warn).unwrap();
        assert_eq!((wish.set, wish.unset), (Status::SEEN_REPLY, Status::ASSURED));
        assert_eq!(status("unreplied", &mut warn).unwrap().unset, Status::SEEN_REPLY);
        assert_eq!(status("ASSURED,", &mut warn), Err(Problem::usage("Bad parameter `'")));
        assert_eq!(warnings, ["WARNING: ignoring SRC_NAT, use --src-nat instead"]);
    }
}
