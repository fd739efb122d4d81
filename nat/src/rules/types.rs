//! nft's data types, and what a written value means in each.
//!
//! Every value is a number of at most 128 bits: addresses in network order, interface names as their sixteen bytes, flags as bit
//! masks. So sets, ranges and comparisons need to know nothing of types once a rule is compiled.

use super::ast::{BinaryOp, Expr, ExprKind};
use super::error::{Fault, Result, refuse};
use super::parse::RESERVED;
use super::{lex, names};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A data type, under nft's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DataType {
    /// A plain number of so many bits.
    Integer(u8),
    Mark,
    Ipv4Addr,
    Ipv6Addr,
    InetProto,
    InetService,
    IfName,
    IfaceIndex,
    NfProto,
    EtherType,
    PktType,
    CtState,
    CtDir,
    CtStatus,
    CtLabel,
    /// A duration in milliseconds.
    Time,
    /// A name of at most fifteen bytes: a helper.
    String,
    IcmpType,
    Icmpv6Type,
    IcmpCode,
    Icmpv6Code,
    IcmpxCode,
    TcpFlag,
    Dscp,
    FibAddrType,
    Boolean,
}

impl DataType {
    const NAMED: [(&'static str, DataType); 24] = [
        ("mark", DataType::Mark),
        ("ipv4_addr", DataType::Ipv4Addr),
        ("ipv6_addr", DataType::Ipv6Addr),
        ("inet_proto", DataType::InetProto),
        ("inet_service", DataType::InetService),
        ("ifname", DataType::IfName),
        ("iface_index", DataType::IfaceIndex),
        ("nf_proto", DataType::NfProto),
        ("ether_type", DataType::EtherType),
        ("pkt_type", DataType::PktType),
        ("ct_state", DataType::CtState),
        ("ct_dir", DataType::CtDir),
        ("ct_status", DataType::CtStatus),
        ("ct_label", DataType::CtLabel),
        ("time", DataType::Time),
        ("icmp_type", DataType::IcmpType),
        ("icmpv6_type", DataType::Icmpv6Type),
        ("icmp_code", DataType::IcmpCode),
        ("icmpv6_code", DataType::Icmpv6Code),
        ("icmpx_code", DataType::IcmpxCode),
        ("tcp_flag", DataType::TcpFlag),
        ("dscp", DataType::Dscp),
        ("fib_addrtype", DataType::FibAddrType),
        ("boolean", DataType::Boolean),
    ];

    /// The type a set may be declared with under this name; `ct_label` has no name there.
    pub(crate) fn named(name: &str) -> Option<DataType> {
        DataType::NAMED.iter().find(|(known, ty)| *known == name && *ty != DataType::CtLabel).map(|(_, ty)| *ty)
    }

    /// How it is called in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DataType::Integer(_) => "number",
            DataType::String => "string",
            _ => DataType::NAMED.iter().find(|(_, ty)| *ty == self).map_or("value", |(name, _)| name),
        }
    }

    /// Width in bits.
    pub(crate) fn bits(self) -> u8 {
        match self {
            DataType::Integer(bits) => bits,
            DataType::Ipv6Addr | DataType::IfName | DataType::CtLabel | DataType::String => 128,
            DataType::InetService | DataType::EtherType => 16,
            DataType::Dscp => 6,
            DataType::Boolean => 1,
            DataType::InetProto
            | DataType::NfProto
            | DataType::PktType
            | DataType::CtDir
            | DataType::IcmpType
            | DataType::Icmpv6Type
            | DataType::IcmpCode
            | DataType::Icmpv6Code
            | DataType::IcmpxCode
            | DataType::TcpFlag => 8,
            _ => 32,
        }
    }

    /// The largest value.
    pub(crate) fn max(self) -> u128 {
        mask(self.bits())
    }

    /// Whether values are sets of flags, so that `a,b` means "a or b".
    pub(crate) fn is_flags(self) -> bool {
        matches!(self, DataType::CtState | DataType::CtStatus | DataType::CtLabel | DataType::TcpFlag)
    }

    /// Whether ranges and prefixes make sense.
    fn is_ordered(self) -> bool {
        !self.is_flags()
            && !matches!(self, DataType::IfName | DataType::String | DataType::IfaceIndex | DataType::Boolean)
    }
}

/// The lowest `bits` bits.
pub(crate) fn mask(bits: u8) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// All values from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Interval {
    pub(crate) first: u128,
    pub(crate) last: u128,
}

impl Interval {
    pub(crate) fn one(value: u128) -> Interval {
        Interval { first: value, last: value }
    }

    pub(crate) fn is_one(self) -> bool {
        self.first == self.last
    }

    /// Whether it is all of some network's addresses.
    pub(crate) fn is_prefix(self) -> bool {
        let host = self.first ^ self.last;
        host & host.wrapping_add(1) == 0 && self.first & host == 0
    }
}

/// How a value was written, which decides what a set must be able to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Single,
    Range,
    Prefix,
}

/// Keywords that nft takes for names all the same.
const BARE: [&str; 9] = ["arp", "dnat", "ecn", "ether", "ip", "ip6", "reset", "snat", "vlan"];

/// An interface name as the sixteen bytes it has in the kernel.
pub(crate) fn pack_name(name: &str) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    u128::from_be_bytes(bytes)
}

/// A single value of a type.
pub(crate) fn single(ty: DataType, expr: &Expr) -> Result<u128> {
    let (value, form) = interval(ty, expr)?;
    match form {
        Form::Single => Ok(value.first),
        Form::Range => refuse(expr.span, "one value is needed here, not a range"),
        Form::Prefix => refuse(expr.span, "one value is needed here, not a prefix"),
    }
}

/// A value, range or prefix of a type.
pub(crate) fn interval(ty: DataType, expr: &Expr) -> Result<(Interval, Form)> {
    match &expr.node {
        ExprKind::Variable(inner) => interval(ty, inner).map_err(|mut fault| {
            // The caret belongs where the variable is used; the definition alone may be fine.
            fault.span = expr.span;
            fault
        }),
        ExprKind::Range(first, last) => {
            if !ty.is_ordered() {
                return refuse(expr.span, format!("a range of type {} is not possible", ty.name()));
            }
            let (first, last) = (single(ty, first)?, single(ty, last)?);
            if first > last {
                return refuse(expr.span, "this range ends before it begins");
            }
            Ok((Interval { first, last }, if first == last { Form::Single } else { Form::Range }))
        }
        ExprKind::Prefix(base, length) => {
            let bits = ty.bits();
            if !matches!(ty, DataType::Ipv4Addr | DataType::Ipv6Addr) {
                return refuse(expr.span, format!("a prefix of type {} is not possible", ty.name()));
            }
            if length.node > u64::from(bits) {
                return refuse(length.span, format!("prefix length {} is more than {bits}", length.node));
            }
            let host = mask(bits - length.node as u8);
            let first = single(ty, base)? & !host;
            Ok((Interval { first, last: first | host }, if host == 0 { Form::Single } else { Form::Prefix }))
        }
        ExprKind::Binary(op, left, right) => {
            if !ty.is_flags() && !matches!(ty, DataType::Mark | DataType::Integer(_)) {
                return refuse(expr.span, format!("bit operations on type {} are not possible", ty.name()));
            }
            Ok((Interval::one(constant_binary(*op, single(ty, left)?, single(ty, right)?, expr)?), Form::Single))
        }
        ExprKind::Number(value) => number(ty, u128::from(*value), expr),
        ExprKind::Symbol(text) => {
            let name = matches!(ty, DataType::IfName | DataType::IfaceIndex | DataType::String);
            if name && RESERVED.contains(&text.as_str()) && !BARE.contains(&text.as_str()) {
                return refuse(expr.span, format!("'{text}' is a keyword of nft: put it in quotes"));
            }
            symbol(ty, text, expr)
        }
        ExprKind::Quoted(text) => symbol(ty, text, expr),
        ExprKind::Bracketed(text) if ty == DataType::Ipv6Addr => symbol(ty, text, expr),
        ExprKind::Bracketed(_) => refuse(expr.span, format!("an IPv6 address is no {}", ty.name())),
        ExprKind::Negative(_) => refuse(expr.span, "a negative number is only a priority"),
        ExprKind::Set(_) => refuse(expr.span, "a set cannot stand here"),
        ExprKind::SetRef(_) => refuse(expr.span, "a named set cannot stand here"),
        ExprKind::List(_) => {
            Err(Fault::new(expr.span, format!("values of type {} cannot be listed with commas", ty.name()))
                .help("put them in braces: { a, b }"))
        }
        ExprKind::Concat(_) => refuse(expr.span, "a concatenation cannot stand here"),
        ExprKind::Selector(_) | ExprKind::Map(..) => refuse(expr.span, "a constant is needed here"),
        ExprKind::Star => refuse(expr.span, "'*' stands alone as a key"),
        ExprKind::Verdict(_) => refuse(expr.span, "a verdict cannot stand here"),
    }
}

/// Bit operations between constants.
fn constant_binary(op: BinaryOp, left: u128, right: u128, expr: &Expr) -> Result<u128> {
    let value = match op {
        BinaryOp::And => left & right,
        BinaryOp::Or => left | right,
        BinaryOp::Xor => left ^ right,
        BinaryOp::Shl | BinaryOp::Shr => return refuse(expr.span, "shifts of constants are not supported"),
    };
    Ok(value)
}

fn number(ty: DataType, value: u128, expr: &Expr) -> Result<(Interval, Form)> {
    let value = match ty {
        DataType::Ipv4Addr | DataType::Ipv6Addr | DataType::IfName | DataType::String | DataType::IfaceIndex => {
            return refuse(expr.span, format!("a number is no {}", ty.name()));
        }
        DataType::CtLabel if value < 128 => 1 << value,
        DataType::CtLabel => return refuse(expr.span, "labels go from 0 to 127"),
        DataType::Time => value.saturating_mul(1000),
        _ => value,
    };
    if value > ty.max() {
        return refuse(expr.span, format!("{value} is too large for {}: at most {}", ty.name(), ty.max()));
    }
    Ok((Interval::one(value), Form::Single))
}

fn symbol(ty: DataType, text: &str, expr: &Expr) -> Result<(Interval, Form)> {
    let wrong = |what: &str| Fault::new(expr.span, format!("'{text}' is not {what}"));
    let one = |value| Ok((Interval::one(value), Form::Single));
    match ty {
        DataType::Ipv4Addr => match text.parse::<Ipv4Addr>() {
            Ok(addr) => one(u128::from(u32::from(addr))),
            Err(_) if text.parse::<Ipv6Addr>().is_ok() => Err(wrong("an IPv4 address but an IPv6 address")),
            Err(_) => Err(wrong("an IPv4 address").help("host names are not looked up")),
        },
        DataType::Ipv6Addr => match text.parse::<Ipv6Addr>() {
            Ok(addr) => one(u128::from(addr)),
            Err(_) if text.parse::<Ipv4Addr>().is_ok() => Err(wrong("an IPv6 address but an IPv4 address")),
            Err(_) => Err(wrong("an IPv6 address").help("host names are not looked up")),
        },
        DataType::IfName | DataType::IfaceIndex | DataType::String => {
            if text.is_empty() || text == "*" {
                return Err(wrong("a name"));
            }
            if text.len() > 15 {
                return refuse(expr.span, format!("'{text}' is longer than the 15 characters a name can have"));
            }
            let Some(start) = text.strip_suffix('*') else {
                return one(pack_name(text));
            };
            if ty != DataType::IfName || start.contains(['*', '\\']) {
                return Err(wrong("a name without a wildcard"));
            }
            let first = pack_name(start);
            let last = first | (u128::MAX >> (8 * start.len()));
            Ok((Interval { first, last }, Form::Prefix))
        }
        DataType::Time => match lex::duration(text) {
            Some(ms) if u128::from(ms) <= ty.max() => one(u128::from(ms)),
            _ => Err(wrong("a duration such as 1h30m")),
        },
        _ => match names::value(ty, text) {
            Some(value) => one(value),
            None => {
                let fault = wrong(&format!("a value of type {}", ty.name()));
                Err(match ty {
                    DataType::InetService => fault.help("write the port's number"),
                    DataType::InetProto => fault.help("write the protocol's number"),
                    _ if names::names(ty).is_empty() => fault,
                    _ => {
                        let known: Vec<_> = names::names(ty).iter().map(|(name, _)| *name).collect();
                        fault.help(format!("known are {}", known.join(", ")))
                    }
                })
            }
        },
    }
}
