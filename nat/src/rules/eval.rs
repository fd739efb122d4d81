//! Running chains over a packet: the one place where rules decide.
//!
//! Within a base chain rules are tried in order. A rule whose matches are all true takes effect: a verdict ends something, every
//! other statement lets the next one follow. `accept` ends the base chain only: the next step of the hook still comes. `drop` and
//! `reject` end the packet. `return`, and the end of a chain, go back to where the `jump` was, at the base chain to its policy;
//! `goto` leaves nothing to come back to.
//!
//! A filter chain sees every packet. The NAT chains of a hook are asked for the first packet of a connection only, in order of
//! priority, until one of them asks for something: `accept` in one lets the next one speak.

use super::action::{Decision, NatVerdict, Reject, Verdict};
use super::ast::{Excess, NatKind, Policy};
use super::context::{Context, Observer, Tracking};
use super::log::Logged;
use super::program::{Compare, CompiledRule, Data, Jump, NatOp, Op, Operand, Want};
use super::ruleset::Ruleset;
use super::types::Interval;
use super::{ChainId, Hook, RuleId};
use crate::rules::fields::CtDir;
use crate::{Addresses, Mapping, Ports, Range};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use uct_engine::{Conn, Family, Status, Zone, ZoneScope};

/// What one rule did.
enum Outcome {
    /// It did not match, or decided nothing.
    Next,
    Jump(Jump),
    Reject(Reject),
    Nat(Mapping),
}

/// How a base chain ended.
enum End {
    Accept(RuleId),
    Drop(RuleId),
    Reject(Reject, RuleId),
    Nat(Mapping, RuleId),
    Policy,
}

/// Deepest nesting of jumps; the check of the ruleset allows no more.
const STACK: usize = 16;

impl Ruleset {
    /// Asks one filter chain of [`Ruleset::steps`].
    pub fn filter(&self, chain: ChainId, cx: &mut Context<'_>, observer: &mut impl Observer) -> Verdict {
        let verdict = |decision, rule| Verdict { decision, rule };
        match self.run(chain, cx, observer) {
            End::Accept(rule) | End::Nat(_, rule) => verdict(Decision::Accept, Some(rule)),
            End::Drop(rule) => verdict(Decision::Drop, Some(rule)),
            End::Reject(reject, rule) => verdict(Decision::Reject(reject.for_family(cx.packet.family())), Some(rule)),
            End::Policy => verdict(self.policy(chain), None),
        }
    }

    /// Asks the NAT chains of the packet's hook: at [`Step::Nat`](super::Step::Nat), for a connection whose decision at this hook
    /// is still to be taken.
    pub fn nat(&self, hook: Hook, cx: &mut Context<'_>, observer: &mut impl Observer) -> NatVerdict {
        for &chain in self.nat_chains(cx.packet.family(), hook) {
            let refused = |decision, rule| NatVerdict::Refused(Verdict { decision, rule });
            match self.run(chain, cx, observer) {
                End::Accept(_) => {}
                End::Nat(mapping, rule) => return NatVerdict::Act(mapping, rule),
                End::Drop(rule) => return refused(Decision::Drop, Some(rule)),
                End::Reject(reject, rule) => {
                    return refused(Decision::Reject(reject.for_family(cx.packet.family())), Some(rule));
                }
                End::Policy if self.policy(chain) == Decision::Drop => return refused(Decision::Drop, None),
                End::Policy => {}
            }
        }
        NatVerdict::None
    }

    fn policy(&self, chain: ChainId) -> Decision {
        let base = self.chains.get(chain.0 as usize).and_then(|chain| chain.base);
        match base.map(|base| base.policy) {
            Some(Policy::Drop) => Decision::Drop,
            _ => Decision::Accept,
        }
    }

    fn run(&self, chain: ChainId, cx: &mut Context<'_>, observer: &mut impl Observer) -> End {
        let rules_of = |chain: u32| self.chains.get(chain as usize).map_or(&[][..], |chain| &chain.rules);
        let mut rules = rules_of(chain.0).iter();
        let mut stack: [std::slice::Iter<'_, CompiledRule>; STACK] = Default::default();
        let mut depth = 0;
        loop {
            let Some(rule) = rules.next() else {
                if depth == 0 {
                    return End::Policy;
                }
                depth -= 1;
                rules = std::mem::take(&mut stack[depth]);
                continue;
            };
            match self.rule_outcome(rule, cx, observer) {
                Outcome::Next | Outcome::Jump(Jump::Continue) => {}
                Outcome::Reject(reject) => return End::Reject(reject, rule.id),
                Outcome::Nat(mapping) => return End::Nat(mapping, rule.id),
                Outcome::Jump(Jump::Accept) => return End::Accept(rule.id),
                Outcome::Jump(Jump::Drop) => return End::Drop(rule.id),
                Outcome::Jump(Jump::Return) => rules = [].iter(),
                Outcome::Jump(Jump::Goto(to)) => rules = rules_of(to).iter(),
                Outcome::Jump(Jump::Jump(to)) => {
                    // The ruleset's check has bounded the depth; were it wrong, the packet would only miss a chain.
                    if let Some(slot) = stack.get_mut(depth) {
                        *slot = std::mem::replace(&mut rules, rules_of(to).iter());
                        depth += 1;
                    }
                }
            }
        }
    }

    fn rule_outcome(&self, rule: &CompiledRule, cx: &mut Context<'_>, observer: &mut impl Observer) -> Outcome {
        let mut outcome = Outcome::Next;
        for op in &rule.ops {
            match self.op(op, rule.id, cx, observer) {
                Some(Outcome::Next) => {}
                Some(decided) => {
                    outcome = decided;
                    break;
                }
                None => return Outcome::Next,
            }
        }
        observer.matched(rule.id);
        outcome
    }

    /// One operation: `None` ends the rule, because a match is not true or a value is not there.
    fn op(&self, op: &Op, rule: RuleId, cx: &mut Context<'_>, observer: &mut impl Observer) -> Option<Outcome> {
        let when = |holds: bool| holds.then_some(Outcome::Next);
        match op {
            Op::Compare { load, op, value } => {
                let found = self.load(load, cx)?;
                when(match op {
                    Compare::Eq => found == *value,
                    Compare::Ne => found != *value,
                    Compare::Lt => found < *value,
                    Compare::Gt => found > *value,
                    Compare::Le => found <= *value,
                    Compare::Ge => found >= *value,
                })
            }
            Op::Range { load, interval, want } => {
                let found = self.load(load, cx)?;
                let inside = interval.first <= found && found <= interval.last;
                when(inside == (*want == Want::Inside))
            }
            Op::Lookup { key, set, want } => {
                // A key that the packet lacks is neither inside nor outside.
                let found = match &**key {
                    [one] => {
                        let value = self.load(one, cx)?;
                        self.lookups.get(*set as usize)?.keys.find_one(value)
                    }
                    several => {
                        let key = self.key(several, cx)?;
                        self.lookups.get(*set as usize)?.keys.find(&key)
                    }
                };
                when(found.is_some() == (*want == Want::Inside))
            }
            Op::Vmap { key, map } => {
                let slot = self.slot(key, *map, cx)?;
                match self.lookups.get(*map as usize)?.values.get(slot as usize)? {
                    Data::Verdict(jump) => Some(Outcome::Jump(*jump)),
                    _ => None,
                }
            }
            Op::Jump(jump) => Some(Outcome::Jump(*jump)),
            Op::Reject(reject) => Some(Outcome::Reject(*reject)),
            Op::Nat(nat) => self.mapping(nat, cx).map(|mapping| mapping.map_or(Outcome::Next, Outcome::Nat)),
            Op::Limit(at) => {
                let (limit, bucket) = self.limits.get(*at as usize)?;
                let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                let enough = bucket.take(cx.now, cx.packet.wire_len());
                when(enough == (limit.excess == Excess::Until))
            }
            Op::CtCount(at) => when(self.ct_count(*at, cx)?),
            _ => {
                self.effect(op, rule, cx, observer)?;
                Some(Outcome::Next)
            }
        }
    }

    /// A statement that changes something and decides nothing. Without a connection to change, the rule goes on all the same.
    fn effect(&self, op: &Op, rule: RuleId, cx: &mut Context<'_>, observer: &mut impl Observer) -> Option<()> {
        let tracked = match cx.tracking {
            Tracking::Tracked { ct, .. } => Some(ct),
            _ => None,
        };
        match op {
            Op::Counter(at) => {
                let [packets, bytes] = self.counters.get(*at as usize)?;
                packets.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(cx.packet.wire_len() as u64, Ordering::Relaxed);
            }
            Op::Log(log) => observer.log(&Logged { rule, log, cx }),
            // As measured: a packet with a zone is past `notrack`, and of two zones the first holds.
            Op::Notrack if matches!(cx.tracking, Tracking::Before) && cx.template.zone == Zone::DEFAULT => {
                cx.tracking = Tracking::Untracked;
            }
            Op::SetMark(value) => cx.mark = self.load(value, cx)? as u32,
            Op::SetCtMark(value) => {
                let value = self.load(value, cx)? as u32;
                if let Some(ct) = tracked {
                    ct.set_mark(value);
                }
            }
            Op::SetZone(dir, value) => {
                let id = self.load(value, cx)? as u16;
                let may = match cx.tracking {
                    Tracking::Before => cx.template.zone == Zone::DEFAULT,
                    // And a zone undoes `notrack`.
                    Tracking::Untracked => true,
                    _ => false,
                };
                if may {
                    cx.tracking = Tracking::Before;
                    let scope = match dir {
                        None => ZoneScope::Both,
                        Some(CtDir::Original) => ZoneScope::Original,
                        Some(CtDir::Reply) => ZoneScope::Reply,
                    };
                    cx.template.zone = Zone { id, scope };
                }
            }
            Op::SetLabel(value) => {
                let bits = self.load(value, cx)?;
                // A connection without room for labels stays without.
                if let Some(ct) = tracked
                    && let Some(labels) = ct.labels()
                {
                    ct.set_labels(labels | bits);
                }
            }
            Op::SetHelper(at) => tracked.map_or((), |ct| self.set_helper(*at, ct)),
            Op::SetTimeout(at) => tracked.map_or((), |ct| self.set_timeout(*at, ct)),
            Op::SetExpectation(at) if tracked.is_some() => cx.expectation = Some(*at),
            Op::MaxSeg(size) if cx.packet.protocol() == uct_engine::Protocol::TCP => {
                cx.packet.transport()?;
                let size = size.or_else(|| (cx.route_max_seg)())?;
                cx.max_seg = Some(cx.max_seg.map_or(size, |wanted| wanted.min(size)));
            }
            Op::MaxSeg(_) => return None,
            // Tracing is for observers, who hear of every rule anyway.
            _ => {}
        }
        Some(())
    }

    /// A helper is for connections that are not in the table yet, of its protocol and family.
    fn set_helper(&self, at: u32, ct: &Conn) {
        let Some(helper) = self.helpers.get(at as usize) else { return };
        let tuple = ct.original();
        let fits = tuple.protocol == helper.protocol && helper.family.is_none_or(|family| family == tuple.family());
        if fits && !ct.status().contains(Status::CONFIRMED) && ct.helper().is_none() {
            ct.with_extras(|extras| extras.helper = Some(helper.helper.clone()));
            ct.set_status(Status::HELPER);
        }
    }

    fn set_timeout(&self, at: u32, ct: &Conn) {
        let Some(((family, protocol), policy)) = self.timeouts.get(at as usize) else { return };
        let tuple = ct.original();
        let fits = tuple.protocol == *protocol && family.is_none_or(|family| family == tuple.family());
        if fits && !ct.status().contains(Status::CONFIRMED) {
            ct.set_timeout_policy(policy);
        }
    }

    /// Whether `ct count` lets the rule go on.
    fn ct_count(&self, at: u32, cx: &Context<'_>) -> Option<bool> {
        let (excess, count) = self.counts.get(at as usize)?;
        let Tracking::Tracked { ct, .. } = cx.tracking else { return None };
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let live = count.count(ct.original(), ct.zone(), cx.engine);
        Some((live > count.limit) == (*excess == Excess::Over))
    }

    /// What a NAT statement asks for: `None` ends the rule, `Some(None)` leaves packets of the other family alone.
    fn mapping(&self, nat: &NatOp, cx: &Context<'_>) -> Option<Option<Mapping>> {
        let family = nat.family.unwrap_or(cx.packet.family());
        if family != cx.packet.family() {
            return Some(None);
        }
        let addresses = match &nat.address {
            Some(operand) => addresses(self.operand(operand, cx)?, family, nat.prefix),
            None => Addresses::Keep,
        };
        let ports = match &nat.port {
            Some(operand) => {
                let Interval { first, last } = self.operand(operand, cx)?;
                Some(Ports::between(first as u16, last as u16))
            }
            None => None,
        };
        let flags = nat.flags;
        let range = Range { addresses, ports, flags };
        Some(Some(match nat.kind {
            NatKind::Snat => Mapping::Snat(range),
            NatKind::Dnat => Mapping::Dnat(range),
            NatKind::Masquerade => Mapping::Masquerade { ports, flags },
            NatKind::Redirect => Mapping::Redirect { ports, flags },
        }))
    }

    fn operand(&self, operand: &Operand, cx: &Context<'_>) -> Option<Interval> {
        match operand {
            Operand::Const(interval) => Some(*interval),
            Operand::Load(load) => self.load(load, cx).map(Interval::one),
            Operand::Map { key, map, field } => self.values(key, *map, cx)?.get(usize::from(*field)).copied(),
        }
    }
}

fn addresses(interval: Interval, family: Family, prefix: bool) -> Addresses {
    let Interval { first, last } = interval;
    match (family, prefix) {
        (Family::Ipv4, true) => {
            let host = (first ^ last) as u32;
            let net = Ipv4Net::new(Ipv4Addr::from(first as u32), host.leading_zeros() as u8);
            net.map_or(Addresses::one(Ipv4Addr::from(first as u32).into()), |net| Addresses::Prefix(IpNet::V4(net)))
        }
        (Family::Ipv6, true) => {
            let net = Ipv6Net::new(Ipv6Addr::from(first), (first ^ last).leading_zeros() as u8);
            net.map_or(Addresses::one(Ipv6Addr::from(first).into()), |net| Addresses::Prefix(IpNet::V6(net)))
        }
        (Family::Ipv4, false) => {
            let address = |value| IpAddr::V4(Ipv4Addr::from(value as u32));
            Addresses::Within { first: address(first), last: address(last) }
        }
        (Family::Ipv6, false) => {
            let address = |value| IpAddr::V6(Ipv6Addr::from(value));
            Addresses::Within { first: address(first), last: address(last) }
        }
    }
}
