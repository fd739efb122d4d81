//! Locks and moments between steps: the ordinary ones, or those of a model checker.
//!
//! With `--cfg uct_model` the marked steps of [`crate::memory`] and [`crate::index`] are places where the checker may let another thread
//! run, and their locks are the checker's. Otherwise a step is nothing. The atomics stay the ordinary ones, so orders of steps are
//! explored, and no weaker orders of memory.

#[cfg(not(uct_model))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

/// Before a step that another thread could see, or that could see another thread's.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(uct_model)]
    shuttle::thread::yield_now();
}

#[cfg(uct_model)]
pub(crate) use model::Mutex;
#[cfg(uct_model)]
pub(crate) use shuttle::sync::MutexGuard;

#[cfg(uct_model)]
mod model {
    /// The checker's lock with the interface of the ordinary one.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

#[cfg(all(test, uct_model))]
mod tests;
