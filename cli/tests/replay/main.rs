//! `uct replay` as its users meet it: what it says about bad input, what it prints and writes, and that it does so again.

mod again;
mod bad_input;
mod captures;
mod inferred;
mod logged;
mod readme;
mod table;
mod uct;
mod vantage;
