//! Classic pcap: a file header, then packets.
//!
//! ```text
//!  magic  version  zone  sigfigs  snaplen  FCS·link type │ seconds  µs or ns  captured  on the wire  bytes │ …
//! ```
//! The magic tells byte order and resolution. Zone and sigfigs are nought in practice and by the format's draft not to be
//! used; the snap length bounds nothing that can be relied on (libpcap itself ignores it when it reads). The upper half of
//! the link type tells the length of a frame check sequence, which stands behind the packet and is left there.

use super::fault::{CaptureError, Fault};
use super::input::Input;
use super::reader::Record;
use super::{Interface, InterfaceId, MAX_PACKET};
use crate::link::LinkType;
use pcap_file::pcap::{PcapHeader, PcapParser};
use pcap_file::{PcapError, TsResolution};
use uct_engine::Time;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Whether a file begins like one of the four kinds.
pub(super) fn is_magic(head: &[u8]) -> bool {
    head.starts_with(&[0xa1, 0xb2, 0xc3, 0xd4])
        || head.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1])
        || head.starts_with(&[0xa1, 0xb2, 0x3c, 0x4d])
        || head.starts_with(&[0x4d, 0x3c, 0xb2, 0xa1])
}

pub(super) struct Pcap {
    parser: PcapParser,
    link: LinkType,
    /// Nanoseconds per unit of the second timestamp field.
    unit: u64,
}

impl Pcap {
    /// Reads the file header and adds the file's one interface.
    pub(super) fn open(input: &mut Input, interfaces: &mut Vec<Interface>) -> Result<Self, CaptureError> {
        let have = input.fill(FILE_HEADER, 1)?;
        let cut = || Fault::Cut { what: "file header", need: FILE_HEADER as u64, have: have as u64 };
        let Ok((_, parser)) = PcapParser::new(input.peek()) else {
            return Err(input.error(cut(), 1));
        };
        let PcapHeader { version_major, version_minor, datalink, ts_resolution, .. } = parser.header();
        if version_major != 2 {
            let fault = Fault::Version { format: "pcap", major: version_major, minor: version_minor };
            return Err(input.error_of_file(fault));
        }
        let link = LinkType::from_code(u32::from(datalink) as u16);
        if let LinkType::Other(_) = link {
            return Err(input.error_of_file(Fault::LinkType(link)));
        }
        input.consume(FILE_HEADER);
        interfaces.push(Interface { name: None, link, mac: None });
        let unit = match ts_resolution {
            TsResolution::MicroSecond => 1000,
            TsResolution::NanoSecond => 1,
        };
        Ok(Pcap { parser, link, unit })
    }

    pub(super) fn next(&mut self, input: &mut Input, packet: u64) -> Result<Option<Record>, CaptureError> {
        let mut have = input.fill(RECORD_HEADER, packet)?;
        if have == 0 {
            return Ok(None);
        }
        if have < RECORD_HEADER {
            let fault = Fault::Cut { what: "packet's header", need: RECORD_HEADER as u64, have: have as u64 };
            return Err(input.error(fault, packet));
        }
        // The length is checked before the crate sees it, for it would ask for more and more of the file.
        let len = self.captured(input.peek());
        if len > MAX_PACKET {
            let fault = Fault::TooLong { what: "packet", len: len.into(), limit: MAX_PACKET.into() };
            return Err(input.error(fault, packet));
        }
        let total = RECORD_HEADER + len as usize;
        have = input.fill(total, packet)?;
        match self.parser.next_raw_packet(input.peek()) {
            Ok((_, raw)) => {
                let nanos = u64::from(raw.ts_sec) * 1_000_000_000 + u64::from(raw.ts_frac) * self.unit;
                Ok(Some(Record {
                    at: Time::from_nanos(nanos),
                    iface: InterfaceId(0),
                    link: self.link,
                    crossing: None,
                    // Writers exist that leave the second length at nought; the packet was at least as long as what is here.
                    wire_len: raw.orig_len.max(raw.incl_len),
                    data: RECORD_HEADER,
                    len: len as usize,
                    total,
                }))
            }
            Err(PcapError::IncompleteBuffer) => {
                let (need, have) = (u64::from(len), (have - RECORD_HEADER) as u64);
                Err(input.error(Fault::Cut { what: "packet", need, have }, packet))
            }
            Err(e) => Err(input.error(Fault::Damaged(e.to_string()), packet)),
        }
    }

    /// Whether a whole packet is at hand.
    pub(super) fn is_ready(&self, input: &Input) -> bool {
        let head = input.peek();
        head.len() >= RECORD_HEADER && head.len() - RECORD_HEADER >= self.captured(head) as usize
    }

    /// The captured length of the record whose header is at the start of `head`.
    fn captured(&self, head: &[u8]) -> u32 {
        let field = match head.get(8..12).and_then(|b| <[u8; 4]>::try_from(b).ok()) {
            Some(field) => field,
            None => return 0,
        };
        if self.parser.header().endianness.is_big() { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }
}
