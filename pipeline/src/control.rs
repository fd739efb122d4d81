//! The control socket: how other programs look into an engine and change what is in it.
//!
//! ```text
//!   client ── one JSON object a line ──► session (a thread) ──► engine
//!          ◄─ pieces of listings, done ─┘
//!          ◄─ events, gaps ── writer (a thread) ◄── queue ◄── hub (a thread) ◄── the engine's events
//! ```
//!
//! It decides who may talk, what a request means, and how much of it is answered at a time. A listing takes one shard of
//! the table at a time and copies what it needs before anything is written, so that no client, however slow, holds up a
//! packet. A subscriber that reads too slowly loses events and is told so. A client that stalls in the middle of a line or
//! does not read what it asked for is dropped; one that sends garbage is told what is wrong with it.
//!
//! `docs/socket.md` describes what goes over the wire.

pub mod expected;
pub mod filter;
pub mod flat;
pub mod host;
mod hub;
mod line;
pub mod message;
mod serve;
mod server;
mod session;
mod summary;
mod translate;
mod wish;

pub use host::Host;
pub use server::{Clock, Gauge, Options, Others, RealClock, Server};
