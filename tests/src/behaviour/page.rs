//! The page and its quotations.
//!
//! A quotation is a fenced block after a line `<!-- behaviour NAME -->`; what stands in the block is what the script of that
//! name prints.

use std::collections::BTreeMap;

const FENCE: &str = "```";

/// The page with every quotation as `prints` has it, and the names that it quotes, in order.
///
/// # Errors
/// If a quotation has no block, or nothing prints what it names.
pub fn quote(page: &str, prints: &BTreeMap<String, String>) -> Result<(String, Vec<String>), String> {
    let mut text = String::new();
    let mut names = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        text += line;
        text.push('\n');
        let Some(name) = line.strip_prefix("<!-- behaviour ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        let printed = prints.get(name).ok_or_else(|| format!("there is no script {name}"))?;
        if lines.next().is_none_or(|line| !line.starts_with(FENCE)) {
            return Err(format!("no block follows {name}"));
        }
        if !lines.by_ref().any(|line| line == FENCE) {
            return Err(format!("the block of {name} does not end"));
        }
        text += &format!("{FENCE}text\n{printed}{FENCE}\n");
        names.push(name.to_string());
    }
    Ok((text, names))
}
