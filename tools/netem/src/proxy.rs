//! Paths between real UDP sockets: whoever sends to the proxy reaches the target through one path, and hears from it
//! through another.
//!
//! Each source address gets a socket of its own towards the target, and its own two paths, which begin with its first
//! datagram. Client number n (from 0, in the order in which they appear) has the up path `config.up.derive(2 * n)` and the
//! down path `config.down.derive(2 * n + 1)`: a test that knows the seed knows what is lost.
//!
//! Datagrams leave at most about a millisecond late, which is how finely tokio's clock is ticked.

use std::{
    collections::HashMap,
    future, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    net::UdpSocket,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::{sleep_until, timeout_at},
};

use crate::{Path, PathConfig, PathStats};

/// The longest datagram that UDP carries.
const DATAGRAM_MAX: usize = 65_535;

/// Datagrams of one client that may wait for its task.
const WAITING_MAX: usize = 1024;

/// A client that neither sent nor got anything for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// What a proxy does.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Where clients send to. Port 0 is any that is free.
    pub listen: SocketAddr,
    /// Where their datagrams go.
    pub to: SocketAddr,
    /// The path from clients to the target.
    pub up: PathConfig,
    /// The path back.
    pub down: PathConfig,
    /// The most clients at a time; datagrams of others are ignored. 64 is plenty.
    pub clients_max: usize,
}

/// What became of all clients' datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ProxyStats {
    /// Clients so far.
    pub clients: u64,
    /// Datagrams ignored because there were too many clients, or more of them at once than could be dealt with.
    pub ignored: u64,
    /// Datagrams that the target's machine refused, because nobody listens there, or that this one could not send.
    pub refused: u64,
    /// From clients to the target.
    pub up: PathStats,
    /// Back.
    pub down: PathStats,
}

/// A look at a proxy that runs.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<Board>>);

/// What the tasks write down for others to see.
#[derive(Debug, Default)]
struct Board {
    ignored: u64,
    refused: u64,
    /// Up and down, by the client's number.
    paths: Vec<[PathStats; 2]>,
}

impl Watch {
    /// What became of all datagrams so far.
    pub fn stats(&self) -> ProxyStats {
        self.with(|board| {
            let mut stats = ProxyStats {
                clients: board.paths.len() as u64,
                ignored: board.ignored,
                refused: board.refused,
                ..ProxyStats::default()
            };
            for [up, down] in &board.paths {
                stats.up += *up;
                stats.down += *down;
            }
            stats
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A UDP proxy with a bad network inside.
#[derive(Debug)]
pub struct Proxy {
    config: ProxyConfig,
    socket: Arc<UdpSocket>,
    watch: Watch,
}

impl Proxy {
    /// Opens the listening socket.
    pub async fn bind(config: ProxyConfig) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(config.listen).await?);
        Ok(Self { config, socket, watch: Watch::default() })
    }

    /// Where clients are to send to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// A look at what it does, while it runs and afterwards.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Carries datagrams until the future is dropped.
    ///
    /// # Errors
    /// When the listening socket fails, or the target cannot be sent to at all.
    pub async fn run(self) -> io::Result<()> {
        let mut doors: HashMap<SocketAddr, Sender<Vec<u8>>> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut datagram = vec![0; DATAGRAM_MAX];
        loop {
            let (length, from) = tokio::select! {
                received = self.socket.recv_from(&mut datagram) => match received {
                    Ok(received) => received,
                    // An answer that nobody took: that client is gone, others are not.
                    Err(error) if is_refusal(&error) => continue,
                    Err(error) => return Err(error),
                },
                Some(_) = tasks.join_next() => {
                    doors.retain(|_, door| !door.is_closed());
                    continue;
                }
            };
            if !doors.contains_key(&from) && doors.len() < self.config.clients_max {
                let (door, arrivals) = mpsc::channel(WAITING_MAX);
                tasks.spawn(self.client(from, arrivals).await?.run());
                doors.insert(from, door);
            }
            let taken = doors.get(&from).is_some_and(|door| door.try_send(datagram[..length].to_vec()).is_ok());
            if !taken {
                self.watch.with(|board| board.ignored += 1);
            }
        }
    }

    async fn client(&self, address: SocketAddr, arrivals: Receiver<Vec<u8>>) -> io::Result<Client> {
        let any: SocketAddr = match self.config.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let upstream = UdpSocket::bind(any).await?;
        upstream.connect(self.config.to).await?;
        let number = self.watch.with(|board| {
            board.paths.push(Default::default());
            board.paths.len() - 1
        });
        let (now, n) = (Instant::now(), 2 * number as u64);
        Ok(Client {
            number,
            address,
            listener: Arc::clone(&self.socket),
            upstream,
            arrivals,
            up: Path::new(self.config.up.derive(n), now),
            down: Path::new(self.config.down.derive(n + 1), now),
            watch: self.watch.clone(),
        })
    }
}

/// One client: its socket towards the target, and its two paths.
struct Client {
    number: usize,
    address: SocketAddr,
    listener: Arc<UdpSocket>,
    upstream: UdpSocket,
    arrivals: Receiver<Vec<u8>>,
    up: Path,
    down: Path,
    watch: Watch,
}

impl Client {
    /// Until it is idle, or its socket fails: then its next datagram makes it anew.
    async fn run(mut self) {
        let mut datagram = vec![0; DATAGRAM_MAX];
        let mut out = Vec::new();
        loop {
            let due = [self.up.poll_timeout(), self.down.poll_timeout()].into_iter().flatten().min();
            let due = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => future::pending().await,
                }
            };
            let idle = Instant::now() + IDLE_MAX;
            let event = async {
                tokio::select! {
                    Some(arrival) = self.arrivals.recv() => self.up.send(Instant::now(), &arrival),
                    received = self.upstream.recv(&mut datagram) => match received {
                        Ok(length) => self.down.send(Instant::now(), &datagram[..length]),
                        Err(error) if is_refusal(&error) => self.watch.with(|board| board.refused += 1),
                        Err(_) => return false,
                    },
                    () = due => {}
                    else => {}
                }
                true
            };
            if !timeout_at(idle.into(), event).await.unwrap_or(false) {
                return;
            }
            let now = Instant::now();
            while self.up.receive(now, &mut out) {
                if self.upstream.send(&out).await.is_err() {
                    self.watch.with(|board| board.refused += 1);
                }
            }
            while self.down.receive(now, &mut out) {
                // A client that has gone is none of the others' business.
                let _ = self.listener.send_to(&out, self.address).await;
            }
            self.watch.with(|board| {
                if let Some(paths) = board.paths.get_mut(self.number) {
                    *paths = [*self.up.stats(), *self.down.stats()];
                }
            });
        }
    }
}

/// Whether an earlier datagram came back because nobody listens where it went.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}
