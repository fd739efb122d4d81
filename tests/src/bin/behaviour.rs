//! Plays scripts of `tests/behaviour` and prints what uct does with them. See [`uct_tests::behaviour`].
//!
//! ```text
//! $ cargo run -p uct-tests --bin behaviour -- tests/behaviour/udp-stream            # as the kernel did when it was recorded
//! $ cargo run -p uct-tests --bin behaviour -- --kernel my-script                    # beside the running kernel
//! $ cargo run -p uct-tests --bin behaviour -- --record tests/behaviour/my-script    # and stored
//! ```

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use uct_tests::behaviour::tell::Ports;
use uct_tests::behaviour::{Script, record};
use uct_tests::kernel::Kernel;

/// Plays scripts and prints what uct does with them.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folders with a script and what the kernel did, or scripts.
    #[arg(required = true)]
    scripts: Vec<PathBuf>,
    /// Ask the running kernel.
    #[arg(long)]
    kernel: bool,
    /// Ask the running kernel and store what it did.
    #[arg(long)]
    record: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut kernel = if arguments.kernel || arguments.record { Some(Kernel::new()?) } else { None };
    let mut clean = true;
    for path in &arguments.scripts {
        println!("== {}", path.display());
        match play(path, kernel.as_mut(), arguments.record) {
            Ok(same) => clean &= same,
            Err(error) => {
                println!("{error}");
                clean = false;
            }
        }
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(path: &Path, kernel: Option<&mut Kernel>, store: bool) -> Result<bool, Box<dyn Error>> {
    let file = if path.is_dir() { path.join("script") } else { path.to_path_buf() };
    let script = Script::parse(&fs::read_to_string(&file)?)?;
    let truth = file.with_file_name("kernel.json");
    let run = match kernel {
        Some(kernel) => record::beside(&script, kernel)?,
        None => record::after(&script, &record::load(&truth)?)?,
    };
    print!("{}", run.text(&script, Ports::Plain));
    for (step, lines) in &run.differences {
        println!("DIFFERENCE at step {step}\n{}", lines.join("\n"));
    }
    if store {
        fs::write(&truth, record::save(&run.kernel)?)?;
    }
    Ok(run.differences.is_empty())
}
