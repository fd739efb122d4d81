//! uct, told the same steps as the kernel.

mod engine;
mod words;

pub use engine::EngineSubject;
