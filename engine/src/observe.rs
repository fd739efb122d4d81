//! What the engine tells while it decides: explanation is an observer, never a second implementation.
//!
//! Every method does nothing by default and is called statically, so an engine with [`Silent`] pays nothing.

use std::time::Duration;

use crate::sctp;
use crate::tcp::{Class, Next, TcpState, Window};
use crate::{ConnId, Direction, Tuple, Zone};

/// Listens to the engine's decisions about one packet.
pub trait Observer {
    /// A tuple was looked up in a zone, and this was found.
    fn lookup(&mut self, tuple: &Tuple, zone: Zone, found: Option<(ConnId, Direction)>) {
        let _ = (tuple, zone, found);
    }

    /// TCP's table was asked: a segment of this class met this state.
    fn transition(&mut self, dir: Direction, class: Class, state: TcpState, next: Next, why: &'static str) {
        let _ = (dir, class, state, next, why);
    }

    /// SCTP's table was asked: a chunk met this state.
    fn sctp(
        &mut self,
        dir: Direction,
        chunk: sctp::Chunk,
        state: sctp::SctpState,
        next: sctp::Next,
        why: &'static str,
    ) {
        let _ = (dir, chunk, state, next, why);
    }

    /// A segment was held against the window.
    fn window(&mut self, dir: Direction, window: Window) {
        let _ = (dir, window);
    }

    /// The connection's timeout was started anew.
    fn timeout(&mut self, timeout: Duration) {
        let _ = timeout;
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
