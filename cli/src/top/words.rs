//! Numbers, ends and tuples in few characters.

use std::net::IpAddr;

use uct_pipeline::control::flat::Flat;

/// A number in at most five characters: `999`, `12.3k`, `1.2M`.
pub(super) fn short(n: u64) -> String {
    const UNITS: [(u64, char); 4] = [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M'), (1000, 'k')];
    for (unit, letter) in UNITS {
        if n >= unit {
            let tenths = n / (unit / 10);
            return if tenths < 1000 {
                format!("{}.{}{letter}", tenths / 10, tenths % 10)
            } else {
                format!("{}{letter}", n / unit)
            };
        }
    }
    n.to_string()
}

/// Seconds in at most six characters: `59s`, `4m59s`, `5d0h`.
pub(super) fn seconds(n: u64) -> String {
    match n {
        0..60 => format!("{n}s"),
        60..3600 => format!("{}m{:02}s", n / 60, n % 60),
        3600..86_400 => format!("{}h{:02}m", n / 3600, n % 3600 / 60),
        _ => format!("{}d{}h", n / 86_400, n % 86_400 / 3600),
    }
}

/// One end of a tuple: an address, and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) addr: IpAddr,
    pub(super) port: Option<String>,
}

impl End {
    /// `192.168.1.10:443`, `[2001:db8::1]:443`.
    pub(super) fn text(&self) -> String {
        self.parts().concat()
    }

    /// Address and port, as they stand together.
    pub(super) fn parts(&self) -> [String; 2] {
        match (self.addr, &self.port) {
            (addr, None) => [addr.to_string(), String::new()],
            (IpAddr::V4(addr), Some(port)) => [addr.to_string(), format!(":{port}")],
            (IpAddr::V6(addr), Some(port)) => [format!("[{addr}]"), format!(":{port}")],
        }
    }

    /// The same in no more characters than that: the middle of the address gives way.
    pub(super) fn fitting(&self, width: usize) -> String {
        let text = self.text();
        let length = text.chars().count();
        if length <= width {
            return text;
        }
        let kept = width.saturating_sub(1);
        let tail = (kept / 2).max(self.parts()[1].len() + 2).min(kept);
        let head: String = text.chars().take(kept - tail).collect();
        let tail: String = text.chars().skip(length - tail).collect();
        format!("{head}…{tail}")
    }
}

/// Both ends of both tuples: original source and destination, reply source and destination.
pub(super) fn ends(flat: &Flat) -> [End; 4] {
    let port =
        |port: Option<u16>, key: Option<u16>| port.map(|p| p.to_string()).or_else(|| key.map(|k| format!("{k:#x}")));
    [
        End { addr: flat.orig_src, port: port(flat.orig_sport, flat.orig_srckey) },
        End { addr: flat.orig_dst, port: port(flat.orig_dport, flat.orig_dstkey) },
        End { addr: flat.reply_src, port: port(flat.reply_sport, flat.reply_srckey) },
        End { addr: flat.reply_dst, port: port(flat.reply_dport, flat.reply_dstkey) },
    ]
}

/// The state that a list shows: the protocol's, or how far the conversation got.
pub(super) fn state(flat: &Flat) -> &str {
    let has = |bit: &str| flat.status_bits.iter().any(|b| b == bit);
    match flat.state.as_deref() {
        Some(state) => state,
        None if has("ASSURED") => "ASSURED",
        None if has("SEEN_REPLY") => "REPLIED",
        None => "UNREPLIED",
    }
}

/// `tcp`, or the number of a protocol without a name.
pub(super) fn protocol(flat: &Flat) -> String {
    match &*flat.protocol {
        "unknown" => flat.protocol_number.to_string(),
        name => name.to_owned(),
    }
}

/// Packets, or bytes, of both directions.
pub(super) fn sum(of: [Option<u64>; 2]) -> Option<u64> {
    of.into_iter().flatten().reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        let shown: Vec<_> = [0, 999, 1000, 12_345, 999_999, 1_500_000, u64::MAX].map(short).to_vec();
        assert_eq!(shown, ["0", "999", "1.0k", "12.3k", "999k", "1.5M", "18446744T"]);
        assert_eq!([5, 299, 7200, 432_000].map(seconds).to_vec(), ["5s", "4m59s", "2h00m", "5d0h"]);
    }

    #[test]
    fn long_addresses_give_way_in_the_middle() {
        let end = End { addr: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(), port: Some("443".into()) };
        assert_eq!(end.fitting(20).chars().count(), 20);
        assert!(end.fitting(20).ends_with(":443"));
        assert_eq!(end.fitting(60), "[2001:db8:1111:2222:3333:4444:5555:6666]:443");
        for width in 0..50 {
            assert!(end.fitting(width).chars().count() <= width.max(1));
        }
    }
}
