//! Who is let in, whose calls ring, and whose are answered; and who is remembered.

use std::net::{IpAddr, SocketAddr};

use parlo_protocol::{identity::PublicKey, session::Reason};

use crate::{
    call::{CallError, Engine},
    config::AutoAnswer,
};

/// What becomes of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Welcome {
    /// It rings here.
    Ring {
        /// The caller's name, if it is known.
        name: Option<String>,
    },
    /// It is answered without asking.
    Answer {
        /// Likewise.
        name: Option<String>,
    },
    /// It is told to go.
    Refuse {
        /// What it is told.
        reason: Reason,
        /// What the user is told.
        notice: String,
    },
}

/// Decides about a caller. `away`: no calls are wanted; `full`: there are as many as there can be.
pub(super) fn welcome(
    engine: &Engine,
    peer: &PublicKey,
    from: SocketAddr,
    away: bool,
    full: bool,
) -> Result<Welcome, CallError> {
    let call = &engine.config().call;
    let peers = engine.known().read()?;
    let known = peers.by_key(peer);
    // Who comes by way of a relay is not of this machine, wherever the relay is.
    let local = is_loopback(from.ip()) && call.relay.is_empty();
    let ours = *peer == engine.identity().public();
    if !(call.anyone || local || ours || known.is_some()) {
        let notice = format!("turned away a stranger from {from}; to let it in: parlo contacts add NAME - {peer}");
        return Ok(Welcome::Refuse { reason: Reason::Declined, notice });
    }
    let name = known.map(|known| known.name.clone());
    if away || full {
        let who = name.unwrap_or_else(|| from.to_string());
        let why = if full { "" } else { ", as you do not want to be disturbed" };
        let notice = format!("{who} calls, and was told that the line is busy{why}");
        return Ok(Welcome::Refuse { reason: Reason::Busy, notice });
    }
    let listed = known.is_some_and(|known| known.auto_answer);
    Ok(match call.answer {
        AutoAnswer::All => Welcome::Answer { name },
        AutoAnswer::Listed if listed => Welcome::Answer { name },
        AutoAnswer::Listed | AutoAnswer::Never => Welcome::Ring { name },
    })
}

/// What is known of who answered.
#[derive(Debug, Default)]
pub(super) struct Recognised {
    pub(super) name: Option<String>,
    /// What the user should know.
    pub(super) notice: Option<String>,
}

/// Finds the name of a peer. Who is called for the first time at an address is remembered from then on; addresses of this machine
/// are not, as anything may listen there tomorrow.
pub(super) fn recognise(
    engine: &Engine,
    key: &PublicKey,
    called_at: Option<SocketAddr>,
) -> Result<Recognised, CallError> {
    let known = engine.known().read()?;
    if let Some(peer) = known.by_key(key) {
        return Ok(Recognised { name: Some(peer.name.clone()), notice: None });
    }
    let Some(address) = called_at.filter(|address| !is_loopback(address.ip())) else {
        return Ok(Recognised::default());
    };
    engine.known().first_use(&address.to_string(), key)?;
    let notice = format!(
        "{address} answers for the first time, with the key {key} (fingerprint {}); if that matters, ask your peer whether it is \
         theirs. It is remembered, and a change will be told",
        key.fingerprint()
    );
    Ok(Recognised { name: None, notice: Some(notice) })
}

/// Whether an address is this machine's own, in whatever form it is written.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
