//! Sealed packets: AES-128-CCM with tags of 8 bytes (RFC 3610; RFC 6655 names it `AES_128_CCM_8`), and the keys for it.
//!
//! Each direction has two *spaces* of numbers, media and control, with keys of their own. From what the handshake gives for a
//! direction, a space derives its first *chain key*. Epoch *e* has the numbers from 65536 *e* on, and its key, its salt and
//! the chain key of epoch *e* + 1 are derived from the chain key of epoch *e*, which is then overwritten. So keys change
//! without a word on the wire, and who takes a machine learns no key of an epoch that has passed.
//!
//! A receiver extends the 16 bits on the wire to the nearest number, so it tries at most one epoch ahead; and it moves on
//! only when a tag was right. The nonce is the epoch's salt, xor the number. As a number is sealed once, no nonce repeats.
//!
//! A new key agreement within a session ([`rekey`](super::rekey)) begins another chain, a *generation*, from which a sender seals from
//! some number on. Nothing in a packet says which: numbers grow, so all above one of the new generation are of it, and all below one
//! of the old are of that. Where neither is known yet both are tried: two generations at most.

use aes::Aes128;
use ccm::{
    AeadInOut, Ccm, KeyInit,
    consts::{U8, U12},
};
use zeroize::Zeroizing;

use crate::{
    packet::extend,
    session::{
        MAX_DATAGRAM, SealError,
        noise::expand,
        window::Window,
        wire::{HEADER, Sealed, TAG},
    },
};

type Cipher = Ccm<Aes128, U8, U12>;

/// Numbers in an epoch, as a power of two.
const EPOCH_BITS: u32 = 16;

/// A sender skips fewer numbers than this, so that the receiver, who may not have had the last packet, still finds the
/// nearest number.
const MAX_SKIP: u64 = 0x7000;

/// What begins a space: which keys are derived for it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Space {
    Media,
    Control,
}

/// The key of one epoch. `aes` overwrites its key schedule when dropped.
struct Epoch {
    number: u64,
    cipher: Cipher,
    salt: [u8; 12],
}

impl Epoch {
    fn nonce(&self, number: u64) -> ccm::Nonce<U12> {
        let mut nonce = self.salt;
        for (byte, with) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= with;
        }
        nonce.into()
    }
}

/// Makes one epoch after another.
struct Chain {
    key: Zeroizing<[u8; 32]>,
    epoch: u64,
}

impl Chain {
    /// Of a direction's 32 bytes from a key agreement; `epoch` is the first.
    fn new(direction: &[u8; 32], space: Space, epoch: u64) -> Self {
        let label: &[u8] = match space {
            Space::Media => b"parlo media",
            Space::Control => b"parlo control",
        };
        let mut key = Zeroizing::new([0; 32]);
        expand(direction, label, &mut *key);
        Self { key, epoch }
    }

    fn next(&mut self) -> Epoch {
        let mut out = Zeroizing::new([0_u8; 60]);
        expand(&self.key, b"parlo epoch", &mut *out);
        let (chain, rest) = out.split_at(32);
        let (key, salt_bytes) = rest.split_at(16);
        self.key.copy_from_slice(chain);
        let mut cipher_key = Zeroizing::new([0; 16]);
        cipher_key.copy_from_slice(key);
        let mut salt = [0; 12];
        salt.copy_from_slice(salt_bytes);
        let number = self.epoch;
        self.epoch += 1;
        Epoch { number, cipher: Cipher::new((&*cipher_key).into()), salt }
    }
}

/// The sending end of a space.
pub(super) struct Sealer {
    space: Space,
    chain: Chain,
    epoch: Epoch,
    /// The lowest number that may come next.
    next: u64,
}

impl Sealer {
    pub(super) fn new(direction: &[u8; 32], space: Space) -> Self {
        let mut chain = Chain::new(direction, space, 0);
        let epoch = chain.next();
        Self { space, chain, epoch, next: 0 }
    }

    /// Seals with another generation's keys from the next number on; those before are overwritten. `epoch` is what the peer was
    /// [told](Self::next_epoch).
    pub(super) fn rekey(&mut self, direction: &[u8; 32], epoch: u64) {
        self.chain = Chain::new(direction, self.space, epoch);
        self.epoch = self.chain.next();
    }

    /// The epoch of the number after the last one.
    pub(super) fn next_epoch(&self) -> u64 {
        self.next >> EPOCH_BITS
    }

    /// The number after the last one.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Appends a sealed packet with this number, which must be higher than all before, to `out`. The body is in up to two
    /// parts. Allocates nothing if `out` has room.
    pub(super) fn seal(
        &mut self,
        number: u64,
        first: u8,
        receiver: u16,
        body: [&[u8]; 2],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if number < self.next {
            return Err(SealError::Used { number });
        }
        if number - self.next > MAX_SKIP {
            return Err(SealError::Skip { number });
        }
        let length = HEADER + body[0].len() + body[1].len() + TAG;
        if length > MAX_DATAGRAM {
            return Err(SealError::TooLong { found: length });
        }
        // Less than an epoch is skipped: this turns once at most, but for the epochs that have passed while keys were agreed.
        while self.epoch.number < number >> EPOCH_BITS {
            self.epoch = self.chain.next();
        }
        // From here on the number is used, whatever happens.
        self.next = number.checked_add(1).ok_or(SealError::Used { number })?;
        let header = Sealed::new(first, receiver, number);
        let start = out.len();
        out.extend_from_slice(&header.bytes);
        out.extend_from_slice(body[0]);
        out.extend_from_slice(body[1]);
        let nonce = self.epoch.nonce(number);
        let sealed =
            self.epoch.cipher.encrypt_inout_detached(&nonce, &header.bytes, (&mut out[start + HEADER..]).into());
        match sealed {
            Ok(tag) => {
                out.extend_from_slice(&tag);
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(SealError::TooLong { found: length })
            }
        }
    }
}

/// Why a sealed packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Its number has come before, or is so old that nobody remembers.
    Replayed,
    /// Its tag is wrong.
    Forged,
}

/// A packet that is authentic and came for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) number: u64,
    /// Whether it is newer than all before in its space.
    pub(super) newest: bool,
    /// Whether it is the first of a new generation.
    pub(super) rekeyed: bool,
}

/// The keys of one generation to open with.
struct Ring {
    chain: Chain,
    /// Until the window has left it.
    previous: Option<Epoch>,
    current: Epoch,
    /// Made when a packet claims to be of it, and kept so that a flood of such claims costs one derivation.
    ahead: Option<Epoch>,
}

impl Ring {
    fn new(direction: &[u8; 32], space: Space, epoch: u64) -> Self {
        let mut chain = Chain::new(direction, space, epoch);
        let current = chain.next();
        Self { chain, previous: None, current, ahead: None }
    }

    /// The keys of an epoch; none if it is gone, or too far ahead.
    fn find(&mut self, number: u64) -> Option<&Epoch> {
        if number == self.current.number + 1 && self.ahead.is_none() {
            self.ahead = Some(self.chain.next());
        }
        let epochs = [Some(&self.current), self.previous.as_ref(), self.ahead.as_ref()];
        epochs.into_iter().flatten().find(|epoch| epoch.number == number)
    }

    /// A packet of an epoch was authentic: that epoch is the current one, if it is ahead.
    fn reached(&mut self, epoch: u64) {
        if epoch > self.current.number
            && let Some(ahead) = self.ahead.take()
        {
            self.previous = Some(std::mem::replace(&mut self.current, ahead));
        }
    }

    /// The window has left all epochs before this one.
    fn left(&mut self, epoch: u64) {
        if self.previous.as_ref().is_some_and(|previous| previous.number < epoch) {
            self.previous = None;
        }
    }

    /// Nothing was sealed with these keys yet, and numbers have come to this epoch.
    fn follow(&mut self, epoch: u64) {
        while self.current.number < epoch {
            self.current = self.ahead.take().unwrap_or_else(|| self.chain.next());
        }
    }
}

/// Which generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Old,
    Current,
    Next,
}

/// The receiving end of a space, with a replay window of `64 * (WORDS - 1)` numbers.
pub(super) struct Opener<const WORDS: usize> {
    space: Space,
    /// The generation before, until it is [forgotten](Self::forget), and the highest number that came of it.
    old: Option<(Ring, Option<u64>)>,
    current: Ring,
    /// The lowest number that came of the current one since it is that.
    lowest: Option<u64>,
    /// What the peer may seal with from now on, and has not yet.
    next: Option<Ring>,
    window: Window<WORDS>,
}

/// Epochs by which a peer's numbers may have gone on while keys were agreed: ten days of speech, and as many derivations.
const MOST_BEHIND: u64 = 1 << 10;

impl<const WORDS: usize> Opener<WORDS> {
    pub(super) fn new(direction: &[u8; 32], space: Space) -> Self {
        let current = Ring::new(direction, space, 0);
        Self { space, old: None, current, lowest: None, next: None, window: Window::new() }
    }

    fn epoch(&self) -> u64 {
        self.window.highest().unwrap_or(0) >> EPOCH_BITS
    }

    /// Whether a generation that begins with this epoch is one that [`expect`](Self::expect) can take, as it is not far behind.
    pub(super) fn is_near(&self, epoch: u64) -> bool {
        epoch + MOST_BEHIND >= self.epoch()
    }

    /// From now on the peer may seal with keys of another generation, which begins with an epoch that [is near](Self::is_near).
    /// There is never a third: what is old is forgotten.
    pub(super) fn expect_generation(&mut self, direction: &[u8; 32], epoch: u64) {
        let mut next = Ring::new(direction, self.space, epoch);
        next.follow(self.epoch());
        self.next = Some(next);
        self.forget();
    }

    /// The peer seals with the next generation's keys, as the other space has shown.
    pub(super) fn turn(&mut self) {
        if let Some(next) = self.next.take() {
            self.old = Some((std::mem::replace(&mut self.current, next), self.window.highest()));
            self.lowest = None;
        }
    }

    /// Overwrites the keys of the generation before.
    pub(super) fn forget(&mut self) {
        self.old = None;
    }

    /// Which generations a number that has not come may be of, the likelier first.
    fn candidates(&self, number: u64) -> [Option<Of>; 2] {
        if self.next.is_some() {
            let is_newest = self.window.highest().is_none_or(|highest| number > highest);
            return [Some(Of::Current), is_newest.then_some(Of::Next)];
        }
        match self.old {
            None => [Some(Of::Current), None],
            Some(_) if self.lowest.is_some_and(|lowest| number > lowest) => [Some(Of::Current), None],
            Some((_, Some(highest))) if number < highest => [Some(Of::Old), None],
            Some(_) => [Some(Of::Old), Some(Of::Current)],
        }
    }

    fn ring(&mut self, of: Of) -> Option<&mut Ring> {
        match of {
            Of::Old => self.old.as_mut().map(|(ring, _)| ring),
            Of::Current => Some(&mut self.current),
            Of::Next => self.next.as_mut(),
        }
    }

    /// Opens a whole datagram in place: afterwards the body is what lies between header and tag. If it is not authentic, the
    /// bytes in between are of no use.
    pub(super) fn open(&mut self, header: Sealed, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        let highest = self.window.highest();
        let number = extend(header.number(), highest.unwrap_or(0));
        if !self.window.is_new(number) {
            return Err(OpenError::Replayed);
        }
        let epoch_number = number >> EPOCH_BITS;
        let sealed = datagram.get_mut(HEADER..).unwrap_or_default();
        let Some((body, &mut tag)) = sealed.split_last_chunk_mut::<TAG>() else { return Err(OpenError::Forged) };
        let candidates = self.candidates(number);
        // A try that fails leaves nothing of the body.
        let mut spare = [0; MAX_DATAGRAM];
        let spare = spare.get_mut(..body.len()).ok_or(OpenError::Forged)?;
        if candidates[1].is_some() {
            spare.copy_from_slice(body);
        }
        // An epoch that is gone, or one too far ahead, has no keys.
        let mut error = OpenError::Replayed;
        for of in candidates.into_iter().flatten() {
            let Some(epoch) = self.ring(of).and_then(|ring| ring.find(epoch_number)) else { continue };
            if error == OpenError::Forged {
                body.copy_from_slice(spare);
            }
            let nonce = epoch.nonce(number);
            if epoch.cipher.decrypt_inout_detached(&nonce, &header.bytes, (&mut *body).into(), &tag.into()).is_ok() {
                return Ok(self.accept(number, of));
            }
            error = OpenError::Forged;
        }
        Err(error)
    }

    /// Notes a number that is authentic, with the keys of that generation.
    fn accept(&mut self, number: u64, of: Of) -> Opened {
        let highest = self.window.highest();
        let rekeyed = of == Of::Next;
        if rekeyed {
            self.turn();
        }
        self.window.accept(number);
        let of = if rekeyed { Of::Current } else { of };
        match &mut self.old {
            Some((_, highest)) if of == Of::Old => *highest = (*highest).max(Some(number)),
            _ => self.lowest = Some(self.lowest.map_or(number, |lowest| lowest.min(number))),
        }
        if let Some(ring) = self.ring(of) {
            ring.reached(number >> EPOCH_BITS);
        }
        // The oldest number that could still be accepted.
        let oldest = self.window.highest().unwrap_or(0).saturating_sub(Window::<WORDS>::SIZE - 1);
        for of in [Of::Old, Of::Current] {
            if let Some(ring) = self.ring(of) {
                ring.left(oldest >> EPOCH_BITS);
            }
        }
        let epoch = self.epoch();
        if let Some(next) = &mut self.next {
            next.follow(epoch);
        }
        if self.lowest.is_none() {
            self.current.follow(epoch);
        }
        Opened { number, newest: highest.is_none_or(|highest| number > highest), rekeyed }
    }

    #[cfg(test)]
    pub(super) fn has_old(&self) -> bool {
        self.old.is_some()
    }

    #[cfg(test)]
    pub(super) fn keys_held(&self) -> (u64, bool, bool) {
        (self.current.current.number, self.current.previous.is_some(), self.current.ahead.is_some())
    }
}
