//! The stories' golden files, and that all forms of one explanation agree.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

/// The stories of a folder: each has a capture and rules.
fn stories(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("the folder");
    let names = files.filter_map(|f| f.expect("an entry").file_name().into_string().ok());
    let is_story = |name: &String| folder.join(format!("{name}.pcapng")).exists();
    let mut stories: Vec<String> =
        names.filter_map(|n| n.strip_suffix(".nft").map(str::to_owned)).filter(is_story).collect();
    stories.sort();
    stories
}

/// Runs `uct explain` on a story, in its folder: the files are named as a reader there would name them.
fn explain(folder: &Path, story: &str, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
    command.current_dir(folder).arg("explain").arg(format!("{story}.pcapng"));
    command.arg("--topology").arg(format!("{story}.toml")).arg("--rules").arg(format!("{story}.nft"));
    let meta = folder.join(format!("{story}.meta.toml"));
    if let Ok(meta) = std::fs::read_to_string(meta) {
        let meta: toml::Table = meta.parse().expect("TOML");
        for (key, value) in meta["sysctl"].as_table().expect("sysctls") {
            command.arg("--sysctl").arg(format!("{key}={value}"));
        }
    }
    if let Ok(args) = std::fs::read_to_string(folder.join(format!("{story}.args"))) {
        command.args(args.lines());
    }
    let done = command.args(["--ports", "capture"]).args(more).output().expect("uct runs");
    assert!(done.status.success(), "{story}: {}", String::from_utf8_lossy(&done.stderr));
    assert!(done.stderr.is_empty(), "{story}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn every_story_is_explained_as_it_was() {
    let mut changed = Vec::new();
    let folders = [folder(), folder().join("pains")];
    for (folder, story) in folders.iter().flat_map(|f| stories(f).into_iter().map(move |s| (f, s))) {
        let text = explain(folder, &story, &[]);
        let path = folder.join(format!("{story}.explain"));
        if std::env::var_os("UCT_BLESS").is_some() {
            std::fs::write(&path, &text).expect("the folder can be written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some((at, (was, is))) = golden.lines().zip(text.lines()).enumerate().find(|(_, (a, b))| a != b) {
            changed.push(format!("{story}.explain:{}\n  was {was}\n  is  {is}", at + 1));
        } else if golden.lines().count() != text.lines().count() {
            changed.push(format!("{story}.explain has {} lines, now {}", golden.lines().count(), text.lines().count()));
        }
    }
    assert!(changed.is_empty(), "{}\nrun with UCT_BLESS=1 to write them anew", changed.join("\n"));
}

/// Answers reach their clients, and nothing leaks that did not leak in the kernel: the goldens are of the recorded ports.
#[test]
fn the_capture_s_own_ports_leave_no_answer_astray() {
    for story in ["same-port", "ipv6-masquerade"] {
        let brief = explain(&folder(), story, &["--brief"]);
        assert!(!brief.contains("INVALID"), "{brief}");
    }
}

#[test]
fn json_has_one_object_a_packet_and_says_the_same() {
    for story in stories(&folder()) {
        let text = explain(&folder(), &story, &[]);
        let headlines: Vec<&str> = text.lines().filter(|l| l.starts_with('#')).collect();
        let json = explain(&folder(), &story, &["--json"]);
        assert_eq!(json.lines().count(), headlines.len(), "{story}");
        for (line, headline) in json.lines().zip(headlines) {
            let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(object["version"], 1);
            let packet = object["packet"].as_u64().expect("a number");
            assert!(headline.starts_with(&format!("#{packet} ")), "{headline}");
            for sentence in object["words"].as_array().expect("a list") {
                assert!(text.contains(sentence.as_str().expect("text")), "{story}: {sentence}");
            }
        }
        let brief = explain(&folder(), &story, &["--brief"]);
        assert_eq!(brief.lines().count(), json.lines().count(), "{story}");
    }
}

#[test]
fn packets_are_chosen_by_number_and_by_connection() {
    let numbers = |more: &[&str]| -> Vec<u64> {
        let mut all = vec!["--json"];
        all.extend(more);
        let json = explain(&folder(), "home-router", &all);
        json.lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON")["packet"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(numbers(&["--packet", "3-5"]), [3, 4, 5]);
    assert_eq!(numbers(&["--packet", "2", "--packet", "60-"]), [2, 60, 61, 62, 63]);
    assert_eq!(numbers(&["--packet", "-2"]), [1, 2]);
    assert_eq!(numbers(&["--conn", "udp host 198.51.100.53"]), [1, 2, 21, 22]);
    assert_eq!(
        numbers(&["--conn", "tcp orig-src 192.168.1.12 reply-dport 42443", "--packet", "-40"]),
        [35, 36, 37, 38, 39, 40]
    );
    assert_eq!(numbers(&["--conn", "-p udp -d 198.51.100.53"]), numbers(&["--conn", "udp orig-dst 198.51.100.53"]));
    assert_eq!(numbers(&["--conn", "-p 17 --dst=198.51.100.53"]), [1, 2, 21, 22]);
    assert_eq!(
        numbers(&["--conn", "-p tcp --src 192.168.1.12 --reply-port-dst=42443 --src-nat", "--packet", "-40"]),
        numbers(&["--conn", "tcp orig-src 192.168.1.12 reply-dport 42443", "--packet", "-40"]),
    );
    assert_eq!(numbers(&["--conn", "-p tcp -g"]), numbers(&["--conn", "tcp dst-nat"]));
    assert_eq!(numbers(&["--conn", "invalid"]), [55, 59, 60]);
    assert_eq!(numbers(&["--conn", "#7"]), [51, 52]);
    assert_eq!(numbers(&["--conn", "dropped tcp dst 203.0.113.1"]), [58, 59, 60]);
}

#[test]
fn what_is_asked_for_wrongly_is_named() {
    let say = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_uct"))
            .current_dir(folder())
            .args(["explain", "home-router.pcapng"])
            .args(args)
            .output()
            .expect("uct runs");
        (done.status.code(), String::from_utf8_lossy(&done.stderr).lines().next().unwrap_or_default().to_owned())
    };
    let wrong = |args: &[&str], text: &str| assert_eq!(say(args), (Some(2), text.to_owned()));
    wrong(&["--packet", "0"], "uct: '--packet 0' is no packet number; N, N-M, N- or -M is expected, counted from 1");
    wrong(
        &["--packet", "9-3"],
        "uct: '--packet 9-3' is no packet number; N, N-M, N- or -M is expected, counted from 1",
    );
    wrong(&["--conn", "tcp dport"], "uct: --conn: 'dport' wants a port after it");
    wrong(&["--conn", "-p"], "uct: --conn: '-p' wants a protocol after it");
    wrong(&["--conn", "-p tpc"], "uct: --conn: 'tpc' is no protocol");
    wrong(&["--conn", "src here"], "uct: --conn: 'here' is no address and no prefix");
    wrong(&["--conn", "id x"], "uct: --conn: 'x' is no connection's number");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let plain = explain(&folder(), "home-router", &["--packet", "1"]);
    assert!(!plain.contains('\u{1b}'));
    let coloured = explain(&folder(), "home-router", &["--packet", "1", "--color", "always"]);
    assert!(coloured.contains("\u{1b}[32m203.0.113.1"), "what NAT made is green");
}

/// Every field that occurs in any story is in docs/explain-json.md.
#[test]
fn every_field_is_documented() {
    fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    found.insert(key.clone());
                    if key == "step" {
                        found.insert(value.as_str().unwrap_or_default().to_owned());
                    }
                    keys(value, found);
                }
            }
            serde_json::Value::Array(list) => list.iter().for_each(|v| keys(v, found)),
            _ => {}
        }
    }
    let mut found = std::collections::BTreeSet::new();
    for story in stories(&folder()) {
        for line in explain(&folder(), &story, &["--json"]).lines() {
            keys(&serde_json::from_str(line).expect("JSON"), &mut found);
        }
    }
    let page = std::fs::read_to_string(folder().join("../docs/explain-json.md")).expect("the page");
    let missing: Vec<_> = found.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "not in docs/explain-json.md: {missing:?}");
}
