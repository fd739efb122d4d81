//! The engine by itself: every packet is tracked, and confirmed if the kernel let it out.
//!
//! What the packet's way does (rules, translation, routing, fragments) is left out, so scenarios for it have none of these.
//! What leaves is taken from the kernel: only the table and the events are compared.

use std::time::Duration;

use uct_engine::{Ct, Engine, Hook, Listening, Packet, Silent, Template, Time, Track};

use super::words;
use crate::observed::{Emitted, Observed};
use crate::run::{Subject, sent};
use crate::scenario::{Setup, Step};

/// The engine, held against the kernel.
pub struct EngineSubject {
    engine: Engine,
}

impl Default for EngineSubject {
    fn default() -> Self {
        EngineSubject { engine: Engine::new(1) }
    }
}

/// The virtual clock's zero: any time will do.
const EPOCH: Time = Time::from_secs(1_700_000_000);

/// Whether one of the packets that came out is the one that went in. What the router says about a packet is another
/// packet, with other addresses.
fn has_left(packet: &[u8], out: &[Emitted]) -> bool {
    let addresses = if packet.first().is_some_and(|byte| byte >> 4 == 4) { 12..20 } else { 8..40 };
    out.iter().any(|emitted| emitted.packet.get(addresses.clone()) == packet.get(addresses.clone()))
}

impl Subject for EngineSubject {
    fn begin(&mut self, setup: &Setup) -> Result<(), String> {
        self.engine = Engine::new(1);
        self.engine.listen(Listening::Yes);
        for (name, value) in &setup.sysctls {
            let name = name.strip_prefix("netfilter.").unwrap_or(name);
            self.engine.settings().set_by_name(name, value).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, at: Duration, kernel: &Observed) -> Result<Observed, String> {
        let now = EPOCH + at;
        self.engine.expire(now, usize::MAX);
        match step {
            Step::Frame { .. } => self.track(step, Hook::Prerouting, now, &kernel.out),
            Step::Local { .. } => self.track(step, Hook::Output, now, &kernel.out),
            Step::Sysctl { name, value } => {
                let name = name.strip_prefix("netfilter.").unwrap_or(name);
                self.engine.settings().set_by_name(name, value).map_err(|error| error.to_string())?;
            }
            Step::Advance { .. } => {}
            Step::Rules { .. } | Step::DeleteAddress { .. } => return Err("the engine has no rules".into()),
        }
        let mut events = Vec::new();
        self.engine.take_events(&mut events);
        Ok(Observed {
            out: kernel.out.clone(),
            table: self.engine.entries(now).iter().map(words::entry).collect(),
            events: events.iter().map(words::event).collect(),
            ..Observed::default()
        })
    }
}

impl EngineSubject {
    fn track(&self, step: &Step, hook: Hook, now: Time, out: &[Emitted]) {
        let mut bytes = sent(step).unwrap_or(&[]).to_vec();
        let has_left = has_left(&bytes, out);
        let length = bytes.len();
        let Ok(packet) = Packet::parse(&mut bytes, length) else { return };
        let tracked = self.engine.track(&packet, hook, &Template::default(), now, &mut Silent);
        let Track::Tracked(tracked) = tracked else { return };
        // What the router says about a dropped packet is itself a packet of the connection, and as it leaves everything
        // is told that the dropped one has changed.
        let is_told = has_left || (!out.is_empty() && matches!(tracked.ct, Ct::Confirmed(_)));
        if is_told {
            self.engine.confirm(tracked.ct, now);
        }
    }
}
