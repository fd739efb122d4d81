//! A network namespace without a name: it lives as long as somebody holds it and leaves nothing behind.
//!
//! The namespace is made by a thread that steps into a fresh one, keeps the door open as a file descriptor and steps
//! out again. Whoever works inside enters for the time of one closure. When the process ends, in whatever way, the
//! descriptors close and the kernel takes the namespace and its devices down: there is nothing to clean up.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A network namespace of one's own.
pub(crate) struct Namespace {
    inside: File,
    outside: File,
}

impl Namespace {
    /// Makes a namespace; the calling thread stays where it is.
    pub(crate) fn new() -> io::Result<Namespace> {
        let outside = here()?;
        // SAFETY: only `CLONE_FILES` would endanger descriptors of other threads; a network namespace does not.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
        let inside = here();
        enter(&outside)?;
        Ok(Namespace { inside: inside?, outside })
    }

    /// Runs `work` inside.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        enter(&self.inside)?;
        let result = work();
        enter(&self.outside)?;
        Ok(result)
    }

    /// Runs a program inside, with `input` on its standard input.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], input: &str) -> io::Result<String> {
        let child = self.within(|| {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        })?;
        let mut child = child.map_err(|error| io::Error::other(format!("cannot run {program}: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let message = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("{program} {}: {}\ninput:\n{input}", arguments.join(" "), message.trim())))
        }
    }

    /// Writes settings, given by their names below `net.`. A dot separates levels; a dot inside an interface's name is
    /// written as a slash, as `sysctl(8)` does.
    pub(crate) fn write_sysctls<'a>(&self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> io::Result<()> {
        self.within(|| {
            for (name, value) in settings {
                std::fs::write(sysctl_path(name), value)
                    .map_err(|error| io::Error::other(format!("cannot set net.{name} to {value}: {error}")))?;
            }
            Ok(())
        })?
    }

    /// Reads one setting.
    pub(crate) fn read_sysctl(&self, name: &str) -> io::Result<String> {
        let text = self.within(|| std::fs::read_to_string(sysctl_path(name)))?;
        text.map(|text| text.trim().to_string())
            .map_err(|error| io::Error::other(format!("cannot read net.{name}: {error}")))
    }
}

fn sysctl_path(name: &str) -> String {
    let path: String = name
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    format!("/proc/sys/net/{path}")
}

/// The namespace of the calling thread.
fn here() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}
