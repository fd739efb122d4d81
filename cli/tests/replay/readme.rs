//! The README's two commands: the first prints what the README shows, the second is the one that `.ci/run` calls.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::uct::scratch;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect("the file is there")
}

/// The blocks of code of a section.
fn blocks(section: &str) -> Vec<String> {
    let readme = read("README.md");
    let text = readme.split("\n## ").find(|text| text.starts_with(section)).expect("the section");
    text.split("```\n").skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_first_command_prints_what_is_shown() {
    let blocks = blocks("Try it");
    let words = blocks[0].trim().strip_prefix("cargo run --release -- ").expect("a command");
    let folder = scratch("readme");
    let out = folder.join("out.pcapng");
    let words = words.split_whitespace().map(|word| if word == "out.pcapng" { out.as_os_str() } else { word.as_ref() });
    let done = Command::new(env!("CARGO_BIN_EXE_uct")).args(words).current_dir(root()).output().expect("uct runs");
    let printed = String::from_utf8(done.stdout).expect("text");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(std::fs::metadata(out).expect("it was written").len() > 0);
    let shown: Vec<&str> = blocks[1].lines().collect();
    assert!(shown.len() > 1, "{shown:?}");
    for line in shown {
        assert!(printed.lines().any(|l| l == line), "README.md shows\n{line}\nbut uct prints\n{printed}");
    }
}

#[test]
fn the_second_command_is_that_of_ci() {
    let blocks = blocks("Test it");
    let command = blocks[0].trim();
    assert!(
        read(".ci/run").lines().any(|line| line == format!("UCT_REQUIRE_KERNEL=1 {command} --locked")),
        "{command}"
    );
}
