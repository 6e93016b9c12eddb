//! New key agreements within a session: so a thief of its keys is locked out again, and what was said is closed for good.
//!
//! The chains of [`seal`](super::seal) go one way: who has taken the keys once follows them. So every two minutes the peers agree
//! anew, by X25519 with keys made for that one time:
//!
//! ```text
//! caller                                    listener
//!   | rekey: its new public key, where it is    |
//!   |------------------------------------------>|  can open with the new keys
//!   |                  rekeyed: the same of its |
//!   |<------------------------------------------|
//!   | confirm, and all else, with the new keys  |
//!   |------------------------------------------>|  seals with them too
//!   |                                 confirmed |
//!   |<------------------------------------------|
//! ```
//!
//! It is always the caller that begins, so that the two cannot cross. It repeats each message until what answers it comes; the
//! listener speaks when spoken to. Neither side seals with keys before it knows that the peer has them, and each opens with
//! the old ones for [`LATE`] after that: so nothing is lost, whatever is, and in whatever order it comes.
//!
//! The agreed secret is mixed with the [`root`](Agreed) of the generation before (HKDF, RFC 5869): who does not know that, or not
//! the secret, knows nothing of the next. A private key is made when the exchange needs it, of 32 bytes that the user is
//! [asked for](Session::needs_seed) then: what a thief finds before does not tell it.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::{
    identity::Identity,
    session::{
        Session,
        noise::{agree, extract_and_expand},
        state::{CONFIRM, SessionState},
    },
};

/// Keys are used for so long.
pub const REKEY_EVERY: Duration = Duration::from_secs(120);

/// Keys that are older should not be: something on the path keeps the peers from agreeing.
pub const REKEY_OVERDUE: Duration = Duration::from_secs(300);

/// The old keys are kept for so long after the peer has begun to seal with the new ones. What comes so late is not played any more,
/// and a peer that is silent for a third of that is lost.
pub(super) const LATE: Duration = Duration::from_secs(30);

/// First pause before a message is repeated; each further one is half as long again, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// A generation's number, a public key, and the epochs of the next media and control packet.
pub(super) const MESSAGE: usize = 1 + 32 + 4 + 4;

/// What both sides derive from an agreement.
pub(super) struct Agreed {
    /// Of which the next agreement makes the next.
    pub(super) root: Zeroizing<[u8; 32]>,
    pub(super) from_caller: Zeroizing<[u8; 32]>,
    pub(super) from_listener: Zeroizing<[u8; 32]>,
}

impl Agreed {
    fn new(root: &[u8; 32], secret: &[u8; 32], caller: &[u8; 32], listener: &[u8; 32]) -> Self {
        let mut out = Zeroizing::new([0; 96]);
        extract_and_expand(root, secret, &[b"parlo rekey", caller, listener], &mut *out);
        let part = |n: usize| {
            let mut part = Zeroizing::new([0; 32]);
            part.copy_from_slice(&out[32 * n..32 * (n + 1)]);
            part
        };
        Self { root: part(0), from_caller: part(1), from_listener: part(2) }
    }
}

/// What a side says of a new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message {
    generation: u8,
    public: [u8; 32],
    /// Epochs that the generation begins with.
    media: u32,
    control: u32,
}

impl Message {
    fn to_bytes(self) -> [u8; MESSAGE] {
        let mut bytes = [0; MESSAGE];
        bytes[0] = self.generation;
        bytes[1..33].copy_from_slice(&self.public);
        bytes[33..37].copy_from_slice(&self.media.to_be_bytes());
        bytes[37..].copy_from_slice(&self.control.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&generation, rest) = bytes.split_first()?;
        let (&public, rest) = rest.split_first_chunk()?;
        let (&media, rest) = rest.split_first_chunk()?;
        // Bytes after these are of later versions.
        let (&control, _) = rest.split_first_chunk()?;
        let (media, control) = (u32::from_be_bytes(media), u32::from_be_bytes(control));
        Some(Self { generation, public, media, control })
    }
}

/// How far an exchange has come.
enum Phase {
    /// None is under way.
    Quiet,
    /// Caller: one is due, and needs a seed.
    Due,
    /// Caller: has asked, and asks again.
    Asking { own: Identity, message: Message },
    /// Caller: seals with the new keys, and says so until something comes that is sealed with them.
    Confirming,
    /// Listener: is asked, and needs a seed.
    Asked(Message),
    /// Listener: has answered, and can open what is sealed with the new keys.
    Answered { asked: Message, answer: Message, agreed: Agreed },
}

/// Where a session is with its keys.
pub(super) struct Rekeying {
    caller: bool,
    /// Agreements since the handshake.
    count: u64,
    /// When the last one was.
    since: Instant,
    phase: Phase,
    /// When to say again what has not been answered, and the pause after that.
    repeat: Option<(Instant, Duration)>,
    /// What is to be said.
    say: Option<[u8; MESSAGE]>,
    /// When the old keys are overwritten.
    forget: Option<Instant>,
}

impl Rekeying {
    fn next(&self) -> u8 {
        self.count.wrapping_add(1) as u8
    }

    /// When [`Session::tick_rekeying`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        let begin = (self.caller && matches!(self.phase, Phase::Quiet)).then(|| self.since + REKEY_EVERY);
        let repeat = self.repeat.map(|(when, _)| when);
        [begin, repeat, self.forget].into_iter().flatten().min()
    }

    /// The message to be sent now: what the caller says, or the listener.
    pub(super) fn take(&mut self) -> Option<(bool, [u8; MESSAGE])> {
        self.say.take().map(|message| (self.caller, message))
    }
}

impl Session {
    /// From now on keys are agreed anew every [two minutes](REKEY_EVERY). Both sides must have said that they do so
    /// ([`Offer::rekeys`](crate::offer::Offer::rekeys)); a session that does not stand yet, or is over, ignores it.
    pub fn enable_rekeying(&mut self, now: Instant) {
        let Some(keys) = self.keys.as_ref().filter(|_| matches!(self.state, SessionState::Open { .. })) else { return };
        let caller = keys.is_caller();
        self.rekeying.get_or_insert_with(|| {
            let (phase, repeat, say, forget) = (Phase::Quiet, None, None, None);
            Box::new(Rekeying { caller, count: 0, since: now, phase, repeat, say, forget })
        });
    }

    /// Whether [`rekey`](Self::rekey) is to be called: an exchange of keys needs fresh randomness.
    pub fn needs_seed(&self) -> bool {
        self.rekeying.as_ref().is_some_and(|rekeying| matches!(rekeying.phase, Phase::Due | Phase::Asked(_)))
    }

    /// Gives what [`needs_seed`](Self::needs_seed) asks for: 32 bytes of the operating system's generator, fetched now, as a thief
    /// of this machine's memory must not have found them there before. Does nothing if it is not asked for.
    pub fn rekey(&mut self, seed: [u8; 32], now: Instant) {
        let (Some(rekeying), Some(keys)) = (&mut self.rekeying, &mut self.keys) else { return };
        let own = Identity::from_bytes(seed);
        let (generation, public) = (rekeying.next(), *own.public().as_bytes());
        let (media, control) = keys.next_epochs();
        let message = Message { generation, public, media, control };
        match rekeying.phase {
            Phase::Due => {
                rekeying.phase = Phase::Asking { own, message };
                rekeying.repeat = Some((now + PAUSE, PAUSE));
            }
            Phase::Asked(asked) => {
                rekeying.phase = Phase::Quiet;
                let Some(secret) = agree(&own, &asked.public) else { return };
                let agreed = Agreed::new(keys.root(), &secret, &asked.public, &public);
                keys.expect_generation(&agreed.from_caller, asked.media, asked.control);
                rekeying.forget = None;
                rekeying.phase = Phase::Answered { asked, answer: message, agreed };
            }
            _ => return,
        }
        rekeying.say = Some(message.to_bytes());
    }

    /// Listener: the caller begins an exchange.
    pub(super) fn rekey_asked(&mut self, body: &[u8]) {
        let (Some(rekeying), Some(keys), Some(message)) = (&mut self.rekeying, &self.keys, Message::parse(body)) else {
            return;
        };
        if rekeying.caller || message.generation != rekeying.next() {
            return;
        }
        match &rekeying.phase {
            // Not before the last exchange is over and done: so there are never keys of three generations, and nobody has the other
            // side do nothing else.
            Phase::Quiet if rekeying.forget.is_none() && keys.are_near(message.media, message.control) => {
                rekeying.phase = Phase::Asked(message);
            }
            Phase::Answered { asked, answer, .. } if asked.public == message.public => {
                rekeying.say = Some(answer.to_bytes());
            }
            _ => {}
        }
    }

    /// Caller: the listener has answered.
    pub(super) fn rekey_answered(&mut self, body: &[u8], now: Instant) {
        let (Some(rekeying), Some(keys), Some(answer)) = (&mut self.rekeying, &mut self.keys, Message::parse(body))
        else {
            return;
        };
        let Phase::Asking { own, message } = &rekeying.phase else { return };
        if answer.generation != message.generation || !keys.are_near(answer.media, answer.control) {
            return;
        }
        let Some(secret) = agree(own, &answer.public) else { return };
        let agreed = Agreed::new(keys.root(), &secret, &message.public, &answer.public);
        keys.expect_generation(&agreed.from_listener, answer.media, answer.control);
        keys.seal_with(&agreed.from_caller, message.media, message.control, &agreed.root);
        (rekeying.phase, rekeying.forget, rekeying.say) = (Phase::Confirming, None, None);
        rekeying.repeat = Some((now + PAUSE, PAUSE));
        self.control_due = Some(CONFIRM);
    }

    /// Something came that is sealed with the new keys: the peer has them.
    pub(super) fn rekeyed(&mut self, now: Instant) {
        let (Some(rekeying), Some(keys)) = (&mut self.rekeying, &mut self.keys) else { return };
        keys.turn();
        if let Phase::Answered { answer, agreed, .. } = std::mem::replace(&mut rekeying.phase, Phase::Quiet) {
            keys.seal_with(&agreed.from_listener, answer.media, answer.control, &agreed.root);
        } else if self.control_due == Some(CONFIRM) {
            self.control_due = None;
        }
        rekeying.count += 1;
        rekeying.since = now;
        (rekeying.repeat, rekeying.say, rekeying.forget) = (None, None, Some(now + LATE));
    }

    /// Does what is due at `now`.
    pub(super) fn tick_rekeying(&mut self, now: Instant) {
        let (Some(rekeying), Some(keys)) = (&mut self.rekeying, &mut self.keys) else { return };
        if rekeying.forget.is_some_and(|when| now >= when) {
            rekeying.forget = None;
            keys.forget();
        }
        if rekeying.caller && matches!(rekeying.phase, Phase::Quiet) && now >= rekeying.since + REKEY_EVERY {
            rekeying.phase = Phase::Due;
        }
        let Some((_, pause)) = rekeying.repeat.filter(|&(when, _)| now >= when) else { return };
        let pause = (pause * 3 / 2).min(PAUSE_MAX);
        rekeying.repeat = Some((now + pause, pause));
        match &rekeying.phase {
            Phase::Asking { message, .. } => rekeying.say = Some(message.to_bytes()),
            Phase::Confirming => self.control_due = Some(CONFIRM),
            _ => {}
        }
    }

    /// How often keys were agreed anew.
    pub fn rekeys(&self) -> u64 {
        self.rekeying.as_ref().map_or(0, |rekeying| rekeying.count)
    }

    /// How old the keys are: since the last agreement, or since it was said that there are to be some. None of a session that has but
    /// the handshake's.
    pub fn key_age(&self, now: Instant) -> Option<Duration> {
        self.rekeying.as_ref().map(|rekeying| now.saturating_duration_since(rekeying.since))
    }
}
