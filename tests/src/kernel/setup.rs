//! The surroundings of the kernel side: interfaces, neighbours, settings that keep it quiet, and what of the ruleset
//! must be treated with care.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};

use super::namespace::Namespace;
use super::tap::Tap;
use crate::observed::hex;
use crate::scenario::{Setup, Topology};

/// Settings of every namespace before it has interfaces: a router that speaks only when a packet makes it.
pub(crate) const QUIET: [(&str, &str); 19] = [
    ("ipv4.conf.all.rp_filter", "0"),
    ("ipv4.conf.default.rp_filter", "0"),
    ("ipv4.conf.all.send_redirects", "0"),
    ("ipv4.conf.default.send_redirects", "0"),
    ("ipv4.conf.all.log_martians", "0"),
    ("ipv4.icmp_ratelimit", "0"),
    ("ipv4.icmp_ratemask", "0"),
    ("ipv4.ip_forward", "1"),
    ("ipv6.conf.default.accept_ra", "0"),
    ("ipv6.conf.all.accept_ra", "0"),
    ("ipv6.conf.default.accept_dad", "0"),
    ("ipv6.conf.default.dad_transmits", "0"),
    ("ipv6.conf.default.router_solicitations", "0"),
    ("ipv6.conf.default.addr_gen_mode", "1"),
    ("ipv6.conf.all.forwarding", "1"),
    ("ipv6.conf.default.forwarding", "1"),
    ("ipv6.icmp.ratelimit", "0"),
    ("ipv4.ipfrag_time", "3"),
    ("netfilter.nf_conntrack_frag6_timeout", "6"),
];

/// Limits of all errors together, out of which the kernel draws at random: never reached.
pub(crate) const UNLIMITED: [(&str, &str); 2] =
    [("ipv4.icmp_msgs_per_sec", "1000000"), ("ipv4.icmp_msgs_burst", "1000000")];

/// Whether a scenario is about how often hosts are told something: that follows the kernel's own clock.
pub(crate) fn needs_real_time(setup: &Setup) -> bool {
    const RATES: [&str; 3] = ["ipv4.conf.all.send_redirects", "ipv4.icmp_ratelimit", "ipv6.icmp.ratelimit"];
    setup.sysctls.iter().any(|(name, value)| RATES.contains(&name.as_str()) && value != "0")
}

/// Makes the interfaces of `topology` with everything they need and gives their far ends.
pub(crate) fn build(namespace: &Namespace, topology: &Topology) -> io::Result<BTreeMap<String, Tap>> {
    let mut taps = BTreeMap::new();
    let mut batch = String::new();
    for interface in &topology.interface {
        let tap = namespace.within(|| Tap::new(&interface.name))??;
        taps.insert(interface.name.clone(), tap);
        let (name, mac, mtu) = (&interface.name, &interface.mac, interface.mtu);
        // Nobody is asked for: a packet for a host that is not there leaves all the same.
        let _ = writeln!(batch, "link set dev {name} address {mac} mtu {mtu} arp off up");
        for address in &interface.addresses {
            let detection = if address.contains(':') { "nodad" } else { "" };
            let _ = writeln!(batch, "address add {address} dev {name} {detection}");
        }
    }
    for neighbor in &topology.neighbor {
        let (address, mac, dev) = (&neighbor.address, &neighbor.mac, &neighbor.dev);
        let _ = writeln!(batch, "neighbor replace {address} lladdr {mac} dev {dev} nud permanent");
    }
    for route in &topology.route {
        let via = route.via.as_ref().map_or(String::new(), |via| format!("via {via}"));
        let _ = writeln!(batch, "route replace {} {via} dev {}", route.to, route.dev);
    }
    namespace.run("ip", &["-batch", "-"], &batch)?;
    await_addresses(namespace, topology)?;
    Ok(taps)
}

/// Waits until the kernel takes every IPv6 address of the router for its own: that is left to a work queue.
fn await_addresses(namespace: &Namespace, topology: &Topology) -> io::Result<()> {
    const LOCAL: u64 = 0x8000_0000;
    let wanted: Vec<String> = topology
        .interface
        .iter()
        .flat_map(|interface| &interface.addresses)
        .filter_map(|address| address.split('/').next()?.parse::<Ipv6Addr>().ok())
        .map(|address| hex(&address.octets()))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let routes = namespace.within(|| std::fs::read_to_string("/proc/thread-self/net/ipv6_route"))??;
        let is_local = |address: &String| {
            routes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|fields| {
                let flags = fields.get(8).and_then(|flags| u64::from_str_radix(flags, 16).ok()).unwrap_or(0);
                fields.first() == Some(&address.as_str()) && flags & LOCAL != 0
            })
        };
        if wanted.iter().all(is_local) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("the router's IPv6 addresses did not become usable"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A socket through which the router can send IP packets with their headers.
pub(crate) fn raw_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let protocol = Protocol::from_raw(std::num::NonZeroU32::new(255).expect("255 is not zero"));
    Ok(rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?)
}

/// The IP packet in a frame that the router sent, unless the frame is its own housekeeping: address resolution,
/// multicast membership and neighbour discovery tell nothing about connections.
pub(crate) fn routed(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(14..)?;
    match frame[12..14] {
        [0x08, 0x00] => Some(packet),
        [0x86, 0xdd] if packet.len() >= 40 => {
            let multicast = packet[24] == 0xff;
            let discovery = packet[6] == 58 && packet[7] == 255 && packet[8..10] == [0xfe, 0x80];
            (!multicast && !discovery).then_some(packet)
        }
        _ => None,
    }
}

/// The commands that delete the tables which `rules` made.
pub(crate) fn delete_tables(rules: &str) -> String {
    let mut commands = String::new();
    for line in rules.lines() {
        let words: Vec<&str> = line.trim_start().trim_end_matches('{').split_whitespace().collect();
        let table = match words.as_slice() {
            ["table", family, name] => format!("{family} {name}"),
            ["table", name] => format!("ip {name}"),
            _ => continue,
        };
        // Named twice, a table must still be deleted once.
        if !commands.contains(&format!("delete table {table}\n")) {
            let _ = writeln!(commands, "delete table {table}");
        }
    }
    commands
}

/// The ruleset without the command that would take the harness's own table away.
pub(crate) fn without_flush(rules: &str) -> String {
    rules.lines().filter(|line| line.trim() != "flush ruleset").fold(String::new(), |mut text, line| {
        text.push_str(line);
        text.push('\n');
        text
    })
}

/// Whether a ruleset keeps something from packet to packet, so that it must be loaded anew for every scenario.
pub(crate) fn remembers(rules: &str) -> bool {
    ["limit", "ct count", "quota", "update @", "add @", "numgen", "last"].iter().any(|word| rules.contains(word))
}
