//! What rules decide, for those who carry it out.

use super::RuleId;
use std::fmt;
use std::net::IpAddr;
use uct_engine::Family;

/// How a port is chosen when it must change, or always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortChoice {
    /// Keep it if possible.
    #[default]
    Keep,
    /// `random`
    Random,
    /// `fully-random`
    FullyRandom,
}

/// What decides which address of a range a connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressChoice {
    /// Source and destination.
    #[default]
    PerConnection,
    /// `persistent`: the source alone.
    Persistent,
    /// `prefix`: the host part of the old address, under the new prefix.
    Prefix,
}

/// The flags of a NAT statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NatFlags {
    /// How a port is chosen.
    pub ports: PortChoice,
    /// How an address is chosen.
    pub addresses: AddressChoice,
}

/// What a NAT statement allows the new tuple to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// First and last address, of one family; none means the old address is kept.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// First and last port; none means any.
    pub ports: Option<(u16, u16)>,
    /// Its flags.
    pub flags: NatFlags,
}

/// What a NAT chain asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A new source.
    Snat(Range),
    /// A new destination.
    Dnat(Range),
    /// The address of the outgoing interface as source.
    Masquerade(Range),
    /// The router itself as destination.
    Redirect(Range),
}

impl Action {
    /// Its range.
    pub fn range(&self) -> &Range {
        match self {
            Action::Snat(range) | Action::Dnat(range) | Action::Masquerade(range) | Action::Redirect(range) => range,
        }
    }
}

/// nft's word for it with what was asked for: `dnat to 192.168.1.10:8080`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, range) = match self {
            Action::Snat(range) => ("snat", range),
            Action::Dnat(range) => ("dnat", range),
            Action::Masquerade(range) => ("masquerade", range),
            Action::Redirect(range) => ("redirect", range),
        };
        f.write_str(name)?;
        if range.flags.addresses == AddressChoice::Prefix {
            f.write_str(" prefix")?;
        }
        if range.addresses.is_some() || range.ports.is_some() {
            f.write_str(" to ")?;
        }
        let address = |addr: IpAddr| match addr {
            IpAddr::V6(addr) if range.ports.is_some() => format!("[{addr}]"),
            addr => addr.to_string(),
        };
        match range.addresses {
            Some((first, last)) if first == last => f.write_str(&address(first))?,
            Some((first, last)) => write!(f, "{}-{}", address(first), address(last))?,
            None => {}
        }
        match range.ports {
            Some((first, last)) if first == last => write!(f, ":{first}")?,
            Some((first, last)) => write!(f, ":{first}-{last}")?,
            None => {}
        }
        match range.flags.ports {
            PortChoice::Keep => {}
            PortChoice::Random => f.write_str(" random")?,
            PortChoice::FullyRandom => f.write_str(" fully-random")?,
        }
        if range.flags.addresses == AddressChoice::Persistent {
            f.write_str(" persistent")?;
        }
        Ok(())
    }
}

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
    Act(Action, RuleId),
    /// A rule, or a chain's policy, drops or rejects the packet.
    Refused(Verdict),
}
