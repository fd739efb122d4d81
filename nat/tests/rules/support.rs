//! What the tests share: their files, and includes from a folder.

use std::path::{Path, PathBuf};
use uct_nat::rules::{Files, Refusal, Ruleset};

/// The folder of these tests.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

/// The `.nft` files of a folder, by name.
pub(crate) fn rulesets(folder: &str) -> Vec<(String, String)> {
    let dir = here().join(folder);
    let mut found: Vec<(String, String)> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "nft"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} holds rulesets", dir.display());
    found
}

/// Files below a folder that stands for the working directory.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(self.0.join(path)).map_err(|why| why.to_string())
    }

    fn exists(&self, path: &str) -> bool {
        self.0.join(path).is_file()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

pub(crate) fn read(text: &str) -> Result<Ruleset, Box<Refusal>> {
    Ruleset::read("rules.nft", text, &Folder(here().join("corpus")))
}

/// Compares with a file of this folder, or writes it anew.
pub(crate) fn golden(name: &str, found: &str) {
    let path = here().join(name);
    if std::env::var_os("UCT_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (want, found)) in want.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, want, "{name}:{}; if this is right, run with UCT_BLESS=1", line + 1);
    }
    assert_eq!(
        found.lines().count(),
        want.lines().count(),
        "{name} has another length; if this is right, run with UCT_BLESS=1"
    );
}
