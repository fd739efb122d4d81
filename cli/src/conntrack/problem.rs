//! What goes wrong, in conntrack(8)'s words and with its exit codes.
//!
//! | | exit code | printed |
//! |---|---|---|
//! | [`Problem::Usage`] | 2 | the banner, the text, and a line that points to `-h` |
//! | [`Problem::Other`] | 1 | the banner and the text |

use std::fmt;
use std::sync::OnceLock;

use thiserror::Error;

/// Whose behaviour is shown.
///
/// Ours is that of 1.4.8, with later fixes. A few bugs of 1.4.7 that scripts were written around come back if
/// `UCT_CONNTRACK_COMPAT` is `1.4.7`; `docs/differences.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// 1.4.8, mended.
    Mended,
    /// 1.4.7, as it was.
    V147,
}

impl Compat {
    /// What the environment asks for.
    pub fn asked() -> Compat {
        static ASKED: OnceLock<Compat> = OnceLock::new();
        *ASKED.get_or_init(|| match std::env::var("UCT_CONNTRACK_COMPAT") {
            Ok(version) if version == "1.4.7" => Compat::V147,
            _ => Compat::Mended,
        })
    }
}

/// What stands before every message: the version whose behaviour this is, and the program that shows it.
pub fn banner() -> &'static str {
    match Compat::asked() {
        Compat::Mended => concat!("conntrack v1.4.8 (uct-", env!("CARGO_PKG_VERSION"), ")"),
        Compat::V147 => "conntrack v1.4.7 (conntrack-tools)",
    }
}

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
                write!(f, "{}: {text}\nTry `conntrack -h' or 'conntrack --help' for more information.", banner())
            }
            Problem::Other(text) => write!(f, "{}: {text}", banner()),
        }
    }
}
