//! The commands: each builds a request, applies it, and prints what came of it. One file a command.

use std::io::{self, Write};

use uct_engine::{Family, Protocol, Status};
use uct_pipeline::control::filter::{Filter, NatTo};
use uct_pipeline::control::message::Reply;

use super::client::{Connection, entries};
use super::format::{Format, LabelMap, Output, Seen};
use super::options::{Command, Table};
use super::parse::Parsed;
use super::problem::{Problem, banner};
use super::protocol::{Fields, Kind};
use super::values;

mod create;
mod delete;
mod event;
mod expectation;
mod get;
mod list;
mod load;
mod tables;
mod update;

pub(super) use load::{Lines, load, read};

/// What a command needs to run.
pub(super) struct Shell<'a> {
    /// The router.
    pub(super) connection: &'a mut Connection,
    /// Names of labels.
    pub(super) labels: Option<&'a LabelMap>,
    /// Where entries go.
    pub(super) out: &'a mut dyn Write,
}

/// Does what was asked. Answers the summary line that belongs on stderr.
pub(super) fn run(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<Option<String>, Problem> {
    use Table::Expect;
    match (parsed.command, parsed.table) {
        (Command::List, Expect) => expectation::list(parsed, shell).map(Some),
        (Command::Get, Expect) => expectation::get(parsed, shell),
        (Command::Delete, Expect) => expectation::delete(parsed, shell).map(Some),
        (Command::Create, Expect) => expectation::create(parsed, shell),
        (Command::List, _) => list::run(parsed, shell).map(Some),
        (Command::Get, _) => get::run(parsed, shell).map(Some),
        (Command::Delete, _) => delete::run(parsed, shell).map(Some),
        (Command::Create | Command::Add, _) => create::run(parsed, shell).map(Some),
        (Command::Update, _) => update::run(parsed, shell).map(Some),
        (Command::Event, _) => event::run(parsed, shell).map(Some),
        (Command::Flush, _) => tables::flush(parsed, shell).map(Some),
        (Command::Count, _) => tables::count(parsed, shell).map(|()| None),
        (Command::Stats, _) => tables::stats(parsed, shell).map(|()| None),
        (Command::Version | Command::Help, _) => Ok(None),
    }
}

/// `N flow entries have been …`, always in the plural.
fn summary(count: u64, done: &str) -> String {
    format!("{}: {count} flow entries have been {done}.", banner())
}

/// Nothing was touched: the summary, and exit code 1.
fn nothing(done: &str) -> Problem {
    Problem::Other(format!("0 flow entries have been {done}."))
}

/// Prints the entries of replies.
struct Printer<'a> {
    output: Output,
    labels: Option<&'a LabelMap>,
    seen: Seen,
    frame: Frame,
    shown: u64,
    text: String,
    format: Option<Format<'a>>,
}

/// What stands around the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// Header and footer.
    Whole,
    /// The header alone. (`-G -o xml` leaves its footer out.)
    HeadOnly,
    /// Nothing.
    None,
}

impl<'a> Printer<'a> {
    fn new(output: Output, labels: Option<&'a LabelMap>, seen: Seen, frame: Frame) -> Printer<'a> {
        Printer { output, labels, seen, frame, shown: 0, text: String::new(), format: None }
    }

    fn print(&mut self, reply: &Reply, out: &mut dyn Write) -> io::Result<()> {
        self.text.clear();
        for (entry, now) in entries(reply) {
            let format = self.format.get_or_insert_with(|| Format::new(self.output, self.labels, now));
            format.now = now;
            if self.shown == 0 && self.frame != Frame::None {
                format.open(&mut self.text);
            }
            self.shown += 1;
            format.entry(&entry, self.seen, &mut self.text);
        }
        write_out(out, &self.text)
    }

    /// Prints what is left; answers how many there were.
    fn finish(mut self, out: &mut dyn Write) -> u64 {
        self.text.clear();
        if let Some(format) = self.format.as_ref().filter(|_| self.frame == Frame::Whole) {
            format.close(&mut self.text);
        }
        // As the real tool: what cannot be written is not noticed.
        let _ = write_out(out, &self.text).and_then(|()| out.flush());
        self.shown
    }
}

/// Writes; a reader that has gone away ends the listing, any other failure goes unnoticed as in the real tool.
fn write_out(out: &mut dyn Write, text: &str) -> io::Result<()> {
    match out.write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(e),
        _ => Ok(()),
    }
}

/// What a command's options narrow its listing down to. (For `-U` without what it sets.)
fn filter(parsed: &Parsed) -> Filter {
    let kind = parsed.protocol.map(Kind::of);
    let Fields { original, reply, icmp, id, state, .. } = &parsed.fields;
    let sets = parsed.command == Command::Update;
    let status = parsed.status.unwrap_or_default();
    let names = |bits: Status| -> Option<Vec<String>> {
        let names: Vec<_> = bits.names().map(str::to_owned).collect();
        (!names.is_empty() && !sets).then_some(names)
    };
    let mark = parsed.mark.filter(|_| !sets);
    let nat = |to: Option<values::NatTo>| to.map(nat_to);
    Filter {
        family: parsed.family.map(Family::number),
        protocol: parsed.protocol.map(|p| p.0),
        orig_src: parsed.original.src,
        orig_src_mask: parsed.mask.src,
        orig_dst: parsed.original.dst,
        orig_dst_mask: parsed.mask.dst,
        reply_src: parsed.reply.src,
        reply_dst: parsed.reply.dst,
        orig_sport: original[0],
        orig_dport: original[1],
        reply_sport: reply[0],
        reply_dport: reply[1],
        icmp_type: icmp[0],
        icmp_code: icmp[1],
        icmp_id: *id,
        state: state.filter(|_| !sets).map(|s| canonical_state(kind, s).to_owned()),
        mark: mark.map(|(value, _)| value),
        mark_mask: mark.map(|(_, mask)| mask),
        status: names(status.set),
        status_not: names(status.unset),
        zone: parsed.zone,
        orig_zone: parsed.orig_zone,
        reply_zone: parsed.reply_zone,
        label_bits: parsed.label.map(bit_list),
        id: parsed.id,
        src_nat: nat(parsed.src_nat),
        dst_nat: nat(parsed.dst_nat),
        any_nat: nat(parsed.any_nat),
        ..Filter::default()
    }
}

/// A state by the name that listings have for it.
fn canonical_state(kind: Option<Kind>, state: &'static str) -> &'static str {
    match (kind, state) {
        (Some(Kind::Tcp), "LISTEN") => "SYN_SENT2",
        (_, state) => state,
    }
}

fn nat_to(to: values::NatTo) -> NatTo {
    NatTo { addr: to.addr, port: to.port }
}

/// Labels by number.
fn bit_list(bits: u128) -> Vec<u8> {
    (0..128).filter(|b| bits >> b & 1 == 1).collect()
}

/// Whether a protocol's tuples carry ICMP's numbers.
fn is_icmp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::ICMP | Protocol::ICMPV6)
}
