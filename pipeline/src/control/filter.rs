//! Which connections are meant. Evaluated by the server, so that a listing or a subscription carries only what was asked for.
//!
//! A field that is absent does not narrow anything down; those that are there must all hold.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uct_engine::{Entry, Family, L4, Manip, Status, Tuple, Zone, ZoneScope};

/// An address and port that a translation leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatTo {
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<IpAddr>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

macro_rules! filter {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// What narrows a listing down.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Filter {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }
    };
}

filter! {
    /// 2 (IPv4) or 10 (IPv6).
    family: u8,
    /// The protocol's number.
    protocol: u8,
    /// Source of the original direction.
    orig_src: IpAddr,
    /// The bits of it that count.
    orig_src_mask: IpAddr,
    /// Destination of the original direction.
    orig_dst: IpAddr,
    /// The bits of it that count.
    orig_dst_mask: IpAddr,
    /// Source of the reply direction.
    reply_src: IpAddr,
    /// Destination of the reply direction.
    reply_dst: IpAddr,
    /// Source port or key of the original direction.
    orig_sport: u16,
    /// Destination port or key of the original direction.
    orig_dport: u16,
    /// Source port or key of the reply direction.
    reply_sport: u16,
    /// Destination port or key of the reply direction.
    reply_dport: u16,
    /// ICMP type of the original direction.
    icmp_type: u8,
    /// ICMP code.
    icmp_code: u8,
    /// ICMP identifier.
    icmp_id: u16,
    /// The state's name.
    state: String,
    /// The mark, as far as `mark_mask` covers it.
    mark: u32,
    /// The bits of the mark that count; all, if absent.
    mark_mask: u32,
    /// Status bits, by name, that must be set.
    status: Vec<String>,
    /// Status bits, by name, that must not be set.
    status_not: Vec<String>,
    /// The zone, if it counts in both directions; 0 for all others.
    zone: u16,
    /// The zone, if it counts in the original direction only; 0 for all others.
    orig_zone: u16,
    /// The zone, if it counts in the reply direction only; 0 for all others.
    reply_zone: u16,
    /// Labels, by number, all of which must be set.
    label_bits: Vec<u8>,
    /// The connection's number.
    id: u32,
    /// Its source is translated, to this if something is named.
    src_nat: NatTo,
    /// Its destination is translated.
    dst_nat: NatTo,
    /// Either is translated.
    any_nat: NatTo,
    /// An address that any end of any direction has.
    any_addr: IpAddr,
    /// The bits of it that count.
    any_addr_mask: IpAddr,
    /// A port or key that any end of any direction has.
    any_port: u16,
}

/// A filter with its names looked up.
#[derive(Clone, Debug)]
pub struct Matcher {
    filter: Filter,
    set: Status,
    unset: Status,
    labels: u128,
}

impl Filter {
    /// Looks the names up; answers the name that does not exist.
    pub fn matcher(self) -> Result<Matcher, String> {
        let bits = |names: &Option<Vec<String>>| {
            names.iter().flatten().try_fold(Status::empty(), |bits, name| match Status::from_name(name) {
                Some(bit) => Ok(bits | bit),
                None => Err(format!("unknown status '{name}'")),
            })
        };
        let labels = bits_of(self.label_bits.as_deref().unwrap_or_default())?;
        Ok(Matcher { set: bits(&self.status)?, unset: bits(&self.status_not)?, labels, filter: self })
    }
}

/// A bit mask of labels.
pub(super) fn bits_of(labels: &[u8]) -> Result<u128, String> {
    labels.iter().try_fold(0, |bits, label| match label {
        0..128 => Ok(bits | 1 << label),
        _ => Err(format!("label {label} is above 127")),
    })
}

impl Matcher {
    /// Whether a connection of these tuples can be meant: what is worth asking before the rest is looked at.
    pub fn admits(&self, original: &Tuple, reply: &Tuple) -> bool {
        let f = &self.filter;
        is(f.family, original.family().number())
            && is(f.protocol, original.protocol.0)
            && f.orig_src.is_none_or(|a| same_net(a, original.src, f.orig_src_mask))
            && f.orig_dst.is_none_or(|a| same_net(a, original.dst, f.orig_dst_mask))
            && is(f.reply_src, reply.src)
            && is(f.reply_dst, reply.dst)
            && f.any_addr.is_none_or(|a| {
                [original.src, original.dst, reply.src, reply.dst].iter().any(|is| same_net(a, *is, f.any_addr_mask))
            })
            && self.admits_l4(original.l4, reply.l4)
    }

    fn admits_l4(&self, original: L4, reply: L4) -> bool {
        let f = &self.filter;
        let ends = |l4: L4| match l4 {
            L4::Ports { src, dst } | L4::Keys { src, dst } => (Some(src), Some(dst)),
            _ => (None, None),
        };
        let ((osrc, odst), (rsrc, rdst)) = (ends(original), ends(reply));
        let (kind, code, id) = match original {
            L4::Icmp { kind, code, id } => (Some(kind), Some(code), Some(id)),
            _ => (None, None, None),
        };
        (f.orig_sport.is_none() || f.orig_sport == osrc)
            && (f.orig_dport.is_none() || f.orig_dport == odst)
            && (f.reply_sport.is_none() || f.reply_sport == rsrc)
            && (f.reply_dport.is_none() || f.reply_dport == rdst)
            && (f.any_port.is_none() || [osrc, odst, rsrc, rdst].contains(&f.any_port))
            && (f.icmp_type.is_none() || f.icmp_type == kind)
            && (f.icmp_code.is_none() || f.icmp_code == code)
            && (f.icmp_id.is_none() || f.icmp_id == id)
    }

    /// Whether this connection is meant.
    pub fn matches(&self, entry: &Entry) -> bool {
        let f = &self.filter;
        self.admits(&entry.original, &entry.reply)
            && f.state.as_deref().is_none_or(|s| entry.proto.state_name() == Some(s))
            && f.mark.is_none_or(|m| entry.mark & f.mark_mask.unwrap_or(u32::MAX) == m)
            && entry.status.contains(self.set)
            && !entry.status.intersects(self.unset)
            && is(f.zone, counting(entry.zone, ZoneScope::Both))
            && is(f.orig_zone, counting(entry.zone, ZoneScope::Original))
            && is(f.reply_zone, counting(entry.zone, ZoneScope::Reply))
            && entry.labels.unwrap_or(0) & self.labels == self.labels
            && is(f.id, entry.id.0)
            && f.src_nat.is_none_or(|to| translated(entry, Manip::Src, to))
            && f.dst_nat.is_none_or(|to| translated(entry, Manip::Dst, to))
            && f.any_nat.is_none_or(|to| translated(entry, Manip::Src, to) || translated(entry, Manip::Dst, to))
    }
}

fn is<T: PartialEq>(wanted: Option<T>, is: T) -> bool {
    wanted.is_none_or(|w| w == is)
}

fn counting(zone: Zone, scope: ZoneScope) -> u16 {
    if zone.scope == scope { zone.id } else { 0 }
}

fn same_net(wanted: IpAddr, is: IpAddr, mask: Option<IpAddr>) -> bool {
    let bits = |addr: IpAddr| match addr {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    };
    let mask = mask.map_or(u128::MAX, bits);
    Family::of(wanted) == Family::of(is) && bits(wanted) & mask == bits(is) & mask
}

/// Whether NAT changed this end, and to what was asked for. As in conntrack(8), an IPv6 address is not compared, and a
/// port must have been changed to count.
fn translated(entry: &Entry, manip: Manip, to: NatTo) -> bool {
    let (original, reply) = (&entry.original, &entry.reply);
    let ends = |l4: L4| match l4 {
        L4::Ports { src, dst } => (src, dst),
        _ => (0, 0),
    };
    let (old, new, old_port, new_port) = match manip {
        Manip::Src => (original.src, reply.dst, ends(original.l4).0, ends(reply.l4).1),
        Manip::Dst => (original.dst, reply.src, ends(original.l4).1, ends(reply.l4).0),
    };
    if !entry.status.contains(manip.bit()) {
        return false;
    }
    let (moved, moved_port) = (old != new, old_port != new_port);
    let addr = to.addr.filter(IpAddr::is_ipv4);
    match (addr, to.port) {
        (None, None) => moved || moved_port,
        (Some(addr), None) => moved && new == addr,
        (None, Some(port)) => moved_port && new_port == port,
        (Some(addr), Some(port)) => moved && new == addr && moved_port && new_port == port,
    }
}
