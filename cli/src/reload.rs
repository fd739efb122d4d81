//! `uct reload` and `uct stats`: what is asked of a running router over its socket.

use std::fmt::Write as _;
use std::process::ExitCode;

use uct_pipeline::control::host::FlatFigure;
use uct_pipeline::control::message::{Empty, Reply, Request};

use crate::Failure;
use crate::args;
use crate::conntrack::{Connection, Ended, socket_path};
use crate::stdio::print;

/// Asks, and hands over every reply.
fn ask(socket: Option<std::path::PathBuf>, request: Request, mut take: impl FnMut(&Reply)) -> Result<(), Failure> {
    let path = socket_path(socket);
    let bare = |text: String| text.split_once("): ").map_or(text.clone(), |(_, rest)| rest.to_owned());
    let mut connection = Connection::open(&path).map_err(|e| Failure::input(bare(e.to_string())))?;
    let done = connection.ask(request, |reply| {
        take(reply);
        Ok(())
    });
    match done {
        Ok(_) => Ok(()),
        Err(Ended::Refused(fault)) => Err(Failure::input(fault.text.unwrap_or_default())),
        Err(Ended::Broken(text)) => Err(Failure::input(text)),
    }
}

/// Lets a router read its files again.
pub fn run(args: &args::Reload) -> Result<ExitCode, Failure> {
    let mut said = String::new();
    ask(args.socket.clone(), Request { reload: Some(Empty {}), ..Request::default() }, |reply| {
        if let Some(text) = &reply.reloaded {
            said.push_str(text);
            said.push('\n');
        }
    })?;
    print(&said).map(|()| ExitCode::SUCCESS)
}

/// Shows every counter with what it means.
pub fn stats(args: &args::Stats) -> Result<ExitCode, Failure> {
    let mut figures: Vec<FlatFigure> = Vec::new();
    ask(args.socket.clone(), Request { figures: Some(Empty {}), ..Request::default() }, |reply| {
        figures.extend(reply.figures.iter().flatten().cloned());
    })?;
    if !args.all {
        figures.retain(|figure| figure.value > 0);
    }
    let mut text = String::new();
    if args.json {
        for figure in &figures {
            let line = serde_json::to_string(figure).map_err(Failure::input)?;
            let _ = writeln!(text, "{line}");
        }
    } else {
        let rows: Vec<(String, String, &str)> =
            figures.iter().map(|f| (named(f), f.value.to_string(), f.help.as_str())).collect();
        let names = rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        let values = rows.iter().map(|(_, value, _)| value.len()).max().unwrap_or(0);
        for (name, value, help) in rows {
            let _ = writeln!(text, "{name:names$}  {value:>values$}  {help}");
        }
    }
    print(&text).map(|()| ExitCode::SUCCESS)
}

/// The name with its labels, as Prometheus has it.
fn named(figure: &FlatFigure) -> String {
    let labels: Vec<String> = figure.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    if labels.is_empty() { figure.name.clone() } else { format!("{}{{{}}}", figure.name, labels.join(",")) }
}
