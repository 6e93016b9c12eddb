//! Recordings.

use std::{
    fs::File,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG},
    },
    response::{IntoResponse, Response},
};
use parlo_api::{Failure, Recording};
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use super::{
    app::{App, aside},
    ranges::{self, Part},
    response::Problem,
};
use crate::{
    recordings::{Plain, RecordingError, Side, Source},
    sentence_of,
};

/// How many recordings are played or copied at once: each that is played holds a decoder.
pub(super) const MOST_PLAYING: usize = 3;

/// How long one more waits for its place.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a piece may wait to be taken. A player that is paused asks for the rest when it goes on.
const STALL: Duration = Duration::from_secs(30);

/// Which side of a recording.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum AskedSide {
    /// What was said here.
    Said,
    /// What was heard from the peer.
    Heard,
    /// Both, mixed.
    #[default]
    Both,
}

impl From<AskedSide> for Side {
    fn from(side: AskedSide) -> Self {
        match side {
            AskedSide::Said => Self::Said,
            AskedSide::Heard => Self::Heard,
            AskedSide::Both => Self::Both,
        }
    }
}

/// What follows `?`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Which side, of a WAV file: both, if it is left out.
    #[param(inline)]
    side: AskedSide,
}

/// Names are plain: what is not cannot be one, and never reaches the file system.
fn plain(name: &str) -> Result<(), Problem> {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if letters && !name.is_empty() && !name.starts_with('.') && name.len() <= 200 {
        return Ok(());
    }
    Err(RecordingError::Unknown(name.escape_debug().to_string()).into())
}

/// All recordings, newest first.
#[utoipa::path(get, path = "/api/v1/recordings", tag = "recordings", responses(
    (status = 200, description = "The recordings.", body = [Recording]),
    (status = "default", description = "They cannot be listed.", body = Failure),
))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<Recording>>, Problem> {
    let recordings = Arc::clone(app.handle.recordings());
    aside(move || recordings.list()).await.map(Json)
}

/// A recording, to listen to (NAME.wav: 16 bits, mono; decoded while it is sent) or as tokens (NAME.ptk). All of it, or the part that a
/// `Range` of bytes asks for: the same bytes.
#[utoipa::path(get, path = "/api/v1/recordings/{name}", tag = "recordings",
    params(("name" = String, Path, description = "The recording's name, and .wav or .ptk."), Asked), responses(
    (status = 200, description = "The recording.", content((Vec<u8> = "audio/wav"), (Vec<u8> = "application/octet-stream"))),
    (status = 206, description = "The part that was asked for.", content((Vec<u8> = "audio/wav"), (Vec<u8> = "application/octet-stream"))),
    (status = 416, description = "The part lies behind the end; Content-Range says how many bytes there are.", body = Failure),
    (status = 503, description = "Three are being played or copied already.", body = Failure),
    (status = "default", description = "There is no such recording, or it cannot be read.", body = Failure),
))]
pub(super) async fn file(
    State(app): State<App>,
    Path(file): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    heads: HeaderMap,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "a recording is asked for with side=said, side=heard or side=both")
    })?;
    let (name, kind) = match file.rsplit_once('.') {
        Some((name, "wav")) => (name, "audio/wav"),
        Some((name, "ptk")) => (name, "application/octet-stream"),
        _ => return Err(Problem::not_found("a recording is got as NAME.wav or NAME.ptk")),
    };
    plain(name)?;
    // The name was found plain.
    let save = format!("attachment; filename=\"{file}\"");
    let (playing, bytes, tag) = open(&app, name, (kind == "audio/wav").then_some(asked.side)).await?;
    let about = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, &save), (ACCEPT_RANGES, "bytes"), (ETAG, &tag)];
    let (status, first, end) = match ranges::part(&heads, bytes, &tag) {
        Part::Whole => (StatusCode::OK, 0, bytes),
        Part::Bytes { first, last } => (StatusCode::PARTIAL_CONTENT, first, last + 1),
        Part::Beyond => {
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("there are {bytes} bytes"));
            return Ok(([(CONTENT_RANGE, format!("bytes */{bytes}"))], problem).into_response());
        }
    };
    let mut response = (status, about, playing.body(first, end)?).into_response();
    let heads = response.headers_mut();
    heads.insert(CONTENT_LENGTH, (end - first).into());
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = format!("bytes {first}-{}/{bytes}", end - 1).parse()
    {
        heads.insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

/// A file that is being sent: it has one of the few places for that until it is dropped.
struct Playing {
    source: Box<dyn Source>,
    place: OwnedSemaphorePermit,
    turn: Arc<Mutex<()>>,
    /// Whether it is decoded, which takes turns and steps behind everything else.
    decoded: bool,
}

/// Opens a recording: a side of it as sound, or its tokens. Gives how many bytes it has, and a strong tag of them.
async fn open(app: &App, name: &str, side: Option<AskedSide>) -> Result<(Playing, u64, String), Problem> {
    let taken = timeout(QUEUE_TIMEOUT, Arc::clone(&app.playing).acquire_owned()).await;
    let busy = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MOST_PLAYING} recordings are being played or copied already: stop one, or try again"),
        )
    };
    let place = taken.map_err(|_| busy())?.map_err(|_| Problem::failed("the daemon is ending"))?;
    let (recordings, render, turn, name) = (
        Arc::clone(app.handle.recordings()),
        Arc::clone(&app.extras.render),
        Arc::clone(&app.rendering),
        name.to_owned(),
    );
    aside(move || {
        let source: Box<dyn Source> = match side {
            Some(side) => {
                let _turn = lock(&turn);
                render(&recordings, &name, side.into())?
            }
            None => {
                let path = recordings.tokens(&name)?;
                let file = File::open(&path)
                    .map_err(|error| Problem::failed(format!("cannot read {}: {error}", path.display())))?;
                Box::new(Plain::new(file, &path)?)
            }
        };
        let bytes = source.bytes();
        let changed = recordings.tokens(&name).ok().and_then(|path| path.metadata().ok()?.modified().ok());
        let tag = tag(bytes, changed, side);
        Ok((Playing { source, place, turn, decoded: side.is_some() }, bytes, tag))
    })
    .await?
}

/// A strong tag: two answers that have it have the same bytes. Another run of the daemon may have another model.
fn tag(bytes: u64, changed: Option<SystemTime>, side: Option<AskedSide>) -> String {
    static RUN: OnceLock<u128> = OnceLock::new();
    let nanoseconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let run = RUN.get_or_init(|| nanoseconds(SystemTime::now()));
    let changed = changed.map_or(0, nanoseconds);
    format!("\"{run:x}-{changed:x}-{bytes:x}-{side:?}\"")
}

impl Playing {
    /// The bytes from `first` up to before `end`, read by a thread of its own no faster than they are taken.
    fn body(self, first: u64, end: u64) -> Result<Body, Problem> {
        let (pieces, taken) = mpsc::channel::<Result<Bytes, RecordingError>>(1);
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            if self.decoded {
                step_back();
            }
            // Whoever does not take a piece for so long has stopped listening, and can ask for the rest later.
            let send = |piece| {
                // A timer is made where its runtime is.
                let sent = runtime.block_on(async { timeout(STALL, pieces.send(piece)).await });
                sent.is_ok_and(|sent| sent.is_ok())
            };
            self.read(first, end, send);
        };
        let thread = std::thread::Builder::new().name("parlo-render".into()).spawn(work);
        thread.map_err(|error| Problem::failed(format!("cannot start a thread to read the recording: {error}")))?;
        let stream = futures_util::stream::unfold(taken, async |mut taken| {
            let piece = taken.recv().await?;
            Some((piece, taken))
        });
        Ok(Body::from_stream(stream))
    }

    /// Gives the bytes to `send` until it takes no more.
    fn read(mut self, first: u64, end: u64, send: impl Fn(Result<Bytes, RecordingError>) -> bool) {
        let mut left = end - first;
        let mut ready = self.source.seek(first);
        while left > 0 {
            let mut bytes = Vec::new();
            ready = ready.and_then(|()| {
                let _turn = self.decoded.then(|| lock(&self.turn));
                self.source.read(&mut bytes)
            });
            if let Err(error) = ready {
                tracing::warn!("a recording cannot be read to its end: {}", sentence_of(&error));
                send(Err(error));
                return;
            }
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if bytes.is_empty() {
                // It became shorter: the answer ends before it said, which tells.
                return;
            }
            left -= bytes.len() as u64;
            if !send(Ok(bytes.into())) {
                return;
            }
        }
        drop(self.place);
    }
}

/// A lock that no panic spoils: there is nothing behind it.
fn lock(turn: &Mutex<()>) -> MutexGuard<'_, ()> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this thread a low priority one.
fn step_back() {
    #[cfg(target_os = "linux")]
    // SAFETY: setpriority takes three numbers and touches no memory of ours. On Linux, number 0 is the calling thread. If it
    // fails, the thread runs at the priority that it had.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}

/// Removes a recording.
#[utoipa::path(delete, path = "/api/v1/recordings/{name}", tag = "recordings",
    params(("name" = String, Path, description = "The recording's name.")), responses(
    (status = 204, description = "The recording is removed."),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    plain(&name)?;
    let recordings = Arc::clone(app.handle.recordings());
    let remove = move || match recordings.remove(&name) {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) if recordings.list().iter().any(|there| there.name == name && there.running) => {
            Err(Problem::new(StatusCode::CONFLICT, sentence_of(&error)))
        }
        Err(error) => Err(error.into()),
    };
    aside(remove).await?
}
