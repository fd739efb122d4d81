//! Ports as the capture has them: what the original router drew at random is seen in the answers that came to it.
//!
//! ```text
//!   first pass    198.51.100.80:80 → 203.0.113.1:43982 arrives, so somebody was 203.0.113.1:43982 to that server
//!   replay        a port towards 198.51.100.80:80 must be drawn for 203.0.113.1: it is 43982
//! ```
//! Where no answer tells, and for destinations, the seed draws. Each port serves once; of several the one whose answer came
//! first is taken. Without this a capture's answers go to ports that the replay does not know, as soon as one was drawn.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use uct_engine::{L4, Manip, Packet, Protocol, Tuple};
use uct_nat::{Ask, Draw, Seeded};
use uct_pipeline::capture::{CaptureError, Reader, Source};
use uct_pipeline::link;

/// An answer but for the port that it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answer {
    protocol: Protocol,
    from: IpAddr,
    /// The answering port; of ICMP type and code.
    from_id: u16,
    to: IpAddr,
}

impl Answer {
    /// The answer that a tuple is, and the port that it came to.
    fn of(tuple: &Tuple) -> Option<(Answer, u16)> {
        let (from_id, to_id) = match tuple.l4 {
            L4::Ports { src, dst } => (src, dst),
            L4::Icmp { kind, code, id } => (u16::from_be_bytes([kind, code]), id),
            L4::Keys { .. } | L4::None => return None,
        };
        Some((Answer { protocol: tuple.protocol, from: tuple.src, from_id, to: tuple.dst }, to_id))
    }
}

/// Draws the ports that the capture's answers came to.
#[derive(Debug)]
pub struct AsCaptured {
    /// Ports in the order in which answers first came to them.
    ports: HashMap<Answer, Vec<u16>>,
    seeded: Seeded,
}

impl AsCaptured {
    /// Reads a whole capture. A fault in it ends the reading: whoever replays it will say so.
    pub fn read(capture: &Path, seed: u64) -> Result<AsCaptured, CaptureError> {
        let mut reader = Reader::open(capture)?;
        let mut ports: HashMap<Answer, Vec<u16>> = HashMap::new();
        let mut bytes = Vec::new();
        while let Ok(Some(frame)) = reader.next() {
            let Ok(header) = link::parse(frame.link, frame.bytes) else { continue };
            bytes.clear();
            bytes.extend_from_slice(&frame.bytes[header.offset..]);
            let wire_len = bytes.len() + frame.missing() as usize;
            let tuple = Packet::parse(&mut bytes, wire_len).ok().and_then(|p| p.tuple());
            if let Some((answer, port)) = tuple.as_ref().and_then(Answer::of) {
                let known = ports.entry(answer).or_default();
                if !known.contains(&port) {
                    known.push(port);
                }
            }
        }
        Ok(AsCaptured { ports, seeded: Seeded::new(seed) })
    }

    fn captured(&mut self, ask: &Ask<'_>) -> Option<u16> {
        if ask.manip != Manip::Src {
            return None;
        }
        let (answer, _) = Answer::of(&ask.wanted.inverse()?)?;
        let ports = self.ports.get_mut(&answer)?;
        let at = ports.iter().position(|port| ask.would_take(*port))?;
        ask.offset_of(ports.remove(at))
    }
}

impl Draw for AsCaptured {
    fn offset(&mut self, ask: &Ask<'_>) -> u16 {
        // The seed's draw is made in any case, so that what follows does not depend on what the capture knew.
        let drawn = self.seeded.offset(ask);
        self.captured(ask).unwrap_or(drawn)
    }
}
