//! `-h`, completions and the manual page: all from the tables of commands and options.

use clap::{Arg, ArgAction};
use uct_engine::Protocol;

use super::options::{Group, Means, SPELLINGS};
use super::protocol::Kind;

const HEAD: &str = "\
Look into uct's table of connections and change it, in the words of conntrack(8).
Usage: conntrack [--socket PATH] command [options]
";

const TABLES: &str = "\nTables: conntrack (unless another is named), expect, dying, unconfirmed\n";

const GROUPS: [(Group, &str); 5] = [
    (Group::Connections, "Of connections"),
    (Group::Expectations, "Of expectations"),
    (Group::Updates, "For updates"),
    (Group::Common, "Of both"),
    (Group::Full, "What `-o save,full' writes"),
];

/// A command or option with all its spellings.
struct Item {
    short: Option<char>,
    long: Vec<&'static str>,
    means: Means,
}

fn items() -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for spelling in SPELLINGS {
        match items.iter_mut().find(|i| i.means == spelling.means) {
            Some(item) => item.long.push(spelling.long),
            None => items.push(Item { short: spelling.short, long: vec![spelling.long], means: spelling.means }),
        }
    }
    items
}

impl Item {
    fn describe(&self) -> (&'static str, &'static str) {
        match self.means {
            Means::Do(command) => command.describe(),
            Means::Set(option) => (option.describe().1, option.describe().2),
            Means::Protocol(field) => ("VALUE", field.describe()),
        }
    }

    fn line(&self) -> String {
        let (value, text) = self.describe();
        let short = self.short.map(|s| format!("-{s}"));
        let names: Vec<String> = short.into_iter().chain(self.long.iter().map(|l| format!("--{l}"))).collect();
        let left = format!("{} {value}", names.join(", "));
        format!("  {:<44} {text}\n", left.trim_end())
    }
}

/// The help, with a protocol's options if one is named.
pub(super) fn text(protocol: Option<Protocol>) -> String {
    let items = items();
    let mut text = format!("{HEAD}\nCommands:\n");
    for item in items.iter().filter(|i| matches!(i.means, Means::Do(_))) {
        text.push_str(&item.line());
    }
    text.push_str(
        "  -R, --load-file FILE                         do the lines of a file, as `-o save' writes them; - is stdin\n",
    );
    text.push_str(TABLES);
    for (group, title) in GROUPS {
        text.push_str(&format!("\n{title}:\n"));
        let of_group = |i: &&Item| matches!(i.means, Means::Set(option) if option.describe().0 == group);
        items.iter().filter(of_group).for_each(|item| text.push_str(&item.line()));
    }
    let Some(protocol) = protocol else { return text };
    let kind = Kind::of(protocol);
    text.push_str(&format!("\nProto `{}' help:\n", protocol.name().unwrap_or("unknown")));
    for spelling in kind.spellings() {
        let item = Item { short: None, long: vec![spelling.long], means: spelling.means };
        text.push_str(&item.line());
    }
    if kind == Kind::Other {
        text.push_str("  no options (unsupported)\n");
    }
    text
}

/// The same for completions and manual pages, which are made by clap. (The command line itself is not read by it.)
pub(crate) fn describe(command: clap::Command) -> clap::Command {
    let mut args: Vec<Arg> = Vec::new();
    let kinds = [Kind::Tcp, Kind::Sctp, Kind::Dccp, Kind::Icmp, Kind::Icmpv6, Kind::Gre];
    let mut items = items();
    for spelling in kinds.into_iter().flat_map(Kind::spellings) {
        if !items.iter().any(|i| i.long.contains(&spelling.long)) {
            items.push(Item { short: None, long: vec![spelling.long], means: spelling.means });
        }
    }
    for item in items {
        let (value, text) = item.describe();
        let (heading, order) = match item.means {
            Means::Do(_) => ("Commands", 0),
            Means::Set(option) => {
                let place = GROUPS.iter().position(|(g, _)| *g == option.describe().0).unwrap_or(0);
                (GROUPS[place].1, 1 + place)
            }
            Means::Protocol(_) => ("Of protocols, after -p", 9),
        };
        let name = item.long[0];
        let mut arg =
            Arg::new(name).long(name).help(text).help_heading(heading).display_order(order * 100 + args.len());
        arg = arg.visible_aliases(item.long[1..].to_vec());
        if let Some(short) = item.short {
            arg = arg.short(short);
        }
        arg = match value {
            "" => arg.action(ArgAction::SetTrue),
            v if v.starts_with('[') => arg.value_name(v.trim_matches(['[', ']'])).num_args(0..=1),
            v => arg.value_name(v),
        };
        args.push(arg);
    }
    let load = Arg::new("load-file").short('R').long("load-file").value_name("FILE").help_heading("Commands");
    args.push(load.help("do the lines of a file, as `-o save' writes them; - is stdin").display_order(50));
    let socket = Arg::new("socket").long("socket").value_name("PATH");
    args.push(socket.help("the router's socket; before everything else [default: $UCT_SOCKET, or /run/uct.sock]"));
    let about = "Look into a router's table and change it, in the words of conntrack(8)";
    // A new one: the words that stand for all options there are not wanted here.
    drop(command);
    clap::Command::new("conntrack").about(about).disable_help_flag(true).args(args)
}

#[cfg(test)]
mod tests {
    use super::super::options::Opt;
    use super::*;

    #[test]
    fn everything_is_described_once() {
        describe(clap::Command::new("conntrack")).debug_assert();
        let text = text(Some(Protocol::TCP));
        for option in Opt::ALL {
            assert!(text.contains(&format!("--{} ", option.name())) || text.contains(&format!("--{},", option.name())));
        }
        assert!(text.contains("-L, --dump") && text.contains("--orig-port-src"));
    }
}
