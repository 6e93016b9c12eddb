//! The path between a caller and who is called: an attacker on it keeps what it sees.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What begins an initiation (`docs/wire.md`).
const INITIATE: u8 = 0x41;

/// The most datagrams that are kept of each kind.
const KEPT: usize = 256;

/// What was seen of the caller's.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) initiations: Vec<Vec<u8>>,
    pub(crate) sealed: Vec<Vec<u8>>,
}

pub(crate) struct Proxy {
    /// Where the caller is to call.
    pub(crate) address: SocketAddr,
    /// Sends in the caller's name.
    pub(crate) back: UdpSocket,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(to: SocketAddr) -> anyhow::Result<Self> {
        // The caller's address is nobody else's: who shares one shares what it may ask for.
        let (front, back) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.2:0")?);
        back.connect(to)?;
        for socket in [&front, &back] {
            socket.set_nonblocking(true)?;
        }
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let proxy = Self {
            address: front.local_addr()?,
            back: back.try_clone()?,
            seen: Arc::clone(&seen),
            stop: Arc::clone(&stop),
            thread: Some(thread::spawn(move || carry(&front, &back, &seen, &stop))),
        };
        Ok(proxy)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn carry(front: &UdpSocket, back: &UdpSocket, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let (mut bytes, mut caller) = ([0; 2048], None);
    while !stop.load(Ordering::Relaxed) {
        let mut idle = true;
        while let Ok((length, from)) = front.recv_from(&mut bytes) {
            (idle, caller) = (false, Some(from));
            let _ = back.send(&bytes[..length]);
            let mut seen = seen.lock().unwrap();
            let kept = if bytes[0] == INITIATE { &mut seen.initiations } else { &mut seen.sealed };
            kept.push(bytes[..length].to_vec());
            if kept.len() > KEPT {
                kept.remove(0);
            }
        }
        while let Ok(length) = back.recv(&mut bytes) {
            idle = false;
            if let Some(caller) = caller {
                let _ = front.send_to(&bytes[..length], caller);
            }
        }
        if idle {
            thread::sleep(Duration::from_micros(500));
        }
    }
}
