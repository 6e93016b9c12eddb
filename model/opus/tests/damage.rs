//! Whatever a packet holds, there comes audio or an error, and the stream goes on.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{path::Path, sync::OnceLock};

use parlo_opus::{FRAME_BYTES_MOST, FRAME_SAMPLES, OpusDecoder, OpusEncoder, OpusFrame, Protection};
use parlo_tokens::Slot;
use proptest::prelude::*;
use support::Dice;

/// Frames with every kind of protection, out of the middle of speech.
fn sound() -> &'static [OpusFrame] {
    static FRAMES: OnceLock<Vec<OpusFrame>> = OnceLock::new();
    FRAMES.get_or_init(|| {
        let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/speech.flac");
        let signal = support::read(&clip).unwrap();
        let dred = Protection::Dred { duration_10ms: 100 };
        [(9_000, Protection::None), (24_000, Protection::Fec), (32_000, dred)]
            .into_iter()
            .flat_map(|(bitrate, protection)| {
                let mut encoder = OpusEncoder::new(bitrate, protection).unwrap();
                let frames: Vec<_> =
                    signal.chunks_exact(FRAME_SAMPLES).take(60).map(|audio| encoder.push(audio).unwrap()).collect();
                frames.into_iter().skip(20)
            })
            .collect()
    })
}

/// Bytes with a header that lasts 20 ms, if they have any: only these reach the decoder.
fn headed(mut bytes: Vec<u8>, header: u8) -> Option<OpusFrame> {
    const HEADERS: [u8; 12] = [
        1 << 3,
        5 << 3,
        9 << 3,
        13 << 3,
        15 << 3,
        19 << 3,
        31 << 3,
        (9 << 3) | 4,
        (9 << 3) | 3,
        (8 << 3) | 2,
        (31 << 3) | 3,
        (28 << 3) | 3,
    ];
    *bytes.first_mut()? = HEADERS[usize::from(header) % HEADERS.len()];
    OpusFrame::new(&bytes).ok()
}

/// A real frame with some bytes changed, cut, or made longer.
fn damaged(seed: u64) -> Option<OpusFrame> {
    let mut dice = Dice(seed);
    let mut bytes = sound()[dice.roll() as usize % sound().len()].as_bytes().to_vec();
    for _ in 0..dice.roll() % 4 {
        let place = 1 + dice.roll() as usize % (bytes.len() - 1);
        bytes[place] = dice.roll() as u8;
    }
    if dice.percent(20) {
        bytes.truncate(1 + dice.roll() as usize % bytes.len());
    }
    if dice.percent(20) {
        bytes.resize((bytes.len() + dice.roll() as usize % 100).min(FRAME_BYTES_MOST), dice.roll() as u8);
    }
    OpusFrame::new(&bytes).ok()
}

fn frame() -> impl Strategy<Value = Option<OpusFrame>> {
    prop_oneof![
        (proptest::collection::vec(any::<u8>(), 0..=FRAME_BYTES_MOST), any::<u8>())
            .prop_map(|(bytes, header)| headed(bytes, header)),
        any::<u64>().prop_map(damaged),
        any::<prop::sample::Index>().prop_map(|index| Some(*index.get(sound()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_packets_give_audio_or_an_error(steps in proptest::collection::vec((frame(), 0..6_u32), 1..24)) {
        let mut decoder = OpusDecoder::new().unwrap();
        let check = |audio: &[f32]| audio.len() == FRAME_SAMPLES && audio.iter().all(|sample| sample.is_finite());
        for (frame, way) in steps {
            let Some(frame) = frame else { continue };
            let played = match way {
                0 | 1 => decoder.play(&Slot::Frame(frame)),
                2 => decoder.play(&Slot::Coarse(frame)),
                3 => decoder.play(&Slot::Missing),
                _ => {
                    let _ = decoder.reach(&frame);
                    decoder.repair(&frame, 1 + way % 3).map(Option::unwrap_or_default)
                }
            };
            if let Ok(audio) = played {
                prop_assert!(audio.is_empty() || check(audio));
            }
        }
        // However it was treated, it plays on.
        for frame in &sound()[..3] {
            prop_assert!(check(decoder.play(&Slot::Frame(*frame)).unwrap()));
        }
        prop_assert!(check(decoder.play(&Slot::Missing).unwrap()));
    }
}
