//! Captures, topologies and rulesets that were damaged: refused with one sentence, or taken and then good for a router.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uct_engine::{Engine, Time};
use uct_nat::rules::{Colour, NoFiles, Ruleset};
use uct_pipeline::capture::{Reader, Source};
use uct_pipeline::replay::{Discard, ReadAhead, Replay};
use uct_pipeline::router::{Router, Silent};
use uct_pipeline::topology::{Dev, Entry, Topology};
use uct_pipeline::vantage::Vantage;
use uct_tests::generate::Random;

use crate::frames::Frames;
use crate::{RULES, alone, number};

/// How many texts of each kind if nobody asks for more.
const TEXTS: u64 = 100_000;

fn many(share: u64) -> (u64, u64) {
    let (seed, wanted) = (number("UCT_FUZZ_SEED", 1), number("UCT_FUZZ_FRAMES", TEXTS) / share);
    eprintln!("UCT_FUZZ_SEED={seed}, {wanted} texts");
    (seed, wanted)
}

fn stories(extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let entries = std::fs::read_dir(folder).expect("pcaps/").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// A capture in another format: classic pcap, gzip, zstd.
fn dressed(random: &mut Random, capture: &[u8]) -> Vec<u8> {
    match random.below(8) {
        0 => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(capture).expect("memory");
            packer.finish().expect("memory")
        }
        1 => zstd::encode_all(capture, 1).expect("memory"),
        2 | 3 => classic(random, capture),
        _ => capture.to_vec(),
    }
}

/// The frames as classic pcap of one of its kinds.
fn classic(random: &mut Random, capture: &[u8]) -> Vec<u8> {
    let big = random.chance(50);
    let four = move |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let magic = *random.pick(&[0xa1b2_c3d4, 0xa1b2_3c4d]);
    let version = if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let mut file = [four(magic), version, four(0), four(0), four(65535), four(1)].concat();
    let mut reader = Reader::new("x", Cursor::new(capture.to_vec())).expect("a capture");
    while let Some(frame) = reader.next().expect("a frame") {
        let len = frame.bytes.len() as u32;
        let head = [four(frame.at.as_secs() as u32), four(frame.at.subsec_nanos() / 1000), four(len), four(len)];
        file.extend(head.concat());
        file.extend(frame.bytes);
    }
    file
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(6) {
        if bytes.is_empty() {
            return;
        }
        // Headers are more interesting than what is in packets.
        let at = if random.chance(40) { random.below(bytes.len().min(400)) } else { random.below(bytes.len()) };
        match random.below(8) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = *random.pick(&[0, 1, 6, 0x7f, 0x80, 0xff]),
            3 => {
                let end = (at + 4).min(bytes.len());
                bytes[at..end].fill(*random.pick(&[0, 0xff]));
            }
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..(at + random.below(200)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            6 => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => bytes.extend(random.clone().bytes(random.below(100))),
        }
    }
}

fn router(topology: Topology, rules: Ruleset) -> Arc<Router> {
    Arc::new(Router::new(Arc::new(Engine::new(1)), rules, topology, 1))
}

#[test]
fn damaged_captures() {
    let _alone = alone();
    let (seed, wanted) = many(50);
    let mut random = Random::new(seed);
    let captures: Vec<_> = stories("pcapng").iter().map(|path| std::fs::read(path).expect("a capture")).collect();
    let (mut refused, mut broke, mut whole) = (0, 0, 0);
    for n in 0..wanted {
        let original = random.pick(&captures).clone();
        let mut bytes = dressed(&mut random, &original);
        if random.chance(95) {
            damage(&mut random, &mut bytes);
        }
        let len = bytes.len();
        let reader = match Reader::new("x", Cursor::new(bytes)) {
            Ok(reader) => reader,
            Err(why) => {
                assert!(!why.to_string().contains('\n'), "{why}");
                refused += 1;
                continue;
            }
        };
        let (mut source, inferred) = ReadAhead::infer(reader, &[]);
        let router = router(inferred.topology, Ruleset::read("none", "", &NoFiles).expect("no rules"));
        let mut replay = Replay::new(Arc::clone(&router), inferred.entry, Vantage::Router);
        let fault = loop {
            match replay.step(&mut source, &mut Discard, &mut Silent) {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(why) => break Some(why.to_string()),
            }
        };
        let frames = replay.counts().frames;
        assert!(frames <= len as u64, "{frames} frames in {len} bytes: capture {n} of seed {seed}");
        let fates = router.stats().fates().map(|(_, n)| n).sum::<u64>();
        assert_eq!(fates + replay.counts().outgoing, frames, "capture {n} of seed {seed}");
        match fault {
            Some(why) => {
                assert!(why.len() < 500 && !why.contains('\n'), "{why}: capture {n} of seed {seed}");
                broke += 1;
            }
            None => whole += 1,
        }
        assert!(matches!(source.next(), Ok(None)), "a fault is told once: capture {n} of seed {seed}");
    }
    eprintln!("{refused} refused, {broke} broken off, {whole} whole");
}

/// Words, blanks and signs: joined again, they are the text.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let class = |c: char| {
            if c.is_alphanumeric() || c == '_' {
                0
            } else if c.is_whitespace() {
                1
            } else {
                2
            }
        };
        let end = match class(first) {
            2 => first.len_utf8(),
            kind => rest.find(|c| class(c) != kind).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// A text with words left out, doubled, exchanged, or taken from another text.
fn reworded(random: &mut Random, texts: &[String]) -> String {
    let (text, other) = (random.pick(texts).clone(), random.pick(texts).clone());
    let (mut words, others) = (tokens(&text), tokens(&other));
    const ODD: &[&str] = &[
        "0",
        "-1",
        "1",
        "32",
        "33",
        "128",
        "129",
        "255",
        "256",
        "65535",
        "65536",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "0x",
        "0xffffffff",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "#",
        "\\",
        "\n",
        ";",
        ",",
        ".",
        "-",
        "/",
        "@",
        "$",
        "!",
        "::",
        "::1",
        "255.255.255.255",
        "0.0.0.0/0",
        "ä",
        "\u{0}",
        "\t",
        "=",
        "==",
        "&",
        "|",
        "*",
    ];
    for _ in 0..=random.below(4) {
        if words.is_empty() {
            break;
        }
        let at = random.below(words.len());
        match random.below(7) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[random.below(words.len())]),
            2 => words[at] = *random.pick::<&str>(&others),
            3 => words[at] = *random.pick::<&str>(ODD),
            4 => words.insert(at, *random.pick::<&str>(ODD)),
            5 => {
                let to = random.below(words.len());
                words.swap(at, to);
            }
            _ if random.chance(10) => words.truncate(at),
            _ => {
                let from = random.below(others.len());
                let piece = &others[from..(from + random.below(30)).min(others.len())];
                words.splice(at..at, piece.iter().copied());
            }
        }
    }
    words.concat()
}

/// A few frames through a router that was made of a damaged text.
fn exercise(router: &Arc<Router>, frames: &mut Frames) {
    let mut source = crate::One { interfaces: crate::interfaces(), given: frames.next(), at: Time::ZERO, number: 0 };
    let mut replay = Replay::new(Arc::clone(router), Entry::Routed, Vantage::Router);
    for _ in 0..40 {
        replay.step(&mut source, &mut Discard, &mut Silent).expect("any frame").expect("a frame");
        source.given = frames.next();
    }
    let fates = router.stats().fates().map(|(_, n)| n).sum::<u64>();
    assert_eq!(fates + replay.counts().outgoing, replay.counts().frames);
}

#[test]
fn damaged_topologies() {
    let _alone = alone();
    let (seed, wanted) = many(20);
    let mut random = Random::new(seed);
    let texts: Vec<_> = stories("toml").iter().map(|path| std::fs::read_to_string(path).expect("text")).collect();
    let mut frames = Frames::new(seed);
    let mut taken = 0;
    for n in 0..wanted {
        let text = reworded(&mut random, &texts);
        match Topology::parse("x.toml", &text) {
            Ok(topology) => {
                taken += 1;
                let again = topology.to_string();
                assert_eq!(Topology::parse("again", &again).as_ref(), Ok(&topology), "topology {n} of seed {seed}");
                assert!((0..topology.interfaces.len()).all(|at| topology.interface(Dev(at as u16)).is_some()));
                exercise(&router(topology, Ruleset::read("none", "", &NoFiles).expect("no rules")), &mut frames);
            }
            Err(why) => {
                let why = why.to_string();
                assert!(why.starts_with("x.toml:") && !why.contains('\n'), "{why:?}: topology {n} of seed {seed}");
            }
        }
    }
    eprintln!("{taken} of {wanted} taken");
    assert!(taken > wanted / 1000);
}

#[test]
fn damaged_rulesets() {
    let _alone = alone();
    let (seed, wanted) = many(10);
    let mut random = Random::new(seed);
    let mut texts: Vec<_> = stories("nft").iter().map(|path| std::fs::read_to_string(path).expect("text")).collect();
    texts.extend([RULES.to_owned(), RULES.to_owned()]);
    let topology = std::fs::read_to_string(&stories("toml")[1]).expect("text");
    let topology = Topology::parse("topology", &topology).expect("a story's topology");
    let mut frames = Frames::new(seed);
    let mut taken = 0;
    for n in 0..wanted {
        let text = reworded(&mut random, &texts);
        let about = || format!("ruleset {n} of seed {seed}:\n{text}");
        match Ruleset::read("x.nft", &text, &NoFiles) {
            Ok(rules) => {
                taken += 1;
                exercise(&router(topology.clone(), rules), &mut frames);
            }
            Err(refusal) => {
                let why = refusal.to_string();
                assert!(why.starts_with("x.nft:") && !why.contains('\n'), "{why:?} for {}", about());
                let place = &refusal.error.location;
                assert!(place.line as usize <= text.lines().count() + 1, "{why:?} for {}", about());
                assert!(refusal.render(Colour::Never).lines().count() > 2, "{why:?} for {}", about());
                assert!(!refusal.render(Colour::Always).is_empty());
            }
        }
    }
    eprintln!("{taken} of {wanted} taken");
    assert!(taken > wanted / 1000);
}
