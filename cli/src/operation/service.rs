//! A router at work: what it is made of, how it is changed, and how it ends.
//!
//! The order matters: what needs privileges is opened first, then the sandbox is entered, then threads begin, so that each is
//! inside. A reload reads all files before it changes anything, and changes settings and rules with nothing in between that
//! could fail. The end: no packet is taken any more, the table is written, the socket is gone, exit code 0.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use uct_engine::Engine;
use uct_nat::rules::Colour;
use uct_pipeline::control::{Clock, Host};
use uct_pipeline::figures::{Figure, Figures};
use uct_pipeline::live::Station;
use uct_pipeline::router::Router;

use super::files::{self, InForce};
use super::keep::Keeper;
use super::{notify, sandbox};
use crate::check;

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(500);

/// A router at work.
pub struct Service {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    station: Option<Arc<Station>>,
    /// Held during a reload: one at a time.
    files: Mutex<InForce>,
    keeper: Option<Keeper>,
    /// Who else has figures.
    more: Vec<Arc<dyn Figures>>,
    begun: Instant,
}

impl Service {
    /// Around an engine, and a router if there is one.
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>, station: Option<Arc<Station>>, files: InForce) -> Service {
        Service {
            engine,
            clock,
            station,
            files: Mutex::new(files),
            keeper: None,
            more: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// The router in force, if there is one.
    fn router(&self) -> Option<Arc<Router>> {
        self.station.as_ref().map(|station| station.router().get())
    }

    /// Keeps the table in a file from now on: reads it at once.
    pub fn keep(&mut self, keeper: Keeper) {
        keeper.load(&self.engine, self.router().as_deref(), self.clock.now());
        self.keeper = Some(keeper);
    }

    /// Shows these figures, too.
    pub fn show(&mut self, figures: Arc<dyn Figures>) {
        self.more.push(figures);
    }

    /// What is due now and then: the table's file, and the word to systemd that all is well.
    fn tick(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.tick(&self.engine, || self.router(), self.clock.now());
        }
        notify::alive();
    }

    /// Does what is due, until the program ends.
    pub fn tick_forever(self: Arc<Self>) -> std::io::Result<()> {
        std::thread::Builder::new().name("uct-clock".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(TICK);
                self.tick();
            }
        })?;
        Ok(())
    }

    /// Waits for signals. SIGHUP reads the files again; SIGTERM and SIGINT end the program: `stop` ends all that changes the
    /// table, then it is written, then `socket` is removed if it is ours to remove.
    pub fn obey(
        self: Arc<Self>,
        mut signals: signal_hook::iterator::Signals,
        socket: Option<PathBuf>,
        stop: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        std::thread::Builder::new().name("uct-signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    // What came of it is in the log.
                    let _ = self.reload();
                    continue;
                }
                tracing::info!("signal {signal}: it ends");
                notify::stopping();
                stop();
                if let Some(keeper) = &self.keeper {
                    keeper.write(&self.engine, self.router().as_deref(), self.clock.now());
                }
                if let Some(socket) = &socket {
                    let _ = std::fs::remove_file(socket);
                }
                std::process::exit(0);
            }
        })?;
        Ok(())
    }

    /// The signals that [`Service::obey`] waits for, caught from here on.
    pub fn signals() -> std::io::Result<signal_hook::iterator::Signals> {
        signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
    }

    /// What the sandbox has to leave open: the files of a reload with what they include, the table's, the socket's folder.
    pub fn needs(&self, socket: &Path) -> sandbox::Needs {
        let mut read: Vec<PathBuf> = self.files.lock().files.paths().map(sandbox::folder).collect();
        if let Some(router) = self.router() {
            read.extend(router.rules().sources().names().map(|name| sandbox::folder(Path::new(name))));
        }
        // Who talks to the socket is known by the name of its program.
        read.push(PathBuf::from("/proc"));
        read.retain(|folder| folder.is_dir());
        read.sort_unstable();
        read.dedup();
        let write: Vec<PathBuf> = self.keeper.iter().map(|keeper| sandbox::folder(keeper.path())).collect();
        sandbox::Needs { read, write, remove: vec![sandbox::folder(socket)], ..sandbox::Needs::default() }
    }

    /// What `systemctl status` shows.
    fn status(&self) -> String {
        match self.router() {
            Some(router) => {
                let interfaces: Vec<&str> = router.topology().interfaces.iter().map(|i| i.name.as_str()).collect();
                format!("forwarding between {}", interfaces.join(", "))
            }
            None => "an idle table".to_owned(),
        }
    }

    /// Tells systemd that it runs.
    pub fn ready(&self) {
        notify::ready(&self.status());
    }

    fn try_reload(&self) -> Result<String, String> {
        let mut known = self.files.lock();
        if !known.files.can_reload() {
            return Err("there is nothing to read again: no --topology, --rules or --sysctl-file is a file".to_owned());
        }
        let read = known.files.read(Colour::Never).map_err(|faults| {
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
            faults.join("\n")
        })?;
        let (mut said, remarks) = check::summary(&known.files, &read);
        if let Some(why) = read.topology.as_ref().and_then(|next| known.needs_restart(next)) {
            return Err(format!("{why}: interfaces are opened at the start, so this needs a restart"));
        }
        files::apply(self.engine.settings(), &read.settings, &known.settings);
        known.settings = read.settings;
        if let (Some(station), Some(topology)) = (&self.station, read.topology) {
            let change = station.replace(read.rules, &topology, self.clock.now());
            known.topology = Some(topology);
            if !change.removed.is_empty() {
                said.push_str(&format!("no longer used: {}\n", change.removed.join(", ")));
            }
            if change.destroyed > 0 {
                let gone = check::counted(change.destroyed, "connection");
                said.push_str(&format!("{gone} had borrowed an address that is gone\n"));
            }
        }
        for remark in remarks {
            said.push_str(&format!("{remark}\n"));
        }
        said.push_str(&format!("in force; connections kept: {}", self.engine.count()));
        Ok(said)
    }
}

impl Figures for Service {
    fn figures(&self, into: &mut Vec<Figure>) {
        let up = self.begun.elapsed().as_secs();
        into.push(Figure::gauge("uct_uptime_seconds", up, "Seconds since the start."));
        self.engine.figures(into);
        if let Some(station) = &self.station {
            station.figures(into);
        }
        for more in &self.more {
            more.figures(into);
        }
    }
}

impl Host for Service {
    fn reload(&self) -> Result<String, String> {
        notify::reloading();
        let done = self.try_reload();
        match &done {
            Ok(said) => tracing::info!("reload: {}", said.lines().last().unwrap_or_default()),
            Err(why) => tracing::error!("reload refused, everything stays as it is: {why}"),
        }
        self.ready();
        done
    }
}
