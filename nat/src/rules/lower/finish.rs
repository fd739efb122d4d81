//! What only the whole ruleset can show, and the compiled result.
//!
//! From every base chain its jumps are followed: a loop, too deep a nesting, or a statement that the base chain's type and hook do
//! not allow is refused, as the kernel does when it commits. Chains that no base chain reaches are not looked at, as there.

use super::{ChainModel, DataKind, Lowering, Need, Removed, SetModel};
use crate::rules::ast::*;
use crate::rules::error::{Fault, Result, refuse};
use crate::rules::program::{Data, Jump, Op};
use crate::rules::ruleset::{BaseChain, Chain, Lookup, Parts};
use crate::rules::set::Keys;
use crate::rules::source::Span;
use crate::rules::{ChainKind, Hook};
use std::collections::HashSet;
use uct_engine::Manip;

/// How deep jumps may nest: the kernel's own limit.
const MAX_JUMPS: usize = 16;

impl Lowering {
    pub(super) fn finish(mut self) -> Result<Parts> {
        self.sets.iter_mut().try_for_each(super::set::settle)?;
        let bases: Vec<u32> = (0..self.chains.len() as u32).filter(|&at| self.base(at).is_some()).collect();
        for &at in &bases {
            self.check_base(at)?;
        }
        for (map, span) in &self.prefix_maps {
            let values = self.sets[*map as usize].values.iter().flat_map(|data| match data {
                Data::Values(values) => &**values,
                _ => &[],
            });
            if values.into_iter().any(|value| !value.is_prefix()) {
                return refuse(*span, "with 'prefix' the values of the map must be prefixes");
            }
        }
        let mut parts = Parts {
            rules: self.rules,
            chains: Vec::with_capacity(self.chains.len()),
            lookups: self.sets.into_iter().map(lookup).collect(),
            limits: self.limits,
            counts: self.counts,
            counters: self.counters,
            helpers: self.helpers,
            timeouts: self.timeouts,
            expectations: self.expectations,
            labels: self.labels,
        };
        parts.chains.extend(self.chains.into_iter().map(chain));
        Ok(parts)
    }

    fn base(&self, at: u32) -> Option<&Base> {
        let chain = &self.chains[at as usize];
        chain.base.as_ref().filter(|_| chain.removed == Removed::No)
    }

    fn check_base(&self, at: u32) -> Result<()> {
        let Some(base) = self.base(at) else { return Ok(()) };
        let mut walk =
            Walk { lowering: self, base, path: vec![at], deepest: vec![0; self.chains.len()], done: HashSet::new() };
        walk.chain(at)
    }

    /// Where a chain's rules may go, with the place that says so.
    fn targets<'a>(&'a self, chain: &'a ChainModel) -> impl Iterator<Item = (u32, Span)> + 'a {
        chain.rules.iter().flat_map(move |model| {
            let span = self.rules[model.rule.id.0 as usize].span;
            model
                .rule
                .ops
                .iter()
                .flat_map(move |op| -> Box<dyn Iterator<Item = u32>> {
                    match op {
                        Op::Jump(jump) => Box::new(target(jump).into_iter()),
                        Op::Vmap { map, .. } => {
                            Box::new(self.sets[*map as usize].values.iter().filter_map(|data| match data {
                                Data::Verdict(jump) => target(jump),
                                _ => None,
                            }))
                        }
                        _ => Box::new(std::iter::empty()),
                    }
                })
                .map(move |to| (to, span))
        })
    }
}

fn target(jump: &Jump) -> Option<u32> {
    match jump {
        Jump::Jump(to) | Jump::Goto(to) => Some(*to),
        _ => None,
    }
}

struct Walk<'a> {
    lowering: &'a Lowering,
    base: &'a Base,
    /// The chains from the base chain to here; never longer than [`MAX_JUMPS`].
    path: Vec<u32>,
    /// The depth at which each chain was looked at; a second look is needed only from deeper.
    deepest: Vec<usize>,
    done: HashSet<u32>,
}

impl Walk<'_> {
    fn chain(&mut self, at: u32) -> Result<()> {
        let depth = self.path.len();
        let known = &mut self.deepest[at as usize];
        if *known >= depth {
            return Ok(());
        }
        *known = depth;
        let lowering = self.lowering;
        let chain = &lowering.chains[at as usize];
        if self.done.insert(at) {
            for (need, span) in chain.rules.iter().flat_map(|rule| &rule.needs) {
                self.check(*need, *span)?;
            }
        }
        let mut seen = HashSet::new();
        for (to, span) in lowering.targets(chain) {
            if !seen.insert(to) {
                continue;
            }
            let name = &lowering.chains[to as usize].name;
            if self.path.contains(&to) {
                return refuse(span, format!("these jumps never end: chain '{name}' leads back to itself"));
            }
            if depth >= MAX_JUMPS {
                return refuse(span, format!("jumps are nested more than {} deep", MAX_JUMPS - 1));
            }
            self.path.push(to);
            self.chain(to)?;
            self.path.pop();
        }
        Ok(())
    }

    fn check(&self, need: Need, span: Span) -> Result<()> {
        let (kind, hook) = (self.base.kind.node, self.base.hook.node);
        let name = hook.name();
        match need {
            Need::Nat(nat) => {
                let (word, manip) = match nat {
                    NatKind::Snat => ("snat", Manip::Src),
                    NatKind::Masquerade => ("masquerade", Manip::Src),
                    NatKind::Dnat => ("dnat", Manip::Dst),
                    NatKind::Redirect => ("redirect", Manip::Dst),
                };
                if kind != ChainKind::Nat {
                    return Err(Fault::new(span, format!("'{word}' is only possible in chains of type nat"))
                        .help("this one is reached from a chain of type filter"));
                }
                let right = Manip::at(hook) == Some(manip) && (nat != NatKind::Masquerade || hook == Hook::Postrouting);
                if right {
                    return Ok(());
                }
                let fault = Fault::new(span, format!("'{word}' is not possible at hook {name}"));
                Err(fault.help(match nat {
                    NatKind::Masquerade => "only at postrouting",
                    NatKind::Snat => "only at postrouting and input",
                    NatKind::Dnat | NatKind::Redirect => "only at prerouting and output",
                }))
            }
            Need::Reject if hook == Hook::Postrouting => {
                Err(Fault::new(span, format!("'reject' is not possible at hook {name}")).help("everywhere else it is"))
            }
            Need::Route if !matches!(hook, Hook::Forward | Hook::Output | Hook::Postrouting) => {
                refuse(span, format!("there is no route yet at hook {name}, so 'rt mtu' is not possible"))
            }
            Need::FibIif if !matches!(hook, Hook::Prerouting | Hook::Input | Hook::Forward) => {
                refuse(span, format!("'fib' with 'iif' or 'oif' is not possible at hook {name}"))
            }
            _ => Ok(()),
        }
    }
}

fn lookup(set: SetModel) -> Lookup {
    let keys = set.elements.into_iter().map(|(key, _)| key).collect();
    let values = if set.data == DataKind::None { Box::default() } else { set.values.into() };
    Lookup { keys: Keys::build(keys, set.otherwise), values }
}

fn chain(model: ChainModel) -> Chain {
    let base = model.base.filter(|_| model.removed == Removed::No);
    Chain {
        name: model.name,
        family: model.table.0,
        table: model.table.1,
        base: base.map(|base| BaseChain {
            kind: base.kind.node,
            hook: base.hook.node,
            priority: base.priority,
            policy: model.policy,
        }),
        rules: model.rules.into_iter().map(|rule| rule.rule).collect(),
    }
}
