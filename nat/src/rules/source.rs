//! Where rule text comes from: loaded files, positions in them, and how `include` finds more.
//!
//! The crate does no I/O, so the caller lends a [`Files`]. Everything else about `include` is decided here, as nft decides it:
//! a path that starts with `/`, `./` or `../` is taken as it stands (relative to the working directory, not to the including
//! file), any other path is looked for in the include directories; wildcards match in alphabetical order, never match a leading
//! dot, and may match nothing. Depth, number of files and total size are bounded, so a file that includes itself is an error.

use std::sync::Arc;

/// A file in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub(crate) u32);

/// A stretch of bytes in one source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The smallest span that holds both; `self` if they lie in different files.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A position as people say it: file name, line and column, both counted from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The name the file was loaded under.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[derive(Debug, Clone)]
struct Source {
    name: Arc<str>,
    text: Arc<str>,
    /// Byte offset at which each line begins.
    lines: Vec<u32>,
}

/// All text that a ruleset was read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    pub(crate) fn add(&mut self, name: &str, text: &str) -> FileId {
        let mut lines = vec![0];
        lines.extend(text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(i, _)| i as u32 + 1));
        self.files.push(Source { name: name.into(), text: text.into(), lines });
        FileId(self.files.len() as u32 - 1)
    }

    /// The whole text of a file.
    pub fn text(&self, file: FileId) -> &str {
        self.files.get(file.0 as usize).map_or("", |s| &s.text)
    }

    pub(crate) fn shared_text(&self, file: FileId) -> Arc<str> {
        self.files.get(file.0 as usize).map_or_else(|| "".into(), |s| s.text.clone())
    }

    /// The names of all files, in the order they were loaded.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|s| &*s.name)
    }

    /// The name a file was loaded under.
    pub fn name(&self, file: FileId) -> &str {
        self.files.get(file.0 as usize).map_or("", |s| &s.name)
    }

    /// The text a span covers.
    pub fn snippet(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Where a span begins.
    pub fn locate(&self, span: Span) -> Location {
        let Some(source) = self.files.get(span.file.0 as usize) else {
            return Location { file: "".into(), line: 0, column: 0 };
        };
        let line = source.lines.partition_point(|&start| start <= span.start).max(1);
        let start = source.lines.get(line - 1).copied().unwrap_or(0) as usize;
        let before = source.text.get(start..span.start as usize).unwrap_or("");
        Location { file: source.name.clone(), line: line as u32, column: before.chars().count() as u32 + 1 }
    }
}

/// The files that `include` may reach, lent by the caller.
pub trait Files {
    /// The text of one file; the error is one sentence without the path.
    fn read(&self, path: &str) -> Result<String, String>;

    /// Whether there is a file of this name.
    fn exists(&self, path: &str) -> bool;

    /// The names in a directory, in any order; none if it cannot be read.
    fn list(&self, dir: &str) -> Vec<String>;

    /// Directories searched for `include "name"`; nft's own default is `/etc`.
    fn include_dirs(&self) -> Vec<String> {
        vec!["/etc".to_owned()]
    }
}

/// No files at all: for rules given on a command line, and in tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("there are no files here".to_owned())
    }

    fn exists(&self, _: &str) -> bool {
        false
    }

    fn list(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
}

/// The paths an `include` names, in the order they are loaded; empty only if a wildcard matched nothing.
pub(crate) fn resolve(files: &dyn Files, pattern: &str) -> Result<Vec<String>, String> {
    let rooted = ["/", "./", "../"].iter().any(|start| pattern.starts_with(start));
    let candidates: Vec<String> = if rooted {
        vec![pattern.to_owned()]
    } else {
        files.include_dirs().iter().map(|dir| format!("{}/{pattern}", dir.trim_end_matches('/'))).collect()
    };
    let wild = is_wild(pattern);
    for candidate in &candidates {
        if wild {
            let found = glob(files, candidate);
            if !found.is_empty() {
                return Ok(found);
            }
        } else if files.exists(candidate) {
            return Ok(vec![candidate.clone()]);
        }
    }
    if wild { Ok(Vec::new()) } else { Err(format!("file '{pattern}' is not found")) }
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Expands wildcards component by component; the result is sorted.
fn glob(files: &dyn Files, pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let parts: Vec<&str> = pattern.split('/').collect();
    for (at, part) in parts.iter().enumerate() {
        let mut next = Vec::new();
        for base in &found {
            let join = |name: &str| if at == 0 { name.to_owned() } else { format!("{base}/{name}") };
            if !is_wild(part) {
                next.push(join(part));
                continue;
            }
            let dir = match (at, base.as_str()) {
                (0, _) => ".",
                (_, "") => "/",
                (_, base) => base,
            };
            let mut names = files.list(dir);
            names.sort();
            next.extend(names.iter().filter(|n| !n.starts_with('.') && matches(part, n)).map(|n| join(n)));
        }
        found = next;
    }
    found.retain(|path| files.exists(path));
    found
}

/// Shell wildcards `*`, `?` and `[a-z]`, over one path component; linear in memory, quadratic in time at worst.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = one(&pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|&c| c == '*')
}

/// Matches one character against the pattern's element at `p`; gives where the next element begins.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => {
            let close = p + 2 + pattern.get(p + 2..)?.iter().position(|&c| c == ']')?;
            let mut inside = &pattern[p + 1..close];
            let negated = matches!(inside.first(), Some('!' | '^'));
            if negated {
                inside = &inside[1..];
            }
            let mut hit = false;
            let mut i = 0;
            while i < inside.len() {
                if i + 2 < inside.len() && inside[i + 1] == '-' {
                    hit |= inside[i] <= c && c <= inside[i + 2];
                    i += 3;
                } else {
                    hit |= inside[i] == c;
                    i += 1;
                }
            }
            (hit != negated).then_some(close + 1)
        }
        &literal => (literal == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Fake(BTreeMap<&'static str, &'static str>);

    impl Files for Fake {
        fn read(&self, path: &str) -> Result<String, String> {
            self.0.get(path).map(|t| t.to_string()).ok_or_else(|| "no such file".to_owned())
        }
        fn exists(&self, path: &str) -> bool {
            self.0.contains_key(path)
        }
        fn list(&self, dir: &str) -> Vec<String> {
            let dir = if dir == "/" { String::new() } else { dir.to_owned() };
            let names = self.0.keys().filter_map(|k| k.strip_prefix(&format!("{dir}/")));
            let mut names: Vec<String> = names.map(|n| n.split('/').next().unwrap_or(n).to_owned()).collect();
            names.dedup();
            names
        }
    }

    fn fake() -> Fake {
        Fake(
            ["/etc/a.nft", "/etc/fw.d/20-b.nft", "/etc/fw.d/10-a.nft", "/etc/fw.d/.hidden.nft", "./x.nft"]
                .map(|k| (k, ""))
                .into(),
        )
    }

    #[test]
    fn includes_are_found_as_nft_finds_them() {
        let files = fake();
        assert_eq!(resolve(&files, "a.nft"), Ok(vec!["/etc/a.nft".to_owned()]));
        assert_eq!(resolve(&files, "./x.nft"), Ok(vec!["./x.nft".to_owned()]));
        assert!(resolve(&files, "x.nft").is_err());
        let both = vec!["/etc/fw.d/10-a.nft".to_owned(), "/etc/fw.d/20-b.nft".to_owned()];
        assert_eq!(resolve(&files, "fw.d/*.nft"), Ok(both.clone()));
        assert_eq!(resolve(&files, "/etc/f*/[12]0-?.nft"), Ok(both));
        assert_eq!(resolve(&files, "none/*.nft"), Ok(vec![]), "a wildcard may match nothing");
    }

    #[test]
    fn wildcards() {
        assert!(matches("*", "abc") && matches("a*c", "abbc") && matches("[a-c]?", "bz") && matches("[!a]", "b"));
        assert!(!matches("a*c", "abd") && !matches("[a-c]", "d") && !matches("?", "") && !matches("[", "["));
    }

    #[test]
    fn positions_count_characters() {
        let mut sources = Sources::default();
        let file = sources.add("f", "one\n# ü\nü x");
        let at = sources.text(file).rfind('x').unwrap() as u32;
        let location = sources.locate(Span { file, start: at, end: at + 1 });
        assert_eq!(location.to_string(), "f:3:3");
    }
}
