//! The `uct` command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use uct::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Replay(args) => uct::replay::run(args),
        Command::Explain(args) => uct::explain::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "uct", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => uct::man::write(directory),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("uct: {}", failure.message);
        ExitCode::from(failure.code)
    })
}
