//! What the way does to the old boundaries of a datagram that came in fragments: see [`crate::refrag::Fragmented::pull`].

use uct_engine::{Family, Info, Packet, Protocol, Quote};
use uct_nat::Rewrite;

use super::Passing;

const TCP_HEADER: usize = 20;
const SCTP_HEADER: usize = 12;
const ICMP_HEADER: usize = 8;

impl Passing<'_> {
    /// Routing looks for a socket of the packet's own host, and so at its whole TCP header.
    #[inline]
    pub(super) fn pull_for_routing(&mut self) {
        if self.fragmented.is_none() {
            return;
        }
        // In IPv6 only where no other header stands between.
        let directly = self.packet.family() == Family::Ipv4 || self.packet.bytes().get(6) == Some(&Protocol::TCP.0);
        if self.packet.protocol() == Protocol::TCP && directly {
            self.pull(TCP_HEADER);
        }
    }

    /// The tracker pulls SCTP's header when it verifies the checksum.
    #[inline]
    pub(super) fn pull_for_tracking(&mut self) {
        if self.fragmented.is_some() && self.packet.protocol() == Protocol::SCTP {
            self.pull(SCTP_HEADER);
        }
    }

    /// NAT pulls what it rewrites; of an ICMP error it pulls the quoted IP header even if it rewrites nothing.
    pub(super) fn pull_for_nat(&mut self, info: Info, rewrite: Rewrite) {
        let is_icmp = matches!(self.packet.protocol(), Protocol::ICMP | Protocol::ICMPV6);
        if info == Info::Related && is_icmp {
            let ip = match self.packet.family() {
                Family::Ipv4 => 20,
                Family::Ipv6 => 40,
            };
            self.pull(ICMP_HEADER + ip);
        }
        match rewrite {
            Rewrite::Nothing => {}
            Rewrite::Header(_) => {
                // Where nothing but the addresses changes, the extension headers stay where they are.
                match rewritten(self.packet.protocol(), self.packet.transport_wire_len()) {
                    0 => {}
                    bytes => self.pull(bytes),
                }
            }
            Rewrite::Error { .. } => {
                if let Some((protocol, at)) = quoted(&self.packet) {
                    let rest = self.packet.transport_wire_len().saturating_sub(at);
                    match rewritten(protocol, rest) {
                        0 => {}
                        bytes => self.pull(at + bytes),
                    }
                }
            }
        }
    }

    /// `bytes` counts from the transport header.
    pub(super) fn pull(&mut self, bytes: usize) {
        if let (Some(fragmented), Some(at)) = (&mut self.fragmented, self.packet.transport_offset()) {
            let before = fragmented.pieces.first().map_or(0, |p| p.header_len);
            fragmented.pull((at + bytes).saturating_sub(before));
        }
    }
}

/// How much of a transport header NAT pulls, if `rest` bytes are there.
fn rewritten(protocol: Protocol, rest: usize) -> usize {
    match protocol {
        Protocol::TCP if rest >= TCP_HEADER => TCP_HEADER,
        Protocol::SCTP if rest >= SCTP_HEADER => SCTP_HEADER,
        Protocol::TCP
        | Protocol::SCTP
        | Protocol::UDP
        | Protocol::UDPLITE
        | Protocol::ICMP
        | Protocol::ICMPV6
        | Protocol::GRE => 8,
        _ => 0,
    }
}

/// The protocol of the packet that an ICMP error quotes, and where its transport header stands behind the ICMP header's
/// first byte.
fn quoted(packet: &Packet<'_>) -> Option<(Protocol, usize)> {
    let quote = Quote::read(packet.family(), packet.transport()?.get(ICMP_HEADER..)?)?;
    Some((quote.protocol, ICMP_HEADER + quote.transport))
}
