//! Both tuples of a connection are in the table, or neither.

use uct_engine::{Direction, Engine, Event, EventKind};

/// Looks through the whole table once in a while, and after what was destroyed at all times.
pub(crate) fn check(engine: &Engine, events: &[Event], turn: u64) -> Result<(), String> {
    for event in events.iter().filter(|event| event.kind == EventKind::Destroy) {
        let entry = &event.entry;
        for tuple in [entry.original, entry.reply] {
            if let Some((conn, dir)) = engine.find(&tuple, entry.zone)
                && conn.id() == entry.id
            {
                return Err(format!("{entry:?} was destroyed, and is found as {dir:?}"));
            }
        }
    }
    if !turn.is_multiple_of(256) {
        return Ok(());
    }
    let listed: Vec<_> = (0..).map_while(|shard| engine.shard(shard)).flatten().collect();
    if listed.len() != engine.count() {
        return Err(format!("{} connections listed, {} counted", listed.len(), engine.count()));
    }
    for conn in listed {
        for (tuple, dir) in [(conn.original(), Direction::Original), (conn.reply(), Direction::Reply)] {
            match engine.find(&tuple, conn.zone()) {
                // One whose two tuples are the same stands once.
                Some((found, at)) if found.is(&conn) && (at == dir || conn.original() == conn.reply()) => {}
                other => return Err(format!("{:?} of {dir:?} leads to {other:?}", conn.tuple(dir))),
            }
        }
    }
    Ok(())
}
