//! Routers to hand out, so that none has to be made for every scenario.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::Kernel;
use crate::run::sent;
use crate::scenario::Scenario;

/// No more routers than this are made for one worker.
const MOST: usize = 6;

/// Routers that are free.
#[derive(Default)]
pub struct Pool {
    kernels: Vec<Kernel>,
}

impl Pool {
    /// A router.
    ///
    /// # Errors
    /// If a new one is needed and cannot be made.
    pub fn take(&mut self) -> io::Result<Kernel> {
        if self.kernels.is_empty() { Kernel::new() } else { Ok(self.kernels.remove(0)) }
    }

    /// A router on which nothing stands in a stored scenario's way: none of its fragments is still waiting from the last
    /// time that it was played.
    ///
    /// # Errors
    /// If a new one is needed and cannot be made.
    pub fn take_for(&mut self, scenario: &Scenario) -> io::Result<Kernel> {
        let packets: Vec<&[u8]> = scenario.steps.iter().filter_map(sent).collect();
        loop {
            if let Some(index) = self.kernels.iter().position(|kernel| kernel.is_free_for(&packets)) {
                return Ok(self.kernels.remove(index));
            }
            if self.kernels.len() < MOST {
                return Kernel::new();
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Takes a router back.
    pub fn give_back(&mut self, kernel: Kernel) {
        self.kernels.push(kernel);
    }
}
