//! The lesson page: one HTML file of a capture, to be stepped through, from disk and without a network.
//!
//! ```text
//!   page.html ── style.css, *.js put into it ──► head │ data │ tail
//!                                                       └─ base64(gzip(lines)): a line about the page, then one a packet
//! ```
//! The page shows the same [`Explanation`] that `--json` prints and decides nothing by itself; its pictures are drawn by the
//! scripts beside this file. Nothing that a capture holds becomes markup: the data is base64, and the scripts only ever set
//! text. A packet that was not asked for is there without its story, so that the table is right at every step.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use uct_pipeline::router::Router;

use super::book::Book;
use super::model::{Explanation, Rule, Step};
use crate::Failure;
use crate::stdio::lost;

mod base64;

use base64::Base64;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPTS: [&str; 5] = [
    include_str!("dom.js"),
    include_str!("lesson.js"),
    include_str!("cards.js"),
    include_str!("pictures.js"),
    include_str!("page.js"),
];
/// Bytes of a packet that are shown: an ICMP error's headers and those that it quotes fit in.
const SHOWN_BYTES: usize = 96;

/// A page that is being written.
pub struct Page {
    name: String,
    out: GzEncoder<Base64<BufWriter<Box<dyn Write>>>>,
    tail: String,
}

/// The first line of the data.
#[derive(Serialize)]
struct About<'a> {
    capture: &'a str,
    rules: Vec<Rule>,
}

/// A line of the data: a packet.
#[derive(Serialize)]
struct Line<'a> {
    /// Whether it is a step of the lesson; else it is there for the table alone.
    shown: bool,
    told: &'a Explanation,
    /// Of each way the first bytes as they came, and of each packet that left.
    bytes: Vec<Bytes>,
}

/// First bytes of a packet in hexadecimal, from the IP header on.
#[derive(Serialize)]
struct Bytes {
    came: String,
    left: Vec<String>,
}

impl Page {
    /// Creates the file, or takes standard output for `-`, and writes all that stands before the first packet.
    pub fn create(path: &Path, capture: &Path, router: &Router) -> Result<Page, Failure> {
        let name = if path.as_os_str() == "-" { "standard output".to_owned() } else { path.display().to_string() };
        let file: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path).map_err(|e| lost(&name, &e))?)
        };
        let capture = capture.file_name().map_or("standard input".into(), |n| n.to_string_lossy());
        let capture = if capture == "-" { "standard input".into() } else { capture };
        let page = PAGE.replace("{{title}}", &escape(&capture)).replace("{{style}}", STYLE);
        let (head, tail) = page.split_once("{{data}}").unwrap_or((&page, ""));
        let tail = tail.replace("{{script}}", &SCRIPTS.join("\n"));
        let mut out = BufWriter::new(file);
        let about = About { capture: &capture, rules: Book::of(router).rules() };
        let began = out.write_all(head.as_bytes());
        let mut page = Page { name, out: GzEncoder::new(Base64::new(out), Compression::default()), tail };
        began.and_then(|()| page.line(&about)).map_err(|e| page.fault(&e))?;
        Ok(page)
    }

    /// A packet that was asked for: a step.
    pub fn step(&mut self, told: &Explanation) -> Result<(), Failure> {
        let hex = |bytes: &[u8]| bytes.iter().take(SHOWN_BYTES).map(|b| format!("{b:02x}")).collect();
        let bytes = told
            .ways
            .iter()
            .map(|way| Bytes { came: hex(&way.bytes), left: way.left.iter().map(|left| hex(&left.bytes)).collect() });
        let line = Line { shown: true, told, bytes: bytes.collect() };
        self.line(&line).map_err(|e| self.fault(&e))
    }

    /// One that was not: only what it does to the table.
    pub fn aside(&mut self, told: &Explanation) -> Result<(), Failure> {
        let mut told = told.clone();
        told.words.clear();
        for way in &mut told.ways {
            way.came = None;
            way.left.clear();
            way.steps.retain(|s| matches!(s, Step::Gone { .. } | Step::Confirmed { .. } | Step::Tracked { .. }));
        }
        let line = Line { shown: false, told: &told, bytes: Vec::new() };
        self.line(&line).map_err(|e| self.fault(&e))
    }

    /// Writes what waits, and the rest of the page.
    pub fn finish(self) -> Result<(), Failure> {
        let Page { name, out, tail } = self;
        let done = out.finish().and_then(Base64::finish).and_then(|mut file| {
            file.write_all(tail.as_bytes())?;
            file.flush()
        });
        done.map_err(|e| lost(&name, &e))
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    fn fault(&self, why: &io::Error) -> Failure {
        lost(&self.name, why)
    }
}

/// Text as HTML has it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_text() {
        assert_eq!(escape("<b>&\"'.pcap"), "&lt;b&gt;&amp;&quot;&#39;.pcap");
    }

    /// The page asks nobody for anything, and no script makes markup of text.
    #[test]
    fn the_page_is_self_contained() {
        for part in SCRIPTS.iter().chain([&PAGE, &STYLE]) {
            for word in ["http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                let found = part.lines().find(|l| l.contains(word) && !l.contains("www.w3.org/2000/svg"));
                assert_eq!(found, None, "{word}");
            }
        }
        assert!(PAGE.contains("default-src 'none'"));
    }
}
