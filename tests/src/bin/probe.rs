//! Asks the running kernel: a few segments of one TCP connection, typed in, and what each of them did.
//!
//! ```text
//! $ cargo run -p uct-tests --bin probe <<'.'
//! sysctl netfilter.nf_conntrack_tcp_loose 0
//! c S 1000 win 8192 opt 01030307
//! s SA 5000 1001
//! c A 1001 5001 len 10
//! advance 300
//! .
//! ```
//!
//! `c` is the client, `s` the server; then flags, sequence number, acknowledgment number.

use std::io::{self, Read};

use uct_tests::generate::world::{Family, Origin, Shot, World};
use uct_tests::kernel::Kernel;
use uct_tests::observed::unhex;
use uct_tests::packet::build::{Ip, Tcp};
use uct_tests::packet::describe;
use uct_tests::run::sent;
use uct_tests::scenario::{Setup, Step};

const RULES: &str = "table inet track {
  chain forwarded {
    type filter hook forward priority 0; policy accept
    ct state invalid counter
  }
}
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut world = World::new();
    let mut setup = Setup { rules: RULES.into(), topology: world.topology.clone(), ..Setup::default() };
    let mut steps = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["sysctl", name, value] => setup.sysctls.push((name.into(), value.into())),
            ["advance", seconds] => steps.push(Step::Advance { seconds: seconds.parse()? }),
            [who @ ("c" | "s"), flags, seq, ref rest @ ..] => {
                let (from, to) = if who == "c" { (0, 6) } else { (6, 0) };
                let ports = if who == "c" { (1000, 80) } else { (80, 1000) };
                let mut tcp = Tcp { sport: ports.0, dport: ports.1, seq: number(seq)?, window: 8192, ..Tcp::default() };
                tcp.flags = flags.chars().filter_map(|c| "FSRPAUEC".find(c)).fold(0, |sum, bit| sum | 1 << bit);
                let mut rest = rest.iter();
                while let Some(word) = rest.next() {
                    let mut value = || rest.next().copied().ok_or("a value is missing");
                    match *word {
                        "win" => tcp.window = value()?.parse()?,
                        "len" => tcp.data = vec![b'x'; value()?.parse()?],
                        "opt" => tcp.options = unhex(value()?).ok_or("options are hexadecimal")?,
                        ack => tcp.ack = number(ack)?,
                    }
                }
                let address = |number: usize| world.hosts[number].address(Family::V4);
                let packet = tcp.packet(&Ip::new(address(from), address(to)));
                steps.push(world.send(&Shot { from: Origin::Host(from), packet }));
            }
            _ => return Err(format!("what is {line:?}?").into()),
        }
    }
    let mut kernel = Kernel::new()?;
    kernel.begin(&setup)?;
    for step in &steps {
        match sent(step) {
            Some(packet) => println!("{}", describe(packet)),
            None => println!("{step:?}"),
        }
        print!("{}", kernel.step(step)?);
    }
    Ok(())
}

/// A sequence number; a minus sign counts back from zero.
fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
    Ok(text.parse::<i64>()? as u32)
}
