//! A TCP connection's state as a connection keeps it: 56 bytes, so that a whole connection is two lines of memory.

use super::track::{Before, Expected, Tcp};
use super::window::{Peer, PeerFlags, Seq};
use super::{Class, TcpState};
use crate::Direction;

/// All that [`Tcp`] holds.
#[derive(Clone, Debug)]
pub(crate) struct PackedTcp {
    /// `end`, `max_end`, `max_win`, `max_ack` of each end.
    ends: [[u32; 4]; 2],
    /// `seq`, `ack`, `end` of the segment before.
    before: [u32; 3],
    window: u16,
    scales: [u8; 2],
    flags: [PeerFlags; 2],
    before_scale: u8,
    before_flags: PeerFlags,
    /// Direction, challenge, simultaneous open.
    bits: u8,
    retrans: u8,
    class: Class,
    state: TcpState,
}

const REPLY: u8 = 1;
const CHALLENGE: u8 = 2;
const SIMULTANEOUS: u8 = 4;

impl From<&Tcp> for PackedTcp {
    fn from(tcp: &Tcp) -> Self {
        let Tcp { state, peers, last, retrans } = tcp;
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        PackedTcp {
            ends: peers.map(|p| [p.end.0, p.max_end.0, p.max_win, p.max_ack.0]),
            before: [last.seq.0, last.ack.0, last.end.0],
            window: last.window,
            scales: peers.map(|p| p.scale),
            flags: peers.map(|p| p.flags),
            before_scale: last.scale,
            before_flags: last.flags,
            bits: bit(last.dir == Direction::Reply, REPLY)
                | bit(last.challenge == Expected::Yes, CHALLENGE)
                | bit(last.simultaneous_open == Expected::Yes, SIMULTANEOUS),
            retrans: *retrans,
            class: last.class,
            state: *state,
        }
    }
}

impl From<&PackedTcp> for Tcp {
    fn from(packed: &PackedTcp) -> Self {
        let peer = |n: usize| {
            let [end, max_end, max_win, max_ack] = packed.ends[n];
            Peer {
                end: Seq(end),
                max_end: Seq(max_end),
                max_win,
                max_ack: Seq(max_ack),
                scale: packed.scales[n],
                flags: packed.flags[n],
            }
        };
        let expected = |bit| if packed.bits & bit != 0 { Expected::Yes } else { Expected::No };
        let [seq, ack, end] = packed.before.map(Seq);
        Tcp {
            state: packed.state,
            peers: [peer(0), peer(1)],
            last: Before {
                class: packed.class,
                dir: if packed.bits & REPLY != 0 { Direction::Reply } else { Direction::Original },
                seq,
                ack,
                end,
                window: packed.window,
                scale: packed.before_scale,
                flags: packed.before_flags,
                challenge: expected(CHALLENGE),
                simultaneous_open: expected(SIMULTANEOUS),
            },
            retrans: packed.retrans,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tcp::SavedTcp;

    fn any_peer() -> impl Strategy<Value = Peer> {
        (any::<[u32; 4]>(), any::<u8>(), any::<u8>()).prop_map(|([end, max_end, max_win, max_ack], scale, flags)| {
            Peer {
                end: Seq(end),
                max_end: Seq(max_end),
                max_win,
                max_ack: Seq(max_ack),
                scale,
                flags: PeerFlags::from_bits_retain(flags),
            }
        })
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            peers in [any_peer(), any_peer()],
            state in prop::sample::select(&TcpState::ALL[..]),
            class in prop::sample::select(&Class::ALL[..]),
            numbers: [u32; 3],
            window: u16,
            small: [u8; 3],
            bits: [bool; 3],
        ) {
            let expected = |is| if is { Expected::Yes } else { Expected::No };
            let before = Before {
                class,
                dir: if bits[0] { Direction::Reply } else { Direction::Original },
                seq: Seq(numbers[0]),
                ack: Seq(numbers[1]),
                end: Seq(numbers[2]),
                window,
                scale: small[0],
                flags: PeerFlags::from_bits_retain(small[1]),
                challenge: expected(bits[1]),
                simultaneous_open: expected(bits[2]),
            };
            let saved = SavedTcp { state, peers, before, retrans: small[2] };
            let packed = PackedTcp::from(&Tcp::restore(&saved));
            prop_assert_eq!(Tcp::from(&packed).save(), saved);
        }
    }
}
