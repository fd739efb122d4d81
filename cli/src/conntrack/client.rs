//! The other end of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use uct_engine::{Entry, Time};
use uct_pipeline::control::message::{Done, Fault, Reply, Request};

use super::problem::Problem;

/// Where a router's socket is, if nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/uct.sock";

/// The socket that was named, on the command line or by `UCT_SOCKET`.
pub fn socket_path(named: Option<PathBuf>) -> PathBuf {
    named
        .or_else(|| std::env::var_os("UCT_SOCKET").filter(|v| !v.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
}

/// What a request ended with, short of success.
#[derive(Clone, Debug)]
pub enum Ended {
    /// The server refused.
    Refused(Fault),
    /// The server cannot be talked to.
    Broken(String),
}

impl Ended {
    /// As conntrack(8) says it.
    pub fn problem(&self) -> Problem {
        match self {
            Ended::Refused(fault) => Problem::failed(errno_text(fault)),
            Ended::Broken(text) => Problem::Other(text.clone()),
        }
    }

    /// The server's one word.
    pub fn code(&self) -> &str {
        match self {
            Ended::Refused(fault) => fault.code.as_deref().unwrap_or_default(),
            Ended::Broken(_) => "",
        }
    }
}

/// The words that conntrack(8) has for what ctnetlink answers.
fn errno_text(fault: &Fault) -> String {
    let text = match fault.code.as_deref().unwrap_or_default() {
        "invalid" => "invalid parameters",
        "exists" => "Such conntrack exists, try -U to update",
        "missing" => "such conntrack doesn't exist",
        "full" => "not enough memory",
        "expired" => "conntrack has expired",
        "no-master" => "master conntrack not found",
        "busy-bit" => "Device or resource busy",
        "fixed" => "the timeout of this entry is fixed",
        "denied" | "read-only" => "sorry, you must be root or get CAP_NET_ADMIN capability to do this",
        _ => return fault.text.as_deref().unwrap_or("unknown error").to_owned(),
    };
    text.to_owned()
}

/// A conversation with a server.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
    next: u64,
}

impl Connection {
    /// Connects.
    pub fn open(path: &Path) -> Result<Connection, Problem> {
        let stream = UnixStream::connect(path)
            .map_err(|e| Problem::Other(format!("cannot reach {}: {}", path.display(), reason(&e))))?;
        Ok(Connection { reader: BufReader::with_capacity(256 * 1024, stream), line: Vec::new(), next: 1 })
    }

    /// The stream itself, to close it from elsewhere.
    pub fn stream(&self) -> io::Result<UnixStream> {
        self.reader.get_ref().try_clone()
    }

    /// Whether something that came was not looked at yet.
    pub fn has_more(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    /// Asks, and hands every reply on until the last.
    pub fn ask(&mut self, mut request: Request, on: impl FnMut(&Reply) -> io::Result<()>) -> Result<Done, Ended> {
        request.id = Some(self.number());
        self.send(&request)?;
        self.answer(on)
    }

    /// Asks for several operations, written as JSON with commas between them.
    pub fn batch(&mut self, operations: &str, on: impl FnMut(&Reply) -> io::Result<()>) -> Result<Done, Ended> {
        let line = format!("{{\"id\":{},\"batch\":[{operations}]}}\n", self.number());
        self.reader.get_mut().write_all(line.as_bytes()).map_err(|e| broken(&reason(&e)))?;
        self.answer(on)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn answer(&mut self, mut on: impl FnMut(&Reply) -> io::Result<()>) -> Result<Done, Ended> {
        loop {
            let reply = self.receive()?.ok_or_else(|| broken("the router closed the connection"))?;
            if let Some(fault) = reply.error {
                return Err(Ended::Refused(fault));
            }
            if let Some(done) = reply.done {
                return Ok(done);
            }
            on(&reply).map_err(|e| broken(&e.to_string()))?;
        }
    }

    /// Asks for something that only counts.
    pub fn simply(&mut self, request: Request) -> Result<u64, Ended> {
        Ok(self.ask(request, |_| Ok(()))?.count.unwrap_or(0))
    }

    /// Says something.
    pub fn send(&mut self, request: &Request) -> Result<(), Ended> {
        let mut line = serde_json::to_vec(request).map_err(|e| broken(&e.to_string()))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(|e| broken(&reason(&e)))
    }

    /// The next reply, or `None` at the end.
    pub fn receive(&mut self) -> Result<Option<Reply>, Ended> {
        self.line.clear();
        let n = self.reader.read_until(b'\n', &mut self.line).map_err(|e| broken(&reason(&e)))?;
        if n == 0 {
            return Ok(None);
        }
        let reply = serde_json::from_slice(&self.line);
        reply.map(Some).map_err(|e| broken(&format!("the router's answer cannot be read: {e}")))
    }
}

fn broken(text: &str) -> Ended {
    Ended::Broken(text.to_owned())
}

/// An error without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// The entries of a reply, and the server's clock.
pub(super) fn entries(reply: &Reply) -> impl Iterator<Item = (Entry, Time)> {
    let now = Time::from_nanos(reply.now_ns.unwrap_or(0));
    let flats = reply.entries.as_deref().unwrap_or_default();
    // What we cannot read we cannot show; a newer server may know states that we do not.
    flats.iter().filter_map(move |flat| Entry::try_from(flat).ok().map(|entry| (entry, now)))
}
