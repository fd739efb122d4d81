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
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use uct_nat::rules::{Colour, Files, Ruleset};

use crate::Failure;

/// Reads the ruleset of `--rules` and `--rule`.
pub fn load(file: Option<&Path>, rules: &[String]) -> Result<Ruleset, Failure> {
    let (name, text) = match file {
        Some(path) if rules.is_empty() => (shown(path), read(path)?),
        Some(path) => {
            read(path).map(drop)?;
            ("--rule".to_owned(), format!("include \"{}\"\n{}", includable(path), commands(rules)))
        }
        None => ("--rule".to_owned(), commands(rules)),
    };
    Ruleset::read(&name, &text, &Disk).map_err(|refusal| {
        let is_plain = !io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let colour = if is_plain { Colour::Never } else { Colour::Always };
        Failure::input(format!("{refusal}\n{}", refusal.render(colour).trim_end()))
    })
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|e| Failure::input(format!("{}: {e}", shown(path))))
}

/// A path that `include` takes as it stands: a bare name would be looked for elsewhere.
fn includable(path: &Path) -> String {
    if path.is_absolute() || path.starts_with(".") || path.starts_with("..") {
        path.display().to_string()
    } else {
        format!("./{}", path.display())
    }
}

/// nft's commands for rules without a table.
fn commands(rules: &[String]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let mut text = "add table inet uct\n".to_owned();
    for rule in rules {
        let has = |word: &str| rule.split_whitespace().any(|w| w == word);
        let (chain, spec) = if has("masquerade") || has("snat") {
            ("srcnat", "type nat hook postrouting priority srcnat")
        } else if has("dnat") || has("redirect") {
            ("dstnat", "type nat hook prerouting priority dstnat")
        } else if has("notrack") || rule.contains("zone set") {
            ("raw", "type filter hook prerouting priority raw")
        } else {
            ("forward", "type filter hook forward priority filter")
        };
        let _ = writeln!(text, "add chain inet uct {chain} {{ {spec}; }}");
        let _ = writeln!(text, "add rule inet uct {chain} {rule}");
    }
    text
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
