//! How often a host is told: errors by a bucket, redirects at growing distances.
//!
//! ```text
//!   error ────────► tokens: one every `icmp_ratelimit`, six at most ──────────► Send, or Withhold for good
//!   no route ─────► a second's tokens first, of at most five ──► then as every error
//!   redirect ─────► 40 ms, 80 ms, 160 ms … after the one before, nine in all ──► none until 20.48 s without a reason have passed
//! ```
//! Linux keeps one record for each host, and so do we: tokens, the time at which they were last counted, and the redirects
//! sent. That the record is shared can be seen from outside (measured): a host's first redirect takes its tokens away, so for a
//! second it gets no errors; and a "no route" costs two tokens, one for each of its two limits.
//!
//! A bucket's size belongs to the limit that asks, so a host that was last asked about by another limit may have more tokens
//! than this one would give.
//!
//! Invariant: a host that is not remembered has as many tokens as it can have and has never been sent a redirect, which is what
//! a record says that nobody has touched for a minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use uct_engine::Time;

/// How many errors a host may be sent at once; measured.
const BURST: u32 = 6;
/// What one "no route" costs, and how much a host can have saved for them (`net.ipv4.route.error_cost`, `error_burst`: both
/// belong to the whole machine).
const NO_ROUTE_COST: Duration = Duration::from_secs(1);
const NO_ROUTE_BURST: Duration = Duration::from_secs(5);
/// Half of the time after a first redirect before which there is no second; each further one waits twice as long
/// (`redirect_load`).
const REDIRECT_LOAD: Duration = Duration::from_millis(20);
/// After so many a host is taken for one that does not listen (`redirect_number`).
const REDIRECT_NUMBER: u32 = 9;
/// After so long without a reason for one, redirects begin anew (`redirect_silence`).
const REDIRECT_SILENCE: Duration = Duration::from_millis(20_480);
/// After so long nothing of a record matters any more.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How many hosts are remembered before the rested ones are forgotten.
const MAX_PEERS: usize = 1 << 16;

/// What is kept of one host.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// Time that has been saved up for errors.
    saved: Duration,
    /// When that was counted last, or the last redirect was due.
    last: Option<Time>,
    redirects: u32,
}

impl Peer {
    fn rested(&self, now: Time) -> Duration {
        self.last.map_or(FORGOTTEN, |last| now.saturating_duration_since(last))
    }

    /// Takes `cost` out of a bucket that holds `most`.
    fn take(&mut self, now: Time, cost: Duration, most: Duration) -> Turn {
        self.saved = (self.saved + self.rested(now)).min(most);
        self.last = Some(now);
        match self.saved.checked_sub(cost) {
            Some(rest) => {
                self.saved = rest;
                Turn::Send
            }
            None => Turn::Withhold,
        }
    }
}

/// Whether a message is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is sent.
    Send,
    /// It is held back for good.
    Withhold,
}

/// The hosts that have been told something.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    peers: HashMap<IpAddr, Peer>,
}

impl Peers {
    /// Whether an error may be sent to `to` at `now`, of which one is allowed every `interval`, and counts it if so.
    pub fn error(&mut self, now: Time, to: IpAddr, interval: Duration) -> Turn {
        if interval.is_zero() {
            return Turn::Send;
        }
        self.with(now, to, |peer| peer.take(now, interval, interval * BURST))
    }

    /// Whether "no route" may be sent to `to`, as far as that has a limit of its own.
    pub fn no_route(&mut self, now: Time, to: IpAddr) -> Turn {
        self.with(now, to, |peer| peer.take(now, NO_ROUTE_COST, NO_ROUTE_BURST))
    }

    /// Whether `to` is to be sent a redirect. What comes of it is to be told to [`Peers::redirected`].
    pub fn redirect(&mut self, now: Time, to: IpAddr) -> Turn {
        self.with(now, to, |peer| {
            let rested = peer.rested(now);
            if rested > REDIRECT_SILENCE {
                (peer.saved, peer.redirects) = (Duration::ZERO, 0);
            }
            if peer.redirects >= REDIRECT_NUMBER {
                peer.last = Some(now);
                return Turn::Withhold;
            }
            if peer.redirects > 0 && rested <= REDIRECT_LOAD * (1 << peer.redirects) {
                return Turn::Withhold;
            }
            Turn::Send
        })
    }

    /// `to` has been sent a redirect, or there was none that could be sent. As an error like others (`icmp_ratemask`) it is
    /// paid for before that takes away what had been saved.
    pub fn redirected(&mut self, now: Time, to: IpAddr) {
        self.with(now, to, |peer| {
            peer.last = Some(now);
            peer.redirects += 1;
        });
    }

    fn with<T>(&mut self, now: Time, host: IpAddr, ask: impl FnOnce(&mut Peer) -> T) -> T {
        if self.peers.len() >= MAX_PEERS {
            self.peers.retain(|_, peer| peer.rested(now) < FORGOTTEN);
        }
        if self.peers.len() < MAX_PEERS || self.peers.contains_key(&host) {
            ask(self.peers.entry(host).or_default())
        } else {
            ask(&mut Peer::default())
        }
    }
}
