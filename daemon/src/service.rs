//! What systemd is told about the daemon: that it is ready, that it goes on, and that it ends.

/// Tells the service manager, if there is one, a line such as `READY=1` (sd_notify(3)): a datagram to the socket that
/// `$NOTIFY_SOCKET` names. Does nothing without that variable.
///
/// # Errors
/// If the service manager cannot be told. The daemon runs all the same, but its unit may be taken to have failed to start.
pub fn notify(state: &str) -> std::io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(address) if cfg!(target_os = "linux") && !address.is_empty() => send(&address, state),
        _ => Ok(()),
    }
}

/// systemd's watchdog, if it watches this process (`WatchdogSec=` in the unit, sd_watchdog_enabled(3)): it ends a daemon that
/// is no more said to be alive.
#[derive(Debug)]
pub struct SystemdWatchdog {
    #[cfg(target_os = "linux")]
    socket: std::os::unix::net::UnixDatagram,
}

impl SystemdWatchdog {
    /// The one that the environment names. Its socket is opened now, so that no file need be free later.
    pub fn from_environment() -> Option<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let watched = variable("WATCHDOG_USEC")?.to_str()?.parse::<u64>().is_ok_and(|every| every > 0);
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid.to_str() == Some(&std::process::id().to_string()));
        let address = variable("NOTIFY_SOCKET")?;
        if watched && ours { Self::at(&address).ok() } else { None }
    }

    #[cfg(target_os = "linux")]
    fn at(address: &std::ffi::OsStr) -> std::io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&place(address)?)?;
        Ok(Self { socket })
    }

    #[cfg(not(target_os = "linux"))]
    fn at(_: &std::ffi::OsStr) -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Says that the daemon is alive. Never waits.
    pub fn alive(&self) {
        // What is not taken now is said again soon.
        #[cfg(target_os = "linux")]
        let _ = self.socket.send(b"WATCHDOG=1");
    }
}

#[cfg(target_os = "linux")]
fn place(address: &std::ffi::OsStr) -> std::io::Result<std::os::unix::net::SocketAddr> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr},
    };

    match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(address),
    }
}

#[cfg(target_os = "linux")]
fn send(address: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &place(address)?).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send(_: &std::ffi::OsStr, _: &str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    };

    use super::*;

    #[test]
    fn what_is_told_arrives_by_path_and_by_abstract_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let name = format!("parlo-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            send(&address, "READY=1").unwrap();
            let mut heard = [0; 64];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
        let manager = UnixDatagram::bind(place.path().join("watchdog")).unwrap();
        let watchdog = SystemdWatchdog::at(place.path().join("watchdog").as_os_str()).unwrap();
        // More than it can hold: nobody waits for it to be read.
        for _ in 0..10_000 {
            watchdog.alive();
        }
        let mut heard = [0; 64];
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"WATCHDOG=1");
        assert!(send(place.path().join("nobody").as_os_str(), "READY=1").is_err());
    }
}
