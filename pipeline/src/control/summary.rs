//! A survey of the table: how many of each kind, who has most, and the first few of an order.
//!
//! Its answer is of bounded size however large the table is, so that a screen can ask for one every second. Like a listing it
//! takes one shard of the table at a time and holds no lock while it counts.
//!
//! ```text
//!   every connection that is meant ─► counted by protocol and state
//!                                  ─► added to its source           ─► the largest few
//!                                  ─► heap of the first few in order ─► entries
//! ```

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io;
use std::net::IpAddr;

use uct_engine::{Entry, L4, Protocol, Status, Sysctl};

use super::message::{Fault, Group, Reply, Summary, Summed, Talker};
use super::serve::{Answer, Work, invalid};

/// The most connections that are shown.
pub(super) const MOST_SHOWN: u32 = 10_000;
/// The most sources that are shown.
const MOST_TALKERS: u32 = 1000;

/// What the connections that are shown are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Id,
    Timeout,
    Packets,
    Bytes,
    Source,
    Destination,
}

impl Sort {
    fn by_name(name: &str) -> Result<Sort, Fault> {
        Ok(match name {
            "id" => Sort::Id,
            "timeout" => Sort::Timeout,
            "packets" => Sort::Packets,
            "bytes" => Sort::Bytes,
            "source" => Sort::Source,
            "destination" => Sort::Destination,
            other => return Err(invalid(format!("connections are not sorted by '{other}'"))),
        })
    }

    /// What is compared; among equals the number decides, so that an order is always the same.
    fn key(self, entry: &Entry) -> (u128, u64) {
        let id = u64::from(entry.id.0);
        let all = |of: fn(&uct_engine::Counters) -> u64| entry.counters.iter().flatten().map(of).sum::<u64>();
        let bits = |addr: IpAddr| match addr {
            IpAddr::V4(a) => u128::from(a.to_bits()),
            IpAddr::V6(a) => a.to_bits(),
        };
        let (src, dst) = match entry.original.l4 {
            L4::Ports { src, dst } | L4::Keys { src, dst } => (src, dst),
            L4::Icmp { id, .. } => (id, id),
            L4::None => (0, 0),
        };
        let with_port = |port: u16| u64::from(port) << 32 | id;
        match self {
            Sort::Id => (u128::from(id), id),
            Sort::Timeout => (entry.timeout.as_nanos(), id),
            Sort::Packets => (all(|c| c.packets).into(), id),
            Sort::Bytes => (all(|c| c.bytes).into(), id),
            Sort::Source => (bits(entry.original.src), with_port(src)),
            Sort::Destination => (bits(entry.original.dst), with_port(dst)),
        }
    }
}

/// What one source has: connections, packets, bytes.
type Share = (u64, Option<(u64, u64)>);

/// An entry in its place; the heap's greatest is the first to go.
struct Placed {
    key: (u128, u64),
    entry: Entry,
}

impl PartialEq for Placed {
    fn eq(&self, other: &Placed) -> bool {
        self.key == other.key
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Placed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Placed) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// The state by which a connection is counted.
fn state(entry: &Entry) -> &'static str {
    entry.proto.state_name().unwrap_or(match entry.status {
        s if s.contains(Status::ASSURED) => "ASSURED",
        s if s.contains(Status::SEEN_REPLY) => "REPLIED",
        _ => "UNREPLIED",
    })
}

impl Work<'_> {
    /// Counts, and shows the first few.
    pub(super) fn summary(&mut self, asked: Summary) -> io::Result<Answer> {
        let sort = match Sort::by_name(asked.sort.as_deref().unwrap_or("id")) {
            Ok(sort) => sort,
            Err(fault) => return Ok(Err(fault)),
        };
        let limit = asked.limit.unwrap_or(0).min(MOST_SHOWN) as usize;
        let talkers = asked.talkers.unwrap_or(0).min(MOST_TALKERS) as usize;
        let descending = asked.descending == Some(true);
        let mut groups: BTreeMap<(Protocol, &'static str), u64> = BTreeMap::new();
        let mut shares: HashMap<IpAddr, Share> = HashMap::new();
        let mut first: BinaryHeap<Placed> = BinaryHeap::with_capacity(limit.min(1000));
        let matched = self.each(asked.filter, |_, _, entry| {
            *groups.entry((entry.original.protocol, state(&entry))).or_default() += 1;
            if talkers > 0 {
                let share = shares.entry(entry.original.src).or_default();
                share.0 += 1;
                for c in entry.counters.iter().flatten() {
                    let sum = share.1.get_or_insert_default();
                    *sum = (sum.0.saturating_add(c.packets), sum.1.saturating_add(c.bytes));
                }
            }
            let (a, b) = sort.key(&entry);
            let key = if descending { (!a, !b) } else { (a, b) };
            if first.len() < limit {
                first.push(Placed { key, entry });
            } else if let Some(mut last) = first.peek_mut()
                && key < last.key
            {
                *last = Placed { key, entry };
            }
            Ok(Ok(1))
        })?;
        let matched = match matched {
            Ok(matched) => matched,
            Err(fault) => return Ok(Err(fault)),
        };
        let (stats, settings) = (self.engine().stats(), self.engine().settings());
        let summed = Summed {
            total: Some(self.engine().count() as u64),
            matched: Some(matched),
            groups: Some(groups.into_iter().map(group).collect()),
            talkers: Some(largest(shares, talkers)),
            packets: self.shared.gauge.get().map(|g| g.received()),
            inserted: Some(stats.insert.get()),
            invalid: Some(stats.invalid.get()),
            max: Some(settings.get(Sysctl::Max).into()),
        };
        self.reply(Reply { summary: Some(summed), now_ns: Some(self.now().as_nanos()), ..Reply::default() })?;
        for placed in first.into_sorted_vec() {
            self.show(&placed.entry)?;
        }
        Ok(Ok(matched))
    }
}

fn group(((protocol, state), count): ((Protocol, &'static str), u64)) -> Group {
    Group {
        protocol: Some(protocol.name().map_or(Cow::Borrowed("unknown"), Cow::Borrowed)),
        protocol_number: Some(protocol.0),
        state: Some(state.into()),
        count: Some(count),
    }
}

/// The sources that have most.
fn largest(shares: HashMap<IpAddr, Share>, most: usize) -> Vec<Talker> {
    let mut all: Vec<_> = shares.into_iter().collect();
    let rank =
        |(addr, (count, sums)): &(IpAddr, Share)| Reverse((sums.map_or(0, |(_, bytes)| bytes), *count, Reverse(*addr)));
    if all.len() > most && most > 0 {
        all.select_nth_unstable_by_key(most - 1, rank);
        all.truncate(most);
    }
    all.sort_unstable_by_key(rank);
    let talker = |(addr, (count, sums)): (IpAddr, Share)| Talker {
        addr: Some(addr),
        count: Some(count),
        packets: sums.map(|(packets, _)| packets),
        bytes: sums.map(|(_, bytes)| bytes),
    };
    all.into_iter().map(talker).collect()
}
