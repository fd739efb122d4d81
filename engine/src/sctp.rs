//! The SCTP tracker: chunks → tags → transition, one chunk after the other; on `Invalid` what a packet can see is as before.
//!
//! ```text
//!   packet ─► check ──► lengths, CRC32c, which chunks may travel together      Invalid(ShortPacket, BadChecksum, SctpChunks)
//!          ─► open ───► may each of its chunks open an association?            Invalid(SctpNew)
//!          ─► update ─► for each chunk:  its verification tag                  Invalid(SctpVtag, SctpInitAck)
//!                                        transition (direction, chunk, state)  To(state) · Invalid(SctpState)
//!                       the state's timeout; ASSURED when the association is up
//! ```
//!
//! An association has one *verification tag* for each direction: the sender of INIT or INIT ACK says in the chunk's body
//! which tag it wants to see in what it receives. The tracker learns them there, or, for a path that began with a heartbeat
//! (a multihomed peer's second address), from the first packet of either direction.
//!
//! | chunk | tag it must carry |
//! |---|---|
//! | INIT | 0 |
//! | ABORT, SHUTDOWN COMPLETE | its direction's, or with the T bit the other direction's |
//! | COOKIE ECHO | its direction's |
//! | SHUTDOWN ACK | any |
//! | HEARTBEAT, HEARTBEAT ACK | its direction's; any if none is known; a strange one is let through, see [`track`] |
//! | all others | its direction's, unless one of those above travels with them (COOKIE ACK counts as "other") |
//!
//! The table is [`transition`], one arm a cell or run of cells with its reason; the golden file `sctp/matrix.txt` shows it
//! whole, and `sctp/kernel/` holds what the kernel did with the same packets.
//!
//! Sources: RFC 9260 §3.2 (chunks), §4 (states), §5.1–5.2 (set-up, collisions, restart), §6.8 and appendix A (CRC32c),
//! §6.10 (bundling), §8.3 (heartbeats), §8.5 (tags), §9 (shutdown); every deviation measured on Linux 6.18.

use std::fmt;

use crate::tcp::Verify;
use crate::{Direction, Invalid, Packet, Sysctl, checksum};

mod chunks;
mod track;
mod transition;

pub(crate) use chunks::Body;
pub(crate) use track::Sctp;
pub use track::{SavedSctp, Seen};
pub use transition::{Next, transition};

/// Bytes of the common header: ports, tag, checksum.
const COMMON_HEADER: usize = 12;

/// An association's state, by netfilter's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SctpState {
    /// No packet was taken yet, or none that says something.
    None,
    /// An INIT was seen, or the association is over.
    Closed,
    /// An INIT ACK was seen.
    CookieWait,
    /// A COOKIE ECHO was seen.
    CookieEchoed,
    /// The association is up.
    Established,
    /// The opener began the shutdown.
    ShutdownSent,
    /// The other side began the shutdown.
    ShutdownRecd,
    /// A SHUTDOWN ACK was seen.
    ShutdownAckSent,
    /// It began with a heartbeat: a second path of an association that is up elsewhere.
    HeartbeatSent,
}

impl SctpState {
    /// All states, in netfilter's order, which is netlink's numbering.
    pub const ALL: [SctpState; 9] = [
        SctpState::None,
        SctpState::Closed,
        SctpState::CookieWait,
        SctpState::CookieEchoed,
        SctpState::Established,
        SctpState::ShutdownSent,
        SctpState::ShutdownRecd,
        SctpState::ShutdownAckSent,
        SctpState::HeartbeatSent,
    ];

    /// The name that netfilter prints.
    pub const fn name(self) -> &'static str {
        match self {
            SctpState::None => "NONE",
            SctpState::Closed => "CLOSED",
            SctpState::CookieWait => "COOKIE_WAIT",
            SctpState::CookieEchoed => "COOKIE_ECHOED",
            SctpState::Established => "ESTABLISHED",
            SctpState::ShutdownSent => "SHUTDOWN_SENT",
            SctpState::ShutdownRecd => "SHUTDOWN_RECD",
            SctpState::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            SctpState::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    /// The state of this name.
    pub fn by_name(name: &str) -> Option<SctpState> {
        SctpState::ALL.into_iter().find(|s| s.name() == name)
    }

    /// The setting that holds its timeout; NONE has none and lives 10 seconds.
    pub const fn timeout(self) -> Option<Sysctl> {
        Some(match self {
            SctpState::None => return None,
            SctpState::Closed => Sysctl::SctpTimeoutClosed,
            SctpState::CookieWait => Sysctl::SctpTimeoutCookieWait,
            SctpState::CookieEchoed => Sysctl::SctpTimeoutCookieEchoed,
            SctpState::Established => Sysctl::SctpTimeoutEstablished,
            SctpState::ShutdownSent => Sysctl::SctpTimeoutShutdownSent,
            SctpState::ShutdownRecd => Sysctl::SctpTimeoutShutdownRecd,
            SctpState::ShutdownAckSent => Sysctl::SctpTimeoutShutdownAckSent,
            SctpState::HeartbeatSent => Sysctl::SctpTimeoutHeartbeatSent,
        })
    }
}

impl fmt::Display for SctpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a chunk is to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chunk {
    /// Opens an association.
    Init,
    /// Answers INIT, with a cookie.
    InitAck,
    /// Ends the association at once.
    Abort,
    /// No more data will come.
    Shutdown,
    /// Answers SHUTDOWN.
    ShutdownAck,
    /// Reports an error.
    Error,
    /// Hands the cookie back.
    CookieEcho,
    /// Answers COOKIE ECHO.
    CookieAck,
    /// The association is over.
    ShutdownComplete,
    /// Asks whether a path works.
    Heartbeat,
    /// Answers HEARTBEAT.
    HeartbeatAck,
    /// DATA, SACK and all others, which move no state.
    Other(u8),
}

impl Chunk {
    /// All kinds; of the others, DATA.
    pub const ALL: [Chunk; 12] = [
        Chunk::Init,
        Chunk::InitAck,
        Chunk::Abort,
        Chunk::Shutdown,
        Chunk::ShutdownAck,
        Chunk::Error,
        Chunk::CookieEcho,
        Chunk::CookieAck,
        Chunk::ShutdownComplete,
        Chunk::Heartbeat,
        Chunk::HeartbeatAck,
        Chunk::Other(0),
    ];

    /// User data.
    pub(crate) const DATA: Chunk = Chunk::Other(0);

    /// The kind of a chunk type (RFC 9260 §3.2).
    pub const fn of(kind: u8) -> Chunk {
        match kind {
            1 => Chunk::Init,
            2 => Chunk::InitAck,
            4 => Chunk::Heartbeat,
            5 => Chunk::HeartbeatAck,
            6 => Chunk::Abort,
            7 => Chunk::Shutdown,
            8 => Chunk::ShutdownAck,
            9 => Chunk::Error,
            10 => Chunk::CookieEcho,
            11 => Chunk::CookieAck,
            14 => Chunk::ShutdownComplete,
            _ => Chunk::Other(kind),
        }
    }
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Chunk::Init => "INIT",
            Chunk::InitAck => "INIT ACK",
            Chunk::Abort => "ABORT",
            Chunk::Shutdown => "SHUTDOWN",
            Chunk::ShutdownAck => "SHUTDOWN ACK",
            Chunk::Error => "ERROR",
            Chunk::CookieEcho => "COOKIE ECHO",
            Chunk::CookieAck => "COOKIE ACK",
            Chunk::ShutdownComplete => "SHUTDOWN COMPLETE",
            Chunk::Heartbeat => "HEARTBEAT",
            Chunk::HeartbeatAck => "HEARTBEAT ACK",
            Chunk::Other(0) => "DATA",
            Chunk::Other(3) => "SACK",
            Chunk::Other(kind) => return write!(f, "chunk of type {kind}"),
        })
    }
}

/// A chunk that the state machine does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadChunk {
    /// What it is.
    pub chunk: Chunk,
    /// Its direction.
    pub dir: Direction,
    /// The state it met.
    pub state: SctpState,
}

impl fmt::Display for BadChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} direction is invalid in state {}", self.chunk, self.dir.name(), self.state)
    }
}

/// What every SCTP packet must pass before a connection is looked for.
pub(crate) fn check<'p>(packet: &'p Packet<'_>, verify: Verify) -> Result<Body<'p>, Invalid> {
    let held = packet.transport().ok_or(Invalid::NoTransport)?;
    let (Some(common), Some(rest)) = (held.first_chunk::<COMMON_HEADER>(), held.get(COMMON_HEADER..)) else {
        return Err(Invalid::ShortPacket);
    };
    let [_, _, _, _, t3, t2, t1, t0, c3, c2, c1, c0] = *common;
    if verify == Verify::Checksum && !packet.is_truncated() {
        let sum = checksum::crc32c([&common[..8], &[0; 4], rest]);
        if sum != u32::from_le_bytes([c3, c2, c1, c0]) {
            return Err(Invalid::BadChecksum);
        }
    }
    Body::read(u32::from_be_bytes([t3, t2, t1, t0]), rest)
}

#[cfg(test)]
mod tests;
