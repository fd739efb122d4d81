//! The words of `-o`.

use thiserror::Error;

/// The four shapes of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// `tcp      6 119 …`.
    #[default]
    Line,
    /// `<flow>…</flow>`.
    Xml,
    /// `-A -t 119 …`.
    Save,
    /// `{"id":…}`.
    Json,
}

/// What to print of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The shape of a line.
    pub shape: Shape,
    flags: u8,
    shapes: u8,
}

/// Words that cannot be obeyed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OutputError {
    /// No format of that name.
    #[error("Bad parameter `{0}'")]
    Unknown(String),
    /// `save` stands alone.
    #[error("cannot combine save output with any other output type, use -o save only")]
    SaveAlone,
    /// A line is JSON or XML.
    #[error("cannot combine json output with xml output")]
    JsonAndXml,
}

/// A word's meaning.
#[derive(Clone, Copy)]
enum Word {
    Shape(Shape),
    Flag(u8),
    Nothing,
}

/// In the order in which abbreviations are resolved.
const WORDS: [(&str, Word); 10] = [
    ("xml", Word::Shape(Shape::Xml)),
    ("extended", Word::Flag(Output::EXTENDED)),
    ("timestamp", Word::Flag(Output::TIMESTAMP)),
    ("id", Word::Flag(Output::ID)),
    ("ktimestamp", Word::Flag(Output::KTIMESTAMP)),
    ("labels", Word::Flag(Output::LABELS)),
    // Who changed an entry is always shown; the word is accepted and says nothing.
    ("userspace", Word::Nothing),
    ("save", Word::Shape(Shape::Save)),
    ("json", Word::Shape(Shape::Json)),
    ("full", Word::Flag(Output::FULL)),
];

impl Output {
    /// The family before the protocol.
    pub const EXTENDED: u8 = 1;
    /// The time of an event before its tag.
    pub const TIMESTAMP: u8 = 1 << 1;
    /// The entry's id.
    pub const ID: u8 = 1 << 2;
    /// Start and stop times.
    pub const KTIMESTAMP: u8 = 1 << 3;
    /// Labels by name.
    pub const LABELS: u8 = 1 << 4;
    /// With `save`: everything, in options that only uct takes.
    pub const FULL: u8 = 1 << 5;

    /// The words of one or several `-o`, comma-separated; any unambiguous beginning of a word will do, in any case.
    pub fn parse(words: &str) -> Result<Output, OutputError> {
        let mut output = Output::default();
        output.add(words)?;
        output.check()?;
        Ok(output)
    }

    /// Adds the words of one `-o`.
    pub fn add(&mut self, words: &str) -> Result<(), OutputError> {
        for word in words.split(',') {
            let lower = word.to_ascii_lowercase();
            let found = WORDS.iter().find(|(name, _)| !word.is_empty() && name.starts_with(&lower));
            match found {
                Some((_, Word::Shape(shape))) => {
                    self.shape = *shape;
                    self.shapes |= 1 << *shape as u8;
                }
                Some((_, Word::Flag(flag))) => self.flags |= flag,
                Some((_, Word::Nothing)) => {}
                None => return Err(OutputError::Unknown(word.to_owned())),
            }
        }
        Ok(())
    }

    /// Whether the words go together.
    pub fn check(&self) -> Result<(), OutputError> {
        let named = |shape: Shape| self.shapes & 1 << shape as u8 != 0;
        let others = self.shapes & !(1 << Shape::Save as u8) != 0 || self.flags & !Output::FULL != 0;
        if named(Shape::Save) && others {
            return Err(OutputError::SaveAlone);
        }
        if named(Shape::Json) && named(Shape::Xml) {
            return Err(OutputError::JsonAndXml);
        }
        Ok(())
    }

    /// Whether this was asked for.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Asks for it.
    pub fn with(mut self, flag: u8) -> Output {
        self.flags |= flag;
        self
    }

    /// Does without it.
    pub fn without(mut self, flag: u8) -> Output {
        self.flags &= !flag;
        self
    }
}
