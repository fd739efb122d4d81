//! ARP: who has an IPv4 address, asked and answered (RFC 826).
//!
//! ```text
//!   htype 1 │ ptype 0x0800 │ 6 │ 4 │ op │ sender: mac, address │ target: mac, address          28 bytes behind Ethernet
//! ```
//! As in Linux by default (`arp_ignore` 0, `arp_accept` 0): a request for any own address is answered, and tells where its
//! sender is; a reply tells where its sender is; anything else may only correct what is known (a host that moved announces
//! itself).

use std::net::Ipv4Addr;

use crate::link::Mac;

/// EtherType of ARP.
pub const ETHERTYPE: u16 = 0x0806;
const LEN: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// What an ARP packet asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Question or answer.
    pub operation: Operation,
    /// Who sent it.
    pub sender: (Mac, Ipv4Addr),
    /// Whom it is about, or to whom the answer goes.
    pub target: (Mac, Ipv4Addr),
}

/// The two operations that there are between Ethernet and IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

impl Arp {
    /// Reads what stands behind the link header; `None` if it is not ARP between Ethernet and IPv4.
    pub fn read(bytes: &[u8]) -> Option<Arp> {
        let bytes = bytes.first_chunk::<LEN>()?;
        let [0, 1, 8, 0, 6, 4, o0, o1, s0, s1, s2, s3, s4, s5, a, b, c, d, t0, t1, t2, t3, t4, t5, e, f, g, h] = *bytes
        else {
            return None;
        };
        let operation = match u16::from_be_bytes([o0, o1]) {
            REQUEST => Operation::Request,
            REPLY => Operation::Reply,
            _ => return None,
        };
        let sender = (Mac([s0, s1, s2, s3, s4, s5]), Ipv4Addr::new(a, b, c, d));
        // A group is nobody's link address.
        (!sender.0.is_group()).then_some(Arp {
            operation,
            sender,
            target: (Mac([t0, t1, t2, t3, t4, t5]), Ipv4Addr::new(e, f, g, h)),
        })
    }

    /// The packet, as it stands behind the link header.
    pub fn write(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        let operation = match self.operation {
            Operation::Request => REQUEST,
            Operation::Reply => REPLY,
        };
        bytes[6..8].copy_from_slice(&operation.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.sender.0.0);
        bytes[14..18].copy_from_slice(&self.sender.1.octets());
        bytes[18..24].copy_from_slice(&self.target.0.0);
        bytes[24..28].copy_from_slice(&self.target.1.octets());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let arp = Arp {
            operation: Operation::Request,
            sender: (Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(192, 0, 2, 1)),
            target: (Mac::default(), Ipv4Addr::new(192, 0, 2, 2)),
        };
        assert_eq!(Arp::read(&arp.write()), Some(arp));
        assert_eq!(Arp::read(&arp.write()[..27]), None);
        let mut token_ring = arp.write();
        token_ring[1] = 6;
        assert_eq!(Arp::read(&token_ring), None);
    }

    #[test]
    fn a_group_is_no_sender() {
        let arp = Arp {
            operation: Operation::Reply,
            sender: (Mac::BROADCAST, Ipv4Addr::new(192, 0, 2, 1)),
            target: (Mac::default(), Ipv4Addr::new(192, 0, 2, 2)),
        };
        assert_eq!(Arp::read(&arp.write()), None);
    }
}
