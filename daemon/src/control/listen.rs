//! Connections: taken, counted, and served until they or the server end.

use std::{future::Future, io, net::TcpListener, os::unix::net::UnixListener, pin::pin, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net,
    sync::{Semaphore, watch},
};

use super::places::Places;

/// Connections at a time, for each listener; more wait. Each takes one of the process' file descriptors.
const CONNECTIONS: u32 = 256;
/// How long the head of a request may take, and how long a connection may idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves a Unix socket until the end is told.
pub(super) async fn unix(listener: UnixListener, router: Router, ended: watch::Receiver<()>) {
    match listener.set_nonblocking(true).and_then(|()| net::UnixListener::from_std(listener)) {
        // Nobody but its owner can connect.
        Ok(listener) => accept(listener, router, None, ended).await,
        Err(error) => tracing::error!("the control API's socket cannot be served: {error}"),
    }
}

/// Serves a TCP socket until the end is told.
pub(super) async fn tcp(listener: TcpListener, router: Router, ended: watch::Receiver<()>) {
    match listener.set_nonblocking(true).and_then(|()| net::TcpListener::from_std(listener)) {
        Ok(listener) => accept(listener, router, Some(Places::default()), ended).await,
        Err(error) => tracing::error!("the control API's address cannot be served: {error}"),
    }
}

/// Where connections come from.
trait Listener: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for net::UnixListener {
    type Stream = net::UnixStream;

    async fn next(&self) -> io::Result<net::UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listener for net::TcpListener {
    type Stream = net::TcpStream;

    async fn next(&self) -> io::Result<net::TcpStream> {
        let (stream, _) = self.accept().await?;
        // Answers are small and awaited.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn accept(listener: impl Listener, router: Router, places: Option<Places>, mut ended: watch::Receiver<()>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS as usize));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.next().await {
                Ok(stream) => {
                    let Some(guest) = places.as_ref().map(Places::enter) else {
                        let connection = connection(stream, router.clone(), ended.clone());
                        tokio::spawn(async move {
                            connection.await;
                            drop(place);
                        });
                        continue;
                    };
                    let connection = connection(stream, router.clone().layer(Extension(guest.clone())), ended.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = connection => {}
                            () = guest.shown_out() => {}
                        }
                        guest.leave();
                        drop(place);
                    });
                }
                // The client went away, or the process has no more files: later, others may have been closed.
                Err(error) => {
                    tracing::debug!("a connection to the control API could not be taken: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    let mut told = ended.clone();
    tokio::select! {
        () = accepting => {}
        _ = told.changed() => {}
    }
    let _ = ended.changed().await;
    // All places are free again when all connections have ended.
    let _ = room.acquire_many(CONNECTIONS).await;
}

fn connection<S>(stream: S, router: Router, mut ended: watch::Receiver<()>) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    async move {
        let mut connection = pin!(connection);
        // Whatever a client does wrong ends its own connection, and is no news.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ended.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
