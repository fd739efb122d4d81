//! The measures. Each is one number from a world that stands.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use uct_pipeline::io::{Sink, ring};
use uct_pipeline::offload::Offload;

use super::world::{World, header, ifindex};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// Where the frames go that nobody answers.
const SINK: [u8; 4] = [10, 2, 0, 66];
/// Clients that connect at the same time.
const CLIENTS: u16 = 4;
const ROUND_TRIPS: usize = 4000;

/// What a flood came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flood {
    /// Packets a second that reached the server.
    pub(crate) rate: f64,
    /// Of those that were sent.
    pub(crate) share: f64,
    /// Microseconds of the whole machine for each that arrived.
    pub(crate) cpu: f64,
    /// Microseconds of the router's process for each that arrived.
    pub(crate) own: f64,
}

/// How a flood is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    /// Different UDP flows, one after the other.
    pub(crate) flows: u32,
    /// Packets a second; as many as possible without.
    pub(crate) rate: Option<u32>,
    pub(crate) seconds: f64,
}

fn received() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Ticks, 100 a second, in which no processor was idle. Idle time is counted exactly; what a processor does is only sampled, and
/// work that begins with a timer's interrupt is never seen by it.
fn busy(since: Instant) -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all: Vec<f64> = text.lines().next().unwrap_or("").split_whitespace().skip(1).flat_map(str::parse).collect();
    let idle: f64 = [3, 4, 7].iter().filter_map(|n: &usize| all.get(*n)).sum();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    since.elapsed().as_secs_f64() * 100.0 * processors as f64 - idle
}

fn busy_of(pid: Option<u32>) -> f64 {
    let text = pid.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default());
    let text = text.unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().skip(11).take(2).flat_map(str::parse::<f64>).sum()
}

/// Small UDP packets, 60 bytes each, from the client to an address of the server that answers nothing.
pub(crate) fn flood(world: &World, pattern: Pattern) -> Result<Flood, String> {
    let fail = |e: std::io::Error| e.to_string();
    let (dev, own, gateway, client) = (world.dev, world.own, world.gateway, world.client);
    let before = world.on("server", received).join().map_err(|_| "a thread died")?.map_err(fail)?;
    let pid = world.router.as_ref().map(std::process::Child::id);
    let begun = Instant::now();
    let (ticks, ticks_own) = (busy(begun), busy_of(pid));
    let sender = world.on("client", move || send(dev, header(gateway, own), client, pattern));
    let sent = sender.join().map_err(|_| "a thread died")?.map_err(fail)?.map_err(fail)?;
    // The rate is what arrived while there was something to send; what is still in queues does not count.
    let arrived = world.on("server", received).join().map_err(|_| "a thread died")?.map_err(fail)? - before;
    let elapsed = begun.elapsed().as_secs_f64();
    if arrived == 0 {
        return Err("nothing arrived".to_owned());
    }
    let each = |ticks: f64| ticks * 10_000.0 / arrived as f64;
    Ok(Flood {
        rate: arrived as f64 / elapsed,
        share: arrived as f64 / sent.max(1) as f64,
        cpu: each(busy(begun) - ticks),
        own: each(busy_of(pid) - ticks_own),
    })
}

fn send(dev: &str, header: [u8; 14], client: [u8; 4], pattern: Pattern) -> std::io::Result<u64> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(0);
    let _ = rustix::thread::sched_setaffinity(None, &cpus);
    let mut sink = ring::open_sink(ifindex(dev)?)?;
    let packets: Vec<_> = (0..pattern.flows).map(|n| packet(client, n)).collect();
    let (begun, most) = (Instant::now(), Duration::from_secs_f64(pattern.seconds));
    let mut sent = 0u64;
    for batch in packets.chunks(64).cycle() {
        let elapsed = begun.elapsed();
        if elapsed >= most {
            break;
        }
        if let Some(rate) = pattern.rate
            && let Some(early) = Duration::from_secs_f64(sent as f64 / f64::from(rate)).checked_sub(elapsed)
        {
            std::thread::sleep(early);
        }
        for packet in batch {
            sink.send(&header, packet, Offload::default());
        }
        sink.flush();
        sent += batch.len() as u64;
    }
    Ok(sent)
}

fn packet(client: [u8; 4], flow: u32) -> [u8; 46] {
    let mut p = [0; 46];
    p[0] = 0x45;
    p[3] = 46;
    p[8] = 64;
    p[9] = 17;
    p[12..16].copy_from_slice(&client);
    p[16..20].copy_from_slice(&SINK);
    let sum: u32 = p[..20].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    // 50,000 source ports, then the next destination port.
    p[20..22].copy_from_slice(&(10_000 + (flow % 50_000) as u16).to_be_bytes());
    p[22..24].copy_from_slice(&(9000 + (flow / 50_000) as u16).to_be_bytes());
    p[25] = 26;
    p
}

/// Bits a second through one TCP connection.
pub(crate) fn throughput(world: &World, seconds: f64, is_download: bool) -> Result<f64, String> {
    let mut server = Command::new("ip")
        .args(["netns", "exec", &world.ns("server"), "iperf3", "-s", "-1"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_millis(200));
    // iperf3 takes whole seconds only.
    let (seconds, client) = (seconds.ceil().to_string(), world.ns("client"));
    let mut command = Command::new("timeout");
    command.args(["20", "ip", "netns", "exec", &client, "iperf3", "-c", "10.2.0.2", "-J", "-t", &seconds]);
    if is_download {
        command.arg("-R");
    }
    let output = command.output();
    let _ = server.kill();
    let _ = server.wait();
    let text = output.map_err(|e| e.to_string())?.stdout;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    value["end"]["sum_received"]["bits_per_second"].as_f64().ok_or_else(|| value["error"].to_string())
}

/// TCP connections a second: opened, one byte each way, closed.
pub(crate) fn connections(world: &World, seconds: f64) -> Result<f64, String> {
    let over = Arc::new(AtomicBool::new(false));
    let mut ports = Vec::new();
    for port in 0..CLIENTS {
        let (ready, wait) = std::sync::mpsc::channel();
        let over = Arc::clone(&over);
        ports.push(world.on("server", move || {
            let Ok(listener) = TcpListener::bind((SERVER, 7000 + port)) else { return };
            let _ = ready.send(());
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(mut stream) = stream {
                    let mut byte = [0];
                    let _ = stream.read_exact(&mut byte);
                    let _ = stream.write_all(&byte);
                }
            }
        }));
        wait.recv().map_err(|_| "the server does not start".to_owned())?;
    }
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let most = Duration::from_secs_f64(seconds);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|port| {
            let done = Arc::clone(&done);
            world.on("client", move || {
                while begun.elapsed() < most {
                    let one = || -> std::io::Result<()> {
                        let mut stream =
                            TcpStream::connect_timeout(&SocketAddrV4::new(SERVER, 7000 + port).into(), most)?;
                        // The server closes first, so that it is the server that waits for the end.
                        stream.set_read_timeout(Some(most))?;
                        stream.write_all(b"u")?;
                        stream.read_exact(&mut [0])?;
                        let _ = stream.read(&mut [0])?;
                        Ok(())
                    };
                    if one().is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        let _ = client.join();
    }
    let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let last = world.on("server", || {
        for port in 0..CLIENTS {
            let _ = TcpStream::connect((SERVER, 7000 + port));
        }
    });
    let _ = last.join();
    for port in ports {
        let _ = port.join();
    }
    Ok(rate)
}

/// Microseconds of a round trip of a small UDP packet: the median, and what one in a hundred exceeds.
pub(crate) fn latency(world: &World) -> Result<(f64, f64), String> {
    let (ready, wait) = std::sync::mpsc::channel();
    let echo = world.on("server", move || -> std::io::Result<()> {
        let socket = UdpSocket::bind((SERVER, 7777))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let _ = ready.send(());
        let mut buffer = [0; 64];
        loop {
            let (len, from) = socket.recv_from(&mut buffer)?;
            if len == 1 {
                return Ok(());
            }
            socket.send_to(&buffer[..len], from)?;
        }
    });
    wait.recv().map_err(|_| "the server does not start".to_owned())?;
    let asked = world.on("client", || -> std::io::Result<Vec<f64>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((SERVER, 7777))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        let mut buffer = [0; 64];
        for _ in 0..ROUND_TRIPS {
            let begun = Instant::now();
            socket.send(&buffer[..32])?;
            socket.recv(&mut buffer)?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        socket.send(b"e")?;
        Ok(times)
    });
    let times = asked.join().map_err(|_| "a thread died")?.map_err(|e| e.to_string())?.map_err(|e| e.to_string());
    let _ = echo.join();
    let mut times = times?;
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}
