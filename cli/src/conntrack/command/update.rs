//! `-U`.

use std::borrow::Cow;

use uct_pipeline::control::message::{Request, Update};

use super::create::status_names;
use super::{Frame, Printer, Shell, bit_list, canonical_state, filter, nothing, summary};
use crate::conntrack::format::Seen;
use crate::conntrack::parse::Parsed;
use crate::conntrack::problem::Problem;
use crate::conntrack::protocol::Kind;

pub(super) fn request(parsed: &Parsed) -> Request {
    let kind = parsed.protocol.map(Kind::of);
    let update = Update {
        filter: Some(filter(parsed)),
        mark: parsed.mark.map(|(value, _)| value),
        mark_mask: parsed.mark.map(|(_, mask)| mask),
        timeout: parsed.timeout,
        status: parsed.status.map(|wish| status_names(wish.set)),
        state: parsed.fields.state.map(|s| Cow::Borrowed(canonical_state(kind, s))),
        orig_vtag: parsed.fields.vtags[0],
        reply_vtag: parsed.fields.vtags[1],
        label_add: parsed.label_add.map(bit_list),
        label_del: parsed.label_del.map(|bits| if bits == u128::MAX { Vec::new() } else { bit_list(bits) }),
        helper: parsed.full.helper.clone().map(Cow::Owned),
    };
    Request { update: Some(update), ..Request::default() }
}

pub(super) fn run(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    let mut printer = Printer::new(parsed.output, shell.labels, Seen::Held, Frame::None);
    let out = &mut *shell.out;
    let done = shell.connection.ask(request(parsed), |reply| printer.print(reply, out));
    let count = printer.finish(shell.out);
    done.map_err(|e| e.problem())?;
    if count == 0 { Err(nothing("updated")) } else { Ok(summary(count, "updated")) }
}
