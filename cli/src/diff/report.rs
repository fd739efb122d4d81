//! What became different: the first packet where two replays part, a table of all, and the connections at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use owo_colors::OwoColorize;
use serde::Serialize;
use uct_engine::{Entry, Status};

use super::seen::{FIELDS, Seen};
use crate::explain::header::Arrow;
use crate::explain::model::{Origin, VERSION};
use crate::explain::text::describe;

/// Width of a column of values; longer ones stand below each other.
const WIDTH: usize = 24;
/// How many examples of different connections are shown to people.
const MOST_SHOWN: usize = 10;

/// What became different.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: u32,
    a: String,
    b: String,
    packets: u64,
    /// Packets that did not arrive in one of the two.
    lost_a: u64,
    lost_b: u64,
    different: u64,
    first: Option<First>,
    fields: Vec<Field>,
    connections: Vec<Connection>,
}

/// The first packet that the two treat differently.
#[derive(Debug, Serialize)]
struct First {
    packet: u64,
    what: String,
    a: Vec<String>,
    b: Vec<String>,
}

/// One kind of difference: how often, and the first.
#[derive(Debug, Serialize)]
struct Field {
    field: &'static str,
    packets: u64,
    first: u64,
    a: String,
    b: String,
}

/// A connection that the two tables show differently at the end.
#[derive(Debug, Serialize)]
struct Connection {
    protocol: String,
    original: String,
    a: Option<String>,
    b: Option<String>,
}

impl Report {
    /// Nothing compared yet.
    pub(super) fn new(a: &str, b: &str) -> Report {
        Report {
            version: VERSION,
            a: a.to_owned(),
            b: b.to_owned(),
            packets: 0,
            lost_a: 0,
            lost_b: 0,
            different: 0,
            first: None,
            fields: Vec::new(),
            connections: Vec::new(),
        }
    }

    /// Whether anything became different.
    pub(super) fn is_different(&self) -> bool {
        self.different > 0 || !self.connections.is_empty()
    }

    /// One packet, as each of the two replays treated it; `None`: it did not arrive there.
    pub(super) fn packet(&mut self, number: u64, a: Option<Seen>, b: Option<Seen>) {
        self.packets += 1;
        let mut differences = Vec::new();
        match (&a, &b) {
            (Some(a), Some(b)) => {
                for ((field, a), b) in FIELDS.into_iter().zip(&a.values).zip(&b.values) {
                    if a != b {
                        differences.push((field, a.clone(), b.clone()));
                    }
                }
                if differences.is_empty() && a.bytes != b.bytes {
                    differences.push(("bytes", "as shown".to_owned(), "the same but for its bytes".to_owned()));
                }
            }
            // That it does not arrive was asked for; what follows from it is the difference.
            (Some(_), None) => self.lost_b += 1,
            (None, Some(_)) => self.lost_a += 1,
            (None, None) => {}
        }
        if differences.is_empty() {
            return;
        }
        self.different += 1;
        for (field, a, b) in differences {
            match self.fields.iter_mut().find(|f| f.field == field) {
                Some(known) => known.packets += 1,
                None => self.fields.push(Field { field, packets: 1, first: number, a, b }),
            }
        }
        if self.first.is_none() {
            let words = |seen: &Option<Seen>| seen.as_ref().map_or(Vec::new(), |s| s.told.words.clone());
            let came = a.as_ref().or(b.as_ref()).and_then(|s| {
                s.told.ways.iter().find(|w| w.origin != Origin::Answer).and_then(|w| w.came.as_ref()).map(describe)
            });
            self.first = Some(First { packet: number, what: came.unwrap_or_default(), a: words(&a), b: words(&b) });
        }
    }

    /// The two tables at the end. Connections are the same if their original tuples are.
    pub(super) fn tables(&mut self, a: Vec<Entry>, b: Vec<Entry>) {
        type Both = (Option<Entry>, Option<Entry>);
        let mut all: BTreeMap<_, Both> = BTreeMap::new();
        for entry in a {
            let key = (entry.original, entry.zone.id);
            all.entry(key).or_default().0 = Some(entry);
        }
        for entry in b {
            let key = (entry.original, entry.zone.id);
            all.entry(key).or_default().1 = Some(entry);
        }
        for ((original, _), (a, b)) in all {
            let (a, b) = (a.as_ref().map(shown), b.as_ref().map(shown));
            if a != b {
                let protocol = original.protocol.to_string();
                self.connections.push(Connection { protocol, original: Arrow(&original).to_string(), a, b });
            }
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).map_or_else(|_| String::new(), |text| text + "\n")
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut s = String::new();
        let shown = |side: &str| if side.is_empty() { "as given".to_owned() } else { side.to_owned() };
        for (name, side, lost) in
            [("a:".red().to_string(), &self.a, self.lost_a), ("b:".green().to_string(), &self.b, self.lost_b)]
        {
            let lost = match lost {
                0 => String::new(),
                n => format!("  ({n} of {} packets do not arrive)", self.packets),
            };
            let _ = writeln!(s, "{name} {}{lost}", shown(side));
        }
        s.push('\n');
        let Some(first) = &self.first else {
            if self.connections.is_empty() {
                let _ = writeln!(s, "No difference in {} packets, nor in the connections at the end.", self.packets);
            }
            self.write_connections(&mut s);
            return s;
        };
        let _ = writeln!(s, "The two part at packet {}: {}", first.packet.bold(), first.what);
        // Where the words are the same, the values make the difference.
        let values = |of: fn(&Field) -> &String| -> Vec<String> {
            let fields = self.fields.iter().filter(|f| f.first == first.packet);
            fields.map(|f| format!("{} {}", f.field, of(f))).collect()
        };
        let (a, b) = if first.a == first.b {
            first.a.iter().for_each(|sentence| {
                let _ = writeln!(s, "     {sentence}");
            });
            (vec![values(|f| &f.a).join(", ")], vec![values(|f| &f.b).join(", ")])
        } else {
            (first.a.clone(), first.b.clone())
        };
        for sentence in a {
            let _ = writeln!(s, "  {} {sentence}", "a:".red());
        }
        for sentence in b {
            let _ = writeln!(s, "  {} {sentence}", "b:".green());
        }
        let _ = writeln!(s, "\n{} of {} packets are treated differently:\n", self.different, self.packets);
        let _ = writeln!(s, "  {:<12} {:>7}  {:>7}  {:<WIDTH$}  b", "what", "packets", "first", "a");
        for f in &self.fields {
            let first = format!("#{}", f.first);
            let _ = write!(s, "  {:<12} {:>7}  {first:>7}", f.field, f.packets);
            let _ = if f.a.chars().count().max(f.b.chars().count()) > WIDTH {
                writeln!(s, "  {}\n{:>33}{}", f.a.red(), "", f.b.green())
            } else {
                writeln!(s, "  {}  {}", format_args!("{:<WIDTH$}", f.a).red(), f.b.green())
            };
        }
        self.write_connections(&mut s);
        s
    }

    fn write_connections(&self, s: &mut String) {
        if self.connections.is_empty() {
            return;
        }
        let only = |which: fn(&Connection) -> bool| self.connections.iter().filter(|c| which(c)).count();
        let (only_a, only_b) = (only(|c| c.b.is_none()), only(|c| c.a.is_none()));
        let both = self.connections.len() - only_a - only_b;
        let _ = writeln!(s, "\nConnections at the end: {both} differ, {only_a} only in a, {only_b} only in b");
        for c in self.connections.iter().take(MOST_SHOWN) {
            let _ = writeln!(s, "  {} {}", c.protocol, c.original);
            let none = "not there".to_owned();
            let _ = writeln!(s, "    {} {}", "a:".red(), c.a.as_ref().unwrap_or(&none));
            let _ = writeln!(s, "    {} {}", "b:".green(), c.b.as_ref().unwrap_or(&none));
        }
        if self.connections.len() > MOST_SHOWN {
            let _ = writeln!(s, "  … and {} more", self.connections.len() - MOST_SHOWN);
        }
    }
}

/// What is compared of a connection.
fn shown(entry: &Entry) -> String {
    let state = entry.proto.state_name().map_or(String::new(), |s| format!("{s} "));
    let mut text = format!("{state}{} s, answers {}", entry.timeout.as_secs(), Arrow(&entry.reply));
    for (bit, name, when) in [(Status::SEEN_REPLY, "UNREPLIED", false), (Status::ASSURED, "ASSURED", true)] {
        if entry.status.contains(bit) == when {
            let _ = write!(text, " [{name}]");
        }
    }
    if entry.mark != 0 {
        let _ = write!(text, " mark {}", entry.mark);
    }
    text
}
