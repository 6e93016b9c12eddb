//! What a relayed call costs the relay: calls for each core, from the processor time that 500 calls take over real sockets on
//! loopback, and the part of it that is the relay's own decisions.
//!
//! `cargo bench -p parlod --bench relay -- [--json FILE]`. The load comes from another thread; the relay's processor time is
//! that of its thread alone, the kernel's work for it included.

use std::{
    cell::Cell,
    env, fs, hint, io,
    mem::MaybeUninit,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parlo_protocol::relay::{Action, Join, Relay, RelayConfig, RoomState, Ticket};
use parlod::relay::{Glance, serve};
use serde_json::json;

const CALLS: usize = 500;

/// Between two datagrams of one member: three frames.
const EVERY: Duration = Duration::from_millis(60);

/// A sealed datagram of three frames, about.
const BYTES: usize = 60;

const MEASURED: Duration = Duration::from_secs(6);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let decision = decision()?;
    let load = load()?;
    let per_call = load.processor.as_secs_f64() / load.elapsed.as_secs_f64() / CALLS as f64;
    let report = json!({
        "relay_calls_per_core": (1.0 / per_call).round(),
        "relay_calls": CALLS,
        "relay_packets_per_second": (load.forwarded as f64 / load.elapsed.as_secs_f64()).round(),
        "relay_processor_percent": 100.0 * per_call * CALLS as f64,
        "relay_us_per_packet": 1e6 * load.processor.as_secs_f64() / load.forwarded as f64,
        "relay_lost_percent": 100.0 * (1.0 - load.received as f64 / load.sent as f64),
        "relay_decision_ns": decision.as_nanos() as u64,
    });
    let text = serde_json::to_string_pretty(&report)?;
    println!("{text}");
    let mut arguments = env::args().skip_while(|argument| argument != "--json").skip(1);
    if let Some(file) = arguments.next() {
        fs::write(file, text + "\n")?;
    }
    Ok(())
}

/// The time in which the state machine decides what to do with a datagram, among all the calls there are.
fn decision() -> Result<Duration> {
    let now = Instant::now();
    let mut relay = Relay::new(config(), [1; 16], now);
    let members: Vec<SocketAddr> = (0..2 * CALLS).map(source).collect();
    let mut datagrams = Vec::new();
    for (n, member) in members.iter().enumerate() {
        let mut join = Join::dial(members[0], ticket(n / 2), now);
        meet(&mut join, |datagram, join| {
            if let Action::Reply(reply) = relay.handle(now, *member, datagram) {
                join.handle(now, members[0], reply.as_bytes());
            }
            Ok(())
        })?;
        datagrams.push(tagged(&join));
    }
    let rounds = 1000;
    let start = Instant::now();
    for round in 0..rounds {
        let now = now + EVERY * round;
        for (member, datagram) in members.iter().zip(&datagrams) {
            if !matches!(hint::black_box(relay.handle(now, *member, datagram)), Action::Forward { .. }) {
                return Err("a member's datagram was not carried".into());
            }
        }
    }
    Ok(start.elapsed() / (rounds * members.len() as u32))
}

struct Load {
    elapsed: Duration,
    /// Of the relay's thread.
    processor: Duration,
    forwarded: u64,
    sent: u64,
    received: u64,
}

/// What the relay's thread shows to the other.
#[derive(Default)]
struct Dial {
    processor_ns: AtomicU64,
    forwarded: AtomicU64,
    stop: AtomicBool,
}

fn load() -> Result<Load> {
    let dial = Arc::new(Dial::default());
    let listener = UdpSocket::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let relay = {
        let dial = Arc::clone(&dial);
        thread::spawn(move || run_relay(listener, &dial))
    };
    let mut sockets = Vec::new();
    for n in 0..2 * CALLS {
        // A source of its own for each, for sources are limited.
        let socket = UdpSocket::bind(SocketAddr::new(source(n).ip(), 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut join = Join::dial(address, ticket(n / 2), Instant::now());
        meet(&mut join, |datagram, join| {
            let mut answer = [0; 100];
            socket.send(datagram)?;
            let length = socket.recv(&mut answer)?;
            join.handle(Instant::now(), address, &answer[..length]);
            Ok(())
        })?;
        socket.set_nonblocking(true)?;
        sockets.push((socket, tagged(&join)));
    }

    let look = || (dial.processor_ns.load(Ordering::Relaxed), dial.forwarded.load(Ordering::Relaxed));
    // A second to warm up, and then to measure.
    let (mut sent, mut received) = (0, 0);
    drive(&sockets, Duration::from_secs(1), &mut sent, &mut received)?;
    (sent, received) = (0, 0);
    let (before, start) = (look(), Instant::now());
    drive(&sockets, MEASURED, &mut sent, &mut received)?;
    let (after, elapsed) = (look(), start.elapsed());
    dial.stop.store(true, Ordering::Relaxed);
    relay.join().map_err(|_| "the relay's thread panicked")??;
    Ok(Load {
        elapsed,
        processor: Duration::from_nanos(after.0 - before.0),
        forwarded: after.1 - before.1,
        sent,
        received,
    })
}

fn run_relay(listener: UdpSocket, dial: &Dial) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::UdpSocket::from_std(listener)?;
        let glance = Cell::new(Glance::default());
        let serving = serve(&socket, Relay::new(config(), [1; 16], Instant::now()), &glance);
        let showing = async {
            while !dial.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                dial.processor_ns.store(thread_time().as_nanos() as u64, Ordering::Relaxed);
                dial.forwarded.store(glance.get().stats.forwarded, Ordering::Relaxed);
            }
        };
        tokio::select! {
            ended = serving => ended,
            () = showing => Ok(()),
        }
    })
}

/// Lets every member send at its pace, spread evenly over time, and take what has come.
fn drive(sockets: &[(UdpSocket, Vec<u8>)], time: Duration, sent: &mut u64, received: &mut u64) -> Result<()> {
    let (start, gap) = (Instant::now(), EVERY / sockets.len() as u32);
    let mut arrival = [0; 2 * BYTES];
    for n in 0.. {
        let due = gap * n;
        if due >= time {
            break;
        }
        if let Some(pause) = due.checked_sub(start.elapsed()).filter(|pause| *pause > Duration::from_millis(1)) {
            thread::sleep(pause);
        }
        let (socket, datagram) = &sockets[n as usize % sockets.len()];
        while socket.recv(&mut arrival).is_ok() {
            *received += 1;
        }
        socket.send(datagram)?;
        *sent += 1;
    }
    thread::sleep(Duration::from_millis(50));
    for (socket, _) in sockets {
        while socket.recv(&mut arrival).is_ok() {
            *received += 1;
        }
    }
    Ok(())
}

/// What a member sends, of the length of three frames' packet.
fn tagged(join: &Join) -> Vec<u8> {
    let mut datagram = vec![0x80; BYTES];
    datagram.extend(join.tag(&[0x80; BYTES]).into_iter().flatten());
    datagram
}

/// Goes through Join, Retry and Join.
fn meet(join: &mut Join, mut ask: impl FnMut(&[u8], &mut Join) -> Result<()>) -> Result<RoomState> {
    let mut datagram = Vec::new();
    for _ in 0..2 {
        join.poll_transmit(&mut datagram);
        ask(&datagram, join)?;
    }
    join.state().ok_or_else(|| "the relay gives no seat".into())
}

fn config() -> RelayConfig {
    RelayConfig { rooms: CALLS, ..RelayConfig::default() }
}

fn source(n: usize) -> SocketAddr {
    let [.., third, fourth] = (n as u32).to_be_bytes();
    // In a network of its own, for those are limited too.
    SocketAddr::from(([127, 1 + third, fourth, 1], 7000))
}

fn ticket(n: usize) -> Ticket {
    Ticket::from_bytes((n as u128).to_be_bytes())
}

/// Processor time of the calling thread, in user space and in the kernel.
fn thread_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is as large and aligned as the call wants, and zeros are a valid `rusage` should it fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, 1000 * time.tv_usec as u32);
    time(usage.ru_utime) + time(usage.ru_stime)
}
