//! What happens in calls, for those who watch from within this process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parlo_protocol::{identity::PublicKey, offer::Codec};
use tokio::sync::Notify;

use super::timeline::Timeline;
use crate::report::Report;

/// The other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Its name in the file of known peers, if it has one.
    pub name: Option<String>,
    /// Its key.
    pub key: PublicKey,
    /// What both sides send.
    pub codec: Codec,
    /// Codebooks that it means to send at most.
    pub depth: u8,
    /// Frames in each of its packets while its path is good.
    pub frames_per_packet: u8,
}

/// What happens, for those who watch.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Calls are awaited here.
    Listening(SocketAddr),
    /// A peer is being called.
    Calling(SocketAddr),
    /// It rings at the peer.
    Ringing(SocketAddr),
    /// Somebody calls, and waits for an answer.
    Incoming {
        /// Number of the call.
        call: u64,
        /// Who, for people.
        who: String,
    },
    /// The call stands.
    Connected(Peer),
    /// A sentence for the user: a device changed.
    Notice(String),
    /// Once a second during a call.
    Progress {
        /// Since the call stands.
        elapsed: Duration,
        /// Frames played and lost so far.
        played: u64,
        /// Frames that were not there when due.
        lost: u64,
        /// Delay of the jitter buffer now.
        jitter_delay: Duration,
        /// Sent over the last second with every header, kbps.
        wire_kbps: f64,
        /// Share of the packets sent that are lost on the way, as the peer tells.
        peer_loss: f64,
        /// Codebooks, frames a packet and copies sent now.
        plan: [u8; 3],
        /// Bits that each frame sent over the last second holds, by the entropy model; none if there is no model or no
        /// frame. How well the model knows the voice, and, where it falls, that nobody speaks.
        bits_per_frame: Option<f64>,
    },
    /// The call is over, well or badly.
    Ended(Box<Finished>),
}

/// A call that is over.
#[derive(Debug)]
pub struct Finished {
    /// Its figures.
    pub report: Report,
    /// When frames were captured; empty unless asked for.
    pub captured: Timeline,
    /// When frames were heard; empty unless asked for.
    pub played: Timeline,
}

/// Ends a call, or the waiting for one, from anywhere. Clones end the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Asks for the end. The call hangs up properly.
    pub fn request(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn requested(&self) {
        self.0.notified().await;
    }
}
