//! Matches: a field and what it is compared with.
//!
//! | written | flags (ct state, ct status, ct label, tcp flags) | every other type |
//! |---|---|---|
//! | `a` | any of these bits | equal |
//! | `== a`, and `a` after bit operations | equal | equal |
//! | `a,b` | any of these bits | refused |
//! | `!= a` | not equal | not equal |
//! | `! a` | none of these bits | refused |
//! | `a / b`, `!= a / b` | of the bits b exactly a, not exactly a | refused (an address: a prefix) |
//! | `{ a, b }`, `@set`, `!=` | equal to one, to none | inside one, inside none |
//!
//! So `ct state != established,related` is true for every packet, in nft as here: no packet is in both states.

use super::rule::{Known, RuleCx};
use super::value::{Shape, Side};
use super::{DataKind, Lowering};
use crate::rules::ast::*;
use crate::rules::error::{Fault, Result, refuse};
use crate::rules::fields::{CtKey, MetaKey, Protocol, Selector};
use crate::rules::program::{Compare, Load, Op, Want};
use crate::rules::types::{DataType, Form, interval, single};
use uct_engine::Family;

impl Lowering {
    pub(super) fn matching(&mut self, cx: &mut RuleCx<'_>, left: &Expr, op: RelOp, right: &Expr) -> Result<()> {
        let sides = self.sides(cx, left)?;
        let boolean = sides.iter().any(|side| side.ty == DataType::Boolean);
        match right.node.target() {
            ExprKind::Set(_) | ExprKind::SetRef(_) if boolean => {
                refuse(right.span, "'missing' and 'exists' cannot be in a set")
            }
            ExprKind::Set(_) | ExprKind::SetRef(_) if xored(&sides) => refuse(right.span, XORED),
            ExprKind::Set(elements) => {
                let want = wanted(op, right)?;
                if elements.is_empty() {
                    return refuse(right.span, "an empty set matches nothing");
                }
                let types: Vec<DataType> = sides.iter().map(|side| side.ty).collect();
                let set = self.anonymous_set(cx.table, types, DataKind::None, elements, right.span)?;
                if want == Want::Inside {
                    learn_from_set(cx, &sides, elements);
                }
                self.push_lookup(cx, sides, set, want);
                Ok(())
            }
            ExprKind::SetRef(name) => {
                let want = wanted(op, right)?;
                let set = self.set_index(cx.table, name, right.span)?;
                self.check_key(&sides, set, right)?;
                self.push_lookup(cx, sides, set, want);
                Ok(())
            }
            _ => {
                if sides.len() > 1 {
                    return Err(Fault::new(
                        right.span,
                        "a concatenation is compared with a set, not with a single value",
                    )
                    .help("put the value in braces"));
                }
                match sides.into_iter().next() {
                    Some(side) => self.scalar(cx, side, op, right),
                    None => refuse(left.span, "nothing to compare"),
                }
            }
        }
    }

    fn scalar(&mut self, cx: &mut RuleCx<'_>, side: Side, op: RelOp, right: &Expr) -> Result<()> {
        if side.ty.is_flags() {
            return flags_scalar(cx, side, op, right);
        }
        let (value, form) = interval(side.ty, right)?;
        if op == RelOp::Not {
            return refuse(right.span, "'!' is only for flags: write '!='");
        }
        let equality = matches!(op, RelOp::Implicit | RelOp::Eq | RelOp::Ne);
        if side.shape == Shape::Xored && (form != Form::Single || !equality) {
            return refuse(right.span, XORED);
        }
        if form != Form::Single {
            let want = match op {
                RelOp::Implicit | RelOp::Eq => Want::Inside,
                RelOp::Ne => Want::Outside,
                _ => return refuse(right.span, "a range or prefix is neither less nor greater"),
            };
            cx.ops.push(Op::Range { load: side.load, interval: value, want });
            return Ok(());
        }
        if op == RelOp::Implicit || op == RelOp::Eq {
            learn(cx, &side, value.first);
        }
        let unordered =
            matches!(side.ty, DataType::IfName | DataType::IfaceIndex | DataType::String | DataType::Boolean);
        let compare = compare_of(op);
        if unordered && !matches!(compare, Compare::Eq | Compare::Ne) {
            return refuse(right.span, format!("type {} has no order", side.ty.name()));
        }
        cx.ops.push(Op::Compare { load: side.load, op: compare, value: value.first });
        Ok(())
    }

    /// `tcp flags syn / syn,ack`
    pub(super) fn flags(
        &mut self,
        cx: &mut RuleCx<'_>,
        left: &Expr,
        op: RelOp,
        value: &Expr,
        mask: &Expr,
    ) -> Result<()> {
        let side = self.side(cx, left)?;
        let listed = matches!(value.node, ExprKind::List(_)) || matches!(mask.node, ExprKind::List(_));
        if !side.ty.is_flags() || side.ty == DataType::CtLabel || side.shape != Shape::Plain || !listed {
            return Err(
                Fault::new(mask.span, "'/' and a mask are only for flags").help("as in 'tcp flags syn / syn,ack'")
            );
        }
        let op = match op {
            RelOp::Implicit | RelOp::Eq => Compare::Eq,
            RelOp::Ne => Compare::Ne,
            _ => return refuse(value.span, "flags with a mask are equal or not"),
        };
        let (value, mask) = (flag_bits(side.ty, value)?, flag_bits(side.ty, mask)?);
        let load = Load::Bitwise { value: Box::new(side.load), and: mask, xor: 0 };
        cx.ops.push(Op::Compare { load, op, value });
        Ok(())
    }

    pub(super) fn vmap(&mut self, cx: &mut RuleCx<'_>, key: &Expr, map: &Expr) -> Result<()> {
        let sides = self.sides(cx, key)?;
        if xored(&sides) {
            return refuse(key.span, XORED);
        }
        let map = self.map(cx.table, &sides, map, &DataKind::Verdict)?;
        cx.ops.push(Op::Vmap { key: sides.into_iter().map(|side| side.load).collect(), map });
        Ok(())
    }

    fn push_lookup(&self, cx: &mut RuleCx<'_>, sides: Vec<Side>, set: u32, want: Want) {
        cx.ops.push(Op::Lookup { key: sides.into_iter().map(|side| side.load).collect(), set, want });
    }
}

/// A set of one protocol says as much as a single value, a set of several that there are several. As in nft, ranges say nothing.
fn learn_from_set(cx: &mut RuleCx<'_>, sides: &[Side], elements: &[Element]) {
    let [side] = sides else { return };
    for element in elements {
        match element.key.node.target() {
            ExprKind::Set(nested) => learn_from_set(cx, sides, nested),
            _ => match interval(side.ty, &element.key) {
                Ok((value, Form::Single)) => learn(cx, side, value.first),
                // Beside single values a range still means that there are several.
                _ => {
                    if tells_transport(cx, side) && cx.transport != Known::Nothing {
                        cx.transport = Known::Several;
                    }
                }
            },
        }
    }
}

const XORED: &str = "a field with '^' is compared with single values only";

fn xored(sides: &[Side]) -> bool {
    sides.iter().any(|side| side.shape == Shape::Xored)
}

fn wanted(op: RelOp, right: &Expr) -> Result<Want> {
    match op {
        RelOp::Implicit | RelOp::Eq => Ok(Want::Inside),
        RelOp::Ne => Ok(Want::Outside),
        _ => refuse(right.span, "a value is in a set or not: only '==' and '!=' are possible"),
    }
}

fn compare_of(op: RelOp) -> Compare {
    match op {
        RelOp::Implicit | RelOp::Eq => Compare::Eq,
        RelOp::Ne | RelOp::Not => Compare::Ne,
        RelOp::Lt => Compare::Lt,
        RelOp::Gt => Compare::Gt,
        RelOp::Le => Compare::Le,
        RelOp::Ge => Compare::Ge,
    }
}

fn flags_scalar(cx: &mut RuleCx<'_>, side: Side, op: RelOp, right: &Expr) -> Result<()> {
    let value = flag_bits(side.ty, right)?;
    let (load, op, value) = match (op, side.shape) {
        (RelOp::Implicit, Shape::Plain) => {
            (Load::Bitwise { value: Box::new(side.load), and: value, xor: 0 }, Compare::Ne, 0)
        }
        (RelOp::Not, Shape::Plain) => {
            (Load::Bitwise { value: Box::new(side.load), and: value, xor: 0 }, Compare::Eq, 0)
        }
        (RelOp::Not, _) => return refuse(right.span, "'!' cannot be combined with bit operations"),
        (op, _) => (side.load, compare_of(op), value),
    };
    cx.ops.push(Op::Compare { load, op, value });
    Ok(())
}

/// A flag, or several with commas.
fn flag_bits(ty: DataType, expr: &Expr) -> Result<u128> {
    match expr.node.target() {
        ExprKind::List(items) => items.iter().try_fold(0, |bits, item| Ok(bits | single(ty, item)?)),
        _ => single(ty, expr),
    }
}

/// Whether a match on this says what the packet's transport protocol is.
fn tells_transport(cx: &RuleCx<'_>, side: &Side) -> bool {
    match side.selector {
        Some(Selector::Meta(MetaKey::L4Proto)) => true,
        Some(Selector::Field(field)) => {
            matches!((field.protocol, field.name), (Protocol::Ip, "protocol") | (Protocol::Ip6, "nexthdr"))
        }
        // nft takes this for a match on the packet once it knows the network protocol.
        Some(Selector::Ct(CtKey::Protocol, _)) => matches!(cx.network, Known::One(_)),
        _ => false,
    }
}

/// What a match on one value says about the packet's protocols.
fn learn(cx: &mut RuleCx<'_>, side: &Side, value: u128) {
    if tells_transport(cx, side) {
        cx.transport.learn(value as u8);
    }
    if let (Some(Selector::Meta(MetaKey::NfProto) | Selector::Ct(CtKey::L3Proto, _)), true) = (side.selector, cx.inet())
    {
        match value {
            2 => cx.network.learn(Family::Ipv4),
            10 => cx.network.learn(Family::Ipv6),
            _ => {}
        }
    }
}
