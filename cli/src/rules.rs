//! Rulesets from files and from the command line, with a caret under what is wrong.
//!
//! `--rule TEXT` needs no file and no table: it goes into a chain of `table inet uct` that its statement belongs in.
//!
//! | the rule has | hook, type, priority |
//! |---|---|
//! | masquerade, snat | postrouting, nat, srcnat |
//! | dnat, redirect | prerouting, nat, dstnat |
//! | notrack, `ct zone set` | prerouting, filter, raw |
//! | anything else | forward, filter, filter |

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Read as _};
use std::path::Path;

use uct_nat::rules::{Colour, Files, Refusal, Ruleset};
use uct_pipeline::topology::Topology;

use crate::Failure;

/// Reads the ruleset of `--rules` and `--rule`.
pub fn load(file: Option<&Path>, rules: &[String]) -> Result<Ruleset, Failure> {
    load_in(file, rules, colour())
}

/// Whether what is wrong is told in colours: on terminals, unless NO_COLOR is set.
pub fn colour() -> Colour {
    let is_plain = !io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    if is_plain { Colour::Never } else { Colour::Always }
}

/// The same; what is wrong is told with or without colours.
pub fn load_in(file: Option<&Path>, rules: &[String], colour: Colour) -> Result<Ruleset, Failure> {
    let (name, mut text) = match file {
        Some(path) => (shown(path), read(path)?),
        None => ("--rule".to_owned(), String::new()),
    };
    if file.is_some() || rules.is_empty() {
        // By itself first: a brace that is missing at its end must not be looked for in what follows.
        let whole = Ruleset::read(&name, &text, &Disk).map_err(|refusal| in_file(&refusal, colour))?;
        if rules.is_empty() {
            return Ok(whole);
        }
    }
    text.push('\n');
    let mut places = Vec::new();
    for rule in rules {
        let Place { hook, chain } = Place::of(rule);
        let _ = writeln!(text, "add table inet uct\nadd chain inet uct {chain} {{ {hook}; }}");
        let _ = write!(text, "add rule inet uct {chain} ");
        places.push((text.len(), rule));
        let _ = writeln!(text, "{rule}");
    }
    Ruleset::read(&name, &text, &Disk).map_err(|refusal| {
        let at = refusal.error.span.start as usize;
        match places.iter().rev().find(|(start, _)| *start <= at) {
            Some((start, rule)) if *refusal.error.location.file == *name => in_rule(&refusal, *start, rule),
            _ => in_file(&refusal, colour),
        }
    })
}

/// What is wrong with a file: the place in one line, then the line with a caret.
fn in_file(refusal: &Refusal, colour: Colour) -> Failure {
    let rendered = refusal.render(colour);
    // The picture's first line says again what our own line says.
    let picture: Vec<&str> = rendered.trim_end().lines().skip(1).collect();
    Failure::input(format!("{refusal}\n{}", picture.join("\n")))
}

/// What is wrong with a rule of the command line, which stands at `start` in the text that was read.
fn in_rule(refusal: &Refusal, start: usize, rule: &str) -> Failure {
    let error = &refusal.error;
    let place = |at: u32| (at as usize).saturating_sub(start).min(rule.len());
    let (from, to) = (place(error.span.start), place(error.span.end));
    let line_start = rule.get(..from).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = rule.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
    let count = |from, to| rule.get(from..to).map_or(0, |part: &str| part.chars().count());
    let (blank, carets) = (" ".repeat(count(line_start, from)), "^".repeat(count(from, to).max(1)));
    let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    Failure::usage(format!("--rule '{rule}': {}{help}\n  {line}\n  {blank}{carets}", error.message))
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|mut from| from.read_to_end(&mut bytes))
    };
    read.map_err(|e| Failure::input(format!("{}: {}", shown(path), uct_pipeline::plain(&e))))?;
    uct_pipeline::text(bytes).map_err(|(line, why)| Failure::input(format!("{}:{line}: {why}", shown(path))))
}

/// The chain that a rule without one goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    chain: &'static str,
    hook: &'static str,
}

impl Place {
    fn of(rule: &str) -> Place {
        let words: Vec<&str> = rule.split_whitespace().collect();
        // `ct status dnat` asks about a connection and translates nothing.
        let says = |wanted: &str| {
            words.iter().enumerate().any(|(at, word)| {
                let before = at.checked_sub(1).and_then(|at| words.get(at)).copied().unwrap_or("");
                *word == wanted && !matches!(before, "status" | "==" | "!=" | "{" | "|") && !before.ends_with(',')
            })
        };
        if says("masquerade") || says("snat") {
            Place { chain: "srcnat", hook: "type nat hook postrouting priority srcnat" }
        } else if says("dnat") || says("redirect") {
            Place { chain: "dstnat", hook: "type nat hook prerouting priority dstnat" }
        } else if says("notrack") || words.windows(2).any(|pair| pair == ["zone", "set"]) {
            Place { chain: "raw", hook: "type filter hook prerouting priority raw" }
        } else {
            Place { chain: "forward", hook: "type filter hook forward priority filter" }
        }
    }
}

/// A remark about interfaces that rules name and that are not there: such rules never match.
pub fn strangers(rules: &Ruleset, topology: &Topology) -> Option<String> {
    let is_there = |name: &str| name == "lo" || topology.interfaces.iter().any(|i| i.name == name);
    let mut strangers: Vec<String> = Vec::new();
    for rule in rules.rules().filter_map(|id| rules.rule(id)) {
        for name in named(&rule.text) {
            if !is_there(name) && strangers.iter().all(|known| known != name) {
                strangers.push(name.to_owned());
            }
        }
    }
    let known: Vec<&str> = topology.interfaces.iter().map(|i| i.name.as_str()).collect();
    let them = if strangers.len() == 1 { "interface" } else { "interfaces" };
    let are = if strangers.len() == 1 { "is" } else { "are" };
    (!strangers.is_empty()).then(|| {
        format!(
            "the rules name the {them} {}, which {are} not there; there is: {}",
            strangers.join(", "),
            known.join(", ")
        )
    })
}

/// The interfaces that a rule names literally: behind `iifname`, `oifname`, `iif` and `oif`, single or in braces.
fn named(rule: &str) -> Vec<&str> {
    let words: Vec<&str> =
        rule.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';')).filter(|word| !word.is_empty()).collect();
    let mut names = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let is_key = matches!(words[at], "iifname" | "oifname" | "iif" | "oif");
        at += 1;
        if !is_key {
            continue;
        }
        if words.get(at).is_some_and(|word| matches!(*word, "==" | "!=" | "eq" | "ne")) {
            at += 1;
        }
        let end = match words.get(at) {
            Some(word) if word.starts_with('{') => {
                words[at..].iter().position(|word| word.ends_with('}')).map_or(words.len(), |found| at + found + 1)
            }
            _ => (at + 1).min(words.len()),
        };
        let list = words.get(at..end).unwrap_or(&[]);
        // What is defined elsewhere, a set, a pattern or a number cannot be judged here.
        let is_name = |word: &&str| {
            !word.is_empty()
                && !word.starts_with(['$', '@', '.', ':'])
                && !word.contains('*')
                && word.parse::<u32>().is_err()
        };
        names.extend(list.iter().map(|word| word.trim_matches(['{', '}', '"'])).filter(is_name));
        at = end;
    }
    names
}

/// The files that `include` reaches.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(path).map_err(|e| e.to_string())
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).is_file()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        names.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_a_rule_names() {
        for (rule, names) in [
            ("oifname outside masquerade", vec!["outside"]),
            ("iifname \"lan0\" oif != wan0 accept", vec!["lan0", "wan0"]),
            ("iifname { \"lo\", lan1 } accept", vec!["lo", "lan1"]),
            ("iifname {lan0,lan1} oifname $wan drop", vec!["lan0", "lan1"]),
            ("iifname @inside oifname \"ppp*\" iif 2 accept", vec![]),
            ("ip saddr 10.0.0.1 iifname", vec![]),
        ] {
            assert_eq!(named(rule), names, "{rule}");
        }
    }

    #[test]
    fn a_rule_goes_where_its_statement_belongs() {
        for (rule, chain) in [
            ("oifname wan0 masquerade", "srcnat"),
            ("ip saddr 10.0.0.0/8 snat to 192.0.2.1", "srcnat"),
            ("tcp dport 80 dnat to 192.168.1.10", "dstnat"),
            ("udp dport 53 redirect to :5353", "dstnat"),
            ("udp dport 53 notrack", "raw"),
            ("iifname lan0 ct zone set 1", "raw"),
            ("tcp dport 22 drop", "forward"),
            ("ct status dnat accept", "forward"),
            ("ct status == dnat accept", "forward"),
            ("ct status snat,dnat accept", "forward"),
            ("ct status snat, dnat accept", "forward"),
        ] {
            assert_eq!(Place::of(rule).chain, chain, "{rule}");
        }
    }
}
