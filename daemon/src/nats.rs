//! Live tokens of all calls, published to a NATS server ([protocol](https://docs.nats.io/reference/reference-protocols/nats-protocol)),
//! which passes them on to as many consumers as there are.
//!
//! ```text
//! frame tap -> Feeds -> queue of 1024, drops the oldest -> thread parlo-nats -> server -> consumers
//! ```
//!
//! Whatever the server does, nothing before the queue waits for it. If it is away it is tried again and again, and calls go on; once
//! it is back, what waits in the queue is published and the rest is counted. What a server was sent just before it failed may be
//! lost without being counted: core NATS delivers at most once, and acknowledges nothing.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection::State};
pub use figures::Figures;
use parlo_api::FeedMessage;
use parlo_guard::{Keep, Links, OwnerError, check_owner, read_regular};
use tokio::{sync::watch, time::timeout};

use crate::{
    call_manager::Handle,
    config::NatsConfig,
    feeds::{About, Listening, Taken, Told},
};

mod figures;

/// The longest file with a secret.
const MAX_SECRET_BYTES: u64 = 1 << 16;
/// Messages that wait for the server at most: ten seconds of a call.
const ROOM: usize = 1024;
/// Messages that wait behind those in the client at most. It keeps them while the server is away.
const HANDED_OVER: usize = 64;
/// A server that does not answer two questions, this far apart, is given up and connected to anew.
const PING: Duration = Duration::from_secs(5);
/// How long an attempt to connect may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// Longest wait between two attempts.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the server may take to be there before the user is told that it is not.
const GRACE: Duration = Duration::from_secs(3);
/// How long the end waits for what is still to be sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why nothing can be published, with where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The address is none.
    #[error(
        "[nats] url is \"{url}\", which is no address of a NATS server ({reason}); say nats://HOST:PORT or tls://HOST:PORT"
    )]
    Address {
        /// As configured, without what it says of a user.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The subject cannot be one.
    #[error(
        "[nats] subject is \"{0}\"; it may have letters, digits, - and _, in parts with a dot between them, such as \"parlo\" or \
         \"office.parlo\""
    )]
    Subject(String),
    /// Two ways to say who we are.
    #[error("[nats] has both a token_file and credentials; the server wants one of them: leave the other empty")]
    TwoSecrets,
    /// A file with a secret cannot be used.
    #[error("cannot read the {what} for NATS in {}: {error}", .file.display())]
    Secret {
        /// "token" or "credentials".
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// Others can read or change a file with a secret.
    #[error("[nats]: {0}")]
    Owner(#[from] OwnerError),
    /// The system refuses a thread.
    #[error("cannot start the thread that publishes to NATS: {0}")]
    Thread(io::Error),
}

/// Publishing. Dropped, it ends: what waits is sent if that is quickly done.
#[derive(Debug)]
pub struct Nats {
    figures: Arc<Figures>,
    end: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Nats {
    /// Begins to publish what the feeds behind `handle` tell, as the configuration says. Returns at once, whether the server is there
    /// or not; whoever listens to `handle`'s notices is told.
    ///
    /// # Errors
    /// If the configuration cannot be used; never because of the server.
    pub fn start(config: &NatsConfig, handle: &Handle) -> Result<Self, NatsError> {
        let address = address(&config.url)?;
        if !is_subject(&config.subject) {
            return Err(NatsError::Subject(config.subject.clone()));
        }
        let figures = Arc::new(Figures::default());
        let reporter = Arc::new(Reporter {
            place: format!("{}:{}", address.host(), address.port()),
            figures: Arc::clone(&figures),
            handle: handle.clone(),
            told: AtomicBool::new(false),
        });
        let options = options(config, &reporter)?;
        let listening = handle.feeds().listen_to_all(ROOM, Arc::clone(&figures.dropped));
        let (end, ended) = watch::channel(());
        let publisher =
            Publisher { prefix: config.subject.clone(), listening, figures: Arc::clone(&figures), reporter, ended };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NatsError::Thread)?;
        let thread = thread::Builder::new()
            .name("parlo-nats".into())
            .spawn(move || {
                runtime.block_on(publisher.run(options, address));
                runtime.shutdown_background();
            })
            .map_err(NatsError::Thread)?;
        Ok(Self { figures, end: Some(end), thread: Some(thread) })
    }

    /// How it goes.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.end.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that publishes to NATS crashed");
        }
    }
}

fn address(url: &str) -> Result<ServerAddr, NatsError> {
    let wrong = |reason: &str| {
        // What stands before an @ may be a password.
        let url = url.rsplit_once('@').map_or(url, |(_, place)| place).to_owned();
        NatsError::Address { url, reason: reason.to_owned() }
    };
    if !(url.starts_with("nats://") || url.starts_with("tls://")) {
        return Err(wrong("it begins with neither nats:// nor tls://"));
    }
    let address: ServerAddr = url.parse().map_err(|error: io::Error| wrong(&error.to_string()))?;
    if address.host().is_empty() { Err(wrong("it names no host")) } else { Ok(address) }
}

/// Whether this can stand before `.CALL.heard`: no empty part, no wildcard, no space.
fn is_subject(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() <= 200 && text.split('.').all(|part| !part.is_empty() && part.bytes().all(plain))
}

fn options(config: &NatsConfig, reporter: &Arc<Reporter>) -> Result<ConnectOptions, NatsError> {
    let reporter = Arc::clone(reporter);
    let options = ConnectOptions::new()
        .name("parlod")
        .retry_on_initial_connect()
        .client_capacity(HANDED_OVER)
        .ping_interval(PING)
        .connection_timeout(CONNECTING)
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(100).saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX)).min(PAUSE)
        })
        .event_callback(move |event| {
            let reporter = Arc::clone(&reporter);
            async move { reporter.happened(&event) }
        });
    let read = |what, file: &Path| {
        let failed = |error| NatsError::Secret { what, file: file.to_owned(), error };
        let bytes = read_regular(file, MAX_SECRET_BYTES, Links::Follow)
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        check_owner(file, Keep::Secret)?;
        String::from_utf8(bytes).map_err(|_| failed(io::ErrorKind::InvalidData.into()))
    };
    let (token, credentials) = (&config.token_file, &config.credentials);
    match (token.as_os_str().is_empty(), credentials.as_os_str().is_empty()) {
        (true, true) => Ok(options),
        (false, false) => Err(NatsError::TwoSecrets),
        (false, true) => Ok(options.token(read("token", token)?.trim().to_owned())),
        (true, false) => {
            let text = read("credentials", credentials)?;
            let file = credentials.clone();
            options.credentials(&text).map_err(|error| NatsError::Secret { what: "credentials", file, error })
        }
    }
}

/// Tells the user how it is with the server.
struct Reporter {
    place: String,
    figures: Arc<Figures>,
    handle: Handle,
    /// Whether it was told that the server is away, and not yet that it is back.
    told: AtomicBool,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Reporter {
    fn happened(&self, event: &Event) {
        let place = &self.place;
        match event {
            Event::Connected => {
                self.figures.connected.store(true, Relaxed);
                if self.told.swap(false, Relaxed) {
                    self.notice(format!("the NATS server at {place} is there again: tokens are published"));
                } else {
                    tracing::info!("tokens are published to the NATS server at {place}");
                }
            }
            Event::Disconnected => {
                self.figures.connected.store(false, Relaxed);
                self.away("is gone");
            }
            // Refused, no permission, and the like.
            Event::ServerError(error) => tracing::warn!("the NATS server at {place} says: {error}"),
            // Of each attempt.
            Event::ClientError(error) => tracing::debug!("the NATS server at {place} cannot be used: {error}"),
            other => tracing::debug!("NATS at {place}: {other}"),
        }
    }

    /// Once for each time that it is away.
    fn away(&self, how: &str) {
        if !self.told.swap(true, Relaxed) {
            let place = &self.place;
            self.notice(format!(
                "the NATS server at {place} {how}; it is tried again and again, and calls go on, but their tokens are not published \
                 meanwhile"
            ));
        }
    }

    fn notice(&self, text: String) {
        tracing::warn!("{text}");
        self.handle.notify(text);
    }
}

struct Publisher {
    prefix: String,
    listening: Listening,
    figures: Arc<Figures>,
    reporter: Arc<Reporter>,
    ended: watch::Receiver<()>,
}

impl Publisher {
    async fn run(mut self, options: ConnectOptions, address: ServerAddr) {
        let client = match options.connect(address).await {
            Ok(client) => client,
            // It does not wait for the server: this is a file of certificates or the like.
            Err(error) => {
                let place = &self.reporter.place;
                self.reporter.notice(format!("nothing can be published to the NATS server at {place}: {error}"));
                return;
            }
        };
        let (watched, reporter) = (client.clone(), Arc::clone(&self.reporter));
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            if watched.connection_state() != State::Connected {
                reporter.away("cannot be reached");
            }
        });
        let mut ended = self.ended.clone();
        tokio::select! {
            () = self.publish_all(&client) => {}
            // An error: the sender is gone, which is how the end is told.
            _ = ended.changed() => {}
        }
        // What was told last, such as a call's end, is worth a moment.
        let _ = timeout(FAREWELL, async {
            while let Some(taken) = self.listening.take() {
                self.publish(&client, taken).await;
            }
            if client.connection_state() == State::Connected {
                let _ = client.flush().await;
            }
        })
        .await;
    }

    async fn publish_all(&mut self, client: &Client) {
        while let Some(taken) = self.listening.next().await {
            self.publish(client, taken).await;
        }
    }

    /// Waits while the server takes nothing: then the queue drops its oldest.
    async fn publish(&self, client: &Client, taken: Taken<Told>) {
        let (subject, text, frame) = match taken {
            Taken::Item(Told { call, about, text }) => {
                let (name, frame) = match about {
                    About::Start => ("start", 0),
                    About::Frame(stream) => (stream.name(), 1),
                    About::End => ("end", 0),
                };
                (format!("{}.{call}.{name}", self.prefix), text.as_bytes().to_vec(), frame)
            }
            Taken::Missed(frames) => {
                let text = serde_json::to_vec(&FeedMessage::Missed { frames }).unwrap_or_default();
                (format!("{}.missed", self.prefix), text, 0)
            }
        };
        // It fails only if the client has ended, or for messages longer than the server wants, which ours are not.
        if client.publish(subject, text.into()).await.is_ok() {
            self.figures.published.fetch_add(frame, Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "nats_tests.rs"]
mod tests;
