//! Requests and their answers: HTTP/1.1 (RFC 9112) over the Unix socket.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use super::{Client, ClientError, understand};
use crate::Failure;

/// Longest wait for an answer, or for more of it. Opening a sound device can take seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a recording's first byte: hours of speech may have to be decoded for it.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// Longest JSON answer that is read, bytes.
const LONGEST: usize = 64 << 20;

impl Client {
    /// A connection to the daemon.
    pub(super) async fn open(&self) -> Result<UnixStream, ClientError> {
        let socket = self.socket.clone();
        // Whoever made the folder first could be anybody, and would be told whom this user calls.
        match parlo_guard::check_owner(&folder_of(&self.socket), parlo_guard::Keep::Unchanged) {
            Err(error) if error.is_not_found() => return Err(ClientError::NoDaemon { socket }),
            checked => checked?,
        }
        let stream = patiently(async {
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoDaemon { socket: socket.clone() }
                }
                _ => ClientError::Unreachable { socket: socket.clone(), error },
            })
        })
        .await?;
        // And whoever listens there, by what the system says (SO_PEERCRED, unix(7)).
        let peer = stream.peer_cred().map_err(|error| ClientError::Unreachable { socket: socket.clone(), error })?;
        match peer.uid() {
            0 => Ok(stream),
            user if user == crate::place::user() => Ok(stream),
            user => Err(ClientError::Stranger { socket, user }),
        }
    }

    /// Asks for something that is answered with JSON.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let what = format!("{method} {path}");
        let answer = self.send(method, path, body, ANSWER_TIMEOUT).await?;
        understand(&whole(answer).await?, &what)
    }

    /// Asks for something that is answered with nothing.
    pub(super) async fn tell(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<(), ClientError> {
        self.send(method, path, body, ANSWER_TIMEOUT).await.map(drop)
    }

    /// Fetches bytes.
    pub(super) async fn fetch(&self, path: &str, to: &mut dyn io::Write) -> Result<u64, ClientError> {
        let mut answer = self.send(Method::GET, path, None, LONG_PATIENCE).await?.into_body();
        let mut bytes = 0;
        while let Some(frame) = patiently(async { answer.frame().await.transpose().map_err(broken) }).await? {
            if let Some(data) = frame.data_ref() {
                to.write_all(data).map_err(ClientError::Unwritable)?;
                bytes += data.len() as u64;
            }
        }
        to.flush().map_err(ClientError::Unwritable)?;
        Ok(bytes)
    }

    /// Sends a request; an answer that is no success is an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        let what = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::<Bytes>::from(body.unwrap_or_default()))
            .map_err(|error| ClientError::Unsayable(error.to_string()))?;
        let stream = TokioIo::new(self.open().await?);
        let answer = within(patience, async {
            let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
            // It ends with the answer's last byte, or when nobody wants that any more; what goes wrong in it, the answer tells.
            tokio::spawn(async {
                let _ = connection.await;
            });
            sender.send_request(request).await.map_err(broken)
        })
        .await?;
        let status = answer.status();
        if status.is_success() { Ok(answer) } else { Err(refused(status, &whole(answer).await?, &what)) }
    }
}

/// The folder that a socket is in.
fn folder_of(socket: &Path) -> PathBuf {
    match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What an answer that is no success says.
pub(super) fn refused(status: StatusCode, body: &[u8], what: &str) -> ClientError {
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => ClientError::Refused { status: status.as_u16(), text: failure.error },
        // Every refusal has its sentence; an answer without one is of a server that does not know the request.
        Err(_) => ClientError::OtherVersion { what: what.to_owned(), reason: status.to_string() },
    }
}

async fn whole(answer: Response<Incoming>) -> Result<Vec<u8>, ClientError> {
    let mut body = answer.into_body();
    let mut all = Vec::new();
    while let Some(frame) = patiently(async { body.frame().await.transpose().map_err(broken) }).await? {
        all.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if all.len() > LONGEST {
            return Err(ClientError::Broken("an answer without end".into()));
        }
    }
    Ok(all)
}

pub(super) async fn patiently<T>(wait: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    within(ANSWER_TIMEOUT, wait).await
}

async fn within<T>(patience: Duration, wait: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    timeout(patience, wait).await.unwrap_or(Err(ClientError::Silent(patience.as_secs())))
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}
