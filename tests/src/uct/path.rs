//! The whole path: rules, NAT, routing, fragments, and the ports that the kernel drew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uct_engine::{Engine, Listening, Time};
use uct_nat::rules::{Files, Ruleset};
use uct_nat::{Ask, Draw};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Arrival, Emit, Emitted, Router, Silent};
use uct_pipeline::topology::Topology;

use super::words;
use crate::observed::{self, L4, LOCAL, Observed, Tuple};
use crate::run::Subject;
use crate::scenario::{Setup, Step};

/// The virtual clock's zero: any time will do.
const EPOCH: Time = Time::from_secs(1_700_000_000);

/// Original and reply tuples of what the kernel has just entered into its table.
type Drawn = Arc<Mutex<Vec<(Tuple, Tuple)>>>;

/// Draws the port that the kernel drew for the same connection.
struct Imposed(Drawn);

impl Draw for Imposed {
    fn offset(&mut self, ask: &Ask<'_>) -> u16 {
        let original = words::tuple(ask.original);
        let drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Zones may hold the same tuple twice; the new one stands last.
        let reply = drawn.iter().rev().find(|(known, _)| *known == original).map(|(_, reply)| reply.l4);
        let port = match (reply, ask.manip) {
            (Some(L4::Ports(_, dst)), uct_engine::Manip::Src) => dst,
            (Some(L4::Ports(src, _)), uct_engine::Manip::Dst) => src,
            (Some(L4::Icmp(_, _, id)), _) => id,
            (Some(L4::None) | None, _) => return 0,
        };
        ask.offset_of(port).unwrap_or(0)
    }
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> Result<String, String> {
        Err(format!("a scenario has no file {path}"))
    }

    fn exists(&self, _: &str) -> bool {
        false
    }

    fn list(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
}

/// Collects what leaves.
struct Collect<'a> {
    topology: &'a Topology,
    out: Vec<observed::Emitted>,
}

impl Emit for Collect<'_> {
    fn emit(&mut self, packet: Emitted<'_>) {
        let iface = self.topology.interface(packet.dev).map_or("?", |interface| &interface.name).to_string();
        self.out.push(observed::Emitted { iface, packet: packet.bytes.to_vec() });
    }

    fn deliver(&mut self, packet: &[u8], _: Time) {
        self.out.push(observed::Emitted { iface: LOCAL.to_string(), packet: packet.to_vec() });
    }
}

/// uct as a router, held against the kernel.
#[derive(Default)]
pub struct PathSubject {
    router: Option<Router>,
    drawn: Drawn,
}

fn ruleset(text: &str) -> Result<Ruleset, String> {
    Ruleset::read("rules", text, &NoFiles).map_err(|refusal| format!("uct refuses the rules: {refusal}"))
}

/// What the kernel's side keeps quiet unless a scenario asks for it.
const QUIET: [(&str, &str); 4] = [
    ("ipv4.conf.all.send_redirects", "0"),
    ("ipv4.conf.default.send_redirects", "0"),
    ("ipv4.icmp_ratelimit", "0"),
    ("ipv6.icmp.ratelimit", "0"),
];

fn set(engine: &Engine, name: &str, value: &str) -> Result<(), String> {
    let name = &format!("net.{name}");
    engine.settings().set_by_name(name, value).map(drop).map_err(|error| error.to_string())
}

impl Subject for PathSubject {
    fn begin(&mut self, setup: &Setup) -> Result<(), String> {
        let engine = Arc::new(Engine::new(1));
        engine.listen(Listening::Yes);
        for (name, value) in QUIET {
            set(&engine, name, value)?;
        }
        for (name, value) in &setup.sysctls {
            set(&engine, name, value)?;
        }
        // What fills the kernel's table is nobody's: without it, what matters is how much room there is. Where there is always
        // something to give up, there is always room.
        if let Some(full) = setup.full.filter(|full| full.assured) {
            set(&engine, "netfilter.nf_conntrack_max", &full.room.to_string())?;
        }
        let topology = toml::to_string(&setup.topology).map_err(|error| error.to_string())?;
        let topology = Topology::parse("topology", &topology).map_err(|error| error.to_string())?;
        let rules = ruleset(&setup.rules)?;
        self.drawn = Drawn::default();
        self.router = Some(Router::with_draw(engine, rules, topology, 1, Imposed(Arc::clone(&self.drawn))));
        Ok(())
    }

    fn step(&mut self, step: &Step, at: Duration, kernel: &Observed) -> Result<Observed, String> {
        let router = self.router.as_mut().ok_or("no scenario has begun")?;
        let now = EPOCH + at;
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) =
            kernel.table.iter().map(|entry| (entry.original.tuple, entry.reply.tuple)).collect();
        match step {
            Step::Rules { text } => router.set_rules(ruleset(text)?),
            Step::DeleteAddress { iface, address } => {
                let dev = router.topology().dev(iface).ok_or("no such interface")?;
                let address = address.split('/').next().and_then(|text| text.parse().ok()).ok_or("no such address")?;
                router.remove_address(dev, address, now);
            }
            _ => {}
        }
        let router = &*router;
        let mut collect = Collect { topology: router.topology(), out: Vec::new() };
        router.pass_time(now, &mut collect, &mut Silent);
        match step {
            Step::Frame { iface, bytes } => {
                let iif = router.topology().dev(iface).ok_or("no such interface")?;
                let mut bytes = bytes.get(14..).unwrap_or(&[]).to_vec();
                let wire_len = bytes.len();
                router.receive(
                    Arrival {
                        at: now,
                        iif,
                        bytes: &mut bytes,
                        wire_len,
                        link: None,
                        offload: Offload::default(),
                        seen: uct_engine::Seen::default(),
                    },
                    &mut collect,
                    &mut Silent,
                );
            }
            Step::Local { bytes } => {
                let mut bytes = bytes.clone();
                let wire_len = bytes.len();
                router.send_own(&mut bytes, wire_len, now, &mut collect, &mut Silent);
            }
            Step::Sysctl { name, value } => set(router.engine(), name, value)?,
            Step::Advance { .. } | Step::Rules { .. } | Step::DeleteAddress { .. } => {}
        }
        let mut events = Vec::new();
        router.engine().take_events(&mut events);
        Ok(Observed {
            out: collect.out,
            table: router.engine().entries(now).iter().map(words::entry).collect(),
            events: events.iter().map(words::event).collect(),
            ..Observed::default()
        })
    }
}
