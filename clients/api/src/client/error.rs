//! Why a daemon could not be asked.

use std::{io, path::PathBuf};

/// Why a request was not done, for people: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("no daemon runs (nobody answers at {}); start one with `parlo daemon start`", .socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket is there, but not for this user.
    #[error("cannot reach the daemon at {}: {error}; is it another user's?", .socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The socket's folder, or one above it, is not this user's alone.
    #[error("the daemon's socket is not used: {0}")]
    Owner(#[from] parlo_guard::OwnerError),
    /// Somebody else listens at the socket.
    #[error(
        "whoever listens at {} is another user (number {user}), not your daemon, and is asked nothing; run this as that user, or set \
         XDG_RUNTIME_DIR to a folder of yours", .socket.display()
    )]
    Stranger {
        /// The socket.
        socket: PathBuf,
        /// Whose program it is.
        user: u32,
    },
    /// The daemon did not do it.
    #[error("{text}")]
    Refused {
        /// The HTTP status, 400 to 599.
        status: u16,
        /// The daemon's own words.
        text: String,
    },
    /// The daemon says what this program does not understand.
    #[error(
        "the daemon does not speak this program's version of the control API (its answer to {what}: {reason}); install parlo and \
         parlod of one version, and start the daemon again with `parlo daemon stop` and `parlo daemon start`"
    )]
    OtherVersion {
        /// What was asked.
        what: String,
        /// What was not understood.
        reason: String,
    },
    /// The connection ended in the middle.
    #[error("the connection to the daemon broke: {0}")]
    Broken(String),
    /// No answer came for long.
    #[error("the daemon has not answered for {0} seconds; `parlo daemon status` shows how it is")]
    Silent(u64),
    /// What was to be sent cannot be put into JSON.
    #[error("this cannot be said in JSON: {0}")]
    Unsayable(String),
    /// What was fetched cannot be written.
    #[error("cannot write what the daemon sent: {0}")]
    Unwritable(io::Error),
}

impl ClientError {
    /// Whether there is no such thing as was asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether no daemon runs.
    pub fn is_no_daemon(&self) -> bool {
        matches!(self, Self::NoDaemon { .. })
    }
}
