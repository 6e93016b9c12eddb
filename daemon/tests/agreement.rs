//! Sender and receiver of a call, the shipped entropy model, and a bad network between them: whatever is lost, late, out of
//! order or doubled, every packet that decodes gives the tokens that were sent.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BinaryHeap, path::Path, time::Duration};

use parlo_model::{Bundle, PacketCoder, PacketShape};
use parlo_protocol::{
    ack::FrameAck,
    context::{AckReceiver, AckSender},
};
use parlo_tokens::TokenFrame;

const TOKENS: &[u8] = include_bytes!("../../model/tests/golden/tokens.u16le");
const FRAME: Duration = Duration::from_millis(20);

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A datagram on its way; the heap gives the one that arrives first.
enum Datagram {
    Media { first: u64, count: usize, reference: u8, payload: Vec<u8>, depth: usize },
    FrameAck(FrameAck),
}

struct OnItsWay(u64, u64, Datagram);

impl PartialEq for OnItsWay {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for OnItsWay {}

impl PartialOrd for OnItsWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OnItsWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

/// What became of the packets of a call.
#[derive(Debug, Default)]
struct Outcome {
    decoded: u64,
    with_context: u64,
    refused: u64,
    undecodable: u64,
}

/// A call of so many packets over a network that loses `loss` percent.
fn call(seed: u64, packets: usize, loss: u64) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/bundles/parlo-16k");
    let bundle = Bundle::open(&folder).unwrap();
    let model = bundle.entropy_model().unwrap();
    assert!(model.is_some());
    let coder = || PacketCoder::new(*bundle.layout(), model.as_ref());
    let (mut sender, mut receiver) = (coder(), coder());
    let (mut ack_receiver, mut ack_sender) = (AckReceiver::default(), AckSender::new(Duration::from_millis(200)));
    let codes: Vec<u16> = TOKENS.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
    let mut random = Random(seed);
    let mut network: BinaryHeap<OnItsWay> = BinaryHeap::new();
    let start = std::time::Instant::now();
    let mut sent: Vec<TokenFrame> = Vec::new();
    let (mut serial, mut burst) = (0, 0);
    let mut outcome = Outcome::default();
    for _ in 0..packets {
        let (first, count, depth) =
            (sent.len() as u64, 1 + random.below(5) as usize, [3, 4, 6][random.below(3) as usize]);
        // Speech from anywhere in the clip: what is said does not matter here.
        let from = random.below(300) as usize;
        let frames: Vec<TokenFrame> =
            (from..from + count).map(|at| TokenFrame::new(&codes[12 * (at % 341)..][..depth]).unwrap()).collect();
        sent.extend(&frames);
        let now = sent.len() as u64 * 20;
        while network.peek().is_some_and(|datagram| datagram.0 <= now) {
            match network.pop().unwrap().2 {
                Datagram::FrameAck(report) => {
                    ack_receiver.take(&report);
                }
                Datagram::Media { first, count, reference, payload, depth } => {
                    let Some(context) = ack_sender.resolve(first, reference) else {
                        outcome.refused += 1;
                        continue;
                    };
                    let mut back = Vec::new();
                    if receiver.decode(&PacketShape::plain(first, count, depth), &payload, &context, &mut back).is_err()
                    {
                        outcome.undecodable += 1;
                        continue;
                    }
                    assert_eq!(back, sent[first as usize..first as usize + count], "frames from {first}, seed {seed}");
                    ack_sender.decoded(first, count);
                    outcome.decoded += 1;
                    outcome.with_context += u64::from(!context.is_empty());
                }
            }
        }
        let context = ack_receiver.context(first);
        let mut payload = Vec::new();
        sender.encode(first, &[], &frames, context.frames(), &mut payload).unwrap();
        ack_receiver.sent(first, count);
        let mut post = |random: &mut Random, make: &dyn Fn() -> Datagram| {
            if burst > 0 || random.below(100) < loss {
                burst = if burst > 0 { burst - 1 } else { random.below(4) };
                return;
            }
            // Now and then twice, and now and then very late.
            for _ in 0..1 + u64::from(random.below(20) == 0) {
                let delay = if random.below(15) == 0 { random.below(9000) } else { 30 + random.below(90) };
                serial += 1;
                network.push(OnItsWay(now + delay, serial, make()));
            }
        };
        let reference = context.reference();
        post(&mut random, &|| Datagram::Media { first, count, reference, payload: payload.clone(), depth });
        if let Some(report) = ack_sender.ack(start + FRAME * sent.len() as u32) {
            post(&mut random, &|| Datagram::FrameAck(report));
        }
    }
    outcome
}

#[test]
fn never_one_wrong_token() {
    for (seed, loss) in [(1, 0), (2, 10), (3, 30)] {
        let outcome = call(seed, 400, loss);
        assert!(outcome.decoded > 150 && outcome.with_context > outcome.decoded / 2, "{outcome:?}");
        // What is refused has come more than five seconds late; nothing that was accepted failed to decode.
        assert!(outcome.undecodable == 0, "{outcome:?}");
    }
}

/// `cargo test --release -p parlod --test agreement -- --ignored --nocapture`: a million packets.
#[test]
#[ignore = "takes minutes"]
fn never_one_wrong_token_in_a_million_packets() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut all = Outcome::default();
                    for seed in (0..200).filter(|seed| seed % threads == thread) {
                        let outcome = call(100 + seed as u64, 5000, seed as u64 % 50);
                        all.decoded += outcome.decoded;
                        all.with_context += outcome.with_context;
                        all.refused += outcome.refused;
                        all.undecodable += outcome.undecodable;
                    }
                    all
                })
            })
            .collect();
        for call in calls {
            println!("{:?}", call.join().unwrap());
        }
    });
}
