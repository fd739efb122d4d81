//! The two statements with a memory: `limit rate` and `ct count`.

use super::ast::{Limit, LimitUnit};
use uct_engine::tcp::TcpState;
use uct_engine::{Engine, ProtoInfo, Time, Tuple, Zone};

const NANOS: u128 = 1_000_000_000;
/// nft's burst if none is written.
const DEFAULT_BURST: u64 = 5;

/// A token bucket. Tokens are nanoseconds: a packet costs the time in which the rate allows one.
///
/// It knows no clock, so the same capture spends the same tokens every time.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: u128,
    most: u128,
    /// Of one packet, or of one byte times `rate`.
    rate: u128,
    per: u128,
    unit: LimitUnit,
    last: Option<Time>,
}

impl Bucket {
    pub(super) fn full(limit: &Limit) -> Bucket {
        let (rate, per) = (u128::from(limit.amount.max(1)), u128::from(limit.per) * NANOS);
        let most = match limit.unit {
            LimitUnit::Packets => (per / rate) * u128::from(limit.burst.unwrap_or(DEFAULT_BURST)),
            LimitUnit::Bytes => per * (rate + u128::from(limit.burst.unwrap_or(0))) / rate,
        };
        Bucket { tokens: most, most, rate, per, unit: limit.unit, last: None }
    }

    /// Takes what a packet of `bytes` bytes costs; false, and nothing taken, if there is not enough.
    pub(super) fn take(&mut self, now: Time, bytes: usize) -> bool {
        let since = self.last.map_or(0, |last| now.saturating_duration_since(last).as_nanos());
        self.last = Some(now);
        self.tokens = (self.tokens + since).min(self.most);
        let cost = match self.unit {
            LimitUnit::Packets => self.per / self.rate,
            LimitUnit::Bytes => self.per * bytes as u128 / self.rate,
        };
        match self.tokens.checked_sub(cost) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

/// The connections that a `ct count` has seen and that still live.
#[derive(Debug)]
pub(super) struct ConnCount {
    pub(super) limit: u32,
    seen: Vec<(Tuple, Zone)>,
}

impl ConnCount {
    pub(super) fn new(limit: u32) -> ConnCount {
        ConnCount { limit, seen: Vec::new() }
    }

    /// Counts a connection by its original tuple, once, and tells how many there are.
    ///
    /// Those that have left the table, and TCP connections that are closed but for their time of waiting, are forgotten as the
    /// search for it comes by them, oldest first: as measured, those that were counted after it still count.
    pub(super) fn count(&mut self, tuple: Tuple, zone: Zone, engine: &Engine) -> u32 {
        let mut at = 0;
        while let Some((known, in_zone)) = self.seen.get(at) {
            match found(engine, known, *in_zone) {
                Some(_) if (*known, *in_zone) == (tuple, zone) => return self.seen.len() as u32,
                Some(Progress::Open) => at += 1,
                Some(Progress::Closed) | None => {
                    self.seen.remove(at);
                }
            }
        }
        self.seen.push((tuple, zone));
        self.seen.len() as u32
    }
}

/// How far a connection that was counted has come.
enum Progress {
    Open,
    Closed,
}

fn found(engine: &Engine, tuple: &Tuple, zone: Zone) -> Option<Progress> {
    // As measured, a connection the other way round keeps the count of one that is gone.
    let (conn, _) = engine.find(tuple, zone)?;
    let closed = match conn.entry(Time::ZERO).proto {
        ProtoInfo::Tcp { state, .. } => matches!(state, TcpState::TimeWait | TcpState::Close),
        ProtoInfo::None | ProtoInfo::Sctp { .. } => false,
    };
    Some(if closed { Progress::Closed } else { Progress::Open })
}
