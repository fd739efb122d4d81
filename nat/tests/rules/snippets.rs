//! Single rules, each in a chain of its own.
//!
//! `snippets.txt` has a header for each kind of chain (`[inet filter forward 0]`: family, type, hook, priority) and a mark before
//! each rule: `+` accepted, `-` refused by nft too, `~` accepted by nft and refused here; the reason stands below.

use crate::support::{golden, here, read};

/// A rule of `snippets.txt`.
pub(crate) struct Snippet {
    pub(crate) mark: char,
    pub(crate) rule: String,
    /// The rule in its table and chain.
    pub(crate) ruleset: String,
}

/// The sections of `snippets.txt`: header and rules.
pub(crate) fn sections() -> Vec<(String, Vec<Snippet>)> {
    let text = std::fs::read_to_string(here().join("snippets.txt")).unwrap();
    let mut sections: Vec<(String, Vec<Snippet>)> = Vec::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push((header.to_owned(), Vec::new()));
        } else if let (Some(mark @ ('+' | '-' | '~')), Some(rule)) = (line.chars().next(), line.get(2..)) {
            let (header, snippets) = sections.last_mut().unwrap();
            let ruleset = in_chain(header, rule);
            snippets.push(Snippet { mark, rule: rule.to_owned(), ruleset });
        }
    }
    sections
}

/// A rule in a chain of this kind.
pub(crate) fn in_chain(header: &str, rule: &str) -> String {
    let [family, kind, hook, priority] = header.split(' ').collect::<Vec<_>>()[..] else {
        panic!("bad header {header}")
    };
    let base = format!("type {kind} hook {hook} priority {priority};");
    format!("table {family} t {{\n chain r {{\n }}\n chain c {{\n  {base}\n  {rule}\n }}\n}}\n")
}

#[test]
fn rules_are_accepted_or_refused_with_a_reason() {
    let mut found = String::new();
    for (header, snippets) in sections() {
        found += &format!("[{header}]\n");
        for Snippet { mark, rule, ruleset } in snippets {
            match read(&ruleset) {
                Ok(_) => found += &format!("+ {rule}\n"),
                Err(refusal) => {
                    let mark = if mark == '~' { '~' } else { '-' };
                    let help = refusal.error.help.map_or(String::new(), |help| format!(" ({help})"));
                    found += &format!("{mark} {rule}\n    {}{help}\n", refusal.error.message);
                }
            }
        }
        found.push('\n');
    }
    golden("snippets.txt", &found);
}
