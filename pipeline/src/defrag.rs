//! Stop 3: fragments are gathered until the datagram is whole, as Linux does for connection tracking.
//!
//! ```text
//!  fragment ─► queue of (source, destination, id; in IPv4 also protocol) ──whole──► datagram + how it was cut ─► tracking …
//!                 │ overlap, ends that disagree, ECN that cannot be, too old                                      … refrag
//!                 └──► the whole queue is thrown away
//! ```
//! A queue outlives no clock but the caller's: [`Defrag::expire`] gives out what ran out of time, in order.
//!
//! # What Linux does
//! Measured on 6.18 with raw fragments through a forwarding namespace where a rule uses `ct`. A = bytes 0–24, B = 24–48,
//! C = the last, 48–60; M = more fragments.
//!
//! | fragments | IPv4 | IPv6 |
//! |---|---|---|
//! | any order | whole at the last to arrive | the same |
//! | one that lies within a run (of fragments that came in sequence) | ignored, even with other bytes or ECN | the same |
//! | one that overlaps otherwise (A, 16–32) | queue thrown away; later fragments start a new one | the same |
//! | B, A, then 16–32: two runs, for A came after B | overlap: thrown away | the same |
//! | a second end elsewhere, M at or beyond the end, an end below what is there | queue thrown away | this fragment ignored |
//! | M whose length is no multiple of 8 | cut down to one | goes on as it is, alone; the queue is thrown away |
//! | empty, M | queue thrown away | ignored |
//! | empty, last | queue thrown away | ignored, but its end counts: the datagram never gets whole |
//! | an end beyond 65,535 | (counts as any end) | this fragment ignored |
//! | whole, but longer than 65,535 with the header | thrown away | – |
//! | ECN: not-ECT with anything else | thrown away when whole | the same |
//! | ECN: CE with ECT | CE | the same |
//! | ECN: ECT(0) with ECT(1) | as the first fragment | the same |
//! | TTL, DSCP, options, extension headers, flow label, next header | of the first fragment (offset 0) | the same |
//! | DF | set if one of the longest fragments has it | – |
//! | offset 0 and last (atomic) | no fragment | whole at once; clashes with a queue of its id |
//! | offset 0 without its whole TCP, UDP or ICMPv6 header, or without a byte of another | queued | goes on as it is |
//! | payload length 0 in the IP header | – | goes on as it is |
//! | other incoming interface | same datagram | same datagram |
//! | more than `ipfrag_max_dist` (64) fragments of that source since the queue's last | queue emptied, begins anew with this one | no such rule |
//! | time | `ipfrag_time`, 30 s from the first to arrive, not prolonged | `nf_conntrack_frag6_timeout`, 60 s, the same |
//! | time is up and offset 0 is there | ICMP 11/1 if the datagram is for the router itself | ICMPv6 3/1 always; it quotes the fragment at offset 0 |
//! | memory above `ipfrag_high_thresh` / `nf_conntrack_frag6_high_thresh` (4 MiB) | every fragment dropped, also those of known queues | the same |
//!
//! `ipfrag_low_thresh` and its IPv6 sibling mean nothing any more.
//!
//! Fragments that go on as they are reach the tracker, which finds them INVALID unless the protocol needs no header.
//!
//! # Invariants
//! - Memory is bounded by the two thresholds, counted as Linux counts (buffers in powers of two).
//! - Every fragment that was held is told about once: in a datagram, as lost in a drop, in an [`Expired`], or by [`Defrag::held`].
//! - A fragment that the capture cut short is gathered by its length on the wire; the datagram's bytes end at the first gap.
//!
//! # Sources
//! RFC 791 section 3.2, RFC 815, RFC 8200 section 4.5, RFC 5722 (overlaps), RFC 6946 (atomic), RFC 7112 (header chain), RFC 3168
//! section 5.3 (ECN); ip-sysctl and nf_conntrack-sysctl documentation; the table above. `record.py` beside this module asks the
//! kernel again, with random fragments; what it answered is kept in `kernel.txt` for a test.

pub(crate) mod queue;
#[cfg(test)]
mod tests;

use crate::refrag::Fragmented;
use queue::{Arrival, Outcome, Queue};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;
use uct_engine::{Family, Packet, Time};

/// Settings, under their sysctl names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `net.ipv4.ipfrag_time`: how long a datagram may take.
    pub ipfrag_time: Duration,
    /// `net.ipv4.ipfrag_high_thresh`, in bytes.
    pub ipfrag_high_thresh: usize,
    /// `net.ipv4.ipfrag_max_dist`: how many other fragments of one source may come between two of a datagram; 0 for any number.
    pub ipfrag_max_dist: u64,
    /// `net.netfilter.nf_conntrack_frag6_timeout`: how long a datagram may take.
    pub nf_conntrack_frag6_timeout: Duration,
    /// `net.netfilter.nf_conntrack_frag6_high_thresh`, in bytes.
    pub nf_conntrack_frag6_high_thresh: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ipfrag_time: Duration::from_secs(30),
            ipfrag_high_thresh: 4 << 20,
            ipfrag_max_dist: 64,
            nf_conntrack_frag6_timeout: Duration::from_secs(60),
            nf_conntrack_frag6_high_thresh: 4 << 20,
        }
    }
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// It is no fragment, or one that Linux does not gather: it goes on.
    AsIs {
        /// Earlier fragments of its datagram that were thrown away all the same.
        lost: u32,
    },
    /// It waits for the others.
    Held {
        /// Earlier fragments of it that were thrown away as too far behind (`ipfrag_max_dist`).
        lost: u32,
    },
    /// It was dropped.
    Dropped(FragmentDrop),
    /// It was the last that was missing.
    Whole(Box<Datagram>),
}

/// A dropped fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentDrop {
    /// Why.
    pub why: Why,
    /// Earlier fragments of the datagram that were thrown away with it.
    pub lost: u32,
}

/// Why a fragment was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Why {
    /// It lies within what is there.
    #[error("the fragment is a duplicate")]
    Duplicate,
    /// It covers part of what is there.
    #[error("the fragment overlaps another (the datagram is given up)")]
    Overlap,
    /// It disagrees about where the datagram ends.
    #[error("the fragment disagrees with others about the datagram's end")]
    EndsDisagree,
    /// It has no bytes.
    #[error("the fragment is empty")]
    Empty,
    /// The datagram would be longer than IP allows.
    #[error("the datagram is longer than 65535 bytes")]
    TooLong,
    /// The fragments' ECN bits cannot come from one packet.
    #[error("the fragments' ECN bits contradict each other")]
    Ecn,
    /// Too much is held already.
    #[error("the memory for fragments is used up (high_thresh)")]
    NoMemory,
}

/// A datagram made whole again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The IP packet, without any trace of fragmentation. Shorter than `wire_len` if a fragment was cut by the capture.
    pub bytes: Vec<u8>,
    /// Its length on the wire, in bytes.
    pub wire_len: usize,
    /// How it was cut, for sending it on the same way.
    pub fragmented: Fragmented,
    /// Of how many fragments it was made, ignored ones not counted.
    pub fragments: u32,
}

/// A datagram that did not become whole in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// When its time was up.
    pub at: Time,
    /// Its IP version.
    pub family: Family,
    /// How many fragments of it there were.
    pub fragments: u32,
    /// The fragment at offset 0, if it was there: what an ICMP error would quote.
    pub first: Option<Vec<u8>>,
}

/// What makes fragments belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// IPv4 only; in IPv6 the fragments may name different next headers.
    protocol: u8,
}

/// How many fragments a source has sent while some of its datagrams were incomplete.
#[derive(Debug, Default)]
struct Peer {
    fragments: u64,
    queues: u32,
}

/// All incomplete datagrams of a router.
#[derive(Debug)]
pub struct Defrag {
    settings: Settings,
    queues: HashMap<Key, Queue>,
    /// When which queue runs out; the number keeps those of one instant in order.
    deadlines: BTreeMap<(Time, u64), Key>,
    serial: u64,
    peers: HashMap<IpAddr, Peer>,
    charged_v4: usize,
    charged_v6: usize,
}

impl Defrag {
    /// With nothing held.
    pub fn new(settings: Settings) -> Self {
        Defrag {
            settings,
            queues: HashMap::new(),
            deadlines: BTreeMap::new(),
            serial: 0,
            peers: HashMap::new(),
            charged_v4: 0,
            charged_v6: 0,
        }
    }

    /// Takes a packet in. Expire what is due at `now` before.
    pub fn gather(&mut self, now: Time, packet: &Packet<'_>) -> Gathered {
        let Some(arrival) = Arrival::of(packet) else { return Gathered::AsIs { lost: 0 } };
        let family = packet.family();
        let (charged, limit) = match family {
            Family::Ipv4 => (self.charged_v4, self.settings.ipfrag_high_thresh),
            Family::Ipv6 => (self.charged_v6, self.settings.nf_conntrack_frag6_high_thresh),
        };
        if charged > limit || limit == 0 {
            return Gathered::Dropped(FragmentDrop { why: Why::NoMemory, lost: 0 });
        }
        let protocol = match family {
            Family::Ipv4 => packet.protocol().0,
            Family::Ipv6 => 0,
        };
        let key = Key { src: packet.src(), dst: packet.dst(), id: arrival.id, protocol };
        self.take_in(now, key, &arrival)
    }

    fn take_in(&mut self, now: Time, key: Key, arrival: &Arrival<'_>) -> Gathered {
        let deadline = now + self.time(arrival.family);
        let mut before = 0;
        let queue = match self.queues.entry(key) {
            Entry::Occupied(entry) => {
                before = entry.get().charged;
                entry.into_mut()
            }
            Entry::Vacant(entry) => {
                self.serial += 1;
                self.deadlines.insert((deadline, self.serial), key);
                self.peers.entry(key.src).or_default().queues += 1;
                entry.insert(Queue::new(arrival.family, (deadline, self.serial)))
            }
        };
        let mut lost = 0;
        if arrival.family == Family::Ipv4 {
            let peer = self.peers.entry(key.src).or_default();
            peer.fragments += 1;
            let distance = peer.fragments - queue.seen_at;
            queue.seen_at = peer.fragments;
            if !queue.is_empty() && self.settings.ipfrag_max_dist > 0 && distance > self.settings.ipfrag_max_dist {
                lost = queue.count;
                self.deadlines.remove(&queue.deadline);
                self.serial += 1;
                *queue = Queue::new(arrival.family, (deadline, self.serial));
                queue.seen_at = peer.fragments;
                self.deadlines.insert(queue.deadline, key);
            }
        }
        let outcome = queue.insert(arrival);
        let after = queue.charged;
        let charged = match arrival.family {
            Family::Ipv4 => &mut self.charged_v4,
            Family::Ipv6 => &mut self.charged_v6,
        };
        *charged = (*charged + after).saturating_sub(before);
        match outcome {
            Outcome::Held => Gathered::Held { lost },
            Outcome::Ignored(why) => Gathered::Dropped(FragmentDrop { why, lost }),
            Outcome::Killed(why) => {
                let dead = self.remove(key).map_or(0, |q| q.count);
                Gathered::Dropped(FragmentDrop { why, lost: lost + dead })
            }
            Outcome::KilledAsIs => Gathered::AsIs { lost: self.remove(key).map_or(0, |q| q.count) },
            Outcome::Complete => match self.remove(key).map(Queue::assemble) {
                Some(Ok(datagram)) => Gathered::Whole(Box::new(datagram)),
                Some(Err((why, count))) => {
                    Gathered::Dropped(FragmentDrop { why, lost: lost + count.saturating_sub(1) })
                }
                None => Gathered::Held { lost },
            },
        }
    }

    fn remove(&mut self, key: Key) -> Option<Queue> {
        let queue = self.queues.remove(&key)?;
        self.deadlines.remove(&queue.deadline);
        if let Entry::Occupied(mut peer) = self.peers.entry(key.src) {
            peer.get_mut().queues -= 1;
            // The distance only matters to queues that are there.
            if peer.get().queues == 0 {
                peer.remove();
            }
        }
        match queue.family {
            Family::Ipv4 => self.charged_v4 = self.charged_v4.saturating_sub(queue.charged),
            Family::Ipv6 => self.charged_v6 = self.charged_v6.saturating_sub(queue.charged),
        }
        Some(queue)
    }

    fn time(&self, family: Family) -> Duration {
        match family {
            Family::Ipv4 => self.settings.ipfrag_time,
            Family::Ipv6 => self.settings.nf_conntrack_frag6_timeout,
        }
    }

    /// When the next datagram runs out of time.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram whose time is up at `now`; call until there is none.
    pub fn expire(&mut self, now: Time) -> Option<Expired> {
        let ((at, _), key) = self.deadlines.first_key_value().map(|(k, v)| (*k, *v))?;
        if at > now {
            return None;
        }
        let queue = self.remove(key)?;
        Some(Expired { at, family: queue.family, fragments: queue.count, first: queue.first_fragment() })
    }

    /// How many fragments are held.
    pub fn held(&self) -> u64 {
        self.queues.values().map(|q| u64::from(q.count)).sum()
    }

    /// How much memory the held fragments are charged with, in bytes.
    pub fn charged(&self, family: Family) -> usize {
        match family {
            Family::Ipv4 => self.charged_v4,
            Family::Ipv6 => self.charged_v6,
        }
    }
}
