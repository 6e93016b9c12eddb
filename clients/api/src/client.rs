//! The control API, for programs: asks a daemon over its Unix socket.

mod error;
mod events;
mod http;

#[cfg(test)]
mod tests;

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use hyper::Method;
use serde::{Deserialize, de::DeserializeOwned};

pub use error::ClientError;
pub use events::{Events, Feed};

use crate::{
    Audio, AudioChange, Call, CallChange, Contact, ContactEntry, Device, Dial, Presence, PskEntry, Recording, Refusal,
    RefusalReason, Status,
};

/// Which stream of a recording or of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// What this side said.
    Said,
    /// What it heard.
    Heard,
    /// Both: sound is mixed, frames come as they were.
    #[default]
    Both,
}

impl Side {
    /// Its name in addresses.
    fn name(self) -> &'static str {
        match self {
            Self::Said => "said",
            Self::Heard => "heard",
            Self::Both => "both",
        }
    }
}

/// A daemon that is there. Clones ask the same one. Each request has a connection of its own, so that none waits for another.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Looks whether a daemon answers at this socket ([`crate::place::socket`] is the usual one).
    ///
    /// # Errors
    /// If none does.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let client = Self { socket: socket.to_owned() };
        client.open().await?;
        Ok(client)
    }

    /// The daemon, as it is now.
    ///
    /// # Errors
    /// As [`ClientError`] tells; so it is with every request.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status").await
    }

    /// All calls, oldest first, those that ended within the last minute among them.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn calls(&self) -> Result<Vec<Call>, ClientError> {
        self.get("/api/v1/calls").await
    }

    /// One call.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn call(&self, id: u64) -> Result<Call, ClientError> {
        self.get(&format!("/api/v1/calls/{id}")).await
    }

    /// Places a call, and returns before the peer has answered.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn dial(&self, dial: &Dial) -> Result<Call, ClientError> {
        self.ask(Method::POST, "/api/v1/calls", Some(json(dial)?)).await
    }

    /// Answers a call that rings here.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn answer(&self, id: u64) -> Result<Call, ClientError> {
        self.ask(Method::POST, &format!("/api/v1/calls/{id}/answer"), None).await
    }

    /// Refuses a call that rings here.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn refuse(&self, id: u64, reason: RefusalReason) -> Result<(), ClientError> {
        self.tell(Method::POST, &format!("/api/v1/calls/{id}/refuse"), Some(json(&Refusal { reason })?)).await
    }

    /// Ends a call, however far it has come.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn hang_up(&self, id: u64) -> Result<(), ClientError> {
        self.tell(Method::DELETE, &format!("/api/v1/calls/{id}"), None).await
    }

    /// Changes a call.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn change(&self, id: u64, change: &CallChange) -> Result<Call, ClientError> {
        self.ask(Method::PATCH, &format!("/api/v1/calls/{id}"), Some(json(change)?)).await
    }

    /// Records a call.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn record(&self, id: u64) -> Result<Call, ClientError> {
        self.ask(Method::POST, &format!("/api/v1/calls/{id}/recording"), None).await
    }

    /// Stops recording it.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn stop_recording(&self, id: u64) -> Result<Call, ClientError> {
        self.ask(Method::DELETE, &format!("/api/v1/calls/{id}/recording"), None).await
    }

    /// Sound, as it is set and as it is.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn audio(&self) -> Result<Audio, ClientError> {
        self.get("/api/v1/audio").await
    }

    /// Changes sound.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn change_audio(&self, change: &AudioChange) -> Result<Audio, ClientError> {
        self.ask(Method::PATCH, "/api/v1/audio", Some(json(change)?)).await
    }

    /// Microphones and loudspeakers.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn devices(&self) -> Result<Vec<Device>, ClientError> {
        self.get("/api/v1/devices").await
    }

    /// Whether calls are wanted.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn presence(&self) -> Result<Presence, ClientError> {
        self.get("/api/v1/presence").await
    }

    /// Says whether callers are told that the line is busy.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn set_presence(&self, do_not_disturb: bool) -> Result<Presence, ClientError> {
        self.ask(Method::PUT, "/api/v1/presence", Some(json(&Presence { do_not_disturb })?)).await
    }

    /// Whom the user knows.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn contacts(&self) -> Result<Vec<Contact>, ClientError> {
        self.get("/api/v1/contacts").await
    }

    /// Adds a contact, or changes the one of this name.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn put_contact(&self, name: &str, entry: &ContactEntry) -> Result<Contact, ClientError> {
        self.ask(Method::PUT, &format!("/api/v1/contacts/{}", escape(name)), Some(json(entry)?)).await
    }

    /// Forgets a contact.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn remove_contact(&self, name: &str) -> Result<(), ClientError> {
        self.tell(Method::DELETE, &format!("/api/v1/contacts/{}", escape(name)), None).await
    }

    /// Shares a secret with a contact, or none any more.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn set_psk(&self, name: &str, entry: Option<&PskEntry>) -> Result<(), ClientError> {
        let path = format!("/api/v1/contacts/{}/psk", escape(name));
        match entry {
            Some(entry) => self.tell(Method::PUT, &path, Some(json(entry)?)).await,
            None => self.tell(Method::DELETE, &path, None).await,
        }
    }

    /// What was recorded.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn recordings(&self) -> Result<Vec<Recording>, ClientError> {
        self.get("/api/v1/recordings").await
    }

    /// A recording as sound (WAV, 16-bit, mono), written to `to` as it arrives. Returns how many bytes it has.
    ///
    /// # Errors
    /// See [`status`](Self::status); [`ClientError::Unwritable`] if `to` takes no more. What was written until then stays.
    pub async fn recording_wav(&self, name: &str, side: Side, to: &mut dyn io::Write) -> Result<u64, ClientError> {
        let side = side.name();
        self.fetch(&format!("/api/v1/recordings/{}.wav?side={side}", escape(name)), to).await
    }

    /// A recording as tokens (`.ptk`), written to `to` as it arrives. Returns how many bytes it has.
    ///
    /// # Errors
    /// As for [`recording_wav`](Self::recording_wav).
    pub async fn recording_tokens(&self, name: &str, to: &mut dyn io::Write) -> Result<u64, ClientError> {
        self.fetch(&format!("/api/v1/recordings/{}.ptk", escape(name)), to).await
    }

    /// Deletes a recording.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn remove_recording(&self, name: &str) -> Result<(), ClientError> {
        self.tell(Method::DELETE, &format!("/api/v1/recordings/{}", escape(name)), None).await
    }

    /// Ends the daemon; calls are hung up properly.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn shut_down(&self) -> Result<(), ClientError> {
        self.tell(Method::POST, "/api/v1/shutdown", None).await
    }

    /// What happens from now on; with `live`, also what is said and heard.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn events(&self, live: bool) -> Result<Events, ClientError> {
        Events::open(self, live).await
    }

    /// Live tokens of a call from now on, or, of one that is not answered yet, from its beginning.
    ///
    /// # Errors
    /// See [`status`](Self::status); [`ClientError::Refused`] with 409 if the call is over, or has no tokens because it is in Opus.
    pub async fn feed(&self, id: u64, side: Side) -> Result<Feed, ClientError> {
        Feed::open(self, id, side).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None).await
    }
}

/// A value as JSON.
fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(value).map_err(|error| ClientError::Unsayable(error.to_string()))
}

/// A name as one segment of a path (RFC 3986, section 2.1): all but its unreserved characters are percent-encoded, and `.` and
/// `..`, which would be walked, too.
fn escape(name: &str) -> String {
    let dots = name == "." || name == "..";
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && !dots);
        if plain {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// Reads an answer's JSON.
fn understand<'a, T: Deserialize<'a>>(text: &'a [u8], what: &str) -> Result<T, ClientError> {
    serde_json::from_slice(text)
        .map_err(|error| ClientError::OtherVersion { what: what.to_owned(), reason: error.to_string() })
}
