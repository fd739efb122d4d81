//! IPv4 options, as a router reads them: after prerouting and routing, before it forwards.
//!
//! ```text
//!   prerouting ─► route ─► read ─┬─► forward hook ─► leave: the address of the way out ─► postrouting
//!                                ├─► input hook
//!                                ├─► nonsense: dropped, parameter problem (12/0) with the place
//!                                └─► source route: dropped in silence
//! ```
//! What Linux does, measured on 6.18 with `accept_source_route` 0 (its default for all interfaces together):
//!
//! | option | read | when it leaves |
//! |---|---|---|
//! | 0 end of list | all behind it is cleared | |
//! | 1 no operation | | |
//! | 7 record route | the next free place gets the address that an error to the sender would come from; full: nothing | the place gets the address of the out-interface |
//! | 68 timestamp, type 0 | the next free place gets the time; full: the overflow counts up, and 15 is nonsense | |
//! | type 1 | the same, with the address an error would come from before it | (the address stays) |
//! | type 3 | the time, if the next address is an own one; full: nothing | |
//! | other types | nonsense if there is room, counted as overflow if there is none | |
//! | 131, 137 source route | the packet is dropped | |
//! | 134 commercial security | nonsense: no domain is known | |
//! | 148 router alert | nonsense if shorter than 4 bytes | |
//! | others | | |
//! | one that is there twice (7, 68, source route) | nonsense | |
//! | a length below 2, or beyond the header | nonsense | |
//!
//! The header checksum stays that of the packet as it came until the packet leaves; so it is quoted, so it is delivered.
//!
//! An ICMP error about the packet carries its record route, timestamp and security options, and gets the next place of the
//! first two.
//!
//! Not modelled: an error about a packet that has come along a source route *and* has nonsense behind it would go back that
//! way; here there is none.
//!
//! Sources: RFC 791 section 3.1, RFC 1812 section 4.2.2.8 and 5.3.13, RFC 1122 section 3.2.1.8; the table above.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::ops::Range;

use uct_engine::checksum;

const FIXED: usize = 20;
const CHECKSUM: usize = 10;
/// Where the addresses of a route begin in its option.
const FIRST_HOP: usize = 3;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const SECURITY: u8 = 134;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

const TIMES: u8 = 0;
const TIMES_WITH_ADDRESSES: u8 = 1;
const TIMES_AT_ADDRESSES: u8 = 3;

/// Why a packet with such options goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// What stands at this byte of the packet makes no sense.
    Nonsense(u8),
    /// It says which way to go.
    SourceRoute,
}

/// Who reads, and when.
#[derive(Debug)]
pub struct Reader<F> {
    /// The address that goes into the packet.
    pub address: Ipv4Addr,
    /// Whether an address is the router's, or one of many.
    pub is_own: F,
    /// Milliseconds since midnight, universal time.
    pub clock: u32,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    record: Option<Found>,
    stamp: Option<Found>,
    route: Option<Route>,
    security: Option<Found>,
    /// Where the address stands that is to be that of the way out.
    place: Option<u8>,
    changed: bool,
}

/// A source route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    /// Whether the packet has been anywhere on it: then there is a way back.
    has_been: bool,
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    at: u8,
    len: u8,
    /// Whether the option got something.
    got: bool,
}

impl Found {
    /// The option at this byte of a header, which has no more than sixty.
    fn new(at: usize, option: &[u8]) -> Found {
        Found { at: at as u8, len: option.len() as u8, got: false }
    }

    fn range(&self) -> Range<usize> {
        let at = usize::from(self.at);
        at..at + usize::from(self.len)
    }
}

impl Options {
    /// Reads the options of an IPv4 header, and writes into it what a router writes.
    ///
    /// # Errors
    /// If the packet is to be dropped. What was found before stays in `self`.
    pub fn read(&mut self, header: &mut [u8], reader: &Reader<impl Fn(Ipv4Addr) -> bool>) -> Result<(), Fault> {
        let mut at = FIXED;
        while let Some(&kind) = header.get(at) {
            if kind == NO_OPERATION {
                at += 1;
                continue;
            }
            if kind == END {
                let rest = &mut header[at..];
                self.changed |= rest.iter().any(|byte| *byte != END);
                rest.fill(END);
                break;
            }
            let len = header.get(at + 1).map_or(0, |len| usize::from(*len));
            let Some(option) = header.get_mut(at..at + len).filter(|option| option.len() >= 2) else {
                return Err(nonsense(at));
            };
            self.one(kind, option, at, reader).map_err(|offset| nonsense(at + offset))?;
            at += len;
        }
        if self.route.is_some() { Err(Fault::SourceRoute) } else { Ok(()) }
    }

    /// Takes one option; the error is the offset of what is wrong with it.
    fn one(
        &mut self,
        kind: u8,
        option: &mut [u8],
        at: usize,
        reader: &Reader<impl Fn(Ipv4Addr) -> bool>,
    ) -> Result<(), usize> {
        match kind {
            RECORD_ROUTE => {
                let place = pointer(option, 3, self.record.is_some())?;
                let mut found = Found::new(at, option);
                if place < option.len() {
                    write(option, place, reader.address.octets()).ok_or(2_usize)?;
                    option[2] += 4;
                    found.got = true;
                    self.place = u8::try_from(at + place).ok();
                    self.changed = true;
                }
                self.record = Some(found);
            }
            TIMESTAMP => {
                let place = pointer(option, 4, self.stamp.is_some())?;
                let mut found = Found::new(at, option);
                self.changed |= stamp(option, place, &mut found, reader)?;
                self.stamp = Some(found);
            }
            LOOSE_ROUTE | STRICT_ROUTE => {
                let next = pointer(option, 3, false)?;
                if self.route.is_some() {
                    return Err(0);
                }
                self.route = Some(Route { has_been: next.min(option.len()) >= FIRST_HOP + 4 });
            }
            SECURITY => {
                self.security = Some(Found::new(at, option));
                return Err(if option.len() < 8 { 1 } else { 2 });
            }
            ROUTER_ALERT if option.len() < 4 => return Err(1),
            _ => {}
        }
        Ok(())
    }

    /// Whether the packet says itself which way to go.
    pub fn is_source_routed(&self) -> bool {
        self.route.is_some()
    }

    /// The packet leaves by an interface of which `address` is the router's; its header gets a right checksum if it
    /// was changed.
    pub fn leave(&self, header: &mut [u8], address: Option<Ipv4Addr>) {
        if !self.changed {
            return;
        }
        if let (Some(place), Some(address)) = (self.place, address) {
            let _ = write(header, place.into(), address.octets());
        }
        header[CHECKSUM..CHECKSUM + 2].fill(0);
        let sum = !checksum::sum(header);
        header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// The options of an error about the packet with this header, which `reader` sends; a multiple of four bytes.
    /// `None` if there can be no such error: a place is left that is too small, or it would have to go a source route.
    pub fn returned(&self, header: &[u8], reader: &Reader<impl Fn(Ipv4Addr) -> bool>) -> Option<Vec<u8>> {
        if self.route.is_some_and(|route| route.has_been) {
            return None;
        }
        let mut options = Vec::new();
        if let Some(found) = self.record {
            let mut option = header.get(found.range())?.to_vec();
            let place = usize::from(option[2]) - 1;
            if found.got && place < option.len() {
                write(&mut option, place, reader.address.octets())?;
                option[2] += 4;
            }
            options.extend(option);
        }
        if let Some(found) = self.stamp {
            let mut option = header.get(found.range())?.to_vec();
            let place = usize::from(option[2]) - 1;
            if found.got && place < option.len() {
                let mut again = Found { got: false, ..found };
                stamp(&mut option, place, &mut again, reader).ok()?;
            }
            options.extend(option);
        }
        if let Some(found) = self.security {
            options.extend(header.get(found.range())?);
        }
        options.resize(options.len().next_multiple_of(4), END);
        Some(options)
    }
}

fn nonsense(at: usize) -> Fault {
    Fault::Nonsense(u8::try_from(at).unwrap_or(u8::MAX))
}

/// The index at which the next entry goes, of an option with `head` bytes before its entries.
fn pointer(option: &[u8], head: u8, again: bool) -> Result<usize, usize> {
    if again {
        return Err(0);
    }
    if option.len() < usize::from(head) {
        return Err(1);
    }
    if option[2] <= head { Err(2) } else { Ok(usize::from(option[2]) - 1) }
}

fn write(bytes: &mut [u8], at: usize, value: [u8; 4]) -> Option<()> {
    bytes.get_mut(at..at + 4)?.copy_from_slice(&value);
    Some(())
}

/// Puts the next time into a timestamp option; answers whether it has changed.
fn stamp(
    option: &mut [u8],
    place: usize,
    found: &mut Found,
    reader: &Reader<impl Fn(Ipv4Addr) -> bool>,
) -> Result<bool, usize> {
    let kind = option[3] & 15;
    if place >= option.len() {
        if kind == TIMES_AT_ADDRESSES {
            return Ok(false);
        }
        let overflow = option[3] >> 4;
        if overflow == 15 {
            return Err(3);
        }
        option[3] = kind | (overflow + 1) << 4;
        return Ok(true);
    }
    if place + 4 > option.len() {
        return Err(2);
    }
    let time = match kind {
        TIMES => place,
        TIMES_WITH_ADDRESSES | TIMES_AT_ADDRESSES => {
            let entry = option.get(place..place + 8).ok_or(2_usize)?;
            if kind == TIMES_WITH_ADDRESSES {
                write(option, place, reader.address.octets()).ok_or(2_usize)?;
            } else if !(reader.is_own)(Ipv4Addr::new(entry[0], entry[1], entry[2], entry[3])) {
                return Ok(false);
            }
            place + 4
        }
        _ => return Err(3),
    };
    write(option, time, reader.clock.to_be_bytes()).ok_or(2_usize)?;
    option[2] += (time - place) as u8 + 4;
    found.got = true;
    Ok(true)
}
