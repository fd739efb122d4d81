//! `-R`: a file of command lines, as `-o save` writes them.
//!
//! The file is read whole first: a wrong line runs nothing. Then the lines are done in order, many to a message, until one
//! fails; what was done stays. There is no summary, and to find nothing is no failure.

use std::io::Read as _;
use std::path::Path;

use uct_pipeline::control::message::{LONGEST_REQUEST, Request};

use super::{Frame, Printer, Shell, create, delete, tables, update};
use crate::conntrack::format::{Output, Seen};
use crate::conntrack::options::{Command, Table};
use crate::conntrack::parse::{Parsed, Surroundings, parse};
use crate::conntrack::problem::Problem;

/// Lines in one message, and how long it may grow: half of what a router takes.
const BATCH: usize = 2048;
const LONGEST: usize = LONGEST_REQUEST / 2;

/// A file whose every line is right.
#[derive(Debug)]
pub(in crate::conntrack) struct Lines {
    text: String,
}

impl Lines {
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'))
    }
}

/// Reads the file. Its lines are read a second time when they are done: what they mean is larger than what they say.
pub(in crate::conntrack) fn read(path: &str, around: &mut Surroundings<'_>) -> Result<Lines, Problem> {
    let mut text = String::new();
    let opened = match path {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        _ => std::fs::read_to_string(Path::new(path)).map(|t| text = t),
    };
    opened.map_err(|_| Problem::usage(format!("Failed to open file {path} for reading")))?;
    let lines = Lines { text };
    lines.lines().try_for_each(|line| read_line(line, around).map(drop))?;
    Ok(lines)
}

fn read_line(line: &str, around: &mut Surroundings<'_>) -> Result<Parsed, Problem> {
    let parsed = parse(&words(line), around)?;
    let letter = match parsed.command {
        Command::Create | Command::Add | Command::Update | Command::Delete | Command::Flush => return Ok(parsed),
        Command::List => "-L",
        Command::Get => "-G",
        Command::Event => "-E",
        Command::Count => "-C",
        Command::Stats => "-S",
        Command::Version => "-V",
        Command::Help => "-h",
    };
    Err(Problem::usage(format!("Cannot use command `{letter}' with --load-file")))
}

/// Words, with quotes as a shell has them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn request(parsed: &Parsed) -> Request {
    match parsed.command {
        Command::Delete => delete::request(parsed),
        Command::Update => update::request(parsed),
        Command::Flush => tables::flush_request(parsed),
        _ => create::request(parsed),
    }
}

/// Does the lines in order.
pub(in crate::conntrack) fn load(
    lines: &Lines,
    shell: &mut Shell<'_>,
    around: &mut Surroundings<'_>,
) -> Result<(), Problem> {
    // What was wrong with them was said when they were read first.
    let mut quiet = |_: &str| {};
    let mut around = Surroundings { labels: around.labels, compat: around.compat, warn: &mut quiet };
    let mut batch = Batch::default();
    for line in lines.lines() {
        let parsed = read_line(line, &mut around)?;
        if parsed.table == Table::Expect && parsed.command != Command::Flush {
            batch.send(shell)?;
            super::run(&parsed, shell)?;
            continue;
        }
        if !batch.has_room_for(&parsed) {
            batch.send(shell)?;
        }
        batch.add(&parsed)?;
    }
    batch.send(shell)
}

/// Lines that are done with one message: their answers are printed alike.
#[derive(Default)]
struct Batch {
    operations: String,
    lines: usize,
    alike: Option<(Output, Command)>,
}

impl Batch {
    fn has_room_for(&self, parsed: &Parsed) -> bool {
        let alike = self.alike.is_none_or(|alike| alike == (parsed.output, parsed.command));
        alike && self.lines < BATCH && self.operations.len() < LONGEST
    }

    fn add(&mut self, parsed: &Parsed) -> Result<(), Problem> {
        let operation = serde_json::to_string(&request(parsed)).map_err(|e| Problem::Other(e.to_string()))?;
        if self.lines > 0 {
            self.operations.push(',');
        }
        self.operations.push_str(&operation);
        self.lines += 1;
        self.alike = Some((parsed.output, parsed.command));
        Ok(())
    }

    /// Has them done; there is room again.
    fn send(&mut self, shell: &mut Shell<'_>) -> Result<(), Problem> {
        let Some((output, command)) = self.alike.take() else { return Ok(()) };
        let seen = if command == Command::Delete { Seen::Deleted } else { Seen::Held };
        let mut printer = Printer::new(output, shell.labels, seen, Frame::None);
        let out = &mut *shell.out;
        let done = shell.connection.batch(&self.operations, |reply| printer.print(reply, out));
        done.map_err(|e| e.problem())?;
        printer.finish(shell.out);
        self.operations.clear();
        self.lines = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_of_a_line() {
        assert_eq!(words("-A  -t 29\t-o 'a b' \"\" x\"y z\""), ["-A", "-t", "29", "-o", "a b", "", "xy z"]);
    }
}
