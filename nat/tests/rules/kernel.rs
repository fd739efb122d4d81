//! The promise that uct accepts nothing that nft refuses, put to the real nft and the real kernel.
//!
//! Rulesets are loaded in a network namespace of their own, those of the corpus after `nft -c -f`: loading is stricter, for only then
//! does the kernel look at jumps and at where statements stand. This needs root and nft; without them the tests say so
//! and pass, unless `UCT_REQUIRE_KERNEL=1`.

use crate::snippets::sections;
use crate::support::{here, rulesets};
use std::path::PathBuf;
use std::process::Command;

/// What nft says about a ruleset.
#[derive(Debug, PartialEq, Eq)]
enum Nft {
    Accepts,
    Refuses(String),
}

/// How nft is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    CheckAndLoad,
    Load,
}

/// Asks nft about rulesets, all in one namespace; none if that cannot be done here.
fn ask(name: &str, how: How, rulesets: &[String]) -> Option<Vec<Nft>> {
    let dir = run(name, how, rulesets)?;
    let text = std::fs::read_to_string(dir.0.join("answers")).unwrap();
    let answers: Vec<Nft> = text
        .lines()
        .map(|line| match line.strip_prefix("- ") {
            Some(why) => Nft::Refuses(why.to_owned()),
            None => Nft::Accepts,
        })
        .collect();
    assert_eq!(answers.len(), rulesets.len());
    Some(answers)
}

/// What nft lists of each ruleset when it is loaded; nothing where nft itself would not take that back, for it has its mistakes there
/// (`[invalid type]`).
fn list(name: &str, rulesets: &[String]) -> Option<Vec<String>> {
    let dir = run(name, How::Load, rulesets)?;
    let listed = |at| {
        let is_lost = dir.0.join(format!("{at}.lost")).exists();
        if is_lost { String::new() } else { std::fs::read_to_string(dir.0.join(format!("{at}.list"))).unwrap() }
    };
    Some((0..rulesets.len()).map(listed).collect())
}

/// Loads rulesets one after the other; the answers are left in a folder.
fn run(name: &str, how: How, rulesets: &[String]) -> Option<Scratch> {
    let works =
        Command::new("unshare").args(["-n", "nft", "list", "ruleset"]).output().is_ok_and(|out| out.status.success());
    if !works {
        assert!(
            std::env::var_os("UCT_REQUIRE_KERNEL").is_none_or(|v| v != "1"),
            "this test needs root, unshare and nft"
        );
        eprintln!("skipped: this test needs root, unshare and nft (UCT_REQUIRE_KERNEL=1 makes that a failure)");
        return None;
    }
    let dir = Scratch::new(name);
    for (at, ruleset) in rulesets.iter().enumerate() {
        std::fs::write(dir.0.join(format!("{at}.nft")), ruleset).unwrap();
    }
    let script = r#"
        ip link set lo up
        ip link add lan0 type veth peer name wan0
        cd "$2"
        for at in $(seq 0 $(($3 - 1))); do
            nft flush ruleset
            why=$($4 "$1/$at.nft" 2>&1 && nft -f "$1/$at.nft" 2>&1) && echo "+" || echo "- $why" | head -n 1
            nft list ruleset > "$1/$at.list"
            nft flush ruleset
            nft -c -f "$1/$at.list" > /dev/null 2>&1 || echo > "$1/$at.lost"
        done > "$1/answers"
    "#;
    let out = Command::new("unshare")
        .args(["-n", "sh", "-c", script, "sh"])
        .arg(&dir.0)
        .arg(here().join("corpus"))
        .arg(rulesets.len().to_string())
        .arg(if how == How::CheckAndLoad { "nft -c -f" } else { "true" })
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(dir)
}

/// A folder that goes when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("uct-rules-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn nft_accepts_every_ruleset_that_uct_accepts() {
    let (names, texts): (Vec<String>, Vec<String>) = rulesets("corpus").into_iter().unzip();
    let Some(answers) = ask("corpus", How::CheckAndLoad, &texts) else { return };
    for (name, answer) in names.iter().zip(answers) {
        assert_eq!(answer, Nft::Accepts, "{name}");
    }
}

#[test]
fn nft_accepts_the_examples_of_the_documentation() {
    let examples = crate::docs::examples();
    let Some(answers) = ask("docs", How::CheckAndLoad, &examples) else { return };
    for (text, answer) in examples.iter().zip(answers) {
        assert_eq!(answer, Nft::Accepts, "{text}");
    }
}

/// `+` and `~` are what nft accepts, `-` what it refuses: so the marks tell the truth about both.
#[test]
fn nft_agrees_with_every_mark_in_the_snippets() {
    let snippets: Vec<_> =
        sections().into_iter().flat_map(|(header, s)| s.into_iter().map(move |s| (header.clone(), s))).collect();
    let texts: Vec<String> = snippets.iter().map(|(_, s)| s.ruleset.clone()).collect();
    let Some(answers) = ask("snippets", How::Load, &texts) else { return };
    let mut wrong = Vec::new();
    for ((header, snippet), answer) in snippets.iter().zip(answers) {
        if (snippet.mark != '-') != (answer == Nft::Accepts) {
            wrong.push(format!("[{header}] {} {}: nft {answer:?}", snippet.mark, snippet.rule));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nft_accepts_what_uct_accepts_of_random_rulesets() {
    let (seed, rulesets) = crate::grammar::random_rulesets();
    let Some(answers) = ask("random", How::CheckAndLoad, &rulesets) else { return };
    for (text, answer) in rulesets.iter().zip(answers) {
        assert_eq!(answer, Nft::Accepts, "seed {seed}: uct accepts:\n{text}");
    }
}

/// What nft prints of a ruleset that uct accepts is a ruleset that uct accepts: so a running router's rules can be taken over with
/// `nft list ruleset`.
#[test]
fn what_nft_lists_is_accepted_again() {
    let (seed, random) = crate::grammar::random_rulesets();
    let accepted = |(header, s): (String, Vec<crate::snippets::Snippet>)| {
        let _ = header;
        s.into_iter().filter(|s| s.mark == '+').map(|s| s.ruleset)
    };
    let mut texts: Vec<String> = rulesets("corpus").into_iter().map(|(_, text)| text).collect();
    texts.extend(crate::docs::examples());
    texts.extend(sections().into_iter().flat_map(accepted));
    texts.extend(random);
    let Some(listed) = list("listed", &texts) else { return };
    let lost = listed.iter().filter(|listed| listed.is_empty()).count();
    let mut wrong = Vec::new();
    for (text, listed) in texts.iter().zip(listed) {
        if let Err(refusal) = crate::support::read(&listed) {
            let picture = refusal.render(uct_nat::rules::Colour::Never);
            wrong.push(format!("{refusal}\n{picture}\nof:\n{text}"));
        }
    }
    assert!(lost * 20 < texts.len(), "seed {seed}: nft takes {lost} of its own {} listings not back", texts.len());
    assert!(wrong.is_empty(), "seed {seed}: {} of {}: {}", wrong.len(), texts.len(), wrong.join("\n"));
}

/// Mutations of the corpus that uct still accepts.
#[test]
fn nft_accepts_what_uct_accepts_of_mutated_rulesets() {
    let mutants: Vec<String> = crate::soup::accepted_mutants(200);
    let Some(answers) = ask("mutants", How::Load, &mutants) else { return };
    for (text, answer) in mutants.iter().zip(answers) {
        assert_eq!(answer, Nft::Accepts, "uct accepts:\n{text}");
    }
}
