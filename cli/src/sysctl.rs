//! `uct sysctl`: the settings of a running router, as sysctl(8) has them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use uct_engine::{SettingError, Settings, Sysctl};
use uct_pipeline::control::message::{Request, Sysctls};

use crate::Failure;
use crate::args;
use crate::conntrack::{Connection, Ended, socket_path};
use crate::stdio::print;

/// Sets what `--sysctl KEY=VALUE` said.
pub fn set(settings: &Settings, words: &[String]) -> Result<(), Failure> {
    const AS: &str = "as nf_conntrack_udp_timeout=30";
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err(Failure::usage(format!("--sysctl '{word}' is not KEY=VALUE, {AS}")));
        };
        settings.set_by_name(key.trim(), value).map_err(|why| {
            let help = match &why {
                SettingError::Unknown { nearest: None, .. } => {
                    format!("; the settings are those of net.netfilter, {AS}")
                }
                _ => String::new(),
            };
            Failure::usage(format!("--sysctl: {why}{help}"))
        })?;
    }
    Ok(())
}

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
    let mut text = String::new();
    let done = connection.ask(Request { sysctl: Some(sysctl), ..Request::default() }, |reply| {
        for (key, value) in reply.sysctl.iter().flatten() {
            let name = Sysctl::by_name(key).map_or_else(|| key.clone(), Sysctl::full_name);
            text.push_str(&format!("{name} = {value}\n"));
        }
        Ok(())
    });
    match done {
        Ok(_) => print(&text).map(|()| ExitCode::SUCCESS),
        Err(Ended::Refused(fault)) => Err(Failure::input(fault.text.unwrap_or_default())),
        Err(Ended::Broken(text)) => Err(Failure::input(text)),
    }
}
