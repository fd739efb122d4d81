//! What clients ask of the program around the table: its figures, and to read its files again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

use super::message::Reply;
use super::serve::{Answer, Work, fault};
use crate::figures::{Figure, Figures, Kind};

/// The program around the table.
pub trait Host: Figures {
    /// Reads rules, settings and surroundings again, all or nothing. Answers what came of it in a line or a few, or what is
    /// wrong with them.
    fn reload(&self) -> Result<String, String>;
}

/// A figure, as it goes over the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlatFigure {
    /// Its name, with `_total` if it only grows.
    pub name: String,
    /// What tells it from others of its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How much.
    pub value: u64,
    /// `counter` or `gauge`.
    pub kind: String,
    /// What it means.
    pub help: String,
}

impl From<&Figure> for FlatFigure {
    fn from(figure: &Figure) -> FlatFigure {
        let (kind, total) = match figure.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        FlatFigure {
            name: format!("{}{total}", figure.name),
            labels: figure
                .labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()))
                .collect(),
            value: figure.value,
            kind: kind.to_owned(),
            help: figure.help.clone().into_owned(),
        }
    }
}

impl Work<'_> {
    pub(super) fn figures(&self) -> io::Result<Answer> {
        let mut figures = Vec::new();
        match self.host() {
            Some(host) => host.figures(&mut figures),
            None => self.engine().figures(&mut figures),
        }
        let flat: Vec<_> = figures.iter().map(FlatFigure::from).collect();
        let count = flat.len() as u64;
        for piece in flat.chunks(128) {
            self.reply(Reply { figures: Some(piece.to_vec()), ..Reply::default() })?;
        }
        Ok(Ok(count))
    }

    pub(super) fn reload(&self) -> io::Result<Answer> {
        let Some(host) = self.host() else {
            return Ok(Err(fault("refused", "there is nothing to read again: this program was given no files")));
        };
        match host.reload() {
            Ok(said) => {
                self.reply(Reply { reloaded: Some(said.into()), ..Reply::default() })?;
                Ok(Ok(0))
            }
            Err(why) => Ok(Err(fault("refused", why))),
        }
    }
}
