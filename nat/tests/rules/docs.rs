//! The examples of `docs/rules.md`.

use crate::support::{here, read};

/// Every ```` ```nft ```` block as whole rulesets: one that begins with `# in: FAMILY TYPE HOOK PRIORITY` has a rule on each line.
pub(crate) fn examples() -> Vec<String> {
    let text = std::fs::read_to_string(here().join("../../../docs/rules.md")).unwrap();
    let mut found = Vec::new();
    for block in text.split("```nft\n").skip(1) {
        let block = block.split("```").next().unwrap();
        match block.strip_prefix("# in: ").and_then(|block| block.split_once('\n')) {
            Some((chain, rules)) => found.extend(rules.lines().map(|rule| crate::snippets::in_chain(chain, rule))),
            None => found.push(block.to_owned()),
        }
    }
    assert!(found.len() > 40, "the page has examples");
    found
}

#[test]
fn the_examples_of_the_documentation_are_accepted() {
    for example in examples() {
        if let Err(refusal) = read(&example) {
            panic!("{}", refusal.render(uct_nat::rules::Colour::Never));
        }
    }
}
