//! Whole rulesets.

use crate::support::{read, rulesets};

#[test]
fn rulesets_of_homes_and_labs_are_accepted() {
    for (name, text) in rulesets("corpus") {
        if let Err(refusal) = read(&text) {
            panic!("{name}: {refusal}\n{}", refusal.render(uct_nat::rules::Colour::Never));
        }
    }
}

/// Each file of `beyond/` says in its first line what it is refused for.
#[test]
fn what_is_beyond_uct_is_refused_by_name() {
    for (name, text) in rulesets("beyond") {
        let want = text.lines().next().and_then(|line| line.strip_prefix("# refused: ")).unwrap();
        let refusal = read(&text).err().unwrap_or_else(|| panic!("{name} is accepted"));
        assert!(refusal.error.message.starts_with(want), "{name}: {refusal}");
    }
}

#[test]
fn rules_know_where_they_stand() {
    let (_, text) = rulesets("corpus").into_iter().find(|(name, _)| name == "include.nft").unwrap();
    let ruleset = read(&text).unwrap();
    let views: Vec<String> = ruleset
        .rules()
        .filter_map(|id| ruleset.rule(id))
        .map(|r| format!("{} {} {} {}: {}", r.location, r.family, r.table, r.chain, r.text))
        .collect();
    assert_eq!(
        views,
        [
            "./fw.d/20-nat.nft:4:3 ip nat post: oifname $UPLINK ip saddr $HOME masquerade",
            "./fw.d/chain.inc:3:2 inet main input: iifname $UPLINK tcp dport 22 drop",
        ]
    );
}
