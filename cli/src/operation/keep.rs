//! When the table is written to `--state`, and what is said of it.
//!
//! At the start it is read: a file that cannot be used costs a line and an empty table, never the start. Every
//! `--state-every` seconds, and at the end when no worker changes it any more, it is written. A write that fails is said once,
//! and again when it works.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uct_engine::{Engine, Time};
use uct_pipeline::router::Router;
use uct_pipeline::state;

/// A file that keeps a table.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    every: Option<Duration>,
    /// One writer at a time; when it was written last, and whether that failed.
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    Failed,
}

impl Keeper {
    /// Keeps a table in this file, written every so many seconds (0: at the end only).
    pub fn new(path: PathBuf, every: u64) -> Keeper {
        let every = (every > 0).then(|| Duration::from_secs(every));
        Keeper { path, every, last: Mutex::new(Last { at: Instant::now(), outcome: Outcome::Fine }) }
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file into an engine.
    pub fn load(&self, engine: &Engine, router: Option<&Router>, now: Time) {
        let path = self.path.display();
        match state::read(&self.path) {
            Ok(None) => tracing::info!("--state {path}: none yet, the table begins empty"),
            Ok(Some(state)) => {
                let written = state.written();
                let done = state.restore(engine, router, now);
                tracing::info!(
                    connections = done.connections,
                    expectations = done.expectations,
                    expired = done.expired,
                    address_gone = done.address_gone,
                    refused = done.refused,
                    "--state {path}: the table of {} s ago goes on",
                    now.saturating_duration_since(written).as_secs()
                );
            }
            Err(why) => tracing::warn!("--state {why}: the table begins empty"),
        }
    }

    /// Writes the file now.
    pub fn write(&self, engine: &Engine, router: Option<&Router>, now: Time) {
        let names: Vec<String> = router.iter().flat_map(|r| &r.topology().interfaces).map(|i| i.name.clone()).collect();
        let mut last = self.last.lock();
        let begun = Instant::now();
        match state::write(&self.path, engine, &names, now) {
            Ok(written) => {
                if last.outcome == Outcome::Failed {
                    tracing::info!("--state {}: it can be written again", self.path.display());
                }
                tracing::debug!(
                    connections = written.connections,
                    bytes = written.bytes,
                    milliseconds = begun.elapsed().as_millis() as u64,
                    "--state {}: written",
                    self.path.display()
                );
                last.outcome = Outcome::Fine;
            }
            Err(why) => {
                if last.outcome == Outcome::Fine {
                    tracing::error!("--state {why}");
                }
                last.outcome = Outcome::Failed;
            }
        }
        last.at = Instant::now();
    }

    /// Writes it if it is time to.
    pub fn tick(&self, engine: &Engine, router: impl FnOnce() -> Option<Arc<Router>>, now: Time) {
        if self.every.is_some_and(|every| self.last.lock().at.elapsed() >= every) {
            self.write(engine, router().as_deref(), now);
        }
    }
}
