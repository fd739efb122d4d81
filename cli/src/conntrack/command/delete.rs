//! `-D`.

use uct_pipeline::control::message::{Delete, Request};

use super::{Frame, Printer, Shell, filter, nothing, summary};
use crate::conntrack::format::Seen;
use crate::conntrack::parse::Parsed;
use crate::conntrack::problem::Problem;

pub(super) fn request(parsed: &Parsed) -> Request {
    Request { delete: Some(Delete { filter: Some(filter(parsed)) }), ..Request::default() }
}

pub(super) fn run(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    let mut printer = Printer::new(parsed.output, shell.labels, Seen::Deleted, Frame::None);
    let out = &mut *shell.out;
    let done = shell.connection.ask(request(parsed), |reply| printer.print(reply, out));
    let count = printer.finish(shell.out);
    done.map_err(|e| e.problem())?;
    if count == 0 { Err(nothing("deleted")) } else { Ok(summary(count, "deleted")) }
}
