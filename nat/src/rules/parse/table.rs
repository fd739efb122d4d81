//! Commands, tables and chains.

use super::super::ast::*;
use super::super::error::{Fault, Result, refuse};
use super::super::lex::Kind;
use super::super::{ChainKind, Hook};
use super::Parser;

impl Parser<'_> {
    /// One command of the file's top level, or what may stand anywhere.
    pub(super) fn command(&mut self, out: &mut Vec<Command>) -> Result<()> {
        self.common_or(&mut |parser| {
            let start = parser.span();
            let node = parser.one_command()?;
            let span = start.to(parser.last_span());
            parser.end_of_item()?;
            out.push(Node::new(node, span));
            Ok(())
        })
    }

    fn one_command(&mut self) -> Result<CommandKind> {
        let span = self.span();
        match self.word() {
            "add" => {
                self.advance();
                self.add(Mode::Add)
            }
            "create" => {
                self.advance();
                self.add(Mode::Create)
            }
            "insert" => {
                self.advance();
                self.expect_word("rule")?;
                self.add_rule(Place::First)
            }
            "flush" => self.flush(),
            "delete" => {
                self.advance();
                if self.word() != "table" {
                    return refuse(span, format!("nft command 'delete {}' is not supported", self.word()));
                }
                self.advance();
                Ok(CommandKind::DeleteTable(self.table_ref()?))
            }
            "table" | "chain" | "rule" | "set" | "map" | "element" | "counter" | "ct" => self.add(Mode::Add),
            "flowtable" | "quota" | "limit" | "secmark" | "synproxy" => self.add(Mode::Add),
            "destroy" | "replace" | "list" | "reset" | "rename" | "get" | "export" | "import" | "monitor"
            | "describe" => refuse(span, format!("nft command '{}' is not supported", self.word())),
            "ip" | "ip6" | "inet" => {
                let fault = Fault::new(span, "a rule outside of a chain needs 'add rule' before it");
                Err(fault.help("nft's short form without 'add rule' is not supported"))
            }
            _ => self.unexpected("a command such as 'table', 'add', 'flush', 'define' or 'include'"),
        }
    }

    fn add(&mut self, mode: Mode) -> Result<CommandKind> {
        let span = self.span();
        let what = self.word().to_owned();
        self.advance();
        match what.as_str() {
            "table" => {
                let table = self.table_ref()?;
                let mut items = Vec::new();
                if self.is("{") {
                    self.table_block(&mut items)?;
                }
                Ok(CommandKind::Table { table, items, mode })
            }
            "rule" if mode == Mode::Add => self.add_rule(Place::Last),
            "chain" => {
                let table = self.table_ref()?;
                let chain = self.chain()?;
                Ok(CommandKind::Item { table, item: Item::Chain(chain), mode })
            }
            "set" | "map" => {
                let table = self.table_ref()?;
                let set = self.set(&what)?;
                Ok(CommandKind::Item { table, item: Item::Set(set), mode })
            }
            "counter" | "ct" => {
                let kind = if what == "ct" { self.object_kind()? } else { what };
                let table = self.table_ref()?;
                let object = self.object(&kind)?;
                Ok(CommandKind::Item { table, item: Item::Object(object), mode })
            }
            "element" if mode == Mode::Add => {
                let table = self.table_ref()?;
                let set = self.name("the name of a set")?;
                let elements = self.elements()?;
                Ok(CommandKind::Elements { table, set, elements })
            }
            "flowtable" | "quota" | "limit" | "secmark" | "synproxy" => {
                refuse(span, format!("nft object '{what}' is not supported"))
            }
            _ => {
                let found = if what.is_empty() { self.text(span).to_owned() } else { what };
                refuse(
                    span,
                    format!("expected 'table', 'chain', 'rule', 'set', 'map' or 'element', found '{}'", found.trim()),
                )
            }
        }
    }

    fn add_rule(&mut self, place: Place) -> Result<CommandKind> {
        let table = self.table_ref()?;
        let chain = self.name("the name of a chain")?;
        if ["handle", "index", "position"].contains(&self.word()) {
            return refuse(self.span(), format!("a place given by '{}' is not supported", self.word()));
        }
        let rule = self.rule()?;
        Ok(CommandKind::Rule { table, chain, rule, place })
    }

    fn flush(&mut self) -> Result<CommandKind> {
        self.advance();
        let span = self.span();
        match self.word() {
            "ruleset" => {
                self.advance();
                let family = if matches!(self.kind(), Kind::Word) { Some(self.family()?) } else { None };
                Ok(CommandKind::FlushRuleset(family))
            }
            "table" => {
                self.advance();
                Ok(CommandKind::FlushTable(self.table_ref()?))
            }
            "chain" => {
                self.advance();
                let table = self.table_ref()?;
                Ok(CommandKind::FlushChain(table, self.name("the name of a chain")?))
            }
            other => refuse(span, format!("nft command 'flush {other}' is not supported")),
        }
    }

    fn family(&mut self) -> Result<TableFamily> {
        let span = self.span();
        let family = match self.word() {
            "ip" => TableFamily::Ip,
            "ip6" => TableFamily::Ip6,
            "inet" => TableFamily::Inet,
            other @ ("arp" | "bridge" | "netdev") => {
                return refuse(span, format!("tables of family '{other}' are not supported"));
            }
            _ => return self.unexpected("'ip', 'ip6' or 'inet'"),
        };
        self.advance();
        Ok(family)
    }

    fn table_ref(&mut self) -> Result<TableRef> {
        let family = match self.word() {
            "ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev" => self.family()?,
            _ => TableFamily::Ip,
        };
        Ok(TableRef { family, name: self.name("the name of a table")? })
    }

    fn table_block(&mut self, items: &mut Vec<Item>) -> Result<()> {
        self.block(&mut |parser| {
            let span = parser.span();
            let word = parser.word().to_owned();
            match word.as_str() {
                "chain" => {
                    parser.advance();
                    items.push(Item::Chain(parser.chain()?));
                }
                "set" | "map" => {
                    parser.advance();
                    items.push(Item::Set(parser.set(&word)?));
                }
                "counter" => {
                    parser.advance();
                    items.push(Item::Object(parser.object("counter")?));
                }
                "ct" => {
                    parser.advance();
                    let kind = parser.object_kind()?;
                    items.push(Item::Object(parser.object(&kind)?));
                }
                "comment" => {
                    parser.advance();
                    parser.string("a comment")?;
                }
                "flags" => return refuse(span, "table flags are not supported"),
                "flowtable" | "quota" | "limit" | "secmark" | "synproxy" => {
                    return refuse(span, format!("nft object '{word}' is not supported"));
                }
                _ => return parser.unexpected("'chain', 'set', 'map', 'counter', 'ct', 'comment' or '}'"),
            }
            parser.end_of_item()
        })
    }

    fn chain(&mut self) -> Result<Chain> {
        let name = self.name("the name of a chain")?;
        let mut chain = Chain { name, base: None, policy: None, rules: Vec::new() };
        if !self.is("{") {
            return Ok(chain);
        }
        self.block(&mut |parser| {
            let span = parser.span();
            match parser.word() {
                "type" => chain.base = Some(parser.base()?),
                "policy" => {
                    if chain.policy.is_some() {
                        return refuse(span, "the policy of this chain is set twice");
                    }
                    parser.advance();
                    chain.policy = Some(parser.policy()?);
                }
                "comment" => {
                    parser.advance();
                    parser.string("a comment")?;
                }
                "flags" => return refuse(span, "chain flags such as 'offload' are not supported"),
                "devices" | "device" => return refuse(span, "chains bound to a device are not supported"),
                _ => chain.rules.push(parser.rule()?),
            }
            parser.end_of_item()
        })?;
        Ok(chain)
    }

    /// `type T hook H priority P`
    fn base(&mut self) -> Result<Base> {
        let start = self.span();
        self.advance();
        let span = self.span();
        let kind = match self.word() {
            "filter" => ChainKind::Filter,
            "nat" => ChainKind::Nat,
            // It differs from a filter in that the packet is routed again behind it, which uct does behind every chain there.
            "route" => ChainKind::Filter,
            _ => return self.unexpected("a chain type: 'filter', 'nat' or 'route'"),
        };
        let is_route = self.word() == "route";
        self.advance();
        let kind = Node::new(kind, span);
        self.expect_word("hook")?;
        let span = self.span();
        let hook = match self.word() {
            "prerouting" => Hook::Prerouting,
            "input" => Hook::Input,
            "forward" => Hook::Forward,
            "output" => Hook::Output,
            "postrouting" => Hook::Postrouting,
            other @ ("ingress" | "egress") => return refuse(span, format!("hook '{other}' is not supported")),
            _ => return self.unexpected("a hook: 'prerouting', 'input', 'forward', 'output' or 'postrouting'"),
        };
        self.advance();
        let hook = Node::new(hook, span);
        if ["device", "devices"].contains(&self.word()) {
            return refuse(self.span(), "chains bound to a device are not supported");
        }
        self.expect_word("priority")?;
        let at = self.span();
        let priority = self.priority(hook.node)?;
        if kind.node == ChainKind::Nat && priority <= -200 {
            let fault =
                Fault::new(at.to(self.last_span()), format!("a chain of type nat cannot have priority {priority}"));
            return Err(fault.help("connection tracking is at -200 and must come first"));
        }
        if kind.node == ChainKind::Nat && hook.node == Hook::Forward {
            return refuse(span, "a chain of type nat cannot be at hook 'forward'");
        }
        if is_route && hook.node != Hook::Output {
            return refuse(span, format!("a chain of type route cannot be at hook '{}'", hook.node.name()));
        }
        Ok(Base { kind, hook, priority, span: start.to(self.last_span()) })
    }

    /// A number, a name, or a name with an offset; a variable holds a number or a name alone, as in nft.
    fn priority(&mut self, hook: Hook) -> Result<i32> {
        let span = self.span();
        let fit = |value: i64, span| {
            i32::try_from(value).map_err(|_| Fault::new(span, format!("priority {value} is out of range")))
        };
        if self.is("$") {
            let variable = self.variable()?;
            return match variable.node.target() {
                ExprKind::Number(value) => fit(i64::try_from(*value).unwrap_or(i64::MAX), span),
                ExprKind::Negative(value) => fit(i64::try_from(*value).unwrap_or(i64::MAX).saturating_neg(), span),
                ExprKind::Symbol(name) | ExprKind::Quoted(name) => match named_priority(name, hook) {
                    Some(value) => Ok(value),
                    None => refuse(span, format!("'{name}' is not a priority at hook '{}'", hook.name())),
                },
                _ => refuse(span, "this variable is not a priority"),
            };
        }
        if self.eat("-") {
            let number = self.number("a priority")?;
            return fit(i64::try_from(number.node).unwrap_or(i64::MAX).saturating_neg(), number.span);
        }
        if let Kind::Number(value) = self.kind() {
            self.advance();
            return fit(i64::try_from(value).unwrap_or(i64::MAX), span);
        }
        let word = self.word().to_owned();
        let Some(base) = named_priority(&word, hook) else {
            if word.is_empty() {
                return self.unexpected("a priority");
            }
            let fault = Fault::new(span, format!("'{word}' is not a priority at hook '{}'", hook.name()));
            return Err(match word.split_once('-') {
                Some((name, offset)) => fault.help(format!("write '{name} - {offset}', with spaces")),
                None => {
                    fault.help("names are raw, mangle, filter, security, at prerouting dstnat, at postrouting srcnat")
                }
            });
        };
        self.advance();
        let sign = match self.kind() {
            Kind::Punct("+") => 1,
            Kind::Punct("-") => -1,
            _ => return Ok(base),
        };
        self.advance();
        let offset = self.number("an offset")?;
        fit(i64::from(base) + sign * i64::try_from(offset.node).unwrap_or(i64::MAX / 2).min(i64::MAX / 2), offset.span)
    }

    fn policy(&mut self) -> Result<Node<Policy>> {
        let span = self.span();
        let word = if self.is("$") {
            match self.variable()?.node.target() {
                ExprKind::Symbol(word) | ExprKind::Quoted(word) => word.clone(),
                _ => String::new(),
            }
        } else {
            let word = self.word().to_owned();
            self.advance();
            word
        };
        match word.as_str() {
            "accept" => Ok(Node::new(Policy::Accept, span)),
            "drop" => Ok(Node::new(Policy::Drop, span)),
            _ => refuse(span, "a policy is 'accept' or 'drop'"),
        }
    }
}

/// The priorities that have names, with the hooks at which nft lets them be used.
fn named_priority(name: &str, hook: Hook) -> Option<i32> {
    match (name, hook) {
        ("raw", _) => Some(-300),
        ("mangle", _) => Some(-150),
        ("dstnat", Hook::Prerouting) => Some(-100),
        ("filter", _) => Some(0),
        ("security", _) => Some(50),
        ("srcnat", Hook::Postrouting) => Some(100),
        _ => None,
    }
}
