//! What a router is made of, read all at once: surroundings, rules, settings.
//!
//! | from | what | read again by a reload |
//! |---|---|---|
//! | `--topology FILE` | interfaces, routes, neighbours | yes |
//! | `--rules FILE`, `--rule RULE` | the ruleset, with all that it includes | yes |
//! | `--sysctl-file FILE` | settings, one `KEY = VALUE` a line, as sysctl.conf has them | yes |
//! | `--sysctl KEY=VALUE` | settings, which go before the file's | they do not change |
//!
//! All or nothing: whatever is wrong with any of them, nothing is put in force.
//!
//! A setting that has left the file goes back to `--sysctl`'s value or the kernel's default; one that was never there, but
//! set by a client, is left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use uct_engine::{Settings, Sysctl};
use uct_nat::rules::{Colour, Ruleset};
use uct_pipeline::topology::{Topology, TopologyError};

use crate::{Failure, files, rules, sysctl};

/// The files of a router.
#[derive(Clone, Debug, Default, Args)]
pub struct Files {
    /// The router's interfaces, addresses, routes and neighbours (TOML); `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,

    /// The ruleset, in nft's syntax; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,

    /// One more rule, as 'oifname wan0 masquerade' or 'tcp dport 80 dnat to 192.168.1.10'; may be repeated
    #[arg(long = "rule", value_name = "RULE")]
    pub rule: Vec<String>,

    /// A setting by the kernel's name, as nf_conntrack_acct=1; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,

    /// Settings in a file, one KEY = VALUE a line
    #[arg(long, value_name = "FILE")]
    pub sysctl_file: Option<PathBuf>,
}

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// The surroundings, if there are any.
    pub topology: Option<Topology>,
    /// The rules; none is the empty ruleset.
    pub rules: Ruleset,
    /// What is to be set, by [`Files::sysctl_file`] and [`Files::sysctl`].
    pub settings: BTreeMap<Sysctl, u64>,
}

/// What the files said when they were put in force.
#[derive(Debug)]
pub struct InForce {
    /// The files.
    pub files: Files,
    /// What they had set.
    pub settings: BTreeMap<Sysctl, u64>,
    /// The surroundings as they stood in the file.
    pub topology: Option<Topology>,
}

impl InForce {
    /// These are in force.
    pub fn new(files: Files, settings: BTreeMap<Sysctl, u64>, topology: Option<Topology>) -> InForce {
        InForce { files, settings, topology }
    }

    /// What in a topology needs a restart, if anything does: interfaces are opened at the start, by name and link address.
    pub fn needs_restart(&self, next: &Topology) -> Option<String> {
        let known = self.topology.as_ref()?;
        next.interfaces.iter().find_map(|interface| {
            let name = &interface.name;
            match known.interfaces.iter().find(|i| i.name == *name) {
                None => Some(format!("interface {name} is new in the topology")),
                Some(last) if last.mac != interface.mac => Some(format!("interface {name} has another mac")),
                Some(_) => None,
            }
        })
    }
}

/// All that is wrong, each with its file.
pub type Faults = Vec<Failure>;

impl Files {
    /// Whether a reload has anything to read.
    pub fn can_reload(&self) -> bool {
        let reads = [&self.topology, &self.rules, &self.sysctl_file];
        let again = |path: &Path| path.as_os_str() != "-";
        let mut there = reads.into_iter().flatten().peekable();
        there.peek().is_some() && there.all(|path| again(path))
    }

    /// The names of the files, as the command line gives them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.topology, &self.rules, &self.sysctl_file].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Reads everything; what is wrong is told of each file, not only of the first.
    pub fn read(&self, colour: Colour) -> Result<Read, Faults> {
        let named: Vec<files::Named<'_>> =
            [("--topology", &self.topology), ("--rules", &self.rules), ("--sysctl-file", &self.sysctl_file)]
                .into_iter()
                .filter_map(|(what, path)| Some((what, path.as_deref()?)))
                .collect();
        files::check(&named, &[]).map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        let mut keep = |fault| faults.push(fault);
        let topology = self.topology.as_deref().and_then(|path| match Topology::open(path) {
            Ok(topology) => Some(topology),
            Err(fault) => {
                keep(told(&fault));
                None
            }
        });
        let rules = rules::load_in(self.rules.as_deref(), &self.rule, colour).map_err(&mut keep).ok();
        let settings = self.settings().map_err(&mut keep).ok();
        match (rules, settings) {
            (Some(rules), Some(settings)) if faults.is_empty() => Ok(Read { topology, rules, settings }),
            _ => Err(faults),
        }
    }

    /// What the settings are to be.
    fn settings(&self) -> Result<BTreeMap<Sysctl, u64>, Failure> {
        let mut settings = BTreeMap::new();
        if let Some(path) = &self.sysctl_file {
            let shown = if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
            let text = if path.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(path)
            };
            let text = text.map_err(|e| Failure::input(format!("{shown}: {}", uct_pipeline::plain(&e))))?;
            for (number, line) in (1..).zip(text.lines()) {
                if let Some((key, value)) =
                    line_of(line).map_err(|why| Failure::input(format!("{shown}:{number}: {why}")))?
                {
                    settings.insert(key, value);
                }
            }
        }
        let probe = Settings::default();
        sysctl::set(&probe, &self.sysctl)?;
        for word in &self.sysctl {
            let key = word.split_once('=').and_then(|(key, _)| Sysctl::by_name(key.trim()));
            settings.extend(key.map(|key| (key, u64::from(probe.get(key)))));
        }
        Ok(settings)
    }
}

/// One line of a file of settings: `net.netfilter.nf_conntrack_max = 1000`, a comment (`#`, `;`), or nothing.
fn line_of(line: &str) -> Result<Option<(Sysctl, u64)>, String> {
    // sysctl.conf(5): a line that begins with `-` may fail; here too the name must exist.
    let line = line.trim().trim_start_matches('-');
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(None);
    }
    let (key, value) =
        line.split_once('=').ok_or_else(|| format!("'{line}' is not KEY = VALUE, as nf_conntrack_udp_timeout = 30"))?;
    let probe = Settings::default();
    let key = probe.set_by_name(key.trim(), value).map_err(|e| e.to_string())?;
    Ok(Some((key, probe.get(key).into())))
}

/// What is wrong with a topology: the place in one line, then the line with a caret.
fn told(fault: &TopologyError) -> Failure {
    match &fault.place {
        Some(place) => Failure::input(format!("{fault}\n{place}")),
        None => Failure::input(fault),
    }
}

/// Puts settings in force; those that `before` had set, and are there no more, go back to their defaults.
pub fn apply(settings: &Settings, wanted: &BTreeMap<Sysctl, u64>, before: &BTreeMap<Sysctl, u64>) -> usize {
    let back = before.keys().filter(|key| !wanted.contains_key(key)).map(|key| (*key, u64::from(key.default_value())));
    let changed = wanted.iter().map(|(key, value)| (*key, *value)).chain(back);
    // What is within its range here was found so when it was read.
    changed.filter(|(key, value)| u64::from(settings.get(*key)) != *value && settings.set(*key, *value).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_setting_a_comment_or_a_fault() {
        assert_eq!(line_of("net.netfilter.nf_conntrack_max = 1000"), Ok(Some((Sysctl::Max, 1000))));
        assert_eq!(line_of("-net/netfilter/nf_conntrack_acct=1"), Ok(Some((Sysctl::Acct, 1))));
        assert_eq!(line_of("  # nf_conntrack_max = 1"), Ok(None));
        assert_eq!(line_of(""), Ok(None));
        assert_eq!(line_of("nf_conntrack_acct = 2").unwrap_err(), "sysctl nf_conntrack_acct: 2 is not between 0 and 1");
        assert!(line_of("nf_conntrack_max").unwrap_err().starts_with("'nf_conntrack_max' is not KEY = VALUE"));
    }

    #[test]
    fn what_has_left_the_file_goes_back_and_what_a_client_set_stays() {
        let settings = Settings::default();
        let before = BTreeMap::from([(Sysctl::Max, 1000), (Sysctl::Acct, 1)]);
        assert_eq!(apply(&settings, &before, &BTreeMap::new()), 2);
        settings.set(Sysctl::TcpLoose, 0).unwrap();
        let wanted = BTreeMap::from([(Sysctl::Acct, 1)]);
        assert_eq!(apply(&settings, &wanted, &before), 1);
        assert_eq!(settings.get(Sysctl::Max), Sysctl::Max.default_value());
        assert_eq!((settings.get(Sysctl::Acct), settings.get(Sysctl::TcpLoose)), (1, 0));
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let folder = std::env::temp_dir().join(format!("uct-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let files = Files {
            topology: write("t.toml", "[[interface]]\nname = \"lan0\"\naddresses = [\"192.168.1.1\"]\n"),
            rules: write(
                "r.nft",
                "table ip t {\n\tchain c { type nat hook postrouting priority 100; masqerade; }\n}\n",
            ),
            sysctl_file: write("s.conf", "nf_conntrack_max = 10\nnf_conntrack_mux = 1\n"),
            ..Files::default()
        };
        let faults: Vec<String> = files.read(Colour::Never).unwrap_err().into_iter().map(|f| f.message).collect();
        assert_eq!(faults.len(), 3, "{faults:?}");
        let lines: Vec<&str> = faults[0].lines().collect();
        assert!(lines[0].ends_with(
            "t.toml:3: 192.168.1.1: the prefix length is missing; 192.168.1.1/32 would be this one address"
        ));
        assert_eq!(lines[1], "  addresses = [\"192.168.1.1\"]");
        assert_eq!(lines[2], "               ^^^^^^^^^^^^^");
        assert!(faults[1].contains("r.nft:2:") && faults[1].ends_with("here\n───╯"), "{}", faults[1]);
        assert!(faults[2].ends_with("s.conf:2: unknown sysctl 'nf_conntrack_mux'; did you mean nf_conntrack_max?"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
