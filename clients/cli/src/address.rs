//! `parlo address`: where others see this machine.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, anyhow};
use parlod::stun::outside_address;
use tokio::net::UdpSocket;

use crate::impair::resolve;

pub(crate) fn run(server: &str, port: u16) -> anyhow::Result<()> {
    let outside = crate::connect::block_on(ask_any(server, port))?;
    println!("{outside}");
    Ok(())
}

/// Asks a server by whichever of its addresses answers.
pub(crate) async fn ask_any(server: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let mut failed = anyhow!("{server} has no address");
    for server in resolve(server)? {
        match ask(server, port).await {
            Ok(outside) => return Ok(outside),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn ask(server: SocketAddr, port: u16) -> anyhow::Result<SocketAddr> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    };
    let mut id = [0; 12];
    getrandom::fill(&mut id).context("the system gives no random numbers")?;
    let socket = UdpSocket::bind(any).await.with_context(|| format!("cannot use UDP port {port}"))?;
    let outside = outside_address(&socket, server, id);
    outside.await.with_context(|| format!("cannot learn the outside address from {server}"))
}
