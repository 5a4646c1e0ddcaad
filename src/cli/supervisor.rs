//! What a service manager hands over and is told: sockets it holds, readiness, and that the server is alive.
//!
//! The protocols are those of systemd (`sd_listen_fds(3)`, `sd_notify(3)`); without their variables nothing happens.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result, bail};
use listenfd::ListenFd;
use sd_notify::NotifyState;

/// A socket that listens already, if there is one: connections wait in it while one server replaces another.
///
/// # Errors
/// When there is one that cannot be used, or more than one.
pub(super) fn socket() -> Result<Option<(TcpListener, SocketAddr)>> {
    let mut handed = ListenFd::from_env();
    match handed.len() {
        0 => return Ok(None),
        1 => (),
        more => {
            bail!("{more} sockets were handed over (LISTEN_FDS): a socket unit for this server has one ListenStream")
        }
    }
    let taken =
        handed.take_tcp_listener(0).context("the socket that was handed over (LISTEN_FDS) is no TCP listener")?;
    let Some(listener) = taken else { return Ok(None) };
    listener.set_nonblocking(true).context("cannot use the socket that was handed over")?;
    let address = listener.local_addr().context("cannot tell where the socket that was handed over listens")?;
    Ok(Some((listener, address)))
}

/// Whether what is printed goes to the system's journal.
pub(super) fn journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|facts| stream.to_str() == Some(&format!("{}:{}", facts.st_dev, facts.st_ino)))
}

/// Requests are answered from now on.
pub(super) fn ready(address: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {address}"))]);
}

/// Settings are being read again, until [`ready`] is said.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// No more requests are taken.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("running transfers may finish")]);
}

/// Says that the server is alive, for as long as it is: often enough that one sign may get lost. Ends at once where
/// nobody asks for it.
pub(super) async fn signs_of_life() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut beat = tokio::time::interval(patience / 3);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        say(&[NotifyState::Watchdog]);
    }
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}
