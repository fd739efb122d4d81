//! `uct replay` as its users meet it: what it says about bad input, what it prints and writes, and that it does so again.

mod bad_input;
mod uct;
