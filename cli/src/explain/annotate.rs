//! Captures that explain themselves: what came in and what went out, each with a comment that says why.
//!
//! ```text
//!   in    lan0  192.168.1.11:40000 → 198.51.100.80:80    packetid 8   comment: Nobody knows its tuple … It leaves by wan0 …
//!   out   wan0  203.0.113.1:43982 → 198.51.100.80:80     packetid 8   comment: Packet 8 as it left: source port 40000 → 43982 …
//! ```
//! The copies of one packet have one `epb_packetid`, its number in the original capture. `epb_flags` says which way it goes,
//! `epb_verdict` what became of it, and a second comment has the same as words and values for filters and colours
//! (`uct verdict=drop reason=rule conn=2 …`). Whoever replays such a capture again gets the same: copies that leave are marked
//! as outgoing, and a replay leaves them out.

use std::fmt::Write as _;
use std::path::Path;

use uct_pipeline::capture::{CaptureError, Crossing, Interface, Outgoing, Sink, Source, Verdict as Mark, Writer};
use uct_pipeline::link::LinkType;
use uct_pipeline::offload::Offload;
use uct_pipeline::replay::ethernet;
use uct_pipeline::router::Emitted;
use uct_pipeline::topology::Topology;

use super::model::{Explanation, Left, Origin, Step, Verdict, Way};
use super::tee::Tee;
use super::words;

/// Writes an annotated capture.
pub struct Annotator {
    writer: Writer,
    topology: Topology,
    frame: Vec<u8>,
}

impl Annotator {
    /// Creates the file, or takes standard output for `-`.
    pub fn create(path: &Path, topology: Topology) -> Result<Annotator, CaptureError> {
        Ok(Annotator { writer: Writer::create(path)?, topology, frame: Vec::new() })
    }

    /// Writes the frame that came in last, and what left because of it.
    pub fn write<S: Source>(&mut self, e: &Explanation, source: &Tee<S>) -> Result<(), CaptureError> {
        // What left because time passed came before.
        let (before, after): (Vec<_>, Vec<_>) = e.ways.iter().enumerate().partition(|(at, way)| {
            way.origin == Origin::Answer && e.ways[..*at].iter().all(|w| w.origin == Origin::Answer)
        });
        for (_, way) in before {
            self.left(e, way)?;
        }
        self.came(e, source)?;
        for (_, way) in after {
            self.left(e, way)?;
        }
        Ok(())
    }

    /// Writes what is buffered.
    pub fn finish(&mut self) -> Result<(), CaptureError> {
        self.writer.finish()
    }

    fn came<S: Source>(&mut self, e: &Explanation, source: &Tee<S>) -> Result<(), CaptureError> {
        let (Some(kept), Some(interface)) = (source.last(), source.interface()) else { return Ok(()) };
        let name = e.interface.clone().or_else(|| interface.name.clone());
        let iface = self.writer.interface(&Interface { name, link: kept.link, mac: interface.mac })?;
        let (said, values) = (e.words.join(" "), values(e));
        let mut outgoing = Outgoing::new(kept.at, iface, &kept.bytes);
        outgoing.wire_len = kept.wire_len;
        outgoing.crossing = match e.verdict {
            Verdict::LeftOut => Some(Crossing::Outbound),
            _ => Some(kept.crossing.unwrap_or(Crossing::Inbound)),
        };
        outgoing.packet_id = Some(e.packet);
        outgoing.verdict = match e.verdict {
            Verdict::Drop => Some(Mark::Drop),
            Verdict::Sent | Verdict::Delivered | Verdict::Held => Some(Mark::Pass),
            Verdict::LeftOut => None,
        };
        let comments = [said.as_str(), values.as_str()];
        outgoing.comments = &comments;
        self.writer.send(&outgoing)
    }

    fn left(&mut self, e: &Explanation, way: &Way) -> Result<(), CaptureError> {
        for left in &way.left {
            let interface = Interface {
                name: Some(left.interface.clone()),
                link: LinkType::Ethernet,
                mac: self.topology.interface(left.dev).and_then(|i| i.mac),
            };
            let iface = self.writer.interface(&interface)?;
            let at = uct_engine::Time::from_nanos(e.time_ns);
            let packet = Emitted {
                at,
                dev: left.dev,
                next: left.next_hop,
                bytes: &left.bytes,
                wire_len: left.wire_len,
                offload: Offload::default(),
            };
            let wire_len = ethernet(&self.topology, &packet, &mut self.frame);
            let (said, values) = (sentence(e, way, left), left_values(e, way));
            let mut outgoing = Outgoing::new(at, iface, &self.frame);
            outgoing.wire_len = wire_len;
            outgoing.crossing = Some(Crossing::Outbound);
            outgoing.packet_id = (way.origin != Origin::Answer).then_some(e.packet);
            outgoing.verdict = Some(Mark::Pass);
            let comments = [said.as_str(), values.as_str()];
            outgoing.comments = &comments;
            self.writer.send(&outgoing)?;
        }
        Ok(())
    }
}

/// What is said of a packet that leaves.
fn sentence(e: &Explanation, way: &Way, left: &Left) -> String {
    if way.origin == Origin::Answer {
        return format!("The router's answer to packet {}.", e.packet);
    }
    let changes = match (&way.came, &left.header) {
        (Some(came), Some(header)) => came.changes(header),
        _ => Vec::new(),
    };
    let list: Vec<String> = changes
        .iter()
        .filter(|c| !c.field.ends_with("checksum"))
        .map(|c| format!("{} {} → {}", c.field, c.old, c.new))
        .collect();
    let mut said = format!("Packet {} as it left", e.packet);
    if way.info == Some("invalid") {
        said.push_str(" (INVALID, untranslated)");
    }
    if !list.is_empty() {
        let _ = write!(said, ": {}", list.join(", "));
    }
    said.push('.');
    said
}

/// Words and values about a packet that came in.
fn values(e: &Explanation) -> String {
    let mut text = format!("uct packet={}", e.packet);
    if let Some(way) = e.ways.iter().find(|w| w.origin != Origin::Answer) {
        of_way(way, &mut text);
    }
    let verdict = match e.verdict {
        Verdict::Sent => "sent",
        Verdict::Delivered => "delivered",
        Verdict::Held => "held",
        Verdict::Drop => "drop",
        Verdict::LeftOut => "left_out",
    };
    let _ = write!(text, " verdict={verdict}");
    for step in e.ways.iter().flat_map(|w| &w.steps) {
        if let Step::Dropped { reason, rule, .. } = step {
            let _ = write!(text, " reason={reason}");
            if let Some(rule) = rule {
                let _ = write!(text, " rule={}", words::place(rule));
            }
        }
    }
    text
}

fn left_values(e: &Explanation, way: &Way) -> String {
    let mut text = format!("uct packet={}", e.packet);
    if way.origin == Origin::Answer {
        text.push_str(" answer=yes");
    } else {
        of_way(way, &mut text);
    }
    text.push_str(" copy=out");
    text
}

fn of_way(way: &Way, text: &mut String) {
    if let Some(c) = &way.connection {
        let _ = write!(text, " conn={}", c.id);
        if let Some(state) = c.state {
            let _ = write!(text, " state={state}");
        }
    }
    if let Some(direction) = way.direction {
        let _ = write!(text, " dir={direction}");
    }
    if let Some(info) = way.info {
        let _ = write!(text, " info={info}");
    }
    for step in &way.steps {
        match step {
            Step::Invalid { reason, .. } => {
                let _ = write!(text, " invalid={reason}");
            }
            Step::Rewritten { changes, .. } if !changes.is_empty() => text.push_str(" nat=yes"),
            Step::Nat(nat) if nat.taken_by.is_some() => text.push_str(" clash=yes"),
            Step::Opened { .. } => text.push_str(" opens=yes"),
            _ => {}
        }
    }
}
