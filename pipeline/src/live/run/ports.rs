//! Ports: which interface is reached how, and what is done when one comes, goes or changes.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Command, Common, Mailbox, Settings, Shared, Sinks, sleep_on};
use crate::io::{Sink, Source, pnet, ring, tap};
use crate::link::Mac;
use crate::live::links::{Changes, Interface, Links};
use crate::live::station::{Carrier, Link, Scratch};
use crate::topology::Dev;

/// Stands for the host's own stack among the interfaces.
pub(super) const HOST: Dev = Dev(u16::MAX);
/// How often interfaces are looked at though nothing was told.
const ROUND: Duration = Duration::from_secs(2);

/// How an interface is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// AF_PACKET with memory-mapped rings.
    #[default]
    Ring,
    /// pnet's datalink.
    Pnet,
    /// A TAP device that is made.
    Tap,
    /// A TUN device that is made.
    Tun,
}

/// An interface of the topology, and how it is reached.
pub enum Port {
    /// By the host's interface of that name.
    Interface {
        /// The name.
        name: String,
        /// How.
        kind: Kind,
        /// The link address that the topology demands; otherwise it is the interface's own.
        mac: Option<Mac>,
        /// Slots of each ring.
        slots: u32,
    },
    /// By these two, of which there is one pair.
    Given(Box<dyn Source>, Box<dyn Sink>),
}

/// The ports of a router.
#[derive(Default)]
pub struct Ports {
    by_dev: Vec<Port>,
    host: Option<(Box<dyn Source>, Box<dyn Sink>)>,
}

impl Ports {
    /// Adds the port of the topology's next interface.
    pub fn push(&mut self, port: Port) {
        self.by_dev.push(port);
    }

    /// Where packets for the router itself go, and its own come from.
    pub fn set_host(&mut self, source: Box<dyn Source>, sink: Box<dyn Sink>) {
        self.host = Some((source, sink));
    }

    /// How many sources need a worker to themselves.
    pub(super) fn alone(&self) -> usize {
        self.by_dev.iter().filter(|p| is_alone(p)).count()
    }
}

fn is_alone(port: &Port) -> bool {
    match port {
        Port::Interface { kind, .. } => *kind == Kind::Pnet,
        Port::Given(source, _) => source.fd().is_none(),
    }
}

/// One port as the monitor knows it.
struct Watched {
    port: Option<Port>,
    dev: Dev,
    /// The worker that has its source, if there is only one.
    worker: usize,
    /// The interface's number, while it is attached.
    attached: Option<u32>,
    told: Option<Link>,
}

/// Watches the interfaces and hands out ports.
pub(super) struct Monitor {
    common: Arc<Common>,
    watched: Vec<Watched>,
    mailboxes: Vec<Mailbox>,
    settings: Settings,
    wake: Arc<OwnedFd>,
    links: Links,
    sinks: Sinks,
    scratch: Scratch,
}

impl Monitor {
    pub(super) fn new(
        common: Arc<Common>,
        ports: Ports,
        mailboxes: Vec<Mailbox>,
        settings: Settings,
        wake: Arc<OwnedFd>,
    ) -> io::Result<Monitor> {
        let mut alone = settings.workers.max(1);
        let mut watched = Vec::new();
        for (n, port) in ports.by_dev.into_iter().enumerate() {
            let worker = if is_alone(&port) {
                alone += 1;
                alone - 1
            } else {
                n % settings.workers.max(1)
            };
            watched.push(Watched { port: Some(port), dev: Dev(n as u16), worker, attached: None, told: None });
        }
        let links = Links::open(Changes::Told)?;
        let (sinks, scratch) = (Sinks::default(), Scratch::default());
        let mut monitor = Monitor { common, watched, mailboxes, settings, wake, links, sinks, scratch };
        if let Some((source, sink)) = ports.host {
            monitor.hand_out(HOST, 0, source, sink);
        }
        monitor.look()?;
        Ok(monitor)
    }

    pub(super) fn run(mut self) {
        while !self.common.stop.load(Ordering::Acquire) {
            sleep_on(&[self.links.as_fd()], &self.wake, ROUND);
            self.links.drain();
            // What cannot be asked for now is asked for in the next round.
            let _ = self.look();
        }
        for mailbox in &self.mailboxes {
            mailbox.wake();
        }
    }

    /// Compares what there is with what is attached.
    fn look(&mut self) -> io::Result<()> {
        let mut there: HashMap<String, Interface> =
            Links::open(Changes::Ignored)?.interfaces()?.into_iter().map(|i| (i.name.clone(), i)).collect();
        for n in 0..self.watched.len() {
            let dev = self.watched[n].dev;
            match self.watched[n].port.take() {
                None => {}
                Some(Port::Given(source, sink)) => {
                    self.hand_out(dev, self.watched[n].worker, source, sink);
                    self.watched[n].attached = Some(0);
                }
                Some(Port::Interface { name, kind, mac, slots }) => {
                    if matches!(kind, Kind::Tap | Kind::Tun) && self.watched[n].attached.is_none() {
                        let carries = if kind == Kind::Tap { tap::Carries::Frames } else { tap::Carries::Packets };
                        let (source, sink) = tap::open(&name, carries)?;
                        self.hand_out(dev, self.watched[n].worker, Box::new(source), Box::new(sink));
                        self.watched[n].attached = Some(0);
                    }
                    let interface = there.remove(&name);
                    let port = Port::Interface { name, kind, mac, slots };
                    if matches!(kind, Kind::Ring | Kind::Pnet) {
                        self.follow(n, &port, interface.as_ref());
                    }
                    self.watched[n].port = Some(port);
                }
            }
        }
        self.sinks.flush();
        Ok(())
    }

    /// One of the host's interfaces: attached anew if it is another one, and its link told to the station.
    fn follow(&mut self, n: usize, port: &Port, interface: Option<&Interface>) {
        let Port::Interface { mac, .. } = port else { return };
        // A reload may have demanded another one.
        let mtu = self.common.station.demanded(self.watched[n].dev).mtu;
        let (dev, attached) = (self.watched[n].dev, self.watched[n].attached);
        let is_other = attached.is_some() && attached != interface.map(|i| i.index);
        if is_other {
            for mailbox in &self.mailboxes {
                mailbox.tell(Command::Detach(dev));
            }
            self.sinks.put(dev, None);
            self.watched[n].attached = None;
        }
        if let (Some(interface), None) = (interface, self.watched[n].attached)
            && self.attach(dev, self.watched[n].worker, port, interface).is_ok()
        {
            self.watched[n].attached = Some(interface.index);
        }
        let gone = Link { carrier: Carrier::Down, mac: None, mtu };
        let link = interface.filter(|_| self.watched[n].attached.is_some()).map_or_else(
            || Link { mac: mac.or(self.watched[n].told.and_then(|t| t.mac)), ..gone },
            |i| Link { carrier: i.carrier, mac: mac.or(i.mac), mtu: mtu.min(i.mtu) },
        );
        if self.watched[n].told != Some(link) || is_other {
            self.watched[n].told = Some(link);
            let (common, now) = (Arc::clone(&self.common), self.common.clock.now());
            common.station.link_changed(dev, link, now, &mut self.scratch, &mut self.sinks);
        }
    }

    fn attach(&mut self, dev: Dev, worker: usize, port: &Port, interface: &Interface) -> io::Result<()> {
        let Port::Interface { name, kind, mac, slots, .. } = port else { return Ok(()) };
        if *kind == Kind::Pnet {
            let (source, sink) = pnet::open(name, interface.mac)?;
            self.hand_out(dev, worker, Box::new(source), Box::new(sink));
            return Ok(());
        }
        let is_foreign = mac.is_some() && *mac != interface.mac;
        let addresses = if is_foreign { ring::Addresses::Any } else { ring::Addresses::Own };
        let options = ring::Options { slots: *slots, mtu: interface.mtu, addresses };
        let shares = self.settings.workers.max(1);
        let mut pairs = ring::open(interface.index, shares, options)?.into_iter();
        let rest = (shares..self.mailboxes.len() + 1).map(|_| ring::open_sink(interface.index));
        let mut rest = rest.collect::<io::Result<Vec<_>>>()?;
        if let Some(own) = rest.pop() {
            self.sinks.put(dev, Some(Box::new(own)));
        }
        for mailbox in &self.mailboxes {
            let (source, sink): (Option<Box<dyn Source>>, Box<dyn Sink>) = match (pairs.next(), rest.pop()) {
                (Some((source, sink)), spare) => {
                    rest.extend(spare);
                    (Some(Box::new(source)), Box::new(sink))
                }
                (None, Some(sink)) => (None, Box::new(sink)),
                (None, None) => continue,
            };
            mailbox.tell(Command::Attach(dev, source, sink));
        }
        Ok(())
    }

    /// Gives one source to one worker, and its sink to all.
    fn hand_out(&mut self, dev: Dev, worker: usize, source: Box<dyn Source>, sink: Box<dyn Sink>) {
        let link = sink.link();
        let sink = Arc::new(Mutex::new(sink));
        let mut source = Some(source);
        for (n, mailbox) in self.mailboxes.iter().enumerate() {
            let own = if n == worker { source.take() } else { None };
            mailbox.tell(Command::Attach(dev, own, Box::new(Shared(Arc::clone(&sink), link))));
        }
        if dev != HOST {
            self.sinks.put(dev, Some(Box::new(Shared(sink, link))));
        }
    }
}
