//! What every route takes and gives: JSON, and failures as JSON.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use parlo_api::Failure;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    call_manager::{Refused, RefusedKind},
    keys::KeysError,
    recordings::RecordingError,
    sentence_of,
};

/// The longest body of a request, bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// How long a request's body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(Failure { error: self.text })).into_response()
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused.kind {
            RefusedKind::Invalid => StatusCode::BAD_REQUEST,
            RefusedKind::NotFound => StatusCode::NOT_FOUND,
            RefusedKind::Conflict => StatusCode::CONFLICT,
            RefusedKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refused.text)
    }
}

impl From<KeysError> for Problem {
    fn from(error: KeysError) -> Self {
        let status = match error {
            KeysError::Name(_) | KeysError::Address(_) => StatusCode::BAD_REQUEST,
            KeysError::Taken { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<RecordingError> for Problem {
    fn from(error: RecordingError) -> Self {
        let status = match error {
            RecordingError::Unknown(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, sentence_of(&error))
    }
}

/// A body of JSON. It must say that it is: what a web page's plain form sends does not.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        must_be_json(request.headers())?;
        parse(&bytes(request, state).await?).map(Self)
    }
}

/// As [`Body`], or nothing at all, which is the default.
#[derive(Debug)]
pub(super) struct BodyOrDefault<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for BodyOrDefault<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let json = must_be_json(request.headers());
        let bytes = bytes(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        json?;
        parse(&bytes).map(Self)
    }
}

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let Ok(read) = timeout(BODY_PATIENCE, Bytes::from_request(request, state)).await else {
        let seconds = BODY_PATIENCE.as_secs();
        return Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request's body did not come within {seconds} seconds"),
        ));
    };
    read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the request's body is longer than {MAX_BODY} bytes"))
        }
        status => Problem::new(status, "the request's body cannot be read"),
    })
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the request's body must be JSON, and say so: Content-Type: application/json",
    ))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the request's body is not as it should be: {error}"))
    })
}
