//! The same tokens give the same bytes: on every machine, in every build, on every path through the code.
//!
//! `tokens.u16le` are the codes of `assets/speech.flac` (frames of twelve, coarsest first, 16 bits each, little-endian).
//! What the shipped entropy model makes of them, in every context and at several depths, has one hash. It changes with the
//! model, and with nothing else: `cargo xtask test` runs this in debug, in release, and compiled for the machine's own
//! processor; here with every set of instructions that it has, in one thread and in many.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{path::Path, thread};

use parlo_model::{Bundle, EntropyCoder, EntropyModel, FrameCoder, Kernel, PacketShape};
use parlo_tokens::{FrameSet, TokenFrame};
use sha2::{Digest, Sha256};

/// SHA-256 of all payloads, each after its length in four bytes, big-endian.
const HASH: &str = "e9d506561e50870555bdd38c1316c6d2ac42a64c037ba57030a3e24256fe18c3";

/// The same of packets that begin with copies, which conformance/ computes a second time.
const COPIES_HASH: &str = "a1a33b6b9dc388f28ae97172c9a4d9897e1d1891c03a75056873ce02bb6c41f6";

const TOKENS: &[u8] = include_bytes!("golden/tokens.u16le");

fn model() -> EntropyModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/parlo-16k");
    Bundle::open(&folder).unwrap().entropy_model().unwrap().expect("the shipped bundle has an entropy model")
}

fn tokens(depth: usize) -> Vec<TokenFrame> {
    let codes: Vec<u16> = TOKENS.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
    codes.chunks_exact(12).map(|frame| TokenFrame::new(&frame[..depth]).unwrap()).collect()
}

/// Frames before `first` that a receiver would have acknowledged, were some lost and the rest five frames old.
fn acknowledged(first: u64) -> FrameSet {
    (0..first.saturating_sub(5)).filter(|number| number % 7 != 3).collect()
}

/// All payloads that one coder makes, and the frames that another makes of them.
fn payloads(model: &EntropyModel, kernel: Kernel) -> Vec<Vec<u8>> {
    let coder = || EntropyCoder::with_kernel(model, kernel).unwrap();
    let (mut sender, mut receiver) = (coder(), coder());
    let mut made = Vec::new();
    let mut back = Vec::new();
    for depth in [1, 3, 6, 12] {
        let frames = tokens(depth);
        for frames in [&frames[..], &frames[..1], &frames[100..160]] {
            let mut payload = Vec::new();
            sender.encode(frames, &mut payload).unwrap();
            back.clear();
            receiver.decode(&payload, frames.len(), depth, &mut back).unwrap();
            assert_eq!(back, frames);
            made.push(payload);
        }
        sender.forget();
        receiver.forget();
        let mut first = 0;
        for count in [1, 3, 3, 2, 12, 6].into_iter().cycle() {
            let Some(packet) = frames.get(first..first + count) else { break };
            let context = acknowledged(first as u64);
            let mut payload = Vec::new();
            sender.encode_in(first as u64, packet, &context, &mut payload).unwrap();
            back.clear();
            receiver.decode_in(first as u64, &payload, count, depth, &context, &mut back).unwrap();
            assert_eq!(back, packet);
            made.push(payload);
            first += count;
        }
    }
    made
}

/// Payloads of packets that stand alone: frames in the row's number, after so many copies of so many codes.
fn payloads_with_copies(model: &EntropyModel, kernel: Kernel) -> Vec<Vec<u8>> {
    let coder = || EntropyCoder::with_kernel(model, kernel).unwrap();
    let (mut sender, mut receiver) = (coder(), coder());
    let frames = tokens(6);
    let mut first = 12;
    let rows = [(3, 3, 1), (3, 6, 3), (1, 12, 2), (12, 1, 4), (6, 5, 2), (2, 0, 1)];
    let mut made = Vec::new();
    for (count, copied, copy_depth) in rows.into_iter().cycle() {
        let Some(packet) = frames.get(first..first + count) else { break };
        let copies: Vec<_> = frames[first - copied..first].iter().map(|frame| frame.truncated(copy_depth)).collect();
        let (mut payload, mut back) = (Vec::new(), Vec::new());
        sender.encode_packet(first as u64, &copies, packet, &FrameSet::EMPTY, &mut payload).unwrap();
        let shape = PacketShape { first: first as u64, count, depth: 6, copies: copied, copy_depth };
        receiver.decode_packet(&shape, &payload, &FrameSet::EMPTY, &mut back).unwrap();
        assert_eq!(back, [&copies, packet].concat());
        made.push(payload);
        first += count;
    }
    made
}

fn hash(payloads: &[Vec<u8>]) -> String {
    let mut hash = Sha256::new();
    for payload in payloads {
        hash.update(u32::try_from(payload.len()).unwrap().to_be_bytes());
        hash.update(payload);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_tokens_give_the_same_bytes_everywhere() {
    let model = model();
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        assert_eq!(hash(&payloads(&model, kernel)), HASH, "{kernel:?}");
        assert_eq!(hash(&payloads_with_copies(&model, kernel)), COPIES_HASH, "{kernel:?}, copies");
    }
    let many: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| hash(&payloads(&model, Kernel::best())))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(many, [HASH; 4]);
}
