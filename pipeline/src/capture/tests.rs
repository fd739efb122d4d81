use super::pcapng::Clock;
use super::*;
use proptest::prelude::*;
use std::io::{self, Cursor, Read, Write as _};
use std::sync::{Arc, Mutex};

/// What the tests look at of a frame.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    nanos: u64,
    iface: u32,
    crossing: Option<Crossing>,
    bytes: Vec<u8>,
    wire_len: u32,
    number: u64,
    offset: u64,
}

fn seen(f: Frame<'_>) -> Seen {
    Seen {
        nanos: f.at.as_nanos(),
        iface: f.iface.0,
        crossing: f.crossing,
        bytes: f.bytes.to_vec(),
        wire_len: f.wire_len,
        number: f.number,
        offset: f.offset,
    }
}

/// All frames, the interfaces, and the fault at the end if there was one.
fn read_from(from: impl Read + Send + 'static) -> (Vec<Seen>, Vec<Interface>, Option<String>) {
    match Reader::new("x.pcap", from) {
        Ok(reader) => drain(reader),
        Err(e) => (vec![], vec![], Some(e.to_string())),
    }
}

fn drain(mut reader: impl Source) -> (Vec<Seen>, Vec<Interface>, Option<String>) {
    let mut frames = vec![];
    let fault = loop {
        match reader.next() {
            Ok(Some(f)) => frames.push(seen(f)),
            Ok(None) => break None,
            Err(e) => break Some(e.to_string()),
        }
    };
    assert!(matches!(reader.next(), Ok(None)), "after the end, or a fault, there is nothing more");
    (frames, reader.interfaces().to_vec(), fault)
}

fn read(bytes: &[u8]) -> (Vec<Seen>, Vec<Interface>, Option<String>) {
    let found = read_from(Cursor::new(bytes.to_vec()));
    if let Ok(reader) = Reader::new("x.pcap", Cursor::new(bytes.to_vec())) {
        assert_eq!(drain(Ahead::new(reader)), found, "read ahead");
    }
    found
}

fn fault(bytes: &[u8]) -> String {
    read(bytes).2.expect("a fault")
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn n16(self, n: u16) -> [u8; 2] {
        if self == Order::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn n32(self, n: u32) -> [u8; 4] {
        if self == Order::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn n64(self, n: u64) -> [u8; 8] {
        if self == Order::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    /// A time of pcapng: two halves, the higher first.
    fn time(self, n: u64) -> Vec<u8> {
        [self.n32((n >> 32) as u32), self.n32(n as u32)].concat()
    }
    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut o = [&self.n16(code)[..], &self.n16(value.len() as u16), value].concat();
        o.resize(o.len().next_multiple_of(4), 0);
        o
    }
    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = self.n32(body.len() as u32 + 12);
        [&self.n32(kind)[..], &len, &body, &len].concat()
    }
    fn section(self) -> Vec<u8> {
        let body = [&self.n32(0x1a2b3c4d)[..], &self.n16(1), &self.n16(0), &[0xff; 8]].concat();
        self.block(0x0a0d0d0a, &body)
    }
    fn idb(self, link: u16, snaplen: u32, options: &[Vec<u8>]) -> Vec<u8> {
        self.block(1, &[&self.n16(link)[..], &[0, 0], &self.n32(snaplen), &options.concat()].concat())
    }
    fn epb(self, iface: u32, time: u64, wire_len: u32, data: &[u8], options: &[Vec<u8>]) -> Vec<u8> {
        let mut padded = data.to_vec();
        padded.resize(data.len().next_multiple_of(4), 0);
        let head = [&self.n32(iface)[..], &self.time(time), &self.n32(data.len() as u32), &self.n32(wire_len)].concat();
        self.block(6, &[head, padded, options.concat()].concat())
    }
}

fn pcap(order: Order, magic: u32, link: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut out =
        [&order.n32(magic)[..], &order.n16(2), &order.n16(4), &[0; 8], &order.n32(64), &order.n32(link)].concat();
    for (sec, frac, wire_len, data) in packets {
        for field in [*sec, *frac, data.len() as u32, *wire_len] {
            out.extend(order.n32(field));
        }
        out.extend_from_slice(data);
    }
    out
}

const MICRO: u32 = 0xa1b2c3d4;
const NANO: u32 = 0xa1b23c4d;

#[test]
fn classic_in_both_orders_and_resolutions() {
    for order in [Order::Big, Order::Little] {
        for (magic, unit) in [(MICRO, 1000), (NANO, 1)] {
            let file = pcap(order, magic, 101, &[(5, 7, 3, b"abc"), (4_000_000_000, 999_999, 1500, b"defg")]);
            let (frames, interfaces, fault) = read(&file);
            assert_eq!(fault, None);
            assert_eq!(interfaces, [Interface { name: None, link: LinkType::Raw, mac: None }]);
            let frame = |nanos, bytes: &[u8], wire_len, number, offset| Seen {
                nanos,
                iface: 0,
                crossing: None,
                bytes: bytes.to_vec(),
                wire_len,
                number,
                offset,
            };
            let first = frame(5_000_000_000 + 7 * unit, b"abc", 3, 1, 24);
            // Longer on the wire than the snap length of 64: an ordinary snapped packet.
            let second = frame(4_000_000_000_000_000_000 + 999_999 * unit, b"defg", 1500, 2, 43);
            assert_eq!(frames, [first, second]);
        }
    }
}

#[test]
fn sections_interfaces_clocks_and_directions() {
    let (b, l) = (Order::Big, Order::Little);
    let file = [
        b.section(),
        b.idb(1, 0, &[b.option(2, b"wan0"), b.option(9, &[9]), b.option(14, &b.n64(100)), b.option(0, b"")]),
        b.idb(101, 0, &[b.option(2, b"tun0\0"), b.option(6, &[2, 0, 0, 0, 0, 9])]),
        b.block(4, b"names"),
        b.block(0xbad, &[7; 100]),
        b.epb(0, 5, 60, b"one", &[b.option(1, b"a remark"), b.option(2, &b.n32(2)), b.option(0, b"")]),
        b.epb(1, 5, 4, b"two!", &[b.option(2, &b.n32(1))]), // no end of options
        // The other byte order, and interfaces in another order: wan0 is still interface 0.
        l.section(),
        l.idb(101, 3, &[l.option(9, &[0x80 | 10])]),
        l.idb(1, 0, &[l.option(2, b"wan0"), l.option(9, &[3])]),
        l.epb(1, 5, 5, b"three", &[l.option(2, &l.n32(0xfffc))]),
        l.epb(0, 1536, 4, b"four", &[l.option(2, &[1, 2])]), // flags of two bytes mean nothing
        l.block(3, &[&l.n32(60)[..], b"fiv"].concat()),
        l.block(2, &[&l.n16(1)[..], &l.n16(0), &l.time(6), &l.n32(3), &l.n32(3), b"six\0"].concat()),
    ];
    let (frames, interfaces, fault) = read(&file.concat());
    assert_eq!(fault, None);
    let names: Vec<_> = interfaces.iter().map(|i| (i.name.as_deref(), i.link)).collect();
    assert_eq!(
        names,
        [(Some("wan0"), LinkType::Ethernet), (Some("tun0"), LinkType::Raw), (None, LinkType::Raw)],
        "one number for wan0 in both sections"
    );
    assert_eq!(interfaces[1].mac, Some(Mac([2, 0, 0, 0, 0, 9])));
    let got: Vec<_> = frames.iter().map(|f| (f.nanos, f.iface, f.crossing, &f.bytes[..], f.wire_len)).collect();
    let want = [
        (100_000_000_005, 0, Some(Crossing::Outbound), &b"one"[..], 60),
        (5_000, 1, Some(Crossing::Inbound), b"two!", 4),
        (5_000_000, 0, None, b"three", 5),
        (1_500_000_000, 2, None, b"four", 4),
        (1_500_000_000, 2, None, b"fiv", 60), // no time of its own; cut by the snap length of 3
        (6_000_000, 0, None, b"six", 3),
    ];
    assert_eq!(got, want);
}

#[test]
fn clocks() {
    let time = |resolution, offset, units| Clock::new(resolution, offset).time(units).as_nanos();
    assert_eq!(time(6, 0, 1), 1_000);
    assert_eq!(time(0, 0, 3), 3_000_000_000);
    assert_eq!(time(9, -1, 2_000_000_000), 1_000_000_000);
    assert_eq!(time(9, -1, 5), 0, "before 1970");
    assert_eq!(time(12, 0, 1_999), 1);
    assert_eq!(time(0x7f, 0, u64::MAX), 0);
    assert_eq!(time(0, 0, u64::MAX), u64::MAX, "after 2554");
    assert_eq!(time(0x80 | 30, 0, 1 << 29), 500_000_000);
    assert_eq!(time(0xff, 0, u64::MAX), 0);
    assert_eq!(time(0x80, 1, 1), 2_000_000_000);
    assert_eq!(time(0, i64::MAX, u64::MAX), u64::MAX);
    assert_eq!(time(0, i64::MIN, 0), 0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn packed_files_are_unpacked() {
    let plain = pcap(Order::Little, MICRO, 1, &[(1, 0, 14, &[0; 14]), (2, 0, 14, &[1; 14])]);
    let (head, tail) = plain.split_at(30);
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"pad"].concat();
    let packed = [
        gzip(&plain),
        [gzip(head), gzip(tail)].concat(),
        zstd::encode_all(&plain[..], 1).unwrap(),
        [zstd::encode_all(head, 1).unwrap(), skippable.clone(), zstd::encode_all(tail, 1).unwrap()].concat(),
        [skippable, zstd::encode_all(&plain[..], 1).unwrap()].concat(),
    ];
    for (i, file) in packed.iter().enumerate() {
        assert_eq!(read(file), read(&plain), "kind {i}");
    }
    // Cut in the compressed data: what could be unpacked counts.
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..5000).map(|_| noise()).collect();
    let plain = pcap(Order::Little, MICRO, 1, &[(1, 0, 14, &[0; 14]), (2, 0, 5000, &noise)]);
    let file = gzip(&plain);
    let (frames, _, fault) = read(&file[..file.len() - 2000]);
    assert_eq!(frames.len(), 1);
    assert_eq!(
        fault.unwrap(),
        "x.pcap: at unpacked byte 54 (packet 2): cut off: the compressed data ends in the middle"
    );
}

#[test]
fn faults_in_one_line() {
    let l = Order::Little;
    let file = pcap(l, MICRO, 1, &[(1, 0, 3, b"abc"), (2, 0, 3, b"def")]);
    assert_eq!(fault(b""), "x.pcap: the file is empty");
    assert_eq!(
        fault(b"#!/bin/sh\necho hello\n"),
        "x.pcap: not a capture: it looks like text, beginning with \"#!/bin/sh\\necho h\"; \
         pcap and pcapng are read, also in gzip or zstd"
    );
    assert!(fault(b"\x00\xffzz").contains("it begins with the bytes 00 ff 7a 7a;"));
    assert!(fault(b"PK\x03\x04...").contains("it is a zip archive;"));
    assert!(fault(&file[..2]).contains("not a capture"));
    assert_eq!(fault(&file[..20]), "x.pcap: at byte 0 (packet 1): cut off: the file header has 24 bytes, 20 are there");
    let (frames, _, why) = read(&file[..file.len() - 1]);
    assert_eq!(frames.len(), 1, "what came before counts");
    assert_eq!(why.unwrap(), "x.pcap: at byte 43 (packet 2): cut off: the packet has 3 bytes, 2 are there");
    assert_eq!(
        fault(&file[..50]),
        "x.pcap: at byte 43 (packet 2): cut off: the packet's header has 16 bytes, 7 are there"
    );
    assert_eq!(
        fault(&pcap(l, MICRO, 189, &[])),
        "x.pcap: link type 189 (USB_LINUX) is not supported; supported are Ethernet (1), RAW (101, 12, 14), \
         IPV4 (228), IPV6 (229), LINUX_SLL (113), LINUX_SLL2 (276), NULL (0) and LOOP (108)"
    );
    assert!(fault(&pcap(l, MICRO, 4242, &[])).contains("link type 4242 (unknown) is not supported"));
    let mut long = file.clone();
    long[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        fault(&long),
        "x.pcap: at byte 24 (packet 1): the packet says it has 4294967295 bytes, more than the 1048576 that are \
         accepted: damaged?"
    );
    let mut version = file;
    version[4] = 9;
    assert_eq!(fault(&version), "x.pcap: pcap version 9.4 is not known");

    let ng = |blocks: &[Vec<u8>]| fault(&[vec![l.section()], blocks.to_vec()].concat().concat());
    let idb = l.idb(1, 0, &[]);
    let epb = l.epb(0, 1, 3, b"abc", &[]);
    assert_eq!(
        ng(std::slice::from_ref(&epb)),
        "x.pcap: at byte 28 (packet 1): the packet is of interface 0, but the section describes only 0"
    );
    // An interface of a foreign kind does no harm until a packet comes from it.
    assert_eq!(
        ng(&[l.idb(105, 0, &[]), idb.clone(), l.epb(1, 1, 3, b"abc", &[]), epb.clone()]).split(';').next(),
        Some("x.pcap: at byte 104 (packet 2): link type 105 (IEEE802_11) is not supported")
    );
    assert_eq!(
        ng(&[idb.clone(), epb[..20].to_vec()]),
        "x.pcap: at byte 48 (packet 1): cut off: the block has 36 bytes, 20 are there"
    );
    assert_eq!(
        ng(&[idb.clone(), epb[..5].to_vec()]),
        "x.pcap: at byte 48 (packet 1): cut off: the block's header has 12 bytes, 5 are there"
    );
    let mut twisted = epb.clone();
    twisted[32] = 40;
    assert!(ng(&[idb.clone(), twisted]).contains("damaged: the block's two lengths differ; the first is 36"));
    let mut odd = epb.clone();
    odd[4] = 35;
    assert!(ng(&[idb.clone(), odd]).contains("damaged: block of type 6 with a length of 35 bytes"));
    let mut overfull = epb.clone();
    overfull[20] = 9;
    assert!(ng(&[idb.clone(), overfull]).contains("damaged: a packet of 9 bytes in a block that has room for 4"));
    let mut endless = epb.clone();
    endless[20..24].copy_from_slice(&[0xff; 4]);
    assert!(ng(&[idb.clone(), endless]).contains("the packet says it has 4294967295 bytes"));
    let mut block = epb.clone();
    block[4..8].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    assert!(ng(&[idb.clone(), block]).contains("the block says it has 4294967280 bytes"));
    assert!(ng(&[idb.clone(), l.block(6, b"short")]).contains("damaged: packet block of 20 bytes"));
    assert!(ng(&[l.block(1, b"abcd")]).contains("damaged: interface description of 16 bytes"));
    let foreign = [l.n32(0x77), l.n32(1 << 30)].concat();
    assert!(ng(&[idb, foreign, vec![0; 100]]).contains("cut off: the block has 1073741824 bytes, 108 are there"));
    assert!(fault(&l.block(0x0a0d0d0a, &[0; 16])).contains("byte-order magic [00, 00, 00, 00]"));
    let v2 = l.block(0x0a0d0d0a, &[&l.n32(0x1a2b3c4d)[..], &l.n16(2), &l.n16(0), &[0xff; 8]].concat());
    assert!(fault(&v2).ends_with("pcapng version 2.0 is not known"));
    let missing = Reader::open(std::path::Path::new("/nonexistent/x.pcap")).err().unwrap().to_string();
    assert!(missing.starts_with("/nonexistent/x.pcap: No such file"), "{missing}");
}

/// Gives a few bytes at a time, with interruptions, like a slow pipe.
struct Trickle(Cursor<Vec<u8>>, usize);

impl Read for Trickle {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let few = to.len().min(self.1 % 7 + 1);
        self.0.read(&mut to[..few])
    }
}

#[test]
fn a_pipe_reads_like_a_file() {
    let l = Order::Little;
    let long = vec![9; 70_000];
    let files = [
        pcap(l, NANO, 1, &[(1, 0, 3, b"abc"), (2, 0, 70_000, &long), (3, 0, 1, b"d")]),
        [l.section(), l.idb(1, 0, &[]), l.block(9, &long), l.epb(0, 1, 0, &long, &[]), l.epb(0, 2, 1, b"x", &[])]
            .concat(),
    ];
    for file in files {
        assert_eq!(read_from(Trickle(Cursor::new(file.clone()), 0)), read(&file));
        assert_eq!(read(&file).2, None);
    }
}

/// A writer whose bytes the test can look at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(frames: &[(&str, Outgoing<'_>)]) -> Vec<u8> {
    let shared = Shared::default();
    let mut writer = Writer::new("out", shared.clone()).unwrap();
    for (name, frame) in frames {
        let interface = Interface { name: Some(name.to_string()), link: LinkType::Ethernet, mac: None };
        let iface = writer.interface(&interface).unwrap();
        writer.send(&Outgoing { iface, ..*frame }).unwrap();
    }
    writer.finish().unwrap();
    shared.0.lock().unwrap().clone()
}

#[test]
fn many_batches_read_ahead_keep_their_order() {
    let packets: Vec<_> = (0..5000_u32).map(|n| (n, 0, 2000, n.to_be_bytes().repeat(n as usize % 400))).collect();
    let packets: Vec<_> = packets.iter().map(|(s, f, w, data)| (*s, *f, *w, &data[..])).collect();
    let mut file = pcap(Order::Little, 0xa1b2c3d4, 1, &packets);
    assert_eq!(read(&file).0.len(), 5000);
    file.truncate(file.len() - 1);
    let (frames, _, fault) = read(&file);
    assert_eq!(frames.len(), 4999);
    assert!(fault.expect("a fault").contains("(packet 5000): cut off"));
}

/// Gives one piece when it is told to.
struct Live(std::sync::mpsc::Receiver<Vec<u8>>);

impl Read for Live {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Ok(piece) = self.0.recv() else { return Ok(0) };
        to[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

#[test]
fn a_frame_that_is_read_ahead_does_not_wait_for_the_next() {
    let (give, take) = std::sync::mpsc::channel();
    let classic = pcap(Order::Little, 0xa1b2c3d4, 1, &[(1, 0, 3, b"one"), (2, 0, 3, b"two")]);
    let (first, second) = classic.split_at(24 + 16 + 3);
    give.send(first.to_vec()).unwrap();
    let mut source = Ahead::new(Reader::new("live", Live(take)).unwrap());
    assert_eq!(source.next().unwrap().map(|f| f.bytes.to_vec()), Some(b"one".to_vec()));
    give.send(second.to_vec()).unwrap();
    assert_eq!(source.next().unwrap().map(|f| f.bytes.to_vec()), Some(b"two".to_vec()));
    drop(give);
    assert!(source.next().unwrap().is_none());
}

/// Takes so many bytes and then no more.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_once() {
    for room in [0, 700_000] {
        let mut writer = Writer::new("out", Full(room)).unwrap();
        let iface = writer.interface(&Interface { name: None, link: LinkType::Ethernet, mac: None }).unwrap();
        let frame = [7; 1000];
        let mut faults = 0;
        for _ in 0..3000 {
            faults += usize::from(writer.send(&Outgoing::new(Time::ZERO, iface, &frame)).is_err());
        }
        faults += usize::from(writer.finish().is_err());
        assert!(faults >= 1, "{room}");
        let mut writer = Writer::new("out", Full(room)).unwrap();
        assert_eq!(writer.finish().is_err(), room == 0);
    }
}

#[test]
fn what_is_written_reads_back() {
    let plain = Outgoing::new(Time::from_nanos(1_700_000_000_123_456_789), InterfaceId(0), b"frame");
    let full = Outgoing {
        wire_len: 1500,
        crossing: Some(Crossing::Outbound),
        packet_id: Some(7),
        verdict: Some(Verdict::Drop),
        comments: &["new: 10.0.0.2 → 192.0.2.1", ""],
        ..plain
    };
    let file = write(&[("lan0", plain), ("wan0", full), ("lan0", plain)]);
    assert_eq!(file, write(&[("lan0", plain), ("wan0", full), ("lan0", plain)]), "the same calls, the same bytes");
    let (frames, interfaces, fault) = read(&file);
    assert_eq!(fault, None);
    let names: Vec<_> = interfaces.iter().map(|i| i.name.as_deref()).collect();
    assert_eq!(names, [Some("lan0"), Some("wan0")]);
    let got: Vec<_> = frames.iter().map(|f| (f.nanos, f.iface, f.crossing, f.wire_len)).collect();
    let at = 1_700_000_000_123_456_789;
    assert_eq!(got, [(at, 0, None, 5), (at, 1, Some(Crossing::Outbound), 1500), (at, 0, None, 5)]);
    // Options in full: comments, flags, packet id, verdict (TC, SHOT), end.
    let l = Order::Little;
    let options = [
        l.option(1, "new: 10.0.0.2 → 192.0.2.1".as_bytes()),
        l.option(1, b""),
        l.option(2, &l.n32(2)),
        l.option(5, &l.n64(7)),
        l.option(7, &[1, 2, 0, 0, 0, 0, 0, 0, 0]),
        l.option(0, b""),
    ];
    let want = l.epb(1, at, 1500, b"frame", &options);
    assert!(file.windows(want.len()).any(|w| w == want));
}

#[test]
fn long_comments_are_cut_and_unknown_interfaces_refused() {
    let comment = "é".repeat(40_000);
    let comments = [comment.as_str()];
    let mut out = Outgoing::new(Time::ZERO, InterfaceId(0), b"x");
    out.comments = &comments;
    assert_eq!(read(&write(&[("a", out)])).2, None);
    let mut writer = Writer::new("out", Shared::default()).unwrap();
    let refused = writer.send(&Outgoing::new(Time::ZERO, InterfaceId(0), b"x")).unwrap_err();
    assert_eq!(refused.to_string(), "out: the packet is of interface 0, but the section describes only 0");
}

proptest! {
    /// No bytes make the reader panic, loop or deliver more than there is.
    #[test]
    fn random_and_mutated_files(
        seed in any::<[u8; 32]>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        kind in 0..4,
    ) {
        let l = if seed[0] & 1 == 0 { Order::Little } else { Order::Big };
        let mut file = match kind {
            0 => pcap(l, MICRO, 1, &[(1, 2, 32, &seed), (2, 3, 5, b"12345")]),
            1 => [
                l.section(),
                l.idb(1, 0, &[l.option(2, b"eth0"), l.option(9, &[6])]),
                l.epb(0, 1, 32, &seed, &[l.option(2, &l.n32(1))]),
                l.block(3, &[&l.n32(32)[..], &seed].concat()),
                l.block(5, &seed),
            ].concat(),
            2 => gzip(&pcap(l, MICRO, 1, &[(1, 2, 32, &seed)])),
            _ => [&l.section()[..], &seed, &seed].concat(),
        };
        for (at, bits) in &flips {
            let at = at.index(file.len());
            file[at] ^= bits;
        }
        file.truncate(cut.index(file.len()) + 1);
        let (frames, _, _) = read(&file);
        for f in &frames {
            prop_assert!(f.bytes.len() as u64 + f.offset <= file.len() as u64 * 1100);
        }
        prop_assert!(frames.len() <= 1 + file.len());
    }
}
