//! uct beside the running kernel: the same packets through both, and every difference told.
//!
//! ```text
//!              ┌─► kernel (namespace, taps, nft, ctnetlink) ──► Observed ─┐
//!   Scenario ──┤                                                          ├─► compare ─► shrink ─► report
//!              └─► uct (engine or whole path)               ──► Observed ─┘
//! ```

pub mod behaviour;
pub mod campaign;
pub mod compare;
pub mod coverage;
pub mod generate;
pub mod kernel;
pub mod observed;
pub mod packet;
pub mod run;
pub mod scenario;
pub mod script;
pub mod uct;
