//! A daemon that is played: a real server on a real Unix socket that keeps calls in a list and knows nothing of sound.

use std::{
    collections::BTreeMap,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State, WebSocketUpgrade, ws},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use parlo_api::{
    Audio, AudioChange, Call, CallChange, CallState, Dial, Direction, Failure, FeedMessage, Message, Presence, Status,
};
use serde::Serialize;
use tokio::sync::{Notify, broadcast};

use crate::samples;

/// A played daemon. It ends, without a word, when dropped.
pub struct Played {
    /// Where it answers.
    pub socket: PathBuf,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    status: Mutex<Status>,
    asked: Mutex<Vec<String>>,
    answers: Mutex<BTreeMap<String, (u16, Vec<u8>)>>,
    feed: Mutex<Vec<String>>,
    messages: broadcast::Sender<String>,
    close: Notify,
    end: Notify,
}

impl Played {
    /// Starts one at `socket`; its folder is made.
    pub fn start(socket: &Path, status: Status) -> Self {
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let inner = Arc::new(Inner {
            status: Mutex::new(status),
            asked: Mutex::default(),
            answers: Mutex::default(),
            feed: Mutex::default(),
            messages: broadcast::Sender::new(64),
            close: Notify::new(),
            end: Notify::new(),
        });
        let shared = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let router = Router::new()
                    .route("/api/v1/events", any(events))
                    .route("/api/v1/calls/{id}/feed", any(feed))
                    .fallback(request)
                    .with_state(Arc::clone(&shared));
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    () = shared.end.notified() => {}
                }
            });
        });
        Self { socket: socket.to_owned(), inner, thread: Some(thread) }
    }

    /// Says this to `METHOD /path` from now on, whatever is asked.
    pub fn answer(&self, request: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.inner.answers.lock().unwrap().insert(request.into(), (status, body.into()));
    }

    /// Changes how things are, and tells everybody.
    pub fn change(&self, change: impl FnOnce(&mut Status)) {
        self.inner.change(change);
    }

    /// How things are.
    pub fn status(&self) -> Status {
        self.inner.status.lock().unwrap().clone()
    }

    /// Says this to everybody who listens to events.
    pub fn say(&self, message: &Message) {
        self.say_text(&serde_json::to_string(message).unwrap());
    }

    /// Says these words.
    pub fn say_text(&self, text: &str) {
        let _ = self.inner.messages.send(text.to_owned());
    }

    /// Whoever asks for a feed is sent these, and then the end of the stream.
    pub fn feed(&self, messages: &[FeedMessage]) {
        *self.inner.feed.lock().unwrap() =
            messages.iter().map(|message| serde_json::to_string(message).unwrap()).collect();
    }

    /// Waits until somebody listens to events.
    pub fn wait_for_listener(&self) {
        self.wait("a listener", |played| played.inner.messages.receiver_count() > 0);
    }

    /// Waits until a request was made that begins so.
    pub fn wait_for(&self, request: &str) {
        self.wait(request, |played| played.asked().iter().any(|asked| asked.starts_with(request)));
    }

    fn wait(&self, what: &str, happened: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !happened(self) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come; asked: {:?}", self.asked());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All requests that change something, as `METHOD /path?query BODY`.
    pub fn asked(&self) -> Vec<String> {
        self.inner.asked.lock().unwrap().clone()
    }

    /// Ends event streams properly.
    pub fn close_events(&self) {
        self.inner.close.notify_one();
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.inner.end.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Inner {
    fn change<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        let mut status = self.status.lock().unwrap();
        let result = change(&mut status);
        let message = Message::Status(Box::new(status.clone()));
        let _ = self.messages.send(serde_json::to_string(&message).unwrap());
        result
    }
}

async fn events(
    State(inner): State<Arc<Inner>>,
    Query(query): Query<BTreeMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some((status, body)) = inner.answers.lock().unwrap().get("GET /api/v1/events") {
        return (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response();
    }
    inner.asked.lock().unwrap().push(format!("EVENTS live={}", query.get("live").map_or("false", String::as_str)));
    upgrade.on_upgrade(|mut socket| async move {
        let mut messages = inner.messages.subscribe();
        let first = Message::Status(Box::new(inner.status.lock().unwrap().clone()));
        let text = |text: String| ws::Message::Text(text.into());
        let _ = socket.send(text(serde_json::to_string(&first).unwrap())).await;
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => if socket.send(text(message)).await.is_err() { return },
                    Err(_) => return,
                },
                received = socket.recv() => if received.is_none_or(|received| received.is_err()) { return },
                () = inner.close.notified() => {
                    let _ = socket.send(ws::Message::Close(None)).await;
                    return;
                }
            }
        }
    })
}

async fn feed(State(inner): State<Arc<Inner>>, uri: Uri, upgrade: WebSocketUpgrade) -> Response {
    let path = uri.path_and_query().unwrap().to_string();
    inner.asked.lock().unwrap().push(format!("FEED {path}"));
    if let Some((status, body)) = inner.answers.lock().unwrap().get(&format!("GET {}", uri.path())) {
        return (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response();
    }
    let texts = inner.feed.lock().unwrap().clone();
    upgrade.on_upgrade(|mut socket| async move {
        for text in texts {
            let _ = socket.send(ws::Message::Text(text.into())).await;
        }
        let _ = socket.send(ws::Message::Close(None)).await;
    })
}

async fn request(State(inner): State<Arc<Inner>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let request = format!("{method} {}", uri.path_and_query().unwrap());
    let said = String::from_utf8_lossy(&body).into_owned();
    if method != Method::GET || uri.query().is_some() {
        inner.asked.lock().unwrap().push(format!("{request} {said}").trim_end().to_owned());
    }
    if let Some((status, body)) = inner.answers.lock().unwrap().get(&request) {
        return (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response();
    }
    let path: Vec<&str> = uri.path().trim_start_matches("/api/v1/").split('/').collect();
    match (method.as_str(), &path[..]) {
        ("GET", ["status"]) => json(&*inner.status.lock().unwrap()),
        ("GET", ["calls"]) => json(&inner.status.lock().unwrap().calls),
        ("POST", ["calls"]) => {
            let dial: Dial = serde_json::from_str(&said).unwrap();
            let call = inner.change(|status| {
                let id = status.calls.iter().map(|call| call.id).max().unwrap_or(0) + 1;
                let mut call = samples::young(id, Direction::Outgoing, CallState::Calling);
                call.peer.name = Some(dial.peer);
                status.calls.push(call.clone());
                call
            });
            (StatusCode::CREATED, json(&call)).into_response()
        }
        ("GET", ["audio"]) => json(&inner.status.lock().unwrap().audio),
        ("PATCH", ["audio"]) => {
            let change: AudioChange = serde_json::from_str(&said).unwrap();
            json(&inner.change(|status| change_audio(&mut status.audio, &change)))
        }
        ("GET", ["presence"]) => json(&inner.status.lock().unwrap().presence),
        ("PUT", ["presence"]) => {
            let presence: Presence = serde_json::from_str(&said).unwrap();
            inner.change(|status| status.presence = presence);
            json(&presence)
        }
        ("POST", ["shutdown"]) => {
            inner.end.notify_one();
            StatusCode::NO_CONTENT.into_response()
        }
        (method, ["calls", id, rest @ ..]) => {
            let id = id.parse().unwrap_or(0);
            let found = |status: &mut Status| status.calls.iter_mut().position(|call| call.id == id);
            let Some(index) = found(&mut inner.status.lock().unwrap()) else {
                return failure(StatusCode::NOT_FOUND, &format!("there is no call {id}"));
            };
            let changed = |change: &dyn Fn(&mut Call)| {
                json(&inner.change(|status| {
                    change(&mut status.calls[index]);
                    status.calls[index].clone()
                }))
            };
            match (method, rest) {
                ("GET", []) => json(&inner.status.lock().unwrap().calls[index]),
                ("DELETE", []) | ("POST", ["refuse"]) => {
                    changed(&|call| call.state = CallState::Ended);
                    StatusCode::NO_CONTENT.into_response()
                }
                ("POST", ["answer"]) => changed(&|call| call.state = CallState::Active),
                ("POST", ["recording"]) => changed(&|call| call.recording = Some("ada-1".into())),
                ("DELETE", ["recording"]) => changed(&|call| call.recording = None),
                ("PATCH", []) => {
                    let change: CallChange = serde_json::from_str(&said).unwrap();
                    changed(&|call| {
                        call.held = change.held.unwrap_or(call.held);
                        call.conference = change.conference.unwrap_or(call.conference);
                        call.settings.depth = change.depth.unwrap_or(call.settings.depth);
                    })
                }
                _ => failure(StatusCode::NOT_FOUND, "there is no such request"),
            }
        }
        _ => failure(StatusCode::NOT_FOUND, "there is no such request"),
    }
}

fn change_audio(audio: &mut Audio, change: &AudioChange) -> Audio {
    audio.muted = change.muted.unwrap_or(audio.muted);
    audio.push_to_talk = change.push_to_talk.unwrap_or(audio.push_to_talk);
    audio.talking = change.talking.unwrap_or(audio.talking);
    audio.input_gain_db = change.input_gain_db.unwrap_or(audio.input_gain_db);
    audio.stages.echo_cancellation = change.echo_cancellation.unwrap_or(audio.stages.echo_cancellation);
    audio.clone()
}

fn json<T: Serialize>(value: &T) -> Response {
    serde_json::to_vec(value).unwrap().into_response()
}

fn failure(status: StatusCode, error: &str) -> Response {
    (status, json(&Failure { error: error.into() })).into_response()
}
