//! The same input with the same seed gives the same bytes, whatever else the machine does; another seed draws other ports.

use crate::uct::{Said, Uct, pcaps, recorded};

/// Everything that a story is told by: what is printed and what is written, without the time it took.
fn told(story: &str, seed: u64, run: u32) -> (Said, Vec<u8>) {
    let mut uct = Uct::at_home(&format!("again-{story}-{seed}-{run}"));
    for extension in ["pcapng", "toml", "nft"] {
        let name = format!("{story}.{extension}");
        uct = uct.file(&name, recorded(&name));
    }
    let uct = uct
        .words(&format!("replay {story}.pcapng --topology {story}.toml --rules {story}.nft --seed {seed}"))
        .words("--write out.pcapng --events --list --output timestamp,id,json --sysctl nf_conntrack_acct=1");
    let mut said = uct.run();
    assert_eq!(said.code, 0, "{story}: {}", said.stderr);
    let without_time = said.stderr.lines().filter(|line| !line.contains("packets per second"));
    said.stderr = without_time.collect::<Vec<_>>().join("\n");
    let written = std::fs::read(uct.folder().join("out.pcapng")).expect("what was emitted");
    (said, written)
}

#[test]
fn the_same_bytes_each_time() {
    let files = std::fs::read_dir(pcaps()).expect("pcaps/");
    let names = files.filter_map(|file| file.expect("a file").file_name().into_string().ok());
    let stories: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".nft")?.to_owned())).collect();
    assert!(stories.len() > 10);
    for story in stories {
        assert!(told(&story, 0, 1) == told(&story, 0, 2), "{story}");
    }
}

#[test]
fn another_seed_draws_other_ports_and_changes_nothing_else() {
    let ((one, first), (other, second)) = (told("same-port", 1, 1), told("same-port", 2, 1));
    assert_ne!(one.text(), other.text());
    assert_ne!(first, second);
    assert_eq!(first.len(), second.len());
    assert_eq!(one.stderr, other.stderr, "what became of the packets");
    let plain = |said: &Said| -> Vec<serde_json::Value> {
        let line = |line: &str| {
            let mut entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let fields = entry.as_object_mut().expect("an object");
            fields.remove("reply_dport");
            fields.remove("reply_id");
            entry
        };
        said.text().lines().map(line).collect()
    };
    assert_eq!(plain(&one), plain(&other));
}
