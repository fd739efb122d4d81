//! One client's conversation.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uct_engine::Client;

use super::hub::{Interest, Item, Subscription};
use super::line::{Line, Lines};
use super::message::{Done, Fault, Gap, LONGEST_REQUEST, Reply, Request, Told};
use super::serve::{self, Work};
use super::server::Shared;

/// How long a client may leave what it asked for unread.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may leave events unread. They are bounded and it is told of a gap, so there is less of a hurry.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// How often a write looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// How many lines of garbage end the conversation.
const GARBAGE: usize = 16;
/// Subscriptions that one client may have.
const SUBSCRIPTIONS: usize = 16;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing.
    None,
    /// Look.
    Read,
    /// Look and change.
    Full,
}

/// Who it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) pid: u32,
    pub(super) access: Access,
}

/// Where replies go: whole lines, from more than one thread.
#[derive(Debug)]
pub(super) struct Out(Mutex<UnixStream>);

impl Out {
    /// Writes a line, or several.
    pub(super) fn line(&self, line: &[u8]) -> io::Result<()> {
        self.write(line, PATIENCE)
    }

    /// Writes, as long as some of it is read within `patience`.
    fn write(&self, mut rest: &[u8], patience: Duration) -> io::Result<()> {
        let mut stream = self.0.lock();
        let mut progress = Instant::now();
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n) => {
                    rest = &rest[n..];
                    progress = Instant::now();
                }
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
                        && progress.elapsed() < patience => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    // Half a line may be out: there is nothing more to say to this client.
                    let _ = stream.shutdown(Shutdown::Both);
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    pub(super) fn reply(&self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.line(&line)
    }
}

/// Says why, and closes.
pub(super) fn refuse(stream: UnixStream, code: &'static str, text: &'static str) {
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = Out(Mutex::new(stream)).reply(&failed(None, serve::fault(code, text)));
}

fn failed(id: Option<u64>, error: Fault) -> Reply {
    Reply { id, error: Some(error), ..Reply::default() }
}

/// Talks until the client has enough, or we have.
pub(super) fn run(shared: &Arc<Shared>, stream: UnixStream, peer: Peer) -> io::Result<()> {
    stream.set_write_timeout(Some(TICK))?;
    let mut lines = Lines::new(stream.try_clone()?, LONGEST_REQUEST)?;
    let out = Arc::new(Out(Mutex::new(stream)));
    let mut session = Session { shared, peer, out, client: None, subscriptions: Vec::new() };
    let mut garbage = 0;
    loop {
        let line = match lines.next() {
            Line::Text(line) => line,
            Line::TooLong => {
                let text = format!("a request is longer than {LONGEST_REQUEST} bytes");
                session.out.reply(&failed(None, serve::fault("too-long", text)))?;
                return Ok(());
            }
            Line::Stalled => {
                session.out.reply(&failed(None, serve::fault("stalled", "the rest of the request did not come")))?;
                return Ok(());
            }
            Line::End => return Ok(()),
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                garbage = 0;
                session.answer(request)?;
            }
            Err(e) => {
                garbage += 1;
                session.out.reply(&failed(None, serve::fault("malformed", format!("not a request: {e}"))))?;
                if garbage == GARBAGE {
                    return Ok(());
                }
            }
        }
    }
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    peer: Peer,
    out: Arc<Out>,
    client: Option<Arc<Client>>,
    subscriptions: Vec<Arc<Subscription>>,
}

impl Session<'_> {
    fn answer(&mut self, request: Request) -> io::Result<()> {
        let id = request.id;
        let client = self.client();
        let mut work = Work::new(self.shared, &self.out, self.peer, client, id);
        let result = match request.events {
            Some(events) if self.subscriptions.len() < SUBSCRIPTIONS => match serve::subscription(&events) {
                Ok(interest) => return self.subscribe(id, interest),
                Err(fault) => Err(fault),
            },
            Some(_) => Err(serve::fault("invalid", "too many subscriptions")),
            None => work.run(request)?,
        };
        self.shared.hub.poke();
        self.out.reply(&match result {
            Ok(count) => Reply { id, done: Some(Done { count: Some(count) }), ..Reply::default() },
            Err(fault) => failed(id, fault),
        })
    }

    /// As whom the engine's events name this client.
    fn client(&mut self) -> Arc<Client> {
        let pid = self.peer.pid;
        Arc::clone(self.client.get_or_insert_with(|| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
            Arc::new(Client { portid: pid, progname: comm.map(|c| c.trim_end().to_owned()) })
        }))
    }

    fn subscribe(&mut self, id: Option<u64>, interest: Interest) -> io::Result<()> {
        let (subscription, last) = self.shared.hub.subscribe(interest);
        self.subscriptions.push(Arc::clone(&subscription));
        self.out.reply(&Reply { id, listening: Some(last + 1), ..Reply::default() })?;
        let out = Arc::clone(&self.out);
        let thread = std::thread::Builder::new().name("uct-events".to_owned()).stack_size(256 * 1024);
        thread.spawn(move || tell(&out, id, &subscription))?;
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for subscription in &self.subscriptions {
            self.shared.hub.unsubscribe(subscription);
        }
    }
}

/// Writes what happens, as long as it is read.
fn tell(out: &Out, id: Option<u64>, subscription: &Subscription) {
    let mut items = Vec::new();
    loop {
        items.clear();
        subscription.take(&mut items);
        if items.is_empty() {
            return;
        }
        for piece in items.chunks(64) {
            let mut lines = Vec::new();
            for item in piece {
                let reply = match item {
                    Item::Event(event) => Reply { id, event: Some(Told::from(&**event)), ..Reply::default() },
                    Item::Expectation(event) => Reply { id, event: Some(Told::from(&**event)), ..Reply::default() },
                    Item::Logged(line) => Reply { id, event: Some(Told::from(&**line)), ..Reply::default() },
                    Item::Gap(from, to) => {
                        Reply { id, gap: Some(Gap { from: Some(*from), to: Some(*to) }), ..Reply::default() }
                    }
                };
                if serde_json::to_writer(&mut lines, &reply).is_ok() {
                    lines.push(b'\n');
                }
            }
            if out.write(&lines, LONG_PATIENCE).is_err() {
                subscription.close();
                return;
            }
        }
    }
}
