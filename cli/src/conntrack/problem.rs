//! What goes wrong, in conntrack(8)'s words and with its exit codes.
//!
//! | | exit code | printed |
//! |---|---|---|
//! | [`Problem::Usage`] | 2 | the banner, the text, and a line that points to `-h` |
//! | [`Problem::Other`] | 1 | the banner and the text |

use std::fmt;

use thiserror::Error;

/// The version whose behaviour this is, and whose.
pub const BANNER: &str = concat!("conntrack v1.4.8 (uct-", env!("CARGO_PKG_VERSION"), ")");

/// Why a command did not do what was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// The command line is wrong.
    Usage(String),
    /// It is right, and could not be done.
    Other(String),
}

impl Problem {
    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Problem::Usage(_) => 2,
            Problem::Other(_) => 1,
        }
    }

    /// A wrong command line.
    pub fn usage(text: impl Into<String>) -> Problem {
        Problem::Usage(text.into())
    }

    /// `Operation failed: …`.
    pub fn failed(text: impl fmt::Display) -> Problem {
        Problem::Other(format!("Operation failed: {text}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Usage(text) => {
                write!(f, "{BANNER}: {text}\nTry `conntrack -h' or 'conntrack --help' for more information.")
            }
            Problem::Other(text) => write!(f, "{BANNER}: {text}"),
        }
    }
}
