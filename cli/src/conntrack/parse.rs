//! From words to what is asked for.
//!
//! ```text
//!   words ─► getopt ─► one option after the other: values are read, families compared       usage errors, in order
//!         ─► command and table: legal together? options legal? pairs complete?             usage errors
//!         ─► Parsed
//! ```
//!
//! Nothing here looks at a table of connections: a wrong command line is refused before anybody is asked anything.

use std::net::IpAddr;

use uct_engine::{Counters, EventKind, Family, Protocol};

use super::format::{LabelMap, Output, OutputError, Shape};
use super::getopt::{Getopt, Wrong};
use super::options::{Command, Given, Means, Opt, SPELLINGS, Table};
use super::problem::{Compat, Problem};
use super::protocol::{Fields, Kind};
use super::values::{self, NatTo, StatusWish};

/// Source and destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Source.
    pub src: Option<IpAddr>,
    /// Destination.
    pub dst: Option<IpAddr>,
}

/// What `-o save,full` writes beyond the real tool's options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Full {
    /// `--helper`.
    pub helper: Option<String>,
    /// `--counters`.
    pub counters: Option<[Counters; 2]>,
    /// `--label-bits`.
    pub labels: Option<u128>,
    /// `--start`, nanoseconds since 1970.
    pub start: Option<u64>,
}

/// A command line that is right.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What to do.
    pub command: Command,
    /// What to do it to.
    pub table: Table,
    /// Which options were given.
    pub given: Given,
    /// The family of the addresses, or what `-f` says.
    pub family: Option<Family>,
    /// `-p`.
    pub protocol: Option<Protocol>,
    /// The protocol's options.
    pub fields: Fields,
    /// `-s`, `-d`.
    pub original: Pair,
    /// `-r`, `-q`.
    pub reply: Pair,
    /// `--mask-src`, `--mask-dst`, or prefix lengths.
    pub mask: Pair,
    /// `--tuple-src`, `--tuple-dst`.
    pub tuple: Pair,
    /// `-t`.
    pub timeout: Option<u32>,
    /// `-u`.
    pub status: Option<StatusWish>,
    /// `-m`: value and mask.
    pub mark: Option<(u32, u32)>,
    /// `-c`. No connection has a security mark, so nothing is compared, as in a kernel without them.
    pub secmark: Option<u32>,
    /// `-i`.
    pub id: Option<u32>,
    /// `-n`.
    pub src_nat: Option<NatTo>,
    /// `-g`.
    pub dst_nat: Option<NatTo>,
    /// `-j`.
    pub any_nat: Option<NatTo>,
    /// `-w`.
    pub zone: Option<u16>,
    /// `--orig-zone`.
    pub orig_zone: Option<u16>,
    /// `--reply-zone`.
    pub reply_zone: Option<u16>,
    /// `-l`, as a bit mask.
    pub label: Option<u128>,
    /// `--label-add`.
    pub label_add: Option<u128>,
    /// `--label-del`; all of them if it names none.
    pub label_del: Option<u128>,
    /// `-o`.
    pub output: Output,
    /// `-e`; all if empty.
    pub events: Vec<EventKind>,
    /// `-b`.
    pub buffer_size: Option<u64>,
    /// What `-o save,full` writes.
    pub full: Full,
}

/// What a command line may need from the outside.
pub struct Surroundings<'a> {
    /// Reads the names of labels.
    pub labels: &'a dyn Fn() -> Option<LabelMap>,
    /// Whose behaviour is shown.
    pub compat: Compat,
    /// Takes warnings.
    pub warn: &'a mut dyn FnMut(&str),
}

/// The number of options that ask for label names.
const NO_MAP: &str = "nfct_labelmap_new: No such file or directory";

/// Reads a command line; without a command, `Command::Help`.
pub fn parse(words: &[String], around: &mut Surroundings<'_>) -> Result<Parsed, Problem> {
    let mut parsed = Parsed::default();
    let mut command = None;
    let mut known = SPELLINGS.to_vec();
    let mut getopt = Getopt::new(words);
    let mut named = None;
    let mut labels = None;
    while let Some(found) = getopt.next(&known) {
        let found = found.map_err(|wrong| match wrong {
            Wrong::Unknown(word) => Problem::usage(format!("unknown option `{word}'")),
            Wrong::NoValue(word) => Problem::usage(format!("option `{word}' requires an argument")),
        })?;
        let value = found.value.as_deref();
        match found.means {
            Means::Do(new) => {
                if command.replace(new).is_some() {
                    return Err(Problem::usage("Invalid commands combination"));
                }
                if let Some(word) = value {
                    let unknown = || Problem::usage(format!("unknown type `{word}'"));
                    parsed.table = Table::by_name(word).ok_or_else(unknown)?;
                }
            }
            Means::Protocol(field) => {
                let kind = parsed.protocol.map_or(Kind::Other, Kind::of);
                parsed.fields.set(kind, field, value.unwrap_or_default())?;
            }
            Means::Set(option) => {
                let mut context = Context { around, named: &mut named, labels: &mut labels };
                parsed.take(option, value, &mut context)?;
                if option == Opt::Protocol
                    && let Some(protocol) = parsed.protocol
                {
                    known.extend(Kind::of(protocol).spellings());
                }
            }
        }
    }
    parsed.check(command)?;
    if around.compat == Compat::V147 && parsed.command == Command::Update && parsed.family.is_none() {
        (around.warn)("Operation failed: Operation not supported");
        return Err(Problem::failed("Operation not supported"));
    }
    Ok(parsed)
}

/// What is remembered from option to option.
struct Context<'a, 'b> {
    around: &'a mut Surroundings<'b>,
    /// The family that `-f` named.
    named: &'a mut Option<Family>,
    /// The names of labels, once they are needed.
    labels: &'a mut Option<Option<LabelMap>>,
}

impl Context<'_, '_> {
    /// A set of labels by their names.
    fn label_bits(&mut self, names: &str) -> Result<u128, Problem> {
        let map = self.map();
        names.split(',').try_fold(0, |bits, name| match map.as_ref().and_then(|m| m.bit(name)) {
            Some(bit) => Ok(bits | 1 << bit),
            None => Err(Problem::usage(format!("unknown label '{name}'"))),
        })
    }

    fn map(&mut self) -> &Option<LabelMap> {
        if self.labels.is_none() {
            let map = (self.around.labels)();
            if map.is_none() {
                (self.around.warn)(NO_MAP);
            }
            *self.labels = Some(map);
        }
        self.labels.get_or_insert_default()
    }
}

impl Default for Parsed {
    fn default() -> Self {
        Parsed {
            command: Command::Help,
            table: Table::Conntrack,
            given: Given::default(),
            family: None,
            protocol: None,
            fields: Fields::default(),
            original: Pair::default(),
            reply: Pair::default(),
            mask: Pair::default(),
            tuple: Pair::default(),
            timeout: None,
            status: None,
            mark: None,
            secmark: None,
            id: None,
            src_nat: None,
            dst_nat: None,
            any_nat: None,
            zone: None,
            orig_zone: None,
            reply_zone: None,
            label: None,
            label_add: None,
            label_del: None,
            output: Output::default(),
            events: Vec::new(),
            buffer_size: None,
            full: Full::default(),
        }
    }
}

impl Parsed {
    fn take(&mut self, option: Opt, value: Option<&str>, context: &mut Context<'_, '_>) -> Result<(), Problem> {
        let text = value.unwrap_or_default();
        // What is ignored is not illegal either.
        if option != Opt::NatRange {
            self.given.add(option);
        }
        match option {
            Opt::Src | Opt::Dst => {
                let net = values::net(text)?;
                self.meet(Family::of(net.addr))?;
                let (addr, mask, mask_option) = match option {
                    Opt::Src => (&mut self.original.src, &mut self.mask.src, Opt::MaskSrc),
                    _ => (&mut self.original.dst, &mut self.mask.dst, Opt::MaskDst),
                };
                *addr = Some(net.addr);
                if net.mask.is_some() {
                    *mask = net.mask;
                    self.given.add(mask_option);
                }
            }
            Opt::ReplySrc => self.reply.src = Some(self.host(text, option)?),
            Opt::ReplyDst => self.reply.dst = Some(self.host(text, option)?),
            Opt::MaskSrc => self.mask.src = Some(self.host(text, option)?),
            Opt::MaskDst => self.mask.dst = Some(self.host(text, option)?),
            Opt::TupleSrc => self.tuple.src = Some(self.host(text, option)?),
            Opt::TupleDst => self.tuple.dst = Some(self.host(text, option)?),
            Opt::Protocol => self.protocol = Some(values::protocol(text)?),
            Opt::Family => {
                let family = match text {
                    "ipv4" => Family::Ipv4,
                    "ipv6" => Family::Ipv6,
                    _ => return Err(Problem::usage(format!("`{text}' unsupported protocol"))),
                };
                if context.named.replace(family).is_some_and(|before| before != family) {
                    return Err(Problem::usage("mismatched address family"));
                }
                self.meet(family)?;
            }
            Opt::Timeout => self.timeout = Some(values::u32(text, "-t")?),
            Opt::Status => {
                let wish = values::status(text, context.around.warn)?;
                self.status = Some(wish);
                if context.around.compat == Compat::V147
                    && let Some((value, _)) = &mut self.mark
                {
                    // The two shared their memory.
                    *value = wish.set.bits();
                }
            }
            Opt::Zero => {}
            Opt::EventMask => self.events.extend(events(text)?),
            Opt::NatRange => (context.around.warn)("WARNING: ignoring -a, deprecated option."),
            Opt::Mark => self.mark = Some(values::mark(text)?),
            Opt::Secmark => self.secmark = Some(values::u32(text, "-c")?),
            Opt::Id => self.id = Some(values::u32(text, "-i")?),
            // Without a value, what was said before stays.
            Opt::SrcNat => self.src_nat = self.nat(value, option)?.or(self.src_nat).or(Some(NatTo::default())),
            Opt::DstNat => self.dst_nat = self.nat(value, option)?.or(self.dst_nat).or(Some(NatTo::default())),
            Opt::AnyNat => self.any_nat = self.nat(value, option)?.or(self.any_nat).or(Some(NatTo::default())),
            Opt::Zone => self.zone = Some(values::u16(text, "-w")?),
            Opt::OrigZone => self.orig_zone = Some(values::u16(text, "--orig-zone")?),
            Opt::ReplyZone => self.reply_zone = Some(values::u16(text, "--reply-zone")?),
            Opt::Label => self.label = Some(self.label.unwrap_or(0) | context.label_bits(text)?),
            Opt::LabelAdd | Opt::LabelDel if self.given.has(Opt::LabelAdd) && self.given.has(Opt::LabelDel) => {
                return Err(Problem::Other("cannot use --label-add and --label-del at the same time".to_owned()));
            }
            Opt::LabelAdd => self.label_add = Some(self.label_add.unwrap_or(0) | context.label_bits(text)?),
            Opt::LabelDel => {
                let bits = match value {
                    Some(names) => context.label_bits(names)?,
                    None => u128::MAX,
                };
                self.label_del = Some(self.label_del.unwrap_or(0) | bits);
            }
            Opt::Output => {
                self.output.add(text).and_then(|()| self.output.check()).map_err(output_problem)?;
                if self.output.has(Output::LABELS) {
                    context.map();
                }
            }
            Opt::BufferSize => {
                let size = values::number(text).ok_or_else(|| values::unexpected(text, "-b"))?;
                self.buffer_size = Some(size);
            }
            Opt::Helper => self.full.helper = Some(text.to_owned()),
            Opt::Counters => self.full.counters = Some(counters(text)?),
            Opt::LabelBits => self.full.labels = Some(label_bits(text)?),
            Opt::Start => {
                let start = values::number(text).ok_or_else(|| values::unexpected(text, "--start"))?;
                self.full.start = Some(start);
            }
        }
        Ok(())
    }

    /// All addresses are of one family.
    fn meet(&mut self, family: Family) -> Result<(), Problem> {
        match self.family.replace(family) {
            Some(before) if before != family => Err(Problem::usage("mismatched address family")),
            _ => Ok(()),
        }
    }

    fn host(&mut self, text: &str, option: Opt) -> Result<IpAddr, Problem> {
        let addr = values::host(text, option.name())?;
        self.meet(Family::of(addr))?;
        Ok(addr)
    }

    fn nat(&mut self, value: Option<&str>, option: Opt) -> Result<Option<NatTo>, Problem> {
        let Some(text) = value else { return Ok(None) };
        let to = values::nat(text, option.name())?;
        if let Some(addr) = to.addr {
            self.meet(Family::of(addr))?;
        }
        Ok(Some(to))
    }

    /// Whether it all goes together.
    fn check(&mut self, command: Option<Command>) -> Result<(), Problem> {
        let shape = self.output.shape;
        if self.given.has(Opt::AnyNat) && self.given.any(&[Opt::SrcNat, Opt::DstNat]) {
            return Err(Problem::usage("cannot specify `--src-nat' or `--dst-nat' with `--any-nat'"));
        }
        self.command = command.unwrap_or(Command::Help);
        match (self.table, self.command) {
            (Table::Expect, Command::Update) => return Err(Problem::usage("Can't do --update on expectations")),
            (Table::Expect, Command::Add) => return Err(Problem::usage("Can't do --add on expectations")),
            (Table::Dying | Table::Unconfirmed, c) if c != Command::List => {
                return Err(Problem::usage("Can't do that command with tables `dying' and `unconfirmed'"));
            }
            _ => {}
        }
        if command.is_none() && self.given != Given::default() {
            Given::check(self.given, Command::Version, self.table)?;
        }
        self.given.check(self.command, self.table)?;
        self.check_addresses()?;
        if let Some(protocol) = self.protocol
            && self.command != Command::Help
        {
            self.fields.check(Kind::of(protocol), self.command, self.table)?;
        }
        self.check_masks()?;
        if self.given.has(Opt::Zero) && self.table == Table::Conntrack && self.is_filtered() {
            return Err(Problem::usage("Can't use -z with filtering parameters"));
        }
        let names_labels = self.given.any(&[Opt::Label, Opt::LabelAdd, Opt::LabelDel]);
        if self.command == Command::Delete {
            // The kernel's answer to a deletion has none.
            self.output = self.output.without(Output::LABELS);
        } else if names_labels && shape != Shape::Save {
            self.output = self.output.with(Output::LABELS);
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), Problem> {
        let whole = |pair: Pair| pair.src.is_some() && pair.dst.is_some();
        let exact = matches!(self.command, Command::Create | Command::Add | Command::Get);
        if exact && self.table == Table::Conntrack && !whole(self.original) && !whole(self.reply) {
            let reply_only = self.original == Pair::default() && self.reply != Pair::default();
            let (first, second) = if reply_only { ("reply-src", "reply-dst") } else { ("src", "dst") };
            return Err(Problem::usage(format!("you have to specify `--{first}' and `--{second}'")));
        }
        Ok(())
    }

    fn check_masks(&self) -> Result<(), Problem> {
        if self.table != Table::Conntrack {
            return Ok(());
        }
        if self.mask.src.is_some() && self.original.src.is_none() {
            return Err(Problem::usage("Can't use --mask-src without --src"));
        }
        if self.mask.dst.is_some() && self.original.dst.is_none() {
            return Err(Problem::usage("Can't use --mask-dst without --dst"));
        }
        Ok(())
    }

    /// Whether anything narrows the listing down.
    fn is_filtered(&self) -> bool {
        self.given.any(&[
            Opt::Src,
            Opt::Dst,
            Opt::ReplySrc,
            Opt::ReplyDst,
            Opt::Protocol,
            Opt::Status,
            Opt::Mark,
            Opt::Secmark,
            Opt::SrcNat,
            Opt::DstNat,
            Opt::AnyNat,
            Opt::Zone,
            Opt::OrigZone,
            Opt::ReplyZone,
            Opt::Label,
        ])
    }
}

fn output_problem(error: OutputError) -> Problem {
    match error {
        OutputError::Unknown(_) => Problem::usage(error.to_string()),
        OutputError::SaveAlone | OutputError::JsonAndXml => Problem::Other(error.to_string()),
    }
}

/// The words of `-e`.
fn events(text: &str) -> Result<Vec<EventKind>, Problem> {
    let mut kinds = Vec::new();
    for word in text.split(',') {
        let upper = word.to_ascii_uppercase();
        let is = |name: &str| !word.is_empty() && name.starts_with(&upper);
        match () {
            () if is("ALL") => kinds.extend([EventKind::New, EventKind::Update, EventKind::Destroy]),
            () if is("NEW") => kinds.push(EventKind::New),
            () if is("UPDATES") => kinds.push(EventKind::Update),
            () if is("DESTROY") => kinds.push(EventKind::Destroy),
            () => return Err(Problem::usage(format!("Bad parameter `{word}'"))),
        }
    }
    Ok(kinds)
}

/// `PACKETS:BYTES:PACKETS:BYTES`.
fn counters(text: &str) -> Result<[Counters; 2], Problem> {
    let numbers: Option<Vec<u64>> = text.split(':').map(values::number).collect();
    match numbers.as_deref() {
        Some([op, ob, rp, rb]) => Ok([Counters { packets: *op, bytes: *ob }, Counters { packets: *rp, bytes: *rb }]),
        _ => Err(values::unexpected(text, "--counters")),
    }
}

fn label_bits(text: &str) -> Result<u128, Problem> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u128::from_str_radix(digits, 16).map_err(|_| values::unexpected(text, "--label-bits"))
}
