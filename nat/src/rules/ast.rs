//! What the parser makes of the text: nft's commands, not yet checked, every node with its [`Span`].
//!
//! Left and right sides of a match share one [`Expr`]: `ip saddr . tcp dport` and `10.0.0.1 . 80` are both concatenations. What a
//! symbol such as `ssh` means depends on the type of what it is compared with, so the parser leaves it alone; `check` decides.

use super::fields::Selector;
use super::log::Log;
use super::source::Span;
use std::rc::Rc;

/// A node and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node<T> {
    pub(crate) node: T,
    pub(crate) span: Span,
}

impl<T> Node<T> {
    pub(crate) fn new(node: T, span: Span) -> Node<T> {
        Node { node, span }
    }
}

pub(crate) type Name = Node<String>;
pub(crate) type Expr = Node<ExprKind>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelOp {
    /// Nothing written: equality, or for flags "any of these".
    Implicit,
    Eq,
    Ne,
    Lt,
    Gt,
    Le,
    Ge,
    /// `tcp flags ! syn`: none of these.
    Not,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    /// A bare word whose meaning depends on the type.
    Symbol(String),
    Quoted(String),
    Number(u64),
    /// A number with a minus sign, in a definition used as a priority.
    Negative(u64),
    /// An address, or a word, in `[ ]`.
    Bracketed(String),
    /// `*` as the key that matches what nothing else does.
    Star,
    Selector(Selector),
    Range(Box<Expr>, Box<Expr>),
    Prefix(Box<Expr>, Node<u64>),
    Concat(Vec<Expr>),
    List(Vec<Expr>),
    Set(Vec<Element>),
    /// `@name`
    SetRef(String),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `selector map { … }` or `selector map @name`
    Map(Box<Expr>, Box<Expr>),
    /// `$name`, already looked up.
    Variable(Rc<Expr>),
    Verdict(Verdict),
}

impl ExprKind {
    /// The expression itself, looking through a variable.
    pub(crate) fn target(&self) -> &ExprKind {
        match self {
            ExprKind::Variable(inner) => &inner.node,
            other => other,
        }
    }
}

/// One element of a set or, with a value, of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Element {
    pub(crate) key: Expr,
    pub(crate) value: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Continue,
    Return,
    Jump(Name),
    Goto(Name),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NatKind {
    Snat,
    Dnat,
    Masquerade,
    Redirect,
}

/// `ip` or `ip6` as written before an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressFamily {
    Ip,
    Ip6,
}

/// What a NAT statement says its address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NatForm {
    /// Nothing: an address or a range.
    Plain,
    /// `prefix`: the host part stays.
    Prefix,
    /// `interval`: a map's values are ranges.
    Interval,
    /// `addr . port`: a map's values are addresses with ports.
    AddressPort,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Nat {
    pub(crate) kind: NatKind,
    pub(crate) family: Option<AddressFamily>,
    pub(crate) form: NatForm,
    pub(crate) address: Option<Expr>,
    pub(crate) port: Option<Expr>,
    pub(crate) flags: Vec<NatFlag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NatFlag {
    Random,
    FullyRandom,
    Persistent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectWith {
    Default,
    TcpReset,
    Icmp,
    Icmpv6,
    Icmpx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Until,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) excess: Excess,
    pub(crate) amount: u64,
    pub(crate) unit: LimitUnit,
    /// Seconds the amount is for.
    pub(crate) per: u64,
    pub(crate) burst: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitUnit {
    Packets,
    Bytes,
}

/// What a `set` statement writes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    MetaMark,
    MetaTrace,
    CtMark,
    CtZone(Option<super::fields::CtDir>),
    CtLabel,
    CtHelper,
    CtTimeout,
    CtExpectation,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MaxSeg {
    RouteMtu,
    Size(Expr),
}

pub(crate) type Stmt = Node<StmtKind>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StmtKind {
    Match {
        left: Expr,
        op: RelOp,
        right: Expr,
    },
    /// `tcp flags syn / syn,ack`
    Flags {
        left: Expr,
        op: RelOp,
        value: Expr,
        mask: Expr,
    },
    Verdict(Verdict),
    Vmap {
        key: Expr,
        map: Expr,
    },
    Counter(Option<Name>),
    Log(Log),
    Limit(Limit),
    CtCount {
        excess: Excess,
        count: u32,
    },
    Notrack,
    Reject {
        with: RejectWith,
        code: Option<Expr>,
    },
    Nat(Nat),
    Set {
        target: Target,
        value: Expr,
    },
    MaxSeg(MaxSeg),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) stmts: Vec<Stmt>,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TableFamily {
    Ip,
    Ip6,
    Inet,
}

impl TableFamily {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TableFamily::Ip => "ip",
            TableFamily::Ip6 => "ip6",
            TableFamily::Inet => "inet",
        }
    }

    /// Whether packets of this family pass the table's chains.
    pub(crate) fn holds(self, family: uct_engine::Family) -> bool {
        match self {
            TableFamily::Ip => family == uct_engine::Family::Ipv4,
            TableFamily::Ip6 => family == uct_engine::Family::Ipv6,
            TableFamily::Inet => true,
        }
    }
}

impl std::fmt::Display for TableFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Base {
    pub(crate) kind: Node<super::ChainKind>,
    pub(crate) hook: Node<super::Hook>,
    pub(crate) priority: i32,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Accept,
    Drop,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chain {
    pub(crate) name: Name,
    pub(crate) base: Option<Base>,
    pub(crate) policy: Option<Node<Policy>>,
    pub(crate) rules: Vec<Rule>,
}

/// How a set says what its elements are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TypeSpec {
    /// `type ipv4_addr . inet_service`
    Named(Vec<Name>),
    /// `typeof ip saddr . tcp dport`
    Of(Expr),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DataSpec {
    Type(TypeSpec),
    /// `interval ipv4_addr`: values are ranges.
    Interval(TypeSpec),
    Verdict,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Set {
    pub(crate) name: Name,
    pub(crate) map: bool,
    pub(crate) key: Option<TypeSpec>,
    pub(crate) data: Option<DataSpec>,
    pub(crate) interval: bool,
    pub(crate) auto_merge: bool,
    /// `size`: more elements than this are refused.
    pub(crate) size: Option<u64>,
    pub(crate) elements: Vec<Element>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ObjectKind {
    Counter,
    Helper { helper: Name, protocol: Name, l3: Option<Name> },
    Timeout { protocol: Name, l3: Option<Name>, policy: Vec<(Name, u32)> },
    Expectation { protocol: Name, l3: Option<Name>, dport: u16, timeout_ms: u64, size: u8 },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) name: Name,
    pub(crate) kind: ObjectKind,
}

/// What a table block or a command adds to a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Chain(Chain),
    Set(Set),
    Object(Object),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableRef {
    pub(crate) family: TableFamily,
    pub(crate) name: Name,
}

/// `add` is silent about what is there already, `create` refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Add,
    Create,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Last,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CommandKind {
    Table { table: TableRef, items: Vec<Item>, mode: Mode },
    Item { table: TableRef, item: Item, mode: Mode },
    Rule { table: TableRef, chain: Name, rule: Rule, place: Place },
    Elements { table: TableRef, set: Name, elements: Vec<Element> },
    FlushRuleset(Option<TableFamily>),
    FlushTable(TableRef),
    FlushChain(TableRef, Name),
    DeleteTable(TableRef),
}

pub(crate) type Command = Node<CommandKind>;
