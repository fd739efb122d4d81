//! conntrack(8) over uct's tables: its words, its bytes, its exit codes.
//!
//! ```text
//!   words ─► parse ─► command ─► client ══ control socket ══► the router's table
//!                        │
//!                        └─► format ─► stdout          summary, warnings, errors ─► stderr
//! ```
//!
//! The command line is read with getopt_long's semantics ([`getopt`]), not with the parser of uct's other commands: scripts
//! depend on its abbreviations and its order rules. Every usage error is found before the socket is touched.
//!
//! Behaviour is that of conntrack-tools 1.4.8, learnt by running it; where it differs on purpose, `docs/differences.md`
//! says so.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod client;
mod command;
pub mod format;
pub mod getopt;
mod help;
pub mod options;
pub mod parse;
pub mod problem;
pub mod protocol;
pub mod values;

pub(crate) use help::describe;

pub use client::{Connection, DEFAULT_SOCKET, Ended, socket_path};

use command::Shell;
use format::{CONNLABEL_CONF, LabelMap};
use options::Command;
use parse::{Parsed, Surroundings, parse};
use problem::{Compat, Problem, banner};

/// What is to be done with a command line.
enum Plan {
    One(Box<Parsed>),
    File(command::Lines),
}

/// Runs a command line, without the program's name.
pub fn run(words: &[String]) -> ExitCode {
    let (socket, words) = take_socket(words);
    let labels = || LabelMap::load(Path::new(CONNLABEL_CONF)).ok();
    let mut warn = |text: &str| eprintln!("{text}");
    let mut around = Surroundings { labels: &labels, compat: Compat::asked(), warn: &mut warn };
    let done = plan(words, &mut around).and_then(|plan| execute(&plan, socket, &mut around));
    match done {
        Ok(summary) => {
            if let Some(line) = summary {
                eprintln!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(problem.code())
        }
    }
}

/// Takes `--socket PATH` from the front.
fn take_socket(words: &[String]) -> (Option<PathBuf>, &[String]) {
    match words {
        [option, path, rest @ ..] if option == "--socket" => (Some(PathBuf::from(path)), rest),
        [option, rest @ ..] => match option.strip_prefix("--socket=") {
            Some(path) => (Some(PathBuf::from(path)), rest),
            None => (None, words),
        },
        [] => (None, words),
    }
}

fn plan(words: &[String], around: &mut Surroundings<'_>) -> Result<Plan, Problem> {
    match words {
        // Only as the first word.
        [option, path, ..] if option == "-R" || option == "--load-file" => Ok(Plan::File(command::read(path, around)?)),
        _ => Ok(Plan::One(Box::new(parse(words, around)?))),
    }
}

fn execute(plan: &Plan, socket: Option<PathBuf>, around: &mut Surroundings<'_>) -> Result<Option<String>, Problem> {
    let mut out = BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    if let Plan::One(parsed) = plan {
        let text = match parsed.command {
            Command::Help => Some(help::text(parsed.protocol)),
            Command::Version => Some(format!("{}\n", banner())),
            _ => None,
        };
        if let Some(text) = text {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            return Ok(None);
        }
    }
    let mut connection = Connection::open(&socket_path(socket))?;
    let labels = LabelMap::load(Path::new(CONNLABEL_CONF)).ok();
    let mut shell = Shell { connection: &mut connection, labels: labels.as_ref(), out: &mut out };
    let done = match plan {
        Plan::One(parsed) => command::run(parsed, &mut shell),
        Plan::File(lines) => command::load(lines, &mut shell, around).map(|()| None),
    };
    let _ = out.flush();
    done
}
