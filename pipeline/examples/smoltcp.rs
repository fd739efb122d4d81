//! A whole network in one program: two TCP stacks (smoltcp), and a NAT router between them. No root, no thread, no clock of its own.
//!
//! ```text
//!   smoltcp 192.168.1.10 ══ wire ══ Station ══ wire ══ smoltcp 203.0.113.80        cargo run -p uct-pipeline --example smoltcp
//! ```
//! [`Cable`] is all that smoltcp needs to have a uct router at the other end of its cable.

use std::error::Error;
use std::sync::Arc;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address};
use uct_engine::{Engine, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::io::memory::{End, Entrance, wire};
use uct_pipeline::io::{Sink, Source};
use uct_pipeline::link::LinkType;
use uct_pipeline::live::{Options, Scratch, Station, Wires};
use uct_pipeline::offload::Offload;
use uct_pipeline::router::{Router, Silent};
use uct_pipeline::topology::{Dev, Topology};

const TOPOLOGY: &str = r#"
interface = [{ name = "lan0", addresses = ["192.168.1.1/24"], mac = "02:00:00:00:00:02" },
             { name = "wan0", addresses = ["203.0.113.1/24"], mac = "02:00:00:00:00:03" }]
"#;
const RULES: &str =
    "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; }";

/// An end of a wire as smoltcp's device.
struct Cable(End, Entrance);
struct Came(Vec<u8>);
struct Goes<'a>(&'a mut Entrance);

impl Device for Cable {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Came, Goes<'_>)> {
        Some((Came(self.0.take()?), Goes(&mut self.1)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Goes<'_>> {
        Some(Goes(&mut self.1))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut all = DeviceCapabilities::default();
        (all.medium, all.max_transmission_unit) = (Medium::Ethernet, 1514);
        all
    }
}

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Goes<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let answer = write(&mut frame);
        self.0.send(&[], &frame, Offload::default());
        answer
    }
}

/// A host: a stack with one TCP socket.
struct Host {
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
}

impl Host {
    fn new(mut cable: Cable, n: u8, address: Ipv4Address, gateway: Ipv4Address) -> Result<Host, Box<dyn Error>> {
        let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, n]).into());
        let mut interface = Interface::new(config, &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|all| all.extend([IpCidr::new(address.into(), 24)]));
        interface.routes_mut().add_default_ipv4_route(gateway)?;
        let buffer = || tcp::SocketBuffer::new(vec![0; 65536]);
        let mut sockets = SocketSet::new(vec![]);
        let tcp = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Ok(Host { cable, interface, sockets, tcp })
    }

    fn poll(&mut self, millis: i64) -> &mut tcp::Socket<'static> {
        self.interface.poll(Instant::from_millis(millis), &mut self.cable, &mut self.sockets);
        self.sockets.get_mut(self.tcp)
    }
}

/// The router's ends of the wires.
struct Entrances([Entrance; 2]);

impl Wires for Entrances {
    fn link(&self, _: Dev) -> Option<LinkType> {
        Some(LinkType::Ethernet)
    }

    fn send(&mut self, dev: Dev, header: &[u8], packet: &[u8], offload: Offload) {
        self.0[dev.index()].send(header, packet, offload);
    }
}

/// A client sends so many bytes to a server; answers how many came, and whom the server sees.
pub(crate) fn run(bytes: usize) -> Result<(usize, IpEndpoint), Box<dyn Error>> {
    let router = Router::new(
        Arc::new(Engine::new(1)),
        Ruleset::read("nat.nft", RULES, &NoFiles)?,
        Topology::parse("router.toml", TOPOLOGY)?,
        1,
    );
    let station = Station::new(router, Options::default());
    let ([(lan, to_lan), client], [(wan, to_wan), server]) = (wire(256), wire(256));
    let ip = Ipv4Address::new;
    let mut client = Host::new(Cable(client.0, client.1), 1, ip(192, 168, 1, 10), ip(192, 168, 1, 1))?;
    let mut server = Host::new(Cable(server.0, server.1), 4, ip(203, 0, 113, 80), ip(203, 0, 113, 1))?;
    let (mut ends, mut entrances, mut scratch) = ([lan, wan], Entrances([to_lan, to_wan]), Scratch::default());

    server.poll(0).listen(80)?;
    let Host { interface, sockets, tcp, .. } = &mut client;
    let to: (IpAddress, u16) = (ip(203, 0, 113, 80).into(), 80);
    sockets.get_mut::<tcp::Socket<'_>>(*tcp).connect(interface.context(), to, 40000)?;
    let (mut sent, mut came, mut seen) = (0, 0, None);
    for millis in 0..1_000_000 {
        let socket = client.poll(millis);
        if socket.can_send() && sent < bytes {
            sent += socket.send_slice(&vec![b'u'; (bytes - sent).min(4096)])?;
        }
        let now = Time::from_nanos(millis as u64 * 1_000_000);
        let router = station.router().load();
        for (n, end) in ends.iter_mut().enumerate() {
            end.receive(256, &mut |frame| {
                let (dev, link) = (Dev(n as u16), LinkType::Ethernet);
                station.receive(&router, dev, link, frame, now, &mut scratch, &mut entrances, &mut Silent);
            })?;
        }
        station.tick(&router, now, &mut scratch, &mut entrances, &mut Silent);
        let socket = server.poll(millis);
        seen = seen.or(socket.remote_endpoint());
        while socket.can_recv() {
            came += socket.recv(|data| (data.len(), data.len()))?;
        }
        if came >= bytes {
            break;
        }
    }
    Ok((came, seen.ok_or("the server saw nobody")?))
}

#[allow(dead_code, reason = "a test includes this file")]
fn main() -> Result<(), Box<dyn Error>> {
    let (came, from) = run(1_000_000)?;
    println!("{came} bytes came from {from}");
    Ok(())
}
