//! `uct run` behind its socket: what it answers, and what clients that misbehave do to it and to others.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A table behind a socket of its own.
struct Daemon {
    process: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Daemon {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("uct-test-{}-{}.sock", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let socket = std::env::temp_dir().join(name);
        let process = Command::new(env!("CARGO_BIN_EXE_uct"))
            .arg("run")
            .arg("--socket")
            .arg(&socket)
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "uct run made no socket");
            std::thread::sleep(Duration::from_millis(5));
        }
        Daemon { process, socket }
    }

    fn connect(&self) -> Talk {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Talk { reader: BufReader::new(stream) }
    }

    fn conntrack(&self, line: &str) -> Output {
        self.conntrack_with(line, "")
    }

    fn conntrack_with(&self, line: &str, input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_uct"))
            .args(["conntrack", "--socket"])
            .arg(&self.socket)
            .args(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Enters `n` connections of UDP.
    fn fill(&self, n: u32) {
        let mut talk = self.connect();
        let mut left = n;
        while left > 0 {
            let chunk = left.min(4096);
            let batch: Vec<Value> = (left - chunk..left).map(create).collect();
            assert_eq!(talk.ask(json!({ "batch": batch }))["done"]["count"], chunk);
            left -= chunk;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn create(n: u32) -> Value {
    let src = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n / 60_000);
    let side = json!({"src": src, "dst": "10.9.0.1", "sport": n % 60_000 + 1, "dport": 53});
    json!({"create": {"protocol": 17, "original": side, "timeout": 600}})
}

struct Talk {
    reader: BufReader<UnixStream>,
}

impl Talk {
    fn say(&mut self, bytes: &[u8]) {
        // A server that has had enough may have closed already.
        let _ = self.reader.get_mut().write_all(bytes);
    }

    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect(&line)),
        }
    }

    /// The last reply to a request.
    fn ask(&mut self, request: Value) -> Value {
        self.say(format!("{request}\n").as_bytes());
        loop {
            let reply = self.hear().expect("a reply");
            if reply.get("done").is_some() || reply.get("error").is_some() {
                return reply;
            }
        }
    }
}

#[test]
fn requests_and_replies() {
    let daemon = Daemon::start(&["--sysctl", "nf_conntrack_acct=1"]);
    let mut talk = daemon.connect();
    talk.say(b"{\"id\":1,\"hello\":{}}\n");
    let hello = talk.hear().unwrap();
    assert_eq!(
        (&hello["id"], &hello["hello"]["program"], &hello["hello"]["version"]),
        (&json!(1), &json!("uct"), &json!(1))
    );
    assert_eq!(talk.hear().unwrap()["done"]["count"], 0);

    assert_eq!(talk.ask(create(1))["done"]["count"], 1);
    assert_eq!(talk.ask(create(1))["error"]["code"], "exists");
    talk.say(b"{\"id\":2,\"list\":{\"filter\":{\"orig_sport\":2}}}\n");
    let entry = talk.hear().unwrap()["entries"][0].clone();
    assert_eq!((&entry["orig_dport"], &entry["orig_packets"]), (&json!(53), &json!(0)));
    assert_eq!(talk.hear().unwrap(), json!({"id": 2, "done": {"count": 1}}));

    let code = |reply: Value| reply["error"]["code"].as_str().unwrap_or("none").to_owned();
    assert_eq!(code(talk.ask(json!({"list": {"filter": {"sport": 1}}}))), "malformed");
    assert_eq!(code(talk.ask(json!({"id": 3}))), "malformed");
    assert_eq!(code(talk.ask(json!({"count": {}, "version": 9}))), "version");
    assert_eq!(code(talk.ask(json!({"list": {"table": "nothing"}}))), "invalid");
    assert_eq!(code(talk.ask(json!({"list": {"filter": {"status": ["NICE"]}}}))), "invalid");
    let failed = talk.ask(json!({"batch": [create(2), create(1), create(3)]}));
    assert_eq!((&failed["error"]["code"], &failed["error"]["index"]), (&json!("exists"), &json!(1)));
    assert_eq!(talk.ask(json!({"count": {}}))["done"]["count"], 2);
    assert_eq!(talk.ask(json!({"delete": {"filter": {"orig_sport": 2}}}))["done"]["count"], 1);
    assert_eq!(talk.ask(json!({"flush": {}}))["done"]["count"], 1);
}

#[test]
fn settings_all_or_nothing() {
    let daemon = Daemon::start(&[]);
    let sysctl = |words: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_uct"))
            .args(["sysctl", "--socket"])
            .arg(&daemon.socket)
            .args(words)
            .output()
            .unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (out.status.code(), text(&out.stdout) + &text(&out.stderr))
    };
    let read = (Some(0), "net.netfilter.nf_conntrack_udp_timeout = 30\n".to_owned());
    assert_eq!(sysctl(&["nf_conntrack_udp_timeout"]), read);
    let (code, text) = sysctl(&["nf_conntrack_udp_timeout=40", "nf_conntrack_tcp_loose=7"]);
    assert_eq!((code, text.contains("not between 0 and 1")), (Some(1), true), "{text}");
    assert_eq!(sysctl(&["nf_conntrack_udp_timeout"]), read);
    assert_eq!(sysctl(&["nf_conntrack_udp_timeout=40"]).1, "net.netfilter.nf_conntrack_udp_timeout = 40\n");
    assert_eq!(sysctl(&["nf_conntrack_udp_timeout=x"]).0, Some(2));
    assert!(sysctl(&[]).1.lines().count() > 30);
}

#[test]
fn garbage_and_floods_harm_nobody() {
    let daemon = Daemon::start(&[]);
    let mut garbage = daemon.connect();
    garbage.say(&b"\x00\xff{{{[[[\n".repeat(20));
    let complaints = std::iter::from_fn(|| garbage.hear()).count();
    assert_eq!(complaints, 16, "one complaint a line, then the end");

    let mut endless = daemon.connect();
    endless.say(&vec![b'x'; 3 << 20]);
    assert_eq!(endless.hear().map(|r| r["error"]["code"].clone()), Some(json!("too-long")));

    // Half a request, and nothing more.
    let mut stalled = daemon.connect();
    stalled.say(b"{\"id\":1,");
    // Requests without end, whose answers nobody reads.
    let mut deaf = daemon.connect();
    deaf.reader.get_mut().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    deaf.say(&b"{\"sysctl\":{}}\n".repeat(20_000));
    // Clients that vanish.
    for _ in 0..50 {
        daemon.connect().say(b"{\"list\":{}}\n{\"events\":{}}\n");
    }
    daemon.fill(10);
    let mut polite = daemon.connect();
    assert_eq!(polite.ask(json!({"count": {}}))["done"]["count"], 10);
    assert_eq!(stalled.hear().map(|r| r["error"]["code"].clone()), Some(json!("stalled")));
    let mut rest = Vec::new();
    assert!(matches!(stalled.reader.read_to_end(&mut rest), Ok(0)), "a stalled client is dropped");
}

#[test]
fn events_have_numbers_and_gaps_are_told() {
    let daemon = Daemon::start(&[]);
    let mut slow = daemon.connect();
    slow.say(b"{\"id\":7,\"events\":{\"kinds\":[\"NEW\"]}}\n");
    assert_eq!(slow.hear().unwrap(), json!({"id": 7, "listening": 1}));
    const MANY: u32 = 100_000;
    daemon.fill(MANY);
    let (mut told, mut lost, mut next) = (0, 0, 1);
    while told + lost < u64::from(MANY) {
        let reply = slow.hear().expect("events or a gap");
        if let Some(gap) = reply.get("gap") {
            assert_eq!(gap["from"], next, "a gap begins where events end");
            lost += gap["to"].as_u64().unwrap() + 1 - next;
            next = gap["to"].as_u64().unwrap() + 1;
        } else {
            assert_eq!(reply["event"]["seq"], next);
            (told, next) = (told + 1, next + 1);
        }
    }
    assert!(lost > 0, "{told} events fit into the queue and the socket");
}

#[test]
fn a_listing_is_whole_while_the_table_changes() {
    let daemon = Daemon::start(&[]);
    daemon.fill(20_000);
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut talk = daemon.connect();
            for n in 0..300 {
                talk.ask(json!({"batch": (0..20).map(|i| create(1_000_000 + n * 20 + i)).collect::<Vec<_>>()}));
                talk.ask(json!({"delete": {"filter": {"orig_src": "10.0.0.16"}}}));
            }
        });
        for _ in 0..5 {
            let out = daemon.conntrack("-L -s 10.0.0.0 -o save");
            let text = String::from_utf8(out.stdout).unwrap();
            assert_eq!(text.lines().count(), 20_000);
            let distinct: std::collections::HashSet<&str> = text.lines().collect();
            assert_eq!(distinct.len(), 20_000);
        }
        churn.join().unwrap();
    });
}

#[test]
fn what_is_saved_in_full_comes_back() {
    let daemon = Daemon::start(&["--sysctl", "nf_conntrack_acct=1", "--sysctl", "nf_conntrack_timestamp=1"]);
    let lines = "\
-A -t 400 -u SEEN_REPLY,ASSURED -s 10.0.0.1 -d 10.9.0.1 -p tcp --sport 1 --dport 80 --state FIN_WAIT -m 0x77 --label-bits 0x8000000000000000000000000000002
# a comment
-A -t 400 -s 10.0.0.2 -d 10.9.0.1 -p udp --sport 1 --dport 53 -n 5.5.5.5:99 --counters 1:2:3:4 --helper tftp
-A -t 400 -s 10.0.0.5 -d 10.9.0.1 -p udp --sport 1 --dport 53 -n 5.5.5.5 -g 6.6.6.6:77
-A -t 400 --orig-zone 3 -s fd00::1 -d fd00::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 5
-A -t 400 -s 10.0.0.3 -d 10.9.0.1 -p sctp --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 7 --reply-vtag 8
-A -t 400 -w 9 -s 10.0.0.4 -d 10.9.0.1 -p gre --srckey 1 --dstkey 2
";
    let out = daemon.conntrack_with("-R -", lines);
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0), "{}", String::from_utf8_lossy(&out.stderr));
    let list = |words: &str| {
        let text = String::from_utf8(daemon.conntrack(words).stdout).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let strip = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().map(|l| l.replace("-t 399 ", "").replace("-t 400 ", "").replace("-t 398 ", "")).collect()
    };
    let saved = list("-L -o save,full");
    assert_eq!(saved.len(), 6);
    assert!(saved.iter().any(|l| l.contains("--helper tftp --counters 1:2:3:4 --start ")), "{saved:#?}");
    daemon.conntrack("-F");
    assert_eq!(daemon.conntrack_with("-R -", &saved.join("\n")).status.code(), Some(0));
    assert_eq!(strip(list("-L -o save,full")), strip(saved));
}

#[test]
fn the_articles_lines_work_as_they_stand() {
    let daemon = Daemon::start(&["--sysctl", "nf_conntrack_timestamp=1"]);
    let ok = |line: &str, out: &str| {
        let answer = daemon.conntrack(line);
        let text = String::from_utf8(answer.stdout).unwrap();
        assert_eq!((answer.status.code(), text.contains(out)), (Some(0), true), "{line}: {text}");
    };
    ok("-I -s 192.168.7.10 -d 10.1.1.1 --protonum 17 --timeout 120 --sport 12345 --dport 80", "");
    ok("-I -s 10.0.12.4 -d 10.0.0.1 -p udp -t 60 --sport 1234 --dport 53", "");
    ok("-I -s 10.0.12.4 -d 10.0.0.1 -p tcp -t 60 --sport 1234 --dport 80 --state ESTABLISHED -n 192.0.2.1", "");
    ok("-L -p tcp --src-nat", "dst=192.0.2.1 sport=80 dport=1234");
    ok("-U -m 42 -p tcp", "mark=42");
    ok("-D -p udp --src 10.0.12.4 --dst 10.0.0.1 --sport 1234 --dport 53", "sport=1234 dport=53");
    ok("-L --output ktimestamp", "[start=");
    ok("-C", "2\n");
}

#[test]
fn xml_is_well_formed() {
    let has_xmllint = Command::new("xmllint").arg("--version").output().is_ok();
    if !has_xmllint {
        assert!(std::env::var("UCT_REQUIRE_KERNEL").as_deref() != Ok("1"), "xmllint is not installed");
        eprintln!("skipped: xmllint is not installed");
        return;
    }
    let daemon = Daemon::start(&["--sysctl", "nf_conntrack_acct=1", "--sysctl", "nf_conntrack_timestamp=1"]);
    let mut follower = Command::new(env!("CARGO_BIN_EXE_uct"))
        .args(["conntrack", "--socket"])
        .arg(&daemon.socket)
        .args(["-E", "-o", "xml,timestamp,ktimestamp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It listens once it is told of something.
    let mut events = BufReader::new(follower.stdout.take().unwrap());
    let (mut head, begun) = (String::new(), Instant::now());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| events.read_line(&mut head));
        while !reader.is_finished() {
            assert!(begun.elapsed() < Duration::from_secs(10), "no event");
            daemon.conntrack("-I -s 10.0.0.9 -d 10.0.0.2 -p udp --sport 1 --dport 2 -t 100 --helper <ftp>&");
            daemon.conntrack("-D -s 10.0.0.9");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for line in [
        "-I -s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0 -t 100 -w 3",
        "-I -s fd00::1 -d fd00::2 -p tcp --sport 1 --dport 2 -t 100 --state NONE --orig-zone 3",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p 99 -t 100 --helper <ftp>&",
        "-D -p 99",
    ] {
        assert_eq!(daemon.conntrack(line).status.code(), Some(0), "{line}");
    }
    let listed = String::from_utf8(daemon.conntrack("-L -o xml,ktimestamp").stdout).unwrap();
    Command::new("kill").args(["-INT", &follower.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    for text in [listed, head + &rest] {
        let mut lint = Command::new("xmllint")
            .args(["--noout", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        lint.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = lint.wait_with_output().unwrap();
        assert!(out.status.success(), "{}\n{text}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn expectations_come_and_go() {
    let daemon = Daemon::start(&[]);
    let run = |line: &str| {
        let out = daemon.conntrack(line);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr).split("): ").nth(1).unwrap_or("").trim().to_owned())
    };
    let master = "-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 5000 --dport 69";
    let wish = "--tuple-src 10.0.0.2 --tuple-dst 10.0.0.1 --mask-src 255.255.255.255 --mask-dst 255.255.255.255 -t 100 \
                --tuple-port-src 0 --tuple-port-dst 600 --mask-port-src 0 --mask-port-dst 65535";
    let create = format!("-I expect {master} {wish}");
    assert_eq!(run(&create).2, "Operation failed: master conntrack not found");
    run(&format!("-I {master} -t 100 --helper tftp"));
    assert_eq!(run(&create), (Some(0), String::new(), String::new()));
    assert_eq!(run(&create).2, "Operation failed: File exists");
    let (_, listed, summary) = run("-L expect");
    assert_eq!((listed.matches("class=0 helper=tftp\n").count(), &*summary), (1, "1 expectations have been shown."));
    assert_eq!(run("-L expect -f ipv6").1, "");
    // Any source port meets it.
    assert_eq!(run("-G expect -s 10.0.0.2 -d 10.0.0.1 -p udp --sport 9 --dport 600").1, listed);
    assert_eq!(run("-C expect").1, "1\n");
    assert_eq!(run("-D expect -s 10.0.0.2 -d 10.0.0.1 -p udp --sport 9 --dport 600").0, Some(0));
    assert_eq!(run("-D expect -s 10.0.0.2 -d 10.0.0.1 -p udp --sport 9 --dport 600").0, Some(1));
    run(&create);
    // With its master it goes.
    run("-D -p udp");
    assert_eq!(run("-L expect").2, "0 expectations have been shown.");
    assert!(run("-S expect").1.ends_with("expect_new=0 expect_create=2 expect_delete=2 \n"));
}

#[test]
fn called_by_the_name_conntrack() {
    let daemon = Daemon::start(&[]);
    let link = daemon.socket.with_extension("d");
    std::fs::create_dir_all(&link).unwrap();
    let name = link.join("conntrack");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_uct"), &name).unwrap();
    let out = Command::new(&name).arg("-C").env("UCT_SOCKET", &daemon.socket).output().unwrap();
    std::fs::remove_dir_all(&link).unwrap();
    assert_eq!((out.status.code(), out.stdout), (Some(0), b"0\n".to_vec()));
    let nowhere = Command::new(env!("CARGO_BIN_EXE_uct")).args(["conntrack", "--socket", "/nowhere", "-C"]).output();
    let text = String::from_utf8(nowhere.unwrap().stderr).unwrap();
    assert!(text.ends_with(": cannot reach /nowhere: No such file or directory\n"), "{text}");
}

#[test]
fn only_those_who_may() {
    let is_root = Path::new("/proc/1/root/.").exists() && std::fs::metadata("/root").is_ok() && is_root();
    let daemon = Daemon::start(&["--socket-group", "65534", "--socket-ro"]);
    let mode = |d: &Daemon| std::fs::metadata(&d.socket).unwrap().permissions().mode() & 0o777;
    if !is_root {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    assert_eq!(mode(&daemon), 0o660);
    assert_eq!(mode(&Daemon::start(&[])), 0o600);
    use std::os::unix::process::CommandExt;
    let as_nobody = |daemon: &Daemon, word: &str| {
        let program = std::env::temp_dir().join(format!("uct-nobody-{}", std::process::id()));
        std::fs::copy(env!("CARGO_BIN_EXE_uct"), &program).unwrap();
        let out = Command::new(&program)
            .args(["conntrack", "--socket"])
            .arg(&daemon.socket)
            .arg(word)
            .uid(65534)
            .gid(65534)
            .output()
            .unwrap();
        let _ = std::fs::remove_file(&program);
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(as_nobody(&daemon, "-C").0, Some(0));
    let (code, text) = as_nobody(&daemon, "-F");
    assert_eq!((code, text.contains("sorry, you must be root")), (Some(1), true), "{text}");
    let closed = Daemon::start(&[]);
    assert_eq!(as_nobody(&closed, "-C").0, Some(1));
    // Even if the file's mode lets everybody in, the credentials do not.
    std::fs::set_permissions(&closed.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let (code, text) = as_nobody(&closed, "-C");
    assert_eq!((code, text.contains("sorry, you must be root")), (Some(1), true), "{text}");
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n")
}

#[test]
fn a_socket_in_use_is_left_alone_and_a_stale_one_replaced() {
    let daemon = Daemon::start(&[]);
    let again =
        Command::new(env!("CARGO_BIN_EXE_uct")).arg("run").arg("--socket").arg(&daemon.socket).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("another program serves this socket"));
    assert_eq!(daemon.conntrack("-C").stdout, b"0\n");
}

#[test]
fn a_survey_counts_everything_and_shows_the_first() {
    let daemon = Daemon::start(&["--sysctl", "nf_conntrack_acct=1"]);
    daemon.fill(500);
    let tcp = "-s 10.7.0.1 -d 10.9.0.2 -p tcp --dport 443 -t 900";
    for (port, state) in [(1, "ESTABLISHED"), (2, "ESTABLISHED"), (3, "SYN_SENT")] {
        let line = format!("-I {tcp} --sport {port} --state {state} --counters {port}:{port}00:0:0");
        assert_eq!(daemon.conntrack(&line).status.code(), Some(0));
    }
    let mut talk = daemon.connect();
    let request = json!({"id": 1, "summary": {"sort": "bytes", "descending": true, "limit": 2, "talkers": 1}});
    talk.say(format!("{request}\n").as_bytes());
    let summary = talk.hear().unwrap()["summary"].clone();
    let group = |protocol: &str, number: u8, state: &str, count: u64| json!({"protocol": protocol, "protocol_number": number, "state": state, "count": count});
    let groups =
        [group("tcp", 6, "ESTABLISHED", 2), group("tcp", 6, "SYN_SENT", 1), group("udp", 17, "UNREPLIED", 500)];
    assert_eq!(summary["groups"], json!(groups));
    assert_eq!(summary["talkers"], json!([{"addr": "10.7.0.1", "count": 3, "packets": 6, "bytes": 600}]));
    assert_eq!((&summary["total"], &summary["matched"], &summary["inserted"]), (&json!(503), &json!(503), &json!(503)));
    assert_eq!(summary.get("packets"), None, "an idle table takes no packets in");
    let entries = talk.hear().unwrap();
    let ports: Vec<_> = entries["entries"].as_array().unwrap().iter().map(|e| e["orig_sport"].clone()).collect();
    assert_eq!(ports, [3, 2], "the largest two");
    assert_eq!(talk.hear().unwrap()["done"]["count"], 503);
    let matched =
        |talk: &mut Talk, filter: Value| talk.ask(json!({"summary": {"filter": filter}}))["done"]["count"].clone();
    assert_eq!(matched(&mut talk, json!({"any_port": 443})), 4, "a source port, too");
    assert_eq!(matched(&mut talk, json!({"any_addr": "10.9.0.0", "any_addr_mask": "255.255.255.0"})), 503);
    assert_eq!(matched(&mut talk, json!({"any_addr": "10.9.0.2"})), 3);
    assert_eq!(talk.ask(json!({"summary": {"sort": "beauty"}}))["error"]["code"], "invalid");
}

/// What scripts that use jc see is what `-o json` says. (Needs Python with jc; without it there is nothing to compare with.)
#[test]
fn jc_reads_the_listing_as_we_write_json() {
    let daemon = Daemon::start(&["--sysctl", "nf_conntrack_acct=1", "--sysctl", "nf_conntrack_timestamp=1"]);
    for line in [
        "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 -t 1000 --state ESTABLISHED -u ASSURED,SEEN_REPLY -n 5.5.5.5 -m 3",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 9 -t 1000 -w 3",
        "-I -s fd00::1 -d fd00::2 -p udp --sport 1 --dport 2 -t 1000 --orig-zone 3 --counters 1:2:3:4",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p 99 -t 1000 --helper ftp",
    ] {
        assert_eq!(daemon.conntrack(line).status.code(), Some(0), "{line}");
    }
    let listed = daemon.conntrack("-L -o extended,id,ktimestamp").stdout;
    let python = Command::new("python3")
        .args(["-m", "jc", "--conntrack"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut python) = python else { return eprintln!("skipped: no python3") };
    let _ = python.stdin.take().unwrap().write_all(&listed);
    let out = python.wait_with_output().unwrap();
    let Ok(Value::Array(theirs)) = serde_json::from_slice(&out.stdout) else {
        return eprintln!("skipped: no jc, or one without a parser for conntrack");
    };
    let ours = String::from_utf8(daemon.conntrack("-L -o json").stdout).unwrap();
    let ours: Vec<Value> = ours.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(theirs.len(), ours.len());
    for (a, b) in theirs.iter().zip(&ours) {
        let fields = a.as_object().unwrap().iter().filter(|(name, value)| {
            !value.is_null() && **value != json!([]) && !matches!(name.as_str(), "timeout" | "start" | "delta_time")
        });
        for (name, value) in fields {
            assert_eq!(Some(value), b.get(name), "{name} of {b}");
        }
    }
}
