//! One line a packet.
//!
//! ```text
//!   #12 +0.103456 lan0 TCP 192.168.1.10:40000 → 198.51.100.80:443 SYN | #7 new SYN_SENT | → 203.0.113.1:40000 | wan0
//! ```

use std::fmt::Write as _;

use owo_colors::OwoColorize;

use super::model::{Explanation, Origin, Step, Verdict, Way};
use super::words;

/// Writes the line.
pub fn write(e: &Explanation, out: &mut String) {
    let interface = e.interface.as_deref().unwrap_or("-");
    let _ = write!(out, "#{} +{:.6} {interface}", e.packet, e.time);
    if e.verdict == Verdict::LeftOut {
        out.push_str(" left out: the router itself had sent it\n");
        return;
    }
    let mut first = true;
    for way in &e.ways {
        if way.origin == Origin::Answer {
            out.push_str(" ⇒ answered:");
        }
        first = false;
        self::way(way, out);
    }
    if first {
        out.push_str(" no IP packet");
    }
    out.push('\n');
}

fn way(way: &Way, out: &mut String) {
    if let Some(h) = &way.came {
        let kind = h.kind();
        let gap = if kind.is_empty() { "" } else { " " };
        let _ = write!(out, " {} {h}{gap}{kind}", h.protocol_name());
    }
    if let Some(info) = way.info
        && way.origin != Origin::Answer
    {
        out.push_str(" | ");
        match (&way.connection, info) {
            (_, "invalid") => {
                let why = way.steps.iter().find_map(|s| match s {
                    Step::Invalid { why, .. } => Some(words::reason(why)),
                    _ => None,
                });
                let _ = write!(out, "{}", format_args!("INVALID {}", why.unwrap_or_default()).red().bold());
            }
            (Some(c), info) => {
                let state = c.state.map_or(String::new(), |s| format!(" {s}"));
                let _ = write!(out, "{} {info}{state}", format_args!("#{}", c.id).cyan());
            }
            (None, info) => out.push_str(info),
        }
    }
    for step in &way.steps {
        match step {
            Step::Held { .. } => out.push_str(" | held"),
            Step::Whole { fragments, .. } => {
                let _ = write!(out, " | whole of {fragments} fragments");
            }
            Step::Nat(nat) if nat.before != nat.after => {
                let by = match (&nat.rule, &nat.action) {
                    (Some(rule), Some(action)) => format!("{action} {}", words::place(rule)),
                    _ => format!("{} changed to mend a clash", nat.end),
                };
                let _ = write!(out, " | {}", by.green());
            }
            Step::Confirmed { outcome: outcome @ ("clash" | "merged"), by, .. } => {
                let by = by.as_ref().map_or(String::new(), |c| format!(" #{}", c.id));
                let _ = write!(out, " | {outcome} with{by}");
            }
            Step::Dropped { reason, why, rule } => {
                let by = match (rule, *reason) {
                    (Some(rule), _) => format!(" {}", words::place(rule)),
                    (None, "rule") => format!(" ({why})"),
                    _ => String::new(),
                };
                let _ = write!(out, " | {}{by}", format_args!("dropped: {reason}").red());
            }
            Step::Delivered { .. } => out.push_str(" | to the router itself"),
            _ => {}
        }
    }
    if let Some(left) = way.left.first() {
        let _ = write!(out, " | {}", left.interface);
        let was_changed = match (&way.came, &left.header) {
            (Some(a), Some(b)) => a.to_string() != b.to_string(),
            _ => false,
        };
        if was_changed && let Some(h) = &left.header {
            let _ = write!(out, " {}", h.green());
        }
        if way.left.len() > 1 {
            let _ = write!(out, " in {} fragments", way.left.len());
        }
    }
}
