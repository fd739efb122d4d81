//! Whether the host's own stack stays out of the router's way.
//!
//! A packet socket gets a copy of each frame; the host's stack gets the frame as well. It must have nothing to say to it:
//!
//! | on each interface of the router | else |
//! |---|---|
//! | no address | it answers pings, ARP, and resets the connections that it does not know |
//! | IPv6 off, or no address | its address of link scope is the one that the router has, too |
//! | forwarding off | it would forward each packet a second time |
//!
//! docs/router.md has the commands.

use std::fs;

use uct_pipeline::live::links::{Changes, Links};

use crate::Failure;

/// Refuses to start where the host would answer too, with what to do about it.
pub(super) fn is_out_of_the_way(interfaces: &[&str]) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::input(format!("interfaces cannot be listed: {}", uct_pipeline::plain(&e)));
    let links = Links::open(Changes::Ignored).map_err(fail)?;
    let there = links.interfaces().map_err(fail)?;
    let addresses = links.addresses().map_err(fail)?;
    for name in interfaces {
        let Some(interface) = there.iter().find(|i| i.name == *name) else { continue };
        if let Some((_, address)) = addresses.iter().find(|(index, _)| *index == interface.index) {
            let remedy = if address.is_ipv6() {
                format!("sysctl -w net.ipv6.conf.{name}.disable_ipv6=1")
            } else {
                format!("ip address flush dev {name}")
            };
            return Err(Failure::input(format!(
                "{name}: the host has the address {address} there, and its stack would answer beside the router: {remedy}"
            )));
        }
        let setting = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
        if fs::read_to_string(setting).is_ok_and(|text| text.trim() == "1") {
            return Err(Failure::input(format!(
                "{name}: the host forwards packets there, and would forward each a second time: \
                 sysctl -w net.ipv4.conf.{name}.forwarding=0"
            )));
        }
    }
    Ok(())
}
