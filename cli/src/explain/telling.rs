//! A replay that is told packet by packet.

use uct_engine::Time;
use uct_pipeline::replay::{Discard, Replay};
use uct_pipeline::router::Router;

use super::ledger::Ledger;
use super::model::{Explanation, Step};
use super::observer::Explainer;
use super::tee::{Loss, Tee};
use crate::Failure;
use crate::session::{Capture, Names, Session};

/// A replay under way, and what there is to tell of it.
pub struct Telling {
    names: Names,
    replay: Replay,
    source: Tee<Capture>,
    explainer: Explainer,
}

impl Telling {
    /// Of a session, without the frames that are lost.
    pub fn new(session: Session, loss: Loss) -> Telling {
        let Session { names, replay, source } = session;
        let explainer = Explainer::new(replay.router());
        Telling { names, replay, source: Tee::new(source, loss), explainer }
    }

    /// The source, which still has the packet's frame.
    pub fn source(&self) -> &Tee<Capture> {
        &self.source
    }

    /// The router as it stands.
    pub fn router(&self) -> &Router {
        self.replay.router()
    }

    /// The virtual clock.
    pub fn now(&self) -> Time {
        self.replay.now()
    }

    /// Lets time pass to `now`; what happened until then.
    pub fn wait_until(&mut self, now: Time) -> Vec<Step> {
        self.replay.wait_until(now, &mut Discard, &mut self.explainer);
        self.explainer.waited()
    }

    /// The same to the time that `--at` names, if it names one.
    pub fn wait_until_asked(&mut self) -> Vec<Step> {
        match self.source.inner().waits_until() {
            Some(time) => self.wait_until(time),
            None => Vec::new(),
        }
    }

    /// When the first packet came.
    pub fn first(&self) -> Time {
        self.explainer.first()
    }

    /// Who did what when.
    pub fn ledger(&self) -> &Ledger {
        self.explainer.ledger()
    }
}

/// What there is to tell of each packet; a fault in the capture is the last item.
impl Iterator for Telling {
    type Item = Result<Explanation, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.replay.step(&mut self.source, &mut Discard, &mut self.explainer) {
            Ok(step) => step.map(|step| Ok(self.explainer.finish(&step, self.source.interface_name()))),
            Err(fault) => Some(Err(self.names.fault(&fault))),
        }
    }
}
