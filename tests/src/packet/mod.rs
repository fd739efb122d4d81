//! Packets as the scenarios build, alter and describe them.

pub mod build;
mod describe;
mod mask;

pub use describe::{describe, fragment_id, is_fragment};
pub use mask::mask;
