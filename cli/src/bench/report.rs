//! What was measured, for people and as JSON. Every time stands beside its ratio to one prefetched access to memory.

use std::fmt::Write as _;

use indicatif::HumanCount;
use serde::Serialize;

/// One run of the bench. All times are in nanoseconds; times of packets are of one packet on its thread.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// uct's version.
    pub version: &'static str,
    /// Connections in the table.
    pub connections: u32,
    /// Threads of the last rows.
    pub threads: usize,
    /// `tcp` or `udp`.
    pub proto: &'static str,
    /// `none`, `snat` or `dnat`.
    pub nat: &'static str,
    /// Packets of one batch.
    pub batch: usize,
    /// Bytes of an IP packet.
    pub packet_bytes: usize,
    /// One dependent access to memory.
    pub access_dependent_ns: f64,
    /// One prefetched access to memory.
    pub access_prefetched_ns: f64,
    /// What the bench's loop costs itself; it is in every time of a packet.
    pub own_ns: f64,
    /// Resident bytes of one connection, all told; none if the system does not tell, or if there are too few.
    pub connection_bytes: Option<f64>,
    /// The rows.
    pub rows: Vec<Row>,
    /// How many listings of the whole table were finished.
    pub listings: u64,
    /// How long one listing took.
    pub listing_ns: f64,
    /// By how much listings made packets slower: 0.1 is ten per cent.
    pub listing_slowdown: f64,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name, stable: `established`, `established_threads`, `established_split`, `established_listing`, `open_growing`,
    /// `open_full`, `open_full_threads`.
    pub name: &'static str,
    /// What it is, for people.
    #[serde(skip)]
    pub title: String,
    /// How many threads sent packets.
    pub threads: usize,
    /// One packet.
    pub ns: f64,
    /// The same in prefetched accesses.
    pub accesses: f64,
    /// Packets of all threads in a second.
    pub per_second: f64,
    /// Packets a second as a multiple of one thread's, for several threads.
    pub speedup: Option<f64>,
}

/// Widths of the table's first column and of those with numbers.
const TITLE: usize = 46;

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut s = String::new();
        let _ = writeln!(
            s,
            "{} connections, {}, nat {}, batches of {}, packets of {} bytes; medians\n",
            HumanCount(self.connections.into()),
            self.proto,
            self.nat,
            self.batch,
            self.packet_bytes
        );
        let _ = writeln!(s, "{:TITLE$} {:>9} {:>9} {:>13}", "", "ns", "accesses", "a second");
        let unit = self.access_prefetched_ns;
        let mut time = |title: &str, ns: f64| {
            let _ = writeln!(s, "{title:TITLE$} {ns:>9.1} {:>9.1}", ns / unit);
        };
        time("memory: one random access, dependent", self.access_dependent_ns);
        time("memory: one random access, prefetched", unit);
        time("the bench's own loop (part of what follows)", self.own_ns);
        let _ = writeln!(s);
        for row in &self.rows {
            let rate = HumanCount(row.per_second as u64).to_string();
            let _ = write!(s, "{:TITLE$} {:>9.1} {:>9.1} {rate:>13}", row.title, row.ns, row.accesses);
            if let Some(speedup) = row.speedup {
                let _ = write!(s, "  {speedup:.2} times one thread");
            }
            if row.name == "established_listing" {
                let (percent, ms) = (self.listing_slowdown * 100.0, self.listing_ns / 1e6);
                let _ = write!(s, "  {percent:+.1} %, {} listings of {ms:.0} ms", self.listings);
            }
            let _ = writeln!(s);
        }
        let _ = match self.connection_bytes {
            Some(bytes) => {
                writeln!(s, "\n{:TITLE$} {bytes:>9.0} bytes, resident", "memory of one connection, all told")
            }
            None => writeln!(s, "\n{:TITLE$} {:>9}", "memory of one connection, all told", "unknown"),
        };
        s
    }
}
