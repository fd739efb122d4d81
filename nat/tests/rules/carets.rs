//! Messages as people see them.

use crate::support::{golden, here, read};
use uct_nat::rules::Colour;

/// `carets.txt` holds rulesets between lines of `====`, each with its message behind a line of `----`.
#[test]
fn the_caret_stands_under_what_is_wrong() {
    let text = std::fs::read_to_string(here().join("carets.txt")).unwrap();
    let mut found = String::new();
    for case in text.split("====\n").filter(|case| !case.is_empty()) {
        let ruleset = case.split("----\n").next().unwrap();
        let message = match read(ruleset) {
            Ok(_) => "accepted\n".to_owned(),
            Err(refusal) => format!("{refusal}\n{}", refusal.render(Colour::Never)),
        };
        found += &format!("====\n{ruleset}----\n{message}");
    }
    golden("carets.txt", &found);
}
