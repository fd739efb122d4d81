//! The differences that are meant, by the name that `docs/differences.md` has for them.

use super::sides::Answer;

/// A line, and what came of it.
struct Case<'a> {
    line: &'a [String],
    real: &'a Answer,
    ours: &'a Answer,
}

impl Case<'_> {
    fn has(&self, word: &str) -> bool {
        self.line.iter().any(|w| w == word)
    }

    /// A word that follows this one.
    fn value(&self, option: &str) -> Option<&str> {
        let at = self.line.iter().position(|w| w == option)?;
        self.line.get(at + 1).map(String::as_str)
    }

    fn count(&self, word: &str) -> usize {
        self.line.iter().filter(|w| *w == word).count()
    }

    fn real_says(&self, text: &str) -> bool {
        self.real.stderr.iter().any(|l| l.contains(text))
    }

    fn we_say(&self, text: &str) -> bool {
        self.ours.stderr.iter().any(|l| l.contains(text))
    }

    fn any_option(&self, beginning: &str) -> bool {
        self.line.iter().any(|w| w.starts_with(beginning))
    }
}

type Known = (&'static str, fn(&Case<'_>) -> bool);

const KNOWN: [Known; 15] = [
    ("reply ports of expectations", |c| c.has("expect") && c.real_says("--reply-port-")),
    ("states of SCTP in XML", |c| c.has("xml") && c.has("-o")),
    ("update without an address", |c| c.has("-U") && c.real_says("Operation not supported")),
    ("mark and status", |c| c.has("-m") && c.has("-u")),
    ("update of several zones", |c| {
        // Which of them the real tool counts depends on the order in which it meets them.
        let of_zone_0 = |a: &Answer| a.table.iter().filter(|l| !l.contains("zone")).cloned().collect::<Vec<_>>();
        let only_zones = c.real.table != c.ours.table && of_zone_0(c.real) == of_zone_0(c.ours);
        c.has("-U") && (c.real_says("No such file or directory") || only_zones && c.real.code == c.ours.code)
    }),
    ("update that fails", |c| {
        let texts = ["Device or resource busy", "sorry, you must be root", "invalid parameters"];
        c.has("-U") && texts.iter().any(|text| c.real_says(text))
    }),
    ("update of several entries", |c| {
        let shown = |a: &Answer| (a.code, a.stderr.clone(), a.table.clone());
        c.has("-U")
            && shown(c.real) == shown(c.ours)
            && c.real.stdout.iter().all(|l| c.ours.stdout.contains(l))
            && !c.real.stdout.is_empty()
    }),
    ("unset status", |c| c.value("-u").is_some_and(|v| v.contains('!') || v.to_uppercase().starts_with("UN"))),
    ("timeout of a deletion", |c| c.has("-D") && c.has("-t")),
    ("keys of GRE", |c| c.has("gre") && (c.any_option("--srckey") || c.any_option("--dstkey"))),
    ("flush of one family", |c| c.has("-F") && c.has("-f")),
    ("one protocol", |c| c.count("-p") > 1),
    ("strict numbers", |c| c.we_say("unexpected value") || c.we_say("Invalid port")),
    ("ports of expectations", |c| c.any_option("--tuple-")),
    ("attached words", |c| c.has("-Lz")),
];

/// The name of a difference that is listed.
pub(crate) fn listed(line: &[String], real: &Answer, ours: &Answer) -> Option<&'static str> {
    let case = Case { line, real, ours };
    KNOWN.iter().find(|(_, is)| is(&case)).map(|(name, _)| *name)
}

/// All names.
pub(crate) fn names() -> Vec<&'static str> {
    KNOWN.iter().map(|(name, _)| *name).collect()
}
