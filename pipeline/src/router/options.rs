//! IPv4 options on a packet's way: read after routing, completed when it leaves, given back in errors.

use std::net::{IpAddr, Ipv4Addr};

use uct_engine::{Family, Time};

use super::answer::Answer;
use super::{Drop, Halt, Origin, Passing, Router};
use crate::options::{Fault, Reader};
use crate::route::{self, Delivery, Hop};
use crate::topology::Dev;

const HEADER: usize = 20;

impl Router {
    /// Reads the options of a packet that came by an interface.
    pub(super) fn read_options(&self, p: &mut Passing<'_>, way: route::Answer) -> Result<(), Halt> {
        let (Some(header), Origin::Interface(iif)) = (options(p), p.origin) else { return Ok(()) };
        let reader = self.reader(iif, self.routes.error_source(iif, p.packet.src(), p.packet.dst()), p.at);
        let Some(header) = p.packet.bytes_mut().get_mut(..header) else { return Ok(()) };
        p.options.read(header, &reader).map_err(|fault| {
            if let route::Answer::Local(delivery) = way {
                p.addressed.delivery = Some(delivery);
            }
            let answer = match fault {
                Fault::Nonsense(at) => Some(Answer::Nonsense(at)),
                Fault::SourceRoute => None,
            };
            Halt { why: Drop::Options(fault), answer }
        })
    }

    /// The packet leaves: what it recorded is the address there.
    pub(super) fn leave_options(&self, p: &mut Passing<'_>, hop: Hop) {
        let Some(header) = options(p) else { return };
        let address = match self.routes.masquerade(hop, p.packet.dst()) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        if let Some(header) = p.packet.bytes_mut().get_mut(..header) {
            p.options.leave(header, address);
        }
    }

    /// The options of an error about a packet. `None` if there can be no error.
    pub(super) fn returned_options(&self, p: &Passing<'_>, source: IpAddr) -> Option<Vec<u8>> {
        let (Some(header), Origin::Interface(iif)) = (options(p), p.origin) else { return Some(Vec::new()) };
        let header = p.packet.bytes().get(..header)?;
        p.options.returned(header, &self.reader(iif, source, p.at))
    }

    fn reader(&self, iif: Dev, address: IpAddr, at: Time) -> Reader<impl Fn(Ipv4Addr) -> bool> {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        let address = match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let is_own = move |address: Ipv4Addr| {
            self.routes.is_own(iif, address.into())
                || address.is_multicast()
                || matches!(
                    self.routes.input(iif, Ipv4Addr::UNSPECIFIED.into(), address.into()),
                    route::Answer::Local(Delivery::Broadcast)
                )
        };
        Reader { address, is_own, clock: (at.as_nanos() / 1_000_000 % DAY) as u32 }
    }
}

/// The length of the header, if it has options.
fn options(p: &Passing<'_>) -> Option<usize> {
    let header = p.packet.ip_header_len();
    (p.packet.family() == Family::Ipv4 && header > HEADER).then_some(header)
}
