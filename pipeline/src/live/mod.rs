//! A router between real links.
//!
//! ```text
//!   interface ─► Source ─┐                    ┌─ Sink ─► interface
//!   interface ─► Source ─┴─► worker: Station ─┴─ Sink ─► interface        any number of workers, one table
//!                              ▲        ▲
//!           clock (a thread) ──┘        └── monitor (a thread): links that come, go and change
//! ```
//! - [`station`]: a router with its links, as a value without threads: ARP, neighbour discovery, what waits for a link address,
//!   what the router itself is sent.
//! - [`run`]: the threads, one batch after the other, each run to completion.
//! - [`links`]: what the kernel says of interfaces.
//!
//! A program that carries packets by itself needs the station alone: `examples/embed.rs`.

pub mod arp;
mod host;
pub mod links;
pub mod nd;
pub mod neighbors;
pub mod run;
pub mod station;
pub mod stats;

pub use station::{Carrier, Link, Options, Scratch, Services, Station, Wires};
