//! What one replay did with one packet, as far as two replays are compared.

use crate::explain::model::{Explanation, Origin, Step, Verdict, Way};
use crate::explain::text::describe;

/// One packet in one replay.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The whole story, for the first difference.
    pub(super) told: Explanation,
    /// The values that are compared, in the order of [`FIELDS`].
    pub(super) values: [String; FIELDS.len()],
    /// What left, byte for byte.
    pub(super) bytes: Vec<Vec<u8>>,
}

/// What is compared of a packet.
pub(super) const FIELDS: [&str; 8] =
    ["verdict", "ct state", "connection", "reply tuple", "state", "timeout", "left", "answers"];

impl Seen {
    /// Takes what is compared out of an explanation.
    pub(super) fn of(told: Explanation) -> Seen {
        let way = told.ways.iter().find(|w| w.origin != Origin::Answer);
        let conn = way.and_then(|w| w.connection.as_ref());
        let none = || "-".to_owned();
        let values = [
            verdict(&told, way),
            way.and_then(info).unwrap_or_else(none),
            conn.map_or_else(none, |c| format!("{} {}", c.original.protocol, c.original.text)),
            conn.map_or_else(none, |c| c.reply.text.clone()),
            conn.and_then(|c| c.state).map_or_else(none, str::to_owned),
            conn.map_or_else(none, |c| format!("{} s", c.timeout)),
            way.map_or_else(none, left),
            told.ways.iter().filter(|w| w.origin == Origin::Answer).map(left).collect::<Vec<_>>().join("; "),
        ];
        let bytes = told.ways.iter().flat_map(|w| &w.left).map(|l| l.bytes.clone()).collect();
        Seen { told, values, bytes }
    }
}

fn verdict(told: &Explanation, way: Option<&Way>) -> String {
    let dropped = way.and_then(|w| {
        w.steps.iter().find_map(|s| match s {
            Step::Dropped { reason, rule, .. } => Some((*reason, rule.as_ref())),
            _ => None,
        })
    });
    match (told.verdict, dropped) {
        (Verdict::Drop, Some((reason, Some(rule)))) => {
            format!("dropped ({reason}, {})", crate::explain::words::place(rule))
        }
        (Verdict::Drop, Some((reason, None))) => format!("dropped ({reason})"),
        (Verdict::Drop, None) => "dropped".to_owned(),
        (Verdict::Sent, _) => "sent".to_owned(),
        (Verdict::Delivered, _) => "delivered".to_owned(),
        (Verdict::Held, _) => "held".to_owned(),
        (Verdict::LeftOut, _) => "left out".to_owned(),
    }
}

fn info(way: &Way) -> Option<String> {
    let invalid = way.steps.iter().find_map(|s| match s {
        Step::Invalid { reason, .. } => Some(*reason),
        _ => None,
    });
    Some(match (way.info?, invalid) {
        ("invalid", Some(reason)) => format!("invalid ({reason})"),
        (info, _) => info.to_owned(),
    })
}

fn left(way: &Way) -> String {
    let list: Vec<String> = way
        .left
        .iter()
        .map(|l| format!("{} {}", l.interface, l.header.as_ref().map(describe).unwrap_or_default()))
        .collect();
    if list.is_empty() { "-".to_owned() } else { list.join(", ") }
}
