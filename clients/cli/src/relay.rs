//! `parlo relay`: a relay in the foreground.

use std::{
    cell::Cell,
    io::{Write, stderr},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use parlo_protocol::relay::{Relay, RelayConfig, Ticket};
use parlod::relay::{Glance, serve};
use tokio::{net::UdpSocket, time::interval};

use crate::{format::can_draw, stop};

/// Flags of `parlo relay`.
#[derive(Debug, Args)]
pub(crate) struct RelayOptions {
    /// Where peers send to
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7276")]
    listen: SocketAddr,
    /// The most calls at a time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rooms: u32,
    /// What each peer may send, in kbps with all headers; more is dropped
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    kbps: u32,
    /// The most peers from one IPv4 address, or IPv6 network of 64 bits (four times as many from an IPv4 network of 24 bits)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    seats_per_source: u32,
    /// Draw a ticket, with which two peers meet at any relay, print it, and end
    #[arg(long)]
    ticket: bool,
}

pub(crate) fn run(options: &RelayOptions) -> anyhow::Result<()> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).context("the system gives no random numbers")?;
    if options.ticket {
        println!("{}", Ticket::from_bytes(random));
        return Ok(());
    }
    let config = RelayConfig {
        rooms: options.rooms as usize,
        bits_per_second: 1000 * u64::from(options.kbps),
        seats_per_source: options.seats_per_source,
        ..RelayConfig::default()
    };
    let glance = Cell::new(Glance::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = UdpSocket::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen at {}: choose another with --listen", options.listen))?;
        eprintln!("relaying at {}; Ctrl-C ends", socket.local_addr()?);
        tokio::select! {
            ended = serve(&socket, Relay::new(config, random, Instant::now()), &glance) => ended.context("the socket failed")?,
            stopped = stop::asked() => stopped?,
            () = tell(&glance) => {}
        }
        anyhow::Ok(())
    })?;
    if can_draw(&stderr()) {
        eprint!("\r\x1b[K");
    }
    let Glance { stats, unsent, .. } = glance.get();
    eprintln!(
        "{} datagrams carried ({} bytes), {} seats taken, {} moved, {} rooms given to others, {} joins refused; dropped: {} too \
         fast, {} to an empty seat, {} of strangers, {} forged, {} too long, {} not ours, {unsent} unsent",
        stats.forwarded,
        stats.forwarded_bytes,
        stats.joins,
        stats.moves,
        stats.evicted,
        stats.refused,
        stats.fast,
        stats.alone,
        stats.strangers,
        stats.forged,
        stats.long,
        stats.foreign
    );
    Ok(())
}

/// On a terminal, says every second how things are.
async fn tell(glance: &Cell<Glance>) {
    if !can_draw(&stderr()) {
        std::future::pending::<()>().await;
    }
    let mut ticks = interval(Duration::from_secs(1));
    let mut before = Glance::default();
    loop {
        ticks.tick().await;
        let now = glance.get();
        eprint!(
            "\r\x1b[K{} rooms, {} members, {} datagrams a second, {:.1} kbps",
            now.rooms,
            now.members,
            now.stats.forwarded - before.stats.forwarded,
            (now.stats.forwarded_bytes - before.stats.forwarded_bytes) as f64 / 125.0
        );
        // A line that does not show is no reason to end.
        let _ = stderr().flush();
        before = now;
    }
}
