//! Settings and lengths of time that scenarios are played with.

use super::Area;
use super::random::Random;
use crate::scenario::Step;

const SWITCHES: [(&str, &[&str]); 8] = [
    ("nf_conntrack_tcp_loose", &["0", "1"]),
    ("nf_conntrack_tcp_be_liberal", &["0", "1"]),
    ("nf_conntrack_tcp_ignore_invalid_rst", &["0", "1"]),
    ("nf_conntrack_tcp_max_retrans", &["0", "1", "2", "3"]),
    ("nf_conntrack_checksum", &["0", "1"]),
    ("nf_conntrack_timestamp", &["0", "1"]),
    ("nf_conntrack_acct", &["0", "1"]),
    ("nf_conntrack_events", &["0", "1", "2"]),
];

const TIMEOUTS: [&str; 25] = [
    "nf_conntrack_tcp_timeout_syn_sent",
    "nf_conntrack_tcp_timeout_syn_recv",
    "nf_conntrack_tcp_timeout_established",
    "nf_conntrack_tcp_timeout_fin_wait",
    "nf_conntrack_tcp_timeout_close_wait",
    "nf_conntrack_tcp_timeout_last_ack",
    "nf_conntrack_tcp_timeout_time_wait",
    "nf_conntrack_tcp_timeout_close",
    "nf_conntrack_tcp_timeout_max_retrans",
    "nf_conntrack_tcp_timeout_unacknowledged",
    "nf_conntrack_udp_timeout",
    "nf_conntrack_udp_timeout_stream",
    "nf_conntrack_icmp_timeout",
    "nf_conntrack_icmpv6_timeout",
    "nf_conntrack_generic_timeout",
    "nf_conntrack_gre_timeout",
    "nf_conntrack_gre_timeout_stream",
    "nf_conntrack_sctp_timeout_established",
    "nf_conntrack_sctp_timeout_heartbeat_sent",
    "nf_conntrack_sctp_timeout_closed",
    "nf_conntrack_sctp_timeout_cookie_wait",
    "nf_conntrack_sctp_timeout_cookie_echoed",
    "nf_conntrack_sctp_timeout_shutdown_sent",
    "nf_conntrack_sctp_timeout_shutdown_recd",
    "nf_conntrack_sctp_timeout_shutdown_ack_sent",
];

/// Settings that differ from the defaults. Accounting is mostly on, because it is one more thing to compare.
pub(crate) fn draw(random: &mut Random) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut set = |name: &str, value: String| settings.push((format!("netfilter.{name}"), value));
    if random.chance(80) {
        set("nf_conntrack_acct", "1".into());
    }
    if random.chance(35) {
        for _ in 0..random.between(1, 2) {
            // Switching events off makes the kernel side slow; it is worth it only now and then.
            let switches = if random.chance(5) { 8 } else { 7 };
            let (name, values) = SWITCHES[random.below(switches)];
            set(name, (*random.pick(values)).into());
        }
    }
    if random.chance(20) {
        for _ in 0..random.between(1, 4) {
            set(random.pick::<&str>(&TIMEOUTS), random.between(5, 500).to_string());
        }
    }
    settings
}

/// Settings of the router's own stack. 770 ms is no divisor of whole seconds by which time passes, so that no decision
/// hangs on a few milliseconds.
pub(crate) fn draw_router(random: &mut Random) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut set = |name: &str, value: &str| settings.push((name.to_string(), value.to_string()));
    let (redirects, errors) = (random.chance(60), random.chance(50));
    let limited = redirects || errors;
    if redirects {
        set("ipv4.conf.all.send_redirects", "1");
    }
    if errors {
        set("ipv4.icmp_ratelimit", "770");
        set("ipv4.icmp_ratemask", random.pick::<&str>(&["6168", "6168", "6200", "2048"]));
    }
    // One of these is always set: what it costs to be told "no route" is remembered in any case, so every scenario needs a
    // router of its own.
    if random.chance(40) || !limited {
        set("ipv6.icmp.ratelimit", "770");
    }
    if random.chance(40) {
        set("ipv4.conf.all.rp_filter", random.pick::<&str>(&["1", "2"]));
    }
    settings
}

/// A setting that changes while packets flow.
pub(crate) fn draw_change(random: &mut Random) -> Step {
    let (name, value) = if random.chance(60) {
        // All but the last, which would make the kernel side slow.
        let (name, values) = SWITCHES[random.below(SWITCHES.len() - 1)];
        (name, (*random.pick(values)).to_string())
    } else {
        (*random.pick(&TIMEOUTS), random.between(5, 500).to_string())
    };
    Step::Sysctl { name: format!("netfilter.{name}"), value }
}

/// How long nothing happens: around the timeouts that matter to the area.
pub(crate) fn draw_seconds(random: &mut Random, area: Area) -> u32 {
    let timeout = *match area {
        Area::Tcp | Area::Nat | Area::Mixed | Area::Icmp | Area::Full | Area::Early => {
            random.pick(&[2, 10, 30, 60, 120, 300, 432_000])
        }
        Area::Udp => random.pick(&[2, 2, 5, 30, 30, 120, 180, 600]),
        Area::Sctp => random.pick(&[2, 3, 3, 10, 30, 210]),
        // Half-gathered datagrams live 30 or 60 seconds.
        Area::Frag => random.pick(&[2, 2, 30, 60, 120]),
        // These are waited for.
        Area::Router => return *random.pick(&[1, 1, 2, 3, 5, 6, 7, 21]),
    };
    random.between(timeout - 1, timeout + 1)
}
