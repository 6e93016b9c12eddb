//! The event stream and feeds: WebSockets (RFC 6455) over the Unix socket.

use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, error::ProtocolError},
};

use super::{
    Client, ClientError, Side,
    http::{patiently, refused},
    understand,
};
use crate::{FeedMessage, Message};

/// What happens in the daemon, message by message. Dropping it ends the stream.
#[derive(Debug)]
pub struct Events(Messages);

impl Events {
    pub(super) async fn open(client: &Client, live: bool) -> Result<Self, ClientError> {
        let path = if live { "/api/v1/events?live=true" } else { "/api/v1/events" };
        Messages::open(client, path).await.map(Self)
    }

    /// Waits for the next message; none when the daemon has ended the stream. Safe to cancel: no message is lost.
    pub async fn next(&mut self) -> Option<Result<Message, ClientError>> {
        self.0.next("the event stream").await
    }
}

/// Live tokens of a call, message by message. Dropping it ends the stream.
#[derive(Debug)]
pub struct Feed(Messages);

impl Feed {
    pub(super) async fn open(client: &Client, id: u64, side: Side) -> Result<Self, ClientError> {
        Messages::open(client, &format!("/api/v1/calls/{id}/feed?side={}", side.name())).await.map(Self)
    }

    /// Waits for the next message; none after [`FeedMessage::End`], and when the daemon ends. Safe to cancel: no message is lost.
    pub async fn next(&mut self) -> Option<Result<FeedMessage, ClientError>> {
        self.0.next("the feed").await
    }
}

/// A WebSocket of JSON texts.
#[derive(Debug)]
struct Messages {
    stream: WebSocketStream<UnixStream>,
}

impl Messages {
    async fn open(client: &Client, path: &str) -> Result<Self, ClientError> {
        let stream = client.open().await?;
        // The host is for the request's first lines alone: the stream is there already.
        patiently(async {
            let (stream, _) = client_async(format!("ws://localhost{path}"), stream)
                .await
                .map_err(|error| not_opened(error, &format!("GET {path}")))?;
            Ok(Self { stream })
        })
        .await
    }

    async fn next<T: DeserializeOwned>(&mut self, what: &str) -> Option<Result<T, ClientError>> {
        loop {
            match self.stream.next().await? {
                Ok(tungstenite::Message::Text(text)) => return Some(understand(text.as_bytes(), what)),
                Ok(tungstenite::Message::Close(_)) => return None,
                // Pings are answered by the stream itself; others have no meaning here.
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return None,
                // A daemon that was killed cannot say goodbye.
                Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Some(Err(ClientError::Broken("the daemon ended without a word".into())));
                }
                Err(error) => return Some(Err(ClientError::Broken(error.to_string()))),
            }
        }
    }
}

fn not_opened(error: tungstenite::Error, what: &str) -> ClientError {
    match error {
        tungstenite::Error::Http(answer) => {
            refused(answer.status(), answer.body().as_deref().unwrap_or_default(), what)
        }
        error => ClientError::Broken(error.to_string()),
    }
}
