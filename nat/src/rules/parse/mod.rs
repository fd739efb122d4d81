//! Text to [`ast`](super::ast): recursive descent, one function per construct of nft's grammar.
//!
//! | what | where |
//! |---|---|
//! | tokens, names, scopes, `define`, `include` | here |
//! | commands, tables, chains | `table` |
//! | sets, maps, named objects | `set` |
//! | statements of a rule | `stmt` |
//! | selectors and values | `expr` |
//!
//! What nft knows and we do not is refused by name where it stands. Recursion, included files and nested definitions are bounded,
//! so no input can exhaust the stack or the memory.

mod expr;
mod set;
mod stmt;
mod table;

use super::ast::{Command, Expr, ExprKind, Name, Node};
use super::error::{Fault, Result, refuse};
use super::lex::{Kind, Token, lex};
use super::source::{FileId, Files, Sources, Span, resolve};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// nft's own limit on nested `include`.
const MAX_INCLUDE_DEPTH: usize = 16;
/// Files one ruleset may be read from, counting a file as often as it is included.
const MAX_FILES: usize = 4096;
/// Bytes one ruleset may be read from.
const MAX_BYTES: usize = 64 << 20;
/// Nesting of expressions, sets and definitions.
const MAX_NESTING: u32 = 32;
/// Bit operators of one kind in a row: nine TCP flags, sixteen status bits.
const MAX_OPERATORS: u32 = 16;

/// Words that nft 1.0.6 keeps for itself, so that they cannot name a chain, set, table or variable unless quoted by context.
#[rustfmt::skip]
pub(crate) const RESERVED: &[&str] = &[
    "accept", "add", "ah", "all", "and", "arp", "auto-merge", "bridge", "cgroup", "chain", "comment", "comp",
    "constant", "continue", "counter", "cpu", "create", "ct", "day", "dccp", "define", "delete", "describe",
    "device", "devices", "dnat", "drop", "dst", "dup", "dynamic", "ecn", "element", "elements", "esp", "ether",
    "exists", "expires", "export", "exthdr", "fib", "flags", "flow", "flowtable", "flush", "frag", "fwd",
    "gc-interval", "get", "goto", "handle", "hbh", "hook", "hour", "ibriport", "ibrname", "icmp", "icmpv6", "igmp",
    "iif", "iifgroup", "iifname", "iiftype", "import", "include", "index", "inet", "insert", "interval", "ip",
    "ip6", "ipsec", "jhash", "jump", "limit", "list", "log", "lt", "gt", "le", "ge", "eq", "ne", "map", "mark",
    "masquerade", "meta", "meter", "mh", "missing", "monitor", "netdev", "nftrace", "not", "notrack", "numgen",
    "obriport", "obrname", "offload", "oif", "oifgroup", "oifname", "oiftype", "or", "osf", "pkttype", "policy",
    "position", "priority", "queue", "quota", "random", "redefine", "redirect", "reject", "rename", "replace",
    "reset", "return", "rt", "rt0", "rt2", "rtclassid", "rule", "ruleset", "sctp", "secmark", "set", "size",
    "skgid", "skuid", "snat", "socket", "srh", "symhash", "synproxy", "table", "tcp", "th", "time", "timeout",
    "tproxy", "type", "typeof", "udp", "udplite", "undefine", "update", "vlan", "vmap", "xor", "xt",
];

/// Reads a ruleset, and whatever it includes, into commands.
pub(crate) fn parse(sources: &mut Sources, files: &dyn Files, file: FileId) -> Result<Vec<Command>> {
    let text = sources.shared_text(file);
    let tokens = lex(file, &text)?.into();
    let mut parser = Parser {
        files,
        sources,
        stream: Stream { tokens, text, at: 0 },
        scopes: vec![HashMap::new()],
        include_depth: 0,
        files_read: 1,
        bytes_read: 0,
        nesting: 0,
    };
    let mut commands = Vec::new();
    while parser.kind() != Kind::End {
        parser.command(&mut commands)?;
    }
    Ok(commands)
}

#[derive(Clone)]
struct Stream {
    tokens: Rc<[Token]>,
    text: Arc<str>,
    at: usize,
}

/// A `define`d value and how deep its own references nest.
#[derive(Clone)]
struct Definition {
    value: Rc<Expr>,
    depth: u32,
}

pub(crate) struct Parser<'a> {
    files: &'a dyn Files,
    sources: &'a mut Sources,
    stream: Stream,
    scopes: Vec<HashMap<String, Definition>>,
    include_depth: usize,
    files_read: usize,
    bytes_read: usize,
    nesting: u32,
}

impl Parser<'_> {
    // ---- tokens -------------------------------------------------------------------------------------------------------------

    fn token(&self) -> Token {
        self.peek(0)
    }

    fn peek(&self, ahead: usize) -> Token {
        let tokens = &self.stream.tokens;
        // The last token is always End.
        tokens[(self.stream.at + ahead).min(tokens.len() - 1)]
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    fn span(&self) -> Span {
        self.token().span
    }

    /// The span of the token before the current one: where a construct just read has its end.
    fn last_span(&self) -> Span {
        self.stream.tokens[self.stream.at.saturating_sub(1)].span
    }

    fn advance(&mut self) -> Token {
        let token = self.token();
        self.stream.at = (self.stream.at + 1).min(self.stream.tokens.len() - 1);
        token
    }

    fn text(&self, span: Span) -> &str {
        self.stream.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// The current token's text if it is a bare word, else nothing.
    fn word(&self) -> &str {
        self.word_at(0)
    }

    fn word_at(&self, ahead: usize) -> &str {
        let token = self.peek(ahead);
        if token.kind == Kind::Word { self.text(token.span) } else { "" }
    }

    fn is(&self, punct: &str) -> bool {
        matches!(self.kind(), Kind::Punct(found) if found == punct)
    }

    /// Takes the punctuation if it stands here.
    fn eat(&mut self, punct: &str) -> bool {
        let found = self.is(punct);
        if found {
            self.advance();
        }
        found
    }

    /// Takes the word if it stands here.
    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.word() == word;
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, punct: &str) -> Result<()> {
        if self.eat(punct) { Ok(()) } else { self.unexpected(&format!("'{punct}'")) }
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) { Ok(()) } else { self.unexpected(&format!("'{word}'")) }
    }

    fn skip_newlines(&mut self) {
        while self.kind() == Kind::Newline {
            self.advance();
        }
    }

    /// "expected X, found Y" at the current token.
    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.kind() {
            Kind::Newline => "the end of the line".to_owned(),
            Kind::End => "the end of the file".to_owned(),
            _ => format!("'{}'", self.text(self.span())),
        };
        refuse(self.span(), format!("expected {wanted}, found {found}"))
    }

    /// The end of a command or of an item in a block.
    fn end_of_item(&mut self) -> Result<()> {
        match self.kind() {
            Kind::Newline | Kind::Punct(";") => {
                self.advance();
                Ok(())
            }
            Kind::End => Ok(()),
            Kind::Punct("}") => {
                Err(Fault::new(self.span(), "expected a line break or ';' before '}'").help("nft wants one there too"))
            }
            _ => self.unexpected("a line break or ';'"),
        }
    }

    fn number(&mut self, what: &str) -> Result<Node<u64>> {
        let span = self.span();
        if let Kind::Number(value) = self.kind() {
            self.advance();
            return Ok(Node::new(value, span));
        }
        self.unexpected(what)
    }

    /// A number that must fit `T`.
    fn small<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T> {
        let number = self.number(what)?;
        T::try_from(number.node)
            .map_err(|_| Fault::new(number.span, format!("{} is too large for {what}", number.node)))
    }

    /// The name of a table, chain, set, object or variable.
    fn name(&mut self, what: &str) -> Result<Name> {
        let span = self.span();
        let word = self.word().to_owned();
        let first = word.chars().next();
        if !first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_') || word.ends_with('*') || word.contains(':') {
            return self.unexpected(what);
        }
        if RESERVED.contains(&word.as_str()) {
            return refuse(span, format!("'{word}' is a keyword of nft and cannot be {what}"));
        }
        if word.len() > 127 {
            return refuse(span, "this name is too long");
        }
        self.advance();
        Ok(Node::new(word, span))
    }

    /// A word, quoted or not.
    fn string(&mut self, what: &str) -> Result<Name> {
        let span = self.span();
        let text = match self.kind() {
            Kind::Word => self.text(span).to_owned(),
            Kind::Quoted => self.unquoted(span),
            _ => return self.unexpected(what),
        };
        self.advance();
        Ok(Node::new(text, span))
    }

    fn quoted(&mut self, what: &str) -> Result<Name> {
        if self.kind() == Kind::Quoted { self.string(what) } else { self.unexpected(what) }
    }

    fn unquoted(&self, span: Span) -> String {
        self.text(span).trim_matches('"').to_owned()
    }

    /// Runs `body` one level deeper, within bounds.
    fn nested<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting >= MAX_NESTING {
            return refuse(self.span(), "this is nested too deeply");
        }
        self.nesting += 1;
        let result = body(self);
        self.nesting -= 1;
        result
    }

    // ---- what may stand in any block -------------------------------------------------------------------------------------------

    /// `{`, items, `}` with a scope of its own.
    fn block(&mut self, item: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect("{")?;
        self.scopes.push(HashMap::new());
        while !self.is("}") {
            if self.kind() == Kind::End {
                return self.unexpected("'}'");
            }
            self.common_or(item)?;
        }
        self.scopes.pop();
        self.expect("}")
    }

    /// An empty line, `include`, `define` and its kin, or else one `item`.
    fn common_or(&mut self, item: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        match self.word() {
            "include" => self.include(item),
            "define" | "redefine" | "undefine" => self.define(),
            _ if matches!(self.kind(), Kind::Newline | Kind::Punct(";")) => {
                self.advance();
                Ok(())
            }
            _ => item(self),
        }
    }

    fn include(&mut self, item: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.advance();
        let pattern = self.quoted("a file name in quotes")?;
        self.end_of_item()?;
        let paths = resolve(self.files, &pattern.node).map_err(|message| Fault::new(pattern.span, message))?;
        for path in paths {
            let fail = |message: String| Fault::new(pattern.span, message);
            if self.include_depth == MAX_INCLUDE_DEPTH {
                return Err(fail(format!("files include each other more than {MAX_INCLUDE_DEPTH} deep")));
            }
            let text = self.files.read(&path).map_err(|why| fail(format!("file '{path}' cannot be read: {why}")))?;
            self.files_read += 1;
            self.bytes_read += text.len();
            if self.files_read > MAX_FILES || self.bytes_read > MAX_BYTES {
                return Err(fail("too much is included".to_owned()));
            }
            let file = self.sources.add(&path, &text);
            let text = self.sources.shared_text(file);
            let tokens = lex(file, &text)?.into();
            let outer = std::mem::replace(&mut self.stream, Stream { tokens, text, at: 0 });
            self.include_depth += 1;
            while self.kind() != Kind::End {
                if self.is("}") {
                    return refuse(self.span(), "this '}' closes nothing in this file");
                }
                self.common_or(item)?;
            }
            self.include_depth -= 1;
            self.stream = outer;
        }
        Ok(())
    }

    fn define(&mut self) -> Result<()> {
        let verb = self.advance();
        let verb = self.text(verb.span).to_owned();
        let name = self.name("the name of a variable")?;
        let known = self.scopes.iter().any(|scope| scope.contains_key(&name.node));
        if verb == "undefine" {
            for scope in self.scopes.iter_mut().rev() {
                if scope.remove(&name.node).is_some() {
                    break;
                }
            }
            return if known {
                self.end_of_item()
            } else {
                refuse(name.span, format!("variable '{}' is not defined", name.node))
            };
        }
        if verb == "define" && known {
            return Err(
                Fault::new(name.span, format!("variable '{}' is defined already", name.node)).help("use 'redefine'")
            );
        }
        self.expect("=")?;
        let value = self.initializer()?;
        self.end_of_item()?;
        let depth = self.depth_of(&value);
        if depth > MAX_NESTING {
            return refuse(value.span, "these definitions are nested too deeply");
        }
        // A variable that only repeats another one is that one: chains of definitions cost nothing.
        let value = match value.node {
            ExprKind::Variable(inner) => inner,
            node => Rc::new(Node::new(node, value.span)),
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.node, Definition { value, depth });
        }
        Ok(())
    }

    /// How many definitions an expression nests, itself included.
    fn depth_of(&self, expr: &Expr) -> u32 {
        fn depth(expr: &Expr, known: &dyn Fn(&Rc<Expr>) -> u32) -> u32 {
            match &expr.node {
                ExprKind::Variable(inner) => 1 + known(inner),
                ExprKind::Concat(parts) | ExprKind::List(parts) => {
                    parts.iter().map(|p| depth(p, known)).max().unwrap_or(0)
                }
                ExprKind::Set(elements) => {
                    let values = elements.iter().flat_map(|e| [Some(&e.key), e.value.as_ref()]).flatten();
                    1 + values.map(|e| depth(e, known)).max().unwrap_or(0)
                }
                ExprKind::Range(a, b) | ExprKind::Binary(_, a, b) | ExprKind::Map(a, b) => {
                    depth(a, known).max(depth(b, known))
                }
                ExprKind::Prefix(a, _) => depth(a, known),
                _ => 0,
            }
        }
        let known = |value: &Rc<Expr>| {
            let mut all = self.scopes.iter().flat_map(HashMap::values);
            all.find(|d| Rc::ptr_eq(&d.value, value)).map_or(0, |d| d.depth)
        };
        depth(expr, &known)
    }

    /// `$name`
    fn variable(&mut self) -> Result<Expr> {
        let start = self.span();
        self.expect("$")?;
        let span = start.to(self.span());
        let name = self.word().to_owned();
        if name.is_empty() {
            return self.unexpected("the name of a variable");
        }
        self.advance();
        let value = self.scopes.iter().rev().find_map(|scope| scope.get(&name));
        match value {
            Some(definition) => Ok(Node::new(ExprKind::Variable(definition.value.clone()), span)),
            None => refuse(span, format!("variable '{name}' is not defined")),
        }
    }
}
