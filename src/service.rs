//! What the service manager is told: systemd's notification protocol, and nothing where nobody asked for it.
//!
//! The words and the watchdog's variables are those of the `sd-notify` crate. The socket is not: the crate knows no
//! abstract addresses, and may block on a manager that does not read. Nothing here is ever fatal. The variables stay in
//! the environment, since the exporter starts no process that could inherit them.

use crate::health::Health;
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Signs of life within the time after which the manager takes the exporter for dead: with three of them, one that comes
/// late on a busy machine does not end it.
const SIGNS_OF_LIFE: u32 = 3;

/// The service manager, if there is one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The time within which it wants a sign of life.
    watchdog: Option<Duration>,
    is_ready: AtomicBool,
    has_failed: AtomicBool,
}

impl Service {
    /// No service manager: nobody is told anything.
    pub fn none() -> Self {
        Self(None)
    }

    /// The one that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, as sd_notify(3) and
    /// sd_watchdog_enabled(3) say.
    pub fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::none();
        };
        match Manager::at(&name, sd_notify::watchdog_enabled()) {
            Ok(manager) => Self(Some(Arc::new(manager))),
            Err(error) => {
                tracing::warn!(
                    %error, socket = %name.display(),
                    "NOTIFY_SOCKET {} cannot be used, so the service manager is told nothing: {error}", name.display()
                );
                Self::none()
            }
        }
    }

    /// Says what a start is busy with.
    pub fn starting(&self) {
        self.tell(&[NotifyState::Status("starting: loads the store and takes in the configured tasks")]);
    }

    /// Says when the exporter is ready, and that it lives for as long as no loop is stuck; `status` is what an operator
    /// reads of it then. Never ends.
    pub async fn follow(self, health: Health, status: String) {
        let Some(manager) = &self.0 else { return };
        let ready = async {
            health.ready().await;
            manager.is_ready.store(true, Ordering::Relaxed);
            manager.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        };
        futures_util::future::join(ready, manager.live(&health)).await;
    }

    /// Says that the configuration is being reloaded. What comes of it is to be told by [`Service::reloaded`].
    pub fn reloading(&self) {
        // The manager compares this time with that of its own request, where it made one.
        match NotifyState::monotonic_usec_now() {
            Ok(now) if self.is_ready() => self.tell(&[NotifyState::Reloading, now]),
            Ok(_) | Err(_) => {}
        }
    }

    /// Says what came of a reload; `status` is what an operator reads when all is well.
    pub fn reloaded(&self, result: &Result<(), String>, status: &str) {
        if !self.is_ready() {
            return;
        }
        let status = match result {
            Ok(()) => status.to_owned(),
            Err(error) => format!("{status}; the latest reload failed, and the configuration is as before: {error}"),
        };
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Says why the exporter ends by itself.
    pub fn failed(&self, why: &str) {
        self.tell(&[NotifyState::Status(why)]);
    }

    /// Says that the exporter shuts down.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("shutting down: commits what was observed")]);
    }

    /// Whether readiness has been told: a reload before that must not tell it.
    fn is_ready(&self) -> bool {
        self.0.as_ref().is_some_and(|manager| manager.is_ready.load(Ordering::Relaxed))
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Some(manager) = &self.0 {
            manager.tell(states);
        }
    }
}

impl Manager {
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up the exporter.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address: address(name)?,
            watchdog: watchdog.filter(|limit| !limit.is_zero()),
            is_ready: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        })
    }

    /// Gives signs of life while no loop is stuck, so that the manager ends and restarts an exporter that is.
    async fn live(&self, health: &Health) {
        let Some(limit) = self.watchdog else { return };
        let mut ticks = tokio::time::interval(limit / SIGNS_OF_LIFE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_stuck = false;
        loop {
            ticks.tick().await;
            let stuck = health.stuck();
            if stuck.is_empty() {
                self.tell(&[NotifyState::Watchdog]);
            } else if !was_stuck {
                let loops = stuck.join(" and the ");
                tracing::error!(
                    loops,
                    "the loop of the {loops} is stuck: the service manager gets no sign of life, and restarts the exporter"
                );
            }
            was_stuck = !stuck.is_empty();
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let sent = self.socket.send_to_addr(message(states).as_bytes(), &self.address);
        if let Err(error) = sent
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                %error, "the service manager cannot be told how the exporter is: {error}; later failures are not logged"
            );
        }
    }
}

/// One line for each state, whatever an error in a status holds.
fn message(states: &[NotifyState<'_>]) -> String {
    let line = |state: &NotifyState<'_>| state.to_string().replace(char::is_control, " ");
    states.iter().map(|state| line(state) + "\n").collect()
}

/// The address that a value of `NOTIFY_SOCKET` names: a path, or with an `@` in front an abstract one.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        [b'@', name @ ..] => abstract_address(name),
        _ => Err(io::Error::other("it is neither a path nor the name of an abstract socket")),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::other("only Linux has abstract sockets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::time::Time;

    const LIMIT: Duration = Duration::from_secs(30);
    /// Never the moment of a sign of life, nor that in which a loop comes to be stuck.
    const BETWEEN: Duration = Duration::from_secs(31);

    /// A manager's socket, and the exporter's end of it.
    fn manager(folder: &tempfile::TempDir) -> (UnixDatagram, Service) {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, Service(Some(Arc::new(Manager::at(path.as_os_str(), Some(LIMIT)).unwrap()))))
    }

    /// The messages that have come.
    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let next =
            || socket.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        std::iter::from_fn(next).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_end_while_a_loop_is_stuck_and_come_again_when_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, service) = manager(&folder);
        let health = Health::new(&Clock::simulated(Time::from_micros(0)));
        let following = tokio::spawn(service.follow(health.clone(), String::new()));
        tokio::time::sleep(BETWEEN).await;
        let signs = received(&socket);
        assert!(signs.len() > 2 && signs.iter().all(|sign| sign == "WATCHDOG=1\n"), "{signs:?}");

        // Half of the loops is not enough.
        tokio::time::sleep(BETWEEN).await;
        health.poller.beat();
        received(&socket);
        tokio::time::sleep(BETWEEN).await;
        assert_eq!(health.stuck(), ["ledger"]);
        assert!(received(&socket).is_empty());

        health.ledger.beat();
        tokio::time::sleep(LIMIT / 2).await;
        assert!(!received(&socket).is_empty());
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_before_the_exporter_is_ready_does_not_tell_that_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, service) = manager(&folder);
        service.reloading();
        service.reloaded(&Ok(()), "listening");
        assert!(received(&socket).is_empty());
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, service) = manager(&folder);
        for _ in 0..10_000 {
            service.stopping();
        }
        drop(socket);
        service.stopping();
    }

    #[test]
    fn a_status_is_one_line_whatever_it_holds() {
        let status = NotifyState::Status("failed:\nSTOPPING=1\r\n\u{1b}[1m");
        assert_eq!(message(&[NotifyState::Ready, status]), "READY=1\nSTATUS=failed: STOPPING=1   [1m\n");
    }

    #[test]
    fn a_name_that_is_no_address_is_refused() {
        for name in ["", "notify", "vsock:2:1234"] {
            assert!(address(OsStr::new(name)).is_err(), "{name}");
        }
        assert!(Manager::at(OsStr::new("/run/notify"), Some(Duration::ZERO)).unwrap().watchdog.is_none());
    }
}
