//! conntrack(8)'s words, bytes and exit codes over uct's tables.

pub mod format;
pub mod getopt;
pub mod options;
pub mod parse;
pub mod problem;
pub mod protocol;
pub mod values;
