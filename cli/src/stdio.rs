//! Standard output and standard error.
//!
//! A reader of stdout who has seen enough (`| head`) ends the work without a word: that is no fault. A message that stderr
//! does not take is lost, and nothing else is: no message is worth a panic.

use std::fmt;
use std::io::{self, Write};

use crate::Failure;
use crate::args::ColorArg;

/// What stdout is called in messages.
const STDOUT: &str = "standard output";

/// Writes to stdout. [`Failure::enough`] if nobody reads any more.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) => Err(lost(STDOUT, &e)),
    }
}

/// Standard output with colours, which are taken out where they are not wanted; buffered.
pub struct Coloured(io::BufWriter<anstream::AutoStream<io::Stdout>>);

impl Coloured {
    /// With colours when `--color` says.
    pub fn new(when: ColorArg) -> Coloured {
        Coloured(io::BufWriter::new(anstream::AutoStream::new(io::stdout(), when.choice())))
    }

    /// Writes, sooner or later. [`Failure::enough`] if nobody reads any more.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.0.write_all(text.as_bytes()).map_err(|e| lost(STDOUT, &e))
    }

    /// Writes what waits.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|e| lost(STDOUT, &e))
    }
}

/// Why something could not be written.
pub fn lost(file: &str, why: &io::Error) -> Failure {
    if why.kind() == io::ErrorKind::BrokenPipe {
        return Failure::enough();
    }
    Failure::input(format_args!("{file}: {}", uct_pipeline::plain(why)))
}

/// Says a line on stderr.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
