//! `uct run`: a table that lives on, behind a socket.
//!
//! Without interfaces it is an idle table: nothing moves but what clients put in and the clock.

use std::process::ExitCode;
use std::sync::Arc;

use uct_engine::Engine;
use uct_pipeline::control::{Clock, Options, Others, RealClock, Server};
use uct_pipeline::router::{InForce, Router};

use crate::conntrack::socket_path;
use crate::operation::files;
use crate::operation::keep::Keeper;
use crate::operation::metrics::{self, Counted};
use crate::operation::service::Service;
use crate::operation::{log, notify, sandbox};
use crate::{Failure, args, rules};

/// Runs until it is ended.
pub fn run(args: &args::Run) -> Result<ExitCode, Failure> {
    log::start(&args.operation)?;
    let read = args.files.read(rules::colour()).map_err(first)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let engine = Arc::new(Engine::new(seed));
    files::apply(engine.settings(), &read.settings, &read.settings);
    let router = read.topology.map(|topology| {
        let router = Router::new(Arc::clone(&engine), read.rules, topology, seed);
        Arc::new(InForce::new(router))
    });
    let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
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
    let mut service = Service::new(Arc::clone(&engine), Arc::clone(&clock), router, args.files.clone(), read.settings);
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
    if args.operation.no_sandbox {
        tracing::warn!("--no-sandbox: all privileges are kept");
    } else {
        let walls = sandbox::enter(&service.needs(&path)).map_err(Failure::input)?;
        tracing::info!("sandbox: {walls}");
    }
    if let Some(web) = web {
        tracing::info!("figures at http://{}/", web.address().map_err(fail)?);
        web.start().map_err(fail)?;
    }
    let expired = (Arc::clone(&engine), Arc::clone(&clock));
    std::thread::Builder::new()
        .name("uct-expiry".to_owned())
        .spawn(move || Server::expire_forever(&expired.0, &*expired.1))
        .map_err(fail)?;
    Arc::clone(&service).tick_forever().map_err(fail)?;
    Arc::clone(&service).obey(signals, remove, || ()).map_err(fail)?;
    tracing::info!("an idle table behind {}", path.display());
    service.ready();
    server.with_host(service).run().map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}

/// All that is wrong, as one failure.
fn first(faults: files::Faults) -> Failure {
    let code = faults.iter().map(|fault| fault.code).max().unwrap_or(1);
    let all: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
    Failure { message: all.join("\nuct: "), code }
}

/// A seed that others do not know: who can predict the hash can fill one bucket.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
