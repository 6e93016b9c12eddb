//! How a session begins: the messages of the handshake, and the decision of who is called.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use snow::{Error, HandshakeState};
use zeroize::Zeroizing;

use crate::{
    identity::{Identity, PublicKey},
    psk::{PROOF, Psk, same},
    session::{
        AcceptError, DialError, Event, MAX_ANSWER, MAX_OFFER, Reason, Session,
        noise::{self, Draw},
        state::{ANSWER, CONFIRM, Keys, MOST_ANSWERS, PAUSE, REFUSED, SessionState, Timer},
        wire::{self, COOKIE, FINISH_HEADER, Pattern},
    },
};

/// How long an answerer waits for the next message: longer than the caller repeats it, as some may be lost.
const ANSWERER_PATIENCE: Duration = Duration::from_secs(15);

/// How long a refusal is repeated for a caller who asks again.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// A cookie is replaced by another one only after so long. So a Retry that comes twice, or two for two repeated initiations,
/// do not make the caller begin anew, and one with a forged cookie does not stop it for long.
const COOKIE_STAYS: Duration = Duration::from_secs(1);

/// Forged handshake messages that are looked at. Each costs some hundred microseconds; after these the handshake fails.
const MAX_TRIES: u64 = 64;

/// What the second message of IK says after the index: it accepts, and the answer follows. Anything else is a reason.
const ACCEPTED: u8 = 0;

/// A caller before it has an answer.
pub(super) struct Dialing {
    identity: Identity,
    peer: Option<PublicKey>,
    psk: Option<Psk>,
    offer: Vec<u8>,
    draw: Draw,
    /// Of which the present message is made.
    seed: Zeroizing<[u8; 32]>,
    cookie_since: Option<Instant>,
    cookie: [u8; COOKIE],
    /// How often the message with this cookie was sent.
    sent: u8,
    /// Always there, once it has begun.
    noise: Option<HandshakeState>,
}

impl Dialing {
    /// The first message with a cookie, made of this seed.
    fn begin(
        &self,
        cookie: &[u8; COOKIE],
        seed: &[u8; 32],
        index: u16,
        psk: Option<&[u8; 32]>,
    ) -> Result<(HandshakeState, Vec<u8>), Error> {
        let mut noise = noise::initiator(&self.identity, self.peer, psk, cookie, seed)?;
        let proof = match (&self.psk, &self.peer) {
            (Some(psk), Some(peer)) => psk.proof(&self.identity.public(), peer, cookie).to_vec(),
            _ => Vec::new(),
        };
        // The first message of XX is readable for all: there the offer comes with the third.
        let payload = if self.peer.is_some() { [&proof[..], &self.offer].concat() } else { Vec::new() };
        let inner = noise::write(&mut noise, &payload)?;
        let mut message = Vec::with_capacity(wire::INITIATE_HEADER + inner.len());
        let pattern = Pattern::of(self.peer.is_some(), self.psk.is_some());
        wire::initiate(&mut message, index, pattern, cookie, &inner);
        Ok((noise, message))
    }

    fn renew(&mut self, cookie: &[u8; COOKIE], index: u16) -> Result<Vec<u8>, Error> {
        let seed = self.draw.next();
        let (noise, message) = self.begin(cookie, &seed, index, self.psk.as_ref().map(Psk::as_bytes))?;
        (self.noise, self.seed, self.cookie) = (Some(noise), seed, *cookie);
        Ok(message)
    }

    /// The reason of a refusal to who has a secret that the listener has not: it cannot be sealed with the secret. All else that
    /// is sealed without is none.
    fn refused_without_psk(&self, message: &[u8], index: u16) -> Option<u8> {
        self.psk.as_ref()?;
        // From the same seed comes the same state.
        let (mut noise, _) = self.begin(&self.cookie, &self.seed, index, Some(&noise::NO_PSK)).ok()?;
        match noise::read(&mut noise, message).ok()?[..] {
            [_, _, code] if code != ACCEPTED => Some(code),
            _ => None,
        }
    }
}

/// What a caller with a secret has shown.
pub(super) struct Shown {
    proof: [u8; PROOF],
    cookie: [u8; COOKIE],
    ours: PublicKey,
    /// The listener has the same secret.
    is_ours: bool,
}

/// An answerer of XX that waits for the third message.
pub(super) struct Responded {
    identity: Identity,
    cookie: [u8; COOKIE],
    seed: Zeroizing<[u8; 32]>,
    /// The first message.
    first: Vec<u8>,
    index: u16,
    noise: HandshakeState,
}

impl Responded {
    /// Reads the first message and writes the second, the same one whenever this is called with the same seed.
    pub(super) fn new(
        identity: &Identity,
        cookie: &[u8; COOKIE],
        seed: &Zeroizing<[u8; 32]>,
        first: &[u8],
        index: u16,
    ) -> Result<(Self, Vec<u8>), Error> {
        let mut noise = noise::responder(identity, Pattern::Unknown, cookie, seed)?;
        noise::read(&mut noise, first)?;
        let second = noise::write(&mut noise, &index.to_be_bytes())?;
        let (identity, seed, first) = (identity.clone(), seed.clone(), first.to_vec());
        Ok((Self { identity, cookie: *cookie, seed, first, index, noise }, second))
    }

    /// Reads the third message: the offer.
    fn read(&mut self, third: &[u8]) -> Result<Vec<u8>, Error> {
        noise::read(&mut self.noise, third).inspect_err(|_| {
            // `snow` cannot go back to where it was if the first half of this message was right and the second was not, so
            // that the genuine one could not be read any more. From the same seed comes the same state.
            if let Ok((again, _)) = Self::new(&self.identity, &self.cookie, &self.seed, &self.first, self.index) {
                *self = again;
            }
        })
    }
}

impl Session {
    /// Calls the peer at `address`: with IK if its key is known, and else with XX. `index` is any number that no other session
    /// of this socket has, better a random one; `seed` must be 32 fresh bytes of the operating system's generator, as the
    /// session's secrecy rests upon it. The offer is opaque here; nobody but the peer can read it if its key is given.
    ///
    /// # Errors
    /// If the offer is longer than [`MAX_OFFER`] or the key is unusable.
    pub fn dial(
        identity: &Identity,
        peer_key: Option<PublicKey>,
        address: SocketAddr,
        index: u16,
        offer: &[u8],
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, DialError> {
        Self::dial_with_psk(identity, peer_key, None, address, index, offer, seed, now)
    }

    /// The same with IKpsk2, if the peer's key and a secret that is shared with it are given: then nobody takes the call who does
    /// not have both.
    ///
    /// # Errors
    /// As [`dial`](Self::dial), and if a secret is given and no key.
    #[expect(clippy::too_many_arguments, reason = "each is another thing, and there are no defaults")]
    pub fn dial_with_psk(
        identity: &Identity,
        peer_key: Option<PublicKey>,
        psk: Option<&Psk>,
        address: SocketAddr,
        index: u16,
        offer: &[u8],
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, DialError> {
        if psk.is_some() && peer_key.is_none() {
            return Err(DialError::Handshake);
        }
        if offer.len() > MAX_OFFER {
            return Err(DialError::Offer(offer.len()));
        }
        let cookie = [0; COOKIE];
        let mut dialing = Dialing {
            identity: identity.clone(),
            peer: peer_key,
            psk: psk.cloned(),
            offer: offer.to_vec(),
            draw: Draw::new(seed),
            seed: Zeroizing::default(),
            cookie_since: None,
            cookie,
            sent: 0,
            noise: None,
        };
        let message = dialing.renew(&cookie, index).map_err(|_| DialError::Handshake)?;
        let state = SessionState::Dialing(Box::new(dialing));
        let timer = Timer::repeating(now);
        Ok(Self { peer: peer_key, message, message_due: true, ..Self::with(state, timer, address, index, 0) })
    }

    /// Answers an IK initiation, whose payload is given: the offer, of IKpsk2 after what shows the secret.
    #[expect(clippy::too_many_arguments, reason = "each is another thing, and there are no defaults")]
    pub(super) fn answering_known(
        noise: HandshakeState,
        payload: Vec<u8>,
        shares: Option<(PublicKey, [u8; COOKIE])>,
        datagram: &[u8],
        address: SocketAddr,
        index: u16,
        remote: u16,
        now: Instant,
    ) -> Option<(Self, Event<'static>)> {
        let peer = noise::peer(&noise)?;
        let (mut offer, mut shown) = (payload, None);
        if let Some((ours, cookie)) = shares {
            let proof = *offer.first_chunk()?;
            offer.drain(..PROOF);
            shown = Some(Box::new(Shown { proof, cookie, ours, is_ours: false }));
        }
        let timer = Timer::waiting(now, ANSWERER_PATIENCE);
        let mut session = Self::with(SessionState::Asked(Box::new(noise)), timer, address, index, remote);
        session.shown = shown;
        session.peer = Some(peer);
        session.taken[0] = Some(Sha256::digest(datagram).into());
        Some((session, Event::Incoming { peer, offer }))
    }

    /// Answers an XX initiation with the second message given.
    pub(super) fn answering_unknown(
        responded: Responded,
        second: &[u8],
        datagram: &[u8],
        address: SocketAddr,
        index: u16,
        remote: u16,
        now: Instant,
    ) -> Self {
        let timer = Timer::waiting(now, ANSWERER_PATIENCE);
        let mut session = Self::with(SessionState::Responded(Box::new(responded)), timer, address, index, remote);
        wire::respond(&mut session.message, remote, second);
        session.message_due = true;
        session.answers.give(now);
        session.taken[0] = Some(Sha256::digest(datagram).into());
        session
    }

    /// Begins anew with a cookie.
    pub(super) fn retry(&mut self, cookie: [u8; COOKIE], now: Instant) {
        let SessionState::Dialing(dialing) = &mut self.state else { return self.count_handshake(false) };
        let stays = |since| now.saturating_duration_since(since) < COOKIE_STAYS;
        if dialing.cookie == cookie || dialing.cookie_since.is_some_and(stays) {
            return self.count_handshake(false);
        }
        let Ok(message) = dialing.renew(&cookie, self.index) else { return self.count_handshake(false) };
        if dialing.cookie_since.is_none()
            && let Some(timer) = &mut self.timer
        {
            timer.next = Some((now + PAUSE, PAUSE));
        }
        dialing.cookie_since = Some(now);
        dialing.sent = 1;
        // A refusal was of another message, perhaps one that was damaged on the way.
        self.doubted = None;
        self.message = message;
        self.message_due = true;
        self.count_handshake(true);
    }

    /// Caller: the first message is to be sent again. That of XX is made anew once it was sent so often that the listener answers
    /// it no more.
    pub(super) fn ask_again(&mut self) {
        let SessionState::Dialing(dialing) = &mut self.state else { return };
        // One without a cookie is answered as often as it comes, and so is one of IK. (One made anew would be another call.)
        if dialing.cookie_since.is_none() || dialing.peer.is_some() {
            return;
        }
        if dialing.sent < MOST_ANSWERS {
            dialing.sent += 1;
            return;
        }
        let cookie = dialing.cookie;
        if let Ok(message) = dialing.renew(&cookie, self.index) {
            dialing.sent = 1;
            self.message = message;
        }
    }

    /// Caller: the second message.
    pub(super) fn respond(&mut self, message: &[u8], now: Instant) -> Option<Event<'static>> {
        let forged = self.stats.forged;
        let SessionState::Dialing(dialing) = &mut self.state else {
            self.count_handshake(false);
            return None;
        };
        if forged >= MAX_TRIES {
            self.count_handshake(false);
            return None;
        }
        let Some(noise) = &mut dialing.noise else { return None };
        let Ok(payload) = noise::read(noise, message) else {
            let refused = dialing.refused_without_psk(message, self.index);
            let Some(code) = refused else {
                self.stats.forged += 1;
                return None;
            };
            self.count_handshake(true);
            return Some(self.end(Event::Refused(code.into())));
        };
        // The index is inside, where nobody can change it on the way.
        let (index, payload) =
            payload.split_first_chunk().map_or((0, &[][..]), |(i, rest)| (u16::from_be_bytes(*i), rest));
        let peer = noise::peer(noise)?;
        let mut third = None;
        if dialing.peer.is_none() {
            third = Some(noise::write(noise, &dialing.offer).ok()?);
        }
        self.keys = Some(Keys::new(noise, true));
        if dialing.psk.is_some() {
            // Overwritten, which `snow` leaves out.
            let _ = noise::set_psk(noise, &noise::NO_PSK);
        }
        (self.remote, self.peer, self.doubted) = (index, Some(peer), None);
        self.message_due = false;
        self.count_handshake(true);
        let Some(third) = third else {
            return match payload.split_first() {
                Some((&ACCEPTED, answer)) => Some(self.establish(peer, answer.to_vec(), now)),
                Some((&code, _)) => Some(self.end(Event::Refused(code.into()))),
                None => Some(self.end(Event::Refused(Reason::Other(0)))),
            };
        };
        self.message.clear();
        wire::finish(&mut self.message, index, &third);
        self.message_due = true;
        self.state = SessionState::Finishing;
        self.timer = Timer::repeating(now);
        None
    }

    /// Answerer, XX: the third message.
    pub(super) fn finish(&mut self, message: &[u8], now: Instant) -> Option<Event<'static>> {
        let digest: [u8; 32] = Sha256::digest(message).into();
        if self.taken[1] == Some(digest) {
            // The answer was lost.
            let answered = matches!(self.state, SessionState::Unconfirmed | SessionState::Refusing);
            let is_short = super::OVERHEAD + 1 + self.verdict.1.len() <= FINISH_HEADER + message.len();
            if answered && self.verdicts.asked_again(now, is_short) {
                self.control_due = Some(self.verdict.0);
            }
            self.count_handshake(answered);
            return None;
        }
        let forged = self.stats.forged;
        let SessionState::Responded(responded) = &mut self.state else {
            self.count_handshake(false);
            return None;
        };
        if forged >= MAX_TRIES {
            self.count_handshake(false);
            return None;
        }
        let Ok(offer) = responded.read(message) else {
            self.stats.forged += 1;
            return None;
        };
        let peer = noise::peer(&responded.noise)?;
        self.keys = Some(Keys::new(&mut responded.noise, false));
        self.peer = Some(peer);
        self.taken[1] = Some(digest);
        self.message.clear();
        self.message_due = false;
        self.answers.due = None;
        self.state = SessionState::AskedLast;
        self.timer = Timer::waiting(now, ANSWERER_PATIENCE);
        self.count_handshake(true);
        Some(Event::Incoming { peer, offer })
    }

    /// Answerer: whether this side has the same secret for the caller of [`Event::Incoming`] as the caller shows: also if neither
    /// has one. If not, the call is not to be taken, and [`Reason::Psk`] is to be said. To be called before
    /// [`accept`](Self::accept): who shows a secret is not accepted without.
    pub fn shares(&mut self, psk: Option<&Psk>) -> bool {
        let (Some(shown), SessionState::Asked(noise)) = (&mut self.shown, &mut self.state) else {
            return psk.is_none();
        };
        let (Some(psk), Some(peer)) = (psk, self.peer) else { return false };
        let is_same = same(&psk.proof(&peer, &shown.ours, &shown.cookie), &shown.proof);
        shown.is_ours = is_same && noise::set_psk(noise, psk.as_bytes()).is_ok();
        shown.is_ours
    }

    /// Answerer: takes the call of [`Event::Incoming`].
    ///
    /// # Errors
    /// If the caller shows a secret that this side does not [share](Self::shares), the answer is longer than [`MAX_ANSWER`], or there is no call to be taken.
    pub fn accept(&mut self, answer: &[u8], now: Instant) -> Result<(), AcceptError> {
        if answer.len() > MAX_ANSWER {
            return Err(AcceptError::Answer(answer.len()));
        }
        if self.shown.as_ref().is_some_and(|shown| !shown.is_ours) {
            self.refuse(Reason::Psk, now);
            return Err(AcceptError::Psk);
        }
        self.decide(ACCEPTED, (ANSWER, answer.to_vec()), SessionState::Unconfirmed, now)?;
        self.timer = Timer::waiting(now, ANSWERER_PATIENCE);
        Ok(())
    }

    /// Answerer: refuses the call of [`Event::Incoming`]. Nobody but the caller can read why. Does nothing if there is none.
    pub fn refuse(&mut self, reason: Reason, now: Instant) {
        let code = match u8::from(reason) {
            ACCEPTED => Reason::Declined.into(),
            code => code,
        };
        if self.decide(code, (REFUSED, vec![code]), SessionState::Refusing, now).is_ok() {
            self.timer = Timer::waiting(now, REFUSAL_PATIENCE);
        }
    }

    /// `code` is for IK, and `verdict` for XX: the same in two forms.
    fn decide(
        &mut self,
        code: u8,
        verdict: (u8, Vec<u8>),
        then: SessionState,
        now: Instant,
    ) -> Result<(), AcceptError> {
        match &mut self.state {
            SessionState::Asked(noise) => {
                let mut payload = self.index.to_be_bytes().to_vec();
                payload.push(code);
                if code == ACCEPTED {
                    payload.extend_from_slice(&verdict.1);
                }
                if self.shown.as_ref().is_some_and(|shown| !shown.is_ours) {
                    noise::set_psk(noise, &noise::NO_PSK).map_err(|_| AcceptError::NotAsked)?;
                }
                let second = noise::write(noise, &payload).map_err(|_| AcceptError::NotAsked)?;
                self.keys = Some(Keys::new(noise, false));
                if self.shown.take().is_some() {
                    // Overwritten, which `snow` leaves out.
                    let _ = noise::set_psk(noise, &noise::NO_PSK);
                }
                self.message.clear();
                wire::respond(&mut self.message, self.remote, &second);
                self.message_due = true;
                self.answers.give(now);
            }
            SessionState::AskedLast => {
                self.verdicts.give(now);
                self.control_due = Some(verdict.0);
                self.verdict = verdict;
            }
            _ => return Err(AcceptError::NotAsked),
        }
        self.state = then;
        Ok(())
    }

    pub(super) fn establish(&mut self, peer: PublicKey, answer: Vec<u8>, now: Instant) -> Event<'static> {
        self.state = SessionState::Open { confirming: true };
        self.message = Vec::new();
        self.message_due = false;
        self.control_due = Some(CONFIRM);
        self.timer = Timer::repeating(now);
        Event::Established { peer, answer }
    }
}
