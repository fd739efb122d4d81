//! The long run: random scenarios through the kernel and through uct, by area, and a table at the end.
//!
//! ```text
//! cargo run --release -p uct-tests --bin differential -- --area tcp --packets 200000 --seed 1
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use uct_tests::campaign::{Campaign, Report, Side};
use uct_tests::coverage::Coverage;
use uct_tests::generate::Area;

/// Sends random scenarios through the running kernel and through uct and compares after every packet.
#[derive(Debug, Parser)]
struct Arguments {
    /// Areas to run; if none is named, all but `router`, `full` and `early`, which take their time.
    #[arg(long)]
    area: Vec<Area>,
    /// Packets in each area.
    #[arg(long, default_value_t = 20_000)]
    packets: u64,
    /// The first seed; scenario number N of an area grows from the seed, the area and N.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this scenario, by its number.
    #[arg(long)]
    only: Option<u64>,
    /// What is held against the kernel.
    #[arg(long, value_enum, default_value_t = Side::Path)]
    side: Side,
    /// Scenarios that are played at one time.
    #[arg(long, default_value_t = 16)]
    threads: usize,
    /// An area is given up after so many differences.
    #[arg(long, default_value_t = 20)]
    differences: usize,
    /// Where every difference is stored as a scenario, a capture, a ruleset and a topology.
    #[arg(long)]
    save: Option<PathBuf>,
    /// Print what was met, and how often.
    #[arg(long)]
    coverage: bool,
    /// Print every step of every scenario.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(reason) = uct_tests::kernel::available() {
        eprintln!("the kernel side cannot run here: {reason}");
        return ExitCode::from(2);
    }
    let areas = if arguments.area.is_empty() { Area::QUICK.to_vec() } else { arguments.area.clone() };
    let mut reports = Vec::new();
    for area in areas {
        let campaign = Campaign {
            area,
            packets: arguments.packets,
            seed: arguments.seed,
            only: arguments.only,
            side: arguments.side,
            threads: arguments.threads,
            most_differences: arguments.differences,
            save: arguments.save.clone(),
            verbose: arguments.verbose,
        };
        reports.push(campaign.run());
    }
    if arguments.coverage {
        let mut coverage = Coverage::default();
        reports.iter().for_each(|report| coverage.add(&report.coverage));
        print!("{}", coverage.lines());
    }
    print!("{}", Report::table(&reports));
    let clean = reports.iter().all(|report| report.differences.is_empty() && report.failures.is_empty());
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
