//! What if: two replays of one capture.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

fn diff(story: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_uct"))
        .current_dir(folder())
        .arg("diff")
        .arg(format!("{story}.pcapng"))
        .args(["--topology", &format!("{story}.toml"), "--rules", &format!("{story}.nft"), "--ports", "capture"])
        .args(more)
        .output()
        .expect("uct runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

#[test]
fn the_same_is_the_same() {
    let (code, text, _) = diff("half-closed", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("No difference in "), "{text}");
    let (code, ..) =
        diff("home-router", &["--a", "--sysctl nf_conntrack_max=9999", "--b", "--sysctl nf_conntrack_max=8888"]);
    assert_eq!(code, Some(0));
}

#[test]
fn a_setting_makes_a_difference() {
    let (code, text, _) = diff("mid-stream", &["--b", "--sysctl nf_conntrack_tcp_loose=0"]);
    assert_eq!(code, Some(1));
    for part in [
        "The two part at packet 1: TCP 192.168.1.10:40022",
        "  b: INVALID: not a SYN, and nf_conntrack_tcp_loose is 0.",
        "ct state          10       #1  new                       invalid (tcp-not-loose)",
        "Connections at the end: 0 differ, 1 only in a, 0 only in b",
    ] {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
}

/// openwrt PR 24873: the answers take another way, and the handshake's last ACK is invalid.
#[test]
fn only_one_direction() {
    let (code, text, _) = diff("home-router", &["--b", "--only-dir original"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("packets do not arrive)"), "{text}");
    assert!(
        text.contains("  b: INVALID: ACK in original direction is invalid in state SYN_SENT: no SYN/ACK was seen"),
        "{text}"
    );
    assert!(text.contains("b: SYN_SENT 118 s") || text.contains("[UNREPLIED]"), "{text}");
}

#[test]
fn lost_packets() {
    // The handshake's last ACK is made good by the next.
    let (code, text, _) = diff("same-port", &["--b", "--lose 3"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("(1 of 54 packets do not arrive)"), "{text}");
    let (code, text, _) = diff("same-port", &["--b", "--lose 2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("The two part at packet 3"), "{text}");
}

#[test]
fn other_rules_and_seeds() {
    let (code, text, _) = diff(
        "same-port",
        &["--b", "--rule 'oifname \"wan0\" tcp dport 80 snat ip to 203.0.113.1:5000-5999'", "--json"],
    );
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("(snat to 203.0.113.1:5000-5999) changes its source from 192.168.1.10:40000"), "{text}");
    let (code, text, _) = diff("same-port", &["--b", "--ports seed --seed 2", "--json"]);
    assert_eq!(code, Some(1));
    let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(object["version"], 1);
    assert_eq!(object["first"]["packet"], 8, "the first port that is drawn");
    let page = std::fs::read_to_string(folder().join("../docs/diff.md")).expect("the page");
    for key in object.as_object().expect("an object").keys() {
        assert!(page.contains(&format!("`{key}`")), "{key} is not in docs/diff.md");
    }
    for field in object["fields"].as_array().expect("a list") {
        assert!(page.contains(&format!("`{}`", field["field"].as_str().expect("text"))), "{field}");
    }
}

#[test]
fn what_is_asked_for_wrongly_is_named() {
    let wrong = |more: &[&str], words: &str| {
        let (code, _, said) = diff("same-port", more);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    };
    wrong(&["--b", "--seeds 3"], "--b: unexpected argument '--seeds'");
    wrong(&["--a", "--rule 'open"], "--a: a quotation that begins with ' has no end");
    wrong(&["--a", "--lose x"], "'--lose x' is no packet number");
    wrong(&["--a", "--sysctl nonsense=1"], "unknown sysctl 'nonsense'");
}
