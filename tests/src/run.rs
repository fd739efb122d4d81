//! Plays scenarios on both sides, finds the first step at which they differ, and the shortest scenario that shows it.

use std::io;
use std::time::{Duration, Instant};

use crate::compare::differences;
use crate::generate::Player;
use crate::kernel::{Kernel, Pool};
use crate::observed::Observed;
use crate::scenario::{Clock, Scenario, Setup, Step};

/// What is held against the kernel.
pub trait Subject {
    /// Makes everything as `setup` says, with an empty table.
    ///
    /// # Errors
    /// If it cannot be done, for example because a rule is not understood.
    fn begin(&mut self, setup: &Setup) -> Result<(), String>;

    /// Takes one step at a time of the virtual clock. `kernel` is what the kernel made of the same step: where it drew
    /// at random, the same is to be drawn.
    ///
    /// # Errors
    /// If the step cannot be taken at all.
    fn step(&mut self, step: &Step, at: Duration, kernel: &Observed) -> Result<Observed, String>;
}

/// A step at which the two differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which step.
    pub step: usize,
    /// What the kernel did.
    pub kernel: Observed,
    /// What uct did.
    pub uct: Observed,
    /// In which respects they differ.
    pub lines: Vec<String>,
}

impl Difference {
    /// The respects in which the sides differ, as few words by which alike differences are grouped.
    #[must_use]
    pub fn kind(&self) -> String {
        let heads = self.lines.iter().filter(|line| !line.starts_with(' '));
        let mut words: Vec<&str> = heads.filter_map(|line| line.split([' ', '\n']).next()).collect();
        words.dedup();
        words.join("+")
    }
}

/// A scenario and how it went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was played, up to the first difference.
    pub scenario: Scenario,
    /// What the kernel did, step by step.
    pub kernel: Vec<Observed>,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// The IP packet that a step puts in.
#[must_use]
pub fn sent(step: &Step) -> Option<&[u8]> {
    match step {
        Step::Frame { bytes, .. } => bytes.get(14..),
        Step::Local { bytes } => Some(bytes),
        _ => None,
    }
}

/// A scenario that took so long was held up by something else on the machine; without that it takes milliseconds.
const STALL: Duration = Duration::from_millis(700);
/// How often a scenario that was held up and differed is played again.
const MOST_REPETITIONS: usize = 3;

/// Both sides, in step.
struct Pair<'a> {
    kernel: &'a mut Kernel,
    subject: Option<&'a mut (dyn Subject + 'static)>,
    clock: Clock,
    outcome: Outcome,
}

impl<'a> Pair<'a> {
    fn begin(
        kernel: &'a mut Kernel,
        mut subject: Option<&'a mut (dyn Subject + 'static)>,
        name: &str,
        setup: &Setup,
    ) -> io::Result<Pair<'a>> {
        kernel.begin(setup)?;
        if let Some(subject) = &mut subject {
            subject.begin(setup).map_err(io::Error::other)?;
        }
        let scenario = Scenario { name: name.to_string(), setup: setup.clone(), steps: Vec::new() };
        let outcome = Outcome { scenario, ..Outcome::default() };
        Ok(Pair { kernel, subject, clock: Clock::default(), outcome })
    }

    fn step(&mut self, step: Step) -> io::Result<&Observed> {
        let observed = self.kernel.step(&step)?;
        let at = self.clock.tick(&step);
        if let Some(subject) = &mut self.subject {
            let uct = subject.step(&step, at, &observed).map_err(io::Error::other)?;
            let lines = differences(sent(&step), &observed, &uct);
            if !lines.is_empty() {
                let step = self.outcome.scenario.steps.len();
                self.outcome.difference = Some(Difference { step, kernel: observed.clone(), uct, lines });
            }
        }
        self.outcome.scenario.steps.push(step);
        self.outcome.kernel.push(observed);
        Ok(&self.outcome.kernel[self.outcome.kernel.len() - 1])
    }
}

/// Plays a random scenario to its end or to the first difference.
///
/// # Errors
/// If the kernel side fails, or uct cannot begin.
pub fn play(
    kernel: &mut Kernel,
    mut subject: Option<&mut (dyn Subject + 'static)>,
    name: &str,
    player: &mut Player,
) -> io::Result<Outcome> {
    let began = Instant::now();
    let mut pair = Pair::begin(kernel, subject.as_deref_mut(), name, player.setup())?;
    while let Some(step) = player.next_step() {
        let observed = pair.step(step)?;
        player.notice(observed);
        if pair.outcome.difference.is_some() {
            break;
        }
    }
    if pair.outcome.difference.is_none() {
        pair.kernel.verify()?;
        return Ok(pair.outcome);
    }
    let mut outcome = pair.outcome;
    // While the machine stalls, the kernel's entries age and uct's clock stands still: what differs must differ without that.
    let mut took = began.elapsed();
    for _ in 0..MOST_REPETITIONS {
        // In a full table the kernel's collector gives entries up when it comes by.
        let is_steady = took < STALL && outcome.scenario.setup.full.is_none();
        if is_steady || outcome.difference.is_none() {
            break;
        }
        let began = Instant::now();
        outcome = replay(kernel, subject.as_deref_mut(), &outcome.scenario)?;
        took = began.elapsed();
    }
    Ok(outcome)
}

/// Plays a stored scenario to its end or to the first difference.
///
/// # Errors
/// If the kernel side fails, or uct cannot begin.
pub fn replay(
    kernel: &mut Kernel,
    subject: Option<&mut (dyn Subject + 'static)>,
    scenario: &Scenario,
) -> io::Result<Outcome> {
    let mut pair = Pair::begin(kernel, subject, &scenario.name, &scenario.setup)?;
    for step in &scenario.steps {
        pair.step(step.clone())?;
        if pair.outcome.difference.is_some() {
            break;
        }
    }
    Ok(pair.outcome)
}

/// The shortest scenario that still shows a difference of the same kind, and how it goes.
///
/// Steps are left out one by one, then settings. A shorter scenario may show its difference for another reason; it is a
/// difference all the same, and the simplest one is the one to look at first.
///
/// # Errors
/// If the kernel side fails.
pub fn shrink(pool: &mut Pool, subject: &mut (dyn Subject + 'static), outcome: Outcome) -> io::Result<Outcome> {
    let Some(kind) = outcome.difference.as_ref().map(Difference::kind) else { return Ok(outcome) };
    let mut best = outcome;
    let mut attempt = |best: &mut Outcome, scenario: Scenario| -> io::Result<bool> {
        let mut kernel = pool.take_for(&scenario)?;
        let found = replay(&mut kernel, Some(subject), &scenario);
        pool.give_back(kernel);
        let Ok(found) = found else { return Ok(false) };
        let same = found.difference.as_ref().is_some_and(|difference| difference.kind() == kind);
        if same {
            *best = found;
        }
        Ok(same)
    };
    loop {
        let size_of = |scenario: &Scenario| {
            scenario.steps.len() + scenario.setup.sysctls.len() + scenario.setup.rules.lines().count()
        };
        let before = size_of(&best.scenario);
        let mut size = best.scenario.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < best.scenario.steps.len() {
                let mut scenario = best.scenario.clone();
                let end = (at + size).min(scenario.steps.len());
                scenario.steps.drain(at..end);
                if scenario.steps.is_empty() || !attempt(&mut best, scenario)? {
                    at += size;
                }
            }
            size /= 2;
        }
        let mut at = 0;
        while at < best.scenario.setup.sysctls.len() {
            let mut scenario = best.scenario.clone();
            scenario.setup.sysctls.remove(at);
            if !attempt(&mut best, scenario)? {
                at += 1;
            }
        }
        for rules in fewer_rules(&best.scenario.setup.rules) {
            let mut scenario = best.scenario.clone();
            scenario.setup.rules = rules;
            if attempt(&mut best, scenario)? {
                break;
            }
        }
        if size_of(&best.scenario) >= before {
            return Ok(best);
        }
    }
}

/// The ruleset with one rule less, in every way that is possible.
fn fewer_rules(rules: &str) -> Vec<String> {
    let lines: Vec<&str> = rules.lines().collect();
    let rule = |line: &str| {
        let line = line.trim();
        let frame = line.is_empty() || line.ends_with('{') || line == "}" || line.starts_with("type ");
        // Without the rule that asks for a state the kernel would not track at all.
        !frame && line != "ct state invalid counter"
    };
    let mut all = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if rule(line) {
            let kept: Vec<&str> =
                lines.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, line)| *line).collect();
            all.push(kept.join("\n") + "\n");
        }
    }
    all
}
