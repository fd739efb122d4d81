//! Expectations. `-o extended`, `id` and `save` change nothing; `timestamp` stands before listed ones too, its microseconds
//! padded on the right.

use std::fmt::{self, Write};

use uct_engine::expect::{ExpectEntry, ExpectEvent, ExpectEventKind};
use uct_engine::{Family, L4, Protocol, Time, Tuple};
use uct_pipeline::control::expected::FlatExpectation;

use super::xml::escape;
use super::{Format, Output, Shape, clock};

impl Format<'_> {
    /// What stands before the first expectation.
    pub fn open_expectations(&self, out: &mut String) {
        if self.output.shape == Shape::Xml {
            out.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>\n");
        }
    }

    /// What stands after the last one, if there was one.
    pub fn close_expectations(&self, out: &mut String) {
        if self.output.shape == Shape::Xml {
            out.push_str("</expect>\n");
        }
    }

    /// One expectation of a listing.
    pub fn expectation(&self, entry: &ExpectEntry, out: &mut String) {
        // Writing into a string cannot fail.
        let _ = self.write_expectation(entry, None, self.now, out);
    }

    /// One event of an expectation.
    pub fn expectation_event(&self, event: &ExpectEvent, out: &mut String) {
        let _ = self.write_expectation(&event.entry, Some(event.kind), event.at, out);
    }

    fn write_expectation(
        &self,
        entry: &ExpectEntry,
        kind: Option<ExpectEventKind>,
        at: Time,
        out: &mut String,
    ) -> fmt::Result {
        match self.output.shape {
            Shape::Xml => xml(self, entry, kind, at, out)?,
            Shape::Json => json(entry, kind, at, out)?,
            Shape::Line | Shape::Save => {
                if self.output.has(Output::TIMESTAMP) {
                    write!(out, "[{:<8}.{:<6}]\t", at.as_secs(), at.subsec_nanos() / 1000)?;
                }
                if let Some(kind) = kind {
                    write!(out, "{:>9} ", tag(kind))?;
                }
                line(entry, out)?;
            }
        }
        out.write_char('\n')
    }
}

fn tag(kind: ExpectEventKind) -> &'static str {
    match kind {
        ExpectEventKind::New => "[NEW]",
        ExpectEventKind::Destroy => "[DESTROY]",
    }
}

/// The three tuples: what is expected, its mask, its master.
fn tuples(entry: &ExpectEntry) -> [Tuple; 3] {
    let all = match entry.tuple.family() {
        Family::Ipv4 => std::net::Ipv4Addr::BROADCAST.into(),
        Family::Ipv6 => std::net::Ipv6Addr::from_bits(u128::MAX).into(),
    };
    let l4 = match entry.tuple.l4 {
        L4::Ports { .. } => L4::Ports { src: entry.mask.src_id, dst: u16::MAX },
        L4::Keys { .. } => L4::Keys { src: entry.mask.src_id, dst: u16::MAX },
        other => other,
    };
    let mask = Tuple { src: entry.mask.src, dst: all, protocol: entry.tuple.protocol, l4 };
    [entry.tuple, mask, entry.master]
}

fn line(entry: &ExpectEntry, out: &mut String) -> fmt::Result {
    write!(out, "{} proto={}", entry.timeout.as_secs(), entry.tuple.protocol.0)?;
    for (tuple, word) in tuples(entry).iter().zip(["", "mask-", "master-"]) {
        write!(out, " {word}src={} {word}dst={}", tuple.src, tuple.dst)?;
        ends(tuple, out)?;
    }
    write!(out, " class={}", entry.class)?;
    if let Some(helper) = &entry.helper {
        write!(out, " helper={helper}")?;
    }
    Ok(())
}

fn ends(tuple: &Tuple, out: &mut String) -> fmt::Result {
    match tuple.l4 {
        L4::Ports { src, dst } => write!(out, " sport={src} dport={dst}"),
        L4::Keys { src, dst } => write!(out, " srckey={src:#x} dstkey={dst:#x}"),
        L4::Icmp { kind, code, id } => write!(out, " type={kind} code={code} id={id}"),
        L4::None => Ok(()),
    }
}

fn xml(
    format: &Format<'_>,
    entry: &ExpectEntry,
    kind: Option<ExpectEventKind>,
    at: Time,
    out: &mut String,
) -> fmt::Result {
    out.push_str(match kind {
        None => "<flow>",
        Some(ExpectEventKind::New) => "<flow type=\"new\">",
        Some(ExpectEventKind::Destroy) => "<flow type=\"destroy\">",
    });
    let (family, protocol) = (entry.tuple.family(), entry.tuple.protocol);
    let tuples = tuples(entry);
    let named = || tuples.iter().zip(["expected", "mask", "master"]);
    write!(out, "<layer3 protonum=\"{}\" protoname=\"{}\">", family.number(), family.name())?;
    for (tuple, name) in named() {
        write!(out, "<{name}><src>{}</src><dst>{}</dst></{name}>", tuple.src, tuple.dst)?;
    }
    let name = protocol.name().unwrap_or("unknown");
    write!(out, "</layer3><layer4 protonum=\"{}\" protoname=\"{name}\">", protocol.0)?;
    for (tuple, name) in named() {
        write!(out, "<{name}>")?;
        match tuple.l4 {
            L4::Ports { src, dst } => write!(out, "<sport>{src}</sport><dport>{dst}</dport>")?,
            L4::Keys { src, dst } => write!(out, "<srckey>{src:#x}</srckey><dstkey>{dst:#x}</dstkey>")?,
            L4::Icmp { .. } | L4::None => {}
        }
        write!(out, "</{name}>")?;
    }
    out.push_str("</layer4><meta>");
    if let Some(helper) = &entry.helper {
        write!(out, "<helper-name>{}</helper-name>", escape(helper))?;
    }
    write!(out, "<timeout>{}</timeout><class>{}</class>", entry.timeout.as_secs(), entry.class)?;
    if format.output.has(Output::TIMESTAMP) {
        clock::when(at, &format.zone, out)?;
    }
    out.write_str("</meta></flow>")
}

fn json(entry: &ExpectEntry, kind: Option<ExpectEventKind>, at: Time, out: &mut String) -> fmt::Result {
    let flat = FlatExpectation::from(entry);
    let Ok(serde_json::Value::Object(mut object)) = serde_json::to_value(&flat) else { return Err(fmt::Error) };
    let mut flattened = serde_json::Map::new();
    if let Some(kind) = kind {
        flattened.insert("event".into(), tag(kind).trim_matches(['[', ']']).into());
        flattened.insert("event_timestamp".into(), (at.as_nanos() as f64 / 1e9).into());
    }
    flattened.insert("protocol".into(), Protocol::name(entry.tuple.protocol).unwrap_or("unknown").into());
    for name in ["tuple", "mask", "master"] {
        if let Some(serde_json::Value::Object(side)) = object.remove(name) {
            let prefix = if name == "tuple" { String::new() } else { format!("{name}_") };
            flattened.extend(side.into_iter().map(|(key, value)| (prefix.clone() + &key, value)));
        }
    }
    flattened.extend(object);
    write!(out, "{}", serde_json::Value::Object(flattened))
}
