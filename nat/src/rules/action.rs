//! What rules decide, for those who carry it out.

use super::RuleId;
use crate::Mapping;
use uct_engine::Family;

/// How a rejected packet is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reject {
    /// A TCP reset.
    TcpReset,
    /// ICMP destination unreachable with this code.
    Icmp(u8),
    /// ICMPv6 destination unreachable with this code.
    Icmpv6(u8),
    /// Either, by the packet's family: no-route 0, port-unreachable 1, host-unreachable 2, admin-prohibited 3.
    Icmpx(u8),
}

impl Reject {
    /// For a packet of this family: never [`Reject::Icmpx`].
    pub fn for_family(self, family: Family) -> Reject {
        let Reject::Icmpx(code) = self else { return self };
        let (icmp, icmpv6) = match code {
            0 => (0, 0),
            1 => (3, 4),
            2 => (1, 3),
            _ => (13, 1),
        };
        match family {
            Family::Ipv4 => Reject::Icmp(icmp),
            Family::Ipv6 => Reject::Icmpv6(icmpv6),
        }
    }
}

/// What became of a packet in one base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// This chain lets it pass; the next one may still object.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone, and its sender is told.
    Reject(Reject),
}

/// A decision and who took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What.
    pub decision: Decision,
    /// The rule that decided; none if it was the chain's policy.
    pub rule: Option<RuleId>,
}

/// What the NAT chains of a hook say about a connection's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatVerdict {
    /// No rule asks for anything: a null binding.
    None,
    /// A rule asks for this.
    Act(Mapping, RuleId),
    /// A rule, or a chain's policy, drops or rejects the packet.
    Refused(Verdict),
}
