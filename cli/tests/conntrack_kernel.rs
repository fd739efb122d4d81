//! The real conntrack(8) in a namespace of its own, and uct, on the same command lines: every option with every command,
//! legal or not, and pairs of options. No difference but those that `docs/differences.md` lists.
//!
//! ```text
//!   line ──► conntrack (namespace) ──► exit code, stdout, stderr, table ─┐
//!        └─► uct conntrack (socket) ─► exit code, stdout, stderr, table ─┴─► equal, or listed
//! ```
//!
//! Both tables begin every line with the same entries. `UCT_SEED` chooses the pairs, `UCT_LINES` how many.

#[path = "conntrack_kernel/known.rs"]
mod known;
#[path = "conntrack_kernel/lines.rs"]
mod lines;
#[path = "conntrack_kernel/sides.rs"]
mod sides;

use sides::{Answer, Side};

/// Without a kernel, root or the tool there is nothing to compare with.
fn missing() -> Option<String> {
    let id = std::process::Command::new("id").arg("-u").output().ok()?;
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Some("not root".to_owned());
    }
    let version = std::process::Command::new("conntrack").arg("-V").output();
    match version {
        Ok(v) if String::from_utf8_lossy(&v.stdout).contains("v1.4.7") => None,
        Ok(v) => Some(format!("these differences were listed for conntrack 1.4.7, not {:?}", v.stdout)),
        Err(e) => Some(format!("no conntrack(8): {e}")),
    }
}

#[test]
fn same_answers_as_the_real_tool() {
    if let Some(why) = missing() {
        assert!(std::env::var("UCT_REQUIRE_KERNEL").as_deref() != Ok("1"), "no kernel to ask: {why}");
        eprintln!("skipped: {why}");
        return;
    }
    let (mut real, mut ours) = sides::start();
    let (mut told, mut compared, mut listed) = (Vec::new(), 0, std::collections::BTreeMap::new());
    // Timeouts run on: now and then the entries are entered anew even if no line changed them.
    const STALE: usize = 100;
    let mut fresh = 0;
    for line in lines::all() {
        if fresh == 0 {
            both(&mut real, &mut ours, Side::refill);
            fresh = STALE;
        }
        let (mut a, mut b) = both(&mut real, &mut ours, |side| ask(side, &line));
        // A signal ends `-E` after a moment, on a busy machine before it has begun.
        for _ in 0..3 {
            if a != b && line.iter().any(|w| w == "-E") {
                (a, b) = both(&mut real, &mut ours, |side| ask(side, &line));
            }
        }
        compared += 1;
        fresh = if lines::changes(&line) && (a.table != b.table || a.code == Some(0)) { 0 } else { fresh - 1 };
        if a == b {
            continue;
        }
        match known::listed(&line, &a, &b) {
            Some(name) => *listed.entry(name).or_insert(0) += 1,
            None => told.push(format!("$ conntrack {}\n--- conntrack {a}\n+++ uct {b}", line.join(" "))),
        }
    }
    eprintln!("{compared} command lines; differences by their name in docs/differences.md: {listed:?}");
    let most = std::env::var("UCT_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let shown = told.iter().take(most).cloned().collect::<Vec<_>>().join("\n");
    assert!(told.is_empty(), "{} differences that are not listed:\n{shown}", told.len());
}

/// The same on both sides, at the same time.
fn both<T: Send>(real: &mut Side, ours: &mut Side, act: impl Fn(&mut Side) -> T + Sync) -> (T, T) {
    std::thread::scope(|scope| {
        let real = scope.spawn(|| act(real));
        let ours = act(ours);
        (real.join().unwrap(), ours)
    })
}

/// One line, and what the table is afterwards.
fn ask(side: &mut Side, line: &[String]) -> Answer {
    let mut answer = side.run(line);
    if lines::changes(line) {
        answer.table = side.table();
    }
    answer
}

#[test]
fn every_listed_difference_is_documented() {
    let text = include_str!("../../docs/differences.md");
    for name in known::names() {
        assert!(text.contains(name), "docs/differences.md does not speak of '{name}'");
    }
}
