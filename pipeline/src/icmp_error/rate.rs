//! How often a destination is told: a bucket of six, refilled one by one.

use super::Message;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use uct_engine::{Family, Time};

/// How many errors a destination may be sent at once; measured.
const BURST: u32 = 6;
/// How many destinations are remembered before the rested ones are forgotten.
const MAX_PEERS: usize = 1 << 16;

/// The limits of Linux, under their sysctl names. Off is [`RateLimit::off`]; the default is that of the kernel.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// `net.ipv4.icmp_ratelimit`: how long until one more is allowed; nought for no limit.
    pub icmp_ratelimit: Duration,
    /// `net.ipv4.icmp_ratemask`: a bit for each ICMP type that is limited.
    pub icmp_ratemask: u32,
    /// `net.ipv6.icmp.ratelimit`: the same for IPv6.
    pub icmp6_ratelimit: Duration,
    /// When each destination's bucket will be full.
    full_at: HashMap<IpAddr, Time>,
}

/// Whether an error is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is sent.
    Send,
    /// It is held back for good.
    Withhold,
}

impl Default for RateLimit {
    fn default() -> Self {
        RateLimit {
            icmp_ratelimit: Duration::from_secs(1),
            icmp_ratemask: 1 << 3 | 1 << 4 | 1 << 11 | 1 << 12,
            icmp6_ratelimit: Duration::from_millis(100),
            full_at: HashMap::new(),
        }
    }
}

impl RateLimit {
    /// No limits: what a replay does unless asked, so that each packet shows its answer.
    pub fn off() -> Self {
        RateLimit { icmp_ratelimit: Duration::ZERO, icmp6_ratelimit: Duration::ZERO, ..RateLimit::default() }
    }

    /// Whether `message` may be sent to `to` at `now`, and counts it if so.
    pub fn turn(&mut self, now: Time, to: IpAddr, message: Message) -> Turn {
        let (interval, limited) = match message.family {
            Family::Ipv4 => {
                let masked = 1u32.checked_shl(message.kind.into()).is_some_and(|bit| self.icmp_ratemask & bit != 0);
                (self.icmp_ratelimit, masked && !message.is_too_big())
            }
            Family::Ipv6 => (self.icmp6_ratelimit, !message.is_too_big()),
        };
        if interval.is_zero() || !limited {
            return Turn::Send;
        }
        if self.full_at.len() >= MAX_PEERS {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        // One token is missing for every interval that lies between now and the time when the bucket is full.
        let full_at = self.full_at.get(&to).copied().unwrap_or(now).max(now) + interval;
        if full_at.saturating_duration_since(now) > interval * BURST {
            return Turn::Withhold;
        }
        if self.full_at.len() < MAX_PEERS || self.full_at.contains_key(&to) {
            self.full_at.insert(to, full_at);
        }
        Turn::Send
    }
}
