//! The two programs, each with a table of its own.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Entries that every line begins with, as `-R` takes them.
const ENTRIES: &str = "\
-A -s 10.0.0.1 -d 10.9.0.1 -p tcp --sport 1111 --dport 80 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 3000 -m 1
-A -s 10.0.0.2 -d 10.9.0.1 -p tcp --sport 2222 --dport 443 --state SYN_SENT -t 1200 -m 2
-A -s 10.0.0.3 -d 10.9.0.2 -p tcp --sport 3333 --dport 80 --state TIME_WAIT -u SEEN_REPLY,ASSURED,FIXED_TIMEOUT -t 900
-A -s 10.0.1.1 -d 10.9.0.3 -p udp --sport 53000 --dport 53 -t 300
-A -s 10.0.1.2 -d 10.9.0.3 -p udp --sport 53001 --dport 53 -u SEEN_REPLY,ASSURED -t 1200 -m 0x10 -n 5.5.5.5
-A -s 10.0.2.1 -d 10.9.0.4 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77 -u SEEN_REPLY -t 300
-A -s 10.0.3.1 -d 10.9.0.9 -p udp --sport 9 --dport 9 -t 600 -w 3 -m 5
-A -s 10.0.3.2 -d 10.9.0.9 -p udp --sport 9 --dport 9 -t 600 --orig-zone 4
-A -s 10.0.4.1 -d 10.9.0.5 -p gre --srckey 0x10 --dstkey 0x20 -t 600
-A -s 10.0.4.2 -d 10.9.0.5 -p 99 -t 600 -m 3
-A -s 10.0.4.3 -d 10.9.0.5 -p udplite --sport 7 --dport 8 -t 600
-A -s 10.0.4.4 -d 10.9.0.5 -p sctp --sport 7 --dport 8 --state ESTABLISHED --orig-vtag 5 --reply-vtag 6 -t 600
-A -s fd00::1 -d fd00:9::1 -p tcp --sport 4444 --dport 22 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 4000 -m 3
-A -s fd00::2 -d fd00:9::1 -p udp --sport 5555 --dport 123 -t 300 -n fd00:5::5
-A -s fd00::3 -d fd00:9::1 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 9 -t 300
";

/// Those with labels: the real tool's `-R` crashes on `--label-add`.
const LABELLED: [&str; 2] = [
    "-A -s 10.0.1.3 -d 10.9.0.3 -p udp --sport 53002 --dport 53 -t 1200 -g 10.7.0.1:5353 --label-add alpha,delta",
    "-A -s 10.0.3.3 -d 10.9.0.9 -p udp --sport 9 --dport 9 -t 600 --reply-zone 5 --label-add alpha",
];

const LABELS: &str = "1 alpha\n2 beta\n3 gamma\n40 delta\n127 omega\n";

/// What came of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
    pub(crate) table: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exits with {:?}", self.code)?;
        for (sign, lines) in [('|', &self.stdout), ('!', &self.stderr), ('=', &self.table)] {
            for line in lines {
                write!(f, "\n  {sign} {line}")?;
            }
        }
        Ok(())
    }
}

/// A program with a table.
pub(crate) struct Side {
    prefix: Vec<String>,
    holder: Child,
    directory: Option<PathBuf>,
}

/// Starts both. They share a view of /etc that has names for labels.
pub(crate) fn start() -> (Side, Side) {
    let directory = std::env::temp_dir().join(format!("uctc-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let script = format!(
        "mount -t tmpfs tmpfs {d} && mkdir {d}/upper {d}/work \
         && mount -t overlay overlay -o lowerdir=/etc,upperdir={d}/upper,workdir={d}/work /etc \
         && mkdir -p /etc/xtables && printf '{LABELS}' > /etc/xtables/connlabel.conf \
         && nft 'table inet t {{ chain c {{ type filter hook input priority 0; ct label set 5; }}; }}' \
         && echo ready && exec sleep 3600",
        d = directory.display()
    );
    let mut holder = Command::new("unshare")
        .args(["-n", "-m", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut ready = String::new();
    let out = holder.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut ready).unwrap();
    assert_eq!(ready, "ready\n", "the namespace could not be set up");
    let pid = holder.id().to_string();
    let enter = |net: &[&str], program: &[&str]| -> Vec<String> {
        [&["nsenter", "-t", &pid, "-m"], net, &["--"], program].concat().into_iter().map(str::to_owned).collect()
    };

    let uct = env!("CARGO_BIN_EXE_uct");
    let socket = std::env::temp_dir().join(format!("uctc-{}.sock", std::process::id()));
    let path = socket.display().to_string();
    let daemon = Command::new(uct).args(["run", "--socket", &path]).stderr(Stdio::null()).spawn().expect("uct run");
    let begun = Instant::now();
    while !socket.exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "uct run made no socket");
        std::thread::sleep(Duration::from_millis(10));
    }
    let real = Side { prefix: enter(&["-n"], &["conntrack"]), holder, directory: Some(directory) };
    let ours = Side { prefix: enter(&[], &[uct, "conntrack", "--socket", &path]), holder: daemon, directory: None };
    (real, ours)
}

impl Drop for Side {
    fn drop(&mut self) {
        // SIGTERM, so that the socket goes with its server.
        let _ = Command::new("kill").arg(self.holder.id().to_string()).status();
        let _ = self.holder.wait();
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

impl Side {
    fn command(&self, line: &[String], input: &str) -> (Option<i32>, String, String) {
        let follows = line.iter().any(|w| matches!(w.as_str(), "-E" | "--event"));
        let mut words: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        if follows {
            words.splice(0..0, ["timeout", "--foreground", "-s", "INT", "0.15"]);
        }
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .args(line)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let out = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = if follows && out.status.code() == Some(124) { Some(0) } else { out.status.code() };
        (code, text(&out.stdout), text(&out.stderr))
    }

    /// Runs a line.
    pub(crate) fn run(&mut self, line: &[String]) -> Answer {
        let (code, stdout, stderr) = self.command(line, "");
        let help = line.iter().any(|w| w == "-h") || !line.iter().any(|w| w.starts_with('-'));
        let mut out: Vec<String> = stdout.lines().map(normal).collect();
        if help && code == Some(0) {
            out.clear();
        }
        out.sort();
        if line.iter().any(|w| w == "-S") {
            // As many lines as there are processors, or workers.
            out.dedup();
        }
        Answer { code, stdout: out, stderr: stderr.lines().map(message).collect(), table: Vec::new() }
    }

    /// Empties the table and fills it.
    pub(crate) fn refill(&mut self) {
        self.command(&["-F".to_owned()], "");
        let (code, _, stderr) = self.command(&["-R".to_owned(), "-".to_owned()], ENTRIES);
        assert_eq!(code, Some(0), "entries could not be entered: {stderr}");
        for line in LABELLED {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (code, _, stderr) = self.command(&words, "");
            assert_eq!(code, Some(0), "{line}: {stderr}");
        }
    }

    /// The whole table.
    pub(crate) fn table(&mut self) -> Vec<String> {
        let words = ["-L", "-o", "labels"].map(str::to_owned);
        let (_, stdout, _) = self.command(&words, "");
        let mut lines: Vec<String> = stdout.lines().map(normal).collect();
        lines.sort();
        lines
    }
}

/// Without the program's name and version.
fn message(line: &str) -> String {
    let rest = line.strip_prefix("conntrack v").and_then(|l| l.split_once("): ")).map(|(_, rest)| rest);
    if let Some((notice, _)) = line.split_once(" set to ") {
        return notice.to_owned();
    }
    rest.map_or_else(|| line.to_owned(), |rest| format!("conntrack: {rest}"))
}

/// Without what differs from run to run: numbers of entries, users; a timeout to the next ten seconds.
fn normal(line: &str) -> String {
    if line.starts_with("cpu=") {
        return line.split_whitespace().skip(1).filter_map(|w| w.split('=').next()).collect::<Vec<_>>().join(" ");
    }
    if line.starts_with("conntrack v") {
        return "conntrack".to_owned();
    }
    let line = element(&element(&element(line, "id", "N"), "use", "N"), "timeout", "T");
    let words: Vec<&str> = line.split(' ').collect();
    let mut normal: Vec<String> = Vec::new();
    let (mut numbers, mut begun) = (0, 0);
    for word in &words {
        let before = normal.last().map(String::as_str);
        let is_number = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        if word.starts_with("src=") {
            begun += 1;
        }
        let shown = match *word {
            w if w.starts_with("use=") => "use=N".to_owned(),
            w if w.starts_with("id=") && normal.iter().any(|w| w == "use=N") => "id=N".to_owned(),
            w if is_number && before == Some("-t") => round(w),
            w if is_number && begun == 0 => {
                numbers += 1;
                // ipv4 2 tcp 6 TIMEOUT, or tcp 6 TIMEOUT
                let extended = words[0] == "ipv4" || words[0] == "ipv6";
                if numbers == if extended { 3 } else { 2 } { round(w) } else { w.to_owned() }
            }
            w => w.to_owned(),
        };
        normal.push(shown);
    }
    normal.join(" ")
}

fn round(number: &str) -> String {
    let n: u64 = number.parse().unwrap_or(0);
    format!("~{}", n.div_ceil(10) * 10)
}

/// Replaces what stands in an element.
fn element(line: &str, name: &str, by: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    match (line.find(&open), line.find(&close)) {
        (Some(a), Some(b)) if a < b => format!("{}{by}{}", &line[..a + open.len()], &line[b..]),
        _ => line.to_owned(),
    }
}
