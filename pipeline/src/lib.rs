//! A packet's way through the router, and what stands at its two ends: captures, link headers, topology, routes,
//! fragments, the ICMP errors a router sends, the control socket, and the file that keeps a table over a restart.
//!
//! To embed a router in a program, begin with [`live::Station`]: frames and the time go in, frames come out, and there is neither
//! thread nor clock nor socket in it. `examples/embed.rs` is a NAT router between two devices in memory; `examples/smoltcp.rs`
//! puts one between two TCP stacks.

pub mod capture;
pub mod control;
pub mod defrag;
pub mod figures;
pub mod icmp_error;
pub mod io;
pub mod link;
pub mod live;
pub mod logged;
pub mod offload;
pub mod options;
pub mod refrag;
pub mod replay;
pub mod route;
pub mod router;
pub mod state;
pub mod topology;
pub mod vantage;

/// What an operating system's error says, without its number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error ")) {
        (Some(_), Some((plain, _))) => plain.to_owned(),
        _ => text,
    }
}

/// The text that a file holds; if it is none, in which line (from 1) it ceases to be, and why.
pub fn text(bytes: Vec<u8>) -> Result<String, (usize, String)> {
    String::from_utf8(bytes).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        let (before, rest) = why.as_bytes().split_at(at);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, format!("the byte 0x{:02x} is not UTF-8 text", rest.first().copied().unwrap_or(0)))
    })
}
