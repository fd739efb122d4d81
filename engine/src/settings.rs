//! Settings under their sysctl names, with the kernel's units, ranges and defaults (Linux 6.18).
//!
//! Those of connection tracking have their names under `net.netfilter.`; the few of the router's own stack that change what
//! becomes of packets have their whole names. Linux has the latter for each interface: `all` and `default` stand for what every
//! interface has from its beginning.
//!
//! One table names them all: the enum [`Sysctl`], its names, ranges and defaults come from it, so a setting that the
//! engine reads can be listed, read and written by name. Values are plain atomics: a running router changes one without
//! stopping a packet, and, as in Linux, a changed timeout applies at the next refresh and touches no existing deadline.
//!
//! A [`TimeoutPolicy`] (nft's `ct timeout`) holds other values for the timeouts of one protocol, carried by a connection.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thiserror::Error;

mod policy;

pub use policy::{PolicyError, TimeoutPolicy, Timeouts};

macro_rules! sysctls {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $default:expr, $min:literal ..= $max:expr;)*) => {
        /// A setting of the engine; the documentation of each gives its unit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Sysctl { $($(#[$doc])* $variant,)* }

        impl Sysctl {
            /// All settings, in the order of their names' table.
            pub const ALL: &[Sysctl] = &[$(Sysctl::$variant),*];

            /// The name as it is told: under `net.netfilter.`, as `nf_conntrack_tcp_loose`, or whole, as
            /// `net.ipv4.icmp_ratelimit`.
            pub const fn name(self) -> &'static str {
                match self { $(Sysctl::$variant => $name),* }
            }

            /// The kernel's default.
            pub const fn default_value(self) -> u32 {
                match self { $(Sysctl::$variant => $default),* }
            }

            /// The smallest and the largest value that may be set.
            pub const fn range(self) -> (u32, u32) {
                match self { $(Sysctl::$variant => ($min, $max)),* }
            }
        }
    };
}

const SECONDS: u32 = i32::MAX as u32;
const COUNT: u32 = i32::MAX as u32;

sysctls! {
    /// Entries that the table may hold.
    Max = "nf_conntrack_max", 262_144, 0..=COUNT;
    /// Size of the kernel's hash table; ours sizes itself, the value is kept for listings.
    Buckets = "nf_conntrack_buckets", 262_144, 1..=COUNT;
    /// Expectations that may wait at one time.
    ExpectMax = "nf_conntrack_expect_max", 4096, 0..=COUNT;
    /// Count packets and bytes of connections made from now on: 0, 1.
    Acct = "nf_conntrack_acct", 0, 0..=1;
    /// Keep start and stop times of connections made from now on: 0, 1.
    Timestamp = "nf_conntrack_timestamp", 0, 0..=1;
    /// Make events: 0 never, 1 always, 2 while somebody listens.
    Events = "nf_conntrack_events", 2, 0..=2;
    /// Verify checksums at prerouting: 0, 1.
    Checksum = "nf_conntrack_checksum", 1, 0..=1;
    /// Log invalid packets of this protocol number; 255 all.
    LogInvalid = "nf_conntrack_log_invalid", 0, 0..=255;
    /// Pick up connections in mid-stream: 0, 1.
    TcpLoose = "nf_conntrack_tcp_loose", 1, 0..=1;
    /// Take segments outside the window for valid: 0, 1.
    TcpBeLiberal = "nf_conntrack_tcp_be_liberal", 0, 0..=1;
    /// Do not mark resets at old sequence numbers as invalid: 0, 1.
    TcpIgnoreInvalidRst = "nf_conntrack_tcp_ignore_invalid_rst", 0, 0..=1;
    /// Identical segments after which the timeout becomes that of `max_retrans`.
    TcpMaxRetrans = "nf_conntrack_tcp_max_retrans", 3, 0..=255;
    /// Seconds.
    TcpTimeoutSynSent = "nf_conntrack_tcp_timeout_syn_sent", 120, 0..=SECONDS;
    /// Seconds.
    TcpTimeoutSynRecv = "nf_conntrack_tcp_timeout_syn_recv", 60, 0..=SECONDS;
    /// Seconds.
    TcpTimeoutEstablished = "nf_conntrack_tcp_timeout_established", 432_000, 0..=SECONDS;
    /// Seconds.
    TcpTimeoutFinWait = "nf_conntrack_tcp_timeout_fin_wait", 120, 0..=SECONDS;
    /// Seconds.
    TcpTimeoutCloseWait = "nf_conntrack_tcp_timeout_close_wait", 60, 0..=SECONDS;
    /// Seconds.
    TcpTimeoutLastAck = "nf_conntrack_tcp_timeout_last_ack", 30, 0..=SECONDS;
    /// Seconds.
    TcpTimeoutTimeWait = "nf_conntrack_tcp_timeout_time_wait", 120, 0..=SECONDS;
    /// Seconds.
    TcpTimeoutClose = "nf_conntrack_tcp_timeout_close", 10, 0..=SECONDS;
    /// Seconds; a ceiling after `max_retrans` identical segments, and while a window is closed.
    TcpTimeoutMaxRetrans = "nf_conntrack_tcp_timeout_max_retrans", 300, 0..=SECONDS;
    /// Seconds; a ceiling while data waits for its acknowledgement.
    TcpTimeoutUnacknowledged = "nf_conntrack_tcp_timeout_unacknowledged", 300, 0..=SECONDS;
    /// Seconds.
    UdpTimeout = "nf_conntrack_udp_timeout", 30, 0..=SECONDS;
    /// Seconds.
    UdpTimeoutStream = "nf_conntrack_udp_timeout_stream", 120, 0..=SECONDS;
    /// Seconds.
    IcmpTimeout = "nf_conntrack_icmp_timeout", 30, 0..=SECONDS;
    /// Seconds.
    Icmpv6Timeout = "nf_conntrack_icmpv6_timeout", 30, 0..=SECONDS;
    /// Seconds.
    GenericTimeout = "nf_conntrack_generic_timeout", 600, 0..=SECONDS;
    /// Seconds.
    GreTimeout = "nf_conntrack_gre_timeout", 30, 0..=SECONDS;
    /// Seconds.
    GreTimeoutStream = "nf_conntrack_gre_timeout_stream", 180, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutClosed = "nf_conntrack_sctp_timeout_closed", 10, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutCookieWait = "nf_conntrack_sctp_timeout_cookie_wait", 3, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutCookieEchoed = "nf_conntrack_sctp_timeout_cookie_echoed", 3, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutEstablished = "nf_conntrack_sctp_timeout_established", 210, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutShutdownSent = "nf_conntrack_sctp_timeout_shutdown_sent", 3, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutShutdownRecd = "nf_conntrack_sctp_timeout_shutdown_recd", 3, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutShutdownAckSent = "nf_conntrack_sctp_timeout_shutdown_ack_sent", 3, 0..=SECONDS;
    /// Seconds.
    SctpTimeoutHeartbeatSent = "nf_conntrack_sctp_timeout_heartbeat_sent", 30, 0..=SECONDS;
    /// Seconds that the fragments of an IPv6 datagram are kept.
    Frag6Timeout = "nf_conntrack_frag6_timeout", 60, 0..=SECONDS;
    /// Bytes of IPv6 fragments above which new ones are refused.
    Frag6HighThresh = "nf_conntrack_frag6_high_thresh", 4_194_304, 0..=COUNT;
    /// Bytes of IPv6 fragments; kept for listings.
    Frag6LowThresh = "nf_conntrack_frag6_low_thresh", 3_145_728, 0..=COUNT;
    /// Tell senders of a shorter way: 0, 1. On if one of `all` and `default` is.
    SendRedirectsAll = "net.ipv4.conf.all.send_redirects", 1, 0..=1;
    /// See [`Sysctl::SendRedirectsAll`].
    SendRedirects = "net.ipv4.conf.default.send_redirects", 1, 0..=1;
    /// Drop what comes from where its source is not: 0 no, 1 by another interface, 2 by none. The greater of `all` and `default`.
    RpFilterAll = "net.ipv4.conf.all.rp_filter", 0, 0..=2;
    /// See [`Sysctl::RpFilterAll`].
    RpFilter = "net.ipv4.conf.default.rp_filter", 0, 0..=2;
    /// Milliseconds until a destination may be sent one more ICMP error; nought for no limit.
    IcmpRatelimit = "net.ipv4.icmp_ratelimit", 1000, 0..=COUNT;
    /// A bit for each ICMP type that is limited: 3, 4, 11 and 12.
    IcmpRatemask = "net.ipv4.icmp_ratemask", 6168, 0..=COUNT;
    /// Milliseconds until a destination may be sent one more ICMPv6 error; nought for no limit.
    Icmp6Ratelimit = "net.ipv6.icmp.ratelimit", 100, 0..=COUNT;
}

impl Sysctl {
    /// Finds a setting by its name, with or without `net.netfilter.` before it; the levels may be parted by slashes.
    pub fn by_name(name: &str) -> Option<Sysctl> {
        let dotted = name.replace('/', ".");
        let bare = dotted.strip_prefix("net.netfilter.").unwrap_or(&dotted);
        Sysctl::ALL.iter().copied().find(|s| s.name() == bare)
    }

    /// The name with all its levels, as sysctl(8) prints it.
    pub fn full_name(self) -> String {
        let name = self.name();
        if name.starts_with("net.") { name.to_owned() } else { format!("net.netfilter.{name}") }
    }
}

/// `rp_filter`: whether a packet's source must be where the packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpFilter {
    /// It need not.
    Off,
    /// The route back to it leads over the interface by which it came.
    Strict,
    /// There is a route back to it.
    Loose,
}

/// Why a setting was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SettingError {
    /// No setting of that name.
    #[error("unknown sysctl '{name}'{}", .nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// The closest name that exists, if one is close.
        nearest: Option<&'static str>,
    },
    /// Not a whole number.
    #[error("sysctl {name}: '{value}' is not a whole number")]
    NotANumber {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// Outside the range.
    #[error("sysctl {name}: {value} is not between {min} and {max}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: u64,
        /// The smallest value.
        min: u32,
        /// The largest value.
        max: u32,
    },
}

/// The values in force.
#[derive(Debug)]
pub struct Settings {
    values: [AtomicU32; Sysctl::ALL.len()],
}

impl Default for Settings {
    fn default() -> Self {
        Settings { values: std::array::from_fn(|at| AtomicU32::new(Sysctl::ALL[at].default_value())) }
    }
}

impl Settings {
    /// The value in force.
    #[inline]
    pub fn get(&self, key: Sysctl) -> u32 {
        self.values[key as usize].load(Ordering::Relaxed)
    }

    /// Whether a switch is on.
    #[inline]
    pub fn is_on(&self, key: Sysctl) -> bool {
        self.get(key) != 0
    }

    /// A value in seconds as a duration.
    #[inline]
    pub fn seconds(&self, key: Sysctl) -> Duration {
        Duration::from_secs(self.get(key).into())
    }

    /// A value in milliseconds as a duration.
    pub fn milliseconds(&self, key: Sysctl) -> Duration {
        Duration::from_millis(self.get(key).into())
    }

    /// Whether senders are told of a shorter way.
    pub fn sends_redirects(&self) -> bool {
        self.is_on(Sysctl::SendRedirectsAll) || self.is_on(Sysctl::SendRedirects)
    }

    /// How the way back to a packet's source is looked at.
    pub fn rp_filter(&self) -> RpFilter {
        match self.get(Sysctl::RpFilterAll).max(self.get(Sysctl::RpFilter)) {
            0 => RpFilter::Off,
            1 => RpFilter::Strict,
            _ => RpFilter::Loose,
        }
    }

    /// Sets a value within its range.
    pub fn set(&self, key: Sysctl, value: u64) -> Result<(), SettingError> {
        let (min, max) = key.range();
        match u32::try_from(value) {
            Ok(v) if (min..=max).contains(&v) => {
                self.values[key as usize].store(v, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(SettingError::OutOfRange { name: key.name(), value, min, max }),
        }
    }

    /// Sets by name, from text, as `--sysctl KEY=VALUE` does.
    pub fn set_by_name(&self, name: &str, value: &str) -> Result<Sysctl, SettingError> {
        let key = Sysctl::by_name(name)
            .ok_or_else(|| SettingError::Unknown { name: name.to_owned(), nearest: nearest(name) })?;
        let number: u64 =
            value.trim().parse().map_err(|_| SettingError::NotANumber { name: key.name(), value: value.to_owned() })?;
        self.set(key, number)?;
        Ok(key)
    }
}

/// The setting whose name shares the longest start and end with a mistyped one.
fn nearest(name: &str) -> Option<&'static str> {
    let bare = name.strip_prefix("net.netfilter.").unwrap_or(name);
    let common = |a: &str, b: &str| {
        let head = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
        let tail = a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count();
        head.max(tail.min(bare.len().saturating_sub(1))) + tail.min(4)
    };
    // What all names begin with tells nothing.
    let prefix = "nf_conntrack_".len().min(bare.len());
    let best = Sysctl::ALL.iter().map(|s| s.name()).max_by_key(|n| common(n, bare))?;
    (common(best, bare).saturating_sub(prefix) * 2 > bare.len() - prefix).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_and_without_their_path() {
        let s = Settings::default();
        s.set_by_name("net.netfilter.nf_conntrack_tcp_loose", "0").unwrap();
        assert_eq!(s.get(Sysctl::TcpLoose), 0);
        s.set_by_name("nf_conntrack_udp_timeout", "33").unwrap();
        s.set_by_name("net/ipv4/icmp_ratelimit", "0").unwrap();
        assert_eq!(s.get(Sysctl::IcmpRatelimit), 0);
        assert_eq!(Sysctl::IcmpRatelimit.full_name(), "net.ipv4.icmp_ratelimit");
        assert_eq!(s.seconds(Sysctl::UdpTimeout), Duration::from_secs(33));
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let s = Settings::default();
        let say = |k, v| s.set_by_name(k, v).unwrap_err().to_string();
        assert_eq!(
            say("nf_conntrack_tcp_lose", "1"),
            "unknown sysctl 'nf_conntrack_tcp_lose'; did you mean nf_conntrack_tcp_loose?"
        );
        assert_eq!(say("nonsense", "1"), "unknown sysctl 'nonsense'");
        assert_eq!(say("nf_conntrack_count", "1"), "unknown sysctl 'nf_conntrack_count'");
        assert_eq!(say("nf_conntrack_", "1"), "unknown sysctl 'nf_conntrack_'");
        assert_eq!(say("nf_conntrack_tcp_loose", "2"), "sysctl nf_conntrack_tcp_loose: 2 is not between 0 and 1");
        assert_eq!(say("nf_conntrack_max", "many"), "sysctl nf_conntrack_max: 'many' is not a whole number");
    }
}
