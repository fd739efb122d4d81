//! One rule: its statements in order, and what nft's implicit dependencies make of them.
//!
//! A header field is only read from a packet that has the header: `tcp dport` brings the test that the packet is TCP, in an inet
//! table `ip saddr` brings the test that it is IPv4, unless an earlier match of the rule has said so already. What the rule has
//! said so far is its [`Known`] state, one for the network and one for the transport layer; saying two different things in one
//! rule is refused where nft refuses it.

use super::{Lowering, Need, RuleModel, TableKey};
use crate::rules::RuleId;
use crate::rules::action::Reject;
use crate::rules::ast::*;
use crate::rules::error::{Fault, Result, refuse};
use crate::rules::fields::{MetaKey, Protocol};
use crate::rules::names;
use crate::rules::program::{Compare, CompiledRule, Jump, Load, Op};
use crate::rules::ruleset::RuleInfo;
use crate::rules::source::Span;
use crate::rules::types::{DataType, single};
use uct_engine::{Family, Labels};

/// What a rule has said about a layer so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known<T> {
    Nothing,
    One(T),
    /// Several possibilities, or contradictory ones.
    Several,
}

impl<T: PartialEq> Known<T> {
    /// A match has pinned the layer to one value.
    pub(super) fn learn(&mut self, value: T) {
        *self = match self {
            Known::Nothing => Known::One(value),
            Known::One(known) if *known == value => return,
            _ => Known::Several,
        };
    }
}

/// A rule on its way.
pub(super) struct RuleCx<'k> {
    pub(super) table: &'k TableKey,
    pub(super) network: Known<Family>,
    pub(super) transport: Known<u8>,
    pub(super) ops: Vec<Op>,
    pub(super) needs: Vec<(Need, Span)>,
    /// Whether it sets or asks for a label.
    pub(super) labels: Labels,
}

impl RuleCx<'_> {
    pub(super) fn inet(&self) -> bool {
        self.table.0 == TableFamily::Inet
    }

    /// The rule reads the header of a network protocol.
    pub(super) fn need_family(&mut self, family: Family, span: Span) -> Result<()> {
        match self.network {
            Known::One(known) if known == family => Ok(()),
            Known::Nothing => {
                let value = u128::from(family.number());
                self.ops.push(Op::Compare { load: Load::Meta(MetaKey::NfProto), op: Compare::Eq, value });
                self.network = Known::One(family);
                Ok(())
            }
            _ => {
                let (this, other) = if family == Family::Ipv4 { ("ip", "ip6") } else { ("ip6", "ip") };
                let already = match self.network {
                    Known::Several => "ip and ip6",
                    _ => other,
                };
                let whose = if self.inet() { "this rule" } else { "this table" };
                refuse(span, format!("conflicting protocols: {whose} is about {already} already, not about {this}"))
            }
        }
    }

    /// The rule reads the header of a transport protocol.
    pub(super) fn need_transport(&mut self, protocol: u8, name: &str, span: Span) -> Result<()> {
        match self.transport {
            Known::One(known) if known == protocol => Ok(()),
            Known::Nothing => {
                self.ops.push(Op::Compare {
                    load: Load::Meta(MetaKey::L4Proto),
                    op: Compare::Eq,
                    value: protocol.into(),
                });
                self.transport = Known::One(protocol);
                Ok(())
            }
            Known::One(known) => {
                let known = names::name(DataType::InetProto, known.into());
                refuse(span, format!("conflicting protocols: this rule is about {known} already, not about {name}"))
            }
            Known::Several => Err(Fault::new(
                span,
                format!("conflicting protocols: this rule is about several already, not about {name} alone"),
            )
            .help("for the ports of all of them write 'th sport' and 'th dport'")),
        }
    }

    /// ICMP belongs to one family, which an inet rule that says nothing else then is about.
    pub(super) fn need_icmp(&mut self, protocol: Protocol, span: Span) -> Result<()> {
        let family = if protocol == Protocol::Icmp { Family::Ipv4 } else { Family::Ipv6 };
        if self.transport == Known::Nothing && self.network == Known::Nothing {
            self.need_family(family, span)?;
        }
        self.need_transport(protocol.number().unwrap_or(0), protocol.name(), span)
    }
}

impl Lowering {
    /// Compiles one rule of a chain.
    pub(super) fn rule(&mut self, table: &TableKey, chain: &str, rule: Rule) -> Result<RuleModel> {
        let network = match table.0 {
            TableFamily::Ip => Known::One(Family::Ipv4),
            TableFamily::Ip6 => Known::One(Family::Ipv6),
            TableFamily::Inet => Known::Nothing,
        };
        let mut cx = RuleCx {
            table,
            network,
            transport: Known::Nothing,
            ops: Vec::new(),
            needs: Vec::new(),
            labels: Labels::None,
        };
        let mut terminal: Option<Span> = None;
        for stmt in rule.stmts {
            if terminal.is_some() {
                return refuse(stmt.span, "this has no effect: the statement before it ends the rule");
            }
            let ends = matches!(
                &stmt.node,
                StmtKind::Verdict(
                    Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Jump(_) | Verdict::Goto(_)
                ) | StmtKind::Nat(_)
                    | StmtKind::Reject { .. }
            );
            terminal = ends.then_some(stmt.span);
            self.stmt(&mut cx, stmt)?;
        }
        if cx.labels == Labels::Room {
            self.labels = Labels::Room;
        }
        let id = RuleId(self.rules.len() as u32);
        self.rules.push(RuleInfo { span: rule.span, family: table.0, table: table.1.clone(), chain: chain.to_owned() });
        Ok(RuleModel { rule: CompiledRule { id, ops: cx.ops.into() }, needs: cx.needs })
    }

    fn stmt(&mut self, cx: &mut RuleCx<'_>, stmt: Stmt) -> Result<()> {
        let span = stmt.span;
        let op = match stmt.node {
            StmtKind::Match { left, op, right } => return self.matching(cx, &left, op, &right),
            StmtKind::Flags { left, op, value, mask } => return self.flags(cx, &left, op, &value, &mask),
            StmtKind::Vmap { key, map } => return self.vmap(cx, &key, &map),
            StmtKind::Nat(nat) => return self.nat(cx, &nat, span),
            StmtKind::Set { target, value } => return self.set_statement(cx, &target, &value),
            StmtKind::Reject { with, code } => return self.reject(cx, with, code.as_ref(), span),
            StmtKind::Verdict(verdict) => Op::Jump(self.jump(cx.table, &verdict)?),
            StmtKind::Counter(name) => match name {
                Some(name) => Op::Counter(self.object(cx.table, "counter", &name)?),
                None => {
                    self.counters += 1;
                    Op::Counter(self.counters as u32 - 1)
                }
            },
            StmtKind::Log(log) => Op::Log(Box::new(log)),
            StmtKind::Limit(limit) => {
                self.limits.push(limit);
                Op::Limit(self.limits.len() as u32 - 1)
            }
            StmtKind::CtCount { excess, count } => {
                self.counts.push((excess, count));
                Op::CtCount(self.counts.len() as u32 - 1)
            }
            StmtKind::Notrack => Op::Notrack,
            StmtKind::MaxSeg(MaxSeg::RouteMtu) => {
                cx.needs.push((Need::Route, span));
                Op::MaxSeg(None)
            }
            StmtKind::MaxSeg(MaxSeg::Size(size)) => Op::MaxSeg(Some(single(DataType::Integer(16), &size)? as u16)),
        };
        cx.ops.push(op);
        Ok(())
    }

    /// A verdict with its chain's number.
    pub(super) fn jump(&self, table: &TableKey, verdict: &Verdict) -> Result<Jump> {
        let target = |name: &Name| {
            let at = self.chain_index(table, name)?;
            match self.chains[at as usize].base {
                Some(_) => refuse(name.span, format!("'{}' is a base chain: nothing can jump there", name.node)),
                None => Ok(at),
            }
        };
        Ok(match verdict {
            Verdict::Accept => Jump::Accept,
            Verdict::Drop => Jump::Drop,
            Verdict::Continue => Jump::Continue,
            Verdict::Return => Jump::Return,
            Verdict::Jump(name) => Jump::Jump(target(name)?),
            Verdict::Goto(name) => Jump::Goto(target(name)?),
        })
    }

    fn reject(&mut self, cx: &mut RuleCx<'_>, with: RejectWith, code: Option<&Expr>, span: Span) -> Result<()> {
        cx.needs.push((Need::Reject, span));
        let code_of = |ty| code.map_or(Ok(0), |code| single(ty, code)).map(|code| code as u8);
        let reject = match with {
            RejectWith::Default => match cx.network {
                Known::One(Family::Ipv4) => Reject::Icmp(3),
                Known::One(Family::Ipv6) => Reject::Icmpv6(4),
                _ => Reject::Icmpx(1),
            },
            RejectWith::TcpReset => {
                cx.need_transport(6, "tcp", span)?;
                Reject::TcpReset
            }
            RejectWith::Icmp => {
                cx.need_family(Family::Ipv4, span)?;
                Reject::Icmp(code_of(DataType::IcmpCode)?)
            }
            RejectWith::Icmpv6 => {
                cx.need_family(Family::Ipv6, span)?;
                Reject::Icmpv6(code_of(DataType::Icmpv6Code)?)
            }
            RejectWith::Icmpx => {
                if !cx.inet() {
                    return refuse(span, "'icmpx' is for inet tables: write 'icmp' or 'icmpv6'");
                }
                let code = code_of(DataType::IcmpxCode)?;
                if code > 3 {
                    return refuse(span, format!("{code} is not a code of icmpx"));
                }
                Reject::Icmpx(code)
            }
        };
        cx.ops.push(Op::Reject(reject));
        Ok(())
    }
}
