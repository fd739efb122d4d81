//! A scenario as a table of segments, short enough to type.
//!
//! ```text
//! sysctl netfilter.nf_conntrack_tcp_loose 0
//! c S 1000 win 8192 opt 01030307
//! s SA 5000 1001
//! c A 1001 5001 len 10
//! c udp 5000 53 len 4
//! s raw 45000014…
//! advance 300
//! ```
//!
//! `c` is a client inside, port 1000; `s` a server beyond the gateway, port 80; `r` the router itself, sending from its
//! outer address to the server; `t` the server again, but speaking to the router itself. For TCP the flags, the sequence number and the acknowledgment number follow; numbers may
//! be negative. A ruleset stands between `rules` and `end`; without one, everything is forwarded and tracked. Between
//! `change rules` and `end` stands one that takes its place at that step.

use crate::generate::world::{Family, Origin, Shot, World};
use crate::observed::unhex;
use crate::packet::build::{Ip, LiteSum, Tcp, udp, udplite};
use crate::scenario::{Scenario, Setup, Step};

/// The ruleset that makes the kernel track and decides nothing.
pub const TRACK: &str = "table inet track {
  chain forwarded {
    type filter hook forward priority 0; policy accept
    ct state invalid counter
  }
}
";

const CLIENT: usize = 0;
const SERVER: usize = 6;

/// Reads a script.
///
/// # Errors
/// If a line is not understood, with the line.
pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
    let mut world = World::new();
    let setup = Setup { rules: TRACK.into(), topology: world.topology.clone(), ..Setup::default() };
    let mut scenario = Scenario { name: name.into(), setup, steps: Vec::new() };
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["rules"] => {
                let rules: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "end").collect();
                scenario.setup.rules = rules.join("\n") + "\n";
            }
            ["sysctl", name, value] => scenario.setup.sysctls.push((name.into(), value.into())),
            ["change", "rules"] => {
                let rules: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "end").collect();
                scenario.steps.push(Step::Rules { text: rules.join("\n") + "\n" });
            }
            ["advance", seconds] => {
                let seconds = seconds.parse().map_err(|_| format!("not seconds: {line}"))?;
                scenario.steps.push(Step::Advance { seconds });
            }
            [who @ ("c" | "s" | "r" | "t"), ref what @ ..] => {
                let packet = packet(&world, who, what).ok_or_else(|| format!("not understood: {line}"))?;
                let from = match who {
                    "c" => Origin::Host(CLIENT),
                    "s" | "t" => Origin::Host(SERVER),
                    _ => Origin::Router,
                };
                scenario.steps.push(world.send(&Shot { from, packet }));
            }
            _ => return Err(format!("not understood: {line}")),
        }
    }
    Ok(scenario)
}

fn packet(world: &World, who: &str, what: &[&str]) -> Option<Vec<u8>> {
    let host = |number: usize| world.hosts[number].address(Family::V4);
    let (from, to, ports) = match who {
        "c" => (host(CLIENT), host(SERVER), (1000, 80)),
        "s" => (host(SERVER), host(CLIENT), (80, 1000)),
        "t" => (host(SERVER), world.router_address("wan0", Family::V4), (80, 1000)),
        _ => (world.router_address("wan0", Family::V4), host(SERVER), (1000, 80)),
    };
    let ip = Ip::new(from, to);
    match what {
        ["raw", bytes] => unhex(bytes),
        ["udplite", sport, dport, "len", length] => {
            let data = vec![b'x'; length.parse().ok()?];
            Some(udplite(&ip, sport.parse().ok()?, dport.parse().ok()?, &data, 0, LiteSum::Kernel))
        }
        ["udp", sport, dport, rest @ ..] => {
            let length = match rest {
                [] => 4,
                ["len", length] => length.parse().ok()?,
                _ => return None,
            };
            Some(udp(&ip, sport.parse().ok()?, dport.parse().ok()?, &vec![b'x'; length]))
        }
        [flags, seq, rest @ ..] => {
            let mut tcp = Tcp { sport: ports.0, dport: ports.1, seq: number(seq)?, window: 8192, ..Tcp::default() };
            for letter in flags.chars().filter(|letter| *letter != '-') {
                tcp.flags |= 1 << "FSRPAUEC".find(letter)?;
            }
            let mut rest = rest.iter();
            while let Some(word) = rest.next() {
                match *word {
                    "win" => tcp.window = rest.next()?.parse().ok()?,
                    "len" => tcp.data = vec![b'x'; rest.next()?.parse().ok()?],
                    "opt" => tcp.options = unhex(rest.next()?)?,
                    ack => tcp.ack = number(ack)?,
                }
            }
            Some(tcp.packet(&ip))
        }
        _ => None,
    }
}

/// A sequence number; a minus sign counts back from zero.
fn number(text: &str) -> Option<u32> {
    text.parse::<i64>().ok().map(|number| number as u32)
}
