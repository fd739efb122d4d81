//! Events, from the engine to everybody who asked for them.
//!
//! One thread takes the engine's events and offers each to every subscription, whose filter decides. A subscription's queue
//! is bounded: what does not fit is lost and leaves a [`Item::Gap`] in its place, so that a slow reader holds up nobody and
//! knows what it missed. The engine makes events only while somebody listens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use uct_engine::expect::ExpectEvent;
use uct_engine::{Engine, Event, EventKind, Listening};

use super::filter::Matcher;
use crate::logged::LogLine;

/// Events that wait for one reader.
const QUEUE: usize = 65_536;
/// How long an event may wait for the hub, while somebody listens and nobody wakes it.
const ROUND: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_secs(1);

/// What somebody wants to hear of.
#[derive(Clone, Debug)]
pub(super) enum Interest {
    Connections(Box<Matcher>, Vec<EventKind>),
    Expectations,
    /// What rules log.
    Log,
}

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Event(Arc<Event>),
    Expectation(Arc<ExpectEvent>),
    Logged(Arc<LogLine>),
    /// Events from this number to that were lost.
    Gap(u64, u64),
}

/// Somebody who listens.
#[derive(Debug)]
pub(super) struct Subscription {
    interest: Interest,
    queue: Mutex<VecDeque<Item>>,
    filled: Condvar,
    closed: AtomicBool,
}

impl Subscription {
    fn offer(&self, event: &Arc<Event>) {
        if let Interest::Connections(matcher, kinds) = &self.interest
            && kinds.contains(&event.kind)
            && matcher.matches(&event.entry)
        {
            self.enqueue(event.seq, Item::Event(Arc::clone(event)));
        }
    }

    fn enqueue(&self, seq: u64, item: Item) {
        let mut queue = self.queue.lock();
        if queue.len() < QUEUE {
            queue.push_back(item);
            self.filled.notify_one();
        } else {
            lose(&mut queue, seq, seq);
        }
    }

    fn is_about_connections(&self) -> bool {
        matches!(self.interest, Interest::Connections(..))
    }

    fn is_about_expectations(&self) -> bool {
        matches!(self.interest, Interest::Expectations)
    }

    /// Takes what waits; waits for something if nothing does. Empty when it is over.
    pub(super) fn take(&self, into: &mut Vec<Item>) {
        let mut queue = self.queue.lock();
        while queue.is_empty() && !self.closed.load(Ordering::Acquire) {
            self.filled.wait(&mut queue);
        }
        into.extend(queue.drain(..));
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _queue = self.queue.lock();
        self.filled.notify_all();
    }
}

/// Notes lost events; neighbouring gaps become one.
fn lose(queue: &mut VecDeque<Item>, from: u64, to: u64) {
    match queue.back_mut() {
        Some(Item::Gap(_, end)) => *end = to,
        _ => queue.push_back(Item::Gap(from, to)),
    }
}

/// Distributes an engine's events.
#[derive(Debug)]
pub(super) struct Hub {
    engine: Arc<Engine>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    subscriptions: Vec<Arc<Subscription>>,
    /// The number of the last event that was told.
    last: u64,
    /// The same of expectations.
    last_expectation: u64,
    /// There may be something to take.
    poked: Poked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Poked {
    #[default]
    No,
    Yes,
}

impl Hub {
    pub(super) fn new(engine: Arc<Engine>) -> Hub {
        Hub { engine, state: Mutex::default(), wake: Condvar::new() }
    }

    /// Listens from now on. Answers also the number of the last event before.
    pub(super) fn subscribe(&self, interest: Interest) -> (Arc<Subscription>, u64) {
        let subscription = Arc::new(Subscription {
            interest,
            queue: Mutex::default(),
            filled: Condvar::new(),
            closed: AtomicBool::new(false),
        });
        // What happened before is not for the new one.
        self.round();
        let mut state = self.state.lock();
        state.subscriptions.push(Arc::clone(&subscription));
        self.engine.listen(Listening::Yes);
        state.poked = Poked::Yes;
        self.wake.notify_all();
        let last = if subscription.is_about_expectations() { state.last_expectation } else { state.last };
        (subscription, last)
    }

    pub(super) fn unsubscribe(&self, subscription: &Arc<Subscription>) {
        subscription.close();
        let mut state = self.state.lock();
        state.subscriptions.retain(|s| !Arc::ptr_eq(s, subscription));
        if state.subscriptions.is_empty() {
            self.engine.listen(Listening::No);
        }
    }

    /// Tells what a rule has logged.
    pub(super) fn logged(&self, line: &Arc<LogLine>) {
        let state = self.state.lock();
        for s in state.subscriptions.iter().filter(|s| matches!(s.interest, Interest::Log)) {
            // Lines have no numbers of their own.
            s.enqueue(0, Item::Logged(Arc::clone(line)));
        }
    }

    /// Something happened: do not wait for the next round.
    pub(super) fn poke(&self) {
        let mut state = self.state.lock();
        if !state.subscriptions.is_empty() {
            state.poked = Poked::Yes;
            self.wake.notify_all();
        }
    }

    /// Distributes for ever.
    pub(super) fn run(&self) {
        loop {
            let mut state = self.state.lock();
            if state.poked == Poked::No {
                let wait = if state.subscriptions.is_empty() { IDLE } else { ROUND };
                self.wake.wait_for(&mut state, wait);
            }
            state.poked = Poked::No;
            drop(state);
            self.round();
        }
    }

    /// Takes and tells what there is. One at a time: events keep their order.
    fn round(&self) {
        let mut state = self.state.lock();
        let mut events = Vec::new();
        self.engine.take_events(&mut events);
        for event in events {
            let event = Arc::new(event);
            let lost = state.last + 1..event.seq;
            if state.last != 0 && !lost.is_empty() {
                for s in state.subscriptions.iter().filter(|s| s.is_about_connections()) {
                    lose(&mut s.queue.lock(), lost.start, lost.end - 1);
                }
            }
            state.last = event.seq;
            for s in &state.subscriptions {
                s.offer(&event);
            }
        }
        let mut events = Vec::new();
        self.engine.take_expect_events(&mut events);
        for event in events {
            let event = Arc::new(event);
            state.last_expectation = event.seq;
            for s in state.subscriptions.iter().filter(|s| s.is_about_expectations()) {
                s.enqueue(event.seq, Item::Expectation(Arc::clone(&event)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let mut queue = VecDeque::new();
        lose(&mut queue, 5, 5);
        lose(&mut queue, 6, 9);
        assert!(matches!(queue.make_contiguous(), [Item::Gap(5, 9)]));
    }

    #[test]
    fn closing_wakes_the_reader() {
        let hub = Hub::new(Arc::new(Engine::new(1)));
        let (s, last) = hub.subscribe(Interest::Expectations);
        assert_eq!(last, 0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut items = Vec::new();
                s.take(&mut items);
                items.len()
            });
            hub.unsubscribe(&s);
            assert_eq!(reader.join().unwrap(), 0);
        });
    }
}
