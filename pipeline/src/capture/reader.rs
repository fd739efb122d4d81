//! Reading captures of either format.

use super::fault::{CaptureError, Fault};
use super::input::Input;
use super::{Crossing, Frame, Interface, InterfaceId, Source, pcap, pcapng};
use crate::link::LinkType;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use uct_engine::Time;

/// A packet record as its format describes it, before it is consumed.
pub(super) struct Record {
    pub(super) at: Time,
    pub(super) iface: InterfaceId,
    pub(super) link: LinkType,
    pub(super) crossing: Option<Crossing>,
    pub(super) wire_len: u32,
    /// Where the packet's bytes begin within the record.
    pub(super) data: usize,
    /// How many bytes of the packet there are.
    pub(super) len: usize,
    /// How long the whole record is.
    pub(super) total: usize,
}

enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
    /// At the end, or after a fault.
    Done,
}

/// A capture file, or standard input, as a [`Source`].
pub struct Reader {
    input: Input,
    format: Format,
    interfaces: Vec<Interface>,
    frames: u64,
}

impl Reader {
    /// Opens a capture; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path.as_os_str() == "-" {
            return Reader::new("standard input", io::stdin());
        }
        let file = path.display().to_string();
        match File::open(path) {
            Ok(from) if from.metadata().is_ok_and(|m| m.is_dir()) => {
                let fault = Fault::Io(io::ErrorKind::IsADirectory.into());
                Err(CaptureError { file, place: None, fault })
            }
            Ok(from) => Reader::new(file, from),
            Err(e) => Err(CaptureError { file, place: None, fault: Fault::Io(e) }),
        }
    }

    /// Reads a capture from anywhere; `file` is what errors call it.
    pub fn new(file: impl Into<String>, from: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let mut input = Input::new(file.into(), Box::new(from))?;
        let ready = input.fill(4, 1)?;
        let mut interfaces = Vec::new();
        let format = match input.peek() {
            [] => return Err(input.error_of_file(Fault::Empty)),
            magic if pcap::is_magic(magic) => Format::Pcap(pcap::Pcap::open(&mut input, &mut interfaces)?),
            magic if pcapng::is_magic(magic) => Format::Pcapng(pcapng::Pcapng::default()),
            other => {
                let other = other[..ready.min(16)].to_vec();
                return Err(input.error_of_file(Fault::NotACapture(looks_like(&other))));
            }
        };
        let mut reader = Reader { input, format, interfaces, frames: 0 };
        // The first section header is read at once, so that a broken file is told at opening like a broken classic one.
        if let Format::Pcapng(format) = &mut reader.format {
            format.open(&mut reader.input)?;
        }
        Ok(reader)
    }
}

impl Source for Reader {
    fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let number = self.frames + 1;
        let found = match &mut self.format {
            Format::Pcap(format) => format.next(&mut self.input, number),
            Format::Pcapng(format) => format.next(&mut self.input, &mut self.interfaces, number),
            Format::Done => Ok(None),
        };
        let record = match found {
            Ok(Some(record)) => record,
            end => {
                self.format = Format::Done;
                return end.map(|_| None);
            }
        };
        if let LinkType::Other(_) = record.link {
            self.format = Format::Done;
            return Err(self.input.error(Fault::LinkType(record.link), number));
        }
        self.frames = number;
        let offset = self.input.offset();
        self.input.consume(record.total);
        Ok(Some(Frame {
            at: record.at,
            iface: record.iface,
            link: record.link,
            crossing: record.crossing,
            bytes: self.input.behind(record.total - record.data, record.len),
            wire_len: record.wire_len,
            number,
            offset,
        }))
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn is_ready(&self) -> bool {
        match &self.format {
            Format::Pcap(format) => format.is_ready(&self.input),
            Format::Pcapng(format) => format.is_ready(&self.input),
            Format::Done => true,
        }
    }
}

/// What a file that is no capture seems to be.
fn looks_like(head: &[u8]) -> String {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"PK\x03\x04", "a zip archive"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"BZh", "compressed with bzip2"),
        (b"\x04\x22\x4d\x18", "compressed with lz4"),
        (b"snoop\0\0\0", "a snoop capture"),
        (b"\x34\xcd\xb2\xa1", "a pcap of the old modified kind (magic a1b2cd34)"),
        (b"\xa1\xb2\xcd\x34", "a pcap of the old modified kind (magic a1b2cd34)"),
        (b"GMBU", "a Microsoft Network Monitor capture"),
        (b"TRSNIFF data", "a Sniffer capture"),
        (b"\x7fELF", "a program"),
    ];
    if let Some((_, what)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return format!("it is {what}");
    }
    let text = |b: &u8| b.is_ascii_graphic() || b" \t\r\n".contains(b);
    if head.iter().all(text) {
        return format!("it looks like text, beginning with {:?}", String::from_utf8_lossy(head));
    }
    let hex: Vec<String> = head.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("it begins with the bytes {}", hex.join(" "))
}
