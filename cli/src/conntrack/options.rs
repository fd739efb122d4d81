//! The commands, the options, and which goes with which.

use super::getopt::{Spelling, Takes};
use super::problem::Problem;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// `-L`.
    List,
    /// `-G`.
    Get,
    /// `-D`.
    Delete,
    /// `-I`.
    Create,
    /// `-A`.
    Add,
    /// `-U`.
    Update,
    /// `-E`.
    Event,
    /// `-F`.
    Flush,
    /// `-C`.
    Count,
    /// `-S`.
    Stats,
    /// `-V`.
    Version,
    /// `-h`.
    Help,
}

impl Command {
    /// What follows it, and what it does.
    pub const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Command::List => ("[TABLE]", "list a table"),
            Command::Get => ("[TABLE]", "show one entry, by its tuple"),
            Command::Delete => ("[TABLE]", "delete entries"),
            Command::Create => ("[TABLE]", "enter an entry"),
            Command::Add => ("", "enter an entry; one that exists is no error"),
            Command::Update => ("", "change entries"),
            Command::Event => ("[TABLE]", "tell what happens, until a signal"),
            Command::Flush => ("[TABLE]", "delete all entries"),
            Command::Count => ("[TABLE]", "count the entries"),
            Command::Stats => ("[TABLE]", "show counters"),
            Command::Version => ("", "print the version"),
            Command::Help => ("", "print this help; with -p, a protocol's options too"),
        }
    }
}

/// What to do it to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Table {
    /// The connections.
    #[default]
    Conntrack,
    /// The expectations.
    Expect,
    /// Connections that are gone and still referred to.
    Dying,
    /// Connections whose first packet is still under way.
    Unconfirmed,
}

impl Table {
    const NAMES: [(&'static str, Table); 4] = [
        ("conntrack", Table::Conntrack),
        ("expect", Table::Expect),
        ("dying", Table::Dying),
        ("unconfirmed", Table::Unconfirmed),
    ];

    /// By its name or the beginning of it.
    pub fn by_name(word: &str) -> Option<Table> {
        Table::NAMES.iter().find(|(name, _)| !word.is_empty() && name.starts_with(word)).map(|(_, table)| *table)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Table::NAMES.iter().find(|(_, table)| *table == self).map_or("", |(name, _)| name)
    }
}

macro_rules! options {
    ($($name:ident $letter:literal $long:literal;)*) => {
        /// An option that every command line may carry, in the order in which they are checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Opt { $(#[doc = concat!("`--", $long, "`.")] $name,)* }

        impl Opt {
            /// All options, in the order in which they are checked.
            pub const ALL: &[Opt] = &[$(Opt::$name),*];

            /// The long name, as messages have it.
            pub const fn name(self) -> &'static str {
                match self { $(Opt::$name => $long),* }
            }

            /// The letter by which [`RULES`] names it.
            const fn column(self) -> u8 {
                match self { $(Opt::$name => $letter),* }
            }
        }
    };
}

options! {
    Src b's' "src";
    Dst b'd' "dst";
    ReplySrc b'r' "reply-src";
    ReplyDst b'q' "reply-dst";
    Protocol b'p' "protonum";
    Timeout b't' "timeout";
    Status b'u' "status";
    Zero b'z' "zero";
    EventMask b'e' "event-mask";
    TupleSrc b'[' "tuple-src";
    TupleDst b']' "tuple-dst";
    MaskSrc b'{' "mask-src";
    MaskDst b'}' "mask-dst";
    NatRange b'a' "nat-range";
    Mark b'm' "mark";
    Id b'i' "id";
    Family b'f' "family";
    SrcNat b'n' "src-nat";
    DstNat b'g' "dst-nat";
    Output b'o' "output";
    Secmark b'c' "secmark";
    BufferSize b'b' "buffer-size";
    AnyNat b'j' "any-nat";
    Zone b'w' "zone";
    Label b'l' "label";
    LabelAdd b'<' "label-add";
    LabelDel b'>' "label-del";
    OrigZone b'(' "orig-zone";
    ReplyZone b')' "reply-zone";
    // Beyond conntrack(8): what `-o save,full` writes.
    Helper b'H' "helper";
    Counters b'K' "counters";
    LabelBits b'B' "label-bits";
    Start b'Z' "start";
}

/// Which options a command takes: those that it must have, and those that it may. (Addresses that must come in pairs are
/// a matter of their own.) The order of the first list is that of the columns in [`Opt`].
struct Rule {
    command: Command,
    table: Table,
    must: &'static [u8],
    may: &'static [u8],
}

const RULES: [Rule; 13] = {
    use Command as C;
    use Table as T;
    const fn rule(command: C, table: T, must: &'static str, may: &'static str) -> Rule {
        Rule { command, table, must: must.as_bytes(), may: may.as_bytes() }
    }
    [
        rule(C::List, T::Conntrack, "", "sdrqpuz{}mfngocjwl()"),
        rule(C::Create, T::Conntrack, "pt", "sdrquamngw<()HKBZ"),
        rule(C::Add, T::Conntrack, "pt", "sdrquamngw<()HKBZ"),
        rule(C::Update, T::Conntrack, "", "sdrqptu{}mifngol<>HKBZ"),
        rule(C::Delete, T::Conntrack, "", "sdrqptu{}mifngowl()HKBZ"),
        rule(C::Get, T::Conntrack, "p", "sdrqiol"),
        rule(C::Event, T::Conntrack, "", "sdrqpe{}mfngocbjwl()"),
        rule(C::Flush, T::Conntrack, "", "f"),
        rule(C::Help, T::Conntrack, "", "p"),
        rule(C::List, T::Expect, "", "fo"),
        rule(C::Create, T::Expect, "sdpt[]{}", "rqu"),
        rule(C::Event, T::Expect, "", "o"),
        rule(C::Delete, T::Expect, "sdp", "rq"),
    ]
};

/// Where an option is listed in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Of connections and expectations.
    Common,
    /// Of connections.
    Connections,
    /// Of expectations.
    Expectations,
    /// For updates.
    Updates,
    /// What `-o save,full` writes.
    Full,
}

impl Opt {
    /// Where it is listed, what follows it, and what it means.
    pub const fn describe(self) -> (Group, &'static str, &'static str) {
        use Group::{Common, Connections, Expectations, Full, Updates};
        match self {
            Opt::Src => (Common, "IP[/LEN]", "source of the original direction"),
            Opt::Dst => (Common, "IP[/LEN]", "destination of the original direction"),
            Opt::ReplySrc => (Common, "IP", "source of the reply direction"),
            Opt::ReplyDst => (Common, "IP", "destination of the reply direction"),
            Opt::Protocol => (Common, "PROTOCOL", "protocol, by name or number; its own options may follow"),
            Opt::Family => (Common, "FAMILY", "ipv4 or ipv6"),
            Opt::Timeout => (Common, "SECONDS", "timeout"),
            Opt::Status => {
                (Common, "STATUS,...", "ASSURED, SEEN_REPLY, FIXED_TIMEOUT, EXPECTED, UNSET, UNREPLIED, !ASSURED, ...")
            }
            Opt::Zone => (Common, "ZONE", "zone"),
            Opt::OrigZone => (Common, "ZONE", "zone of the original direction alone"),
            Opt::ReplyZone => (Common, "ZONE", "zone of the reply direction alone"),
            Opt::BufferSize => (Common, "BYTES", "taken for scripts' sake; events wait at the router"),
            Opt::MaskSrc => (Common, "IP", "mask of the source"),
            Opt::MaskDst => (Common, "IP", "mask of the destination"),
            Opt::SrcNat => (Connections, "[IP[:PORT]]", "the source is translated, to this"),
            Opt::DstNat => (Connections, "[IP[:PORT]]", "the destination is translated, to this"),
            Opt::AnyNat => (Connections, "[IP[:PORT]]", "either is translated, to this"),
            Opt::NatRange => (Connections, "RANGE", "ignored"),
            Opt::Mark => (Connections, "MARK[/MASK]", "mark"),
            Opt::Secmark => (Connections, "SECMARK", "security mark; there are none"),
            Opt::EventMask => (Connections, "KIND,...", "events: ALL, NEW, UPDATES, DESTROY"),
            Opt::Zero => (Connections, "", "set counters to zero while listing"),
            Opt::Id => (Connections, "ID", "number of the entry"),
            Opt::Output => (
                Connections,
                "FORMAT,...",
                "xml, extended, timestamp, id, ktimestamp, labels, userspace, save, json; save,full loses nothing",
            ),
            Opt::Label => (Connections, "LABEL,...", "labels that are set"),
            Opt::TupleSrc => (Expectations, "IP", "source that is expected"),
            Opt::TupleDst => (Expectations, "IP", "destination that is expected"),
            Opt::LabelAdd => (Updates, "LABEL,...", "set labels"),
            Opt::LabelDel => (Updates, "[LABEL,...]", "clear labels, or all of them"),
            Opt::Helper => (Full, "NAME", "helper"),
            Opt::Counters => (Full, "P:B:P:B", "packets and bytes, original and reply"),
            Opt::LabelBits => (Full, "HEX", "labels as a bit mask"),
            Opt::Start => (Full, "NANOSECONDS", "when it began, since 1970"),
        }
    }
}

/// The options that were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given(u64);

impl Given {
    /// Whether this one was.
    pub fn has(self, option: Opt) -> bool {
        self.0 & 1 << option as u64 != 0
    }

    /// Whether any of these was.
    pub fn any(self, options: &[Opt]) -> bool {
        options.iter().any(|o| self.has(*o))
    }

    /// Notes one.
    pub fn add(&mut self, option: Opt) {
        self.0 |= 1 << option as u64;
    }

    /// Whether the command takes them, and has those that it must.
    pub fn check(self, command: Command, table: Table) -> Result<(), Problem> {
        let table = match table {
            Table::Expect => Table::Expect,
            _ => Table::Conntrack,
        };
        let same = |c: Command| c == command || (c, command, table) == (Command::Delete, Command::Get, Table::Expect);
        let rule = RULES.iter().find(|r| r.table == table && same(r.command));
        let (must, may) = rule.map_or((&b""[..], &b""[..]), |r| (r.must, r.may));
        for &option in Opt::ALL {
            let (letter, name) = (option.column(), option.name());
            if must.contains(&letter) {
                if !self.has(option) {
                    return Err(Problem::usage(format!("You need to supply the `--{name}' option for this command")));
                }
            } else if self.has(option) && !may.contains(&letter) {
                return Err(Problem::usage(format!("Illegal option `--{name}' with this command")));
            }
        }
        Ok(())
    }
}

/// What a word on the command line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A command.
    Do(Command),
    /// An option.
    Set(Opt),
    /// An option of the protocol.
    Protocol(super::protocol::Field),
}

const fn command(short: char, long: &'static str, command: Command) -> Spelling<Means> {
    Spelling { short: Some(short), long, takes: Takes::Perhaps, means: Means::Do(command) }
}

const fn option(short: Option<char>, long: &'static str, takes: Takes, option: Opt) -> Spelling<Means> {
    Spelling { short, long, takes, means: Means::Set(option) }
}

/// All that may be written before a protocol is named.
pub const SPELLINGS: [Spelling<Means>; 48] = {
    use Takes::{Nothing, Perhaps, Value};
    [
        command('L', "dump", Command::List),
        command('G', "get", Command::Get),
        command('D', "delete", Command::Delete),
        command('I', "create", Command::Create),
        command('A', "add", Command::Add),
        command('U', "update", Command::Update),
        command('E', "event", Command::Event),
        command('F', "flush", Command::Flush),
        command('C', "counter", Command::Count),
        // The manual page's name of it.
        command('C', "count", Command::Count),
        command('S', "stats", Command::Stats),
        Spelling { short: Some('V'), long: "version", takes: Nothing, means: Means::Do(Command::Version) },
        command('h', "help", Command::Help),
        option(Some('s'), "src", Value, Opt::Src),
        option(Some('s'), "orig-src", Value, Opt::Src),
        option(Some('d'), "dst", Value, Opt::Dst),
        option(Some('d'), "orig-dst", Value, Opt::Dst),
        option(Some('r'), "reply-src", Value, Opt::ReplySrc),
        option(Some('q'), "reply-dst", Value, Opt::ReplyDst),
        option(Some('p'), "protonum", Value, Opt::Protocol),
        option(Some('t'), "timeout", Value, Opt::Timeout),
        option(Some('u'), "status", Value, Opt::Status),
        option(Some('z'), "zero", Nothing, Opt::Zero),
        option(Some('e'), "event-mask", Value, Opt::EventMask),
        option(None, "tuple-src", Value, Opt::TupleSrc),
        option(None, "tuple-dst", Value, Opt::TupleDst),
        option(None, "mask-src", Value, Opt::MaskSrc),
        option(None, "mask-dst", Value, Opt::MaskDst),
        option(Some('a'), "nat-range", Value, Opt::NatRange),
        option(Some('m'), "mark", Value, Opt::Mark),
        option(Some('i'), "id", Value, Opt::Id),
        option(Some('f'), "family", Value, Opt::Family),
        option(Some('n'), "src-nat", Perhaps, Opt::SrcNat),
        option(Some('g'), "dst-nat", Perhaps, Opt::DstNat),
        option(Some('o'), "output", Value, Opt::Output),
        option(Some('c'), "secmark", Value, Opt::Secmark),
        option(Some('b'), "buffer-size", Value, Opt::BufferSize),
        option(Some('j'), "any-nat", Perhaps, Opt::AnyNat),
        option(Some('w'), "zone", Value, Opt::Zone),
        option(Some('l'), "label", Value, Opt::Label),
        option(None, "label-add", Value, Opt::LabelAdd),
        option(None, "label-del", Perhaps, Opt::LabelDel),
        option(None, "orig-zone", Value, Opt::OrigZone),
        option(None, "reply-zone", Value, Opt::ReplyZone),
        option(None, "helper", Value, Opt::Helper),
        option(None, "counters", Value, Opt::Counters),
        option(None, "label-bits", Value, Opt::LabelBits),
        option(None, "start", Value, Opt::Start),
    ]
};
