//! The codec that ships, in one pass, and for calls.

use std::{
    path::Path,
    sync::Arc,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use parlo_dsp::Intake;
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, Runtime};
use parlo_opus::{OpusDecoder, OpusEncoder, Protection};
use parlo_protocol::jitter::JitterConfig;
use parlo_tokens::TokenFrame;
use parlod::{
    audio::AudioReader,
    call::{FrameDecoder, FrameEncoder, Player, RUN_FRAMES},
    media::CallCodec,
};

/// The codec that ships.
pub(crate) struct Codec {
    runtime: Runtime,
    bundle: Bundle,
    pub(crate) rate: u32,
    pub(crate) frame: usize,
    pub(crate) delay: usize,
}

/// Loaded once for all tests.
pub(crate) static CODEC: LazyLock<Codec> = LazyLock::new(|| {
    let runtime = Runtime::load(None).unwrap();
    let bundle = Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap();
    let audio = &bundle.manifest().audio;
    let (rate, frame, delay) = (audio.sample_rate, audio.frame_samples, audio.delay_samples);
    Codec { runtime, bundle, rate, frame, delay }
});

/// Codecs are made one at a time: the machine's cores are few.
static MAKING: Mutex<()> = Mutex::new(());

impl Codec {
    pub(crate) fn encoder(&self) -> Encoder {
        let _one = MAKING.lock();
        let mut encoder = Encoder::new(&self.runtime, &self.bundle, EncoderConfig { depth: 6, beam: 1 }).unwrap();
        encoder.prepare(RUN_FRAMES).unwrap();
        encoder
    }

    pub(crate) fn decoder(&self) -> Decoder {
        let _one = MAKING.lock();
        let mut decoder = Decoder::new(&self.runtime, &self.bundle).unwrap();
        decoder.prepare(RUN_FRAMES).unwrap();
        decoder
    }

    /// The samples at once, filled up with silence to whole frames.
    pub(crate) fn encode(&self, samples: &[f32]) -> Vec<TokenFrame> {
        let mut encoder = self.encoder();
        let mut frames = samples.to_vec();
        frames.resize(samples.len().next_multiple_of(self.frame), 0.0);
        frames.chunks(self.frame).map(|frame| encoder.push(frame).unwrap()).collect()
    }

    pub(crate) fn decode(&self, tokens: &[TokenFrame]) -> Vec<f32> {
        let mut decoder = self.decoder();
        tokens.iter().flat_map(|frame| decoder.push(frame).unwrap().to_vec()).collect()
    }

    /// The codec of a call, made before its audio is opened.
    pub(crate) fn voice(&self, call: u64) -> CallCodec {
        self.patient(call, Duration::from_millis(40))
    }

    /// The same, whose jitter buffer waits for so long at least.
    pub(crate) fn patient(&self, call: u64, wait: Duration) -> CallCodec {
        let jitter =
            JitterConfig { frame: Duration::from_millis(20), start: wait, least: wait, ..JitterConfig::default() };
        CallCodec {
            call,
            encoder: FrameEncoder::Tokens(Box::new(self.encoder())),
            player: Player::new(FrameDecoder::Tokens(Box::new(self.decoder())), jitter, self.rate, self.frame),
            sample_rate: self.rate,
            frame_samples: self.frame,
            delay_samples: self.delay,
            timeline: 1000,
            wake: Arc::default(),
        }
    }

    /// The same in Opus.
    pub(crate) fn opus(call: u64) -> CallCodec {
        let jitter = JitterConfig { frame: Duration::from_millis(20), ..JitterConfig::default() };
        let (rate, frame) = (parlo_opus::RATE, parlo_opus::FRAME_SAMPLES);
        let listener = FrameDecoder::Opus(Box::new(OpusDecoder::new().unwrap()));
        CallCodec {
            call,
            encoder: FrameEncoder::Opus(Box::new(OpusEncoder::new(24_000, Protection::None).unwrap()), 8),
            player: Player::new(listener, jitter, rate, frame),
            sample_rate: rate,
            frame_samples: frame,
            delay_samples: 0,
            timeline: 1000,
            wake: Arc::default(),
        }
    }
}

/// So many samples of the clip that ships, at a rate, from a second on.
pub(crate) fn speech(rate: u32, skip: usize, samples: usize) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/speech.flac");
    let mut reader = AudioReader::open(&path).unwrap();
    let format = reader.format();
    let mut intake = Intake::new(format.rate, format.channels, rate, 160).unwrap();
    let (mut buffer, mut all) = (vec![0.0; 4096], Vec::new());
    while let count @ 1.. = reader.read(&mut buffer).unwrap() {
        intake.push(&buffer[..count], |block| all.extend_from_slice(block));
    }
    all[rate as usize / 2 + skip..][..samples].to_vec()
}
