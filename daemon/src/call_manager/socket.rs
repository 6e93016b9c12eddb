//! The UDP socket, and random numbers.

use std::{io, net::SocketAddr};

use tokio::net::UdpSocket;

use crate::call::CallError;

/// Longer than any datagram of ours: a longer one is cut, and so recognised as junk.
pub(super) const RECEIVE_BYTES: usize = 2048;

/// A socket at this address, ready to be sent on.
pub(super) async fn bind(address: SocketAddr) -> Result<UdpSocket, CallError> {
    let failed = |error| CallError::Bind { address, error };
    let socket = UdpSocket::bind(address).await.map_err(failed)?;
    socket.writable().await.map_err(failed)?;
    Ok(socket)
}

/// Asks the system to tell when nobody listens where a datagram went, or not to any more. A connected socket is told so
/// anyhow, but it would not hear a peer that has moved. Only for while a call is placed: what is told and not read takes room
/// from what is received.
pub(super) fn report_errors(socket: &UdpSocket, on: bool) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let on = libc::c_int::from(on);
        let options = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
        for (level, option) in options {
            // SAFETY: the descriptor is the socket's own and open; the option's value is a C integer of the length given
            // (ip(7), ipv6(7)), which the call only reads. Where it does not apply the call fails, and nothing is lost but
            // a quicker answer.
            unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    level,
                    option,
                    (&raw const on).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                );
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, on);
}

/// Sends a datagram now, or not at all: the network may lose it, and so may a full buffer.
pub(super) fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    let _ = socket.try_send_to(datagram, to);
}

/// Whether an error that a UDP socket reports is of a datagram sent before, and no fault of the socket.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    // A datagram that is longer than some link takes (EMSGSIZE) has no kind of its own; it is lost like any other.
    matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::Interrupted
            | Kind::WouldBlock
    ) || error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// 32 bytes of the system's generator.
pub(super) fn secret() -> Result<[u8; 32], CallError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(CallError::Random)?;
    Ok(bytes)
}

/// A random number for a session's index.
pub(super) fn index() -> Result<u16, CallError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(CallError::Random)?;
    Ok(u16::from_be_bytes(bytes))
}
