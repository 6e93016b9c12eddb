//! What is inside sealed packets, and texts of keys.

use parlo_protocol::{
    identity::PublicKey,
    offer::{Answer, Offer},
    packet::{Control, Media},
};

/// The header's byte, and what was sealed. What is a packet is written as it was read.
pub(crate) fn media(bytes: &[u8]) {
    let Some((&header, body)) = bytes.split_first() else { return };
    if let Ok(media) = Media::parse(header, body) {
        let mut again = Vec::new();
        assert_eq!((media.encode(&mut again), &again[..]), (header, body));
    }
}

pub(crate) fn control(bytes: &[u8]) {
    if let Ok(control) = Control::parse(bytes) {
        let mut again = Vec::new();
        control.encode(&mut again);
        assert_eq!(again, bytes);
    }
}

/// The first byte says how many bytes are the answer; the rest are the offer.
pub(crate) fn offer(bytes: &[u8]) {
    let Some((&length, rest)) = bytes.split_first() else { return };
    let (answer, offer) = rest.split_at(usize::from(length).min(rest.len()));
    let (answer, offer) = (Answer::parse(answer), Offer::parse(offer));
    if let Ok(answer) = &answer {
        assert_eq!(Answer::parse(&answer.to_bytes()).as_ref(), Ok(answer));
    }
    if let Ok(offer) = &offer {
        assert!(offer.to_bytes().len() <= Offer::MAX_BYTES);
        assert_eq!(Offer::parse(&offer.to_bytes()).as_ref(), Ok(offer));
        let shared = offer.shared(offer);
        assert_eq!(shared.is_some(), offer.opus || !offer.tokens.is_empty());
        assert!(shared.is_none_or(|answer| offer.codec(&answer).is_some()), "what is shared was offered");
        if let Ok(answer) = &answer {
            let _ = offer.codec(answer);
        }
    }
}

pub(crate) fn key(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text.to_ascii_lowercase());
        assert_eq!(key.fingerprint().len(), 19);
    }
}
