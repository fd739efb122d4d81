//! `uct run`: a router between interfaces, and its table behind a socket.
//!
//! Without a topology it is an idle table: nothing moves but what clients put in and the clock.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use uct_engine::Engine;
use uct_pipeline::control::{Clock, Options, Others, RealClock, Server};

use crate::conntrack::socket_path;
use crate::{Failure, args, stdio, sysctl};

mod host;
mod live;

/// Runs until it is ended.
pub fn run(args: &args::Run) -> Result<ExitCode, Failure> {
    let seed = args.seed.unwrap_or_else(random_seed);
    let engine = Arc::new(Engine::new(seed));
    sysctl::set(engine.settings(), &args.sysctl)?;
    let path = socket_path(args.socket.clone());
    let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
    let others = if args.socket_ro { Others::MayRead } else { Others::MayChange };
    let options = Options { group: args.socket_group.clone(), others, ..Options::at(&path) };
    let fail = |e: std::io::Error| Failure::input(format!("{}: {e}", path.display()));
    let prepared = live::prepare(&args.live, &engine, seed)?;
    let server = Server::bind(options, Arc::clone(&engine), Arc::clone(&clock)).map_err(fail)?;
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(fail)
    };
    let mut live = None;
    match prepared {
        Some(prepared) => live = Some(prepared.start(Arc::clone(&clock))?),
        None => {
            let (engine, clock) = (Arc::clone(&engine), Arc::clone(&clock));
            spawn("uct-expiry", Box::new(move || Server::expire_forever(&engine, &*clock)))?;
            stdio::say(format_args!("uct: an idle table behind {}", path.display()));
        }
    }
    let signal = signal().map_err(fail)?;
    let served = path.clone();
    spawn(
        "uct-control",
        Box::new(move || {
            if let Err(e) = server.run() {
                stdio::say(format_args!("uct: {}: {e}", served.display()));
            }
        }),
    )?;
    wait_for(signal, &path);
    drop(live.take());
    Ok(ExitCode::SUCCESS)
}

fn signal() -> std::io::Result<signal_hook::iterator::Signals> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
}

/// A signal ends the program, and with it the socket.
fn wait_for(mut signal: signal_hook::iterator::Signals, path: &PathBuf) {
    let _ = signal.forever().next();
    let _ = std::fs::remove_file(path);
}

/// A seed that others do not know: who can predict the hash can fill one bucket.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
