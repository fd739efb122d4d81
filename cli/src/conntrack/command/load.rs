//! `-R`: a file of command lines, as `-o save` writes them.
//!
//! The file is read whole first: a wrong line runs nothing. Then the lines are done in order, many to a message, until one
//! fails; what was done stays. There is no summary, and to find nothing is no failure.

use std::io::Read as _;
use std::path::Path;

use uct_pipeline::control::message::Request;

use super::{Frame, Printer, Shell, create, delete, tables, update};
use crate::conntrack::client::Ended;
use crate::conntrack::format::Seen;
use crate::conntrack::options::{Command, Table};
use crate::conntrack::parse::{Parsed, Surroundings, parse};
use crate::conntrack::problem::Problem;

/// Lines in one message.
const BATCH: usize = 256;

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
    let mut batch: Vec<Parsed> = Vec::with_capacity(BATCH);
    for line in lines.lines() {
        let parsed = read_line(line, &mut around)?;
        let alike = batch.first().is_none_or(|first| {
            (first.output, first.command, first.table) == (parsed.output, parsed.command, parsed.table)
        });
        if batch.len() == BATCH || !alike {
            send(&batch, shell)?;
            batch.clear();
        }
        batch.push(parsed);
    }
    send(&batch, shell)
}

/// Does some lines, whose answers are printed alike.
fn send(lines: &[Parsed], shell: &mut Shell<'_>) -> Result<(), Problem> {
    let Some(first) = lines.first() else { return Ok(()) };
    if first.table == Table::Expect && first.command != Command::Flush {
        for line in lines {
            super::run(line, shell)?;
        }
        return Ok(());
    }
    let seen = if first.command == Command::Delete { Seen::Deleted } else { Seen::Held };
    let mut printer = Printer::new(first.output, shell.labels, seen, Frame::None);
    let batch = Request { batch: Some(lines.iter().map(request).collect()), ..Request::default() };
    let out = &mut *shell.out;
    let done = shell.connection.ask(batch, |reply| printer.print(reply, out));
    done.map_err(|e: Ended| e.problem())?;
    printer.finish(shell.out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_of_a_line() {
        assert_eq!(words("-A  -t 29\t-o 'a b' \"\" x\"y z\""), ["-A", "-t", "29", "-o", "a b", "", "xy z"]);
    }
}
