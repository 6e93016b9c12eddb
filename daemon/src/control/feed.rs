//! Feeds: live tokens of a call, over WebSockets.
//!
//! Each client has a queue of its own. One that reads slowly misses the oldest frames, is told how many, and holds nobody up.

use axum::{
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::QueryRejection,
        ws::{
            CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::StatusCode,
    response::Response,
};
use parlo_api::{CallState, Failure, FeedMessage};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{
    app::App,
    calls::number,
    events::{MAX_MESSAGE, PACE, PING, SILENCE_TIMEOUT, shared},
    response::Problem,
};
use crate::feeds::{About, Listening, Taken, Wanted};

/// Which streams of a call are wanted.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum FeedSide {
    /// What comes from the peer.
    Heard,
    /// What is said here.
    Said,
    /// Both.
    #[default]
    Both,
}

/// What follows `?`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Which streams are wanted: `heard`, `said`, or `both`, which is so if nothing is said.
    #[param(inline)]
    side: FeedSide,
}

/// A WebSocket on which the daemon sends `FeedMessage`s, each a text of JSON: what the codes are, then every frame.
#[utoipa::path(get, path = "/api/v1/calls/{id}/feed", tag = "calls",
    params(("id" = u64, Path, description = "The call's number."), Asked), responses(
    (status = 101, description = "The feed, of FeedMessages.", body = FeedMessage),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn stream(
    State(app): State<App>,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let wrong = |text: &str| Problem::new(StatusCode::BAD_REQUEST, text);
    let id = number(&id)?;
    let Query(asked) = asked.map_err(|_| wrong("a feed is asked for with side=heard, side=said or side=both"))?;
    let wanted = match asked.side {
        FeedSide::Heard => Wanted { heard: true, said: false },
        FeedSide::Said => Wanted { heard: false, said: true },
        FeedSide::Both => Wanted::BOTH,
    };
    let call = app.call(id)?;
    let conflict = |text: String| Problem::new(StatusCode::CONFLICT, text);
    if call.codec.as_deref() == Some("opus") {
        return Err(conflict(format!("call {id} is in Opus: it has no tokens to feed")));
    }
    let over = || conflict(format!("call {id} is over: there is nothing more to feed"));
    if call.state == CallState::Ended {
        return Err(over());
    }
    let upgrade = upgrade.map_err(|_| wrong("a feed is sent over a WebSocket (version 13)"))?;
    let place = app.texts.place()?;
    // Without one it has ended just now.
    let mut listening = app.handle.feeds().listen(id, wanted).ok_or_else(over)?;
    let mut ended = app.texts.ended();
    Ok(upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).on_upgrade(async move |mut socket| {
        let code = tokio::select! {
            code = tell(&mut socket, &mut listening) => code,
            _ = ended.changed() => close_code::AWAY,
        };
        drop(listening);
        let farewell = CloseFrame { code, reason: Utf8Bytes::default() };
        let _ = timeout(PACE, socket.send(Frame::Close(Some(farewell)))).await;
        drop(place);
    }))
}

/// Until the call is over, or the client goes or does not answer. Returns the code to close with.
async fn tell(socket: &mut WebSocket, listening: &mut Listening) -> u16 {
    let mut heard = Instant::now();
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (frame, sent) = tokio::select! {
            biased;
            received = socket.recv() => match received {
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return close_code::NORMAL,
                // Pings are answered by the library; there is nothing else to be said here.
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
            },
            // Before what never ceases to come, so that the silent are found.
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE_TIMEOUT {
                    return close_code::AWAY;
                }
                (Frame::Ping(Bytes::new()), 0)
            }
            taken = listening.next() => match taken {
                Some(Taken::Item(told)) => {
                    let sent = u64::from(matches!(told.about, About::Frame(_)));
                    (Frame::Text(shared(told.text)), sent)
                }
                Some(Taken::Missed(frames)) => (Frame::Text(missed(frames)), 0),
                None => return close_code::NORMAL,
            },
        };
        if !matches!(timeout(SILENCE_TIMEOUT, socket.send(frame)).await, Ok(Ok(()))) {
            return close_code::AWAY;
        }
        listening.sent(sent);
    }
}

fn missed(frames: u64) -> Utf8Bytes {
    // A number: there is nothing in it that JSON cannot say.
    serde_json::to_string(&FeedMessage::Missed { frames }).unwrap_or_default().into()
}
