//! The statements of a rule.

use super::super::ast::*;
use super::super::error::{Fault, Result, refuse};
use super::super::lex::Kind;
use super::super::log::{Log, LogFlags, LogLevel};
use super::Parser;

/// Statements nft knows and we do not, by their first word.
const UNSUPPORTED: &[&str] = &[
    "queue", "dup", "fwd", "tproxy", "synproxy", "flow", "quota", "xt", "add", "update", "delete", "set", "meter",
    "last",
];

impl Parser<'_> {
    /// One rule, up to the line break or semicolon that ends it.
    pub(super) fn rule(&mut self) -> Result<Rule> {
        let start = self.span();
        let mut stmts: Vec<Stmt> = Vec::new();
        while !matches!(self.kind(), Kind::Newline | Kind::End | Kind::Punct(";" | "}")) {
            let at = self.span();
            if self.eat_word("comment") {
                let comment = self.string("a comment")?;
                if comment.node.len() > 128 {
                    return refuse(comment.span, "a comment has at most 128 characters");
                }
                if !matches!(self.kind(), Kind::Newline | Kind::End | Kind::Punct(";" | "}")) {
                    return self.unexpected("the end of the rule: the comment comes last");
                }
                break;
            }
            let node = self.stmt()?;
            stmts.push(Node::new(node, at.to(self.last_span())));
        }
        if self.stream.tokens[self.stream.at.saturating_sub(1)].span.end <= start.start {
            return self.unexpected("a rule");
        }
        Ok(Rule { stmts, span: start.to(self.last_span()) })
    }

    fn stmt(&mut self) -> Result<StmtKind> {
        let span = self.span();
        if let Some(verdict) = self.verdict()? {
            return Ok(StmtKind::Verdict(verdict));
        }
        let word = self.word().to_owned();
        let next = self.word_at(1).to_owned();
        match (word.as_str(), next.as_str()) {
            ("counter", _) => self.counter(),
            ("log", _) => self.log(),
            ("limit", _) => self.limit(),
            ("notrack", _) => {
                self.advance();
                Ok(StmtKind::Notrack)
            }
            ("reject", _) => self.reject(),
            ("snat", _) => self.nat(NatKind::Snat),
            ("dnat", _) => self.nat(NatKind::Dnat),
            ("masquerade", _) => self.masquerade_or_redirect(NatKind::Masquerade),
            ("redirect", _) => self.masquerade_or_redirect(NatKind::Redirect),
            ("ct", "count") => self.ct_count(),
            ("ct", "timeout" | "expectation" | "event" | "secmark") => self.ct_object(),
            ("tcp", "option") => self.maxseg(),
            ("meta", "nftrace" | "priority") if self.word_at(2) == "set" => self.meta_other(),
            ("ip", "option") => refuse(span, "nft expression 'ip option' is not supported"),
            (word, _) if UNSUPPORTED.contains(&word) => {
                refuse(span, format!("nft statement '{word}' is not supported"))
            }
            _ if self.at_selector() => self.about_selector(),
            _ => self.unexpected("a statement"),
        }
    }

    /// A verdict, if one begins here.
    pub(super) fn verdict(&mut self) -> Result<Option<Verdict>> {
        let verdict = match self.word() {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "continue" => Verdict::Continue,
            "return" => Verdict::Return,
            word @ ("jump" | "goto") => {
                let jump = word == "jump";
                self.advance();
                if self.is("{") {
                    return refuse(self.span(), "chains without a name are not supported");
                }
                let chain = if self.is("$") {
                    let variable = self.variable()?;
                    match variable.node.target() {
                        ExprKind::Symbol(name) | ExprKind::Quoted(name) => Node::new(name.clone(), variable.span),
                        _ => return refuse(variable.span, "this variable is not the name of a chain"),
                    }
                } else {
                    self.name("the name of a chain")?
                };
                return Ok(Some(if jump { Verdict::Jump(chain) } else { Verdict::Goto(chain) }));
            }
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(verdict))
    }

    /// A match, a `set` statement or a verdict map: all begin with a selector.
    fn about_selector(&mut self) -> Result<StmtKind> {
        let start = self.span();
        let dir =
            matches!(self.word_at(1), "original" | "reply") && self.word_at(2) == "zone" && self.word_at(3) == "set";
        if self.word() == "ct" && dir {
            self.advance();
            let dir = self.ct_dir();
            self.advance();
            self.advance();
            return Ok(StmtKind::Set { target: Target::CtZone(dir), value: self.stmt_value()? });
        }
        let left = self.selector_expr()?;
        if self.eat_word("vmap") {
            return Ok(StmtKind::Vmap { key: left, map: self.map_target()? });
        }
        if self.word() == "set" {
            return self.set_stmt(left, start);
        }
        if self.word() == "map" {
            return refuse(self.span(), "a map is not compared with anything: only statements take values from maps");
        }
        let op = self.rel_op();
        let right = self.rhs()?;
        if self.is("/") && op != RelOp::Not {
            self.advance();
            let mask = self.rhs()?;
            return Ok(StmtKind::Flags { left, op, value: right, mask });
        }
        Ok(StmtKind::Match { left, op, right })
    }

    fn rel_op(&mut self) -> RelOp {
        let op = match (self.kind(), self.word()) {
            (Kind::Punct("=="), _) | (_, "eq") => RelOp::Eq,
            (Kind::Punct("!="), _) | (_, "ne") => RelOp::Ne,
            (Kind::Punct("<"), _) | (_, "lt") => RelOp::Lt,
            (Kind::Punct(">"), _) | (_, "gt") => RelOp::Gt,
            (Kind::Punct("<="), _) | (_, "le") => RelOp::Le,
            (Kind::Punct(">="), _) | (_, "ge") => RelOp::Ge,
            (Kind::Punct("!"), _) | (_, "not") => RelOp::Not,
            _ => return RelOp::Implicit,
        };
        self.advance();
        op
    }

    fn set_stmt(&mut self, left: Expr, start: super::Span) -> Result<StmtKind> {
        use super::super::fields::{CtKey, MetaKey, Selector};
        let target = match &left.node {
            ExprKind::Selector(Selector::Meta(MetaKey::Mark)) => Target::MetaMark,
            ExprKind::Selector(Selector::Ct(CtKey::Mark, None)) => Target::CtMark,
            ExprKind::Selector(Selector::Ct(CtKey::Zone, dir)) => Target::CtZone(*dir),
            ExprKind::Selector(Selector::Ct(CtKey::Label, None)) => Target::CtLabel,
            ExprKind::Selector(Selector::Ct(CtKey::Helper, None)) => Target::CtHelper,
            _ => {
                let span = start.to(self.span());
                let what = self.text(span).to_owned();
                return refuse(span, format!("nft statement '{what}' is not supported"));
            }
        };
        self.advance();
        let value = if target == Target::CtHelper { self.object_name()? } else { self.stmt_value()? };
        Ok(StmtKind::Set { target, value })
    }

    /// The name of a ct object, in quotes or not; maps of objects are not supported.
    fn object_name(&mut self) -> Result<Expr> {
        if self.kind() == Kind::Word && self.at_selector() {
            return refuse(self.span(), "maps of objects are not supported");
        }
        let name = self.string("the name of an object")?;
        Ok(Node::new(ExprKind::Quoted(name.node), name.span))
    }

    /// `ct timeout set "x"`, `ct expectation set "x"`.
    fn ct_object(&mut self) -> Result<StmtKind> {
        let start = self.span();
        self.advance();
        let target = match self.word() {
            "timeout" => Target::CtTimeout,
            "expectation" => Target::CtExpectation,
            other => return refuse(start.to(self.span()), format!("nft expression 'ct {other}' is not supported")),
        };
        self.advance();
        self.expect_word("set")?;
        Ok(StmtKind::Set { target, value: self.object_name()? })
    }

    fn meta_other(&mut self) -> Result<StmtKind> {
        let start = self.span();
        self.advance();
        if self.word() != "nftrace" {
            return refuse(
                start.to(self.peek(1).span),
                format!("nft statement 'meta {} set' is not supported", self.word()),
            );
        }
        self.advance();
        self.advance();
        Ok(StmtKind::Set { target: Target::MetaTrace, value: self.stmt_value()? })
    }

    fn counter(&mut self) -> Result<StmtKind> {
        self.advance();
        if self.eat_word("name") {
            if self.at_selector() {
                return refuse(self.span(), "maps of objects are not supported");
            }
            return Ok(StmtKind::Counter(Some(self.string("the name of a counter")?)));
        }
        if self.eat_word("packets") {
            self.number("a number of packets")?;
            self.expect_word("bytes")?;
            self.number("a number of bytes")?;
        }
        Ok(StmtKind::Counter(None))
    }

    fn log(&mut self) -> Result<StmtKind> {
        self.advance();
        let mut log = Log::default();
        let mut seen: Vec<String> = Vec::new();
        loop {
            let span = self.span();
            let word = self.word().to_owned();
            if word != "flags" && seen.contains(&word) {
                return refuse(span, format!("'{word}' is given twice"));
            }
            match word.as_str() {
                "prefix" => {
                    self.advance();
                    let text = self.string("a prefix")?;
                    if text.node.len() > 126 {
                        return refuse(text.span, "a log prefix has at most 126 characters");
                    }
                    if text.node.contains('$') {
                        return refuse(text.span, "variables in a log prefix are not supported");
                    }
                    log.prefix = text.node.into();
                }
                "level" => {
                    self.advance();
                    match LogLevel::named(self.word()) {
                        Some(level) => log.level = level,
                        None => return self.unexpected("a log level such as 'info'"),
                    }
                    self.advance();
                }
                "group" => {
                    self.advance();
                    self.small::<u16>("a log group")?;
                }
                "snaplen" => {
                    self.advance();
                    self.small::<u32>("a length")?;
                }
                "queue-threshold" => {
                    self.advance();
                    self.small::<u16>("a threshold")?;
                }
                "flags" => {
                    self.advance();
                    self.log_flags(&mut log.flags)?;
                }
                _ => break,
            }
            seen.push(word);
        }
        let given = |word: &str| seen.iter().any(|s| s == word);
        let to_netlink = ["group", "snaplen", "queue-threshold"].into_iter().any(given);
        if to_netlink && (given("level") || given("flags")) {
            return refuse(self.last_span(), "'level' and 'flags' cannot be combined with 'group'");
        }
        Ok(StmtKind::Log(log))
    }

    fn log_flags(&mut self, flags: &mut LogFlags) -> Result<()> {
        match self.word() {
            "ether" | "skuid" => {
                self.advance();
                Ok(())
            }
            "all" => {
                self.advance();
                *flags = LogFlags::all();
                Ok(())
            }
            family @ ("tcp" | "ip") => {
                let known: &[(&str, LogFlags)] = match family {
                    "tcp" => &[("sequence", LogFlags::TCP_SEQUENCE), ("options", LogFlags::TCP_OPTIONS)],
                    _ => &[("options", LogFlags::IP_OPTIONS)],
                };
                self.advance();
                loop {
                    let Some((_, flag)) = known.iter().find(|(word, _)| *word == self.word()) else {
                        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
                        return self.unexpected(&format!("'{}'", words.join("' or '")));
                    };
                    *flags |= *flag;
                    self.advance();
                    if !self.eat(",") {
                        return Ok(());
                    }
                }
            }
            _ => self.unexpected("'all', 'tcp', 'ip', 'skuid' or 'ether'"),
        }
    }

    fn limit(&mut self) -> Result<StmtKind> {
        self.advance();
        if self.word() == "name" {
            return refuse(self.span(), "named limits are not supported");
        }
        self.expect_word("rate")?;
        let mut excess = Excess::Until;
        if self.eat_word("over") {
            excess = Excess::Over;
        }
        let amount = self.number("a rate such as 10/second")?;
        let (unit, factor, per) = if self.eat("/") {
            (LimitUnit::Packets, 1, self.word().to_owned())
        } else {
            match self.word().split_once('/') {
                Some(("bytes", per)) => (LimitUnit::Bytes, 1, per.to_owned()),
                Some(("kbytes", per)) => (LimitUnit::Bytes, 1 << 10, per.to_owned()),
                Some(("mbytes", per)) => (LimitUnit::Bytes, 1 << 20, per.to_owned()),
                _ => return self.unexpected("'/second', 'bytes/second', 'kbytes/second' or 'mbytes/second'"),
            }
        };
        let per = match per.as_str() {
            "second" => 1,
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            "week" => 604_800,
            _ => return self.unexpected("'second', 'minute', 'hour', 'day' or 'week'"),
        };
        self.advance();
        let too_large = || Fault::new(amount.span, "this rate is too large");
        let total =
            amount.node.checked_mul(factor).filter(|total| *total <= u64::from(u32::MAX)).ok_or_else(too_large)?;
        if total == 0 {
            return refuse(amount.span, "a rate of nothing never lets a packet pass");
        }
        let mut burst = None;
        if self.eat_word("burst") {
            let number = self.number("a burst")?;
            let factor = match (unit, self.word()) {
                (LimitUnit::Packets, "packets") | (LimitUnit::Bytes, "bytes") => 1,
                (LimitUnit::Bytes, "kbytes") => 1 << 10,
                (LimitUnit::Bytes, "mbytes") => 1 << 20,
                _ => {
                    return self.unexpected(if unit == LimitUnit::Packets {
                        "'packets'"
                    } else {
                        "'bytes', 'kbytes' or 'mbytes'"
                    });
                }
            };
            let value = number.node.checked_mul(factor).filter(|total| *total <= u64::from(u32::MAX));
            burst = Some(value.ok_or_else(|| Fault::new(number.span, "this burst is too large"))?);
            if number.node == 0 && unit == LimitUnit::Packets {
                return refuse(number.span, "a burst of no packets is not possible");
            }
            self.advance();
        }
        Ok(StmtKind::Limit(Limit { excess, amount: total, unit, per, burst }))
    }

    fn ct_count(&mut self) -> Result<StmtKind> {
        self.advance();
        self.advance();
        let excess = if self.eat_word("over") { Excess::Over } else { Excess::Until };
        Ok(StmtKind::CtCount { excess, count: self.small("a number of connections")? })
    }

    fn maxseg(&mut self) -> Result<StmtKind> {
        let start = self.span();
        self.advance();
        self.advance();
        let option = self.word().to_owned();
        if !(option == "maxseg" && self.word_at(1) == "size" && self.word_at(2) == "set") {
            return refuse(start.to(self.span()), "of 'tcp option' only 'maxseg size set' is supported");
        }
        for _ in 0..3 {
            self.advance();
        }
        if self.eat_word("rt") {
            self.expect_word("mtu")?;
            return Ok(StmtKind::MaxSeg(MaxSeg::RouteMtu));
        }
        if self.at_selector() {
            return refuse(self.span(), "the segment size is a number or 'rt mtu'");
        }
        Ok(StmtKind::MaxSeg(MaxSeg::Size(self.stmt_value()?)))
    }

    fn reject(&mut self) -> Result<StmtKind> {
        self.advance();
        if !self.eat_word("with") {
            return Ok(StmtKind::Reject { with: RejectWith::Default, code: None });
        }
        let with = match self.word() {
            "tcp" => {
                self.advance();
                self.expect_word("reset")?;
                return Ok(StmtKind::Reject { with: RejectWith::TcpReset, code: None });
            }
            "icmp" => RejectWith::Icmp,
            "icmpv6" => RejectWith::Icmpv6,
            "icmpx" => RejectWith::Icmpx,
            _ => return self.unexpected("'icmp', 'icmpv6', 'icmpx' or 'tcp reset'"),
        };
        self.advance();
        self.eat_word("type");
        let code = self.rhs()?;
        Ok(StmtKind::Reject { with, code: Some(code) })
    }

    /// After nothing yet: `dnat [ip|ip6] [prefix|interval|addr . port] to A[:P] [flags]`.
    fn nat(&mut self, kind: NatKind) -> Result<StmtKind> {
        let start = self.span();
        self.advance();
        let family = self.nat_family();
        let mut form = NatForm::Plain;
        if self.eat_word("prefix") {
            form = NatForm::Prefix;
        } else if self.eat_word("interval") {
            form = NatForm::Interval;
        } else if self.eat_word("addr") {
            self.expect(".")?;
            self.expect_word("port")?;
            form = NatForm::AddressPort;
        }
        let bare = family.is_none() && form == NatForm::Plain;
        if !self.eat_word("to") && !bare {
            return self.unexpected("'to'");
        }
        let mut nat = Nat { kind, family, form, address: None, port: None, flags: Vec::new() };
        if !self.is(":") {
            nat.address = Some(self.stmt_value()?);
        } else if !bare {
            return refuse(self.span(), "with 'ip', 'ip6' or 'prefix' before 'to' there must be an address");
        }
        if form == NatForm::Plain && self.eat(":") {
            nat.port = Some(self.stmt_value()?);
        }
        nat.flags = self.nat_flags()?;
        if nat.address.is_none() && nat.port.is_none() {
            return refuse(start, "an address or a port is missing");
        }
        Ok(StmtKind::Nat(nat))
    }

    fn nat_family(&mut self) -> Option<AddressFamily> {
        let family = match (self.word(), self.word_at(1)) {
            ("ip", "to" | "prefix" | "interval" | "addr") => AddressFamily::Ip,
            ("ip6", "to" | "prefix" | "interval" | "addr") => AddressFamily::Ip6,
            _ => return None,
        };
        self.advance();
        Some(family)
    }

    fn masquerade_or_redirect(&mut self, kind: NatKind) -> Result<StmtKind> {
        self.advance();
        let mut port = None;
        if self.eat_word("to") {
            if !self.eat(":") && kind == NatKind::Masquerade {
                return self.unexpected("':' and a port");
            }
            port = Some(self.stmt_value()?);
        }
        let flags = self.nat_flags()?;
        Ok(StmtKind::Nat(Nat { kind, family: None, form: NatForm::Plain, address: None, port, flags }))
    }

    fn nat_flags(&mut self) -> Result<Vec<NatFlag>> {
        let (mut flags, mut comma) = (Vec::new(), false);
        loop {
            let flag = match self.word() {
                "random" => NatFlag::Random,
                "fully-random" => NatFlag::FullyRandom,
                "persistent" => NatFlag::Persistent,
                _ if comma => return self.unexpected("'random', 'fully-random' or 'persistent'"),
                _ => return Ok(flags),
            };
            self.advance();
            flags.push(flag);
            comma = self.eat(",");
        }
    }
}
