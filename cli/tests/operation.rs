//! `uct run` as a service: reload, state over a restart, the end, figures, systemd, and what it gave up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const UCT: &str = env!("CARGO_BIN_EXE_uct");
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that is gone with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("uct-operation-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn socket(&self) -> PathBuf {
        self.path("uct.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A router of its own, which writes its log into the folder.
struct Daemon<'a> {
    process: Child,
    folder: &'a Folder,
}

impl Daemon<'_> {
    fn start<'a>(folder: &'a Folder, arguments: &[&str]) -> Daemon<'a> {
        Daemon::start_in(folder, arguments, &[])
    }

    fn start_in<'a>(folder: &'a Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Daemon<'a> {
        let log = std::fs::File::options().append(true).create(true).open(folder.path("log")).unwrap();
        let process = Command::new(UCT)
            .arg("run")
            .arg("--socket")
            .arg(folder.socket())
            .args(arguments)
            .envs(environment.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Daemon { process, folder };
        let begun = Instant::now();
        while UnixStream::connect(folder.socket()).is_err() {
            assert!(begun.elapsed() < PATIENCE, "no socket: {}", daemon.log());
            assert!(daemon.process.try_wait().unwrap().is_none(), "it ended: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon.wait_for("behind");
        daemon
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap()
    }

    /// Waits until the log says this.
    fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        while !self.log().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "'{text}' is not in the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn ask(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = Command::new(UCT);
        command.arg(words.next().unwrap()).arg("--socket").arg(self.folder.socket()).args(words);
        command.output().unwrap()
    }

    fn say(&self, line: &str) -> String {
        let out = self.ask(line);
        assert_eq!(out.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Ends it as systemd does; answers the exit code.
    fn end(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.process.wait().unwrap().code()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const TCP: &str = "conntrack -I -s 192.168.1.10 -d 198.51.100.80 -p tcp --sport 4000 --dport 443 -t 1000 --state ESTABLISHED \
                   -u SEEN_REPLY,ASSURED -m 42 --src-nat 203.0.113.1:7777 --label-bits 5";

#[test]
fn the_table_goes_on_after_a_restart() {
    let folder = Folder::new();
    let state = folder.path("table.state");
    let first = Daemon::start(&folder, &["--state", text(&state)]);
    first.wait_for("none yet, the table begins empty");
    first.say(TCP);
    first.say("conntrack -I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 5 --dport 53 -t 1");
    let before = first.say("conntrack -L -p tcp -o labels");
    assert_eq!(first.end(), Some(0), "SIGTERM is a good end");
    assert!(!folder.socket().exists(), "the socket is gone");
    let mode = std::fs::metadata(&state).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "connections are nobody else's business");
    std::thread::sleep(Duration::from_millis(1100));

    let second = Daemon::start(&folder, &["--state", text(&state)]);
    second.wait_for("goes on");
    let after = second.say("conntrack -L -p tcp -o labels");
    let but_time = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[..2].join(" "), words[2].parse::<i64>().unwrap(), words[3..].join(" "))
    };
    let (was, is) = (but_time(&before), but_time(&after));
    assert_eq!((was.0, was.2), (is.0, is.2));
    assert!((1..60).contains(&(was.1 - is.1)), "the time that passed counts: {} {}", was.1, is.1);
    assert_eq!(second.say("conntrack -C"), "1\n", "what ran out meanwhile is gone");
}

#[test]
fn a_damaged_file_is_a_line_and_an_empty_table() {
    let folder = Folder::new();
    let state = folder.write("table.state", "this is no table");
    let daemon = Daemon::start(&folder, &["--state", text(&state)]);
    daemon.wait_for("table.state: damaged: it does not begin as one: the table begins empty");
    assert_eq!(daemon.say("conntrack -C"), "0\n");
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(&std::fs::read(&state).unwrap()[..8], b"uctstate", "and it is a whole one again");
}

#[test]
fn the_table_is_written_now_and_then() {
    let folder = Folder::new();
    let state = folder.path("table.state");
    let mut daemon = Daemon::start(&folder, &["--state", text(&state), "--state-every", "1"]);
    daemon.say(TCP);
    let begun = Instant::now();
    while std::fs::metadata(&state).map_or(0, |m| m.len()) < 100 {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Not even a chance to write at the end.
    daemon.process.kill().unwrap();
    daemon.process.wait().unwrap();
    let daemon = Daemon::start(&folder, &["--state", text(&state)]);
    assert_eq!(daemon.say("conntrack -C"), "1\n");
}

#[test]
fn settings_are_read_again_and_a_bad_file_is_refused() {
    let folder = Folder::new();
    let file = folder.write("sysctl.conf", "# first\nnet.netfilter.nf_conntrack_max = 1000\nnf_conntrack_acct = 1\n");
    let daemon = Daemon::start(&folder, &["--sysctl-file", text(&file)]);
    daemon.say(TCP);
    assert_eq!(daemon.say("sysctl nf_conntrack_max nf_conntrack_acct").matches(" = 1").count(), 2);
    folder.write("sysctl.conf", "nf_conntrack_max = 2000\n");
    let said = daemon.say("reload");
    assert!(
        said.contains("net.netfilter.nf_conntrack_max = 2000") && said.ends_with("in force; connections kept: 1\n"),
        "{said}"
    );
    assert_eq!(daemon.say("sysctl nf_conntrack_max"), "net.netfilter.nf_conntrack_max = 2000\n");
    assert_eq!(daemon.say("sysctl nf_conntrack_acct"), "net.netfilter.nf_conntrack_acct = 0\n", "it has left the file");

    folder.write("sysctl.conf", "nf_conntrack_max = 3000\nnf_conntrack_mux = 1\n");
    let refused = daemon.ask("reload");
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        why.starts_with("uct: ")
            && why.ends_with("sysctl.conf:2: unknown sysctl 'nf_conntrack_mux'; did you mean nf_conntrack_max?\n"),
        "{why}"
    );
    assert_eq!(daemon.say("sysctl nf_conntrack_max"), "net.netfilter.nf_conntrack_max = 2000\n", "all or nothing");

    folder.write("sysctl.conf", "nf_conntrack_max = 4000\n");
    daemon.signal("-HUP");
    daemon.wait_for("reload refused");
    let begun = Instant::now();
    while !daemon.say("sysctl nf_conntrack_max").contains("4000") {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
    }
    assert_eq!(daemon.say("conntrack -C"), "1\n");
}

#[test]
fn what_needs_a_restart_or_nothing_says_so() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &[]);
    let refused = daemon.ask("reload");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("uct: there is nothing to read again"));
}

#[test]
fn every_counter_has_its_meaning() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &[]);
    daemon.say(TCP);
    let stats = daemon.say("stats");
    assert!(
        stats.lines().any(|l| l.starts_with("conntrack_entries ") && l.ends_with(" 1  Connections in the table.")),
        "{stats}"
    );
    assert!(stats.contains("conntrack_nat_ports_in_use{pool=\"203.0.113.1\"}"), "{stats}");
    assert!(stats.contains("conntrack_connections{protocol=\"tcp\",state=\"ESTABLISHED\"}"), "{stats}");
    assert!(!stats.contains("tcp-seq-over"));
    let all = daemon.say("stats --all");
    assert!(
        all.contains("conntrack_invalid_total{reason=\"tcp-seq-over\"}")
            && all.contains("beyond the window of its receiver")
    );
    let json = daemon.say("stats --json");
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert!(first["value"].as_u64() > Some(0) && first["help"].is_string(), "{first}");
}

#[test]
fn figures_are_served() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &["--metrics", "127.0.0.1:0"]);
    daemon.say(TCP);
    daemon.wait_for("figures at http://");
    let log = daemon.log();
    let address = log.split("figures at http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("# EOF\n"), "{answer}");
    assert!(answer.contains("\nconntrack_connections{protocol=\"tcp\",state=\"ESTABLISHED\"} 1\n"), "{answer}");
    assert!(answer.contains("\nconntrack_nat_ports_in_use{pool=\"203.0.113.1\"} 1\n"), "{answer}");
}

#[test]
fn messages_are_as_wanted() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &["--log-format", "json"]);
    for line in daemon.log().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["level"], "INFO");
        assert!(message["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    drop(daemon);
    for (arguments, environment) in [(&["--log", "loud"][..], ""), (&[], "loud")] {
        let out = Command::new(UCT).arg("run").args(arguments).env("UCT_LOG", environment).output().unwrap();
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains("'loud' is no level"));
    }
}

#[test]
fn it_has_given_up_what_it_does_not_need() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &[]);
    daemon.wait_for("sandbox: no capabilities, no_new_privs, seccomp");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process.id())).unwrap();
    let mut seen = 0;
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set} {status}");
        }
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()), "{status}");
        seen += 1;
    }
    assert!(seen >= 4, "every thread, {seen} of them");
    drop(daemon);
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &["--no-sandbox"]);
    daemon.wait_for("--no-sandbox: all privileges are kept");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).unwrap();
    assert!(status.contains("Seccomp:\t0"), "{status}");
}

/// What the next message to systemd says.
fn told(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 4096];
    let count = socket.recv(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..count]).lines().map(str::to_owned).collect()
}

#[test]
fn systemd_is_told() {
    let folder = Folder::new();
    let path = folder.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let file = folder.write("sysctl.conf", "");
    let environment = [("NOTIFY_SOCKET", text(&path)), ("WATCHDOG_USEC", "900000")];
    let daemon = Daemon::start_in(&folder, &["--sysctl-file", text(&file)], &environment);
    assert_eq!(told(&socket), ["READY=1", "STATUS=an idle table"]);
    assert_eq!(told(&socket), ["WATCHDOG=1"]);
    daemon.signal("-HUP");
    let mut next = told(&socket);
    while next == ["WATCHDOG=1"] {
        next = told(&socket);
    }
    assert!(next[0] == "RELOADING=1" && next[1].starts_with("MONOTONIC_USEC="), "{next:?}");
    assert_eq!(told(&socket), ["READY=1", "STATUS=an idle table"]);
    daemon.signal("-TERM");
    let mut next = told(&socket);
    while next == ["WATCHDOG=1"] {
        next = told(&socket);
    }
    assert_eq!(next, ["STOPPING=1"]);
}

#[test]
fn a_socket_that_systemd_opened_is_served_and_left() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.socket()).unwrap();
    let log = std::fs::File::create(folder.path("log")).unwrap();
    let process = Command::new("sh")
        .args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3<&0 0</dev/null", "sh", UCT, "run", "--socket"])
        .arg(folder.socket())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stderr(log)
        .spawn()
        .unwrap();
    let daemon = Daemon { process, folder: &folder };
    daemon.wait_for("behind");
    assert_eq!(daemon.say("conntrack -C"), "0\n");
    assert_eq!(daemon.end(), Some(0));
    assert!(folder.socket().exists(), "it is systemd's to remove");
}

#[test]
fn the_units_are_in_order() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    }
    let folder = Folder::new();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for unit in ["uct.service", "uct.socket"] {
        let text = std::fs::read_to_string(units.join(unit)).unwrap();
        folder.write(unit, &text.replace("/usr/local/bin/uct", UCT));
    }
    let out = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args([folder.path("uct.service"), folder.path("uct.socket")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!said.lines().any(|line| line.contains("uct.")), "{said}");
    // The command line that it names is one that `uct run` takes.
    let service = std::fs::read_to_string(units.join("uct.service")).unwrap();
    let start = service.split("ExecStart=/usr/local/bin/uct").nth(1).unwrap();
    let start: String = start.replace("\\\n", " ").lines().next().unwrap().to_owned();
    let words: Vec<String> = start.split_whitespace().map(str::to_owned).collect();
    let parsed = uct::command().try_get_matches_from(std::iter::once("uct".to_owned()).chain(words));
    assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
}

const TOPOLOGY: &str = "[[interface]]\nname = \"lan0\"\naddresses = [\"192.168.1.1/24\"]\n\n[[interface]]\nname = \"wan0\"\n\
                        addresses = [\"203.0.113.1/24\"]\n\n[[route]]\nto = \"default\"\nvia = \"203.0.113.254\"\ndev = \"wan0\"\n";
const RULES: &str = "table ip nat {\n\tchain post {\n\t\ttype nat hook postrouting priority srcnat;\n\t\toifname wan0 masquerade\n\t}\n}\n";

fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(UCT).arg("check").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn what_is_right_is_summed_up() {
    let folder = Folder::new();
    let (topology, rules) = (folder.write("router.toml", TOPOLOGY), folder.write("nat.nft", RULES));
    let files = ["--topology", text(&topology), "--rules", text(&rules), "--sysctl", "nf_conntrack_acct=1"];
    let (code, said, remarks) = check(&files);
    assert_eq!((code, remarks.as_str()), (Some(0), ""));
    let said = said.replace(text(&folder.0), "F");
    assert_eq!(
        said,
        "topology F/router.toml: 2 interfaces, 1 route, 0 neighbours\n  lan0 192.168.1.1/24 mtu 1500\n  \
         wan0 203.0.113.1/24 mtu 1500\nrules F/nat.nft: 1 chain, 1 rule, NAT for IPv4\nsettings: 1 value\n  \
         net.netfilter.nf_conntrack_acct = 1\n"
    );
    let stranger = folder.write("ppp.nft", &RULES.replace("wan0", "ppp0"));
    let (code, _, remarks) = check(&["--topology", text(&topology), "--rules", text(&stranger)]);
    assert_eq!(code, Some(0));
    assert!(remarks.starts_with("uct: the rules name the interface ppp0, which is not there"), "{remarks}");
}

#[test]
fn all_that_is_wrong_is_shown_with_its_place() {
    let folder = Folder::new();
    let topology = folder.write("router.toml", &TOPOLOGY.replace("203.0.113.254", "198.51.100.1"));
    let rules = folder.write("nat.nft", &RULES.replace("masquerade", "masqerade"));
    let (code, said, wrong) = check(&["--topology", text(&topology), "--rules", text(&rules)]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let wrong = wrong.replace(text(&folder.0), "F");
    assert!(
        wrong.starts_with(
            "uct: F/router.toml:11: via 198.51.100.1: not reachable on wan0: no prefix there holds it\n  \
             via = \"198.51.100.1\"\n        ^^^^^^^^^^^^^^\n"
        ),
        "{wrong}"
    );
    assert!(wrong.contains("uct: F/nat.nft:4:16: ") && wrong.contains("masqerade"), "{wrong}");
    assert_eq!(check(&[]).0, Some(2));
    assert_eq!(check(&["--sysctl", "nf_conntrack_max=many"]).0, Some(2));
    assert_eq!(check(&["--rules", text(&folder.path("none.nft"))]).0, Some(1));
}
