//! Lines from a client that may be slow, endless, or not a client at all.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a client may take from the first byte of a line to its last.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(Vec<u8>),
    /// More than the longest line.
    TooLong,
    /// Part of a line, and then nothing for too long.
    Stalled,
    /// The client is gone.
    End,
}

/// Reads lines of a bounded length.
#[derive(Debug)]
pub(super) struct Lines {
    stream: UnixStream,
    longest: usize,
    held: Vec<u8>,
    /// Where in `held` no line end was found yet.
    searched: usize,
    since: Option<Instant>,
}

impl Lines {
    pub(super) fn new(stream: UnixStream, longest: usize) -> io::Result<Lines> {
        stream.set_read_timeout(Some(PATIENCE / 4))?;
        Ok(Lines { stream, longest, held: Vec::new(), searched: 0, since: None })
    }

    pub(super) fn next(&mut self) -> Line {
        loop {
            if let Some(at) = self.held[self.searched..].iter().position(|b| *b == b'\n') {
                let end = self.searched + at;
                let rest = self.held.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.held, rest);
                line.truncate(end);
                self.searched = 0;
                self.since = (!self.held.is_empty()).then(Instant::now);
                return Line::Text(line);
            }
            self.searched = self.held.len();
            if self.held.len() > self.longest {
                return Line::TooLong;
            }
            if self.since.is_some_and(|s| s.elapsed() > PATIENCE) {
                return Line::Stalled;
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return Line::End,
                Ok(n) => {
                    self.since.get_or_insert_with(Instant::now);
                    self.held.extend_from_slice(&piece[..n]);
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Line::End,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_come_whole_and_bounded() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(server, 8).unwrap();
        client.write_all(b"one\ntwo").unwrap();
        assert_eq!(lines.next(), Line::Text(b"one".to_vec()));
        client.write_all(b"\n\n123456789").unwrap();
        assert_eq!(lines.next(), Line::Text(b"two".to_vec()));
        assert_eq!(lines.next(), Line::Text(Vec::new()));
        assert_eq!(lines.next(), Line::TooLong);
        drop(client);
    }
}
