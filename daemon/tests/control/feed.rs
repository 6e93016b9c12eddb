//! Feeds: live tokens of a call.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use parlo_api::{CallState, FeedFrame, FeedMark, FeedMessage, FeedStart, FeedStream};
use tokio::{net::UnixStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, client::IntoClientRequest},
};

use crate::stand::Stand;

type Stream = WebSocketStream<UnixStream>;

/// So long that only what hangs takes it.
const LONG: Duration = Duration::from_secs(60);

fn start(call: u64) -> FeedStart {
    FeedStart {
        call,
        peer: "ada".into(),
        bundle: "5a".repeat(32),
        bundle_name: "small".into(),
        tokens: "6b".repeat(32),
        sample_rate: 16_000,
        frame_samples: 320,
        sizes: vec![1024; 12],
        created_ms: 1_795_000_000_000,
    }
}

fn frame(stream: FeedStream, number: u64, codes: usize) -> FeedFrame {
    let mark = FeedMark::Real;
    FeedFrame { stream, number: Some(number), time_ms: 20 * number, mark, codes: vec![number as u16; codes] }
}

/// With call 7 begun.
fn stand() -> Stand {
    let stand = Stand::new();
    stand.feeds.open(7);
    stand.feeds.begin(Instant::now(), start(7));
    stand
}

async fn listen(stand: &Stand, path: &str) -> Result<Stream, u16> {
    match tokio_tungstenite::client_async(format!("ws://localhost{path}"), stand.unix().await).await {
        Ok((stream, _)) => Ok(stream),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The next message, or the code that the stream was closed with.
async fn next(stream: &mut Stream) -> Result<FeedMessage, u16> {
    loop {
        match timeout(LONG, stream.next()).await.expect("no message came") {
            Some(Ok(tungstenite::Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(tungstenite::Message::Close(Some(frame)))) => return Err(frame.code.into()),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until the server has so many feeds.
async fn until_clients(stand: &Stand, count: usize) {
    let clients = || stand.feeds.figures().clients.load(std::sync::atomic::Ordering::Relaxed);
    let wait = timeout(LONG, async {
        while clients() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    wait.await.unwrap_or_else(|_| panic!("{} clients", clients()));
}

#[tokio::test]
async fn a_feed_begins_with_what_the_codes_are_and_has_every_frame_until_the_call_is_over() {
    let stand = stand();
    let mut both = listen(&stand, "/api/v1/calls/7/feed").await.unwrap();
    let mut heard = listen(&stand, "/api/v1/calls/7/feed?side=heard").await.unwrap();
    let mut said = listen(&stand, "/api/v1/calls/7/feed?side=said").await.unwrap();
    for stream in [&mut both, &mut heard, &mut said] {
        assert_eq!(next(stream).await.unwrap(), FeedMessage::Start(start(7)));
    }
    for number in 0..50 {
        for stream in [FeedStream::Said, FeedStream::Heard] {
            stand.feeds.frame(7, frame(stream, number, 6));
            assert_eq!(next(&mut both).await.unwrap(), FeedMessage::Frame(frame(stream, number, 6)));
        }
    }
    stand.feeds.end(7);
    stand.feeds.settle();
    for (stream, own) in [(&mut heard, FeedStream::Heard), (&mut said, FeedStream::Said)] {
        for number in 0..50 {
            assert_eq!(next(stream).await.unwrap(), FeedMessage::Frame(frame(own, number, 6)));
        }
    }
    for stream in [&mut both, &mut heard, &mut said] {
        assert_eq!(next(stream).await.unwrap(), FeedMessage::End);
        assert_eq!(next(stream).await.unwrap_err(), 1000);
    }
    until_clients(&stand, 0).await;
    let figures = String::from_utf8(stand.get("/metrics").await.body.to_vec()).unwrap();
    assert!(figures.contains("\nparlo_feed_frames_total 200\n"), "{figures}");
    assert!(figures.contains("\nparlo_feed_missed_frames_total 0\n"), "{figures}");
}

#[tokio::test]
async fn whoever_is_early_waits_for_the_beginning() {
    let stand = Stand::new();
    stand.feeds.open(7);
    let mut early = listen(&stand, "/api/v1/calls/7/feed").await.unwrap();
    until_clients(&stand, 1).await;
    stand.feeds.begin(Instant::now(), start(7));
    stand.feeds.settle();
    assert_eq!(next(&mut early).await.unwrap(), FeedMessage::Start(start(7)));
    // A call that turns out to be without tokens just ends.
    stand.feeds.open(8);
    stand.status.send_modify(|status| std::sync::Arc::make_mut(status).calls.push(crate::stand::call(8)));
    let mut without = listen(&stand, "/api/v1/calls/8/feed").await.unwrap();
    stand.feeds.end(8);
    stand.feeds.settle();
    assert_eq!(next(&mut without).await.unwrap(), FeedMessage::End);
}

#[tokio::test]
async fn what_cannot_be_fed_is_refused_with_the_reason() {
    let stand = stand();
    for (path, code, word) in [
        ("/api/v1/calls/8/feed", 404, "no call 8"),
        ("/api/v1/calls/x/feed", 404, "calls have numbers"),
        ("/api/v1/calls/7/feed?side=left", 400, "side=heard"),
        ("/api/v1/calls/7/feed?sides=both", 400, "side=heard"),
        ("/api/v1/calls/7/feed", 400, "WebSocket"),
    ] {
        let answer = stand.get(path).await;
        assert!(answer.status == code && answer.error().contains(word), "{path}: {answer:?}");
    }
    for change in [
        |call: &mut parlo_api::Call| call.state = CallState::Ended,
        |call: &mut parlo_api::Call| call.codec = Some("opus".into()),
    ] {
        stand.status.send_modify(|status| {
            let mut call = crate::stand::call(7);
            change(&mut call);
            std::sync::Arc::make_mut(status).calls = vec![call];
        });
        assert_eq!(listen(&stand, "/api/v1/calls/7/feed").await.unwrap_err(), 409);
    }
    // It has ended, and that is not published yet.
    stand.status.send_modify(|status| std::sync::Arc::make_mut(status).calls = vec![crate::stand::call(7)]);
    stand.feeds.end(7);
    assert_eq!(listen(&stand, "/api/v1/calls/7/feed").await.unwrap_err(), 409);
}

#[tokio::test]
async fn feeds_are_guarded_as_everything_else() {
    let stand = stand();
    let (port, bearer) = (stand.port(), format!("Bearer {}", stand.token()));
    let connect = async |headers: &[(&'static str, &str)]| {
        let address = format!("ws://127.0.0.1:{port}/api/v1/calls/7/feed");
        let mut request = address.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, stand.tcp().await).await {
            Ok(_) => 101,
            Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(connect(&[("authorization", &bearer)]).await, 101);
    assert_eq!(connect(&[]).await, 401);
    assert_eq!(connect(&[("authorization", &bearer), ("origin", "http://evil.example")]).await, 403);
    assert_eq!(connect(&[("authorization", &bearer), ("host", "evil.example")]).await, 403);
}

#[tokio::test]
async fn a_hundred_listeners_that_do_not_read_delay_nobody_and_are_told_what_they_missed() {
    let stand = stand();
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(listen(&stand, "/api/v1/calls/7/feed").await.unwrap());
    }
    let mut quick = listen(&stand, "/api/v1/calls/7/feed").await.unwrap();
    until_clients(&stand, 101).await;
    assert_eq!(next(&mut quick).await.unwrap(), FeedMessage::Start(start(7)));
    // Longer frames than there are, so that the sockets are soon full.
    let total = 3000;
    for number in 0..total {
        let frame = frame(FeedStream::Heard, number, 400);
        stand.feeds.frame(7, frame.clone());
        assert_eq!(next(&mut quick).await.unwrap(), FeedMessage::Frame(frame), "who reads misses nothing");
    }
    stand.feeds.end(7);
    stand.feeds.settle();
    for stream in slow.iter_mut().step_by(33) {
        assert_eq!(next(stream).await.unwrap(), FeedMessage::Start(start(7)));
        let (mut expected, mut gaps) = (0, 0);
        loop {
            match next(stream).await.unwrap() {
                FeedMessage::Missed { frames } => {
                    expected += frames;
                    gaps += 1;
                }
                FeedMessage::Frame(frame) => {
                    assert_eq!(frame.number, Some(expected), "in order, and what is missing was told");
                    expected += 1;
                }
                FeedMessage::End => break,
                message => panic!("{message:?}"),
            }
        }
        assert!(expected == total && gaps > 0, "{expected} of {total}, {gaps} gaps");
    }
}

#[tokio::test]
async fn feeds_are_closed_when_the_server_ends() {
    let stand = stand();
    let mut stream = listen(&stand, "/api/v1/calls/7/feed").await.unwrap();
    next(&mut stream).await.unwrap();
    let Stand { server, .. } = stand;
    tokio::task::spawn_blocking(|| server.shut_down()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap_err(), 1001);
}
