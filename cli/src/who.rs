//! `uct who`: who was behind a translated address.
//!
//! A connection's reply tuple is what the outside sees: its destination is the public address and port of a client, and where
//! that differs from the client's own, NAT stood between. The other way round for servers: what the client asked for is the
//! original tuple's destination, and the reply tuple's source is who answered.
//!
//! Exit codes: 0 somebody was, 1 nobody was (or the capture is at fault), 2 wrong usage.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use serde::Serialize;
use uct_engine::Time;

use crate::Failure;
use crate::args::{self, ColorArg};
use crate::explain::filter::Filter;
use crate::explain::header::end;
use crate::explain::model::{Connection, TupleView, VERSION};
use crate::history::{Life, lives};
use crate::moment::date;
use crate::stdio::{Coloured, say};

/// One answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    /// `client`: it was behind the address; `server`: connections to the address went to it.
    role: &'static str,
    /// Who it was: address, and port or ICMP id.
    host: String,
    /// The public address.
    public: String,
    /// Who it talked with.
    peer: String,
    protocol: &'a str,
    connection: u32,
    /// The packet that opened it.
    packet: u64,
    /// Seconds since the capture's first frame.
    from: f64,
    from_date: String,
    /// None: it stands in the table still.
    until: Option<f64>,
    until_date: Option<String>,
    why_gone: Option<&'a str>,
    state: Option<&'static str>,
}

/// Runs the command.
pub fn run(args: &args::Who) -> Result<ExitCode, Failure> {
    let (address, port) = whom(&args.who)?;
    let filter = Filter::new(&[], args.conn.as_deref()).map_err(Failure::usage)?;
    let (lives, telling, fault) = lives(&args.input)?;
    let first = telling.first();
    let all: Vec<Answer<'_>> = lives
        .all()
        .filter(|life| life.confirmed && filter.takes_connection(&life.connection))
        .filter_map(|life| answer(life, address, port, first))
        .collect();
    // The replay has stopped at the moment that was asked for: who was there stands in the table still.
    let is_asked = |a: &&Answer<'_>| args.input.at.is_none() || a.until.is_none();
    let found: Vec<&Answer<'_>> = all.iter().filter(is_asked).collect();
    let mut text = String::new();
    for answer in &found {
        if args.json {
            if let Ok(line) = serde_json::to_string(answer) {
                text.push_str(&line);
                text.push('\n');
            }
        } else {
            text.push_str(&sentence(answer));
        }
    }
    let mut out = Coloured::new(ColorArg::Never);
    out.print(&text)?;
    out.finish()?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    if found.is_empty() {
        say(format_args!("uct: nobody was behind {} then{}", args.who, before(&all)));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Who was there last, for those who asked too late.
fn before(all: &[Answer<'_>]) -> String {
    let last = all.iter().filter_map(|a| a.until.map(|t| (t, a))).max_by(|(a, _), (b, _)| a.total_cmp(b));
    last.map_or(String::new(), |(until, a)| format!("; {} was, until +{until:.6}", a.host))
}

/// The address that is asked about.
fn whom(text: &str) -> Result<(IpAddr, Option<u16>), Failure> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok((address, None));
    }
    match text.parse::<SocketAddr>() {
        Ok(socket) => Ok((socket.ip(), Some(socket.port()))),
        Err(_) => Err(Failure::usage(format!(
            "'{text}' is no address: 203.0.113.1, 203.0.113.1:17802 or [2001:db8::1]:17802 is expected"
        ))),
    }
}

/// Whether a connection had the address in public, and who stood behind it.
fn answer<'a>(life: &'a Life, address: IpAddr, port: Option<u16>, first: Time) -> Option<Answer<'a>> {
    let Connection { original, reply, id, state, .. } = &life.connection;
    let is_it = |a: IpAddr, p: Option<u16>| a == address && port.is_none_or(|port| p == Some(port));
    let source = (original.src, original.sport.or(original.id));
    let public = (reply.dst, reply.dport.or(reply.id));
    let asked = (original.dst, original.dport);
    let server = (reply.src, reply.sport);
    let (role, host, public, peer) = if is_it(public.0, public.1) && source != public {
        ("client", source, public, asked)
    } else if is_it(asked.0, asked.1) && asked != server {
        ("server", server, asked, source)
    } else {
        return None;
    };
    let at = |seconds: f64| first + std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let text = |(a, p): (IpAddr, Option<u16>), t: &TupleView| match t.id {
        Some(id) => format!("{a} id {}", p.unwrap_or(id)),
        None => end(a, p),
    };
    Some(Answer {
        version: VERSION,
        role,
        host: text(host, original),
        public: text(public, reply),
        peer: text(peer, original),
        protocol: &original.protocol,
        connection: *id,
        packet: life.opened,
        from: life.since,
        from_date: date(at(life.since)),
        until: life.end.as_ref().map(|e| e.0),
        until_date: life.end.as_ref().map(|e| date(at(e.0))),
        why_gone: life.end.as_ref().map(|e| e.1.as_str()),
        state: *state,
    })
}

fn sentence(a: &Answer<'_>) -> String {
    let mut s = match a.role {
        "client" => format!("{} was {} ({}), talking with {}", a.public, a.host, a.protocol, a.peer),
        _ => format!("{} was answered by {} ({}), talking with {}", a.public, a.host, a.protocol, a.peer),
    };
    let _ = write!(s, "\n  connection #{}, from packet {}, +{:.6} ({})", a.connection, a.packet, a.from, a.from_date);
    match (a.until, &a.until_date, a.why_gone) {
        (Some(until), Some(date), Some(why)) => {
            let _ = write!(s, "\n  until +{until:.6} ({date}): {why}");
        }
        _ => {
            let state = a.state.map_or(String::new(), |s| format!(", {s}"));
            let _ = write!(s, "\n  still in the table{state}");
        }
    }
    s.push('\n');
    s
}
