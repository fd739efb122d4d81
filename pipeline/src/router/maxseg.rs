//! `tcp option maxseg size set`: a TCP packet's announcement of its largest segment, made smaller.
//!
//! As measured: the first such option of any packet with one is changed, not only of a SYN; it is never made larger; the
//! checksum is changed incrementally, so a wrong one stays wrong. The whole TCP header must be there; a packet without the
//! option stays without.

use uct_engine::checksum::Delta;
use uct_engine::{Packet, Protocol};

use super::Passing;

const HEADER: usize = 20;
const CHECKSUM: usize = 16;
const NO_OPERATION: u8 = 1;
const MAX_SEG: u8 = 2;
const MAX_SEG_LEN: usize = 4;

impl Passing<'_> {
    /// Makes the packet announce at most `size` bytes.
    pub(super) fn limit_max_seg(&mut self, size: u16) {
        let Some(header_len) = header_len(&self.packet) else { return };
        self.pull(header_len);
        if let Some(header) = self.packet.transport_mut().and_then(|t| t.get_mut(..header_len)) {
            limit(header, size);
        }
    }
}

/// The length of the TCP header, if all of it is there.
fn header_len(packet: &Packet<'_>) -> Option<usize> {
    let transport = packet.transport().filter(|_| packet.protocol() == Protocol::TCP)?;
    let header_len = usize::from(transport.get(12)? >> 4) * 4;
    (HEADER..=transport.len()).contains(&header_len).then_some(header_len)
}

fn limit(header: &mut [u8], size: u16) {
    let Some(at) = find(header) else { return };
    let [high, low] = [header[at + 2], header[at + 3]];
    let announced = u16::from_be_bytes([high, low]);
    if announced <= size {
        return;
    }
    header[at + 2..at + 4].copy_from_slice(&size.to_be_bytes());
    let sum = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    let sum = Delta::default().word(announced, size).apply(sum);
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Where the option stands. The end of the list ends nothing, and a length of 0 counts as 1.
fn find(header: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    while at + 1 < header.len() {
        let (kind, len) = (header[at], usize::from(header[at + 1]));
        let len = if kind <= NO_OPERATION || len == 0 { 1 } else { len };
        if kind == MAX_SEG {
            return (len >= MAX_SEG_LEN && at + len <= header.len()).then_some(at);
        }
        at += len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(options: &[u8], size: u16) -> Vec<u8> {
        let mut header = vec![0; HEADER];
        header.extend_from_slice(options);
        limit(&mut header, size);
        header.split_off(HEADER)
    }

    #[test]
    fn it_is_made_smaller_and_never_larger() {
        assert_eq!(limited(&[1, 2, 4, 5, 180, 0, 0, 0], 1400), [1, 2, 4, 5, 120, 0, 0, 0]);
        assert_eq!(limited(&[2, 4, 5, 180], 9000), [2, 4, 5, 180]);
    }

    #[test]
    fn what_is_no_whole_option_stays() {
        assert_eq!(limited(&[2, 3, 5, 180], 1), [2, 3, 5, 180]);
        assert_eq!(limited(&[8, 0, 2, 9, 5, 180, 1, 1], 1), [8, 0, 2, 9, 5, 180, 1, 1]);
    }
}
