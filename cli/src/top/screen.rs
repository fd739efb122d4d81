//! What the screen knows, and what keys do to it. No terminal and no clock: what is drawn follows from what was heard.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use uct_pipeline::control::filter::Filter;
use uct_pipeline::control::flat::Flat;

use super::feed::{Errand, News, Survey, Wish};
use super::filter;
use super::words;

/// The orders, and what the screen calls them.
pub(super) const SORTS: [(&str, &str); 6] = [
    ("bytes", "bytes"),
    ("packets", "packets"),
    ("timeout", "timeout"),
    ("id", "age"),
    ("source", "source"),
    ("destination", "destination"),
];

/// How many rates are kept for the curve.
const HISTORY: usize = 120;

/// What a key asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Nothing that the screen cannot do itself.
    Nothing,
    /// Leave.
    Quit,
    /// Have the feed do something.
    Send(Errand),
}

/// What the keys mean at the moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    /// Commands.
    Browse,
    /// Letters of the filter; the one before comes back if it is given up.
    Type { before: String },
    /// Yes or no: delete this connection?
    Ask(Box<Flat>),
}

/// Whether surveys keep coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Running,
    Paused,
}

/// How the router is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Link {
    /// Nothing came yet.
    Waiting,
    /// It answers.
    There,
    /// It does not, for this reason.
    Away(String),
}

/// What happened in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    /// Packets; unknown if there is no router behind the table.
    pub(super) packets: Option<u64>,
    /// New connections.
    pub(super) new: u64,
    /// Packets that were invalid.
    pub(super) invalid: u64,
}

/// The screen.
#[derive(Debug)]
pub struct Screen {
    pub(super) path: String,
    pub(super) link: Link,
    pub(super) survey: Option<Survey>,
    pub(super) rates: Option<Rates>,
    pub(super) curve: VecDeque<u64>,
    pub(super) mode: Mode,
    pub(super) flow: Flow,
    pub(super) text: String,
    /// Why the text is no filter (yet).
    pub(super) wrong: Option<String>,
    /// What came of the last errand.
    pub(super) said: Option<String>,
    pub(super) selected: usize,
    /// The connection that is selected, wherever it stands.
    chosen: Option<u32>,
    /// Rows that fit, as last drawn.
    pub(super) page: usize,
    wish: Wish,
    sort: usize,
}

impl Screen {
    /// Nothing heard yet from the router behind this socket.
    pub fn new(path: String) -> Screen {
        Screen {
            path,
            link: Link::Waiting,
            survey: None,
            rates: None,
            curve: VecDeque::new(),
            mode: Mode::Browse,
            flow: Flow::Running,
            text: String::new(),
            wrong: None,
            said: None,
            selected: 0,
            chosen: None,
            page: 10,
            wish: Wish { sort: SORTS[0].0, descending: true, ..Wish::default() },
            sort: 0,
        }
    }

    /// What is asked for at the moment.
    pub fn wish(&self) -> Wish {
        self.wish.clone()
    }

    /// The order's name on the screen, and whether the largest come first.
    pub(super) fn order(&self) -> (&'static str, bool) {
        (SORTS[self.sort].1, self.wish.descending)
    }

    /// Begins with this filter.
    pub fn set_filter(&mut self, text: &str) -> Result<(), String> {
        self.wish.filter = filter::parse(text)?;
        self.text = text.to_owned();
        Ok(())
    }

    pub(super) fn rows(&self) -> &[Flat] {
        self.survey.as_ref().map_or(&[], |s| &s.rows)
    }

    pub(super) fn current(&self) -> Option<&Flat> {
        self.rows().get(self.selected)
    }

    /// Takes in what the feed says.
    pub fn hear(&mut self, news: News) {
        match news {
            News::Survey(survey) => self.take(*survey),
            News::Away(why) => {
                self.link = Link::Away(why);
                self.rates = None;
            }
            News::Deleted(0) => self.said = Some("It was gone already.".to_owned()),
            News::Deleted(n) => self.said = Some(format!("{n} deleted.")),
            News::Refused(why) => {
                self.link = Link::There;
                self.said = Some(format!("The router refuses: {why}."));
            }
        }
    }

    fn take(&mut self, survey: Survey) {
        self.link = Link::There;
        // An answer to an earlier question.
        if survey.number != self.wish.number {
            return;
        }
        // Two answers in one moment tell nothing about the time between them.
        if let Some(rates) = self.survey.as_ref().and_then(|before| rates(before, &survey)) {
            self.rates = Some(rates);
            self.curve.push_back(rates.packets.unwrap_or(rates.new));
            if self.curve.len() > HISTORY {
                self.curve.pop_front();
            }
        }
        let again = self.chosen.and_then(|id| survey.rows.iter().position(|r| r.id == id));
        self.selected = again.unwrap_or(self.selected).min(survey.rows.len().saturating_sub(1));
        self.survey = Some(survey);
        self.chosen = self.current().map(|r| r.id);
    }

    /// Does what a key says.
    pub fn press(&mut self, key: KeyEvent) -> Act {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c')) {
            return Act::Quit;
        }
        self.said = None;
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => self.browse(key.code),
            Mode::Type { before } => self.type_on(key.code, before),
            Mode::Ask(flat) => match key.code {
                KeyCode::Char('y' | 'Y') => Act::Send(Errand::Delete(Box::new(exactly(&flat)))),
                _ => Act::Nothing,
            },
        }
    }

    fn browse(&mut self, code: KeyCode) -> Act {
        let page = self.page.max(1);
        match code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected + 1),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(page)),
            KeyCode::PageDown => self.select(self.selected + page),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Char('/') => self.mode = Mode::Type { before: self.text.clone() },
            KeyCode::Esc if !self.text.is_empty() => {
                self.text.clear();
                return self.look();
            }
            KeyCode::Char('s') => {
                self.sort = (self.sort + 1) % SORTS.len();
                self.wish.sort = SORTS[self.sort].0;
                return self.look();
            }
            KeyCode::Char('r') => {
                self.wish.descending = !self.wish.descending;
                return self.look();
            }
            KeyCode::Char('d') | KeyCode::Delete => {
                if let Some(flat) = self.current() {
                    self.mode = Mode::Ask(Box::new(flat.clone()));
                }
            }
            KeyCode::Char('p' | ' ') => {
                let (flow, errand) = match self.flow {
                    Flow::Running => (Flow::Paused, Errand::Pause),
                    Flow::Paused => (Flow::Running, Errand::Resume),
                };
                self.flow = flow;
                return Act::Send(errand);
            }
            _ => {}
        }
        Act::Nothing
    }

    fn type_on(&mut self, code: KeyCode, before: String) -> Act {
        match code {
            KeyCode::Enter if self.wrong.is_none() => return Act::Nothing,
            KeyCode::Esc => {
                self.text = before;
                return self.look();
            }
            KeyCode::Backspace => {
                self.text.pop();
            }
            KeyCode::Char(c) if self.text.len() < 200 => self.text.push(c),
            _ => {
                self.mode = Mode::Type { before };
                return Act::Nothing;
            }
        }
        self.mode = Mode::Type { before };
        self.look()
    }

    /// Reads the filter and asks anew; what is no filter (yet) changes nothing.
    fn look(&mut self) -> Act {
        match filter::parse(&self.text) {
            Ok(filter) => {
                self.wrong = None;
                self.wish.filter = filter;
                self.wish.number += 1;
                Act::Send(Errand::Look(Box::new(self.wish())))
            }
            Err(why) => {
                self.wrong = Some(why);
                Act::Nothing
            }
        }
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.rows().len().saturating_sub(1));
        self.chosen = self.current().map(|r| r.id);
    }
}

/// What happened between two surveys, a second; unknown if the router was another.
fn rates(before: &Survey, after: &Survey) -> Option<Rates> {
    let span = after.now_ns.checked_sub(before.now_ns).filter(|span| *span >= 100_000_000)?;
    let each = |a: Option<u64>, b: Option<u64>| -> Option<u64> {
        let grown = u128::from(b?.checked_sub(a?)?);
        u64::try_from(grown * 1_000_000_000 / u128::from(span)).ok()
    };
    let (a, b) = (&before.summed, &after.summed);
    Some(Rates {
        packets: each(a.packets, b.packets),
        new: each(a.inserted, b.inserted)?,
        invalid: each(a.invalid, b.invalid)?,
    })
}

/// This connection and no other, even if the router has begun to count anew.
fn exactly(flat: &Flat) -> Filter {
    Filter {
        id: Some(flat.id),
        family: Some(flat.family_number),
        protocol: Some(flat.protocol_number),
        orig_src: Some(flat.orig_src),
        orig_dst: Some(flat.orig_dst),
        orig_sport: flat.orig_sport.or(flat.orig_srckey),
        orig_dport: flat.orig_dport.or(flat.orig_dstkey),
        ..Filter::default()
    }
}

/// The question before a deletion.
pub(super) fn question(flat: &Flat) -> String {
    let [src, dst, ..] = words::ends(flat);
    format!("Delete {} {} → {}? [y/N]", words::protocol(flat), src.text(), dst.text())
}
