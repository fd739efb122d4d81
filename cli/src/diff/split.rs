//! The words of `--a '…'`, as a shell would split them: blanks part, quotes and backslashes hold together.

/// Splits. The error says what is missing.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => word.extend(chars.next()),
                        Some(other) => word.push(other),
                        None => return Err(format!("a quotation that begins with {c} has no end")),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn as_a_shell_would() {
        let split = |text: &str| words(text).unwrap();
        assert_eq!(split("  --seed 3  "), ["--seed", "3"]);
        assert_eq!(split("--rule 'oifname \"wan0\" masquerade'"), ["--rule", "oifname \"wan0\" masquerade"]);
        assert_eq!(split("--rule=\"a \\\"b\\\"\" c\\ d ''"), ["--rule=a \"b\"", "c d", ""]);
        assert!(words("'open").is_err());
    }
}
