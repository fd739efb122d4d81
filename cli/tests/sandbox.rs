//! What must fail inside the sandbox, tried from inside; and what must still work.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use uct::operation::sandbox::{self, Files, Needs, PacketSockets};

/// Runs a test of this file in a process of its own, with a folder to play in. Answers what it printed.
fn inside(test: &str) -> String {
    let folder = std::env::temp_dir().join(format!("uct-sandbox-{}-{test}", std::process::id()));
    for name in ["mine", "state", "other"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("file"), b"content").unwrap();
    }
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env("UCT_SANDBOX_FOLDER", &folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    fs::remove_dir_all(&folder).unwrap();
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("1 passed"), "{text}");
    text
}

fn playground() -> Option<PathBuf> {
    std::env::var_os("UCT_SANDBOX_FOLDER").map(PathBuf::from)
}

fn needs(folder: &Path) -> Needs {
    Needs {
        read: vec![folder.join("mine")],
        write: vec![folder.join("state")],
        remove: vec![],
        capabilities: vec![],
        packet_sockets: PacketSockets::No,
    }
}

/// A socket as only the system call itself makes it.
fn socket(domain: rustix::net::AddressFamily, kind: rustix::net::SocketType) -> Result<(), rustix::io::Errno> {
    rustix::net::socket(domain, kind, None).map(drop)
}

#[test]
#[ignore = "runs in a process of its own"]
fn what_must_fail() {
    let Some(folder) = playground() else { return };
    let walls = sandbox::enter(&needs(&folder)).unwrap();
    println!("walls: {walls}");
    assert!(walls.capabilities.is_empty());
    if walls.files != Files::Open {
        for file in ["/etc/passwd", "/proc/self/mem", "/bin/true"] {
            let why = fs::File::open(file).unwrap_err().kind();
            assert_eq!(why, ErrorKind::PermissionDenied, "{file}");
        }
        assert_eq!(fs::read(folder.join("other/file")).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(fs::write(folder.join("mine/file"), b"x").unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(fs::remove_file(folder.join("mine/file")).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(TcpListener::bind("127.0.0.1:0").is_err(), "no new port");
    }
    for program in ["/bin/true", "/proc/self/exe"] {
        let why = Command::new(program).spawn().unwrap_err().kind();
        assert_eq!(why, ErrorKind::PermissionDenied, "{program}");
    }
    use rustix::net::{AddressFamily, SocketType};
    let denied = Err(rustix::io::Errno::PERM);
    assert_eq!(socket(AddressFamily::PACKET, SocketType::RAW), denied, "packets");
    assert_eq!(socket(AddressFamily::INET, SocketType::RAW), denied, "raw IP");
    assert_eq!(socket(AddressFamily::INET6, SocketType::RAW), denied, "raw IPv6");
    assert_eq!(rustix::process::chroot("/"), denied);
    assert_eq!(rustix::process::test_kill_process(rustix::process::getpid()), denied, "no signals to others");
    assert!(rustix::thread::no_new_privs().unwrap());
    assert!(caps::read(None, caps::CapSet::Permitted).unwrap().is_empty());
    assert!(caps::raise(None, caps::CapSet::Effective, caps::Capability::CAP_NET_RAW).is_err());
    assert!(sandbox::enter(&needs(&folder)).is_err(), "not even another sandbox");
}

#[test]
fn from_inside_nothing_new_can_be_reached() {
    let text = inside("what_must_fail");
    assert!(text.contains("walls: no capabilities, no_new_privs, seccomp"), "{text}");
}

#[test]
#[ignore = "runs in a process of its own"]
fn what_must_work() {
    let Some(folder) = playground() else { return };
    // As the program does: sockets first.
    let listener = UnixListener::bind(folder.join("socket")).unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let needs = Needs { remove: vec![folder.clone()], ..needs(&folder) };
    sandbox::enter(&needs).unwrap();
    std::thread::Builder::new()
        .name("after".to_owned())
        .spawn(move || {
            // Threads made later are inside, too.
            assert!(Command::new("/bin/true").spawn().is_err());
            let folder = playground().unwrap();
            assert_eq!(fs::read(folder.join("mine/file")).unwrap(), b"content");
            let (new, file) = (folder.join("state/table.new"), folder.join("state/table"));
            let mut out = fs::File::create(&new).unwrap();
            out.write_all(&vec![7; 1 << 20]).unwrap();
            out.sync_all().unwrap();
            fs::rename(&new, &file).unwrap();
            fs::File::open(folder.join("state")).unwrap().sync_all().unwrap();
            assert_eq!(fs::metadata(&file).unwrap().len(), 1 << 20);
            let client = UnixStream::connect(folder.join("socket")).unwrap();
            let (server, _) = listener.accept().unwrap();
            drop((client, server));
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            udp.send_to(b"x", udp.local_addr().unwrap()).unwrap();
            let client = std::net::TcpStream::connect(web.local_addr().unwrap()).unwrap();
            drop((client, web.accept().unwrap()));
            fs::remove_file(folder.join("socket")).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
            eprintln!("{}", std::io::IsTerminal::is_terminal(&std::io::stderr()));
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn inside_the_work_goes_on() {
    inside("what_must_work");
}
