//! `uct sysctl`: the settings of a running router, as sysctl(8) has them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use uct_pipeline::control::message::{Request, Sysctls};

use crate::Failure;
use crate::args;
use crate::conntrack::{Connection, Ended, socket_path};

/// Reads settings, or sets them.
pub fn run(args: &args::Sysctl) -> Result<ExitCode, Failure> {
    let (mut get, mut set) = (Vec::new(), BTreeMap::new());
    for word in &args.settings {
        match word.split_once('=') {
            Some((key, value)) => {
                let number = value.trim().parse::<u64>();
                let number = number.map_err(|_| Failure::usage(format!("'{value}' is not a whole number")))?;
                set.insert(key.trim().to_owned(), number);
                get.push(key.trim().to_owned());
            }
            None => get.push(word.clone()),
        }
    }
    let path = socket_path(args.socket.clone());
    let bare = |text: String| text.split_once("): ").map_or(text.clone(), |(_, rest)| rest.to_owned());
    let mut connection = Connection::open(&path).map_err(|e| Failure::input(bare(e.to_string())))?;
    let sysctl = Sysctls { set: (!set.is_empty()).then_some(set), get: (!get.is_empty()).then_some(get) };
    let done = connection.ask(Request { sysctl: Some(sysctl), ..Request::default() }, |reply| {
        for (key, value) in reply.sysctl.iter().flatten() {
            println!("net.netfilter.{key} = {value}");
        }
        Ok(())
    });
    match done {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(Ended::Refused(fault)) => Err(Failure::input(fault.text.unwrap_or_default())),
        Err(Ended::Broken(text)) => Err(Failure::input(text)),
    }
}
