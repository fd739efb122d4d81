//! The TCP tracker: flags → transition → window → commit. On `Invalid` nothing that a packet can see has changed.
//!
//! ```text
//!   segment ─► check ──► flags, length, checksum            Invalid(TcpFlags, BadChecksum …)
//!           ─► open ───► may it open a connection?          Invalid(TcpNew, TcpNotLoose)
//!           ─► transition (direction, class, state)         To(state) · Ignore · Invalid
//!           ─► exceptions: reopening, out-of-sync SYN/ACK, challenge ACK, exact resets
//!           ─► window: inequalities I–IV                    Inside · Tolerated · Outside
//!           ─► commit: state, timeout with its ceilings, ASSURED
//! ```
//!
//! The states are netfilter's ([`TcpState`]); the table is [`transition`], one arm a cell with its reason; the window is in
//! [`window`]. Arithmetic speaks of sender and receiver, never of the two directions by name.
//!
//! Sources: RFC 9293, RFC 7323 (scaling), RFC 2018 (SACK), RFC 5961 (resets and challenge ACKs), RFC 1122 §4.2.2.13
//! (reopening from TIME-WAIT); van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001) for the window; every
//! deviation measured on Linux 6.18.

use std::fmt;

use crate::{Direction, Invalid, Packet, Sysctl, checksum};

mod exception;
mod segment;
mod track;
mod transition;
pub mod window;

pub use exception::{Ceiling, Exception};
pub(crate) use segment::Segment;
pub use track::{Before, Expected, SavedTcp};
pub(crate) use track::{Standing, Tcp};
pub use transition::{Next, transition};
pub use window::{Peer, PeerFlags, PeerInfo, Seq, Test, Tests, Window};

/// A connection's state, by netfilter's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// No packet was taken yet.
    None,
    /// A SYN was seen.
    SynSent,
    /// A SYN/ACK was seen.
    SynRecv,
    /// The handshake is complete, or the connection was picked up in mid-stream.
    Established,
    /// A FIN was seen.
    FinWait,
    /// The FIN was acknowledged.
    CloseWait,
    /// FINs of both sides were seen.
    LastAck,
    /// The last FIN was acknowledged.
    TimeWait,
    /// A reset was seen.
    Close,
    /// SYNs of both sides were seen (simultaneous open).
    SynSent2,
}

impl TcpState {
    /// All states, in netfilter's order, which is netlink's numbering.
    pub const ALL: [TcpState; 10] = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
    ];

    /// The name that netfilter prints.
    pub const fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    /// The state of this name; `LISTEN` is another word for SYN_SENT2.
    pub fn by_name(name: &str) -> Option<TcpState> {
        match name {
            "LISTEN" => Some(TcpState::SynSent2),
            _ => TcpState::ALL.into_iter().find(|s| s.name() == name),
        }
    }

    /// The setting that holds its timeout; SYN_SENT2 has none and lives 120 seconds.
    pub const fn timeout(self) -> Option<Sysctl> {
        Some(match self {
            TcpState::SynSent => Sysctl::TcpTimeoutSynSent,
            TcpState::SynRecv => Sysctl::TcpTimeoutSynRecv,
            TcpState::Established => Sysctl::TcpTimeoutEstablished,
            TcpState::FinWait => Sysctl::TcpTimeoutFinWait,
            TcpState::CloseWait => Sysctl::TcpTimeoutCloseWait,
            TcpState::LastAck => Sysctl::TcpTimeoutLastAck,
            TcpState::TimeWait => Sysctl::TcpTimeoutTimeWait,
            TcpState::Close => Sysctl::TcpTimeoutClose,
            TcpState::None | TcpState::SynSent2 => return None,
        })
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a segment is to the state machine: its most telling flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// SYN without ACK.
    Syn,
    /// SYN and ACK.
    SynAck,
    /// FIN.
    Fin,
    /// ACK, with or without data.
    Ack,
    /// RST.
    Rst,
    /// None of these.
    None,
}

impl Class {
    /// All classes.
    pub const ALL: [Class; 6] = [Class::Syn, Class::SynAck, Class::Fin, Class::Ack, Class::Rst, Class::None];

    /// The class of a set of flags.
    pub const fn of(flags: u8) -> Class {
        if flags & flag::RST != 0 {
            Class::Rst
        } else if flags & flag::SYN != 0 {
            if flags & flag::ACK != 0 { Class::SynAck } else { Class::Syn }
        } else if flags & flag::FIN != 0 {
            Class::Fin
        } else if flags & flag::ACK != 0 {
            Class::Ack
        } else {
            Class::None
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Syn => "SYN",
            Class::SynAck => "SYN/ACK",
            Class::Fin => "FIN",
            Class::Ack => "ACK",
            Class::Rst => "RST",
            Class::None => "segment without flags",
        })
    }
}

/// TCP header flags (RFC 9293 §3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// Whether a TCP sends segments with these flags. PSH, ECE and CWR do not matter.
pub const fn are_flags_valid(flags: u8) -> bool {
    use flag::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};
    const SYN_URG: u8 = SYN | URG;
    const SYN_ACK: u8 = SYN | ACK;
    const RST_ACK: u8 = RST | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    const FIN_ACK_URG: u8 = FIN | ACK | URG;
    const ACK_URG: u8 = ACK | URG;
    matches!(
        flags & !(PSH | ECE | CWR),
        SYN | SYN_URG | SYN_ACK | RST | RST_ACK | FIN_ACK | FIN_ACK_URG | ACK | ACK_URG
    )
}

/// Whether a checksum is to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    Checksum,
    Nothing,
}

/// What every TCP packet must pass before a connection is looked for.
pub(crate) fn check(packet: &Packet<'_>, verify: Verify) -> Result<Segment, Invalid> {
    let Some(held) = packet.transport() else { return Err(Invalid::NoTransport) };
    let on_wire = packet.transport_wire_len();
    if on_wire < 20 || held.len() < 20 {
        return Err(Invalid::ShortPacket);
    }
    let header_len = usize::from(held[12] >> 4) * 4;
    if header_len < 20 || header_len > on_wire {
        return Err(Invalid::TruncatedPacket);
    }
    if verify == Verify::Checksum && !packet.is_truncated() {
        let pseudo = checksum::pseudo(packet.src(), packet.dst(), packet.protocol(), held.len());
        if checksum::fold(checksum::add(pseudo, held)) != 0xffff {
            return Err(Invalid::BadChecksum);
        }
    }
    let flags = held[13];
    if !are_flags_valid(flags) {
        return Err(Invalid::TcpFlags(flags));
    }
    Ok(Segment::read(held, header_len.min(held.len()), on_wire - header_len))
}

/// Which of a connection's peers sends in a direction.
pub(crate) const fn sender(dir: Direction) -> usize {
    dir as usize
}

#[cfg(test)]
mod tests;
