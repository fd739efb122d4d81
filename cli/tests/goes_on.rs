//! A download through a running router goes on: over a reload, over a restart with `--state`, and while connections come and go.
//!
//! ```text
//!   client 192.168.1.10 ── lan0 │ uct run │ wan0 ── 203.0.113.80 server          three network namespaces, two cables
//! ```
//! The client is curl. Translation draws random ports, so that a router which has lost its table cannot guess them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

const UCT: &str = env!("CARGO_BIN_EXE_uct");
const PATIENCE: Duration = Duration::from_secs(60);
const SIZE: usize = 64 << 20;

const TOPOLOGY: &str = r#"
[[interface]]
name = "lan0"
addresses = ["192.168.1.1/24"]

[[interface]]
name = "wan0"
addresses = ["203.0.113.1/24"]
"#;
const RULES: &str = "table ip nat {\n chain post {\n  type nat hook postrouting priority srcnat;\n  oifname wan0 masquerade random\n }\n}\n";

/// A network namespace; it lives as long as this does.
struct Net(std::fs::File);

impl Net {
    fn new() -> Net {
        let made = std::thread::spawn(|| {
            // SAFETY: only `CLONE_FILES` would endanger descriptors of other threads; a network namespace does not.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET).unwrap() };
            std::fs::File::open("/proc/thread-self/ns/net").unwrap()
        });
        let net = Net(made.join().unwrap());
        net.run("ip link set lo up");
        net
    }

    /// Does something inside, in a thread of its own. What it opens stays inside.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    fn run(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let out = self.within(|| Command::new(words[0]).args(&words[1..]).output().unwrap());
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

/// The three machines, the router's files, and the router.
struct World {
    client: Net,
    router: Net,
    server: Net,
    folder: PathBuf,
    process: Option<Child>,
}

impl World {
    /// `None` where there can be none.
    fn new(name: &str) -> Option<World> {
        if let Err(why) = uct_tests::kernel::available() {
            uct_tests::kernel::skip_or_fail(&why);
            return None;
        }
        let (client, router, server) = (Net::new(), Net::new(), Net::new());
        let pid = std::process::id();
        let fd = |net: &Net| format!("/proc/{pid}/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&net.0));
        for name in ["all", "default"] {
            router.run(&format!("sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1"));
        }
        router.run(&format!("ip link add lan0 type veth peer name eth0 netns {}", fd(&client)));
        router.run(&format!("ip link add wan0 type veth peer name eth0 netns {}", fd(&server)));
        router.run("ip link set lan0 up");
        router.run("ip link set wan0 up");
        client.run("ip address add 192.168.1.10/24 dev eth0");
        client.run("ip link set eth0 up");
        client.run("ip route add default via 192.168.1.1");
        server.run("ip address add 203.0.113.80/24 dev eth0");
        server.run("ip link set eth0 up");
        let folder = std::env::temp_dir().join(format!("uct-goes-on-{pid}-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("router.toml"), TOPOLOGY).unwrap();
        std::fs::write(folder.join("nat.nft"), RULES).unwrap();
        let mut world = World { client, router, server, folder, process: None };
        world.start();
        Some(world)
    }

    fn start(&mut self) {
        let folder = &self.folder;
        let log = std::fs::File::options().append(true).create(true).open(folder.join("log")).unwrap();
        let process = self.router.within(|| {
            Command::new(UCT)
                .args(["run", "--socket"])
                .arg(folder.join("uct.sock"))
                .arg("--topology")
                .arg(folder.join("router.toml"))
                .arg("--rules")
                .arg(folder.join("nat.nft"))
                .arg("--state")
                .arg(folder.join("table.state"))
                .stderr(log)
                .spawn()
                .unwrap()
        });
        self.process = Some(process);
        let begun = Instant::now();
        while !self.log().lines().last().is_some_and(|l| l.contains("a router between")) {
            assert!(begun.elapsed() < PATIENCE, "it did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as systemd does.
    fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let begun = Instant::now();
        let status = loop {
            match process.try_wait().unwrap() {
                Some(status) => break status,
                None => {
                    assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.log());
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        };
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn ask(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = Command::new(UCT);
        command.arg(words.next().unwrap()).arg("--socket").arg(self.folder.join("uct.sock")).args(words);
        command.output().unwrap()
    }

    fn say(&self, line: &str) -> String {
        let out = self.ask(line);
        assert_eq!(out.status.code(), Some(0), "{line}: {}\n{}", String::from_utf8_lossy(&out.stderr), self.log());
        String::from_utf8(out.stdout).unwrap()
    }

    /// The port that the download has outside.
    fn outside_port(&self) -> String {
        let line = self.say("conntrack -L -p tcp --dport 80");
        line.split_whitespace().filter_map(|word| word.strip_prefix("dport=")).nth(1).unwrap_or_default().to_owned()
    }

    /// Begins a download of [`SIZE`] bytes that takes some seconds.
    fn download(&self) -> (Child, Arc<AtomicU64>) {
        let sent = Arc::new(AtomicU64::new(0));
        let listener = self.server.within(|| TcpListener::bind("0.0.0.0:80").unwrap());
        let counted = Arc::clone(&sent);
        std::thread::spawn(move || serve(&listener, &counted));
        let file = self.folder.join("download");
        let curl = self.client.within(|| {
            Command::new("curl")
                .args(["-sS", "--max-time", "120", "-w", "%{http_code} %{size_download} %{num_connects}", "-o"])
                .arg(file)
                .arg("http://203.0.113.80/")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let begun = Instant::now();
        while sent.load(Ordering::Relaxed) < 1 << 20 {
            assert!(begun.elapsed() < PATIENCE, "the download does not begin: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        (curl, sent)
    }

    /// The download came whole, over one connection.
    fn came_whole(&self, curl: Child) {
        let out = curl.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(said, format!("200 {SIZE} 1"), "{why}\n{}", self.log());
        let came = std::fs::read(self.folder.join("download")).unwrap();
        assert!(came == content(), "it came changed");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What is downloaded: no stretch of it is like another.
fn content() -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend_from_slice(&x.to_le_bytes());
    }
    bytes
}

/// Sends it to whoever asks, not faster than 16 MB/s.
fn serve(listener: &TcpListener, sent: &AtomicU64) {
    let content = content();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
        let mut send = || -> std::io::Result<()> {
            stream.write_all(head.as_bytes())?;
            for piece in content.chunks(SIZE / 400) {
                stream.write_all(piece)?;
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        };
        let _ = send();
    }
}

/// Connections that come and go until `over`, `rate` a second of them; answers how many did, and how many failed.
fn come_and_go(world: &World, over: &Arc<AtomicBool>, rate: u32) -> JoinHandle<(u64, u64)> {
    let listener = world.server.within(|| TcpListener::bind("0.0.0.0:81").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    let inside = world.client.0.try_clone().unwrap();
    let over = Arc::clone(over);
    std::thread::spawn(move || {
        move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let to: SocketAddr = "203.0.113.80:81".parse().unwrap();
        let (mut came, mut failed, begun) = (0_u64, 0, Instant::now());
        while !over.load(Ordering::Relaxed) {
            match TcpStream::connect_timeout(&to, Duration::from_secs(20)) {
                Ok(mut stream) => {
                    // The other end closes first, so that this end's port is free again at once.
                    let _ = stream.read(&mut [0; 1]);
                    came += 1;
                }
                Err(_) => failed += 1,
            }
            let due = begun + Duration::from_secs(1) * u32::try_from(came + failed).unwrap() / rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        eprintln!("{came} connections came and went, {:.0} a second", came as f64 / begun.elapsed().as_secs_f64());
        (came, failed)
    })
}

#[test]
fn a_download_goes_on_over_reloads_and_a_thousand_connections_a_second() {
    let Some(world) = World::new("reload") else { return };
    let (curl, sent) = world.download();
    let port = world.outside_port();
    let over = Arc::new(AtomicBool::new(false));
    let others = come_and_go(&world, &over, 1000);
    let (mut reloads, mut refusals) = (0, 0);
    while sent.load(Ordering::Relaxed) < SIZE as u64 * 9 / 10 {
        // Other rules each time; every third time with a fault.
        let rules = match reloads % 3 {
            0 => RULES.replace("oifname wan0 masquerade", "ip saddr 192.168.1.0/24 masquerade"),
            1 => RULES.replace("masquerade", "masqerade"),
            _ => RULES.to_owned(),
        };
        let is_bad = rules.contains("masqerade");
        std::fs::write(world.folder.join("nat.nft"), rules).unwrap();
        let answer = world.ask("reload");
        assert_eq!(answer.status.code(), Some(i32::from(is_bad)), "{}", world.log());
        if is_bad {
            let why = String::from_utf8_lossy(&answer.stderr).into_owned();
            assert!(
                why.contains("nat.nft:4:16: ") && why.contains("masqerade"),
                "the caller is shown what is wrong: {why}"
            );
            refusals += 1;
        } else {
            assert!(String::from_utf8_lossy(&answer.stdout).contains("in force; "));
        }
        reloads += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(reloads > 3 && refusals > 0);
    assert_eq!(world.outside_port(), port, "it is the same connection");
    over.store(true, Ordering::Relaxed);
    let (came, failed) = others.join().unwrap();
    assert!(came > 100 && failed == 0, "{came} came, {failed} failed: {}", world.log());
    world.came_whole(curl);
}

#[test]
fn a_download_goes_on_over_a_restart() {
    let Some(mut world) = World::new("restart") else { return };
    let (curl, sent) = world.download();
    let port = world.outside_port();
    assert!(!port.is_empty());
    while sent.load(Ordering::Relaxed) < SIZE as u64 / 4 {
        std::thread::sleep(Duration::from_millis(5));
    }
    world.stop();
    world.start();
    assert!(world.log().contains("the table of"), "{}", world.log());
    assert_eq!(world.outside_port(), port, "it has the port that it had");
    world.came_whole(curl);
}
