//! Bytes of a capture: one buffer over a file, standard input or a decoder, which counts what it gave out.

use super::fault::{CaptureError, Fault, Layer, Place};
use std::io::{self, Read};

/// How much is asked for at once, in bytes. Large enough that the system call does not count, small enough for the cache.
pub(super) const CHUNK: usize = 256 << 10;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Zstandard's skippable frames, with which a file may begin: 0x184D2A50 to 0x184D2A5F, little-endian.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

pub(super) struct Input {
    file: String,
    from: Box<dyn Read + Send>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of `buf[start]`.
    offset: u64,
    layer: Layer,
}

impl Input {
    /// Takes `from`, unpacking it if it begins like gzip or zstd.
    pub(super) fn new(file: String, from: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        let mut plain = Input { file, from, buf: vec![0; CHUNK], start: 0, end: 0, offset: 0, layer: Layer::File };
        plain.fill(4, 1)?;
        let magic = plain.peek();
        let gzip = magic.starts_with(GZIP);
        let zstd = magic.starts_with(ZSTD) || (magic.get(1..4) == Some(ZSTD_SKIPPABLE) && magic[0] & 0xf0 == 0x50);
        if !gzip && !zstd {
            return Ok(plain);
        }
        let Input { file, from, buf, start, end, .. } = plain;
        let whole = io::Cursor::new(buf[start..end].to_vec()).chain(from);
        // Several members or frames one after the other are one stream, as `cat a.gz b.gz` and parallel packers make them.
        let from: Box<dyn Read + Send> = if gzip {
            Box::new(flate2::read::MultiGzDecoder::new(whole))
        } else {
            match zstd::stream::read::Decoder::new(whole) {
                Ok(decoder) => Box::new(decoder),
                Err(e) => return Err(CaptureError { file, place: None, fault: Fault::Io(e) }),
            }
        };
        Ok(Input { file, from, buf, start: 0, end: 0, offset: 0, layer: Layer::Unpacked })
    }

    /// Tries to have `want` bytes ready and answers how many are: fewer only at the end of the file.
    pub(super) fn fill(&mut self, want: usize, packet: u64) -> Result<usize, CaptureError> {
        let ready = self.end - self.start;
        if ready >= want {
            return Ok(ready);
        }
        self.refill(want).map_err(|e| {
            let fault = match (e.kind(), self.layer) {
                (io::ErrorKind::UnexpectedEof, Layer::Unpacked) => Fault::CutCompressed,
                _ => Fault::Io(e),
            };
            self.error(fault, packet)
        })
    }

    #[cold]
    fn refill(&mut self, want: usize) -> io::Result<usize> {
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buf.len() < want {
            self.buf.resize(want.max(CHUNK), 0);
        }
        while self.end < want {
            match self.from.read(&mut self.buf[self.end..]) {
                Ok(0) => break,
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.end - self.start)
    }

    /// The bytes that are ready.
    pub(super) fn peek(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// `len` bytes from `back` bytes before the present place: part of the record that was just consumed.
    pub(super) fn behind(&self, back: usize, len: usize) -> &[u8] {
        let at = self.start.saturating_sub(back);
        self.buf.get(at..at + len).unwrap_or(&[])
    }

    /// Steps over `n` bytes that are ready.
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.start);
        self.start += n;
        self.offset += n as u64;
    }

    /// Steps over `n` bytes, ready or not; answers how many there were.
    pub(super) fn skip(&mut self, n: u64, packet: u64) -> Result<u64, CaptureError> {
        let mut left = n;
        while left > 0 {
            let step = left.min(CHUNK as u64) as usize;
            let ready = self.fill(step, packet)?.min(step);
            self.consume(ready);
            left -= ready as u64;
            if ready < step {
                break;
            }
        }
        Ok(n - left)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// A fault at the present place.
    #[cold]
    pub(super) fn error(&self, fault: Fault, packet: u64) -> CaptureError {
        let place = Place { byte: self.offset, packet, of: self.layer };
        CaptureError { file: self.file.clone(), place: Some(place), fault }
    }

    /// A fault of the file as such.
    #[cold]
    pub(super) fn error_of_file(&self, fault: Fault) -> CaptureError {
        CaptureError { file: self.file.clone(), place: None, fault }
    }
}
