//! Entries and events as conntrack(8) prints them, byte for byte.
//!
//! ```text
//!   words of -o ──► Output ──► Format { output, labels, now, zone } ──► entry() · event()
//!                              line   tcp      6 119 SYN_SENT src=… mark=0 use=1
//!                              xml    <flow>…</flow> between a header and a footer
//!                              save   -A -t 119 -u UNSET -s … (feed it to -R)
//!                              json   {"id":1,"family":"ipv4",…}
//! ```
//!
//! A dump shows everything that a connection has. An event shows what the kernel puts into its message: NEW and UPDATE
//! carry no counters and no times, the state only if it changed, the mark only if it changed or is not 0, labels only if
//! they changed; DESTROY carries state, counters and times, no helper, and no timeout once that has run out. Only
//! dumps carry `use=`. ([`Shown`] is that table.)
//!
//! All formats end a line with a newline; none ends in a blank. Sources: conntrack(8) 1.4.7, measured on Linux 6.18.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use uct_engine::{Entry, Event, EventKind, EventMask, Time};

mod clock;
mod expect;
mod json;
mod labels;
mod line;
mod output;
mod save;
mod xml;

pub use labels::{CONNLABEL_CONF, LabelMap};
pub use output::{Output, OutputError, Shape};

/// How an entry comes to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In a listing.
    Listed,
    /// Alone: asked for by its tuple, or just updated. It then shows one user more.
    Held,
    /// It has been deleted.
    Deleted,
}

/// Which fields a message carries besides those that are always there.
#[derive(Clone, Copy, Debug)]
struct Shown {
    uses: Option<u32>,
    timeout: Show,
    state: Show,
    mark: Show,
    helper: Show,
    labels: Show,
    /// Counters and times.
    totals: Show,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    No,
    Yes,
}

impl Show {
    fn when(condition: bool) -> Show {
        if condition { Show::Yes } else { Show::No }
    }

    fn yes(self) -> bool {
        self == Show::Yes
    }
}

impl Shown {
    fn dump(seen: Seen) -> Shown {
        let uses = Some(if seen == Seen::Held { 2 } else { 1 });
        let all = Show::Yes;
        Shown { uses, timeout: all, state: all, mark: all, helper: all, labels: all, totals: all }
    }

    fn event(event: &Event) -> Shown {
        let gone = event.kind == EventKind::Destroy;
        Shown {
            uses: None,
            timeout: Show::when(!gone || event.entry.timeout.as_secs() > 0),
            state: Show::when(gone || event.mask.contains(EventMask::PROTOINFO)),
            mark: Show::when(event.entry.mark != 0 || event.mask.contains(EventMask::MARK)),
            helper: Show::when(!gone),
            labels: Show::when(event.mask.contains(EventMask::LABEL)),
            totals: Show::when(gone),
        }
    }
}

/// One thing to print.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    entry: &'a Entry,
    shown: Shown,
    event: Option<&'a Event>,
    seen: Seen,
}

/// Prints entries and events in one format.
#[derive(Clone, Debug)]
pub struct Format<'a> {
    /// What to print.
    pub output: Output,
    /// Names of labels.
    pub labels: Option<&'a LabelMap>,
    /// The clock of the listing: `delta-time` counts up to it.
    pub now: Time,
    /// Where times of day are shown.
    pub zone: TimeZone,
}

impl<'a> Format<'a> {
    /// Prints at `now`, in the system's time zone.
    pub fn new(output: Output, labels: Option<&'a LabelMap>, now: Time) -> Format<'a> {
        Format { output, labels, now, zone: TimeZone::system() }
    }

    /// What stands before the first entry. (conntrack prints it together with the first entry: nothing at all for none.)
    pub fn open(&self, out: &mut String) {
        if self.output.shape == Shape::Xml {
            out.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n");
        }
    }

    /// What stands after the last entry, if there was one.
    pub fn close(&self, out: &mut String) {
        if self.output.shape == Shape::Xml {
            out.push_str("</conntrack>\n");
        }
    }

    /// One entry of a listing.
    pub fn entry(&self, entry: &Entry, seen: Seen, out: &mut String) {
        self.view(&View { entry, shown: Shown::dump(seen), event: None, seen }, out);
        out.push('\n');
    }

    /// One event.
    pub fn event(&self, event: &Event, out: &mut String) {
        let view = View { entry: &event.entry, shown: Shown::event(event), event: Some(event), seen: Seen::Listed };
        if self.output.shape == Shape::Line {
            if self.output.has(Output::TIMESTAMP) {
                let _ = write!(out, "[{}]\t", event.at);
            }
            let _ = write!(out, "{:>9} ", format_args!("[{}]", event.kind.name()).to_string());
        }
        self.view(&view, out);
        if let Some(by) = &event.by
            && matches!(self.output.shape, Shape::Line | Shape::Save)
        {
            let _ = write!(out, " [USERSPACE] portid={}", by.portid);
            if let Some(name) = &by.progname {
                let _ = write!(out, " progname={name}");
            }
        }
        out.push('\n');
    }

    /// Prints what a rule's `log` statement says: a line among the events, an object in JSON, a comment in XML and `save`.
    pub fn log(&self, at: Time, line: &str, out: &mut String) {
        // Prefixes hold any characters but a quote and a newline; a comment ends at two hyphens.
        let _ = match self.output.shape {
            Shape::Line if self.output.has(Output::TIMESTAMP) => writeln!(out, "[{at}]\t    [LOG] {line}"),
            Shape::Line => writeln!(out, "    [LOG] {line}"),
            Shape::Json => {
                let line = serde_json::to_string(line).unwrap_or_default();
                writeln!(out, "{{\"event\":\"LOG\",\"event_timestamp\":{at},\"line\":{line}}}")
            }
            Shape::Xml => writeln!(out, "<!-- {} -->", line.replace("--", "- -")),
            Shape::Save => writeln!(out, "# {line}"),
        };
    }

    fn view(&self, view: &View<'_>, out: &mut String) {
        // Writing into a string cannot fail.
        let _ = match self.output.shape {
            Shape::Line => line::write(self, view, out),
            Shape::Xml => xml::write(self, view, out),
            Shape::Save => save::write(self, view, out),
            Shape::Json => json::write(self, view, out),
        };
    }

    /// Labels by name, as far as they are shown and have one.
    fn label_names(&self, view: &View<'_>) -> Vec<&str> {
        let shown = self.output.has(Output::LABELS) && view.shown.labels.yes();
        match (self.labels, view.entry.labels) {
            (Some(map), Some(bits)) if shown => map.names(bits),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
