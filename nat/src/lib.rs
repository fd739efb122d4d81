//! Network address translation as Linux does it: through the reply tuple.
//!
//! NAT decides twice about a connection, once for each end, and only while its first packet is on its way: which reply
//! tuple answers shall carry ([`Nat::setup`]). From then on every packet, in both directions and within ICMP errors, is
//! rewritten so that it looks like the inverse of the other direction's tuple ([`translate()`]). Nothing else is remembered:
//! a port is taken if and only if a reply tuple with it stands in the engine's table, so nothing is handed back either.
//!
//! ```text
//!   rules                nft's language: what to do with a packet
//!   range                what a rule asks for
//!   draw ── spread       randomness, and the hash that chooses an address
//!   source               live mappings by their source
//!   decision ── nat      which reply tuple, and why
//!   mangle ── translate  bytes
//! ```

mod decision;
mod draw;
mod mangle;
mod nat;
#[cfg(test)]
mod packets;
mod range;
mod restore;
pub mod rules;
mod source;
mod spread;
mod translate;

pub use decision::{AddressChoice, Decision, NoAddress, PortChoice, Search, Start};
pub use draw::{Ask, Draw, Seeded};
pub use mangle::Refusal;
pub use nat::{Here, Nat, Pending, pending};
pub use range::{Addresses, Flags, Mapping, Ports, Range};
pub use restore::{Restored, restore, rewrite};
pub use translate::{Change, Rewrite, translate};
