//! Scripts played: beside the running kernel, or after what a kernel once did.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::tell::{Ports, Teller};
use super::{Script, Turn};
use crate::compare::differences;
use crate::kernel::Kernel;
use crate::observed::Observed;
use crate::run::{Subject, sent};
use crate::scenario::{Clock, Step};
use crate::uct::PathSubject;

/// A script that was played.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its turns, each at its time.
    pub turns: Vec<(Turn, Duration)>,
    /// What the kernel did at each.
    pub kernel: Vec<Observed>,
    /// What uct did at each.
    pub uct: Vec<Observed>,
    /// Where the two differ: the step, and how.
    pub differences: Vec<(usize, Vec<String>)>,
}

impl Run {
    /// What uct did, as the page tells it.
    #[must_use]
    pub fn text(&self, script: &Script, ports: Ports) -> String {
        let mut teller = Teller::new(script, ports);
        for ((turn, at), observed) in self.turns.iter().zip(&self.uct) {
            teller.turn(turn, *at, observed);
        }
        teller.text()
    }
}

/// Plays a script with `kernel` telling what the kernel does at each step.
fn play(script: &Script, mut kernel: impl FnMut(&Step) -> io::Result<Observed>) -> io::Result<Run> {
    let mut run = Run::default();
    let mut subject = PathSubject::default();
    subject.begin(&script.setup).map_err(io::Error::other)?;
    let (mut play, mut clock) = (script.play(), Clock::default());
    while let Some(turn) = play.next_turn().map_err(io::Error::other)? {
        let step = &turn.step;
        let truth = kernel(step)?;
        let at = clock.tick(step);
        let uct = subject.step(step, at, &truth).map_err(io::Error::other)?;
        let lines = differences(sent(step), &truth, &uct);
        if !lines.is_empty() {
            run.differences.push((run.turns.len(), lines));
        }
        play.notice(&truth);
        run.turns.push((turn, at));
        run.kernel.push(truth);
        run.uct.push(uct);
    }
    Ok(run)
}

/// Plays a script on the running kernel and on uct, in step.
///
/// # Errors
/// If a line is not understood, or one of the sides fails.
pub fn beside(script: &Script, kernel: &mut Kernel) -> io::Result<Run> {
    kernel.begin(&script.setup)?;
    let run = play(script, |step| kernel.step(step))?;
    kernel.verify()?;
    Ok(run)
}

/// Plays a script on uct, after what the kernel did.
///
/// # Errors
/// If a line is not understood, uct fails, or the record is shorter than the script.
pub fn after(script: &Script, truth: &[Observed]) -> io::Result<Run> {
    let mut truth = truth.iter();
    play(script, |_| truth.next().cloned().ok_or_else(|| io::Error::other("the record is shorter than the script")))
}

/// Reads what the kernel did.
///
/// # Errors
/// If the file cannot be read or is no record.
pub fn load(path: &Path) -> io::Result<Vec<Observed>> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// What the kernel did, one step a line.
///
/// # Errors
/// Never for what a kernel can do.
pub fn save(observed: &[Observed]) -> io::Result<String> {
    let lines = observed.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}
