//! What a listing shows of a connection: plain data, taken at one moment.

use std::sync::Arc;
use std::time::Duration;

use crate::sctp::SctpState;
use crate::state::State;
use crate::tcp::{PeerInfo, TcpState};
use crate::{ConnId, Status, Time, Tuple, Zone};

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP packets, header included.
    pub bytes: u64,
}

/// What the protocol's tracker has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtoInfo {
    /// Nothing.
    #[default]
    None,
    /// TCP.
    Tcp {
        /// Its state.
        state: TcpState,
        /// Window scale and flags of each direction.
        peers: [PeerInfo; 2],
    },
    /// SCTP.
    Sctp {
        /// Its state.
        state: SctpState,
        /// The verification tag that each direction carries; 0 if it is not known.
        vtags: [u32; 2],
    },
}

impl ProtoInfo {
    pub(crate) fn of(state: &State) -> Self {
        match state {
            State::Tcp(tcp) => ProtoInfo::Tcp { state: tcp.state(), peers: tcp.peer_info() },
            State::Sctp(s) => ProtoInfo::Sctp { state: s.state(), vtags: s.vtags() },
            _ => ProtoInfo::None,
        }
    }

    /// The name of the state, for protocols that have one.
    pub fn state_name(&self) -> Option<&'static str> {
        match self {
            ProtoInfo::None => None,
            ProtoInfo::Tcp { state, .. } => Some(state.name()),
            ProtoInfo::Sctp { state, .. } => Some(state.name()),
        }
    }
}

/// One connection as a listing or an event shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number.
    pub id: ConnId,
    /// What the first packet carried.
    pub original: Tuple,
    /// What answers carry.
    pub reply: Tuple,
    /// Its zone.
    pub zone: Zone,
    /// Its status bits.
    pub status: Status,
    /// How long it has still to live.
    pub timeout: Duration,
    /// Its mark.
    pub mark: u32,
    /// Packets and bytes, original and reply, if they are counted.
    pub counters: Option<[Counters; 2]>,
    /// What its protocol's tracker has to show.
    pub proto: ProtoInfo,
    /// Its labels, as a bit mask.
    pub labels: Option<u128>,
    /// Its helper.
    pub helper: Option<Arc<str>>,
    /// The original tuple of the connection that announced it.
    pub master: Option<Tuple>,
    /// When it was confirmed, if timestamps are kept.
    pub start: Option<Time>,
    /// When it was destroyed, if timestamps are kept.
    pub stop: Option<Time>,
}
