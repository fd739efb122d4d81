//! A browser without a window, spoken to by the DevTools protocol over a pair of pipes (JSON objects that end with a zero byte).
//!
//! One browser at a time: each is half a dozen processes, and tests run side by side. A page that cannot be fetched is an
//! error at once; one that was fetched but never gets ready is an error that says what the page shows.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whose turn it is to have a browser.
static TURN: Mutex<()> = Mutex::new(());

/// A page in a browser.
pub(crate) struct Chromium {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    /// What the console said that is an error or a warning.
    pub(crate) complaints: Vec<String>,
    profile: tempdir::Scratch,
    /// The last to go, so that the next browser starts when this one and its folder are gone.
    _turn: MutexGuard<'static, ()>,
}

/// A folder that goes with its owner.
mod tempdir {
    use std::path::PathBuf;

    pub(super) struct Scratch(pub(super) PathBuf);

    impl Scratch {
        pub(super) fn new() -> Scratch {
            static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("uct-chromium-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a scratch folder");
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Chromium {
    /// Whether there is one; else why not.
    pub(crate) fn available() -> Result<(), String> {
        let found = Command::new("sh").args(["-c", "command -v chromium"]).stdout(Stdio::null()).status();
        match found {
            Ok(status) if status.success() => Ok(()),
            _ => Err("there is no chromium".to_owned()),
        }
    }

    /// A window of that size.
    pub(crate) fn new((width, height): (u32, u32)) -> Chromium {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempdir::Scratch::new();
        // The browser reads commands from file 3 and answers on file 4.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
                      --no-first-run --disable-background-networking --user-data-dir=\"$0\" --remote-debugging-pipe \
                      3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(&profile.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a browser");
        let commands = child.stdin.take();
        let out = child.stdout.take().expect("a pipe");
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if tell.send(message).is_err() {
                    break;
                }
            }
        });
        let complaints = Vec::new();
        let mut page = Chromium { child, commands, answers, session: None, sent: 0, complaints, profile, _turn: turn };
        let target = page.command("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = page.command("Target.attachToTarget", &attach);
        page.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime", "Log", "Network", "Page"] {
            page.command(&format!("{domain}.enable"), &json!({}));
        }
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        page.command("Emulation.setDeviceMetricsOverride", &metrics);
        page
    }

    /// A window that shows a file, as [`Chromium::show`] does.
    pub(crate) fn open(file: &Path, fragment: &str, size: (u32, u32)) -> Chromium {
        let mut page = Chromium::new(size);
        page.show(file, fragment);
        page
    }

    /// Goes to a file (`#packet-8` may follow its name), and waits until the page is ready.
    pub(crate) fn show(&mut self, file: &Path, fragment: &str) {
        let url = format!("file://{}{fragment}", file.display());
        let gone = self.command("Page.navigate", &json!({ "url": url }));
        // The answer comes when the page is there, or with the reason why it is not; what stands there then is the
        // browser's own page about it, which never gets ready.
        assert!(gone.get("errorText").is_none(), "{url}: {}", gone["errorText"]);
        let begun = Instant::now();
        while self.eval("document.body && document.body.dataset.ready") != "yes" {
            assert!(begun.elapsed() < PATIENCE, "{url} is not ready: {}", self.state());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What stands in the window, and what was complained about.
    fn state(&mut self) -> String {
        let shown = "[location.href, document.readyState, document.body && document.body.innerText.slice(0, 500)]";
        let shown = self.eval(shown);
        format!("{shown}, complaints: {:?}", self.complaints)
    }

    /// The value of an expression of JavaScript.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let what = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let done = self.command("Runtime.evaluate", &what);
        assert!(done.get("exceptionDetails").is_none(), "{expression}: {done}");
        done["result"]["value"].clone()
    }

    /// Text of an expression.
    #[track_caller]
    pub(crate) fn text(&mut self, expression: &str) -> String {
        self.eval(expression).as_str().map(str::to_owned).unwrap_or_default()
    }

    /// A key goes down and up.
    pub(crate) fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { key } else { "" };
        self.command("Input.dispatchKeyEvent", &json!({"type": "keyDown", "key": key, "text": text}));
        self.command("Input.dispatchKeyEvent", &json!({"type": "keyUp", "key": key}));
    }

    /// Which packet is shown.
    pub(crate) fn packet(&mut self) -> String {
        self.text("document.body.dataset.packet")
    }

    fn command(&mut self, method: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let commands = self.commands.as_mut().expect("a pipe");
        commands.write_all(&bytes).and_then(|()| commands.flush()).expect("the browser listens");
        loop {
            let answer = self.answers.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{method}: {e}"));
            if answer["id"] == self.sent {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    /// What a page ought not to do: complain, or ask for anything but itself.
    fn note(&mut self, event: &Value) {
        let what = &event["params"];
        let is_complaint = match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => matches!(what["type"].as_str(), Some("error" | "warning")),
            "Log.entryAdded" => matches!(what["entry"]["level"].as_str(), Some("error" | "warning")),
            "Network.requestWillBeSent" => !what["request"]["url"].as_str().is_some_and(|url| url.starts_with("file:")),
            _ => false,
        };
        if is_complaint {
            self.complaints.push(what.to_string());
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its pipe closed, the browser ends by itself; its folder can go when it has.
        drop(self.commands.take());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.profile;
    }
}
