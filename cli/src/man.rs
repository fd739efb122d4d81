//! Man pages, one for each sub-command, made from the one definition of the command line.

use std::path::Path;
use std::process::ExitCode;

use crate::Failure;

/// Writes `uct.1`, `uct-replay.1`, … into a directory.
pub fn write(directory: &Path) -> Result<ExitCode, Failure> {
    let fail = |e: std::io::Error| Failure::input(format!("{}: {e}", directory.display()));
    std::fs::create_dir_all(directory).map_err(fail)?;
    clap_mangen::generate_to(crate::command(), directory).map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}
