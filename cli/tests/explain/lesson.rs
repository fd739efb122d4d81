//! The lesson page in a browser: every step of every story, keys, search, prediction, addresses, sizes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use uct_tests::kernel;
use uct_tests::packet::build::frame;

use crate::chromium::Chromium;
use crate::lab::datagram;

const DESK: (u32, u32) = (1300, 900);
const PHONE: (u32, u32) = (390, 800);

fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

/// A page that goes with its owner.
struct Page(PathBuf);

impl Page {
    fn new(name: &str) -> Page {
        // Tests run side by side: two pages of one story are two files, or one test removes what the other shows.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = name.replace('/', "-");
        Page(std::env::temp_dir().join(format!("uct-lesson-{}-{number}-{name}.html", std::process::id())))
    }

    /// Of a story.
    fn of(story: &str, more: &[&str]) -> Page {
        let page = Page::new(&format!("{story}{}", more.join("")));
        let done = command(story).args(["--html"]).arg(&page.0).args(more).output().expect("uct runs");
        assert!(done.status.success() && done.stdout.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        page
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn command(story: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
    command.current_dir(pcaps()).arg("explain").arg(format!("{story}.pcapng"));
    command.args(["--topology", &format!("{story}.toml"), "--rules", &format!("{story}.nft"), "--ports", "capture"]);
    if let Ok(args) = std::fs::read_to_string(pcaps().join(format!("{story}.args"))) {
        let args = args.lines().map(|a| a.replace("=stale", "=pains/stale"));
        command.args(args);
    }
    command
}

/// No browser: this test is skipped, or fails where it must not be.
fn is_without_browser() -> bool {
    match Chromium::available() {
        Ok(()) => false,
        Err(reason) => {
            kernel::skip_or_fail(&reason);
            true
        }
    }
}

/// Tests run side by side in one process: a page that one of them removes is not the page of another.
#[test]
fn a_page_belongs_to_one_test() {
    let pages = [Page::new("same-port"), Page::new("same-port")];
    assert_ne!(pages[0].0, pages[1].0);
}

/// A page that went is an error at once, and says so.
#[test]
fn a_page_that_is_not_there() {
    if is_without_browser() {
        return;
    }
    let page = Page::new("gone");
    let shown = std::panic::catch_unwind(|| drop(Chromium::open(&page.0, "", DESK)));
    let why = shown.expect_err("nothing is there").downcast::<String>().expect("words");
    assert!(why.contains("net::ERR_FILE_NOT_FOUND"), "{why}");
}

/// The step that is shown, after the key for the next one if it is not the first: packet, words, reply tuple.
const NEXT: &str = "(() => {
    const key = AT ? 'ArrowRight' : 'Home';
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    const words = [...document.querySelectorAll('.words li')].map((li) => li.textContent).join('\\n');
    const reply = document.querySelector('.tuple.reply');
    return [document.body.dataset.packet, words, reply ? reply.textContent : ''];
})()";

/// All stories, step by step with the key: what is shown is what `--json` says, and the console has nothing to say.
#[test]
fn every_step_of_every_story() {
    if is_without_browser() {
        return;
    }
    let mut stories: Vec<String> = Vec::new();
    for folder in ["", "pains/"] {
        for entry in std::fs::read_dir(pcaps().join(folder)).expect("the folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            if let Some(story) = name.strip_suffix(".nft").filter(|s| !s.contains('.')) {
                stories.push(format!("{folder}{story}"));
            }
        }
    }
    stories.sort();
    assert!(stories.len() >= 20, "{stories:?}");
    let mut browser = Chromium::new(DESK);
    for story in stories {
        let json = command(&story).arg("--json").output().expect("uct runs").stdout;
        let told: Vec<serde_json::Value> =
            String::from_utf8_lossy(&json).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let page = Page::of(&story, &[]);
        browser.show(&page.0, "");
        for (at, packet) in told.iter().enumerate() {
            let shown = browser.eval(&NEXT.replace("AT", &at.to_string()));
            assert_eq!(shown[0], packet["packet"].to_string(), "{story}");
            let words: Vec<&str> =
                packet["words"].as_array().expect("a list").iter().filter_map(|w| w.as_str()).collect();
            assert_eq!(shown[1], words.join("\n"), "{story} {}", packet["packet"]);
            let way = packet["ways"].as_array().and_then(|ways| ways.iter().find(|w| w["origin"] != "answer"));
            if let Some(reply) = way.and_then(|w| w["connection"]["reply"]["src"].as_str()) {
                let tuple = shown[2].as_str().unwrap_or_default();
                assert!(tuple.contains(reply), "{story} {}: {tuple}", packet["packet"]);
            }
        }
        // It says itself how many connections there are in the end; so does the table.
        let shown = browser.text(
            "[...document.querySelectorAll('h2')].map((h) => h.textContent).find((t) => t.startsWith('The table'))",
        );
        let at = told.len().to_string();
        let table = command(&story).args(["--at", &at, "--json"]).output().expect("uct runs").stdout;
        let table = String::from_utf8_lossy(&table);
        let table: serde_json::Value = serde_json::from_str(table.lines().last().expect("a table")).expect("JSON");
        let size = table["table"].as_array().expect("a list").len();
        assert!(shown.starts_with(&format!("The table after it: {size} connection")), "{story}: {shown}, not {size}");
        assert!(browser.complaints.is_empty(), "{story}: {:?}", browser.complaints);
    }
}

#[test]
fn keys_addresses_search_and_themes() {
    if is_without_browser() {
        return;
    }
    let page = Page::of("same-port", &[]);
    let mut browser = Chromium::open(&page.0, "#packet-8", DESK);
    assert_eq!(browser.packet(), "8", "the address names the step");
    let hash = "location.hash";
    for (key, packet) in
        [("j", "9"), ("k", "8"), ("]", "9"), ("[", "8"), ("End", "54"), ("Home", "1"), ("n", "8"), (" ", "9")]
    {
        browser.press(key);
        assert_eq!(browser.packet(), packet, "{key}");
        assert_eq!(browser.text(hash), format!("#packet-{packet}"));
    }
    browser.eval("location.hash = '#packet-3'");
    browser.eval("new Promise((done) => setTimeout(done, 50))");
    assert_eq!(browser.packet(), "3");
    // What NAT changed is marked, on both sides.
    browser.eval("location.hash = '#packet-8'");
    browser.eval("new Promise((done) => setTimeout(done, 50))");
    let marked =
        |class: &str| format!("[...document.querySelectorAll('.wire .{class}')].map((e) => e.textContent).join(' ')");
    assert!(browser.text(&marked("was")).starts_with("192.168.1.11 40000 0x"));
    assert!(browser.text(&marked("changed")).starts_with("203.0.113.1 43982 0x"));
    assert_eq!(browser.text("document.querySelector('svg .node.lit text').textContent"), "SYN_SENT");
    assert_eq!(browser.eval("document.querySelectorAll('.entry.own .key').length"), 2, "two entries, one connection");
    // Search, and back.
    browser.press("/");
    for key in "icmp".chars() {
        browser.press(&key.to_string());
    }
    assert_eq!(browser.text("document.getElementById('find').value"), "icmp");
    assert_eq!(browser.text("document.getElementById('found').textContent"), "4 packets of 54");
    browser.press("Enter");
    assert!(browser.text("document.querySelector('.title h2').textContent").contains("ICMP echo request"));
    browser.press("/");
    browser.press("Escape");
    assert_eq!(browser.text("document.getElementById('found').textContent"), "");
    // Themes.
    for theme in ["light", "dark", ""] {
        browser.press("t");
        assert_eq!(browser.text("document.documentElement.dataset.theme || ''"), theme);
    }
    browser.press("?");
    assert_eq!(browser.eval("document.getElementById('keys').open"), true);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn predict_then_reveal() {
    if is_without_browser() {
        return;
    }
    let page = Page::of("pains/invalid-leak", &[]);
    let mut browser = Chromium::open(&page.0, "#packet-4", DESK);
    let is_told = "!!document.querySelector('.words')";
    browser.press("p");
    assert_eq!(browser.eval(is_told), false, "nothing is told before");
    assert!(!browser.text("document.getElementById('line').textContent").contains("INVALID"), "nor in the timeline");
    browser.press("4"); // INVALID
    browser.press("8"); // both changed: wrong
    browser.press(" ");
    assert_eq!(browser.eval(is_told), true);
    assert_eq!(browser.text("document.querySelector('.quiz h2').textContent"), "You had 1 of 2");
    assert_eq!(
        browser.text("document.querySelector('.quiz .wrong span').textContent"),
        "It leaves with both changed ✗"
    );
    assert_eq!(
        browser.text("[...document.querySelectorAll('.quiz .right span')].pop().textContent"),
        "The router itself gets it ✓"
    );
    assert_eq!(browser.text("document.getElementById('score').textContent"), "1 of 2 right");
    browser.press(" ");
    assert_eq!((browser.packet().as_str(), browser.eval(is_told)), ("5", false.into()));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// Every question has exactly one right answer, at every step of every shipped story; and on a phone nothing is wider than it.
#[test]
fn on_a_phone() {
    if is_without_browser() {
        return;
    }
    let mut browser = Chromium::new(PHONE);
    for story in ["home-router", "fragments", "traceroute", "ipv6-masquerade"] {
        let page = Page::of(story, &[]);
        browser.show(&page.0, "");
        let wrong = browser.eval(
            "(() => {
                const press = (key) => document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
                const wrong = [];
                press('p');
                for (let last = null; last !== document.body.dataset.packet; press('ArrowRight')) {
                    last = document.body.dataset.packet;
                    press(' ');
                    for (const asked of document.querySelectorAll('.quiz fieldset'))
                        if (asked.querySelectorAll('.right').length !== 1) wrong.push(`${last}: ${asked.textContent}`);
                    for (const e of document.querySelectorAll('main *'))
                        if (e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('pre, .hidden, details:not([open])'))
                            wrong.push(`${last}: ${e.tagName} ${e.className} is too wide`);
                    if (!document.querySelector('.words')) wrong.push(`${last}: nothing is told`);
                }
                return [document.body.dataset.packet, wrong.join('\\n')];
            })()",
        );
        assert_eq!(wrong[1], "", "{story}");
        assert!(wrong[0].as_str().is_some_and(|last| last.parse::<u32>().is_ok_and(|n| n > 30)), "{story}: {wrong}");
        assert!(browser.complaints.is_empty(), "{story}: {:?}", browser.complaints);
    }
}

/// Only some packets: the steps are those, the table is right all the same.
#[test]
fn a_lesson_of_some_packets() {
    if is_without_browser() {
        return;
    }
    let page = Page::of("same-port", &["--packet", "8-9"]);
    let mut browser = Chromium::open(&page.0, "", DESK);
    assert_eq!(browser.packet(), "8");
    assert_eq!(browser.text("document.getElementById('where').textContent"), "1 / 2");
    assert!(
        browser
            .text("document.querySelector('main').textContent")
            .contains("The table after it: 2 connections, 4 entries")
    );
}

/// Names and texts that look like markup are text.
#[test]
fn nothing_becomes_markup() {
    if is_without_browser() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("uct-lesson-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    let capture = folder.join("<img src=x onerror=window.bad=1>&.pcapng");
    std::fs::copy(pcaps().join("home-router.pcapng"), &capture).expect("a copy");
    let rules = folder.join("<script>window.bad=1<_script>.nft");
    std::fs::write(
        &rules,
        "table ip n {\n\tchain p {\n\t\ttype nat hook postrouting priority 100\n\t\toifname \"wan0\" log prefix \"</script><script>window.bad=1</script>\" masquerade\n\t}\n}\n",
    )
    .expect("rules");
    let page = folder.join("page.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
    command.arg("explain").arg(&capture).arg("--rules").arg(&rules).arg("--html").arg(&page);
    let done = command.arg("--topology").arg(pcaps().join("home-router.toml")).output().expect("uct runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut browser = Chromium::open(&page, "", DESK);
    browser.eval("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
    assert!(browser.text("document.querySelector('main').textContent").contains("</script><script>window.bad=1"));
    assert!(browser.text("document.title").starts_with("<img src=x onerror=window.bad=1>&.pcapng"));
    assert_eq!(browser.eval("typeof window.bad"), "undefined");
    assert_eq!(browser.eval("document.querySelectorAll('img').length"), 0);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    let _ = std::fs::remove_dir_all(&folder);
}

/// 10,000 packets: the timeline holds what can be seen, and every step is near.
#[test]
fn a_large_capture_stays_usable() {
    if is_without_browser() {
        return;
    }
    let mut capture = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    for n in 0..10_000_u32 {
        let client = format!("192.168.1.{}", 10 + n % 100);
        let port = u16::try_from(20_000 + n / 100).expect("a port");
        let packet = frame("02:00:00:00:01:01", "02:00:00:00:09:09", &datagram((&client, port), ("198.51.100.80", 53)));
        let len = u32::try_from(packet.len()).expect("a length");
        for word in [1_700_000_000 + n / 1000, n % 1000 * 1000, len, len] {
            capture.extend(word.to_le_bytes());
        }
        capture.extend(packet);
    }
    let page = Page::new("large");
    let from = page.0.with_extension("pcap");
    std::fs::write(&from, capture).expect("a capture");
    let mut command = Command::new(env!("CARGO_BIN_EXE_uct"));
    command.arg("explain").arg(&from).args(["--rule", "oifname outside masquerade", "--html"]).arg(&page.0);
    let done = command.output().expect("uct runs");
    let _ = std::fs::remove_file(&from);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let size = std::fs::metadata(&page.0).expect("a page").len();
    assert!(size < 8 << 20, "{size} bytes");
    let mut browser = Chromium::open(&page.0, "#packet-5000", DESK);
    assert_eq!(browser.packet(), "5000");
    let rows = "document.querySelectorAll('.packet').length";
    assert!(browser.eval(rows).as_u64().is_some_and(|n| (10..60).contains(&n)));
    assert_eq!(
        browser.text("document.querySelector('.packet[aria-selected=true] b').textContent"),
        "5000",
        "it is in sight"
    );
    browser.press("End");
    assert_eq!(browser.packet(), "10000");
    assert!(
        browser
            .text("document.querySelector('main').textContent")
            .contains("The table after it: 10,000 connections, 20,000 entries")
    );
    browser.eval("document.getElementById('line').scrollTop = 52 * 3000");
    browser.eval("new Promise((done) => setTimeout(done, 200))");
    assert!(browser.text("document.getElementById('line').textContent").contains("3001"));
    assert!(browser.eval(rows).as_u64().is_some_and(|n| (10..60).contains(&n)));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}
