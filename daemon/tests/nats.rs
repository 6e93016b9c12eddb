//! Live tokens through a real NATS server. Where there is none (`cargo xtask setup` installs Debian's), these tests say so and are
//! over.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use parlo_api::{FeedFrame, FeedMark, FeedMessage, FeedStart, FeedStream, Message};
use parlo_test_support::samples;
use parlod::{
    call_manager::Handle,
    config::NatsConfig,
    feeds::{Feeds, Taken},
    nats::Nats,
    recordings::Recordings,
};
use tempfile::TempDir;
use tokio::{sync::broadcast, time::timeout};

/// So long that only what hangs takes it.
const LONG: Duration = Duration::from_secs(60);

/// A real server.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// None if there is no such program.
    fn start(port: u16, more: &[&str]) -> Option<Self> {
        // Debian has it where only root looks.
        let found = ["nats-server", "/usr/sbin/nats-server"].iter().find(|program| {
            let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        });
        let Some(program) = found else {
            eprintln!("skipped: there is no nats-server; `cargo xtask setup` installs it");
            return None;
        };
        let child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < LONG, "nats-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A daemon's feeds and notices, without its call manager.
struct Stand {
    folder: TempDir,
    handle: Handle,
    feeds: Arc<Feeds>,
    notices: broadcast::Receiver<Arc<str>>,
}

impl Stand {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recordings = Arc::new(Recordings::new(folder.path()));
        let (handle, backend) = Handle::new(samples::status(vec![]), recordings);
        let notices = handle.notices();
        Self { folder, feeds: backend.feeds, notices, handle }
    }

    fn publish(&self, url: &str, token_file: &Path) -> Nats {
        let config = NatsConfig { url: url.into(), token_file: token_file.into(), ..NatsConfig::default() };
        Nats::start(&config, &self.handle).unwrap()
    }

    fn begin(&self, call: u64) {
        self.feeds.open(call);
        self.feeds.begin(Instant::now(), start(call));
        self.feeds.settle();
    }

    fn frame(&self, call: u64, stream: FeedStream, number: u64, codes: usize) {
        self.feeds.frame(call, frame(stream, number, codes));
    }

    async fn notice(&mut self, word: &str) -> String {
        let found = timeout(LONG, async {
            loop {
                let text = self.notices.recv().await.unwrap();
                let Message::Notice { text, call: None } = serde_json::from_str(&text).unwrap() else { continue };
                if text.contains(word) {
                    return text;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no notice with \"{word}\" came"))
    }
}

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
    FeedFrame { stream, number: Some(number), time_ms: 20 * number, mark, codes: vec![(number % 1024) as u16; codes] }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = timeout(LONG, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    wait.await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

async fn connected(nats: &Nats) {
    until("the server", || nats.figures().connected.load(Relaxed)).await;
}

/// Somebody who listens to everything, through a connection of its own.
struct Consumer {
    _client: async_nats::Client,
    messages: async_nats::Subscriber,
}

impl Consumer {
    async fn new(url: &str) -> Self {
        let client = async_nats::connect(url).await.unwrap();
        let messages = client.subscribe("parlo.>").await.unwrap();
        // What comes back says that the server knows of both: it takes a connection's requests one after the other.
        let inbox = client.new_inbox();
        let mut back = client.subscribe(inbox.clone()).await.unwrap();
        client.publish(inbox, "there?".into()).await.unwrap();
        timeout(LONG, back.next()).await.expect("the server does not answer").unwrap();
        Self { _client: client, messages }
    }

    async fn next(&mut self) -> (String, FeedMessage) {
        let message = timeout(LONG, self.messages.next()).await.expect("no message came").unwrap();
        (message.subject.to_string(), serde_json::from_slice(&message.payload).unwrap())
    }
}

#[tokio::test]
async fn fifty_consumers_get_every_frame_of_every_call_in_order() {
    let Some(server) = Server::start(free_port(), &[]) else { return };
    let stand = Stand::new();
    let nats = stand.publish(&server.url(), Path::new(""));
    connected(&nats).await;
    let mut consumers = Vec::new();
    for _ in 0..50 {
        consumers.push(Consumer::new(&server.url()).await);
    }
    let total = 300;
    for call in [1, 2] {
        stand.begin(call);
    }
    for number in 0..total {
        for call in [1, 2] {
            for stream in [FeedStream::Said, FeedStream::Heard] {
                stand.frame(call, stream, number, 12);
            }
        }
        if number % 50 == 0 {
            // As fast as it goes without being faster than the queue.
            until("the thread", || nats.figures().published.load(Relaxed) >= number * 4).await;
        }
    }
    for call in [1, 2] {
        stand.feeds.end(call);
    }
    stand.feeds.settle();
    for mut consumer in consumers {
        let mut expected = [[0; 2]; 2];
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        while ends.len() < 2 {
            match consumer.next().await {
                (subject, FeedMessage::Start(start)) => {
                    assert_eq!(subject, format!("parlo.{}.start", start.call));
                    starts.push(start.call);
                }
                (subject, FeedMessage::Frame(got)) => {
                    let call: u64 = subject.split('.').nth(1).unwrap().parse().unwrap();
                    assert_eq!(subject, format!("parlo.{call}.{}", got.stream.name()));
                    let next = &mut expected[call as usize - 1][usize::from(got.stream == FeedStream::Said)];
                    assert_eq!(got, frame(got.stream, *next, 12));
                    *next += 1;
                }
                (subject, FeedMessage::End) => ends.push(subject),
                (_, missed) => panic!("{missed:?}"),
            }
        }
        assert_eq!((starts, expected), (vec![1, 2], [[total; 2]; 2]));
        assert_eq!(ends, ["parlo.1.end", "parlo.2.end"]);
    }
    assert_eq!(nats.figures().published.load(Relaxed), 4 * total);
    assert_eq!(nats.figures().dropped.load(Relaxed), 0);
}

#[tokio::test]
async fn a_server_that_stalls_costs_frames_that_are_counted_and_holds_nobody_up() {
    let Some(server) = Server::start(free_port(), &[]) else { return };
    let stand = Stand::new();
    let nats = stand.publish(&server.url(), Path::new(""));
    connected(&nats).await;
    let mut consumer = Consumer::new(&server.url()).await;
    stand.begin(1);
    // A client of the feed beside it.
    let mut listening = stand.feeds.listen(1, parlod::feeds::Wanted::BOTH).unwrap();
    server.signal("-STOP");
    // Longer frames than there are, so that the sockets are soon full; then many more than the queue holds.
    let (mut total, dropped) = (0, || nats.figures().dropped.load(Relaxed));
    let mut slowest = Duration::ZERO;
    while dropped() < 5000 {
        let begun = Instant::now();
        stand.frame(1, FeedStream::Heard, total, 400);
        slowest = slowest.max(begun.elapsed());
        total += 1;
        while let Some(taken) = listening.take() {
            assert!(matches!(taken, Taken::Item(_)), "who reads misses nothing");
        }
        if total % 100 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(total < 1_000_000);
    }
    eprintln!("{total} frames, of which {} were dropped; the slowest took {slowest:?}", dropped());
    server.signal("-CONT");
    // It goes on where it stood: what was dropped is told, and nothing else is missing.
    stand.feeds.end(1);
    stand.feeds.settle();
    let (mut received, mut missed, mut last) = (0, 0, None);
    loop {
        match consumer.next().await {
            (_, FeedMessage::Frame(frame)) => {
                assert!(last < frame.number, "in order");
                last = frame.number;
                received += 1;
            }
            (subject, FeedMessage::Missed { frames }) => {
                assert_eq!(subject, "parlo.missed");
                missed += frames;
            }
            (_, FeedMessage::Start(_)) => {}
            (_, FeedMessage::End) => break,
        }
    }
    assert_eq!((received + missed, missed), (total, dropped()));
    assert_eq!(last, Some(total - 1), "the newest are kept");
}

#[tokio::test]
async fn a_server_that_is_away_is_no_error_and_is_found_again() {
    let port = free_port();
    let mut stand = Stand::new();
    let nats = stand.publish(&format!("nats://127.0.0.1:{port}"), Path::new(""));
    stand.begin(1);
    stand.frame(1, FeedStream::Said, 0, 12);
    let notice = stand.notice("cannot be reached").await;
    assert!(notice.contains(&format!("127.0.0.1:{port}")) && notice.contains("calls go on"), "{notice}");
    let Some(server) = Server::start(port, &[]) else { return };
    connected(&nats).await;
    stand.notice("there again").await;
    let mut consumer = Consumer::new(&server.url()).await;
    let mut number = 1;
    let mut heard_from = async |consumer: &mut Consumer, stand: &Stand| {
        // What was published before the consumer was there, or is there again, it cannot have.
        loop {
            stand.frame(1, FeedStream::Said, number, 12);
            number += 1;
            match timeout(Duration::from_millis(200), consumer.messages.next()).await {
                Ok(Some(message)) if message.subject.as_str() == "parlo.1.said" => break,
                _ => assert!(number < 300, "nothing comes"),
            }
        }
    };
    heard_from(&mut consumer, &stand).await;
    server.signal("-KILL");
    drop(server);
    stand.notice("is gone").await;
    assert!(!nats.figures().connected.load(Relaxed));
    let _server = Server::start(port, &[]).unwrap();
    connected(&nats).await;
    heard_from(&mut consumer, &stand).await;
    // Ended, it says goodbye.
    stand.feeds.end(1);
    stand.feeds.settle();
    tokio::task::spawn_blocking(move || drop(nats)).await.unwrap();
    while !matches!(consumer.next().await, (_, FeedMessage::End)) {}
}

#[tokio::test]
async fn a_server_that_wants_a_token_gets_it_and_refuses_another() {
    let Some(server) = Server::start(free_port(), &["--auth", "sesame"]) else { return };
    let stand = Stand::new();
    let token = stand.folder.path().join("token");
    std::fs::write(&token, "sesame\n").unwrap();
    // A secret is closed to others.
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let nats = stand.publish(&server.url(), &token);
    connected(&nats).await;
    std::fs::write(&token, "open\n").unwrap();
    let mut other = Stand::new();
    let refused = other.publish(&server.url(), &token);
    other.notice("cannot be reached").await;
    assert!(!refused.figures().connected.load(Relaxed));
}

#[tokio::test]
async fn one_who_never_reads_neither_fills_memory_nor_stops_the_others() {
    // Without any server: the queue alone bounds what waits.
    let stand = Stand::new();
    let dropped = Arc::new(AtomicU64::new(0));
    let mut never = stand.feeds.listen_to_all(100, Arc::clone(&dropped));
    stand.begin(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..10_000).for_each(|number| stand.frame(1, FeedStream::Heard, number, 12));
            done.store(true, Relaxed);
        });
    });
    assert!(done.load(Relaxed));
    assert_eq!(dropped.load(Relaxed), 10_000 - 99, "the start is kept, and the newest frames");
    let waiting = std::iter::from_fn(|| never.take()).filter(|taken| matches!(taken, Taken::Item(_))).count();
    assert_eq!(waiting, 100);
}
