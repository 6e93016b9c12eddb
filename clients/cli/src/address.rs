//! `parlo address`: where others see this machine.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use parlod::stun::outside_address;
use tokio::net::UdpSocket;

use crate::impair::resolve;

pub(crate) fn run(server: &str, port: u16) -> anyhow::Result<()> {
    let server = resolve(server)?;
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    };
    let mut id = [0; 12];
    getrandom::fill(&mut id).context("the system gives no random numbers")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outside = runtime.block_on(async {
        let socket = UdpSocket::bind(any).await.with_context(|| format!("cannot use UDP port {port}"))?;
        let outside = outside_address(&socket, server, id);
        outside.await.with_context(|| format!("cannot learn the outside address from {server}"))
    })?;
    println!("{outside}");
    Ok(())
}
