//! uct, told the same steps as the kernel.

mod engine;
mod path;
mod words;

pub use engine::EngineSubject;
pub use path::PathSubject;
