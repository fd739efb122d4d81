//! pcapng as far as the stories need it: packets, their interface, and their bytes in place.

/// One packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) interface: String,
    /// From the IP header on, without the padding of the link.
    pub(crate) ip: Vec<u8>,
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const ETHERNET: u16 = 1;

/// Calls `visit` with the interface and the IP packet of every packet of a capture that carries one.
pub(crate) fn each_packet(capture: &mut [u8], mut visit: impl FnMut(&str, &mut [u8])) {
    let mut interfaces: Vec<(String, u16)> = Vec::new();
    let mut at = 0;
    while at + 12 <= capture.len() {
        let (kind, length) = (le32(capture, at), le32(capture, at + 4) as usize);
        assert!(length >= 12 && at + length <= capture.len(), "a block of {length} bytes at {at} is cut off");
        let body = at + 8..at + length - 4;
        match kind {
            SECTION => assert_eq!(le32(capture, body.start), 0x1a2b_3c4d, "a section that is not little-endian"),
            INTERFACE => interfaces.push(interface(&capture[body])),
            PACKET => {
                let (name, link) = &interfaces[le32(capture, body.start) as usize];
                let data = body.start + 20..body.start + 20 + le32(capture, body.start + 12) as usize;
                let skip = if *link == ETHERNET { 14 } else { 0 };
                if skip == 0 || matches!(capture[data.start + 12..data.start + 14], [0x08, 0x00] | [0x86, 0xdd]) {
                    let packet = &mut capture[data.start + skip..data.end];
                    let length = ip_length(packet);
                    visit(name, &mut packet[..length]);
                }
            }
            _ => {}
        }
        at += length;
    }
}

/// The IP packets of a capture.
pub(crate) fn frames(mut capture: Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    each_packet(&mut capture, |interface, ip| frames.push(Frame { interface: interface.to_owned(), ip: ip.to_vec() }));
    frames
}

fn interface(body: &[u8]) -> (String, u16) {
    let link = u16::from_le_bytes([body[0], body[1]]);
    let mut options = &body[8..];
    while options.len() >= 4 {
        let (code, length) =
            (u16::from_le_bytes([options[0], options[1]]), u16::from_le_bytes([options[2], options[3]]));
        let length = usize::from(length);
        if code == 2 {
            return (String::from_utf8_lossy(&options[4..4 + length]).into_owned(), link);
        }
        options = &options[4 + length.next_multiple_of(4)..];
    }
    panic!("an interface without a name")
}

fn ip_length(packet: &[u8]) -> usize {
    match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
