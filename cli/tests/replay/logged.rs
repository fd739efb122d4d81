//! What `log` statements say, beside the kernel's ring buffer: the same lines for the same packets, but for `MAC=…`.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::LazyLock;

use regex::Regex;
use uct_tests::generate::{Area, Player, Scope};
use uct_tests::kernel::{self, Kernel};
use uct_tests::scenario::{Scenario, Setup, Step, export};

use crate::uct::Uct;

/// Whether the kernel logs what happens in network namespaces.
const ALL_NAMESPACES: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// Every kind of line, at every hook.
fn rules(tag: &str) -> String {
    format!(
        "table inet kept {{
	chain first {{ type filter hook prerouting priority 300; ct state invalid counter; log prefix \"{tag}pre \" level debug; }}
	chain mine {{ type filter hook input priority 0; log prefix \"{tag}in \" flags all; }}
	chain passing {{ type filter hook forward priority 0; log prefix \"{tag}fwd \" flags all; meta mark set 0x1f; log prefix \"{tag}tcp \" flags tcp sequence; }}
	chain own {{ type filter hook output priority 0; log prefix \"{tag}out \" flags ip options; }}
	chain last {{ type filter hook postrouting priority 0; log prefix \"{tag}post \" flags tcp options; }}
}}
"
    )
}

/// The kernel's ring buffer from now on.
struct Ring(File);

impl Ring {
    fn open() -> Ring {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open("/dev/kmsg")
            .expect("the ring buffer can be read");
        file.seek(SeekFrom::End(0)).expect("a place in it");
        Ring(file)
    }

    /// New lines that begin with `tag`.
    fn lines(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut record = vec![0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(n) => {
                    let text = String::from_utf8_lossy(&record[..n]);
                    let said = text.lines().next().and_then(|l| l.split_once(';')).map_or("", |(_, said)| said);
                    if said.starts_with(tag) {
                        lines.push(said.to_owned());
                    }
                }
                // Some were overwritten before they were read.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => panic!("the ring buffer was too small"),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return lines,
                Err(e) => panic!("the ring buffer: {e}"),
            }
        }
    }
}

/// What both can say: without the link layer, and without what is drawn for packets of the router's own.
fn comparable(line: &str) -> String {
    static LINK: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r" MAC=[0-9a-f:]* | MACSRC=[0-9a-f:]+ MACDST=[0-9a-f:]+ MACPROTO=[0-9a-f]+ ").expect("a pattern")
    });
    static DRAWN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"( TTL=\d+ ID| FLOWLBL)=\d+").expect("a pattern"));
    let line = LINK.replace(line, " ");
    let is_own = line.contains(" IN= ");
    // Only the outer header's: what is quoted is somebody else's.
    let line = if is_own { DRAWN.replace(&line, "$1=*") } else { line };
    line.trim_end().to_owned()
}

/// Neighbour discovery and group reports, which the kernel sends when it pleases.
fn is_link_talk(line: &str) -> bool {
    ["133", "134", "135", "136", "137", "143"].iter().any(|t| line.contains(&format!("PROTO=ICMPv6 TYPE={t} ")))
}

#[test]
fn the_lines_are_the_kernels() {
    if let Err(reason) = kernel::available() {
        kernel::skip_or_fail(&reason);
        return;
    }
    let before = fs::read_to_string(ALL_NAMESPACES).expect("a kernel that logs");
    fs::write(ALL_NAMESPACES, "1").expect("a setting that root may change");
    let seed = std::env::var("UCT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let wrong: Vec<String> = [Area::Tcp, Area::Udp, Area::Icmp, Area::Frag, Area::Sctp]
        .into_iter()
        .flat_map(|area| (seed..seed + 6).map(move |seed| (area, seed)))
        .filter_map(|(area, seed)| differs(area, seed))
        .collect();
    fs::write(ALL_NAMESPACES, before.trim()).expect("the setting goes back");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plays a random scenario in the kernel, replays it, and compares what is logged.
fn differs(area: Area, seed: u64) -> Option<String> {
    let tag = format!("L{}.{}{seed}.", std::process::id(), area.name());
    let mut player = Player::new(area, Scope::Path, seed);
    let topology = player.setup().topology.clone();
    let setup = Setup { rules: rules(&tag), topology, ..Setup::default() };
    let mut scenario = Scenario { name: tag.clone(), setup, steps: Vec::new() };
    let mut kernel = Kernel::new().expect("a kernel");
    kernel.begin(&scenario.setup).expect("the setup");
    let mut ring = Ring::open();
    let mut lines = Vec::new();
    while let Some(step) = player.next_step() {
        if matches!(step, Step::Frame { .. }) {
            player.notice(&kernel.step(&step).expect("a step"));
            lines.append(&mut ring.lines(&tag));
            scenario.steps.push(step);
        }
    }
    let kernel_lines: Vec<String> = lines.iter().filter(|l| !is_link_talk(l)).map(|l| comparable(l)).collect();
    assert!(!kernel_lines.is_empty(), "{area:?} {seed}: nothing is logged");

    let topology = toml::to_string(&scenario.setup.topology).expect("TOML");
    let capture = export::capture(&scenario).expect("a capture");
    let said = Uct::at_home(&format!("logged-{}-{seed}", area.name()))
        .file("in.pcapng", capture)
        .file("router.toml", topology.as_bytes())
        .file("rules.nft", scenario.setup.rules.as_bytes())
        .words("replay in.pcapng --topology router.toml --rules rules.nft --events")
        .run();
    assert_eq!(said.code, 0, "{}", said.stderr);
    let uct_lines: Vec<String> = said
        .text()
        .lines()
        .filter_map(|l| l.strip_prefix("    [LOG] "))
        .filter(|l| !is_link_talk(l))
        .map(comparable)
        .collect();
    let at = (0..kernel_lines.len().max(uct_lines.len())).find(|&i| kernel_lines.get(i) != uct_lines.get(i))?;
    let place = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "(no more)".to_owned());
    Some(format!(
        "{} seed {seed}, line {at}:\n kernel {}\n uct    {}",
        area.name(),
        place(&kernel_lines),
        place(&uct_lines)
    ))
}
