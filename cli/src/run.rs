//! `uct run`: a table that lives on, behind a socket.
//!
//! Without interfaces it is an idle table: nothing moves but what clients put in and the clock.

use std::process::ExitCode;
use std::sync::Arc;

use uct_engine::Engine;
use uct_pipeline::control::{Clock, Options, Others, RealClock, Server};

use crate::conntrack::socket_path;
use crate::{Failure, args, stdio, sysctl};

/// Runs until it is ended.
pub fn run(args: &args::Run) -> Result<ExitCode, Failure> {
    let engine = Arc::new(Engine::new(args.seed.unwrap_or_else(random_seed)));
    sysctl::set(engine.settings(), &args.sysctl)?;
    let path = socket_path(args.socket.clone());
    let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
    let others = if args.socket_ro { Others::MayRead } else { Others::MayChange };
    let options = Options { group: args.socket_group.clone(), others, ..Options::at(&path) };
    let fail = |e: std::io::Error| Failure::input(format!("{}: {e}", path.display()));
    let server = Server::bind(options, Arc::clone(&engine), Arc::clone(&clock)).map_err(fail)?;
    stdio::say(format_args!("uct: an idle table behind {}", path.display()));
    remove_on_signal(path.clone()).map_err(fail)?;
    std::thread::Builder::new()
        .name("uct-expiry".to_owned())
        .spawn(move || Server::expire_forever(&engine, &*clock))
        .map_err(fail)?;
    server.run().map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}

/// A signal ends the program, and with it the socket.
fn remove_on_signal(path: std::path::PathBuf) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("uct-signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            let _ = std::fs::remove_file(&path);
            std::process::exit(0);
        }
    })?;
    Ok(())
}

/// A seed that others do not know: who can predict the hash can fill one bucket.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
