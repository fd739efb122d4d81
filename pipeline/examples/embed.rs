//! A NAT router inside a program: two devices in memory, no root, no thread, no clock of its own.
//!
//! ```text
//!   device 0 (lan0) ── frames ──► Station ── frames ──► device 1 (wan0)          cargo run -p uct-pipeline --example embed
//! ```
//! A program brings three things: frames with the time at which they came, somewhere for frames to go ([`Wires`]), and now and
//! then the time ([`Station::tick`]), so that what has run out goes. All else is in the value: table, rules, routes, ARP and
//! neighbour discovery, pings, errors.

use std::error::Error;
use std::sync::Arc;

use uct_engine::{Engine, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::io::Frame;
use uct_pipeline::link::LinkType;
use uct_pipeline::live::{Options, Scratch, Station, Wires};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Router, Silent};
use uct_pipeline::topology::{Dev, Topology};

const TOPOLOGY: &str = r#"
interface = [{ name = "lan0", addresses = ["192.168.1.1/24"], mac = "02:00:00:00:00:02" },
             { name = "wan0", addresses = ["203.0.113.1/24"], mac = "02:00:00:00:00:03" }]
neighbor = [{ address = "203.0.113.80", mac = "02:00:00:00:00:04" }]
"#;
const RULES: &str =
    "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; }";

/// What has left by each device.
#[derive(Default)]
struct Devices([Vec<Vec<u8>>; 2]);

impl Wires for Devices {
    fn link(&self, _: Dev) -> Option<LinkType> {
        Some(LinkType::Ethernet)
    }

    fn send(&mut self, dev: Dev, header: &[u8], packet: &[u8], _: Offload) {
        self.0[dev.index()].push([header, packet].concat());
    }
}

/// One UDP packet of 192.168.1.10:5000 to 203.0.113.80:53, as it comes out of the other side.
pub(crate) fn run() -> Result<Vec<u8>, Box<dyn Error>> {
    let engine = Arc::new(Engine::new(1));
    let rules = Ruleset::read("nat.nft", RULES, &NoFiles)?;
    let router = Router::new(Arc::clone(&engine), rules, Topology::parse("router.toml", TOPOLOGY)?, 1);
    let station = Station::new(router, Options::default());

    let (mut scratch, mut devices) = (Scratch::default(), Devices::default());
    let router = station.router().load(); // once for each batch: rules may be replaced in between
    let mut frame =
        hex("020000000002 020000000001 0800 4500001c0000000040117cce c0a8010a cb007150 1388 0035 0008 0000");
    let frame = Frame { bytes: &mut frame, offload: Offload::default() };
    let (link, now) = (LinkType::Ethernet, Time::from_secs(1));
    station.receive(&router, Dev(0), link, frame, now, &mut scratch, &mut devices, &mut Silent);
    station.tick(&router, Time::from_secs(2), &mut scratch, &mut devices, &mut Silent);

    for conn in (0..).map_while(|shard| engine.shard(shard)).flatten() {
        let entry = conn.entry(now);
        println!("{}, and back: {}", entry.original, entry.reply);
    }
    devices.0[1].pop().ok_or_else(|| "nothing came out".into())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter_map(|b| (b as char).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[allow(dead_code, reason = "a test includes this file")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("{:02x?}", run()?);
    Ok(())
}
