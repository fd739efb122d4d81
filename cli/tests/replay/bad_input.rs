//! Bad input gets one line that says where, why, and what to do about it.

use std::io::Read as _;
use std::process::Stdio;

use crate::uct::{Uct, recorded};

const LIVE: usize = 8;

#[test]
fn a_text_instead_of_a_capture() {
    Uct::at_home("text").file("notes.txt", "hello world, this is a text").words("replay notes.txt").fails(
        1,
        "uct: notes.txt: not a capture: it looks like text, beginning with \"hello world, thi\"; \
         pcap and pcapng are read, also in gzip or zstd",
    );
}

#[test]
fn an_empty_file() {
    Uct::at_home("empty")
        .file("empty.pcap", "")
        .words("replay empty.pcap")
        .fails(1, "uct: empty.pcap: the file is empty");
}

#[test]
fn a_capture_cut_in_the_middle_of_a_packet() {
    let whole = recorded("home-router.pcapng");
    let uct = Uct::at_home("cut").file("cut.pcapng", &whole[..whole.len() - 60]);
    let said = uct.words("replay cut.pcapng --topology home-router.toml --rules home-router.nft").run();
    assert_eq!(said.code, 1);
    assert_eq!(said.text().lines().count(), LIVE, "what came before counts");
    assert!(said.stderr.starts_with("62 packets in\n"), "{}", said.stderr);
    assert_eq!(
        said.last(),
        "uct: cut.pcapng: at byte 17296 (packet 63): cut off: the block has 112 bytes, 52 are there"
    );
}

#[test]
fn a_compressed_capture_cut_off() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packer, &recorded("home-router.pcapng")).expect("memory");
    let packed = packer.finish().expect("memory");
    let uct = Uct::at_home("cut-gz").file("cut.pcapng.gz", &packed[..packed.len() / 2]);
    let said = uct.words("replay cut.pcapng.gz --topology home-router.toml").run();
    assert_eq!(said.code, 1);
    assert!(said.text().lines().count() > 2);
    assert!(said.last().ends_with("cut off: the compressed data ends in the middle"), "{}", said.last());
    assert!(said.last().starts_with("uct: cut.pcapng.gz: at unpacked byte "), "{}", said.last());
}

#[test]
fn an_unknown_link_type() {
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 147].map(u32::to_le_bytes).concat();
    Uct::at_home("link").file("usb.pcap", header).words("replay usb.pcap").fails(
        1,
        "uct: usb.pcap: link type 147 (USER0) is not supported; supported are Ethernet (1), RAW (101, 12, 14), \
         IPV4 (228), IPV6 (229), LINUX_SLL (113), LINUX_SLL2 (276), NULL (0) and LOOP (108)",
    );
}

#[test]
fn an_interface_that_the_topology_lacks() {
    let uct = Uct::at_home("lacks").edit("home-router.toml", "\"wan0\"", "\"wan1\"");
    let said = uct.home_router().run();
    assert_eq!(said.code, 1);
    assert!(said.stderr.starts_with("1 packet in\n"), "{}", said.stderr);
    assert_eq!(
        said.last(),
        "uct: home-router.pcapng: packet 2: its interface 'wan0' is not in home-router.toml, which has lan0, wan1: \
         add an [[interface]] named 'wan0', or rename one"
    );
}

#[test]
fn an_impossible_prefix() {
    let prefix = |to: &str| Uct::at_home("prefix").edit("home-router.toml", "192.168.1.1/24", to).home_router();
    let line = |why: &str| format!("uct: home-router.toml:3: {why}");
    prefix("192.168.1.1/33").fails(1, &line("192.168.1.1/33: prefix length is over 32, the length of an IPv4 address"));
    prefix("192.168.1.1")
        .fails(1, &line("192.168.1.1: the prefix length is missing; 192.168.1.1/32 would be this one address"));
    prefix("192.168.1.256/24").fails(1, &line("192.168.1.256/24: 192.168.1.256 is not an IP address"));
    prefix("fe80::1/129").fails(1, &line("fe80::1/129: prefix length is over 128, the length of an IPv6 address"));
}

#[test]
fn an_impossible_inside() {
    let said = Uct::at_home("inside").home_router().words("--vantage inside --inside 10.0.0.0/40").run();
    assert_eq!(said.code, 2);
    assert_eq!(
        said.stderr.lines().next(),
        Some(
            "error: invalid value '10.0.0.0/40' for '--inside <PREFIX>': \
             10.0.0.0/40: prefix length is over 32, the length of an IPv4 address"
        )
    );
}

#[test]
fn a_ruleset_with_a_typo() {
    let said = Uct::at_home("typo").edit("home-router.nft", "$wan masquerade", "$wan masqerade").home_router().run();
    assert_eq!(said.code, 1);
    let expected = "\
uct: home-router.nft:29:40: expected a statement, found 'masqerade'
    ╭─[ home-router.nft:29:40 ]
    │
 29 │        ip saddr 192.168.1.0/24 oifname $wan masqerade
    │                                             ────┬────
    │                                                 ╰────── here
────╯
";
    assert_eq!(said.stderr, expected);
}

#[test]
fn a_rule_with_a_typo() {
    let said = Uct::at_home("rule-typo").home_router().words("--rule").word("oifname wan0 masqerade").run();
    assert_eq!(said.code, 2);
    let expected = "\
uct: --rule 'oifname wan0 masqerade': expected a statement, found 'masqerade'
  oifname wan0 masqerade
               ^^^^^^^^^
";
    assert_eq!(said.stderr, expected);
    let said = Uct::at_home("rule-typo").home_router().words("--rule accept --rule").word("").run();
    let expected = "uct: --rule '': expected a rule, found the end of the line\n  \n  ^\n";
    assert_eq!((said.stderr.as_str(), said.code), (expected, 2));
}

#[test]
fn settings() {
    let sysctl = |setting: &str| Uct::at_home("sysctl").home_router().words("--sysctl").word(setting);
    sysctl("nf_conntrack_tcp_lose=1")
        .fails(2, "uct: --sysctl: unknown sysctl 'nf_conntrack_tcp_lose'; did you mean nf_conntrack_tcp_loose?");
    sysctl("net.ipv4.ip_forward=1").fails(
        2,
        "uct: --sysctl: unknown sysctl 'net.ipv4.ip_forward'; the settings are those of net.netfilter, \
         as nf_conntrack_udp_timeout=30",
    );
    sysctl("nf_conntrack_tcp_loose=2")
        .fails(2, "uct: --sysctl: sysctl nf_conntrack_tcp_loose: 2 is not between 0 and 1");
    sysctl("nf_conntrack_max=many").fails(2, "uct: --sysctl: sysctl nf_conntrack_max: 'many' is not a whole number");
    sysctl("nf_conntrack_max")
        .fails(2, "uct: --sysctl 'nf_conntrack_max' is not KEY=VALUE, as nf_conntrack_udp_timeout=30");
}

#[test]
fn files_that_are_not_there() {
    let uct = || Uct::at_home("missing");
    uct().words("replay x.pcap").fails(1, "uct: x.pcap: No such file or directory");
    uct().words("replay home-router.pcapng --topology x.toml").fails(1, "uct: x.toml: No such file or directory");
    uct()
        .words("replay home-router.pcapng --topology home-router.toml --rules x.nft")
        .fails(1, "uct: x.nft: No such file or directory");
    uct().words("replay .").fails(1, "uct: .: is a directory");
}

#[test]
fn outputs_that_cannot_be_written() {
    let uct = || Uct::at_home("unwritable").home_router();
    uct().words("--write .").fails(1, "uct: .: Is a directory");
    uct().words("--write no/where.pcapng").fails(1, "uct: no/where.pcapng: No such file or directory");
    if std::path::Path::new("/dev/full").exists() {
        uct().words("--write /dev/full").fails(1, "uct: /dev/full: No space left on device");
        for words in ["", "--events", "--stats", "--write -", "--print-topology"] {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
            let done = uct().words(words).command().stdout(full).output().expect("uct runs");
            let stderr = String::from_utf8(done.stderr).expect("text");
            assert_eq!(stderr, "uct: standard output: No space left on device\n", "{words}");
            assert_eq!(done.status.code(), Some(1), "{words}");
        }
    }
}

#[test]
fn a_message_that_cannot_be_said_is_no_reason_to_panic() {
    if std::path::Path::new("/dev/full").exists() {
        for (words, code) in [("", 0), ("--rules x.nft", 2), ("--write /dev/full", 1)] {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
            let done = Uct::at_home("mute").home_router().words(words).command().stderr(full).output();
            assert_eq!(done.expect("uct runs").status.code(), Some(code), "{words}");
        }
    }
}

#[test]
fn one_standard_input_for_one_file() {
    let uct = || Uct::at_home("stdin").stdin(recorded("home-router.pcapng"));
    uct()
        .words("replay - --rules -")
        .fails(2, "uct: IN and --rules are both '-': standard input can be read only once");
    uct()
        .words("replay - --topology -")
        .fails(2, "uct: IN and --topology are both '-': standard input can be read only once");
    let said = uct().words("replay - --topology home-router.toml --rules home-router.nft").run();
    assert_eq!((said.code, said.text().lines().count()), (0, LIVE));
    let said = uct()
        .stdin(recorded("home-router.toml"))
        .words("replay home-router.pcapng --topology - --rules home-router.nft")
        .run();
    assert_eq!((said.code, said.text().lines().count()), (0, LIVE));
    uct()
        .stdin("[[interface]]\n")
        .words("replay home-router.pcapng --topology -")
        .fails(1, "uct: standard input:1: missing field `name`");
}

#[test]
fn what_is_read_is_not_written_over() {
    let line = |name: &str, what: &str| format!("uct: --write {name} would write over {what}: choose another name");
    let uct = |name: &str| Uct::at_home("over").home_router().words("--write").word(name);
    uct("home-router.pcapng").fails(2, &line("home-router.pcapng", "IN"));
    uct("./home-router.toml").fails(2, &line("./home-router.toml", "--topology"));
    let linked = Uct::at_home("over-link").home_router();
    std::fs::hard_link(linked.folder().join("home-router.pcapng"), linked.folder().join("link.pcapng"))
        .expect("a link");
    linked.words("--write link.pcapng").fails(2, &line("link.pcapng", "IN"));
}

#[test]
fn formats_and_streams_that_do_not_go_together() {
    let uct = |words: &str| Uct::at_home("formats").home_router().words(words);
    uct("--output nonsense").fails(
        2,
        "uct: --output: no format 'nonsense'; there are extended, id, timestamp, ktimestamp, labels, xml, save, json",
    );
    uct("--output json,xml").fails(2, "uct: --output: cannot combine json output with xml output");
    uct("--output save,id")
        .fails(2, "uct: --output: cannot combine save output with any other output type, use -o save only");
    uct("--write - --list").fails(
        2,
        "uct: '--write -' sends packets to stdout; --list, --events, --stats and --print-topology want it too",
    );
}

#[test]
fn a_reader_who_has_seen_enough() {
    for words in ["", "--events", "--stats --list", "--write -", "--events --write out.pcapng"] {
        let uct = Uct::at_home("head").home_router().words(words);
        let mut child = uct.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("uct runs");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("stderr").read_to_string(&mut stderr).expect("text");
        assert_eq!(child.wait().expect("uct ends").code(), Some(0), "{words}: {stderr}");
        assert!(!stderr.contains("uct:"), "{words}: {stderr}");
        if words.contains("out.pcapng") {
            let written = std::fs::read(uct.folder().join("out.pcapng")).expect("what was emitted");
            let again = Uct::at_home("head-whole").home_router().words("--write out.pcapng");
            assert_eq!(again.run().code, 0);
            let whole = std::fs::read(again.folder().join("out.pcapng")).expect("what was emitted");
            assert!(written == whole, "it goes on for the file's sake");
        }
    }
}

#[test]
fn completions_for_a_reader_who_has_seen_enough() {
    for words in ["completions bash", "completions zsh", "completions fish"] {
        let uct = Uct::at_home("completions").words(words);
        let mut child = uct.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("uct runs");
        drop(child.stdout.take());
        let done = child.wait_with_output().expect("uct ends");
        assert_eq!((done.status.code(), done.stderr), (Some(0), vec![]), "{words}");
    }
}
