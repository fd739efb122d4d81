//! `uct`: Linux connection tracking and NAT in userspace.
//!
//! The library holds what the binary's sub-commands are made of, so that tests reach it.

pub mod args;
pub mod bench;
pub mod check;
pub mod conntrack;
pub mod diff;
pub mod events;
pub mod explain;
pub mod files;
pub mod history;
pub mod man;
pub mod moment;
pub mod operation;
pub mod ports;
pub mod reload;
pub mod replay;
pub mod rules;
pub mod run;
pub mod session;
pub mod stdio;
pub mod sysctl;
pub mod top;
pub mod who;

/// What stops a command: one line, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What to say.
    pub message: String,
    /// 1: failed; 2: wrong usage; 0: there is nobody to go on for.
    pub code: u8,
}

impl Failure {
    /// The input is at fault.
    pub fn input(message: impl ToString) -> Self {
        Failure { message: message.to_string(), code: 1 }
    }

    /// Nobody reads what is printed any more: nothing failed, and nothing is left to do.
    pub fn enough() -> Self {
        Failure { message: String::new(), code: 0 }
    }

    /// Whether it is that.
    pub fn is_enough(&self) -> bool {
        self.code == 0
    }

    /// The command line is at fault.
    pub fn usage(message: impl ToString) -> Self {
        Failure { message: message.to_string(), code: 2 }
    }
}

/// The whole command line, for help, completions and manual pages.
pub fn command() -> clap::Command {
    use clap::CommandFactory;
    args::Cli::command().mut_subcommand("conntrack", conntrack::describe)
}
