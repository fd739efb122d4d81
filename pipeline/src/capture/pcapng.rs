//! pcapng: sections of blocks.
//!
//! ```text
//!  section header ─ interface 0 ─ interface 1 ─ packet ─ packet ─ (names, statistics, keys …: skipped) ─ packet
//!  section header ─ interface 0 ─ …       may be of the other byte order; its interfaces count anew
//!
//!  a block:  type  length  body …  length
//! ```
//! Understood are section headers, interface descriptions, enhanced packets, simple packets, and the obsolete packet
//! block that old Wireshark versions wrote. Everything else is stepped over, however long it is.
//!
//! An option list is read as far as it makes sense: broken options after the bytes of a good packet cost the option, not
//! the packet.

use super::fault::{CaptureError, Fault};
use super::input::Input;
use super::reader::Record;
use super::{Crossing, Interface, InterfaceId, MAX_BLOCK, MAX_INTERFACES, MAX_PACKET};
use crate::link::{LinkType, Mac};
use byteorder_slice::{BigEndian, ByteOrder, LittleEndian};
use pcap_file::pcapng::RawBlock;
use pcap_file::{Endianness, PcapError};
use std::collections::HashMap;
use uct_engine::Time;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Type, length, and length again at the end.
const FRAMING: usize = 12;
/// How much of a section header is needed to know its byte order: type, length, magic.
const SECTION_HEAD: usize = 12;

const OPT_END: u16 = 0;
const EPB_FLAGS: u16 = 2;
const IF_NAME: u16 = 2;
const IF_MAC: u16 = 6;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;

/// Whether a file begins with a section header.
pub(super) fn is_magic(head: &[u8]) -> bool {
    head.starts_with(&SECTION_HEADER.to_be_bytes())
}

/// How an interface's timestamps turn into nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    unit: Unit,
    /// `if_tsoffset`, in nanoseconds.
    offset: i128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// So many nanoseconds each.
    Nanos(u64),
    /// So many to a nanosecond.
    PerNano(u128),
    /// 2 to the power of so many to a second.
    Binary(u8),
}

impl Clock {
    /// From `if_tsresol` (microseconds if absent) and `if_tsoffset` (seconds).
    pub(super) fn new(resolution: u8, offset: i64) -> Self {
        let unit = match resolution {
            0..=9 => Unit::Nanos(10u64.pow(9 - u32::from(resolution))),
            // Finer than 10^-38 s: every 64-bit count of them is less than a nanosecond.
            10..=0x7f => Unit::PerNano(10u128.checked_pow(u32::from(resolution) - 9).unwrap_or(u128::MAX)),
            _ => Unit::Binary(resolution & 0x7f),
        };
        Clock { unit, offset: i128::from(offset) * 1_000_000_000 }
    }

    /// The time that `units` stand for; what lies outside the years 1970 to 2554 becomes the first or the last instant.
    pub(super) fn time(&self, units: u64) -> Time {
        let wide = u128::from(units);
        let nanos = match self.unit {
            Unit::Nanos(each) => wide * u128::from(each),
            Unit::PerNano(many) => wide / many,
            Unit::Binary(shift) => (wide * 1_000_000_000) >> shift,
        };
        // 64 bits of seconds in nanoseconds need 94 bits: the sum cannot overflow.
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(self.offset);
        Time::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// An interface of the present section.
#[derive(Clone, Copy)]
struct Described {
    id: InterfaceId,
    link: LinkType,
    clock: Clock,
    /// Bytes kept of each packet; 0 for all.
    snaplen: u32,
}

/// State of a pcapng file between blocks.
pub(super) struct Pcapng {
    order: Endianness,
    /// The interfaces of the present section.
    described: Vec<Described>,
    /// Every interface so far, by name or by place in its section.
    known: HashMap<(Result<String, usize>, LinkType), InterfaceId>,
    /// Time of the last packet, for those that have none.
    last: Time,
}

impl Default for Pcapng {
    fn default() -> Self {
        Pcapng { order: Endianness::Little, described: Vec::new(), known: HashMap::default(), last: Time::ZERO }
    }
}

impl Pcapng {
    /// Reads the first section header.
    pub(super) fn open(&mut self, input: &mut Input) -> Result<(), CaptureError> {
        if let Some((_, len)) = self.head(input, 1)? {
            self.section(input, len, 1)?;
            input.consume(len as usize);
        }
        Ok(())
    }

    /// The next packet, with what stands before it taken in.
    pub(super) fn next(
        &mut self,
        input: &mut Input,
        interfaces: &mut Vec<Interface>,
        packet: u64,
    ) -> Result<Option<Record>, CaptureError> {
        while let Some((kind, len)) = self.head(input, packet)? {
            match kind {
                SECTION_HEADER => self.section(input, len, packet)?,
                INTERFACE => self.interface(input, len, interfaces, packet)?,
                ENHANCED_PACKET | OLD_PACKET | SIMPLE_PACKET => return self.packet(input, kind, len, packet).map(Some),
                _ => {
                    let have = input.skip(len.into(), packet)?;
                    if have < len.into() {
                        return Err(input.error(Fault::Cut { what: "block", need: len.into(), have }, packet));
                    }
                    continue;
                }
            }
            input.consume(len as usize);
        }
        Ok(None)
    }

    /// Whether a whole packet is at hand. (What stands between packets is rare, and may be waited for.)
    pub(super) fn is_ready(&self, input: &Input) -> bool {
        let head = input.peek();
        let Some(&[t0, t1, t2, t3, l0, l1, l2, l3]) = head.first_chunk::<8>() else { return false };
        let (kind, len) = ([t0, t1, t2, t3], [l0, l1, l2, l3]);
        let (kind, len) = match self.order {
            Endianness::Big => (u32::from_be_bytes(kind), u32::from_be_bytes(len)),
            Endianness::Little => (u32::from_le_bytes(kind), u32::from_le_bytes(len)),
        };
        matches!(kind, ENHANCED_PACKET | OLD_PACKET | SIMPLE_PACKET) && head.len() >= len as usize
    }

    /// Type and length of the block that begins here; at the start of a section also its byte order.
    fn head(&mut self, input: &mut Input, packet: u64) -> Result<Option<(u32, u32)>, CaptureError> {
        let have = input.fill(SECTION_HEAD, packet)?;
        if have == 0 {
            return Ok(None);
        }
        let head = input.peek();
        let Some(&[t0, t1, t2, t3, l0, l1, l2, l3, m0, m1, m2, m3]) = head.first_chunk::<SECTION_HEAD>() else {
            let fault = Fault::Cut { what: "block's header", need: FRAMING as u64, have: have as u64 };
            return Err(input.error(fault, packet));
        };
        let (kind, len) = ([t0, t1, t2, t3], [l0, l1, l2, l3]);
        if kind == SECTION_HEADER.to_be_bytes() {
            self.order = match [m0, m1, m2, m3] {
                [0x1a, 0x2b, 0x3c, 0x4d] => Endianness::Big,
                [0x4d, 0x3c, 0x2b, 0x1a] => Endianness::Little,
                other => {
                    let why = format!("section header with byte-order magic {other:02x?}");
                    return Err(input.error(Fault::Damaged(why), packet));
                }
            };
        }
        let (kind, len) = match self.order {
            Endianness::Big => (u32::from_be_bytes(kind), u32::from_be_bytes(len)),
            Endianness::Little => (u32::from_le_bytes(kind), u32::from_le_bytes(len)),
        };
        if len % 4 != 0 || len < FRAMING as u32 {
            let why = format!("block of type {kind} with a length of {len} bytes");
            return Err(input.error(Fault::Damaged(why), packet));
        }
        Ok(Some((kind, len)))
    }

    /// The body of the block of `len` bytes that begins here.
    fn body<'i>(&self, input: &'i mut Input, len: u32, packet: u64) -> Result<&'i [u8], CaptureError> {
        if len > MAX_BLOCK {
            let fault = Fault::TooLong { what: "block", len: len.into(), limit: MAX_BLOCK.into() };
            return Err(input.error(fault, packet));
        }
        let have = input.fill(len as usize, packet)?;
        // The crate's word is needed only for what is wrong.
        if let Some([l0, l1, l2, l3]) = input.peek().get(len as usize - 4..len as usize)
            && input.peek().get(4..8) == Some(&[*l0, *l1, *l2, *l3])
        {
            return Ok(input.peek().get(8..len as usize - 4).unwrap_or(&[]));
        }
        let raw = match self.order {
            Endianness::Big => RawBlock::from_slice::<BigEndian>(input.peek()),
            Endianness::Little => RawBlock::from_slice::<LittleEndian>(input.peek()),
        };
        match raw {
            // The crate borrows the body from what it is given; the same bytes are taken again to keep the borrow simple.
            Ok(_) => Ok(input.peek().get(8..len as usize - 4).unwrap_or(&[])),
            Err(PcapError::IncompleteBuffer) => {
                let fault = Fault::Cut { what: "block", need: len.into(), have: have as u64 };
                Err(input.error(fault, packet))
            }
            Err(PcapError::InvalidField(_)) => {
                let why = format!("the block's two lengths differ; the first is {len}");
                Err(input.error(Fault::Damaged(why), packet))
            }
            Err(e) => Err(input.error(Fault::Damaged(e.to_string()), packet)),
        }
    }

    fn section(&mut self, input: &mut Input, len: u32, packet: u64) -> Result<(), CaptureError> {
        let order = self.order;
        let body = self.body(input, len, packet)?;
        let fields = Fields { order, bytes: body };
        let (Some(major), Some(minor)) = (fields.u16(4), fields.u16(6)) else {
            return Err(input.error(Fault::Damaged(format!("section header of {len} bytes")), packet));
        };
        if major != 1 {
            return Err(input.error(Fault::Version { format: "pcapng", major, minor }, packet));
        }
        self.described.clear();
        Ok(())
    }

    fn interface(
        &mut self,
        input: &mut Input,
        len: u32,
        interfaces: &mut Vec<Interface>,
        packet: u64,
    ) -> Result<(), CaptureError> {
        let order = self.order;
        let body = self.body(input, len, packet)?;
        let fields = Fields { order, bytes: body };
        let (Some(link), Some(snaplen)) = (fields.u16(0), fields.u32(4)) else {
            return Err(input.error(Fault::Damaged(format!("interface description of {len} bytes")), packet));
        };
        let link = LinkType::from_code(link);
        let (mut name, mut mac, mut resolution, mut offset) = (None, None, 6, 0);
        for (code, value) in fields.options(8) {
            match code {
                IF_NAME => name = Some(printable(value)).filter(|n| !n.is_empty()),
                IF_MAC => mac = value.try_into().ok().map(Mac),
                IF_TSRESOL => resolution = value.first().copied().unwrap_or(resolution),
                IF_TSOFFSET => offset = Fields { order, bytes: value }.u64(0).unwrap_or(0) as i64,
                _ => {}
            }
        }
        if self.described.len() >= MAX_INTERFACES {
            return Err(input.error(Fault::TooManyInterfaces(MAX_INTERFACES), packet));
        }
        // An interface of an earlier section is known again by its name, a nameless one by its place in the section.
        let key = (name.clone().ok_or(self.described.len()), link);
        let id = match self.known.get(&key) {
            Some(id) => *id,
            None if interfaces.len() >= MAX_INTERFACES => {
                return Err(input.error(Fault::TooManyInterfaces(MAX_INTERFACES), packet));
            }
            None => {
                let id = InterfaceId(interfaces.len() as u32);
                interfaces.push(Interface { name, link, mac });
                self.known.insert(key, id);
                id
            }
        };
        self.described.push(Described { id, link, clock: Clock::new(resolution, offset), snaplen });
        Ok(())
    }

    fn packet(&mut self, input: &mut Input, kind: u32, len: u32, packet: u64) -> Result<Record, CaptureError> {
        let order = self.order;
        let body = self.body(input, len, packet)?;
        let fields = Fields { order, bytes: body };
        let heads = match kind {
            ENHANCED_PACKET => fields.enhanced(),
            OLD_PACKET => fields.old(),
            _ => fields.simple(self.described.first().map_or(0, |d| d.snaplen)),
        };
        let Some(head) = heads else {
            return Err(input.error(Fault::Damaged(format!("packet block of {len} bytes")), packet));
        };
        if head.captured > MAX_PACKET {
            let fault = Fault::TooLong { what: "packet", len: head.captured.into(), limit: MAX_PACKET.into() };
            return Err(input.error(fault, packet));
        }
        let end = head.data + head.captured as usize;
        if end > body.len() {
            let (block, captured) = (body.len() - head.data, head.captured);
            let why = format!("a packet of {captured} bytes in a block that has room for {block}");
            return Err(input.error(Fault::Damaged(why), packet));
        }
        let options = if kind == SIMPLE_PACKET { body.len() } else { end.next_multiple_of(4) };
        let crossing = fields.options(options).find(|(code, _)| *code == EPB_FLAGS).and_then(|(_, value)| {
            let flags = Fields { order, bytes: value }.u32(0)?;
            match flags & 0b11 {
                1 => Some(Crossing::Inbound),
                2 => Some(Crossing::Outbound),
                _ => None,
            }
        });
        let Some(of) = self.described.get(head.iface as usize) else {
            let fault = Fault::NoSuchInterface { id: head.iface, known: self.described.len() };
            return Err(input.error(fault, packet));
        };
        if let Some(units) = head.units {
            self.last = of.clock.time(units);
        }
        Ok(Record {
            at: self.last,
            iface: of.id,
            link: of.link,
            crossing,
            wire_len: head.wire_len.max(head.captured),
            data: 8 + head.data,
            len: head.captured as usize,
            total: len as usize,
        })
    }
}

/// What the three kinds of packet blocks have in common.
struct PacketHead {
    iface: u32,
    units: Option<u64>,
    captured: u32,
    wire_len: u32,
    /// Where the packet begins in the body.
    data: usize,
}

/// Fields of a block's body in the section's byte order.
#[derive(Clone, Copy)]
struct Fields<'b> {
    order: Endianness,
    bytes: &'b [u8],
}

impl<'b> Fields<'b> {
    fn u16(&self, at: usize) -> Option<u16> {
        let b = self.bytes.get(at..at + 2)?;
        Some(if self.order.is_big() { BigEndian::read_u16(b) } else { LittleEndian::read_u16(b) })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let b = self.bytes.get(at..at + 4)?;
        Some(if self.order.is_big() { BigEndian::read_u32(b) } else { LittleEndian::read_u32(b) })
    }

    fn u64(&self, at: usize) -> Option<u64> {
        let b = self.bytes.get(at..at + 8)?;
        Some(if self.order.is_big() { BigEndian::read_u64(b) } else { LittleEndian::read_u64(b) })
    }

    /// A timestamp: two halves, the higher first in either byte order.
    fn units(&self, at: usize) -> Option<u64> {
        Some(u64::from(self.u32(at)?) << 32 | u64::from(self.u32(at + 4)?))
    }

    fn enhanced(&self) -> Option<PacketHead> {
        let (iface, units) = (self.u32(0)?, Some(self.units(4)?));
        Some(PacketHead { iface, units, captured: self.u32(12)?, wire_len: self.u32(16)?, data: 20 })
    }

    fn old(&self) -> Option<PacketHead> {
        let (iface, units) = (u32::from(self.u16(0)?), Some(self.units(4)?));
        Some(PacketHead { iface, units, captured: self.u32(12)?, wire_len: self.u32(16)?, data: 20 })
    }

    /// A simple packet has no captured length: it is the length on the wire, cut by the interface's snap length.
    fn simple(&self, snaplen: u32) -> Option<PacketHead> {
        let wire_len = self.u32(0)?;
        let captured = if snaplen == 0 { wire_len } else { wire_len.min(snaplen) };
        Some(PacketHead { iface: 0, units: None, captured, wire_len, data: 4 })
    }

    /// The options from `at` on: code and value. Ends at the first that is broken.
    fn options(&self, at: usize) -> impl Iterator<Item = (u16, &'b [u8])> + use<'b> {
        let Fields { order, bytes } = *self;
        let mut rest = bytes.get(at..).unwrap_or(&[]);
        std::iter::from_fn(move || {
            let fields = Fields { order, bytes: rest };
            let (code, len) = (fields.u16(0)?, usize::from(fields.u16(2)?));
            let value = rest.get(4..4 + len).filter(|_| code != OPT_END)?;
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or(&[]);
            Some((code, value))
        })
    }
}

/// Text of an option: ended by a nought if there is one, control characters replaced.
fn printable(value: &[u8]) -> String {
    let text = value.split(|b| *b == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
