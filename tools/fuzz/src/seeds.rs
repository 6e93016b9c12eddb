//! Inputs to begin with: real packets, files and calls.

use parlo_model::{EntropyCoder, FrameCoder, PlainCoder};
use parlo_protocol::{
    feedback::Feedback,
    identity::Identity,
    offer::{Answer, Offer},
    packet::{Control, Frames, Goodbye, Media, Piggyback, Presence},
    ptk::{Codes, Coding, Header, Mark, Run, Stream, Tokens, Writer},
};
use parlo_test_support::synthetic::{Random, SMALL};
use parlo_tokens::{ComfortNoise, FrameSet, TokensId, TokensPrefix};

use crate::models::small;

/// The lines of the document that have bytes, by name.
fn vectors() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    include_str!("../../../docs/wire.md").lines().filter_map(|line| {
        let (name, text) = line.split_once(": ")?;
        let bytes: Option<Vec<u8>> = text.split(' ').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        bytes.filter(|_| name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase())).map(|bytes| (name, bytes))
    })
}

/// A recording of both sides of a call, with a frame of each kind.
fn streams(id: TokensPrefix) -> Vec<u8> {
    let tokens = Tokens {
        id,
        bundle_name: "x".into(),
        sample_rate: 16_000,
        frame_samples: 320,
        depth: 4,
        coding: Coding::Plain,
    };
    let streams = (0..).zip(["said", "heard"]).map(|(id, name)| Stream { id, name: name.into() }).collect();
    let metadata = vec![("peer".into(), "ann".into())];
    let header = Header { tokens, created_ms: Some(1_800_000_000_000), streams, metadata };
    let mut bytes = vec![50];
    let mut writer = Writer::begin(&header, &mut bytes).expect("a small header");
    let codes = Codes { depth: 4, payload: &[1, 2, 3, 4, 5, 6, 7, 8, 9] };
    let noise = Some(ComfortNoise::new(60, [127; 8]));
    let run = |mark, count, codes, noise| Run { mark, count, codes, noise };
    let said = [run(Mark::Real, 3, Some(codes), None), run(Mark::Unsent, 2, Some(codes), None)];
    let heard = [
        run(Mark::Waiting, 4, None, None),
        run(Mark::Coarse, 1, Some(Codes { depth: 2, payload: &[7, 8] }), None),
        run(Mark::Silent, 200, None, noise),
        run(Mark::Predicted, 1, None, None),
    ];
    writer.block(0, 0, &said, &mut bytes).expect("a small block");
    writer.block(1, 20, &heard, &mut bytes).expect("a small block");
    writer.block(0, 4000, &said[1..], &mut bytes).expect("a small block");
    writer.end(None, &mut bytes);
    bytes
}

/// A file of whole frames that is long enough to have an index: 140 s in seven blocks.
pub(crate) fn long_file() -> Vec<u8> {
    let tokens = Tokens {
        id: TokensPrefix::from_bytes([5; 16]),
        bundle_name: "x".into(),
        sample_rate: 16_000,
        // 100 ms.
        frame_samples: 1_600,
        depth: 2,
        coding: Coding::Plain,
    };
    let header = Header { tokens, created_ms: None, streams: Vec::new(), metadata: Vec::new() };
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&header, &mut bytes).expect("a small header");
    let mut random = Random(6);
    for _ in 0..7 {
        let (frames, mut payload) = (random.frames(&SMALL.layout(), 2, 200), Vec::new());
        PlainCoder::new(SMALL.layout()).encode(&frames, &mut payload).expect("the frames fit");
        writer.whole(200, &payload, &mut bytes).expect("a small block");
    }
    writer.end(Some(1_400 * 1_600 - 7), &mut bytes);
    bytes
}

/// The committed corpus of a target: names and bytes.
///
/// # Panics
/// If what is made here does not fit, which would be a fault of this function.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut made: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| made.push((name.to_owned(), bytes));
    match target {
        "media" => {
            for (name, bytes) in vectors().filter(|(name, _)| name.starts_with("media") || *name == "silence") {
                add(name, bytes);
            }
            let feedback = Some(Feedback::from_bytes([1, 2, 3, 4, 5, 6, 7]));
            let piggyback = Piggyback { ack: None, feedback };
            for (name, media) in [
                (
                    "all",
                    Media::Frames(Frames {
                        depth: 32,
                        count: 12,
                        context: 15,
                        copies: 12,
                        copy_depth: 4,
                        piggyback,
                        payload: &[7; 90],
                    }),
                ),
                ("silence-with-feedback", Media::Silence { noise: ComfortNoise::new(50, [100; 8]), piggyback }),
            ] {
                let mut body = vec![0];
                body[0] = media.encode(&mut body);
                add(name, body);
            }
        }
        "control" => {
            vectors()
                .filter(|(name, _)| ["bye", "recorded"].contains(name) || name.starts_with("alive"))
                .for_each(|(name, bytes)| add(name, bytes));
            let alive = |ringing, held| Control::Alive {
                piggyback: Piggyback::default(),
                presence: Presence { ringing, held },
                frames: u32::from(held),
            };
            for (name, control) in [
                ("alive-alone", alive(false, false)),
                ("alive-both", alive(true, true)),
                ("bye-later", Control::Bye { frames: u32::MAX, reason: Goodbye::Other(200) }),
            ] {
                let mut bytes = Vec::new();
                control.encode(&mut bytes);
                add(name, bytes);
            }
        }
        "offer" => {
            for count in [0, 1, 4] {
                let tokens = (0..count).map(|n| TokensId::from_bytes([n; 32])).collect();
                let offer = Offer { tokens, opus: true, depth: 6, frames_per_packet: 3, rekeys: true };
                let answer = Answer {
                    tokens: count.checked_sub(1),
                    depth: 4,
                    frames_per_packet: 12,
                    ringing: count == 4,
                    rekeys: false,
                };
                add(&format!("{count}-bundles"), [&[4], &answer.to_bytes()[..], &offer.to_bytes()].concat());
            }
        }
        "key" => (1..4_u8).for_each(|n| {
            add(&format!("key-{n}"), Identity::from_bytes([n; 32]).public().to_string().into_bytes());
        }),
        "session" => {
            let talk = [7, 3, 5, 0x87, 1, 2, 0, 0x80, 0x27, 9, 9, 0x80, 0x80, 6, 100, 0x87, 0, 1, 0x00, 4, 3, 0x84, 9];
            for setting in 0..8 {
                add(&format!("setting-{setting}"), [&[setting][..], &[0x80, 0, 0x80, 0, 0x80, 0], &talk].concat());
            }
            let datagrams = vectors().filter(|(name, _)| name.starts_with("sealed-"));
            let mut handshake = vec![4];
            for (name, bytes) in datagrams.filter(|(_, bytes)| bytes.len() < 256) {
                let to = if ["initiate", "finish", "confirm", "media"].iter().any(|end| name.ends_with(end)) {
                    0x85
                } else {
                    5
                };
                handshake.extend_from_slice(&[to, bytes.len() as u8]);
                handshake.extend_from_slice(&bytes);
            }
            add("vectors", handshake);
        }
        "door" => {
            add("known", vec![0, 5, 5, 5, 1, 50, 5, 5]);
            add("unknown", vec![0x42, 5, 5, 5, 5, 1, 50, 5]);
            add("wrong-key", vec![0x84, 5, 5, 5]);
            add("many", vec![0, 0x42, 6, 0x48, 0, 5, 5, 1, 20, 4, 1, 0, 5, 3, 3, 0, 9, 77, 5, 1, 255, 5, 1, 255]);
            for (name, bytes) in vectors().filter(|(name, _)| name.ends_with("initiate") || name.ends_with("finish")) {
                add(name, [&[2, bytes.len() as u8][..], &bytes].concat());
            }
        }
        "call" => {
            let mut talk = Vec::new();
            for n in 0..40 {
                // Both speak, time passes, all arrives.
                talk.extend_from_slice(&[10, 0, 24, 0x8A, 0, 20, 8, 15, 0x80, 0]);
                if n % 8 == 0 {
                    talk.extend_from_slice(&[13, 60, 0x80, 4, 6, 3]);
                }
            }
            for setting in 0..8 {
                let ends = [0x2F | 0x40, 0, 8, 10, 0x80, 8, 10, 8, 10];
                add(
                    &format!("setting-{setting}"),
                    [&[setting][..], &[0x80, 0, 0x80, 0, 0x80, 0], &talk, &ends].concat(),
                );
            }
            add("roams", [&[0][..], &talk[..100], &[15, 3], &talk[..100], &[8, 255, 8, 255]].concat());
            // It rings for six seconds; then somebody picks up, and they speak.
            let rings = [8, 250, 0, 0x80, 8, 250, 0, 0x80].repeat(3);
            add("rings", [&[8][..], &rings, &[0xCF, 0, 0, 8, 30, 0, 8, 60, 0], &talk[..100]].concat());
            add("is-declined", [&[9][..], &rings, &[0xEF, 1, 0, 8, 10, 0, 8, 10, 0]].concat());
            add("gives-up", [&[8][..], &rings, &[0x6F, 3, 0x80, 8, 10, 0x80, 8, 10, 0x80]].concat());
            // Held and back, in both directions, with the news of it in another order.
            let holds =
                [10, 0, 20, 0x4F, 2, 0x4F, 0, 0x8E, 2, 0x80, 0x80, 0xCF, 2, 8, 25, 0, 4, 0xCF, 0, 13, 60, 0, 0x80];
            add("holds", [&[0][..], &talk[..60], &holds.repeat(6)].concat());
            add("quiet", [&[0][..], &[8, 255, 0, 0x80].repeat(40)].concat());
        }
        "file" => {
            let id = TokensPrefix::from_bytes([5; 16]);
            for coding in [Coding::Plain, Coding::Transformer] {
                let tokens =
                    Tokens { id, bundle_name: "x".into(), sample_rate: 16_000, frame_samples: 320, depth: 4, coding };
                let header = Header { tokens, created_ms: None, streams: Vec::new(), metadata: Vec::new() };
                let mut bytes = vec![50];
                let mut writer = Writer::begin(&header, &mut bytes).expect("a small header");
                let frames = Random(2).frames(&SMALL.layout(), 4, 6);
                let mut payload = Vec::new();
                PlainCoder::new(SMALL.layout()).encode(&frames, &mut payload).expect("the frames fit");
                for _ in 0..2 {
                    writer.whole(6, &payload, &mut bytes).expect("a small block");
                }
                writer.end(Some(12 * 320), &mut bytes);
                add(&format!("{coding:?}").to_lowercase(), bytes);
            }
            add("streams", streams(id));
            add("whole", [&[50], &long_file()[..]].concat());
        }
        "archive" => {
            let mut recording = streams(TokensPrefix::from_bytes([5; 16]));
            recording[0] = 8;
            add("streams", recording);
            add("whole", [&[200], &long_file()[..]].concat());
            add("changed", vec![1, 3, 4, 5, 6]);
            add("changed-more", vec![7, 0, 70, 1, 0, 1, 90, 80, 0, 5, 5, 5, 0, 9, 9, 9, 0]);
        }
        "payload" => {
            let mut coder = EntropyCoder::new(small());
            for (name, copies, depth) in [("frames", 0, 4), ("copies", 3, 2), ("one", 1, 1)] {
                let mut random = Random(3);
                let mut bytes = vec![1, 0, 3, depth, copies, 1, 0];
                let copied = random.frames(&SMALL.layout(), 1, copies.into());
                let frames = random.frames(&SMALL.layout(), depth.into(), 3);
                coder.encode_packet(256, &copied, &frames, &FrameSet::EMPTY, &mut bytes).expect("the frames fit");
                add(name, bytes);
            }
        }
        "plain" => {
            let mut bytes = vec![3];
            (0..4).for_each(|_| bytes.extend_from_slice(&79_u16.to_be_bytes()));
            bytes.extend_from_slice(&[0, 5, 4]);
            let frames = Random(4).frames(&SMALL.layout(), 4, 5);
            PlainCoder::new(SMALL.layout()).encode(&frames, &mut bytes).expect("the frames fit");
            add("five", bytes);
        }
        "entropy_model" => {
            add("whole", vec![1]);
            add("weights", [5, 9, 200, 3, 0].repeat(20));
            add("header", [1, 0, 40, 49, 0].repeat(2));
            add("cut", vec![8, 4, 210, 0, 0]);
            add("json", [&[0][..], &(2_u64.to_le_bytes()), b"{}"].concat());
        }
        "manifest" => add("shipped", include_bytes!("../../../model/bundles/parlo-16k/manifest.toml").to_vec()),
        _ => {}
    }
    made
}
