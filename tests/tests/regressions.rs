//! Every difference that was ever found, by name: uct must do what the kernel did.
//!
//! What the kernel did is stored beside each scenario, so nothing but uct is needed to run these. Where a kernel can be
//! asked, it is asked whether it still does the same.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use uct_tests::compare::differences;
use uct_tests::kernel::{self, Kernel};
use uct_tests::observed::Observed;
use uct_tests::run::{Subject, replay, sent};
use uct_tests::scenario::Scenario;
use uct_tests::uct::PathSubject;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("scenario.toml").exists());
    folders.sort();
    folders
}

fn load(folder: &Path) -> (Scenario, Vec<Observed>) {
    let scenario = fs::read_to_string(folder.join("scenario.toml")).unwrap();
    let truth = fs::read_to_string(folder.join("kernel.json")).unwrap();
    (Scenario::from_toml(&scenario).unwrap(), serde_json::from_str(&truth).unwrap())
}

#[test]
fn uct_does_what_the_kernel_did() {
    let mut failed = Vec::new();
    for folder in folders() {
        let (scenario, truth) = load(&folder);
        let mut subject = PathSubject::default();
        subject.begin(&scenario.setup).unwrap();
        for (index, ((step, at), kernel)) in scenario.steps.iter().zip(scenario.times()).zip(&truth).enumerate() {
            let uct = subject.step(step, at, kernel).unwrap();
            let lines = differences(sent(step), kernel, &uct);
            if !lines.is_empty() {
                failed.push(format!("{}, step {index}:\n{}", folder.display(), lines.join("\n")));
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn the_kernel_still_does_the_same() {
    if let Err(reason) = kernel::available() {
        kernel::skip_or_fail(&reason);
        return;
    }
    let mut kernel = Kernel::new().unwrap();
    for folder in folders() {
        let (scenario, truth) = load(&folder);
        // A machine that was held up plays it again.
        let mut play = || match replay(&mut kernel, None, &scenario) {
            Err(error) if error.kind() == ErrorKind::TimedOut => None,
            outcome => Some(outcome.unwrap()),
        };
        let outcome = (0..5).find_map(|_| play()).expect("the machine is not too slow five times");
        for (index, (now, then)) in outcome.kernel.iter().zip(&truth).enumerate() {
            let lines = differences(sent(&scenario.steps[index]), now, then);
            assert!(lines.is_empty(), "{}, step {index}:\n{}", folder.display(), lines.join("\n"));
        }
    }
}
