//! The other way round: what a router had received for a packet that it has translated already.
//!
//! A capture taken inside shows replies as the client got them. Given the connection, its reply tuple says what they looked
//! like before:
//!
//! ```text
//!   reply in the capture      B:80 → A:40000            the inverse of the original tuple
//!   what the router received  B:80 → T:17802            the reply tuple
//!   an error in the capture   M → A  [A:40000 → B:80]   quotes the original tuple
//!   what the router received  M → T  [T:17802 → B:80]   quotes the inverse of the reply tuple
//! ```
//!
//! [`crate::translate()`] undoes exactly this.

use uct_engine::{Direction, Engine, Manip, Packet, Tuple, Zone};

use crate::mangle;
use crate::translate::{rewrite_error, whole};

/// Whether a packet was turned into what the router had received for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It was a reply, or an error about the connection, and is now what the router had received.
    Yes,
    /// It belongs to no connection that an inside host opened, or that one is not translated.
    No,
}

/// Turns a packet from outside that was translated already into what the router had received for it.
pub fn restore(engine: &Engine, packet: &mut Packet<'_>) -> Restored {
    if let Some(quoted) = packet.quoted_tuple() {
        return match engine.find(&quoted, Zone::DEFAULT) {
            Some((conn, Direction::Original)) => match conn.reply().inverse() {
                Some(sent) if sent != quoted && rewrite_error(packet, &sent, Manip::Dst).is_ok() => Restored::Yes,
                _ => Restored::No,
            },
            _ => Restored::No,
        };
    }
    let Some(original) = packet.tuple().and_then(|t| t.inverse()) else { return Restored::No };
    match engine.find(&original, Zone::DEFAULT) {
        Some((conn, Direction::Original)) if conn.reply().inverse() != Some(original) => rewrite(packet, &conn.reply()),
        _ => Restored::No,
    }
}

/// Makes a packet look as this tuple has it: its addresses, and its ports if it holds them (a later fragment does not).
pub fn rewrite(packet: &mut Packet<'_>, tuple: &Tuple) -> Restored {
    let done = [Manip::Src, Manip::Dst].into_iter().all(|manip| mangle::mangle(whole(packet), tuple, manip).is_ok());
    if done { Restored::Yes } else { Restored::No }
}
