//! The transition table: what a chunk, in a direction, does to a state, and why.
//!
//! One arm a cell or a run of cells that share a reason; the golden file `matrix.txt` beside the tests shows the whole
//! table. What the table cannot know (tags, collisions of INITs, strange heartbeats) is in [`super::track`]. The states
//! NONE is met by a first packet, whose chunks must be [`opens`], and by what a client entered without a state. The states
//! follow the wire, not one end: COOKIE_WAIT means that an INIT ACK was seen, SHUTDOWN_SENT that the opener sent SHUTDOWN.

use super::{Chunk, SctpState};
use crate::Direction;

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go to this state (or stay in it).
    To(SctpState),
    /// No SCTP in this state sends or takes such a chunk.
    Invalid,
}

/// The table.
pub const fn transition(dir: Direction, chunk: Chunk, state: SctpState) -> (Next, &'static str) {
    match dir {
        Direction::Original => original(chunk, state),
        Direction::Reply => reply(chunk, state),
    }
}

/// Whether a first packet may hold the chunk: one that moves NONE, but for the answers that a stranger's packet is not to be
/// given (RFC 9260 §8.4).
pub(crate) const fn opens(chunk: Chunk) -> bool {
    let strays = matches!(chunk, Chunk::Abort | Chunk::CookieAck | Chunk::ShutdownComplete);
    !strays && !matches!(chunk, Chunk::Other(_))
}

const fn original(chunk: Chunk, state: SctpState) -> (Next, &'static str) {
    use Next::To;
    use SctpState::{
        Closed, CookieEchoed, CookieWait, Established, HeartbeatSent, None, ShutdownAckSent, ShutdownRecd, ShutdownSent,
    };
    match (chunk, state) {
        (Chunk::Init, None) => (To(Closed), "an INIT opens an association; it counts as closed until it is answered"),
        (Chunk::Init, Closed) => (To(Closed), "the INIT was sent again, or the association is opened again"),
        (Chunk::Init, HeartbeatSent) => (To(CookieWait), "an association is opened where only a heartbeat was seen"),
        (Chunk::Init, ShutdownSent | ShutdownRecd) => (To(Closed), "opened again in the middle of a shutdown"),
        (Chunk::Init, CookieWait | CookieEchoed | Established | ShutdownAckSent) => {
            (To(state), "a restart; it shows when the cookie comes")
        }

        (Chunk::InitAck, None | Closed | HeartbeatSent) => (To(Closed), "the answer to an INIT that was not seen"),
        (Chunk::InitAck, _) => (To(state), "the answer to the peer's INIT in a collision or restart"),

        (Chunk::Abort, _) => (To(Closed), "aborted"),

        (Chunk::Shutdown, None | HeartbeatSent) => (To(Closed), "the end of an association that was not seen"),
        (Chunk::Shutdown, Established) => (To(ShutdownSent), "the opener has no more data"),
        (Chunk::Shutdown, _) => (To(state), "SHUTDOWN, again or too early"),

        (Chunk::ShutdownAck, None | HeartbeatSent) => {
            (To(ShutdownAckSent), "the end of an association that was not seen")
        }
        (Chunk::ShutdownAck, ShutdownSent | ShutdownRecd) => (To(ShutdownAckSent), "the shutdown is acknowledged"),
        (Chunk::ShutdownAck, _) => (To(state), "SHUTDOWN ACK, again or too early"),

        (Chunk::Error, None | HeartbeatSent) => (To(Closed), "an error of an association that was not seen"),
        (Chunk::Error, _) => (To(state), "an error changes nothing here"),

        (Chunk::CookieEcho, None | HeartbeatSent) => (To(Closed), "the cookie of an association that was not seen"),
        (Chunk::CookieEcho, CookieWait) => (To(CookieEchoed), "the cookie goes back"),
        (Chunk::CookieEcho, _) => (To(state), "the cookie was sent again, or a restart"),

        (Chunk::CookieAck, CookieEchoed) => (To(Established), "the cookie is acknowledged after a collision of INITs"),
        (Chunk::CookieAck, None | HeartbeatSent) => (To(Closed), "the answer to a cookie that was not seen"),
        (Chunk::CookieAck, _) => (To(state), "COOKIE ACK, again or too early"),

        (Chunk::ShutdownComplete, ShutdownAckSent) => (To(Closed), "the shutdown is complete"),
        (Chunk::ShutdownComplete, None | HeartbeatSent) => (To(Closed), "the end of an association that was not seen"),
        (Chunk::ShutdownComplete, _) => (To(state), "SHUTDOWN COMPLETE without a shutdown"),

        (Chunk::Heartbeat, None) => (To(HeartbeatSent), "a path is tried: an association that is up elsewhere"),
        (Chunk::Heartbeat, _) => (To(state), "a path is tried"),

        (Chunk::HeartbeatAck, None) => (To(Closed), "the answer to a heartbeat that was not seen"),
        (Chunk::HeartbeatAck, _) => (To(state), "a path works"),

        (Chunk::Other(_), _) => (To(state), "it moves no state"),
    }
}

const fn reply(chunk: Chunk, state: SctpState) -> (Next, &'static str) {
    use Next::{Invalid, To};
    use SctpState::{
        Closed, CookieEchoed, CookieWait, Established, HeartbeatSent, None, ShutdownAckSent, ShutdownRecd, ShutdownSent,
    };
    match (chunk, state) {
        (Chunk::Other(_), _) => (To(state), "it moves no state"),
        (_, None) => (Invalid, "an association does not begin with its answer"),

        (Chunk::Heartbeat, _) => (To(state), "a path is tried"),
        (Chunk::HeartbeatAck, HeartbeatSent) => (To(Established), "the path works"),
        (Chunk::HeartbeatAck, _) => (To(state), "a path works"),

        (_, HeartbeatSent) => (Invalid, "a heartbeat is answered by HEARTBEAT ACK"),

        (Chunk::Init, _) => (To(state), "both open at once, or a restart; it shows when the cookie comes"),

        (Chunk::InitAck, Closed) => (To(CookieWait), "the INIT is answered"),
        (Chunk::InitAck, _) => (To(state), "the INIT ACK was sent again, or a restart"),

        (Chunk::Abort, _) => (To(Closed), "aborted"),

        (Chunk::Shutdown, Established) => (To(ShutdownRecd), "the other side has no more data"),
        (Chunk::Shutdown, _) => (To(state), "SHUTDOWN, again or too early"),

        (Chunk::ShutdownAck, ShutdownSent | ShutdownRecd) => (To(ShutdownAckSent), "the shutdown is acknowledged"),
        (Chunk::ShutdownAck, _) => (To(state), "SHUTDOWN ACK, again or too early"),

        (Chunk::Error, CookieEchoed) => (To(Closed), "the cookie was refused (stale cookie)"),
        (Chunk::Error, _) => (To(state), "an error changes nothing here"),

        (Chunk::CookieEcho, CookieWait) => (To(CookieEchoed), "the other side's cookie, after a collision of INITs"),
        (Chunk::CookieEcho, _) => (To(state), "the other side's cookie, again or too early"),

        (Chunk::CookieAck, CookieEchoed) => (To(Established), "the association is up"),
        (Chunk::CookieAck, _) => (To(state), "COOKIE ACK, again or too early"),

        (Chunk::ShutdownComplete, ShutdownAckSent) => (To(Closed), "the shutdown is complete"),
        (Chunk::ShutdownComplete, _) => (To(state), "SHUTDOWN COMPLETE without a shutdown"),
    }
}
