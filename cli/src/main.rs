//! The `uct` command.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use uct::args::{Cli, Command};

fn main() -> ExitCode {
    if let Some(words) = conntrack_words() {
        return uct::conntrack::run(&words);
    }
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Replay(args) => uct::replay::run(args),
        Command::Explain(args) => uct::explain::run(args),
        Command::Diff(args) => uct::diff::run(args),
        Command::Who(args) => uct::who::run(args),
        Command::History(args) => uct::history::run(args),
        Command::Run(args) => uct::run::run(args),
        Command::Check(args) => uct::check::run(&args.files),
        Command::Reload(args) => uct::reload::run(args),
        Command::Stats(args) => uct::reload::stats(args),
        Command::Sysctl(args) => uct::sysctl::run(args),
        Command::Bench(args) => uct::bench::run(args),
        Command::Top(args) => uct::top::run(args),
        Command::Conntrack { words } => return uct::conntrack::run(words),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut uct::command(), "uct", &mut text);
            uct::stdio::print(&String::from_utf8_lossy(&text)).map(|()| ExitCode::SUCCESS)
        }
        Command::Man { directory } => uct::man::write(directory),
    };
    done.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            uct::stdio::say(format_args!("uct: {}", failure.message));
        }
        ExitCode::from(failure.code)
    })
}

/// What follows `uct conntrack`, or the name `conntrack` itself: conntrack(8)'s words have rules of their own.
fn conntrack_words() -> Option<Vec<String>> {
    let mut words = std::env::args_os().map(|w| w.to_string_lossy().into_owned());
    let program = words.next()?;
    if Path::new(&program).file_name().is_some_and(|name| name == "conntrack") {
        return Some(words.collect());
    }
    (words.next()? == "conntrack").then(|| words.collect())
}
