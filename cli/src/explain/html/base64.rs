//! Base64 (RFC 4648 §4) as a writer: bytes go in, letters go on.

use std::io::{self, Write};

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes base64 to what is inside.
pub(super) struct Base64<W> {
    inner: W,
    /// Bytes that wait for a third.
    rest: Vec<u8>,
}

impl<W: Write> Base64<W> {
    pub(super) fn new(inner: W) -> Self {
        Base64 { inner, rest: Vec::with_capacity(3) }
    }

    /// Writes what waits, with padding; gives back what is inside.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.rest.is_empty() {
            let letters = quad(&self.rest);
            self.inner.write_all(&letters)?;
        }
        Ok(self.inner)
    }
}

impl<W: Write> Write for Base64<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.rest.push(*byte);
            if self.rest.len() == 3 {
                let letters = quad(&self.rest);
                self.rest.clear();
                self.inner.write_all(&letters)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// One to three bytes as four letters.
fn quad(bytes: &[u8]) -> [u8; 4] {
    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
    let all = byte(0) << 16 | byte(1) << 8 | byte(2);
    let letter = |at: usize| match at <= bytes.len() {
        true => LETTERS[(all >> (18 - 6 * at)) as usize & 63],
        false => b'=',
    };
    [letter(0), letter(1), letter(2), letter(3)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4648 §10.
    #[test]
    fn as_the_rfc_says() {
        let coded = |text: &str| {
            let mut base64 = Base64::new(Vec::new());
            base64.write_all(text.as_bytes()).expect("a vector takes all");
            String::from_utf8(base64.finish().expect("a vector takes all")).expect("letters")
        };
        let examples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (text, letters) in examples {
            assert_eq!(coded(text), letters);
        }
        assert_eq!(coded("foobar"), "Zm9vYmFy");
    }
}
