//! The event stream: a WebSocket (RFC 6455) over the Unix socket.

use futures_util::StreamExt;
use tokio::net::UnixStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, error::ProtocolError},
};

use super::{
    Client, ClientError,
    http::{patiently, refused},
    understand,
};
use crate::Message;

/// What happens in the daemon, message by message. Dropping it ends the stream.
#[derive(Debug)]
pub struct Events {
    stream: WebSocketStream<UnixStream>,
}

impl Events {
    pub(super) async fn open(client: &Client, live: bool) -> Result<Self, ClientError> {
        let path = if live { "/api/v1/events?live=true" } else { "/api/v1/events" };
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

    /// Waits for the next message; none when the daemon has ended the stream. Safe to cancel: no message is lost.
    pub async fn next(&mut self) -> Option<Result<Message, ClientError>> {
        loop {
            match self.stream.next().await? {
                Ok(tungstenite::Message::Text(text)) => {
                    return Some(understand(text.as_bytes(), "the event stream"));
                }
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
