use super::queue::charge;
use super::*;
use crate::refrag;
use proptest::prelude::*;
use uct_engine::{More, checksum};

const SRC: u8 = 10;

/// A fragment in words: `0-24M`, with `ttl=`, `tos=` (traffic class), `nh=`, `df`, and `+pre`: eight bytes of destination
/// options (options of type router alert in IPv4) before the fragment header.
fn fragment(family: Family, id: u32, datagram: &[u8], words: &str) -> Vec<u8> {
    let mut words = words.split(' ');
    let range = words.next().unwrap();
    let more = range.ends_with('M');
    let (a, b) = range.trim_end_matches('M').split_once('-').unwrap();
    let (a, b): (usize, usize) = (a.parse().unwrap(), b.parse().unwrap());
    let (mut ttl, mut tos, mut next, mut df, mut pre, mut src) = (64, 0u8, 17, 0, false, SRC);
    for word in words {
        match word.split_once('=') {
            Some(("ttl", n)) => ttl = n.parse().unwrap(),
            Some(("tos", n)) => tos = n.parse().unwrap(),
            Some(("nh", n)) => next = n.parse().unwrap(),
            Some(("src", n)) => src = n.parse().unwrap(),
            _ if word == "df" => df = 0x40,
            _ if word == "+pre" => pre = true,
            _ => panic!("{word}"),
        }
    }
    let payload = datagram.get(a..b.min(datagram.len())).unwrap_or(&[]);
    let payload = [payload, &vec![0; b - a - payload.len()]].concat();
    match family {
        Family::Ipv4 => {
            let options: &[u8] = if pre { &[0x94, 4, 0, 0] } else { &[] };
            let total = (20 + options.len() + payload.len()) as u16;
            let field = (a / 8) as u16 | if more { 0x2000 } else { 0 };
            let mut header = vec![0x45 + (options.len() / 4) as u8, tos];
            header.extend(total.to_be_bytes());
            header.extend((id as u16).to_be_bytes());
            header.extend([(field >> 8) as u8 | df, field as u8, ttl, next, 0, 0, 192, 168, 1, src, 203, 0, 113, 10]);
            header.extend(options);
            let sum = !checksum::sum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [header, payload].concat()
        }
        Family::Ipv6 => {
            let options: &[u8] = if pre { &[44, 0, 1, 4, 0, 0, 0, 0] } else { &[] };
            let mut header = vec![0x60 | tos >> 4, tos << 4, 0, 0];
            header.extend(((options.len() + 8 + payload.len()) as u16).to_be_bytes());
            header.extend([if pre { 60 } else { 44 }, ttl]);
            header.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, src]);
            header.extend([0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
            header.extend(options);
            header.extend([next, 0]);
            header.extend((a as u16 | u16::from(more)).to_be_bytes());
            header.extend(id.to_be_bytes());
            [header, payload].concat()
        }
    }
}

fn datagram(len: usize) -> Vec<u8> {
    let mut udp = vec![3, 232, 7, 208, (len >> 8) as u8, len as u8, 0, 0];
    udp.extend((8..len).map(|i| i as u8));
    udp
}

/// What a packet is, in the words of the measurements: offset, length, M, D.
fn brief(packet: &[u8]) -> String {
    let mut bytes = packet.to_vec();
    let wire_len = bytes.len();
    let packet = Packet::parse(&mut bytes, wire_len).unwrap();
    let header = match packet.family() {
        Family::Ipv4 => packet.ip_header_len(),
        Family::Ipv6 => packet.fragment().map_or(40, |f| f.header as usize + 8),
    };
    let (offset, more) = packet.fragment().map_or((0, More::None), |f| (f.offset, f.more));
    let pre = if packet.family() == Family::Ipv6 && packet.bytes()[6] == 60 { "pre " } else { "" };
    let whole = packet.family() == Family::Ipv6 && packet.fragment().is_none();
    let df = packet.family() == Family::Ipv4 && packet.bytes()[6] & 0x40 != 0;
    if whole {
        return format!("whole {}", wire_len - header);
    }
    let (m, d) = (if more == More::Fragments { "M" } else { "" }, if df { "D" } else { "" });
    format!("{pre}{offset}+{}{m}{d}", wire_len - header)
}

/// A defragmenter and, behind it, a refragmenter for a link of `mtu`.
struct Lab {
    defrag: Defrag,
    family: Family,
    mtu: usize,
    now: Time,
    last: Option<Datagram>,
}

impl Lab {
    fn new(family: Family) -> Self {
        let now = Time::from_secs(1000);
        Lab { defrag: Defrag::new(Settings::default()), family, mtu: 1500, now, last: None }
    }

    fn gather(&mut self, bytes: &[u8]) -> Gathered {
        let mut bytes = bytes.to_vec();
        let wire_len = bytes.len();
        let packet = Packet::parse(&mut bytes, wire_len).unwrap();
        self.defrag.gather(self.now, &packet)
    }

    /// What leaves when a packet comes.
    fn send(&mut self, bytes: &[u8]) -> String {
        match self.gather(bytes) {
            Gathered::AsIs { .. } => format!("as is: {}", brief(bytes)),
            Gathered::Held { .. } | Gathered::Dropped(_) => String::new(),
            Gathered::Whole(mut datagram) => {
                let mut out = vec![];
                look_at_tcp(&mut datagram);
                let Datagram { bytes, wire_len, fragmented, .. } = &*datagram;
                let fragmented = &looked_at(bytes, fragmented);
                let sent = refrag::cut(bytes, *wire_len, Some(fragmented), self.mtu, || 7, |p, _| out.push(brief(p)));
                self.last = Some((*datagram).clone());
                match sent {
                    Ok(_) => out.join(" "),
                    Err(big) => format!("too big for {}", big.mtu),
                }
            }
        }
    }

    /// What leaves when the fragments come; groups are separated by `/`.
    fn run(&mut self, id: u32, len: usize, groups: &str) -> String {
        let datagram = datagram(len);
        let group = |group: &str| {
            let sent = group.split(',').map(|f| self.send(&fragment(self.family, id, &datagram, f.trim())));
            let sent: Vec<String> = sent.filter(|s| !s.is_empty()).collect();
            if sent.is_empty() { "nothing".into() } else { sent.join(" ") }
        };
        groups.split('/').map(group).collect::<Vec<_>>().join(" / ")
    }
}

/// How a datagram is cut once the tracker has looked at its TCP header in one stretch.
fn looked_at(bytes: &[u8], how: &refrag::Fragmented) -> refrag::Fragmented {
    let mut how = how.clone();
    if bytes[0] >> 4 == 4 && bytes[9] == 6 {
        how.pull(20);
    }
    how
}

/// Lines of `fragments => what leaves`, as measured. A, B, C stand for 0-24M, 24-48M, 48-60.
fn check(family: Family, len: usize, table: &str) {
    let mut lab = Lab::new(family);
    for (n, line) in table.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate() {
        let (fragments, want) = line.split_once("=>").unwrap();
        let fragments = fragments.replace('A', "0-24M").replace('B', "24-48M").replace('C', "48-60");
        let want = want.trim().replace("ABC", "0+24M 24+24M 48+12");
        assert_eq!(lab.run(1000 + n as u32, len, fragments.trim()), want, "{family:?} {line}");
    }
}

const SAME_IN_BOTH: &str = "
    A, B, C                                => ABC
    C, A, B                                => ABC
    C, B, A                                => ABC
    0-8M, 8-40M, 40-60                     => 0+8M 8+32M 40+20
    0-32M, 32-40M, 40-48M, 48-60           => 0+32M 32+8M 40+8M 48+12
    A, A, B, C                             => ABC
    A, B, B, C                             => ABC
    C, C, A, B                             => ABC
    A, 8-16M, B, C                         => ABC
    A, B, 16-32M, C                        => ABC
    A, 16-32M / B, C                       => nothing / nothing
    A, 16-32M / A, B, C                    => nothing / ABC
    B, 16-32M / A, B, C                    => nothing / ABC
    B, 16-56M / A, B, C                    => nothing / ABC
    A, 0-32M / A, B, C                     => nothing / ABC
    A, 0-16M, B, C                         => ABC
    A, 48-56M, B, 16-32M / 56-60           => nothing / nothing
    A, 48-56M, B, 16-32M / A, B, 48-56M, 56-60 => nothing / 0+24M 24+24M 48+8M 56+4
    A, B, 48-56M, 16-32M, 56-60            => 0+24M 24+24M 48+8M 56+4
    B, A, 16-32M, C                        => nothing
    B, A, 16-32M / A, B, C                 => nothing / ABC
    A, 24-48M, 24-48                       => nothing
    A, B tos=3, C / A, B, C                => nothing / ABC
    A, B, B tos=3, C                       => ABC
    A tos=2, B tos=3, C tos=2              => ABC
    A, B tos=1, C                          => nothing
";

#[test]
fn rules_of_both() {
    check(Family::Ipv4, 60, SAME_IN_BOTH);
    check(Family::Ipv6, 60, SAME_IN_BOTH);
}

#[test]
fn rules_of_ipv4() {
    check(
        Family::Ipv4,
        80,
        "
        48-60, 48-68 / A, B, 48-60                   => nothing / ABC
        48-60, 48-68 / A, B                          => nothing / nothing
        48-60, 48-52 / A, B                          => nothing / nothing
        48-60, 48-52 / A, B, C                       => nothing / ABC
        A, B, 24-36 / C                              => nothing / nothing
        C, 64-72M / A, B                             => nothing / nothing
        C, 64-72M / A, B, C                          => nothing / ABC
        C, 48-64M / A, B                             => nothing / nothing
        0-20M / 16-48M, C                            => nothing / 0+16M 16+32M 48+12
        0-20M / B, C                                 => nothing / nothing
        A, 24-44M / 40-48M, C                        => nothing / 0+24M 24+16M 40+8M 48+12
        C, 40-50M, A, 24-40M                         => 0+24M 24+16M 40+8M 48+12
        A, 24-28M / B, C                             => nothing / nothing
        A, 24-28M / A, B, C                          => nothing / ABC
        0-0M, A, B, C                                => ABC
        A, 24-24M / B, C                             => nothing / nothing
        A, B, 48-56M, 56-56                          => nothing
        A, B nh=6, C / B                             => nothing / ABC
        0-60                                         => as is: 0+60
        A df, B df, C df                             => ABC
        0-8M nh=6 df, 8-60 nh=6 df                   => 0+48MD 48+12D
        0-8M nh=6 df, 8-60 nh=6                      => 0+48M 48+12
        0-8M nh=6, 8-60 nh=6 df                      => 0+48MD 48+12D
        0-16M nh=6, 16-60 nh=6                       => 0+40M 40+20
        0-24M nh=6, 24-60 nh=6                       => 0+24M 24+36
        0-8M, 8-60                                   => 0+8M 8+52
        A, B, 8-24 / C                               => nothing / nothing
        A +pre, B, C                                 => ABC
        0-24M +pre, 24-32M, 32-60                    => 0+24M 24+24M 48+12
        0-24M +pre, 24-32M +pre, 32-60 +pre          => 0+24M 24+8M 32+28
        ",
    );
}

#[test]
fn rules_of_ipv6() {
    check(
        Family::Ipv6,
        80,
        "
        48-60, 48-68 / A, B                          => nothing / ABC
        48-60, 48-52 / A, B                          => nothing / ABC
        A, B, 24-36 / C                              => nothing / ABC
        C, 64-72M / A, B                             => nothing / ABC
        C, 48-64M / A, B                             => nothing / ABC
        0-20M, C / 16-48M, C                         => as is: 0+20M / nothing
        A, 24-44M / B, C                             => as is: 24+20M / nothing
        0-0M, A, B, C                                => as is: 0+0M ABC
        A, 24-24M / B, C                             => nothing / ABC
        A, B, 48-56M, 56-56 / 56-60                  => nothing / nothing
        0-60                                         => whole 60
        A, B nh=6, C nh=59                           => ABC
        A nh=59, B, C                                => ABC
        0-8M nh=6, 8-60 nh=6                         => as is: 0+8M
        0-16M nh=6, 16-60 nh=6                       => as is: 0+16M
        0-24M nh=6, 24-60 nh=6                       => 0+24M 24+36
        0-8M nh=58, 8-60 nh=58                       => whole 60
        0-8M nh=132, 8-60 nh=132                     => whole 60
        0-4 nh=6                                     => as is: 0+4
        A +pre, B +pre, C +pre                       => pre 0+24M pre 24+24M pre 48+12
        A +pre, B, C                                 => pre 0+24M pre 24+24M pre 48+12
        A, B +pre, C +pre                            => ABC
        A / 0-60 / B, C                              => nothing / nothing / nothing
        B / 0-16 / A, C                              => nothing / nothing / ABC
        A, 65528-65628, 24-60                        => 0+24M 24+36
        ",
    );
    // Whole if no longer than the longest fragment.
    check(
        Family::Ipv6,
        1060,
        "
        0-8M, 8-1060            => whole 1060
        0-1056M, 1056-1060      => whole 1060
        0-16M, 16-1060          => 0+16M 16+1044
        0-1048M, 1048-1060      => 0+1048M 1048+12
        0-8M, 8-1056M, 1056-1060 => 0+8M 8+1048M 1056+4
        ",
    );
}

#[test]
fn for_a_smaller_link() {
    let run = |family, fragments: &str| {
        let mut lab = Lab { mtu: 1280, ..Lab::new(family) };
        lab.run(9, 3000, fragments)
    };
    let v4 = |fragments| run(Family::Ipv4, fragments);
    assert_eq!(v4("0-1480M, 1480-2960M, 2960-3000"), "0+1256M 1256+1256M 2512+488");
    assert_eq!(v4("0-1000M, 1000-2000M, 2000-3000"), "0+1000M 1000+1000M 2000+1000");
    assert_eq!(v4("0-600M df, 600-2080M, 2080-3000"), "0+1256M 1256+1256M 2512+488");
    assert_eq!(v4("0-1480M df, 1480-2960M df, 2960-3000 df"), "too big for 1280");
    assert_eq!(v4("0-1000M, 1000-2480M df, 2480-3000"), "too big for 1280");
    assert_eq!(v4("0-1000M df, 1000-2000M df, 2000-3000 df"), "0+1000M 1000+1000M 2000+1000");
    let v6 = |fragments| run(Family::Ipv6, fragments);
    assert_eq!(v6("0-1448M, 1448-2896M, 2896-3000"), "too big for 1280");
    assert_eq!(v6("0-1200M, 1200-2400M, 2400-3000"), "0+1200M 1200+1200M 2400+600");
    assert_eq!(v6("0-800M, 800-1600M, 1600-2400M, 2400-3000"), "0+800M 800+800M 1600+800M 2400+600");
    let mut lab = Lab::new(Family::Ipv6);
    assert_eq!(lab.run(9, 3000, "0-1440M +pre, 1440-2888M, 2888-3000"), "pre 0+1440M pre 1440+1440M pre 2880+120");
}

#[test]
fn headers_of_the_whole() {
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut lab = Lab::new(family);
        // Dscp and TTL of the first, wherever it comes; CE of any.
        lab.run(1, 60, "48-60 ttl=40 tos=131, 24-48M ttl=50 tos=66, 0-24M ttl=64 tos=34");
        let whole = lab.last.take().unwrap();
        let mut bytes = whole.bytes.clone();
        let packet = Packet::parse(&mut bytes, whole.wire_len).unwrap();
        assert_eq!(packet.ttl(), 64);
        let class = match family {
            Family::Ipv4 => packet.bytes()[1],
            Family::Ipv6 => packet.bytes()[0] << 4 | packet.bytes()[1] >> 4,
        };
        assert_eq!(class, 35);
        assert_eq!((packet.fragment(), packet.protocol().0), (None, 17));
        assert_eq!(packet.transport(), Some(&datagram(60)[..]));
        assert_eq!(whole.fragments, 3);
    }
}

#[test]
fn ecn_by_the_table() {
    // Every combination of three; what is allowed, and what it makes of a first fragment's bits.
    for combination in 0..64u8 {
        let [a, b, c] = [combination & 3, combination >> 2 & 3, combination >> 4];
        let mut lab = Lab::new(Family::Ipv4);
        let sent = lab.run(1, 60, &format!("0-24M tos={a}, 24-48M tos={b}, 48-60 tos={c}"));
        let not_ect = [a, b, c].iter().filter(|e| **e == 0).count();
        let want = match not_ect {
            3 => Some(0),
            0 if [a, b, c].contains(&3) => Some(3),
            0 => Some(a),
            _ => None,
        };
        assert_eq!(sent == "nothing", want.is_none(), "{a}{b}{c}");
        assert_eq!(lab.last.map(|d| d.bytes[1]), want, "{a}{b}{c}");
    }
}

#[test]
fn time_runs_from_the_first_and_is_not_prolonged() {
    for (family, seconds) in [(Family::Ipv4, 30), (Family::Ipv6, 60)] {
        let mut lab = Lab::new(family);
        let start = lab.now;
        let end = start + Duration::from_secs(seconds);
        lab.run(1, 60, "24-48M");
        lab.now = start + Duration::from_secs(20);
        lab.run(1, 60, "0-24M");
        lab.run(2, 60, "48-60");
        assert_eq!((lab.defrag.next_deadline(), lab.defrag.held()), (Some(end), 3));
        assert_eq!(lab.defrag.expire(Time::from_nanos(end.as_nanos() - 1)), None);
        let late = end + Duration::from_secs(100);
        let expired = lab.defrag.expire(late).unwrap();
        assert_eq!((expired.at, expired.fragments, expired.family), (end, 2, family));
        let first = fragment(family, 1, &datagram(60), "0-24M");
        assert_eq!(expired.first, Some(first), "quoted as it came");
        let expired = lab.defrag.expire(late).unwrap();
        assert_eq!((expired.fragments, expired.first), (1, None));
        assert_eq!(lab.defrag.expire(late), None);
        assert_eq!((lab.defrag.held(), lab.defrag.charged(family)), (0, 0));
    }
}

#[test]
fn distance() {
    let others = |lab: &mut Lab, n: u32, words: &str| {
        for i in 0..n {
            lab.run(5000 + i, 60, words);
        }
    };
    for (n, want) in [(62, "0+24M 24+24M 48+12"), (63, "0+24M 24+24M 48+12"), (64, "nothing"), (70, "nothing")] {
        let mut lab = Lab::new(Family::Ipv4);
        lab.run(1, 60, "0-24M");
        others(&mut lab, n, "24-48M");
        assert_eq!(lab.run(1, 60, "24-48M, 48-60"), want, "{n} between");
        if want == "nothing" {
            assert_eq!(lab.run(1, 60, "0-24M"), "0+24M 24+24M 48+12", "it began anew with the second");
        }
    }
    let mut lab = Lab::new(Family::Ipv4);
    lab.run(1, 60, "0-24M");
    others(&mut lab, 100, "24-48M src=11");
    assert_eq!(lab.run(1, 60, "24-48M, 48-60"), "0+24M 24+24M 48+12", "another source does not count");
    let mut lab = Lab::new(Family::Ipv4);
    for _ in 0..200 {
        lab.run(1, 60, "0-24M");
    }
    assert_eq!(lab.run(1, 60, "24-48M, 48-60"), "0+24M 24+24M 48+12", "duplicates keep it young");
    let mut lab = Lab::new(Family::Ipv6);
    lab.run(1, 60, "0-24M");
    others(&mut lab, 200, "24-48M");
    assert_eq!(lab.run(1, 60, "24-48M, 48-60"), "0+24M 24+24M 48+12", "not in IPv6");
}

#[test]
fn longest_datagrams() {
    for (family, most) in [(Family::Ipv4, 65_515), (Family::Ipv6, 65_535)] {
        for (len, want) in [(most, 45), (most + 1, 0)] {
            let mut lab = Lab { mtu: 9000, ..Lab::new(family) };
            let mut list: Vec<String> = (0..44).map(|i| format!("{}-{}M", i * 1480, (i + 1) * 1480)).collect();
            list.push(format!("65120-{len}"));
            let sent = lab.run(1, len, &list.join(","));
            assert_eq!(if sent == "nothing" { 0 } else { sent.split(' ').count() }, want, "{family:?} {len}");
        }
    }
}

#[test]
fn memory_is_bounded_under_a_flood_of_halves() {
    // As measured for queues of one fragment each.
    for (len, want) in [(8, 1032), (64, 1032), (256, 1480), (512, 1480), (1024, 2504), (1480, 2504)] {
        let ours = 264 + charge(20 + len);
        assert!(ours.abs_diff(want) <= 64, "{len} bytes: {ours}, measured {want}");
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut lab = Lab::new(family);
        let half = datagram(1480);
        let mut dropped = 0;
        for i in 0..100_000u32 {
            let mut bytes = fragment(family, 1, &half, "0-1480M");
            match family {
                Family::Ipv4 => {
                    bytes[4..6].copy_from_slice(&(i as u16).to_be_bytes());
                    bytes[12..14].copy_from_slice(&((i >> 16) as u16).to_be_bytes());
                    bytes[10..12].fill(0);
                    let sum = !checksum::sum(&bytes[..20]);
                    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                }
                Family::Ipv6 => bytes[44..48].copy_from_slice(&i.to_be_bytes()),
            }
            dropped += u32::from(lab.gather(&bytes) == Gathered::Dropped(FragmentDrop { why: Why::NoMemory, lost: 0 }));
        }
        let most = Settings::default().ipfrag_high_thresh + 264 + charge(1520);
        assert!(lab.defrag.charged(family) <= most, "{}", lab.defrag.charged(family));
        assert_eq!(u64::from(dropped) + lab.defrag.held(), 100_000);
        assert_eq!(lab.run(77, 60, "0-24M, 24-48M, 48-60"), "nothing", "nobody gets through any more");
        let late = lab.now + Duration::from_secs(60);
        while lab.defrag.expire(late).is_some() {}
        assert_eq!(lab.run(77, 60, "0-24M, 24-48M, 48-60"), "0+24M 24+24M 48+12", "until time has made room");
    }
    // Fragments that are only ever ignored are charged for as well.
    let mut lab = Lab::new(Family::Ipv6);
    for i in 0..20_000 {
        lab.run(i, 60, "65528-65628M");
    }
    assert!(lab.defrag.charged(Family::Ipv6) > Settings::default().nf_conntrack_frag6_high_thresh - 1000);
}

#[test]
fn fragments_that_the_capture_cut() {
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut lab = Lab::new(family);
        let all = datagram(60);
        let mut last = None;
        for words in ["48-60", "24-48M", "0-24M"] {
            let mut bytes = fragment(family, 1, &all, words);
            let wire_len = bytes.len();
            let keep = if words == "24-48M" { wire_len - 20 } else { wire_len };
            bytes.truncate(keep);
            let packet = Packet::parse(&mut bytes, wire_len).unwrap();
            last = Some(lab.defrag.gather(lab.now, &packet));
        }
        let Some(Gathered::Whole(datagram)) = last else { panic!("{last:?}") };
        let header = datagram.wire_len - 60;
        assert_eq!(datagram.bytes[header..], all[..28], "up to the gap");
        let (mut bytes, mut sent) = (datagram.bytes.clone(), vec![]);
        assert!(Packet::parse(&mut bytes, datagram.wire_len).unwrap().is_truncated());
        let how = Some(&datagram.fragmented);
        refrag::cut(&bytes, datagram.wire_len, how, 1500, || 7, |p, wire| sent.push((p.len(), wire))).unwrap();
        let more = if family == Family::Ipv4 { 20 } else { 48 };
        assert_eq!(sent, [(more + 24, more + 24), (more + 4, more + 24), (more, more + 12)]);
    }
}

fn permutation(n: usize) -> impl Strategy<Value = Vec<usize>> {
    Just((0..n).collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    /// Any order, with any duplicates, gives the datagram, at the last piece that was missing, cut as before.
    #[test]
    fn any_order_gives_the_datagram(
        cuts in prop::collection::btree_set(1usize..40, 1..8),
        tail in 1usize..9,
        order in permutation(9),
        again in prop::collection::vec(0usize..9, 0..6),
        v6 in any::<bool>(),
    ) {
        let family = if v6 { Family::Ipv6 } else { Family::Ipv4 };
        let mut ends: Vec<usize> = cuts.iter().map(|c| c * 8).collect();
        let len = ends.last().unwrap() + tail;
        ends.push(len);
        let mut list = vec![];
        let mut start = 0;
        for end in &ends {
            list.push(format!("{start}-{end}{}", if *end == len { "" } else { "M" }));
            start = *end;
        }
        let mut lab = Lab::new(family);
        let mut order: Vec<usize> = order.into_iter().filter(|i| *i < list.len()).collect();
        for (i, again) in again.iter().enumerate() {
            // Once more what came already: ignored.
            let at = (i + 1).min(order.len() - 1);
            order.insert(at, order[again % at]);
        }
        let mut seen = std::collections::BTreeSet::new();
        for i in order {
            if seen.len() == list.len() {
                break;
            }
            seen.insert(i);
            let sent = lab.run(1, len, &list[i]);
            prop_assert_eq!(sent == "nothing", seen.len() < list.len());
        }
        let whole = lab.last.unwrap();
        prop_assert!(whole.bytes.ends_with(&datagram(len)));
        prop_assert_eq!(whole.bytes.len(), whole.wire_len);
        prop_assert_eq!(lab.defrag.held(), 0);
        prop_assert_eq!(lab.defrag.charged(family), 0);
    }

    /// Whatever comes: no panic, every fragment accounted for, memory given back.
    #[test]
    fn any_fragments(
        list in prop::collection::vec((0u32..3, 0usize..12, 0usize..30, any::<bool>(), 0u8..4), 0..60),
        v6 in any::<bool>(),
    ) {
        let family = if v6 { Family::Ipv6 } else { Family::Ipv4 };
        let mut lab = Lab::new(family);
        let all = datagram(200);
        let (mut arrived, mut left) = (0, 0);
        for (id, start, len, more, tos) in list {
            let words = format!("{}-{}{} tos={tos}", start * 8, start * 8 + len, if more { "M" } else { "" });
            arrived += 1;
            left += match lab.gather(&fragment(family, id, &all, &words)) {
                Gathered::AsIs { lost } => 1 + u64::from(lost),
                Gathered::Held { lost } => u64::from(lost),
                Gathered::Dropped(FragmentDrop { lost, .. }) => 1 + u64::from(lost),
                Gathered::Whole(datagram) => u64::from(datagram.fragments),
            };
            prop_assert_eq!(left + lab.defrag.held(), arrived);
        }
        let late = lab.now + Duration::from_secs(60);
        while let Some(expired) = lab.defrag.expire(late) {
            left += u64::from(expired.fragments);
        }
        prop_assert_eq!(left, arrived);
        prop_assert_eq!(lab.defrag.charged(family), 0);
        prop_assert_eq!(lab.defrag.next_deadline(), None);
    }
}

/// Random fragments, right and wrong, and what the kernel sent on: `record.py` made the file.
#[test]
fn recorded_from_the_kernel() {
    let hex = |words: &str| -> Vec<Vec<u8>> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        words.split_whitespace().map(|w| w.as_bytes().chunks(2).map(byte).collect()).collect()
    };
    // New identifications of IPv6 are random: they are not compared.
    let anonymous = |packet: &mut Vec<u8>| {
        let mut copy = packet.clone();
        let len = copy.len();
        let header = Packet::parse(&mut copy, len).ok().and_then(|p| p.fragment()).map_or(0, |f| f.header as usize);
        if header > 0 {
            packet[header + 4..header + 8].fill(0);
        }
    };
    let hop = |packet: &mut [u8]| {
        if packet[0] >> 4 == 6 {
            packet[7] -= 1;
            return;
        }
        packet[8] -= 1;
        packet[10..12].fill(0);
        let len = usize::from(packet[0] & 15) * 4;
        let sum = !checksum::sum(&packet[..len]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    };
    let mut defrag = Defrag::new(Settings::default());
    let mut count = 0;
    for line in include_str!("kernel.txt").lines().filter(|l| !l.starts_with('#')) {
        let (words, rest) = line.split_once('<').unwrap();
        let (sent, want) = rest.split_once('>').unwrap();
        let mut got: Vec<Vec<u8>> = vec![];
        let mut roomless = false;
        for mut bytes in hex(sent) {
            let len = bytes.len();
            let packet = Packet::parse(&mut bytes, len).unwrap();
            match defrag.gather(Time::from_secs(1000), &packet) {
                Gathered::AsIs { .. } => {
                    let mut bytes = packet.bytes().to_vec();
                    hop(&mut bytes);
                    got.push(bytes);
                }
                Gathered::Whole(mut whole) => {
                    look_at_tcp(&mut whole);
                    let Datagram { mut bytes, wire_len, fragmented, .. } = *whole;
                    hop(&mut bytes);
                    let fragmented = looked_at(&bytes, &fragmented);
                    // These were recorded on veth, where there is no room for headers that count as unfragmentable now:
                    // docs/differences.md.
                    roomless |= bytes[0] >> 4 == 6
                        && (matches!(bytes[6], 0 | 43 | 60)
                            || fragmented.pieces.iter().any(|p| p.header_len != fragmented.pieces[0].header_len));
                    refrag::cut(&bytes, wire_len, Some(&fragmented), 1500, || 7, |p, _| got.push(p.to_vec())).unwrap();
                }
                Gathered::Held { .. } | Gathered::Dropped(_) => {}
            }
        }
        let mut want = hex(want);
        got.iter_mut().chain(&mut want).for_each(anonymous);
        assert!(got == want || roomless, "{words}\n{got:?}\n{want:?}");
        count += want.len();
    }
    assert!(count > 200, "{count} packets");
}

/// What routing does to a TCP datagram on its way: the router is not here to do it.
fn look_at_tcp(datagram: &mut Datagram) {
    if datagram.bytes[0] >> 4 == 4 && datagram.bytes[9] == 6 {
        datagram.fragmented.pull(20);
    }
}
