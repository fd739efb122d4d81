//! `uct`: Linux connection tracking and NAT in userspace.
//!
//! The library holds what the binary's sub-commands are made of, so that tests reach it.

pub mod args;
pub mod conntrack;
pub mod diff;
pub mod explain;
pub mod man;
pub mod ports;
pub mod replay;
pub mod rules;
pub mod run;
pub mod session;
pub mod sysctl;

/// What stops a command: one line, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What to say.
    pub message: String,
    /// 1: failed; 2: wrong usage.
    pub code: u8,
}

impl Failure {
    /// The input is at fault.
    pub fn input(message: impl ToString) -> Self {
        Failure { message: message.to_string(), code: 1 }
    }

    /// The command line is at fault.
    pub fn usage(message: impl ToString) -> Self {
        Failure { message: message.to_string(), code: 2 }
    }
}
