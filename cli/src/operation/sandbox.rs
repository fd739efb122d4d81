//! What the program can do no more once it runs: four walls, each for itself.
//!
//! ```text
//!   start as root ─► open sockets, read files ─► enter ─► threads, packets
//! ```
//!
//! | wall | what is left |
//! |---|---|
//! | capabilities | those that are asked for, in practice none: what needs some is open by then |
//! | no_new_privs | no program that it started could gain any |
//! | seccomp | memory, threads, time, and what is open; new sockets of the kinds below; no program can be started |
//! | Landlock | the folders of its own files: to read, to write the table's; no other file, no TCP port |
//!
//! A system call that is not among them fails with EPERM, as if the user were not allowed to: what is needed once in a
//! year and was forgotten here is an error in the log, and not the end of a router. Landlock is not in every kernel; where
//! it is not, a line says so and the other three stand.
//!
//! Everything holds for the thread that enters and for those that it starts later. Of a router's threads one alone, which
//! watches interfaces and talks to nobody but the kernel, keeps CAP_NET_RAW and may open packet sockets: an interface that
//! appears later has to be opened then.
//!
//! Sources: capabilities(7), prctl(2), seccomp(2), landlock(7).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Cmp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// What is still needed inside.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Files and folders to read.
    pub read: Vec<PathBuf>,
    /// Folders in which files are written, renamed and removed.
    pub write: Vec<PathBuf>,
    /// Folders in which files are removed.
    pub remove: Vec<PathBuf>,
    /// Capabilities to keep.
    pub capabilities: Vec<Capability>,
    /// Whether packet sockets may be opened still, for interfaces that appear later.
    pub packet_sockets: PacketSockets,
}

impl Needs {
    /// The same for the thread that opens interfaces which appear later: packet sockets, and the capability for them.
    #[must_use]
    pub fn for_monitor(&self) -> Needs {
        Needs { capabilities: vec![Capability::CAP_NET_RAW], packet_sockets: PacketSockets::Yes, ..self.clone() }
    }
}

/// Whether packet sockets may be opened inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketSockets {
    /// They are open.
    #[default]
    No,
    /// They may be, if a capability for it is kept.
    Yes,
}

/// Why a wall does not stand.
#[derive(Debug)]
pub struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; --no-sandbox runs without", self.0)
    }
}

fn fault(wall: &str) -> impl Fn(&dyn fmt::Display) -> Fault {
    move |why| Fault(format!("the sandbox ({wall}) cannot be entered: {why}"))
}

/// The files' wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// It stands, as far as this version of Landlock's goes.
    Walled(i32),
    /// This kernel has no Landlock.
    Open,
}

/// What stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walls {
    /// Capabilities that are left.
    pub capabilities: Vec<Capability>,
    /// The files' wall.
    pub files: Files,
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: Vec<String> = self.capabilities.iter().map(|c| c.to_string().to_lowercase()).collect();
        let kept = if kept.is_empty() { "no capabilities".to_owned() } else { kept.join(", ") };
        match self.files {
            Files::Walled(abi) => write!(f, "{kept}, no_new_privs, seccomp, Landlock {abi}"),
            Files::Open => write!(f, "{kept}, no_new_privs, seccomp; this kernel has no Landlock, so files stay open"),
        }
    }
}

/// Enters. There is no way back.
pub fn enter(needs: &Needs) -> Result<Walls, Fault> {
    let files = landlock(needs)?;
    let capabilities = capabilities(&needs.capabilities)?;
    rustix::thread::set_no_new_privs(true).map_err(|e| fault("no_new_privs")(&e))?;
    for program in seccomp(needs.packet_sockets).map_err(|e| fault("seccomp")(&e))? {
        seccompiler::apply_filter(&program).map_err(|e| fault("seccomp")(&e))?;
    }
    Ok(Walls { capabilities, files })
}

fn landlock(needs: &Needs) -> Result<Files, Fault> {
    let fault = fault("Landlock");
    // What newer kernels can refuse beyond this is refused by seccomp or needs a capability.
    let abi = ABI::V5;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.handle_access(AccessNet::BindTcp))
        .and_then(Ruleset::create)
        .and_then(|r| r.add_rules(path_beneath_rules(&needs.read, read)))
        .and_then(|r| r.add_rules(path_beneath_rules(&needs.write, write)))
        .and_then(|r| r.add_rules(path_beneath_rules(&needs.remove, AccessFs::RemoveFile)))
        .map_err(|e| fault(&e))?;
    let status = ruleset.restrict_self().map_err(|e| fault(&e))?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Files::Open,
        (_, LandlockStatus::Available { effective_abi, .. }) => Files::Walled(effective_abi as i32),
        _ => Files::Open,
    })
}

/// Gives up all capabilities but these. Answers those that are left.
fn capabilities(keep: &[Capability]) -> Result<Vec<Capability>, Fault> {
    let fault = fault("capabilities");
    let keep: CapsHashSet = keep.iter().copied().collect();
    let have = caps::read(None, CapSet::Permitted).map_err(|e| fault(&e))?;
    // The bounding set may be made smaller only with CAP_SETPCAP; without it, there is nothing to be gained from it either.
    if have.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding).map_err(|e| fault(&e))?.difference(&keep) {
            caps::drop(None, CapSet::Bounding, *capability).map_err(|e| fault(&e))?;
        }
    }
    let left: CapsHashSet = have.intersection(&keep).copied().collect();
    caps::clear(None, CapSet::Ambient).map_err(|e| fault(&e))?;
    caps::clear(None, CapSet::Inheritable).map_err(|e| fault(&e))?;
    caps::set(None, CapSet::Effective, &left).map_err(|e| fault(&e))?;
    caps::set(None, CapSet::Permitted, &left).map_err(|e| fault(&e))?;
    let mut left: Vec<_> = left.into_iter().collect();
    left.sort_by_key(Capability::index);
    Ok(left)
}

/// The system calls that are left, whatever their arguments.
#[rustfmt::skip]
const CALLS: &[libc::c_long] = &[
    // What is open.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_close, libc::SYS_lseek, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_fstat, libc::SYS_fsync,
    libc::SYS_fdatasync, libc::SYS_ftruncate,
    // Files, as far as Landlock and the user's rights go.
    libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_faccessat, libc::SYS_faccessat2,
    libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_unlinkat, libc::SYS_renameat,
    libc::SYS_renameat2,
    // Memory and threads.
    libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise, libc::SYS_brk,
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_set_tid_address,
    libc::SYS_membarrier, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_clone3, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_restart_syscall,
    // Signals.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack, libc::SYS_tgkill,
    // Time, chance, and who we are.
    libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_getrandom, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_uname, libc::SYS_sysinfo,
    libc::SYS_prlimit64, libc::SYS_getrusage, libc::SYS_capget,
    // Waiting.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_eventfd2, libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime, libc::SYS_pipe2,
    // Sockets that are there.
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect, libc::SYS_shutdown,
    libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
    libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_socketpair,
];

/// What the same needs on x86-64, where older names of it are still in use.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD_CALLS: &[libc::c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_unlink,
    libc::SYS_rename, libc::SYS_dup2, libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_time,
    libc::SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[libc::c_long] = &[];

/// What may be asked of a device or a socket by ioctl: whether it is a terminal, and what an interface is.
const IOCTLS: [u64; 7] = [
    libc::TCGETS,
    libc::FIONBIO,
    libc::FIONREAD,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFMTU,
    libc::SIOCGIFHWADDR,
    libc::SIOCGIFFLAGS,
];

/// The filters, in the order in which they are entered: after the last there are no more. The first answers `clone3` with
/// ENOSYS, so that threads are made by `clone`, whose flags can be seen.
fn seccomp(packets: PacketSockets) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in CALLS.iter().chain(OLD_CALLS) {
        rules.insert(*call, Vec::new());
    }
    let equals = |arg, value| SeccompCondition::new(arg, Len::Dword, Cmp::Eq, value);
    let masked = |arg, mask, value| SeccompCondition::new(arg, Len::Dword, Cmp::MaskedEq(mask), value);
    // New sockets: local ones, TCP and UDP, and netlink to hear of interfaces. Nothing raw.
    let mut sockets = vec![
        SeccompRule::new(vec![equals(0, libc::AF_UNIX as u64)?])?,
        SeccompRule::new(vec![equals(0, libc::AF_NETLINK as u64)?])?,
    ];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            sockets.push(SeccompRule::new(vec![equals(0, family as u64)?, masked(1, 0xff, kind as u64)?])?);
        }
    }
    if packets == PacketSockets::Yes {
        sockets.push(SeccompRule::new(vec![equals(0, libc::AF_PACKET as u64)?])?);
    }
    rules.insert(libc::SYS_socket, sockets);
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![masked(0, thread, thread)?])?]);
    let name = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA, libc::PR_GET_NO_NEW_PRIVS];
    let name: Result<Vec<_>, seccompiler::Error> =
        name.iter().map(|what| Ok(SeccompRule::new(vec![equals(0, *what as u64)?])?)).collect();
    rules.insert(libc::SYS_prctl, name?);
    let ioctls: Result<Vec<_>, seccompiler::Error> =
        IOCTLS.iter().map(|what| Ok(SeccompRule::new(vec![equals(1, *what)?])?)).collect();
    rules.insert(libc::SYS_ioctl, ioctls?);
    let arch = std::env::consts::ARCH.try_into()?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let main = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?;
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    let threads = SeccompFilter::new(clone3, SeccompAction::Allow, unknown, arch)?;
    Ok(vec![threads.try_into()?, main.try_into()?])
}

/// The folder of a file, for the files beside it belong to it: what is renamed over it, what it includes.
pub fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
