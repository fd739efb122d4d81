//! Connection tracking as Linux does it.
//!
//! The engine is a function of (bytes, now, config): it has no socket, no clock, no thread and no randomness of its own.
//! It parses a packet ([`Packet`]), finds or makes its connection ([`Engine::track`]), moves the protocol's state, and, when
//! the packet is about to leave, enters a new connection into the table under both of its tuples ([`Engine::confirm`]).
//! NAT stands above it: its lasting result is a connection's reply tuple and a few status bits, both of which are here.
//!
//! ```text
//!   tuple ── status ── settings ── reason          the words
//!   packet ── checksum                             bytes
//!   tcp ── sctp ── udp ── icmp ── state                    the trackers: check, open, update
//!   memory ── index                                         how it is kept
//!   conn ── entry ── saved ── table ── expiry ── event      what is kept
//!   engine ── track ── client                      the whole: what packets do, what programs may do
//! ```

pub mod checksum;
pub mod client;
mod conn;
mod engine;
mod entry;
pub mod event;
pub mod expect;
mod expiry;
mod icmp;
pub mod index;
pub mod memory;
mod observe;
mod packet;
mod reason;
mod saved;
pub mod sctp;
mod settings;
mod state;
mod stats;
mod status;
mod sync;
mod table;
pub mod tcp;
mod time;
mod track;
mod tuple;
mod udp;

pub use conn::{Conn, ConnId, ConnRef, Ct, Extras, Labels, SeqAdjust, Unconfirmed};
pub use engine::{Ahead, Confirm, Engine, Listening};
pub use entry::{Counters, Entry, ProtoInfo};
pub use event::{Client, Event, EventKind, EventMask};
pub use observe::{Observer, Silent};
pub use packet::{Checksum, Fragment, More, Packet, Quote};
pub use reason::{BadTransition, Bound, Gone, Invalid, Malformed};
pub use saved::{Saved, SavedState};
pub use settings::{PolicyError, RpFilter, SettingError, Settings, Sysctl, TimeoutPolicy, Timeouts};
pub use stats::{Counter, Stats};
pub use status::{Hook, Info, Manip, Status};
pub use table::Seen;
pub use time::Time;
pub use track::{Template, Track, Tracked};
pub use tuple::{Direction, Family, L4, Protocol, Tuple, Zone, ZoneScope, inverse_icmp, is_icmp_query};
