//! Which packets are shown: by number, and by their connection.
//!
//! ```text
//!   --packet 12   --packet 12-20   --packet 300-   --packet -5
//!   --conn 'tcp dport 443 src 192.168.1.0/24'      all of it must hold; src, dst, sport, dport hold for either tuple
//!   --conn 'orig-src 192.168.1.10 reply-dport 17802'
//!   --conn 'id 7'   'state ESTABLISHED'   'mark 2'   'zone 1'   'invalid'   'dropped'   'nat'
//!   --conn '-p tcp -s 192.168.1.10 --reply-port-dst=17802 --src-nat'            the same in conntrack(8)'s options
//! ```
//! An option of conntrack(8) names one tuple, as it does there: `-s` is the original source, `-r` the reply's.

use std::net::IpAddr;

use ipnet::IpNet;

use uct_engine::{Protocol, Status};

use super::model::{Connection, Explanation, Step, TupleView, Verdict, Way};

/// Chooses packets.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// First and last number; none means all.
    packets: Vec<(u64, u64)>,
    terms: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Protocol(String),
    Address(Which, End, IpNet),
    Port(Which, End, u16),
    State(String),
    Id(u32),
    Mark(u32),
    Zone(u16),
    Invalid,
    Dropped,
    Nat,
    /// With this status bit.
    Has(Status),
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Either,
    Original,
    Reply,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Source,
    Destination,
    Any,
}

impl Filter {
    /// Reads `--packet` and `--conn`.
    pub fn new(packets: &[String], conn: Option<&str>) -> Result<Filter, String> {
        let packets = packets.iter().map(|text| range("--packet", text)).collect::<Result<_, _>>()?;
        let terms = conn.map_or(Ok(Vec::new()), terms)?;
        Ok(Filter { packets, terms })
    }

    /// Whether a packet is shown.
    pub fn takes(&self, e: &Explanation) -> bool {
        let by_number = self.packets.is_empty() || self.packets.iter().any(|(a, b)| (*a..=*b).contains(&e.packet));
        by_number && (self.terms.is_empty() || e.ways.iter().any(|way| self.terms.iter().all(|t| t.holds(way, e))))
    }

    /// Whether a connection is shown: by `--conn` alone.
    pub fn takes_connection(&self, connection: &Connection) -> bool {
        self.terms.iter().all(|t| t.holds_of(connection))
    }

    /// Whether no later packet can be meant.
    pub fn is_past(&self, packet: u64) -> bool {
        !self.packets.is_empty() && self.packets.iter().all(|(_, last)| packet >= *last)
    }
}

/// Packet numbers as `option` gives them: `N`, `N-M`, `N-` or `-M`.
pub fn range(option: &str, text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("'{option} {text}' is no packet number; N, N-M, N- or -M is expected, counted from 1");
    let number = |s: &str| s.parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(wrong);
    let (first, last) = match text.split_once('-') {
        None => {
            let n = number(text)?;
            (n, n)
        }
        Some(("", "")) => return Err(wrong()),
        Some(("", last)) => (1, number(last)?),
        Some((first, "")) => (number(first)?, u64::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last { Err(wrong()) } else { Ok((first, last)) }
}

/// What an option of conntrack(8) is called here; a value follows if it does there.
fn from_option(option: &str) -> Option<&'static str> {
    Some(match option {
        "-p" | "--proto" | "--protonum" => "protocol",
        "-s" | "--src" | "--orig-src" => "orig-src",
        "-d" | "--dst" | "--orig-dst" => "orig-dst",
        "-r" | "--reply-src" => "reply-src",
        "-q" | "--reply-dst" => "reply-dst",
        "--sport" | "--orig-port-src" => "orig-sport",
        "--dport" | "--orig-port-dst" => "orig-dport",
        "--reply-port-src" => "reply-sport",
        "--reply-port-dst" => "reply-dport",
        "--state" => "state",
        "-m" | "--mark" => "mark",
        "-w" | "--zone" => "zone",
        "-n" | "--src-nat" => "src-nat",
        "-g" | "--dst-nat" => "dst-nat",
        "-j" | "--any-nat" => "nat",
        _ => return None,
    })
}

/// A protocol by its name or number.
fn protocol(text: &str) -> Result<String, String> {
    let by_number = text.parse().ok().map(|n| Protocol(n).to_string());
    let name = by_number.unwrap_or_else(|| text.to_ascii_lowercase());
    let name = if name == "ipv6-icmp" { "icmpv6".to_owned() } else { name };
    if PROTOCOLS.contains(&name.as_str()) { Ok(name) } else { Err(format!("--conn: '{text}' is no protocol")) }
}

/// The protocols that connections have names for.
const PROTOCOLS: [&str; 9] = ["tcp", "udp", "icmp", "icmpv6", "gre", "sctp", "udplite", "dccp", "unknown"];

fn terms(text: &str) -> Result<Vec<Term>, String> {
    // `--option=value` is two words.
    let mut words = text.split_whitespace().flat_map(|word| match word.split_once('=') {
        Some((option, value)) if option.starts_with("--") => [Some(option), Some(value)],
        _ => [Some(word), None],
    });
    let mut words = std::iter::from_fn(|| words.by_ref().flatten().next());
    let mut terms = Vec::new();
    while let Some(given) = words.next() {
        let word = from_option(given).unwrap_or(given);
        let mut value = |what: &str| words.next().ok_or_else(|| format!("--conn: '{given}' wants {what} after it"));
        let (which, bare) = match word {
            w if w.starts_with("orig-") => (Which::Original, &w[5..]),
            w if w.starts_with("reply-") => (Which::Reply, &w[6..]),
            w => (Which::Either, w),
        };
        let end = match bare {
            "src" | "sport" => End::Source,
            "dst" | "dport" => End::Destination,
            _ => End::Any,
        };
        terms.push(match bare {
            "src" | "dst" | "host" => {
                let value = value("an address or a prefix")?;
                let net = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
                Term::Address(which, end, net.map_err(|_| format!("--conn: '{value}' is no address and no prefix"))?)
            }
            "sport" | "dport" | "port" => Term::Port(which, end, parse(value("a port")?, "port")?),
            "state" => Term::State(value("a state, as ESTABLISHED")?.to_ascii_uppercase()),
            "id" => Term::Id(parse(value("a connection's number")?.trim_start_matches('#'), "connection's number")?),
            "mark" => Term::Mark(parse(value("a mark")?, "mark")?),
            "zone" => Term::Zone(parse(value("a zone")?, "zone")?),
            "invalid" => Term::Invalid,
            "dropped" => Term::Dropped,
            "nat" => Term::Nat,
            "src-nat" => Term::Has(Status::SRC_NAT),
            "dst-nat" => Term::Has(Status::DST_NAT),
            "and" => continue,
            "protocol" => Term::Protocol(protocol(value("a protocol")?)?),
            name if PROTOCOLS.contains(&name) => Term::Protocol(name.to_owned()),
            id if id.starts_with('#') => Term::Id(parse(&id[1..], "connection's number")?),
            _ => {
                return Err(format!(
                    "--conn: '{given}' is not known; a protocol, src, dst, host, sport, dport, port, state, id, mark, zone, \
                     invalid, dropped or nat is expected"
                ));
            }
        });
    }
    Ok(terms)
}

fn parse<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("--conn: '{text}' is no {what}"))
}

impl Term {
    fn holds(&self, way: &Way, e: &Explanation) -> bool {
        match self {
            Term::Invalid => return way.info == Some("invalid"),
            Term::Dropped => {
                return e.verdict == Verdict::Drop && way.steps.iter().any(|s| matches!(s, Step::Dropped { .. }));
            }
            _ => {}
        }
        match &way.connection {
            Some(conn) => self.holds_of(conn),
            None => self.holds_of_packet(way),
        }
    }

    fn holds_of(&self, conn: &Connection) -> bool {
        match self {
            Term::Protocol(name) => conn.original.protocol == *name,
            Term::Address(which, end, net) => tuples(conn, *which).any(|t| address(t, *end, net)),
            Term::Port(which, end, port) => tuples(conn, *which).any(|t| has_port(t.sport, t.dport, *end, *port)),
            Term::State(name) => conn.state == Some(name.as_str()),
            Term::Id(id) => conn.id == *id,
            Term::Mark(mark) => conn.mark == *mark,
            Term::Zone(id) => conn.zone.map_or(0, |z| z.id) == *id,
            Term::Nat => conn.is_translated(),
            Term::Has(bit) => conn.has(*bit),
            Term::Invalid | Term::Dropped => false,
        }
    }

    /// A packet without a connection is held against its own headers.
    fn holds_of_packet(&self, way: &Way) -> bool {
        let Some(h) = &way.came else { return false };
        match self {
            Term::Protocol(name) => h.protocol == *name,
            Term::Address(Which::Either, end, net) => match end {
                End::Source => net.contains(&h.src),
                End::Destination => net.contains(&h.dst),
                End::Any => net.contains(&h.src) || net.contains(&h.dst),
            },
            Term::Port(Which::Either, end, port) => has_port(h.sport, h.dport, *end, *port),
            _ => false,
        }
    }
}

fn tuples(conn: &Connection, which: Which) -> impl Iterator<Item = &TupleView> {
    let (original, reply) = match which {
        Which::Either => (true, true),
        Which::Original => (true, false),
        Which::Reply => (false, true),
    };
    original.then_some(&conn.original).into_iter().chain(reply.then_some(&conn.reply))
}

fn address(t: &TupleView, end: End, net: &IpNet) -> bool {
    match end {
        End::Source => net.contains(&t.src),
        End::Destination => net.contains(&t.dst),
        End::Any => net.contains(&t.src) || net.contains(&t.dst),
    }
}

fn has_port(sport: Option<u16>, dport: Option<u16>, end: End, port: u16) -> bool {
    match end {
        End::Source => sport == Some(port),
        End::Destination => dport == Some(port),
        End::Any => sport == Some(port) || dport == Some(port),
    }
}
