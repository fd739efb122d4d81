//! What systemd is told, and the sockets that it opened for us.
//!
//! Nothing here does anything unless systemd (or who behaves like it) is there: `NOTIFY_SOCKET`, `LISTEN_FDS`,
//! `WATCHDOG_USEC`.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use sd_notify::NotifyState;

/// It runs, with this to show in `systemctl status`.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its files again; [`ready`] follows in any case.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(e) => tracing::debug!("no monotonic clock for systemd: {e}"),
    }
}

/// It ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// It still runs. Answers how long until this must be said again, if anybody waits for it.
pub fn alive() -> Option<Duration> {
    let patience = sd_notify::watchdog_enabled()?;
    tell(&[NotifyState::Watchdog]);
    Some(patience / 3)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!("systemd does not listen: {e}");
    }
}

/// The control socket, if systemd has opened it.
pub fn control_socket() -> std::io::Result<Option<UnixListener>> {
    listenfd::ListenFd::from_env().take_unix_listener(0)
}
