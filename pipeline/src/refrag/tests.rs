use super::*;
use proptest::prelude::*;

/// An IPv4 packet with options.
fn v4(options: &[u8], payload: usize, flags: u8) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = ((header_len + payload) as u16).to_be_bytes();
    let mut p = vec![0x40 | (header_len / 4) as u8, 0, total[0], total[1], 0x12, 0x34, flags, 0, 63, 17, 0, 0];
    p.extend([192, 168, 1, 10, 203, 0, 113, 10]);
    p.extend(options);
    let sum = !checksum::sum(&p);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend((0..payload).map(|i| i as u8));
    p
}

fn pieces(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let mut out = vec![];
    cut(
        packet,
        packet.len(),
        None,
        mtu,
        || 1,
        |p, wire| {
            assert_eq!(p.len(), wire);
            out.push(p.to_vec());
        },
    )
    .unwrap();
    out
}

#[test]
fn whole_packets_are_left_alone_or_refused() {
    let packet = v4(&[], 100, 0x40);
    assert_eq!(pieces(&packet, 120), std::slice::from_ref(&packet));
    assert_eq!(check(&packet, packet.len(), None, 119), Err(TooBig { mtu: 119 }));
    let mut v6 = vec![0x60, 0, 0, 0, 0, 100, 17, 64];
    v6.resize(140, 1);
    assert_eq!(pieces(&v6, 140), std::slice::from_ref(&v6));
    assert_eq!(check(&v6, 140, None, 139), Err(TooBig { mtu: 139 }));
}

/// As the kernel cut them for an MTU of 1280.
#[test]
fn options_of_later_pieces() {
    const RECORD_ROUTE: [u8; 8] = [7, 7, 8, 203, 0, 113, 1, 0];
    const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
    let out = pieces(&v4(&[&ROUTER_ALERT[..], &RECORD_ROUTE].concat(), 1360, 0), 1280);
    let lens: Vec<usize> = out.iter().map(|p| p.len() - 32).collect();
    assert_eq!(lens, [1248, 112]);
    assert_eq!(out[0][20..32], [0x94, 4, 0, 0, 7, 7, 8, 203, 0, 113, 1, 0]);
    assert_eq!(out[1][20..32], [0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]);
    for p in &out {
        assert_eq!(checksum::sum(&p[..32]), 0xffff);
    }
    // Broken lists end the walk.
    for options in [[7, 0, 0, 0], [7, 9, 0, 0], [1, 1, 1, 7], [0, 7, 3, 0]] {
        pieces(&v4(&options, 2000, 0), 1280);
    }
}

#[test]
fn a_fragment_cut_again_keeps_its_place() {
    let mut packet = v4(&[], 1000, 0x20);
    packet[7] = 10; // offset 80, more to come
    let out = pieces(&packet, 524);
    let fields: Vec<u16> = out.iter().map(|p| u16::from_be_bytes([p[6], p[7]])).collect();
    assert_eq!(fields, [0x2000 | 10, 0x2000 | 73]);
}

#[test]
fn where_the_fragment_header_goes() {
    let header = |chain: &[u8]| {
        let mut p = vec![0x60, 0, 0, 0, 0, 0, chain[0], 64];
        p.resize(40, 0);
        for next in &chain[1..] {
            p.extend([*next, 0, 1, 4, 0, 0, 0, 0]);
        }
        p.extend([9; 8]);
        unfragmentable(&p)
    };
    assert_eq!(header(&[17]), Some((40, 6)));
    assert_eq!(header(&[0, 17]), Some((48, 40)));
    assert_eq!(header(&[60, 60, 17]), Some((56, 48)));
    assert_eq!(
        header(&[0, 60, 43, 60, 17]),
        Some((64, 56)),
        "destination options behind a routing header belong to the payload"
    );
    assert_eq!(unfragmentable(&[0x60; 39]), None);
}

proptest! {
    /// Pieces fit, carry multiples of eight but the last, and hold every byte once.
    #[test]
    fn nothing_is_lost(payload in 0usize..5000, mtu in 68usize..1600, words in 0usize..10) {
        let packet = v4(&vec![1; words * 4], payload, 0);
        let header_len = 20 + words * 4;
        let out = pieces(&packet, mtu);
        let mut whole = vec![];
        for (i, p) in out.iter().enumerate() {
            prop_assert!(p.len() <= mtu.max(packet.len().min(mtu)));
            prop_assert!(checksum::sum(&p[..header_len]) == 0xffff);
            let field = u16::from_be_bytes([p[6], p[7]]);
            prop_assert_eq!(usize::from(field & 0x1fff) * 8, whole.len());
            prop_assert_eq!(field & 0x2000 != 0, i + 1 < out.len());
            whole.extend_from_slice(&p[header_len..]);
        }
        prop_assert_eq!(&whole[..], &packet[header_len..]);
    }

    /// No bytes and no history make it panic.
    #[test]
    fn any_bytes(
        mut packet in prop::collection::vec(any::<u8>(), 0..200),
        six in any::<bool>(),
        extra in 0usize..70_000,
        mtu in 0usize..70_000,
        how in prop::option::of((0usize..70_000, 0usize..70_000, prop::collection::vec((0usize..9000, 0usize..200), 0..5))),
    ) {
        if let Some(first) = packet.first_mut() {
            *first = if six { 0x60 } else { 0x40 | *first & 0x0f };
        }
        let how = how.map(|(wire_len, longest, pieces)| Fragmented {
            wire_len,
            longest,
            dont_fragment: DontFragment::Set,
            pieces: pieces.into_iter().map(|(len, header_len)| Piece { len, header_len }).collect(),
        });
        let wire_len = packet.len() + extra;
        let _ = cut(&packet, wire_len, how.as_ref(), mtu, || 1, |_, _| {});
    }
}
