//! conntrack(8)'s words, bytes and exit codes over uct's tables.

pub mod format;
