//! What nobody outside can do to a call manager: end it, hold it up, or take what is others'. Raw callers over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "strangers/psk.rs"]
mod psk;
mod support;

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parlo_api::{Call as Told, CallState, Dial, Status};
use parlo_protocol::{
    adapt::Limits,
    call::{Call, Event, Run},
    identity::{Identity, PublicKey},
    offer::Offer,
    packet::Goodbye,
    psk::Psk,
    session::Reason,
};
use parlod::{
    call::{CallError, Engine, Event as Happened, Stop},
    call_manager::{Handle, Refused, Reply, Request, Service},
    config::{AutoAnswer, Config, Endpoint},
    keys::KnownPeers,
    recordings::Recordings,
};
use support::tone;

/// Sides find their folders by the environment, one after another.
static MAKING: Mutex<()> = Mutex::new(());

/// A sound file of two minutes, longer than any test takes, without a pause.
fn speech(file: &Path) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(file, spec).unwrap();
    for sample in tone(440.0, 16_000, 120 * 16_000) {
        writer.write_sample((sample * 20_000.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// One daemon with a folder and a key of its own.
struct Side {
    folder: tempfile::TempDir,
    key: PublicKey,
    handle: Handle,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), CallError>>>,
    runtime: tokio::runtime::Runtime,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Side {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(change, |_| {})
    }

    /// With its folder as `prepare` leaves it.
    fn with(change: impl FnOnce(&mut Config), prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.call.listen = "127.0.0.1:0".into();
        config.call.answer = AutoAnswer::All;
        let file = folder.path().join("speech.wav");
        speech(&file);
        config.call.silence = false;
        (config.audio.source, config.audio.sink) = (Endpoint::File(file), Endpoint::None);
        change(&mut config);
        fs::create_dir(folder.path().join("parlo")).unwrap();
        prepare(&folder.path().join("parlo"));
        let engine = {
            let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: nobody else in this process looks at or changes the environment while sides are made.
            unsafe { std::env::set_var("XDG_CONFIG_HOME", folder.path()) };
            Engine::new(config, Instant::now(), false).unwrap()
        };
        let key = engine.identity().public();
        let recordings = Arc::new(Recordings::new(&folder.path().join("recordings")));
        let (handle, backend) = Service::handle(&engine, Arc::clone(&recordings));
        let stop = Stop::default();
        let (stops, notices) = (stop.clone(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&notices);
        let service = Service { call: None, listen: true, once: false };
        let thread = std::thread::spawn(move || {
            service.run(&engine, Some((backend, recordings)), &stops, &mut |event| {
                if let Happened::Notice(notice) = event {
                    heard.lock().unwrap().push(notice);
                }
            })
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let side = Self { folder, key, handle, stop, thread: Some(thread), runtime, notices };
        side.until("it listens", |status| status.listening.is_some());
        side
    }

    fn address(&self) -> SocketAddr {
        self.handle.status().listening.unwrap().parse().unwrap()
    }

    fn known_peers(&self) -> PathBuf {
        self.folder.path().join("parlo/known_peers")
    }

    fn is_there(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn ask(&self, request: Request) -> Result<Reply, Refused> {
        self.runtime.block_on(self.handle.ask(request))
    }

    fn dial(&self, to: SocketAddr) -> u64 {
        let peer = to.to_string();
        match self.ask(Request::Dial(Dial { peer, ..Dial::default() })).unwrap() {
            Reply::Call(call) => call.id,
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
            let notices = self.said("");
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "waited for: {what}; now: {:#?}, said: {notices:?}",
                status.calls
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What was said that has these words.
    fn said(&self, words: &str) -> Vec<String> {
        self.notices.lock().unwrap().iter().filter(|notice| notice.contains(words)).cloned().collect()
    }

    fn call(&self, id: u64) -> Told {
        self.handle.status().calls.into_iter().find(|call| call.id == id).unwrap()
    }

    fn heard(&self, id: u64) -> u64 {
        self.call(id).figures.map_or(0, |figures| figures.frames.real)
    }

    /// The call stands, and what is said in it is heard just now.
    fn is_heard(&self, id: u64) {
        let before = self.heard(id);
        self.until("the call is heard", |status| {
            status.calls.iter().any(|call| {
                call.id == id
                    && call.state == CallState::Active
                    && call.figures.is_some_and(|figures| figures.frames.real > before + 20)
            })
        });
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

/// Two sides in a call that is heard; its numbers there.
fn in_call(change: impl FnOnce(&mut Config)) -> (Side, Side, u64, u64) {
    let (ann, ben) = (Side::new(|_| {}), Side::new(change));
    let id = ann.dial(ben.address());
    let active = |status: &Status| status.calls.last().is_some_and(|call| call.state == CallState::Active);
    ann.until("the call", active);
    let there = ben.until("the call", active).calls[0].id;
    ben.is_heard(there);
    (ann, ben, id, there)
}

/// Somebody who calls, from an address and with a key of their own.
struct Caller {
    call: Call,
    socket: UdpSocket,
    /// It never says that it is there: nothing sealed is sent.
    is_silent: bool,
    connected: bool,
    refused: Option<Reason>,
    left: Option<Goodbye>,
    /// Everything that it sent.
    sent: Vec<Vec<u8>>,
}

impl Caller {
    fn dial(from: &str, who: u8, to: &Side, is_silent: bool) -> Self {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        Self::over(socket, who, to, is_silent)
    }

    /// With IK if it knows the side's key; and with IKpsk2 if it has a secret too.
    fn sharing(from: &str, who: u8, to: &Side, known: bool, psk: Option<&Psk>) -> Self {
        Self::calling(UdpSocket::bind((from, 0)).unwrap(), who, to, false, known.then_some(to.key), psk)
    }

    fn over(socket: UdpSocket, who: u8, to: &Side, is_silent: bool) -> Self {
        Self::calling(socket, who, to, is_silent, Some(to.key), None)
    }

    fn calling(
        socket: UdpSocket,
        who: u8,
        to: &Side,
        is_silent: bool,
        key: Option<PublicKey>,
        psk: Option<&Psk>,
    ) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let identity = Identity::from_bytes([who; 32]);
        let offer = Offer {
            tokens: vec![to.handle.status().bundle.tokens.parse().unwrap()],
            opus: true,
            depth: 6,
            frames_per_packet: 3,
            rekeys: false,
        };
        let (mut index, mut seed) = ([0; 2], [0; 32]);
        getrandom::fill(&mut index).unwrap();
        getrandom::fill(&mut seed).unwrap();
        let (index, limits) = (u16::from_be_bytes(index), Limits::new(6, 3));
        let call = Call::dial_with_psk(&identity, key, psk, to.address(), index, seed, &offer, limits, Instant::now())
            .unwrap();
        Self { call, socket, is_silent, connected: false, refused: None, left: None, sent: Vec::new() }
    }

    /// Does what is to be done for so long, or until something is decided.
    fn pump(&mut self, patience: Duration, decided: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + patience;
        let mut datagram = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            while self.call.poll_transmit(&mut datagram) {
                let is_sealed = datagram[0] & 0x80 != 0 || datagram[0] == 0x40;
                if !(self.is_silent && is_sealed) {
                    self.socket.send_to(&datagram, self.call.address()).unwrap();
                    self.sent.push(datagram.clone());
                }
            }
            if decided(self) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            let now = Instant::now();
            if self.call.poll_timeout().is_some_and(|due| now >= due) {
                let event = self.call.handle_timeout(now);
                self.take(event.as_ref());
            }
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                let datagram = &mut buffer[..length];
                let event = self.call.handle(Instant::now(), from, datagram);
                let (connected, refused, left) = news(event.as_ref());
                self.note(connected, refused, left);
            }
            while let Some(event) = self.call.poll_event() {
                self.take(Some(&event));
            }
        }
    }

    fn take(&mut self, event: Option<&Event<'_>>) {
        let (connected, refused, left) = news(event);
        self.note(connected, refused, left);
    }

    fn note(&mut self, connected: bool, refused: Option<Reason>, left: Option<Goodbye>) {
        self.connected |= connected;
        self.refused = self.refused.or(refused);
        self.left = self.left.or(left);
    }

    /// Until it has its answer.
    fn answered(mut self) -> Self {
        assert!(self.pump(Duration::from_secs(10), |caller| caller.connected || caller.refused.is_some()), "no answer");
        self
    }

    fn for_a_while(&mut self, ms: u64) {
        self.pump(Duration::from_millis(ms), |_| false);
    }

    fn hang_up(mut self) {
        self.call.hang_up(Instant::now(), Goodbye::HungUp);
        self.for_a_while(150);
    }
}

fn news(event: Option<&Event<'_>>) -> (bool, Option<Reason>, Option<Goodbye>) {
    match event {
        Some(Event::Connected { .. }) => (true, None, None),
        Some(Event::Refused(reason)) => (false, Some(*reason), None),
        Some(Event::PeerLeft { reason, .. }) => (false, None, Some(*reason)),
        _ => (false, None, None),
    }
}

#[test]
fn contacts_that_cannot_be_read_end_nothing_and_are_told_of_once() {
    let spoils: [fn(&Path); 3] = [
        |file| fs::write(file, b"# J\xfcrgen\n").unwrap(),
        |file| fs::write(file, "# x\n".repeat(300_000)).unwrap(),
        |file| fs::create_dir(file).unwrap(),
    ];
    for (n, spoil) in spoils.into_iter().enumerate() {
        let (_ann, ben, _, there) = in_call(|_| {});
        let known = KnownPeers::new(&ben.folder.path().join("parlo"));
        known.add("carl", None, &Identity::from_bytes([7; 32]).public()).unwrap();
        let text = fs::read(ben.known_peers()).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        fs::remove_file(ben.known_peers()).unwrap();
        spoil(&ben.known_peers());
        std::thread::sleep(Duration::from_millis(2500));
        // A stranger and a contact call: the last list that could be read holds.
        let stranger = Caller::dial("127.0.0.5", 9, &ben, false).answered();
        let contact = Caller::dial("127.0.0.6", 7, &ben, false).answered();
        assert!(ben.is_there() && stranger.connected && contact.connected, "{n}");
        ben.until("carl is known", |status| {
            status.calls.iter().any(|call| call.peer.name.as_deref() == Some("carl") && call.state == CallState::Active)
        });
        stranger.hang_up();
        contact.hang_up();
        ben.is_heard(there);
        assert_eq!(ben.said("known_peers").len(), 1, "{:?}", ben.said(""));
        if n == 2 {
            fs::remove_dir(ben.known_peers()).unwrap();
        }
        fs::write(ben.known_peers(), &text).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(ben.said("can be read again").len(), 1, "{:?}", ben.said(""));
    }
}

#[test]
fn who_was_never_able_to_read_its_contacts_lets_nobody_pass_for_one() {
    let ann = Side::new(|_| {});
    let ben = Side::with(|_| {}, |folder| fs::write(folder.join("known_peers"), [0xFF]).unwrap());
    // Who answers there could be anybody.
    let id = ben.dial(ann.address());
    ben.until("it fails", |status| status.calls.iter().any(|call| call.id == id && call.state == CallState::Ended));
    let why = ben.call(id).failure.unwrap();
    assert!(why.contains("known_peers") && why.contains("who is known"), "{why}");
    assert!(ben.is_there());
}

#[test]
fn a_lock_on_the_contacts_delays_no_call() {
    let (ann, ben, id, there) = in_call(|_| {});
    let lock = fs::File::create(ann.folder.path().join("parlo/.known_peers.lock")).unwrap();
    lock.lock().unwrap();
    // Who answers at an address that is no loopback's is written down, which has to wait.
    let Some(address) = own_address() else { return };
    let carl = Side::new(|config| config.call.listen = format!("{address}:0"));
    // Its own key is another, so that this call is one to a stranger.
    fs::write(carl.known_peers(), format!("ann - {}\n", ann.key)).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let before = (ben.heard(there), Instant::now());
    let call = ann.dial(carl.address());
    ann.until("the other call", |status| {
        status.calls.iter().any(|told| told.id == call && told.state == CallState::Active)
    });
    std::thread::sleep(Duration::from_secs(2));
    let asked = Instant::now();
    ann.ask(Request::Change(id, parlo_api::CallChange::default())).unwrap();
    assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
    ben.until("the first call goes on", |_| true);
    let (frames, seconds) = (ben.heard(there) - before.0, before.1.elapsed().as_secs_f64());
    assert!(frames as f64 > 35.0 * (seconds - 1.2), "{frames} frames in {seconds} s");
    assert!(ann.said("first time").is_empty(), "{:?}", ann.said(""));
    lock.unlock().unwrap();
    let start = Instant::now();
    while ann.said("first time").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(fs::read_to_string(ann.known_peers()).unwrap().contains(&carl.key.to_string()));
}

/// An address of this machine that others can reach, if it has one.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

fn active(side: &Side) -> usize {
    side.handle.status().calls.iter().filter(|call| call.state != CallState::Ended).count()
}

#[test]
fn who_does_not_confirm_takes_no_line_and_is_no_call() {
    let ann = Side::new(|_| {});
    let ben = Side::new(|config| config.call.anyone = true);
    let known = KnownPeers::new(&ben.folder.path().join("parlo"));
    known.add("carl", None, &Identity::from_bytes([7; 32]).public()).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let mut silent = Vec::new();
    for n in 0..10_u8 {
        let caller = Caller::dial(&format!("127.0.1.{n}"), 20 + n, &ben, true).answered();
        assert!(caller.connected && caller.refused.is_none(), "{n}");
        silent.push(caller);
    }
    assert!(ben.handle.status().calls.is_empty());
    let mut contact = Caller::dial("127.0.0.6", 7, &ben, false).answered();
    let own = ben.dial(ann.address());
    ben.until("both calls", |status| {
        status.calls.len() == 2 && status.calls.iter().all(|call| call.state == CallState::Active)
    });
    assert!(contact.connected && contact.refused.is_none());
    contact.for_a_while(10);
    // Of one address two may begin; a third waits until they are a second old. Others are not held up by that.
    let mut of_one: Vec<Caller> = (0..3).map(|n| Caller::dial("127.0.2.1", 40 + n, &ben, true)).collect();
    let had: Vec<bool> = of_one
        .iter_mut()
        .map(|caller| caller.pump(Duration::from_millis(150), |caller| caller.connected || caller.refused.is_some()))
        .collect();
    assert_eq!(had, [true, true, false]);
    contact.for_a_while(10);
    assert!(of_one[2].pump(Duration::from_secs(5), |caller| caller.connected));
    // They are forgotten, and nobody is told anything of them.
    contact.for_a_while(16_000);
    assert_eq!(ben.handle.status().calls.len(), 2);
    assert_eq!(ben.said(""), Vec::<String>::new());
    ben.ask(Request::HangUp(own)).unwrap();
    contact.hang_up();
}

#[test]
fn strangers_take_half_of_the_lines_at_most_and_one_is_kept_for_calls_out() {
    let ann = Side::new(|_| {});
    let ben = Side::new(|config| config.call.anyone = true);
    let known = KnownPeers::new(&ben.folder.path().join("parlo"));
    for who in 60..64 {
        known.add(&format!("contact-{who}"), None, &Identity::from_bytes([who; 32]).public()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(600));
    let call = |n: u8, who: u8| {
        let mut caller = Caller::dial(&format!("127.0.3.{n}"), who, &ben, false).answered();
        caller.for_a_while(50);
        let is_busy = caller.refused == Some(Reason::Busy) || caller.left == Some(Goodbye::Busy);
        assert_eq!(caller.connected && caller.left.is_none(), !is_busy);
        (caller, is_busy)
    };
    let mut callers = Vec::new();
    for n in 0..6 {
        let (caller, is_busy) = call(n, 50 + n);
        assert_eq!(is_busy, n >= 4, "stranger {n}");
        callers.extend(Some(caller).filter(|_| !is_busy));
    }
    for n in 0..4 {
        let (caller, is_busy) = call(10 + n, 60 + n);
        assert_eq!(is_busy, n >= 3, "contact {n}");
        callers.extend(Some(caller).filter(|_| !is_busy));
    }
    assert_eq!(active(&ben), 7);
    let own = ben.dial(ann.address());
    ben.until("the call out", |status| {
        status.calls.iter().any(|call| call.id == own && call.state == CallState::Active)
    });
    // Few lines of many that were refused, and true ones.
    for n in 0..20 {
        Caller::dial(&format!("127.0.4.{n}"), 100 + n, &ben, false).answered();
    }
    let busy = ben.said("was told that the line is busy");
    assert!(busy.len() <= 5 && busy[0].contains("127.0.3.4"), "{busy:?}");
    for caller in callers {
        caller.hang_up();
    }
}

#[test]
fn a_recorded_initiation_ends_no_call_and_begins_none() {
    let ben = Side::new(|_| {});
    let socket = UdpSocket::bind(("127.0.0.7", 0)).unwrap();
    let over = || Caller::over(socket.try_clone().unwrap(), 7, &ben, false).answered();
    let first = over();
    ben.until("the first call", |status| status.calls.iter().any(|call| call.state == CallState::Active));
    let recorded: Vec<_> = first.sent.iter().filter(|datagram| datagram[0] == 0x41).cloned().collect();
    assert!(recorded.len() >= 2);
    first.hang_up();
    ben.until("its end", |status| status.calls.iter().all(|call| call.state == CallState::Ended));
    let mut second = over();
    second.for_a_while(200);
    let id = ben.handle.status().calls.last().unwrap().id;
    for _ in 0..3 {
        for datagram in &recorded {
            socket.send_to(datagram, ben.address()).unwrap();
        }
        second.for_a_while(300);
    }
    assert_eq!(second.left, None);
    assert_eq!(ben.handle.status().calls.len(), 2);
    assert_eq!(ben.call(id).state, CallState::Active);
    second.hang_up();
}

#[test]
fn a_call_whose_place_another_one_takes_is_told_why() {
    let (ann, ben) = (Side::new(|_| {}), Side::new(|_| {}));
    let mut first = Caller::dial("127.0.0.8", 8, &ben, false).answered();
    let mut second = Caller::dial("127.0.0.8", 8, &ben, false).answered();
    assert!(first.pump(Duration::from_secs(5), |caller| caller.left.is_some()));
    assert_eq!(first.left, Some(Goodbye::Replaced));
    second.for_a_while(100);
    assert_eq!(second.left, None);
    let why = |side: &Side| side.handle.status().calls[0].failure.clone().unwrap_or_default();
    ben.until("the first call's end", |status| status.calls[0].state == CallState::Ended);
    assert!(why(&ben).contains("called again"), "{}", why(&ben));
    // From elsewhere the same key has a call of its own.
    let third = Caller::dial("127.0.0.9", 8, &ben, false).answered();
    second.for_a_while(200);
    assert!(second.left.is_none() && third.left.is_none());
    second.hang_up();
    third.hang_up();
    // A person is told so too.
    let id = ann.dial(ben.address());
    ann.until("the call", |status| status.calls.iter().any(|call| call.id == id && call.state == CallState::Active));
    let secret = fs::read_to_string(ann.folder.path().join("parlo/identity")).unwrap();
    let other = Side::with(
        |_| {},
        |folder| {
            use std::os::unix::fs::PermissionsExt;
            let file = folder.join("identity");
            fs::write(&file, &secret).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        },
    );
    other.dial(ben.address());
    ann.until("it ends", |status| status.calls[0].state == CallState::Ended);
    assert!(why(&ann).contains("with your key"), "{}", why(&ann));
}

#[test]
fn a_peer_that_floods_a_call_with_frames_costs_the_other_calls_nothing() {
    let (_ann, ben, _, there) = in_call(|_| {});
    let mut hostile = Caller::dial("127.0.0.10", 10, &ben, false).answered();
    assert!(hostile.pump(Duration::from_secs(10), |caller| !caller.call.peer_presence().ringing), "nobody picks up");
    let seconds = Duration::from_secs(5);
    let counts = || {
        let frames = ben.call(there).figures.unwrap().frames;
        (frames.real, frames.predicted + frames.faded)
    };
    // Each packet has as many frames and copies as there can be, of bytes that are hard to decode: 0.9 Mbit/s.
    let (before, start) = (counts(), Instant::now());
    let (mut first, mut slowest, mut sent) = (12, Duration::ZERO, 0_u32);
    while start.elapsed() < seconds {
        let mut payload = [0; 500];
        getrandom::fill(&mut payload).unwrap();
        let run = Run { count: 12, depth: 6, copies: 12, copy_depth: 4, payload: &payload };
        let context = hostile.call.context(first);
        hostile.call.send_frames(Instant::now(), &context, &run).unwrap();
        (first, sent) = (first + 12, sent + 1);
        hostile.for_a_while(0);
        if sent % 100 == 0 {
            let asked = Instant::now();
            ben.ask(Request::Change(there, parlo_api::CallChange::default())).unwrap();
            slowest = slowest.max(asked.elapsed());
        }
        std::thread::sleep((start + sent * Duration::from_millis(5)).saturating_duration_since(Instant::now()));
    }
    std::thread::sleep(Duration::from_millis(1200));
    let (after, took) = (counts(), start.elapsed().as_secs_f64());
    let (real, lost) = (after.0 - before.0, after.1 - before.1);
    println!("{sent} packets; {real} frames heard and {lost} lost of {:.0}; an answer took {slowest:?}", took * 50.0);
    assert!(sent > 500, "{sent}");
    assert!(real as f64 > 45.0 * (took - 1.0) && lost <= 5, "{real} heard and {lost} lost in {took} s");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // It is in a call all the same, and fills no log.
    assert_eq!(active(&ben), 2);
    for n in 0..200 {
        hostile.call.set_recorded(Instant::now(), n % 2 == 0);
        hostile.for_a_while(1);
    }
    let said = ben.said("records this call").len();
    assert!((1..=5).contains(&said), "{said}");
    hostile.hang_up();
}
