//! `uct run` beside the kernel's router, beside a bare copier, and beside what a user would take instead.
//!
//! ```text
//!   for each round: for each router: build the hosts anew ─► every measure ─► take them away        medians over the rounds
//! ```
//! | measure | how |
//! |---|---|
//! | `tcp up`, `tcp down` | iperf3, one connection, with whatever offloads the hosts have |
//! | `small` | UDP packets of 60 bytes in 64 flows, as many as the sender can; how many a second arrive |
//! | `new` | the same, but 500,000 flows: almost each packet is a new connection |
//! | `connect` | TCP connections a second: opened, a byte each way, closed, by four clients |
//! | `rtt`, `rtt99` | round trip of a UDP packet: the median, and what one in a hundred exceeds |
//! | `cpu` | at 20,000 small packets a second: time of all processors for each, sender and server included |
//! | `own` | the router's own process of that |
//!
//! The sender is bound to the first processor; nobody else is. A router's packets are received by the sender's processor when
//! the kernel forwards; that is what it does without receive packet steering. pnet runs with the hosts' offloads off, for it
//! must.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

mod copier;
mod measure;
mod world;

use measure::Pattern;
use world::{Between, World};

/// Measures routers side by side in network namespaces.
#[derive(Debug, Parser)]
struct Args {
    /// The program to measure
    #[arg(long, default_value = "target/release/uct")]
    uct: PathBuf,
    /// How often everything is measured; the medians count
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each measure takes
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Only these, by their names in the table
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these measures
    #[arg(long, value_delimiter = ',')]
    measures: Vec<String>,
    /// Threads of `uct run`
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Where the figures are written, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Another program as the copier: to try an I/O before it is built in
    #[arg(long)]
    copier_program: Option<PathBuf>,
    /// Be the copier
    #[arg(long, hide = true)]
    copier: bool,
}

/// A column of the table.
struct Column {
    name: &'static str,
    unit: &'static str,
    /// By what figures are divided to be shown.
    scale: f64,
}

const COLUMNS: [Column; 9] = [
    Column { name: "tcp up", unit: "Gbit/s", scale: 1e9 },
    Column { name: "tcp down", unit: "Gbit/s", scale: 1e9 },
    Column { name: "small", unit: "kpps", scale: 1e3 },
    Column { name: "new", unit: "k/s", scale: 1e3 },
    Column { name: "connect", unit: "1/s", scale: 1.0 },
    Column { name: "rtt", unit: "us", scale: 1.0 },
    Column { name: "rtt99", unit: "us", scale: 1.0 },
    Column { name: "cpu", unit: "us", scale: 1.0 },
    Column { name: "own", unit: "us", scale: 1.0 },
];

/// One router's medians, by column, in bits, packets or connections a second, and microseconds.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    figures: BTreeMap<&'static str, f64>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    processors: usize,
    rounds: usize,
    seconds: f64,
    workers: usize,
    kernel: String,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.copier {
        return match copier::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => fail(&why.to_string()),
        };
    }
    if !rustix::process::geteuid().is_root() {
        return fail("needs root, for network namespaces");
    }
    let missing: Vec<_> = ["ip", "nft", "iperf3", "ethtool"].into_iter().filter(|p| !world::is_there(p)).collect();
    if !missing.is_empty() {
        return fail(&format!("missing: {}", missing.join(" ")));
    }
    let wanted = |between: &Between| args.only.is_empty() || args.only.contains(&between.name());
    let mut takes_part = Vec::new();
    for between in Between::ALL.into_iter().filter(wanted) {
        match between.needs() {
            Some(program) if !world::is_there(program) => eprintln!("{}: {program} is not there", between.name()),
            _ => takes_part.push(between),
        }
    }
    let mut all: Vec<BTreeMap<&'static str, Vec<f64>>> = takes_part.iter().map(|_| BTreeMap::new()).collect();
    for round in 1..=args.rounds {
        for (between, figures) in takes_part.iter().zip(&mut all) {
            eprintln!("round {round}: {}", between.name());
            if let Err(why) = measure_one(*between, &args, figures) {
                eprintln!("  {why}");
            }
        }
    }
    let rows = takes_part.iter().zip(all).map(|(between, figures)| Row {
        name: between.name(),
        figures: figures.into_iter().map(|(name, values)| (name, median(values))).collect(),
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let Args { rounds, seconds, workers, .. } = args;
    let report = Report { processors, rounds, seconds, workers, kernel, rows: rows.collect() };
    print(&report);
    if let Some(path) = args.json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        if let Err(why) = std::fs::write(&path, text) {
            return fail(&format!("{}: {why}", path.display()));
        }
    }
    ExitCode::SUCCESS
}

fn fail(why: &str) -> ExitCode {
    eprintln!("router: {why}");
    ExitCode::FAILURE
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Every measure of one router. One that fails is told, and the others go on.
fn measure_one(between: Between, args: &Args, figures: &mut BTreeMap<&'static str, Vec<f64>>) -> Result<(), String> {
    let wants = |name: &str| args.measures.is_empty() || args.measures.iter().any(|m| m == name);
    let world = World::new(between, args)?;
    let mut put = |name, value: f64| figures.entry(name).or_default().push(value);
    let tell = |name: &str, why: String| eprintln!("  {name}: {why}");
    for (name, is_download) in [("tcp up", false), ("tcp down", true)] {
        if wants(name) {
            match measure::throughput(&world, args.seconds, is_download) {
                Ok(rate) => put(name, rate),
                Err(why) => tell(name, why),
            }
        }
    }
    if wants("rtt") {
        match measure::latency(&world) {
            Ok((middle, high)) => {
                put("rtt", middle);
                put("rtt99", high);
            }
            Err(why) => tell("rtt", why),
        }
    }
    if wants("connect") {
        match measure::connections(&world, args.seconds) {
            Ok(rate) => put("connect", rate),
            Err(why) => tell("connect", why),
        }
    }
    let seconds = args.seconds;
    if wants("cpu") {
        match measure::flood(&world, Pattern { flows: 64, rate: Some(20_000), seconds: seconds.max(2.0) }) {
            Ok(flood) if flood.share > 0.95 => {
                put("cpu", flood.cpu);
                put("own", flood.own);
            }
            Ok(flood) => tell("cpu", format!("only {:.0} % arrived", flood.share * 100.0)),
            Err(why) => tell("cpu", why),
        }
    }
    for (name, flows) in [("small", 64), ("new", 500_000)] {
        if wants(name) {
            match measure::flood(&world, Pattern { flows, rate: None, seconds }) {
                Ok(flood) => put(name, flood.rate),
                Err(why) => tell(name, why),
            }
        }
    }
    Ok(())
}

/// The table: each figure, and its ratio to the kernel's and to the copier's.
fn print(report: &Report) {
    println!(
        "Linux {}, {} processors, {} rounds of {} s, uct with {} worker(s)\n",
        report.kernel, report.processors, report.rounds, report.seconds, report.workers
    );
    let line = |name: &str, cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = COLUMNS.iter().map(|column| format!("{:>9}", cell(column))).collect();
        println!("{name:<14}{}", cells.join(" "));
    };
    line("", &|column| column.name.to_owned());
    line("", &|column| column.unit.to_owned());
    for row in &report.rows {
        line(&row.name, &|column| {
            row.figures.get(column.name).map_or("-".to_owned(), |f| {
                let shown = f / column.scale;
                if shown >= 100.0 { format!("{shown:.0}") } else { format!("{shown:.2}") }
            })
        });
    }
    for base in ["kernel", "copier"] {
        let Some(base) = report.rows.iter().find(|row| row.name == base) else { continue };
        println!("\nratio to the {}", base.name);
        for row in report.rows.iter().filter(|row| row.name != base.name) {
            line(&row.name, &|column| match (row.figures.get(column.name), base.figures.get(column.name)) {
                (Some(own), Some(other)) if *other > 0.0 => format!("{:.2}", own / other),
                _ => "-".to_owned(),
            });
        }
    }
}
