//! A table that is full, or nearly so, of entries of nobody.
//!
//! `nf_conntrack_max` is the whole machine's and is left alone; but every namespace counts its own entries against it
//! (measured: each of two namespaces holds that many). So a namespace is filled up to where the scenario begins.
//!
//! The entries are made while events are off: they make none, then or later. Many such namespaces would make the machine's
//! one hash table slow, so few are filled at a time ([`SPACE`]).

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ctnetlink;
use super::netlink::{Netlink, Request};

/// Requests that are sent together.
const BATCH: u32 = 200;
/// How many namespaces may be filled at one time.
pub(crate) const SPACE: usize = 2;

static FILLED: AtomicUsize = AtomicUsize::new(0);

/// What fills a namespace.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Whether its entries are assured, so that none is given up for another.
    pub(crate) assured: bool,
    /// The number of the next entry.
    next: u32,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new(assured: bool) -> io::Result<Crowd> {
        let reserved =
            FILLED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < SPACE).then_some(now + 1));
        reserved.map_err(|_| io::Error::other(format!("more than {SPACE} full tables at a time")))?;
        Ok(Crowd { assured, next: 0 })
    }

    /// Fills the table up to `target` entries, or makes room down to that.
    pub(crate) fn settle(&mut self, control: &mut Netlink, target: u32) -> io::Result<()> {
        loop {
            let mut count = 0;
            control.batch(vec![ctnetlink::count()], |_, answer| count = answer.map_or(0, ctnetlink::parse_count))?;
            if count == target {
                return Ok(());
            }
            let requests: Vec<Request> = if count < target {
                let first = self.next;
                self.next += BATCH.min(target - count);
                (first..self.next).map(|number| ctnetlink::stranger(number).create(self.assured)).collect()
            } else {
                let last = self.next;
                self.next -= BATCH.min(count - target).min(last);
                if last == 0 {
                    return Err(io::Error::other("the table holds more than it should"));
                }
                // One that was given up meanwhile cannot be deleted; the next round looks again.
                (self.next..last).map(|number| ctnetlink::stranger(number).delete()).collect()
            };
            control.batch(requests, |_, _| {})?;
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        FILLED.fetch_sub(1, Ordering::Relaxed);
    }
}
