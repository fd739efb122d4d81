//! A compiled ruleset: what the packet path walks, and what explanations and listings read.

use super::action::NatVerdict;
use super::ast::{Excess, Limit, Policy, TableFamily};
use super::limit::{Bucket, ConnCount};
use super::program::{CompiledRule, Data};
use super::set::Keys;
use super::source::{Location, Sources, Span};
use super::{ChainId, ChainKind, Hook, RuleId};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uct_engine::{Counters, Family, Labels, Protocol, TimeoutPolicy};

/// The protocol and the family a timeout policy is for.
pub(super) type TimeoutScope = (Option<Family>, Protocol);

/// A conntrack helper as a rule assigns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// The object's name.
    pub name: String,
    /// The helper's: `ftp`.
    pub helper: Arc<str>,
    /// TCP or UDP: other connections do not get it.
    pub protocol: Protocol,
    /// The family it is for; none means both.
    pub family: Option<Family>,
}

/// An expectation as a rule makes it: the connection's next one to this port is related.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The object's name.
    pub name: String,
    /// The protocol expected.
    pub protocol: Protocol,
    /// The family expected; none means that of the connection.
    pub family: Option<Family>,
    /// The destination port expected.
    pub dport: u16,
    /// How long it waits.
    pub timeout: Duration,
    /// How many may wait at a time.
    pub size: u8,
}

/// Where a rule stands and where it belongs.
#[derive(Debug, Clone)]
pub(super) struct RuleInfo {
    pub(super) span: Span,
    pub(super) family: TableFamily,
    pub(super) table: String,
    pub(super) chain: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct BaseChain {
    pub(super) kind: ChainKind,
    pub(super) hook: Hook,
    pub(super) priority: i32,
    pub(super) policy: Policy,
}

#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) family: TableFamily,
    pub(super) table: String,
    pub(super) base: Option<BaseChain>,
    pub(super) rules: Box<[CompiledRule]>,
}

/// A set or map.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) keys: Keys,
    pub(super) values: Box<[Data]>,
}

/// What lowering hands over.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) rules: Vec<RuleInfo>,
    pub(super) chains: Vec<Chain>,
    pub(super) lookups: Vec<Lookup>,
    pub(super) limits: Vec<Limit>,
    pub(super) counts: Vec<(Excess, u32)>,
    pub(super) counters: usize,
    pub(super) helpers: Vec<Helper>,
    pub(super) timeouts: Vec<(TimeoutScope, Arc<TimeoutPolicy>)>,
    pub(super) expectations: Vec<Expectation>,
    pub(super) labels: Labels,
}

/// One thing that happens to a packet at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fragments are gathered.
    Defrag,
    /// The packet gets its connection.
    Track,
    /// A filter chain is asked: [`Ruleset::filter`].
    Filter(ChainId),
    /// The connection's first packet gets its NAT decision ([`Ruleset::nat`]), later ones are rewritten.
    Nat,
    /// The connection enters the table.
    Confirm,
}

/// A rule, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView<'a> {
    /// File, line and column of its first word.
    pub location: Location,
    /// Its text on one line.
    pub text: String,
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// The table it is in.
    pub table: &'a str,
    /// The chain it is in.
    pub chain: &'a str,
}

/// A chain, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainView<'a> {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// The table it is in.
    pub table: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A whole ruleset, ready for packets.
#[derive(Debug)]
pub struct Ruleset {
    pub(super) sources: Sources,
    pub(super) rules: Vec<RuleInfo>,
    pub(super) chains: Vec<Chain>,
    pub(super) lookups: Vec<Lookup>,
    pub(super) limits: Vec<(Limit, Mutex<Bucket>)>,
    pub(super) counts: Vec<(Excess, Mutex<ConnCount>)>,
    pub(super) counters: Vec<[AtomicU64; 2]>,
    pub(super) helpers: Vec<Helper>,
    pub(super) timeouts: Vec<(TimeoutScope, Arc<TimeoutPolicy>)>,
    pub(super) expectations: Vec<Expectation>,
    labels: Labels,
    steps: [[Box<[Step]>; 5]; 2],
    nat: [[Box<[ChainId]>; 5]; 2],
}

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

fn family_index(family: Family) -> usize {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

impl Ruleset {
    pub(super) fn new(sources: Sources, parts: Parts) -> Ruleset {
        let steps = FAMILIES.map(|family| Hook::ALL.map(|hook| steps(&parts.chains, family, hook)));
        let nat = FAMILIES.map(|family| Hook::ALL.map(|hook| nat_chains(&parts.chains, family, hook)));
        Ruleset {
            sources,
            rules: parts.rules,
            chains: parts.chains,
            lookups: parts.lookups,
            limits: parts.limits.into_iter().map(|limit| (limit, Mutex::new(Bucket::full(&limit)))).collect(),
            counts: parts
                .counts
                .into_iter()
                .map(|(excess, count)| (excess, Mutex::new(ConnCount::new(count))))
                .collect(),
            counters: (0..parts.counters).map(|_| Default::default()).collect(),
            helpers: parts.helpers,
            timeouts: parts.timeouts,
            expectations: parts.expectations,
            labels: parts.labels,
            steps,
            nat,
        }
    }

    /// What happens at a hook, in order. Without any rules: defragmentation, tracking and confirmation in their places.
    #[inline]
    pub fn steps(&self, family: Family, hook: Hook) -> &[Step] {
        &self.steps[family_index(family)][hook as usize]
    }

    /// The NAT chains of a hook, in order.
    pub(super) fn nat_chains(&self, family: Family, hook: Hook) -> &[ChainId] {
        &self.nat[family_index(family)][hook as usize]
    }

    /// Whether a rule sets or asks for labels: only then have new connections room for them.
    pub fn labels(&self) -> Labels {
        self.labels
    }

    /// Whether NAT takes part at all: with one NAT chain anywhere in the family it does at all four of its hooks.
    pub fn has_nat(&self, family: Family) -> bool {
        self.steps(family, Hook::Prerouting).contains(&Step::Nat)
    }

    /// A rule, for people.
    pub fn rule(&self, id: RuleId) -> Option<RuleView<'_>> {
        let info = self.rules.get(id.0 as usize)?;
        let text = self.sources.snippet(info.span).split_whitespace().collect::<Vec<_>>().join(" ");
        Some(RuleView {
            location: self.sources.locate(info.span),
            text,
            family: info.family.name(),
            table: &info.table,
            chain: &info.chain,
        })
    }

    /// A chain, for people.
    pub fn chain(&self, id: ChainId) -> Option<ChainView<'_>> {
        let chain = self.chains.get(id.0 as usize)?;
        Some(ChainView { family: chain.family.name(), table: &chain.table, name: &chain.name })
    }

    /// All chains, in the order they were read.
    pub fn chains(&self) -> impl Iterator<Item = ChainId> + use<> {
        (0..self.chains.len() as u32).map(ChainId)
    }

    /// All rules that the ruleset was made of, in the order they were read.
    pub fn rules(&self) -> impl Iterator<Item = RuleId> + use<> {
        (0..self.rules.len() as u32).map(RuleId)
    }

    /// Packets and bytes that a rule's first `counter` has counted; none if it has no counter.
    pub fn counters(&self, id: RuleId) -> Option<Counters> {
        let rules = self.chains.iter().flat_map(|chain| &*chain.rules);
        let at = rules.filter(|rule| rule.id == id).flat_map(|rule| &*rule.ops).find_map(|op| match op {
            super::program::Op::Counter(at) => Some(*at),
            _ => None,
        })?;
        let [packets, bytes] = self.counters.get(at as usize)?;
        Some(Counters { packets: packets.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) })
    }

    /// What `ct expectation set` asked for.
    pub fn expectation(&self, at: u32) -> Option<&Expectation> {
        self.expectations.get(at as usize)
    }

    /// The text it was read from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }
}

/// The base chains of a kind at a hook, by priority. Of two with the same priority the one registered *later* comes first, as
/// measured on Linux 6.18, for chains of type filter and of type nat alike.
fn base_chains(chains: &[Chain], family: Family, hook: Hook, kind: ChainKind) -> Vec<(i32, usize)> {
    let mut found: Vec<(i32, usize)> = Vec::new();
    for (at, chain) in chains.iter().enumerate() {
        if let Some(base) = chain.base
            && base.hook == hook
            && base.kind == kind
            && chain.family.holds(family)
        {
            found.push((base.priority, at));
        }
    }
    found.sort_by_key(|&(priority, at)| (priority, std::cmp::Reverse(at)));
    found
}

fn nat_chains(chains: &[Chain], family: Family, hook: Hook) -> Box<[ChainId]> {
    base_chains(chains, family, hook, ChainKind::Nat).into_iter().map(|(_, at)| ChainId(at as u32)).collect()
}

#[inline]
fn steps(chains: &[Chain], family: Family, hook: Hook) -> Box<[Step]> {
    // (priority, order among equals, step); the built-in steps come before chains of the same priority.
    let mut all: Vec<(i64, i64, Step)> = Vec::new();
    let mut built_in = |priority: i32, step| all.push((priority.into(), i64::MIN, step));
    if matches!(hook, Hook::Prerouting | Hook::Output) {
        built_in(-400, Step::Defrag);
        built_in(-200, Step::Track);
    }
    if matches!(hook, Hook::Input | Hook::Postrouting) {
        all.push((i64::from(i32::MAX) + 1, 0, Step::Confirm));
    }
    let filters = base_chains(chains, family, hook, ChainKind::Filter);
    all.extend(
        filters.into_iter().map(|(priority, at)| (priority.into(), -(at as i64), Step::Filter(ChainId(at as u32)))),
    );
    // NAT's own hook is registered with the family's first NAT chain, wherever that is, at NAT's own priority.
    let first = chains.iter().position(|c| c.base.is_some_and(|b| b.kind == ChainKind::Nat) && c.family.holds(family));
    let priority = match hook {
        Hook::Prerouting | Hook::Output => Some(-100),
        Hook::Input | Hook::Postrouting => Some(100),
        Hook::Forward => None,
    };
    if let (Some(first), Some(priority)) = (first, priority) {
        all.push((priority, -(first as i64), Step::Nat));
    }
    all.sort_by_key(|&(priority, order, _)| (priority, order));
    all.into_iter().map(|(_, _, step)| step).collect()
}

impl NatVerdict {
    /// The rule that decided, if one did.
    pub fn rule(&self) -> Option<RuleId> {
        match self {
            NatVerdict::None => None,
            NatVerdict::Act(_, rule) => Some(*rule),
            NatVerdict::Refused(verdict) => verdict.rule,
        }
    }
}
