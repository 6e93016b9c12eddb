//! The event stream: what the daemon tells by itself, over WebSockets.
//!
//! Texts are made once and shared. Each client has its own place in the queues: one that reads slowly misses messages, is
//! told how many, and holds nobody up.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        Query, State,
        rejection::QueryRejection,
        ws::{
            CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::StatusCode,
    response::Response,
};
use parlo_api::{Failure, Message, Status};
use serde::Deserialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{app::App, response::Problem};
use crate::call_manager::Handle;

/// Streams at a time, feeds among them.
const STREAMS: usize = 128;
/// The least time between two status messages.
pub(super) const PACE: Duration = Duration::from_millis(100);
/// How often a client is asked whether it is still there.
pub(super) const PING: Duration = Duration::from_secs(20);
/// How long a client may be silent, or refuse to take a message.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest message that a client may send: it has nothing to say.
pub(super) const MAX_MESSAGE: usize = 4096;

/// The texts that all clients share.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    status: watch::Receiver<Utf8Bytes>,
    ended: watch::Receiver<()>,
    room: Arc<Semaphore>,
}

/// One of the places that there are for event streams and feeds.
pub(super) type Place = OwnedSemaphorePermit;

impl Texts {
    /// Comes to its end when the server does.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }

    /// A place for a stream.
    ///
    /// # Errors
    /// If there is none, with what to do.
    pub(super) fn place(&self) -> Result<Place, Problem> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let text =
                format!("{STREAMS} event streams and feeds are open already; close a page or program that listens");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })
    }

    /// With the task that makes them: a status message whenever the status has changed, but not more often than [`PACE`].
    pub(super) fn new(handle: &Handle, ended: watch::Receiver<()>) -> (Self, impl Future<Output = ()> + use<>) {
        let mut changes = handle.watch();
        let (tell, status) = watch::channel(text(&changes.borrow_and_update()));
        let mut end = ended.clone();
        let telling = async move {
            let tell_all = async {
                while changes.changed().await.is_ok() {
                    let text = text(&changes.borrow_and_update());
                    tell.send_replace(text);
                    sleep(PACE).await;
                }
            };
            tokio::select! {
                () = tell_all => {}
                _ = end.changed() => {}
            }
        };
        (Self { status, ended, room: Arc::new(Semaphore::new(STREAMS)) }, telling)
    }
}

fn text(status: &Status) -> Utf8Bytes {
    json(&Message::Status(Box::new(status.clone())))
}

fn json(message: &Message) -> Utf8Bytes {
    // Numbers, texts and lists: there is nothing in it that JSON cannot say.
    serde_json::to_string(message).unwrap_or_default().into()
}

/// The call manager's text, without copying it.
pub(super) fn shared(text: Arc<str>) -> Utf8Bytes {
    struct Shared(Arc<str>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    // It was text.
    Utf8Bytes::try_from(Bytes::from_owner(Shared(text))).unwrap_or_default()
}

/// What follows `?`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Whether `live` messages are wanted: levels, spectrogram and codes, 12 times a second.
    live: bool,
}

/// A WebSocket on which the daemon sends `Message`s, each a text of JSON: first the status, then what happens.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(Asked), responses(
    (status = 101, description = "The stream, of Messages.", body = Message),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn stream(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let wrong = |text: &str| Problem::new(StatusCode::BAD_REQUEST, text);
    let Query(asked) = asked.map_err(|_| wrong("events are asked for with live=true or live=false"))?;
    let upgrade = upgrade.map_err(|_| wrong("events are told over a WebSocket (version 13)"))?;
    let place = app.texts.place()?;
    // From before the first status on: nothing is missed in between.
    let notices = app.handle.notices();
    let live = asked.live.then(|| app.handle.live());
    let (mut status, mut ended) = (app.texts.status.clone(), app.texts.ended.clone());
    status.mark_changed();
    Ok(upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).on_upgrade(async move |mut socket| {
        let listening = app.metrics.listening();
        tokio::select! {
            () = tell(&mut socket, status, notices, live) => {}
            _ = ended.changed() => {}
        }
        let farewell = CloseFrame { code: close_code::AWAY, reason: Utf8Bytes::default() };
        let _ = timeout(PACE, socket.send(Frame::Close(Some(farewell)))).await;
        drop((listening, place));
    }))
}

/// Until the client goes, does not answer, or the call manager ends.
async fn tell(
    socket: &mut WebSocket,
    mut status: watch::Receiver<Utf8Bytes>,
    mut notices: broadcast::Receiver<Arc<str>>,
    mut live: Option<broadcast::Receiver<Arc<str>>>,
) {
    let mut heard = Instant::now();
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            // In this order: a notice about a call comes after the status that has it, and what comes often last.
            biased;
            received = socket.recv() => match received {
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
                // Pings are answered by the library; there is nothing else to be said here.
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
            },
            changed = status.changed() => match changed {
                Ok(()) => Frame::Text(status.borrow_and_update().clone()),
                Err(_) => return,
            },
            notice = notices.recv() => match told(notice) {
                Some(frame) => frame,
                None => return,
            },
            message = next(&mut live) => match told(message) {
                Some(frame) => frame,
                None => return,
            },
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE_TIMEOUT {
                    return;
                }
                Frame::Ping(Bytes::new())
            }
        };
        if !matches!(timeout(SILENCE_TIMEOUT, socket.send(frame)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn next(live: &mut Option<broadcast::Receiver<Arc<str>>>) -> Result<Arc<str>, RecvError> {
    match live {
        Some(live) => live.recv().await,
        None => std::future::pending().await,
    }
}

fn told(message: Result<Arc<str>, RecvError>) -> Option<Frame> {
    match message {
        Ok(text) => Some(Frame::Text(shared(text))),
        Err(RecvError::Lagged(messages)) => Some(Frame::Text(json(&Message::Missed { messages }))),
        Err(RecvError::Closed) => None,
    }
}
