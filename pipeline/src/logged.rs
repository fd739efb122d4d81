//! What a rule's `log` says of a packet, on its way to whoever writes it down.
//!
//! ```text
//!   worker ── rule with `log` ─► LogBook (bounded) ─► a thread ─► the log, and who listens over the socket
//!
//!   NEW: IN=lan0 OUT=wan0 SRC=192.168.1.10 DST=198.51.100.80 LEN=60 TOS=0x00 PREC=0x00 TTL=63 ID=1 DF PROTO=TCP SPT=4000 DPT=443
//!        WINDOW=64240 RES=0x00 SYN URGP=0                                                                 (one line)
//! ```
//!
//! A worker never waits for it: what finds the book full is counted and left out. Rules that log much have `limit` for that.
//! No packet without a `log` costs anything.
//!
//! The text is [`Logged`]'s.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use uct_engine::{Counter, Time};
use uct_nat::rules::{Logged, RuleId};

/// Lines that wait to be written.
const MOST: usize = 4096;

/// What a rule said of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Time,
    /// The rule.
    pub rule: RuleId,
    /// The line: the rule's prefix, then the packet.
    pub text: String,
}

/// Lines on their way.
#[derive(Debug, Default)]
pub struct LogBook {
    waiting: Mutex<VecDeque<LogLine>>,
    filled: Condvar,
    /// Lines that were written here.
    pub logged: Counter,
    /// Lines that found no room.
    pub lost: Counter,
}

impl LogBook {
    /// Takes a line, unless too many wait already.
    pub fn put(&self, logged: &Logged<'_, '_>) {
        if self.waiting.lock().len() >= MOST {
            return self.lost.count();
        }
        let line = LogLine { at: logged.cx.now, rule: logged.rule, text: logged.to_string() };
        self.logged.count();
        self.waiting.lock().push_back(line);
        self.filled.notify_one();
    }

    /// Hands over what waits; waits for something if nothing does.
    pub fn take(&self, into: &mut Vec<LogLine>) {
        let mut waiting = self.waiting.lock();
        while waiting.is_empty() {
            self.filled.wait(&mut waiting);
        }
        into.extend(waiting.drain(..));
    }
}

/// An observer that hears nothing but `log`.
#[derive(Clone, Copy, Debug)]
pub struct Logging<'a>(pub &'a LogBook);

impl uct_engine::Observer for Logging<'_> {}

impl uct_nat::rules::Observer for Logging<'_> {
    fn log(&mut self, logged: &Logged<'_, '_>) {
        self.0.put(logged);
    }
}

impl crate::router::Observer for Logging<'_> {}

#[cfg(test)]
mod tests;
