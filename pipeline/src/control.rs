//! The control socket: how other programs look into an engine and change what is in it.

pub mod flat;
