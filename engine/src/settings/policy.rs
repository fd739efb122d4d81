//! Timeout policies: nft's `ct timeout` objects.
//!
//! As measured (nft 1.0.6, Linux 6.18): the protocol is `tcp` or `udp`, the states are those of [`TCP`] and [`UDP`], in lower
//! case and nothing else (`listen`, `max_retrans` and `none` are refused), a state named twice counts by its last value. A
//! policy holds a value for *every* state of its protocol: a state that it does not name has the kernel's built-in default,
//! whatever the sysctl of that state says, and so have the two ceilings of TCP. A rule that gives it to a connection's first
//! packet replaces the timeout that the packet has already started by that of the protocol's opening state.

use std::time::Duration;

use thiserror::Error;

use super::{Settings, Sysctl};
use crate::Protocol;

/// SYN_SENT2 has no sysctl; its default is that of SYN_SENT.
const SYN_SENT2: u32 = 120;

/// nft's names of TCP's timeouts, and what each stands in for; `None`: SYN_SENT2.
const TCP: &[(&str, Option<Sysctl>)] = &[
    ("syn_sent", Some(Sysctl::TcpTimeoutSynSent)),
    ("syn_recv", Some(Sysctl::TcpTimeoutSynRecv)),
    ("established", Some(Sysctl::TcpTimeoutEstablished)),
    ("fin_wait", Some(Sysctl::TcpTimeoutFinWait)),
    ("close_wait", Some(Sysctl::TcpTimeoutCloseWait)),
    ("last_ack", Some(Sysctl::TcpTimeoutLastAck)),
    ("time_wait", Some(Sysctl::TcpTimeoutTimeWait)),
    ("close", Some(Sysctl::TcpTimeoutClose)),
    ("syn_sent2", None),
    ("retrans", Some(Sysctl::TcpTimeoutMaxRetrans)),
    ("unack", Some(Sysctl::TcpTimeoutUnacknowledged)),
];

/// nft's names of UDP's timeouts.
const UDP: &[(&str, Option<Sysctl>)] =
    &[("unreplied", Some(Sysctl::UdpTimeout)), ("replied", Some(Sysctl::UdpTimeoutStream))];

/// Why a policy was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// Not a protocol that nft makes policies for.
    #[error("no timeout policies for {0}: tcp and udp have some")]
    Protocol(Protocol),
    /// Not a state of the protocol.
    #[error("'{state}' is not a state of {protocol}")]
    State {
        /// The protocol.
        protocol: Protocol,
        /// The name that was given.
        state: String,
    },
}

/// Other timeouts for one connection: nft's `ct timeout` object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// The object's name.
    pub name: String,
    /// Values in seconds, by the setting that each stands in for; the first is that of the opening state.
    seconds: Vec<(Sysctl, u32)>,
    syn_sent2: Option<u32>,
}

impl TimeoutPolicy {
    /// The states that nft names for a protocol's policies, in its order; none if it has none.
    pub fn states(protocol: Protocol) -> impl Iterator<Item = &'static str> {
        table(protocol).unwrap_or_default().iter().map(|(name, _)| *name)
    }

    /// A policy from nft's names of states and seconds. What is not named has the kernel's default.
    pub fn from_nft(protocol: Protocol, named: &[(&str, u32)]) -> Result<Self, PolicyError> {
        let table = table(protocol).ok_or(PolicyError::Protocol(protocol))?;
        if let Some((unknown, _)) = named.iter().find(|(name, _)| !table.iter().any(|(known, _)| known == name)) {
            return Err(PolicyError::State { protocol, state: (*unknown).to_owned() });
        }
        let value =
            |name: &str, default: u32| named.iter().rev().find(|(n, _)| *n == name).map_or(default, |(_, s)| *s);
        let mut policy = TimeoutPolicy::default();
        for (name, key) in table {
            match key {
                Some(key) => policy.seconds.push((*key, value(name, key.default_value()))),
                None => policy.syn_sent2 = Some(value(name, SYN_SENT2)),
            }
        }
        Ok(policy)
    }

    /// A policy that was taken apart by [`TimeoutPolicy::values`].
    pub fn from_values(name: String, seconds: Vec<(Sysctl, u32)>, syn_sent2: Option<u32>) -> Self {
        TimeoutPolicy { name, seconds, syn_sent2 }
    }

    /// Its values in seconds, by the setting that each stands in for; the first is that of the opening state.
    pub fn values(&self) -> impl Iterator<Item = (Sysctl, u32)> {
        self.seconds.iter().copied()
    }

    /// Its value for TCP's SYN_SENT2, in seconds.
    #[inline]
    pub fn syn_sent2(&self) -> Option<u32> {
        self.syn_sent2
    }

    /// The policy's value for a timeout, if it has one.
    #[inline]
    pub fn get(&self, key: Sysctl) -> Option<Duration> {
        self.seconds.iter().find(|(k, _)| *k == key).map(|(_, s)| seconds(*s))
    }

    /// The timeout of the protocol's opening state, which a first packet gets with the policy.
    pub(crate) fn opening(&self) -> Option<Duration> {
        self.seconds.first().map(|(_, s)| seconds(*s))
    }
}

fn table(protocol: Protocol) -> Option<&'static [(&'static str, Option<Sysctl>)]> {
    match protocol {
        Protocol::TCP => Some(TCP),
        Protocol::UDP => Some(UDP),
        _ => None,
    }
}

#[inline]
fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}

/// The timeouts that hold for one connection: its policy's where it has one, else the settings'.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts<'a> {
    /// The settings in force.
    pub settings: &'a Settings,
    /// The connection's own policy.
    pub policy: Option<&'a TimeoutPolicy>,
}

impl Timeouts<'_> {
    /// The timeout under this name.
    #[inline]
    pub fn get(&self, key: Sysctl) -> Duration {
        self.policy.and_then(|p| p.get(key)).unwrap_or_else(|| self.settings.seconds(key))
    }

    /// The timeout of TCP's SYN_SENT2, which no sysctl holds.
    #[inline]
    pub(crate) fn syn_sent2(&self) -> Duration {
        seconds(self.policy.and_then(|p| p.syn_sent2).unwrap_or(SYN_SENT2))
    }
}

#[cfg(test)]
mod tests;
