//! Asks the running kernel: a few segments, typed in, and what each of them did. See [`uct_tests::script`].
//!
//! ```text
//! $ cargo run -p uct-tests --bin probe <<'.'
//! c S 1000 win 8192 opt 01030307
//! s SA 5000 1001
//! .
//! $ cargo run -p uct-tests --bin probe -- --save tests/regressions/my-case <my-case.txt
//! ```

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Parser;
use uct_tests::campaign::narrate;
use uct_tests::kernel::Kernel;
use uct_tests::run::replay;
use uct_tests::scenario::export;
use uct_tests::script;

/// Sends a few packets, typed in, through the running kernel and tells what each of them did.
#[derive(Debug, Parser)]
struct Arguments {
    /// Store the scenario with what the kernel did in this folder, whose name becomes the scenario's.
    #[arg(long)]
    save: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let name = arguments.save.as_deref().and_then(|folder| folder.file_name()?.to_str()).unwrap_or("probe");
    let scenario = script::parse(name, &text)?;
    let outcome = replay(&mut Kernel::new()?, None, &scenario)?;
    print!("{}", narrate(&outcome));
    if let Some(folder) = &arguments.save {
        fs::create_dir_all(folder)?;
        export::write(folder, &scenario, &outcome.kernel)?;
    }
    Ok(())
}
