//! The threads of a live router.
//!
//! ```text
//!   worker n: take a batch from each of its sources ─► carry it through ─► send what waits ─► nothing left? sleep in poll(2)
//!   clock:    what runs out, who is asked again                             own sinks, so that it waits for no worker
//!   monitor:  an interface that comes, goes or changes: new ports for every worker, by a channel
//! ```
//! A worker loads the router in force for one batch ([`crate::router::InForce`]); a change of the rules waits for nobody, and
//! every packet meets either the old rules or the new ones. Neither the control socket nor the clock is waited for by a worker.
//!
//! A flow's frames come to one worker ([`crate::io::ring`]) and leave by its sinks, in order. Interfaces that have only one
//! queue belong to one worker, and their sinks are shared under a lock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::station::{Scratch, Station, Wires};
use crate::control::Clock;
use crate::io::{Sink, Source};
use crate::link::LinkType;
use crate::logged::Logging;
use crate::offload::Offload;
use crate::topology::Dev;

mod ports;

pub use ports::{Kind, Port, Ports};

/// Frames that one source is asked for at a time.
const BATCH: usize = 64;
/// How long a source that cannot be waited for with others is waited for.
const WAIT: Duration = Duration::from_millis(50);
/// How often time passes.
const TICK: Duration = Duration::from_millis(20);
/// How often losses are read from sources and sinks.
const COUNT: Duration = Duration::from_millis(100);

/// How the threads are set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many workers share the interfaces.
    pub workers: usize,
    /// For how long a worker that has nothing to do looks again before it sleeps.
    pub busy_poll: Duration,
}

/// What a thread does, for whoever wants to take away what it does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It carries packets.
    Worker,
    /// It lets time pass.
    Clock,
    /// It watches interfaces, and opens those that appear later.
    Monitor,
}

/// Called by each thread before anything else.
pub type Begin = Arc<dyn Fn(Role) + Send + Sync>;

/// What a worker is told by others.
enum Command {
    /// An interface is there: its frames, if this worker takes them, and where frames for it go.
    Attach(Dev, Option<Box<dyn Source>>, Box<dyn Sink>),
    /// An interface is gone.
    Detach(Dev),
}

/// What the others have of a thread: its channel, and what wakes it.
struct Mailbox {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
}

impl Mailbox {
    fn new() -> io::Result<(Mailbox, Receiver<Command>, Arc<OwnedFd>)> {
        let (commands, inbox) = crossbeam::channel::unbounded();
        let wake = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok((Mailbox { commands, wake: Arc::clone(&wake) }, inbox, wake))
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

/// A sink that several threads use.
struct Shared(Arc<Mutex<Box<dyn Sink>>>, LinkType);

impl Sink for Shared {
    fn link(&self) -> LinkType {
        self.1
    }

    fn send(&mut self, header: &[u8], packet: &[u8], offload: Offload) {
        self.0.lock().send(header, packet, offload);
    }

    fn flush(&mut self) {
        self.0.lock().flush();
    }

    fn take_sent(&mut self) -> crate::io::Sent {
        self.0.lock().take_sent()
    }
}

/// The sinks of one thread.
#[derive(Default)]
struct Sinks {
    by_dev: Vec<Option<Box<dyn Sink>>>,
    host: Option<Box<dyn Sink>>,
    /// Whose frames wait.
    used: Vec<Dev>,
}

impl Sinks {
    fn put(&mut self, dev: Dev, sink: Option<Box<dyn Sink>>) {
        if self.by_dev.len() <= dev.index() {
            self.by_dev.resize_with(dev.index() + 1, || None);
        }
        self.by_dev[dev.index()] = sink;
    }

    fn flush(&mut self) {
        for dev in self.used.drain(..) {
            if let Some(Some(sink)) = self.by_dev.get_mut(dev.index()) {
                sink.flush();
            }
        }
    }

    fn count(&mut self, station: &Station) {
        for sink in self.by_dev.iter_mut().flatten().chain(&mut self.host) {
            station.stats().add_sent(sink.take_sent());
        }
    }
}

impl Wires for Sinks {
    fn link(&self, dev: Dev) -> Option<LinkType> {
        self.by_dev.get(dev.index())?.as_ref().map(|sink| sink.link())
    }

    fn send(&mut self, dev: Dev, header: &[u8], packet: &[u8], offload: Offload) {
        if let Some(Some(sink)) = self.by_dev.get_mut(dev.index()) {
            sink.send(header, packet, offload);
            if !self.used.contains(&dev) {
                self.used.push(dev);
            }
        }
    }

    fn deliver(&mut self, packet: &[u8]) {
        if let Some(host) = &mut self.host {
            host.send(&[], packet, Offload::default());
        }
    }
}

/// What all threads share.
struct Common {
    station: Arc<Station>,
    clock: Arc<dyn Clock>,
    stop: AtomicBool,
}

/// A router that runs.
pub struct Live {
    common: Arc<Common>,
    wakes: Vec<Arc<OwnedFd>>,
    threads: Vec<JoinHandle<()>>,
}

impl Live {
    /// Starts the threads over these ports.
    pub fn start(station: Arc<Station>, clock: Arc<dyn Clock>, ports: Ports, settings: Settings) -> io::Result<Live> {
        Live::start_with(station, clock, ports, settings, &(Arc::new(|_| ()) as Begin))
    }

    /// The same; each thread calls `begin` before anything else. What is there is opened by the calling thread.
    pub fn start_with(
        station: Arc<Station>,
        clock: Arc<dyn Clock>,
        ports: Ports,
        settings: Settings,
        begin: &Begin,
    ) -> io::Result<Live> {
        let common = Arc::new(Common { station, clock, stop: AtomicBool::new(false) });
        let mut live = Live { common, wakes: Vec::new(), threads: Vec::new() };
        let mut mailboxes = Vec::new();
        // A source that cannot be waited for together with others has a worker to itself.
        let workers = settings.workers.max(1) + ports.alone();
        for n in 0..workers {
            let (mailbox, inbox, wake) = Mailbox::new()?;
            mailboxes.push(mailbox);
            let worker = Worker {
                common: Arc::clone(&live.common),
                inbox,
                wake: Arc::clone(&wake),
                sources: Vec::new(),
                sinks: Sinks::default(),
                scratch: Scratch::default(),
                busy_poll: settings.busy_poll,
                counted: Instant::now(),
            };
            let begin = Arc::clone(begin);
            live.spawn(format!("uct-worker-{n}"), wake, move || {
                begin(Role::Worker);
                worker.run();
            })?;
        }
        let (mailbox, inbox, wake) = Mailbox::new()?;
        mailboxes.push(mailbox);
        let common = Arc::clone(&live.common);
        let begin_clock = Arc::clone(begin);
        live.spawn("uct-clock".to_owned(), wake, move || {
            begin_clock(Role::Clock);
            clock_thread(&common, &inbox);
        })?;
        let (mailbox, _inbox, wake) = Mailbox::new()?;
        drop(mailbox);
        let monitor = ports::Monitor::new(Arc::clone(&live.common), ports, mailboxes, settings, Arc::clone(&wake))?;
        let begin = Arc::clone(begin);
        live.spawn("uct-monitor".to_owned(), wake, move || {
            begin(Role::Monitor);
            monitor.run();
        })?;
        Ok(live)
    }

    fn spawn(&mut self, name: String, wake: Arc<OwnedFd>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name).spawn(work)?);
        self.wakes.push(wake);
        Ok(())
    }

    /// The router and its links.
    pub fn station(&self) -> &Arc<Station> {
        &self.common.station
    }

    /// Ends the threads; what they hold is sent first.
    pub fn stop(&mut self) {
        self.common.stop.store(true, Ordering::Release);
        for wake in self.wakes.drain(..) {
            let _ = rustix::io::write(&*wake, &1u64.to_ne_bytes());
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a source's frames come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Interface(Dev),
    /// The host's own stack, which sends by way of the router.
    Host,
}

struct Worker {
    common: Arc<Common>,
    inbox: Receiver<Command>,
    wake: Arc<OwnedFd>,
    sources: Vec<(From, Box<dyn Source>)>,
    sinks: Sinks,
    scratch: Scratch,
    busy_poll: Duration,
    counted: Instant,
}

impl Worker {
    fn run(mut self) {
        let mut idle_since = None;
        while !self.common.stop.load(Ordering::Acquire) {
            self.obey();
            if self.round() > 0 {
                idle_since = None;
                self.count();
                continue;
            }
            let now = Instant::now();
            if now.duration_since(*idle_since.get_or_insert(now)) < self.busy_poll {
                std::hint::spin_loop();
                continue;
            }
            self.count();
            self.sleep();
            idle_since = None;
        }
        self.sinks.flush();
        self.sinks.count(&self.common.station);
    }

    /// One batch from each source, to completion. Answers how many frames there were.
    fn round(&mut self) -> usize {
        let Worker { common, sources, sinks, scratch, .. } = self;
        let mut all = 0;
        for (from, source) in sources {
            let router = common.station.router().load();
            let (at, link, log) = (common.clock.now(), source.link(), common.station.log());
            if let From::Interface(_) = *from {
                let frames = (0..BATCH).map_while(|n| source.peek(n));
                common.station.look_ahead(&router, link, frames, scratch);
            }
            // An interface that is down has nothing; the monitor knows.
            let taken = source.receive(BATCH, &mut |frame| match *from {
                From::Interface(dev) => {
                    common.station.receive(&router, dev, link, frame, at, scratch, sinks, &mut Logging(log));
                }
                From::Host => {
                    common.station.send_own(&router, frame.bytes, frame.offload, at, scratch, sinks, &mut Logging(log));
                }
            });
            drop(router);
            all += taken.unwrap_or(0);
            sinks.flush();
        }
        if all > 0 {
            self.common.station.stats().add_received(all as u64);
        }
        all
    }

    fn obey(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            let dev = match command {
                Command::Attach(dev, source, sink) => {
                    self.forget(dev);
                    if dev == ports::HOST {
                        self.sources.extend(source.map(|source| (From::Host, source)));
                        self.sinks.host = Some(sink);
                        continue;
                    }
                    self.sources.extend(source.map(|source| (From::Interface(dev), source)));
                    self.sinks.put(dev, Some(sink));
                    continue;
                }
                Command::Detach(dev) => dev,
            };
            self.forget(dev);
            self.sinks.put(dev, None);
        }
    }

    fn forget(&mut self, dev: Dev) {
        for (_, source) in self.sources.extract_if(.., |(from, _)| *from == From::Interface(dev)) {
            let mut source = source;
            self.common.station.stats().add_lost(source.take_lost());
        }
        if dev != ports::HOST
            && let Some(Some(sink)) = self.sinks.by_dev.get_mut(dev.index())
        {
            self.common.station.stats().add_sent(sink.take_sent());
        }
    }

    fn count(&mut self) {
        if self.counted.elapsed() < COUNT {
            return;
        }
        self.counted = Instant::now();
        for (_, source) in &mut self.sources {
            self.common.station.stats().add_lost(source.take_lost());
        }
        self.sinks.count(&self.common.station);
    }

    fn sleep(&mut self) {
        if let [(_, source)] = &mut self.sources[..]
            && source.fd().is_none()
        {
            return source.wait(WAIT);
        }
        let fds: Vec<BorrowedFd<'_>> = self.sources.iter().filter_map(|(_, s)| s.fd()).collect();
        // What cannot be polled is looked at now and then.
        let wait = if fds.len() < self.sources.len() { Duration::from_millis(1) } else { Duration::from_secs(1) };
        sleep_on(&fds, &self.wake, wait);
    }
}

/// Sleeps until one of the descriptors is readable or somebody wakes the thread.
fn sleep_on(fds: &[BorrowedFd<'_>], wake: &OwnedFd, most: Duration) {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    polled.push(PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN));
    let most = Timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: most.subsec_nanos().into() };
    let woken = rustix::event::poll(&mut polled, Some(&most));
    if matches!(woken, Ok(n) if n > 0) {
        // Mostly it is a frame that wakes, and then there is nothing to read here: one system call less for a lone packet.
        if polled.last().is_some_and(|p| !p.revents().is_empty()) {
            let _ = rustix::io::read(wake, &mut [0u8; 8]);
        }
        // A descriptor in error stays readable: an interface that is down must not make the worker spin.
        if polled.iter().any(|p| p.revents().contains(PollFlags::ERR)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Lets time pass.
fn clock_thread(common: &Common, inbox: &Receiver<Command>) {
    let (mut sinks, mut scratch) = (Sinks::default(), Scratch::default());
    while !common.stop.load(Ordering::Acquire) {
        while let Ok(command) = inbox.try_recv() {
            match command {
                Command::Attach(ports::HOST, _, sink) => sinks.host = Some(sink),
                Command::Attach(dev, _, sink) => sinks.put(dev, Some(sink)),
                Command::Detach(dev) => sinks.put(dev, None),
            }
        }
        let now = common.clock.now();
        let router = common.station.router().load();
        common.station.tick(&router, now, &mut scratch, &mut sinks, &mut Logging(common.station.log()));
        drop(router);
        sinks.flush();
        sinks.count(&common.station);
        std::thread::sleep(TICK);
    }
}
