//! `uct top` on a terminal that keeps what is drawn: whole screens as golden files (`UCT_BLESS=1` writes them anew), and keys.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};
use uct::top::{Act, Errand, Feed, News, Paint, Screen, Survey, draw, start_feed};

const SECOND: u64 = 1_000_000_000;

fn udp(id: u32, src: &str, sport: u16, timeout: u64) -> Value {
    json!({
        "id": id, "family": "ipv4", "family_number": 2, "protocol": "udp", "protocol_number": 17, "timeout": timeout,
        "status": ["UNREPLIED"], "status_bits": ["CONFIRMED"], "orig_src": src, "orig_dst": "198.51.100.53", "reply_src": "198.51.100.53",
        "reply_dst": src, "mark": 0, "orig_sport": sport, "orig_dport": 53, "reply_sport": 53, "reply_dport": sport,
    })
}

/// Translated at both ends, counted.
fn tcp(id: u32) -> Value {
    json!({
        "id": id, "family": "ipv4", "family_number": 2, "protocol": "tcp", "protocol_number": 6, "timeout": 431_999, "state": "ESTABLISHED",
        "status": ["ASSURED"], "status_bits": ["SEEN_REPLY", "ASSURED", "CONFIRMED", "SRC_NAT", "DST_NAT"], "orig_src": "192.168.1.10",
        "orig_dst": "203.0.113.1", "reply_src": "192.168.1.80", "reply_dst": "192.168.1.1", "mark": 42, "orig_sport": 40000,
        "orig_dport": 8080, "reply_sport": 80, "reply_dport": 40000, "orig_packets": 1234, "orig_bytes": 70_000,
        "reply_packets": 2345, "reply_bytes": 3_500_000, "zone": 3,
    })
}

fn icmp6(id: u32) -> Value {
    json!({
        "id": id, "family": "ipv6", "family_number": 10, "protocol": "icmpv6", "protocol_number": 58, "timeout": 29, "status": [],
        "status_bits": ["SEEN_REPLY", "CONFIRMED"], "orig_src": "2001:db8:1111:2222:3333:4444:5555:6666", "orig_dst": "2001:db8::1",
        "reply_src": "2001:db8::1", "reply_dst": "2001:db8:1111:2222:3333:4444:5555:6666", "mark": 0, "orig_type": 128, "orig_code": 0,
        "orig_id": 77, "reply_type": 129, "reply_code": 0, "reply_id": 77,
    })
}

/// An answer to the wish of this number, after so many seconds.
fn survey(number: u64, second: u64, rows: &[Value]) -> News {
    let of = |name: &str, protocol: u8, state: &str, count: u64| json!({"protocol": name, "protocol_number": protocol, "state": state, "count": count});
    let talker =
        |addr: &str, count: u64, bytes: u64| json!({"addr": addr, "count": count, "packets": 7, "bytes": bytes});
    let groups = [
        of("tcp", 6, "ESTABLISHED", 800),
        of("tcp", 6, "SYN_SENT", 20),
        of("tcp", 6, "TIME_WAIT", 1300),
        of("udp", 17, "UNREPLIED", 12_345),
        of("icmpv6", 58, "REPLIED", 1),
        of("unknown", 99, "UNREPLIED", 1),
    ];
    let talkers = [
        talker("192.168.1.10", 40, 3_570_000),
        talker("192.168.1.11", 300, 999),
        talker("2001:db8:1111:2222:3333:4444:5555:6666", 1, 0),
        talker("192.168.1.12", 1, 0),
    ];
    let total = if rows.is_empty() { 0 } else { 14_466 };
    let summed = json!({
        "total": total, "matched": total, "groups": if total == 0 { json!([]) } else { json!(groups) },
        "talkers": if total == 0 { json!([]) } else { json!(talkers) }, "packets": 1_000_000 + second * 12_300,
        "inserted": 5000 + second * 120, "invalid": 3, "max": 262_144,
    });
    News::Survey(Box::new(Survey {
        number,
        now_ns: second * SECOND,
        summed: serde_json::from_value(summed).unwrap(),
        rows: rows.iter().map(|r| serde_json::from_value(r.clone()).unwrap()).collect(),
    }))
}

fn rows() -> Vec<Value> {
    let mut rows = vec![tcp(1), icmp6(2)];
    rows.extend((3..40).map(|n| udp(n, &format!("192.168.1.{n}"), 1000 + u16::try_from(n).unwrap(), 29)));
    rows
}

fn busy() -> Screen {
    let mut screen = Screen::new("/run/uct.sock".to_owned());
    screen.hear(survey(0, 100, &rows()));
    screen.hear(survey(0, 101, &rows()));
    screen.hear(survey(0, 103, &rows()));
    screen
}

fn press(screen: &mut Screen, code: KeyCode) -> Act {
    screen.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn keys(screen: &mut Screen, text: &str) -> Act {
    text.chars().fold(Act::Nothing, |_, c| press(screen, KeyCode::Char(c)))
}

fn render(screen: &mut Screen, width: u16, height: u16, paint: Paint) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen, paint)).unwrap();
    terminal.backend().clone()
}

/// The letters, and below them which of them stand out: `r` reversed, `s` source NAT, `d` destination NAT, `!` warning.
fn text(backend: &TestBackend) -> String {
    let buffer = backend.buffer();
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let (mut line, mut marks) = (String::new(), String::new());
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            line.push_str(cell.symbol());
            marks.push(match cell.fg {
                Color::Yellow => 's',
                Color::Magenta => 'd',
                Color::Red => '!',
                _ if cell.modifier.contains(Modifier::REVERSED) => 'r',
                _ => ' ',
            });
        }
        let _ = writeln!(text, "|{line}|");
        if !marks.trim().is_empty() {
            let _ = writeln!(text, " {}", marks.trim_end());
        }
    }
    text
}

#[track_caller]
fn golden(name: &str, screen: &mut Screen, width: u16, height: u16) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/top").join(format!("{name}.txt"));
    let is = text(&render(screen, width, height, Paint::Coloured));
    if std::env::var("UCT_BLESS").as_deref() == Ok("1") {
        std::fs::write(&path, &is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == was, "{name} is now\n{is}\nand was\n{was}");
}

#[test]
fn screens() {
    golden("busy-80x24", &mut busy(), 80, 24);
    golden("busy-132x43", &mut busy(), 132, 43);
    golden("busy-40x10", &mut busy(), 40, 10);
    golden("waiting", &mut Screen::new("/run/uct.sock".to_owned()), 80, 12);
    let mut empty = Screen::new("/run/uct.sock".to_owned());
    empty.hear(survey(0, 100, &[]));
    golden("empty", &mut empty, 80, 24);
    let mut away = busy();
    away.hear(News::Away("cannot reach /run/uct.sock: Connection refused".to_owned()));
    golden("away", &mut away, 80, 24);
    let mut question = busy();
    press(&mut question, KeyCode::Char('d'));
    golden("question", &mut question, 80, 24);
    let mut typing = busy();
    keys(&mut typing, "/tcp wob");
    golden("typing", &mut typing, 80, 24);
}

#[test]
fn every_size_can_be_drawn() {
    let mut screen = busy();
    for (width, height) in (0..30).flat_map(|w| (0..30).map(move |h| (w * 7, h * 2))) {
        if width > 0 && height > 0 {
            render(&mut screen, width, height, Paint::Coloured);
        }
    }
}

#[test]
fn without_colours_what_nat_changed_still_stands_out() {
    let backend = render(&mut busy(), 80, 24, Paint::Plain);
    let buffer = backend.buffer();
    assert!(buffer.content().iter().all(|c| c.fg == Color::Reset && c.bg == Color::Reset));
    let underlined: String =
        buffer.content().iter().filter(|c| c.modifier.contains(Modifier::UNDERLINED)).map(|c| c.symbol()).collect();
    assert!(underlined.contains("192.168.1.80:80") && underlined.contains("192.168.1.1"), "{underlined}");
}

#[test]
fn the_selected_connection_stays_selected() {
    let mut screen = busy();
    for _ in 0..3 {
        press(&mut screen, KeyCode::Down);
    }
    let mut other = rows();
    other.rotate_right(2);
    screen.hear(survey(0, 105, &other));
    press(&mut screen, KeyCode::Char('d'));
    let Act::Send(Errand::Delete(filter)) = press(&mut screen, KeyCode::Char('y')) else { panic!("no deletion") };
    assert_eq!((filter.id, filter.orig_sport), (Some(4), Some(1004)), "the same one, though it stands elsewhere");
    press(&mut screen, KeyCode::Char('d'));
    assert_eq!(press(&mut screen, KeyCode::Enter), Act::Nothing, "only y is yes");
    press(&mut screen, KeyCode::End);
    screen.hear(survey(0, 106, &other[..2]));
    assert!(text(&render(&mut screen, 80, 24, Paint::Plain)).contains("#39 udp"), "the last that is left");
    screen.hear(survey(0, 107, &[]));
    assert_eq!(press(&mut screen, KeyCode::Char('d')), Act::Nothing, "nothing to delete");
}

#[test]
fn the_filter_is_asked_for_as_it_is_typed() {
    let mut screen = busy();
    let Act::Send(Errand::Look(wish)) = keys(&mut screen, "/tcp 44") else { panic!("no look") };
    assert_eq!((wish.filter.protocol, wish.filter.any_port), (Some(6), Some(44)));
    assert_eq!(keys(&mut screen, "x"), Act::Nothing, "what is no filter changes nothing");
    assert_eq!(press(&mut screen, KeyCode::Enter), Act::Nothing);
    assert!(text(&render(&mut screen, 80, 24, Paint::Plain)).contains("'44x' is no protocol"), "and is not kept");
    let Act::Send(Errand::Look(again)) = press(&mut screen, KeyCode::Backspace) else { panic!("no look") };
    assert!(again.number > wish.number);
    // What was asked before comes too late.
    screen.hear(survey(wish.number, 110, &[]));
    assert!(text(&render(&mut screen, 80, 24, Paint::Plain)).contains("192.168.1.10:40000"));
    press(&mut screen, KeyCode::Enter);
    let Act::Send(Errand::Look(bare)) = press(&mut screen, KeyCode::Esc) else { panic!("no look") };
    assert_eq!(bare.filter, Default::default(), "Escape takes the filter away");
    let Act::Send(Errand::Look(sorted)) = press(&mut screen, KeyCode::Char('s')) else { panic!("no look") };
    assert_eq!((sorted.sort, sorted.descending), ("packets", true));
    let Act::Send(Errand::Look(turned)) = press(&mut screen, KeyCode::Char('r')) else { panic!("no look") };
    assert!(!turned.descending);
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Act::Send(Errand::Pause));
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Act::Send(Errand::Resume));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Act::Quit);
    assert_eq!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Act::Quit);
}

/// Waits until the screen shows this.
#[track_caller]
fn until(screen: &mut Screen, feed: &Feed, wanted: &str) {
    let begun = Instant::now();
    loop {
        feed.news().for_each(|news| screen.hear(news));
        let shown = text(&render(screen, 80, 24, Paint::Plain));
        if shown.contains(wanted) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no '{wanted}' in\n{shown}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_router_comes_and_goes_and_comes_back() {
    let socket = std::env::temp_dir().join(format!("uct-top-{}.sock", std::process::id()));
    let daemon = || -> Child {
        let mut run = Command::new(env!("CARGO_BIN_EXE_uct"));
        run.args(["run", "--socket"]).arg(&socket).stderr(Stdio::null()).spawn().unwrap()
    };
    let conntrack = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
        command.args(["conntrack", "--socket"]).arg(&socket).args(words.split(' ')).output().unwrap()
    };
    let mut screen = Screen::new("the-socket".to_owned());
    let feed = start_feed(socket.clone(), screen.wish(), Duration::from_millis(50)).unwrap();
    until(&mut screen, &feed, "No such file or directory; trying again.");
    let mut first = daemon();
    until(&mut screen, &feed, "The table is empty.");
    conntrack("-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2 -t 100");
    conntrack("-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 7 --dport 2 -t 100");
    until(&mut screen, &feed, "2 connections, at most");
    for key in "/sport 7".chars() {
        if let Act::Send(errand) = press(&mut screen, KeyCode::Char(key)) {
            feed.send(errand);
        }
    }
    until(&mut screen, &feed, "1 of 2 connections");
    press(&mut screen, KeyCode::Enter);
    press(&mut screen, KeyCode::Char('d'));
    let Act::Send(errand) = press(&mut screen, KeyCode::Char('y')) else { panic!("no deletion") };
    feed.send(errand);
    until(&mut screen, &feed, "1 deleted.");
    until(&mut screen, &feed, "0 of 1 connections");
    first.kill().unwrap();
    first.wait().unwrap();
    until(&mut screen, &feed, "the router is away, this is old");
    let mut second = daemon();
    until(&mut screen, &feed, "The table is empty.");
    second.kill().unwrap();
    second.wait().unwrap();
    let _ = std::fs::remove_file(&socket);
}
