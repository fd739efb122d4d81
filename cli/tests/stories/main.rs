//! Every story of `pcaps/`, replayed by `uct`, comes out as it did in the kernel: every packet byte for byte from its IP header
//! on, the table line for line, the events in order. `pcaps/README.md` says what the stories are and what in them is random.

mod capture;
mod draws;
mod lines;
mod packet;

use std::path::{Path, PathBuf};
use std::process::Command;

use capture::Frame;
use draws::Draw;
use packet::Random;

/// One recording, or what `uct` made of it.
struct Outcome {
    emitted: Vec<Frame>,
    table: Vec<String>,
    events: Vec<String>,
}

struct Story {
    name: &'static str,
    folder: PathBuf,
}

impl Story {
    fn of(name: &'static str) -> Self {
        Self { name, folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps") }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", self.name))
    }

    fn bytes(&self, suffix: &str) -> Vec<u8> {
        let path = self.path(suffix);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn lines(&self, suffix: &str) -> Vec<String> {
        let text = String::from_utf8(self.bytes(suffix)).expect("text");
        text.lines().map(|line| lines::without_time(line).to_owned()).collect()
    }

    fn truth(&self) -> Outcome {
        Outcome {
            emitted: capture::frames(self.bytes("emitted.pcapng")),
            table: self.lines("list"),
            events: self.lines("events"),
        }
    }

    fn own_addresses(&self) -> Vec<std::net::IpAddr> {
        let topology: toml::Table = String::from_utf8(self.bytes("toml")).expect("text").parse().expect("TOML");
        let interfaces = topology["interface"].as_array().expect("interfaces");
        let addresses = interfaces.iter().flat_map(|interface| interface["addresses"].as_array().expect("addresses"));
        addresses
            .map(|address| {
                address
                    .as_str()
                    .and_then(|text| text.split('/').next())
                    .expect("an address")
                    .parse()
                    .expect("an address")
            })
            .collect()
    }

    /// Replays the story, with what arrives addressed to the ports that an earlier replay drew.
    fn replay(&self, draws: &[Draw]) -> Outcome {
        let mut arrivals = self.bytes("pcapng");
        capture::each_packet(&mut arrivals, |_, ip| draws::to_ours(draws, ip));
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (input, output) = (scratch.join(format!("{}.in", self.name)), scratch.join(format!("{}.out", self.name)));
        std::fs::write(&input, arrivals).expect("the scratch folder can be written");

        let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
        command.arg("replay").arg(&input).arg("--topology").arg(self.path("toml")).arg("--rules").arg(self.path("nft"));
        let meta: toml::Table = String::from_utf8(self.bytes("meta.toml")).expect("text").parse().expect("TOML");
        for (key, value) in meta["sysctl"].as_table().expect("sysctls") {
            command.arg("--sysctl").arg(format!("{key}={value}"));
        }
        let done = command.arg("--write").arg(&output).args(["--list", "--events"]).output().expect("uct runs");
        assert!(done.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&done.stderr));

        let text = String::from_utf8(done.stdout).expect("text");
        let (events, table) = text.lines().map(str::to_owned).partition(|line| lines::is_event(line));
        Outcome { emitted: capture::frames(std::fs::read(&output).expect("what was emitted")), table, events }
    }

    fn check(&self) {
        let truth = self.truth();
        let mut draws = Vec::new();
        for _ in 0..4 {
            let outcome = self.replay(&draws);
            let seen =
                draws::compare(&truth.events, &outcome.events).unwrap_or_else(|why| panic!("{}: {why}", self.name));
            if seen == draws {
                let differences = differences(&truth, &outcome, &draws, &self.own_addresses());
                assert!(differences.is_empty(), "{} differs from the kernel:\n{}", self.name, differences.join("\n"));
                return;
            }
            draws = seen;
        }
        panic!("{}: every replay draws other ports: it is not a function of its input", self.name);
    }
}

/// What differs, in words. At most a few of each kind: the first is what matters.
fn differences(truth: &Outcome, ours: &Outcome, draws: &[Draw], own: &[std::net::IpAddr]) -> Vec<String> {
    let mut found = Vec::new();

    let mut random = Random::of(own.to_vec());
    let packets: Vec<String> = (0..truth.emitted.len().max(ours.emitted.len()))
        .filter_map(|index| match (truth.emitted.get(index), ours.emitted.get(index)) {
            (Some(theirs), Some(ours)) => {
                let (mut a, mut b) = (theirs.ip.clone(), ours.ip.clone());
                draws::to_theirs(draws, &mut b);
                random.even_out(&mut a, &mut b);
                (theirs.interface != ours.interface || a != b).then(|| {
                    let at = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
                    format!(
                        "emitted packet {}, from byte {at} on:\n  kernel {} {}\n  uct    {} {}",
                        index + 1,
                        theirs.interface,
                        hex(&a),
                        ours.interface,
                        hex(&b)
                    )
                })
            }
            (Some(theirs), None) => {
                Some(format!("not emitted: packet {} on {} {}", index + 1, theirs.interface, hex(&theirs.ip)))
            }
            (None, Some(ours)) => Some(format!("emitted beyond the kernel's: {} {}", ours.interface, hex(&ours.ip))),
            (None, None) => None,
        })
        .collect();
    found.extend(packets.into_iter().take(3));

    // The kernel lists in the order of its hash table, whose key is random.
    let sorted = |lines: &[String], draws: &[Draw]| {
        let mut lines: Vec<String> = lines.iter().map(|line| draws::line_to_theirs(draws, line)).collect();
        lines.sort_by_key(|line| lines::split_timeout(line));
        lines
    };
    found.extend(compare_lines("entry", &sorted(&truth.table, &[]), &sorted(&ours.table, draws)));
    let events: Vec<String> = ours.events.iter().map(|line| draws::line_to_theirs(draws, line)).collect();
    found.extend(compare_lines("event", &truth.events, &events));
    found
}

fn compare_lines(what: &str, theirs: &[String], ours: &[String]) -> Vec<String> {
    let none = String::from("(none)");
    (0..theirs.len().max(ours.len()))
        .map(|index| (index, theirs.get(index).unwrap_or(&none), ours.get(index).unwrap_or(&none)))
        .filter(|(_, theirs, ours)| *theirs == &none || *ours == &none || !lines::same(theirs, ours))
        .map(|(index, theirs, ours)| format!("{what} {}:\n  kernel {theirs}\n  uct    {ours}", index + 1))
        .take(3)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let text: String = bytes.iter().take(96).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > 96 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

macro_rules! stories {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            Story::of($name).check();
        })*
        const ALL: &[&str] = &[$($name),*];
    };
}

stories! {
    home_router "home-router"
    same_port "same-port"
    port_forward "port-forward"
    redirect_proxy "redirect-proxy"
    traceroute "traceroute"
    syn_again "syn-again"
    ipv6_masquerade "ipv6-masquerade"
    mid_stream "mid-stream"
    fragments "fragments"
    half_closed "half-closed"
    udp_stream "udp-stream"
}

#[test]
fn no_recorded_story_is_left_out() {
    let mut recorded: Vec<String> = std::fs::read_dir(Story::of("").folder)
        .expect("pcaps/")
        .filter_map(|entry| {
            entry.expect("an entry").file_name().into_string().ok()?.strip_suffix(".nft").map(str::to_owned)
        })
        .collect();
    recorded.sort();
    let mut tested: Vec<&str> = ALL.to_vec();
    tested.sort_unstable();
    assert_eq!(recorded, tested);
}

/// The comparison itself: the truth equals the truth, also under other draws, and every small fault is seen.
mod comparison {
    use super::*;

    fn faults(story: &Story, change: impl FnOnce(&mut Outcome)) -> usize {
        let mut changed = story.truth();
        change(&mut changed);
        differences(&story.truth(), &changed, &[], &story.own_addresses()).len()
    }

    #[test]
    fn the_truth_equals_itself() {
        for name in ALL {
            assert_eq!(faults(&Story::of(name), |_| {}), 0, "{name}");
        }
    }

    #[test]
    fn a_fault_is_seen() {
        let story = Story::of("home-router");
        assert_ne!(faults(&story, |outcome| outcome.emitted[5].ip[30] ^= 1), 0);
        assert_ne!(faults(&story, |outcome| outcome.emitted.swap(3, 4)), 0);
        assert_ne!(faults(&story, |outcome| outcome.emitted[0].interface = "lan0".to_owned()), 0);
        assert_ne!(faults(&story, |outcome| drop(outcome.emitted.pop())), 0);
        assert_ne!(faults(&story, |outcome| drop(outcome.table.pop())), 0);
        assert_ne!(faults(&story, |outcome| outcome.table[0] = outcome.table[0].replace("bytes=", "bytes=1")), 0);
        assert_ne!(faults(&story, |outcome| outcome.events.swap(0, 1)), 0);
        let later = |seconds: u64| {
            move |outcome: &mut Outcome| {
                let (line, timeout) = lines::split_timeout(&outcome.events[0]);
                outcome.events[0] = line.replace('#', &(timeout.expect("a timeout") + seconds).to_string());
            }
        };
        assert_eq!(faults(&story, later(1)), 0);
        assert_ne!(faults(&story, later(2)), 0);
    }

    #[test]
    fn identifications_of_ipv6_fragments_are_a_mapping() {
        let story = Story::of("fragments");
        let set = |ids: fn(usize) -> u32| {
            move |outcome: &mut Outcome| {
                let fragments = outcome.emitted.iter_mut().filter(|frame| frame.ip[0] >> 4 == 6 && frame.ip[6] == 44);
                for (index, frame) in fragments.enumerate() {
                    frame.ip[44..48].copy_from_slice(&ids(index).to_be_bytes());
                }
            }
        };
        assert_eq!(faults(&story, set(|index| 7 + index as u32 / 3)), 0, "three fragments a datagram");
        assert_ne!(faults(&story, set(|_| 7)), 0, "one for all datagrams");
        assert_ne!(faults(&story, set(|index| index as u32)), 0, "one for each fragment");
    }

    #[test]
    fn another_draw_is_a_mapping() {
        for name in ["same-port", "ipv6-masquerade"] {
            let story = Story::of(name);
            let truth = story.truth();
            // A replay that draws the kernel's port plus one.
            let mut events = truth.events.clone();
            for line in &mut events {
                let (original, reply) = lines::tuples(line).expect("tuples");
                if original.source_port != reply.destination_port && original.destination == reply.source {
                    *line = lines::with_reply_port(line, reply.destination_port ^ 1);
                }
            }
            let draws = draws::compare(&truth.events, &events).expect("draws that fit");
            assert!(!draws.is_empty(), "{name}");
            if name == "same-port" {
                let mut torn = events.clone();
                let last = torn.iter_mut().rfind(|line| {
                    line.contains("[NEW]") && line.contains("src=192.168.1.11 dst=198.51.100.81 sport=40000")
                });
                let last = last.expect("the phone's connection to the second server");
                let (_, reply) = lines::tuples(last).expect("tuples");
                *last = lines::with_reply_port(last, reply.destination_port ^ 2);
                assert!(draws::compare(&truth.events, &torn).is_err(), "one socket, two ports");
            }

            let mut arrivals = story.bytes("pcapng");
            let (mut changed, before) = (0, capture::frames(arrivals.clone()));
            capture::each_packet(&mut arrivals, |_, ip| draws::to_ours(&draws, ip));
            for (before, after) in before.iter().zip(capture::frames(arrivals)) {
                changed += usize::from(*before != after);
            }
            assert_ne!(changed, 0, "{name}: answers come to the drawn ports");

            // What it would emit and list, put back, is the truth.
            let ours = Outcome {
                emitted: truth
                    .emitted
                    .iter()
                    .cloned()
                    .map(|mut frame| {
                        let drawn =
                            packet::ends(&frame.ip).filter(|ends| draws.iter().any(|draw| draw.is_sent_as(ends)));
                        if let Some(ends) = drawn {
                            packet::set_port(&mut frame.ip, packet::Side::Source, ends.source_port ^ 1);
                        }
                        frame
                    })
                    .collect(),
                table: truth.table.clone(),
                events,
            };
            assert_ne!(differences(&truth, &ours, &[], &story.own_addresses()).len(), 0, "{name}");
            let left = differences(&truth, &ours, &draws, &story.own_addresses());
            assert!(left.is_empty(), "{name}: {left:?}");
        }
    }
}
