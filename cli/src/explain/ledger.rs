//! Who did what when: the packets that opened connections, set bounds, decided translations.
//!
//! The engine knows the present, not which packet made it so; that is kept here, for the observer alone. A connection that is
//! gone is forgotten after the packet that told of it, so that the ledger is as large as the table.

use std::collections::HashMap;

use uct_engine::tcp::{Peer, PeerFlags};
use uct_engine::{ConnId, Entry, Manip};

use super::model::{ConnRef, EndView, Pin};

/// What is remembered of a connection.
#[derive(Clone, Debug)]
pub struct Record {
    /// The packet that opened it.
    pub opened: u64,
    /// The connection as it stood after its last packet.
    pub entry: Option<Entry>,
    /// What TCP knew of its two ends after its last packet.
    pub ends: [Peer; 2],
    /// The packets that set each end's `end`, `max_end`, `max_win`, `max_ack`; 0 for none.
    pub set_by: [[u64; 4]; 2],
    /// Where the translation of its source and its destination was decided.
    pub pins: [Option<Pin>; 2],
    /// Whether it stands in the table.
    pub confirmed: bool,
}

/// What is remembered of all live connections.
#[derive(Debug, Default)]
pub struct Ledger {
    records: HashMap<ConnId, Record>,
    /// Connections to be forgotten at the packet's end.
    gone: Vec<ConnId>,
}

impl Ledger {
    /// A packet opens a connection.
    pub fn open(&mut self, id: ConnId, packet: u64) {
        let record = Record {
            opened: packet,
            entry: None,
            ends: Default::default(),
            set_by: Default::default(),
            pins: [None, None],
            confirmed: false,
        };
        self.records.insert(id, record);
    }

    /// What is remembered of a connection.
    pub fn get(&self, id: ConnId) -> Option<&Record> {
        self.records.get(&id)
    }

    /// The same, to add to it.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Record> {
        self.records.get_mut(&id)
    }

    /// A connection by its number and the packet that opened it.
    pub fn refer(&self, id: ConnId) -> ConnRef {
        ConnRef { id: id.0, since: self.records.get(&id).map(|r| r.opened) }
    }

    /// A packet has changed what TCP knows of the ends.
    pub fn ends(&mut self, id: ConnId, ends: &[Peer; 2], packet: u64) {
        let Some(record) = self.records.get_mut(&id) else { return };
        for ((old, new), set_by) in record.ends.iter().zip(ends).zip(&mut record.set_by) {
            let changed = [
                old.end != new.end,
                old.max_end != new.max_end,
                old.max_win != new.max_win,
                old.max_ack != new.max_ack || has_ack(old) != has_ack(new),
            ];
            for (by, changed) in set_by.iter_mut().zip(changed) {
                if changed {
                    *by = packet;
                }
            }
        }
        record.ends = *ends;
    }

    /// The ends as they are shown.
    pub fn end_views(&self, id: ConnId) -> Option<[EndView; 2]> {
        let record = self.records.get(&id)?;
        let view = |at: usize| {
            let peer = &record.ends[at];
            EndView {
                end: peer.end.0,
                max_end: peer.max_end.0,
                max_win: peer.max_win,
                max_ack: has_ack(peer).then_some(peer.max_ack.0),
                scale: peer.scale,
                flags: peer.flags.iter_names().map(|(name, _)| name).collect(),
                set_by: record.set_by[at],
            }
        };
        Some([view(0), view(1)])
    }

    /// Where the translation of an end was decided.
    pub fn pin(&self, id: ConnId, manip: Manip) -> Option<&Pin> {
        self.records.get(&id)?.pins[manip as usize].as_ref()
    }

    /// A connection is gone; it is forgotten when the packet has been told.
    pub fn close(&mut self, id: ConnId) {
        self.gone.push(id);
    }

    /// The packet has been told.
    pub fn forget_gone(&mut self) {
        for id in self.gone.drain(..) {
            self.records.remove(&id);
        }
    }
}

fn has_ack(peer: &Peer) -> bool {
    peer.flags.contains(PeerFlags::MAXACK_SET)
}
