//! A router between interfaces: the topology's ports, the rules, and the threads.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use uct_engine::Engine;
use uct_nat::rules::Ruleset;
use uct_pipeline::control::Clock;
use uct_pipeline::io::tap;
use uct_pipeline::link::Mac;
use uct_pipeline::live::run::{Begin, Kind, Live, Port, Ports, Settings};
use uct_pipeline::live::{Options, Services, Station};
use uct_pipeline::router::Router;
use uct_pipeline::topology::{Dev, Topology};

use super::host;
use crate::args::{self, IoKind};
use crate::{Failure, rules};

/// What a topology file makes of a router, before it has threads.
pub(super) struct Prepared {
    station: Arc<Station>,
    ports: Ports,
    settings: Settings,
    summary: String,
}

/// Checks what the host does on the topology's interfaces, and opens what can be opened.
pub(super) fn prepare(
    args: &args::Live,
    mut topology: Topology,
    rules: Ruleset,
    engine: &Arc<Engine>,
    seed: u64,
) -> Result<Prepared, Failure> {
    if topology.interfaces.is_empty() {
        return Err(Failure::input("--topology: a router needs an [[interface]]"));
    }
    let kinds = kinds(args, &topology)?;
    let real = topology.interfaces.iter().zip(&kinds).filter(|(_, kind)| matches!(kind, Kind::Ring | Kind::Pnet));
    let real: Vec<&str> = real.map(|(i, _)| i.name.as_str()).collect();
    host::is_out_of_the_way(&real)?;
    if let Some(strangers) = rules::strangers(&rules, &topology) {
        tracing::warn!("{strangers}");
    }
    let mut ports = Ports::default();
    for (interface, kind) in topology.interfaces.iter_mut().zip(&kinds) {
        ports.push(Port::Interface {
            name: interface.name.clone(),
            kind: *kind,
            mac: interface.mac,
            slots: args.ring_slots,
        });
        if *kind == Kind::Tap && interface.mac.is_none() {
            interface.mac = Some(own_mac(&interface.name));
        }
    }
    let mut advertise = Vec::new();
    for name in &args.advertise {
        advertise.push(dev(&topology, name, "--advertise")?);
    }
    let mut services = Services::None;
    if let Some(name) = &args.host {
        let fail = |e: std::io::Error| Failure::input(format!("--host {name}: {}", uct_pipeline::plain(&e)));
        let (source, sink) = tap::open(name, tap::Carries::Packets).map_err(fail)?;
        ports.set_host(Box::new(source), Box::new(sink));
        services = Services::Host;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings {
        workers: args.workers.map_or(processors, usize::from),
        busy_poll: Duration::from_micros(args.busy_poll),
    };
    let summary = summary(&topology, &kinds, settings);
    let router = Router::new(Arc::clone(engine), rules, topology, seed);
    let station = Arc::new(Station::new(router, Options { services, advertise }));
    Ok(Prepared { station, ports, settings, summary })
}

impl Prepared {
    /// The router and its links.
    pub(super) fn station(&self) -> &Arc<Station> {
        &self.station
    }

    /// What it is, in a line.
    pub(super) fn summary(&self) -> String {
        self.summary.clone()
    }

    /// Starts the threads, each of which calls `begin` first.
    pub(super) fn start(self, clock: Arc<dyn Clock>, begin: &Begin) -> Result<Live, Failure> {
        let fail = |e: std::io::Error| Failure::input(cannot_start(&e));
        Live::start_with(self.station, clock, self.ports, self.settings, begin).map_err(fail)
    }
}

fn cannot_start(e: &std::io::Error) -> String {
    let why = uct_pipeline::plain(e);
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
            format!("the router cannot start: {why}; it needs CAP_NET_RAW, and CAP_NET_ADMIN for TUN devices")
        }
        _ => format!("the router cannot start: {why}"),
    }
}

fn dev(topology: &Topology, name: &str, option: &str) -> Result<Dev, Failure> {
    topology.dev(name).ok_or_else(|| {
        let known: Vec<_> = topology.interfaces.iter().map(|i| i.name.as_str()).collect();
        Failure::usage(format!("{option}: the topology has no interface {name}; it has {}", known.join(", ")))
    })
}

/// How each interface is reached.
fn kinds(args: &args::Live, topology: &Topology) -> Result<Vec<Kind>, Failure> {
    let kind = |io: &args::Io| match io.kind {
        IoKind::Ring => Kind::Ring,
        IoKind::Pnet => Kind::Pnet,
        IoKind::Tap => Kind::Tap,
        IoKind::Tun => Kind::Tun,
    };
    let common = args.io.iter().rfind(|io| io.dev.is_none()).map_or(Kind::Ring, kind);
    let mut kinds = vec![common; topology.interfaces.len()];
    for io in &args.io {
        if let Some(name) = &io.dev {
            kinds[dev(topology, name, "--io")?.index()] = kind(io);
        }
    }
    Ok(kinds)
}

/// A link address for a TAP device of our own, always the same for the same name: locally administered, from a hash (FNV-1a).
fn own_mac(name: &str) -> Mac {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

fn summary(topology: &Topology, kinds: &[Kind], settings: Settings) -> String {
    let name = |kind: &Kind| match kind {
        Kind::Ring => "ring",
        Kind::Pnet => "pnet",
        Kind::Tap => "tap",
        Kind::Tun => "tun",
    };
    let interfaces: Vec<String> =
        topology.interfaces.iter().zip(kinds).map(|(i, kind)| format!("{} ({})", i.name, name(kind))).collect();
    let workers = match settings.workers {
        1 => "1 worker".to_owned(),
        n => format!("{n} workers"),
    };
    let hint = if std::io::stderr().is_terminal() { "; end with Ctrl-C" } else { "" };
    format!("a router between {}, {workers}{hint}", interfaces.join(", "))
}
