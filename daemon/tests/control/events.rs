//! The event stream.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use parlo_api::{Message, Presence, Status};
use tokio::{net::UnixStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite};

use crate::stand::{Stand, status};

type Stream = WebSocketStream<UnixStream>;

/// So long that only what hangs takes it.
const LONG: Duration = Duration::from_secs(60);

async fn listen(stand: &Stand, query: &str) -> Result<Stream, u16> {
    let address = format!("ws://localhost/api/v1/events{query}");
    match tokio_tungstenite::client_async(address, stand.unix().await).await {
        Ok((stream, _)) => Ok(stream),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The next text; none if the stream was closed.
async fn text(stream: &mut Stream) -> Option<String> {
    loop {
        match timeout(LONG, stream.next()).await.expect("no message came")? {
            Ok(tungstenite::Message::Text(text)) => return Some(text.as_str().to_owned()),
            Ok(tungstenite::Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

async fn next(stream: &mut Stream) -> Message {
    serde_json::from_str(&text(stream).await.expect("the stream was closed")).unwrap()
}

fn notice(text: &str) -> Arc<str> {
    serde_json::to_string(&Message::Notice { call: Some(7), text: text.into() }).unwrap().into()
}

fn is_status(message: &Message, uptime_s: f64) -> bool {
    matches!(message, Message::Status(status) if status.uptime_s == uptime_s)
}

#[tokio::test]
async fn the_status_comes_first_and_then_whatever_happens() {
    let stand = Stand::new();
    let mut stream = listen(&stand, "").await.unwrap();
    let first = next(&mut stream).await;
    assert_eq!(first, Message::Status(Box::new(status())));
    stand.notices.send(notice("so it is")).unwrap();
    assert_eq!(next(&mut stream).await, Message::Notice { call: Some(7), text: "so it is".into() });
    stand.status.send_replace(Arc::new(Status { presence: Presence { do_not_disturb: true }, ..status() }));
    assert!(matches!(next(&mut stream).await, Message::Status(status) if status.presence.do_not_disturb));
    // Whoever comes later has what is true then.
    let mut later = listen(&stand, "").await.unwrap();
    assert!(matches!(next(&mut later).await, Message::Status(status) if status.presence.do_not_disturb));
}

#[tokio::test]
async fn many_changes_are_few_messages_and_the_last_of_them_comes() {
    let stand = Stand::new();
    let mut stream = listen(&stand, "").await.unwrap();
    let changes = 500;
    for n in 1..=changes {
        stand.status.send_replace(Arc::new(Status { uptime_s: f64::from(n), ..status() }));
        tokio::task::yield_now().await;
    }
    let mut messages = 0;
    while !is_status(&next(&mut stream).await, f64::from(changes)) {
        messages += 1;
    }
    assert!(messages < changes / 4, "{messages} messages");
}

#[tokio::test]
async fn live_messages_come_to_those_who_asked_for_them() {
    let stand = Stand::new();
    let mut plain = listen(&stand, "?live=false").await.unwrap();
    next(&mut plain).await;
    assert_eq!(stand.live.receiver_count(), 0, "nobody need make what nobody wants");
    let mut live = listen(&stand, "?live=true").await.unwrap();
    next(&mut live).await;
    assert_eq!(stand.live.receiver_count(), 1);
    stand.live.send("{\"type\":\"live\"}".into()).unwrap();
    assert_eq!(text(&mut live).await.unwrap(), "{\"type\":\"live\"}");
    stand.notices.send(notice("for both")).unwrap();
    for stream in [&mut plain, &mut live] {
        assert!(matches!(next(stream).await, Message::Notice { .. }));
    }
    for query in ["?live=perhaps", "?alive=true"] {
        assert_eq!(listen(&stand, query).await.unwrap_err(), 400, "{query}");
    }
    assert_eq!(stand.get("/api/v1/events").await.status, 400, "no WebSocket");
}

#[tokio::test]
async fn a_hundred_clients_that_do_not_read_hold_nobody_up_and_are_told_what_they_missed() {
    let stand = Stand::new();
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(listen(&stand, "?live=true").await.unwrap());
    }
    let mut quick = listen(&stand, "?live=true").await.unwrap();
    next(&mut quick).await;
    // Far more than the sockets hold.
    let long: Arc<str> = format!("{{\"type\":\"live\",\"x\":\"{}\"}}", "x".repeat(16_000)).into();
    for n in 0..600 {
        stand.live.send(Arc::clone(&long)).unwrap();
        assert_eq!(text(&mut quick).await.unwrap(), *long, "who reads misses nothing");
        if n % 10 == 0 {
            let answer = timeout(LONG, stand.get("/api/v1/status")).await.expect("the slow hold up the others");
            assert_eq!(answer.status, 200);
        }
    }
    for stream in slow.iter_mut().step_by(33) {
        loop {
            let text = text(stream).await.unwrap();
            if text.contains("\"type\":\"missed\"") {
                let Message::Missed { messages } = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
                assert!((1..600).contains(&messages), "{messages}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn there_is_room_for_a_number_of_streams_and_places_are_given_back() {
    let stand = Stand::new();
    let mut streams = Vec::new();
    let refused = loop {
        match listen(&stand, "").await {
            Ok(stream) => streams.push(stream),
            Err(code) => break code,
        }
        assert!(streams.len() <= 128);
    };
    assert_eq!((streams.len(), refused), (128, 503));
    let open = stand.get("/metrics").await;
    assert!(String::from_utf8_lossy(&open.body).contains("\nparlo_event_streams 128\n"));
    let mut last = streams.pop().unwrap();
    last.close(None).await.unwrap();
    let again = timeout(LONG, async {
        while listen(&stand, "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    again.await.expect("the place was not given back");
}

#[tokio::test]
async fn clients_may_speak_but_nobody_listens_and_too_much_ends_the_stream() {
    let stand = Stand::new();
    let mut stream = listen(&stand, "").await.unwrap();
    next(&mut stream).await;
    stream.send("hello".into()).await.unwrap();
    stream.send(tungstenite::Message::Ping("x".into())).await.unwrap();
    let pong = timeout(LONG, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, tungstenite::Message::Pong("x".into()));
    stream.send("x".repeat(5000).into()).await.unwrap();
    assert_eq!(text(&mut stream).await, None);
    assert!(stand.asked().is_empty());
}

#[tokio::test]
async fn streams_are_closed_when_the_server_ends() {
    let stand = Stand::new();
    let mut stream = listen(&stand, "").await.unwrap();
    next(&mut stream).await;
    let Stand { server, .. } = stand;
    tokio::task::spawn_blocking(|| server.shut_down()).await.unwrap();
    let end = timeout(LONG, stream.next()).await.unwrap().unwrap().unwrap();
    let tungstenite::Message::Close(Some(frame)) = end else { panic!("{end:?}") };
    assert_eq!(u16::from(frame.code), 1001);
}
