//! Why the pipeline dropped a packet: its own decision, the third of the three words.

use std::fmt;

use uct_engine::Malformed;

use crate::link::LinkError;
use crate::route::Refusal;

macro_rules! drops {
    ($($(#[$doc:meta])* $variant:ident $(($field:ty))? = $name:literal;)*) => {
        /// Why a packet went no further. One counter each, and one sentence.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Drop { $($(#[$doc])* $variant $(($field))?,)* }

        impl Drop {
            /// How many reasons there are.
            pub const COUNT: usize = [$($name),*].len();
            /// The short names of all reasons, by [`Drop::index`].
            pub const NAMES: [&'static str; Self::COUNT] = [$($name),*];

            /// The reason's short name, as counters and summaries carry it.
            pub fn name(&self) -> &'static str {
                match self { $(Drop::$variant { .. } => $name),* }
            }
        }
    };
}

drops! {
    /// The link header cannot be read.
    Link(LinkError) = "bad-link-header";
    /// Not IP.
    NotIp = "not-ip";
    /// Addressed to another host's link address.
    OtherHost = "other-host";
    /// Enters on an interface that the topology lacks.
    NoInterface = "no-interface";
    /// Not an IP packet that parses.
    Malformed(Malformed) = "malformed";
    /// The fragment, or the datagram it belongs to, cannot be used.
    Fragment(crate::defrag::Why) = "bad-fragment";
    /// A rule said so, or a chain's policy.
    Rule(RuleId) = "rule";
    /// A rule refused it, with an answer.
    Reject(RuleId) = "reject";
    /// It would open a connection and the table is full.
    TableFull = "table-full";
    /// Masquerade or redirect, and the interface has no address of the family.
    NoAddress = "no-address";
    /// NAT cannot carry it (an ICMP redirect about a translated connection, an established connection by another way).
    Nat(uct_nat::Refusal) = "nat";
    /// Its addresses are not fit to be forwarded.
    Route(Refusal) = "martian";
    /// No route leads to its destination.
    NoRoute = "no-route";
    /// It was sent to all on a link, and is not for the router itself.
    NotUnicast = "not-unicast";
    /// Its time to live is used up.
    TimeExceeded = "time-exceeded";
    /// It is larger than the way, and must not be cut.
    TooBig = "too-big";
    /// Its connection's tuple was taken when it was to be confirmed.
    Clash = "clash";
}

/// The rule that decided; `None` is a chain's policy.
pub type RuleId = Option<uct_nat::rules::RuleId>;

impl Drop {
    /// Where the reason's counter stands among [`Drop::NAMES`].
    pub fn index(&self) -> usize {
        let name = self.name();
        Self::NAMES.iter().position(|n| *n == name).unwrap_or(0)
    }
}

impl fmt::Display for Drop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drop::Link(why) => write!(f, "{why}"),
            Drop::NotIp => f.write_str("not an IP packet"),
            Drop::OtherHost => f.write_str("addressed to another host's link address"),
            Drop::NoInterface => f.write_str("entered on an interface that the topology does not have"),
            Drop::Malformed(why) => write!(f, "{why}"),
            Drop::Fragment(why) => write!(f, "{why}"),
            Drop::Rule(Some(_)) => f.write_str("a rule dropped it"),
            Drop::Rule(None) => f.write_str("a chain's policy dropped it"),
            Drop::Reject(_) => f.write_str("a rule rejected it"),
            Drop::TableFull => f.write_str("the connection table is full (nf_conntrack_max)"),
            Drop::NoAddress => f.write_str("the interface has no address of this family to translate to"),
            Drop::Nat(why) => write!(f, "{why}"),
            Drop::Route(why) => write!(f, "{why}"),
            Drop::NoRoute => f.write_str("no route to its destination"),
            Drop::NotUnicast => f.write_str("sent to all on the link, and not forwarded to another"),
            Drop::TimeExceeded => f.write_str("its time to live is used up"),
            Drop::TooBig => f.write_str("larger than the next link's MTU, and not to be fragmented"),
            Drop::Clash => {
                f.write_str("NAT found no free tuple: its connection's reply tuple belongs to another connection")
            }
        }
    }
}
