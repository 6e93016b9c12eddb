//! Calls between two daemons' call managers in one process, over real sockets, driven as the control API drives them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    sync::{Arc, LazyLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parlo_api::{
    AudioChange, Call, CallChange, CallState, Dial, Direction, FeedFrame, FeedMark, FeedMessage, FeedStream, Presence,
    RefusalReason, Status,
};
use parlod::{
    call::{CallError, Engine, Stop},
    call_manager::{Handle, Refused, RefusedKind, Reply, Request, Service},
    config::{AutoAnswer, Config, Endpoint},
    feeds::{Listening, Taken, Wanted},
    recordings::Recordings,
};
use support::clip;

/// Where the one key of all sides here is kept.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    // SAFETY: set before any other thread of this process looks: every test makes its sides through this.
    unsafe { std::env::set_var("XDG_CONFIG_HOME", folder.path()) };
    folder
});

/// One daemon: its call manager on a thread, and a hold on it.
struct Side {
    handle: Handle,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), CallError>>>,
    runtime: tokio::runtime::Runtime,
}

impl Side {
    fn new(answer: AutoAnswer, source: Endpoint) -> Self {
        Self::with_sink(answer, source, Endpoint::None)
    }

    fn with_sink(answer: AutoAnswer, source: Endpoint, sink: Endpoint) -> Self {
        let folder = FOLDER.path().to_owned();
        let mut config = Config::default();
        config.call.listen = "127.0.0.1:0".into();
        config.call.answer = answer;
        config.call.ring_seconds = 5;
        (config.audio.source, config.audio.sink) = (source, sink);
        let engine = Engine::new(config, Instant::now(), false).unwrap();
        let recordings = Arc::new(Recordings::new(&folder.join("recordings")));
        let (handle, backend) = Service::handle(&engine, Arc::clone(&recordings));
        let stop = Stop::default();
        let stops = stop.clone();
        let service = Service { call: None, listen: true, once: false };
        let run = move || service.run(&engine, Some((backend, recordings)), &stops, &mut |_| {});
        let thread = Some(std::thread::spawn(run));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let side = Self { handle, stop, thread, runtime };
        side.until("it listens", |status| status.listening.is_some());
        side
    }

    fn address(&self) -> String {
        self.handle.status().listening.clone().unwrap()
    }

    fn ask(&self, request: Request) -> Result<Reply, Refused> {
        self.runtime.block_on(self.handle.ask(request))
    }

    fn dial(&self, to: &str) -> Call {
        match self.ask(Request::Dial(Dial { peer: to.into(), ..Dial::default() })).unwrap() {
            Reply::Call(call) => *call,
            Reply::Done => panic!("a call was asked for"),
        }
    }

    fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let start = Instant::now();
        loop {
            let status = self.handle.status();
            if holds(&status) {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "waited for: {what}; now: {:#?}", status.calls);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn call_is(&self, what: &str, holds: impl Fn(&Call) -> bool) -> Call {
        let status = self.until(what, |status| status.calls.last().is_some_and(&holds));
        status.calls.last().unwrap().clone()
    }

    fn state(&self, state: CallState) -> Call {
        self.call_is(&format!("{state:?}"), |call| call.state == state)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.request();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn speech() -> Endpoint {
    Endpoint::File(clip())
}

/// The clip ten times over: more than a minute.
fn long_speech() -> Endpoint {
    static FILE: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
        let file = FOLDER.path().join("long.wav");
        support::long_clip(10, &file);
        file
    });
    Endpoint::File(FILE.clone())
}

#[test]
fn a_call_rings_is_answered_held_changed_and_hung_up() {
    let (alice, bob) = (Side::new(AutoAnswer::Never, long_speech()), Side::new(AutoAnswer::Never, Endpoint::None));
    let placed = alice.dial(&bob.address());
    assert_eq!((placed.direction, placed.state), (Direction::Outgoing, CallState::Calling));
    let rings = bob.state(CallState::Ringing);
    assert_eq!(rings.direction, Direction::Incoming);
    alice.state(CallState::Ringing);
    assert!(bob.handle.status().audio.endpoints.source_name.is_none(), "no microphone before an answer");
    bob.ask(Request::Answer(rings.id)).unwrap();
    let call = alice.call_is("figures", |call| call.figures.is_some_and(|f| f.sent.wire > 1.0 && f.elapsed_s > 1.0));
    assert_eq!((call.state, call.codec.as_deref()), (CallState::Active, Some("tokens")));
    let figures = call.figures.unwrap();
    let sum = figures.sent.speech + figures.sent.redundancy + figures.sent.headers + figures.sent.ip;
    assert!((sum - figures.sent.wire).abs() < 1e-6 && figures.sent.ip > 0.5, "{figures:?}");
    let heard = bob.call_is("speech is heard", |call| call.figures.is_some_and(|f| f.frames.real > 50));
    let budget = heard.figures.unwrap().budget;
    assert!(budget.frame >= 40.0 && budget.total > budget.frame, "{budget:?}");

    let change = |side: &Side, id, change: CallChange| side.ask(Request::Change(id, change));
    change(&alice, call.id, CallChange { held: Some(true), ..CallChange::default() }).unwrap();
    bob.call_is("held by the peer", |call| call.held_by_peer);
    let silent = bob.handle.status().calls[0].figures.unwrap().frames.real;
    change(&alice, call.id, CallChange { held: Some(false), ..CallChange::default() }).unwrap();
    bob.call_is("taken up again", |call| {
        !call.held_by_peer && call.figures.is_some_and(|f| f.frames.real > silent + 10)
    });
    change(&alice, call.id, CallChange { depth: Some(3), ..CallChange::default() }).unwrap();
    alice.call_is("three codes", |call| call.figures.is_some_and(|f| f.depth <= 3));
    for wrong in [
        CallChange { depth: Some(99), ..CallChange::default() },
        CallChange { latency_ms: Some(1), ..CallChange::default() },
        CallChange { volume_db: Some(f32::NAN), ..CallChange::default() },
    ] {
        assert_eq!(change(&alice, call.id, wrong).unwrap_err().kind, RefusedKind::Invalid);
    }
    assert_eq!(alice.ask(Request::HangUp(77)).unwrap_err().kind, RefusedKind::NotFound);
    bob.ask(Request::HangUp(rings.id)).unwrap();
    assert_eq!(alice.state(CallState::Ended).failure, None);
    assert_eq!(bob.state(CallState::Ended).failure, None);
    assert_eq!(bob.ask(Request::HangUp(rings.id)).unwrap_err().kind, RefusedKind::Conflict);
}

#[test]
fn a_peer_that_records_is_seen_to() {
    let (alice, bob) = (Side::new(AutoAnswer::Never, speech()), Side::new(AutoAnswer::All, speech()));
    alice.dial(&bob.address());
    let call = bob.call_is("speech", |call| call.figures.is_some_and(|f| f.frames.real > 20));
    assert!(!alice.state(CallState::Active).recorded_by_peer && !call.recorded_by_peer);
    for _ in 0..2 {
        bob.ask(Request::Record(call.id)).unwrap();
        let seen = alice.call_is("recorded", |call| call.recorded_by_peer);
        assert!(seen.recording.is_none() && bob.state(CallState::Active).recording.is_some());
        assert!(!bob.state(CallState::Active).recorded_by_peer, "that is the other side");
        bob.ask(Request::StopRecording(call.id)).unwrap();
        alice.call_is("recorded no longer", |call| !call.recorded_by_peer);
    }
}

#[test]
fn what_is_written_to_a_file_instead_of_played_is_recorded_too() {
    let (alice, bob) = (Side::new(AutoAnswer::Never, speech()), Side::new(AutoAnswer::All, Endpoint::None));
    let file = FOLDER.path().join("kept.wav");
    let keeper = Side::with_sink(AutoAnswer::All, Endpoint::None, Endpoint::File(file));
    alice.dial(&keeper.address());
    alice.call_is("recorded", |call| call.recorded_by_peer);
    alice.dial(&bob.address());
    let other = alice.call_is("the other call", |call| call.id > 1 && call.figures.is_some_and(|f| f.elapsed_s > 1.0));
    assert!(!other.recorded_by_peer);
}

#[test]
fn time_goes_on_while_nothing_happens() {
    let alice = Side::new(AutoAnswer::Never, Endpoint::None);
    let mut watch = alice.handle.watch();
    let before = alice.handle.status();
    std::thread::sleep(Duration::from_millis(300));
    let after = alice.handle.status();
    assert!(
        after.uptime_s >= before.uptime_s + 0.3 && after.resident_mib > 1.0,
        "{} {}",
        after.uptime_s,
        after.resident_mib
    );
    // And whoever waits for news has some within ten seconds.
    watch.mark_unchanged();
    let told = alice.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(13), watch.changed()).await });
    told.unwrap().unwrap();
    assert!(watch.borrow().uptime_s > before.uptime_s);
}

#[test]
fn nobody_is_said_to_be_an_invalid_socket_address() {
    let alice = Side::new(AutoAnswer::Never, Endpoint::None);
    for (peer, word) in
        [("no-such-friend", "contacts"), ("nobody.invalid", "HOST:PORT"), ("nobody.invalid:7", "HOST:PORT")]
    {
        let call = alice.dial(peer);
        let ended = alice.call_is("the end", |now| now.id == call.id && now.state == CallState::Ended);
        let why = ended.failure.unwrap();
        assert!(
            why.contains(peer.trim_end_matches(":7")) && why.contains(word) && !why.contains("socket address"),
            "{why}"
        );
    }
}

#[test]
fn callers_are_told_why_nobody_answers() {
    let (alice, bob) = (Side::new(AutoAnswer::Never, Endpoint::None), Side::new(AutoAnswer::Never, Endpoint::None));
    let failure = || alice.state(CallState::Ended).failure.unwrap_or_default();
    alice.dial(&bob.address());
    bob.ask(Request::Refuse(bob.state(CallState::Ringing).id, RefusalReason::Declined)).unwrap();
    assert!(failure().contains("does not want to"), "{}", failure());

    alice.dial(&bob.address());
    bob.ask(Request::Refuse(bob.state(CallState::Ringing).id, RefusalReason::Busy)).unwrap();
    alice.call_is("busy", |call| call.failure.as_ref().is_some_and(|why| why.contains("another call")));

    bob.ask(Request::Presence(Presence { do_not_disturb: true })).unwrap();
    alice.dial(&bob.address());
    let busy = |call: &Call| call.id == 3 && call.failure.as_ref().is_some_and(|why| why.contains("another call"));
    alice.call_is("busy, as bob is not to be disturbed", |call| busy(call) || call.state == CallState::Ended);
    assert!(failure().contains("another call"));
    bob.ask(Request::Presence(Presence { do_not_disturb: false })).unwrap();

    // Nobody comes: after five seconds both know.
    alice.dial(&bob.address());
    bob.state(CallState::Ringing);
    alice.call_is("nobody came", |call| call.failure.as_ref().is_some_and(|why| why.contains("nobody answered")));
    bob.call_is("missed", |call| call.failure.as_ref().is_some_and(|why| why.contains("missed")));

    // The caller gives up.
    let call = alice.dial(&bob.address());
    bob.state(CallState::Ringing);
    alice.state(CallState::Ringing);
    alice.ask(Request::HangUp(call.id)).unwrap();
    bob.call_is("given up", |call| call.state == CallState::Ended && call.failure.is_some());
}

#[test]
fn eight_calls_stand_at_once_and_the_ninth_is_told_that_the_line_is_busy() {
    let bob = Side::new(AutoAnswer::All, long_speech());
    let alice = Side::new(AutoAnswer::Never, long_speech());
    for _ in 0..8 {
        alice.dial(&bob.address());
    }
    let active = |status: &Status| status.calls.iter().filter(|call| call.state == CallState::Active).count();
    bob.until("eight calls", |status| active(status) == 8);
    alice.until("eight calls", |status| active(status) == 8);
    let nine = alice.ask(Request::Dial(Dial { peer: bob.address(), ..Dial::default() })).unwrap_err();
    assert_eq!(nine.kind, RefusedKind::Conflict);
    let carol = Side::new(AutoAnswer::Never, Endpoint::None);
    carol.dial(&bob.address());
    assert!(carol.state(CallState::Ended).failure.unwrap().contains("another call"));
    alice.until("all are heard", |status| {
        status.calls.iter().all(|call| call.figures.is_some_and(|f| f.frames.real > 20))
    });
}

#[test]
fn sound_is_changed_while_a_call_goes_on() {
    let (alice, bob) = (Side::new(AutoAnswer::Never, long_speech()), Side::new(AutoAnswer::All, Endpoint::None));
    alice.dial(&bob.address());
    bob.call_is("speech", |call| call.figures.is_some_and(|f| f.frames.real > 30));
    let set = |change: AudioChange| alice.ask(Request::Audio(change));
    set(AudioChange { muted: Some(true), ..AudioChange::default() }).unwrap();
    alice.until("muted", |status| status.audio.muted);
    let before = bob.handle.status().calls[0].figures.unwrap().frames.silent;
    bob.call_is("silence is told", |call| call.figures.is_some_and(|f| f.frames.silent > before + 30));
    set(AudioChange { muted: Some(false), push_to_talk: Some(true), talking: Some(true), ..AudioChange::default() })
        .unwrap();
    alice.until("talking", |status| status.audio.talking && status.audio.push_to_talk && !status.audio.muted);
    // Pressed for a while only, it is let go if nobody presses it again.
    let pressed = AudioChange { talking: Some(true), talking_for_ms: Some(150), ..AudioChange::default() };
    set(pressed.clone()).unwrap();
    alice.until("let go", |status| !status.audio.talking);
    set(pressed).unwrap();
    set(AudioChange { talking: Some(true), ..AudioChange::default() }).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(alice.handle.status().audio.talking, "it was pressed again, until it is let go");
    for wrong in [
        AudioChange { talking: Some(true), talking_for_ms: Some(5), ..AudioChange::default() },
        AudioChange { source: Some("file:/etc/passwd".into()), ..AudioChange::default() },
        AudioChange { source: Some("nonsense".into()), ..AudioChange::default() },
        AudioChange { input_gain_db: Some(99.0), ..AudioChange::default() },
    ] {
        assert_eq!(set(wrong).unwrap_err().kind, RefusedKind::Invalid);
    }
    set(AudioChange { source: Some("none".into()), ..AudioChange::default() }).unwrap();
    assert_eq!(alice.handle.status().audio.endpoints.source, "none");
    assert_eq!(alice.handle.status().calls[0].state, CallState::Active, "the call goes on");
}

/// All that a feed has told so far.
fn told(listening: &mut Listening) -> Vec<FeedMessage> {
    std::iter::from_fn(|| listening.take())
        .map(|taken| match taken {
            Taken::Item(told) => serde_json::from_str(&told.text).unwrap(),
            Taken::Missed(frames) => panic!("{frames} frames were missed"),
        })
        .collect()
}

#[test]
fn a_feed_has_every_frame_from_the_calls_beginning_to_its_end() {
    let (alice, bob) = (Side::new(AutoAnswer::Never, long_speech()), Side::new(AutoAnswer::Never, Endpoint::None));
    alice.dial(&bob.address());
    let rings = bob.state(CallState::Ringing);
    // Before there is anything to be heard.
    let mut feed = bob.handle.feeds().listen(rings.id, Wanted::BOTH).unwrap();
    bob.ask(Request::Answer(rings.id)).unwrap();
    let mut messages = Vec::new();
    let heard = |messages: &[FeedMessage]| -> Vec<FeedFrame> {
        let frames = messages.iter().filter_map(|message| match message {
            FeedMessage::Frame(frame) if frame.stream == FeedStream::Heard => Some(frame.clone()),
            _ => None,
        });
        frames.collect()
    };
    let begun = Instant::now();
    while heard(&messages).iter().filter(|frame| frame.mark == FeedMark::Real).count() < 60 {
        messages.extend(told(&mut feed));
        assert!(begun.elapsed() < Duration::from_secs(30), "{messages:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    bob.ask(Request::HangUp(rings.id)).unwrap();
    bob.state(CallState::Ended);
    while messages.last() != Some(&FeedMessage::End) {
        messages.extend(told(&mut feed));
        assert!(begun.elapsed() < Duration::from_secs(60), "the feed does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let FeedMessage::Start(start) = &messages[0] else { panic!("{:?}", messages[0]) };
    let bundle = bob.handle.status().bundle.clone();
    assert_eq!((start.call, &start.bundle, &start.sizes), (rings.id, &bundle.id, &bundle.codebooks));
    assert_eq!((start.sample_rate, start.frame_samples), (16_000, 320));
    let frames = heard(&messages);
    let numbers: Vec<u64> = frames.iter().filter_map(|frame| frame.number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert!(
        frames.iter().all(|frame| frame.codes.is_empty() != matches!(frame.mark, FeedMark::Real | FeedMark::Coarse))
    );
    assert!(messages[1..messages.len() - 1].iter().all(|message| matches!(message, FeedMessage::Frame(_))));
    assert!(bob.handle.feeds().listen(rings.id, Wanted::BOTH).is_none(), "it is over");
}

#[test]
fn the_feed_of_a_call_that_never_stands_just_ends() {
    let alice = Side::new(AutoAnswer::Never, long_speech());
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let call = alice.dial(&nobody.local_addr().unwrap().to_string());
    let mut feed = alice.handle.feeds().listen(call.id, Wanted::BOTH).unwrap();
    alice.ask(Request::HangUp(call.id)).unwrap();
    alice.state(CallState::Ended);
    let begun = Instant::now();
    let mut messages = Vec::new();
    while messages.is_empty() {
        messages = told(&mut feed);
        assert!(begun.elapsed() < Duration::from_secs(30), "the feed does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(messages, [FeedMessage::End]);
}
