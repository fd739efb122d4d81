//! The explanation in plain words: a few sentences made from the steps, nothing that is not in them.

use std::fmt::Write as _;
use std::net::IpAddr;

use uct_pipeline::topology::is_inside;

use super::book::Book;
use super::header::{self, Header};
use super::model::{
    ConnRef, Explanation, NatStep, Origin, Rule, SearchView, Step, TupleView, Verdict, Way, WindowTest,
};

/// The sentences.
pub fn explain(explanation: &Explanation, book: &Book) -> Vec<String> {
    let mut words: Vec<String> = explanation.before.iter().filter_map(before).collect();
    if explanation.verdict == Verdict::LeftOut {
        words.push("The router itself had sent it: it is no arrival, and is left out.".to_owned());
        return words;
    }
    for way in &explanation.ways {
        match way.origin {
            Origin::Answer => answer(way, &mut words),
            Origin::Own | Origin::Arrived | Origin::Frame => arrival(way, book, &mut words),
        }
    }
    words
}

/// A connection as people call it: `connection #17 (since packet 3)`.
pub fn connection(conn: &ConnRef) -> String {
    match conn.since {
        Some(packet) => format!("connection #{} (opened by packet {packet})", conn.id),
        None => format!("connection #{}", conn.id),
    }
}

/// A rule's place.
pub fn place(rule: &Rule) -> String {
    format!("{}:{}", rule.file, rule.line)
}

fn before(step: &Step) -> Option<String> {
    match step {
        Step::Gone { connection: conn, why, original, .. } => Some(format!(
            "Before it, {}, {} {}, left the table: {why}.",
            connection(conn),
            original.protocol,
            original.text
        )),
        Step::Incomplete { fragments, .. } => Some(format!(
            "Before it, a datagram of which {} had come was given up: the rest did not come in time.",
            fragments_name(*fragments)
        )),
        _ => None,
    }
}

fn fragments_name(n: u32) -> String {
    if n == 1 { "one fragment".to_owned() } else { format!("{n} fragments") }
}

fn arrival(way: &Way, book: &Book, words: &mut Vec<String>) {
    if way.steps.iter().any(|s| matches!(s, Step::Restored)) {
        words.push("The capture was taken inside: this is turned back into what the router had received.".to_owned());
    }
    for step in &way.steps {
        match step {
            Step::Held { lost: 0 } => words.push("A fragment: it waits for the rest of its datagram.".to_owned()),
            Step::Held { lost } => words.push(format!(
                "A fragment: it waits for the rest of its datagram; {} of it came too long ago and were given up.",
                fragments_name(*lost)
            )),
            Step::Whole { fragments, .. } => words.push(format!(
                "The last that was missing of {}: the datagram is whole, and goes on as one packet.",
                fragments_name(*fragments)
            )),
            _ => {}
        }
    }
    tracking(way, words);
    states(way, words);
    nat(way, words);
    fate(way, book, words);
}

/// Which connection.
fn tracking(way: &Way, words: &mut Vec<String>) {
    let is_error = way.came.as_ref().is_some_and(|h| h.quoted.is_some());
    let opened = way.steps.iter().any(|s| matches!(s, Step::Opened { .. }));
    for step in &way.steps {
        match step {
            Step::Gone { connection: conn, why, .. } if !is_own(way, conn) => words.push(leaves(conn, why)),
            Step::Tracked { connection: id, info: "related", .. } if is_error => {
                let quoted = way.came.as_ref().and_then(|h| h.quoted.as_ref());
                let quoted = quoted.map_or(String::new(), |q| format!(" ({q})"));
                words.push(format!(
                    "An ICMP error: the packet that it quotes{quoted} belongs to connection #{id}, and so does the error. It changes \
                     neither state nor timeout."
                ));
            }
            Step::Tracked { connection: id, direction, .. } => {
                let since = way.connection.as_ref().and_then(|c| c.since);
                words.push(match (opened, *direction) {
                    (true, _) => format!("Nobody knows its tuple: it opens connection #{id}."),
                    (false, "reply") => format!("An answer within {}.", connection(&ConnRef { id: *id, since })),
                    (false, _) => {
                        format!("Part of {}, in its original direction.", connection(&ConnRef { id: *id, since }))
                    }
                });
            }
            Step::Untracked => {
                words.push("It goes untracked: it has no connection, and NAT leaves it alone.".to_owned())
            }
            Step::Invalid { why, remedy, .. } => {
                let why = reason(why);
                let because = way.steps.iter().find_map(|s| match s {
                    Step::Transition { outcome: "invalid", why, .. } => Some(format!(": {why}")),
                    _ => None,
                });
                let mut text = format!("INVALID: {why}{}.", because.unwrap_or_default());
                if let Some(more) = numbers(way) {
                    let _ = write!(text, " {more}");
                }
                if let Some(remedy) = remedy {
                    let _ = write!(text, " With {}={} it would have been taken.", remedy.setting, remedy.value);
                }
                words.push(text);
            }
            _ => {}
        }
    }
}

/// Why a packet is invalid, without the word that the kernel's log repeats.
pub fn reason(why: &str) -> &str {
    why.strip_prefix("invalid new: ").or_else(|| why.strip_prefix("invalid rst: ")).unwrap_or(why)
}

/// Whether this connection is the packet's own: that it ends is told after what it was.
fn is_own(way: &Way, conn: &ConnRef) -> bool {
    way.connection.as_ref().is_some_and(|c| c.id == conn.id)
}

fn leaves(conn: &ConnRef, why: &str) -> String {
    format!("{} leaves the table: {why}.", capital(&connection(conn)))
}

/// The numbers behind a violated window, with the packets that set the bounds.
fn numbers(way: &Way) -> Option<String> {
    let tests = way.steps.iter().find_map(|s| match s {
        Step::Window { tests, verdict: "outside", .. } => Some(tests),
        _ => None,
    })?;
    let failed = tests.iter().find(|t| !t.holds && matches!(t.test, "I" | "III"))?;
    let by = failed.value.wrapping_sub(failed.bound);
    let set_by = set_by(failed);
    Some(match failed.test {
        "I" => format!(
            "It begins at {}, and its receiver has allowed no more than {}{set_by}: {by} bytes beyond.",
            failed.value, failed.bound
        ),
        _ => format!(
            "It acknowledges {}, and the other side has sent no more than up to {}{set_by}: {by} bytes that nobody has seen.",
            failed.value, failed.bound
        ),
    })
}

/// ` (packet 12)`.
pub fn set_by(test: &WindowTest) -> String {
    let numbers: Vec<String> = test.set_by.iter().map(u64::to_string).collect();
    match numbers.len() {
        0 => String::new(),
        1 => format!(" (packet {})", numbers[0]),
        _ => format!(" (packets {})", numbers.join(", ")),
    }
}

/// What became of the state.
fn states(way: &Way, words: &mut Vec<String>) {
    if way.info == Some("invalid") {
        for step in &way.steps {
            if let Step::Exception { why } = step {
                words.push(format!("{}.", capital(why)));
            }
        }
        return;
    }
    let liberal = uct_engine::tcp::Exception::Liberal.to_string();
    let is_liberal = way.steps.iter().any(|s| matches!(s, Step::Exception { why } if *why == liberal));
    for step in &way.steps {
        match step {
            Step::Window { .. } if is_liberal => {}
            // What was picked up in mid-stream is liberal until both ends are known: nothing to wonder at.
            Step::Exception { why } if *why == liberal && is_first_look(way) => {}
            Step::Transition { state, next: Some(next), why, .. } if next != state => {
                let after = way.connection.as_ref().and_then(|c| c.state);
                if after.is_none_or(|after| after == *next) {
                    words.push(format!("{state} → {next}: {why}."));
                }
            }
            Step::Transition { state, outcome: "ignore", why, .. } => {
                words.push(format!("It passes and changes nothing, the state stays {state}: {why}."));
            }
            Step::Exception { why } => words.push(format!("{}.", capital(why))),
            Step::Window { verdict: "too_old_data", .. } => {
                words.push("It is older than the receiver's window: data that was acknowledged already. It passes and changes nothing.".to_owned());
            }
            Step::Window { verdict: "too_old_ack", .. } => {
                words.push("Its acknowledgement is long overtaken. It passes and changes nothing.".to_owned());
            }
            Step::Window { verdict: "overshoot", .. } => {
                words.push("It begins beyond the receiver's window, but by less than one whole window: it passes, and does not refresh the timeout.".to_owned());
            }
            _ => {}
        }
    }
    for step in &way.steps {
        if let Step::Gone { connection: conn, why, .. } = step
            && is_own(way, conn)
        {
            words.push(leaves(conn, why));
        }
    }
}

fn is_first_look(way: &Way) -> bool {
    way.steps.iter().any(|s| matches!(s, Step::Window { receiver_unseen: true, .. }))
}

/// What NAT decided, or does because it was decided.
fn nat(way: &Way, words: &mut Vec<String>) {
    for step in &way.steps {
        match step {
            Step::Nat(nat) => {
                if let Some(text) = decision(nat) {
                    words.push(text);
                }
            }
            Step::Rewritten { changes, pinned: Some(pin), .. } if !changes.is_empty() => {
                let list: Vec<String> = changes
                    .iter()
                    .filter(|c| !c.field.ends_with("checksum"))
                    .map(|c| format!("{} {} becomes {}", c.field, c.old, c.new))
                    .collect();
                let rule = pin.rule.as_ref().map_or(String::new(), |r| format!(" by the rule at {}", place(r)));
                words.push(format!("As decided for packet {}{rule}: {}.", pin.packet, list.join(", ")));
                if pin.replaced {
                    words.push(stale(way));
                }
            }
            _ => {}
        }
    }
}

/// The rules have changed since the connection was translated.
fn stale(way: &Way) -> String {
    let mut text =
        "The rules have changed since, but what was decided about a connection stays for as long as it lives, \
                    and every packet prolongs its life"
            .to_owned();
    if let Some(c) = &way.connection {
        let o = &c.original;
        let _ = write!(text, ": `conntrack -D -p {} -s {} -d {}", o.protocol, o.src, o.dst);
        if let (Some(sport), Some(dport)) = (o.sport, o.dport) {
            let _ = write!(text, " --sport {sport} --dport {dport}");
        }
        text.push_str("` ends it");
    }
    text.push('.');
    text
}

/// One decision: what became of the end, and why this port. None if there is nothing to tell: no rule, and nothing changed.
pub fn decision(nat: &NatStep) -> Option<String> {
    let is_changed = nat.before != nat.after;
    if nat.rule.is_none() && !is_changed && nat.port != "stuck" && nat.port != "exhausted" {
        return None;
    }
    let text = |t| end_of(nat, t);
    let word = id_word(nat);
    let who = match &nat.rule {
        Some(rule) => format!("The rule at {} ({})", place(rule), nat.action.as_deref().unwrap_or("nat")),
        None => "No NAT rule asked for it, but a clash must be mended: NAT".to_owned(),
    };
    let mut s = if is_changed {
        format!("{who} changes its {} from {} to {}", nat.end, text(&nat.before), text(&nat.after))
    } else if nat.rule.is_some() {
        format!("{who} leaves its {} as it is, {}", nat.end, text(&nat.before))
    } else {
        format!("NAT has to leave its {} as it is, {}", nat.end, text(&nat.before))
    };
    match nat.address {
        "hashed" => s.push_str("; a hash of source and destination chose the address"),
        "hashed_by_source" => s.push_str("; a hash of the source chose the address (persistent)"),
        "prefix" => s.push_str("; the network's part of the address was replaced"),
        _ => {}
    }
    if let Some(taken) = &nat.taken_by {
        let _ = write!(s, "; the first choice was taken: answers to it belong to {}", connection(taken));
    }
    match nat.port {
        "kept" if nat.before.sport.or(nat.before.id).is_none() => {}
        "kept" => {
            let _ = write!(s, "; the {word} is free and stays");
        }
        "only" => {
            let _ = write!(s, "; the rule allows only this {word}");
        }
        "reused" => {
            let by = nat.reused.as_ref().map(connection).unwrap_or_default();
            let _ = write!(s, "; the same source has this mapping already in {by}, and it is used again");
        }
        "found" => {
            if let Some(search) = &nat.search {
                let chosen = id_of(nat, &nat.after).unwrap_or(0);
                let _ = write!(s, "; {}", found(search, word, chosen));
            }
        }
        "exhausted" => {
            if let Some(search) = nat.search.as_ref().filter(|s| s.first == s.last) {
                let _ = write!(s, "; the only {word} that the rule allows, {}, is taken", search.first);
            } else if let Some(search) = &nat.search {
                let _ = write!(
                    s,
                    "; none of {} {word}s of {}-{} that were tried is free",
                    search.tries, search.first, search.last
                );
            }
        }
        _ => {
            let _ = write!(s, "; there is no {word} that may be changed");
        }
    }
    s.push('.');
    Some(s)
}

/// The end that a decision is about.
pub fn end_of(nat: &NatStep, t: &TupleView) -> String {
    let address = if nat.end == "source" { t.src } else { t.dst };
    match (t.id, id_of(nat, t)) {
        (Some(id), _) if nat.end == "source" => format!("{address} id {id}"),
        (_, port) => header::end(address, port),
    }
}

fn id_of(nat: &NatStep, t: &TupleView) -> Option<u16> {
    if nat.end == "source" { t.sport.or(t.id) } else { t.dport }
}

/// What the protocol calls its ports.
pub fn id_word(nat: &NatStep) -> &'static str {
    match nat.before.protocol.as_str() {
        "icmp" | "icmpv6" => "id",
        "gre" => "key",
        _ => "port",
    }
}

fn found(search: &SearchView, word: &str, chosen: u16) -> String {
    let from = match search.start {
        "lowest" => "the lowest first".to_owned(),
        "shifted" => format!("from offset {}", search.offset),
        _ => "from a random place".to_owned(),
    };
    let nth = match search.tries {
        1 => "at the first try".to_owned(),
        n => format!("at try {n}"),
    };
    let evicted = search
        .evicted
        .as_ref()
        .map_or(String::new(), |c| format!("; {}, which has ended, had to make room", connection(c)));
    if search.first == search.last {
        return format!("it is the only {word} that the rule allows, and it is free{evicted}");
    }
    format!(
        "a free {word} was searched in {}-{}, {from}, and {chosen} was found {nth}{evicted}",
        search.first, search.last
    )
}

/// Where it went.
fn fate(way: &Way, book: &Book, words: &mut Vec<String>) {
    for step in &way.steps {
        match step {
            Step::Confirmed { outcome: "merged", by: Some(by), .. } => words.push(format!(
                "Meanwhile the same connection was opened by another packet: it joins {}.",
                connection(by)
            )),
            Step::Confirmed { outcome: "clash", by: Some(by), .. } => words.push(format!(
                "A clash: at the end of its way its tuple belonged to {}; the connection does not enter the table.",
                connection(by)
            )),
            Step::Dropped { why, rule, .. } => {
                let rule = rule.as_ref().map_or(String::new(), |r| format!(" ({}: {})", place(r), r.text));
                words.push(format!("It is dropped: {why}{rule}."));
                if way.steps.iter().any(|s| matches!(s, Step::Opened { .. })) {
                    words.push("Its connection never enters the table.".to_owned());
                }
            }
            Step::Delivered { .. } => {
                let untranslated = if way.info == Some("invalid") { ", without a connection" } else { "" };
                words.push(format!("The router itself gets it{untranslated}."));
                let tcp = way.came.as_ref().and_then(|h| h.tcp.as_ref());
                if way.info == Some("invalid") && tcp.is_some_and(|t| !t.flags.contains("RST")) {
                    words.push("Its TCP knows nothing of that connection, and will refuse it with a reset.".to_owned());
                }
            }
            Step::Silent { why } => words.push(format!("Its sender is not told: {why}.")),
            _ => {}
        }
    }
    if let Some(first) = way.left.first() {
        let pieces = match way.left.len() {
            1 => String::new(),
            n => format!(" in {n} fragments"),
        };
        let leaks = way.info == Some("invalid") && leaks(first.header.as_ref(), book);
        let how = match (way.info, &way.came, &first.header) {
            (Some("invalid"), ..) if leaks => {
                let source = first.header.as_ref().map_or(String::new(), |h| h.src.to_string());
                format!(" untranslated, with its private source {source}: a leak, and no answer will find back")
            }
            (Some("invalid"), ..) => ", untranslated".to_owned(),
            (_, Some(came), Some(left))
                if came.src != left.src
                    || came.dst != left.dst
                    || came.sport != left.sport
                    || came.dport != left.dport =>
            {
                format!(" as {left}")
            }
            _ => String::new(),
        };
        words.push(format!("It leaves by {}{pieces}{how}.", first.interface));
    }
}

/// Whether an untranslated packet takes a private address to where it means nothing.
fn leaks(header: Option<&Header>, book: &Book) -> bool {
    header.is_some_and(|h| {
        let family = uct_engine::Family::of(h.src);
        let is_private = |a: IpAddr| is_inside(a);
        book.translates(family) && is_private(h.src) && !is_private(h.dst)
    })
}

/// What the router sends because of the packet before.
fn answer(way: &Way, words: &mut Vec<String>) {
    let Some(came) = &way.came else { return };
    let is_reset = came.tcp.as_ref().is_some_and(|t| t.flags.contains("RST"));
    let what = if is_reset { "a reset".to_owned() } else { format!("an {} {}", came.protocol_name(), came.kind()) };
    let fate = match (
        way.left.first(),
        way.steps.iter().find_map(|s| if let Step::Dropped { why, .. } = s { Some(why) } else { None }),
    ) {
        (Some(left), _) => {
            let to = left.header.as_ref().map_or(came.dst, |h| h.dst);
            format!("It leaves by {} to {to}.", left.interface)
        }
        (None, Some(why)) => format!("It is dropped: {why}."),
        (None, None) => String::new(),
    };
    words.push(format!("The router answers with {what}. {fate}").trim_end().to_owned());
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
