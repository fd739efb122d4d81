//! What the explainer must know of a router to name things: rules by place and text, chains, interfaces. Copied, so that the
//! router itself is free to change; a new ruleset is a new book.

use std::collections::HashMap;

use uct_engine::Family;
use uct_nat::rules::{ChainId, RuleId};
use uct_pipeline::router::Router;
use uct_pipeline::topology::Dev;

use super::model::Rule;

/// Names of a router's parts.
#[derive(Clone, Debug, Default)]
pub struct Book {
    rules: HashMap<RuleId, Rule>,
    chains: HashMap<ChainId, String>,
    interfaces: Vec<String>,
    translates: [bool; 2],
}

impl Book {
    /// Of a router as it is now.
    pub fn of(router: &Router) -> Book {
        let ruleset = router.rules();
        let rule = |id| {
            let view = ruleset.rule(id)?;
            let rule = Rule {
                file: view.location.file.to_string(),
                line: view.location.line,
                column: view.location.column,
                text: view.text,
                chain: format!("{} {} {}", view.family, view.table, view.chain),
            };
            Some((id, rule))
        };
        let chain = |id| ruleset.chain(id).map(|c| (id, format!("{} {} {}", c.family, c.table, c.name)));
        Book {
            rules: ruleset.rules().filter_map(rule).collect(),
            chains: ruleset.chains().filter_map(chain).collect(),
            interfaces: router.topology().interfaces.iter().map(|i| i.name.clone()).collect(),
            translates: [Family::Ipv4, Family::Ipv6].map(|family| ruleset.has_nat(family)),
        }
    }

    /// A rule.
    pub fn rule(&self, id: RuleId) -> Option<Rule> {
        self.rules.get(&id).cloned()
    }

    /// All rules, in the order they were read.
    pub fn rules(&self) -> Vec<Rule> {
        let mut ids: Vec<_> = self.rules.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.rule(id)).collect()
    }

    /// A chain: family, table and name.
    pub fn chain(&self, id: ChainId) -> String {
        self.chains.get(&id).cloned().unwrap_or_default()
    }

    /// An interface.
    pub fn interface(&self, dev: Dev) -> String {
        self.interfaces.get(dev.index()).map_or_else(|| "?".to_owned(), String::clone)
    }

    /// Whether NAT takes part.
    pub fn translates(&self, family: Family) -> bool {
        self.translates[usize::from(family == Family::Ipv6)]
    }
}
