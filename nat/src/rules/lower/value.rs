//! Selectors and the values that statements take, compiled to loads.

use super::rule::{Known, RuleCx};
use super::{DataKind, Lowering, Need};
use crate::rules::ast::*;
use crate::rules::error::{Result, refuse};
use crate::rules::fields::{CtKey, FibDevice, FibResult, MetaKey, Protocol, Selector};
use crate::rules::program::{Load, Op};
use crate::rules::set::MAX_FIELDS;
use crate::rules::source::Span;
use crate::rules::types::{DataType, mask, single};
use uct_engine::{Family, Labels};

/// Whether a selector was written as it is or with bit operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    Computed,
    /// With `^` last: nft moves such an operation to the constant, which is wrong for ranges, so only single values are taken.
    Xored,
}

/// One field of the left side of a match.
pub(super) struct Side {
    pub(super) load: Load,
    pub(super) ty: DataType,
    pub(super) shape: Shape,
    /// The selector itself, if it is plain.
    pub(super) selector: Option<Selector>,
}

impl Lowering {
    /// The fields of a selector or a concatenation, with their dependencies.
    pub(super) fn sides(&mut self, cx: &mut RuleCx<'_>, expr: &Expr) -> Result<Vec<Side>> {
        let ExprKind::Concat(parts) = &expr.node else { return Ok(vec![self.side(cx, expr)?]) };
        if parts.len() > MAX_FIELDS {
            return refuse(expr.span, format!("a concatenation has at most {MAX_FIELDS} fields here"));
        }
        let sides: Vec<Side> = parts.iter().map(|part| self.side(cx, part)).collect::<Result<_>>()?;
        for (side, part) in sides.iter().zip(parts) {
            if matches!(side.ty, DataType::String | DataType::CtLabel | DataType::Boolean) {
                return refuse(part.span, format!("type {} cannot be part of a concatenation", side.ty.name()));
            }
        }
        Ok(sides)
    }

    /// One field.
    pub(super) fn side(&mut self, cx: &mut RuleCx<'_>, expr: &Expr) -> Result<Side> {
        match &expr.node {
            ExprKind::Selector(selector) => {
                let load = selector_load(cx, selector, expr.span)?;
                Ok(Side { load, ty: selector.ty(), shape: Shape::Plain, selector: Some(*selector) })
            }
            ExprKind::Binary(op, left, right) => {
                let left = self.side(cx, left)?;
                let load = bit_operation(*op, left.load, left.ty, right, expr.span)?;
                let shape = if *op == BinaryOp::Xor { Shape::Xored } else { Shape::Computed };
                Ok(Side { load, ty: left.ty, shape, selector: None })
            }
            ExprKind::Concat(_) => refuse(expr.span, "a concatenation cannot stand here"),
            _ => refuse(expr.span, "a field such as 'tcp dport' is needed here, not a value"),
        }
    }

    /// The value of a statement such as `meta mark set …`, of type `ty`.
    pub(super) fn statement_value(&mut self, cx: &mut RuleCx<'_>, ty: DataType, expr: &Expr) -> Result<Load> {
        match &expr.node {
            ExprKind::Map(key, map) => {
                let key = self.sides(cx, key)?;
                let map = self.map(cx.table, &key, map, &DataKind::Values { types: vec![ty], intervals: false })?;
                Ok(Load::Map { key: key.into_iter().map(|side| side.load).collect(), map, field: 0 })
            }
            _ if has_selector(expr) => {
                let side = self.value_side(cx, expr)?;
                if side.ty != ty {
                    return refuse(
                        expr.span,
                        format!("a value of type {} is needed here, not {}", ty.name(), side.ty.name()),
                    );
                }
                Ok(side.load)
            }
            _ => Ok(Load::Const(single(ty, expr)?)),
        }
    }

    /// As [`Self::side`], and shifts are allowed.
    fn value_side(&mut self, cx: &mut RuleCx<'_>, expr: &Expr) -> Result<Side> {
        match &expr.node {
            ExprKind::Binary(op @ (BinaryOp::Shl | BinaryOp::Shr), left, right) => {
                let left = self.value_side(cx, left)?;
                let by = single(DataType::Integer(8), right)?;
                if left.ty != DataType::Mark || by >= 32 {
                    return refuse(expr.span, "only a mark can be shifted, by at most 31 bits");
                }
                let value = Box::new(left.load);
                let load = if *op == BinaryOp::Shl { Load::Shl(value, by as u8) } else { Load::Shr(value, by as u8) };
                Ok(Side { load, ty: left.ty, shape: Shape::Computed, selector: None })
            }
            ExprKind::Binary(op, left, right) => {
                let left = self.value_side(cx, left)?;
                let load = bit_operation(*op, left.load, left.ty, right, expr.span)?;
                Ok(Side { load, ty: left.ty, shape: Shape::Computed, selector: None })
            }
            _ => self.side(cx, expr),
        }
    }

    pub(super) fn set_statement(&mut self, cx: &mut RuleCx<'_>, target: &Target, value: &Expr) -> Result<()> {
        let name = || Name { node: text_of(value), span: value.span };
        let op = match target {
            Target::MetaMark => Op::SetMark(self.statement_value(cx, DataType::Mark, value)?),
            Target::CtMark => Op::SetCtMark(self.statement_value(cx, DataType::Mark, value)?),
            Target::CtZone(dir) => Op::SetZone(*dir, self.statement_value(cx, DataType::Integer(16), value)?),
            Target::CtLabel => {
                cx.labels = Labels::Room;
                Op::SetLabel(self.statement_value(cx, DataType::CtLabel, value)?)
            }
            Target::MetaTrace => {
                single(DataType::Integer(1), value)?;
                Op::SetTrace
            }
            Target::CtHelper => Op::SetHelper(self.object(cx.table, "ct helper", &name())?),
            Target::CtTimeout => Op::SetTimeout(self.object(cx.table, "ct timeout", &name())?),
            Target::CtExpectation => Op::SetExpectation(self.object(cx.table, "ct expectation", &name())?),
        };
        cx.ops.push(op);
        Ok(())
    }
}

fn text_of(expr: &Expr) -> String {
    match &expr.node {
        ExprKind::Symbol(text) | ExprKind::Quoted(text) => text.clone(),
        _ => String::new(),
    }
}

fn has_selector(expr: &Expr) -> bool {
    match &expr.node {
        ExprKind::Selector(_) => true,
        ExprKind::Binary(_, left, right) => has_selector(left) || has_selector(right),
        ExprKind::Concat(parts) => parts.iter().any(has_selector),
        _ => false,
    }
}

/// A selector's load, after what it depends on.
fn selector_load(cx: &mut RuleCx<'_>, selector: &Selector, span: Span) -> Result<Load> {
    match *selector {
        Selector::Meta(MetaKey::NfProto) if !cx.inet() => {
            refuse(span, "'meta nfproto' is only useful in an inet table")
        }
        Selector::Meta(key) => Ok(Load::Meta(key)),
        Selector::Fib(address, device, result) => {
            if result == FibResult::OifPresent || device == FibDevice::Iif {
                cx.needs.push((Need::FibIif, span));
            }
            Ok(Load::Fib(address, device, result))
        }
        Selector::Ct(key, dir) => {
            let family = match key {
                CtKey::SrcIp | CtKey::DstIp => Some(Family::Ipv4),
                CtKey::SrcIp6 | CtKey::DstIp6 => Some(Family::Ipv6),
                _ => None,
            };
            // In an inet table it is no test of the packet's family, but may not contradict one.
            if let Some(family) = family
                && (!cx.inet() || cx.network != Known::Nothing)
            {
                cx.need_family(family, span)?;
            }
            if matches!(key, CtKey::ProtoSrc | CtKey::ProtoDst) && cx.transport == Known::Nothing {
                return refuse(span, "which protocol's port this is must be said before, as in 'meta l4proto tcp'");
            }
            if key == CtKey::Label {
                cx.labels = Labels::Room;
            }
            Ok(Load::Ct(key, dir))
        }
        Selector::Field(field) => {
            match field.protocol {
                Protocol::Ip => cx.need_family(Family::Ipv4, span)?,
                Protocol::Ip6 => cx.need_family(Family::Ipv6, span)?,
                Protocol::Th => {}
                Protocol::Icmp | Protocol::Icmpv6 => cx.need_icmp(field.protocol, span)?,
                protocol => cx.need_transport(protocol.number().unwrap_or(0), protocol.name(), span)?,
            }
            Ok(Load::Bits { header: field.header(), offset: field.offset, bits: field.bits })
        }
    }
}

/// `value op constant`, folded into what is computed already.
fn bit_operation(op: BinaryOp, value: Load, ty: DataType, constant: &Expr, span: Span) -> Result<Load> {
    let fits = ty.is_flags() && ty != DataType::CtLabel
        || matches!(
            ty,
            DataType::Mark | DataType::Integer(_) | DataType::Ipv4Addr | DataType::Ipv6Addr | DataType::InetService
        );
    if !fits {
        return refuse(span, format!("bit operations on type {} are not supported", ty.name()));
    }
    let constant = if has_selector(constant) {
        return refuse(constant.span, "the right side of a bit operation must be a constant");
    } else {
        single(ty, constant)?
    };
    let all = mask(ty.bits());
    let (value, and, xor) = match value {
        Load::Bitwise { value, and, xor } => (value, and, xor),
        other => (Box::new(other), all, 0),
    };
    let (and, xor) = match op {
        BinaryOp::And => (and & constant, xor & constant),
        BinaryOp::Or => (and & !constant & all, (xor & !constant) ^ constant),
        BinaryOp::Xor => (and, xor ^ constant),
        BinaryOp::Shl | BinaryOp::Shr => return refuse(span, "a shifted field cannot be compared"),
    };
    Ok(Load::Bitwise { value, and, xor })
}
