//! Packets as the scenarios build, alter and describe them.

pub mod build;
mod describe;

pub use describe::{describe, is_fragment};
