//! What `--events` prints, in order: what happened to connections, and what the rules' `log` statements say.

use uct_engine::{Engine, Event, Listening, Time};
use uct_nat::rules::{self, Logged};
use uct_pipeline::router;

/// One line of `--events`.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Something happened to a connection.
    Event(Box<Event>),
    /// A `log` statement was passed.
    Log {
        /// When.
        at: Time,
        /// What it says, prefix included.
        line: String,
    },
}

impl Heard {
    /// Takes the engine's events.
    pub fn take_events(engine: &Engine, heard: &mut Vec<Heard>) {
        let mut events = Vec::new();
        engine.take_events(&mut events);
        heard.extend(events.into_iter().map(|event| Heard::Event(Box::new(event))));
    }
}

/// Hears the `log` statements of a packet's way, among the events that went before.
#[derive(Debug)]
pub struct Hearing {
    listening: Listening,
    heard: Vec<Heard>,
}

impl Hearing {
    /// Hears, if anybody listens.
    pub fn of(listening: Listening) -> Hearing {
        Hearing { listening, heard: Vec::new() }
    }

    /// Hands over what was heard.
    pub fn take(&mut self, heard: &mut Vec<Heard>) {
        heard.append(&mut self.heard);
    }
}

impl rules::Observer for Hearing {
    fn log(&mut self, logged: &Logged<'_, '_>) {
        if self.listening == Listening::Yes {
            Heard::take_events(logged.cx.engine, &mut self.heard);
            self.heard.push(Heard::Log { at: logged.cx.now, line: logged.to_string() });
        }
    }
}

impl uct_engine::Observer for Hearing {}

impl router::Observer for Hearing {}
