//! Calls, recordings' files and refusals with bundles made of other projects' codecs, whose frames are not of 20 ms.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    io::Cursor,
    path::Path,
    sync::{Arc, LazyLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parlo_api::{Call as CallStatus, CallState, Dial, FeedMessage, Status};
use parlo_archive::{Archive, FileState, Options, Writer, coder};
use parlo_model::{
    Bundle, Decoder, Encoder, EncoderConfig, ModelError, PacketCoder, Runtime, decode_recording, encode_recording,
};
use parlo_netem::{Jitter, Loss};
use parlo_protocol::{
    adapt::{Costs, Limits},
    offer::Codec,
    ptk::Coding,
};
use parlo_test_support::{
    foreign::{Coded, Latents, Way},
    formats,
};
use parlo_tokens::TokenFrame;
use parlod::{
    call::{CallError, CodedFrame, EncodedFrame, Engine, FrameDecoder, FrameOrigin, PayloadCoder, Stop},
    call_manager::{Handle, Reply, Request, Service},
    config::{AutoAnswer, Config, Endpoint},
    feeds::{Taken, Wanted},
    recordings::Recordings,
};
use support::{
    simulation::{Outcome, Script, run},
    spoken::{LEAST, path},
};

/// Frames of 13.33 ms (EnCodec's), 40 ms, 80 ms (Mimi's), 11.61 ms (DAC's) and 85.33 ms (SNAC's).
const CODECS: [Coded; 5] = [
    codec(24_000, 320, 32),
    codec(16_000, 640, 32),
    codec(24_000, 1920, 32),
    codec(44_100, 512, 16),
    codec(24_000, 2048, 32),
];

const fn codec(rate: u32, frame: usize, books: usize) -> Coded {
    Coded { rate, frame, books, whole: None, fault: 0 }
}

fn made(write: impl FnOnce(&Path)) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let bundle = Bundle::open(folder.path()).unwrap();
    (folder, bundle)
}

fn frame_of(codec: &Coded) -> Duration {
    Duration::from_secs_f64(codec.frame as f64 / f64::from(codec.rate))
}

/// A tone that swells and fades twice a second, and never stops.
fn swell(rate: u32, seconds: usize) -> Vec<f32> {
    let tau = std::f32::consts::TAU;
    (0..rate as usize * seconds)
        .map(|n| {
            let t = n as f32 / rate as f32;
            (0.4 + 0.2 * (tau * 2.0 * t).sin()) * (tau * 97.0 * t).sin()
        })
        .collect()
}

// In simulated time.

/// A call over a path of 40 ms each way, with whatever `change` makes of it; and what the frames decode to.
fn call(codec: &Coded, frames_per_packet: u8, change: impl FnOnce(&mut Script<'_>)) -> (Outcome, Vec<f32>, usize) {
    let (_folder, bundle) = made(|folder| codec.write(folder));
    let runtime = Runtime::load(None).unwrap();
    let mut samples = swell(codec.rate, 12);
    samples.truncate(samples.len() / codec.frame * codec.frame);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth: codec.books, beam: 1 }).unwrap();
    let speech: Vec<Vec<EncodedFrame>> = samples
        .chunks_exact(codec.frame)
        .enumerate()
        .map(|(number, frame)| {
            let unit = Some(CodedFrame::Tokens(encoder.push(frame).unwrap()));
            vec![EncodedFrame { number: number as u64, unit, silence: None, ends_packet: false }]
        })
        .collect();
    let expected = speech.iter().flatten().flat_map(|frame| match frame.unit {
        Some(CodedFrame::Tokens(tokens)) => codec.samples(tokens.codes()),
        _ => unreachable!(),
    });
    let expected = expected.collect();
    let layout = *bundle.layout();
    let packing = || PayloadCoder::Tokens(PacketCoder::new(layout, None));
    let depth = codec.books as u8;
    let mut script = Script {
        codec: Codec::Tokens(bundle.tokens()),
        speech: &speech,
        samples: &samples,
        packing: &packing,
        listener: FrameDecoder::Tokens(Box::new(Decoder::new(&runtime, &bundle).unwrap())),
        limits: Limits { frame: frame_of(codec), ..Limits::new(depth, frames_per_packet) },
        costs: Costs::tokens((0..layout.depth()).map(|book| layout.bits(book))),
        adapts: false,
        there: path(1),
        back: path(2),
        skew_ppm: 0.0,
        moves: None,
        audio: (codec.rate, codec.frame),
        delay: Duration::ZERO,
        least: LEAST,
        junk: 0,
    };
    change(&mut script);
    let count = speech.len();
    (run(script), expected, count)
}

fn real(outcome: &Outcome) -> usize {
    outcome.origins.get(&FrameOrigin::Real).copied().unwrap_or_default() as usize
}

#[test]
fn on_a_good_path_every_frame_is_heard_as_it_was_coded_and_soon() {
    for codec in &CODECS {
        for frames_per_packet in [1, 3] {
            let (outcome, expected, count) = call(codec, frames_per_packet, |_| {});
            let length = 1000.0 * frame_of(codec).as_secs_f64();
            let what = format!("{} samples at {} Hz, {frames_per_packet} a packet", codec.frame, codec.rate);
            assert!(outcome.stood && real(&outcome) + 4 >= count, "{what}: {:?}", outcome.origins);
            for (&number, &origin) in &outcome.by_number {
                let span = number as usize * codec.frame..(number as usize + 1) * codec.frame;
                let same = outcome.heard[span.clone()].iter().zip(&expected[span]).all(|(h, e)| (h - e).abs() < 1e-5);
                assert!(origin != FrameOrigin::Real || same, "{what}: frame {number}");
            }
            // The path, the packet's filling, and no more than two frames and the buffer's least.
            let mut delays = outcome.delays[outcome.delays.len() / 2..].to_vec();
            delays.sort_by(f64::total_cmp);
            let (median, packet) = (delays[delays.len() / 2], length * f64::from(frames_per_packet));
            assert!(median < 40.0 + packet + 2.0 * length + 45.0, "{what}: {median} ms");
            assert!(median > 40.0 + packet - 1.0, "{what}: {median} ms");
            // It comes to rest: frames are not left out and put in for ever.
            let jitter = outcome.player.jitter;
            assert!(jitter.skipped < 12, "{what}: {jitter:?}");
            // What is sent is what the codes take.
            let bytes = count * codec.books;
            assert!(outcome.sent.0 as usize + 3 >= count, "{what}: {:?}", outcome.sent);
            assert!(
                (outcome.sent.1 as usize).abs_diff(bytes) <= bytes / 20,
                "{what}: {:?} and not {bytes}",
                outcome.sent
            );
        }
    }
}

#[test]
fn loss_and_jitter_are_lived_through_whatever_a_frame_lasts() {
    for codec in &CODECS {
        let (outcome, _, count) = call(codec, 1, |script| {
            script.there.loss = Loss::Random(0.1);
            script.there.jitter = Jitter::Uniform(Duration::from_millis(60));
            script.adapts = true;
        });
        let what = format!("{} samples at {} Hz", codec.frame, codec.rate);
        let coarse = outcome.origins.get(&FrameOrigin::Coarse).copied().unwrap_or_default() as usize;
        assert!(outcome.stood && 100 * (real(&outcome) + coarse) > 85 * count, "{what}: {:?}", outcome.origins);
        // Gaps are bridged for 200 ms, be that two frames or seventeen.
        assert!(outcome.longest_silence_ms <= 200.0, "{what}: {}", outcome.longest_silence_ms);
    }
}

// Over real sockets.

/// Where the keys of all sides here are kept.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    // SAFETY: set before any other thread of this process looks: every test makes its sides through this.
    unsafe { std::env::set_var("XDG_CONFIG_HOME", folder.path()) };
    folder
});

fn config(bundle: Option<&Path>, source: Endpoint, sink: Endpoint) -> Config {
    let folder = FOLDER.path();
    assert!(folder.is_dir());
    let mut config = Config::default();
    config.call.listen = "127.0.0.1:0".into();
    config.call.answer = AutoAnswer::All;
    config.call.silence = false;
    config.model.bundle = bundle.map(Path::to_owned).unwrap_or_default();
    (config.audio.source, config.audio.sink) = (source, sink);
    config
}

/// One daemon: its call manager on a thread, and a hold on it.
struct Side {
    handle: Handle,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), CallError>>>,
    runtime: tokio::runtime::Runtime,
    recordings: tempfile::TempDir,
}

impl Side {
    fn new(config: Config) -> Self {
        let engine = Engine::new(config, Instant::now(), false).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let recordings = Arc::new(Recordings::new(folder.path()));
        let (handle, backend) = Service::handle(&engine, Arc::clone(&recordings));
        let stop = Stop::default();
        let stops = stop.clone();
        let service = Service { call: None, listen: true, once: false };
        let run = move || service.run(&engine, Some((backend, recordings)), &stops, &mut |_| {});
        let thread = Some(std::thread::spawn(run));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let side = Self { handle, stop, thread, runtime, recordings: folder };
        side.until("it listens", |status| status.listening.is_some());
        side
    }

    fn dial(&self, to: &Self) {
        let peer = to.handle.status().listening.clone().unwrap();
        self.ask(Request::Dial(Dial { peer, ..Dial::default() }));
    }

    fn ask(&self, request: Request) {
        assert!(matches!(self.runtime.block_on(self.handle.ask(request)).unwrap(), Reply::Call(_)));
    }

    fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let start = Instant::now();
        loop {
            let status = self.handle.status();
            if holds(&status) {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "waited for: {what}; now: {:#?}", status.calls);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn call_is(&self, what: &str, holds: impl Fn(&CallStatus) -> bool) -> CallStatus {
        let status = self.until(what, |status| status.calls.last().is_some_and(&holds));
        status.calls.last().unwrap().clone()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.request();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn write_wav(file: &Path, rate: u32, samples: &[f32]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut writer = hound::WavWriter::create(file, spec).unwrap();
    samples.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
}

fn read_wav(file: &Path) -> Vec<f32> {
    let mut reader = hound::WavReader::open(file).unwrap();
    let spec = reader.spec();
    match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().map(Result::unwrap).collect(),
        hound::SampleFormat::Int => {
            let full = (1_i64 << (spec.bits_per_sample - 1)) as f32;
            reader.samples::<i32>().map(|sample| sample.unwrap() as f32 / full).collect()
        }
    }
}

/// How alike `heard` is to `said` where it is most alike, for the median of five tenths of a second out of the middle: on a busy
/// machine play-out stretches one or two of them.
fn found(said: &[f32], heard: &[f32], rate: u32) -> f32 {
    let length = rate as usize / 10;
    let energy = |samples: &[f32]| samples.iter().map(|sample| sample * sample).sum::<f32>();
    let mut best: Vec<f32> = said[said.len() / 2..]
        .chunks_exact(length)
        .take(5)
        .map(|part| {
            let own = energy(part);
            let places = heard.windows(length).step_by(rate as usize / 8000);
            let alike = places.map(|there| {
                let product: f32 = part.iter().zip(there).map(|(a, b)| a * b).sum();
                product / (own * energy(there)).sqrt().max(1e-6)
            });
            alike.fold(0.0, f32::max)
        })
        .collect();
    best.sort_by(f32::total_cmp);
    best[2]
}

/// A sweep, so that every place of it is another.
fn sweep(rate: u32, seconds: usize) -> Vec<f32> {
    let mut phase = 0.0_f64;
    (0..rate as usize * seconds)
        .map(|n| {
            let t = n as f64 / f64::from(rate);
            phase += (40.0 + 20.0 * t + 15.0 * (9.0 * t).sin()) / f64::from(rate);
            (0.5 * (std::f64::consts::TAU * phase).sin()) as f32
        })
        .collect()
}

#[test]
fn daemons_with_such_a_bundle_call_each_other_and_say_what_is_so() {
    for (codec, packet) in [(&CODECS[0], 4), (&CODECS[1], 1), (&CODECS[2], 1)] {
        let (folder, bundle) = made(|folder| codec.write(folder));
        let files = tempfile::tempdir().unwrap();
        let (said, heard) = (files.path().join("said.wav"), files.path().join("heard.wav"));
        let samples = sweep(codec.rate, 6);
        write_wav(&said, codec.rate, &samples);
        let mut speaks = config(Some(folder.path()), Endpoint::File(said), Endpoint::None);
        // All codes, and as they are: what is heard can be compared, and what is sent reckoned.
        (speaks.call.depth, speaks.call.adapt) = (codec.books, false);
        let alice = Side::new(speaks);
        let bob = Side::new(config(Some(folder.path()), Endpoint::None, Endpoint::File(heard.clone())));
        let length = 1000.0 * frame_of(codec).as_secs_f64();
        let status = alice.handle.status();
        assert!((status.bundle.frame_ms - length).abs() < 1e-3, "{:?}", status.bundle);
        assert_eq!((status.bundle.id.clone(), status.bundle.sample_rate), (bundle.id().to_string(), codec.rate));
        alice.dial(&bob);
        let there = bob.call_is("talk", |call| call.figures.is_some());
        bob.ask(Request::Record(there.id));
        let call = alice.call_is("two seconds of figures", |call| {
            call.state == CallState::Active && call.figures.is_some_and(|figures| figures.elapsed_s > 2.0)
        });
        let figures = call.figures.unwrap();
        assert_eq!((call.codec.as_deref(), usize::from(figures.depth)), (Some("tokens"), codec.books));
        assert_eq!(figures.frames_per_packet, packet, "60 ms, or as much as a frame is");
        // Eight bits a code; a second's count is a packet more or less.
        let kbps = codec.books as f64 * 8.0 / length;
        let share = f64::from(packet) * length / 1000.0;
        assert!((figures.sent.speech / kbps - 1.0).abs() < share + 0.05, "{kbps} {:?}", figures.sent);
        let sum = figures.sent.speech + figures.sent.redundancy + figures.sent.headers + figures.sent.ip;
        assert!((sum - figures.sent.wire).abs() < 1e-6, "{:?}", figures.sent);
        assert_eq!(figures.bits_per_frame, None, "there is no entropy model");
        let there = bob.call_is("frames", |call| call.figures.is_some_and(|figures| figures.frames.real > 15));
        let budget = there.figures.unwrap().budget;
        let frame = length * f64::from(packet);
        assert!((budget.frame - frame).abs() < 0.1, "{budget:?} and not {frame}");
        assert!(budget.jitter_buffer < 200.0 + length && budget.total < 500.0 + 3.0 * frame, "{budget:?}");
        bob.call_is("the end", |call| call.state == CallState::Ended);
        assert_eq!(alice.call_is("the end", |call| call.state == CallState::Ended).failure, None);
        drop(alice);
        // The recording is of the tokens, and in their time.
        let recordings = Recordings::new(bob.recordings.path());
        let name = recordings.list()[0].name.clone();
        let wav =
            support::wav(&recordings, &name, parlod::recordings::Side::Heard, &Runtime::load(None).unwrap(), &bundle)
                .unwrap();
        let recorded = files.path().join("recorded.wav");
        std::fs::write(&recorded, wav).unwrap();
        drop(bob);
        // As it was coded: the steps of long frames are heard.
        let coded: Vec<f32> =
            samples.chunks_exact(codec.frame).flat_map(|frame| codec.samples(&codec.codes(frame))).collect();
        for file in [heard, recorded] {
            let alike = found(&coded, &read_wav(&file), codec.rate);
            assert!(alike > 0.97, "{} samples at {} Hz: {alike} in {}", codec.frame, codec.rate, file.display());
        }
    }
}

#[test]
fn who_holds_another_model_is_spoken_to_in_opus() {
    let (folder, _) = made(|folder| CODECS[2].write(folder));
    let files = tempfile::tempdir().unwrap();
    let (said, heard) = (files.path().join("said.wav"), files.path().join("heard.wav"));
    let samples = sweep(24_000, 3);
    write_wav(&said, 24_000, &samples);
    let alice = Side::new(config(Some(folder.path()), Endpoint::File(said), Endpoint::None));
    let bob = Side::new(config(None, Endpoint::None, Endpoint::File(heard.clone())));
    alice.dial(&bob);
    let call = alice.call_is("figures", |call| call.figures.is_some_and(|figures| figures.elapsed_s > 1.0));
    assert_eq!(call.codec.as_deref(), Some("opus"));
    let there = bob.call_is("frames", |call| call.figures.is_some_and(|figures| figures.frames.real > 50));
    assert!(there.figures.unwrap().budget.frame < 140.0, "{:?}", there.figures.unwrap().budget);
    bob.call_is("the end", |call| call.state == CallState::Ended);
    drop((alice, bob));
    assert!(std::fs::metadata(&heard).unwrap().len() > 30_000);
    let heard = read_wav(&heard);
    assert!(heard.iter().map(|sample| sample * sample).sum::<f32>() / heard.len() as f32 > 0.01);
}

/// A bundle of the first version, and one with a newer decoder that serves it.
fn two_decoders() -> [(tempfile::TempDir, Bundle); 2] {
    let first = made(|folder| formats::first(&parlo_model::locate_bundle(None).unwrap(), folder));
    let newer = made(|folder| formats::newer(first.0.path(), folder));
    [first, newer]
}

#[test]
fn the_best_that_both_sides_have_is_spoken_whichever_calls() {
    let [(first, tokens), (newer, _)] = two_decoders();
    let (foreign, others) = made(|folder| CODECS[2].write(folder));
    let files = tempfile::tempdir().unwrap();
    let said = files.path().join("said.wav");
    write_wav(&said, 24_000, &sweep(24_000, 4));
    let folder = |folder: &tempfile::TempDir| folder.path().to_owned();
    // What is offered, best first, by each side; and what is spoken.
    let cases = [
        (vec![folder(&foreign), folder(&newer)], vec![folder(&first)], Some(tokens.tokens())),
        (vec![folder(&foreign), folder(&first)], vec![folder(&newer), folder(&foreign)], Some(others.tokens())),
        (vec![folder(&newer)], vec![folder(&foreign), folder(&first)], Some(tokens.tokens())),
        (vec![folder(&newer)], vec![folder(&foreign)], None),
    ];
    for (callers, listeners, spoken) in cases {
        let config = |bundles: &[std::path::PathBuf], source| {
            let mut config = config(Some(&bundles[0]), source, Endpoint::None);
            config.model.bundles = bundles[1..].to_vec();
            config
        };
        let alice = Side::new(config(&callers, Endpoint::File(said.clone())));
        let bob = Side::new(config(&listeners, Endpoint::None));
        let what = format!("{callers:?} calls {listeners:?}");
        assert_eq!(alice.handle.status().others.len(), callers.len() - 1);
        alice.dial(&bob);
        for side in [&bob, &alice] {
            let call = side.call_is("what is spoken", |call| call.codec.is_some());
            assert_eq!(call.codec.as_deref() == Some("opus"), spoken.is_none(), "{what}");
            assert_eq!(call.tokens, spoken.map(|tokens| tokens.to_string()), "{what}");
        }
        let call = bob.call_is("frames", |call| call.figures.is_some_and(|figures| figures.frames.real > 10));
        let (depth, length) = match spoken {
            Some(id) if id == others.tokens() => (CODECS[2].books, 80.0),
            Some(_) => (tokens.layout().depth(), 20.0),
            None => (8, 20.0),
        };
        assert!(usize::from(call.settings.depth) <= depth, "{what}: {:?}", call.settings);
        // A packet lasts no longer than was asked for, however long the frames of what is spoken.
        let call = alice.call_is("figures", |call| call.figures.is_some_and(|figures| figures.elapsed_s > 0.5));
        assert!(f64::from(call.settings.frames_per_packet) * length <= 80.0, "{what}: {:?}", call.settings);
        alice.call_is("the end", |call| call.state == CallState::Ended);
    }
}

#[test]
fn recordings_and_feeds_name_the_tokens_and_are_heard_with_either_decoder() {
    let bundles = two_decoders();
    let files = tempfile::tempdir().unwrap();
    let said = files.path().join("said.wav");
    write_wav(&said, 16_000, &sweep(16_000, 4));
    let runtime = Runtime::load(None).unwrap();
    for [(caller, _), (listener, theirs)] in [[&bundles[0], &bundles[1]], [&bundles[1], &bundles[0]]] {
        let alice = Side::new(config(Some(caller.path()), Endpoint::File(said.clone()), Endpoint::None));
        let bob = Side::new(config(Some(listener.path()), Endpoint::None, Endpoint::None));
        alice.dial(&bob);
        let there = bob.call_is("talk", |call| call.figures.is_some());
        let mut feed = bob.handle.feeds().listen(there.id, Wanted::BOTH).unwrap();
        bob.ask(Request::Record(there.id));
        bob.call_is("frames", |call| call.figures.is_some_and(|figures| figures.frames.real > 60));
        let Some(Taken::Item(told)) = feed.take() else { panic!("the feed has begun") };
        let FeedMessage::Start(start) = serde_json::from_str(&told.text).unwrap() else { panic!("{}", told.text) };
        let first = bundles[0].1.tokens();
        assert_eq!((&start.tokens, &start.bundle), (&first.to_string(), &theirs.id().to_string()));
        bob.call_is("the end", |call| call.state == CallState::Ended);
        // A thread of its own writes the rest.
        bob.until("the recording is whole", |_| bob.handle.recordings().list().iter().all(|one| !one.running));
        drop((alice, feed));
        let recordings = Recordings::new(bob.recordings.path());
        let name = recordings.list()[0].name.clone();
        let archive = Archive::open(std::fs::File::open(recordings.tokens(&name).unwrap()).unwrap()).unwrap();
        assert_eq!(archive.header().tokens.id, first.prefix());
        let sounds = [&bundles[0], &bundles[1]].map(|(_, bundle)| {
            support::wav(&recordings, &name, parlod::recordings::Side::Heard, &runtime, bundle).unwrap()
        });
        assert!(sounds[0] == sounds[1] && sounds[0].len() > 16_000);
    }
}

#[test]
fn a_model_for_whole_recordings_makes_no_calls_and_says_why() {
    let whole = Some("its decoder looks ahead");
    let (folder, _) = made(|folder| Coded { whole, ..CODECS[0] }.write(folder));
    let error = Engine::new(config(Some(folder.path()), Endpoint::None, Endpoint::None), Instant::now(), false);
    let text = parlod::sentence_of(&error.unwrap_err());
    assert!(text.contains("its decoder looks ahead") && text.contains("parlo encode"), "{text}");
}

#[test]
fn the_usual_depth_is_as_many_codebooks_as_there_are_but_one_that_was_asked_for_is_not_cut() {
    let (folder, _) = made(|folder| codec(16_000, 320, 4).write(folder));
    let usual = config(Some(folder.path()), Endpoint::None, Endpoint::None);
    let mut asked = usual.clone();
    asked.call.depth = 5;
    let engine = Engine::new(usual, Instant::now(), false).unwrap();
    assert_eq!(engine.settings().depth, 4);
    let error = Engine::new(asked, Instant::now(), false).unwrap_err();
    assert!(matches!(error, CallError::Model(ModelError::Depth { asked: 5, most: 4 })), "{error}");
}

// Files.

#[test]
fn files_hold_the_tokens_of_every_kind_of_codec() {
    let latents = |way: Way| Latents { rate: 24_000, frame: 320, way, remembers: true, whole: None };
    let ways = [
        Way::Residual { dimension: 6, sizes: vec![4096] },
        Way::Grouped { dimension: 8, groups: 2, sizes: vec![100, 64, 32, 90] },
        Way::Binary { dimension: 13 },
        Way::Scalar { levels: vec![8, 5, 5, 5] },
    ];
    let runtime = Runtime::load(None).unwrap();
    let mut bundles: Vec<_> = ways.into_iter().map(|way| made(|folder| latents(way).write(folder))).collect();
    bundles.extend(CODECS.map(|codec| made(|folder| codec.write(folder))));
    let whole = Coded { whole: Some("its decoder looks ahead"), ..CODECS[0] };
    bundles.push(made(|folder| whole.write(folder)));
    for (_folder, bundle) in &bundles {
        let manifest = bundle.manifest();
        let audio = &manifest.audio;
        let signal = sweep(audio.sample_rate, 1);
        let config = EncoderConfig { depth: bundle.layout().depth(), beam: 4 };
        let frames = encode_recording(&runtime, bundle, config, &signal).unwrap();
        let options = Options { depth: config.depth, ..Options::default() };
        let mut writer = Writer::begin(Cursor::new(Vec::new()), bundle, &options).unwrap();
        frames.iter().for_each(|frame| writer.push(frame).unwrap());
        let file = writer.finish(Some(signal.len() as u64)).unwrap();

        let mut archive = Archive::open(file).unwrap();
        let found = archive.header().tokens.clone();
        assert_eq!((found.id, found.coding), (bundle.tokens().prefix(), Coding::Plain), "{manifest:?}");
        assert_eq!((archive.state().clone(), archive.samples()), (FileState::Whole, Some(signal.len() as u64)));
        let (mut coder, mut timed) = (coder(bundle, found.coding).unwrap(), Vec::new());
        archive.read(&mut coder, 0, 0, u64::MAX, &mut timed).unwrap();
        let back: Vec<TokenFrame> = timed.iter().filter_map(|frame| frame.codes).collect();
        assert_eq!(back, frames, "{manifest:?}");
        let heard = decode_recording(&runtime, bundle, &back).unwrap();
        assert!(heard.len() >= signal.len() && heard.len() < signal.len() + audio.frame_samples);
    }
}
