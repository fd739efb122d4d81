//! `-G`: one entry, by the tuple of its original direction.

use uct_pipeline::control::message::{Get, Request};

use super::{Frame, Printer, Shell, filter, nothing, summary};
use crate::conntrack::format::Seen;
use crate::conntrack::parse::Parsed;
use crate::conntrack::problem::Problem;

pub(super) fn run(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    let get = Get {
        protocol: parsed.protocol.map(|p| p.0),
        original: super::create::side(parsed, parsed.original, parsed.fields.original),
        filter: Some(filter(parsed)),
    };
    let mut printer = Printer::new(parsed.output, shell.labels, Seen::Held, Frame::HeadOnly);
    let out = &mut *shell.out;
    let request = Request { get: Some(get), ..Request::default() };
    let done = shell.connection.ask(request, |reply| printer.print(reply, out));
    let count = printer.finish(shell.out);
    done.map_err(|e| e.problem())?;
    if count == 0 { Err(nothing("shown")) } else { Ok(summary(count, "shown")) }
}
