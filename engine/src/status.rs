//! A connection's status bits, with netfilter's names and numbers, and what a packet is to its connection.

use bitflags::bitflags;

bitflags! {
    /// Status bits of a connection (`IPS_*`). The numbers are those that netlink carries.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Status: u32 {
        /// It was announced by an expectation.
        const EXPECTED = 1;
        /// A packet of the reply direction was seen.
        const SEEN_REPLY = 1 << 1;
        /// It is worth keeping when the table is full.
        const ASSURED = 1 << 2;
        /// It stands in the table.
        const CONFIRMED = 1 << 3;
        /// Its source is translated.
        const SRC_NAT = 1 << 4;
        /// Its destination is translated.
        const DST_NAT = 1 << 5;
        /// Sequence numbers are adjusted.
        const SEQ_ADJUST = 1 << 6;
        /// The decision about its source was taken (translation or none).
        const SRC_NAT_DONE = 1 << 7;
        /// The decision about its destination was taken.
        const DST_NAT_DONE = 1 << 8;
        /// It has left the table.
        const DYING = 1 << 9;
        /// Packets do not refresh its timeout.
        const FIXED_TIMEOUT = 1 << 10;
        /// A template, never in the table.
        const TEMPLATE = 1 << 11;
        /// It lost a clash and stands in the table by its reply tuple alone.
        const NAT_CLASH = 1 << 12;
        /// A helper was assigned by a rule.
        const HELPER = 1 << 13;
        /// A flow table carries it.
        const OFFLOAD = 1 << 14;
        /// Hardware carries it.
        const HW_OFFLOAD = 1 << 15;
    }
}

impl Status {
    /// Source or destination is translated.
    pub const NAT: Status = Status::SRC_NAT.union(Status::DST_NAT);
    /// Both decisions were taken.
    pub const NAT_DONE: Status = Status::SRC_NAT_DONE.union(Status::DST_NAT_DONE);

    /// Each single bit with netfilter's name for it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter_names().map(|(name, _)| name)
    }
}

/// What a packet is to its connection (`ctinfo`); rules see it as `ct state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Info {
    /// The connection has not been answered yet, and this packet goes the original way.
    New,
    /// Part of an answered connection.
    Established,
    /// Related to another connection: an ICMP error, or the first packet of an expected connection.
    Related,
}

impl Info {
    /// `new`, `established` or `related`, as rules say it.
    pub const fn name(self) -> &'static str {
        match self {
            Info::New => "new",
            Info::Established => "established",
            Info::Related => "related",
        }
    }
}

/// A netfilter hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// On arrival, before routing.
    Prerouting,
    /// For the router itself.
    Input,
    /// From one interface to another.
    Forward,
    /// From the router itself.
    Output,
    /// Before leaving.
    Postrouting,
}

impl Hook {
    /// All five, in a packet's order.
    pub const ALL: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    /// nft's name.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }
}

/// Which end of a packet NAT rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manip {
    /// The source: snat, masquerade. At postrouting and input.
    Src,
    /// The destination: dnat, redirect. At prerouting and output.
    Dst,
}

impl Manip {
    /// What is rewritten at this hook for the original direction; forward rewrites nothing.
    pub const fn at(hook: Hook) -> Option<Manip> {
        match hook {
            Hook::Prerouting | Hook::Output => Some(Manip::Dst),
            Hook::Postrouting | Hook::Input => Some(Manip::Src),
            Hook::Forward => None,
        }
    }

    /// The other end.
    pub const fn inverse(self) -> Manip {
        match self {
            Manip::Src => Manip::Dst,
            Manip::Dst => Manip::Src,
        }
    }

    /// The status bit that says the decision was taken.
    pub const fn done(self) -> Status {
        match self {
            Manip::Src => Status::SRC_NAT_DONE,
            Manip::Dst => Status::DST_NAT_DONE,
        }
    }

    /// The status bit that says the end is translated.
    pub const fn bit(self) -> Status {
        match self {
            Manip::Src => Status::SRC_NAT,
            Manip::Dst => Status::DST_NAT,
        }
    }
}
