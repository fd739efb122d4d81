//! Lines as the real tool printed them (conntrack 1.4.7, Linux 6.18).

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use uct_engine::sctp::SctpState;
use uct_engine::tcp::{PeerInfo, TcpState};
use uct_engine::{
    Client, ConnId, Counters, Entry, Event, EventKind, EventMask, L4, ProtoInfo, Protocol, Status, Time, Tuple, Zone,
    ZoneScope,
};

use super::*;

fn tuple(src: &str, dst: &str, protocol: Protocol, l4: L4) -> Tuple {
    Tuple { src: src.parse().unwrap(), dst: dst.parse().unwrap(), protocol, l4 }
}

fn entry(original: Tuple) -> Entry {
    Entry {
        id: ConnId(7),
        original,
        reply: original.inverse().unwrap(),
        zone: Zone::DEFAULT,
        status: Status::CONFIRMED,
        timeout: Duration::from_millis(119_999),
        mark: 0,
        counters: None,
        proto: ProtoInfo::None,
        labels: None,
        helper: None,
        master: None,
        start: None,
        stop: None,
    }
}

fn tcp(state: TcpState) -> Entry {
    let mut e = entry(tuple("10.0.0.2", "203.0.113.10", Protocol::TCP, L4::Ports { src: 40000, dst: 80 }));
    e.reply.dst = "203.0.113.1".parse().unwrap();
    e.proto = ProtoInfo::Tcp { state, peers: [PeerInfo::default(); 2] };
    e
}

fn show(words: &str, e: &Entry) -> String {
    let mut out = String::new();
    format(words).entry(e, Seen::Listed, &mut out);
    out
}

fn format(words: &str) -> Format<'static> {
    let output = if words.is_empty() { Output::default() } else { Output::parse(words).unwrap() };
    let now = Time::from_nanos(1_795_416_304_500_000_000);
    Format { output, labels: None, now, zone: TimeZone::UTC }
}

#[test]
fn default_line() {
    assert_eq!(
        show("", &tcp(TcpState::SynSent)),
        "tcp      6 119 SYN_SENT src=10.0.0.2 dst=203.0.113.10 sport=40000 dport=80 [UNREPLIED] src=203.0.113.10 \
         dst=203.0.113.1 sport=80 dport=40000 mark=0 use=1\n"
    );
    let mut e = entry(tuple("1.8.8.9", "6.6.6.6", Protocol::UDPLITE, L4::Ports { src: 5, dst: 6 }));
    e.mark = 119;
    e.zone.id = 3;
    e.counters = Some(Default::default());
    e.start = Some(Time::from_secs(1_795_416_304));
    assert_eq!(
        show("", &e),
        "udplite  136 119 src=1.8.8.9 dst=6.6.6.6 sport=5 dport=6 packets=0 bytes=0 [UNREPLIED] src=6.6.6.6 \
         dst=1.8.8.9 sport=6 dport=5 packets=0 bytes=0 mark=119 zone=3 delta-time=0 use=1\n"
    );
}

#[test]
fn extended_id_and_kernel_times() {
    let mut e = tcp(TcpState::SynSent);
    e.zone = Zone { id: 7, scope: ZoneScope::Reply };
    e.start = Some(Time::from_nanos(1_795_416_302_685_457_116));
    assert_eq!(
        show("extended,id,ktimestamp", &e),
        "ipv4     2 tcp      6 119 SYN_SENT src=10.0.0.2 dst=203.0.113.10 sport=40000 dport=80 [UNREPLIED] \
         src=203.0.113.10 dst=203.0.113.1 sport=80 dport=40000 zone-reply=7 mark=0 delta-time=2 [start=Mon Nov 23 \
         06:45:02 2026] use=1 id=7\n"
    );
    let six = entry(tuple("fd00:1::2", "2001:db8::10", Protocol::ICMPV6, L4::Icmp { kind: 128, code: 0, id: 14556 }));
    assert!(show("e", &six).starts_with("ipv6     10 icmpv6   58 119 src=fd00:1::2 dst=2001:db8::10 type=128 code=0"));
}

#[test]
fn protocols_that_print_their_own_way() {
    let gre = entry(tuple("10.12.0.1", "10.12.0.9", Protocol::GRE, L4::Keys { src: 0x1234, dst: 0x5678 }));
    assert!(show("", &gre).contains("srckey=0x1234 dstkey=0x5678 [UNREPLIED]"));
    assert!(
        show("save", &gre)
            .ends_with("-p gre --srckey 4660 --dstkey 22136 --reply-key-src 22136 --reply-key-dst 4660\n")
    );
    let other = entry(tuple("1.1.1.3", "2.2.2.2", Protocol(99), L4::None));
    assert!(show("", &other).starts_with("unknown  99 119 src=1.1.1.3 dst=2.2.2.2 [UNREPLIED] src=2.2.2.2"));
    assert!(show("save", &other).ends_with(" -p 99\n"));
    let dccp = entry(tuple("1.1.1.3", "2.2.2.2", Protocol::DCCP, L4::None));
    assert!(show("", &dccp).starts_with("dccp     33 119 src=1.1.1.3 dst=2.2.2.2 sport=0 dport=0 [UNREPLIED]"));
}

#[test]
fn save() {
    let mut e = tcp(TcpState::Established);
    e.status |= Status::SRC_NAT | Status::SEEN_REPLY | Status::ASSURED | Status::FIXED_TIMEOUT;
    e.mark = 5;
    let line = "-A -t 119 -u SEEN_REPLY,ASSURED,FIXED_TIMEOUT -s 10.0.0.2 -d 203.0.113.10 -r 203.0.113.10 \
                -n 203.0.113.1 -p tcp --sport 40000 --dport 80 --reply-port-src 80 --reply-port-dst 40000 \
                --state ESTABLISHED";
    assert_eq!(show("save", &e), format!("{line}\n"));
    assert_eq!(show("save,full", &e), format!("{line} -m 5\n"));
}

#[test]
fn xml() {
    let mut e = entry(tuple("1.1.1.1", "2.2.2.2", Protocol::UDP, L4::Ports { src: 1, dst: 2 }));
    e.counters = Some(Default::default());
    e.start = Some(Time::from_nanos(1_795_416_302_685_457_116));
    e.stop = Some(Time::from_nanos(1_795_416_303_684_053_660));
    e.timeout = Duration::ZERO;
    let event =
        Event { seq: 1, at: e.stop.unwrap(), kind: EventKind::Destroy, mask: EventMask::DESTROY, entry: e, by: None };
    let mut out = String::new();
    format("xml,ktimestamp").event(&event, &mut out);
    assert_eq!(
        out,
        "<flow type=\"destroy\"><meta direction=\"original\"><layer3 protonum=\"2\" protoname=\"ipv4\"><src>1.1.1.1</src>\
         <dst>2.2.2.2</dst></layer3><layer4 protonum=\"17\" protoname=\"udp\"><sport>1</sport><dport>2</dport></layer4>\
         <counters><packets>0</packets><bytes>0</bytes></counters></meta><meta direction=\"reply\"><layer3 \
         protonum=\"2\" protoname=\"ipv4\"><src>2.2.2.2</src><dst>1.1.1.1</dst></layer3><layer4 protonum=\"17\" \
         protoname=\"udp\"><sport>2</sport><dport>1</dport></layer4><counters><packets>0</packets><bytes>0</bytes>\
         </counters></meta><meta direction=\"independent\"><id>7</id><unreplied/><timestamp>\
         <start>1795416302685457116</start><stop>1795416303684053660</stop></timestamp><deltatime>0</deltatime></meta>\
         </flow>\n"
    );
    let mut out = String::new();
    format("").event(&event, &mut out);
    assert_eq!(
        out,
        "[DESTROY] udp      17 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 packets=0 bytes=0 [UNREPLIED] src=2.2.2.2 \
         dst=1.1.1.1 sport=2 dport=1 packets=0 bytes=0 delta-time=1\n"
    );
}

#[test]
fn events_show_what_the_kernel_tells() {
    let mut entry = tcp(TcpState::SynSent);
    entry.timeout = Duration::from_secs(120);
    entry.helper = Some("ftp".into());
    let mut event = Event {
        seq: 1,
        at: Time::from_nanos(1_795_400_880_935_639_000),
        kind: EventKind::New,
        mask: EventMask::NEW | EventMask::PROTOINFO,
        entry,
        by: None,
    };
    let show = |words: &str, event: &Event| {
        let mut out = String::new();
        format(words).event(event, &mut out);
        out
    };
    assert_eq!(
        show("timestamp", &event),
        "[1795400880.935639]\t    [NEW] tcp      6 120 SYN_SENT src=10.0.0.2 dst=203.0.113.10 sport=40000 dport=80 \
         [UNREPLIED] src=203.0.113.10 dst=203.0.113.1 sport=80 dport=40000 helper=ftp\n"
    );
    event.kind = EventKind::Update;
    event.mask = EventMask::MARK;
    event.by = Some(Arc::new(Client { portid: 9, progname: Some("conntrack".to_owned()) }));
    assert_eq!(
        show("", &event),
        " [UPDATE] tcp      6 120 src=10.0.0.2 dst=203.0.113.10 sport=40000 dport=80 [UNREPLIED] src=203.0.113.10 \
         dst=203.0.113.1 sport=80 dport=40000 mark=0 helper=ftp [USERSPACE] portid=9 progname=conntrack\n"
    );
    assert!(show("xml,timestamp", &event).ends_with(
        "<mark>0</mark><id>7</id><unreplied/></meta><helper>ftp</helper><when><hour>2</hour><min>28</min><sec>00</sec>\
         <wday>2</wday><day>23</day><month>11</month><year>2026</year></when></flow>\n"
    ));
    let json: serde_json::Value = serde_json::from_str(&show("json", &event)).unwrap();
    assert_eq!((&json["event"], &json["portid"], &json["orig_dport"]), (&"UPDATE".into(), &9.into(), &80.into()));
}

#[test]
fn json_and_back() {
    let mut e = tcp(TcpState::Established);
    e.timeout = Duration::from_secs(30);
    e.labels = Some(1 << 127 | 2);
    e.counters = Some([Counters { packets: 1, bytes: 2 }, Counters { packets: 3, bytes: 4 }]);
    e.zone = Zone { id: 9, scope: ZoneScope::Original };
    let text = show("json", &e);
    let flat: uct_pipeline::control::flat::Flat = serde_json::from_str(&text).unwrap();
    assert_eq!(Entry::try_from(&flat).unwrap(), e);
}

#[test]
fn words_of_output() {
    assert_eq!(Output::parse("EXT,i").map(|o| (o.has(Output::EXTENDED), o.has(Output::ID))), Ok((true, true)));
    assert_eq!(Output::parse("xml,"), Err(OutputError::Unknown(String::new())));
    assert_eq!(Output::parse("bogus").unwrap_err().to_string(), "Bad parameter `bogus'");
    for words in ["save,xml", "xml,save", "save,id"] {
        assert_eq!(Output::parse(words), Err(OutputError::SaveAlone), "{words}");
    }
    assert_eq!(Output::parse("json,xml"), Err(OutputError::JsonAndXml));
    assert!(Output::parse("save,full").is_ok() && Output::parse("save,userspace").is_ok());
}

#[test]
fn label_names() {
    let map = LabelMap::parse("# bit name\n1 alpha\n40 delta\n127 omega\n200 far\nx y\n1 again\n");
    assert_eq!(map.names(1 << 40 | 1 << 1 | 1 << 2), ["alpha", "delta"]);
    assert_eq!((map.bit("omega"), map.bit("far")), (Some(127), None));
}

#[test]
fn sctp_is_saved_with_its_tags() {
    let mut e = entry(tuple("10.0.0.1", "10.0.0.2", Protocol::SCTP, L4::Ports { src: 1, dst: 589 }));
    e.proto = ProtoInfo::Sctp { state: SctpState::Closed, vtags: [11, 22] };
    e.status |= Status::SEEN_REPLY | Status::ASSURED;
    assert_eq!(
        show("", &e),
        "sctp     132 119 CLOSED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=589 src=10.0.0.2 dst=10.0.0.1 sport=589 \
         dport=1 [ASSURED] mark=0 use=1\n"
    );
    assert_eq!(
        show("save", &e),
        "-A -t 119 -u SEEN_REPLY,ASSURED -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p sctp --sport 1 --dport 589 \
         --reply-port-src 589 --reply-port-dst 1 --state CLOSED --orig-vtag 11 --reply-vtag 22\n"
    );
}
