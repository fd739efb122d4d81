//! What is wrong with a ruleset: plain data, one line by `Display`, a caret by [`Error::render`].

use super::source::{Location, Sources, Span};
use std::fmt;

/// A ruleset that is refused, where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Where it begins.
    pub location: Location,
    /// What the caret goes under.
    pub span: Span,
    /// One sentence.
    pub message: String,
    /// What would be right, if we know.
    pub help: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Whether [`Error::render`] may use terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI colours.
    Always,
}

impl Error {
    /// The message with the source line and a caret under what is wrong.
    pub fn render(&self, sources: &Sources, colour: Colour) -> String {
        use ariadne::{Config, IndexType, Label, Report, ReportKind, Source};
        let name = self.location.file.to_string();
        let picture = Picture::of(sources.text(self.span.file), self.span);
        let range = picture.start..picture.end;
        let config = Config::default().with_index_type(IndexType::Byte).with_color(colour == Colour::Always);
        let mut report = Report::build(ReportKind::Error, (name.clone(), range.clone()))
            .with_config(config)
            .with_message(&self.message)
            .with_label(Label::new((name.clone(), range)).with_message("here"));
        if let Some(help) = &self.help {
            report = report.with_help(help);
        }
        let mut out = Vec::new();
        // Writing to memory does not fail; if it ever does, the one line says it all.
        let (line, column) = picture.place();
        match report.finish().write((name.clone(), Source::from(picture.text)), &mut out) {
            // The picture may show less than the file has, and the end of a file is drawn under its last character.
            Ok(()) => String::from_utf8_lossy(&out)
                .replacen(&format!("{name}:{line}:{column}"), &self.location.to_string(), 1)
                .lines()
                .map(|line| format!("{}\n", line.trim_end()))
                .collect(),
            Err(_) => format!("{self}\n"),
        }
    }
}

/// Most characters of a line that are shown.
const WIDTH: usize = 160;

/// The text that a caret is drawn into: what a terminal can show of it.
struct Picture {
    text: String,
    start: usize,
    end: usize,
}

impl Picture {
    fn of(text: &str, span: Span) -> Picture {
        let start = (span.start as usize).min(text.len().saturating_sub(1));
        // ariadne leaves out a label that covers nothing; the end of a file is such a place.
        let end = (span.end as usize).clamp(start + 1, text.len().max(start + 1));
        let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let line_end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| start + at);
        let width = |from, to| text.get(from..to).map_or(0, |part: &str| part.chars().count());
        if width(line_start, line_end) <= WIDTH {
            return Picture { text: printable(text), start, end };
        }
        // Only what stands around the place, at its line's number.
        let half = WIDTH / 2;
        let before = text.get(line_start..start).unwrap_or("").char_indices().rev().nth(half - 1);
        let from = before.map_or(line_start, |(at, _)| line_start + at);
        let after = text.get(start..line_end).unwrap_or("").char_indices().nth(half);
        let to = after.map_or(line_end, |(at, _)| start + at);
        let dots = |is_cut: bool| if is_cut { "…" } else { "" };
        let mut shown = "\n".repeat(text.get(..line_start).map_or(0, |before| before.matches('\n').count()));
        shown.push_str(dots(from > line_start));
        let begin = shown.len();
        shown.push_str(&printable(text.get(from..to).unwrap_or("")));
        shown.push_str(dots(to < line_end));
        let (start, end) = (begin + start - from, begin + end.min(to).saturating_sub(from));
        Picture { text: shown, start, end: end.max(start + 1) }
    }

    /// The line and the column of the place, both from 1.
    fn place(&self) -> (usize, usize) {
        let before = self.text.get(..self.start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before.get(line_start..).map_or(0, |part| part.chars().count()) + 1)
    }
}

/// The text with question marks for what would move a terminal's cursor, byte for byte.
fn printable(text: &str) -> String {
    let is_kept = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_kept(c) {
            shown.push(c)
        } else {
            shown.extend(std::iter::repeat_n('?', c.len_utf8()))
        }
        shown
    })
}

/// An error on its way up: it learns its [`Location`] where the sources are at hand.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

pub(crate) type Result<T> = std::result::Result<T, Box<Fault>>;

impl Fault {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { span, message: message.into(), help: None })
    }

    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Fault> {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn locate(self, sources: &Sources) -> Error {
        let location = sources.locate(self.span);
        Error { location, span: self.span, message: self.message, help: self.help }
    }
}

/// Shorthand for a refusal.
pub(crate) fn refuse<T>(span: Span, message: impl Into<String>) -> Result<T> {
    Err(Fault::new(span, message))
}
