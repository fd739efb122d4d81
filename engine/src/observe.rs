//! What the engine tells while it decides: explanation is an observer, never a second implementation.
//!
//! Every method does nothing by default and is called statically, so an engine with [`Silent`] pays nothing: what is told is
//! what the decision was made of, and nothing is computed for an observer alone.
//!
//! ```text
//!   lookup ─► opened ─► transition ─► exception ─► window ─► ceiling ─► ends ─► timeout
//!      └─ found ──────────┘   each only if it happens; TCP has them all          gone: at any place
//! ```

use std::time::Duration;

use crate::conn::Conn;
use crate::sctp;
use crate::tcp::{Ceiling, Class, Exception, Next, Peer, TcpState, Tests, Window};
use crate::{ConnId, Direction, Gone, Sysctl, Time, Tuple, Zone};

/// Listens to the engine's decisions about one packet.
pub trait Observer {
    /// A tuple was looked up in a zone, and this was found.
    fn lookup(&mut self, tuple: &Tuple, zone: Zone, found: Option<(ConnId, Direction)>) {
        let _ = (tuple, zone, found);
    }

    /// The packet belongs to nothing and opens this connection.
    fn opened(&mut self, conn: &Conn) {
        let _ = conn;
    }

    /// TCP's table was asked: a segment of this class met this state.
    fn transition(&mut self, dir: Direction, class: Class, state: TcpState, next: Next, why: &'static str) {
        let _ = (dir, class, state, next, why);
    }

    /// TCP departed from its table.
    fn exception(&mut self, why: Exception) {
        let _ = why;
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

    /// A segment was held against the window. `tests` has what was compared; none if there was nothing to compare with yet.
    fn window(&mut self, dir: Direction, window: Window, tests: Option<&Tests>) {
        let _ = (dir, window, tests);
    }

    /// What TCP knows of the two ends after the segment, the original direction's sender first.
    fn ends(&mut self, ends: &[Peer; 2]) {
        let _ = ends;
    }

    /// The timeout that follows is not the state's own, which is `own`.
    fn ceiling(&mut self, why: Ceiling, own: Duration) {
        let _ = (why, own);
    }

    /// The connection's timeout was started anew; `from` is the setting that the state's own comes from.
    fn timeout(&mut self, timeout: Duration, from: Option<Sysctl>) {
        let _ = (timeout, from);
    }

    /// A connection has left the table.
    fn gone(&mut self, conn: &Conn, at: Time, why: Gone) {
        let _ = (conn, at, why);
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
