//! What a command reads and writes, checked before it begins: standard input serves one file only, and nothing that is read
//! is written over.

use std::fs::Metadata;
use std::path::Path;

use crate::Failure;

/// A file, and what the command line calls it.
pub type Named<'a> = (&'a str, &'a Path);

/// Checks all files of a command line.
pub fn check(reads: &[Named<'_>], writes: &[Named<'_>]) -> Result<(), Failure> {
    let mut inputs = reads.iter().filter(|(_, path)| is_standard(path));
    if let (Some((first, _)), Some((second, _))) = (inputs.next(), inputs.next()) {
        let why = format!("{first} and {second} are both '-': standard input can be read only once");
        return Err(Failure::usage(why));
    }
    for (option, write) in writes.iter().filter(|(_, path)| !is_standard(path)) {
        for (what, read) in reads.iter().filter(|(_, path)| !is_standard(path)) {
            if is_same(write, read) {
                let why = format!("{option} {} would write over {what}: choose another name", write.display());
                return Err(Failure::usage(why));
            }
        }
    }
    Ok(())
}

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether two names lead to one file. Devices and pipes may well be both.
fn is_same(a: &Path, b: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).ok().filter(Metadata::is_file);
    let (Some(first), Some(second)) = (file(a), file(b)) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (first.dev(), first.ino()) == (second.dev(), second.ino())
    }
    #[cfg(not(unix))]
    {
        drop((first, second));
        matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
    }
}
