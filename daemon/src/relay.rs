//! A relay on a real socket: [`parlo_protocol::relay`] says what it does and what it is safe from.

use std::{
    cell::Cell,
    future, io,
    time::{Duration, Instant},
};

use parlo_protocol::relay::{Action, Relay};
use tokio::{
    net::UdpSocket,
    time::{sleep, sleep_until},
};

/// Longer than any datagram that is carried: a longer one is cut, and still too long.
const RECEIVE_BYTES: usize = 2048;

/// How many datagrams are dealt with before the clock is looked at, and others get their turn.
const BATCH: usize = 64;

/// How long the socket is left alone when it gives an error that is none of a peer's: it may pass.
const REST: Duration = Duration::from_millis(100);

/// What a relay looks like from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// Rooms in use.
    pub rooms: usize,
    /// Members in them.
    pub members: usize,
    /// What it has done since its start.
    pub stats: parlo_protocol::relay::RelayStats,
    /// Datagrams that the system did not take.
    pub unsent: u64,
}

/// Serves until the future is dropped, and shows from time to time how things are in `glance`.
///
/// # Errors
/// If the socket cannot be used at all. Errors while it is read are waited out: no member ends the relay for others.
pub async fn serve(socket: &UdpSocket, mut relay: Relay, glance: &Cell<Glance>) -> io::Result<()> {
    let mut datagram = [0; RECEIVE_BYTES];
    let mut unsent = 0;
    // Until it has been waited for once, tokio takes a socket for one that cannot be written to.
    socket.writable().await?;
    loop {
        let due = relay.poll_timeout();
        let timeout = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => future::pending().await,
            }
        };
        let mut failed = tokio::select! {
            ready = socket.readable() => ready.is_err(),
            () = timeout => false,
        };
        let now = Instant::now();
        for _ in 0..BATCH {
            let (length, from) = match socket.try_recv_from(&mut datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An earlier datagram came back: that member's trouble, not ours.
                Err(error) if is_of_one_peer(&error) => continue,
                Err(_) => {
                    failed = true;
                    break;
                }
            };
            let datagram = &datagram[..length];
            let sent = match relay.handle(now, from, datagram) {
                Action::Forward { to, bytes } => socket.try_send_to(&datagram[..bytes], to),
                Action::Reply(reply) => socket.try_send_to(reply.as_bytes(), from),
                Action::Drop(_) => continue,
            };
            // What the system does not take is lost, as it may be anywhere on the way.
            unsent += u64::from(sent.is_err());
        }
        relay.handle_timeout(now);
        glance.set(Glance { rooms: relay.rooms(), members: relay.members(), stats: *relay.stats(), unsent });
        if failed {
            sleep(REST).await;
        }
        // A flood must not keep Ctrl-C out.
        tokio::task::yield_now().await;
    }
}

fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}
