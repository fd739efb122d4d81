//! `--at`: a moment of a capture.
//!
//! | text | moment |
//! |---|---|
//! | `12` | right after packet 12 |
//! | `+1.5` | 1.5 seconds after the capture's first packet |
//! | `@1795416351.5` | seconds since 1970 |
//! | `2026-11-23T02:28:01.5Z` | a date; without a zone it is UTC |

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use uct_engine::Time;
use uct_pipeline::replay::When;

/// A moment of a capture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// Right after this packet.
    Packet(u64),
    /// So long after the first packet.
    After(Duration),
    /// At this time.
    At(Time),
}

impl Moment {
    /// The time, if the first packet came at `first`; none if a packet is meant.
    pub fn time(self, first: Time) -> Option<Time> {
        match self {
            Moment::Packet(_) => None,
            Moment::After(span) => Some(first + span),
            Moment::At(time) => Some(time),
        }
    }
}

impl From<Moment> for When {
    fn from(moment: Moment) -> When {
        match moment {
            Moment::Packet(number) => When::Frame(number),
            Moment::After(span) => When::After(span),
            Moment::At(time) => When::At(time),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no moment: a packet's number, +SECONDS after the first packet, @SECONDS since 1970, or a date as \
                 2026-11-23T02:28:01Z is expected"
            )
        };
        let seconds = |s: &str| {
            let number: f64 = s.parse().ok()?;
            Duration::try_from_secs_f64(number).ok()
        };
        if let Some(rest) = text.strip_prefix('+') {
            return seconds(rest).map(Moment::After).ok_or_else(wrong);
        }
        if let Some(rest) = text.strip_prefix('@') {
            return nanos(rest).map(|n| Moment::At(Time::from_nanos(n))).ok_or_else(wrong);
        }
        if let Ok(number) = text.parse::<u64>() {
            return if number > 0 { Ok(Moment::Packet(number)) } else { Err(wrong()) };
        }
        let stamp = text.parse::<Timestamp>().ok().or_else(|| {
            let date: DateTime = text.parse().ok()?;
            TimeZone::UTC.to_timestamp(date).ok()
        });
        let nanos = stamp.and_then(|t| u64::try_from(t.as_nanosecond()).ok()).ok_or_else(wrong)?;
        Ok(Moment::At(Time::from_nanos(nanos)))
    }
}

/// Nanoseconds of a decimal number of seconds, all digits kept.
fn nanos(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.get(..part.len().min(9))?;
    if !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: u64 = format!("{digits:0<9}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// A time as a date in UTC.
pub fn date(time: Time) -> String {
    match Timestamp::from_nanosecond(time.as_nanos().into()) {
        Ok(stamp) => format!("{stamp:.6}"),
        Err(_) => format!("@{time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let read = |text: &str| text.parse::<Moment>();
        assert_eq!(read("12"), Ok(Moment::Packet(12)));
        assert_eq!(read("+1.5"), Ok(Moment::After(Duration::from_millis(1500))));
        let at = |n| Ok(Moment::At(Time::from_nanos(n)));
        assert_eq!(read("@1795416351.468580371"), at(1_795_416_351_468_580_371));
        assert_eq!(read("@5"), at(5_000_000_000));
        assert_eq!(read("2026-11-23T02:45:51.5Z"), at(1_795_401_951_500_000_000));
        assert_eq!(read("2026-11-23T02:45:51"), at(1_795_401_951_000_000_000));
        for wrong in ["0", "", "+x", "@1.x", "yesterday", "-3"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(date(Time::from_nanos(1_795_401_951_500_000_000)), "2026-11-23T02:45:51.500000Z");
    }
}
