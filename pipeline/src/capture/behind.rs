//! Writing behind: bytes that are ready go to a file on a thread of its own, in the same order.
//!
//! ```text
//!   caller:  put(full buffer) ─►┐ (a few buffers, which go round)
//!   thread:  write_all        ◄─┘
//! ```
//!
//! # Invariants
//! - The file gets the same bytes in the same order as if they were written at once.
//! - Memory is bounded: [`BUFFERS`] buffers, and who is faster waits.
//! - An error is answered once: by the next call, at the latest by [`Behind::flush`], which waits until everything is
//!   written. What comes after an error is thrown away, as it is without a thread.

use std::io::{self, Write};
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};

/// How many buffers there are besides the caller's.
const BUFFERS: usize = 4;

enum Order {
    Write(Vec<u8>),
    /// Flush the file, and say how it went.
    Flush(Sender<io::Result<()>>),
}

/// A file that is written on a thread of its own.
pub(super) struct Behind {
    orders: Sender<Order>,
    empty: Receiver<Vec<u8>>,
    errors: Receiver<io::Error>,
}

impl Behind {
    /// Starts the thread; gives the file back if there can be none, or if there is only one processor.
    pub(super) fn new(to: Box<dyn Write + Send>) -> Result<Self, Box<dyn Write + Send>> {
        if !thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
            return Err(to);
        }
        let (orders, taken) = bounded(BUFFERS);
        let (emptied, empty) = bounded(BUFFERS);
        let (failed, errors) = bounded(1);
        for _ in 0..BUFFERS {
            let _ = emptied.send(Vec::new());
        }
        let (give, take) = bounded::<Box<dyn Write + Send>>(1);
        let thread = thread::Builder::new().name("uct-write".into());
        let started = thread.spawn(move || {
            if let Ok(to) = take.recv() {
                write(to, &taken, &emptied, &failed);
            }
        });
        match started {
            Ok(_) => {
                let _ = give.send(to);
                Ok(Behind { orders, empty, errors })
            }
            Err(_) => Err(to),
        }
    }

    /// Hands over what is in the buffer, and leaves an empty one.
    pub(super) fn put(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let empty = self.empty.recv().map_err(|_| ended())?;
        let full = std::mem::replace(buffer, empty);
        self.orders.send(Order::Write(full)).map_err(|_| ended())?;
        self.errors.try_recv().map_or(Ok(()), Err)
    }

    /// Waits until everything is written.
    pub(super) fn flush(&self) -> io::Result<()> {
        let (say, said) = bounded(1);
        self.orders.send(Order::Flush(say)).map_err(|_| ended())?;
        let done = said.recv().map_err(|_| ended())?;
        self.errors.try_recv().map_or(done, Err)
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that writes it has ended early")
}

/// Writes until the last order.
fn write(
    mut to: Box<dyn Write + Send>,
    orders: &Receiver<Order>,
    emptied: &Sender<Vec<u8>>,
    failed: &Sender<io::Error>,
) {
    let mut has_failed = false;
    for order in orders {
        match order {
            Order::Write(mut bytes) => {
                if !has_failed && let Err(e) = to.write_all(&bytes) {
                    has_failed = true;
                    let _ = failed.try_send(e);
                }
                bytes.clear();
                let _ = emptied.try_send(bytes);
            }
            Order::Flush(say) => {
                let done = if has_failed { Ok(()) } else { to.flush() };
                let _ = say.send(done);
            }
        }
    }
}
