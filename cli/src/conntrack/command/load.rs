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

/// Reads the file: every line is a command line, all are right.
pub(in crate::conntrack) fn read(path: &str, around: &mut Surroundings<'_>) -> Result<Vec<Parsed>, Problem> {
    let mut text = String::new();
    let opened = match path {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        _ => std::fs::read_to_string(Path::new(path)).map(|t| text = t),
    };
    opened.map_err(|_| Problem::usage(format!("Failed to open file {path} for reading")))?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|line| read_line(line, around)).collect()
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
pub(in crate::conntrack) fn load(lines: &[Parsed], shell: &mut Shell<'_>) -> Result<(), Problem> {
    let groups = lines.chunk_by(|a, b| a.output == b.output && a.command == b.command && a.table == b.table);
    for group in groups {
        let first = &group[0];
        if first.table == Table::Expect && first.command != Command::Flush {
            return Err(Problem::failed("function not implemented"));
        }
        let seen = if first.command == Command::Delete { Seen::Deleted } else { Seen::Held };
        let mut printer = Printer::new(first.output, shell.labels, seen, Frame::None);
        for chunk in group.chunks(BATCH) {
            let out = &mut *shell.out;
            let batch = Request { batch: Some(chunk.iter().map(request).collect()), ..Request::default() };
            let done = shell.connection.ask(batch, |reply| printer.print(reply, out));
            done.map_err(|e: Ended| e.problem())?;
        }
        printer.finish(shell.out);
    }
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
