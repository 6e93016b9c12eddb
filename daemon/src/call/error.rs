use std::{io, net::SocketAddr};

use parlo_dsp::DspError;
use parlo_model::ModelError;
use parlo_protocol::{relay::TicketError, session::DialError};

use super::codec::CodecError;
use crate::{audio::AudioError, keys::KeysError};

/// Port that is called when an address names none.
pub const DEFAULT_PORT: u16 = 7275;

/// Why a call, or the waiting for one, ended badly. One sentence each: what, where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The codec, in mid-call.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Sound devices and files.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// The files of keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers, without which nothing can be encrypted: {0}")]
    Random(getrandom::Error),
    /// The session cannot begin.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A sound format that cannot be converted.
    #[error(transparent)]
    Dsp(#[from] DspError),
    /// A host that has no address.
    #[error("cannot find the address of {host}: {error}; write HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}")]
    UnknownHost {
        /// As the user wrote it.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// A name that is nobody's.
    #[error(
        "nobody among your contacts is called {peer}, and no machine is known by that name ({error}); `parlo contacts` lists whom you \
         know; others are called by HOST:PORT, such as 192.0.2.7:{DEFAULT_PORT}"
    )]
    UnknownPeer {
        /// As the user wrote it.
        peer: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// A contact without an address.
    #[error(
        "{0} has no address among your contacts, and so cannot be called; `parlo contacts add {0} HOST:PORT KEY` gives one"
    )]
    NoAddress(String),
    /// Somebody else answers where a known peer was, or the peer has a new key.
    #[error(
        "THE KEY OF {who} HAS CHANGED, or somebody else answers at {address} in its place. Nothing was said. If {who} has told \
         you of a new key, by another way, run `parlo peers remove {who}` and call again"
    )]
    KeyChanged {
        /// The name in the file.
        who: String,
        /// The address that was called.
        address: SocketAddr,
    },
    /// The relay gave no seat.
    #[error("the relay {relay} gave no seat: {reason}; check its address, and that the ticket is not in use by others")]
    Relay {
        /// Where it is.
        relay: SocketAddr,
        /// What the relay did, or did not do.
        reason: &'static str,
    },
    /// The other did not come to the relay.
    #[error(
        "nobody came to the relay {0} with this ticket; the other side says `parlo listen --relay {0} --ticket ...`"
    )]
    NobodyAtRelay(SocketAddr),
    /// A ticket that is none.
    #[error("the ticket is not one: {0}; `parlo relay --ticket` makes one")]
    Ticket(#[from] TicketError),
    /// So many forged packets came that the call was ended.
    #[error("the call with {0} was ended: somebody floods it with forged packets")]
    Attacked(SocketAddr),
    /// The socket cannot be had.
    #[error("cannot use UDP address {address}: {error}{}", hint(.error))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The socket broke in mid-call.
    #[error("the network failed: {0}")]
    Network(#[from] io::Error),
    /// Nobody there.
    #[error("nobody answers at {0}; is `parlo listen` running there, and does the way there pass UDP?")]
    NoAnswer(SocketAddr),
    /// Nobody there who could take a call with a shared secret.
    #[error(
        "nobody answers at {0}; is `parlo listen` running there, is it of this version (older ones know no shared secrets), and does the \
         way there pass UDP?"
    )]
    NoAnswerShared(SocketAddr),
    /// The peer has no secret for this side, or another one.
    #[error(
        "{0} does not have the secret that you share with it, or another one, so that there is no call: set the same on both sides (here \
         `parlo contacts psk {0} --new` makes one, there `parlo contacts psk YOU --set -` takes it), or none (--remove on both)"
    )]
    NotShared(String),
    /// The peer has a secret for this side, which has none.
    #[error(
        "{0} takes your calls with a shared secret only, and there is none here: ask for it, and say `parlo contacts psk {0} --set -`; \
         or let the other side share none (`parlo contacts psk YOU --remove`)"
    )]
    SharesSecret(String),
    /// A contact was called in a way in which the secret cannot be used.
    #[error(
        "the one who answers is a contact with whom you share a secret, and was called by its address alone, without it, so that the call was \
         ended: call it by its name (parlo contacts)"
    )]
    Unshared(String),
    /// It rang, and nobody came.
    #[error("it rang at {0}, and nobody answered")]
    NotPickedUp(SocketAddr),
    /// A caller gave up, or was not answered.
    #[error("missed a call of {0}")]
    Missed(String),
    /// The peer said no.
    #[error("{peer} refused the call: {reason}")]
    Refused {
        /// The peer's address.
        peer: SocketAddr,
        /// Why, and what to do.
        reason: String,
    },
    /// The peer fell silent.
    #[error("lost {0}: nothing has come from there for ten seconds")]
    Lost(SocketAddr),
    /// The peer hung up because it had to.
    #[error("the call broke: something went wrong at {0}'s side, which knows more")]
    PeerFailed(String),
    /// A newer call of the same peer has come.
    #[error("{0} called again, and this call ended for the new one")]
    Replaced(String),
    /// The peer has ended it for a newer call of the same key.
    #[error(
        "{0} ended this call, as another one with your key came from your address; if that was not you, or a program of yours, \
         somebody else has your key"
    )]
    ReplacedThere(String),
    /// The audio engine carries as many calls as it can.
    #[error("{0} calls at a time are the most; end one of them first")]
    Full(usize),
    /// A thread panicked, which is a bug of ours.
    #[error("the {0} thread crashed; please report this with what it printed")]
    Crashed(&'static str),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program, perhaps another parlo, uses it: stop that or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 are for root: choose a higher one",
        _ => "",
    }
}
