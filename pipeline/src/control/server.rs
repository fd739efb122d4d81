//! Who may connect, and the threads that serve them.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::Mode;
use rustix::net::sockopt::socket_peercred;
use uct_engine::{Engine, Time};

use super::host::Host;
use super::hub::Hub;
use super::session::{self, Access, Peer};
use crate::live::Station;
use crate::logged::LogLine;
use crate::router::Router;

/// Where `now` comes from.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Time;
}

/// The time of day when it was made, and from there on a clock that nobody sets.
#[derive(Debug)]
pub struct RealClock {
    at: Time,
    since: Instant,
}

impl RealClock {
    /// Reads the time of day.
    pub fn start() -> RealClock {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RealClock { at: Time::ZERO + at, since: Instant::now() }
    }
}

impl Clock for RealClock {
    fn now(&self) -> Time {
        self.at + self.since.elapsed()
    }
}

/// What only a router knows about itself, for those who look in.
pub trait Gauge: Send + Sync {
    /// Packets that it took in since it began.
    fn received(&self) -> u64;
}

impl Gauge for Router {
    fn received(&self) -> u64 {
        self.stats().received.get()
    }
}

impl Gauge for Station {
    fn received(&self) -> u64 {
        self.router().load().stats().received.get()
    }
}

/// Whether others than the owner may change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// They may.
    #[default]
    MayChange,
    /// They may only look.
    MayRead,
}

/// How a socket is offered.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub path: PathBuf,
    /// A group, by name or number, whose members may connect.
    pub group: Option<String>,
    /// What its members may do.
    pub others: Others,
    /// Most clients at one time.
    pub clients: usize,
}

impl Options {
    /// For the owner alone.
    pub fn at(path: impl Into<PathBuf>) -> Options {
        Options { path: path.into(), group: None, others: Others::default(), clients: 1024 }
    }
}

/// What all sessions share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hub: Hub,
    pub(super) host: Option<Arc<dyn Host>>,
    pub(super) gauge: OnceLock<Arc<dyn Gauge>>,
    clients: AtomicUsize,
}

/// A socket that waits for clients.
pub struct Server {
    listener: UnixListener,
    shared: Arc<Shared>,
    options: Options,
    owner: u32,
    made: Made,
}

/// Who has made the socket's file, and so removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Here,
    Elsewhere,
}

impl Server {
    /// Takes the path. A socket that nobody serves any more is replaced; anything else that is there is left alone.
    pub fn bind(options: Options, engine: Arc<Engine>, clock: Arc<dyn Clock>) -> io::Result<Server> {
        let path = &options.path;
        clear(path)?;
        // Nobody else may connect before the mode is right.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound?;
        let group = options.group.as_deref().map(group_id).transpose()?;
        if let Some(gid) = group {
            chown(path, None, Some(gid))?;
        }
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Ok(Server::new(listener, options, engine, clock, Made::Here))
    }

    /// Takes a socket that listens already (systemd's, at the path of `options`), with the mode and the group that it has;
    /// whom the system lets in may change everything, or only look if `options` says so.
    pub fn adopt(listener: UnixListener, options: Options, engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Server {
        let group = options.group.clone().or_else(|| Some("the socket's".to_owned()));
        Server::new(listener, Options { group, ..options }, engine, clock, Made::Elsewhere)
    }

    fn new(listener: UnixListener, options: Options, engine: Arc<Engine>, clock: Arc<dyn Clock>, made: Made) -> Server {
        let hub = Hub::new(Arc::clone(&engine));
        let shared =
            Arc::new(Shared { engine, clock, hub, host: None, gauge: OnceLock::new(), clients: AtomicUsize::new(0) });
        Server { listener, shared, options, owner: rustix::process::geteuid().as_raw(), made }
    }

    /// The program around the table, for what clients ask of it.
    #[must_use]
    pub fn with_host(mut self, host: Arc<dyn Host>) -> Server {
        // Nobody else has it before it runs.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.host = Some(host);
        }
        self
    }

    /// Names the router whose engine this is.
    #[must_use]
    pub fn with_gauge(self, gauge: Arc<dyn Gauge>) -> Server {
        let _ = self.shared.gauge.set(gauge);
        self
    }

    /// Tells who listens what rules log, and hands each line to `write` first; a thread does so from now on.
    pub fn tell_log(&self, station: Arc<Station>, mut write: impl FnMut(&LogLine) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new().name("uct-log".to_owned()).spawn(move || {
            let mut lines = Vec::new();
            loop {
                station.log().take(&mut lines);
                for line in lines.drain(..) {
                    write(&line);
                    shared.hub.logged(&Arc::new(line));
                }
            }
        })?;
        Ok(())
    }

    /// Serves for ever.
    pub fn run(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new().name("uct-events".to_owned()).spawn(move || shared.hub.run())?;
        for stream in self.listener.incoming() {
            match stream {
                Ok(stream) => self.admit(stream),
                // No descriptor left, or a client that was gone at once: neither is a reason to end.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Ok(())
    }

    /// Lets connections run out at their time, for an engine that no packets drive.
    pub fn expire_forever(engine: &Engine, clock: &dyn Clock) {
        const BATCH: usize = 4096;
        const LONGEST: Duration = Duration::from_millis(50);
        loop {
            let now = clock.now();
            if engine.expire(now, BATCH) == BATCH {
                continue;
            }
            // What a client inserts meanwhile may run out sooner than all that is queued now.
            let wait = engine.next_expiry().map_or(LONGEST, |t| t.saturating_duration_since(now).min(LONGEST));
            std::thread::sleep(wait.max(Duration::from_millis(1)));
        }
    }

    fn admit(&self, stream: UnixStream) {
        let Ok(peer) = self.peer(&stream) else { return };
        let shared = Arc::clone(&self.shared);
        let access = match peer.access {
            Access::None => return session::refuse(stream, "denied", "this socket is not for you"),
            access => access,
        };
        if shared.clients.fetch_add(1, Ordering::AcqRel) >= self.options.clients {
            shared.clients.fetch_sub(1, Ordering::AcqRel);
            return session::refuse(stream, "busy", "too many clients");
        }
        let peer = Peer { access, ..peer };
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("uct-client".to_owned()).stack_size(512 * 1024);
        let spawned = thread.spawn(move || {
            // What goes wrong here is the client's end, and ends with it.
            let _ = session::run(&served, stream, peer);
            served.clients.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            shared.clients.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn peer(&self, stream: &UnixStream) -> io::Result<Peer> {
        let cred = socket_peercred(stream)?;
        let uid = cred.uid.as_raw();
        let access = if uid == self.owner || uid == 0 {
            Access::Full
        } else if self.options.group.is_none() {
            Access::None
        } else {
            match self.options.others {
                Others::MayChange => Access::Full,
                Others::MayRead => Access::Read,
            }
        };
        Ok(Peer { pid: cred.pid.as_raw_nonzero().get().unsigned_abs(), access })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.made == Made::Here {
            let _ = std::fs::remove_file(&self.options.path);
        }
    }
}

/// Removes a socket that nobody serves.
fn clear(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if !meta.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file of this name that is no socket"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another program serves this socket")),
            Err(_) => std::fs::remove_file(path),
        },
    }
}

/// A group's number, from its name or itself.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let text = std::fs::read_to_string("/etc/group")?;
    let gid = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    gid.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("there is no group '{group}'")))
}
