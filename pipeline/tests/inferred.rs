//! A capture without a topology: what is inferred from its beginning must do for all of it.

use std::io::Cursor;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use uct_engine::{Engine, Time};
use uct_nat::rules::{NoFiles, Ruleset};
use uct_pipeline::capture::{Interface, Outgoing, Reader, Sink, Writer};
use uct_pipeline::link::LinkType;
use uct_pipeline::replay::{Discard, ReadAhead, Replay};
use uct_pipeline::router::{Router, Silent};
use uct_pipeline::vantage::Vantage;
use uct_tests::packet::build::{Ip, udp};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A pcapng with bare IP packets, each with the name of its interface.
fn capture(packets: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let shared = Shared::default();
    let mut writer = Writer::new("memory", shared.clone()).unwrap();
    for (at, (name, packet)) in packets.iter().enumerate() {
        let interface = Interface { name: Some((*name).to_owned()), link: LinkType::Raw, mac: None };
        let iface = writer.interface(&interface).unwrap();
        writer.send(&Outgoing::new(Time::from_secs(at as u64), iface, packet)).unwrap();
    }
    writer.finish().unwrap();
    let bytes = shared.0.lock().unwrap().clone();
    bytes
}

fn datagram(src: &str, dst: &str) -> Vec<u8> {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    udp(&Ip::new(address(src), address(dst)), 1000, 53, b"?")
}

#[test]
fn frames_of_an_interface_that_shows_up_late_are_refused_one_by_one() {
    let out = datagram("192.168.1.10", "198.51.100.53");
    let mut packets = vec![("lan", out.clone()), ("wan", datagram("198.51.100.53", "192.168.1.10"))];
    packets.extend(std::iter::repeat_n(("lan", out), 10_000));
    packets.push(("dmz", datagram("10.0.0.5", "198.51.100.53")));
    let reader = Reader::new("memory", Cursor::new(capture(&packets))).unwrap();
    let (mut source, inferred) = ReadAhead::infer(reader, &[]);
    let rules = Ruleset::read("none", "", &NoFiles).unwrap();
    let router = Arc::new(Router::new(Arc::new(Engine::new(1)), rules, inferred.topology, 1));
    let mut replay = Replay::new(Arc::clone(&router), inferred.entry, Vantage::Router);
    while replay.step(&mut source, &mut Discard, &mut Silent).unwrap().is_some() {}
    let fates: Vec<_> = router.stats().fates().filter(|(_, n)| *n > 0).collect();
    assert_eq!(fates, [("forwarded", 10_002), ("no-interface", 1)]);
}
