//! What of an emitted packet cannot be compared, because the kernel draws it at random.
//!
//! | what | where |
//! |---|---|
//! | identification | IPv4 packets that the router makes itself; IPv6 datagrams that it fragments anew |
//! | flow label | IPv6 packets that the router makes itself |

use super::build::{checksum, mend_ipv4};
use super::describe::fragment_header;

/// `packet` with the parts set to zero that the kernel draws at random. `sent` is the packet that was put in: a packet with
/// its IPv4 identification or its flow label is a forwarded one, and is left as it is.
#[must_use]
pub fn mask(sent: Option<&[u8]>, packet: &[u8]) -> Vec<u8> {
    let mut masked = packet.to_vec();
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= 20 => {
            // A forwarded packet keeps its identification; and the kernel gives zero to what must not be fragmented.
            let forwarded = sent.is_some_and(|sent| sent.get(4..6) == packet.get(4..6));
            if !forwarded {
                masked[4..6].fill(0);
                if checksum(0, &packet[..usize::from(packet[0] & 15) * 4]) == 0 {
                    mend_ipv4(&mut masked);
                }
            }
        }
        Some(6) if packet.len() >= 40 => {
            // A forwarded packet keeps its flow label; its own the kernel gives labels by a keyed hash.
            let label = |packet: &[u8]| [packet[1] & 0x0f, packet[2], packet[3]];
            if sent.is_none_or(|sent| sent.len() < 4 || label(sent) != label(packet)) {
                masked[1] &= 0xf0;
                masked[2..4].fill(0);
            }
            if let Some(at) = fragment_header(packet) {
                masked[at + 4..at + 8].fill(0);
            }
        }
        _ => {}
    }
    masked
}
