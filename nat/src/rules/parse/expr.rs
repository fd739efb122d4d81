//! Selectors (`ip saddr . tcp dport`, `ct mark and 0xff`) and values (`10.0.0.0/8`, `{ 22, 80-90 }`, `syn,ack`).
//!
//! The same word can be one or the other: `tcp` begins a selector on the left and is a protocol on the right. So there is one entry
//! per side.

use super::super::ast::*;
use super::super::error::{Fault, Result, refuse};
use super::super::fields::{CtDir, CtKey, FIELDS, FibAddress, FibDevice, FibResult, MetaKey, Protocol, Selector};
use super::super::lex::Kind;
use super::Parser;

/// Which side of a match is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Words begin selectors.
    Selectors,
    /// Words are values.
    Values,
}

/// Words that begin a selector nft knows and we do not.
const UNSUPPORTED: &[&str] = &[
    "ether",
    "vlan",
    "arp",
    "rt",
    "rt0",
    "rt2",
    "srh",
    "frag",
    "hbh",
    "dst",
    "mh",
    "exthdr",
    "numgen",
    "jhash",
    "symhash",
    "socket",
    "osf",
    "ipsec",
    "igmp",
    "ah",
    "esp",
    "comp",
    "skuid",
    "skgid",
    "cgroup",
    "nftrace",
    "rtclassid",
    "iifgroup",
    "oifgroup",
    "iiftype",
    "oiftype",
    "cpu",
    "ibrname",
    "obrname",
    "ibriport",
    "obriport",
    "time",
    "hour",
    "day",
    "random",
    "@",
];

impl Parser<'_> {
    /// Whether a selector begins here: known to us, or only to nft.
    pub(super) fn at_selector(&self) -> bool {
        let word = self.word();
        matches!(word, "meta" | "ct" | "fib")
            || Protocol::ALL.iter().any(|(name, _)| *name == word)
            || MetaKey::ALL[MetaKey::UNQUALIFIED].iter().any(|(name, _)| *name == word)
            || UNSUPPORTED.contains(&word)
            || (self.is("@") && matches!(self.word_at(1), "ll" | "nh" | "th"))
    }

    /// Whether what stands here, where a value is due, is a selector all the same.
    fn at_field(&self) -> bool {
        let (word, next) = (self.word(), self.word_at(1));
        matches!(word, "meta" | "ct" | "fib")
            || MetaKey::ALL[MetaKey::UNQUALIFIED].iter().any(|(name, _)| *name == word)
            || FIELDS.iter().any(|field| field.protocol.name() == word && field.name == next)
    }

    /// A selector, several joined by `.`, or one with bit operations.
    pub(super) fn selector_expr(&mut self) -> Result<Expr> {
        self.concat(Side::Selectors)
    }

    fn concat(&mut self, side: Side) -> Result<Expr> {
        let first = self.part(side)?;
        if !self.is(".") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.eat(".") {
            parts.push(self.part(side)?);
        }
        let span = parts[0].span.to(self.last_span());
        Ok(Node::new(ExprKind::Concat(parts), span))
    }

    /// One element of a concatenation: on the value side it may be a range or a prefix.
    fn part(&mut self, side: Side) -> Result<Expr> {
        let first = self.binary(side, 0)?;
        if side == Side::Selectors {
            return Ok(first);
        }
        let start = first.span;
        if self.eat("-") {
            let last = self.binary(side, 0)?;
            let span = start.to(last.span);
            return Ok(Node::new(ExprKind::Range(Box::new(first), Box::new(last)), span));
        }
        if self.is("/") && matches!(self.peek(1).kind, Kind::Number(_)) {
            self.advance();
            let length = self.number("a prefix length")?;
            let span = start.to(length.span);
            return Ok(Node::new(ExprKind::Prefix(Box::new(first), length), span));
        }
        Ok(first)
    }

    /// Bit operations by precedence: `|`, then `^`, then `&`, then shifts, as in C.
    fn binary(&mut self, side: Side, level: usize) -> Result<Expr> {
        const LEVELS: [&[(&str, &str, BinaryOp)]; 4] = [
            &[("|", "or", BinaryOp::Or)],
            &[("^", "xor", BinaryOp::Xor)],
            &[("&", "and", BinaryOp::And)],
            &[("<<", "lshift", BinaryOp::Shl), (">>", "rshift", BinaryOp::Shr)],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.primary(side) };
        let mut left = self.binary(side, level + 1)?;
        let mut count = 0;
        while let Some((_, _, op)) = operators.iter().find(|(sign, word, _)| self.is(sign) || self.word() == *word) {
            self.advance();
            // The tree leans to the left and is walked by recursion, so its height is bounded too.
            count += 1;
            if count > super::MAX_OPERATORS {
                return refuse(self.span(), "this has too many operators");
            }
            let right = self.binary(side, level + 1)?;
            let span = left.span.to(right.span);
            left = Node::new(ExprKind::Binary(*op, Box::new(left), Box::new(right)), span);
        }
        Ok(left)
    }

    fn primary(&mut self, side: Side) -> Result<Expr> {
        if self.is("(") {
            return self.nested(|parser| {
                parser.advance();
                let inner = parser.binary(side, 0)?;
                parser.expect(")")?;
                Ok(inner)
            });
        }
        if self.is("$") {
            return self.variable();
        }
        if side == Side::Selectors && self.at_selector() {
            return self.selector();
        }
        let span = self.span();
        if side == Side::Values && self.at_field() {
            return refuse(span, "a field is compared with constants only, not with another field");
        }
        let node = match self.kind() {
            Kind::Number(value) => ExprKind::Number(value),
            Kind::Quoted => ExprKind::Quoted(self.unquoted(span)),
            Kind::Bracketed => ExprKind::Bracketed(self.text(span).trim_matches(['[', ']']).to_owned()),
            Kind::Word => ExprKind::Symbol(self.text(span).to_owned()),
            _ => return self.unexpected("a value"),
        };
        self.advance();
        Ok(Node::new(node, span))
    }

    fn selector(&mut self) -> Result<Expr> {
        let start = self.span();
        let word = self.word().to_owned();
        if UNSUPPORTED.contains(&word.as_str()) || word.is_empty() {
            let what = if word.is_empty() { "@ (raw payload)" } else { &word };
            return refuse(start, format!("nft expression '{what}' is not supported"));
        }
        self.advance();
        let selector = match word.as_str() {
            "meta" => {
                let key = self.span();
                let name = self.word().to_owned();
                match MetaKey::ALL.iter().find(|(known, _)| *known == name) {
                    Some((_, found)) => {
                        self.advance();
                        Selector::Meta(*found)
                    }
                    None if name.is_empty() => return self.unexpected("a meta key such as 'l4proto'"),
                    None => return refuse(start.to(key), format!("nft expression 'meta {name}' is not supported")),
                }
            }
            "ct" => self.ct()?,
            "fib" => self.fib(start)?,
            _ => match Protocol::ALL.iter().find(|(name, _)| *name == word) {
                Some((_, protocol)) => {
                    let name = self.word().to_owned();
                    match FIELDS.iter().find(|f| f.protocol == *protocol && f.name == name) {
                        Some(field) => {
                            self.advance();
                            Selector::Field(field)
                        }
                        None if name.is_empty() => return self.unexpected(&format!("a field of {word}")),
                        None => {
                            let span = start.to(self.span());
                            let fault = Fault::new(span, format!("nft expression '{word} {name}' is not supported"));
                            let known: Vec<_> =
                                FIELDS.iter().filter(|f| f.protocol == *protocol).map(|f| f.name).collect();
                            return Err(fault.help(format!("fields of {word}: {}", known.join(", "))));
                        }
                    }
                }
                None => match MetaKey::ALL.iter().find(|(name, _)| *name == word) {
                    Some((_, key)) => Selector::Meta(*key),
                    None => return refuse(start, format!("nft expression '{word}' is not supported")),
                },
            },
        };
        Ok(Node::new(ExprKind::Selector(selector), start.to(self.last_span())))
    }

    /// After `ct`.
    fn ct(&mut self) -> Result<Selector> {
        let start = self.last_span();
        let dir = self.ct_dir();
        let name = self.word().to_owned();
        let span = start.to(self.span());
        if name.is_empty() {
            return self.unexpected("a ct key such as 'state'");
        }
        let Some(dir) = dir else {
            let Some((_, key)) = CtKey::PLAIN.iter().find(|(known, _)| *known == name) else {
                let fault = Fault::new(span, format!("nft expression 'ct {name}' is not supported"));
                return Err(if name == "saddr" || name == "daddr" {
                    fault.help("write 'ct original ip saddr'")
                } else {
                    fault
                });
            };
            self.advance();
            return Ok(Selector::Ct(*key, None));
        };
        self.advance();
        if name == "ip" || name == "ip6" {
            let side = self.word().to_owned();
            let Some((_, _, key)) =
                CtKey::ADDRESSES.iter().find(|(family, known, _)| *family == name && *known == side)
            else {
                return self.unexpected("'saddr' or 'daddr'");
            };
            self.advance();
            return Ok(Selector::Ct(*key, Some(dir)));
        }
        match CtKey::DIRECTED.iter().find(|(known, _)| *known == name) {
            Some((_, key)) => Ok(Selector::Ct(*key, Some(dir))),
            None if name == "saddr" || name == "daddr" => {
                Err(Fault::new(span, format!("which '{name}' is not clear here"))
                    .help(format!("write 'ip {name}' or 'ip6 {name}'")))
            }
            None => refuse(span, format!("'{name}' has no direction in nft")),
        }
    }

    /// `original` or `reply`, if it stands here.
    pub(super) fn ct_dir(&mut self) -> Option<CtDir> {
        let dir = match self.word() {
            "original" => CtDir::Original,
            "reply" => CtDir::Reply,
            _ => return None,
        };
        self.advance();
        Some(dir)
    }

    /// After `fib`: the questions that real rulesets ask.
    fn fib(&mut self, start: super::Span) -> Result<Selector> {
        let address = match self.word() {
            "saddr" => FibAddress::Source,
            "daddr" => FibAddress::Destination,
            _ => return self.unexpected("'saddr' or 'daddr'"),
        };
        self.advance();
        let device = match (self.eat("."), self.word()) {
            (false, _) => Some(FibDevice::Any),
            (true, "iif") => {
                self.advance();
                Some(FibDevice::Iif)
            }
            (true, _) => None,
        };
        if let Some(device) = device {
            if self.eat_word("type") {
                return Ok(Selector::Fib(address, device, FibResult::Type));
            }
            if self.eat_word("oif") && ["missing", "exists"].contains(&self.word()) {
                return Ok(Selector::Fib(address, device, FibResult::OifPresent));
            }
        }
        let fault = Fault::new(start.to(self.span()), "this form of 'fib' is not supported");
        Err(fault.help("supported are 'fib saddr type', 'fib daddr . iif type' and 'fib saddr . iif oif missing'"))
    }

    /// The right side of a match: one value, a list with commas, a set, or a set's name.
    pub(super) fn rhs(&mut self) -> Result<Expr> {
        if self.is("{") {
            return self.set_expr();
        }
        if self.is("@") {
            return self.set_ref();
        }
        let first = self.concat(Side::Values)?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat(",") {
            items.push(self.part(Side::Values)?);
        }
        let span = items[0].span.to(self.last_span());
        Ok(Node::new(ExprKind::List(items), span))
    }

    /// What `define` gives a name to.
    pub(super) fn initializer(&mut self) -> Result<Expr> {
        let span = self.span();
        if self.eat("-") {
            let number = self.number("a number")?;
            return Ok(Node::new(ExprKind::Negative(number.node), span.to(number.span)));
        }
        if self.is("{") && self.peek(1).kind == Kind::Punct("}") {
            self.advance();
            self.advance();
            return Ok(Node::new(ExprKind::Set(Vec::new()), span.to(self.last_span())));
        }
        self.rhs()
    }

    /// `@name`
    pub(super) fn set_ref(&mut self) -> Result<Expr> {
        let start = self.span();
        self.expect("@")?;
        let name = self.name("the name of a set")?;
        Ok(Node::new(ExprKind::SetRef(name.node), start.to(name.span)))
    }

    /// `{ … }`, with or without values behind colons.
    pub(super) fn set_expr(&mut self) -> Result<Expr> {
        self.nested(|parser| {
            let start = parser.span();
            parser.expect("{")?;
            let mut elements = Vec::new();
            loop {
                parser.skip_newlines();
                if !elements.is_empty() && parser.is("}") {
                    break;
                }
                elements.push(parser.element()?);
                parser.skip_newlines();
                if !parser.eat(",") {
                    break;
                }
            }
            parser.expect("}")?;
            Ok(Node::new(ExprKind::Set(elements), start.to(parser.last_span())))
        })
    }

    fn element(&mut self) -> Result<Element> {
        let span = self.span();
        let key = if self.eat("*") {
            Node::new(ExprKind::Star, span)
        } else if self.is("{") {
            self.set_expr()?
        } else {
            self.concat(Side::Values)?
        };
        while matches!(self.word(), "comment" | "timeout" | "expires" | "counter" | "limit") {
            let option = self.word().to_owned();
            if option != "comment" {
                return refuse(self.span(), format!("set elements with '{option}' are not supported"));
            }
            self.advance();
            self.string("a comment")?;
        }
        let value = if self.eat(":") { Some(self.element_value()?) } else { None };
        Ok(Element { key, value })
    }

    fn element_value(&mut self) -> Result<Expr> {
        let span = self.span();
        match self.verdict()? {
            Some(verdict) => Ok(Node::new(ExprKind::Verdict(verdict), span.to(self.last_span()))),
            None => self.concat(Side::Values),
        }
    }

    /// A value in a statement: a constant, another field, or a map.
    pub(super) fn stmt_value(&mut self) -> Result<Expr> {
        if !self.at_selector() {
            return self.stmt_constant();
        }
        let key = self.selector_expr()?;
        if !self.eat_word("map") {
            return Ok(key);
        }
        let map = self.map_target()?;
        let span = key.span.to(map.span);
        Ok(Node::new(ExprKind::Map(Box::new(key), Box::new(map)), span))
    }

    /// A constant may still be one side of bit operations with selectors: `meta mark set 0x10 or ct mark`.
    fn stmt_constant(&mut self) -> Result<Expr> {
        let first = self.binary(Side::Selectors, 0)?;
        let start = first.span;
        if self.eat("-") {
            let last = self.binary(Side::Values, 0)?;
            let span = start.to(last.span);
            return Ok(Node::new(ExprKind::Range(Box::new(first), Box::new(last)), span));
        }
        if self.is("/") {
            self.advance();
            let length = self.number("a prefix length")?;
            let span = start.to(length.span);
            return Ok(Node::new(ExprKind::Prefix(Box::new(first), length), span));
        }
        Ok(first)
    }

    /// `{ … }` or `@name` behind `map` and `vmap`.
    pub(super) fn map_target(&mut self) -> Result<Expr> {
        match self.kind() {
            Kind::Punct("{") => self.set_expr(),
            Kind::Punct("@") => self.set_ref(),
            _ => self.unexpected("'{' or '@' and the name of a map"),
        }
    }
}
