//! What was decided about one end of a connection, and why: plain data, cheap to make, worth reading only for whoever asks.

use std::fmt;
use std::net::SocketAddr;

use thiserror::Error;
use uct_engine::{ConnId, L4, Manip, Tuple};

/// How the address was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressChoice {
    /// It stays.
    Kept,
    /// The rule left no choice.
    Only,
    /// The network's bits were replaced.
    Prefix,
    /// A hash of source and destination chose among several.
    Hashed,
    /// A hash of the source alone chose among several (`persistent`).
    HashedBySource,
}

/// Where a search for a free port began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the lowest port of the range.
    Lowest,
    /// At this random offset.
    Drawn(u16),
    /// At the packet's own port less the base.
    Shifted(u16),
}

/// A search for a free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// The lowest port of the range.
    pub first: u16,
    /// The highest port of the range.
    pub last: u16,
    /// Where it began (the last round, if there were several).
    pub start: Start,
    /// How many ports were tried, in all rounds.
    pub tries: u16,
    /// How often it began anew elsewhere.
    pub restarts: u8,
    /// A closed connection that had to make room.
    pub evicted: Option<ConnId>,
}

/// How the port (ICMP id, call key) was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// It stays: it suits the rule, and the reply tuple is free.
    Kept,
    /// It stays, because the rule allows only this one; whether it is free was not asked.
    Only,
    /// The mapping of another connection from the same source.
    Reused(ConnId),
    /// Found by search.
    Found(Search),
    /// The search found nothing free. The last port tried is used all the same, and the clash will drop the packet unless
    /// the other end's decision mends it.
    Exhausted(Search),
    /// It stays, though the reply tuple is taken: the protocol has no port, or a destination without port range may not be
    /// changed.
    Stuck,
}

/// One decision about one end of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The end.
    pub manip: Manip,
    /// What packets of the original direction looked like before.
    pub before: Tuple,
    /// What they look like from here on.
    pub after: Tuple,
    /// How the address was chosen.
    pub address: AddressChoice,
    /// How the port was chosen.
    pub port: PortChoice,
    /// The first choice's reply tuple belonged to this connection.
    pub taken_by: Option<ConnId>,
}

impl Decision {
    /// Whether the end looks different now.
    pub fn is_translated(&self) -> bool {
        self.before != self.after
    }
}

/// The interface has no address to masquerade with or to redirect to: the packet is dropped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("the interface has no address of this family to translate to")]
pub struct NoAddress;

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Lowest => f.write_str("from the lowest"),
            Start::Drawn(_) => f.write_str("from a random place"),
            Start::Shifted(offset) => write!(f, "from offset {offset}"),
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} {}", self.first, self.last, self.start)?;
        match self.tries {
            1 => f.write_str(", at the first try")?,
            n => write!(f, ", after {n} tries")?,
        }
        match self.restarts {
            0 => {}
            1 => f.write_str(" and one restart")?,
            n => write!(f, " and {n} restarts")?,
        }
        match self.evicted {
            Some(id) => write!(f, ", evicting the closed connection #{}", id.0),
            None => Ok(()),
        }
    }
}

/// One sentence: what became of the end, and why.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |tuple: &Tuple| End { tuple: *tuple, manip: self.manip };
        let (before, after) = (end(&self.before), end(&self.after));
        let (name, port) = match self.manip {
            Manip::Src => ("source", id_name(&self.before.l4)),
            Manip::Dst => ("destination", id_name(&self.before.l4)),
        };
        if self.is_translated() {
            write!(f, "{name} {before} becomes {after}")?;
        } else {
            write!(f, "{name} {before} stays")?;
        }
        match self.address {
            AddressChoice::Kept | AddressChoice::Only => {}
            AddressChoice::Prefix => f.write_str("; the address by its prefix")?,
            AddressChoice::Hashed => f.write_str("; the address chosen by a hash of source and destination")?,
            AddressChoice::HashedBySource => {
                f.write_str("; the address chosen by a hash of the source (persistent)")?
            }
        }
        if let Some(id) = self.taken_by {
            write!(f, "; its reply tuple was taken by connection #{}", id.0)?;
        }
        match &self.port {
            PortChoice::Kept if self.before.l4 == L4::None => Ok(()),
            PortChoice::Kept => write!(f, "; {port} kept"),
            PortChoice::Only => write!(f, "; {port} kept, the only one allowed"),
            PortChoice::Reused(id) => write!(f, "; as connection #{} from the same source", id.0),
            PortChoice::Found(search) => write!(f, "; {port} found in {search}"),
            PortChoice::Exhausted(search) => write!(f, "; no free {port} in {search}"),
            PortChoice::Stuck => write!(f, "; no {port} may be changed here"),
        }
    }
}

/// One end of a tuple, as people write it.
struct End {
    tuple: Tuple,
    manip: Manip,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = match self.manip {
            Manip::Src => (self.tuple.src, self.tuple.l4.src_id()),
            Manip::Dst => (self.tuple.dst, self.tuple.l4.dst_id()),
        };
        match self.tuple.l4 {
            L4::Ports { .. } => SocketAddr::new(address, port).fmt(f),
            L4::Icmp { id, .. } => write!(f, "{address} id {id}"),
            L4::Keys { .. } => write!(f, "{address} key {port:#x}"),
            L4::None => address.fmt(f),
        }
    }
}

fn id_name(l4: &L4) -> &'static str {
    match l4 {
        L4::Icmp { .. } => "id",
        L4::Keys { .. } => "key",
        L4::Ports { .. } | L4::None => "port",
    }
}
