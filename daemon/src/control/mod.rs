//! The control API: HTTP and WebSocket, on a Unix socket and, if asked for, on loopback TCP.
//!
//! ```text
//! client -> listener -> auth (TCP: Host, Origin, token) -> route -> Handle -> call manager
//! client <- events   <- texts made once for all clients  <- Handle <- call manager
//! ```
//!
//! All of it runs on one thread of its own, `parlo-control`, at normal priority. It asks the call manager and reads what the call manager has
//! published; it never touches what the threads of the sound use. What takes long (files, devices, decoding a recording) is
//! done on other threads, so that no request waits for another's.

mod app;
mod auth;
mod calls;
mod contacts;
mod daemon;
mod events;
mod feed;
mod listen;
mod metrics;
mod openapi;
mod page;
mod places;
mod ranges;
mod recordings;
mod response;
mod services;
pub mod socket_claim;
mod sound;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{runtime, sync::watch, time::timeout};

pub use services::{Devices, Render, Services};

use self::{app::App, auth::Auth, socket_claim::Claim};
use crate::{call_manager::Handle, config::ControlConfig};

/// How long requests that run when the server ends may take to finish.
const GRACE: Duration = Duration::from_secs(1);
/// How often it is looked whether the socket is still there.
const SOCKET_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Threads for what takes long, at most.
const SLOW_THREADS: usize = 4;

/// Where the API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The Unix socket, if there is to be one.
    pub socket: Option<PathBuf>,
    /// The loopback address, if there is to be one; port 0 takes any that is free.
    pub tcp: Option<SocketAddr>,
    /// Where the token for it is written to.
    pub token: PathBuf,
}

impl Endpoints {
    /// What the configuration says.
    ///
    /// # Errors
    /// If the loopback address is none.
    pub fn new(config: &ControlConfig) -> Result<Self, ControlError> {
        let tcp = (!config.tcp.is_empty()).then_some(config.tcp.as_str());
        let tcp = tcp.map(|text| text.parse().map_err(|_| ControlError::NotLoopback(text.to_owned()))).transpose()?;
        let socket = (config.socket != socket_claim::NONE).then(|| socket_claim::socket_path(&config.socket));
        Ok(Self { socket, tcp, token: socket_claim::token_path(&config.socket) })
    }
}

/// Why the API cannot be served, with where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another daemon serves there.
    #[error(
        "another parlod runs: it serves the control API in {}; stop it (parlo daemon stop), or give this one a [control] socket in \
         a folder of its own", .0.display()
    )]
    AnotherRuns(PathBuf),
    /// The folder may be other people's.
    #[error("the control API's socket cannot be in {}: {reason}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Something else is in the socket's place.
    #[error("{} is no socket: remove it, or name another place with [control] socket", .0.display())]
    Occupied(PathBuf),
    /// An address that other machines reach, or none at all.
    #[error("the control API is served on loopback only, 127.0.0.1:PORT or [::1]:PORT, not on \"{0}\"")]
    NotLoopback(String),
    /// The system refuses.
    #[error("cannot {what} {place}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// With which file, folder or address.
        place: String,
        /// What the system said.
        error: io::Error,
    },
}

impl ControlError {
    fn system(what: &'static str, place: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_string();
        move |error| Self::System { what, place, error }
    }
}

/// The server. Dropped, it ends: requests that run are answered, event streams are closed, the socket is removed.
#[derive(Debug)]
pub struct Server {
    socket: Option<PathBuf>,
    tcp: Option<SocketAddr>,
    token: Option<PathBuf>,
    end: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    // Dropped last: the socket is removed when nobody is served any more.
    _claim: Arc<Mutex<Claim>>,
}

/// Serves the API. When this returns, requests can come.
///
/// # Errors
/// If a socket cannot be bound, another daemon runs, or the token cannot be written: says what and where.
pub fn serve(endpoints: Endpoints, handle: Handle, extras: Services) -> Result<Server, ControlError> {
    if let Some(address) = endpoints.tcp.filter(|address| !address.ip().is_loopback()) {
        return Err(ControlError::NotLoopback(address.to_string()));
    }
    // First, so that a second daemon changes nothing of the first one's.
    let mut claim = Claim::new(&endpoints)?;
    let tcp = endpoints
        .tcp
        .map(|address| TcpListener::bind(address).map_err(ControlError::system("serve the control API at", address)))
        .transpose()?;
    let address = tcp.as_ref().map(TcpListener::local_addr).transpose();
    let address = address.map_err(ControlError::system("serve the control API at", "its address"))?;
    let gate = match address {
        Some(address) => Some(Auth::new(address.port(), claim.token(&endpoints.token)?)),
        None => None,
    };
    // Last: whoever finds the socket finds the token too.
    let unix = endpoints.socket.as_deref().map(|path| claim.bind(path)).transpose()?;
    let token = claim.token_file().map(Path::to_owned);
    let claim = Arc::new(Mutex::new(claim));
    let held = Arc::clone(&claim);

    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(SLOW_THREADS)
        .thread_name("parlo-slow")
        .build()
        .map_err(ControlError::system("start", "the control API"))?;
    let (end, ended) = watch::channel(());
    let serving = async move {
        let (app, telling) = App::new(handle, extras, ended.clone());
        tokio::spawn(telling);
        let mut listeners = Vec::new();
        if let Some(unix) = unix {
            listeners.push(tokio::spawn(keep(unix, app.clone(), held, ended.clone())));
        }
        if let (Some(tcp), Some(gate)) = (tcp, gate) {
            listeners.push(tokio::spawn(listen::tcp(tcp, app.router(Some(Arc::new(gate))), ended.clone())));
        }
        drop(app);
        let mut ended = ended;
        // An error: the sender is gone, which is how the end is told.
        let _ = ended.changed().await;
        let _ = timeout(GRACE, async {
            for listener in listeners {
                let _ = listener.await;
            }
        })
        .await;
    };
    let thread = thread::Builder::new()
        .name("parlo-control".into())
        .spawn(move || {
            runtime.block_on(serving);
            runtime.shutdown_timeout(Duration::from_millis(100));
        })
        .map_err(ControlError::system("start", "the control API's thread"))?;
    Ok(Server { socket: endpoints.socket, tcp: address, token, end: Some(end), thread: Some(thread), _claim: claim })
}

/// Serves the Unix socket, and anew where it vanished, until the end is told.
async fn keep(first: UnixListener, app: App, claim: Arc<Mutex<Claim>>, ended: watch::Receiver<()>) {
    let serve = |listener| tokio::spawn(listen::unix(listener, app.router(None), ended.clone()));
    let mut serving = serve(first);
    let mut told = false;
    let renewing = async {
        loop {
            tokio::time::sleep(SOCKET_CHECK_EVERY).await;
            // A look at a file, and seldom more.
            let renewed = claim.lock().unwrap_or_else(PoisonError::into_inner).renew();
            match renewed {
                Ok(None) => {}
                Ok(Some(listener)) => {
                    // Connections go on; nobody can find the old socket any more.
                    std::mem::replace(&mut serving, serve(listener)).abort();
                    tracing::info!("the control API's socket had vanished, and is there again");
                    told = false;
                }
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!("the control API's socket has vanished, and cannot be made again yet: {error}");
                }
                Err(_) => {}
            }
        }
    };
    let mut end = ended.clone();
    tokio::select! {
        () = renewing => {}
        _ = end.changed() => {}
    }
    let _ = serving.await;
}

impl Server {
    /// The Unix socket.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The loopback address, with the port that it really has.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// The file with the token for it.
    pub fn token_file(&self) -> Option<&Path> {
        self.token.as_deref()
    }

    /// Ends the server, and waits until it has ended: a second at most.
    pub fn shut_down(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the control API's thread crashed");
        }
    }
}
