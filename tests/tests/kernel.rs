//! The kernel side by itself: that it sees what there is to see, and that time passes for the kernel.

use uct_tests::kernel::{self, Kernel};
use uct_tests::observed::{Event, EventKind, LOCAL, Observed};
use uct_tests::script;

const MASQUERADE: &str = "rules
table ip nat {
  chain after {
    type nat hook postrouting priority 100
    oifname wan0 masquerade
  }
}
end
";

/// What the kernel does at each step of a script, or nothing if there is no kernel to ask.
fn play(text: &str) -> Option<Vec<Observed>> {
    if let Err(reason) = kernel::available() {
        kernel::skip_or_fail(&reason);
        return None;
    }
    let scenario = script::parse("kernel", text).unwrap();
    let mut kernel = Kernel::new().unwrap();
    kernel.begin(&scenario.setup).unwrap();
    let observed = scenario.steps.iter().map(|step| kernel.step(step).unwrap()).collect();
    kernel.verify().unwrap();
    Some(observed)
}

fn kinds(observed: &Observed) -> Vec<EventKind> {
    observed
        .events
        .iter()
        .filter_map(|event| if let Event::Conn(kind, _) = event { Some(*kind) } else { None })
        .collect()
}

#[test]
fn a_translated_packet_leaves_at_once_and_is_in_the_table() {
    let Some(observed) = play(&format!("{MASQUERADE}c udp 5000 53")) else { return };
    assert_eq!(observed[0].out.len(), 1);
    assert_eq!(observed[0].out[0].iface, "wan0");
    assert_eq!(observed[0].out[0].packet[12..16], [203, 0, 113, 1]);
    assert_eq!(observed[0].table.len(), 1);
    assert_eq!(observed[0].table[0].reply.tuple.dst.to_string(), "203.0.113.1");
    assert_eq!(kinds(&observed[0]), [EventKind::New]);
}

#[test]
fn the_routers_own_packets_leave_and_those_for_it_are_seen() {
    let Some(observed) = play("r udp 5000 53\nt udp 53 5000\nt udp 9 9") else { return };
    let ifaces: Vec<&str> = observed.iter().map(|observed| observed.out[0].iface.as_str()).collect();
    assert_eq!(ifaces, ["wan0", LOCAL, LOCAL]);
    assert!(observed.iter().all(|observed| observed.out.len() == 1), "the router's own stack has answered");
}

#[test]
fn an_entry_runs_out_when_its_time_has_passed() {
    let Some(observed) = play("c S 1\nadvance 119\nadvance 1") else { return };
    assert_eq!(observed[1].table.len(), 1);
    assert!(observed[1].table[0].timeout.unwrap() <= 1);
    assert!(kinds(&observed[1]).is_empty());
    assert!(observed[2].table.is_empty());
    assert_eq!(kinds(&observed[2]), [EventKind::Destroy]);
}

#[test]
fn a_datagram_after_two_seconds_makes_a_stream() {
    let Some(observed) = play("c udp 1000 80\ns udp 80 1000\nadvance 3\nc udp 1000 80") else { return };
    assert_eq!(observed[3].table[0].timeout, Some(120));
}
