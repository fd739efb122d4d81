//! `uct run` as a service: what whoever operates it sees and steers.
//!
//! ```text
//!   start ─► log ─► sockets ─► state ◄─ file ─► sandbox ─► READY=1 ─► packets
//!   SIGHUP, uct reload ─► files read again, all or nothing ─► the router in force is another
//!   SIGTERM, SIGINT ─► workers stop taking ─► state ─► file ─► socket removed ─► exit 0
//! ```
//!
//! | file | decides |
//! |---|---|
//! | [`files`] | which files a router is made of, and reading them all at once |
//! | [`log`] | where messages go, and which |
//! | [`keep`] | when the table is written to `--state` |
//! | [`metrics`] | what `--metrics` serves |
//! | [`notify`] | what systemd is told, and which sockets it gave |
//! | [`sandbox`] | what the program can do no more once it runs |
//! | [`service`] | the order of all this |

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub mod files;
pub mod keep;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod sandbox;
pub mod service;

/// How a router is operated.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Operation")]
pub struct Operation {
    /// Keep the table over a restart in this file: read at the start, written at the end and every --state-every seconds
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// Seconds between two writings of --state; 0 writes at the end only
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub state_every: u64,

    /// Serve figures for Prometheus at http://ADDRESS:PORT/metrics, and a status page at /
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,

    /// How much to say: error, warn, info, debug, trace, or for parts of the program as info,uct::rules=debug
    /// [default: $UCT_LOG, or info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,

    /// In which form
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    pub log_format: LogFormat,

    /// Give up no privileges: no seccomp, no Landlock, all capabilities kept
    #[arg(long)]
    pub no_sandbox: bool,
}

/// The form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line each, for people
    Text,
    /// One JSON object a line, for programs
    Json,
}
