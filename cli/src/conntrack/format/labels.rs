//! Names of connection labels: `connlabel.conf`, lines of a number from 0 to 127 and a name.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Where the names are kept.
pub const CONNLABEL_CONF: &str = "/etc/xtables/connlabel.conf";

/// Labels by number and by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelMap {
    names: BTreeMap<u8, String>,
}

impl LabelMap {
    /// Reads a file; what is not a number and a name is passed over.
    pub fn load(path: &Path) -> io::Result<LabelMap> {
        Ok(LabelMap::parse(&std::fs::read_to_string(path)?))
    }

    /// Reads lines; of two names for one number, or two numbers for one name, the first counts.
    pub fn parse(text: &str) -> LabelMap {
        let mut map = LabelMap::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(bit) = words.next().and_then(|w| w.parse::<u8>().ok()).filter(|b| *b < 128) else { continue };
            let Some(name) = words.next() else { continue };
            if map.bit(name).is_none() {
                map.names.entry(bit).or_insert_with(|| name.to_owned());
            }
        }
        map
    }

    /// The number of a name.
    pub fn bit(&self, name: &str) -> Option<u8> {
        self.names.iter().find(|(_, n)| *n == name).map(|(bit, _)| *bit)
    }

    /// The names of the labels that are set, by number; a label without a name is not shown.
    pub fn names(&self, bits: u128) -> Vec<&str> {
        self.names.iter().filter(|(bit, _)| bits >> **bit & 1 == 1).map(|(_, name)| name.as_str()).collect()
    }
}
