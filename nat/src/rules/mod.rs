//! nft's rules: from text to a verdict on a packet.
mod action;
mod ast;
mod context;
mod error;
mod eval;
mod fields;
mod lex;
mod limit;
mod load;
mod lower;
mod names;
mod parse;
mod program;
mod ruleset;
mod set;
mod source;
mod types;

pub use action::{Decision, NatVerdict, Reject, Verdict};
pub use context::{
    AddressType, Context, Fib, IfName, MaxSeg, NoFib, Observer, PacketType, Reachable, Silent, Tracking,
};
pub use error::{Colour, Error};
pub use ruleset::{ChainView, Expectation, Helper, RuleView, Ruleset, Step};
pub use source::{FileId, Files, Location, NoFiles, Sources, Span};
use std::fmt;
pub use uct_engine::Hook;

/// Names a rule of a [`Ruleset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(crate) u32);

/// Names a chain of a [`Ruleset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub(crate) u32);

/// What a base chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChainKind {
    /// Every packet.
    Filter,
    /// The first packet of each connection.
    Nat,
}

/// A ruleset that is not accepted, with the text it was read from.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What is wrong.
    pub error: Error,
    /// The text, for the caret.
    pub sources: Sources,
}

impl Refusal {
    /// The message with the source line and a caret.
    pub fn render(&self, colour: Colour) -> String {
        self.error.render(&self.sources, colour)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl Ruleset {
    /// Reads and checks a ruleset. `name` is what messages call the text; `files` is where `include` looks.
    pub fn read(name: &str, text: &str, files: &dyn Files) -> Result<Ruleset, Box<Refusal>> {
        let mut sources = Sources::default();
        let file = sources.add(name, text);
        let parts = parse::parse(&mut sources, files, file).and_then(lower::lower);
        match parts {
            Ok(parts) => Ok(Ruleset::new(sources, parts)),
            Err(fault) => Err(Box::new(Refusal { error: fault.locate(&sources), sources })),
        }
    }
}
