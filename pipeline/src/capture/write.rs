//! Writing pcapng: one section, one interface description per interface, enhanced packets in nanoseconds.
//!
//! ```text
//!  section header (shb_userappl) ─ interface (if_name, if_tsresol 9) … ─ packet (flags, packetid, verdict, comments) …
//! ```
//! Packet blocks are put together here, in the buffer that is written, so that a packet is copied once: the crate's typed packet
//! block can name neither `epb_packetid` nor `epb_verdict`, and its `RawBlock` wants the body in one piece somewhere else.
//!
//! The same calls give the same bytes: nothing of the host (its name, its system, its clock) is written.

use super::behind::Behind;
use super::fault::{CaptureError, Fault};
use super::{Crossing, Interface, InterfaceId, Outgoing, Sink, Verdict};
use byteorder_slice::LittleEndian;
use pcap_file::pcapng::Block;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// How much is collected before it is written, in bytes.
const CHUNK: usize = 256 << 10;
/// Nanoseconds: 10 to the power of minus 9.
const TSRESOL: u8 = 9;
const ENHANCED_PACKET: u32 = 6;
/// What a packet block has before the packet: type, length, interface, time in two halves, captured length, length on the wire.
const HEAD: usize = 28;
/// A length, and every other field.
const LEN: usize = 4;
/// What stands behind a packet without remarks, at most.
const ROOM: usize = 64;
const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const OPT_FLAGS: u16 = 2;
const OPT_PACKETID: u16 = 5;
const OPT_VERDICT: u16 = 7;
/// `epb_verdict` of the kind "Linux eBPF TC": the value is a `TC_ACT_` number.
const VERDICT_TC: u8 = 1;
const TC_ACT_OK: u64 = 0;
const TC_ACT_SHOT: u64 = 2;

/// A pcapng file, or standard output, as a [`Sink`].
pub struct Writer {
    file: String,
    to: To,
    buf: Vec<u8>,
    known: HashMap<(Option<String>, u16), InterfaceId>,
}

/// Where the bytes go.
enum To {
    /// There, at once: as long as they fit in one buffer, and where there can be no thread.
    Here(Box<dyn Write + Send>),
    /// There, if a thread can be had.
    Undecided(Box<dyn Write + Send>),
    Behind(Behind),
    /// Between two of the others.
    Nowhere,
}

impl To {
    /// Takes over what is in the buffer, and leaves it empty: also when writing fails, so that a sink whose errors are
    /// ignored cannot grow.
    fn put(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        if let To::Undecided(_) = self
            && let To::Undecided(to) = std::mem::replace(self, To::Nowhere)
        {
            *self = Behind::new(to).map_or_else(To::Here, To::Behind);
        }
        let result = match self {
            To::Here(to) | To::Undecided(to) => to.write_all(buffer),
            To::Behind(behind) => behind.put(buffer),
            To::Nowhere => Ok(()),
        };
        buffer.clear();
        result
    }

    /// Writes the last bytes and waits until everything is written.
    fn finish(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let result = match self {
            To::Here(to) | To::Undecided(to) => to.write_all(buffer).and_then(|()| to.flush()),
            To::Behind(behind) => behind.put(buffer).and_then(|()| behind.flush()),
            To::Nowhere => Ok(()),
        };
        buffer.clear();
        result
    }
}

impl Writer {
    /// Creates a file, or takes standard output for `-`.
    pub fn create(path: &Path) -> Result<Self, CaptureError> {
        if path.as_os_str() == "-" {
            return Writer::new("standard output", io::stdout());
        }
        let file = path.display().to_string();
        match File::create(path) {
            Ok(to) => Writer::new(file, to),
            Err(e) => Err(CaptureError { file, place: None, fault: Fault::Io(e) }),
        }
    }

    /// Writes to anything; `file` is what errors call it.
    pub fn new(file: impl Into<String>, to: impl Write + Send + 'static) -> Result<Self, CaptureError> {
        let mut writer = Writer {
            file: file.into(),
            to: To::Undecided(Box::new(to)),
            buf: Vec::with_capacity(CHUNK * 2),
            known: HashMap::default(),
        };
        let application = concat!("uct ", env!("CARGO_PKG_VERSION"));
        writer.block(&Block::SectionHeader(SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(application))],
            ..SectionHeaderBlock::default()
        }))?;
        Ok(writer)
    }

    fn block(&mut self, block: &Block<'_>) -> Result<(), CaptureError> {
        let wrote = block.write_to::<LittleEndian, _>(&mut self.buf);
        self.wrote(wrote)
    }

    fn wrote(&mut self, wrote: io::Result<usize>) -> Result<(), CaptureError> {
        let full = self.buf.len() >= CHUNK;
        wrote.and_then(|_| if full { self.to.put(&mut self.buf) } else { Ok(()) }).map_err(|e| self.error(e))
    }

    fn error(&self, e: io::Error) -> CaptureError {
        CaptureError { file: self.file.clone(), place: None, fault: Fault::Io(e) }
    }
}

impl Sink for Writer {
    fn interface(&mut self, interface: &Interface) -> Result<InterfaceId, CaptureError> {
        let key = (interface.name.clone(), interface.link.code());
        if let Some(id) = self.known.get(&key) {
            return Ok(*id);
        }
        let id = InterfaceId(self.known.len() as u32);
        let mut options = Vec::new();
        if let Some(name) = &interface.name {
            options.push(InterfaceDescriptionOption::IfName(Cow::Borrowed(cut(name))));
        }
        if let Some(mac) = &interface.mac {
            options.push(InterfaceDescriptionOption::IfMacAddr(Cow::Borrowed(&mac.0)));
        }
        options.push(InterfaceDescriptionOption::IfTsResol(TSRESOL));
        let linktype = DataLink::from(u32::from(interface.link.code()));
        self.block(&Block::InterfaceDescription(InterfaceDescriptionBlock { linktype, snaplen: 0, options }))?;
        self.known.insert(key, id);
        Ok(id)
    }

    fn send(&mut self, frame: &Outgoing<'_>) -> Result<(), CaptureError> {
        if frame.iface.index() >= self.known.len() {
            let fault = Fault::NoSuchInterface { id: frame.iface.0, known: self.known.len() };
            return Err(CaptureError { file: self.file.clone(), place: None, fault });
        }
        let buf = &mut self.buf;
        let start = buf.len();
        let nanos = frame.at.as_nanos();
        let captured = (frame.head.len() + frame.bytes.len()) as u32;
        let (high, low) = ((nanos >> 32) as u32, nanos as u32);
        let wire_len = frame.wire_len.max(captured);
        let fields: [u32; HEAD / LEN] = [ENHANCED_PACKET, 0, frame.iface.0, high, low, captured, wire_len];
        let mut head = [0; HEAD];
        for (place, field) in head.chunks_exact_mut(LEN).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        buf.reserve(HEAD + captured as usize + ROOM);
        buf.extend_from_slice(&head);
        buf.extend_from_slice(frame.head);
        buf.extend_from_slice(frame.bytes);
        pad(buf);
        let packet = buf.len();
        for comment in frame.comments {
            option(buf, OPT_COMMENT, cut(comment).as_bytes());
        }
        if let Some(crossing) = frame.crossing {
            let flags: u32 = match crossing {
                Crossing::Inbound => 1,
                Crossing::Outbound => 2,
            };
            option(buf, OPT_FLAGS, &flags.to_le_bytes());
        }
        if let Some(id) = frame.packet_id {
            option(buf, OPT_PACKETID, &id.to_le_bytes());
        }
        if let Some(verdict) = frame.verdict {
            let action = match verdict {
                Verdict::Pass => TC_ACT_OK,
                Verdict::Drop => TC_ACT_SHOT,
            };
            let [a, b, c, d, e, f, g, h] = action.to_le_bytes();
            option(buf, OPT_VERDICT, &[VERDICT_TC, a, b, c, d, e, f, g, h]);
        }
        if buf.len() > packet {
            option(buf, OPT_END, &[]);
        }
        let len = ((buf.len() - start + LEN) as u32).to_le_bytes();
        buf[start + LEN..start + 2 * LEN].copy_from_slice(&len);
        buf.extend_from_slice(&len);
        self.wrote(Ok(0))
    }

    fn finish(&mut self) -> Result<(), CaptureError> {
        self.to.finish(&mut self.buf).map_err(|e| self.error(e))
    }
}

impl Drop for Writer {
    /// A writer that is dropped early still leaves whole blocks behind.
    fn drop(&mut self) {
        let _ = self.to.finish(&mut self.buf);
    }
}

/// Appends an option.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

/// Fills up to 32 bits. Blocks are whole multiples of them, so the buffer counts like the block.
fn pad(body: &mut Vec<u8>) {
    let missing = body.len().wrapping_neg() % LEN;
    body.extend_from_slice(&[0; LEN][..missing]);
}

/// Text that fits in one option.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(usize::from(u16::MAX))).rev().find(|i| text.is_char_boundary(*i));
    &text[..end.unwrap_or(0)]
}
