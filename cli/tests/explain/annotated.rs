//! Captures that explain themselves, as tshark reads them. Without tshark these tests say so and pass, unless
//! `UCT_REQUIRE_KERNEL=1` demands everything.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

/// Writes a story annotated.
fn annotated(command: &str, story: &str, more: &[&str]) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{story}-{command}.annotated.pcapng"));
    let done = Command::new(env!("CARGO_BIN_EXE_uct"))
        .current_dir(folder())
        .arg(command)
        .arg(format!("{story}.pcapng"))
        .args(["--topology", &format!("{story}.toml"), "--rules", &format!("{story}.nft"), "--ports", "capture"])
        .arg("--write")
        .arg(&out)
        .arg("--annotate")
        .args(more)
        .output()
        .expect("uct runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    out
}

/// What tshark says of these fields of the packets that pass the filter, one line a packet; `None` if there is no tshark.
fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    match command.output() {
        Ok(done) => {
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            Some(String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect())
        }
        Err(e) => {
            assert!(std::env::var_os("UCT_REQUIRE_KERNEL").is_none(), "tshark: {e}");
            eprintln!("skipped: tshark: {e}");
            None
        }
    }
}

#[test]
fn comments_say_why() {
    let file = annotated("replay", "home-router", &["--list"]);
    let fields = ["frame.packet_id", "frame.interface_name", "frame.verdict.ebpf_tc", "frame.comment"];
    let Some(invalid) = tshark(&file, "frame.comment contains \"INVALID\"", &fields) else { return };
    assert_eq!(invalid.len(), 3, "{invalid:#?}");
    assert!(invalid[0].starts_with("55|lan0|2|INVALID: FIN cannot open a connection."), "{}", invalid[0]);
    assert!(
        invalid[0].contains("info=invalid invalid=tcp-new verdict=drop reason=rule rule=home-router.nft:18"),
        "{}",
        invalid[0]
    );
    let dropped = tshark(&file, "frame.verdict.ebpf_tc == 2", &["frame.packet_id"]).unwrap_or_default();
    assert_eq!(dropped, ["53", "54", "55", "58", "59", "60"]);
}

#[test]
fn copies_of_a_packet_are_linked() {
    let file = annotated("explain", "same-port", &["--packet", "8-9", "--brief"]);
    let fields = ["frame.packet_id", "frame.packet_flags_direction", "frame.interface_name", "ip.src", "tcp.srcport"];
    let Some(lines) = tshark(&file, "frame", &fields) else { return };
    assert_eq!(
        lines,
        [
            "8|0x00000001|lan0|192.168.1.11|40000",
            "8|0x00000002|wan0|203.0.113.1|43982",
            "9|0x00000001|wan0|198.51.100.80|80",
            "9|0x00000002|lan0|198.51.100.80|80",
        ]
    );
    let clash =
        tshark(&file, "frame.comment contains \"clash=yes\" && frame.packet_flags_direction == 1", &["frame.comment"]);
    let clash = clash.unwrap_or_default();
    assert!(clash[0].contains("the first choice was taken: answers to it belong to connection #1"), "{clash:?}");
    let left = tshark(&file, "frame.number == 2", &["frame.comment"]).unwrap_or_default();
    assert!(left[0].starts_with(
        "Packet 8 as it left: source address 192.168.1.11 → 203.0.113.1, source port 40000 → 43982, TTL 64 → 63."
    ));
}

#[test]
fn answers_are_no_copies() {
    let file = annotated("replay", "traceroute", &["--list"]);
    let Some(answers) = tshark(&file, "frame.comment contains \"answer=yes\"", &["frame.packet_id", "frame.comment"])
    else {
        return;
    };
    assert!(answers[0].starts_with("|The router's answer to packet 1."), "{answers:?}");
}

/// What left is marked as outgoing, so a replay of the annotated capture leaves it out and comes to the same table.
#[test]
fn an_annotated_capture_replays_to_the_same() {
    for story in ["home-router", "redirect-proxy", "fragments"] {
        let list = |capture: &Path| {
            let done = Command::new(env!("CARGO_BIN_EXE_uct"))
                .current_dir(folder())
                .arg("replay")
                .arg(capture)
                .args(["--topology", &format!("{story}.toml"), "--rules", &format!("{story}.nft"), "--list"])
                .output()
                .expect("uct runs");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8_lossy(&done.stdout).into_owned()
        };
        let file = annotated("replay", story, &["--stats"]);
        assert_eq!(list(&file), list(Path::new(&format!("{story}.pcapng"))), "{story}");
    }
}

/// The colouring rules' filters are filters, and each colours something.
#[test]
fn the_colouring_rules_are_understood() {
    let rules = std::fs::read_to_string(folder().join("../docs/uct.colorfilters")).expect("the rules");
    let files: Vec<PathBuf> =
        ["home-router", "same-port", "traceroute"].map(|s| annotated("replay", s, &["--events"])).into();
    for line in rules.lines().filter(|l| l.starts_with('@')) {
        let filter = line.split('@').nth(2).expect("a filter");
        let mut hits = 0;
        for file in &files {
            let Some(lines) = tshark(file, filter, &["frame.number"]) else { return };
            hits += lines.len();
        }
        assert!(hits > 0, "{filter}");
    }
}

#[test]
fn explain_writes_annotated_captures_only() {
    let done = Command::new(env!("CARGO_BIN_EXE_uct"))
        .current_dir(folder())
        .args(["explain", "home-router.pcapng", "--write", "-"])
        .output()
        .expect("uct runs");
    assert_eq!(done.status.code(), Some(2));
}
