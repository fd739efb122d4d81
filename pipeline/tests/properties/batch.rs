//! A batch: the same as its packets one after the other, whatever they do to each other's connections.

use uct_engine::{Listening, Seen};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Arrival, Fate, Silent};
use uct_pipeline::topology::Dev;
use uct_tests::generate::{Area, Player, Scope};
use uct_tests::scenario::{Setup, Step};

use crate::lab::{self, Collect, Lab, Out};

/// A scenario, as it goes when each packet may answer what came out before.
fn answered(area: Area, seed: u64) -> (Setup, Vec<Step>) {
    let mut player = Player::new(area, Scope::Path, seed);
    let mut lab = Lab::new(player.setup(), seed);
    let mut steps = Vec::new();
    while let Some(step) = player.next_step() {
        if let Some(turn) = lab.step(&step) {
            player.notice(&lab.observed(&turn));
        }
        steps.push(step);
    }
    (player.setup().clone(), steps)
}

/// How a batch's packets are taken.
#[derive(Clone, Copy, PartialEq)]
enum Taken {
    OneByOne,
    Together,
}

/// What comes of the steps, frames that follow each other in batches of `most`.
fn transcript(setup: &Setup, steps: &[Step], seed: u64, most: usize, taken: Taken) -> (Vec<Out>, Vec<Fate>, String) {
    let mut lab = Lab::new(setup, seed);
    lab.router.engine().listen(Listening::Yes);
    let (mut out, mut fates) = (Collect::default(), Vec::new());
    let mut batch: Vec<(Dev, Vec<u8>)> = Vec::new();
    for step in steps.iter().map(Some).chain([None]) {
        if let Some(Step::Frame { iface, bytes }) = step {
            let iif = lab.router.topology().dev(iface).expect("an interface");
            batch.push((iif, bytes.get(14..).unwrap_or(&[]).to_vec()));
            if batch.len() < most {
                continue;
            }
        }
        let at = lab.tick();
        lab.router.pass_time(at, &mut out, &mut Silent);
        let arrivals = batch.iter_mut().map(|(iif, bytes)| {
            let (wire_len, offload) = (bytes.len(), Offload::default());
            Arrival { at, iif: *iif, bytes, wire_len, link: None, offload, seen: Seen::default() }
        });
        match taken {
            Taken::OneByOne => fates.extend(arrivals.map(|one| lab.router.receive(one, &mut out, &mut Silent))),
            Taken::Together => {
                let mut arrivals: Vec<_> = arrivals.collect();
                let before = fates.len();
                lab.router.receive_batch(&mut arrivals, &mut out, &mut Silent, |n, fate| {
                    assert_eq!(n, fates.len() - before, "told in order");
                    fates.push(fate);
                });
            }
        }
        batch.clear();
        if let Some(step) = step.filter(|step| !matches!(step, Step::Frame { .. })) {
            lab.step(step);
        }
    }
    let mut events = Vec::new();
    lab.router.engine().take_events(&mut events);
    let stats: Vec<_> = lab.router.stats().fates().collect();
    let end = lab.tick();
    (out.out, fates, format!("{events:?}\n{:?}\n{stats:?}", lab.router.engine().entries(end)))
}

#[test]
fn a_batch_is_its_packets_one_after_the_other() {
    let mut packets = 0;
    for area in Area::ALL {
        for seed in 1..=lab::rounds(12) {
            let (setup, steps) = answered(area, seed);
            for most in [2, 5, 32, 100] {
                let one = transcript(&setup, &steps, seed, most, Taken::OneByOne);
                let together = transcript(&setup, &steps, seed, most, Taken::Together);
                packets += one.1.len();
                assert!(one == together, "{area:?}, seed {seed}, batches of {most}");
            }
        }
    }
    assert!(packets > 10_000, "only {packets} packets were tried");
}
