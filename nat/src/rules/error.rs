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
        let text = sources.text(self.span.file);
        // ariadne leaves out a label that covers nothing; the end of a file is such a place.
        let start = (self.span.start as usize).min(text.len().saturating_sub(1));
        let range = start..(self.span.end as usize).clamp(start + 1, text.len().max(start + 1));
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
        match report.finish().write((name, Source::from(text)), &mut out) {
            Ok(()) => String::from_utf8_lossy(&out).lines().map(|line| format!("{}\n", line.trim_end())).collect(),
            Err(_) => format!("{self}\n"),
        }
    }
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
