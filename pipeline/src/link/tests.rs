use super::*;
use proptest::prelude::*;

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

#[test]
fn every_link_type_that_can_be_built_can_be_parsed() {
    let types = [
        LinkType::Ethernet,
        LinkType::Raw,
        LinkType::RawIpv4,
        LinkType::RawIpv6,
        LinkType::LinuxSll,
        LinkType::LinuxSll2,
        LinkType::Null,
        LinkType::Loop,
    ];
    for link in types {
        assert_eq!(LinkType::from_code(link.code()), link);
        for (network, first) in [(Network::Ipv4, 0x45), (Network::Ipv6, 0x60)] {
            if (link, network) == (LinkType::RawIpv4, Network::Ipv6)
                || (link, network) == (LinkType::RawIpv6, Network::Ipv4)
            {
                continue;
            }
            let mut frame = vec![];
            build(link, network, A, B, &mut frame);
            let offset = frame.len();
            frame.push(first);
            let header = parse(link, &frame).unwrap();
            assert_eq!((header.network, header.offset), (network, offset), "{link:?}");
            match link {
                LinkType::Ethernet => assert_eq!((header.source, header.destination), (Some(A), Some(B))),
                LinkType::LinuxSll | LinkType::LinuxSll2 => {
                    assert_eq!((header.source, header.packet_type), (Some(A), Some(PacketType::Outgoing)));
                }
                _ => assert_eq!(header.source, None),
            }
            for cut in 0..offset {
                let need = if link == LinkType::Ethernet { 14 } else { offset };
                assert_eq!(parse(link, &frame[..cut]), Err(LinkError::Short { need, have: cut }), "{link:?}");
            }
        }
    }
}

#[test]
fn vlan_tags_are_walked_within_bounds() {
    let stack = |tags: &[(u16, u16)], ethertype: u16| {
        let mut frame = vec![0xff; 6];
        frame.extend(A.0);
        for (tpid, id) in tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend((id | 0xe000).to_be_bytes()); // priority bits are not part of the identifier
        }
        frame.extend(ethertype.to_be_bytes());
        frame
    };
    let header = parse(LinkType::Ethernet, &stack(&[(0x88a8, 100), (0x8100, 5)], 0x86dd)).unwrap();
    assert_eq!((header.network, header.offset), (Network::Ipv6, 22));
    assert_eq!(header.tags.ids(), [100, 5]);
    assert_eq!(header.packet_type, Some(PacketType::Broadcast));
    assert!(parse(LinkType::Ethernet, &stack(&[(0x8100, 1); MAX_TAGS], 0x0800)).is_ok());
    let more = stack(&[(0x8100, 1); MAX_TAGS + 1], 0x0800);
    assert_eq!(parse(LinkType::Ethernet, &more), Err(LinkError::TooManyTags));
    assert_eq!(parse(LinkType::Ethernet, &more[..20]), Err(LinkError::Short { need: 22, have: 20 }));
    assert_eq!(parse(LinkType::Ethernet, &stack(&[], 0x0806)).unwrap().network, Network::Other(0x0806));
}

#[test]
fn cooked_headers() {
    // tcpdump -i any: for this host, Ethernet, 6 bytes of address, IPv4.
    let sll = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0xaa, 0xbb, 8, 0];
    let header = parse(LinkType::LinuxSll, &sll).unwrap();
    assert_eq!((header.source, header.packet_type), (Some(A), Some(PacketType::Host)));
    // A hardware type without Ethernet addresses (65534, none, as of tun), and a tag.
    let tun = [0, 4, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 9, 0x86, 0xdd];
    let header = parse(LinkType::LinuxSll, &tun).unwrap();
    assert_eq!((header.network, header.offset, header.source), (Network::Ipv6, 20, None));
    assert_eq!(header.tags.ids(), [9]);
    let sll2 = [8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 3, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    let header = parse(LinkType::LinuxSll2, &sll2).unwrap();
    assert_eq!((header.ifindex, header.packet_type), (Some(3), Some(PacketType::OtherHost)));
}

#[test]
fn loopback_in_either_byte_order() {
    for (bytes, network) in [
        ([0, 0, 0, 2], Network::Ipv4),
        ([2, 0, 0, 0], Network::Ipv4),
        ([30, 0, 0, 0], Network::Ipv6),
        ([0, 0, 0, 24], Network::Ipv6),
    ] {
        assert_eq!(parse(LinkType::Null, &bytes).unwrap().network, network);
    }
    assert_eq!(parse(LinkType::Loop, &[0, 0, 0, 28]).unwrap().network, Network::Ipv6);
    assert_eq!(parse(LinkType::Loop, &[2, 0, 0, 0]), Err(LinkError::Family(0x0200_0000)));
    assert_eq!(parse(LinkType::Raw, &[0x50]), Err(LinkError::Version(5)));
    assert_eq!(parse(LinkType::Other(9), &[]), Err(LinkError::Unsupported(9)));
}

#[test]
fn addresses_as_text() {
    assert_eq!("02:00:00:00:00:01".parse(), Ok(A));
    assert_eq!("2-0-0-0-0-1".parse(), Ok(A));
    assert_eq!(A.to_string(), "02:00:00:00:00:01");
    for wrong in
        ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:+1", "02:00:00:00:00:001", "g:0:0:0:0:0"]
    {
        assert_eq!(wrong.parse::<Mac>(), Err(NotAMac), "{wrong}");
    }
}

proptest! {
    /// Whatever the bytes: no panic, and an offset within the frame.
    #[test]
    fn any_bytes(code in 0u16..300, frame in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(header) = parse(LinkType::from_code(code), &frame) {
            prop_assert!(header.offset <= frame.len());
        }
    }
}
