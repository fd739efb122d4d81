//! What goes wrong around a running router: an interface goes away and comes back, the router is too slow. Connections that have
//! nothing to do with it go on, and what is lost is counted.

use std::process::{Child, Stdio};

use super::lab::{Lab, Side};
use super::skips;

/// A download of five seconds or so, which begins now.
fn download(lab: &Lab) -> Child {
    let line = "curl -sS --limit-rate 2M -o /dev/null -w '%{http_code} %{size_download}' http://203.0.113.80/10000000";
    let child = lab.command("client", line).stdout(Stdio::piped()).spawn().unwrap();
    // It is under way when its connection is there.
    while !lab.conntrack(&["-L", "-p", "tcp"]).contains("ESTABLISHED") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child
}

fn came_whole(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200 10000000");
}

fn thin(lab: &Lab) -> String {
    lab.run(
        "thin",
        "curl -sS --connect-timeout 15 -o /dev/null -w '%{http_code} %{size_download}' http://203.0.113.80/1000",
    )
}

#[test]
fn an_interface_goes_away_and_comes_back() {
    if skips() {
        return;
    }
    let lab = Lab::new(Side::Uct, &["--workers", "2"]);
    assert_eq!(thin(&lab), "200 1000");
    let going_on = download(&lab);
    lab.cut_thin();
    let lost = |lab: &Lab| lab.stats().contains("reason=\"interface-down\"");
    while !lost(&lab) {
        // Nobody is there any more.
        lab.run("client", "ping -n -c 1 -W 1 10.9.0.10");
    }
    lab.join_thin();
    while thin(&lab) != "200 1000" {
        assert!(lab.is_running(), "{}", lab.log());
    }
    came_whole(going_on);
}

/// The router is stopped while 20,000 packets come: its rings overflow, which is counted, and the download recovers.
#[test]
fn a_router_that_is_slow_loses_what_is_too_much_and_goes_on() {
    if skips() {
        return;
    }
    let lab = Lab::new(Side::Uct, &["--workers", "2", "--ring-slots", "64"]);
    let going_on = download(&lab);
    lab.signal(rustix::process::Signal::STOP);
    lab.run("client", "ping -q -f -l 1000 -c 20000 -w 2 203.0.113.80");
    lab.signal(rustix::process::Signal::CONT);
    came_whole(going_on);
    while !lab.stats().contains("reason=\"receive-full\"") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(lab.is_running());
}
