//! What hosts do through a router, and what must come of it: one table, for the kernel and for uct.

use super::lab::Lab;

/// One thing that hosts do; what it prints must be the expected text, by whatever router.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) act: fn(&Lab) -> String,
    pub(crate) expect: &'static str,
}

const fn case(name: &'static str, act: fn(&Lab) -> String, expect: &'static str) -> Case {
    Case { name, act, expect }
}

pub(crate) const TABLE: &[Case] = &[
    case("ping the router", |lab| pings(lab, "192.168.1.1"), "3 received"),
    case("ping the router, IPv6", |lab| pings(lab, "fd00:1::1"), "3 received"),
    case("ping a server", |lab| pings(lab, "203.0.113.80"), "3 received"),
    case("ping a server, IPv6", |lab| pings(lab, "2001:db8:2::80"), "3 received"),
    case("ping with large packets", |lab| pings(lab, "-s 4000 203.0.113.80"), "3 received"),
    case("ping with large packets, IPv6", |lab| pings(lab, "-s 4000 2001:db8:2::80"), "3 received"),
    case("ping the router's other side", |lab| pings(lab, "203.0.113.1"), "3 received"),
    case("ping nobody", unreachable, "From 192.168.1.1 Destination Host Unreachable"),
    case("traceroute", |lab| hops(lab, "-N 1 198.51.100.80"), "192.168.1.1 203.0.113.80 198.51.100.80"),
    case("traceroute, ICMP", |lab| hops(lab, "-I 198.51.100.80"), "192.168.1.1 203.0.113.80 198.51.100.80"),
    case("traceroute, IPv6", |lab| hops(lab, "-6 2001:db8:2::80"), "2001:db8:1::1 2001:db8:2::80"),
    case("traceroute to the router", |lab| hops(lab, "203.0.113.1"), "203.0.113.1"),
    case("a closed port of the router", |lab| refused(lab, "203.0.113.1"), "refused"),
    case("who the server sees", |lab| get(lab, "client", "203.0.113.80/peer"), "203.0.113.1"),
    case(
        "who the server sees, IPv6",
        |lab| get(lab, "client", "--interface fd00:1::10 [2001:db8:2::80]/peer"),
        "2001:db8:2::1",
    ),
    case(
        "who the server sees, IPv6 without NAT",
        |lab| get(lab, "client", "--interface 2001:db8:1::10 [2001:db8:2::80]/peer"),
        "2001:db8:1::10",
    ),
    case("download", |lab| download(lab, "203.0.113.80/200000000"), "200 200000000"),
    case("download, IPv6", |lab| download(lab, "[2001:db8:2::80]/100000000"), "200 100000000"),
    case("upload", |lab| upload(lab, "203.0.113.80"), "100000000"),
    case("upload, IPv6", |lab| upload(lab, "[2001:db8:2::80]"), "100000000"),
    case("keep-alive", keep_alive, "20 requests, 1 connection"),
    case("many in parallel", parallel, "100 of 100"),
    case("from outside", |lab| get(lab, "server", "203.0.113.1:8080/peer"), "203.0.113.80"),
    case("upload from outside", from_outside, "50000000"),
    case("hairpin", |lab| get(lab, "client", "203.0.113.1:8081/peer"), "192.168.1.1"),
    case("names", |lab| names(lab, "client", "@203.0.113.80"), "192.0.2.77"),
    case("names over TCP", |lab| names(lab, "client", "+tcp @203.0.113.80"), "192.0.2.77"),
    case("a session with pauses", session, "one two three four"),
    case("a remote shell", shell, "one two three"),
    case("a smaller link behind the server", |lab| download(lab, "198.51.100.80/20000000"), "200 20000000"),
    case("upload over a smaller link behind the server", |lab| upload(lab, "198.51.100.80"), "100000000"),
    case("the path's MTU, learnt from behind the server", |lab| learnt(lab, 1450, "198.51.100.80"), "mtu 1400"),
    case("download over a smaller link of the router", |lab| thin(lab, "203.0.113.80/20000000"), "200 20000000"),
    case("the path's MTU, learnt from the router", |lab| learnt(lab, 1400, "10.9.0.10"), "mtu 1300"),
    case("iperf3, TCP", |lab| iperf(lab, ""), "went through"),
    case("iperf3, TCP from the server", |lab| iperf(lab, "-R"), "went through"),
    case("iperf3, UDP", |lab| iperf(lab, "-u -b 20M -l 1200"), "went through"),
    case("iperf3, UDP in fragments", |lab| iperf(lab, "-u -b 20M -l 6000"), "went through"),
    case("download without offloads", plain, "200 50000000"),
];

fn line_with(text: &str, word: &str) -> String {
    text.lines().find(|line| line.contains(word)).map_or_else(|| format!("no '{word}' in: {text}"), str::to_owned)
}

fn pings(lab: &Lab, to: &str) -> String {
    let text = lab.run("client", &format!("ping -n -c 3 -i 0.02 -W 2 {to}"));
    let line = line_with(&text, "received");
    line.split(", ").find(|part| part.ends_with("received")).map_or(line.clone(), str::to_owned)
}

/// Nobody has the address: the router says so after three seconds, and names itself.
fn unreachable(lab: &Lab) -> String {
    let text = lab.run("client", "ping -n -c 1 -W 5 10.9.0.99");
    let line = line_with(&text, "Unreachable");
    line.split_whitespace().filter(|word| !word.starts_with("icmp_seq")).collect::<Vec<_>>().join(" ")
}

/// The hops that answer. Errors have a rate, one a second once six have been sent: a hop that said nothing is asked again when
/// it may speak again.
fn hops(lab: &Lab, words: &str) -> String {
    let mut hops = String::new();
    for _ in 0..3 {
        let text = lab.run("client", &format!("traceroute -n -q 1 -w 2 -m 5 {words}"));
        let found: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        hops = found.join(" ");
        if !hops.contains('*') {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(6));
    }
    hops
}

fn refused(lab: &Lab, host: &str) -> String {
    let text = lab.run("client", &format!("curl -sS --connect-timeout 5 http://{host}:9/"));
    if text.to_ascii_lowercase().contains("connect to") && !text.contains("timed out") {
        "refused".to_owned()
    } else {
        text
    }
}

fn get(lab: &Lab, host: &str, url: &str) -> String {
    lab.run(host, &format!("curl -sS -g --connect-timeout 5 {}", with_scheme(url)))
}

fn with_scheme(words: &str) -> String {
    match words.rsplit_once(' ') {
        Some((options, url)) => format!("{options} 'http://{url}'"),
        None => format!("'http://{words}'"),
    }
}

fn download(lab: &Lab, url: &str) -> String {
    lab.run("client", &format!("curl -sS -g -o /dev/null -w '%{{http_code}} %{{size_download}}' {}", with_scheme(url)))
}

fn thin(lab: &Lab, url: &str) -> String {
    lab.run("thin", &format!("curl -sS -g -o /dev/null -w '%{{http_code}} %{{size_download}}' {}", with_scheme(url)))
}

fn upload(lab: &Lab, host: &str) -> String {
    lab.run("client", &format!("head -c 100000000 /dev/zero | curl -sS -g -T - -H 'Transfer-Encoding:' -H 'Content-Length: 100000000' 'http://{host}/'"))
}

fn from_outside(lab: &Lab) -> String {
    lab.run("server", "head -c 50000000 /dev/zero | curl -sS -T - -H 'Transfer-Encoding:' -H 'Content-Length: 50000000' http://203.0.113.1:8080/")
}

fn keep_alive(lab: &Lab) -> String {
    let urls = "http://203.0.113.80/1000 ".repeat(20);
    let text = lab.run(
        "client",
        &format!("curl -sS -w '%{{num_connects}}\\n' -o /dev/null {} {urls}", "-o /dev/null ".repeat(19)),
    );
    let connects: Vec<u32> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    format!("{} requests, {} connection", connects.len(), connects.iter().sum::<u32>())
}

fn parallel(lab: &Lab) -> String {
    let text = lab.run(
        "client",
        "curl -sS -Z --parallel-max 50 --no-keepalive -o /dev/null -w '%{size_download}\\n' -H 'Connection: close' 'http://203.0.113.80/[100001-100100]'",
    );
    let sizes = text.lines().filter(|line| line.starts_with("1000") || line.starts_with("1001")).count();
    format!("{sizes} of 100")
}

fn names(lab: &Lab, host: &str, words: &str) -> String {
    lab.run(host, &format!("dig +short +tries=3 +time=2 {words} host.example")).trim().to_owned()
}

/// Four words, each sent when the one before has come back and some time has passed.
fn session(lab: &Lab) -> String {
    let text = lab
        .run("client", "(for w in one two three four; do echo $w; sleep 0.4; done) | socat -t 2 - TCP:203.0.113.80:7");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shell(lab: &Lab) -> String {
    let folder = lab.folder.display();
    let text = lab.run(
        "client",
        &format!(
            "(for w in one two three; do echo $w; sleep 0.3; done) | ssh -q -i {folder}/key -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -p 2222 root@203.0.113.80 'while read w; do echo $w; done'"
        ),
    );
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the client learns of a path when it sends packets that are too long for it.
fn learnt(lab: &Lab, payload: usize, to: &str) -> String {
    lab.run("client", &format!("ping -n -c 2 -i 0.2 -W 1 -M do -s {payload} {to}"));
    let text = lab.run("client", &format!("ip route get {to}"));
    let words: Vec<_> = text.split_whitespace().collect();
    match words.iter().position(|w| *w == "mtu") {
        Some(at) => format!("mtu {}", words.get(at + 1).unwrap_or(&"?")),
        None => text,
    }
}

fn iperf(lab: &Lab, words: &str) -> String {
    let text = lab.run("client", &format!("iperf3 -c 203.0.113.80 -t 1 {words}"));
    let line = line_with(&text, "receiver");
    let lost: f64 = line.rsplit_once('(').and_then(|(_, l)| l.split('%').next()?.parse().ok()).unwrap_or(0.0);
    let has_rate = line.contains("bits/sec") && !line.contains(" 0.00 bits/sec");
    if has_rate && lost < 20.0 { "went through".to_owned() } else { text }
}

/// Hosts that leave nothing to the card.
fn plain(lab: &Lab) -> String {
    for host in ["client", "server", "thin"] {
        lab.run(host, "ethtool -K eth0 tx off tso off gso off gro off");
    }
    download(lab, "203.0.113.80/50000000")
}
