//! Named objects: counters, helpers, timeout policies, expectations.

use super::{Lowering, Table, TableKey};
use crate::rules::ast::*;
use crate::rules::error::{Fault, Result, refuse};
use crate::rules::ruleset::{Expectation, Helper};
use std::sync::Arc;
use std::time::Duration;
use uct_engine::{Family, Protocol, TimeoutPolicy};

/// The helpers that the kernel has, by protocol, and whether they know IPv6.
const HELPERS: &[(&str, &str, &[Family])] = &[
    ("ftp", "tcp", BOTH),
    ("tftp", "udp", BOTH),
    ("irc", "tcp", V4),
    ("sip", "tcp", BOTH),
    ("sip", "udp", BOTH),
    ("sane", "tcp", BOTH),
    ("pptp", "tcp", V4),
    ("amanda", "udp", BOTH),
    ("netbios-ns", "udp", V4),
    ("snmp", "udp", V4),
    ("RAS", "udp", BOTH),
    ("Q.931", "tcp", BOTH),
];
const V4: &[Family] = &[Family::Ipv4];
const BOTH: &[Family] = &[Family::Ipv4, Family::Ipv6];

impl Lowering {
    pub(super) fn object_exists(&self, table: &Table, object: &Object) -> bool {
        let names = match &object.kind {
            ObjectKind::Counter => &table.counters,
            ObjectKind::Helper { .. } => &table.helpers,
            ObjectKind::Timeout { .. } => &table.timeouts,
            ObjectKind::Expectation { .. } => &table.expectations,
        };
        names.contains_key(&object.name.node)
    }

    pub(super) fn declare_object(&mut self, key: &TableKey, object: &Object) -> Result<()> {
        let name = object.name.node.clone();
        let exists = self.tables.get(key).is_some_and(|table| self.object_exists(table, object));
        if exists && object.kind != ObjectKind::Counter {
            return refuse(object.name.span, format!("object '{name}' exists already"));
        }
        match &object.kind {
            ObjectKind::Counter if exists => {}
            ObjectKind::Counter => {
                self.counters += 1;
                let at = self.counters as u32 - 1;
                self.table(key).counters.insert(name, at);
            }
            ObjectKind::Helper { helper, protocol, l3 } => {
                let family = object_family(key, l3.as_ref())?;
                let known = HELPERS.iter().find(|(name, proto, _)| *name == helper.node && *proto == protocol.node);
                if !known.is_some_and(|(_, _, families)| family.is_none_or(|family| families.contains(&family))) {
                    let known: Vec<String> = HELPERS.iter().map(|(h, p, _)| format!("{h}/{p}")).collect();
                    let what = format!("there is no helper '{}' for {} here", helper.node, protocol.node);
                    return Err(Fault::new(helper.span, what).help(format!("helpers are {}", known.join(", "))));
                }
                self.helpers.push(Helper {
                    name: name.clone(),
                    helper: helper.node.as_str().into(),
                    protocol: number(protocol),
                    family,
                });
                let at = self.helpers.len() as u32 - 1;
                self.table(key).helpers.insert(name, at);
            }
            ObjectKind::Timeout { protocol, l3, policy } => {
                let of = number(protocol);
                let named: Vec<_> = policy.iter().map(|(state, value)| (state.node.as_str(), *value)).collect();
                let mut made = TimeoutPolicy::from_nft(of, &named).map_err(|why| {
                    let unknown = policy.iter().find(|(state, _)| !TimeoutPolicy::states(of).any(|s| s == state.node));
                    let span = unknown.map_or(protocol.span, |(state, _)| state.span);
                    let known: Vec<_> = TimeoutPolicy::states(of).collect();
                    Fault::new(span, why.to_string()).help(format!("states are {}", known.join(", ")))
                })?;
                made.name = name.clone();
                let family = object_family(key, l3.as_ref())?;
                let policy = Arc::new(made);
                self.timeouts.push(((family, number(protocol)), policy));
                let at = self.timeouts.len() as u32 - 1;
                self.table(key).timeouts.insert(name, at);
            }
            ObjectKind::Expectation { protocol, l3, dport, timeout_ms, size } => {
                self.expectations.push(Expectation {
                    name: name.clone(),
                    protocol: number(protocol),
                    family: object_family(key, l3.as_ref())?,
                    dport: *dport,
                    timeout: Duration::from_millis(*timeout_ms),
                    size: *size,
                });
                let at = self.expectations.len() as u32 - 1;
                self.table(key).expectations.insert(name, at);
            }
        }
        Ok(())
    }

    /// The number of an object that a rule names.
    pub(super) fn object(&self, key: &TableKey, kind: &str, name: &Name) -> Result<u32> {
        let found = self.tables.get(key).and_then(|table| {
            let names = match kind {
                "counter" => &table.counters,
                "ct helper" => &table.helpers,
                "ct timeout" => &table.timeouts,
                _ => &table.expectations,
            };
            names.get(&name.node).copied()
        });
        match found {
            Some(at) => Ok(at),
            None => refuse(name.span, format!("there is no {kind} '{}' in table '{} {}'", name.node, key.0, key.1)),
        }
    }

    /// The table; every caller has made sure that it exists.
    fn table(&mut self, key: &TableKey) -> &mut Table {
        self.tables.entry(key.clone()).or_default()
    }
}

fn number(protocol: &Name) -> Protocol {
    if protocol.node == "tcp" { Protocol::TCP } else { Protocol::UDP }
}

/// The family an object is for; none means both.
fn object_family(key: &TableKey, l3: Option<&Name>) -> Result<Option<Family>> {
    let table = match key.0 {
        TableFamily::Ip => Some(Family::Ipv4),
        TableFamily::Ip6 => Some(Family::Ipv6),
        TableFamily::Inet => None,
    };
    let Some(l3) = l3 else { return Ok(table) };
    let written = match l3.node.as_str() {
        "ip" => Some(Family::Ipv4),
        "ip6" => Some(Family::Ipv6),
        _ => None,
    };
    if table.is_some() && table != written {
        return refuse(l3.span, format!("a table of family '{}' has no objects for '{}'", key.0, l3.node));
    }
    Ok(written)
}
