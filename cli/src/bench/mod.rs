//! `uct bench`: how fast this machine tracks and translates.
//!
//! It builds a table, sends packets of its connections through the whole path (parse, track, NAT, checksums, TTL, route) and
//! prints what one costs, beside what one access to memory costs in the same run: the limit of every table, and what makes
//! figures of two machines comparable.
//!
//! ```text
//!   memory ──► world (router, flows) ──► measure ──► report
//! ```
//!
//! Packets are real ones ([`flow`]), made before the clock runs; the link layer is not part of the path.

pub mod flow;
pub mod measure;
pub mod memory;
pub mod report;
pub mod world;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::Failure;
use crate::args::{self, NatArg, ProtoArg};
use crate::stdio::print;
use flow::{LEN, MOST};
use measure::{Clock, Plan, Rate, Split};
use report::{Report, Row};
use world::{Load, World};

/// With fewer connections, what else the process holds would count as theirs.
const ENOUGH: u32 = 50_000;

/// Runs the command.
pub fn run(args: &args::Bench) -> Result<ExitCode, Failure> {
    let threads = usize::from(args.threads);
    let spare = measure::spare(threads);
    if args.connections > MOST - spare {
        return Err(Failure::usage(format!("--connections: at most {}", MOST - spare)));
    }
    if args.connections < u32::from(args.threads) {
        return Err(Failure::usage("--connections: at least one for each thread"));
    }
    let doing = Doing::new();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        connections: args.connections,
        threads,
        proto: match args.proto {
            ProtoArg::Tcp => "tcp",
            ProtoArg::Udp => "udp",
        },
        nat: match args.nat {
            NatArg::None => "none",
            NatArg::Snat => "snat",
            NatArg::Dnat => "dnat",
        },
        batch: usize::from(args.batch),
        packet_bytes: LEN,
        ..Report::default()
    };

    doing.say("measuring memory");
    let access = memory::access();
    report.access_dependent_ns = access.dependent;
    report.access_prefetched_ns = access.prefetched;

    doing.say("opening connections");
    let plan = Plan {
        connections: args.connections,
        batch: usize::from(args.batch),
        time: Duration::try_from_secs_f64(args.seconds).map_err(Failure::usage)?,
    };
    let load = Load { proto: args.proto, nat: args.nat, connections: args.connections, spare };
    let world = World::new(&load, "")?;
    let before = memory::resident();
    let opening = world.open(0, args.connections, plan.batch)?;
    if let (Some(before), Some(after), ENOUGH..) = (before, memory::resident(), args.connections) {
        report.connection_bytes = Some(after.saturating_sub(before) as f64 / f64::from(args.connections));
    }

    report.own_ns = measure::own_cost(&world, &plan);
    let clock = Clock::new();
    doing.say("established connections");
    let one = measure::established(&world, &plan, 1, Split::Connections, &clock)?;
    report.add("established", "established, 1 thread", 1, one, None);
    if threads > 1 {
        let name = format!("established, {threads} threads");
        let rate = measure::established(&world, &plan, threads, Split::Connections, &clock)?;
        report.add("established_threads", name, threads, rate, Some(one));
        if threads.is_multiple_of(2) {
            let name = format!("established, {threads} threads, each one direction");
            let rate = measure::established(&world, &plan, threads, Split::Directions, &clock)?;
            report.add("established_split", name, threads, rate, Some(one));
        }
    }

    doing.say("listing while packets flow");
    let listing = measure::listing(&world, &plan, &clock)?;
    report.listings = listing.listings;
    report.listing_ns = listing.seconds * 1e9;
    report.listing_slowdown = listing.listing / listing.quiet.max(f64::MIN_POSITIVE) - 1.0;
    let rate = Rate { nanos: listing.listing, per_second: 1e9 / listing.listing.max(f64::MIN_POSITIVE) };
    report.add("established_listing", "established, 1 thread, while being listed", 1, rate, None);

    doing.say("new connections");
    let nanos = opening.as_nanos() as f64 / f64::from(args.connections);
    let growing = Rate { nanos, per_second: 1e9 / nanos.max(f64::MIN_POSITIVE) };
    report.add("open_growing", "new connections, the table grows, 1 thread", 1, growing, None);
    let full = measure::churn(&world, &plan, 1, &clock)?;
    report.add("open_full", "new connections, as many run out, 1 thread", 1, full, None);
    if threads > 1 {
        let name = format!("new connections, as many run out, {threads} threads");
        let rate = measure::churn(&world, &plan, threads, &clock)?;
        report.add("open_full_threads", name, threads, rate, Some(full));
    }

    doing.done();
    if args.json {
        let json = serde_json::to_string(&report).map_err(Failure::input)?;
        print(&format!("{json}\n"))?;
    } else {
        print(&report.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Report {
    fn add(&mut self, name: &'static str, title: impl Into<String>, threads: usize, rate: Rate, one: Option<Rate>) {
        self.rows.push(Row {
            name,
            title: title.into(),
            threads,
            ns: rate.nanos,
            accesses: rate.nanos / self.access_prefetched_ns,
            per_second: rate.per_second,
            speedup: one.map(|one| rate.per_second / one.per_second),
        });
    }
}

/// What is being done, on stderr if that is a terminal.
struct Doing(ProgressBar);

impl Doing {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Doing(bar)
    }

    fn say(&self, what: &'static str) {
        self.0.set_message(what);
    }

    fn done(self) {
        self.0.finish_and_clear();
    }
}
