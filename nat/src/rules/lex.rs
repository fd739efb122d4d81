//! Characters to tokens, with nft's own idea of a word.
//!
//! nft's words are wide: letters, digits and `/ - _ .` after a first letter, so `ssh-http` and `eth0.10` are one word each while
//! `22-80` is three tokens. Addresses are recognised as wholes (`10.0.0.1-10.0.0.9`, `[2001:db8::1]:80`), a duration such as
//! `1h30m` is a word, a newline is a token (it ends a rule) unless a backslash stands before it, and `#` hides the rest of a line.
//! Where nft would silently read something else than a person does (`010` is eight there), we refuse.

use super::error::{Fault, Result, refuse};
use super::source::{FileId, Span};
use std::net::Ipv6Addr;

/// What kind of token; its text is the span's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare word: keyword, name, symbolic value, IPv4 or IPv6 address, MAC address, duration; may end in `*`.
    Word,
    /// A word in double quotes; the span includes them.
    Quoted,
    /// An IPv6 address in brackets; the span includes them.
    Bracketed,
    /// A number, decimal or hexadecimal.
    Number(u64),
    /// An operator or a separator.
    Punct(&'static str),
    /// The end of a line.
    Newline,
    /// The end of a file.
    End,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// Longest first, so that `<<` is not two `<`.
const PUNCTUATION: [&str; 27] = [
    "==", "!=", "<=", ">=", "<<", ">>", "{", "}", "(", ")", "[", "]", ",", ";", ":", ".", "/", "-", "+", "=", "<", ">",
    "&", "|", "^", "!", "*",
];

pub(crate) fn lex(file: FileId, text: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer { file, text, at: 0, tokens: Vec::new() };
    while lexer.at < text.len() {
        lexer.next()?;
    }
    lexer.push(Kind::End, text.len(), text.len());
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    file: FileId,
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        let span = self.span(start, end);
        self.tokens.push(Token { kind, span });
        self.at = end;
    }

    fn next(&mut self) -> Result<()> {
        let rest = &self.text[self.at..];
        let start = self.at;
        let Some(first) = rest.chars().next() else { return Ok(()) };
        match first {
            ' ' | '\t' => self.at += 1,
            '\r' if rest.starts_with("\r\n") => self.at += 1,
            '\n' => self.push(Kind::Newline, start, start + 1),
            '\\' if rest.starts_with("\\\n") => self.at += 2,
            '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
            '"' => match rest[1..].find(['"', '\n']) {
                Some(end) if rest[1 + end..].starts_with('"') => self.push(Kind::Quoted, start, start + end + 2),
                _ => return refuse(self.span(start, start + 1), "this quoted string has no end"),
            },
            '[' if rest[1..].find(']').is_some_and(|end| rest[1..1 + end].parse::<Ipv6Addr>().is_ok()) => {
                let end = rest.find(']').unwrap_or(0);
                self.push(Kind::Bracketed, start, start + end + 1);
            }
            '$' => self.push(Kind::Punct("$"), start, start + 1),
            '@' => self.push(Kind::Punct("@"), start, start + 1),
            _ => return self.address_or_word(rest),
        }
        Ok(())
    }

    fn address_or_word(&mut self, rest: &str) -> Result<()> {
        let start = self.at;
        if let Some(length) = address(rest) {
            if rest[length..].starts_with(is_word) {
                return refuse(self.span(start, start + length + 1), "this address runs into the next word");
            }
            self.push(Kind::Word, start, start + length);
            return Ok(());
        }
        let run = rest.bytes().take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')).count();
        if rest[..run].contains('.') && rest[..run].parse::<Ipv6Addr>().is_ok() {
            let what = format!("nft does not read '{}'", &rest[..run]);
            return Err(Fault::new(self.span(start, start + run), what).help("write it without dots"));
        }
        if let Some(length) = class_id(rest) {
            let fault =
                Fault::new(self.span(start, start + length), format!("nft reads '{}' as one word", &rest[..length]));
            return Err(fault.help("put a space before the ':'"));
        }
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let dotted = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            if rest[..dotted].trim_end_matches('.').contains('.') {
                return refuse(
                    self.span(start, start + dotted),
                    format!("'{}' is not an IPv4 address", &rest[..dotted]),
                );
            }
            return self.number(rest);
        }
        let word = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            || (rest.starts_with('.') && rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'));
        if word {
            let mut end = rest.find(|c: char| !(is_word(c) || matches!(c, '/' | '-' | '.'))).unwrap_or(rest.len());
            if rest[end..].starts_with('*') {
                end += 1;
            }
            self.push(Kind::Word, start, start + end);
            return Ok(());
        }
        match PUNCTUATION.iter().find(|p| rest.starts_with(**p)) {
            Some(found) => {
                // `&&`, `||` are one slip of the pen for everybody who writes C.
                self.push(Kind::Punct(found), start, start + found.len());
                Ok(())
            }
            None => {
                let c = rest.chars().next().unwrap_or(' ');
                refuse(self.span(start, start + c.len_utf8()), format!("unexpected character {c:?}"))
            }
        }
    }

    fn number(&mut self, rest: &str) -> Result<()> {
        let start = self.at;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let text = &rest[..end];
        let span = self.span(start, start + end);
        let value = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            u64::from_str_radix(hex, 16)
        } else if text.bytes().all(|b| b.is_ascii_digit()) {
            if text.len() > 1 && text.starts_with('0') {
                return refuse(span, format!("'{text}' would be read as octal: write it without the leading zero"));
            }
            text.parse()
        } else if duration(text).is_some() {
            self.push(Kind::Word, start, start + end);
            return Ok(());
        } else {
            return refuse(span, format!("'{text}' is neither a number nor a word"));
        };
        match value {
            Ok(value) => self.push(Kind::Number(value), start, start + end),
            Err(_) => return refuse(span, format!("'{text}' is not a number that fits")),
        }
        Ok(())
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of the IPv4, IPv6 or MAC address that `text` begins with.
fn address(text: &str) -> Option<usize> {
    let run =
        text.bytes().position(|b| !(b.is_ascii_hexdigit() || b == b':' || b == b'.')).unwrap_or(text.len()).min(48);
    let run = &text[..run];
    let dots = run.bytes().take_while(|&b| b.is_ascii_digit() || b == b'.').count();
    if !run.contains("::") && run.bytes().filter(|&b| b == b':').count() < 5 {
        // At most 192.168.1.10:8080, whose address part ends before the colon.
        return run[..dots].parse::<std::net::Ipv4Addr>().ok().map(|_| dots);
    }
    if run.get(..17).is_some_and(is_mac) && !run[17..].starts_with(':') {
        return Some(17);
    }
    // Of the forms that end like an IPv4 address nft reads only those that begin with two colons.
    let known = |text: &str| text.parse::<Ipv6Addr>().is_ok() && (!text.contains('.') || nft_mapped(text));
    (2..=run.len()).rev().find(|&length| known(&run[..length])).or_else(|| {
        let ipv4 = run[..dots].parse::<std::net::Ipv4Addr>();
        ipv4.ok().map(|_| dots)
    })
}

fn nft_mapped(text: &str) -> bool {
    let rest =
        text.strip_prefix("::").map(|rest| rest.strip_prefix("ffff:").or(rest.strip_prefix("FFFF:")).unwrap_or(rest));
    rest.is_some_and(|rest| !rest.contains(':'))
}

/// The length of what nft takes for a traffic class, `1:10`: up to four hexadecimal digits on both sides of a colon.
fn class_id(text: &str) -> Option<usize> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let major = digits(text);
    let rest = text.get(major..)?.strip_prefix(':')?;
    let minor = digits(rest);
    let ends = rest[minor..].starts_with([' ', '\t', '\n', ':', '-', '}', ',']);
    ((1..=4).contains(&major) && (1..=4).contains(&minor) && ends).then_some(major + 1 + minor)
}

fn is_mac(text: &str) -> bool {
    text.split(':').count() == 6
        && text.split(':').all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Milliseconds of a duration such as `1d2h3m4s5ms`: every unit at most once, in this order, at least one.
pub(crate) fn duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let (mut rest, mut total, mut next) = (text, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let value: u64 = rest[..digits].parse().ok()?;
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = next + UNITS[next..].iter().position(|(name, _)| *name == &rest[digits..digits + letters])?;
        total = total.checked_add(value.checked_mul(UNITS[unit].1)?)?;
        next = unit + 1;
        rest = &rest[digits + letters..];
    }
    (next > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut tokens = lex(FileId(0), text).unwrap();
        assert_eq!(tokens.pop().map(|t| t.kind), Some(Kind::End));
        tokens.iter().map(|t| text[t.span.start as usize..t.span.end as usize].to_owned()).collect()
    }

    #[test]
    fn words_are_as_wide_as_nfts() {
        for (text, want) in [
            ("tcp dport 22-80", "tcp|dport|22|-|80"),
            ("ssh-http eth0.10 eth*", "ssh-http|eth0.10|eth*"),
            ("dnat to 192.168.1.10:8080", "dnat|to|192.168.1.10|:|8080"),
            ("10.0.0.1-10.0.0.9:80-90", "10.0.0.1|-|10.0.0.9|:|80|-|90"),
            ("10.0.0.0/24,::1 . 80", "10.0.0.0|/|24|,|::1|.|80"),
            ("[2001:db8::1]:80 2001:db8::/32", "[2001:db8::1]|:|80|2001:db8::|/|32"),
            ("2001:db8::1-2001:db8::9", "2001:db8::1|-|2001:db8::9"),
            ("{ 2001:db8::1 : accept }", "{|2001:db8::1|:|accept|}"),
            ("to :8080", "to|:|8080"),
            ("00:11:22:aa:bb:cc abc :1", "00:11:22:aa:bb:cc|abc|:|1"),
            ("1h30m 0x1f != <= << $a @b", "1h30m|0x1f|!=|<=|<<|$|a|@|b"),
            ("a \\\n b # c ; d\ne", "a|b|\n|e"),
            ("\"a b\";", "\"a b\"|;"),
            ("10/second mbytes/second", "10|/|second|mbytes/second"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ] {
            assert_eq!(words(text).join("|"), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "010",
            "0xzz",
            "\"abc",
            "10x",
            "99999999999999999999",
            "é",
            "`",
            "1.2.3.4x",
            "\\ \n",
            "80:81 ",
            "$a:80 ",
            "1.2.3",
        ] {
            assert!(lex(FileId(0), text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1d2h3m4s5ms"), Some(93_784_005));
        assert_eq!(duration("90s"), Some(90_000));
        for bad in ["", "s", "5", "1s2m", "1m1m", "5x", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
