//! Why the pipeline dropped a packet: its own decision, the third of the three words.

use std::fmt;

use uct_engine::Malformed;

use crate::defrag::Why;
use crate::link::LinkError;
use crate::options::Fault;
use crate::route::Refusal;

/// Why a packet went no further. One counter and one sentence for each reason, also for those within a variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Drop {
    /// The link header cannot be read.
    Link(LinkError),
    /// Not IP.
    NotIp,
    /// Addressed to another host's link address.
    OtherHost,
    /// Enters on an interface that the topology lacks.
    NoInterface,
    /// Not an IP packet that parses.
    Malformed(Malformed),
    /// The fragment, or the datagram it belongs to, cannot be used.
    Fragment(Why),
    /// A rule said so, or a chain's policy.
    Rule(RuleId),
    /// A rule refused it, with an answer.
    Reject(RuleId),
    /// It would open a connection and the table is full.
    TableFull,
    /// Masquerade or redirect, and the interface has no address of the family.
    NoAddress,
    /// NAT cannot carry it (an ICMP redirect about a translated connection, an established connection by another way).
    Nat(uct_nat::Refusal),
    /// Its addresses are not fit to be forwarded.
    Route(Refusal),
    /// Its IPv4 options are not fit to be forwarded.
    Options(Fault),
    /// No route leads to its destination.
    NoRoute,
    /// It was sent to all on a link, and is not for the router itself.
    NotUnicast,
    /// Its time to live is used up.
    TimeExceeded,
    /// It is larger than the way, and must not be cut.
    TooBig,
    /// It came in fragments, and its extension headers do not all stand in the first (IPv6).
    HeadersCut,
    /// Its connection's tuple was taken when it was to be confirmed.
    Clash,
}

macro_rules! reasons {
    ($($reason:pat => $name:literal,)*) => {
        impl Drop {
            /// How many reasons there are.
            pub const COUNT: usize = [$($name),*].len();
            /// The short names of all reasons, by [`Drop::index`].
            pub const NAMES: [&'static str; Self::COUNT] = [$($name),*];

            /// The reason's short name, as counters and summaries carry it.
            pub fn name(&self) -> &'static str {
                match self { $($reason => $name),* }
            }

            /// Where the reason's counter stands among [`Drop::NAMES`].
            pub fn index(&self) -> usize {
                [$(matches!(self, $reason)),*].iter().position(|is_it| *is_it).unwrap_or(0)
            }
        }
    };
}

reasons! {
    Drop::Link(LinkError::Short { .. }) => "link-short-header",
    Drop::Link(LinkError::TooManyTags) => "link-too-many-tags",
    Drop::Link(LinkError::Version(_)) => "link-ip-version",
    Drop::Link(LinkError::Family(_)) => "link-address-family",
    Drop::Link(LinkError::Unsupported(_)) => "link-type",
    Drop::NotIp => "not-ip",
    Drop::OtherHost => "other-host",
    Drop::NoInterface => "no-interface",
    Drop::Malformed(Malformed::ShortHeader { .. }) => "ip-short-header",
    Drop::Malformed(Malformed::Version(_)) => "ip-version",
    Drop::Malformed(Malformed::HeaderLength(_)) => "ip-header-length",
    Drop::Malformed(Malformed::Length { .. }) => "ip-length",
    Drop::Malformed(Malformed::HeaderChecksum) => "ip-header-checksum",
    Drop::Malformed(Malformed::HopByHop { .. }) => "ip-hop-by-hop",
    Drop::Fragment(Why::Duplicate) => "fragment-duplicate",
    Drop::Fragment(Why::Overlap) => "fragment-overlap",
    Drop::Fragment(Why::EndsDisagree) => "fragment-ends-disagree",
    Drop::Fragment(Why::Empty) => "fragment-empty",
    Drop::Fragment(Why::TooLong) => "fragment-too-long",
    Drop::Fragment(Why::Ecn) => "fragment-ecn",
    Drop::Fragment(Why::NoMemory) => "fragment-no-memory",
    Drop::Rule(_) => "rule",
    Drop::Reject(_) => "reject",
    Drop::TableFull => "table-full",
    Drop::NoAddress => "no-address",
    Drop::Nat(uct_nat::Refusal::Redirect) => "nat-icmp-redirect",
    Drop::Nat(uct_nat::Refusal::BadChecksum) => "nat-bad-checksum",
    Drop::Nat(uct_nat::Refusal::Cut { .. }) => "nat-short-header",
    Drop::Nat(uct_nat::Refusal::GreVersion(_)) => "nat-gre-version",
    Drop::Nat(uct_nat::Refusal::InterfaceChanged) => "nat-interface-changed",
    Drop::Route(Refusal::MartianSource) => "martian-source",
    Drop::Route(Refusal::MartianDestination) => "martian-destination",
    Drop::Route(Refusal::NotJoined) => "group-not-joined",
    Drop::Route(Refusal::BeyondScope) => "beyond-scope",
    Drop::Route(Refusal::ReversePath) => "reverse-path",
    Drop::Options(Fault::Nonsense(_)) => "ip-options",
    Drop::Options(Fault::SourceRoute) => "ip-source-route",
    Drop::NoRoute => "no-route",
    Drop::NotUnicast => "not-unicast",
    Drop::TimeExceeded => "time-exceeded",
    Drop::TooBig => "too-big",
    Drop::HeadersCut => "fragment-headers",
    Drop::Clash => "clash",
}

/// The rule that decided; `None` is a chain's policy.
pub type RuleId = Option<uct_nat::rules::RuleId>;

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
            Drop::Options(Fault::Nonsense(at)) => write!(f, "its IPv4 options make no sense at byte {at}"),
            Drop::Options(Fault::SourceRoute) => {
                f.write_str("it says itself which way to go (accept_source_route is 0)")
            }
            Drop::NoRoute => f.write_str("no route to its destination"),
            Drop::NotUnicast => f.write_str("sent to all on the link, and not forwarded to another"),
            Drop::TimeExceeded => f.write_str("its time to live is used up"),
            Drop::TooBig => f.write_str("larger than the next link's MTU, and not to be fragmented"),
            Drop::HeadersCut => f.write_str("its extension headers do not all stand in its first fragment"),
            Drop::Clash => {
                f.write_str("NAT found no free tuple: its connection's reply tuple belongs to another connection")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_name_and_counter() {
        let mut names = Drop::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Drop::COUNT);
        for drop in [Drop::Link(LinkError::TooManyTags), Drop::NotIp, Drop::Fragment(Why::NoMemory), Drop::Clash] {
            assert_eq!(Drop::NAMES[drop.index()], drop.name());
        }
    }
}
