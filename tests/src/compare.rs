//! Where two observations of one step differ.
//!
//! What is compared, and what is not:
//!
//! | what | how |
//! |---|---|
//! | packets that left | interface by interface in order (but for what time brings about), every byte from the IP header on |
//! | entries | both tuples, zones, state, status bits, mark, labels, helper, master, counters, window scale, tags |
//! | timeout | to within one second |
//! | events | kind and entry, in order; of entries that run out in one step the order is not compared |
//! | expectations | all fields, the timeout to within one second |
//!
//! Not compared, because the kernel draws them at random or counts them per machine: the entry's identifier, time stamps
//! (whether there are any is compared), the identification of packets that the kernel makes itself and of IPv6 datagrams
//! that it fragments anew. Those are set to zero on both sides by [`mask`].

use std::collections::BTreeMap;

use crate::observed::{Entry, Event, EventKind, Expectation, Observed, Proto, hex};
use crate::packet::{describe, mask};

/// Flags of a TCP side that mean something outside the kernel: scaling, SACK, first to close, liberal, data outstanding,
/// acknowledgment seen. The two above them remember a half-done decision.
const COMPARED_FLAGS: u8 = 0x3f;

/// What differs, as lines for people. Empty if nothing does.
#[must_use]
pub fn differences(sent: Option<&[u8]>, kernel: &Observed, uct: &Observed) -> Vec<String> {
    let mut lines = Vec::new();
    packets(sent, kernel, uct, &mut lines);
    entries(kernel, uct, &mut lines);
    events(kernel, uct, &mut lines);
    expectations(kernel, uct, &mut lines);
    lines
}

fn packets(sent: Option<&[u8]>, kernel: &Observed, uct: &Observed, lines: &mut Vec<String>) {
    let by_interface = |observed: &Observed| {
        let mut packets: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for emitted in &observed.out {
            packets.entry(emitted.iface.clone()).or_default().push(mask(sent, &emitted.packet));
        }
        if sent.is_none() {
            // What time brings about has no order.
            packets.values_mut().for_each(|packets| packets.sort());
        }
        packets
    };
    let (kernel, uct) = (by_interface(kernel), by_interface(uct));
    let mut interfaces: Vec<&String> = kernel.keys().chain(uct.keys()).collect();
    interfaces.sort();
    interfaces.dedup();
    for interface in interfaces {
        let none = Vec::new();
        let (ours, theirs) = (uct.get(interface).unwrap_or(&none), kernel.get(interface).unwrap_or(&none));
        for index in 0..ours.len().max(theirs.len()) {
            let (uct, kernel) = (ours.get(index), theirs.get(index));
            if uct == kernel {
                continue;
            }
            lines.push(format!("packet {index} on {interface}"));
            for (name, packet) in [("kernel", kernel), ("uct", uct)] {
                match packet {
                    Some(packet) => lines.push(format!("  {name:<6} {}\n         {}", describe(packet), hex(packet))),
                    None => lines.push(format!("  {name:<6} nothing")),
                }
            }
        }
    }
}

fn key(entry: &Entry) -> impl Ord + use<> {
    (entry.original.tuple, entry.original.zone, entry.reply.tuple)
}

fn entries(kernel: &Observed, uct: &Observed, lines: &mut Vec<String>) {
    let sorted = |observed: &Observed| {
        let mut table = observed.table.clone();
        table.sort_by_key(key);
        table
    };
    let (mut theirs, mut ours) = (sorted(kernel), sorted(uct));
    let alike = theirs.len() == ours.len() && theirs.iter().zip(&ours).all(|(a, b)| same_entry(a, b));
    if alike {
        return;
    }
    // Only what has no match is worth reading.
    theirs.retain(|entry| match ours.iter().position(|other| same_entry(entry, other)) {
        Some(index) => {
            ours.remove(index);
            false
        }
        None => true,
    });
    lines.extend(theirs.iter().map(|entry| format!("entry\n  kernel {entry}")));
    lines.extend(ours.iter().map(|entry| format!("entry\n  uct    {entry}")));
}

/// A timeout that is not told is none, and one of nothing is not told.
fn same_timeout(a: Option<u32>, b: Option<u32>) -> bool {
    a.unwrap_or(0).abs_diff(b.unwrap_or(0)) <= 1
}

fn same_entry(a: &Entry, b: &Entry) -> bool {
    let plain = |entry: &Entry| {
        let mut entry = entry.clone();
        (entry.timeout, entry.id) = (None, 0);
        if let Proto::Tcp { flags, .. } = &mut entry.proto {
            *flags = flags.map(|flags| flags & COMPARED_FLAGS);
        }
        entry
    };
    same_timeout(a.timeout, b.timeout) && plain(a) == plain(b)
}

fn same_expectation(a: &Expectation, b: &Expectation) -> bool {
    let plain = |expectation: &Expectation| Expectation { timeout: 0, ..expectation.clone() };
    a.timeout.abs_diff(b.timeout) <= 1 && plain(a) == plain(b)
}

fn same_event(a: &Event, b: &Event) -> bool {
    match (a, b) {
        (Event::Conn(ka, a), Event::Conn(kb, b)) => ka == kb && same_entry(a, b),
        (Event::Expect(ka, a), Event::Expect(kb, b)) => ka == kb && same_expectation(a, b),
        _ => false,
    }
}

fn events(kernel: &Observed, uct: &Observed, lines: &mut Vec<String>) {
    let settled = |observed: &Observed| {
        let mut events = observed.events.clone();
        // Connections that run out between two packets are found in the order of a keyed hash.
        let only_ends = events.iter().all(|event| matches!(event, Event::Conn(EventKind::Destroy, _)));
        if only_ends {
            events.sort_by_key(|event| match event {
                Event::Conn(_, entry) => Some(key(entry)),
                Event::Expect(..) => None,
            });
        }
        events
    };
    let (theirs, ours) = (settled(kernel), settled(uct));
    if theirs.len() == ours.len() && theirs.iter().zip(&ours).all(|(a, b)| same_event(a, b)) {
        return;
    }
    lines.push("events".into());
    lines.extend(theirs.iter().map(|event| format!("  kernel {event}")));
    lines.extend(ours.iter().map(|event| format!("  uct    {event}")));
}

fn expectations(kernel: &Observed, uct: &Observed, lines: &mut Vec<String>) {
    let sorted = |observed: &Observed| {
        let mut expectations = observed.expectations.clone();
        expectations.sort_by_key(|expectation| (expectation.tuple, expectation.master));
        expectations
    };
    let (theirs, ours) = (sorted(kernel), sorted(uct));
    if theirs.len() == ours.len() && theirs.iter().zip(&ours).all(|(a, b)| same_expectation(a, b)) {
        return;
    }
    lines.push("expectations".into());
    lines.extend(theirs.iter().map(|expectation| format!("  kernel {expectation}")));
    lines.extend(ours.iter().map(|expectation| format!("  uct    {expectation}")));
}
