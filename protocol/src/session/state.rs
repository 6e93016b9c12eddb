//! One session, from either side: what comes in and goes out. `handshake` has how it begins.

use std::{
    mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use snow::HandshakeState;
use zeroize::Zeroizing;

use crate::{
    identity::PublicKey,
    session::{
        Event, MAX_FORGERIES, Reason, SealError, Stats,
        handshake::{Dialing, Responded, Shown},
        noise::{Draw, expand},
        path::{CHALLENGE_BYTES, Probe},
        rekey::Rekeying,
        seal::{OpenError, Opener, Sealer, Space},
        wire::{self, HEADER, MEDIA, Outer, Sealed, TAG},
    },
};

/// First pause before a message is repeated; each further one is half as long again, up to [`PAUSE_MAX`].
pub(super) const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a caller repeats one message.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A refusal that anyone could have sent is believed if nothing better has come so long after. Longer than
/// [`COOKIE_STAYS`], so that the two forged together do not end a handshake.
const DOUBT: Duration = Duration::from_secs(2);

/// An answerer gives no answer twice within so long, however often it is asked.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

/// How often an answer is given in all that is longer than its question, as that of XX is: a recorded question could come again and
/// again in the name of who has gone. A caller that has asked so often begins anew.
pub(super) const MOST_ANSWERS: u8 = 3;

/// What a control packet begins with, inside: whose it is.
pub(super) const CONFIRM: u8 = 0;
const CONFIRMED: u8 = 1;
pub(super) const ANSWER: u8 = 2;
pub(super) const REFUSED: u8 = 3;
const APPLICATION: u8 = 4;
const CHALLENGE: u8 = 5;
const ECHO: u8 = 6;
const REKEY: u8 = 7;
const REKEYED: u8 = 8;

pub(super) struct Keys {
    caller: bool,
    seal_media: Sealer,
    seal_control: Sealer,
    open_media: Opener<256>,
    open_control: Opener<32>,
    /// Makes the challenges of paths.
    challenges: Draw,
    /// What the next agreement of keys is mixed with.
    root: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub(super) fn new(noise: &mut HandshakeState, caller: bool) -> Box<Self> {
        let (from_caller, from_answerer) = noise.dangerously_get_raw_split();
        let (from_caller, from_answerer) = (Zeroizing::new(from_caller), Zeroizing::new(from_answerer));
        let mut root = Zeroizing::new([0; 32]);
        expand(&from_caller, b"parlo root", &mut *root);
        let (out, back) = if caller { (from_caller, from_answerer) } else { (from_answerer, from_caller) };
        let mut seed = [0; 32];
        expand(&out, b"parlo paths", &mut seed);
        Box::new(Self {
            caller,
            challenges: Draw::new(seed),
            seal_media: Sealer::new(&out, Space::Media),
            seal_control: Sealer::new(&out, Space::Control),
            open_media: Opener::new(&back, Space::Media),
            open_control: Opener::new(&back, Space::Control),
            root,
        })
    }

    pub(super) fn is_caller(&self) -> bool {
        self.caller
    }

    pub(super) fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// The epochs of the next media and control packet.
    pub(super) fn next_epochs(&self) -> (u32, u32) {
        (self.seal_media.next_epoch() as u32, self.seal_control.next_epoch() as u32)
    }

    /// Whether the peer's numbers can be near these epochs.
    pub(super) fn are_near(&self, media: u32, control: u32) -> bool {
        self.open_media.is_near(media.into()) && self.open_control.is_near(control.into())
    }

    /// The peer may use these keys from now on; those of two agreements before are overwritten.
    pub(super) fn expect_generation(&mut self, direction: &[u8; 32], media: u32, control: u32) {
        self.open_media.expect_generation(direction, media.into());
        self.open_control.expect_generation(direction, control.into());
    }

    /// This side uses these keys from now on.
    pub(super) fn seal_with(&mut self, direction: &[u8; 32], media: u32, control: u32, root: &[u8; 32]) {
        self.seal_media.rekey(direction, media.into());
        self.seal_control.rekey(direction, control.into());
        self.root.copy_from_slice(root);
    }

    /// The peer uses what it [may](Self::expect).
    pub(super) fn turn(&mut self) {
        self.open_media.turn();
        self.open_control.turn();
    }

    #[cfg(test)]
    pub(super) fn has_old(&self) -> bool {
        self.open_media.has_old() || self.open_control.has_old()
    }

    /// Overwrites the keys that the peer used before.
    pub(super) fn forget(&mut self) {
        self.open_media.forget();
        self.open_control.forget();
    }
}

/// How often an answerer has answered, and when.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    given: u8,
    last: Option<Instant>,
    /// When to answer somebody who asked soon after the last answer.
    pub(super) due: Option<Instant>,
}

impl Answers {
    /// Counts an answer.
    pub(super) fn give(&mut self, now: Instant) {
        *self = Self { given: self.given.saturating_add(1), last: Some(now), due: None };
    }

    /// The same is asked again. Whether to answer at once: later, if it is soon after the last answer; and not at all, if the
    /// answer is longer than the question and was given [`MOST_ANSWERS`] times.
    pub(super) fn asked_again(&mut self, now: Instant, is_short: bool) -> bool {
        if !is_short && self.given >= MOST_ANSWERS {
            return false;
        }
        self.due = Some(self.last.map_or(now, |last| (last + ANSWER_PAUSE).max(now)));
        self.is_due(now)
    }

    /// Whether an answer is due, which is counted then.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| now >= due);
        if due {
            self.give(now);
        }
        due
    }
}

pub(super) enum SessionState {
    /// Caller: repeats the initiation.
    Dialing(Box<Dialing>),
    /// Caller, XX: repeats the third message until the answer comes.
    Finishing,
    /// Answerer, IK: the user is asked. The second message is yet to be written.
    Asked(Box<HandshakeState>),
    /// Answerer, XX: has written the second message, and waits for the third.
    Responded(Box<Responded>),
    /// Answerer, XX: has the third message; the user is asked.
    AskedLast,
    /// Answerer: has accepted, and says no more until the caller shows that it is there.
    Unconfirmed,
    /// Answerer: has refused, and says so again when asked again.
    Refusing,
    /// Both may send. A caller repeats its confirmation until something comes back.
    Open {
        confirming: bool,
    },
    Closed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timer {
    /// When to repeat, and the pause after that.
    pub(super) next: Option<(Instant, Duration)>,
    /// When to give up.
    pub(super) end: Instant,
}

impl Timer {
    pub(super) fn repeating(now: Instant) -> Option<Self> {
        Some(Self { next: Some((now + PAUSE, PAUSE)), end: now + HANDSHAKE_TIMEOUT })
    }

    pub(super) fn waiting(now: Instant, patience: Duration) -> Option<Self> {
        Some(Self { next: None, end: now + patience })
    }
}

/// One session with one peer, from either side. The [module](crate::session) has the rules for its users.
pub struct Session {
    /// The receiver's index in datagrams that come, and in those that go.
    pub(super) index: u16,
    pub(super) remote: u16,
    pub(super) address: SocketAddr,
    pub(super) peer: Option<PublicKey>,
    pub(super) state: SessionState,
    pub(super) keys: Option<Box<Keys>>,
    /// The handshake message to send, and to send again: a whole datagram.
    pub(super) message: Vec<u8>,
    pub(super) message_due: bool,
    /// Which of the session's own control packets is to be sent.
    pub(super) control_due: Option<u8>,
    /// Answerer, XX: what the control packet says, as long as it may have to be said again.
    pub(super) verdict: (u8, Vec<u8>),
    /// Answerer: the secret that the caller shows.
    pub(super) shown: Option<Box<Shown>>,
    /// Answerer: SHA-256 of the messages that it has taken, to know them again.
    pub(super) taken: [Option<[u8; 32]>; 2],
    /// Answerer: how often its handshake message was sent, and its verdict of XX.
    pub(super) answers: Answers,
    pub(super) verdicts: Answers,
    pub(super) timer: Option<Timer>,
    /// A refusal that anyone could have sent, and when to believe it.
    pub(super) doubted: Option<(Reason, Instant)>,
    pub(super) confirmed: bool,
    pub(super) moved: Option<(SocketAddr, SocketAddr)>,
    /// Where the peer may have moved to.
    pub(super) probe: Option<Probe>,
    /// A challenge of the peer's to be sent back, and where it came from.
    pub(super) echo: Option<(SocketAddr, [u8; CHALLENGE_BYTES])>,
    /// Whether, and how, keys are agreed anew.
    pub(super) rekeying: Option<Box<Rekeying>>,
    /// Where what was polled last goes.
    pub(super) to: SocketAddr,
    pub(super) stats: Stats,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("index", &self.index)
            .field("address", &self.address)
            .field("peer", &self.peer)
            .field("open", &self.is_open())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn with(
        state: SessionState,
        timer: Option<Timer>,
        address: SocketAddr,
        index: u16,
        remote: u16,
    ) -> Self {
        Self {
            index,
            remote,
            address,
            peer: None,
            state,
            keys: None,
            message: Vec::new(),
            message_due: false,
            control_due: None,
            verdict: (REFUSED, Vec::new()),
            shown: None,
            taken: [None; 2],
            answers: Answers::default(),
            verdicts: Answers::default(),
            timer,
            doubted: None,
            confirmed: false,
            moved: None,
            probe: None,
            echo: None,
            rekeying: None,
            to: address,
            stats: Stats::default(),
        }
    }

    /// Takes a datagram. Bodies are decrypted where they lie.
    pub fn handle<'d>(&mut self, now: Instant, from: SocketAddr, datagram: &'d mut [u8]) -> Option<Event<'d>> {
        let known_address = same(from, self.address);
        match Outer::parse(datagram) {
            Ok(Outer::Sealed { receiver, header }) if receiver == self.index => {
                return self.open(now, from, header, datagram);
            }
            Ok(Outer::Initiate { .. }) => {
                let again = self.is_repeat(from, datagram);
                let answers = matches!(
                    self.state,
                    SessionState::Responded(_) | SessionState::Unconfirmed | SessionState::Refusing
                );
                let is_short = self.message.len() <= datagram.len();
                self.message_due |=
                    again && answers && !self.message.is_empty() && self.answers.asked_again(now, is_short);
                self.count_handshake(again);
            }
            Ok(Outer::Retry { receiver, cookie }) if receiver == self.index && known_address => self.retry(cookie, now),
            Ok(Outer::Respond { receiver, noise }) if receiver == self.index && known_address => {
                return self.respond(noise, now);
            }
            Ok(Outer::Finish { receiver, noise }) if receiver == self.index && known_address => {
                return self.finish(noise, now);
            }
            Ok(Outer::Refuse { receiver, reason }) if receiver == self.index && known_address => {
                let dialing = matches!(self.state, SessionState::Dialing(_));
                if dialing && self.doubted.is_none() {
                    self.doubted = Some((reason.into(), now + DOUBT));
                }
                self.count_handshake(dialing);
            }
            Ok(_) => self.stats.strangers += 1,
            Err(_) => self.stats.malformed += 1,
        }
        None
    }

    pub(super) fn count_handshake(&mut self, useful: bool) {
        if useful {
            self.stats.handshake += 1;
        } else {
            self.stats.unexpected += 1;
        }
    }

    /// A sealed packet for this session.
    fn open<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        header: Sealed,
        datagram: &'d mut [u8],
    ) -> Option<Event<'d>> {
        let expected =
            matches!(self.state, SessionState::Finishing | SessionState::Unconfirmed | SessionState::Open { .. });
        let Some(keys) = self.keys.as_mut().filter(|_| expected) else {
            self.count_handshake(false);
            return None;
        };
        let is_media = header.is_media();
        let opened =
            if is_media { keys.open_media.open(header, datagram) } else { keys.open_control.open(header, datagram) };
        let opened = match opened {
            Ok(opened) => opened,
            Err(OpenError::Replayed) => {
                self.stats.replayed += 1;
                return None;
            }
            Err(OpenError::Forged) => {
                self.stats.forged += 1;
                return (self.stats.forged >= MAX_FORGERIES).then(|| self.end(Event::Attacked));
            }
        };
        if opened.rekeyed {
            self.rekeyed(now);
        }
        self.watch_path(now, from, opened.newest, datagram.len());
        let end = datagram.len().saturating_sub(TAG);
        let body = datagram.get(HEADER..end).unwrap_or_default();
        if is_media {
            self.stats.media += 1;
            if matches!(self.state, SessionState::Finishing) {
                return None;
            }
            self.heard();
            return Some(Event::Media { number: opened.number, header: header.caller_bits(), body });
        }
        self.stats.control += 1;
        let (&kind, body) = body.split_first()?;
        let finishing = matches!(self.state, SessionState::Finishing);
        match kind {
            ANSWER if finishing => return self.peer.map(|peer| self.establish(peer, body.to_vec(), now)),
            REFUSED if finishing => {
                return Some(self.end(Event::Refused(body.first().copied().unwrap_or_default().into())));
            }
            // The answer again, to a third message that was repeated: says nothing of the confirmation.
            ANSWER | REFUSED => {}
            _ if finishing => {}
            CONFIRM => {
                self.heard();
                self.control_due = Some(CONFIRMED);
            }
            APPLICATION => {
                self.heard();
                return Some(Event::Control { number: opened.number, body });
            }
            CHALLENGE => {
                self.heard();
                self.echo = body.try_into().ok().map(|challenge| (from, challenge));
            }
            ECHO => {
                self.heard();
                if let Some(to) = self.probe.as_ref().and_then(|probe| probe.answered(body)) {
                    self.move_to(to);
                }
            }
            REKEY => {
                self.heard();
                self.rekey_asked(body);
            }
            REKEYED => {
                self.heard();
                self.rekey_answered(body, now);
            }
            // A kind of later versions counts as a sign of life.
            _ => self.heard(),
        }
        self.poll_event()
    }

    /// An authentic packet came from an address. Where one newer than all before comes from elsewhere, the peer may have moved.
    fn watch_path(&mut self, now: Instant, from: SocketAddr, newest: bool, bytes: usize) {
        if same(from, self.address) {
            return;
        }
        if newest
            && !self.probe.as_ref().is_some_and(|probe| probe.is_of(from))
            && let Some(keys) = &mut self.keys
        {
            let mut challenge = [0; CHALLENGE_BYTES];
            challenge.copy_from_slice(&keys.challenges.next()[..CHALLENGE_BYTES]);
            self.probe = Some(Probe::new(from, challenge, now));
        }
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.is_of(from)) {
            probe.came(bytes, now);
        }
    }

    /// The peer has shown that it is at another address.
    fn move_to(&mut self, to: SocketAddr) {
        // If it moves again before the user looks, what counts is from where it came at first.
        let first = self.moved.map_or(self.address, |(first, _)| first);
        self.moved = Some((first, to)).filter(|_| !same(first, to));
        self.address = to;
        self.probe = None;
    }

    /// Something authentic came that only a peer who has the answer, or the confirmation, can send.
    fn heard(&mut self) {
        match self.state {
            SessionState::Unconfirmed => self.confirmed = true,
            SessionState::Open { confirming: true } => {
                if self.control_due == Some(CONFIRM) {
                    self.control_due = None;
                }
            }
            _ => return,
        }
        self.state = SessionState::Open { confirming: false };
        self.message = Vec::new();
        self.message_due = false;
        self.timer = None;
        (self.answers.due, self.verdicts.due) = (None, None);
    }

    /// What else happened with the datagram before.
    pub fn poll_event(&mut self) -> Option<Event<'static>> {
        if mem::take(&mut self.confirmed) {
            return Some(Event::Confirmed);
        }
        self.moved.take().map(|(from, to)| Event::Moved { from, to })
    }

    /// Appends a datagram with speech to `out`. The number must be higher than all before, by 28672 at most; the header is 7
    /// bits of the caller's choice that are readable on the way but cannot be changed. Allocates nothing if `out` has room.
    ///
    /// # Errors
    /// If the session is not open, the number is not usable, or the datagram were longer than [`MAX_DATAGRAM`].
    ///
    /// [`MAX_DATAGRAM`]: crate::session::MAX_DATAGRAM
    pub fn seal_media(&mut self, number: u64, header: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let keys =
            self.keys.as_mut().filter(|_| matches!(self.state, SessionState::Open { .. })).ok_or(SealError::NotOpen)?;
        keys.seal_media.seal(number, MEDIA | header, self.remote, [&[], body], out)
    }

    /// Appends a datagram with a message of the application to `out`. Not repeated if it is lost.
    ///
    /// # Errors
    /// As [`seal_media`](Self::seal_media), but for the number, which is the session's own.
    pub fn seal_control(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        if !self.is_open() {
            return Err(SealError::NotOpen);
        }
        self.control(APPLICATION, body, out)
    }

    pub(super) fn control(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let sealer = &mut self.keys.as_mut().ok_or(SealError::NotOpen)?.seal_control;
        sealer.seal(sealer.next(), wire::CONTROL, self.remote, [&[kind], body], out)
    }

    /// Gives the next datagram to be sent for the session's own sake, in place of what `out` held; false if there is none. It goes
    /// to [`transmit_address`](Self::transmit_address).
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.to = self.address;
        if mem::take(&mut self.message_due) {
            out.extend_from_slice(&self.message);
            return true;
        }
        let Some(kind) = self.control_due.take() else { return self.test_path(out) || self.agree_keys(out) };
        let body = if kind == self.verdict.0 { mem::take(&mut self.verdict.1) } else { Vec::new() };
        let sealed = self.control(kind, &body, out).is_ok();
        if kind == self.verdict.0 {
            self.verdict.1 = body;
        }
        sealed
    }

    /// The next datagram that asks whether the peer is at an address, or answers the peer that asks so.
    fn test_path(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.is_open() {
            return false;
        }
        let echo = self.echo.take().map(|(to, bytes)| (to, ECHO, bytes));
        let next = echo.or_else(|| self.probe.as_mut()?.take().map(|(to, bytes)| (to, CHALLENGE, bytes)));
        let Some((to, kind, bytes)) = next else { return false };
        self.to = to;
        self.control(kind, &bytes, out).is_ok()
    }

    /// The next datagram of an agreement of keys.
    fn agree_keys(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((caller, message)) = self.rekeying.as_mut().and_then(|rekeying| rekeying.take()) else { return false };
        self.control(if caller { REKEY } else { REKEYED }, &message, out).is_ok()
    }

    /// Where the datagram goes that [`poll_transmit`](Self::poll_transmit) gave last: to [`address`](Self::address), or to one
    /// where the peer may be.
    pub fn transmit_address(&self) -> SocketAddr {
        self.to
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` if never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let repeat = self.timer.and_then(|timer| timer.next).map(|(next, _)| next);
        let end = self.timer.map(|timer| timer.end);
        let doubt = self.doubted.map(|(_, when)| when);
        let path = self.probe.as_ref().map(Probe::due);
        let rekeying = self.rekeying.as_ref().and_then(|rekeying| rekeying.due());
        [repeat, end, doubt, path, rekeying, self.answers.due, self.verdicts.due].into_iter().flatten().min()
    }

    /// Does what is due at `now`. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event<'static>> {
        if let Some((reason, _)) = self.doubted.filter(|&(_, when)| now >= when) {
            return Some(self.end(Event::Refused(reason)));
        }
        self.message_due |= self.answers.is_due(now) && !self.message.is_empty();
        if self.verdicts.is_due(now) && matches!(self.state, SessionState::Unconfirmed | SessionState::Refusing) {
            self.control_due = Some(self.verdict.0);
        }
        self.probe = self.probe.take().and_then(|mut probe| probe.tick(now).then_some(probe));
        self.tick_rekeying(now);
        let timer = self.timer.as_mut()?;
        if now >= timer.end {
            let silent = matches!(self.state, SessionState::Refusing);
            let event = self.end(Event::TimedOut);
            return (!silent).then_some(event);
        }
        let (_, pause) = timer.next.filter(|&(next, _)| now >= next)?;
        let pause = (pause * 3 / 2).min(PAUSE_MAX);
        timer.next = Some((now + pause, pause));
        match self.state {
            SessionState::Open { confirming: true } => self.control_due = Some(CONFIRM),
            SessionState::Dialing(_) => {
                self.ask_again();
                self.message_due = true;
            }
            SessionState::Finishing => self.message_due = true,
            _ => {}
        }
        None
    }

    pub(super) fn end(&mut self, event: Event<'static>) -> Event<'static> {
        self.close();
        event
    }

    /// Ends the session and overwrites its keys. The peer is not told: that is for a control message before.
    pub fn close(&mut self) {
        self.state = SessionState::Closed;
        self.keys = None;
        self.message = Vec::new();
        self.message_due = false;
        self.control_due = None;
        (self.timer, self.doubted, self.moved, self.confirmed) = (None, None, None, false);
        (self.probe, self.echo, self.rekeying) = (None, None, None);
        (self.answers.due, self.verdicts.due) = (None, None);
    }

    /// Whether an initiation is the one that this session has already, from the same address.
    pub fn is_repeat(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        same(from, self.address) && self.taken[0].is_some_and(|taken| taken == *Sha256::digest(datagram))
    }

    /// Where to send what is sealed for the peer: where it has last shown that it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is there, as far as it is known: from the beginning for IK, from the second or third message on for XX.
    pub fn peer(&self) -> Option<PublicKey> {
        self.peer
    }

    /// Whether media and control messages can be sealed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, SessionState::Open { .. })
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        matches!(self.state, SessionState::Closed)
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The index by which datagrams find this session.
    pub fn index(&self) -> u16 {
        self.index
    }
}

/// Whether two addresses are one; a socket for IPv6 tells IPv4 addresses in their mapped form (RFC 4291 section 2.5.5.2).
pub(super) fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}
