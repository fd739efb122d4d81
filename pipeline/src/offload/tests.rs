use super::*;

/// An IPv4 TCP packet with `payload` bytes, its checksum left to a card.
fn large(payload: usize) -> (Vec<u8>, Offload) {
    let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
    packet.extend([0x9c, 0x40, 0, 80, 0, 0, 0x10, 0, 0, 0, 0, 1, 0x50, 0x99, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend((0..payload).map(|n| n as u8));
    set_length(&mut packet, 0);
    let segments = Segments { kind: Kind::Tcp4, ecn: Ecn::Unused, size: 1448 };
    let offload = Offload { checksum: Checksum::Partial, start: 20, field: TCP_FIELD, segments: Some(segments) };
    offload.settle(&mut packet);
    (packet, offload)
}

fn is_right(packet: &[u8]) -> bool {
    let (src, dst) = (address::<4>(packet, 12), address::<4>(packet, 16));
    let pseudo = checksum::pseudo(src, dst, Protocol::TCP, packet.len() - 20);
    checksum::sum(&packet[..20]) == 0xffff && checksum::fold(checksum::add(pseudo, &packet[20..])) == 0xffff
}

#[test]
fn a_header_reads_back() {
    let (packet, offload) = large(5000);
    assert_eq!(Offload::read(&offload.write(&packet, 14), 14), Ok(offload));
    assert_eq!(Offload::read(&[0; HEADER], 14), Ok(Offload::default()));
    assert_eq!(Offload::read(&[NEEDS_CHECKSUM, 0, 0, 0, 0, 0, 2, 0, 16, 0], 14), Err(NotUnderstood));
    assert_eq!(Offload::read(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0], 14), Err(NotUnderstood));
}

#[test]
fn a_completed_checksum_is_right() {
    let (mut packet, offload) = large(1000);
    assert!(!is_right(&packet));
    offload.complete(&mut packet);
    assert!(is_right(&packet));
}

#[test]
fn segments_are_whole_packets_that_follow_each_other() {
    let (packet, offload) = large(5000);
    assert_eq!((offload.count(&packet), offload.longest(&packet)), (4, 1488));
    let (mut payload, mut n, mut buffer) = (Vec::new(), 0u16, Vec::new());
    offload.segment(&packet, &mut buffer, |segment| {
        assert!(is_right(segment), "segment {n}");
        assert_eq!(u16::from_be_bytes([segment[4], segment[5]]), 7 + n);
        let sequence = u32::from_be_bytes([segment[24], segment[25], segment[26], segment[27]]);
        assert_eq!(sequence as usize, 0x1000 + payload.len());
        let flags = if n == 3 { 0x19 } else { 0x10 };
        assert_eq!(segment[33] & 0x19, flags);
        assert_eq!(segment[33] & CWR != 0, n == 0);
        payload.extend_from_slice(&segment[40..]);
        n += 1;
    });
    assert_eq!((n, &payload[..]), (4, &packet[40..]));
}

#[test]
fn a_field_beyond_the_packet_is_refused() {
    let (mut packet, offload) = large(10);
    assert_eq!(Offload { start: 60, ..offload }.checked(&mut packet), Err(NotUnderstood));
    assert_eq!(offload.checked(&mut packet), Ok(offload));
}
