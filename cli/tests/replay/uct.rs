//! Runs the program, and the files it is given.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// The last line on stderr.
    pub(crate) fn last(&self) -> &str {
        self.stderr.lines().last().unwrap_or("")
    }
}

/// The program, told to work in a folder of its own: what it is given stands in its messages as it was given.
pub(crate) struct Uct {
    folder: PathBuf,
    words: Vec<String>,
    stdin: Vec<u8>,
}

/// A folder for one test.
pub(crate) fn scratch(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay").join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    folder
}

pub(crate) fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

/// A file of `pcaps/`.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let path = pcaps().join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Uct {
    /// In a scratch folder with the home router's files: `home-router.pcapng`, `.toml`, `.nft`.
    pub(crate) fn at_home(test: &str) -> Self {
        let folder = scratch(test);
        for name in ["home-router.pcapng", "home-router.toml", "home-router.nft"] {
            std::fs::write(folder.join(name), recorded(name)).expect("the scratch folder can be written");
        }
        Uct { folder, words: Vec::new(), stdin: Vec::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a file there.
    pub(crate) fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.folder.join(name), bytes).expect("the scratch folder can be written");
        self
    }

    /// Changes the text of a file there.
    pub(crate) fn edit(self, name: &str, from: &str, to: &str) -> Self {
        let path = self.folder.join(name);
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.contains(from), "{name} has no {from}");
        std::fs::write(path, text.replace(from, to)).expect("the scratch folder can be written");
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub(crate) fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Adds words, separated by blanks.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.words.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// `replay home-router.pcapng --topology … --rules …`
    pub(crate) fn home_router(self) -> Self {
        self.words("replay home-router.pcapng --topology home-router.toml --rules home-router.nft")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
        command.args(&self.words).current_dir(&self.folder).env_remove("RUST_BACKTRACE").env_remove("NO_COLOR");
        command
    }

    pub(crate) fn run(&self) -> Said {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("uct runs");
        // It may well not want to read.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&self.stdin));
        let done = child.wait_with_output().expect("uct ends");
        let stderr = String::from_utf8(done.stderr).expect("text");
        assert!(!stderr.contains("panicked"), "{:?}: {stderr}", self.words);
        Said { code: done.status.code().expect("an exit code"), stdout: done.stdout, stderr }
    }

    /// Runs it, and expects that it says nothing but this one line, and ends with this code.
    pub(crate) fn fails(&self, code: i32, line: &str) {
        let said = self.run();
        assert_eq!((said.stderr.as_str(), said.code), (format!("{line}\n").as_str(), code));
        assert!(said.stdout.is_empty(), "{:?}", said.text());
    }
}
