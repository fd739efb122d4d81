//! Command-line words, taken as getopt_long(3) takes them.
//!
//! Short options may be bundled (`-zm5`), long ones abbreviated as long as they stay unambiguous, and `--name=value` or
//! `--name value` both carry a value. Words that are no options are passed over wherever they stand; `--` ends the options.
//! The set of long options may grow on the way (`-p tcp` brings `--sport`), so it is asked for at every word.

/// Whether an option has an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// None.
    Nothing,
    /// One: the rest of the word, or the next word.
    Value,
    /// Perhaps one: the rest of the word, or a next word that does not begin with a dash.
    Perhaps,
}

/// An option as it may be written.
#[derive(Clone, Copy, Debug)]
pub struct Spelling<T> {
    /// Its letter.
    pub short: Option<char>,
    /// Its name.
    pub long: &'static str,
    /// Its argument.
    pub takes: Takes,
    /// What it means.
    pub means: T,
}

/// One option of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// What it means.
    pub means: T,
    /// Its argument.
    pub value: Option<String>,
}

/// A word that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No such option: the word.
    Unknown(String),
    /// Its argument is missing: the option as it was written.
    NoValue(String),
}

/// Walks over a command line.
#[derive(Debug)]
pub struct Getopt<'a> {
    words: &'a [String],
    next: usize,
    /// What is left of a bundle of short options.
    bundle: Option<&'a str>,
}

impl<'a> Getopt<'a> {
    /// Over these words, without the program's name.
    pub fn new(words: &'a [String]) -> Self {
        Getopt { words, next: 0, bundle: None }
    }

    /// The next option, or `None` at the end.
    pub fn next<T: Copy + PartialEq>(&mut self, known: &[Spelling<T>]) -> Option<Result<Found<T>, Wrong>> {
        if let Some(bundle) = self.bundle.take() {
            return Some(self.short(bundle, known));
        }
        loop {
            let word = self.words.get(self.next)?;
            self.next += 1;
            if word == "--" {
                self.next = self.words.len();
                return None;
            }
            if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(word, long, known));
            }
            match word.strip_prefix('-') {
                Some(bundle) if !bundle.is_empty() => return Some(self.short(bundle, known)),
                _ => {}
            }
        }
    }

    fn short<T: Copy>(&mut self, bundle: &'a str, known: &[Spelling<T>]) -> Result<Found<T>, Wrong> {
        let mut letters = bundle.chars();
        let letter = letters.next().unwrap_or('-');
        let rest = letters.as_str();
        let Some(option) = known.iter().find(|o| o.short == Some(letter)) else {
            let word = self.words.get(self.next.saturating_sub(1));
            return Err(Wrong::Unknown(word.cloned().unwrap_or_else(|| format!("-{letter}"))));
        };
        let attached = Some(rest).filter(|r| !r.is_empty()).map(str::to_owned);
        let value = match option.takes {
            Takes::Nothing => {
                self.bundle = Some(rest).filter(|r| !r.is_empty());
                None
            }
            Takes::Value => Some(attached.or_else(|| self.word()).ok_or_else(|| Wrong::NoValue(format!("-{letter}")))?),
            Takes::Perhaps => attached.or_else(|| self.plain_word()),
        };
        Ok(Found { means: option.means, value })
    }

    fn long<T: Copy + PartialEq>(&mut self, word: &str, long: &str, known: &[Spelling<T>]) -> Result<Found<T>, Wrong> {
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let unknown = || Wrong::Unknown(word.to_owned());
        let option = match known.iter().find(|o| o.long == name) {
            Some(exact) => exact,
            None => {
                let mut alike = known.iter().filter(|o| !name.is_empty() && o.long.starts_with(name));
                let first = alike.next().ok_or_else(unknown)?;
                // Two names of one option are not ambiguous.
                if alike.any(|o| o.means != first.means) {
                    return Err(unknown());
                }
                first
            }
        };
        let value = match option.takes {
            Takes::Nothing if attached.is_some() => return Err(unknown()),
            Takes::Nothing => None,
            Takes::Value => Some(attached.or_else(|| self.word()).ok_or_else(|| Wrong::NoValue(word.to_owned()))?),
            Takes::Perhaps => attached.or_else(|| self.plain_word()),
        };
        Ok(Found { means: option.means, value })
    }

    /// The next word, whatever it is.
    fn word(&mut self) -> Option<String> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word.clone())
    }

    /// The next word, if it does not begin with a dash.
    fn plain_word(&mut self) -> Option<String> {
        self.words.get(self.next).filter(|w| !w.starts_with('-'))?;
        self.word()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Spelling<char>; 5] = [
        Spelling { short: Some('L'), long: "dump", takes: Takes::Perhaps, means: 'L' },
        Spelling { short: Some('z'), long: "zero", takes: Takes::Nothing, means: 'z' },
        Spelling { short: Some('m'), long: "mark", takes: Takes::Value, means: 'm' },
        Spelling { short: None, long: "mask-src", takes: Takes::Value, means: '{' },
        Spelling { short: None, long: "mask-dst", takes: Takes::Value, means: '}' },
    ];

    fn read(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect();
        let mut getopt = Getopt::new(&words);
        std::iter::from_fn(|| getopt.next(&KNOWN))
            .map(|found| match found {
                Ok(Found { means, value }) => format!("{means}{}", value.unwrap_or_default()),
                Err(Wrong::Unknown(word)) => format!("?{word}"),
                Err(Wrong::NoValue(word)) => format!(":{word}"),
            })
            .collect()
    }

    #[test]
    fn as_getopt_long_does() {
        assert_eq!(read("-zm5 -m 6 --mark=7 --mark 8 stray -L"), ["z", "m5", "m6", "m7", "m8", "L"]);
        assert_eq!(read("-L conn -z -L -z"), ["Lconn", "z", "L", "z"]);
        assert_eq!(read("--mar=1 --du --zer"), ["m1", "L", "z"]);
        assert_eq!(read("--ma 1 --mask=1 --zero=5 -zx -m"), ["?--ma", "?--mask=1", "?--zero=5", "z", "?-zx", ":-m"]);
        assert_eq!(read("-z -- -z"), ["z"]);
        assert_eq!(read("- -m -1"), ["m-1"]);
        assert_eq!(read("--mark"), [":--mark"]);
    }
}
