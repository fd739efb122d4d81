//! Text that nobody would write: cut, doubled, shuffled and invented.

use crate::support::{read, rulesets};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Words that mean something to the parser.
const WORDS: &[&str] = &[
    "table",
    "chain",
    "ip",
    "ip6",
    "inet",
    "t",
    "c",
    "{",
    "}",
    "\n",
    ";",
    "type",
    "filter",
    "nat",
    "hook",
    "prerouting",
    "postrouting",
    "forward",
    "priority",
    "0",
    "-100",
    "policy",
    "accept",
    "drop",
    "jump",
    "goto",
    "return",
    "tcp",
    "udp",
    "dport",
    "sport",
    "80",
    "22-80",
    "saddr",
    "daddr",
    "10.0.0.0/8",
    "1.2.3.4",
    "::1",
    "{ 1, 2 }",
    "map",
    "vmap",
    "set",
    "@s",
    "$x",
    "define",
    "x",
    "=",
    "ct",
    "state",
    "new",
    "established",
    ",",
    "mark",
    "meta",
    "l4proto",
    "th",
    "iifname",
    "\"lan0\"",
    "eth*",
    "!=",
    "==",
    "&",
    "|",
    "(",
    ")",
    ".",
    ":",
    "-",
    "/",
    "dnat",
    "snat",
    "to",
    "masquerade",
    "redirect",
    "random",
    "counter",
    "log",
    "prefix",
    "\"p\"",
    "limit",
    "rate",
    "10/second",
    "reject",
    "with",
    "icmp",
    "echo-request",
    "flags",
    "interval",
    "elements",
    "include",
    "\"./x\"",
    "*",
    "[::1]",
    "0xffffffff",
    "1h",
    "fib",
    "reply",
    "original",
    "zone",
    "label",
    "helper",
    "comment",
    "add",
    "rule",
    "flush",
    "ruleset",
    "element",
    "typeof",
    "not",
    "18446744073709551615",
];

fn pick<'a, T>(rng: &mut SmallRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// A ruleset with a few words taken out, doubled, swapped or replaced.
fn mutate(text: &str, rng: &mut SmallRng, times: usize) -> String {
    let mut words: Vec<String> = text.split_inclusive([' ', '\n', '\t']).map(str::to_owned).collect();
    for _ in 0..times {
        if words.is_empty() {
            break;
        }
        let at = rng.random_range(0..words.len());
        match rng.random_range(0..6) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => {
                let other = rng.random_range(0..words.len());
                words.swap(at, other);
            }
            3 => words[at] = format!("{} ", pick(rng, WORDS)),
            4 => words.insert(at, format!("{} ", pick(rng, WORDS))),
            _ => {
                let other = pick(rng, &words).clone();
                words[at] = other;
            }
        }
    }
    words.concat()
}

/// Mutants of the corpus that are accepted and differ from it.
pub(crate) fn accepted_mutants(count: usize) -> Vec<String> {
    let corpus = rulesets("corpus");
    let mut rng = SmallRng::seed_from_u64(7);
    let mut found = Vec::new();
    for _ in 0..count * 100 {
        let (_, text) = pick(&mut rng, &corpus);
        let times = rng.random_range(1..4);
        let mutant = mutate(text, &mut rng, times);
        if mutant != *text && read(&mutant).is_ok() {
            found.push(mutant);
            if found.len() == count {
                break;
            }
        }
    }
    found
}

#[test]
fn mutated_rulesets_do_no_harm() {
    let corpus = rulesets("corpus");
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..3000 {
        let (_, text) = pick(&mut rng, &corpus);
        let times = rng.random_range(1..12);
        if let Err(refusal) = read(&mutate(text, &mut rng, times)) {
            assert!(!refusal.render(uct_nat::rules::Colour::Never).is_empty());
            assert!(refusal.error.location.line > 0, "{refusal}");
        }
    }
}

#[test]
fn soup_of_words_does_no_harm() {
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..20_000 {
        let words = rng.random_range(1..40);
        let text: Vec<&str> = (0..words).map(|_| *pick(&mut rng, WORDS)).collect();
        let _ = read(&text.join(" "));
        let _ = read(&format!("table inet t {{\n chain c {{\n {}\n }}\n}}", text.join(" ")));
    }
}

#[test]
fn soup_of_bytes_does_no_harm() {
    let mut rng = SmallRng::seed_from_u64(3);
    let (_, sample) = rulesets("corpus").remove(0);
    for _ in 0..5000 {
        let mut bytes = sample.clone().into_bytes();
        for _ in 0..rng.random_range(1..20) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        bytes.truncate(rng.random_range(0..=bytes.len()));
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn nesting_and_repetition_are_bounded() {
    let in_chain = |rule: &str| format!("table ip t {{\n chain c {{\n {rule}\n }}\n}}\n");
    let long = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let mut defines = "define a0 = { 1, 2 }\n".to_owned();
    for i in 1..100 {
        defines += &format!("define a{i} = {{ $a{}, $a{} }}\n", i - 1, i - 1);
    }
    let chains: String = (0..20_000).map(|i| format!(" chain c{i} {{\n jump c{}\n }}\n", i + 1)).collect();
    for text in [
        in_chain(&format!("mark {}", long("(", "1", ")", 100_000))),
        in_chain(&format!("tcp dport {}", long("{ ", "1", " }", 100_000))),
        in_chain(&format!("mark 1{}", " | 1".repeat(100_000))),
        in_chain(&format!("mark & {} == 1", long("(", "1", ")", 100_000))),
        "{".repeat(100_000),
        "table ip t { ".repeat(10_000),
        format!("{defines}table ip t {{\n chain c {{\n tcp dport $a99\n }}\n}}\n"),
        format!("table ip t {{\n{chains} chain c20000 {{\n type filter hook input priority 0; jump c0;\n }}\n}}\n"),
        "include \"./loop.inc\"\n".to_owned(),
    ] {
        assert!(read(&text).is_err(), "{}…", &text[..60.min(text.len())]);
    }
}

/// What is large but sensible is read, and in no time.
#[test]
fn large_sets_are_read() {
    let ports: Vec<String> = (1..=60_000).map(|p| p.to_string()).collect();
    let nets: Vec<String> =
        (0..60_000u32).map(|i| format!("{}.{}.{}.0/25", 1 + i / 65536, i / 256 % 256, i % 256)).collect();
    let pairs: Vec<String> =
        (0..20_000u32).map(|i| format!("10.{}.{}.0/24 . {}-{}", i / 256 % 256, i % 256, i, i + 5)).collect();
    let text = format!(
        "table ip t {{\n set p {{\n type inet_service; elements = {{ {} }}\n }}\n set n {{\n type ipv4_addr; flags interval; elements = {{ {} }}\n }}\n \
         set q {{\n type ipv4_addr . inet_service; flags interval; elements = {{ {} }}\n }}\n}}\n",
        ports.join(", "),
        nets.join(", "),
        pairs.join(", ")
    );
    read(&text).unwrap();
}
