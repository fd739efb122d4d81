//! Time travel: `--at`, `uct who`, `uct history`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

/// Runs a command on a story: exit code, stdout, stderr.
fn run(command: &[&str], story: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_uct"))
        .current_dir(folder())
        .args(command)
        .arg(format!("{story}.pcapng"))
        .args(["--topology", &format!("{story}.toml"), "--rules", &format!("{story}.nft"), "--ports", "capture"])
        .args(more)
        .output()
        .expect("uct runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

fn list(story: &str, at: &str) -> Vec<String> {
    let (code, text, said) = run(&["replay"], story, &["--list", "--at", at]);
    assert_eq!(code, Some(0), "{said}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_table_as_it_stood() {
    assert_eq!(list("same-port", "7").len(), 1);
    assert_eq!(list("same-port", "8").len(), 2);
    assert!(list("same-port", "8")[1].starts_with("tcp      6 120 SYN_SENT src=192.168.1.11"));
    // Packet 8 came after 0.5217 ms.
    assert_eq!(list("same-port", "+0.0005").len(), 1);
    assert_eq!(list("same-port", "+0.0006").len(), 2);
    assert_eq!(list("same-port", "@1795416351.468580371").len(), 2);
    assert_eq!(list("same-port", "2026-11-23T06:45:51.468580370Z").len(), 1);
    // After the last packet: UDP and ping have run out, TCP has not.
    assert_eq!(list("same-port", "+40").len(), 6);
    assert!(list("same-port", "+432001").is_empty());
}

#[test]
fn what_time_alone_does_is_an_event() {
    let (_, text, _) = run(&["replay"], "udp-stream", &["--events", "--at", "+200"]);
    let gone = text.lines().filter(|l| l.contains("[DESTROY]")).count();
    let made = text.lines().filter(|l| l.contains("[NEW]")).count();
    assert_eq!(gone, made, "{text}");
}

#[test]
fn explain_shows_the_packet_and_the_table() {
    let (code, text, _) = run(&["explain"], "same-port", &["--at", "9"]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("#9 +0.000538 wan0"), "{text}");
    for line in [
        "the table has 2 connections",
        "  #2 tcp SYN_RECV, 60 s to live, opened by packet 8",
        "    reply    198.51.100.80:80 → 203.0.113.1:43982",
        "    source by same-port.nft:7 oifname \"wan0\" masquerade",
    ] {
        assert!(text.contains(line), "{text}\nlacks {line}");
    }
    let (_, json, _) = run(&["explain"], "same-port", &["--at", "9", "--json", "--conn", "#2"]);
    let table: serde_json::Value = serde_json::from_str(json.lines().last().expect("a line")).expect("JSON");
    assert_eq!(table["table"][0]["id"], 2);
    assert_eq!(table["table"][0]["source_by"]["packet"], 8);
    assert_eq!(table["table"].as_array().map(Vec::len), Some(1));
}

#[test]
fn who_was_behind_an_address() {
    let (code, text, _) = run(&["who", "203.0.113.1:43982"], "same-port", &["--at", "12"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        text,
        "203.0.113.1:43982 was 192.168.1.11:40000 (tcp), talking with 198.51.100.80:80\n  connection #2, from packet 8, \
         +0.000522 (2026-11-23T06:45:51.468580Z)\n  still in the table, ESTABLISHED\n"
    );
    let (code, text, said) = run(&["who", "203.0.113.1:54582"], "same-port", &["--at", "+40"]);
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert_eq!(said, "uct: nobody was behind 203.0.113.1:54582 then; 192.168.1.11 id 77 was, until +30.008977\n");
    // One port, two clients, for their servers differ.
    let (_, text, _) = run(&["who", "203.0.113.1:40001"], "same-port", &["--json"]);
    let hosts: Vec<String> = text
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON")["host"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(hosts, ["192.168.1.10:40001", "192.168.1.11:40001"]);
    // The other way round: which server answered for an address.
    let (_, text, _) = run(&["who", "203.0.113.1:2222"], "port-forward", &[]);
    assert!(text.starts_with("203.0.113.1:2222 was answered by 192.168.1.20:22 (tcp)"), "{text}");
    let (code, _, said) = run(&["who", "nobody"], "same-port", &[]);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("uct: 'nobody' is no address"), "{said}");
}

#[test]
fn the_life_of_a_connection() {
    let (code, text, _) = run(&["history"], "half-closed", &["--conn", "#1", "--at", "+200"]);
    assert_eq!(code, Some(0));
    let whats: Vec<&str> = text.lines().skip(1).filter_map(|l| l.get(27..)).collect();
    assert_eq!(whats[0], "opened by TCP SYN");
    assert_eq!(whats[1], "NONE → SYN_SENT: a SYN opens a connection");
    assert!(whats[2].starts_with("The rule at half-closed.nft:7 (masquerade) changes its source"));
    assert_eq!(
        whats[3..],
        [
            "SYN_SENT → SYN_RECV: the SYN is answered",
            "SEEN_REPLY",
            "SYN_RECV → ESTABLISHED: the handshake is complete",
            "ASSURED",
            "4 packets (4 to 7) changed nothing but the timeout",
            "ESTABLISHED → FIN_WAIT: the first FIN",
            "FIN_WAIT → LAST_ACK: the second FIN, or the first again",
            "LAST_ACK → TIME_WAIT: the last FIN is acknowledged",
            "gone: its timeout ran out",
        ]
    );
    // Every life of every story: what begins also ends, or is still there, or never was.
    for story in ["home-router", "syn-again", "fragments", "traceroute", "redirect-proxy"] {
        let (_, text, _) = run(&["history"], story, &[]);
        for life in text.split("\n\n").filter(|l| !l.trim().is_empty()) {
            let last = life.lines().last().expect("a line");
            let is_end = ["gone: ", "still there", "never in the table"].iter().any(|end| last.contains(end));
            assert!(is_end, "{story}: {life}");
        }
    }
}

#[test]
fn a_moment_that_is_none() {
    let (code, _, said) = run(&["replay"], "same-port", &["--at", "yesterday"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("'yesterday' is no moment"), "{said}");
}
