//! A scenario as the files that `uct replay` takes, beside the scenario itself and the kernel's truth.
//!
//! ```text
//!   scenario.toml   the scenario, to be played again
//!   kernel.json     what the kernel did at every step
//!   in.pcapng       its packets, with the router's interfaces
//!   rules.nft       its ruleset
//!   topology.toml   its topology
//! ```

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};

use super::{Scenario, Step};
use crate::observed::{LOCAL, Observed};

/// Writes all files into `folder`, which must exist.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path, scenario: &Scenario, kernel: &[Observed]) -> io::Result<()> {
    fs::write(folder.join("scenario.toml"), scenario.to_toml())?;
    fs::write(folder.join("kernel.json"), serde_json::to_string_pretty(kernel)? + "\n")?;
    fs::write(folder.join("rules.nft"), &scenario.setup.rules)?;
    let topology = toml::to_string(&scenario.setup.topology).map_err(io::Error::other)?;
    fs::write(folder.join("topology.toml"), topology)?;
    fs::write(folder.join("in.pcapng"), capture(scenario)?)
}

/// The packets as a capture. What is no packet is left out.
///
/// # Errors
/// If the capture cannot be written.
pub fn capture(scenario: &Scenario) -> io::Result<Vec<u8>> {
    let mut writer = PcapNgWriter::new(Vec::new()).map_err(io::Error::other)?;
    let mut names: Vec<&str> = scenario.setup.topology.interface.iter().map(|i| i.name.as_str()).collect();
    names.push(LOCAL);
    for name in &names {
        let linktype = if *name == LOCAL { DataLink::RAW } else { DataLink::ETHERNET };
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(*name)),
            // Nanoseconds.
            InterfaceDescriptionOption::IfTsResol(9),
        ];
        writer
            .write_pcapng_block(InterfaceDescriptionBlock { linktype, snaplen: 0, options })
            .map_err(io::Error::other)?;
    }
    for (time, step) in scenario.times().into_iter().zip(&scenario.steps) {
        let (name, bytes) = match step {
            Step::Frame { iface, bytes } => (iface.as_str(), bytes),
            Step::Local { bytes } => (LOCAL, bytes),
            _ => continue,
        };
        let interface = names.iter().position(|other| *other == name).unwrap_or(0);
        writer
            .write_pcapng_block(EnhancedPacketBlock {
                interface_id: interface as u32,
                timestamp: Duration::from_secs(1_700_000_000) + time,
                original_len: bytes.len() as u32,
                data: Cow::Borrowed(bytes),
                options: vec![],
            })
            .map_err(io::Error::other)?;
    }
    Ok(writer.into_inner())
}
