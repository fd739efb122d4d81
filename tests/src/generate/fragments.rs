//! Cuts packets into fragments, in every order, and sometimes wrongly.

use super::random::Random;
use super::world::{Origin, Shot};
use crate::packet::build::fragments;

/// The pieces of a packet, in the order in which they are sent. A small packet may be left whole.
pub(crate) fn cut(random: &mut Random, shot: &Shot) -> Vec<Shot> {
    let packet = &shot.packet;
    let header = match packet[0] {
        0x60..=0x6f => 40,
        0x45..=0x4f => usize::from(packet[0] & 15) * 4,
        _ => return vec![shot.clone()],
    };
    let room = packet.len().saturating_sub(header);
    // The router's own fragments are made by its own stack, behind connection tracking.
    // A header length below 20 is no header to repeat.
    if shot.from == Origin::Router || header < 20 || room < 24 || random.chance(20) {
        return vec![shot.clone()];
    }
    let count = random.between(1, 3).min(room as u32 / 8);
    let mut cuts: Vec<usize> = (0..count).map(|_| 8 * (1 + random.below((room - 1) / 8))).collect();
    if random.chance(2) {
        cuts[0] += random.below(8);
    }
    let mut pieces = fragments(packet, random.bits() as u32, &cuts);
    if random.chance(50) {
        for index in (1..pieces.len()).rev() {
            pieces.swap(index, random.below(index + 1));
        }
    }
    match random.below(30) {
        // One missing.
        0 => {
            let index = random.below(pieces.len());
            pieces.remove(index);
        }
        // One twice.
        1 | 2 => {
            let piece = random.pick(&pieces).clone();
            pieces.insert(random.below(pieces.len() + 1), piece);
        }
        // One that overlaps: the same datagram cut elsewhere.
        3 => {
            let id = identification(&pieces[0]);
            let other = fragments(packet, id, &[8 * (1 + random.below((room - 1) / 8))]);
            let piece = random.pick(&other).clone();
            pieces.insert(random.below(pieces.len() + 1), piece);
        }
        _ => {}
    }
    pieces.into_iter().map(|packet| Shot { from: shot.from, packet }).collect()
}

fn identification(fragment: &[u8]) -> u32 {
    let at = if fragment[0] >> 4 == 4 { 2 } else { 44 };
    u32::from_be_bytes([fragment[at], fragment[at + 1], fragment[at + 2], fragment[at + 3]])
        & if at == 2 { 0xffff } else { !0 }
}
