//! The surprises of `docs/linux-behaviour.md`: uct does what the kernel did, the kernel still does it, and the page
//! quotes what uct prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use uct_tests::behaviour::tell::Ports;
use uct_tests::behaviour::{Script, page, record};
use uct_tests::kernel::{self, Kernel};

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("behaviour");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("script").exists());
    folders.sort();
    folders
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

fn script(folder: &Path) -> (String, Script) {
    let text = fs::read_to_string(folder.join("script")).unwrap();
    let script = Script::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", name(folder)));
    (text, script)
}

/// The run after what the kernel did.
fn recorded(folder: &Path, script: &Script) -> record::Run {
    let truth = record::load(&folder.join("kernel.json"));
    let run = truth.and_then(|truth| record::after(script, &truth).map(|run| (run, truth.len())));
    let (run, length) = run.unwrap_or_else(|why| panic!("{}: {why}", name(folder)));
    assert_eq!(run.turns.len(), length, "{}: the record is longer than the script", name(folder));
    run
}

fn tell(name: &str, run: &record::Run) -> String {
    run.differences.iter().map(|(step, lines)| format!("{name}, step {step}:\n{}\n", lines.join("\n"))).collect()
}

#[test]
fn uct_does_what_the_kernel_did() {
    let told: String =
        folders().iter().map(|folder| tell(&name(folder), &recorded(folder, &script(folder).1))).collect();
    assert!(told.is_empty(), "{told}");
}

#[test]
fn the_kernel_still_does_the_same() {
    if let Err(reason) = kernel::available() {
        kernel::skip_or_fail(&reason);
        return;
    }
    let mut kernel = Kernel::new().unwrap();
    for folder in folders() {
        let (text, script) = script(&folder);
        let mut attempts = 0;
        let run = loop {
            attempts += 1;
            match record::beside(&script, &mut kernel) {
                Ok(run) => break run,
                // A machine that is too slow for a moment.
                Err(_) if attempts < 3 => kernel = Kernel::new().unwrap(),
                Err(why) => panic!("{}: {why}", name(&folder)),
            }
        };
        let told = tell(&name(&folder), &run);
        assert!(told.is_empty(), "{told}");
        let then = recorded(&folder, &script).text(&script, Ports::named(&text));
        assert_eq!(run.text(&script, Ports::named(&text)), then, "{}", name(&folder));
    }
}

#[test]
fn the_page_quotes_what_uct_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/linux-behaviour.md");
    let prints: BTreeMap<String, String> = folders()
        .iter()
        .map(|folder| {
            let script = script(folder).1;
            (name(folder), recorded(folder, &script).text(&script, Ports::Plain))
        })
        .collect();
    let page = fs::read_to_string(&path).unwrap();
    let (quoted, mut names) = page::quote(&page, &prints).unwrap();
    names.sort();
    assert_eq!(names, prints.keys().cloned().collect::<Vec<_>>(), "every script is quoted once");
    if std::env::var_os("UCT_BLESS").is_some() {
        fs::write(&path, quoted).unwrap();
        return;
    }
    assert!(page == quoted, "docs/linux-behaviour.md is out of date; UCT_BLESS=1 writes it anew");
}
