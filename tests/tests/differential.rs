//! A short run of every quick area against the running kernel.
//!
//! `UCT_DIFF_PACKETS` sets the packets of each area; the long run is the binary `differential`.

use uct_tests::campaign::{Campaign, Report, Side};
use uct_tests::generate::Area;
use uct_tests::kernel;

/// Packets of each area if nothing else is said.
const PACKETS: u64 = 5_000;

#[test]
fn random_scenarios_do_the_same_in_both() {
    if let Err(reason) = kernel::available() {
        kernel::skip_or_fail(&reason);
        return;
    }
    let packets = std::env::var("UCT_DIFF_PACKETS").ok().and_then(|text| text.parse().ok()).unwrap_or(PACKETS);
    let seed = std::env::var("UCT_DIFF_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut reports = Vec::new();
    for area in Area::QUICK {
        let campaign = Campaign {
            area,
            packets,
            seed,
            only: None,
            side: Side::Path,
            threads: 48,
            most_differences: 3,
            save: None,
            verbose: false,
        };
        reports.push(campaign.run());
    }
    let clean = reports.iter().all(|report| report.differences.is_empty() && report.failures.is_empty());
    assert!(clean, "seed {seed}\n{}", Report::table(&reports));
    eprint!("{}", Report::table(&reports));
}
