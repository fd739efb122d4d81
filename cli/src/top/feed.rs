//! What comes from the router: a thread that asks, and asks again when the router was away.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use uct_pipeline::control::filter::Filter;
use uct_pipeline::control::flat::Flat;
use uct_pipeline::control::message::{Delete, Request, Summary, Summed};

use crate::conntrack::{Connection, Ended};

/// Connections that are asked for: more than any terminal has lines.
const ROWS: u32 = 1000;
const TALKERS: u32 = 32;
/// How long to wait before a router that is away is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// What a survey is to be about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Which connections.
    pub filter: Filter,
    /// Their order.
    pub sort: &'static str,
    /// The largest first.
    pub descending: bool,
    /// Shown again with the survey, so that an old one is known.
    pub number: u64,
}

/// What the screen wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// Another survey from now on.
    Look(Box<Wish>),
    /// Delete a connection.
    Delete(Box<Filter>),
    /// Ask no more until [`Errand::Resume`].
    Pause,
    /// Ask again.
    Resume,
}

/// What a router answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// The wish's number.
    pub number: u64,
    /// The router's clock, nanoseconds since 1970.
    pub now_ns: u64,
    /// The counts.
    pub summed: Summed,
    /// The first connections.
    pub rows: Vec<Flat>,
}

/// What the screen should know.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A survey.
    Survey(Box<Survey>),
    /// The router cannot be talked to, and why.
    Away(String),
    /// So many connections were deleted.
    Deleted(u64),
    /// The router refuses, and why.
    Refused(String),
}

/// The thread's other end.
pub struct Feed {
    errands: Sender<Errand>,
    news: Receiver<News>,
}

impl Feed {
    /// What came since the last time.
    pub fn news(&self) -> impl Iterator<Item = News> {
        self.news.try_iter()
    }

    /// Has something done.
    pub fn send(&self, errand: Errand) {
        // The thread ends only with the program.
        let _ = self.errands.send(errand);
    }
}

/// Begins to ask.
pub fn start(path: PathBuf, wish: Wish, every: Duration) -> std::io::Result<Feed> {
    let (errands, todo) = mpsc::channel();
    let (tell, news) = mpsc::channel();
    std::thread::Builder::new().name("uct-feed".to_owned()).spawn(move || work(&path, wish, every, &todo, &tell))?;
    Ok(Feed { errands, news })
}

fn work(path: &Path, mut wish: Wish, every: Duration, todo: &Receiver<Errand>, tell: &Sender<News>) {
    let mut connection: Option<Connection> = None;
    let mut due = Some(Instant::now());
    loop {
        let errand = match due {
            Some(at) => todo.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => todo.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let news = match errand {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                due = Some(Instant::now() + every);
                look(path, &mut connection, &wish)
            }
            Ok(Errand::Look(new)) => {
                wish = *new;
                look(path, &mut connection, &wish)
            }
            Ok(Errand::Delete(filter)) => {
                due = due.map(|_| Instant::now());
                delete(path, &mut connection, *filter)
            }
            Ok(Errand::Pause) => {
                due = None;
                continue;
            }
            Ok(Errand::Resume) => {
                due = Some(Instant::now());
                continue;
            }
        };
        let news = news.unwrap_or_else(|ended| match ended {
            Ended::Refused(fault) => News::Refused(fault.text.unwrap_or_default().into_owned()),
            Ended::Broken(text) => {
                connection = None;
                due = due.map(|_| Instant::now() + AGAIN);
                News::Away(text)
            }
        });
        if tell.send(news).is_err() {
            return;
        }
    }
}

fn talk<'a>(path: &Path, connection: &'a mut Option<Connection>) -> Result<&'a mut Connection, Ended> {
    if connection.is_none() {
        let opened = Connection::open(path).map_err(|e| {
            let text = e.to_string();
            Ended::Broken(text.split_once("): ").map_or(text.clone(), |(_, rest)| rest.to_owned()))
        })?;
        *connection = Some(opened);
    }
    connection.as_mut().ok_or_else(|| Ended::Broken("no connection".to_owned()))
}

fn look(path: &Path, connection: &mut Option<Connection>, wish: &Wish) -> Result<News, Ended> {
    let summary = Summary {
        filter: Some(wish.filter.clone()),
        sort: Some(Cow::Borrowed(wish.sort)),
        descending: Some(wish.descending),
        limit: Some(ROWS),
        talkers: Some(TALKERS),
    };
    let mut survey = Survey { number: wish.number, ..Survey::default() };
    talk(path, connection)?.ask(Request { summary: Some(summary), ..Request::default() }, |reply| {
        if let Some(summed) = &reply.summary {
            survey.summed = summed.clone();
            survey.now_ns = reply.now_ns.unwrap_or_default();
        }
        survey.rows.extend_from_slice(reply.entries.as_deref().unwrap_or_default());
        Ok(())
    })?;
    Ok(News::Survey(Box::new(survey)))
}

fn delete(path: &Path, connection: &mut Option<Connection>, filter: Filter) -> Result<News, Ended> {
    let request = Request { delete: Some(Delete { filter: Some(filter) }), ..Request::default() };
    talk(path, connection)?.simply(request).map(News::Deleted)
}
