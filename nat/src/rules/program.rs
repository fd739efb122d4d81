//! A rule compiled: what to load, compare and do, with every name resolved to a number.

use super::RuleId;
use super::action::Reject;
use super::fields::{CtDir, CtKey, FibAddress, FibDevice, FibResult, Header, MetaKey};
use super::log::Log;
use super::types::Interval;
use crate::Flags;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Load {
    Const(u128),
    Bits {
        header: Header,
        offset: u16,
        bits: u8,
    },
    Meta(MetaKey),
    Ct(CtKey, Option<CtDir>),
    Fib(FibAddress, FibDevice, FibResult),
    /// `(value & and) ^ xor`
    Bitwise {
        value: Box<Load>,
        and: u128,
        xor: u128,
    },
    Shl(Box<Load>, u8),
    Shr(Box<Load>, u8),
    Map {
        key: Box<[Load]>,
        map: u32,
        field: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Gt,
    Le,
    Ge,
}

/// Whether a lookup or a range wants the value to be inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Inside,
    Outside,
}

/// Where evaluation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "nft's own word")]
pub(crate) enum Jump {
    Accept,
    Drop,
    /// On with the next rule.
    Continue,
    Return,
    Jump(u32),
    Goto(u32),
}

/// An address or port of a NAT statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Const(Interval),
    Load(Load),
    /// Field `field` of what the map gives.
    Map {
        key: Box<[Load]>,
        map: u32,
        field: u8,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NatOp {
    pub(crate) kind: super::ast::NatKind,
    /// The family of the address, if there is one: packets of the other are left alone.
    pub(crate) family: Option<uct_engine::Family>,
    pub(crate) address: Option<Operand>,
    pub(crate) port: Option<Operand>,
    /// The host part of the address stays.
    pub(crate) prefix: bool,
    pub(crate) flags: Flags,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Compare {
        load: Load,
        op: Compare,
        value: u128,
    },
    Range {
        load: Load,
        interval: Interval,
        want: Want,
    },
    Lookup {
        key: Box<[Load]>,
        set: u32,
        want: Want,
    },
    Vmap {
        key: Box<[Load]>,
        map: u32,
    },
    Jump(Jump),
    Counter(u32),
    Log(Box<Log>),
    Limit(u32),
    CtCount(u32),
    Notrack,
    Reject(Reject),
    Nat(Box<NatOp>),
    SetMark(Load),
    SetTrace,
    SetCtMark(Load),
    SetZone(Option<CtDir>, Load),
    SetLabel(Load),
    SetHelper(u32),
    SetTimeout(u32),
    SetExpectation(u32),
    /// `None`: what the route's MTU allows.
    MaxSeg(Option<u16>),
}

/// One rule: its operations and the number under which it can be named.
#[derive(Debug, Clone)]
pub(crate) struct CompiledRule {
    pub(crate) id: RuleId,
    pub(crate) ops: Box<[Op]>,
}

/// What a map gives for a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// A set gives nothing.
    None,
    Values(Box<[Interval]>),
    Verdict(Jump),
}
