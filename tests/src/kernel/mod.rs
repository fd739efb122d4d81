//! The running kernel as a router that a scenario can be played on, one step at a time.
//!
//! ```text
//!   process ──write──► tap ─┐                        ┌─ tap ──read──► process
//!                           ├─► namespace: router ───┤
//!   process ──raw────► local┘   nft · conntrack      └─ log group ──► process   (delivered locally)
//!                                    │
//!                            ctnetlink: entries, events, expectations, counters
//! ```
//!
//! What it decides:
//! * **When a packet is done.** A write to a tap device returns when the receive path is through, and so does a send on
//!   a raw socket. Nothing is waited for, nothing is guessed.
//! * **How the table is read.** The kernel's hash table has some 260,000 buckets, and a listing walks them all (4 ms).
//!   So entries are followed by the events of their birth and asked for one by one, which costs microseconds;
//!   [`Kernel::verify`] lists the whole table and says whether that was all.
//! * **How time passes.** The kernel's clock cannot be moved, but the time that an entry has left can be set. `Advance`
//!   takes its seconds away from every entry; an entry with nothing left is found expired by the next look at it, as it
//!   would be in truth. Only the two seconds that a UDP connection must be old to become a stream are waited for,
//!   because nothing can set them. Fragments that miss a piece are given up after a few real seconds
//!   instead of 30 or 60 ([`waiting`]).
//! * **What is kept out.** Neighbours are static, addresses need no detection, nothing is advertised, redirects and
//!   rate limits of ICMP are off, and what the router's own stack receives is taken away before it can answer.
//!
//! Invariant: within one second of real time after an entry was refreshed, the time it has left is known to a tick,
//! because every timeout is a whole number of seconds. `Advance` relies on it.

mod crowd;
mod ctnetlink;
mod namespace;
mod netlink;
mod nflog;
mod pool;
mod setup;
mod tap;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;

use self::crowd::Crowd;
pub(crate) use self::crowd::SPACE;
use self::ctnetlink::Known;
use self::namespace::Namespace;
use self::netlink::{Netlink, Request};
use self::nflog::Delivered;
pub use self::pool::Pool;
use self::tap::Tap;
use self::waiting::Waiting;
use crate::generate::world::transport;
use crate::observed::{Emitted, Event, EventKind, LOCAL, Observed, Stats};
use crate::packet::build::flag;
use crate::packet::fragment_id;
use crate::run::sent;
use crate::scenario::{Clock, Full, Setup, Step, Topology};

/// Two ticks of a kernel with 250 ticks a second, after which no refreshed timeout still shows its full value.
const TICKS: Duration = Duration::from_millis(9);
/// How old a UDP connection must be before its packets may make it a stream.
const STREAM: Duration = Duration::from_secs(2);
/// How many seconds more every entry is given while something is waited for.
const LONGER: u32 = 60;
/// A few ticks.
const LATE: Duration = Duration::from_millis(20);
/// What must be left to an entry that a FIN or reset out of the window shortens, in seconds.
const PARTING: u32 = 120;
/// How far real time may be from the scenario's, and how long packets may take that follow each other at once, where hosts are
/// told things at a rate: a second redirect may follow after 40 ms.
const DRIFT: Duration = Duration::from_millis(60);
const BURST: Duration = Duration::from_millis(34);
/// How much real time may pass before timeouts, which are told in whole seconds, are no longer known.
const PATIENCE: Duration = Duration::from_millis(900);

/// Whether the kernel side can work here; the error says what is missing.
///
/// # Errors
/// If the process is not root, or there is no tap device, no `ip` or no `nft`.
pub fn available() -> Result<(), String> {
    Kernel::new().map(|_| ()).map_err(|error| format!("{error} (root, /dev/net/tun, ip and nft are needed)"))
}

/// Says that a test is left out because there is no kernel to ask, or fails it if `UCT_REQUIRE_KERNEL` is 1.
///
/// # Panics
/// If a kernel is required.
pub fn skip_or_fail(reason: &str) {
    assert!(std::env::var("UCT_REQUIRE_KERNEL").as_deref() != Ok("1"), "no kernel to ask: {reason}");
    eprintln!("SKIPPED: no kernel to ask: {reason}");
}

/// An entry that the harness follows.
struct Followed {
    known: Known,
    /// When it was first seen, if it is a UDP connection: in real time, and by the scenario's clock.
    udp_born: Option<(Instant, Duration)>,
}

/// A router in the kernel.
pub struct Kernel {
    namespace: Namespace,
    control: Netlink,
    events: Netlink,
    delivered: Delivered,
    raw4: OwnedFd,
    raw6: OwnedFd,
    taps: BTreeMap<String, Tap>,
    topology: Topology,
    rules: String,
    /// Settings that differ from what the namespace was born with, with their first value.
    changed: BTreeMap<String, String>,
    followed: Vec<Followed>,
    stats: Stats,
    /// Virtual seconds that have been skipped since the scenario began.
    skipped: Duration,
    last_packet: Instant,
    /// When every entry had a whole number of seconds left, or was not there yet.
    refreshed: Instant,
    /// Something is left over that only a fresh namespace is rid of.
    soiled: bool,
    /// Fragments that may be waiting.
    waiting: Waiting,
    /// Whether rules may create expectations.
    expecting: bool,
    /// Whether the table must be listed because there may be no events.
    silent: bool,
    /// If real time must be the scenario's: when it began, by both clocks.
    paced: Option<Instant>,
    /// The scenario's clock.
    clock: Clock,
    /// An entry may have exactly as long to live as a rule of TCP asks for.
    borderline: bool,
    /// What fills the table, if it is to be full.
    crowd: Option<Crowd>,
}

impl Kernel {
    /// Makes a router without interfaces or rules.
    ///
    /// # Errors
    /// If the process may not, or something the harness needs is missing.
    pub fn new() -> io::Result<Kernel> {
        let namespace = Namespace::new()?;
        namespace.write_sysctls(setup::QUIET)?;
        namespace.run("nft", &["-f", "-"], nflog::RULES)?;
        namespace.run("ip", &["link", "set", "lo", "up"], "")?;
        let (control, events, delivered, raw4, raw6) = namespace.within(|| {
            Ok::<_, io::Error>((
                Netlink::open(0)?,
                Netlink::open(ctnetlink::ALL_EVENTS)?,
                Delivered::open()?,
                setup::raw_socket(rustix::net::AddressFamily::INET)?,
                setup::raw_socket(rustix::net::AddressFamily::INET6)?,
            ))
        })??;
        Ok(Kernel {
            namespace,
            control,
            events,
            delivered,
            raw4,
            raw6,
            taps: BTreeMap::new(),
            topology: Topology::default(),
            rules: String::new(),
            changed: BTreeMap::new(),
            followed: Vec::new(),
            stats: Stats::default(),
            skipped: Duration::ZERO,
            last_packet: Instant::now(),
            refreshed: Instant::now(),
            soiled: false,
            waiting: Waiting::default(),
            expecting: false,
            silent: false,
            paced: None,
            clock: Clock::default(),
            borderline: false,
            crowd: None,
        })
    }

    /// Makes everything as `setup` says and the table empty. What is already so is left alone, which makes a run of
    /// scenarios with the same surroundings quick.
    ///
    /// # Errors
    /// If a setting, the topology or the ruleset is refused.
    pub fn begin(&mut self, setup: &Setup) -> io::Result<()> {
        // What hosts have been told is remembered for longer than a scenario lasts.
        let paced = setup::needs_real_time(setup);
        let crowd = setup.full.map(|full| full.assured);
        let other_crowd = self.crowd.as_ref().is_some_and(|present| Some(present.assured) != crowd);
        if self.soiled || paced || other_crowd || (self.topology != setup.topology && !self.taps.is_empty()) {
            self.crowd = None;
            *self = Kernel::new()?;
        }
        if self.topology != setup.topology {
            self.taps = setup::build(&self.namespace, &setup.topology)?;
            self.topology = setup.topology.clone();
        }
        self.empty()?;
        let restore = std::mem::take(&mut self.changed);
        self.namespace.write_sysctls(restore.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        if self.rules != setup.rules || setup::remembers(&setup.rules) {
            self.load(&setup.rules)?;
        }
        if paced {
            self.soiled = true;
            self.namespace.write_sysctls(setup::UNLIMITED)?;
        }
        if let Some(full) = setup.full {
            self.fill(full)?;
        }
        // After the rules: the settings of connection tracking only exist once something tracks.
        for (name, value) in &setup.sysctls {
            self.set(name, value)?;
        }
        self.discard()?;
        self.stats = self.read_stats()?;
        self.waiting.begin();
        self.refreshed = Instant::now();
        self.skipped = Duration::ZERO;
        self.clock = Clock::default();
        self.borderline = false;
        self.paced = paced.then(Instant::now);
        Ok(())
    }

    /// Takes one step and tells what it did.
    ///
    /// # Errors
    /// If a system call fails; what the kernel merely decides about a packet is no error.
    pub fn step(&mut self, step: &Step) -> io::Result<Observed> {
        self.clock.tick(step);
        if step.packet().is_some() {
            self.settle(sent(step).unwrap_or(&[]));
        }
        match step {
            Step::Frame { iface, bytes } => {
                let tap = self.taps.get_mut(iface);
                let tap = tap.ok_or_else(|| io::Error::other(format!("no interface {iface}")))?;
                self.waiting.note(bytes.get(14..).unwrap_or(&[]), self.skipped)?;
                tap.inject(bytes)?;
                self.last_packet = Instant::now();
            }
            Step::Local { bytes } => {
                self.waiting.note(bytes, self.skipped)?;
                self.send_local(bytes)?;
                self.last_packet = Instant::now();
            }
            Step::Advance { seconds } => return self.advance(*seconds),
            Step::Rules { text } => self.load(text)?,
            Step::Sysctl { name, value } => self.set(name, value)?,
            Step::DeleteAddress { iface, address } => {
                self.soiled = true;
                self.namespace.run("ip", &["address", "delete", address, "dev", iface], "")?;
                // Masquerade forgets the address in a work queue, some time later.
                std::thread::sleep(Duration::from_millis(60));
            }
        }
        self.look()
    }

    /// Lets the kernel's clock go on where two packets in one tick are something that the scenario's clock does not know:
    /// `ct count` looks for connections that have ended once in a tick, and a FIN or reset out of the window shortens what
    /// has two minutes left, which is what several states have in the tick in which they begin.
    fn settle(&self, packet: &[u8]) {
        let parts = || match transport(packet) {
            Some((6, at)) => packet.get(at + 13).is_some_and(|flags| flags & (flag::FIN | flag::RST) != 0),
            _ => false,
        };
        if self.rules.contains("ct count") || (self.borderline && parts()) {
            std::thread::sleep(TICKS.saturating_sub(self.last_packet.elapsed()));
        }
    }

    /// Whether real time has kept to the scenario's, where that matters.
    fn keep_pace(&self) -> io::Result<()> {
        let Some(began) = self.paced else { return Ok(()) };
        let late = began.elapsed().abs_diff(self.clock.now());
        if late > DRIFT || self.refreshed.elapsed() > BURST {
            return Err(waiting::cannot("the machine is too slow for what depends on real time"));
        }
        Ok(())
    }

    /// Whether none of the packets is a fragment that would meet others left behind by an earlier scenario.
    #[must_use]
    pub fn is_free_for(&self, packets: &[&[u8]]) -> bool {
        !packets.iter().filter_map(|packet| fragment_id(packet)).any(|id| self.waiting.is_left(id))
    }

    /// Fills the table but for some room.
    fn fill(&mut self, full: Full) -> io::Result<()> {
        const EVENTS: &str = "netfilter.nf_conntrack_events";
        let number = |text: String| text.parse::<u32>().map_err(io::Error::other);
        let target = number(self.namespace.read_sysctl("netfilter.nf_conntrack_max")?)?.saturating_sub(full.room);
        let mut crowd = match self.crowd.take() {
            Some(crowd) => crowd,
            None => Crowd::new(full.assured)?,
        };
        let events = self.namespace.read_sysctl(EVENTS)?;
        self.namespace.write_sysctls([(EVENTS, "0")])?;
        crowd.settle(&mut self.control, target)?;
        self.namespace.write_sysctls([(EVENTS, events.as_str())])?;
        self.crowd = Some(crowd);
        Ok(())
    }

    /// Lists the whole table and says what the step-by-step account has missed.
    ///
    /// # Errors
    /// If the account and the listing differ, or a system call fails.
    pub fn verify(&mut self) -> io::Result<()> {
        if self.crowd.is_some() {
            return Ok(());
        }
        let mut listed = BTreeSet::new();
        self.control.request(ctnetlink::dump(), |message| {
            listed.extend(Known::of(message).map(|known| known.id));
        })?;
        let followed: BTreeSet<u32> = self.followed.iter().map(|followed| followed.known.id).collect();
        // What is followed may have run out since the last look.
        if listed.is_subset(&followed) {
            return Ok(());
        }
        Err(io::Error::other(format!("followed entries {followed:x?}, but the table lists {listed:x?}")))
    }

    /// Reads a setting by its name below `net.`.
    ///
    /// # Errors
    /// If there is no such setting.
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        self.namespace.read_sysctl(name)
    }

    fn set(&mut self, name: &str, value: &str) -> io::Result<()> {
        if !self.changed.contains_key(name) {
            self.changed.insert(name.to_string(), self.namespace.read_sysctl(name)?);
        }
        self.namespace.write_sysctls([(name, value)])?;
        self.silent = self.namespace.read_sysctl("netfilter.nf_conntrack_events").is_ok_and(|value| value == "0");
        Ok(())
    }

    fn load(&mut self, rules: &str) -> io::Result<()> {
        let mut batch = setup::delete_tables(&self.rules);
        batch.push_str(&setup::without_flush(rules));
        self.namespace.run("nft", &["-f", "-"], &batch)?;
        self.rules = rules.to_string();
        self.expecting = rules.contains("helper") || rules.contains("expectation");
        Ok(())
    }

    fn send_local(&self, packet: &[u8]) -> io::Result<()> {
        let result = match packet.first().map(|byte| byte >> 4) {
            Some(4) if packet.len() >= 20 => {
                let to = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
                rustix::net::sendto(&self.raw4, packet, SendFlags::empty(), &SocketAddrV4::new(to, 0))
            }
            Some(6) if packet.len() >= 40 => {
                let to: [u8; 16] = packet[24..40].try_into().map_err(io::Error::other)?;
                let to = SocketAddrV6::new(Ipv6Addr::from(to), 0, 0, 0);
                rustix::net::sendto(&self.raw6, packet, SendFlags::empty(), &to)
            }
            _ => return Err(io::Error::other("the router can only send whole IP headers")),
        };
        match result {
            Ok(_) => Ok(()),
            // A rule dropped it, or there is no route: decisions about a packet.
            Err(rustix::io::Errno::PERM | rustix::io::Errno::NETUNREACH | rustix::io::Errno::HOSTUNREACH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn advance(&mut self, seconds: u32) -> io::Result<Observed> {
        std::thread::sleep(TICKS.saturating_sub(self.last_packet.elapsed()));
        let before = self.look()?;
        let mut left = Vec::new();
        for (followed, entry) in self.followed.iter().zip(&before.table) {
            // A tick after its refresh an entry shows one second less than it was given.
            left.push((followed.known.clone(), entry.timeout.map_or(0, |shown| shown + 1)));
        }
        let fragments = self.waiting.first_end(self.skipped, self.skipped + Duration::from_secs(u64::from(seconds)));
        self.skipped += Duration::from_secs(u64::from(seconds));
        // From here on real seconds may pass: what was left is known.
        let mut wait = self.until_streams_are_old().max(self.waiting.until_gone(self.skipped));
        if self.paced.is_some() {
            wait = wait.max(Duration::from_secs(u64::from(seconds)));
        }
        if !wait.is_zero() {
            // Nothing may end meanwhile, but for what ends before the fragments that are waited for: what the kernel says of those does
            // not meet it any more.
            let meanwhile = |left: u32| match fragments {
                Some(first) if left + 1 < first => 0,
                _ => left.saturating_add(LONGER),
            };
            let requests = left.iter().map(|(known, left)| known.set_timeout(meanwhile(*left))).collect();
            self.control.batch(requests, |_, _| {})?;
            std::thread::sleep(wait);
        }
        self.waiting.check(self.skipped)?;
        self.check_streams()?;
        let requests: Vec<Request> =
            left.iter().map(|(known, left)| known.set_timeout(left.saturating_sub(seconds))).collect();
        self.control.batch(requests, |_, _| {})?;
        self.refreshed = Instant::now();
        // The harness's own changes are announced like everybody's; they are no part of the scenario. What the kernel has
        // collected meanwhile is.
        let mut ended = Vec::new();
        self.read_events(&mut ended)?;
        self.last_packet = Instant::now();
        let mut observed = self.look()?;
        let earlier = before.events.into_iter().chain(ended);
        observed.events.splice(0..0, earlier.filter(|event| matches!(event, Event::Conn(EventKind::Destroy, _))));
        Ok(observed)
    }

    /// The UDP connections that are two seconds old by the scenario's clock, or those that are not: when they were born.
    fn born(&self, old: bool) -> impl Iterator<Item = Instant> {
        let births = self.followed.iter().filter_map(|followed| followed.udp_born);
        births.filter(move |(_, skipped)| (self.skipped - *skipped >= STREAM) == old).map(|(born, _)| born)
    }

    /// How long until every UDP connection that is two seconds old by the scenario's clock is so in truth.
    fn until_streams_are_old(&self) -> Duration {
        let youngest = self.born(true).max();
        youngest.map_or(Duration::ZERO, |born| (born + STREAM + LATE).saturating_duration_since(Instant::now()))
    }

    /// Whether those that are not are not so in truth either.
    fn check_streams(&self) -> io::Result<()> {
        if self.born(false).any(|born| born.elapsed() + LATE >= STREAM) {
            return Err(waiting::cannot("a connection has grown old while another was waited for"));
        }
        Ok(())
    }

    /// Collects all that can be seen since the last look.
    fn look(&mut self) -> io::Result<Observed> {
        let mut observed = Observed::default();
        for (name, tap) in &mut self.taps {
            tap.drain(|frame| {
                let packet = setup::routed(frame).filter(|packet| !self.waiting.is_noise(packet));
                if let Some(packet) = packet {
                    observed.out.push(Emitted { iface: name.clone(), packet: packet.to_vec() });
                }
            })?;
        }
        self.delivered
            .drain(|packet| observed.out.push(Emitted { iface: LOCAL.to_string(), packet: packet.to_vec() }))?;
        self.read_events(&mut observed.events)?;
        if self.silent {
            self.list(&mut observed)?;
        } else {
            self.ask(&mut observed)?;
        }
        // Asking after an expired entry is what makes the kernel notice that it is.
        self.read_events(&mut observed.events)?;
        if self.expecting {
            let expectations = &mut observed.expectations;
            self.control.request(ctnetlink::dump_expectations(), |message| {
                expectations.extend(ctnetlink::parse_expectation(message));
            })?;
        }
        self.borderline = observed.table.iter().any(|entry| entry.timeout == Some(PARTING));
        self.keep_pace()?;
        let stats = self.read_stats()?;
        observed.stats = stats.since(&self.stats);
        self.stats = stats;
        if observed.stats.early_drop > 0 && self.crowd.as_ref().is_some_and(|crowd| crowd.assured) {
            return Err(waiting::cannot("the kernel's search for a victim has met one of the scenario's own"));
        }
        if self.refreshed.elapsed() > PATIENCE {
            return Err(waiting::cannot("the machine is too slow just now"));
        }
        Ok(observed)
    }

    fn read_events(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let (followed, skipped) = (&mut self.followed, self.skipped);
        self.events.drain(|message| {
            let Some(event) = ctnetlink::parse_event(message) else { return };
            match (&event, Known::of(message)) {
                (Event::Conn(EventKind::New, entry), Some(known)) => {
                    let udp_born = (entry.original.tuple.proto == 17).then(|| (Instant::now(), skipped));
                    followed.push(Followed { known, udp_born });
                }
                (Event::Conn(EventKind::Destroy, _), Some(known)) => followed.retain(|f| f.known.id != known.id),
                _ => {}
            }
            events.push(event);
        })
    }

    /// Asks for every entry that is followed. Where another one answers to its tuple (zones of one direction may leave two), the table is
    /// listed.
    fn ask(&mut self, observed: &mut Observed) -> io::Result<()> {
        let requests = self.followed.iter().map(|followed| followed.known.get()).collect();
        let (followed, table) = (&self.followed, &mut observed.table);
        let mut gone = BTreeSet::new();
        let mut is_hidden = false;
        self.control.batch(requests, |index, answer| {
            let id = followed[index].known.id;
            match answer.ok().and_then(ctnetlink::parse_entry) {
                Some(entry) if entry.id == id => table.push(entry),
                Some(_) => is_hidden = true,
                None => {
                    gone.insert(id);
                }
            }
        })?;
        self.followed.retain(|followed| !gone.contains(&followed.known.id));
        if is_hidden {
            observed.table.clear();
            return self.list(observed);
        }
        Ok(())
    }

    /// Lists the table, for scenarios without events.
    fn list(&mut self, observed: &mut Observed) -> io::Result<()> {
        let mut found = BTreeMap::new();
        self.control.request(ctnetlink::dump(), |message| {
            if let (Some(known), Some(entry)) = (Known::of(message), ctnetlink::parse_entry(message)) {
                found.insert(known.id, (known, entry));
            }
        })?;
        self.followed.retain(|followed| found.contains_key(&followed.known.id));
        for followed in &self.followed {
            observed.table.extend(found.remove(&followed.known.id).map(|(_, entry)| entry));
        }
        for (known, entry) in found.into_values() {
            let udp_born = (entry.original.tuple.proto == 17).then(|| (Instant::now(), self.skipped));
            self.followed.push(Followed { known, udp_born });
            observed.table.push(entry);
        }
        Ok(())
    }

    /// Empties the table.
    fn empty(&mut self) -> io::Result<()> {
        let requests = self.followed.iter().map(|followed| followed.known.delete()).collect();
        self.control.batch(requests, |_, _| {})?;
        self.followed.clear();
        let mut left = 0;
        self.control.batch(vec![ctnetlink::count()], |_, answer| {
            left = answer.map_or(0, ctnetlink::parse_count);
        })?;
        if left > 0 && self.crowd.is_none() {
            self.control.request(ctnetlink::flush(), |_| {})?;
        }
        if self.expecting {
            self.control.request(ctnetlink::flush_expectations(), |_| {})?;
        }
        Ok(())
    }

    /// Throws away whatever has been sent, delivered or announced.
    fn discard(&mut self) -> io::Result<()> {
        for tap in self.taps.values_mut() {
            tap.drain(|_| {})?;
        }
        self.delivered.drain(|_| {})?;
        self.events.drain(|_| {})
    }

    fn read_stats(&mut self) -> io::Result<Stats> {
        let mut sum = Stats::default();
        self.control.request(ctnetlink::stats(), |message| ctnetlink::add_stats(&mut sum, message))?;
        Ok(sum)
    }
}
