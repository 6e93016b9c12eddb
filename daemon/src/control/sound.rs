//! Sound.

use std::sync::Arc;

use axum::{Json, extract::State};
use parlo_api::{Audio, AudioChange, Device, Failure};

use super::{
    app::{App, aside},
    response::{Body, Problem},
};
use crate::{call_manager::Request, sentence_of};

/// Sound, as it is set and as it is.
#[utoipa::path(get, path = "/api/v1/audio", tag = "sound", responses((status = 200, description = "Sound as it is now: devices, gains, stages.", body = Audio)))]
pub(super) async fn audio(State(app): State<App>) -> Json<Audio> {
    Json(app.handle.status().audio)
}

/// Changes sound: devices, gains, mute, talk, stages.
#[utoipa::path(patch, path = "/api/v1/audio", tag = "sound", request_body = AudioChange, responses(
    (status = 200, description = "Sound as it is now: devices, gains, stages.", body = Audio),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn change(State(app): State<App>, Body(change): Body<AudioChange>) -> Result<Json<Audio>, Problem> {
    app.ask(Request::Audio(change)).await?;
    Ok(Json(app.handle.status().audio))
}

/// Microphones and loudspeakers.
#[utoipa::path(get, path = "/api/v1/devices", tag = "sound", responses(
    (status = 200, description = "Microphones and loudspeakers.", body = [Device]),
    (status = "default", description = "The sound system does not answer.", body = Failure),
))]
pub(super) async fn devices(State(app): State<App>) -> Result<Json<Vec<Device>>, Problem> {
    let turn = Arc::clone(&app.listing).acquire_owned().await;
    let devices = Arc::clone(&app.extras.devices);
    let listed = aside(move || {
        let listed = devices();
        drop(turn);
        listed
    });
    listed.await?.map(Json).map_err(|error| Problem::failed(sentence_of(&error)))
}
