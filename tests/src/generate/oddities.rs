//! What may be odd about any packet, whatever it carries: lengths, padding, options, extension headers, addresses.

use super::random::Random;
use crate::packet::build::mend_ipv4;

/// IPv4 options: no operation, router alert, unknown ones that are copied into fragments or not, end of list, stream
/// identifier. Those that a router writes into are left out: that is no business of connection tracking.
const OPTIONS: [&[u8]; 6] =
    [&[1, 1, 1, 1], &[0x94, 4, 0, 0], &[0x9e, 4, 1, 2], &[0x1e, 6, 1, 2, 3, 4, 0, 0], &[1, 1, 0, 0], &[0x88, 4, 0, 1]];

/// IPv6 extension headers by the number that announces them: hop-by-hop and destination options with nothing but padding.
const EXTENSIONS: [(u8, &[u8]); 3] = [
    (0, &[0, 0, 1, 4, 0, 0, 0, 0]),
    (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
    (60, &[0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
];

/// Changes an IP packet in one way or another.
pub(crate) fn alter(random: &mut Random, packet: &mut Vec<u8>) {
    if packet.first().is_some_and(|byte| byte >> 4 == 4) {
        alter4(random, packet);
    } else {
        alter6(random, packet);
    }
}

fn alter4(random: &mut Random, packet: &mut Vec<u8>) {
    match random.below(9) {
        0 | 1 => packet[8] = random.below(3) as u8,
        2 => packet[1] = random.bits() as u8,
        3 if packet[0] == 0x45 && packet.len() < 1400 => {
            let option = *random.pick(&OPTIONS);
            packet.splice(20..20, option.iter().copied());
            packet[0] += (option.len() / 4) as u8;
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
        }
        4 => {
            // A length that lies, by a little.
            let length = u16::from_be_bytes([packet[2], packet[3]]);
            let length = *random.pick(&[length + 1, length.wrapping_sub(1), 20, 19, 28]);
            packet[2..4].copy_from_slice(&length.to_be_bytes());
        }
        5 => packet[0] = *random.pick(&[0x44, 0x55]),
        6 => {
            packet[10] ^= 0x55;
            return;
        }
        // The reserved flag, or DF taken away.
        7 => packet[6] = *random.pick(&[0x80, 0xc0, 0]),
        _ => {
            let keep = packet.len().saturating_sub(random.below(20)).max(1);
            packet.truncate(keep);
            return;
        }
    }
    mend_ipv4(&mut packet[..]);
}

fn alter6(random: &mut Random, packet: &mut Vec<u8>) {
    match random.below(7) {
        0 | 1 => packet[7] = random.below(3) as u8,
        2 => packet[1..4].copy_from_slice(&random.bytes(3)),
        3 if packet.len() < 1400 => {
            for _ in 0..random.between(1, 2) {
                let (number, header) = *random.pick(&EXTENSIONS);
                let next = std::mem::replace(&mut packet[6], number);
                packet.splice(40..40, header.iter().copied());
                packet[40] = next;
                let length = (packet.len() - 40) as u16;
                packet[4..6].copy_from_slice(&length.to_be_bytes());
            }
        }
        4 => {
            let length = u16::from_be_bytes([packet[4], packet[5]]);
            let length = *random.pick(&[length + 1, length.wrapping_sub(1), 0, 8]);
            packet[4..6].copy_from_slice(&length.to_be_bytes());
        }
        5 => packet[0] ^= *random.pick(&[0x10, 0x20]),
        _ => {
            let keep = packet.len().saturating_sub(random.below(20)).max(1);
            packet.truncate(keep);
        }
    }
}
