//! Times of day as C prints them.

use std::fmt::{self, Write};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use uct_engine::Time;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The local time, if the year is one that can be printed.
fn local(time: Time, zone: &TimeZone) -> Option<DateTime> {
    let seconds = i64::try_from(time.as_secs()).ok()?;
    Some(zone.to_datetime(Timestamp::from_second(seconds).ok()?))
}

/// `<when>…</when>`.
pub(super) fn when(time: Time, zone: &TimeZone, out: &mut String) -> fmt::Result {
    let Some(t) = local(time, zone) else { return Ok(()) };
    write!(out, "<when><hour>{}</hour><min>{:02}</min><sec>{:02}</sec>", t.hour(), t.minute(), t.second())?;
    write!(out, "<wday>{}</wday><day>{}</day>", t.weekday().to_sunday_one_offset(), t.day())?;
    write!(out, "<month>{}</month><year>{}</year></when>", t.month(), t.year())
}

/// `Mon Nov 23 02:28:01 2026`.
pub(super) fn ctime(time: Time, zone: &TimeZone) -> String {
    let Some(t) = local(time, zone) else { return time.as_secs().to_string() };
    let day = DAYS[t.weekday().to_sunday_zero_offset() as usize % 7];
    let month = MONTHS[(t.month() as usize).wrapping_sub(1) % 12];
    format!("{day} {month}{:>3} {:02}:{:02}:{:02} {}", t.day(), t.hour(), t.minute(), t.second(), t.year())
}
