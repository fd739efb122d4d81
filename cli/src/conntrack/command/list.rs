//! `-L`.

use std::borrow::Cow;

use uct_pipeline::control::message::{List, Request};

use super::{Frame, Printer, Shell, filter, summary};
use crate::conntrack::format::Seen;
use crate::conntrack::options::Opt;
use crate::conntrack::parse::Parsed;
use crate::conntrack::problem::Problem;

pub(super) fn run(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    let list = List {
        table: Some(Cow::Borrowed(parsed.table.name())),
        filter: Some(filter(parsed)),
        zero: parsed.given.has(Opt::Zero).then_some(true),
    };
    let mut printer = Printer::new(parsed.output, shell.labels, Seen::Listed, Frame::Whole);
    let out = &mut *shell.out;
    let request = Request { list: Some(list), ..Request::default() };
    let done = shell.connection.ask(request, |reply| printer.print(reply, out));
    let count = printer.finish(shell.out);
    done.map_err(|e| e.problem())?;
    Ok(summary(count, "shown"))
}
