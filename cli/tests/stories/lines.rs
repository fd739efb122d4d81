//! The lines that `conntrack -L` and `conntrack -E` print, and how two of them are compared.

use std::net::IpAddr;

use crate::packet::Ends;

/// A line without the time at its beginning (`conntrack -E -o timestamp`).
pub(crate) fn without_time(line: &str) -> &str {
    match line.split_once(']') {
        Some((time, rest)) if time.strip_prefix('[').is_some_and(|time| time.contains('.')) => {
            rest.trim_start_matches('\t')
        }
        _ => line,
    }
}

/// Whether a line is an event, and not an entry of a listing.
pub(crate) fn is_event(line: &str) -> bool {
    ["[NEW]", "[UPDATE]", "[DESTROY]"].iter().any(|kind| line.trim_start().starts_with(kind))
}

/// A line with its timeout cut out: `tcp      6 # ESTABLISHED src=…`, 431999.
pub(crate) fn split_timeout(line: &str) -> (String, Option<u64>) {
    let first = if is_event(line) { line.find(']').map_or(0, |at| at + 1) } else { 0 };
    let mut at = first;
    for word in 0..3 {
        let rest = &line[at..];
        let start = at + rest.len() - rest.trim_start().len();
        let end = start + line[start..].find(' ').unwrap_or(line.len() - start);
        if word == 2 {
            return match line[start..end].parse() {
                Ok(timeout) => (format!("{}#{}", &line[..start], &line[end..]), Some(timeout)),
                Err(_) => (line.to_owned(), None),
            };
        }
        at = end;
    }
    unreachable!("three words")
}

/// Whether two lines are the same but for one second of timeout: the kernel counts in whole seconds of its own clock.
pub(crate) fn same(theirs: &str, ours: &str) -> bool {
    let ((theirs, their_timeout), (ours, our_timeout)) = (split_timeout(theirs), split_timeout(ours));
    theirs == ours
        && match (their_timeout, our_timeout) {
            (Some(theirs), Some(ours)) => theirs.abs_diff(ours) <= 1,
            (None, None) => true,
            _ => false,
        }
}

/// Original and reply tuple of a line.
pub(crate) fn tuples(line: &str) -> Option<(Ends, Ends)> {
    let protocol = line.split_whitespace().find_map(|word| word.parse().ok())?;
    let value = |key: &str, which: usize| line.split_whitespace().filter_map(|word| word.strip_prefix(key)).nth(which);
    let ends = |which| {
        let address = |key| value(key, which)?.parse::<IpAddr>().ok();
        let port = |key| value(key, which).or_else(|| value("id=", which))?.parse().ok();
        Some(Ends {
            protocol,
            source: address("src=")?,
            destination: address("dst=")?,
            source_port: port("sport=")?,
            destination_port: port("dport=")?,
        })
    };
    Some((ends(0)?, ends(1)?))
}

/// A line with another port (or id) at the end of its reply tuple.
pub(crate) fn with_reply_port(line: &str, port: u16) -> String {
    let key = if line.contains(" dport=") { " dport=" } else { " id=" };
    let start = line.rfind(key).expect("a reply tuple") + key.len();
    let end = start + line[start..].find(' ').unwrap_or(line.len() - start);
    format!("{}{port}{}", &line[..start], &line[end..])
}
