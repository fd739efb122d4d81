//! Ports that NAT draws at random when two connections clash.
//!
//! The answers in a recording come to the port that the kernel drew. Ours draws another one: what arrives is addressed to it
//! before it is replayed, and what comes out is put back before it is compared.

use crate::lines;
use crate::packet::{self, Ends, Side};

/// A port that was drawn for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draw {
    /// The connection's original tuple.
    original: Ends,
    /// The connection's reply tuple in the kernel.
    reply: Ends,
    /// The port that ours drew instead.
    ours: u16,
}

/// Where the two sides drew different ports: the reply tuples of the connections that both made.
///
/// As long as the answers come to ports that ours did not draw, it makes other connections as well. They are left alone here.
pub(crate) fn compare(theirs: &[String], ours: &[String]) -> Result<Vec<Draw>, String> {
    let new = |lines: &[String]| -> Vec<(Ends, Ends)> {
        lines.iter().filter(|line| line.contains("[NEW]")).filter_map(|line| lines::tuples(line)).collect()
    };
    let mut ours = new(ours);
    let mut draws: Vec<Draw> = Vec::new();
    for (original, theirs) in new(theirs) {
        let Some(same) = ours.iter().position(|(ours, _)| *ours == original) else { continue };
        let (_, ours) = ours.remove(same);
        if theirs == ours {
            continue;
        }
        let (drawn, kept) = (theirs.destination_port, original.source_port);
        if drawn == kept || ours.destination_port == kept {
            return Err(format!(
                "only one side drew a port for {original:?}: {drawn} in the kernel, {} here",
                ours.destination_port
            ));
        }
        if class(drawn) != class(ours.destination_port) && original.protocol != 1 && original.protocol != 58 {
            return Err(format!(
                "a port of another class was drawn for {original:?}: {drawn}, {}",
                ours.destination_port
            ));
        }
        let draw = Draw { original, reply: theirs, ours: ours.destination_port };
        if let Some(other) = draws.iter().find(|other| other.is_of_the_socket_of(&draw)) {
            let alike = |a: u16, b: u16| if a == b { "one port" } else { "two ports" };
            let kernel = alike(other.reply.destination_port, draw.reply.destination_port);
            if kernel != alike(other.ours, draw.ours) {
                return Err(format!("{:?} and {:?} get {kernel} in the kernel", other.original, draw.original));
            }
        }
        draws.push(draw);
    }
    Ok(draws)
}

/// A port stays below 512, below 1024, or above.
fn class(port: u16) -> u8 {
    match port {
        0..512 => 0,
        512..1024 => 1,
        _ => 2,
    }
}

/// Addresses an arriving packet to the port that ours drew.
pub(crate) fn to_ours(draws: &[Draw], ip: &mut [u8]) {
    let Some(ends) = packet::ends(ip) else { return };
    if let Some(draw) = draws.iter().find(|draw| draw.reply == ends) {
        packet::set_port(ip, Side::Destination, draw.ours);
    }
}

/// Puts the kernel's port back into a packet that ours sent.
pub(crate) fn to_theirs(draws: &[Draw], ip: &mut [u8]) {
    let Some(sent) = packet::ends(ip) else { return };
    if let Some(draw) = draws.iter().find(|draw| draw.with_our_port() == sent.answered()) {
        packet::set_port(ip, Side::Source, draw.reply.destination_port);
    }
}

/// Puts the kernel's port back into a line.
pub(crate) fn line_to_theirs(draws: &[Draw], line: &str) -> String {
    match lines::tuples(line).and_then(|(_, reply)| draws.iter().find(|draw| draw.with_our_port() == reply)) {
        Some(draw) => lines::with_reply_port(line, draw.reply.destination_port),
        None => line.to_owned(),
    }
}

impl Draw {
    /// Whether both connections began at one socket.
    fn is_of_the_socket_of(&self, other: &Draw) -> bool {
        let socket = |draw: &Draw| (draw.original.protocol, draw.original.source, draw.original.source_port);
        socket(self) == socket(other)
    }

    /// Whether a packet of the kernel's left from the drawn port.
    pub(crate) fn is_sent_as(&self, sent: &Ends) -> bool {
        self.reply == sent.answered()
    }

    /// The reply tuple here.
    fn with_our_port(&self) -> Ends {
        let mut reply = self.reply.clone();
        reply.destination_port = self.ours;
        if matches!(reply.protocol, 1 | 58) {
            reply.source_port = self.ours; // the id stands for both
        }
        reply
    }
}
