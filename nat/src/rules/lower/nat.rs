//! NAT statements: what they ask for, and what the rule must have said before.

use super::rule::{Known, RuleCx};
use super::{DataKind, Lowering, Need};
use crate::Flags;
use crate::rules::ast::*;
use crate::rules::error::{Fault, Result, refuse};
use crate::rules::program::{NatOp, Op, Operand};
use crate::rules::source::Span;
use crate::rules::types::{DataType, Form, Interval, interval};
use uct_engine::Family;

impl Lowering {
    pub(super) fn nat(&mut self, cx: &mut RuleCx<'_>, nat: &Nat, span: Span) -> Result<()> {
        cx.needs.push((Need::Nat(nat.kind), span));
        let family = match nat.address {
            Some(_) => Some(nat_family(cx, nat, span)?),
            None => None,
        };
        let (mut address, mut port) = (None, None);
        if let (Some(expr), Some(family)) = (&nat.address, family) {
            (address, port) = self.nat_address(cx, nat, expr, family)?;
        }
        if let (NatForm::AddressPort, None, Some(expr)) = (nat.form, &port, &nat.address) {
            return refuse(expr.span, "with 'addr . port' there must be a map to addresses with ports");
        }
        if let Some(expr) = &nat.port {
            if port.is_some() {
                return refuse(expr.span, "the map gives the port already");
            }
            if cx.transport == Known::Nothing {
                let fault = Fault::new(expr.span, "a port needs a match on the transport protocol before it");
                return Err(fault.help("as in 'tcp dport 80 dnat to …' or 'meta l4proto { tcp, udp } …'"));
            }
            port = Some(self.nat_port(cx, expr)?);
        }
        let flags = nat.flags.iter().fold(Flags::empty(), |flags, flag| {
            flags
                | match flag {
                    NatFlag::Random => Flags::RANDOM,
                    NatFlag::FullyRandom => Flags::FULLY_RANDOM,
                    NatFlag::Persistent => Flags::PERSISTENT,
                }
        });
        cx.ops.push(Op::Nat(Box::new(NatOp {
            kind: nat.kind,
            family,
            address,
            port,
            prefix: nat.form == NatForm::Prefix,
            flags,
        })));
        Ok(())
    }

    /// The new address, and the port if a map gives both.
    fn nat_address(
        &mut self,
        cx: &mut RuleCx<'_>,
        nat: &Nat,
        expr: &Expr,
        family: Family,
    ) -> Result<(Option<Operand>, Option<Operand>)> {
        let ty = if family == Family::Ipv4 { DataType::Ipv4Addr } else { DataType::Ipv6Addr };
        match &expr.node {
            ExprKind::Map(key, map) => {
                let sides = self.sides(cx, key)?;
                let with_port = self.gives_ports(cx, map)?;
                let types = if with_port { vec![ty, DataType::InetService] } else { vec![ty] };
                // Ports in a map: which protocol they are of must be known, be it by the key itself.
                let key_says = sides.iter().any(|side| side.ty == DataType::InetProto);
                if with_port && cx.transport == Known::Nothing && !key_says {
                    return refuse(expr.span, "a port needs a match on the transport protocol before it");
                }
                let map = self.map(cx.table, &sides, map, &DataKind::Values { types, intervals: !with_port })?;
                if nat.form == NatForm::Prefix {
                    self.prefix_maps.push((map, expr.span));
                }
                let key: Box<[_]> = sides.into_iter().map(|side| side.load).collect();
                let port = with_port.then(|| Operand::Map { key: key.clone(), map, field: 1 });
                Ok((Some(Operand::Map { key, map, field: 0 }), port))
            }
            ExprKind::Selector(_) | ExprKind::Binary(..) => {
                let side = self.side(cx, expr)?;
                if side.ty != ty {
                    return refuse(
                        expr.span,
                        format!("a value of type {} is needed here, not {}", ty.name(), side.ty.name()),
                    );
                }
                Ok((Some(Operand::Load(side.load)), None))
            }
            _ => {
                let (value, form) = interval(ty, expr)?;
                if nat.form == NatForm::Prefix && form == Form::Range {
                    return refuse(expr.span, "a prefix is needed here, not a range");
                }
                Ok((Some(Operand::Const(value)), None))
            }
        }
    }

    /// Whether the values of a map are addresses with ports.
    fn gives_ports(&self, cx: &RuleCx<'_>, map: &Expr) -> Result<bool> {
        Ok(match &map.node {
            ExprKind::SetRef(name) => {
                let at = self.set_index(cx.table, name, map.span)?;
                matches!(&self.sets[at as usize].data, DataKind::Values { types, .. } if types.len() == 2)
            }
            ExprKind::Set(elements) => {
                let value = elements.first().and_then(|e| e.value.as_ref());
                value.is_some_and(|value| matches!(value.node.target(), ExprKind::Concat(_)))
            }
            _ => false,
        })
    }

    fn nat_port(&mut self, cx: &mut RuleCx<'_>, expr: &Expr) -> Result<Operand> {
        let ty = DataType::InetService;
        match &expr.node {
            ExprKind::Map(key, map) => {
                let sides = self.sides(cx, key)?;
                let map = self.map(cx.table, &sides, map, &DataKind::Values { types: vec![ty], intervals: false })?;
                Ok(Operand::Map { key: sides.into_iter().map(|side| side.load).collect(), map, field: 0 })
            }
            ExprKind::Selector(_) | ExprKind::Binary(..) => {
                let side = self.side(cx, expr)?;
                if side.ty != ty {
                    return refuse(
                        expr.span,
                        format!("a value of type {} is needed here, not {}", ty.name(), side.ty.name()),
                    );
                }
                Ok(Operand::Load(side.load))
            }
            _ => {
                let (Interval { first, last }, _) = interval(ty, expr)?;
                Ok(Operand::Const(Interval { first, last }))
            }
        }
    }
}

/// Which family the new address is of.
fn nat_family(cx: &mut RuleCx<'_>, nat: &Nat, span: Span) -> Result<Family> {
    let written = nat.family.map(|family| match family {
        AddressFamily::Ip => Family::Ipv4,
        AddressFamily::Ip6 => Family::Ipv6,
    });
    match (cx.network, written) {
        (Known::One(known), None) => Ok(known),
        (Known::One(known), Some(written)) if known == written => Ok(known),
        (Known::Nothing, Some(written)) => Ok(written),
        (Known::Nothing, None) => {
            Err(Fault::new(span, "in an inet table the family must be said")
                .help("write 'dnat ip to' or 'dnat ip6 to'"))
        }
        _ => refuse(span, "the address is of another family than the packets this rule is about"),
    }
}
