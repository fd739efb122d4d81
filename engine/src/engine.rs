//! The engine: a table of connections, its settings, its counters and what happened.
//!
//! It has no clock, no thread, no socket and no randomness of its own: `now` is a parameter, the hash seed is given.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::client::Refusal;
use crate::conn::{Conn, ConnId, ConnRef, Ct, Labels, Seed, Unconfirmed};
use crate::event::{Client, Event, EventKind, EventMask, Events};
use crate::expect::{ExpectEvent, Expectation, Expectations, NewExpectation, Tell};
use crate::expiry::Expiry;
use crate::observe::{Observer, Silent};
use crate::state::State;
use crate::table::{Seen, Table, Taken};
use crate::tcp::TcpState;
use crate::tuple::{Key, Name};
use crate::{Direction, Entry, Gone, Packet, Protocol, Settings, Stats, Status, Sysctl, Time, Timeouts, Tuple, Zone};

/// A connection tracker.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    table: Table,
    expiry: Expiry,
    events: Events,
    stats: Stats,
    count: AtomicUsize,
    ids: AtomicU32,
    /// Whether new connections have room for labels.
    has_labels: AtomicBool,
    /// Destroyed connections that NAT had looked at, for NAT to forget.
    gone: Mutex<Vec<ConnRef>>,
    expectations: Expectations,
}

/// Where the connections of packets that come next were seen, in their order ([`Engine::look_ahead`]).
#[derive(Clone, Debug)]
pub struct Ahead {
    seen: [Seen; Engine::BATCH],
    next: usize,
    count: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Ahead { seen: [Seen::default(); Engine::BATCH], next: 0, count: 0 }
    }
}

impl Iterator for Ahead {
    type Item = Seen;

    #[inline]
    fn next(&mut self) -> Option<Seen> {
        let seen = *self.seen[..self.count].get(self.next)?;
        self.next += 1;
        Some(seen)
    }
}

/// The answer of stop 8.
#[derive(Debug)]
pub enum Confirm {
    /// It was in the table already.
    Known(ConnRef),
    /// It stands in the table now.
    Inserted(ConnRef),
    /// Another packet opened the same connection meanwhile; this packet joins it.
    Merged(ConnRef),
    /// One of its tuples belongs to this other connection: the packet must be dropped.
    Clash(ConnRef),
}

impl Engine {
    /// An empty table; the seed spreads tuples over it.
    pub fn new(hash_seed: u64) -> Self {
        Engine {
            settings: Settings::default(),
            table: Table::new(hash_seed),
            expiry: Expiry::default(),
            events: Events::default(),
            stats: Stats::default(),
            count: AtomicUsize::new(0),
            ids: AtomicU32::new(1),
            has_labels: AtomicBool::new(false),
            gone: Mutex::default(),
            expectations: Expectations::new(hash_seed),
        }
    }

    /// The settings in force.
    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether connections made from now on have room for labels. As in Linux they have it only while a rule sets some: a
    /// connection that is older than the rule never gets a label from it.
    pub fn keep_labels(&self, labels: Labels) {
        self.has_labels.store(labels == Labels::Room, Ordering::Relaxed);
    }

    pub(crate) fn labels(&self) -> Labels {
        if self.has_labels.load(Ordering::Relaxed) { Labels::Room } else { Labels::None }
    }

    /// The counters.
    #[inline]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many connections stand in the table.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many tuples lead to connections: two to each, one to one that talks to itself. It is counted shard by shard, so it is exact
    /// while nobody works on the table.
    pub fn tuple_count(&self) -> usize {
        self.table.tuples()
    }

    #[inline]
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn next_id(&self) -> ConnId {
        ConnId(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// A connection that is not in the table.
    pub(crate) fn make(&self, seed: Seed) -> Unconfirmed {
        Unconfirmed::new(self.table.arena(), seed)
    }

    /// The connection in this place ([`ConnRef::slot`]), if it is in the table.
    pub fn at(&self, slot: u32) -> Option<ConnRef> {
        self.table.at(slot)
    }

    /// The connection in this place, in the table or not, so long as somebody refers to it (as [`Engine::take_gone`]'s list does).
    pub fn held(&self, slot: u32) -> Option<ConnRef> {
        self.table.arena().held(slot).map(ConnRef)
    }

    /// The connection to which a packet of this tuple belongs, and the packet's direction in it.
    #[inline]
    pub fn find(&self, tuple: &Tuple, zone: Zone) -> Option<(ConnRef, Direction)> {
        self.table.find(&Name::new(tuple), zone)
    }

    /// Asks memory for what [`Engine::track`] will need for these packets, from their IP headers on, before it is called for the first:
    /// first for each packet's line of the table, then for each one's connection. So the misses of a batch overlap, which are nearly
    /// all that tracking costs in a large table. It changes nothing: what it guesses wrong is only slower. Of the packets, the
    /// first [`Engine::BATCH`] count. The answer says where each packet's connection was seen, for its [`crate::Template`].
    #[inline]
    pub fn look_ahead<'a>(&self, packets: impl IntoIterator<Item = &'a [u8]>) -> Ahead {
        let mut ahead = Ahead::default();
        if self.count() < Engine::FEW {
            return ahead;
        }
        let mut wanted = [(Key::default(), None); Engine::BATCH];
        for (wanted, bytes) in wanted.iter_mut().zip(packets) {
            if let Some(name) = glance(bytes) {
                let hash = self.table.hash_of(&name, 0);
                self.table.ask(hash);
                *wanted = (name.key, Some(hash));
            }
            ahead.count += 1;
        }
        for (seen, wanted) in ahead.seen.iter_mut().zip(&wanted[..ahead.count]) {
            let (key, Some(hash)) = wanted else { continue };
            *seen = self.table.fetch(*hash);
            // What opens a connection will ask whether its answers' tuple is free.
            if *seen == Seen::default()
                && let Some(answer) = key.answer_v4()
            {
                self.table.ask(self.table.hash_of(&Name::v4(answer), 0));
            }
        }
        ahead
    }

    /// So few connections are in a core's cache anyway: it costs more to ask for them than to wait.
    /// (Without optimisation there are tests, which are to look ahead in small tables, too.)
    const FEW: usize = if cfg!(debug_assertions) { 1 } else { 4096 };

    /// How many packets [`Engine::look_ahead`] looks at.
    pub const BATCH: usize = 64;

    /// Who has this reply tuple already, so that `asker` cannot have it?
    ///
    /// A connection with the same original tuple does not count: the two are one flow, and their clash is resolved when
    /// they are confirmed.
    pub fn taken(&self, reply: &Tuple, asker: &Conn) -> Option<ConnRef> {
        let zone = asker.zone();
        let (conn, _) = self.table.find_reply(reply, zone)?;
        let same_flow =
            conn.original() == asker.original() && conn.zone().id(Direction::Original) == zone.id(Direction::Original);
        if same_flow {
            return None;
        }
        self.stats.found.count();
        Some(conn)
    }

    /// Stop 8: the packet is about to leave. Its connection enters the table if it is new, and what happened is told.
    pub fn confirm(&self, ct: Ct, now: Time) -> Confirm {
        let unconfirmed = match ct {
            Ct::Confirmed(conn) => {
                self.leaves(&conn, now);
                return Confirm::Known(conn);
            }
            Ct::Unconfirmed(unconfirmed) => unconfirmed,
        };
        let is_expected = unconfirmed.status().contains(Status::EXPECTED);
        let conn = match self.enter(unconfirmed, now) {
            Ok(conn) => conn,
            Err((loser, taken)) => return self.resolve(&loser, taken.by),
        };
        conn.note(if is_expected { EventMask::RELATED } else { EventMask::NEW });
        self.tell(&conn, now);
        Confirm::Inserted(conn)
    }

    /// Inserts both tuples and starts the timeout, or hands the connection back with the one that stands in its way.
    pub(crate) fn enter(&self, mut unconfirmed: Unconfirmed, now: Time) -> Result<ConnRef, (ConnRef, Taken)> {
        unconfirmed.start(now);
        let conn = unconfirmed.share();
        // Set before insertion: whoever finds it in the table finds it confirmed.
        conn.set_status(Status::CONFIRMED);
        if let Err(taken) = self.table.insert(&conn) {
            return Err((conn, taken));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.stats.insert.count();
        self.expiry.watch(&conn, now);
        Ok(conn)
    }

    /// Tells what a client did, as it is now.
    pub(crate) fn announce(
        &self,
        conn: &ConnRef,
        kind: EventKind,
        mask: EventMask,
        now: Time,
        by: Option<Arc<Client>>,
    ) {
        if self.events.wanted(self.settings.get(Sysctl::Events)) {
            self.events.push(now, kind, mask, || conn.entry(now), by);
        }
    }

    /// A tuple was taken between lookup and confirmation. Protocols without a handshake may join the winner if it is the
    /// same flow in every respect, its zone included.
    fn resolve(&self, loser: &Conn, winner: ConnRef) -> Confirm {
        let may = matches!(
            loser.original().protocol,
            Protocol::UDP | Protocol::UDPLITE | Protocol::ICMP | Protocol::ICMPV6 | Protocol::GRE
        );
        let in_one_zone =
            [Direction::Original, Direction::Reply].map(|dir| loser.zone().id(dir) == winner.zone().id(dir));
        let same = loser.original() == winner.original() && loser.reply() == winner.reply() && in_one_zone == [true; 2];
        if may && same {
            self.stats.clash_resolve.count();
            return Confirm::Merged(winner);
        }
        self.stats.insert_failed.count();
        self.stats.drop.count();
        Confirm::Clash(winner)
    }

    /// Stop 8 for a packet whose connection is in the table: what happened is told.
    #[inline]
    pub fn leaves(&self, conn: &ConnRef, now: Time) {
        if conn.has_pending() {
            self.tell(conn, now);
        }
    }

    /// Tells what waited for the packet's end.
    fn tell(&self, conn: &ConnRef, now: Time) {
        let mask = conn.take_pending();
        if mask.is_empty() || conn.status().contains(Status::DYING) {
            return;
        }
        if self.events.wanted(self.settings.get(Sysctl::Events)) {
            let kind =
                if mask.intersects(EventMask::NEW | EventMask::RELATED) { EventKind::New } else { EventKind::Update };
            self.events.push(now, kind, mask, || conn.entry(now), None);
        }
    }

    /// A rule has refused a packet of this connection with a reset: both ends will close, so it closes now, whatever its
    /// window would say of that reset.
    pub fn refused_with_reset(&self, conn: &ConnRef, now: Time) {
        let mut state = conn.lock();
        let State::Tcp(tcp) = &mut *state else { return };
        let before = tcp.close();
        if before == TcpState::Close || conn.status().contains(Status::FIXED_TIMEOUT) {
            return;
        }
        let policy = conn.timeout_policy();
        let timeout = Timeouts { settings: &self.settings, policy: policy.as_deref() }.get(Sysctl::TcpTimeoutClose);
        self.restart(conn, now, timeout);
        conn.note(EventMask::PROTOINFO);
    }

    /// Starts a connection's timeout anew.
    #[inline]
    pub(crate) fn restart(&self, conn: &ConnRef, now: Time, timeout: Duration) {
        let before = conn.deadline();
        conn.set_timeout(now, timeout);
        self.expiry.moved(conn, before, now);
    }

    /// Takes a connection out of the table. Answers whether it was there.
    pub fn destroy(&self, conn: &ConnRef, now: Time, by: Option<Arc<Client>>) -> bool {
        if conn.set_status(Status::DYING).is_empty() {
            return false;
        }
        self.table.remove(conn);
        self.expiry.forget(conn);
        self.count.fetch_sub(1, Ordering::Relaxed);
        conn.set_stop(now);
        if self.events.wanted(self.settings.get(Sysctl::Events)) {
            self.events.push(now, EventKind::Destroy, EventMask::DESTROY, || conn.entry(now), by);
        }
        if conn.status().intersects(Status::NAT_DONE) {
            self.gone.lock().push(conn.clone());
        }
        self.expectations.forget(conn, now, self.telling());
        true
    }

    /// Takes a connection out of the table because of a packet that is dropped for it. The packet is counted a second time,
    /// as Linux does.
    pub fn kill(&self, conn: &ConnRef, dir: Direction, packet: &Packet<'_>, now: Time) -> bool {
        conn.count(dir, packet.wire_len());
        self.destroy(conn, now, None)
    }

    /// Destroys what has run out at `now`, each at its own deadline and in that order, at most `most` of them. Answers how many.
    pub fn expire(&self, now: Time, most: usize) -> usize {
        self.expire_telling(now, most, &mut Silent)
    }

    /// The same, told to an observer.
    pub fn expire_telling(&self, now: Time, most: usize, observer: &mut impl Observer) -> usize {
        self.expectations.expire(now, self.telling());
        let mut done = 0;
        while done < most {
            let Some(first) = self.expiry.pop(now, &self.table) else { break };
            self.table.ask_for(&first);
            // Some at a time, so that what taking them out needs is asked for before the first goes.
            let mut others = [const { None }; 15];
            let wanted = others.len().min(most - done - 1);
            for place in &mut others[..wanted] {
                *place = self.expiry.pop(now, &self.table);
                let Some(conn) = place else { break };
                self.table.ask_for(conn);
            }
            for conn in [Some(first)].into_iter().chain(others).flatten() {
                let deadline = conn.deadline();
                if deadline > now {
                    // A packet has come meanwhile.
                    self.expiry.watch(&conn, now);
                } else if self.destroy(&conn, deadline, None) {
                    observer.gone(&conn, deadline, Gone::RanOut);
                    done += 1;
                }
            }
        }
        done
    }

    /// When [`Engine::expire`] may have something to do next, at the earliest.
    pub fn next_expiry(&self) -> Option<Time> {
        let expectation = self.expectations.next_expiry();
        self.expiry.next().into_iter().chain(expectation).min()
    }

    fn telling(&self) -> Tell {
        if self.events.wanted(self.settings.get(Sysctl::Events)) { Tell::Yes } else { Tell::No }
    }

    /// Expects a connection that another one announced.
    pub fn expect(&self, new: NewExpectation, now: Time, by: Option<Arc<Client>>) -> Result<Arc<Expectation>, Refusal> {
        let limit = self.settings.get(Sysctl::ExpectMax) as usize;
        self.expectations.insert(new, limit, now, self.telling(), by)
    }

    /// Expects it no longer. Answers whether it was expected until now.
    pub fn unexpect(&self, expectation: &Arc<Expectation>, now: Time, by: Option<Arc<Client>>) -> bool {
        self.expectations.remove(expectation, now, self.telling(), by)
    }

    /// Expects nothing any more. Answers how much it was.
    pub fn flush_expectations(&self, now: Time, by: Option<&Arc<Client>>) -> usize {
        self.expectations().iter().filter(|e| self.unexpect(e, now, by.cloned())).count()
    }

    /// The expectation that a packet of this tuple would meet.
    pub fn find_expectation(&self, tuple: &Tuple, zone: Zone) -> Option<Arc<Expectation>> {
        self.expectations.find(tuple, zone)
    }

    /// All that is expected, in order of creation.
    pub fn expectations(&self) -> Vec<Arc<Expectation>> {
        self.expectations.list()
    }

    /// How much is expected.
    pub fn expectation_count(&self) -> usize {
        self.expectations.count()
    }

    /// Takes what happened to expectations since the last call, in order.
    pub fn take_expect_events(&self, into: &mut Vec<ExpectEvent>) {
        self.expectations.take_events(into);
    }

    /// Counters of expectations, by the names that `conntrack -S expect` prints.
    pub fn expect_stats(&self) -> [(&'static str, u64); 3] {
        let e = &self.expectations;
        [("expect_new", e.met.get()), ("expect_create", e.created.get()), ("expect_delete", e.deleted.get())]
    }

    /// The expectation that a packet meets; it is used up, whatever becomes of the packet.
    pub(crate) fn claim(&self, tuple: &Tuple, zone: Zone, now: Time) -> Option<Arc<Expectation>> {
        self.expectations.claim(tuple, zone, now, self.telling())
    }

    /// Takes the connections that were destroyed since the last call and that NAT had looked at.
    pub fn take_gone(&self, into: &mut Vec<ConnRef>) {
        into.append(&mut self.gone.lock());
    }

    /// Whether somebody listens to events (see `nf_conntrack_events`).
    pub fn listen(&self, on: Listening) {
        self.events.listen(on == Listening::Yes);
    }

    /// Takes the events since the last call, in order.
    pub fn take_events(&self, into: &mut Vec<Event>) {
        self.events.drain(into);
    }

    /// All connections, a shard at a time: `None` beyond the last shard.
    pub fn shard(&self, shard: usize) -> Option<Vec<ConnRef>> {
        self.table.list(shard)
    }

    /// All connections as they are at `now`, in order of creation.
    pub fn entries(&self, now: Time) -> Vec<Entry> {
        let mut conns: Vec<_> = (0..).map_while(|s| self.shard(s)).flatten().collect();
        conns.sort_unstable_by_key(|c| c.id());
        conns.iter().map(|c| c.entry(now)).collect()
    }

    /// Whether one more connection may be made; gives up one that is not assured if the table is full.
    ///
    /// As in Linux the search is short: what stands in eight buckets of a hash table of `nf_conntrack_buckets`, which in a
    /// sparse table is nothing.
    pub(crate) fn make_room(&self, tuple: &Tuple, zone: Zone, now: Time, observer: &mut impl Observer) -> bool {
        const BUCKETS: usize = 8;
        let max = self.settings.get(Sysctl::Max) as usize;
        if max == 0 || self.count() < max {
            return true;
        }
        let per_bucket = 2 * self.count() / (self.settings.get(Sysctl::Buckets) as usize).max(1);
        let zone = zone.id(Direction::Original);
        let victim = self
            .table
            .near(tuple, zone, BUCKETS * per_bucket)
            .into_iter()
            .find(|c| !c.status().intersects(Status::ASSURED | Status::DYING | Status::OFFLOAD));
        if let Some(victim) = victim
            && self.destroy(&victim, now, None)
        {
            observer.gone(&victim, now, Gone::EarlyDrop);
            self.stats.early_drop.count();
            return true;
        }
        self.stats.drop.count();
        false
    }
}

/// The tuple of the packets that there are most of: whole, without options or extension headers, with ports or an ICMP query's id.
#[inline]
fn glance(bytes: &[u8]) -> Option<Name> {
    let (src, dst, protocol, transport): (Ipv6Addr, Ipv6Addr, _, _) = match bytes {
        [0x45, _, _, _, _, _, fragment, 0, _, protocol, _, _, rest @ ..] if fragment & 0x3f == 0 => {
            let (addresses, transport) = rest.split_first_chunk::<8>()?;
            return Name::of_v4(*addresses, Protocol(*protocol), transport)
                .filter(|name| is_likely(name.key.protocol()));
        }
        [0x60..=0x6f, _, _, _, _, _, protocol, _, rest @ ..] => {
            let (src, rest) = rest.split_first_chunk::<16>()?;
            let (dst, transport) = rest.split_first_chunk::<16>()?;
            ((*src).into(), (*dst).into(), Protocol(*protocol), transport)
        }
        _ => return None,
    };
    let l4 = crate::track::l4(protocol, transport).filter(|_| is_likely(protocol))?;
    Some(Name::new(&Tuple { src: src.into(), dst: dst.into(), protocol, l4 }))
}

/// Whether packets of a protocol are looked up by what stands right behind an IP header.
#[inline]
fn is_likely(protocol: Protocol) -> bool {
    protocol.has_ports() || matches!(protocol, Protocol::ICMP | Protocol::ICMPV6)
}

/// Whether anybody listens to events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Somebody does.
    Yes,
    /// Nobody does.
    No,
}
