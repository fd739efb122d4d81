//! The `uct` command.
fn main() {}
