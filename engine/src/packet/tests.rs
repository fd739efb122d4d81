use super::*;

fn v4(proto: u8, payload: &[u8]) -> Vec<u8> {
    let builder = etherparse::Ipv4Header::new(payload.len() as u16, 64, proto.into(), [10, 0, 0, 1], [10, 0, 0, 2]);
    let mut header = builder.expect("a short payload");
    header.header_checksum = header.calc_header_checksum();
    let mut out = header.to_bytes().to_vec();
    out.extend_from_slice(payload);
    out
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x60, 0, 0, 0];
    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    out.extend_from_slice(&[next, 64]);
    out.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    out.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    out.extend_from_slice(payload);
    out
}

#[test]
fn link_padding_is_cut_off() {
    let mut b = v4(17, &[0; 8]);
    b.extend_from_slice(&[0xee; 18]);
    let n = b.len();
    let p = Packet::parse(&mut b, n).unwrap();
    assert_eq!((p.bytes().len(), p.wire_len(), p.transport_wire_len()), (28, 28, 8));
    assert!(!p.is_truncated());
}

#[test]
fn a_snaplen_cut_is_no_error() {
    let mut b = v4(6, &[0; 100]);
    b.truncate(60);
    let p = Packet::parse(&mut b, 120).unwrap();
    assert!(p.is_truncated());
    assert_eq!((p.wire_len(), p.transport_wire_len(), p.transport().unwrap().len()), (120, 100, 40));
}

#[test]
fn a_length_beyond_the_wire_is_malformed() {
    let mut b = v4(6, &[0; 100]);
    b.truncate(60);
    assert_eq!(Packet::parse(&mut b, 60).unwrap_err(), Malformed::Length { length: 120, have: 60 });
}

#[test]
fn a_wrong_header_checksum_is_malformed() {
    let mut b = v4(6, &[0; 20]);
    b[8] ^= 1;
    assert_eq!(Packet::parse(&mut b, 40).unwrap_err(), Malformed::HeaderChecksum);
}

#[test]
fn extension_headers_are_walked() {
    // hop-by-hop (8), destination (16), then UDP
    let mut chain = vec![60, 0, 0, 0, 0, 0, 0, 0];
    chain.extend_from_slice(&[17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    chain.extend_from_slice(&[0, 53, 0, 53, 0, 8, 0, 0]);
    let mut b = v6(0, &chain);
    let n = b.len();
    let p = Packet::parse(&mut b, n).unwrap();
    assert_eq!((p.protocol(), p.transport_offset()), (Protocol::UDP, Some(64)));
}

#[test]
fn a_later_fragment_has_no_transport_header() {
    let mut b = v6(44, &[17, 0, 0x05, 0xa9, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8]);
    let n = b.len();
    let p = Packet::parse(&mut b, n).unwrap();
    let f = p.fragment().unwrap();
    assert_eq!((f.id, f.offset, f.more, f.header), (7, 0x5a8, More::Fragments, 40));
    assert_eq!(p.transport_offset(), None);
}

#[test]
fn an_endless_chain_ends() {
    let mut b = v6(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(1000));
    let n = b.len();
    let p = Packet::parse(&mut b, n).unwrap();
    assert_eq!(p.transport_offset(), None);
}
