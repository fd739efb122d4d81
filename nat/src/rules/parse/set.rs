//! Sets, maps and named objects.

use super::super::ast::*;
use super::super::error::{Result, refuse};
use super::super::lex::{Kind, duration};
use super::super::types::DataType;
use super::Parser;

impl Parser<'_> {
    /// A `set` or `map`, after that word.
    pub(super) fn set(&mut self, word: &str) -> Result<Set> {
        let name = self.name(&format!("the name of a {word}"))?;
        let map = word == "map";
        let mut set = Set {
            name,
            map,
            key: None,
            data: None,
            interval: false,
            auto_merge: false,
            size: None,
            elements: Vec::new(),
        };
        self.block(&mut |parser| {
            let span = parser.span();
            match parser.word() {
                "type" | "typeof" => parser.set_type(&mut set)?,
                "flags" => {
                    parser.advance();
                    loop {
                        match parser.word() {
                            "interval" => set.interval = true,
                            "constant" | "timeout" => {}
                            "dynamic" => {
                                return refuse(
                                    parser.span(),
                                    "set flag 'dynamic' is not supported: the packet path fills no sets",
                                );
                            }
                            _ => return parser.unexpected("a set flag: 'interval', 'constant' or 'timeout'"),
                        }
                        parser.advance();
                        if !parser.eat(",") {
                            break;
                        }
                    }
                }
                "auto-merge" => {
                    parser.advance();
                    set.auto_merge = true;
                }
                "elements" => {
                    parser.advance();
                    parser.expect("=")?;
                    set.elements.extend(parser.elements()?);
                }
                "size" => {
                    parser.advance();
                    set.size = Some(parser.number("the size of the set")?.node);
                }
                "gc-interval" => {
                    parser.advance();
                    parser.milliseconds("an interval")?;
                }
                "policy" => {
                    parser.advance();
                    if !parser.eat_word("memory") {
                        parser.expect_word("performance")?;
                    }
                }
                "comment" => {
                    parser.advance();
                    parser.string("a comment")?;
                }
                "timeout" => return refuse(span, "elements that run out ('timeout') are not supported"),
                "counter" => return refuse(span, "counters of set elements are not supported"),
                _ => {
                    return parser
                        .unexpected("'type', 'typeof', 'flags', 'elements', 'auto-merge', 'size', 'comment' or '}'");
                }
            }
            parser.end_of_item()
        })?;
        Ok(set)
    }

    fn set_type(&mut self, set: &mut Set) -> Result<()> {
        let typeof_ = self.eat_word("typeof");
        if !typeof_ {
            self.expect_word("type")?;
        }
        set.key = Some(self.type_spec(typeof_)?);
        if !set.map {
            return if self.is(":") {
                refuse(self.span(), "a set has keys only: for values write 'map'")
            } else {
                Ok(())
            };
        }
        if !self.is(":") {
            return self.unexpected("':' and the type of the map's values");
        }
        self.advance();
        let interval = self.eat_word("interval");
        set.data = Some(match self.word() {
            "verdict" if !interval => {
                self.advance();
                DataSpec::Verdict
            }
            "counter" | "quota" | "limit" | "synproxy" | "secmark" => {
                return refuse(self.span(), format!("maps to '{}' objects are not supported", self.word()));
            }
            _ if interval => DataSpec::Interval(self.type_spec(typeof_)?),
            _ => DataSpec::Type(self.type_spec(typeof_)?),
        });
        Ok(())
    }

    fn type_spec(&mut self, typeof_: bool) -> Result<TypeSpec> {
        if typeof_ {
            return Ok(TypeSpec::Of(self.selector_expr()?));
        }
        let mut names = Vec::new();
        loop {
            let span = self.span();
            let word = self.word().to_owned();
            // 'mark' is a keyword as well as a type.
            if word.is_empty() {
                return self.unexpected("a type such as 'ipv4_addr'");
            }
            if DataType::named(&word).is_none() {
                return refuse(span, format!("type '{word}' is not supported"));
            }
            self.advance();
            names.push(Node::new(word, span));
            if !self.eat(".") {
                return Ok(TypeSpec::Named(names));
            }
        }
    }

    /// `{ … }` or a variable that holds one, as elements.
    pub(super) fn elements(&mut self) -> Result<Vec<Element>> {
        if self.is("$") {
            let key = self.variable()?;
            return match key.node.target() {
                ExprKind::Set(_) => Ok(vec![Element { key, value: None }]),
                _ => refuse(key.span, "this variable does not hold a set"),
            };
        }
        let set = self.set_expr()?;
        match set.node {
            ExprKind::Set(elements) => Ok(elements),
            _ => self.unexpected("'{'"),
        }
    }

    /// After `ct`, which kind of object.
    pub(super) fn object_kind(&mut self) -> Result<String> {
        let word = self.word().to_owned();
        if !["helper", "timeout", "expectation"].contains(&word.as_str()) {
            return self.unexpected("'helper', 'timeout' or 'expectation'");
        }
        self.advance();
        Ok(word)
    }

    /// A named object, after the words that say its kind.
    pub(super) fn object(&mut self, kind: &str) -> Result<Object> {
        let name = self.string("the name of an object")?;
        let start = name.span;
        let (mut helper, mut protocol, mut l3) = (None, None, None);
        let (mut policy, mut dport, mut timeout, mut size) = (Vec::new(), None, None, None);
        if kind == "counter" && !self.is("{") {
            return Ok(Object { name, kind: ObjectKind::Counter });
        }
        self.block(&mut |parser| {
            let word = parser.word().to_owned();
            match (kind, word.as_str()) {
                ("counter", "packets") => {
                    parser.advance();
                    parser.number("a number of packets")?;
                    parser.expect_word("bytes")?;
                    parser.number("a number of bytes")?;
                }
                (_, "comment") => {
                    parser.advance();
                    parser.string("a comment")?;
                }
                ("helper", "type") => {
                    parser.advance();
                    helper = Some(parser.quoted("the helper's name in quotes")?);
                    parser.expect_word("protocol")?;
                    protocol = Some(parser.tcp_or_udp()?);
                }
                ("timeout" | "expectation", "protocol") => {
                    parser.advance();
                    protocol = Some(parser.tcp_or_udp()?);
                }
                ("helper" | "timeout" | "expectation", "l3proto") => {
                    parser.advance();
                    l3 = Some(match parser.word() {
                        "ip" | "ip6" | "inet" => parser.string("a family")?,
                        _ => return parser.unexpected("'ip', 'ip6' or 'inet'"),
                    });
                }
                ("timeout", "policy") => {
                    parser.advance();
                    parser.expect("=")?;
                    parser.timeout_policy(&mut policy)?;
                }
                ("expectation", "dport") => {
                    parser.advance();
                    dport = Some(parser.small("a port")?);
                }
                ("expectation", "timeout") => {
                    parser.advance();
                    timeout = Some(parser.milliseconds("a time")?);
                }
                ("expectation", "size") => {
                    parser.advance();
                    size = Some(parser.small("a size")?);
                }
                _ => return parser.unexpected("a setting of this object or '}'"),
            }
            parser.end_of_item()
        })?;
        let missing = |what: &str| super::Fault::new(start, format!("this object lacks its '{what}'"));
        let kind = match kind {
            "helper" => ObjectKind::Helper {
                helper: helper.ok_or_else(|| missing("type"))?,
                protocol: protocol.ok_or_else(|| missing("protocol"))?,
                l3,
            },
            "timeout" => ObjectKind::Timeout { protocol: protocol.ok_or_else(|| missing("protocol"))?, l3, policy },
            "expectation" => ObjectKind::Expectation {
                protocol: protocol.ok_or_else(|| missing("protocol"))?,
                l3,
                dport: dport.ok_or_else(|| missing("dport"))?,
                timeout_ms: timeout.ok_or_else(|| missing("timeout"))?,
                size: size.ok_or_else(|| missing("size"))?,
            },
            _ => ObjectKind::Counter,
        };
        Ok(Object { name, kind })
    }

    fn tcp_or_udp(&mut self) -> Result<Name> {
        match self.word() {
            "tcp" | "udp" => self.string("a protocol"),
            _ => self.unexpected("'tcp' or 'udp'"),
        }
    }

    /// `{ established : 120, close : 4 }`, seconds.
    fn timeout_policy(&mut self, policy: &mut Vec<(Name, u32)>) -> Result<()> {
        self.expect("{")?;
        loop {
            let state = self.string("a state")?;
            self.expect(":")?;
            policy.push((state, self.small("a timeout in seconds")?));
            if !self.eat(",") {
                break;
            }
        }
        self.expect("}")
    }

    fn milliseconds(&mut self, what: &str) -> Result<u64> {
        let span = self.span();
        if self.kind() == Kind::Word
            && let Some(time) = duration(self.text(span))
        {
            self.advance();
            return Ok(time);
        }
        self.unexpected(what)
    }
}
