//! The observer that writes down what the router tells, packet by packet.
//!
//! ```text
//!   Replay::step ──► Router, Engine, Nat, Ruleset ──tell──► Explainer ──► Explanation
//!                                                             └─ Ledger: which packet set which bound, opened which connection
//! ```
//! It decides nothing: a step is here because the router took it, in that order.

use std::time::Duration;

use uct_engine::sctp;
use uct_engine::tcp::{Ceiling, Class, Exception, Next, Peer, TcpState, Tests, Window};
use uct_engine::{
    Confirm, Conn, ConnId, Direction, Entry, Gone, Hook, Info, Invalid, Manip, Packet, Sysctl, Time, Tuple, Zone,
};
use uct_nat::rules::{ChainId, Decision as RuleDecision, Logged, RuleId, Verdict as RuleVerdict};
use uct_nat::{Decision, Mapping, PortChoice, Rewrite, Start};
use uct_pipeline::defrag::Expired;
use uct_pipeline::icmp_error::Silence;
use uct_pipeline::replay::Step as ReplayStep;
use uct_pipeline::route;
use uct_pipeline::router::{self, Cause, Drop, Emitted, Fate, Router};

use super::book::Book;
use super::header::Header;
use super::ledger::Ledger;
use super::model::{
    Connection, Explanation, Left, NatStep, Origin, Pin, Remedy, Rule, SearchView, Step, TupleView, VERSION, Verdict,
    Way, WindowTest,
};
use super::words;

/// Writes down what happens to one packet after the other.
pub struct Explainer {
    book: Book,
    /// How often the rules have changed.
    generation: u32,
    ledger: Ledger,
    /// The frame that is under way: told to the ledger as the cause of all that happens.
    number: u64,
    first: Option<Time>,
    now: Time,
    before: Vec<Step>,
    ways: Vec<Way>,
    /// Answers to the packet at hand that came before its own end.
    asides: Vec<Way>,
    /// What was at hand when such an answer began.
    set_aside: Option<SetAside>,
    /// The packet as it was last seen.
    seen: Option<Header>,
    /// The connection at hand.
    conn: Option<ConnId>,
    /// The rule that a NAT decision follows.
    mapping: Option<(Rule, String)>,
    /// The last filter chain that was asked, whose policy may be what drops.
    chain: Option<String>,
}

/// What a packet left at hand while an answer to it takes its way.
struct SetAside {
    ways: usize,
    seen: Option<Header>,
    conn: Option<ConnId>,
    mapping: Option<(Rule, String)>,
    chain: Option<String>,
}

impl Explainer {
    /// Listens to this router.
    pub fn new(router: &Router) -> Self {
        Explainer {
            book: Book::of(router),
            generation: 0,
            ledger: Ledger::default(),
            number: 1,
            first: None,
            now: Time::ZERO,
            before: Vec::new(),
            ways: Vec::new(),
            asides: Vec::new(),
            set_aside: None,
            seen: None,
            conn: None,
            mapping: None,
            chain: None,
        }
    }

    /// Who did what when.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// When the first packet came.
    pub fn first(&self) -> Time {
        self.first.unwrap_or(Time::ZERO)
    }

    /// What happened as time passed after the last packet.
    pub fn waited(&mut self) -> Vec<Step> {
        self.ways.clear();
        let before = std::mem::take(&mut self.before);
        self.ledger.forget_gone();
        before
    }

    /// The frame has had its way: what there is to tell of it. `interface` is the capture's name of where it came in.
    pub fn finish(&mut self, step: &ReplayStep, interface: Option<String>) -> Explanation {
        let first = *self.first.get_or_insert(step.at);
        let verdict = match &step.fate {
            None => Verdict::LeftOut,
            Some(Fate::Sent(_)) => Verdict::Sent,
            Some(Fate::Delivered) => Verdict::Delivered,
            Some(Fate::Held) => Verdict::Held,
            Some(Fate::Dropped(_)) => Verdict::Drop,
        };
        let mut explanation = Explanation {
            version: VERSION,
            packet: step.number,
            time: step.at.saturating_duration_since(first).as_secs_f64(),
            time_ns: step.at.as_nanos(),
            interface: interface.or_else(|| self.ways.iter().find_map(|w| w.interface.clone())),
            verdict,
            words: Vec::new(),
            before: std::mem::take(&mut self.before),
            ways: std::mem::take(&mut self.ways).into_iter().chain(std::mem::take(&mut self.asides)).collect(),
        };
        explanation.words = words::explain(&explanation, &self.book);
        self.ledger.forget_gone();
        (self.seen, self.conn, self.mapping, self.chain) = (None, None, None, None);
        explanation
    }

    /// The way at hand; one that began with nothing but a frame, if none did.
    fn way(&mut self) -> &mut Way {
        if self.ways.is_empty() {
            self.ways.push(Way::new(Origin::Frame));
        }
        let last = self.ways.len() - 1;
        &mut self.ways[last]
    }

    fn push(&mut self, step: Step) {
        self.way().steps.push(step);
    }

    fn rule(&self, id: RuleId) -> Option<Rule> {
        self.book.rule(id)
    }

    fn seconds(&self, at: Time) -> f64 {
        self.first.map_or(0.0, |first| at.saturating_duration_since(first).as_secs_f64())
    }

    fn name(&self, dev: uct_pipeline::topology::Dev) -> String {
        self.book.interface(dev)
    }

    fn test(
        &self,
        name: &'static str,
        says: &'static str,
        test: uct_engine::tcp::Test,
        by: &[(Direction, usize)],
    ) -> WindowTest {
        let record = self.conn.and_then(|id| self.ledger.get(id));
        let mut set_by: Vec<u64> = by
            .iter()
            .filter_map(|(dir, field)| record.map(|r| r.set_by[*dir as usize][*field]))
            .filter(|n| *n > 0)
            .collect();
        set_by.sort_unstable();
        set_by.dedup();
        WindowTest { test: name, says, value: test.value.0, bound: test.bound.0, holds: test.holds, set_by }
    }
}

/// Places of an end's fields in [`super::ledger::Record::set_by`].
const END: usize = 0;
const MAX_END: usize = 1;
const MAX_WIN: usize = 2;

impl uct_engine::Observer for Explainer {
    fn lookup(&mut self, tuple: &Tuple, zone: Zone, found: Option<(ConnId, Direction)>) {
        self.conn = found.map(|(id, _)| id);
        let step = Step::Lookup {
            tuple: tuple.into(),
            zone: zone.id,
            found: found.map(|(id, _)| self.ledger.refer(id)),
            direction: found.map(|(_, dir)| dir.name()),
        };
        self.push(step);
    }

    fn opened(&mut self, conn: &Conn) {
        self.conn = Some(conn.id());
        self.ledger.open(conn.id(), self.number);
        let (original, reply) = ((&conn.original()).into(), (&conn.reply()).into());
        self.push(Step::Opened { connection: conn.id().0, original, reply });
    }

    fn transition(&mut self, dir: Direction, class: Class, state: TcpState, next: Next, why: &'static str) {
        let (next, outcome) = match next {
            Next::To(next) => (Some(next.name()), "to"),
            Next::Ignore => (None, "ignore"),
            Next::Invalid => (None, "invalid"),
        };
        let segment = class.to_string();
        self.push(Step::Transition { direction: dir.name(), segment, state: state.name(), next, outcome, why });
    }

    fn sctp(
        &mut self,
        dir: Direction,
        chunk: sctp::Chunk,
        state: sctp::SctpState,
        next: sctp::Next,
        why: &'static str,
    ) {
        let (next, outcome) = match next {
            sctp::Next::To(next) => (Some(next.name()), "to"),
            sctp::Next::Invalid => (None, "invalid"),
        };
        let segment = chunk.to_string();
        self.push(Step::Transition { direction: dir.name(), segment, state: state.name(), next, outcome, why });
    }

    fn exception(&mut self, why: Exception) {
        self.push(Step::Exception { why: why.to_string() });
    }

    fn window(&mut self, dir: Direction, window: Window, tests: Option<&Tests>) {
        let (sender, receiver) = (dir, dir.inverse());
        let tests = tests.map_or(Vec::new(), |t| {
            vec![
                self.test("I", "seq ≤ s.maxend", t.begins, &[(sender, MAX_END)]),
                self.test("II", "end ≥ s.end − r.maxwin", t.ends, &[(sender, END), (receiver, MAX_WIN)]),
                self.test("III", "sack ≤ r.end", t.acks, &[(receiver, END)]),
                self.test("IV", "ack ≥ r.end − max(s.maxwin, 66000)", t.recent, &[(receiver, END), (sender, MAX_WIN)]),
            ]
        });
        let verdict = match window {
            Window::Inside => "inside",
            Window::TooOldData(_) => "too_old_data",
            Window::TooOldAck(_) => "too_old_ack",
            Window::Overshoot(_) => "overshoot",
            Window::Outside(_) => "outside",
        };
        let record = self.conn.and_then(|id| self.ledger.get(id));
        let receiver_unseen = record.is_some_and(|r| r.ends[receiver as usize].max_win == 0);
        self.push(Step::Window { direction: dir.name(), verdict, receiver_unseen, tests });
    }

    fn ends(&mut self, ends: &[Peer; 2]) {
        let Some(id) = self.conn else { return };
        let is_news = self.ledger.get(id).is_some_and(|r| r.ends != *ends);
        self.ledger.ends(id, ends, self.number);
        if is_news && let Some([original, reply]) = self.ledger.end_views(id) {
            self.push(Step::Ends { original, reply });
        }
    }

    fn ceiling(&mut self, why: Ceiling, own: Duration) {
        self.push(Step::Ceiling { own: own.as_secs_f64(), why: why.to_string() });
    }

    fn timeout(&mut self, timeout: Duration, from: Option<Sysctl>) {
        self.push(Step::Timeout { seconds: timeout.as_secs_f64(), setting: from.map(Sysctl::name) });
    }

    fn gone(&mut self, conn: &Conn, at: Time, why: Gone) {
        let entry = conn.entry(at);
        let step = Step::Gone {
            connection: self.ledger.refer(conn.id()),
            original: (&conn.original()).into(),
            reply: (&conn.reply()).into(),
            state: entry.proto.state_name(),
            time: self.seconds(at),
            why: why.to_string(),
        };
        self.ledger.close(conn.id());
        // Time passes before the packet begins its way.
        if self.ways.is_empty() && why == Gone::RanOut {
            self.before.push(step);
        } else {
            self.push(step);
        }
    }
}

impl uct_nat::rules::Observer for Explainer {
    fn matched(&mut self, rule: RuleId) {
        if let Some(rule) = self.rule(rule) {
            self.push(Step::Rule { rule });
        }
    }

    fn log(&mut self, logged: &Logged<'_, '_>) {
        if let Some(rule) = self.rule(logged.rule) {
            self.push(Step::Log { rule, prefix: logged.log.prefix.to_string(), line: logged.to_string() });
        }
    }
}

impl router::Observer for Explainer {
    fn is_listening(&self) -> bool {
        true
    }

    fn rules_changed(&mut self, router: &Router) {
        self.book = Book::of(router);
        self.generation += 1;
    }

    fn clock(&mut self, number: u64, at: Time) {
        (self.number, self.now) = (number, at);
        self.first.get_or_insert(at);
    }

    fn entered(&mut self) {
        self.ways.push(Way::new(Origin::Frame));
        self.conn = None;
    }

    fn began(&mut self, cause: Cause, packet: &Packet<'_>) {
        let header = Header::of(packet);
        let origin = match cause {
            Cause::Arrived(_) => Origin::Arrived,
            Cause::Own => Origin::Own,
            Cause::Answer => Origin::Answer,
        };
        // What was told before the packet could be read (that it was restored) is the beginning of its way.
        if self.ways.last().is_none_or(|w| w.origin != Origin::Frame) {
            self.ways.push(Way::new(origin));
        }
        let interface = match cause {
            Cause::Arrived(dev) => Some(self.name(dev)),
            Cause::Own | Cause::Answer => None,
        };
        let way = self.way();
        (way.origin, way.came, way.interface) = (origin, Some(header.clone()), interface);
        way.bytes = packet.bytes().to_vec();
        self.seen = Some(header);
    }

    fn restored(&mut self) {
        self.push(Step::Restored);
    }

    fn held(&mut self, lost: u32) {
        self.push(Step::Held { lost });
    }

    fn whole(&mut self, packet: &Packet<'_>, fragments: u32) {
        let header = Header::of(packet);
        self.seen = Some(header.clone());
        self.push(Step::Whole { fragments, header });
    }

    fn incomplete(&mut self, expired: &Expired) {
        let first = expired.first.as_deref().and_then(|bytes| Header::read(bytes, bytes.len()));
        self.before.push(Step::Incomplete { fragments: expired.fragments, first });
    }

    fn filtered(&mut self, hook: Hook, chain: ChainId, verdict: &RuleVerdict) {
        let name = self.book.chain(chain);
        self.chain = Some(name.clone());
        let rule = verdict.rule.and_then(|id| self.rule(id));
        let step = Step::Chain { hook: hook.name(), chain: name, decision: decision_name(verdict.decision), rule };
        self.push(step);
    }

    fn refused(&mut self, hook: Hook, verdict: &RuleVerdict) {
        let rule = verdict.rule.and_then(|id| self.rule(id));
        let chain = rule.as_ref().map_or_else(|| "nat".to_owned(), |r| r.chain.clone());
        self.push(Step::Chain { hook: hook.name(), chain, decision: decision_name(verdict.decision), rule });
    }

    fn tracked(&mut self, entry: &Entry, dir: Direction, info: Info) {
        self.conn = Some(entry.id);
        let record = self.ledger.get_mut(entry.id);
        let state_before = record.as_ref().and_then(|r| r.entry.as_ref()).and_then(|e| e.proto.state_name());
        let since = record.as_ref().map(|r| r.opened);
        if let Some(record) = record {
            record.entry = Some(entry.clone());
        }
        let way = self.way();
        way.connection = Some(Connection::of(entry, since));
        (way.direction, way.info) = (Some(dir.name()), Some(info.name()));
        let (connection, direction, info) = (entry.id.0, dir.name(), info.name());
        self.push(Step::Tracked { connection, direction, info, state_before });
    }

    fn invalid(&mut self, why: Invalid) {
        self.way().info = Some("invalid");
        let remedy = why.remedy().map(|(setting, value)| Remedy { setting: setting.name(), value });
        self.push(Step::Invalid { reason: why.name(), why: why.to_string(), remedy });
    }

    fn untracked(&mut self) {
        self.way().info = Some("untracked");
        self.push(Step::Untracked);
    }

    fn mapping(&mut self, hook: Hook, rule: RuleId, action: &Mapping) {
        let Some(rule) = self.rule(rule) else { return };
        self.mapping = Some((rule.clone(), action.to_string()));
        self.push(Step::Mapping { hook: hook.name(), rule, action: action.to_string() });
    }

    fn mapped(&mut self, decision: &Decision) {
        let (rule, action) = self.mapping.take().unzip();
        if let Some(record) = self.conn.and_then(|id| self.ledger.get_mut(id)) {
            let pin = Pin { packet: self.number, rule: rule.clone(), generation: self.generation, replaced: false };
            record.pins[decision.manip as usize] = Some(pin);
        }
        let step = self.nat_step(decision, rule, action);
        if let PortChoice::Found(uct_nat::Search { evicted: Some(id), .. }) = decision.port {
            self.evicted(id);
        }
        self.push(Step::Nat(Box::new(step)));
    }

    fn rewritten(&mut self, hook: Hook, rewrite: &Rewrite, packet: &Packet<'_>) {
        let header = Header::of(packet);
        let old = self.seen.replace(header.clone());
        let manip = match rewrite {
            Rewrite::Nothing => return,
            Rewrite::Header(change) => change.manip,
            Rewrite::Error { outer, .. } => outer.manip,
        };
        let mut changes = old.map_or(Vec::new(), |old| old.changes(&header));
        changes.retain(|c| c.field != "TTL");
        // The reply direction's source is what was decided about the original's destination.
        let is_reply = self.way().direction == Some(Direction::Reply.name());
        let decided = if is_reply { manip.inverse() } else { manip };
        let pin = self.conn.and_then(|id| self.ledger.pin(id, decided)).cloned();
        let mut pinned = pin.filter(|p| p.packet != self.number);
        if let Some(pin) = &mut pinned {
            pin.replaced = pin.generation != self.generation;
        }
        self.push(Step::Rewritten { hook: hook.name(), changes, pinned });
    }

    fn routed(&mut self, answer: &route::Answer) {
        let (to, hop, why) = match answer {
            route::Answer::Forward(hop) => ("forward", Some(*hop), None),
            route::Answer::Local(delivery) => ("local", None, Some(format!("{delivery:?}").to_lowercase())),
            route::Answer::NoRoute => ("none", None, None),
            route::Answer::Refused(why) => ("refused", None, Some(why.to_string())),
        };
        let interface = hop.map(|hop| self.name(hop.dev));
        self.push(Step::Routed { to, interface, next_hop: hop.map(|hop| hop.next), why });
    }

    fn confirmed(&mut self, confirm: &Confirm) {
        let own = self.conn;
        let (outcome, conn) = match confirm {
            Confirm::Known(conn) => ("known", conn),
            Confirm::Inserted(conn) => ("inserted", conn),
            Confirm::Merged(conn) => ("merged", conn),
            Confirm::Clash(conn) => ("clash", conn),
        };
        let is_own = own == Some(conn.id());
        let by = (!is_own).then(|| self.ledger.refer(conn.id()));
        if matches!(confirm, Confirm::Known(_) | Confirm::Inserted(_)) {
            let entry = conn.entry(conn.deadline());
            let mut since = None;
            if let Some(record) = self.ledger.get_mut(conn.id()) {
                record.confirmed = true;
                record.entry = Some(entry.clone());
                since = Some(record.opened);
            }
            let way = self.way();
            let is_answer = way.origin == Origin::Answer;
            if !is_answer {
                let timeout = way.connection.as_ref().map(|c| c.timeout);
                let mut view = Connection::of(&entry, since);
                view.timeout = timeout.unwrap_or(view.timeout);
                way.connection = Some(view);
            }
        } else if let Some(id) = own {
            self.ledger.close(id);
        }
        let connection = own.unwrap_or(conn.id()).0;
        self.push(Step::Confirmed { outcome, connection, by });
    }

    fn dropped(&mut self, why: &Drop) {
        let rule = match why {
            Drop::Rule(rule) | Drop::Reject(rule) => *rule,
            _ => None,
        };
        let rule = rule.and_then(|id| self.rule(id));
        let why_text = match (why, &rule, &self.chain) {
            (Drop::Rule(None), None, Some(chain)) => format!("the policy of the chain '{chain}' dropped it"),
            _ => why.to_string(),
        };
        // A connection that was not confirmed before never will be.
        if let Some(id) = self.conn
            && self.ledger.get(id).is_some_and(|r| !r.confirmed)
        {
            self.ledger.close(id);
        }
        self.push(Step::Dropped { reason: why.name(), why: why_text, rule });
    }

    fn aside(&mut self) {
        self.set_aside = Some(SetAside {
            ways: self.ways.len(),
            seen: self.seen.take(),
            conn: self.conn.take(),
            mapping: self.mapping.take(),
            chain: self.chain.take(),
        });
    }

    fn resumed(&mut self) {
        let Some(SetAside { ways, seen, conn, mapping, chain }) = self.set_aside.take() else { return };
        self.asides.extend(self.ways.split_off(ways.min(self.ways.len())));
        (self.seen, self.conn, self.mapping, self.chain) = (seen, conn, mapping, chain);
    }

    fn silent(&mut self, why: Silence) {
        self.push(Step::Silent { why: why.to_string() });
    }

    fn sent(&mut self, packet: &Emitted<'_>) {
        let left = Left {
            interface: self.name(packet.dev),
            next_hop: packet.next,
            header: Header::read(packet.bytes, packet.wire_len),
            bytes: packet.bytes.to_vec(),
            wire_len: packet.wire_len,
            dev: packet.dev,
        };
        self.way().left.push(left);
    }

    fn delivered(&mut self, packet: &Packet<'_>) {
        let header = Header::of(packet);
        self.push(Step::Delivered { header });
    }
}

impl Explainer {
    /// NAT took a connection out of the table to have its port.
    fn evicted(&mut self, id: ConnId) {
        let entry = self.ledger.get(id).and_then(|r| r.entry.clone());
        if let Some(entry) = entry {
            let step = Step::Gone {
                connection: self.ledger.refer(id),
                original: (&entry.original).into(),
                reply: (&entry.reply).into(),
                state: entry.proto.state_name(),
                time: self.seconds(self.now),
                why: Gone::Evicted.to_string(),
            };
            self.push(step);
        }
        self.ledger.close(id);
    }

    fn nat_step(&self, decision: &Decision, rule: Option<Rule>, action: Option<String>) -> NatStep {
        let (port, reused, search) = match decision.port {
            PortChoice::Kept => ("kept", None, None),
            PortChoice::Only => ("only", None, None),
            PortChoice::Reused(id) => ("reused", Some(self.ledger.refer(id)), None),
            PortChoice::Found(search) => ("found", None, Some(search)),
            PortChoice::Exhausted(search) => ("exhausted", None, Some(search)),
            PortChoice::Stuck => ("stuck", None, None),
        };
        NatStep {
            end: match decision.manip {
                Manip::Src => "source",
                Manip::Dst => "destination",
            },
            before: (&decision.before).into(),
            after: (&decision.after).into(),
            reply: decision.after.inverse().map(|t| TupleView::from(&t)),
            address: match decision.address {
                uct_nat::AddressChoice::Kept => "kept",
                uct_nat::AddressChoice::Only => "only",
                uct_nat::AddressChoice::Prefix => "prefix",
                uct_nat::AddressChoice::Hashed => "hashed",
                uct_nat::AddressChoice::HashedBySource => "hashed_by_source",
            },
            port,
            taken_by: decision.taken_by.map(|id| self.ledger.refer(id)),
            reused,
            search: search.map(|s| {
                let (start, offset) = match s.start {
                    Start::Lowest => ("lowest", 0),
                    Start::Drawn(offset) => ("drawn", offset),
                    Start::Shifted(offset) => ("shifted", offset),
                };
                SearchView {
                    first: s.first,
                    last: s.last,
                    start,
                    offset,
                    tries: s.tries,
                    restarts: s.restarts,
                    evicted: s.evicted.map(|id| self.ledger.refer(id)),
                }
            }),
            rule,
            action,
        }
    }
}

fn decision_name(decision: RuleDecision) -> String {
    match decision {
        RuleDecision::Accept => "accept".to_owned(),
        RuleDecision::Drop => "drop".to_owned(),
        RuleDecision::Reject(_) => "reject".to_owned(),
    }
}
