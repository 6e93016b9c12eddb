//! What the two sides of a call tell each other in the handshake, sealed: which codecs they have, and how they mean to send.

use parlo_tokens::TokensId;

use crate::packet::{Fields, PacketError};

/// The most kinds of tokens that an offer names.
pub const MAX_TOKENS: usize = 4;

/// Flag: Opus will do.
const OPUS: u8 = 1;
/// Flag of both: keys are agreed anew within the call.
const REKEYS: u8 = 2;
/// Flag of an answer: nobody has picked up yet.
const RINGING: u8 = 1;
/// In place of the tokens' place: Opus.
const CHOSE_OPUS: u8 = 0xFF;

/// How speech is coded in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Tokens of this identity.
    Tokens(TokensId),
    /// Opus (RFC 6716), for peers that share no model.
    Opus,
}

/// What a side brings to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The tokens that it understands, best first, at most [`MAX_TOKENS`].
    pub tokens: Vec<TokensId>,
    /// Whether it has Opus.
    pub opus: bool,
    /// Codebooks that it means to send at most, 1 to 32.
    pub depth: u8,
    /// Frames in each of its packets while the path is good, 1 to [`MAX_FRAMES`](crate::packet::MAX_FRAMES).
    pub frames_per_packet: u8,
    /// It agrees upon new keys within a call ([`rekey`](crate::session::Session::rekey)).
    pub rekeys: bool,
}

/// What the called side makes of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Place of the tokens in the offer; `None` for Opus.
    pub tokens: Option<u8>,
    /// Codebooks that it means to send at most.
    pub depth: u8,
    /// Frames in each of its packets while the path is good.
    pub frames_per_packet: u8,
    /// It rings there: the call stands, but nobody has picked up yet.
    pub ringing: bool,
    /// Both sides agree upon new keys within the call.
    pub rekeys: bool,
}

impl Offer {
    /// The longest offer.
    pub const MAX_BYTES: usize = 4 + 32 * MAX_TOKENS;

    /// Flags, depth, frames, number of identities, and 32 bytes for each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let tokens = &self.tokens[..self.tokens.len().min(MAX_TOKENS)];
        let flags = (u8::from(self.opus) * OPUS) | (u8::from(self.rekeys) * REKEYS);
        let mut bytes = vec![flags, self.depth, self.frames_per_packet, tokens.len() as u8];
        tokens.iter().for_each(|tokens| bytes.extend_from_slice(tokens.as_bytes()));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) makes. Bytes after it are of later versions, and no error.
    ///
    /// # Errors
    /// If the bytes are no offer.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields::new(bytes);
        let flags = fields.u8()?;
        let (depth, frames_per_packet, count) = (fields.depth()?, fields.frames()?, fields.u8()?);
        if usize::from(count) > MAX_TOKENS {
            return Err(PacketError::Field { field: "tokens", value: count.into() });
        }
        let tokens = (0..count).map(|_| fields.take().map(TokensId::from_bytes)).collect::<Result<_, _>>()?;
        Ok(Self { tokens, opus: flags & OPUS != 0, depth, frames_per_packet, rekeys: flags & REKEYS != 0 })
    }

    /// The best codec that both sides have: of the tokens the first of this offer that `ours` has too, else Opus. `None` if
    /// there is none. The answer rings nowhere: that is for who gives it to say.
    pub fn shared(&self, ours: &Self) -> Option<Answer> {
        let tokens = self.tokens.iter().position(|tokens| ours.tokens.contains(tokens));
        if tokens.is_none() && !(self.opus && ours.opus) {
            return None;
        }
        Some(Answer {
            tokens: tokens.map(|place| place as u8),
            depth: ours.depth,
            frames_per_packet: ours.frames_per_packet,
            ringing: false,
            rekeys: self.rekeys && ours.rekeys,
        })
    }

    /// The codec that an answer to this offer names. `None` if it names none of these.
    pub fn codec(&self, answer: &Answer) -> Option<Codec> {
        match answer.tokens {
            Some(place) => self.tokens.get(usize::from(place)).copied().map(Codec::Tokens),
            None => self.opus.then_some(Codec::Opus),
        }
    }
}

impl Answer {
    /// Place of the tokens, depth, frames, and flags.
    pub fn to_bytes(&self) -> [u8; 4] {
        let flags = (u8::from(self.ringing) * RINGING) | (u8::from(self.rekeys) * REKEYS);
        [self.tokens.unwrap_or(CHOSE_OPUS), self.depth, self.frames_per_packet, flags]
    }

    /// Reads what [`to_bytes`](Self::to_bytes) makes. Other flags, and bytes after it, are of later versions, and no error.
    ///
    /// # Errors
    /// If the bytes are no answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields::new(bytes);
        let tokens = Some(fields.u8()?).filter(|&place| place != CHOSE_OPUS);
        let (depth, frames_per_packet) = (fields.depth()?, fields.frames()?);
        let flags = fields.u8()?;
        let (ringing, rekeys) = (flags & RINGING != 0, flags & REKEYS != 0);
        Ok(Self { tokens, depth, frames_per_packet, ringing, rekeys })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer() -> impl Strategy<Value = Offer> {
        let tokens = prop::collection::vec(any::<[u8; 32]>().prop_map(TokensId::from_bytes), 0..=MAX_TOKENS);
        let flags = (any::<bool>(), any::<bool>());
        (tokens, flags, 1..=32_u8, 1..=12_u8).prop_map(|(tokens, (opus, rekeys), depth, frames_per_packet)| Offer {
            tokens,
            opus,
            depth,
            frames_per_packet,
            rekeys,
        })
    }

    proptest! {
        #[test]
        fn offers_and_answers_survive(
            offer in offer(), tokens in prop::option::of(0..4_u8), ringing: bool, more: [u8; 3], flags in 0..64_u8,
        ) {
            let bytes = offer.to_bytes();
            prop_assert!(bytes.len() <= Offer::MAX_BYTES);
            prop_assert_eq!(Offer::parse(&bytes), Ok(offer.clone()));
            prop_assert_eq!(Offer::parse(&[&bytes[..], &more].concat()), Ok(offer.clone()), "later versions may say more");
            prop_assert!((0..bytes.len()).all(|cut| Offer::parse(&bytes[..cut]).is_err()));
            let (depth, frames_per_packet, rekeys) = (offer.depth, offer.frames_per_packet, offer.rekeys);
            let answer = Answer { tokens, depth, frames_per_packet, ringing, rekeys };
            let mut bytes = answer.to_bytes();
            prop_assert_eq!(Answer::parse(&bytes), Ok(answer));
            prop_assert!((0..bytes.len()).all(|cut| Answer::parse(&bytes[..cut]).is_err()));
            bytes[3] |= flags << 2;
            prop_assert_eq!(Answer::parse(&[&bytes[..], &more].concat()), Ok(answer), "later versions may say more");
        }

        #[test]
        fn any_bytes_are_an_offer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..150)) {
            if let Ok(offer) = Offer::parse(&bytes) {
                prop_assert_eq!(Offer::parse(&offer.to_bytes()), Ok(offer));
            }
            let _ = Answer::parse(&bytes);
        }
    }

    #[test]
    fn the_callers_best_model_that_both_have_is_chosen_else_opus() {
        let [a, b, c] = [1, 2, 3].map(|n| TokensId::from_bytes([n; 32]));
        let side = |tokens: &[TokensId], opus| Offer {
            tokens: tokens.to_vec(),
            opus,
            depth: 6,
            frames_per_packet: 3,
            rekeys: opus,
        };
        let chosen = |theirs: &Offer, ours: &Offer| theirs.shared(ours).and_then(|answer| theirs.codec(&answer));
        assert_eq!(chosen(&side(&[a, b], true), &side(&[b, a], true)), Some(Codec::Tokens(a)));
        assert_eq!(chosen(&side(&[a, b], true), &side(&[b], false)), Some(Codec::Tokens(b)));
        assert_eq!(chosen(&side(&[a], true), &side(&[c], true)), Some(Codec::Opus));
        assert_eq!(chosen(&side(&[a], false), &side(&[c], true)), None);
        let offer = side(&[a], false);
        let answer = |tokens| Answer { tokens, depth: 1, frames_per_packet: 1, ringing: false, rekeys: false };
        assert_eq!(offer.codec(&answer(Some(1))), None);
        assert_eq!(offer.codec(&answer(None)), None);
    }
}
