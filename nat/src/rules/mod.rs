//! nft's rules: from text to a verdict on a packet.
//!
//! ```text
//!   text ─► lex ─► parse ─► ast ─► lower ─► Ruleset ─► eval ─► Verdict, NatVerdict
//!           words  grammar         names, types,       one packet, one chain
//!                  include         dependencies,
//!                  define          loops, hooks
//! ```
//!
//! # What it decides
//! Which rulesets mean something to uct ([`Ruleset::read`]), and what their rules say about a packet: [`Ruleset::filter`] and
//! [`Ruleset::nat`]. It decides nothing about routes, reply tuples or headers: a NAT rule gives a [`crate::Mapping`], a reject the
//! answer's kind, `maxseg` and `ct expectation` a wish in the [`Context`]. `docs/rules.md` is the user's page: the whole of the
//! grammar with examples, and what is left out.
//!
//! # For the packet's way
//! At each hook, walk [`Ruleset::steps`] in order:
//!
//! | step | do |
//! |---|---|
//! | [`Step::Defrag`], [`Step::Track`], [`Step::Confirm`] | the built-in stops at -400, -200 and the very end |
//! | [`Step::Filter`] | ask [`Ruleset::filter`]; anything but accept ends the packet |
//! | [`Step::Nat`] | if the decision of this hook is still to be taken, ask [`Ruleset::nat`], then rewrite |
//!
//! One [`Context`] per packet is handed to each step; what rules change for later steps (mark, zone, `notrack`) is in it, what they
//! change of the connection (mark, label, helper, timeouts) is done there. [`Step::Nat`] is absent when no NAT chain exists, so
//! that not even a null binding is made. Every verdict names its rule; [`Ruleset::rule`] gives file, line and text.
//!
//! # Invariants
//! - What is accepted here, `nft -c -f` accepts and the kernel loads: `tests/rules` says so, with the real ones.
//! - A ruleset is a function of its text: nothing is looked up (services, hosts, interfaces) that could differ elsewhere, and what
//!   it does follows from the packets and their times alone.
//! - Values are numbers of at most 128 bits once compiled; sets are hashes or sorted intervals; ranges are never expanded.
//! - No text makes reading panic, recurse without bound, or take memory out of proportion.
//!
//! # What was measured
//! On Linux 6.18 with nft 1.0.6:
//! - Of chains with one priority the last registered runs first, NAT chains among themselves too.
//! - NAT chains run at NAT's own priority whatever theirs is; with one NAT chain in a family NAT takes part at all four hooks.
//! - An `accept` in one NAT chain lets the next one speak.
//! - A lookup in a map that fails, or a NAT statement of the other family, lets the next rule speak.
//! - A match on what is not there is false, also negated. But without a device the interface's name is empty, and `!=` is true.
//! - A statement about the connection of a packet without one does nothing, and the rule goes on.
//! - `ct state` before tracking is invalid, but new once a zone is set. Of two zones the first holds; a zone undoes `notrack`.
//!
//! # Sources
//! nft(8), and nft's answers (`nft -c`, `nft --debug=netlink`) where the page is silent.

mod action;
mod ast;
mod context;
mod error;
mod eval;
mod fields;
mod lex;
mod limit;
mod load;
mod log;
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
pub use log::{Log, LogFlags, LogLevel, Logged};
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
