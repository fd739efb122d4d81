//! Where TCP departs from its table and from its states' own timeouts, one sentence each.
//!
//! The table cannot know sequence numbers nor what came before; [`super::track`] does, and says here what it made of them.

use thiserror::Error;

/// Why a segment was not treated as the table alone would have it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Exception {
    /// A SYN in TIME_WAIT or CLOSE that opens a new connection.
    #[error("the old connection is over: the SYN opens a new one in its place")]
    Reopens,
    /// A SYN after a reset that only the other side sent.
    #[error(
        "the SYN passes, but the connection stays closed until the other side answers it: it was the other side that reset it"
    )]
    NotReopened,
    /// A SYN/ACK that answers a SYN that had been let through.
    #[error("the SYN/ACK answers the SYN that was let through before: the connection begins again with its numbers")]
    Resynchronised,
    /// An acknowledgement in LAST_ACK after a SYN.
    #[error("the acknowledgement challenges the SYN before it (RFC 5961), it does not acknowledge the FIN: ignored")]
    ChallengeAck,
    /// The answer of a simultaneous open.
    #[error("both ends have sent a SYN: this acknowledgement completes the handshake")]
    SimultaneousOpen,
    /// A reset of a connection that is closing anyway.
    #[error("the connection is closing: a reset is believed whatever its number")]
    ResetWhileClosing,
    /// A reset in the window, but not at the expected number.
    #[error(
        "the reset is not exactly at the number that the other side expects: it may be forged (RFC 5961), so the state stays, with the timeout of a closed connection"
    )]
    ResetInexact,
    /// A reset that acknowledges exactly what was let through.
    #[error("the reset answers what was let through before: its number is not held against the window")]
    ResetAnswers,
    /// A SYN sent again before any answer.
    #[error("a SYN sent again does not prolong the waiting, nor is it counted")]
    SynAgain,
    /// A reset before anything was answered.
    #[error("nothing but a refusal was ever heard: the connection is taken out of the table at once")]
    Refused,
    /// Liberal: outside the window, and accepted.
    #[error("outside the window, but the connection is tracked liberally: accepted")]
    Liberal,
    /// A FIN or reset outside the window, after one from the other side.
    #[error("both ends want to part, though not in the window: the timeout is shortened")]
    Parting,
    /// The same acknowledgement so many times in a row.
    #[error("the same acknowledgement for the {0}. time in a row: something is being sent again")]
    Repetition(u8),
}

/// Why a timeout is not the state's own.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Ceiling {
    /// As many identical segments as `nf_conntrack_tcp_max_retrans`.
    #[error("something is being sent again and again (nf_conntrack_tcp_timeout_max_retrans)")]
    Retransmissions,
    /// A reset.
    #[error("a reset (nf_conntrack_tcp_timeout_close)")]
    Reset,
    /// Data that waits for its acknowledgement.
    #[error("data waits for its acknowledgement (nf_conntrack_tcp_timeout_unacknowledged)")]
    Unacknowledged,
    /// A closed window.
    #[error("the window is closed (nf_conntrack_tcp_timeout_max_retrans)")]
    ZeroWindow,
    /// Picked up in mid-stream, and not answered yet.
    #[error("picked up in mid-stream and not answered yet (nf_conntrack_tcp_timeout_unacknowledged)")]
    Unanswered,
}
