//! `-F`, `-C`, `-S`: what concerns a table as a whole.

use std::borrow::Cow;
use std::fmt::Write as _;

use uct_engine::{Engine, Family};
use uct_pipeline::control::message::{Flush, Request, Which};

use super::{Shell, write_out};
use crate::conntrack::options::Table;
use crate::conntrack::parse::Parsed;
use crate::conntrack::problem::{Problem, banner};

pub(super) fn flush_request(parsed: &Parsed) -> Request {
    let flush = Flush { table: Some(Cow::Borrowed(parsed.table.name())), family: parsed.family.map(Family::number) };
    Request { flush: Some(flush), ..Request::default() }
}

pub(super) fn flush(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<String, Problem> {
    shell.connection.simply(flush_request(parsed)).map_err(|e| e.problem())?;
    let table = if parsed.table == Table::Expect { "expectation" } else { "connection tracking" };
    Ok(format!("{}: {table} table has been emptied.", banner()))
}

fn which(parsed: &Parsed) -> Option<Which> {
    Some(Which { table: Some(Cow::Borrowed(parsed.table.name())) })
}

pub(super) fn count(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<(), Problem> {
    let request = Request { count: which(parsed), ..Request::default() };
    let count = shell.connection.simply(request).map_err(|e| e.problem())?;
    let _ = write_out(shell.out, &format!("{count}\n"));
    Ok(())
}

pub(super) fn stats(parsed: &Parsed, shell: &mut Shell<'_>) -> Result<(), Problem> {
    let mut text = String::new();
    let request = Request { stats: which(parsed), ..Request::default() };
    let done = shell.connection.ask(request, |reply| {
        for (worker, named) in reply.stats.iter().flatten().enumerate() {
            let _ = write!(text, "cpu={worker:<4}\t");
            // In the order in which the kernel has them.
            for name in names(parsed.table) {
                let _ = write!(text, "{name}={} ", named.get(name).copied().unwrap_or(0));
            }
            text.push('\n');
        }
        Ok(())
    });
    done.map_err(|e| e.problem())?;
    let _ = write_out(shell.out, &text);
    Ok(())
}

fn names(table: Table) -> Vec<&'static str> {
    match table {
        Table::Expect => vec!["expect_new", "expect_create", "expect_delete"],
        _ => Engine::new(0).stats().named().map(|(name, _)| name).collect(),
    }
}
