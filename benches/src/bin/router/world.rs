//! The hosts, the links, and who is between them.
//!
//! ```text
//!   client 10.1.0.2 ── lan0 ┐ router ┌ wan0 ── 10.2.0.2 server          10.2.0.66: routed to the server, which throws it away
//!                           └        ┘
//! ```
//! Link addresses are fixed and neighbours are permanent, so that one set of frames serves for everybody; only slirp4netns and
//! pasta, which have a network of their own, are looked up.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Args;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) type Mac = [u8; 6];
pub(crate) const CLIENT: Mac = [2, 0, 0, 0, 0, 1];
pub(crate) const LAN: Mac = [2, 0, 0, 0, 0, 2];
pub(crate) const WAN: Mac = [2, 0, 0, 0, 0, 3];
pub(crate) const SERVER: Mac = [2, 0, 0, 0, 0, 4];

/// Who is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// Nobody: one cable.
    Nobody,
    /// The kernel, with nf_conntrack and masquerade.
    Kernel,
    /// Rings, and nothing between them.
    Copier,
    /// `uct run --io KIND`.
    Uct(&'static str),
    /// slirp4netns: a stack in a process, sockets outside.
    Slirp,
    /// pasta, of the package passt: the same with the kernel's sockets spliced.
    Pasta,
}

impl Between {
    pub(crate) const ALL: [Between; 8] = [
        Between::Nobody,
        Between::Kernel,
        Between::Copier,
        Between::Uct("ring"),
        Between::Uct("pnet"),
        Between::Uct("tap"),
        Between::Slirp,
        Between::Pasta,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Between::Nobody => "no router".to_owned(),
            Between::Kernel => "kernel".to_owned(),
            Between::Copier => "copier".to_owned(),
            Between::Uct(io) => format!("uct {io}"),
            Between::Slirp => "slirp4netns".to_owned(),
            Between::Pasta => "pasta".to_owned(),
        }
    }

    /// The program without which it cannot take part.
    pub(crate) fn needs(self) -> Option<&'static str> {
        match self {
            Between::Slirp => Some("slirp4netns"),
            Between::Pasta => Some("pasta"),
            _ => None,
        }
    }
}

/// Whether a program is there.
pub(crate) fn is_there(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

const TOPOLOGY: &str = r#"
[[interface]]
name = "lan0"
mac = "02:00:00:00:00:02"
addresses = ["10.1.0.1/24"]
[[interface]]
name = "wan0"
mac = "02:00:00:00:00:03"
addresses = ["10.2.0.1/24"]
[[neighbor]]
address = "10.1.0.2"
dev = "lan0"
mac = "02:00:00:00:00:01"
[[neighbor]]
address = "10.2.0.2"
dev = "wan0"
mac = "02:00:00:00:00:04"
[[neighbor]]
address = "10.2.0.66"
dev = "wan0"
mac = "02:00:00:00:00:04"
"#;

const RULES: &str =
    "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname \"wan0\" masquerade; }; }\n";

/// An Ethernet header for IPv4.
pub(crate) fn header(dst: Mac, src: Mac) -> [u8; 14] {
    let mut header = [0; 14];
    header[..6].copy_from_slice(&dst);
    header[6..12].copy_from_slice(&src);
    header[12] = 8;
    header
}

/// The number of an interface in this thread's namespace.
pub(crate) fn ifindex(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

fn sh(line: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-ec", line]).output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("{line}\n{}", String::from_utf8_lossy(&output.stderr))) }
}

/// Hosts, links and a router. All of it is gone when this is dropped.
pub(crate) struct World {
    name: String,
    folder: PathBuf,
    pub(crate) router: Option<Child>,
    pub(crate) between: Between,
    /// The client's interface, its address, and its gateway's link address.
    pub(crate) dev: &'static str,
    pub(crate) client: [u8; 4],
    pub(crate) own: Mac,
    pub(crate) gateway: Mac,
}

impl World {
    pub(crate) fn new(between: Between, args: &Args) -> Result<World, String> {
        let name = format!("uctb{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        std::fs::write(folder.join("router.toml"), TOPOLOGY).map_err(|e| e.to_string())?;
        std::fs::write(folder.join("nat.nft"), RULES).map_err(|e| e.to_string())?;
        let gateway = if between == Between::Nobody { SERVER } else { LAN };
        let (dev, client, own) = ("eth0", [10, 1, 0, 2], CLIENT);
        let mut world = World { name, folder, router: None, between, dev, client, own, gateway };
        world.build(args)?;
        Ok(world)
    }

    pub(crate) fn ns(&self, host: &str) -> String {
        format!("{}{host}", self.name)
    }

    fn build(&mut self, args: &Args) -> Result<(), String> {
        let [c, r, s] = ["client", "router", "server"].map(|host| self.ns(host));
        sh(&format!(
            "for n in {c} {r} {s}; do
               ip netns add $n; ip -n $n link set lo up
               ip netns exec $n sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
                 net.ipv4.ip_local_port_range='1024 65535'
             done"
        ))?;
        let client_end = format!(
            "ip -n {c} link set eth0 address 02:00:00:00:00:01; ip -n {c} link set eth0 up
             ip -n {c} addr add 10.1.0.2/24 dev eth0
             ip -n {c} neigh replace 10.1.0.1 lladdr {} dev eth0 nud permanent
             ip -n {c} route add default via 10.1.0.1",
            if self.between == Between::Nobody { "02:00:00:00:00:04" } else { "02:00:00:00:00:02" }
        );
        let server_end = format!(
            "ip -n {s} link set eth0 address 02:00:00:00:00:04; ip -n {s} link set eth0 up
             ip -n {s} addr add 10.2.0.2/24 dev eth0
             ip -n {s} route add blackhole 10.2.0.66/32
             ip -n {s} neigh replace 10.2.0.1 lladdr {} dev eth0 nud permanent
             ip -n {s} route add default via 10.2.0.1",
            if self.between == Between::Nobody { "02:00:00:00:00:01" } else { "02:00:00:00:00:03" }
        );
        let lan = format!(
            "ip link add eth0 netns {c} type veth peer name lan0 netns {r}
             ip -n {r} link set lan0 address 02:00:00:00:00:02; ip -n {r} link set lan0 up"
        );
        let wan = format!(
            "ip link add eth0 netns {s} type veth peer name wan0 netns {r}
             ip -n {r} link set wan0 address 02:00:00:00:00:03; ip -n {r} link set wan0 up"
        );
        // What terminates connections itself sends with the kernel's stack.
        let stack = format!(
            "ip -n {r} addr add 10.2.0.1/24 dev wan0
             for a in 10.2.0.2 10.2.0.66; do ip -n {r} neigh replace $a lladdr 02:00:00:00:00:04 dev wan0 nud permanent; done"
        );
        match self.between {
            Between::Nobody => {
                sh(&format!("ip link add eth0 netns {c} type veth peer name eth0 netns {s}"))?;
                sh(&client_end)?;
                sh(&server_end)?;
            }
            Between::Kernel => {
                for part in [&lan, &wan, &stack, &client_end, &server_end] {
                    sh(part)?;
                }
                sh(&format!(
                    "ip -n {r} addr add 10.1.0.1/24 dev lan0
                     ip -n {r} neigh replace 10.1.0.2 lladdr 02:00:00:00:00:01 dev lan0 nud permanent
                     ip netns exec {r} sysctl -qw net.ipv4.ip_forward=1
                     ip netns exec {r} nft -f {}/nat.nft",
                    self.folder.display()
                ))?;
            }
            Between::Copier => {
                for part in [&lan, &wan, &client_end, &server_end] {
                    sh(part)?;
                }
                let me = std::env::current_exe().map_err(|e| e.to_string())?;
                let program = args.copier_program.as_ref().unwrap_or(&me);
                self.start(&[&program.display().to_string(), "--copier"])?;
                std::thread::sleep(Duration::from_millis(300));
            }
            Between::Uct(io) => {
                if io != "tap" {
                    for part in [&lan, &wan, &client_end, &server_end] {
                        sh(part)?;
                    }
                }
                if io == "pnet" {
                    for n in [&c, &s] {
                        sh(&format!("ip netns exec {n} ethtool -K eth0 tx off tso off gso off gro off"))?;
                    }
                }
                let [topology, rules, socket] =
                    ["router.toml", "nat.nft", "socket"].map(|file| self.folder.join(file).display().to_string());
                let (uct, workers) = (args.uct.display().to_string(), args.workers.to_string());
                self.start(&[
                    &uct,
                    "run",
                    "--topology",
                    &topology,
                    "--rules",
                    &rules,
                    "--socket",
                    &socket,
                    "--io",
                    io,
                    "--workers",
                    &workers,
                    "--sysctl",
                    "nf_conntrack_max=1048576",
                ])?;
                self.wait(|world| world.log().contains("a router between"))?;
                if io == "tap" {
                    // The other ends of its devices are the hosts' interfaces.
                    for (dev, host, end) in [("lan0", &c, &client_end), ("wan0", &s, &server_end)] {
                        sh(&format!("ip -n {r} link set {dev} name eth0 netns {host}"))?;
                        sh(end)?;
                    }
                }
            }
            Between::Slirp => {
                for part in [&wan, &stack, &server_end] {
                    sh(part)?;
                }
                let door = format!("/run/netns/{c}");
                self.start(&[
                    "slirp4netns",
                    "-c",
                    "--mtu=65520",
                    "--disable-host-loopback",
                    "--netns-type=path",
                    &door,
                    "eth0",
                ])?;
                self.look_up([10, 0, 2, 100], "10.0.2.2")?;
            }
            Between::Pasta => {
                for part in [&wan, &stack, &server_end] {
                    sh(part)?;
                }
                sh(&format!("ip -n {r} route add default via 10.2.0.2 dev wan0"))?;
                let door = format!("/run/netns/{c}");
                self.start(&[
                    "pasta",
                    "-f",
                    "-4",
                    "--runas",
                    "0",
                    "--config-net",
                    "-a",
                    "10.1.0.2",
                    "-n",
                    "24",
                    "-g",
                    "10.1.0.1",
                    "-I",
                    "eth0",
                    "-t",
                    "none",
                    "-u",
                    "none",
                    "-T",
                    "none",
                    "-U",
                    "none",
                    "--netns",
                    &door,
                ])?;
                self.look_up([10, 1, 0, 2], "10.1.0.1")?;
            }
        }
        self.wait(|world| {
            let c = world.ns("client");
            sh(&format!("ip netns exec {c} ip route get 10.2.0.2")).is_ok()
        })
    }

    /// A client whose interface somebody else has made: its own link address, and the gateway's.
    fn look_up(&mut self, client: [u8; 4], gateway: &str) -> Result<(), String> {
        let c = self.ns("client");
        self.wait(|_| sh(&format!("ip -n {c} route get 10.2.0.2")).is_ok())?;
        self.wait(|_| {
            let _ = sh(&format!("ip netns exec {c} ping -c 1 -W 1 {gateway}"));
            sh(&format!("ip -n {c} neigh show {gateway} | grep -q lladdr")).is_ok()
        })?;
        let ask = |line: &str| -> Result<Mac, String> {
            let output = Command::new("sh").args(["-ec", line]).output().map_err(|e| e.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let bytes: Vec<u8> = text.split(':').filter_map(|b| u8::from_str_radix(b, 16).ok()).collect();
            bytes.try_into().map_err(|_| format!("no link address in '{text}'"))
        };
        self.own = ask(&format!("ip -n {c} link show eth0 | awk '/link.ether/ {{ print $2 }}'"))?;
        self.gateway = ask(&format!("ip -n {c} neigh show {gateway} | awk '{{ print $5 }}'"))?;
        self.client = client;
        Ok(())
    }

    fn start(&mut self, words: &[&str]) -> Result<(), String> {
        let log = File::create(self.folder.join("log")).map_err(|e| e.to_string())?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.ns("router")])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|e| e.to_string())?;
        self.router = Some(child);
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn wait(&mut self, is_so: impl Fn(&World) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is_so(self) {
            let is_over = self.router.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if is_over || begun.elapsed() > Duration::from_secs(10) {
                return Err(format!("{} does not start: {}", self.between.name(), self.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Does something on a host, in a thread of its own.
    pub(crate) fn on<T: Send + 'static>(
        &self,
        host: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<io::Result<T>> {
        let door = File::open(format!("/run/netns/{}", self.ns(host)));
        std::thread::spawn(move || {
            move_into_link_name_space(door?.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(child) = &mut self.router {
            let _ = child.kill();
            let _ = child.wait();
        }
        for host in ["client", "router", "server"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(host)]).output();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
