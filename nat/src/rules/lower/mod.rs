//! Commands to a [`Ruleset`](super::Ruleset): names resolved, types checked, dependencies made explicit.
//!
//! Commands take effect in their order, as in nft: `flush ruleset` forgets what came before it, a second block of a table adds to
//! it, a rule may jump only to a chain that exists by then (within one block, to any of its chains). What only the whole ruleset
//! can show (loops, statements that a base chain's hook forbids, elements that overlap) is checked at the end, in `finish`.
//!
//! Every check here is one that nft or the kernel makes, so that a file accepted here loads there. Where nft accepts what can
//! hardly be meant, we are stricter.

mod finish;
mod matching;
mod nat;
mod object;
mod rule;
mod set;
mod value;

use super::ast::*;
use super::error::{Result, refuse};
use super::program::{CompiledRule, Data};
use super::ruleset::{Expectation, Helper, RuleInfo, TimeoutScope};
use super::set::SetKey;
use super::source::Span;
use super::types::DataType;
use std::collections::HashMap;
use std::sync::Arc;
use uct_engine::{Labels, TimeoutPolicy};

/// Elements all sets of a ruleset may have together.
const MAX_ELEMENTS: usize = 1 << 22;

/// What a map gives.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum DataKind {
    None,
    Verdict,
    Values { types: Vec<DataType>, intervals: bool },
}

#[derive(Debug)]
pub(super) struct SetModel {
    pub(super) key: Vec<DataType>,
    pub(super) data: DataKind,
    /// Ranges and prefixes are allowed.
    pub(super) interval: bool,
    /// Overlapping keys become one.
    pub(super) merge: bool,
    /// Most elements it may have.
    pub(super) size: u64,
    pub(super) elements: Vec<(SetKey, Span)>,
    pub(super) values: Vec<Data>,
    pub(super) otherwise: Option<u32>,
}

#[derive(Debug)]
pub(super) struct ChainModel {
    pub(super) name: String,
    pub(super) table: TableKey,
    pub(super) base: Option<Base>,
    pub(super) policy: Policy,
    pub(super) rules: Vec<RuleModel>,
    /// Gone with its table.
    pub(super) removed: Removed,
}

/// Whether a chain still is part of the ruleset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    No,
    Yes,
}

/// A compiled rule and what only its base chain can allow.
#[derive(Debug)]
pub(super) struct RuleModel {
    pub(super) rule: CompiledRule,
    pub(super) needs: Vec<(Need, Span)>,
}

/// What the base chain that leads to a statement must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nat(NatKind),
    Reject,
    /// `rt mtu`
    Route,
    /// `fib … oif` and `fib … . iif …`
    FibIif,
}

type TableKey = (TableFamily, String);

#[derive(Debug, Default)]
pub(super) struct Table {
    chains: HashMap<String, u32>,
    sets: HashMap<String, u32>,
    counters: HashMap<String, u32>,
    helpers: HashMap<String, u32>,
    timeouts: HashMap<String, u32>,
    expectations: HashMap<String, u32>,
}

/// The ruleset as it grows, command by command.
#[derive(Default)]
pub(super) struct Lowering {
    tables: HashMap<TableKey, Table>,
    pub(super) chains: Vec<ChainModel>,
    pub(super) sets: Vec<SetModel>,
    pub(super) rules: Vec<RuleInfo>,
    pub(super) limits: Vec<Limit>,
    pub(super) counts: Vec<(Excess, u32)>,
    pub(super) counters: usize,
    /// Maps whose values must be prefixes, and where they are used so.
    pub(super) prefix_maps: Vec<(u32, Span)>,
    pub(super) helpers: Vec<Helper>,
    pub(super) timeouts: Vec<(TimeoutScope, Arc<TimeoutPolicy>)>,
    pub(super) expectations: Vec<Expectation>,
    pub(super) labels: Labels,
    elements: usize,
}

/// Lowers all commands.
pub(super) fn lower(commands: Vec<Command>) -> Result<super::ruleset::Parts> {
    let mut lowering = Lowering::default();
    for command in commands {
        lowering.command(command)?;
    }
    lowering.finish()
}

impl Lowering {
    fn command(&mut self, command: Command) -> Result<()> {
        match command.node {
            CommandKind::Table { table, items, mode } => {
                let key = (table.family, table.name.node.clone());
                if mode == Mode::Create && self.tables.contains_key(&key) {
                    return refuse(table.name.span, format!("table '{}' exists already", table.name.node));
                }
                self.tables.entry(key.clone()).or_default();
                self.items(&key, items)
            }
            CommandKind::Item { table, item, mode } => {
                let key = self.table_key(&table)?;
                if mode == Mode::Create {
                    self.refuse_existing(&key, &item)?;
                }
                self.items(&key, vec![item])
            }
            CommandKind::Rule { table, chain, rule, place } => {
                let key = self.table_key(&table)?;
                let at = self.chain_index(&key, &chain)?;
                let model = self.rule(&key, &chain.node, rule)?;
                let rules = &mut self.chains[at as usize].rules;
                match place {
                    Place::First => rules.insert(0, model),
                    Place::Last => rules.push(model),
                }
                Ok(())
            }
            CommandKind::Elements { table, set, elements } => {
                let key = self.table_key(&table)?;
                let index = self.set_index(&key, &set.node, set.span)?;
                self.add_elements(&key, index, elements)
            }
            CommandKind::FlushRuleset(family) => {
                let gone: Vec<TableKey> =
                    self.tables.keys().filter(|k| family.is_none_or(|f| k.0 == f)).cloned().collect();
                gone.iter().for_each(|key| self.remove_table(key));
                Ok(())
            }
            CommandKind::FlushTable(table) => {
                let key = self.table_key(&table)?;
                let chains: Vec<u32> =
                    self.tables.get(&key).map(|t| t.chains.values().copied().collect()).unwrap_or_default();
                chains.iter().for_each(|&at| self.chains[at as usize].rules.clear());
                Ok(())
            }
            CommandKind::FlushChain(table, chain) => {
                let key = self.table_key(&table)?;
                let at = self.chain_index(&key, &chain)?;
                self.chains[at as usize].rules.clear();
                Ok(())
            }
            CommandKind::DeleteTable(table) => {
                let key = self.table_key(&table)?;
                self.remove_table(&key);
                Ok(())
            }
        }
    }

    fn remove_table(&mut self, key: &TableKey) {
        if let Some(table) = self.tables.remove(key) {
            for at in table.chains.into_values() {
                let chain = &mut self.chains[at as usize];
                chain.removed = Removed::Yes;
                chain.rules.clear();
            }
            for at in table.sets.into_values() {
                self.sets[at as usize].elements.clear();
            }
        }
    }

    /// Adds what a block holds: chains first, then objects and sets, then rules, so that order within a block does not matter.
    fn items(&mut self, key: &TableKey, items: Vec<Item>) -> Result<()> {
        for item in &items {
            if let Item::Chain(chain) = item {
                self.declare_chain(key, chain)?;
            }
        }
        let mut sets = Vec::new();
        for item in &items {
            match item {
                Item::Object(object) => self.declare_object(key, object)?,
                Item::Set(set) => sets.push((self.declare_set(key, set)?, set)),
                Item::Chain(_) => {}
            }
        }
        for (index, set) in sets {
            self.add_elements(key, index, set.elements.clone())?;
        }
        for item in items {
            if let Item::Chain(chain) = item {
                let at = self.chain_index(key, &chain.name)?;
                for rule in chain.rules {
                    let model = self.rule(key, &chain.name.node, rule)?;
                    self.chains[at as usize].rules.push(model);
                }
            }
        }
        Ok(())
    }

    fn declare_chain(&mut self, key: &TableKey, chain: &Chain) -> Result<()> {
        let name = &chain.name.node;
        let policy = chain.policy.as_ref();
        if let Some(&at) = self.tables.get(key).and_then(|t| t.chains.get(name)) {
            let model = &mut self.chains[at as usize];
            match (&model.base, &chain.base) {
                (_, None) => {}
                (Some(old), Some(new))
                    if old.kind.node == new.kind.node
                        && old.hook.node == new.hook.node
                        && old.priority == new.priority => {}
                _ => {
                    return refuse(
                        chain.name.span,
                        format!("chain '{name}' exists already with another type, hook or priority"),
                    );
                }
            }
            if let Some(policy) = policy {
                if model.base.is_none() {
                    return refuse(policy.span, "only a base chain has a policy");
                }
                model.policy = policy.node;
            }
            return Ok(());
        }
        if let (None, Some(policy)) = (&chain.base, policy) {
            return refuse(policy.span, "only a base chain has a policy");
        }
        let at = self.chains.len() as u32;
        self.chains.push(ChainModel {
            name: name.clone(),
            table: key.clone(),
            base: chain.base.clone(),
            policy: policy.map_or(Policy::Accept, |p| p.node),
            rules: Vec::new(),
            removed: Removed::No,
        });
        if let Some(table) = self.tables.get_mut(key) {
            table.chains.insert(name.clone(), at);
        }
        Ok(())
    }

    fn refuse_existing(&self, key: &TableKey, item: &Item) -> Result<()> {
        let Some(table) = self.tables.get(key) else { return Ok(()) };
        let (name, known) = match item {
            Item::Chain(chain) => (&chain.name, table.chains.contains_key(&chain.name.node)),
            Item::Set(set) => (&set.name, table.sets.contains_key(&set.name.node)),
            Item::Object(object) => (&object.name, self.object_exists(table, object)),
        };
        if known { refuse(name.span, format!("'{}' exists already", name.node)) } else { Ok(()) }
    }

    fn table_key(&self, table: &TableRef) -> Result<TableKey> {
        let key = (table.family, table.name.node.clone());
        if self.tables.contains_key(&key) {
            return Ok(key);
        }
        refuse(table.name.span, format!("there is no table '{} {}'", table.family, table.name.node))
    }

    pub(super) fn chain_index(&self, key: &TableKey, name: &Name) -> Result<u32> {
        match self.tables.get(key).and_then(|t| t.chains.get(&name.node)) {
            Some(&at) => Ok(at),
            None => refuse(name.span, format!("there is no chain '{}' in table '{} {}'", name.node, key.0, key.1)),
        }
    }

    pub(super) fn set_index(&self, key: &TableKey, name: &str, span: Span) -> Result<u32> {
        match self.tables.get(key).and_then(|t| t.sets.get(name)) {
            Some(&at) => Ok(at),
            None => refuse(span, format!("there is no set or map '{name}' in table '{} {}'", key.0, key.1)),
        }
    }

    /// Counts elements against what a ruleset may have.
    pub(super) fn spend(&mut self, elements: usize, span: Span) -> Result<()> {
        self.elements = self.elements.saturating_add(elements);
        if self.elements > MAX_ELEMENTS {
            return refuse(span, format!("the sets of this ruleset have more than {MAX_ELEMENTS} elements"));
        }
        Ok(())
    }
}
