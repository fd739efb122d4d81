//! Other captures of the recorded stories: as they would have been taken elsewhere, or by other means.

use std::path::Path;

use uct_engine::Time;
use uct_pipeline::capture::{Crossing, Interface, Outgoing, Reader, Sink as _, Source as _, Writer};
use uct_pipeline::link::{self, LinkType, Mac, Network};

use crate::uct::pcaps;

/// A packet of a story, at one of the router's interfaces.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) at: Time,
    pub(crate) name: String,
    pub(crate) crossing: Crossing,
    pub(crate) source: Option<Mac>,
    pub(crate) destination: Option<Mac>,
    pub(crate) ip: Vec<u8>,
}

fn read(path: &Path, crossing: Crossing, packets: &mut Vec<Packet>) {
    let mut reader = Reader::open(path).expect("a capture");
    while let Some(frame) = reader.next().expect("a frame") {
        let header = link::parse(frame.link, frame.bytes).expect("a link header");
        let (at, iface, ip) = (frame.at, frame.iface, frame.bytes[header.offset..].to_vec());
        let name = reader.interfaces()[iface.index()].name.clone().expect("a name");
        let (source, destination) = (header.source, header.destination);
        packets.push(Packet { at, name, crossing, source, destination, ip });
    }
}

/// All packets that crossed the router's interfaces, by time.
pub(crate) fn both_ways(story: &str) -> Vec<Packet> {
    let mut packets = Vec::new();
    read(&pcaps().join(format!("{story}.pcapng")), Crossing::Inbound, &mut packets);
    read(&pcaps().join(format!("{story}.emitted.pcapng")), Crossing::Outbound, &mut packets);
    packets.retain(|packet| packet.name != "local");
    packets.sort_by_key(|packet| packet.at);
    packets
}

/// What a capture says about the way of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Nothing,
    /// pcapng's flags.
    Flags,
    /// The packet type of Linux's cooked header.
    Cooked,
    /// Ethernet addresses.
    Macs,
}

/// Writes packets as pcapng with the names of their interfaces.
pub(crate) fn pcapng(path: &Path, packets: &[Packet], says: Says) {
    let mut writer = Writer::create(path).expect("a file");
    for packet in packets {
        let link = match says {
            Says::Cooked => LinkType::LinuxSll,
            Says::Macs => LinkType::Ethernet,
            Says::Nothing | Says::Flags => LinkType::Raw,
        };
        let interface = Interface { name: Some(packet.name.clone()), link, mac: None };
        let iface = writer.interface(&interface).expect("an interface");
        let bytes = framed(packet, link);
        let mut outgoing = Outgoing::new(packet.at, iface, &bytes);
        outgoing.crossing = (says == Says::Flags).then_some(packet.crossing);
        writer.send(&outgoing).expect("a frame");
    }
    writer.finish().expect("a whole file");
}

fn framed(packet: &Packet, link: LinkType) -> Vec<u8> {
    let network = if packet.ip[0] >> 4 == 6 { Network::Ipv6 } else { Network::Ipv4 };
    let mut bytes = Vec::new();
    let (source, destination) = (packet.source.unwrap_or_default(), packet.destination.unwrap_or_default());
    link::build(link, network, source, destination, &mut bytes);
    if link == LinkType::LinuxSll {
        bytes[1] = if packet.crossing == Crossing::Outbound { 4 } else { 0 };
        bytes[6..12].fill(0); // without an address that would tell as well
        bytes[5] = 0;
    }
    bytes.extend(&packet.ip);
    bytes
}

/// Writes packets as classic pcap with microseconds: one interface, no name.
pub(crate) fn pcap(path: &Path, packets: &[Packet]) {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
    for packet in packets {
        let bytes = framed(packet, LinkType::Ethernet);
        let len = bytes.len() as u32;
        let head = [packet.at.as_secs() as u32, packet.at.subsec_nanos() / 1000, len, len];
        file.extend(head.map(u32::to_le_bytes).concat());
        file.extend(bytes);
    }
    std::fs::write(path, file).expect("the scratch folder can be written");
}
