//! Routers to hand out, so that none has to be made or waited for.
//!
//! A namespace in which fragments were left waiting must rest until the kernel has given them up (see `REST`); another
//! is taken meanwhile.

use std::io;
use std::time::Instant;

use super::Kernel;

/// More routers than this rest at one time only if somebody waits for them.
const MOST: usize = 24;

/// Routers that rest or are free.
#[derive(Default)]
pub struct Pool {
    kernels: Vec<Kernel>,
}

impl Pool {
    /// A router that can begin at once.
    ///
    /// # Errors
    /// If a new one is needed and cannot be made.
    pub fn take(&mut self) -> io::Result<Kernel> {
        let now = Instant::now();
        if let Some(index) = self.kernels.iter().position(|kernel| kernel.rests_until() <= now) {
            return Ok(self.kernels.swap_remove(index));
        }
        if self.kernels.len() < MOST {
            return Kernel::new();
        }
        let index = (0..self.kernels.len()).min_by_key(|&index| self.kernels[index].rests_until()).unwrap_or(0);
        let kernel = self.kernels.swap_remove(index);
        std::thread::sleep(kernel.rests_until().saturating_duration_since(now));
        Ok(kernel)
    }

    /// Takes a router back.
    pub fn give_back(&mut self, kernel: Kernel) {
        self.kernels.push(kernel);
    }
}
