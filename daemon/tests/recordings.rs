//! Recordings of calls: real tokens, with loss and silence; programs that are killed, disks that are full.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use parlo_model::{Bundle, Decoder, Runtime};
use parlo_protocol::{
    jitter::JitterConfig,
    ptk::{Header, Item, Mark, Reader, Run, Writer},
};
use parlo_tokens::{ComfortNoise, Slot, TokensPrefix};
use parlod::{
    call::{CodedFrame, EncodedFrame, FrameDecoder, FrameOrigin, Player},
    media::FrameEvent,
    recordings::{RecordingError, Recordings, Side},
};
use support::spoken::Speech;

const FRAME: Duration = Duration::from_millis(20);
const FOLDER: &str = "PARLO_TEST_RECORDS_INTO";

fn runtime() -> Runtime {
    Runtime::load(None).unwrap()
}

fn bundle() -> Bundle {
    Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap()
}

/// Eight seconds of speech, coded once. Twice it is said that nobody speaks.
fn speech() -> &'static [EncodedFrame] {
    static SPEECH: OnceLock<Vec<EncodedFrame>> = OnceLock::new();
    SPEECH.get_or_init(|| {
        let mut frames = Speech::new(&[&support::clip()], 8, 6, false).frames.concat();
        for frame in &mut frames {
            if let 200..240 | 300..330 = frame.number {
                frame.silence = Some(ComfortNoise::new(50 + (frame.number / 20 % 3) as u8, [120; 8]));
            }
        }
        frames
    })
}

fn said(frame: EncodedFrame, begun: Instant) -> FrameEvent {
    FrameEvent::Sent { call: 1, frame, at: begun + FRAME }
}

fn heard(frame: &EncodedFrame, at: Instant) -> FrameEvent {
    let (origin, slot) = (FrameOrigin::Real, Slot::Frame(frame.unit.expect("it is coded")));
    FrameEvent::Played { call: 1, number: Some(frame.number), origin, slot, at, level: 0.1 }
}

/// What is there of each frame at a listener: most come, some as coarse copies, some not at all, and pauses as noise.
fn received(frame: &EncodedFrame) -> Slot<CodedFrame> {
    let Some(CodedFrame::Tokens(tokens)) = frame.unit else { panic!("speech is tokens") };
    match (frame.silence, frame.number) {
        (Some(noise), _) => Slot::Silence(noise),
        // Longer than what is predicted.
        (_, 120..135) => Slot::Missing,
        (_, n) if n % 10 == 3 => Slot::Coarse(CodedFrame::Tokens(tokens.truncated(2))),
        (_, n) if n % 10 == 7 => Slot::Missing,
        _ => Slot::Frame(CodedFrame::Tokens(tokens)),
    }
}

/// A call of both sides at once, and what its player made of it.
struct Call {
    tells: Vec<FrameEvent>,
    sound: Vec<f32>,
    origins: HashMap<FrameOrigin, usize>,
}

fn call(start: Instant) -> Call {
    let (bundle, runtime) = (bundle(), runtime());
    let audio = &bundle.manifest().audio;
    let listener = FrameDecoder::Tokens(Box::new(Decoder::new(&runtime, &bundle).unwrap()));
    let mut player = Player::new(listener, JitterConfig::default(), audio.sample_rate, audio.frame_samples);
    let mut call = Call { tells: Vec::new(), sound: Vec::new(), origins: HashMap::new() };
    let slots: BTreeMap<u64, Slot<CodedFrame>> = speech().iter().map(|frame| (frame.number, received(frame))).collect();
    for n in 0.. {
        let now = start + FRAME * n as u32;
        match speech().get(n) {
            Some(frame) => {
                call.tells.push(said(*frame, now));
                match slots[&frame.number] {
                    Slot::Missing => {}
                    slot => player.insert(frame.number, slot, now),
                }
            }
            None => player.end(Some(speech().len() as u64)),
        }
        let Some(found) = player.next(now, |_| {}).unwrap() else { break };
        call.sound.extend_from_slice(player.frame());
        *call.origins.entry(found.origin).or_default() += 1;
        let slot = match found.origin {
            FrameOrigin::Real | FrameOrigin::Coarse | FrameOrigin::Silent => slots[&found.number.unwrap()],
            _ => Slot::Missing,
        };
        let (number, origin) = (found.number, found.origin);
        call.tells.push(FrameEvent::Played { call: 1, number, origin, slot, at: now, level: 0.0 });
    }
    call
}

fn samples(wav: &[u8]) -> Vec<i16> {
    hound::WavReader::new(wav).unwrap().samples::<i16>().map(Result::unwrap).collect()
}

fn rounded(sound: &[f32]) -> Vec<i16> {
    sound.iter().map(|sample| (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16).collect()
}

/// A block: its stream, time, frames of each mark, and where it ends in the file.
type Parts = (u8, u32, Vec<(Mark, usize)>, usize);

/// The file's blocks.
fn blocks(bytes: &[u8]) -> Vec<Parts> {
    let (mut reader, mut blocks, mut given) = (Reader::new(), Vec::new(), 0);
    for byte in bytes {
        reader.push(std::slice::from_ref(byte));
        given += 1;
        if let Some(Item::Block(block)) = reader.next_item().unwrap() {
            let runs = block.runs().map(|run: Run<'_>| (run.mark, run.count)).collect();
            blocks.push((block.stream, block.time_ms, runs, given));
        }
    }
    blocks
}

/// A finished recording of a call.
fn recorded(folder: &Path) -> (String, Call) {
    let recordings = Recordings::new(folder);
    let recorder = recordings.begin("Ann & Bob", &bundle()).unwrap();
    let call = call(Instant::now());
    let name = recorder.name().to_owned();
    // Not far ahead of the thread: nothing is left out here. A chunk is two seconds of both sides.
    for (n, tells) in call.tells.chunks(200).enumerate() {
        tells.iter().for_each(|tell| recorder.take(tell));
        while tells.len() == 200 && recordings.list()[0].duration_s < 2.0 * n as f64 + 1.0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(recorder.failure().is_none());
    (name, call)
}

/// Sample by sample, but for what lies so near the middle of two numbers that the last bit of a float tips it: how many frames go through the
/// networks in one run changes that.
fn is_same(one: &[i16], other: &[i16]) -> bool {
    let off = one.iter().zip(other).map(|(&one, &other)| one.abs_diff(other));
    one.len() == other.len()
        && off.clone().all(|off| off <= 1)
        && off.filter(|&off| off != 0).count() < one.len() / 1000
}

#[test]
fn a_call_sounds_as_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let (name, call) = recorded(&folder.path().join("deep/er"));
    let recordings = Recordings::new(&folder.path().join("deep/er"));
    let found = recordings.list();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].name, &found[0].peer[..]), (&name, "Ann & Bob"));
    assert!(name.ends_with("-Ann-Bob") && !found[0].running && !found[0].broken_off);
    let path = recordings.tokens(&name).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(found[0].bytes, bytes.len() as u64);
    let blocks = blocks(&bytes);
    let begun = |stream| blocks.iter().find(|block| block.0 == stream).unwrap().1;

    // Every frame has its mark.
    let mut marks: HashMap<(u8, Mark), usize> = HashMap::new();
    blocks.iter().for_each(|(stream, _, runs, _)| {
        runs.iter().for_each(|&(mark, count)| *marks.entry((*stream, mark)).or_default() += count);
    });
    let silent = speech().iter().filter(|frame| frame.silence.is_some()).count();
    assert!(silent > 20 && silent < speech().len());
    assert_eq!((marks[&(0, Mark::Unsent)], marks[&(0, Mark::Real)]), (silent, speech().len() - silent));
    for (origin, mark) in [
        (FrameOrigin::Waiting, Mark::Waiting),
        (FrameOrigin::Real, Mark::Real),
        (FrameOrigin::Coarse, Mark::Coarse),
        (FrameOrigin::Predicted, Mark::Predicted),
        (FrameOrigin::Faded, Mark::Faded),
        (FrameOrigin::Silent, Mark::Silent),
        (FrameOrigin::Held, Mark::Held),
    ] {
        assert_eq!(marks.get(&(1, mark)), call.origins.get(&origin), "{origin:?}");
    }
    for origin in
        [FrameOrigin::Waiting, FrameOrigin::Real, FrameOrigin::Coarse, FrameOrigin::Predicted, FrameOrigin::Silent]
    {
        assert!(call.origins.contains_key(&origin), "{origin:?} of {:?}", call.origins);
    }

    // Both sides are where the clock has them; 0.5 ms is what the clock rounds.
    let heard_frames = call.sound.len() / 320;
    let end = f64::from(begun(1)) / 1000.0 + heard_frames as f64 * 0.02;
    assert!((found[0].duration_s - end).abs() < 0.002, "{} {end}", found[0].duration_s);
    assert!(begun(0).abs_diff(begun(1)) <= 1);

    let (runtime, bundle) = (runtime(), bundle());
    let heard = samples(&support::wav(&recordings, &name, Side::Heard, &runtime, &bundle).unwrap());
    let lead = 16 * begun(1) as usize;
    assert!(heard[..lead].iter().all(|&sample| sample == 0));
    let played = rounded(&call.sound);
    assert!(is_same(&heard[lead..], &played), "as the player made it");

    let said = samples(&support::wav(&recordings, &name, Side::Said, &runtime, &bundle).unwrap());
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    let mut expected = Vec::new();
    for frame in speech() {
        let Some(CodedFrame::Tokens(tokens)) = frame.unit else { panic!("speech is tokens") };
        expected.extend_from_slice(decoder.push(&tokens).unwrap());
    }
    // The decoder's delay is taken off.
    let delay = bundle.manifest().audio.delay_samples;
    let mut expected = rounded(&expected);
    match (16 * begun(0) as usize).checked_sub(delay) {
        Some(lead) => drop(expected.splice(..0, vec![0; lead])),
        None => drop(expected.drain(..delay - 16 * begun(0) as usize)),
    }
    assert!(is_same(&said, &expected));

    let both = samples(&support::wav(&recordings, &name, Side::Both, &runtime, &bundle).unwrap());
    assert_eq!(both.len(), said.len().max(heard.len()));
    let quiet = both.iter().zip(&said).zip(&heard).filter(|((_, a), b)| a.abs() < 9000 && b.abs() < 9000);
    let off = quiet.map(|((&both, &a), &b)| (i32::from(both) - i32::from(a) - i32::from(b)).abs()).max().unwrap();
    assert!(off <= 1, "mixed, and no quieter: {off}");
}

#[test]
fn what_is_cut_off_costs_no_more_than_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (name, _) = recorded(folder.path());
    let (runtime, bundle) = (runtime(), bundle());
    let recordings = Recordings::new(folder.path());
    let path = recordings.tokens(&name).unwrap();
    let bytes = fs::read(&path).unwrap();
    let blocks = blocks(&bytes);
    assert!(blocks.len() > 12);
    let whole = samples(&support::wav(&recordings, &name, Side::Heard, &runtime, &bundle).unwrap());
    let ends: Vec<usize> = blocks.iter().map(|block| block.3).collect();
    let header = ends[0] / 2;
    // At each block's end, and at bytes here and there.
    let here_and_there = (1..60).map(|n| n * 7919 % bytes.len()).filter(|&cut| cut > header + 200);
    for (n, cut) in ends.iter().copied().chain(here_and_there).enumerate() {
        fs::write(&path, &bytes[..cut]).unwrap();
        // A new start of the program finds it so.
        let recordings = Recordings::new(folder.path());
        let found = recordings.list();
        assert!(found.len() == 1 && found[0].broken_off && !found[0].running);
        let there = blocks.iter().filter(|block| block.3 <= cut);
        let end = |(_, time, runs, _): &Parts| time + 20 * runs.iter().map(|run| run.1).sum::<usize>() as u32;
        let duration = there.clone().map(end).max().unwrap_or(0);
        assert_eq!((1000.0 * found[0].duration_s).round() as u32, duration, "cut at {cut}");
        if n % 16 == 15 {
            let heard = samples(&support::wav(&recordings, &name, Side::Heard, &runtime, &bundle).unwrap());
            let expected = there.filter(|block| block.0 == 1).map(end).max().unwrap_or(0);
            assert_eq!(heard.len(), 16 * expected as usize);
            assert!(whole.starts_with(&heard));
        }
    }
    // What a loss of power leaves behind.
    fs::write(&path, [&bytes[..ends[4]], &[0; 5000]].concat()).unwrap();
    let recordings = Recordings::new(folder.path());
    assert!(recordings.list()[0].broken_off && recordings.list()[0].duration_s > 0.9);
    assert!(whole.starts_with(&samples(&support::wav(&recordings, &name, Side::Heard, &runtime, &bundle).unwrap())));
    // But damage in what was ended is told.
    let mut damaged = bytes.clone();
    damaged[ends[4] + 30] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let error = support::wav(&recordings, &name, Side::Heard, &runtime, &bundle).unwrap_err();
    assert!(matches!(error, RecordingError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("what lies before is whole"));
    let archive = parlo_archive::Archive::open(fs::File::open(&path).unwrap()).unwrap();
    let mut kept = parlo_archive::Sound::open(archive, Side::Heard, true, &runtime, &bundle).unwrap();
    let kept = kept.read().unwrap();
    assert!(whole.starts_with(kept) && kept.len() > 16_000);
    // Not even a header.
    fs::write(&path, &bytes[..20]).unwrap();
    assert!(Recordings::new(folder.path()).list().is_empty());
    assert!(support::wav(&recordings, &name, Side::Heard, &runtime, &bundle).is_err());
}

/// How far each of the two streams reaches that a file without an end has, milliseconds.
fn ends(bytes: &[u8]) -> [u32; 2] {
    let (mut reader, mut ends) = (Reader::new(), [0; 2]);
    reader.push(bytes);
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Block(block) = item {
            ends[usize::from(block.stream)] = block.end_ms;
        }
    }
    ends
}

/// Not a test, but what [`a_killed_program_loses_less_than_a_second`] kills: records, says "ready", and stays.
#[test]
#[ignore = "run by another test"]
fn a_program_that_records() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let recordings = Recordings::new(Path::new(&folder));
    let recorder = recordings.begin("killed", &bundle()).unwrap();
    let start = Instant::now();
    // No more than the recorder has room for.
    let frames = 250;
    for (n, frame) in speech().iter().take(frames).enumerate() {
        let at = start + FRAME * n as u32;
        recorder.take(&said(*frame, at));
        recorder.take(&heard(frame, at));
    }
    // Five seconds were taken. All but the last second of both sides comes to the file without waiting for more.
    let path = recordings.tokens(recorder.name()).unwrap();
    while ends(&fs::read(&path).unwrap()).iter().any(|&end| end < 20 * frames as u32 - 1000) {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("\nready");
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_program_loses_less_than_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["a_program_that_records", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let recordings = Recordings::new(folder.path());
    let found = recordings.list();
    assert!(found.len() == 1 && found[0].broken_off && !found[0].running);
    assert!((4.0..5.2).contains(&found[0].duration_s), "{}", found[0].duration_s);
    for side in [Side::Said, Side::Heard] {
        let wav = support::wav(&recordings, &found[0].name, side, &runtime(), &bundle()).unwrap();
        assert!(samples(&wav).len() >= 4 * 16_000 - 1000, "{side:?}");
    }
    // No lock is left.
    recordings.remove(&found[0].name).unwrap();
    assert!(recordings.list().is_empty());
}

#[test]
fn one_that_is_being_made_is_shown_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = Recordings::new(folder.path());
    let recorder = recordings.begin("127.0.0.1:7276", &bundle()).unwrap();
    let other = recordings.begin("127.0.0.1:7276", &bundle()).unwrap();
    assert_ne!(recorder.name(), other.name());
    drop(other);
    let start = Instant::now();
    recorder.take(&said(speech()[0], start));
    // A single frame is written within a second, though no other follows.
    while recordings.list().iter().all(|found| found.duration_s == 0.0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let found = recordings.list();
    let running: Vec<bool> = found.iter().map(|found| found.running).collect();
    assert!(running.iter().filter(|&&running| running).count() == 1 && found.len() == 2);
    let name = recorder.name().to_owned();
    assert!(matches!(recordings.remove(&name), Err(RecordingError::Running(_))));
    assert!(support::wav(&recordings, &name, Side::Both, &runtime(), &bundle()).unwrap().len() > 44);
    drop(recorder);
    // It is ended for whoever looks.
    assert!(recordings.list().iter().all(|found| !found.running && !found.broken_off));
    recordings.remove(&name).unwrap();
    assert!(matches!(recordings.remove(&name), Err(RecordingError::Unknown(_))));
    assert_eq!(recordings.list().len(), 1);
}

#[test]
fn recordings_of_another_model_are_refused_with_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let (name, _) = recorded(folder.path());
    let recordings = Recordings::new(folder.path());
    let path = recordings.tokens(&name).unwrap();
    let mut reader = Reader::new();
    reader.push(&fs::read(&path).unwrap());
    let Some(Item::Header(header)) = reader.next_item().unwrap() else { panic!("a file begins with its header") };
    let mut tokens = header.tokens.clone();
    (tokens.id, tokens.bundle_name) = (TokensPrefix::from_bytes([0xAB; 16]), "other".to_owned());
    let mut bytes = Vec::new();
    Writer::begin(&Header { tokens, ..header }, &mut bytes).unwrap().end(None, &mut bytes);
    fs::write(&path, &bytes).unwrap();
    let error = support::wav(&recordings, &name, Side::Both, &runtime(), &bundle()).unwrap_err().to_string();
    let ours = bundle();
    for part in [&name[..], "other (abababab)", &ours.manifest().name, &ours.tokens().short()] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_stream_that_was_heard_faster_or_slower_stays_on_its_clock() {
    let (runtime, bundle) = (runtime(), bundle());
    for step in [19, 21] {
        let folder = tempfile::tempdir().unwrap();
        let recordings = Recordings::new(folder.path());
        let before = Instant::now();
        let recorder = recordings.begin("drift", &bundle).unwrap();
        let start = Instant::now();
        // The recording's time counts from some moment between the two.
        let slack = 0.1 + (start - before).as_secs_f64();
        for (n, frame) in speech().iter().enumerate() {
            // Fewer than the recorder has room for.
            recorder.take(&heard(frame, start + Duration::from_millis(step) * n as u32));
        }
        // After a hold of two seconds.
        let later = start + Duration::from_millis(step) * speech().len() as u32 + Duration::from_secs(2);
        recorder.take(&heard(&speech()[0], later));
        let name = recorder.name().to_owned();
        drop(recorder);
        let duration = recordings.list()[0].duration_s;
        let expected = 0.001 * (step * speech().len() as u64) as f64 + 2.02;
        assert!((duration - expected).abs() < slack, "{duration} {expected}");
        let sound = samples(&support::wav(&recordings, &name, Side::Heard, &runtime, &bundle).unwrap());
        assert!((sound.len() as f64 / 16_000.0 - duration).abs() < 0.1);
        // The hold is silent, right up to where speech goes on.
        let hold = sound.len() - 320 - 28_000..sound.len() - 320;
        assert!(sound[hold].iter().all(|&sample| sample == 0));
    }
}

#[test]
fn noise_is_kept_as_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = Recordings::new(folder.path());
    let recorder = recordings.begin("noise", &bundle()).unwrap();
    let start = Instant::now();
    let noise = |level| ComfortNoise::new(level, [120; 8]);
    for n in 0..60 {
        let slot = Slot::Silence(noise(if n < 20 { 40 } else { 50 }));
        let at = start + FRAME * n;
        recorder.take(&FrameEvent::Played {
            call: 1,
            number: Some(n.into()),
            origin: FrameOrigin::Silent,
            slot,
            at,
            level: 0.0,
        });
    }
    let name = recorder.name().to_owned();
    drop(recorder);
    let mut reader = Reader::new();
    reader.push(&fs::read(recordings.tokens(&name).unwrap()).unwrap());
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Block(block) = item {
            found.extend(block.runs().map(|run| (run.mark, run.count, run.noise.unwrap().level())));
        }
    }
    assert_eq!(found, [(Mark::Silent, 20, 40), (Mark::Silent, 28, 50), (Mark::Silent, 12, 50)]);
}

/// Not a test, but what [`a_full_disk_ends_the_recording_and_spoils_nothing`] runs where there is no more room than so much.
#[test]
#[ignore = "run by another test"]
fn a_program_whose_disk_is_full() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let recordings = Recordings::new(Path::new(&folder));
    let recorder = recordings.begin("full", &bundle()).unwrap();
    let start = Instant::now();
    let failure = (0..).find_map(|n| {
        recorder.take(&said(speech()[n % speech().len()], start + FRAME * n as u32));
        std::thread::sleep(Duration::from_micros(200));
        recorder.failure()
    });
    let failure = failure.unwrap();
    assert!(matches!(failure, RecordingError::Unwritable { .. }), "{failure}");
    recorder.take(&said(speech()[0], start));
    assert!(recorder.failure().is_none(), "told once");
}

/// A limit on the length of files stands for the disk: at so many bytes, writing fails.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_recording_and_spoils_nothing() {
    // In some of these the end mark fits behind the last block, in others only in its place.
    for kilobytes in [16, 24, 32] {
        let folder = tempfile::tempdir().unwrap();
        let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", 2 * kilobytes);
        let program = std::env::current_exe().unwrap();
        let status = Command::new("sh")
            .args(["-c", &limit, "sh", program.to_str().unwrap()])
            .args(["a_program_whose_disk_is_full", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        let recordings = Recordings::new(folder.path());
        let found = recordings.list();
        assert!(!found[0].broken_off && found[0].bytes <= kilobytes << 10, "{found:?}");
        assert!(found[0].bytes + 1000 > kilobytes << 10 && found[0].duration_s > 5.0, "{found:?}");
        let sound = support::wav(&recordings, &found[0].name, Side::Said, &runtime(), &bundle()).unwrap();
        let seconds = samples(&sound).len() as f64 / 16_000.0;
        assert!((seconds - found[0].duration_s).abs() < 0.1);
    }
}
