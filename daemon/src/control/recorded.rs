//! Recordings.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use parlo_control::{Failure, Recording};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{
    answer::Problem,
    app::{App, aside},
};
use crate::recordings::{RecordingError, Side};

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
    (status = 200, description = "These.", body = [Recording]),
    (status = "default", description = "They cannot be listed.", body = Failure),
))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<Recording>>, Problem> {
    let recordings = Arc::clone(app.handle.recordings());
    aside(move || recordings.list()).await.map(Json)
}

/// A recording, to listen to (NAME.wav: 16 bits, mono; decoded now, one after the other, which takes a while) or as tokens
/// (NAME.ptk).
#[utoipa::path(get, path = "/api/v1/recordings/{name}", tag = "recordings",
    params(("name" = String, Path, description = "Its name, and .wav or .ptk."), Asked), responses(
    (status = 200, description = "This.", content((Vec<u8> = "audio/wav"), (Vec<u8> = "application/octet-stream"))),
    (status = "default", description = "There is none, or it cannot be read.", body = Failure),
))]
pub(super) async fn file(
    State(app): State<App>,
    Path(file): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "a recording is asked for with side=said, side=heard or side=both")
    })?;
    let (bytes, kind) = match file.rsplit_once('.') {
        Some((name, "wav")) => (wav(&app, name, asked.side).await?, "audio/wav"),
        Some((name, "ptk")) => (tokens(&app, name).await?, "application/octet-stream"),
        _ => return Err(Problem::not_found("a recording is got as NAME.wav or NAME.ptk")),
    };
    // The name was found plain.
    let save = format!("attachment; filename=\"{file}\"");
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, save.as_str())], bytes).into_response())
}

async fn tokens(app: &App, name: &str) -> Result<Vec<u8>, Problem> {
    plain(name)?;
    let (recordings, name) = (Arc::clone(app.handle.recordings()), name.to_owned());
    let read = move || -> Result<Vec<u8>, Problem> {
        let file = recordings.tokens(&name)?;
        std::fs::read(&file).map_err(|error| Problem::failed(format!("cannot read {}: {error}", file.display())))
    };
    aside(read).await?
}

async fn wav(app: &App, name: &str, side: AskedSide) -> Result<Vec<u8>, Problem> {
    plain(name)?;
    let side = match side {
        AskedSide::Said => Side::Said,
        AskedSide::Heard => Side::Heard,
        AskedSide::Both => Side::Both,
    };
    let failed = |_| Problem::failed("the recording could not be decoded");
    // One after the other, and behind everything else that the machine does: codec threads that have no real-time priority
    // come first all the same.
    let turn = Arc::clone(&app.rendering).acquire_owned().await.map_err(|_| Problem::failed("the daemon is ending"))?;
    let (recordings, render, name) =
        (Arc::clone(app.handle.recordings()), Arc::clone(&app.extras.render), name.to_owned());
    let (tell, told) = oneshot::channel();
    let work = move || {
        step_back();
        let rendered = render(&recordings, &name, side);
        drop(turn);
        // Whoever asked may have gone.
        let _ = tell.send(rendered);
    };
    let thread = std::thread::Builder::new().name("parlo-render".into()).spawn(work);
    thread.map_err(|error| Problem::failed(format!("cannot start a thread to decode the recording: {error}")))?;
    Ok(told.await.map_err(failed)??)
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
    params(("name" = String, Path, description = "Its name.")), responses(
    (status = 204, description = "It is gone."),
    (status = "default", description = "It was not done.", body = Failure),
))]
pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    plain(&name)?;
    let recordings = Arc::clone(app.handle.recordings());
    let remove = move || match recordings.remove(&name) {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) if recordings.list().iter().any(|there| there.name == name && there.running) => {
            Err(Problem::new(StatusCode::CONFLICT, error.to_string()))
        }
        Err(error) => Err(error.into()),
    };
    aside(remove).await?
}
