//! Writing pcapng: one section, one interface description per interface, enhanced packets in nanoseconds.
//!
//! ```text
//!  section header (shb_userappl) ─ interface (if_name, if_tsresol 9) … ─ packet (flags, packetid, verdict, comments) …
//! ```
//! Packets are put together here and framed by the crate's `RawBlock`: its typed packet block can name neither
//! `epb_packetid` nor `epb_verdict`, and walks every packet twice.
//!
//! The same calls give the same bytes: nothing of the host (its name, its system, its clock) is written.

use super::behind::Behind;
use super::fault::{CaptureError, Fault};
use super::{Crossing, Interface, InterfaceId, Outgoing, Sink, Verdict};
use byteorder_slice::LittleEndian;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{Block, RawBlock};
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
/// Type, length, and length again at the end.
const FRAMING: usize = 12;
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
    /// The packet block under construction.
    body: Vec<u8>,
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
            body: Vec::new(),
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
        let body = &mut self.body;
        body.clear();
        let nanos = frame.at.as_nanos();
        let (captured, wire_len) = (frame.bytes.len() as u32, frame.wire_len.max(frame.bytes.len() as u32));
        for field in [frame.iface.0, (nanos >> 32) as u32, nanos as u32, captured, wire_len] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        body.extend_from_slice(frame.bytes);
        pad(body);
        let packet = body.len();
        for comment in frame.comments {
            option(body, OPT_COMMENT, cut(comment).as_bytes());
        }
        if let Some(crossing) = frame.crossing {
            let flags: u32 = match crossing {
                Crossing::Inbound => 1,
                Crossing::Outbound => 2,
            };
            option(body, OPT_FLAGS, &flags.to_le_bytes());
        }
        if let Some(id) = frame.packet_id {
            option(body, OPT_PACKETID, &id.to_le_bytes());
        }
        if let Some(verdict) = frame.verdict {
            let action = match verdict {
                Verdict::Pass => TC_ACT_OK,
                Verdict::Drop => TC_ACT_SHOT,
            };
            let [a, b, c, d, e, f, g, h] = action.to_le_bytes();
            option(body, OPT_VERDICT, &[VERDICT_TC, a, b, c, d, e, f, g, h]);
        }
        if body.len() > packet {
            option(body, OPT_END, &[]);
        }
        let len = (FRAMING + body.len()) as u32;
        let block = RawBlock {
            type_: ENHANCED_PACKET,
            initial_len: len,
            body: Cow::Borrowed(body.as_slice()),
            trailer_len: len,
        };
        let wrote = block.write_to::<LittleEndian, _>(&mut self.buf);
        self.wrote(wrote)
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

/// Fills up to 32 bits.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Text that fits in one option.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(usize::from(u16::MAX))).rev().find(|i| text.is_char_boundary(*i));
    &text[..end.unwrap_or(0)]
}
