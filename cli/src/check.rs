//! `uct check`: says what is wrong with a router's files, or what they come to.
//!
//! Nothing is opened but the files: it runs anywhere, without privileges, and a file that it takes is taken by `uct run` and
//! by a reload. Exit code 0, or 1 with every fault told on stderr, each with its place and a caret.

use std::fmt::Write as _;
use std::process::ExitCode;

use uct_engine::Family;
use uct_pipeline::topology::Topology;

use crate::operation::files::{Files, Read};
use crate::stdio::{print, say};
use crate::{Failure, rules};

/// Checks the files of a router.
pub fn run(files: &Files) -> Result<ExitCode, Failure> {
    if files.paths().next().is_none() && files.rule.is_empty() && files.sysctl.is_empty() {
        return Err(Failure::usage("nothing to check: name --topology, --rules, --sysctl-file, --rule or --sysctl"));
    }
    match files.read(rules::colour()) {
        Ok(read) => {
            let (said, remarks) = summary(files, &read);
            for remark in remarks {
                say(format_args!("uct: {remark}"));
            }
            print(&said).map(|()| ExitCode::SUCCESS)
        }
        Err(faults) => {
            for fault in &faults {
                say(format_args!("uct: {}", fault.message));
            }
            let code = faults.iter().map(|fault| fault.code).max().unwrap_or(1);
            Ok(ExitCode::from(code))
        }
    }
}

/// What was read, in a few lines, and what is legal but hardly meant.
pub fn summary(files: &Files, read: &Read) -> (String, Vec<String>) {
    let (mut said, mut remarks) = (String::new(), Vec::new());
    let name = |path: &Option<std::path::PathBuf>| {
        path.as_deref().map_or_else(|| "the command line".to_owned(), |p| p.display().to_string())
    };
    if let Some(topology) = &read.topology {
        let _ = writeln!(said, "topology {}: {}", name(&files.topology), surroundings(topology));
        for interface in &topology.interfaces {
            let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
            let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(" ") };
            let _ = writeln!(said, "  {} {addresses} mtu {}", interface.name, interface.mtu);
        }
        remarks.extend(rules::strangers(&read.rules, topology));
        if topology.interfaces.is_empty() {
            remarks.push("the topology has no interface: nothing can be forwarded".to_owned());
        }
    }
    if files.rules.is_some() || !files.rule.is_empty() {
        let rules = &read.rules;
        let (chains, count) = (rules.chains().count(), rules.rules().count());
        let nat: Vec<&str> = [(Family::Ipv4, "IPv4"), (Family::Ipv6, "IPv6")]
            .into_iter()
            .filter(|(family, _)| rules.has_nat(*family))
            .map(|(_, name)| name)
            .collect();
        let nat = if nat.is_empty() { "no NAT".to_owned() } else { format!("NAT for {}", nat.join(" and ")) };
        let _ = writeln!(
            said,
            "rules {}: {}, {}, {nat}",
            name(&files.rules),
            counted(chains, "chain"),
            counted(count, "rule")
        );
    }
    if !read.settings.is_empty() {
        let _ = writeln!(said, "settings: {}", counted(read.settings.len(), "value"));
        for (key, value) in &read.settings {
            let _ = writeln!(said, "  net.netfilter.{} = {value}", key.name());
        }
    }
    (said, remarks)
}

/// Interfaces, routes and neighbours in a line.
fn surroundings(topology: &Topology) -> String {
    [
        counted(topology.interfaces.len(), "interface"),
        counted(topology.routes.len(), "route"),
        counted(topology.neighbors.len(), "neighbour"),
    ]
    .join(", ")
}

/// `1 rule`, `2 rules`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
