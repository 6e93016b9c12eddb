//! The daemon as a whole.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use parlo_api::{Failure, Presence, Status};

use super::{
    app::App,
    response::{Body, Problem},
};
use crate::call_manager::Request;

/// Everything, as it is now.
#[utoipa::path(get, path = "/api/v1/status", tag = "daemon", responses((status = 200, description = "The daemon, its calls and its sound.", body = Status)))]
pub(super) async fn status(State(app): State<App>) -> Json<Status> {
    Json(app.handle.status())
}

/// Whether calls are wanted.
#[utoipa::path(get, path = "/api/v1/presence", tag = "daemon", responses((status = 200, description = "Whether callers are let through.", body = Presence)))]
pub(super) async fn presence(State(app): State<App>) -> Json<Presence> {
    Json(app.handle.status().presence)
}

/// Says whether calls are wanted.
#[utoipa::path(put, path = "/api/v1/presence", tag = "daemon", request_body = Presence, responses(
    (status = 200, description = "Whether callers are let through now.", body = Presence),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn set_presence(
    State(app): State<App>,
    Body(presence): Body<Presence>,
) -> Result<Json<Presence>, Problem> {
    app.ask(Request::Presence(presence)).await?;
    Ok(Json(presence))
}

/// Ends the daemon. Calls are hung up properly.
#[utoipa::path(post, path = "/api/v1/shutdown", tag = "daemon", responses(
    (status = 204, description = "It is ending."),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn shut_down(State(app): State<App>) -> Result<StatusCode, Problem> {
    app.ask(Request::ShutDown).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "daemon", responses(
    (status = 200, description = "OpenAPI 3.1.", body = serde_json::Value, content_type = "application/json"),
))]
pub(super) async fn openapi(State(app): State<App>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], app.document.to_string())
}
