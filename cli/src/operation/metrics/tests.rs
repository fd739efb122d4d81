use std::net::Ipv4Addr;

use uct_pipeline::control::RealClock;

use super::*;

struct Both(Arc<Engine>, Counted);

impl Figures for Both {
    fn figures(&self, into: &mut Vec<Figure>) {
        self.0.figures(into);
        self.1.figures(into);
    }
}

fn serve() -> (SocketAddr, Arc<Engine>) {
    let engine = Arc::new(Engine::new(1));
    let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
    let counted = Counted::new(Arc::clone(&engine), clock);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::bind(any, Arc::new(Both(Arc::clone(&engine), counted))).unwrap();
    let address = server.address().unwrap();
    server.start().unwrap();
    (address, engine)
}

fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer = exchange(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn figures_are_what_prometheus_reads() {
    let (address, engine) = serve();
    engine.stats().insert_failed.add(3);
    let (head, body) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    for line in [
        "# TYPE conntrack_entries gauge",
        "conntrack_entries 0",
        "conntrack_limit 262144",
        "# HELP conntrack_insert_failed Connections that could not enter the table: a tuple was taken.",
        "# TYPE conntrack_insert_failed counter",
        "conntrack_insert_failed_total 3",
        "# HELP conntrack_invalid Packets without a connection because the tracker said no, by reason.",
        "conntrack_invalid_total{reason=\"tcp-new\"} 0",
    ] {
        assert!(body.lines().any(|l| l == line), "{line}\n{body}");
    }
    assert!(body.ends_with("# EOF\n"));
    let described = body.lines().filter(|l| l.starts_with("# TYPE ")).count();
    let mut names: Vec<&str> = body.lines().filter(|l| l.starts_with("# TYPE ")).collect();
    names.dedup();
    assert_eq!(names.len(), described, "each name is described once");
}

#[test]
fn people_get_a_page_and_programs_json() {
    let (address, _) = serve();
    let (head, page) = get(address, "/");
    assert!(head.contains("text/html") && head.contains("Content-Security-Policy: default-src 'none'"), "{head}");
    assert!(page.contains("</html>") && !page.contains("http://") && !page.contains("https://"), "self-contained");
    let (_, status) = get(address, "/status.json?x=1");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let figures = status["figures"].as_array().unwrap();
    assert!(figures.iter().any(|f| f["name"] == "conntrack_entries" && f["kind"] == "gauge"));
    assert_eq!(get(address, "/healthz").1, "ok\n");
    assert!(get(address, "/etc/passwd").0.starts_with("HTTP/1.1 404 "));
}

#[test]
fn nonsense_is_refused_and_a_silent_client_holds_up_nobody() {
    let (address, _) = serve();
    assert!(exchange(address, b"POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(exchange(address, b"\x16\x03\x01 hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; LONGEST]].concat();
    assert!(exchange(address, &endless[..LONGEST]).starts_with("HTTP/1.1 400 "));
    let silent: Vec<_> = (0..THREADS).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(get(address, "/healthz").1, "ok\n", "after their two seconds");
    drop(silent);
    assert!(exchange(address, b"HEAD / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
}
