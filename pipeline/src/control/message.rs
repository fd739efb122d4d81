//! What is said over the control socket: one JSON object a line. `docs/socket.md` is its description.
//!
//! A request names an `id` and exactly one operation; every reply to it carries that `id`. The last reply to a request
//! carries `done` or `error`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::expected::FlatExpectation;
use super::filter::{Filter, NatTo};
use super::flat::Flat;
use super::host::FlatFigure;

/// The version of the protocol that is spoken here.
pub const VERSION: u32 = 1;

/// The longest line that a server takes.
pub const LONGEST_REQUEST: usize = 1 << 20;

/// The most operations in one `batch`.
pub const LONGEST_BATCH: usize = 4096;

type Text = Cow<'static, str>;

macro_rules! message {
    ($(#[$top:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$top])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
        }
    };
}

message! {
    /// A request: one operation.
    Request {
        /// Names the request; every reply carries it.
        id: u64,
        /// The version of the protocol; [`VERSION`] if absent.
        version: u32,
        /// Who are you?
        hello: Empty,
        /// List connections.
        list: List,
        /// How many of each kind, who has most, and the first of an order.
        summary: Summary,
        /// One connection, by a tuple.
        get: Get,
        /// Enter a connection.
        create: Create,
        /// Change connections.
        update: Update,
        /// Delete connections.
        delete: Delete,
        /// Delete all.
        flush: Flush,
        /// Expect a connection.
        create_expectation: CreateExpectation,
        /// One expectation, by a tuple that would meet it.
        get_expectation: WhichExpectation,
        /// Expect it no longer.
        delete_expectation: WhichExpectation,
        /// How many are there?
        count: Which,
        /// Counters.
        stats: Which,
        /// Every counter, with what it means.
        figures: Empty,
        /// Read rules, settings and surroundings again.
        reload: Empty,
        /// Tell me what happens from now on.
        events: Events,
        /// Read and set settings.
        sysctl: Sysctls,
        /// Several operations, of which the first that fails ends the rest.
        batch: Vec<Request>,
    }
}

message! {
    /// Nothing more to say.
    Empty {}
}

message! {
    /// Lists connections.
    List {
        /// `conntrack`, `expect`, `dying` or `unconfirmed`.
        table: Text,
        /// Which.
        filter: Filter,
        /// Sets their counters to zero while they are listed.
        zero: bool,
    }
}

message! {
    /// Asks for a survey of the table, of bounded size however large the table is.
    Summary {
        /// Of which connections.
        filter: Filter,
        /// The order of the connections that are shown: `id`, `timeout`, `packets`, `bytes`, `source` or `destination`.
        sort: Text,
        /// The largest first.
        descending: bool,
        /// How many connections to show; none, if absent.
        limit: u32,
        /// How many sources to show; none, if absent.
        talkers: u32,
    }
}

message! {
    /// A survey of the table.
    Summed {
        /// How many connections there are.
        total: u64,
        /// How many are meant.
        matched: u64,
        /// Those that are meant, by protocol and state.
        groups: Vec<Group>,
        /// The sources that have most, by bytes if those are counted, else by connections.
        talkers: Vec<Talker>,
        /// Packets that the router took in since it began; absent if there is no router.
        packets: u64,
        /// Connections entered since then.
        inserted: u64,
        /// Packets without a connection because the tracker said no.
        invalid: u64,
        /// The most connections that there may be.
        max: u64,
    }
}

message! {
    /// Connections of one protocol and state.
    Group {
        /// The protocol's name.
        protocol: Text,
        /// Its number.
        protocol_number: u8,
        /// The state; without one, `ASSURED`, `REPLIED` or `UNREPLIED`.
        state: Text,
        /// How many.
        count: u64,
    }
}

message! {
    /// A source, and what it has.
    Talker {
        /// Its address.
        addr: IpAddr,
        /// Connections.
        count: u64,
        /// Packets of theirs, both directions, if they are counted.
        packets: u64,
        /// Bytes of theirs, likewise.
        bytes: u64,
    }
}

message! {
    /// A table.
    Which {
        /// `conntrack` or `expect`.
        table: Text,
    }
}

message! {
    /// One direction of a connection.
    Side {
        /// Source address.
        src: IpAddr,
        /// Destination address.
        dst: IpAddr,
        /// Source port or key.
        sport: u16,
        /// Destination port or key.
        dport: u16,
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        icmp_code: u8,
        /// ICMP identifier.
        icmp_id: u16,
    }
}

message! {
    /// Asks for one connection.
    Get {
        /// The protocol's number.
        protocol: u8,
        /// A tuple that one of its directions has.
        original: Side,
        /// What else must hold.
        filter: Filter,
    }
}

message! {
    /// Enters a connection.
    Create {
        /// The protocol's number.
        protocol: u8,
        /// What the first packet carried; the inverse of `reply` if absent.
        original: Side,
        /// What answers carry; the inverse of `original` if absent.
        reply: Side,
        /// The zone, counting in both directions.
        zone: u16,
        /// The zone, counting in the original direction only.
        orig_zone: u16,
        /// The zone, counting in the reply direction only.
        reply_zone: u16,
        /// Status bits by name: SEEN_REPLY, ASSURED, FIXED_TIMEOUT.
        status: Vec<Text>,
        /// Seconds.
        timeout: u32,
        /// The mark.
        mark: u32,
        /// Labels by number.
        label_bits: Vec<u8>,
        /// The helper.
        helper: Text,
        /// The state's name.
        state: Text,
        /// Verification tag of SCTP.
        orig_vtag: u32,
        /// Verification tag of SCTP.
        reply_vtag: u32,
        /// Translate the source to this.
        src_nat: NatTo,
        /// Translate the destination to this.
        dst_nat: NatTo,
        /// Packets and bytes, original and reply, to begin with.
        counters: [u64; 4],
        /// When it began.
        start_ns: u64,
        /// An existing connection is no error; `done` then counts 0.
        may_exist: bool,
    }
}

message! {
    /// Changes connections.
    Update {
        /// Which.
        filter: Filter,
        /// The bits of the mark that are cleared; all, if absent.
        mark_mask: u32,
        /// The bits of the mark that are toggled then.
        mark: u32,
        /// Seconds.
        timeout: u32,
        /// Status bits to set, by name.
        status: Vec<Text>,
        /// The state's name.
        state: Text,
        /// Verification tag of SCTP.
        orig_vtag: u32,
        /// Verification tag of SCTP.
        reply_vtag: u32,
        /// Labels to set, by number.
        label_add: Vec<u8>,
        /// Labels to clear, by number; all, if the list is empty.
        label_del: Vec<u8>,
        /// The helper.
        helper: Text,
    }
}

message! {
    /// Deletes connections.
    Delete {
        /// Which.
        filter: Filter,
    }
}

message! {
    /// Deletes all connections.
    Flush {
        /// Of this table.
        table: Text,
        /// 2 or 10: of this family only.
        family: u8,
    }
}

message! {
    /// Expects a connection that another one announced.
    CreateExpectation {
        /// The protocol's number, of both.
        protocol: u8,
        /// A tuple of the connection that announces it.
        master: Side,
        /// The tuple of the first packet.
        tuple: Side,
        /// How much of its source must be met: `src` and `sport`; all, if absent.
        mask: Side,
        /// Seconds.
        timeout: u32,
        /// The class.
        class: u32,
        /// The helper that the expected connection gets.
        helper: Text,
        /// It stays when it is met.
        permanent: bool,
    }
}

message! {
    /// Names an expectation.
    WhichExpectation {
        /// The protocol's number.
        protocol: u8,
        /// A tuple that would meet it.
        tuple: Side,
    }
}

message! {
    /// Subscribes to events.
    Events {
        /// Of this table: `conntrack` or `expect`.
        table: Text,
        /// Of which connections.
        filter: Filter,
        /// NEW, UPDATE, DESTROY; all, if absent.
        kinds: Vec<Text>,
    }
}

message! {
    /// Reads and sets settings.
    Sysctls {
        /// What to set; all or nothing.
        set: BTreeMap<String, u64>,
        /// What to read; everything, if absent.
        get: Vec<String>,
    }
}

message! {
    /// A reply.
    Reply {
        /// The request's.
        id: u64,
        /// An answer to `hello`.
        hello: Hello,
        /// A piece of a listing, or what was changed or deleted.
        entries: Vec<Flat>,
        /// A survey.
        summary: Summed,
        /// A piece of a listing of expectations.
        expectations: Vec<FlatExpectation>,
        /// The server's clock, nanoseconds since 1970.
        now_ns: u64,
        /// Events from this number on will be told.
        listening: u64,
        /// Something happened.
        event: Told,
        /// Events were lost.
        gap: Gap,
        /// Counters, for every worker.
        stats: Vec<BTreeMap<Text, u64>>,
        /// Settings.
        sysctl: BTreeMap<String, u64>,
        /// Every counter, a piece of them.
        figures: Vec<FlatFigure>,
        /// What came of reading the files again.
        reloaded: Text,
        /// It is done.
        done: Done,
        /// It was not done.
        error: Fault,
    }
}

message! {
    /// Who answers.
    Hello {
        /// `uct`.
        program: Text,
        /// Its version.
        release: Text,
        /// The version of the protocol.
        version: u32,
        /// Its process.
        pid: u32,
        /// Whether this client may change anything.
        writable: bool,
    }
}

message! {
    /// An event.
    Told {
        /// Counts events.
        seq: u64,
        /// When, nanoseconds since 1970.
        at_ns: u64,
        /// NEW, UPDATE, DESTROY.
        kind: Text,
        /// All that happened: NEW, REPLY, ASSURED, PROTOINFO, MARK, …
        mask: Vec<Text>,
        /// The connection as it was then.
        entry: Flat,
        /// Or the expectation.
        expectation: FlatExpectation,
        /// Or what a rule has logged.
        text: Text,
        /// The client that caused it.
        portid: u32,
        /// The client's program.
        progname: Text,
    }
}

message! {
    /// Events that a slow reader, or a slow server, lost.
    Gap {
        /// The first event that may be missing.
        from: u64,
        /// The last.
        to: u64,
    }
}

message! {
    /// The end of a request.
    Done {
        /// How many connections it was about.
        count: u64,
    }
}

message! {
    /// Why a request was not granted.
    Fault {
        /// One word: `exists`, `missing`, `invalid`, …
        code: Text,
        /// In a sentence.
        text: Text,
        /// In a batch, which operation it was, from 0.
        index: u64,
    }
}
