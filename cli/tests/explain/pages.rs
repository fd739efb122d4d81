//! What docs show is what happens: every `console` block of these pages is run in `pcaps/` and compared.
//!
//! A line that begins with `$ ` is a command, what follows is its output. A line of its own that is `…` stands for any number of
//! lines, a line that ends with ` …` for any end. `UCT_BLESS=1` writes blocks without `…` anew.

use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: [&str; 3] = ["double-tuple.md", "pains.md", "../README.md"];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Runs a command line as a reader would, in `pcaps/`, with `uct` in the path.
fn run(line: &str) -> Vec<String> {
    let bin = Path::new(env!("CARGO_BIN_EXE_uct")).parent().expect("a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let done = Command::new("sh")
        .current_dir(docs().join("../pcaps"))
        .env("PATH", path)
        .args(["-c", line])
        .output()
        .expect("a shell");
    assert!(done.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).lines().map(|l| l.trim_end().to_owned()).collect()
}

/// Whether the lines are as shown.
fn is_as_shown(shown: &[&str], is: &[String]) -> bool {
    match shown {
        [] => is.iter().all(|l| l.is_empty()),
        ["…"] => true,
        ["…", rest @ ..] => (0..=is.len()).any(|at| is_as_shown(rest, &is[at..])),
        [line, rest @ ..] => {
            let fits = |is: &String| match line.strip_suffix(" …") {
                Some(start) => is.starts_with(start),
                None => is == line,
            };
            is.first().is_some_and(fits) && is_as_shown(rest, &is[1..])
        }
    }
}

#[test]
fn what_the_pages_show_is_what_happens() {
    let mut wrong = Vec::new();
    for page in PAGES {
        let path = docs().join(page);
        let text = std::fs::read_to_string(&path).expect("the page");
        let mut fresh = String::new();
        let mut commands = 0;
        let mut lines = text.lines().peekable();
        let mut is_console = false;
        while let Some(line) = lines.next() {
            fresh.push_str(line);
            fresh.push('\n');
            is_console = match line {
                "```console" => true,
                "```" => false,
                _ => is_console,
            };
            let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) else { continue };
            commands += 1;
            let mut shown = Vec::new();
            while let Some(next) = lines.next_if(|l| !l.starts_with("$ ") && *l != "```") {
                shown.push(next);
            }
            let is = run(command);
            let is_cut = shown.iter().any(|l| l.ends_with('…'));
            if !is_as_shown(&shown, &is) && (is_cut || std::env::var_os("UCT_BLESS").is_none()) {
                wrong.push(format!("{page}: $ {command}\nshown:\n{}\nis:\n{}", shown.join("\n"), is.join("\n")));
            }
            let output: Vec<&str> = if is_cut { shown } else { is.iter().map(String::as_str).collect() };
            output.iter().for_each(|l| {
                fresh.push_str(l);
                fresh.push('\n');
            });
        }
        assert!(commands > 0, "{page} shows nothing");
        if fresh != text && wrong.is_empty() {
            std::fs::write(&path, fresh).expect("the page can be written");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Files that the pages name are there.
#[test]
fn links_lead_somewhere() {
    for page in PAGES.into_iter().chain(["diff.md", "history.md", "lesson.md", "wireshark.md", "explain-json.md"]) {
        let text = std::fs::read_to_string(docs().join(page)).expect("the page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.starts_with("http") || file.is_empty() {
                continue;
            }
            let folder = docs().join(page);
            let folder = folder.parent().expect("a folder");
            assert!(folder.join(file).exists(), "{page}: {link}");
        }
    }
}
