//! Real programs on hosts in namespaces, through the kernel's NAT and through `uct run`: the same table for both.

mod faults;
mod http;
mod lab;
mod table;

use lab::{Lab, Side};

fn skips() -> bool {
    let Some(why) = lab::missing() else { return false };
    assert!(std::env::var("UCT_REQUIRE_KERNEL").as_deref() != Ok("1"), "the router's tests cannot run: {why}");
    eprintln!("SKIPPED: {why}");
    true
}

/// Programs that serve on the outside.
fn services(lab: &mut Lab) {
    let folder = lab.folder.display().to_string();
    let log = format!("--pid-file={folder}/dns.pid");
    lab.spawn("server", &format!("dnsmasq -k -C /dev/null {log} --no-resolv --no-hosts -A /host.example/192.0.2.77"));
    lab.spawn("server", "iperf3 -s");
    lab.spawn("server", "socat TCP-LISTEN:7,fork,reuseaddr PIPE");
    let key = format!(
        "ssh-keygen -q -t ed25519 -N '' -f {folder}/hostkey; ssh-keygen -q -t ed25519 -N '' -f {folder}/key; \
         cp {folder}/key.pub {folder}/authorized; mkdir -p /run/sshd"
    );
    lab.run("server", &key);
    lab.spawn(
        "server",
        &format!(
            "/usr/sbin/sshd -D -f /dev/null -p 2222 -h {folder}/hostkey -o AuthorizedKeysFile={folder}/authorized \
             -o StrictModes=no -o PidFile=none -o UsePAM=no -o PermitRootLogin=yes"
        ),
    );
    for port in [53, 5201, 7, 2222] {
        lab.wait_for("server", &format!("ss -Htln sport = :{port} | grep -q ."));
    }
}

/// What did not come out as expected.
fn play(side: Side, more: &[&str]) -> Vec<String> {
    let mut lab = Lab::new(side, more);
    services(&mut lab);
    let mut failures = Vec::new();
    for case in table::TABLE {
        let begun = std::time::Instant::now();
        let got = (case.act)(&lab);
        eprintln!("{side:?} {:6.2} s  {}", begun.elapsed().as_secs_f32(), case.name);
        if got.trim() != case.expect {
            failures.push(format!("{side:?}: {}: {got:?} instead of {:?}", case.name, case.expect));
        }
    }
    if side == Side::Uct && !failures.is_empty() {
        failures.push(lab.log());
        failures.push(lab.conntrack(&["-S"]));
    }
    failures
}

#[test]
fn real_programs_see_no_difference() {
    if skips() {
        return;
    }
    let (kernel, uct) = std::thread::scope(|scope| {
        let kernel = scope.spawn(|| play(Side::Kernel, &[]));
        let uct = scope.spawn(|| play(Side::Uct, &["--workers", "2"]));
        (kernel.join().unwrap(), uct.join().unwrap())
    });
    let failures = [kernel, uct].concat();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
