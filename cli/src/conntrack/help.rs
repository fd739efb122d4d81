//! `-h`.

use uct_engine::Protocol;

use super::options::Means;
use super::protocol::Kind;

const TEXT: &str = "\
Look into uct's table of connections and change it, in the words of conntrack(8).
Usage: conntrack [commands] [options]

Commands:
  -L [table] [options]\t\tlist a table
  -G [table] parameters\t\tshow one entry, by its tuple
  -D [table] parameters\t\tdelete entries
  -I [table] parameters\t\tenter an entry
  -A parameters\t\t\tenter an entry; one that exists is no error
  -U parameters\t\t\tchange entries
  -E [table] [options]\t\ttell what happens, until a signal
  -F [table]\t\t\tdelete all entries
  -C [table]\t\t\tcount the entries
  -S [table]\t\t\tshow counters
  -R file\t\t\tdo the lines of a file, as `-o save' writes them; - is stdin
  -V\t\t\t\tversion
  -h [-p protocol]\t\tthis help, and a protocol's options

Tables: conntrack, expect, dying, unconfirmed

Before everything else may stand --socket PATH; UCT_SOCKET names the socket too.

Of connections:
  -n, --src-nat [ip[:port]]\t\tthe source is translated (to this)
  -g, --dst-nat [ip[:port]]\t\tthe destination is translated (to this)
  -j, --any-nat [ip[:port]]\t\teither is translated (to this)
  -m, --mark mark[/mask]\t\tmark
  -c, --secmark secmark\t\t\tsecurity mark
  -e, --event-mask mask[,...]\t\tevents: ALL, NEW, UPDATES, DESTROY
  -z, --zero\t\t\t\tset counters to zero while listing
  -i, --id id\t\t\t\tnumber of the entry
  -o, --output format[,...]\t\tformats: xml, extended, timestamp, id, ktimestamp, labels,
  \t\t\t\t\tuserspace, save, json; save,full loses nothing
  -l, --label label[,...]\t\tlabels that are set

Of expectations:
  --tuple-src ip\t\t\tsource address that is expected
  --tuple-dst ip\t\t\tdestination address that is expected

For updates:
  --label-add label[,...]\t\tset labels
  --label-del [label[,...]]\t\tclear labels, or all of them

Of both:
  -s, --src, --orig-src ip[/len]\t\tsource of the original direction
  -d, --dst, --orig-dst ip[/len]\t\tdestination of the original direction
  -r, --reply-src ip\t\t\tsource of the reply direction
  -q, --reply-dst ip\t\t\tdestination of the reply direction
  -p, --protonum protocol\t\tprotocol, by name or number
  -f, --family family\t\t\tipv4 or ipv6
  -t, --timeout seconds\t\t\ttimeout
  -u, --status status[,...]\t\tASSURED, SEEN_REPLY, FIXED_TIMEOUT, EXPECTED, UNSET, UNREPLIED, !ASSURED, ...
  -w, --zone zone\t\t\tzone
  --orig-zone zone\t\t\tzone of the original direction alone
  --reply-zone zone\t\t\tzone of the reply direction alone
  -b, --buffer-size bytes\t\tkept for scripts; events wait at the router
  --mask-src ip\t\t\t\tmask of the source
  --mask-dst ip\t\t\t\tmask of the destination
";

/// The help, with a protocol's options if one is named.
pub(super) fn text(protocol: Option<Protocol>) -> String {
    let mut text = TEXT.to_owned();
    let Some(protocol) = protocol else { return text };
    let kind = Kind::of(protocol);
    text.push_str(&format!("\nProto `{}' help:\n", protocol.name().unwrap_or("unknown")));
    for spelling in kind.spellings() {
        if let Means::Protocol(field) = spelling.means {
            text.push_str(&format!("  --{:<20}\t{}\n", spelling.long, field.describe()));
        }
    }
    if kind == Kind::Other {
        text.push_str("  no options (unsupported)\n");
    }
    text
}
