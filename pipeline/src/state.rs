//! The table in a file: connections and expectations over a restart.
//!
//! ```text
//!   "uctstate" · version (u32)                         what it is
//!   length (u32) · record                              the first record: when it was written, the interfaces' names
//!   length (u32) · record …                            connections in order of creation, then expectations
//!   length (u32) · end (how many there were)
//!   CRC-64/XZ of all that stands before
//! ```
//!
//! Numbers are little-endian, records are [postcard](https://postcard.jamesmunns.com/wire-format)'s; [`wire`] has their
//! fields. It decides what is kept and what a file is worth: a file that is damaged anywhere, or of another version, is
//! refused as a whole before the first connection is restored, with the reason.
//!
//! **Written** beside its place, flushed to the disk and then renamed: at any moment the name leads to a whole file, the old
//! one or the new one. Workers are not stopped; a connection that changes meanwhile is in it as it was at one moment or
//! another.
//!
//! **Read** once, at the start. Deadlines are points in time, so the time in between counts; if the clock has gone
//! backwards (a router without a battery that starts in 1970) they are moved back with it. Interfaces are known by name; what
//! was masqueraded with an address that its interface has no more is not restored, as Linux would have destroyed it.
//!
//! Bounds: a record of at most 64 KiB, a file of at most 16 GiB, `nf_conntrack_max` connections.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use uct_engine::client::Refusal;
use uct_engine::{ConnRef, Engine, Saved, Status, Time};

use crate::router::Router;

mod wire;

use wire::Record;

const MAGIC: &[u8; 8] = b"uctstate";
/// Changes with every change of [`wire`].
const VERSION: u32 = 1;
const LONGEST_RECORD: usize = 64 * 1024;
const LONGEST_FILE: u64 = 16 << 30;
static CRC: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_XZ);

/// Why a file could not be written or is not used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The system says no.
    #[error("{}: {}", .0.display(), crate::plain(.1))]
    Io(PathBuf, io::Error),
    /// It is not what was written.
    #[error("{}: damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another version wrote it.
    #[error("{}: of version {found}; this program reads version {VERSION}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Connections.
    pub connections: usize,
    /// Expectations.
    pub expectations: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What came of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Connections that go on.
    pub connections: usize,
    /// Expectations that go on.
    pub expectations: usize,
    /// Connections and expectations whose time was over.
    pub expired: usize,
    /// Connections that had borrowed an address which is gone.
    pub address_gone: usize,
    /// Connections and expectations that the table had no room for, or that clash with what is there.
    pub refused: usize,
}

/// Writes all connections and expectations. `interfaces` are the names of the router's, in their order.
pub fn write(path: &Path, engine: &Engine, interfaces: &[String], now: Time) -> Result<Written, StateError> {
    let fail = |e: io::Error| StateError::Io(path.to_owned(), e);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What a program that was killed has left there is not worth keeping, and may be a link to somewhere else.
    let _ = fs::remove_file(&beside);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&beside).map_err(fail)?;
    let done = (|| {
        let mut out = Out::new(BufWriter::with_capacity(1 << 18, &file));
        let written = write_all(&mut out, engine, interfaces, now)?;
        let bytes = out.finish()?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()?;
        Ok(Written { bytes, ..written })
    })();
    if done.is_err() {
        let _ = fs::remove_file(&beside);
    }
    done.map_err(fail)
}

fn write_all<W: Write>(out: &mut Out<W>, engine: &Engine, interfaces: &[String], now: Time) -> io::Result<Written> {
    out.put(MAGIC)?;
    out.put(&VERSION.to_le_bytes())?;
    out.record(&Record::Begin { written_ns: now.as_nanos(), interfaces: interfaces.to_vec() })?;
    let mut conns: Vec<ConnRef> = (0..).map_while(|shard| engine.shard(shard)).flatten().collect();
    conns.sort_unstable_by_key(|conn| conn.id());
    let mut written = Written::default();
    for conn in conns {
        let saved = conn.save();
        if saved.deadline > now && !saved.status.contains(Status::DYING) {
            out.record(&Record::conn(&saved))?;
            written.connections += 1;
        }
    }
    for expectation in engine.expectations() {
        out.record(&Record::expectation(&expectation, now))?;
        written.expectations += 1;
    }
    out.record(&Record::End { records: (written.connections + written.expectations) as u64 })?;
    Ok(written)
}

/// Writes and sums.
struct Out<W> {
    to: W,
    sum: crc::Digest<'static, u64, crc::Table<16>>,
    bytes: u64,
    record: Vec<u8>,
}

impl<W: Write> Out<W> {
    fn new(to: W) -> Self {
        Out { to, sum: CRC.digest(), bytes: 0, record: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.record);
        bytes.clear();
        bytes = postcard::to_extend(record, bytes).map_err(io::Error::other)?;
        if bytes.len() > LONGEST_RECORD {
            return Err(io::Error::other("a record is longer than 64 KiB"));
        }
        self.put(&(bytes.len() as u32).to_le_bytes())?;
        self.put(&bytes)?;
        self.record = bytes;
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        let sum = self.sum.finalize();
        self.to.write_all(&sum.to_le_bytes())?;
        self.to.flush()?;
        Ok(self.bytes + 8)
    }
}

/// A file that was read and is whole.
#[derive(Debug)]
pub struct State {
    written: Time,
    interfaces: Vec<String>,
    conns: Vec<Saved>,
    expectations: Vec<wire::Expected>,
}

/// Reads a file; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<State>, StateError> {
    let fail = |e: io::Error| StateError::Io(path.to_owned(), e);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let damaged = |what: &str| StateError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() || meta.len() > LONGEST_FILE {
        return Err(damaged("no file that was written here"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(fail)?;
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as one"))?;
    let (version, _) = rest.split_first_chunk().ok_or_else(|| damaged("cut short"))?;
    let found = u32::from_le_bytes(*version);
    if found != VERSION {
        return Err(StateError::Version { path: path.to_owned(), found });
    }
    let (body, sum) = bytes.split_last_chunk().ok_or_else(|| damaged("cut short"))?;
    if CRC.checksum(body) != u64::from_le_bytes(*sum) {
        return Err(damaged("its checksum is wrong"));
    }
    let records = body.get(MAGIC.len() + 4..).unwrap_or_default();
    State::parse(records).map(Some).map_err(|what| damaged(&what))
}

impl State {
    fn parse(mut rest: &[u8]) -> Result<State, String> {
        let mut state: Option<State> = None;
        let mut records = 0;
        while let Some((len, after)) = rest.split_first_chunk() {
            let len = u32::from_le_bytes(*len) as usize;
            let record = after.get(..len).filter(|_| len <= LONGEST_RECORD);
            let record = record.ok_or_else(|| format!("record {records} is longer than the file"))?;
            rest = &after[len..];
            let record: Record =
                postcard::from_bytes(record).map_err(|e| format!("record {records} cannot be read: {e}"))?;
            match (record, &mut state) {
                (Record::Begin { written_ns, interfaces }, None) => {
                    let written = Time::from_nanos(written_ns);
                    state = Some(State { written, interfaces, conns: Vec::new(), expectations: Vec::new() });
                    continue;
                }
                (Record::Conn(conn), Some(state)) => {
                    let saved = conn.read().ok_or_else(|| format!("record {records} is no connection"))?;
                    state.conns.push(saved);
                }
                (Record::Expectation(expected), Some(state)) => state.expectations.push(*expected),
                (Record::End { records: all }, Some(_)) if all == records && rest.is_empty() => {
                    return state.ok_or_else(|| "it has no beginning".to_owned());
                }
                _ => return Err(format!("record {records} is out of place")),
            }
            records += 1;
        }
        Err("it has no end".to_owned())
    }

    /// When it was written.
    pub fn written(&self) -> Time {
        self.written
    }

    /// Enters all that still lives into an engine, and into its router's memory of sources if there is a router.
    pub fn restore(self, engine: &Engine, router: Option<&Router>, now: Time) -> Restored {
        // If the clock has gone backwards nobody knows how long it was: then no time has passed.
        let back = self.written.saturating_duration_since(now);
        let mut done = Restored::default();
        let mut waiting = Vec::new();
        for mut saved in self.conns {
            saved.deadline = saved.deadline - back;
            if rebind(&mut saved, &self.interfaces, router) {
                waiting.push(saved);
            } else {
                done.address_gone += 1;
            }
        }
        // Those that were announced come after whoever announced them, however long the chain.
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|saved| enter(saved, engine, router, now, &mut done) == Entered::Waits);
            if waiting.len() == before {
                // Their masters are gone; they themselves go on without.
                waiting.iter_mut().for_each(|saved| saved.master = None);
            }
        }
        for expected in self.expectations {
            match expected.restore(engine, back, now) {
                Ok(()) => done.expectations += 1,
                Err(Refusal::Expired) => done.expired += 1,
                Err(_) => done.refused += 1,
            }
        }
        done
    }
}

/// Whether a connection has been dealt with.
#[derive(PartialEq, Eq)]
enum Entered {
    Settled,
    /// For its master.
    Waits,
}

fn enter(saved: &Saved, engine: &Engine, router: Option<&Router>, now: Time, done: &mut Restored) -> Entered {
    match engine.restore(saved, now) {
        Ok(conn) => {
            done.connections += 1;
            if let Some(router) = router {
                router.adopt(&conn);
            }
        }
        Err(Refusal::Missing) => return Entered::Waits,
        Err(Refusal::Expired) => done.expired += 1,
        Err(_) => done.refused += 1,
    }
    Entered::Settled
}

/// Finds the interface of a borrowed address again. `false` if it has that address no more.
fn rebind(saved: &mut Saved, interfaces: &[String], router: Option<&Router>) -> bool {
    let (Some(bound), Some(router)) = (saved.bound, router) else { return true };
    let name = interfaces.get(bound.get() as usize - 1);
    let topology = router.topology();
    let Some(dev) = name.and_then(|name| topology.dev(name)) else { return false };
    saved.bound = Some(NonZeroU32::MIN.saturating_add(dev.0.into()));
    let address: IpAddr = saved.reply.dst;
    topology.interface(dev).is_some_and(|i| i.addresses.iter().any(|net| net.addr() == address))
}

#[cfg(test)]
mod tests;
