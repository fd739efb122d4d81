//! The scripts behind `docs/linux-behaviour.md`: one surprise each, as a few packets that answer each other.
//!
//! ```text
//!   tests/behaviour/NAME/script        ─► Play ─► steps ─► kernel, uct ─► Observed ─► Teller ─► the page
//!   tests/behaviour/NAME/kernel.json   what the kernel did at each step
//! ```
//!
//! # A script
//!
//! | line | meaning |
//! |---|---|
//! | `# words` | a comment |
//! | `rule HOOK PRIORITY words` | one more rule: `rule postrouting srcnat masquerade` |
//! | `chain HOOK PRIORITY` | a chain without rules, which is not nothing: it binds |
//! | `rules none` | no rules but the one that makes the kernel track |
//! | `family inet` | the rules' family, `ip` if nothing is said |
//! | `sysctl netfilter.NAME VALUE` | a setting |
//! | `show events` | the page shows events too |
//! | `advance SECONDS` | time passes |
//! | `lose wan0 203.0.113.1/24` | an interface loses an address |
//! | `handshake WHO > WHOM SPORT>DPORT` | TCP's three segments from sequence numbers 1000 and 5000, told as one line |
//! | `goodbye WHO > WHOM SPORT>DPORT` | what ends such a connection, begun by WHO, told as one line |
//! | `WHO [as ADDRESS] > WHOM PACKET` | a packet |
//! | `WHO [as ADDRESS] answers PACKET` | a packet back to where WHO's last packet came from |
//! | `WHO [as ADDRESS] error TYPE/CODE [about WHO]` | an ICMP error about the last packet that somebody got |
//!
//! A group of `rule` and `chain` lines is the whole ruleset from there on. WHO is one of [`HOSTS`], `router`, or for WHOM
//! an address as well; with a 6 at the end it speaks IPv6. For PACKET see [`mod@line`].
//!
//! Invariant: what a packet says depends on the script and on what came out of the router before, so a script can answer
//! ports that were drawn at random.

pub mod line;
pub mod page;
pub mod record;
pub mod tell;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::generate::world::{Family, Origin, Shot, World, destination};
use crate::observed::{LOCAL, Observed};
use crate::scenario::{Setup, Step};
use crate::script::TRACK;

/// The hosts by name; their numbers are those of the world.
pub const HOSTS: [&str; 9] = ["client", "client2", "client3", "near", "near2", "server", "server2", "dmz", "dmz2"];

/// Whether the page shows the events of a script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Events {
    /// Only the table.
    #[default]
    Hidden,
    /// The events as well.
    Shown,
}

/// A script, read.
#[derive(Clone, Debug)]
pub struct Script {
    /// What holds before the first packet.
    pub setup: Setup,
    /// The first ruleset as it was written: without the frame that nft wants.
    pub rules: Vec<String>,
    /// Whether its events are worth showing.
    pub events: Events,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    /// No packet.
    Step(Step),
    /// A packet, made when its turn comes.
    Packet {
        line: String,
        /// The words that stand on the page for it and its neighbours of the same words.
        hidden: Option<String>,
    },
}

/// A step of a script.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The step.
    pub step: Step,
    /// The words that stand on the page for it and its neighbours of the same words.
    pub hidden: Option<String>,
}

/// Rules as they are written in a script.
#[derive(Clone, Debug, Default)]
struct Rules {
    family: Option<String>,
    written: Vec<String>,
    /// Rules by hook and priority.
    chains: BTreeMap<(String, String), Vec<String>>,
}

impl Rules {
    fn add(&mut self, hook: &str, priority: &str, rule: Option<String>) {
        self.written.push(match &rule {
            Some(rule) => format!("{hook} {priority}: {rule}"),
            None => format!("{hook} {priority}: (no rule)"),
        });
        self.chains.entry((hook.into(), priority.into())).or_default().extend(rule);
    }

    /// In nft's words, after comments with those of the script.
    fn text(&self) -> String {
        let mut text: String = self.written.iter().map(|rule| format!("# {rule}\n")).collect();
        text += TRACK;
        if self.chains.is_empty() {
            return text;
        }
        let _ = writeln!(text, "table {} lesson {{", self.family.as_deref().unwrap_or("ip"));
        for ((hook, priority), rules) in &self.chains {
            let kind = if priority.ends_with("nat") { "nat" } else { "filter" };
            let number = match priority.as_str() {
                "raw" => "-300",
                "mangle" => "-150",
                "dstnat" => "-100",
                "srcnat" => "100",
                "filter" => "0",
                other => other,
            };
            let name = format!("{hook}_{priority}").replace('-', "m");
            let _ = writeln!(text, "  chain {name} {{\n    type {kind} hook {hook} priority {number}; policy accept");
            for rule in rules {
                let _ = writeln!(text, "    {rule}");
            }
            text.push_str("  }\n");
        }
        text + "}\n"
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// If a line is not understood, with the line. Packets are read when their turn comes.
    pub fn parse(text: &str) -> Result<Script, String> {
        let setup = Setup { rules: TRACK.into(), topology: World::new().topology, ..Setup::default() };
        let mut script = Script { setup, rules: Vec::new(), events: Events::Hidden, lines: Vec::new() };
        let mut family = None;
        let mut rules: Option<Rules> = None;
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if matches!(words[..], ["rule" | "chain" | "rules", ..]) {
                let rules = rules.get_or_insert_with(|| Rules { family: family.clone(), ..Rules::default() });
                match words[..] {
                    ["rule", hook, priority, ref rest @ ..] => rules.add(hook, priority, Some(rest.join(" "))),
                    ["chain", hook, priority] => rules.add(hook, priority, None),
                    ["rules", "none"] => {}
                    _ => return Err(format!("not understood: {line}")),
                }
                continue;
            }
            script.put_in_force(rules.take());
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["family", name] => family = Some(name.to_string()),
                ["show", "events"] => script.events = Events::Shown,
                ["sysctl", name, value] if script.lines.is_empty() => {
                    script.setup.sysctls.push((name.into(), value.into()));
                }
                ["sysctl", name, value] => {
                    script.lines.push(Line::Step(Step::Sysctl { name: name.into(), value: value.into() }));
                }
                ["advance", seconds] => {
                    let seconds = seconds.parse().map_err(|_| format!("not seconds: {line}"))?;
                    script.lines.push(Line::Step(Step::Advance { seconds }));
                }
                ["lose", iface, address] => {
                    let step = Step::DeleteAddress { iface: iface.into(), address: address.into() };
                    script.lines.push(Line::Step(step));
                }
                [what @ ("handshake" | "goodbye"), client, ">", server, ports] => {
                    script.push_segments(what, client, server, ports);
                }
                _ => script.lines.push(Line::Packet { line: line.trim().into(), hidden: None }),
            }
        }
        script.put_in_force(rules);
        Ok(script)
    }

    fn push_segments(&mut self, what: &str, client: &str, server: &str, ports: &str) {
        let to = format!("{client} > {server} tcp {ports}");
        let segments = match what {
            "handshake" => ["S seq 1000", "SA seq 5000 ack 1001", "A seq 1001 ack 5001"],
            _ => ["FA seq 1001 ack 5001", "FA seq 5001 ack 1002", "A seq 1002 ack 5002"],
        };
        let words = match what {
            "handshake" => format!("{client} and {server} shake hands"),
            _ => format!("{client} and {server} close the connection"),
        };
        let lines = [
            format!("{to} {}", segments[0]),
            format!("{server} answers tcp {}", segments[1]),
            format!("{to} {}", segments[2]),
        ];
        self.lines.extend(lines.map(|line| Line::Packet { line, hidden: Some(words.clone()) }));
    }

    fn put_in_force(&mut self, rules: Option<Rules>) {
        let Some(rules) = rules else { return };
        if self.lines.is_empty() {
            self.setup.rules = rules.text();
            self.rules = rules.written;
        } else {
            self.lines.push(Line::Step(Step::Rules { text: rules.text() }));
        }
    }

    /// The script from its beginning.
    #[must_use]
    pub fn play(&self) -> Play {
        Play {
            lines: self.lines.clone().into(),
            ready: VecDeque::new(),
            world: World::new(),
            received: BTreeMap::new(),
        }
    }
}

/// A script being played.
#[derive(Clone, Debug)]
pub struct Play {
    lines: VecDeque<Line>,
    /// Fragments of a packet that has been made.
    ready: VecDeque<Turn>,
    world: World,
    /// The last packet that somebody got, by number; [`ROUTER`] is the router.
    received: BTreeMap<usize, Vec<u8>>,
}

const ROUTER: usize = usize::MAX;

/// Somebody in a script.
#[derive(Clone, Copy, Debug)]
struct Party {
    number: usize,
    address: IpAddr,
}

impl Party {
    fn origin(self) -> Origin {
        if self.number == ROUTER { Origin::Router } else { Origin::Host(self.number) }
    }
}

impl Play {
    /// The next turn, `None` at the end. What the last one did must have been noticed.
    ///
    /// # Errors
    /// If a packet is not understood, with its line.
    pub fn next_turn(&mut self) -> Result<Option<Turn>, String> {
        if let Some(turn) = self.ready.pop_front() {
            return Ok(Some(turn));
        }
        match self.lines.pop_front() {
            None => Ok(None),
            Some(Line::Step(step)) => Ok(Some(Turn { step, hidden: None })),
            Some(Line::Packet { line, hidden }) => {
                let (from, packets) = self.packets(&line).map_err(|why| format!("{why}: {line}"))?;
                for packet in packets {
                    let step = self.world.send(&Shot { from, packet });
                    self.ready.push_back(Turn { step, hidden: hidden.clone() });
                }
                self.next_turn()
            }
        }
    }

    /// Takes note of what came out of the router.
    pub fn notice(&mut self, observed: &Observed) {
        for emitted in &observed.out {
            let at = if emitted.iface == LOCAL {
                Some(ROUTER)
            } else {
                destination(&emitted.packet).and_then(|address| self.world.host_at(address))
            };
            if let Some(number) = at {
                self.received.insert(number, emitted.packet.clone());
            }
        }
    }

    fn party(&self, name: &str) -> Option<Party> {
        let (name, family) = match name.strip_suffix('6') {
            Some(name) => (name, Family::V6),
            None => (name, Family::V4),
        };
        if name == "router" {
            return Some(Party { number: ROUTER, address: self.world.router_address("wan0", family) });
        }
        let number = HOSTS.iter().position(|host| *host == name)?;
        Some(Party { number, address: self.world.hosts[number].address(family) })
    }

    fn last(&self, party: Party) -> Result<&[u8], String> {
        self.received.get(&party.number).map(Vec::as_slice).ok_or_else(|| "nothing has arrived there".into())
    }

    /// The packets of a line and who sends them.
    fn packets(&self, line: &str) -> Result<(Origin, Vec<Vec<u8>>), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let nobody = || String::from("nobody of that name");
        let (who, rest) = words.split_first().ok_or_else(nobody)?;
        let mut who = self.party(who).ok_or_else(nobody)?;
        let mut rest = rest;
        if let ["as", address, more @ ..] = rest {
            who.address = address.parse().map_err(|_| "not an address")?;
            rest = more;
        }
        let packets = match rest {
            [">", whom, packet @ ..] => {
                let whom = match whom.parse::<IpAddr>() {
                    Ok(address) => address,
                    Err(_) => self.party(whom).ok_or_else(nobody)?.address,
                };
                line::packets(who.address, whom, packet)?
            }
            ["answers", packet @ ..] => line::answers(self.last(who)?, packet)?,
            ["error", kind, more @ ..] => {
                let mut about = who;
                let mut more = more;
                if let ["about", other, after @ ..] = more {
                    about = self.party(other).ok_or_else(nobody)?;
                    more = after;
                }
                line::error(who.address, self.last(about)?, kind, more)?
            }
            _ => return Err("neither > nor answers nor error".into()),
        };
        Ok((who.origin(), packets))
    }
}
