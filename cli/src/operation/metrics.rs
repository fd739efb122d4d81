//! What `--metrics` serves: figures for Prometheus, and a page for people.
//!
//! | path | what |
//! |---|---|
//! | `/metrics` | OpenMetrics text, which Prometheus reads; names as in [`uct_pipeline::figures`] |
//! | `/status.json` | the same figures, each with what it means |
//! | `/` | a page that shows them and how they change; all of it is in this program |
//! | `/healthz` | `ok` |
//!
//! It reads counters and changes nothing. HTTP/1.1, GET and HEAD, one request a connection; a few threads, each with one
//! client at a time, which has two seconds for its request and for reading the answer: what slow clients can hold up is
//! this page and no more. Whoever reaches the address may look; give it a loopback address, or a firewall before it.
//!
//! Connections by state and ports in use ask the whole table. That walk is done at most every two seconds, and takes no more
//! than a twentieth of the time however large the table is.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use uct_engine::Engine;
use uct_pipeline::control::Clock;
use uct_pipeline::control::host::FlatFigure;
use uct_pipeline::figures::{Census, Figure, Figures, Kind};

/// The page; it asks for `/status.json`.
const PAGE: &str = include_str!("metrics/page.html");
/// Threads that answer.
const THREADS: usize = 4;
/// How long a client may take for its request, and for its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest request that is read.
const LONGEST: usize = 8 * 1024;
/// A walk through the table is good for so long.
const FRESH: Duration = Duration::from_secs(2);
/// And for so many times what it took.
const SHARE: u32 = 20;

/// The table's census, not taken more often than it is worth.
pub struct Counted {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Instant, Duration, Census)>>,
}

impl Counted {
    /// Counts this engine's table.
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Counted {
        Counted { engine, clock, last: Mutex::new(None) }
    }
}

impl Figures for Counted {
    fn figures(&self, into: &mut Vec<Figure>) {
        let mut last = self.last.lock();
        let is_fresh = |at: &Instant, took: &Duration| at.elapsed() < FRESH.max(*took * SHARE);
        let census = match last.take() {
            Some((at, took, census)) if is_fresh(&at, &took) => last.insert((at, took, census)),
            _ => {
                let begun = Instant::now();
                let census = Census::take(&self.engine, self.clock.now());
                last.insert((Instant::now(), begun.elapsed(), census))
            }
        };
        census.2.figures(into);
    }
}

/// A server of figures.
pub struct Server {
    listener: TcpListener,
    figures: Arc<dyn Figures>,
}

impl Server {
    /// Listens.
    pub fn bind(address: SocketAddr, figures: Arc<dyn Figures>) -> io::Result<Server> {
        Ok(Server { listener: TcpListener::bind(address)?, figures })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers from now on, in threads of its own.
    pub fn start(self) -> io::Result<()> {
        let server = Arc::new(self);
        for _ in 0..THREADS {
            let server = Arc::clone(&server);
            let thread = std::thread::Builder::new().name("uct-metrics".to_owned()).stack_size(512 * 1024);
            thread.spawn(move || server.serve())?;
        }
        Ok(())
    }

    fn serve(&self) {
        loop {
            match self.listener.accept() {
                // What goes wrong here is the client's end, and ends with it.
                Ok((stream, _)) => drop(self.answer(stream)),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let answer = match ask(&mut stream)? {
            Asked::Get(path) => self.page(&path),
            Asked::Head(path) => Answer { body: Cow::Borrowed(""), ..self.page(&path) },
            Asked::Other => Answer::plain("405 Method Not Allowed", "this server is for reading\n"),
            Asked::Nonsense => Answer::plain("400 Bad Request", "this is no HTTP request\n"),
        };
        stream.write_all(answer.text().as_bytes())?;
        stream.flush()
    }

    fn page(&self, path: &str) -> Answer {
        match path.split('?').next().unwrap_or(path) {
            "/" => Answer { kind: "text/html; charset=utf-8", ..Answer::plain("200 OK", PAGE) },
            "/healthz" => Answer::plain("200 OK", "ok\n"),
            "/metrics" => Answer {
                kind: "application/openmetrics-text; version=1.0.0; charset=utf-8",
                body: self.metrics().into(),
                ..Answer::plain("200 OK", "")
            },
            "/status.json" => {
                Answer { kind: "application/json", body: self.status().into(), ..Answer::plain("200 OK", "") }
            }
            _ => Answer::plain("404 Not Found", "there is / for people and /metrics for Prometheus\n"),
        }
    }

    fn all(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        self.figures.figures(&mut figures);
        figures
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Shown(self.all())));
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    fn status(&self) -> String {
        let figures: Vec<FlatFigure> = self.all().iter().map(FlatFigure::from).collect();
        let status = serde_json::json!({ "release": env!("CARGO_PKG_VERSION"), "figures": figures });
        status.to_string()
    }
}

/// What a client asks for.
enum Asked {
    Get(String),
    Head(String),
    Other,
    Nonsense,
}

/// Reads a request up to the end of its header.
fn ask(stream: &mut TcpStream) -> io::Result<Asked> {
    let until = Instant::now() + PATIENCE;
    let mut held = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece)?;
        held.extend_from_slice(&piece[..count]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&held) {
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or("/").to_owned();
                return Ok(match request.method {
                    Some("GET") => Asked::Get(path),
                    Some("HEAD") => Asked::Head(path),
                    _ => Asked::Other,
                });
            }
            Ok(httparse::Status::Partial) if count > 0 && held.len() < LONGEST => {}
            _ => return Ok(Asked::Nonsense),
        }
    }
}

/// An answer.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Cow<'static, str>,
}

impl Answer {
    fn plain(status: &'static str, body: &'static str) -> Answer {
        Answer { status, kind: "text/plain; charset=utf-8", body: Cow::Borrowed(body) }
    }

    fn text(&self) -> String {
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; connect-src 'self'; img-src data:\r\n\r\n{}",
            self.status,
            self.kind,
            self.body.len(),
            self.body
        )
    }
}

/// Figures as Prometheus has them: those of one name together.
#[derive(Debug)]
struct Shown(Vec<Figure>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut done: Vec<&str> = Vec::new();
        for first in &self.0 {
            let name = first.name.as_ref();
            if done.contains(&name) {
                continue;
            }
            done.push(name);
            let kind = match first.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(name, family(first), None, kind)?;
            for figure in self.0.iter().filter(|f| f.name == first.name) {
                if figure.labels.is_empty() {
                    value(figure, &mut family)?;
                } else {
                    let labels: Vec<(&str, &str)> =
                        figure.labels.iter().map(|(name, value)| (*name, value.as_ref())).collect();
                    value(figure, &mut family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn value(figure: &Figure, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match figure.kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&figure.value, None),
        Kind::Gauge => encoder.encode_gauge(&figure.value),
    }
}

/// What all figures of a name mean.
fn family(first: &Figure) -> &str {
    match first.name.as_ref() {
        "conntrack_invalid" => "Packets without a connection because the tracker said no, by reason.",
        "uct_drops" => "Packets that went no further, by reason.",
        "uct_losses" => "Frames and packets lost at the links, by reason.",
        "uct_packets" => "Packets by what became of them.",
        _ => &first.help,
    }
}

#[cfg(test)]
mod tests;
