//! `uct run`: a router between interfaces, and its table behind a socket.
//!
//! Without a topology it is an idle table: nothing moves but what clients put in and the clock.

use std::process::ExitCode;
use std::sync::Arc;

use uct_engine::Engine;
use uct_pipeline::control::{Clock, Options, Others, RealClock, Server};
use uct_pipeline::live::run::Role;

use crate::conntrack::socket_path;
use crate::operation::files;
use crate::operation::keep::Keeper;
use crate::operation::metrics::{self, Counted};
use crate::operation::sandbox::{self, Needs};
use crate::operation::service::Service;
use crate::operation::{log, notify};
use crate::{Failure, args, rules};

mod host;
mod live;

/// Runs until it is ended.
pub fn run(args: &args::Run) -> Result<ExitCode, Failure> {
    log::start(&args.operation)?;
    if args.files.topology.is_none() && (args.files.rules.is_some() || !args.files.rule.is_empty()) {
        return Err(Failure::usage("rules need --topology: without interfaces no packet meets them"));
    }
    let read = args.files.read(rules::colour()).map_err(all)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let engine = Arc::new(Engine::new(seed));
    files::apply(engine.settings(), &read.settings, &read.settings);
    let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
    let given = read.topology.clone();
    let prepared = match read.topology {
        Some(topology) => Some(live::prepare(&args.live, topology, read.rules, &engine, seed)?),
        None => None,
    };

    let path = socket_path(args.socket.clone());
    let fail = |e: std::io::Error| Failure::input(format!("{}: {e}", path.display()));
    let others = if args.socket_ro { Others::MayRead } else { Others::MayChange };
    let options = Options { group: args.socket_group.clone(), others, ..Options::at(&path) };
    let (server, remove) = match notify::control_socket().map_err(fail)? {
        Some(listener) => (Server::adopt(listener, options, Arc::clone(&engine), Arc::clone(&clock)), None),
        None => {
            let server = Server::bind(options, Arc::clone(&engine), Arc::clone(&clock)).map_err(fail)?;
            (server, Some(path.clone()))
        }
    };
    let station = prepared.as_ref().map(|prepared| Arc::clone(prepared.station()));
    let files = files::InForce::new(args.files.clone(), read.settings, given);
    let mut service = Service::new(Arc::clone(&engine), Arc::clone(&clock), station.clone(), files);
    service.show(Arc::new(Counted::new(Arc::clone(&engine), Arc::clone(&clock))));
    if let Some(file) = &args.operation.state {
        service.keep(Keeper::new(file.clone(), args.operation.state_every));
    }
    let signals = Service::signals().map_err(fail)?;
    let service = Arc::new(service);
    let web = match args.operation.metrics {
        Some(address) => {
            let refused = |e: std::io::Error| Failure::input(format!("--metrics {address}: {e}"));
            Some(metrics::Server::bind(address, Arc::clone(&service) as _).map_err(refused)?)
        }
        None => None,
    };

    // From here on each thread that begins is inside, and so is this one.
    let needs = (!args.operation.no_sandbox).then(|| service.needs(&path));
    let summary = match &prepared {
        Some(prepared) => prepared.summary(),
        None => format!("an idle table behind {}", path.display()),
    };
    let live = match prepared {
        Some(prepared) => Some(prepared.start(Arc::clone(&clock), &enter(needs.clone()))?),
        None => None,
    };
    match &needs {
        Some(needs) => {
            let walls = sandbox::enter(needs).map_err(Failure::input)?;
            tracing::info!("sandbox: {walls}");
        }
        None => tracing::warn!("--no-sandbox: all privileges are kept"),
    }
    if let Some(web) = web {
        tracing::info!("figures at http://{}/", web.address().map_err(fail)?);
        web.start().map_err(fail)?;
    }
    let server = server.with_host(Arc::clone(&service) as _);
    let server = match &station {
        Some(station) => server.with_gauge(Arc::clone(station) as _),
        None => server,
    };
    match station {
        Some(station) => {
            server.tell_log(station, |line| tracing::info!(target: "uct::rules", "{}", line.text)).map_err(fail)?
        }
        None => {
            let (engine, clock) = (Arc::clone(&engine), Arc::clone(&clock));
            let thread = std::thread::Builder::new().name("uct-expiry".to_owned());
            thread.spawn(move || Server::expire_forever(&engine, &*clock)).map_err(fail)?;
        }
    }
    Arc::clone(&service).tick_forever().map_err(fail)?;
    Arc::clone(&service).obey(signals, remove, || drop(live)).map_err(fail)?;
    tracing::info!("{summary}");
    service.ready();
    server.run().map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}

/// How a router's threads enter the sandbox. The monitor alone may open packet sockets, for interfaces that appear later.
fn enter(needs: Option<Needs>) -> uct_pipeline::live::run::Begin {
    Arc::new(move |role| {
        let Some(needs) = &needs else { return };
        let needs = match role {
            Role::Worker | Role::Clock => needs.clone(),
            Role::Monitor => needs.for_monitor(),
        };
        if let Err(why) = sandbox::enter(&needs) {
            tracing::error!("{why}");
            std::process::exit(1);
        }
    })
}

/// All that is wrong, as one failure.
fn all(faults: files::Faults) -> Failure {
    let code = faults.iter().map(|fault| fault.code).max().unwrap_or(1);
    let all: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
    Failure { message: all.join("\nuct: "), code }
}

/// A seed that others do not know: who can predict the hash can fill one bucket.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
