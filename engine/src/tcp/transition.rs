//! The transition table: what a segment of a class, in a direction, does to a state, and why.
//!
//! One arm a cell or a run of cells that share a reason; the golden file `matrix.txt` beside the tests shows the whole
//! table, so that a change is seen as a difference. What the table cannot know (sequence numbers, what came before) is in
//! [`super::track`].

use super::{Class, TcpState};
use crate::Direction;

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go to this state (or stay in it).
    To(TcpState),
    /// Let it pass and change nothing: the tracker may be out of step with the two ends, who will settle it.
    Ignore,
    /// No TCP in this state sends or takes such a segment.
    Invalid,
}

/// The table.
pub const fn transition(dir: Direction, class: Class, state: TcpState) -> (Next, &'static str) {
    match dir {
        Direction::Original => original(class, state),
        Direction::Reply => reply(class, state),
    }
}

const fn original(class: Class, state: TcpState) -> (Next, &'static str) {
    use Next::{Ignore, Invalid, To};
    use TcpState::{Close, CloseWait, Established, FinWait, LastAck, None, SynRecv, SynSent, SynSent2, TimeWait};
    match (class, state) {
        (Class::Syn, None) => (To(SynSent), "a SYN opens a connection"),
        (Class::Syn, SynSent) => (To(SynSent), "the SYN was sent again"),
        (Class::Syn, SynRecv) => (Ignore, "a late retransmission of the SYN"),
        (Class::Syn, Established | FinWait | CloseWait | LastAck) => {
            (Ignore, "a SYN within a connection: either it is over and we missed it, or the peer will challenge it")
        }
        (Class::Syn, TimeWait) => (To(SynSent), "the client opens the connection again (RFC 1122)"),
        (Class::Syn, Close) => (To(SynSent), "a new connection on the same ports"),
        (Class::Syn, SynSent2) => (To(SynSent2), "the SYN of a simultaneous open was sent again"),

        (Class::SynAck, SynRecv) => (To(SynRecv), "the answer in a simultaneous open was sent again"),
        (Class::SynAck, SynSent2) => (To(SynRecv), "the answer in a simultaneous open"),
        (Class::SynAck, _) => (Invalid, "the opener does not send SYN/ACK"),

        (Class::Fin, None | SynSent | SynSent2) => (Invalid, "nothing is open that a FIN could close"),
        (Class::Fin, SynRecv) => (To(FinWait), "closed right after the handshake"),
        (Class::Fin, Established) => (To(FinWait), "the first FIN"),
        (Class::Fin, FinWait) => (To(LastAck), "the second FIN, or the first again"),
        (Class::Fin, CloseWait) => (To(LastAck), "the second FIN, after the first was acknowledged"),
        (Class::Fin, LastAck) => (To(LastAck), "the last FIN was sent again"),
        (Class::Fin, TimeWait) => (To(TimeWait), "a FIN was sent again, its acknowledgement was lost"),
        (Class::Fin, Close) => (To(Close), "a FIN after the reset"),

        (Class::Ack, None) => (To(Established), "picked up in mid-stream"),
        (Class::Ack, SynSent | SynSent2) => (Invalid, "no SYN/ACK was seen that it could acknowledge"),
        (Class::Ack, SynRecv) => (To(Established), "the handshake is complete"),
        (Class::Ack, Established) => (To(Established), "data or acknowledgement"),
        (Class::Ack, FinWait) => (To(CloseWait), "the FIN is acknowledged"),
        (Class::Ack, CloseWait) => (To(CloseWait), "data or acknowledgement while half closed"),
        (Class::Ack, LastAck) => (To(TimeWait), "the last FIN is acknowledged"),
        (Class::Ack, TimeWait) => (To(TimeWait), "the last acknowledgement was sent again"),
        (Class::Ack, Close) => (To(Close), "an acknowledgement after the reset"),

        (Class::Rst, None) => (Invalid, "a reset opens nothing"),
        (Class::Rst, _) => (To(Close), "reset"),

        (Class::None, _) => (Invalid, "no TCP sends a segment without flags"),
    }
}

const fn reply(class: Class, state: TcpState) -> (Next, &'static str) {
    use Next::{Ignore, Invalid, To};
    use TcpState::{Close, CloseWait, Established, FinWait, LastAck, None, SynRecv, SynSent, SynSent2, TimeWait};
    match (class, state) {
        (_, None) => (Invalid, "a connection does not begin with its answer"),

        (Class::Syn, SynSent) => (To(SynSent2), "simultaneous open"),
        (Class::Syn, SynSent2) => (To(SynSent2), "the SYN of a simultaneous open was sent again"),
        (Class::Syn, TimeWait) => (To(SynSent), "the server opens the connection again"),
        (Class::Syn, SynRecv | Established | FinWait | CloseWait | LastAck | Close) => {
            (Invalid, "the answering side does not send SYN in an open connection")
        }

        (Class::SynAck, SynSent) => (To(SynRecv), "the SYN is answered"),
        (Class::SynAck, SynSent2) => (To(SynRecv), "the answer in a simultaneous open"),
        (Class::SynAck, SynRecv) => (Ignore, "the SYN/ACK was sent again"),
        (Class::SynAck, Established | FinWait | CloseWait | LastAck | TimeWait | Close) => {
            (Ignore, "a SYN/ACK sent again, or the answer to a SYN that was let through")
        }

        (Class::Fin, SynSent | SynSent2) => (Invalid, "nothing is open that a FIN could close"),
        (Class::Fin, SynRecv) => (To(FinWait), "closed right after the handshake"),
        (Class::Fin, Established) => (To(FinWait), "the first FIN"),
        (Class::Fin, FinWait) => (To(LastAck), "the second FIN, or the first again"),
        (Class::Fin, CloseWait) => (To(LastAck), "the second FIN, after the first was acknowledged"),
        (Class::Fin, LastAck) => (To(LastAck), "the last FIN was sent again"),
        (Class::Fin, TimeWait) => (To(TimeWait), "a FIN was sent again, its acknowledgement was lost"),
        (Class::Fin, Close) => (To(Close), "a FIN after the reset"),

        (Class::Ack, SynSent) => (Ignore, "an answer to a SYN that is no SYN/ACK: a challenge, perhaps"),
        (Class::Ack, SynRecv) => (To(SynRecv), "data or acknowledgement before the handshake's last ACK"),
        (Class::Ack, Established) => (To(Established), "data or acknowledgement"),
        (Class::Ack, FinWait) => (To(CloseWait), "the FIN is acknowledged"),
        (Class::Ack, CloseWait) => (To(CloseWait), "data or acknowledgement while half closed"),
        (Class::Ack, LastAck) => (To(TimeWait), "the last FIN is acknowledged"),
        (Class::Ack, TimeWait) => (To(TimeWait), "the last acknowledgement was sent again"),
        (Class::Ack, Close) => (To(Close), "an acknowledgement after the reset"),
        (Class::Ack, SynSent2) => (Ignore, "an acknowledgement within a simultaneous open"),

        (Class::Rst, _) => (To(Close), "reset"),

        (Class::None, _) => (Invalid, "no TCP sends a segment without flags"),
    }
}
