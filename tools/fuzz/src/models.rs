//! What the model reads: payloads, weights, manifests.

use std::{
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use parlo_model::{EntropyCoder, EntropyModel, FrameCoder, Manifest, PacketCoder, PacketShape, PlainCoder};
use parlo_test_support::synthetic::{self, Random, SMALL};
use parlo_tokens::{CodeLayout, FrameSet, TokenFrame};

use crate::input::Input;

/// A small model of random weights.
pub(crate) fn small() -> &'static EntropyModel {
    static MODEL: OnceLock<EntropyModel> = OnceLock::new();
    MODEL.get_or_init(|| synthetic::Synthetic::new(&SMALL, 1).model())
}

fn shape(input: &mut Input<'_>) -> PacketShape {
    let (first, count, depth) = (u64::from(input.word()), input.below(14), input.below(6));
    PacketShape { first, count, depth, copies: input.below(14), copy_depth: input.below(6) }
}

/// A payload of copies and frames, with the frames before it as context. What decodes is encoded as it was; what does not
/// leaves everything as it was.
pub(crate) fn payload(bytes: &[u8]) {
    static CODER: Mutex<Option<EntropyCoder>> = Mutex::new(None);
    let mut coder = CODER.lock().unwrap_or_else(PoisonError::into_inner);
    // Made once, as making one takes longer than using it.
    let coder = coder.get_or_insert_with(|| EntropyCoder::new(small()));
    coder.forget();
    let mut input = Input::new(bytes);
    let shape = shape(&mut input);
    let known = input.byte();
    let mut random = Random(known.into());
    let mut context = FrameSet::EMPTY;
    for n in 1..=u64::from(known % 8) {
        if let Some(number) = shape.first.checked_sub(2 * n + shape.copies as u64) {
            coder.remember(number, &random.frame(&SMALL.layout(), 4)).expect("it fits");
            context.insert(number);
        }
    }
    if known >= 0xF0 {
        // One that nobody remembers.
        context.insert(shape.first.saturating_sub(1 + shape.copies as u64));
    }
    let payload = input.rest();
    let mut out = Vec::new();
    if coder.decode_packet(&shape, payload, &context, &mut out).is_ok() {
        let (copies, frames) = out.split_at(shape.copies);
        assert_eq!(frames.len(), shape.count);
        assert!(frames.iter().all(|frame| frame.depth() == shape.depth));
        let mut again = Vec::new();
        coder.encode_packet(shape.first, copies, frames, &context, &mut again).expect("it was decoded");
        assert_eq!(again, payload, "each run of frames has one payload");
    } else {
        assert!(out.is_empty());
    }
    let mut plain = PacketCoder::new(SMALL.layout(), None);
    out.clear();
    if plain.decode(&shape, payload, &context, &mut out).is_err() {
        assert!(out.is_empty());
    }
}

/// Codes as they are: any count, depth and bytes.
pub(crate) fn plain(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sizes: Vec<u32> = (0..1 + input.below(8)).map(|_| u32::from(input.word()) + 1).collect();
    let Ok(layout) = CodeLayout::new(&sizes) else { return };
    let (count, depth) = (usize::from(input.word()), input.below(40));
    let mut coder = PlainCoder::new(layout);
    let payload = input.rest();
    let mut out: Vec<TokenFrame> = Vec::new();
    if coder.decode(payload, count, depth, &mut out).is_ok() {
        assert_eq!(out.len(), count);
        let mut again = Vec::new();
        coder.encode(&out, &mut again).expect("it was decoded");
        assert_eq!(again, payload);
    } else {
        assert!(out.is_empty());
    }
}

/// A file of weights with some bytes changed, and cut; or, if the first byte is 0, the bytes as they are. What is taken
/// for a model codes without a panic.
pub(crate) fn entropy_model(bytes: &[u8]) {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    let mut input = Input::new(bytes);
    let parse = |bytes: &[u8]| EntropyModel::parse(Path::new("entropy.safetensors"), bytes, &SMALL.layout());
    if input.byte() == 0 {
        assert!(parse(input.rest()).is_err(), "a fuzzer does not make a whole model");
        return;
    }
    let mut file = FILE.get_or_init(|| synthetic::Synthetic::new(&SMALL, 1).file()).clone();
    let header = file.first_chunk().map_or(0, |length| u64::from_le_bytes(*length)) as usize + 8;
    while !input.is_empty() {
        let (kind, place, value) = (input.below(8), usize::from(input.word()), input.byte());
        let place = place | usize::from(input.byte()) << 16;
        match kind {
            0 => file.truncate(place % (file.len() + 1)),
            1..=3 => {
                let end = header.min(file.len()).max(1);
                if let Some(byte) = file.get_mut(place % end) {
                    *byte = value;
                }
            }
            _ => {
                let end = file.len().max(1);
                if let Some(byte) = file.get_mut(place % end) {
                    *byte = value;
                }
            }
        }
    }
    let Ok(model) = parse(&file) else { return };
    let mut coder = EntropyCoder::new(&model);
    let frames = Random(7).frames(&SMALL.layout(), 4, 3);
    let mut payload = Vec::new();
    coder.encode(&frames, &mut payload).expect("the frames fit");
    let mut out = Vec::new();
    coder.decode(&payload, 3, 4, &mut out).expect("it was encoded");
    assert_eq!(out, frames);
}

/// A bundle's manifest.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(manifest) = toml::from_str::<Manifest>(text) {
        let _ = format!("{manifest:?}");
        let _ = CodeLayout::new(&manifest.quantizer.sizes());
    }
}
