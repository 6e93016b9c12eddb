//! Calls.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use parlo_api::{Call, CallChange, Dial, Failure, Refusal};

use super::{
    app::App,
    response::{Body, BodyOrDefault, Problem},
};
use crate::call_manager::{Reply, Request};

/// The number in an address. What is no number is no call.
pub(super) fn number(id: &str) -> Result<u64, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no call \"{id}\": calls have numbers")))
}

/// All calls, oldest first, those that ended within the last minute among them.
#[utoipa::path(get, path = "/api/v1/calls", tag = "calls", responses((status = 200, description = "The calls.", body = [Call])))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<Call>> {
    Json(app.handle.status().calls)
}

/// Places a call.
#[utoipa::path(post, path = "/api/v1/calls", tag = "calls", request_body = Dial, responses(
    (status = 201, description = "It is being placed: events tell how it goes on.", body = Call),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn dial(State(app): State<App>, Body(dial): Body<Dial>) -> Result<(StatusCode, Json<Call>), Problem> {
    match app.ask(Request::Dial(dial)).await? {
        Reply::Call(call) => Ok((StatusCode::CREATED, Json(*call))),
        Reply::Done => Err(Problem::failed("the call was placed, and nobody can say which it is")),
    }
}

/// A call.
#[utoipa::path(get, path = "/api/v1/calls/{id}", tag = "calls", params(("id" = u64, Path, description = "The call's number.")), responses(
    (status = 200, description = "The call.", body = Call),
    (status = "default", description = "There is no such call.", body = Failure),
))]
pub(super) async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Call>, Problem> {
    app.call(number(&id)?).map(Json)
}

/// Answers a call that rings here.
#[utoipa::path(post, path = "/api/v1/calls/{id}/answer", tag = "calls", params(("id" = u64, Path, description = "The call's number.")), responses(
    (status = 200, description = "The call as it is now.", body = Call),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn answer(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Call>, Problem> {
    let id = number(&id)?;
    app.ask_for_call(id, Request::Answer(id)).await.map(Json)
}

/// Refuses a call that rings here. The body may be left out.
#[utoipa::path(post, path = "/api/v1/calls/{id}/refuse", tag = "calls", params(("id" = u64, Path, description = "The call's number.")),
    request_body = Option<Refusal>, responses(
    (status = 204, description = "It is refused."),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn refuse(
    State(app): State<App>,
    Path(id): Path<String>,
    BodyOrDefault(refusal): BodyOrDefault<Refusal>,
) -> Result<StatusCode, Problem> {
    app.ask(Request::Refuse(number(&id)?, refusal.reason)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes a call: holds it, takes it into the conference, sets what it may send.
#[utoipa::path(patch, path = "/api/v1/calls/{id}", tag = "calls", params(("id" = u64, Path, description = "The call's number.")),
    request_body = CallChange, responses(
    (status = 200, description = "The call as it is now.", body = Call),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn change(
    State(app): State<App>,
    Path(id): Path<String>,
    Body(change): Body<CallChange>,
) -> Result<Json<Call>, Problem> {
    let id = number(&id)?;
    app.ask_for_call(id, Request::Change(id, change)).await.map(Json)
}

/// Hangs up, however far the call has come.
#[utoipa::path(delete, path = "/api/v1/calls/{id}", tag = "calls", params(("id" = u64, Path, description = "The call's number.")), responses(
    (status = 204, description = "It is over."),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn hang_up(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    app.ask(Request::HangUp(number(&id)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Records a call.
#[utoipa::path(post, path = "/api/v1/calls/{id}/recording", tag = "calls", params(("id" = u64, Path, description = "The call's number.")), responses(
    (status = 200, description = "It is being recorded.", body = Call),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn record(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Call>, Problem> {
    let id = number(&id)?;
    app.ask_for_call(id, Request::Record(id)).await.map(Json)
}

/// Ends the recording of a call. The call goes on.
#[utoipa::path(delete, path = "/api/v1/calls/{id}/recording", tag = "calls", params(("id" = u64, Path, description = "The call's number.")), responses(
    (status = 200, description = "It is no longer recorded.", body = Call),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn stop_recording(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Call>, Problem> {
    let id = number(&id)?;
    app.ask_for_call(id, Request::StopRecording(id)).await.map(Json)
}
