//! A web server in a namespace: `GET /N` answers N bytes, `PUT` answers how many it got; connections are kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Serves from a thread of its own, until the process ends.
pub(crate) fn serve(namespace: &str, address: SocketAddr) {
    let door = std::fs::File::open(namespace).unwrap();
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        drop(door);
        let listener = TcpListener::bind(address).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&stream));
        }
    });
    wait.recv().unwrap();
}

/// Serves one connection until its end.
fn answer(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let block = [b'u'; 1 << 16];
    loop {
        let mut request = String::new();
        reader.read_line(&mut request).ok().filter(|n| *n > 0)?;
        let (mut length, mut expects) = (0u64, false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            expects |= line.starts_with("expect:");
        }
        if expects {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let got = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let path = request.split_whitespace().nth(1)?;
        if request.starts_with("PUT") {
            let body = format!("{got}");
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
            continue;
        }
        if path == "/peer" {
            let body = stream.peer_addr().ok()?.ip().to_string();
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
            continue;
        }
        let mut left: u64 = path.trim_start_matches('/').parse().unwrap_or(0);
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").ok()?;
        while left > 0 {
            let now = left.min(block.len() as u64) as usize;
            writer.write_all(&block[..now]).ok()?;
            left -= now as u64;
        }
    }
}
