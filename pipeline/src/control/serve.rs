//! What a request means to the engine.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use uct_engine::client::{Change, Known, Refusal};
use uct_engine::expect::{ExpectEvent, ExpectEventKind};
use uct_engine::{
    Client, ConnRef, Engine, Entry, Event, EventKind, Family, ProtoInfo, Protocol, Settings, Status, Sysctl, Time, Zone,
};

use super::expected::FlatExpectation;
use super::filter::{Filter, bits_of};
use super::flat::{self, Flat};
use super::host::Host;
use super::hub::Interest;
use super::message::{
    Create, Delete, Events, Fault, Flush, Get, Hello, LONGEST_BATCH, List, Reply, Request, Sysctls, Told, Update,
    VERSION, Which,
};
use super::server::Shared;
use super::session::{Access, Out, Peer};
use super::translate::translate;
use super::wish::{asked_original, is_known_already, known, new_conn, tuple};
use crate::logged::LogLine;

/// A piece of a listing is sent when it has grown this large.
const PIECE: usize = 48 * 1024;

/// `Ok`: how many connections it was about.
pub(super) type Answer = Result<u64, Fault>;

pub(super) fn fault(code: &'static str, text: impl Into<Cow<'static, str>>) -> Fault {
    Fault { code: Some(code.into()), text: Some(text.into()), index: None }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        let code = match refusal {
            Refusal::Invalid => "invalid",
            Refusal::Exists => "exists",
            Refusal::Missing => "missing",
            Refusal::Full => "full",
            Refusal::Busy => "busy-bit",
            Refusal::Fixed => "fixed",
            Refusal::Expired => "expired",
        };
        fault(code, refusal.to_string())
    }
}

pub(super) fn invalid(text: impl Into<Cow<'static, str>>) -> Fault {
    fault("invalid", text)
}

/// What a subscription asks for.
pub(super) fn subscription(events: &Events) -> Result<Interest, Fault> {
    match events.table.as_deref().unwrap_or("conntrack") {
        "conntrack" => {}
        "expect" => return Ok(Interest::Expectations),
        "log" => return Ok(Interest::Log),
        other => return Err(invalid(format!("table '{other}' has no events"))),
    }
    let matcher = events.filter.clone().unwrap_or_default().matcher().map_err(invalid)?;
    const ALL: [EventKind; 3] = [EventKind::New, EventKind::Update, EventKind::Destroy];
    let kinds = match &events.kinds {
        None => ALL.to_vec(),
        Some(names) => names
            .iter()
            .map(|name| ALL.into_iter().find(|k| k.name() == name))
            .collect::<Option<_>>()
            .ok_or_else(|| invalid("an event kind is none of NEW, UPDATE, DESTROY"))?,
    };
    Ok(Interest::Connections(Box::new(matcher), kinds))
}

impl From<&LogLine> for Told {
    fn from(line: &LogLine) -> Told {
        Told {
            at_ns: Some(line.at.as_nanos()),
            kind: Some("LOG".into()),
            text: Some(line.text.clone().into()),
            ..Told::default()
        }
    }
}

impl From<&ExpectEvent> for Told {
    fn from(event: &ExpectEvent) -> Told {
        let kind = match event.kind {
            ExpectEventKind::New => "NEW",
            ExpectEventKind::Destroy => "DESTROY",
        };
        Told {
            seq: Some(event.seq),
            at_ns: Some(event.at.as_nanos()),
            kind: Some(kind.into()),
            expectation: Some(FlatExpectation::from(&event.entry)),
            portid: event.by.as_ref().map(|b| b.portid),
            progname: event.by.as_ref().and_then(|b| b.progname.clone()).map(Cow::Owned),
            ..Told::default()
        }
    }
}

impl From<&Event> for Told {
    fn from(event: &Event) -> Told {
        Told {
            seq: Some(event.seq),
            at_ns: Some(event.at.as_nanos()),
            kind: Some(event.kind.name().into()),
            mask: Some(event.mask.iter_names().map(|(name, _)| name.into()).collect()),
            entry: Some(Flat::from(&event.entry)),
            expectation: None,
            text: None,
            portid: event.by.as_ref().map(|b| b.portid),
            progname: event.by.as_ref().and_then(|b| b.progname.clone()).map(Cow::Owned),
        }
    }
}

/// One request's work.
pub(super) struct Work<'a> {
    pub(super) shared: &'a Shared,
    out: &'a Out,
    peer: Peer,
    client: Arc<Client>,
    id: Option<u64>,
    now: Time,
    piece: Vec<u8>,
}

impl<'a> Work<'a> {
    pub(super) fn new(shared: &'a Shared, out: &'a Out, peer: Peer, client: Arc<Client>, id: Option<u64>) -> Self {
        Work { shared, out, peer, client, id, now: shared.clock.now(), piece: Vec::new() }
    }

    /// Does it. The outer error is the client's absence.
    pub(super) fn run(&mut self, request: Request) -> io::Result<Answer> {
        let batch = match request {
            Request { batch: Some(batch), .. } => batch,
            other => {
                // What has run out is gone, whether or not the clock's thread was here already.
                self.shared.engine.expire(self.now, usize::MAX);
                let answer = self.one(other)?;
                self.send()?;
                return Ok(answer);
            }
        };
        if batch.len() > LONGEST_BATCH {
            return Ok(Err(invalid(format!("a batch is longer than {LONGEST_BATCH} requests"))));
        }
        self.shared.engine.expire(self.now, usize::MAX);
        let mut total = 0;
        for (index, request) in (0..).zip(batch) {
            self.now = self.shared.clock.now();
            match self.one(request)? {
                Ok(count) => total += count,
                Err(fault) => {
                    self.send()?;
                    return Ok(Err(Fault { index: Some(index), ..fault }));
                }
            }
        }
        self.send()?;
        Ok(Ok(total))
    }

    fn one(&mut self, request: Request) -> io::Result<Answer> {
        if request.version.unwrap_or(VERSION) != VERSION {
            return Ok(Err(fault("version", format!("this server speaks version {VERSION}"))));
        }
        let changes = request.create.is_some()
            || request.update.is_some()
            || request.delete.is_some()
            || request.flush.is_some()
            || request.create_expectation.is_some()
            || request.delete_expectation.is_some()
            || request.reload.is_some()
            || request.list.as_ref().is_some_and(|l| l.zero == Some(true))
            || request.sysctl.as_ref().is_some_and(|s| s.set.is_some());
        if changes && self.peer.access != Access::Full {
            return Ok(Err(fault("read-only", "this client may only look")));
        }
        match request {
            Request { hello: Some(_), .. } => self.hello(),
            Request { list: Some(list), .. } => self.list(list),
            Request { summary: Some(summary), .. } => self.summary(summary),
            Request { get: Some(get), .. } => self.get(get),
            Request { create: Some(create), .. } => Ok(self.create(create)),
            Request { update: Some(update), .. } => self.update(update),
            Request { delete: Some(delete), .. } => self.delete(delete),
            Request { flush: Some(flush), .. } => Ok(self.flush(&flush)),
            Request { create_expectation: Some(create), .. } => Ok(self.create_expectation(&create)),
            Request { get_expectation: Some(which), .. } => self.get_expectation(&which),
            Request { delete_expectation: Some(which), .. } => Ok(self.delete_expectation(&which)),
            Request { count: Some(which), .. } => Ok(self.count(&which)),
            Request { stats: Some(which), .. } => self.stats(&which),
            Request { figures: Some(_), .. } => self.figures(),
            Request { reload: Some(_), .. } => self.reload(),
            Request { sysctl: Some(sysctls), .. } => self.sysctl(&sysctls),
            _ => Ok(Err(fault("malformed", "a request names one operation"))),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(super) fn host(&self) -> Option<&dyn Host> {
        self.shared.host.as_deref()
    }

    pub(super) fn now(&self) -> Time {
        self.now
    }

    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Sends a reply to this request.
    pub(super) fn reply(&self, reply: Reply) -> io::Result<()> {
        self.out.reply(&Reply { id: self.id, ..reply })
    }

    fn hello(&self) -> io::Result<Answer> {
        let hello = Hello {
            program: Some("uct".into()),
            release: Some(env!("CARGO_PKG_VERSION").into()),
            version: Some(VERSION),
            pid: Some(std::process::id()),
            writable: Some(self.peer.access == Access::Full),
        };
        self.out.reply(&Reply { id: self.id, hello: Some(hello), ..Reply::default() })?;
        Ok(Ok(0))
    }

    /// Calls for every connection that is meant, a shard at a time, no lock held.
    pub(super) fn each(
        &mut self,
        filter: Option<Filter>,
        mut act: impl FnMut(&mut Self, &ConnRef, Entry) -> io::Result<Answer>,
    ) -> io::Result<Answer> {
        let matcher = match filter.unwrap_or_default().matcher() {
            Ok(matcher) => matcher,
            Err(text) => return Ok(Err(invalid(text))),
        };
        let engine = Arc::clone(&self.shared.engine);
        let mut count = 0;
        for conns in (0..).map_while(|shard| engine.shard(shard)) {
            for conn in conns.iter().filter(|c| matcher.admits(&c.original(), &c.reply())) {
                let entry = conn.entry(self.now);
                if entry.status.contains(Status::DYING) || !matcher.matches(&entry) {
                    continue;
                }
                match act(self, conn, entry)? {
                    Ok(n) => count += n,
                    Err(fault) => return Ok(Err(fault)),
                }
            }
        }
        Ok(Ok(count))
    }

    fn list(&mut self, list: List) -> io::Result<Answer> {
        match list.table.as_deref().unwrap_or("conntrack") {
            "conntrack" => {}
            "expect" => return self.list_expectations(list.filter.and_then(|f| f.family)),
            // Nothing is kept of those that are gone, or not there yet.
            "dying" | "unconfirmed" => return Ok(Ok(0)),
            other => return Ok(Err(invalid(format!("there is no table '{other}'")))),
        }
        let zero = list.zero == Some(true);
        self.each(list.filter, |work, conn, mut entry| {
            if zero {
                entry.counters = conn.take_counters();
            }
            work.show(&entry)?;
            Ok(Ok(1))
        })
    }

    fn get(&mut self, get: Get) -> io::Result<Answer> {
        let (Some(protocol), Some(side)) = (get.protocol, get.original) else {
            return Ok(Err(invalid("protocol and original tuple are needed")));
        };
        let matcher = match get.filter.unwrap_or_default().matcher() {
            Ok(matcher) => matcher,
            Err(text) => return Ok(Err(invalid(text))),
        };
        let tuple = match tuple(Protocol(protocol), &side, None) {
            Ok(tuple) => tuple,
            Err(fault) => return Ok(Err(fault)),
        };
        let Some((conn, _)) = self.shared.engine.find(&tuple, Zone::DEFAULT) else {
            return Ok(Err(Refusal::Missing.into()));
        };
        let entry = conn.entry(self.now);
        if !matcher.matches(&entry) {
            return Ok(Ok(0));
        }
        self.show(&entry)?;
        Ok(Ok(1))
    }

    fn create(&mut self, create: Create) -> Answer {
        let may_exist = create.may_exist == Some(true);
        let nat = (create.src_nat, create.dst_nat);
        // That it exists counts more than whatever is wrong with the rest.
        if let Some((tuple, zone)) = asked_original(&create)
            && self.shared.engine.find(&tuple, zone).is_some()
        {
            return if may_exist { Ok(0) } else { Err(Refusal::Exists.into()) };
        }
        let mut new = new_conn(create)?;
        translate(&self.shared.engine, &mut new, nat.0, nat.1);
        match self.shared.engine.create(new, self.now, Some(Arc::clone(&self.client))) {
            Ok(_) => Ok(1),
            Err(Refusal::Exists) if may_exist => Ok(0),
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn update(&mut self, update: Update) -> io::Result<Answer> {
        let status = match flat::status(update.status.as_deref().unwrap_or_default()) {
            Ok(status) => status,
            Err(e) => return Ok(Err(invalid(e.to_string()))),
        };
        let labels = |list: &Option<Vec<u8>>| list.as_deref().map(bits_of).transpose().map_err(invalid);
        let (add, del) = match (labels(&update.label_add), labels(&update.label_del)) {
            (Ok(add), Ok(del)) => (add, del.map(|d| if d == 0 { u128::MAX } else { d })),
            (Err(fault), _) | (_, Err(fault)) => return Ok(Err(fault)),
        };
        // One that cannot be changed does not keep the others from it.
        let mut refused = None;
        let changed = self.each(update.filter.clone(), |work, conn, entry| {
            // What is not given stays: the state as well as each tag.
            let given = [update.orig_vtag, update.reply_vtag];
            let (state, vtags) = match entry.proto {
                ProtoInfo::Sctp { state, vtags: [a, b] } if given != [None; 2] => {
                    let [x, y] = given;
                    (update.state.as_deref().or(Some(state.name())), [x.or(Some(a)), y.or(Some(b))])
                }
                ProtoInfo::Sctp { vtags: [a, b], .. } => (update.state.as_deref(), [Some(a), Some(b)]),
                _ => (update.state.as_deref(), given),
            };
            let known = match known(entry.original.protocol, state, vtags) {
                Ok(known) => known,
                Err(fault) => return Ok(Err(fault)),
            };
            let mark = update
                .mark
                .map(|m| (entry.mark & !update.mark_mask.unwrap_or(u32::MAX)) ^ m)
                .filter(|m| *m != entry.mark);
            let before = entry.labels.unwrap_or(0);
            let labels = match (add, del) {
                (Some(add), _) => Some(before | add),
                (_, Some(del)) if before != 0 => Some(before & !del),
                _ => None,
            };
            let change = Change {
                mark,
                timeout: update.timeout.map(|t| Duration::from_secs(t.into())),
                status: status.difference(entry.status),
                known: if is_known_already(known, &entry.proto) { Known::Nothing } else { known },
                labels,
                helper: update.helper.as_deref().filter(|h| entry.helper.as_deref() != Some(*h)).map(Into::into),
            };
            let nothing = change.mark.is_none()
                && change.timeout.is_none()
                && change.status.is_empty()
                && change.known == Known::Nothing
                && change.labels.is_none()
                && change.helper.is_none();
            if nothing {
                return Ok(Ok(0));
            }
            if let Err(refusal) = work.shared.engine.change(conn, &change, work.now, Some(Arc::clone(&work.client))) {
                refused.get_or_insert(refusal);
                return Ok(Ok(0));
            }
            work.show(&conn.entry(work.now))?;
            Ok(Ok(1))
        })?;
        Ok(match refused {
            Some(refusal) => changed.and(Err(refusal.into())),
            None => changed,
        })
    }

    fn delete(&mut self, delete: Delete) -> io::Result<Answer> {
        self.each(delete.filter, |work, conn, entry| {
            // Somebody else may have been faster; then it is not ours to count.
            if !work.shared.engine.destroy(conn, work.now, Some(Arc::clone(&work.client))) {
                return Ok(Ok(0));
            }
            work.show(&entry)?;
            Ok(Ok(1))
        })
    }

    fn flush(&mut self, flush: &Flush) -> Answer {
        let family = match flush.family {
            None => None,
            Some(2) => Some(Family::Ipv4),
            Some(10) => Some(Family::Ipv6),
            Some(other) => return Err(invalid(format!("there is no family {other}"))),
        };
        match flush.table.as_deref().unwrap_or("conntrack") {
            "conntrack" => Ok(self.shared.engine.flush(family, self.now, Some(&self.client)) as u64),
            "expect" => Ok(self.shared.engine.flush_expectations(self.now, Some(&self.client)) as u64),
            other => Err(invalid(format!("table '{other}' cannot be emptied"))),
        }
    }

    fn count(&self, which: &Which) -> Answer {
        match which.table.as_deref().unwrap_or("conntrack") {
            "conntrack" => Ok(self.shared.engine.count() as u64),
            "expect" => Ok(self.shared.engine.expectation_count() as u64),
            other => Err(invalid(format!("table '{other}' is not counted"))),
        }
    }

    fn stats(&self, which: &Which) -> io::Result<Answer> {
        let named: BTreeMap<Cow<'static, str>, u64> = match which.table.as_deref().unwrap_or("conntrack") {
            "conntrack" => self.shared.engine.stats().named().map(|(name, n)| (name.into(), n)).collect(),
            "expect" => self.shared.engine.expect_stats().map(|(name, n)| (name.into(), n)).into(),
            other => return Ok(Err(invalid(format!("table '{other}' has no counters")))),
        };
        self.out.reply(&Reply { id: self.id, stats: Some(vec![named]), ..Reply::default() })?;
        Ok(Ok(0))
    }

    fn sysctl(&self, sysctls: &Sysctls) -> io::Result<Answer> {
        let settings = self.shared.engine.settings();
        let set = sysctls.set.iter().flatten();
        let probe = Settings::default();
        // All or nothing: what cannot be set is found on a copy.
        let checked: Result<Vec<_>, _> =
            set.map(|(name, value)| Ok((probe.set_by_name(name, &value.to_string())?, *value))).collect();
        match checked.map_err(|e: uct_engine::SettingError| invalid(e.to_string())) {
            Ok(checked) => {
                for (key, value) in checked {
                    if let Err(e) = settings.set(key, value) {
                        return Ok(Err(invalid(e.to_string())));
                    }
                }
            }
            Err(fault) => return Ok(Err(fault)),
        }
        let keys: Result<Vec<Sysctl>, Fault> = match (&sysctls.get, &sysctls.set) {
            (Some(names), _) => names
                .iter()
                .map(|name| Sysctl::by_name(name).ok_or_else(|| invalid(format!("unknown sysctl '{name}'"))))
                .collect(),
            (None, Some(_)) => Ok(Vec::new()),
            (None, None) => Ok(Sysctl::ALL.to_vec()),
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(fault) => return Ok(Err(fault)),
        };
        let values = keys.into_iter().map(|k| (k.name().to_owned(), settings.get(k).into())).collect();
        self.out.reply(&Reply { id: self.id, sysctl: Some(values), ..Reply::default() })?;
        Ok(Ok(0))
    }

    /// Adds an entry to the piece that is sent next.
    pub(super) fn show(&mut self, entry: &Entry) -> io::Result<()> {
        if self.piece.is_empty() {
            self.piece.extend_from_slice(b"{");
            if let Some(id) = self.id {
                self.piece.extend_from_slice(format!("\"id\":{id},").as_bytes());
            }
            self.piece.extend_from_slice(format!("\"now_ns\":{},\"entries\":[", self.now.as_nanos()).as_bytes());
        } else {
            self.piece.push(b',');
        }
        serde_json::to_writer(&mut self.piece, &Flat::from(entry))?;
        if self.piece.len() >= PIECE { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.piece.extend_from_slice(b"]}\n");
        self.out.line(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}
