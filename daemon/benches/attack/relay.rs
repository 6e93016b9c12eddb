//! A relay that many addresses fill: how many honest pairs still meet, and whether anything comes back longer than it went out.

use std::{
    cell::Cell,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parlo_protocol::relay::{Join, Relay, RelayConfig, RoomState, Ticket, is_from_relay};
use parlod::relay::{Glance, serve};

use crate::dice::Dice;

/// Addresses that take all that they can get, each of another /24.
const FILLERS: u8 = 255;

/// Rooms that each of them asks for.
const ROOMS_EACH: usize = 64;

/// Honest pairs that come then.
const PAIRS: u8 = 20;

/// How long a pair tries.
const PAIR_TIMEOUT: Duration = Duration::from_secs(4);

/// What came of it.
pub(crate) struct Served {
    pub(crate) served_pct: f64,
    pub(crate) amplification: f64,
}

/// A socket, and the address that it has of its own.
struct Member {
    socket: UdpSocket,
    join: Join,
    relay: SocketAddr,
    /// Bytes that came back before it had shown that it is there, for each that it sent.
    amplification: f64,
}

impl Member {
    fn new(from: Ipv4Addr, relay: SocketAddr, ticket: Ticket) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(relay)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket, join: Join::dial(relay, ticket, Instant::now()), relay, amplification: 0.0 })
    }

    /// Sends what is due, and takes what has come; what was not the relay's own.
    fn step(&mut self) -> Option<Vec<u8>> {
        let (mut datagram, mut bytes, mut sent) = (Vec::new(), [0; 2048], 0);
        self.join.handle_timeout(Instant::now());
        while self.join.poll_transmit(&mut datagram) {
            let _ = self.socket.send(&datagram);
            sent += datagram.len();
        }
        let length = self.socket.recv(&mut bytes).ok()?;
        if sent > 0 && self.join.state().is_none() {
            self.amplification = self.amplification.max(length as f64 / sent as f64);
        }
        if !is_from_relay(&bytes[..length]) {
            return Some(bytes[..length].to_vec());
        }
        self.join.handle(Instant::now(), self.relay, &bytes[..length]);
        None
    }
}

pub(crate) fn measure() -> anyhow::Result<Served> {
    let listener = UdpSocket::bind("127.0.0.1:0")?;
    let relay = listener.local_addr()?;
    let stop = Arc::new(AtomicBool::new(false));
    let server = thread::spawn({
        let stop = Arc::clone(&stop);
        move || run(listener, &stop)
    });
    let mut dice = Dice::new(3);
    println!("{FILLERS} addresses fill a relay");
    let mut amplification = fill(relay, &mut dice)?;
    let mut served = 0;
    for pair in 0..PAIRS {
        // Two machines of two networks.
        let ticket = Ticket::from_bytes(dice.array());
        let mut one = Member::new(Ipv4Addr::new(127, 10, pair, 1), relay, ticket)?;
        let mut other = Member::new(Ipv4Addr::new(127, 11, pair, 1), relay, ticket)?;
        served += u32::from(meets(&mut one, &mut other));
        amplification = amplification.max(one.amplification).max(other.amplification);
    }
    stop.store(true, Ordering::Relaxed);
    server.join().map_err(|_| anyhow::anyhow!("the relay crashed"))??;
    println!("{served} of {PAIRS} honest pairs are served");
    Ok(Served { served_pct: 100.0 * f64::from(served) / f64::from(PAIRS), amplification })
}

/// Each address takes room after room, alone in each.
fn fill(relay: SocketAddr, dice: &mut Dice) -> anyhow::Result<f64> {
    let mut amplification = 0.0_f64;
    for filler in 0..FILLERS {
        let mut refused = 0;
        for _ in 0..ROOMS_EACH {
            let mut member = Member::new(Ipv4Addr::new(127, 200, filler, 1), relay, Ticket::from_bytes(dice.array()))?;
            member.socket.set_read_timeout(Some(Duration::from_millis(5)))?;
            (0..2).for_each(|_| drop(member.step()));
            amplification = amplification.max(member.amplification);
            refused = if member.join.state().is_none() { refused + 1 } else { 0 };
            // It gets no more.
            if refused > 2 {
                break;
            }
        }
    }
    Ok(amplification)
}

/// Whether two come to sit in one room, and one hears what the other sends.
fn meets(one: &mut Member, other: &mut Member) -> bool {
    let start = Instant::now();
    let said = [0x80; 60];
    while start.elapsed() < PAIR_TIMEOUT {
        if other.join.state() == Some(RoomState::Together) {
            let tag = one.join.tag(&said);
            let _ = one.socket.send(&[&said[..], tag.as_ref().map_or(&[][..], |tag| &tag[..])].concat());
        }
        if other.step().is_some_and(|heard| heard == said) {
            return true;
        }
        one.step();
    }
    false
}

fn run(listener: UdpSocket, stop: &AtomicBool) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::UdpSocket::from_std(listener)?;
        let glance = Cell::new(Glance::default());
        let serving = serve(&socket, Relay::new(RelayConfig::default(), [1; 16], Instant::now()), &glance);
        let ended = async {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            ended = serving => Ok(ended?),
            () = ended => Ok(()),
        }
    })
}
