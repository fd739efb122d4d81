//! Many random scenarios of one area, several at a time, and what came of them.
//!
//! Scenarios run beside each other because some wait for real seconds to pass; each worker has its own routers and its
//! own uct, so that they cannot disturb each other. Which worker plays a scenario makes no difference to it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::coverage::Coverage;
use crate::generate::{Area, Player, Scope};
use crate::kernel::Pool;
use crate::observed::Entry;
use crate::packet::describe;
use crate::run::{Outcome, Subject, play, sent, shrink};
use crate::scenario::export;
use crate::uct::{EngineSubject, PathSubject};

/// What is held against the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// Nothing: the scenarios are only played on the kernel, for example to see how fast that is.
    Kernel,
    /// The engine, with every packet forwarded as it is.
    Engine,
    /// The whole path.
    Path,
}

impl Side {
    fn subject(self) -> Option<Box<dyn Subject>> {
        match self {
            Side::Kernel => None,
            Side::Engine => Some(Box::new(EngineSubject::default())),
            Side::Path => Some(Box::new(PathSubject::default())),
        }
    }

    fn scope(self) -> Scope {
        match self {
            Side::Engine => Scope::Engine,
            Side::Kernel | Side::Path => Scope::Path,
        }
    }
}

/// A run of one area.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Which area.
    pub area: Area,
    /// It ends after so many packets.
    pub packets: u64,
    /// The seed of the run.
    pub seed: u64,
    /// Only the scenario of this number.
    pub only: Option<u64>,
    /// What is held against the kernel.
    pub side: Side,
    /// Scenarios at one time.
    pub threads: usize,
    /// It ends after so many differences.
    pub most_differences: usize,
    /// Where differences are stored.
    pub save: Option<PathBuf>,
    /// Whether every step is printed.
    pub verbose: bool,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// The area.
    pub area: Area,
    /// Scenarios played.
    pub scenarios: u64,
    /// Packets sent.
    pub packets: u64,
    /// Differences, shrunk, with the number of the scenario that they came from.
    pub differences: Vec<(u64, Outcome)>,
    /// Scenarios that could not be played, and why.
    pub failures: Vec<(u64, String)>,
    /// What was met.
    pub coverage: Coverage,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// The reports as a table.
    #[must_use]
    pub fn table(reports: &[Report]) -> String {
        let mut text = String::from("area   scenarios   packets  differences  failures  packets/s\n");
        for report in reports {
            let rate = report.packets as f64 / report.took.as_secs_f64().max(0.001);
            let _ = writeln!(
                text,
                "{:<6} {:>9} {:>9} {:>12} {:>9} {:>10.0}",
                report.area.name(),
                report.scenarios,
                report.packets,
                report.differences.len(),
                report.failures.len(),
                rate
            );
        }
        text
    }
}

struct Shared {
    next: AtomicU64,
    packets: AtomicU64,
    scenarios: AtomicU64,
    found: AtomicUsize,
    differences: Mutex<Vec<(u64, Outcome)>>,
    failures: Mutex<Vec<(u64, String)>>,
    coverage: Mutex<Coverage>,
}

impl Campaign {
    /// Runs it. Differences are printed as they are found.
    ///
    /// # Panics
    /// If a worker panics.
    #[must_use]
    pub fn run(&self) -> Report {
        let began = Instant::now();
        let shared = Shared {
            next: AtomicU64::new(self.only.unwrap_or(0)),
            packets: AtomicU64::new(0),
            scenarios: AtomicU64::new(0),
            found: AtomicUsize::new(0),
            differences: Mutex::new(Vec::new()),
            failures: Mutex::new(Vec::new()),
            coverage: Mutex::new(Coverage::default()),
        };
        let threads = if self.only.is_some() { 1 } else { self.threads.clamp(1, self.area.most_threads()) };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.work(&shared));
            }
        });
        Report {
            area: self.area,
            scenarios: shared.scenarios.into_inner(),
            packets: shared.packets.into_inner(),
            differences: shared.differences.into_inner().unwrap_or_default(),
            failures: shared.failures.into_inner().unwrap_or_default(),
            coverage: shared.coverage.into_inner().unwrap_or_default(),
            took: began.elapsed(),
        }
    }

    /// The seed of one scenario.
    fn seed_of(&self, number: u64) -> u64 {
        let area = self.area as u64 + 1;
        (self.seed << 8 | area).wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(number)
    }

    fn work(&self, shared: &Shared) {
        let mut pool = Pool::default();
        let mut subject = self.side.subject();
        loop {
            let enough = shared.packets.load(Ordering::Relaxed) >= self.packets
                || shared.found.load(Ordering::Relaxed) >= self.most_differences;
            if enough {
                return;
            }
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            match self.one(&mut pool, subject.as_deref_mut(), number, shared) {
                Ok(None) => {}
                Ok(Some(outcome)) => {
                    shared.found.fetch_add(1, Ordering::Relaxed);
                    let text = tell(&outcome);
                    eprintln!("== {} scenario {number}\n{text}", self.area.name());
                    if let Some(folder) = &self.save
                        && let Err(error) = self.store(folder, number, &outcome, &text)
                    {
                        eprintln!("cannot store it: {error}");
                    }
                    if let Ok(mut differences) = shared.differences.lock() {
                        differences.push((number, outcome));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => {
                    shared.found.fetch_add(1, Ordering::Relaxed);
                    eprintln!(
                        "== {} scenario {number} could not be played: {:.600}",
                        self.area.name(),
                        error.to_string()
                    );
                    if let Ok(mut failures) = shared.failures.lock() {
                        failures.push((number, error.to_string()));
                    }
                }
            }
            if self.only.is_some() {
                return;
            }
        }
    }

    fn one(
        &self,
        pool: &mut Pool,
        mut subject: Option<&mut (dyn Subject + 'static)>,
        number: u64,
        shared: &Shared,
    ) -> io::Result<Option<Outcome>> {
        let mut player = Player::new(self.area, self.side.scope(), self.seed_of(number));
        let name = format!("{} seed {} scenario {number}", self.area.name(), self.seed);
        let mut kernel = pool.take()?;
        // A router that failed is not given back.
        let outcome = match &mut subject {
            Some(subject) => play(&mut kernel, Some(&mut **subject), &name, &mut player)?,
            None => play(&mut kernel, None, &name, &mut player)?,
        };
        pool.give_back(kernel);
        shared.packets.fetch_add(outcome.scenario.packets() as u64, Ordering::Relaxed);
        shared.scenarios.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut coverage) = shared.coverage.lock() {
            coverage.note_setup(&outcome.scenario.setup);
            let mut before: &[Entry] = &[];
            for (step, observed) in outcome.scenario.steps.iter().zip(&outcome.kernel) {
                coverage.note_change(step);
                coverage.note(sent(step), before, observed);
                before = &observed.table;
            }
        }
        if self.verbose {
            eprintln!("{}", narrate(&outcome));
        }
        match (outcome.difference.is_some(), subject) {
            (true, Some(subject)) => Ok(Some(shrink(pool, subject, outcome)?)),
            _ => Ok(None),
        }
    }

    fn store(&self, folder: &Path, number: u64, outcome: &Outcome, text: &str) -> io::Result<()> {
        let folder = folder.join(format!("{}-{}-{number}", self.area.name(), self.seed));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("difference.txt"), text)?;
        export::write(&folder, &outcome.scenario, &outcome.kernel)
    }
}

/// Every step with what the kernel did.
#[must_use]
pub fn narrate(outcome: &Outcome) -> String {
    let mut text = format!("{}\n", outcome.scenario.name);
    for (step, observed) in outcome.scenario.steps.iter().zip(&outcome.kernel) {
        let _ = write!(text, "{}\n{observed}", caption(step));
    }
    text
}

fn caption(step: &crate::scenario::Step) -> String {
    use crate::scenario::Step;
    match step {
        Step::Frame { iface, .. } => format!("{iface}: {}", describe(sent(step).unwrap_or(&[]))),
        Step::Local { bytes } => format!("local: {}", describe(bytes)),
        other => format!("{other:?}"),
    }
}

/// A difference as people read it: the scenario as a table of packets, and what each side did with the last one.
#[must_use]
pub fn tell(outcome: &Outcome) -> String {
    let scenario = &outcome.scenario;
    let mut text = format!("{} — {} steps\n", scenario.name, scenario.steps.len());
    for (name, value) in &scenario.setup.sysctls {
        let _ = writeln!(text, "sysctl net.{name}={value}");
    }
    for line in scenario.setup.rules.lines() {
        let _ = writeln!(text, "rules | {line}");
    }
    for (index, (time, step)) in scenario.times().iter().zip(&scenario.steps).enumerate() {
        let _ = writeln!(text, "{index:>3} {:>10.3}s {}", time.as_secs_f64(), caption(step));
    }
    if let Some(difference) = &outcome.difference {
        if let Some(before) = difference.step.checked_sub(1).and_then(|index| outcome.kernel.get(index)) {
            let _ = writeln!(text, "the kernel's table before step {}:", difference.step);
            for entry in &before.table {
                let _ = writeln!(text, "  {entry}");
            }
        }
        let _ = writeln!(text, "what the kernel did at step {}:\n{}", difference.step, difference.kernel);
        let _ = writeln!(text, "at step {} they differ in {}:", difference.step, difference.kind());
        for line in &difference.lines {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
