//! Bad input, as a table: each row a file that is wrong in one way, and the one line that says so.
//!
//! Of a capture that is wrong in the middle, what came before counts; the line then stands last.

use crate::uct::{Uct, recorded};

/// A frame that a router takes: UDP from 192.168.1.10 to 198.51.100.53.
const FRAME: &[u8] = b"\x02\0\0\0\x01\x01\x02\0\0\0\x01\x10\x08\0\
    \x45\0\0\x1c\0\x01\0\0\x40\x11\x89\xfe\xc0\xa8\x01\x0a\xc6\x33\x64\x35\x04\xd2\0\x35\0\x08\0\0";
/// How long its pcapng block is, and its record in a classic pcap.
const BLOCK: usize = 12 + 20 + 44;
const RECORD: usize = 16 + 42;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().copied().flat_map(u32::to_le_bytes).collect()
}

/// A classic pcap of version 2.4 with these records behind its header.
fn pcap(link: u32, records: &[Vec<u8>]) -> Vec<u8> {
    [words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 0, link]), records.concat()].concat()
}

fn record(captured: u32) -> Vec<u8> {
    [&words(&[1_700_000_000, 0, captured, 42]), FRAME].concat()
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = body.len() as u32 + 12;
    [&words(&[kind, len]), body, &words(&[len])].concat()
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]))
}

/// An interface named lan0.
fn interface(link: u32) -> Vec<u8> {
    block(1, &[words(&[link, 0, 0x0004_0002]), b"lan0".to_vec(), words(&[0])].concat())
}

fn packet(iface: u32, captured: u32) -> Vec<u8> {
    block(6, &[&words(&[iface, 0, 1, captured, 42]), FRAME, &[0; 2]].concat())
}

/// A pcapng with one good packet, and then this.
fn pcapng(then: &[u8]) -> Vec<u8> {
    [&section(), &interface(1), &packet(0, 42), then].concat()
}

#[test]
fn captures() {
    const BEGIN: usize = 28 + 32;
    let second = BEGIN + BLOCK;
    // The file; how many packets count; what is said.
    let rows: Vec<(Vec<u8>, Option<u64>, String)> = vec![
        (
            vec![0; 64],
            None,
            "not a capture: it begins with the bytes 00 00 00 00; pcap and pcapng are read, also in gzip or zstd"
                .into(),
        ),
        (
            b"\xd4".to_vec(),
            None,
            "not a capture: it begins with the bytes d4; pcap and pcapng are read, also in gzip or zstd".into(),
        ),
        (
            b"\xfd7zXZ\0\0".to_vec(),
            None,
            "not a capture: it is compressed with xz; pcap and pcapng are read, also in gzip or zstd".into(),
        ),
        (
            pcap(1, &[])[..23].to_vec(),
            None,
            "at byte 0 (packet 1): cut off: the file header has 24 bytes, 23 are there".into(),
        ),
        (words(&[0xa1b2_c3d4, 0x0004_0001, 0, 0, 0, 1]), None, "pcap version 1.4 is not known".into()),
        (
            pcap(1, &[record(42), vec![1, 2, 3]]),
            Some(1),
            format!("at byte {} (packet 2): cut off: the packet's header has 16 bytes, 3 are there", 24 + RECORD),
        ),
        (
            pcap(1, &[record(42), record(42)[..50].to_vec()]),
            Some(1),
            format!("at byte {} (packet 2): cut off: the packet has 42 bytes, 34 are there", 24 + RECORD),
        ),
        (
            pcap(1, &[record(42), record(u32::MAX)]),
            Some(1),
            format!(
                "at byte {} (packet 2): the packet says it has 4294967295 bytes, more than the 1048576 that are \
                 accepted: damaged?",
                24 + RECORD
            ),
        ),
        (section()[..20].to_vec(), None, "at byte 0 (packet 1): cut off: the block has 28 bytes, 20 are there".into()),
        (
            block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d])),
            None,
            "at byte 0 (packet 1): damaged: section header of 16 bytes".into(),
        ),
        (
            block(0x0a0d_0d0a, &words(&[0xdead_beef, 1, 0, 0])),
            None,
            "at byte 0 (packet 1): damaged: section header with byte-order magic [ef, be, ad, de]".into(),
        ),
        (
            block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 2, 0, 0])),
            None,
            "at byte 0 (packet 1): pcapng version 2.0 is not known".into(),
        ),
        (
            [section(), packet(0, 42)].concat(),
            Some(0),
            "at byte 28 (packet 1): the packet is of interface 0, but the section describes only 0".into(),
        ),
        (
            [section(), block(1, &[1, 0, 0, 0])].concat(),
            Some(0),
            "at byte 28 (packet 1): damaged: interface description of 16 bytes".into(),
        ),
        (
            [section(), words(&[1, 0x7fff_fffc])].concat(),
            Some(0),
            "at byte 28 (packet 1): cut off: the block's header has 12 bytes, 8 are there".into(),
        ),
        (
            pcapng(&words(&[1, 0x7fff_fffc, 0])),
            Some(1),
            format!(
                "at byte {second} (packet 2): the block says it has 2147483644 bytes, more than the 16777216 that are \
                 accepted: damaged?"
            ),
        ),
        (
            pcapng(&words(&[0x99, 0xffff_fffc, 0])),
            Some(1),
            format!("at byte {} (packet 2): cut off: the block has 4294967292 bytes, 12 are there", second + 12),
        ),
        (
            pcapng(&words(&[6, 0, 0])),
            Some(1),
            format!("at byte {second} (packet 2): damaged: block of type 6 with a length of 0 bytes"),
        ),
        (
            pcapng(&words(&[6, 33, 0])),
            Some(1),
            format!("at byte {second} (packet 2): damaged: block of type 6 with a length of 33 bytes"),
        ),
        (
            pcapng(&words(&[6, 16, 0, 20])),
            Some(1),
            format!("at byte {second} (packet 2): damaged: the block's two lengths differ; the first is 16"),
        ),
        (
            pcapng(&block(6, &words(&[0, 0]))),
            Some(1),
            format!("at byte {second} (packet 2): damaged: packet block of 20 bytes"),
        ),
        (
            pcapng(&packet(7, 42)),
            Some(1),
            format!("at byte {second} (packet 2): the packet is of interface 7, but the section describes only 1"),
        ),
        (
            pcapng(&packet(0, 4000)),
            Some(1),
            format!("at byte {second} (packet 2): damaged: a packet of 4000 bytes in a block that has room for 44"),
        ),
        (
            pcapng(&packet(0, u32::MAX)),
            Some(1),
            format!(
                "at byte {second} (packet 2): the packet says it has 4294967295 bytes, more than the 1048576 that are \
                 accepted: damaged?"
            ),
        ),
        (
            pcapng(&packet(0, 42)[..BLOCK - 1]),
            Some(1),
            format!("at byte {second} (packet 2): cut off: the block has {BLOCK} bytes, {} are there", BLOCK - 1),
        ),
        (
            b"\x1f\x8b\x08\0".to_vec(),
            None,
            "at unpacked byte 0 (packet 1): cut off: the compressed data ends in the middle".into(),
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03garbage garbage".to_vec(),
            None,
            "at unpacked byte 0 (packet 1): corrupt deflate stream".into(),
        ),
        (
            b"\x28\xb5\x2f\xfd\xff\xff".to_vec(),
            None,
            "at unpacked byte 0 (packet 1): cut off: the compressed data ends in the middle".into(),
        ),
    ];
    for (bytes, packets, why) in rows {
        let uct = Uct::at_home("table-captures").file("bad", bytes).words("replay bad --topology home-router.toml");
        let line = format!("uct: bad: {why}");
        match packets {
            None => uct.fails(1, &line),
            Some(packets) => {
                let said = uct.run();
                let plural = if packets == 1 { "" } else { "s" };
                assert_eq!((said.last(), said.code), (line.as_str(), 1));
                // Classic pcap names no interface; what is counted is what was read.
                assert!(said.stderr.starts_with(&format!("{packets} packet{plural} in\n")), "{line}: {}", said.stderr);
            }
        }
    }
}

#[test]
fn captures_that_are_not_wrong() {
    // No snap length; a length on the wire that is nought; no packet at all; an empty packet.
    for (bytes, packets) in [
        (pcap(1, &[record(42)]), "1 packet in"),
        (pcap(1, &[[&words(&[0, 0, 42, 0]), FRAME].concat()]), "1 packet in"),
        (pcap(1, &[]), "0 packets in"),
        (section(), "0 packets in"),
        (pcap(1, &[words(&[0, 0, 0, 0])]), "1 packet in"),
    ] {
        let said =
            Uct::at_home("table-good").file("good", bytes).words("replay good --topology home-router.toml").run();
        assert_eq!((said.stderr.lines().next(), said.code), (Some(packets), 0));
    }
}

#[test]
fn interfaces_that_are_not_there() {
    for (topology, known) in
        [("", "none"), ("[[interface]]\nname = \"lan1\"\naddresses = [\"192.168.1.1/24\"]\n", "lan1")]
    {
        let uct = Uct::at_home("table-interfaces").file("bad.toml", topology).file("one.pcapng", pcapng(&[]));
        let said = uct.words("replay one.pcapng --topology bad.toml").run();
        let line = format!(
            "uct: one.pcapng: packet 1: its interface 'lan0' is not in bad.toml, which has {known}: \
             add an [[interface]] named 'lan0', or rename one"
        );
        assert_eq!((said.last(), said.code), (line.as_str(), 1));
    }
}

#[test]
fn topologies() {
    let home = String::from_utf8(recorded("home-router.toml")).expect("text");
    let below = home.lines().count() + 1;
    let lan = "[[interface]]\nname = \"lan0\"\n";
    // Text behind the home router's own, or instead of it; the line; what is said.
    let rows: &[(bool, &str, usize, &str)] = &[
        (true, "[[interface]]\nname = \"lan0\"\naddresses = []\n", 1, "second interface lan0"),
        (true, "[[interfaces]]\n", 0, "unknown field `interfaces`, expected one of `interface`, `route`, `neighbor`"),
        (
            true,
            "[[route]]\nto = \"10.0.0.0/8\"\nvia = \"9.9.9.9\"\ndev = \"wan0\"\n",
            2,
            "via 9.9.9.9: not reachable on wan0: no prefix there holds it",
        ),
        (
            true,
            "[[route]]\nto = \"10.0.0.0/8\"\nvia = \"fe80::1\"\ndev = \"wan0\"\n",
            2,
            "10.0.0.0/8 via fe80::1: two different IP versions",
        ),
        (
            true,
            "[[route]]\nto = \"10.0.0.0/8\"\ndev = \"dsl0\"\n",
            2,
            "there is no interface dsl0; there is: lan0, wan0",
        ),
        (
            true,
            "[[route]]\nto = \"10.0.0.1/8\"\ndev = \"wan0\"\n",
            1,
            "10.0.0.1/8 has bits set beyond its prefix; 10.0.0.0/8 is meant?",
        ),
        (
            true,
            "[[route]]\nto = \"10.0.0.0/8\"\ndev = \"wan0\"\n[[route]]\nto = \"10.0.0.0/8\"\ndev = \"lan0\"\n",
            4,
            "second route to 10.0.0.0/8",
        ),
        (
            true,
            "[[neighbor]]\naddress = \"10.0.0.1\"\nmac = \"02:00:00:00:00\"\n",
            2,
            "02:00:00:00:00: not an Ethernet address: six hexadecimal bytes with colons are expected, as in 02:00:00:00:00:01",
        ),
        (
            true,
            "[[neighbor]]\naddress = \"10.0.0.1\"\nmac = \"02:00:00:00:00:01\"\ndev = \"dsl0\"\n",
            3,
            "there is no interface dsl0; there is: lan0, wan0",
        ),
        (
            false,
            "[[interface]]\nnam = \"lan0\"\n",
            2,
            "unknown field `nam`, expected one of `name`, `addresses`, `mac`, `mtu`",
        ),
        (false, "[[interface]\nname = \"lan0\"\n", 1, "unclosed array table, expected `]`"),
        (
            false,
            "[[interface]]\nname = \"local\"\n",
            2,
            "the name local stands for the router's own stack and cannot be an interface",
        ),
        (false, "[[interface]]\nname = \"\"\n", 2, "interface name \"\" has 0 bytes: 1 to 255 are allowed"),
        (false, &format!("{lan}addresses = [\"192.168.1.1/24\"]\nmtu = 0\n"), 4, "mtu 0: 68 to 65536 are allowed"),
        (
            false,
            &format!("{lan}addresses = [\"192.168.1.1/24\"]\nmtu = 99999999999\n"),
            4,
            "mtu 99999999999: 68 to 65536 are allowed",
        ),
        (
            false,
            &format!("{lan}addresses = [\"192.168.1.1/24\"]\nmtu = \"big\"\n"),
            4,
            "invalid type: string \"big\", expected a whole number",
        ),
        (
            false,
            &format!("{lan}addresses = [\"192.168.1.1/24\", \"192.168.1.1/24\"]\n"),
            3,
            "second address 192.168.1.1 of lan0",
        ),
        (
            false,
            &format!("{lan}addresses = [\"224.0.0.1/24\"]\n"),
            3,
            "224.0.0.1/24: 224.0.0.1 is a multicast address, no host can have it",
        ),
        (
            false,
            &format!("{lan}addresses = [\"0.0.0.0/0\"]\n"),
            3,
            "0.0.0.0/0: 0.0.0.0 is the unspecified address, no host can have it",
        ),
    ];
    for (is_behind, text, line, why) in rows {
        let text = if *is_behind { format!("{home}\n{text}") } else { (*text).to_owned() };
        let line = if *is_behind { below + 1 + line } else { *line };
        Uct::at_home("table-topologies")
            .file("bad.toml", text)
            .words("replay home-router.pcapng --topology bad.toml")
            .fails(1, &format!("uct: bad.toml:{line}: {why}"));
    }
    Uct::at_home("table-topologies")
        .file("bad.toml", b"[[interface]]\nname = \"\xff\"\n")
        .words("replay home-router.pcapng --topology bad.toml")
        .fails(1, "uct: bad.toml:2: the byte 0xff is not UTF-8 text");
}

#[test]
fn rulesets() {
    const CHAIN: &str = "type filter hook forward priority 0;";
    let forward = |rule: &str| format!("table ip t {{\n\tchain c {{\n\t\t{CHAIN}\n\t\t{rule}\n\t}}\n}}\n");
    // The ruleset; the line and column; what is said; the line with the caret; the caret's columns.
    let rows: Vec<(String, &str, &str, &str, usize)> = vec![
        (forward("tcp dport 80 accpt"), "4:16", "expected a statement, found 'accpt'", "tcp dport 80 accpt", 5),
        (forward("queue"), "4:3", "nft statement 'queue' is not supported", "queue", 5),
        (forward("tcp dport 99999 accept"), "4:13", "99999 is too large for inet_service: at most 65535", "99999", 5),
        (forward("ip saddr $lan accept"), "4:12", "variable 'lan' is not defined", "$lan", 4),
        (forward("jump nowhere"), "4:8", "there is no chain 'nowhere' in table 'ip t'", "jump nowhere", 7),
        (forward("ip saddr \u{1} accept"), "4:12", "unexpected character '\\u{1}'", "ip saddr ? accept", 1),
        (forward("ip saddr ä accept"), "4:12", "unexpected character 'ä'", "ip saddr ä accept", 1),
        ("table ip t {\n".into(), "2:1", "expected '}', found the end of the file", "table ip t {", 1),
        (
            "table ip t {\n\tchain c { type nat hook forward priority 0; }\n}\n".into(),
            "2:26",
            "a chain of type nat cannot be at hook 'forward'",
            "type nat hook forward",
            7,
        ),
        (
            "table ip t {\n\tchain a { jump b; }\n\tchain b { jump a; }\n\tchain c { type filter hook input priority 0; jump a; }\n}\n"
                .into(),
            "3:12",
            "these jumps never end: chain 'a' leads back to itself",
            "chain b { jump a; }",
            6,
        ),
        ("include \"nowhere.nft\"\n".into(), "1:9", "file 'nowhere.nft' is not found", "include", 13),
        (
            format!(
                "table ip t {{ chain c {{ {CHAIN} ip saddr {{ {}nonsense }} accept\n}}\n}}\n",
                "10.0.0.1, ".repeat(500)
            ),
            "1:5072",
            "",
            "…",
            8,
        ),
    ];
    for (text, place, why, shown, carets) in rows {
        let uct = Uct::at_home("table-rules").file("bad.nft", &text);
        let said = uct.words("replay home-router.pcapng --topology home-router.toml --rules bad.nft").run();
        let first = said.stderr.lines().next().unwrap_or("");
        assert!(first.starts_with(&format!("uct: bad.nft:{place}: {why}")), "{}", said.stderr);
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(
            said.stderr.lines().nth(1).is_some_and(|l| l.contains(&format!("[ bad.nft:{place} ]"))),
            "{}",
            said.stderr
        );
        assert!(said.stderr.lines().any(|line| line.contains(shown)), "{}", said.stderr);
        assert!(said.stderr.lines().all(|line| line.chars().count() < 250), "{}", said.stderr);
        let drawn: usize = said.stderr.lines().map(|line| line.matches(['─', '┬']).count()).max().unwrap_or(0);
        assert!(said.stderr.contains('┬') && drawn >= carets, "{}", said.stderr);
    }
    Uct::at_home("table-rules")
        .file("bad.nft", b"table ip t {\n# \xe4\n}\n")
        .words("replay home-router.pcapng --topology home-router.toml --rules bad.nft")
        .fails(1, "uct: bad.nft:2: the byte 0xe4 is not UTF-8 text");
}

#[test]
fn words_of_the_command_line() {
    for (words, line) in [
        (
            "--sysctl nf_conntrack_count=1",
            "uct: --sysctl: unknown sysctl 'nf_conntrack_count'; the settings are those of net.netfilter, as nf_conntrack_udp_timeout=30",
        ),
        (
            "--sysctl =1",
            "uct: --sysctl: unknown sysctl ''; the settings are those of net.netfilter, as nf_conntrack_udp_timeout=30",
        ),
        (
            "--sysctl nf_conntrack_udp_timeout=-1",
            "uct: --sysctl: sysctl nf_conntrack_udp_timeout: '-1' is not a whole number",
        ),
        (
            "--sysctl nf_conntrack_udp_timeout=99999999999999999999",
            "uct: --sysctl: sysctl nf_conntrack_udp_timeout: '99999999999999999999' is not a whole number",
        ),
        (
            "--sysctl nf_conntrack_udp_timeout=4294967296",
            "uct: --sysctl: sysctl nf_conntrack_udp_timeout: 4294967296 is not between 0 and 2147483647",
        ),
        ("--seed x", "error: invalid value 'x' for '--seed <N>': invalid digit found in string"),
        ("--vantage outside", "error: invalid value 'outside' for '--vantage <VANTAGE>'"),
        ("--frobnicate", "error: unexpected argument '--frobnicate' found"),
    ] {
        let said = Uct::at_home("table-words").home_router().words(words).run();
        assert_eq!((said.stderr.lines().next(), said.code), (Some(line), 2), "{words}");
        assert!(said.stdout.is_empty());
    }
}

/// A name that is no text, which Linux permits.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let uct = Uct::at_home("table-names");
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe.pcap");
    std::fs::write(uct.folder().join(name), "hi there").expect("the scratch folder can be written");
    let done = uct.words("replay").command().arg(name).output().expect("uct runs");
    let said = String::from_utf8(done.stderr).expect("text, whatever the name is");
    assert!(said.starts_with("uct: \u{fffd}\u{fffd}.pcap: not a capture: it looks like text"), "{said}");
    assert_eq!((said.lines().count(), done.status.code()), (1, Some(1)));
}
