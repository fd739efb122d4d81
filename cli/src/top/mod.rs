//! `uct top`: a screen that shows what a router's table holds, and what is going on in it.
//!
//! ```text
//!   router ══ control socket ══► feed (a thread) ──News──► screen ──► draw ──► terminal
//!                                   ▲                        ▲
//!                                   └──────── Errand ────────┴──── keys
//! ```
//!
//! The feed asks for a survey (docs/socket.md) once an interval and whenever the filter or the order changes, so that what crosses
//! the socket is small however large the table is. The screen keeps what came last: if the router goes away it stays, and is
//! said to be old, until the router is back. Nothing here waits for the router: keys are answered at once.

mod draw;
mod feed;
mod filter;
mod screen;
mod words;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};

pub use draw::{Paint, draw};
pub use feed::{Errand, Feed, News, Survey, Wish, start as start_feed};
pub use filter::parse as parse_filter;
pub use screen::{Act, Screen};

use crate::conntrack::socket_path;
use crate::{Failure, args};

/// How long a key may wait while nothing else happens.
const TICK: Duration = Duration::from_millis(50);

/// Shows the screen until it is left.
pub fn run(args: &args::Top) -> Result<ExitCode, Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal; `uct conntrack -L` and `-E` are for pipes"));
    }
    let path = socket_path(args.socket.clone());
    let mut screen = Screen::new(path.display().to_string());
    if let Some(text) = &args.filter {
        screen.set_filter(text).map_err(|why| Failure::usage(format!("--filter: {why}")))?;
    }
    let paint = match std::env::var_os("NO_COLOR") {
        Some(value) if !value.is_empty() => Paint::Plain,
        _ => Paint::Coloured,
    };
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).map_err(Failure::input)?;
    }
    let feed = start_feed(path, screen.wish(), Duration::from_secs_f64(args.interval)).map_err(Failure::input)?;
    let mut terminal = ratatui::try_init().map_err(Failure::input)?;
    let done = show(&mut terminal, &mut screen, &feed, paint, &ended);
    let _ = ratatui::try_restore();
    done.map(|()| ExitCode::SUCCESS).map_err(|e| Failure::input(format!("the terminal: {e}")))
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    screen: &mut Screen,
    feed: &Feed,
    paint: Paint,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut stale = true;
    while !ended.load(Ordering::Acquire) {
        for news in feed.news() {
            screen.hear(news);
            stale = true;
        }
        if stale {
            terminal.draw(|frame| draw(frame, screen, paint))?;
            stale = false;
        }
        if !event::poll(TICK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match screen.press(key) {
                Act::Nothing => {}
                Act::Quit => return Ok(()),
                Act::Send(errand) => feed.send(errand),
            },
            // A new size, or the terminal in the foreground again: everything is drawn anew.
            _ => {}
        }
        stale = true;
    }
    Ok(())
}
