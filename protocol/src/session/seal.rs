//! Sealed packets: AES-128-CCM with tags of 8 bytes (RFC 3610; RFC 6655 names it `AES_128_CCM_8`), and the keys for it.
//!
//! Each direction has two *spaces* of numbers, media and control, with keys of their own. From what the handshake gives for a
//! direction, a space derives its first *chain key*. Epoch *e* has the numbers from 65536 *e* on, and its key, its salt and
//! the chain key of epoch *e* + 1 are derived from the chain key of epoch *e*, which is then overwritten. So keys change
//! without a word on the wire, and who takes a machine learns no key of an epoch that has passed.
//!
//! A receiver extends the 16 bits on the wire to the nearest number, so it tries at most one epoch ahead; and it moves on
//! only when a tag was right. The nonce is the epoch's salt, xor the number. As a number is sealed once, no nonce repeats.

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
    /// Of a direction's 32 bytes from the handshake.
    fn new(direction: &[u8; 32], space: Space) -> Self {
        let label: &[u8] = match space {
            Space::Media => b"parlo media",
            Space::Control => b"parlo control",
        };
        let mut key = Zeroizing::new([0; 32]);
        expand(direction, label, &mut *key);
        Self { key, epoch: 0 }
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
    chain: Chain,
    epoch: Epoch,
    /// The lowest number that may come next.
    next: u64,
}

impl Sealer {
    pub(super) fn new(direction: &[u8; 32], space: Space) -> Self {
        let mut chain = Chain::new(direction, space);
        let epoch = chain.next();
        Self { chain, epoch, next: 0 }
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
        // Less than an epoch is skipped: this turns once at most.
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
}

/// The receiving end of a space, with a replay window of `64 * (WORDS - 1)` numbers.
pub(super) struct Opener<const WORDS: usize> {
    chain: Chain,
    /// Until the window has left it.
    previous: Option<Epoch>,
    current: Epoch,
    /// Made when a packet claims to be of it, and kept so that a flood of such claims costs one derivation.
    ahead: Option<Epoch>,
    window: Window<WORDS>,
}

impl<const WORDS: usize> Opener<WORDS> {
    pub(super) fn new(direction: &[u8; 32], space: Space) -> Self {
        let mut chain = Chain::new(direction, space);
        let current = chain.next();
        Self { chain, previous: None, current, ahead: None, window: Window::new() }
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
        if epoch_number == self.current.number + 1 && self.ahead.is_none() {
            self.ahead = Some(self.chain.next());
        }
        let epochs = [Some(&self.current), self.previous.as_ref(), self.ahead.as_ref()];
        let epoch = epochs.into_iter().flatten().find(|epoch| epoch.number == epoch_number);
        // An epoch that is gone, or one too far ahead.
        let epoch = epoch.ok_or(OpenError::Replayed)?;
        let sealed = datagram.get_mut(HEADER..).unwrap_or_default();
        let Some((body, &mut tag)) = sealed.split_last_chunk_mut::<TAG>() else { return Err(OpenError::Forged) };
        epoch
            .cipher
            .decrypt_inout_detached(&epoch.nonce(number), &header.bytes, body.into(), &tag.into())
            .map_err(|_| OpenError::Forged)?;
        self.window.accept(number);
        if epoch_number > self.current.number
            && let Some(ahead) = self.ahead.take()
        {
            self.previous = Some(std::mem::replace(&mut self.current, ahead));
        }
        let newest = highest.is_none_or(|highest| number > highest);
        // The oldest number that could still be accepted.
        let oldest = self.window.highest().unwrap_or(0).saturating_sub(Window::<WORDS>::SIZE - 1);
        if self.previous.as_ref().is_some_and(|previous| previous.number < oldest >> EPOCH_BITS) {
            self.previous = None;
        }
        Ok(Opened { number, newest })
    }

    #[cfg(test)]
    pub(super) fn keys_held(&self) -> (u64, bool, bool) {
        (self.current.number, self.previous.is_some(), self.ahead.is_some())
    }
}
