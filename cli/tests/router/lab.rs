//! Hosts in network namespaces around a router that is either the kernel or `uct run`.
//!
//! ```text
//!   client ── lan0 ┐          ┌ wan0 ── server ── far         far: behind a link of 1400 bytes, by way of the server
//!                  ├─ router ─┤
//!   thin ── thin0 ─┘          └                               thin: a link of 1300 bytes at the router itself
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::http;

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The kernel, with the ruleset loaded by nft.
    Kernel,
    /// `uct run`.
    Uct,
}

const TOPOLOGY: &str = r#"
[[interface]]
name = "lan0"
addresses = ["192.168.1.1/24", "fd00:1::1/64", "2001:db8:1::1/64"]
[[interface]]
name = "wan0"
addresses = ["203.0.113.1/24", "2001:db8:2::1/64"]
[[interface]]
name = "thin0"
addresses = ["10.9.0.1/24"]
mtu = 1300
[[route]]
to = "198.51.100.0/24"
via = "203.0.113.80"
dev = "wan0"
"#;

/// IPv6 from fd00:1:: is masqueraded, from 2001:db8:1:: only routed. Port 8080 is the client's; 8081 also from inside.
const RULES: &str = r#"
table inet nat {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname "wan0" tcp dport 8080 dnat ip to 192.168.1.10:80
        ip daddr 203.0.113.1 tcp dport 8081 dnat ip to 192.168.1.10:80
        ip daddr 203.0.113.1 udp dport 5353 dnat ip to 192.168.1.10:53
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "wan0" ip saddr 192.168.1.0/24 masquerade
        oifname "wan0" ip saddr 10.9.0.0/24 masquerade
        oifname "wan0" ip6 saddr fd00:1::/64 masquerade
        iifname "lan0" oifname "lan0" ip saddr 192.168.1.0/24 masquerade
    }
}
"#;

/// Namespaces, links, and the router between them. All of it is gone when this is dropped.
pub(crate) struct Lab {
    name: String,
    pub(crate) folder: PathBuf,
    children: Vec<Child>,
    pub(crate) router: Option<Child>,
}

/// Whether the tests can run here; if not, why.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let programs = ["ip", "nft", "ping", "curl", "iperf3", "traceroute", "dnsmasq", "dig", "socat", "ethtool", "sshd"];
    let is_there = |program: &&str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
    };
    let missing: Vec<_> = programs.into_iter().filter(|p| !is_there(p)).collect();
    (!missing.is_empty()).then(|| format!("missing: {}", missing.join(" ")))
}

fn sh(line: &str) {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
}

impl Lab {
    /// Hosts and links, and the router running. `more` are further words for `uct run`.
    pub(crate) fn new(side: Side, more: &[&str]) -> Lab {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("uct{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("router.toml"), TOPOLOGY).unwrap();
        std::fs::write(folder.join("nat.nft"), RULES).unwrap();
        let mut lab = Lab { name, folder, children: Vec::new(), router: None };
        lab.build();
        match side {
            Side::Kernel => lab.kernel_router(),
            Side::Uct => lab.start_uct(more),
        }
        for (host, address) in [("client", "0.0.0.0:80"), ("server", "0.0.0.0:80"), ("far", "0.0.0.0:80")] {
            lab.serve(host, address);
        }
        lab.serve("server", "[2001:db8:2::80]:80");
        lab
    }

    pub(crate) fn ns(&self, host: &str) -> String {
        format!("{}{}", self.name, host)
    }

    fn build(&self) {
        let [c, r, s, t, f] = ["client", "router", "server", "thin", "far"].map(|host| self.ns(host));
        sh(&format!(
            "for n in {c} {r} {s} {t} {f}; do
               ip netns add $n; ip -n $n link set lo up
               ip netns exec $n sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
                 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ping_group_range='0 2147483647'
             done
             ip netns exec {r} sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
             link() {{ ip link add eth0 netns $1 mtu $4 type veth peer name $3 netns $2 mtu $4; ip -n $2 link set $3 up; ip -n $1 link set eth0 up; }}
             link {c} {r} lan0 1500
             link {s} {r} wan0 1500
             link {t} {r} thin0 1300
             ip link add eth0 netns {f} mtu 1400 type veth peer name far0 netns {s} mtu 1400
             ip -n {f} link set eth0 up; ip -n {s} link set far0 up
             ip -n {c} addr add 192.168.1.10/24 dev eth0
             ip -n {c} addr add fd00:1::10/64 dev eth0 nodad
             ip -n {c} addr add 2001:db8:1::10/64 dev eth0 nodad
             ip -n {c} route add default via 192.168.1.1
             ip -n {c} -6 route add default via fd00:1::1
             ip -n {s} addr add 203.0.113.80/24 dev eth0
             ip -n {s} addr add 2001:db8:2::80/64 dev eth0 nodad
             ip -n {s} addr add 198.51.100.1/24 dev far0
             ip -n {s} -6 route add default via 2001:db8:2::1
             ip netns exec {s} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
             ip -n {f} addr add 198.51.100.80/24 dev eth0
             ip -n {f} route add default via 198.51.100.1
             ip -n {t} addr add 10.9.0.10/24 dev eth0
             ip -n {t} route add default via 10.9.0.1"
        ));
    }

    fn kernel_router(&self) {
        let r = self.ns("router");
        sh(&format!(
            "ip netns exec {r} sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0
             for i in lan0 wan0 thin0; do ip netns exec {r} sysctl -qw net.ipv6.conf.$i.disable_ipv6=0; done
             ip netns exec {r} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             ip -n {r} addr add 192.168.1.1/24 dev lan0
             ip -n {r} addr add fd00:1::1/64 dev lan0 nodad
             ip -n {r} addr add 2001:db8:1::1/64 dev lan0 nodad
             ip -n {r} addr add 203.0.113.1/24 dev wan0
             ip -n {r} addr add 2001:db8:2::1/64 dev wan0 nodad
             ip -n {r} addr add 10.9.0.1/24 dev thin0
             ip -n {r} route add 198.51.100.0/24 via 203.0.113.80
             ip netns exec {r} nft -f {}/nat.nft",
            self.folder.display()
        ));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// Starts `uct run` and waits until it is there.
    pub(crate) fn start_uct(&mut self, more: &[&str]) {
        let router = Command::new("ip")
            .args(["netns", "exec", &self.ns("router"), env!("CARGO_BIN_EXE_uct"), "run", "--topology"])
            .arg(self.folder.join("router.toml"))
            .arg("--rules")
            .arg(self.folder.join("nat.nft"))
            .arg("--socket")
            .arg(self.socket())
            .args(more)
            .stderr(std::fs::File::create(self.folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        self.router = Some(router);
        let begun = Instant::now();
        while !self.log().contains("a router between") {
            assert!(begun.elapsed() < Duration::from_secs(20), "uct run does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends `uct run` as a service manager would.
    pub(crate) fn stop_uct(&mut self) {
        if let Some(mut router) = self.router.take() {
            let pid = rustix::process::Pid::from_child(&router);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = router.wait();
        }
    }

    /// Sends a signal to `uct run`.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let router = self.router.as_ref().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(router), signal).unwrap();
    }

    /// Whether `uct run` is still there.
    pub(crate) fn is_running(&self) -> bool {
        self.router.as_ref().is_some_and(|router| Path::new(&format!("/proc/{}/ns", router.id())).exists())
    }

    /// The router's link to `thin` is gone, with both of its ends.
    pub(crate) fn cut_thin(&self) {
        sh(&format!("ip -n {} link del thin0", self.ns("router")));
    }

    /// It is there again, as another interface of the same name.
    pub(crate) fn join_thin(&self) {
        let [r, t] = ["router", "thin"].map(|host| self.ns(host));
        sh(&format!(
            "ip link add eth0 netns {t} mtu 1300 type veth peer name thin0 netns {r} mtu 1300
             ip -n {t} link set eth0 up; ip -n {t} addr add 10.9.0.10/24 dev eth0; ip -n {r} link set thin0 up
             ip -n {t} route add default via 10.9.0.1"
        ));
    }

    /// What `uct stats` prints.
    pub(crate) fn stats(&self) -> String {
        let output =
            Command::new(env!("CARGO_BIN_EXE_uct")).args(["stats", "--socket"]).arg(self.socket()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A command on a host, ended after half a minute.
    pub(crate) fn command(&self, host: &str, line: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns(host), "timeout", "30", "sh", "-c", line]);
        command
    }

    /// What a command prints; its errors, too.
    pub(crate) fn run(&self, host: &str, line: &str) -> String {
        let Output { stdout, stderr, .. } = self.command(host, line).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }

    /// A command that goes on.
    pub(crate) fn spawn(&mut self, host: &str, line: &str) {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.ns(host), "sh", "-c", &format!("exec {line}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    /// A web server on a host.
    fn serve(&self, host: &str, address: &str) {
        let address: SocketAddr = address.parse().unwrap();
        http::serve(&format!("/run/netns/{}", self.ns(host)), address);
    }

    /// Waits until a command on a host succeeds.
    pub(crate) fn wait_for(&self, host: &str, line: &str) {
        let begun = Instant::now();
        while !self.command(host, line).output().unwrap().status.success() {
            assert!(begun.elapsed() < Duration::from_secs(15), "in vain: {line}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `uct conntrack` prints.
    pub(crate) fn conntrack(&self, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_uct"))
            .args(["conntrack", "--socket"])
            .arg(self.socket())
            .args(words)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop_uct();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for host in ["client", "router", "server", "thin", "far"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(host)]).output();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
