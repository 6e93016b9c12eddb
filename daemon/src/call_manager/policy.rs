//! Who is let in, whose calls ring, and whose are answered; and who is remembered.

use std::net::{IpAddr, SocketAddr};

use parlo_protocol::{identity::PublicKey, session::Reason};

use crate::{
    call::Engine,
    config::AutoAnswer,
    keys::{Check, Listing},
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
        /// The caller's name, if it is known.
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

/// How many calls there can be, and are: outgoing ones, and incoming ones of contacts and strangers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) most: usize,
    pub(super) taken: usize,
    pub(super) incoming: usize,
    pub(super) strangers: usize,
}

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// One of this machine's own key.
    Own,
    Contact,
    Stranger,
}

impl Lines {
    /// Whether there is no line for such a caller. One in eight is kept for calls that are placed here, and half of them for who
    /// is known: strangers, however many, do not keep anybody from calling or being called.
    fn are_full(&self, whose: Whose) -> bool {
        let for_calls_out = self.most / 8;
        let no_more_in = self.taken >= self.most || self.incoming + for_calls_out >= self.most;
        match whose {
            Whose::Own => self.taken >= self.most,
            Whose::Contact => no_more_in,
            Whose::Stranger => no_more_in || self.strangers >= self.most.div_ceil(2),
        }
    }
}

/// Decides about a caller. `away`: no calls are wanted; `lines`: as they are, without a call of the same caller that this one
/// would replace.
pub(super) fn welcome(engine: &Engine, peer: &PublicKey, from: SocketAddr, away: bool, lines: Lines) -> Welcome {
    let call = &engine.config().call;
    let Listing { peers, is_read, .. } = engine.contacts().current();
    let known = peers.by_key(peer);
    // Who comes by way of a relay is not of this machine, wherever the relay is.
    let local = is_loopback(from.ip()) && call.relay.is_empty();
    let ours = *peer == engine.identity().public();
    if !(call.anyone || local || ours || known.is_some()) {
        let notice = if is_read {
            format!("turned away a stranger from {from}; to let it in: parlo contacts add NAME - {peer}")
        } else {
            format!("turned away a caller from {from}, as your contacts cannot be read; its key is {peer}")
        };
        return Welcome::Refuse { reason: Reason::Declined, notice };
    }
    let name = known.map(|known| known.name.clone());
    let full = lines.are_full(match known {
        _ if ours => Whose::Own,
        Some(_) => Whose::Contact,
        None => Whose::Stranger,
    });
    if away || full {
        let who = name.unwrap_or_else(|| from.to_string());
        let why = if full { "" } else { ", as you do not want to be disturbed" };
        let notice = format!("{who} calls, and was told that the line is busy{why}");
        return Welcome::Refuse { reason: Reason::Busy, notice };
    }
    let listed = known.is_some_and(|known| known.auto_answer);
    match call.answer {
        AutoAnswer::All => Welcome::Answer { name },
        AutoAnswer::Listed if listed => Welcome::Answer { name },
        AutoAnswer::Listed | AutoAnswer::Never => Welcome::Ring { name },
    }
}

/// What the user is told of who calls and does not share the secret that it should.
pub(super) fn unshared(engine: &Engine, peer: &PublicKey, from: SocketAddr) -> String {
    let peers = engine.contacts().current().peers;
    let who = peers.by_key(peer).map_or_else(|| from.to_string(), |known| known.name.clone());
    if peers.psk(peer).is_some() {
        format!(
            "{who} calls without the secret that you share, or with another one, and was turned away: tell it the one that you have, or \
             share a new one (parlo contacts psk {who} --new); or share none (parlo contacts psk {who} --remove)"
        )
    } else {
        format!(
            "{who} calls with a shared secret, and you have none for it, so that it was turned away: set it here \
             (parlo contacts psk {who} --set -), or let it share none with you"
        )
    }
}

/// What is known of who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recognised {
    /// A contact, by this name.
    Known(String),
    /// Nobody that is known, and nobody to be remembered.
    Stranger,
    /// Who answers there is to be remembered: it was called there for the first time.
    First(SocketAddr),
    /// Another key was noted there while this call was under way.
    Changed(String),
}

/// Finds the name of a peer. Who is called for the first time at an address is remembered from then on; addresses of this machine
/// are not, as anything may listen there tomorrow.
pub(super) fn recognise(engine: &Engine, key: &PublicKey, called_at: Option<SocketAddr>) -> Recognised {
    let peers = engine.contacts().current().peers;
    if let Some(peer) = peers.by_key(key) {
        return Recognised::Known(peer.name.clone());
    }
    let Some(address) = called_at.filter(|address| !is_loopback(address.ip())) else { return Recognised::Stranger };
    match peers.check(&address.to_string(), key) {
        Check::Changed { name, .. } => Recognised::Changed(name),
        Check::Same { .. } | Check::New => Recognised::First(address),
    }
}

/// Whether an address is this machine's own, in whatever form it is written.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_leave_lines_for_contacts_and_both_for_own_calls() {
        let full = |taken, incoming, strangers| {
            let lines = Lines { most: 8, taken, incoming, strangers };
            [Whose::Own, Whose::Contact, Whose::Stranger].map(|whose| lines.are_full(whose))
        };
        assert_eq!(full(0, 0, 0), [false, false, false]);
        assert_eq!(full(3, 3, 3), [false, false, false]);
        assert_eq!(full(4, 4, 4), [false, false, true], "half are for who is known");
        assert_eq!(full(7, 7, 4), [false, true, true], "and one for calls out");
        assert_eq!(full(7, 6, 3), [false, false, false], "which may be taken already");
        assert_eq!(full(8, 6, 0), [true, true, true]);
        // A listener for one call takes it from anybody.
        let one = |taken| Lines { most: 1, taken, incoming: taken, strangers: taken };
        assert!(!one(0).are_full(Whose::Stranger) && one(1).are_full(Whose::Own));
    }
}
