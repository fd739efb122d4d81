//! Where messages go, and which: stderr, one line each.
//!
//! ```text
//!   2026-11-23T09:30:00.000Z  INFO the socket is /run/uct.sock
//!   {"timestamp":"…","level":"INFO","fields":{"message":"…","connections":3},"target":"uct"}        --log-format json
//! ```
//!
//! Under systemd the journal has a clock of its own, so lines carry none. What a rule's `log` says has the target
//! `uct::rules`. A message that cannot be written is lost, and nothing else is.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::{LogFormat, Operation};
use crate::Failure;

/// What is logged if nobody says.
const DEFAULT: &str = "info";

/// Which messages are wanted: `--log`, else `UCT_LOG`.
fn filter(option: Option<&str>, environment: Option<&str>) -> Result<EnvFilter, Failure> {
    let (name, text) = match (option, environment) {
        (Some(text), _) => ("--log", text),
        (None, Some(text)) if !text.is_empty() => ("UCT_LOG", text),
        _ => ("--log", DEFAULT),
    };
    let wrong = |why: String| {
        Failure::usage(format!(
            "{name} '{text}': {why}; as error, warn, info, debug, trace or off, or info,uct::rules=debug"
        ))
    };
    // A word that is no level would be taken for the name of a part, and silence all others.
    let is_level = |word: &str| {
        ["error", "warn", "info", "debug", "trace", "off"].iter().any(|level| level.eq_ignore_ascii_case(word))
    };
    if let Some(word) = text.split(',').map(str::trim).find(|word| !word.contains('=') && !is_level(word)) {
        return Err(wrong(format!("'{word}' is no level")));
    }
    EnvFilter::try_new(text).map_err(|e| wrong(e.to_string()))
}

/// Begins to log.
pub fn start(operation: &Operation) -> Result<(), Failure> {
    let environment = std::env::var("UCT_LOG").ok();
    let filter = filter(operation.log.as_deref(), environment.as_deref())?;
    let time = if std::env::var_os("JOURNAL_STREAM").is_some() { Stamp::None } else { Stamp::Utc };
    let plain = !io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr).with_timer(time);
    // Whoever has set one up already (a test, a program around) keeps it.
    let _ = match operation.log_format {
        LogFormat::Text => tracing::subscriber::set_global_default(lines.with_ansi(!plain).with_target(false).finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(lines.json().finish()),
    };
    Ok(())
}

/// The time before a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Utc,
    None,
}

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        match self {
            Stamp::Utc => write!(w, "{:.3}", jiff::Timestamp::now()),
            Stamp::None => Ok(()),
        }
    }
}

/// Standard error; what it does not take is lost.
#[derive(Clone, Copy, Debug)]
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Lossy;

    fn make_writer(&'a self) -> Lossy {
        Lossy
    }
}

struct Lossy;

impl io::Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_comes_before_the_environment() {
        assert_eq!(filter(Some("warn"), Some("debug")).unwrap().to_string(), "warn");
        assert_eq!(filter(None, Some("debug")).unwrap().to_string(), "debug");
        assert_eq!(filter(None, Some("")).unwrap().to_string(), "info");
        assert_eq!(filter(Some("info,uct::rules=debug"), None).unwrap().to_string(), "uct::rules=debug,info");
    }

    #[test]
    fn what_is_no_level_is_refused() {
        let say = |option, environment| filter(option, environment).unwrap_err().message;
        assert!(say(Some("loud"), None).starts_with("--log 'loud': 'loud' is no level; as error,"));
        assert!(say(None, Some("uct=loud")).starts_with("UCT_LOG 'uct=loud': "));
    }
}
