//! Microphones and loudspeakers: how they are set, change, end and fail.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use crossbeam_channel::bounded;
use parlo_score::{align, overlap};
use parlo_tokens::Slot;
use parlod::{
    audio::{Absence, AudioReader},
    call::{CallError, CodedFrame, EncodedFrame, channels::ReceivedFrame},
    config::Endpoint,
    media::{AudioEngine, CallAudio, StreamFormat},
};

use crate::{
    codec::{CODEC, speech},
    numbers,
    rig::{Feed, Rig, plain},
    rms, tokens,
};

#[test]
fn a_muted_microphone_sends_silence_and_push_to_talk_opens_it() {
    let mut settings = plain();
    settings.muted = true;
    settings.stages.silence = true;
    let mut rig = Rig::new(settings.clone());
    let audio = rig.audio_engine.open_call(CODEC.voice(1)).unwrap();
    let microphone = speech(CODEC.rate, 0, 2 * CODEC.rate as usize);
    let (muted, spoken) = microphone.split_at(CODEC.rate as usize);
    for block in muted.chunks(160) {
        rig.tick(block, |_| {});
    }
    let said: Vec<EncodedFrame> = audio.captured.try_iter().collect();
    // At first nothing is known of the background, and what is said is coded; then it is described.
    let coded = said.iter().take_while(|frame| frame.unit.is_some()).count();
    assert!((1..30).contains(&coded) && said.len() == muted.len() / CODEC.frame, "{coded} of {}", said.len());
    assert_eq!(tokens(&said[..coded]), CODEC.encode(&vec![0.0; coded * CODEC.frame]));
    assert!(said[..coded].iter().all(|frame| frame.silence.is_none()));
    assert!(said[coded..].iter().all(|frame| frame.unit.is_none() && frame.silence.is_some()));
    assert!(rig.audio_engine.meters().input_rms_dbfs > -50.0 && rig.audio_engine.meters().sent_rms_dbfs == -120.0);
    settings = plain();
    settings.push_to_talk = true;
    rig.audio_engine.change(&settings).unwrap();
    for block in muted.chunks(160) {
        rig.tick(block, |_| {});
    }
    assert_eq!(rig.audio_engine.meters().sent_rms_dbfs, -120.0);
    assert!(audio.captured.try_iter().all(|frame| frame.silence.is_none()), "silence is not told any more");
    settings.talking = true;
    rig.audio_engine.change(&settings).unwrap();
    assert_eq!(rig.audio_engine.settings(), settings);
    for block in spoken.chunks(160) {
        rig.tick(block, |_| {});
    }
    assert!(rig.audio_engine.meters().sent_rms_dbfs > -40.0);
    rig.end([audio]);
}

#[test]
fn the_end_of_the_source_is_said_to_its_last_sample_and_then_no_more() {
    let mut rig = Rig::new(plain());
    let first = rig.audio_engine.open_call(CODEC.voice(1)).unwrap();
    let microphone = speech(CODEC.rate, 0, CODEC.rate as usize / 2 + 100);
    for block in microphone.chunks(160) {
        rig.tick(block, |_| {});
    }
    rig.feed(Feed::End);
    let said: Vec<EncodedFrame> = first.captured.iter().collect();
    let mut all = microphone;
    all.resize(all.len().next_multiple_of(CODEC.frame) + CODEC.delay, 0.0);
    assert_eq!(tokens(&said), CODEC.encode(&all));
    // Who comes now hears, and has nothing to say.
    let second = rig.audio_engine.open_call(CODEC.voice(2)).unwrap();
    assert!(second.captured.recv_timeout(Duration::from_secs(10)).is_err_and(|error| error.is_disconnected()));
    // What came before the end is played, and then it is over.
    for (n, &frame) in CODEC.encode(&speech(CODEC.rate, 0, 3200)).iter().enumerate() {
        rig.say(&first, n as u64, CodedFrame::Tokens(frame));
    }
    first.shared.drain(Some(10));
    assert!(!first.playback_finished());
    let mut blocks = 0;
    while !first.playback_finished() {
        rig.play_on();
        blocks += 1;
        assert!(blocks < 60);
    }
    assert!(blocks >= 20 && rms(&rig.heard) > 0.01);
    assert!(!second.playback_finished());
    let figures = rig.end([first, second]);
    assert!(figures.iter().all(|figures| figures.failure.is_none()));
    // After everybody has left it begins anew.
    let third = rig.audio_engine.open_call(CODEC.voice(3)).unwrap();
    for block in [[0.1; 160], [0.2; 160]] {
        rig.tick(&block, |_| {});
    }
    assert_eq!(numbers(&third.captured.try_iter().collect::<Vec<_>>()), [0]);
    assert_eq!(rig.wires.opened.load(SeqCst), 4);
    rig.end([third]);
}

#[test]
fn a_thread_that_crashes_takes_nobody_along() {
    let mut rig = Rig::new(plain());
    let audios = [1, 2].map(|call| rig.audio_engine.open_call(CODEC.voice(call)).unwrap());
    rig.tick(&[0.0; 160], |_| {});
    rig.wires.sink_panics.store(true, SeqCst);
    rig.go();
    rig.send(Feed::Panic);
    let until = Instant::now() + Duration::from_secs(10);
    for audio in &audios {
        assert!(audio.captured.iter().count() < 3, "closed");
        while !audio.playback_finished() {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(matches!(rig.audio_engine.open_call(CODEC.voice(3)).map(drop), Err(CallError::Crashed(_))));
    let start = Instant::now();
    let figures = rig.end(audios);
    assert!(start.elapsed() < Duration::from_secs(2));
    for figures in figures {
        assert!(matches!(figures.failure, Some(CallError::Crashed("capture"))), "{:?}", figures.failure);
    }
    // And there is a next time.
    rig.wires.sink_panics.store(false, SeqCst);
    let audio = rig.audio_engine.open_call(CODEC.voice(4)).unwrap();
    for _ in 0..4 {
        rig.tick(&[0.1; 160], |_| {});
    }
    assert_eq!(audio.captured.try_iter().count(), 2);
    rig.end([audio]);
}

#[test]
fn an_end_that_fails_ends_all_calls_with_its_reason() {
    let mut rig = Rig::new(plain());
    let audios = [1, 2].map(|call| rig.audio_engine.open_call(CODEC.voice(call)).unwrap());
    rig.tick(&[0.0; 160], |_| {});
    rig.wires.sink_fails.store(true, SeqCst);
    rig.go();
    let until = Instant::now() + Duration::from_secs(10);
    while !audios.iter().all(CallAudio::playback_finished) {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    let late = rig.audio_engine.open_call(CODEC.voice(3)).unwrap();
    let [first, second] = audios;
    for figures in rig.end([late, first, second]) {
        let said = figures.failure.unwrap().to_string();
        assert!(said.contains("loudspeaker") && said.contains("make room"), "{said}");
    }
    rig.wires.sink_fails.store(false, SeqCst);
    let audio = rig.audio_engine.open_call(CODEC.voice(4)).unwrap();
    rig.send(Feed::Fail);
    assert!(audio.captured.recv_timeout(Duration::from_secs(10)).is_err_and(|error| error.is_disconnected()));
    let said = rig.end([audio]).remove(0).failure.unwrap().to_string();
    assert!(said.contains("microphone"), "{said}");
}

#[test]
fn devices_gains_and_side_tone_change_under_a_call() {
    let mut rig = Rig::new(plain());
    let microphone: Vec<f32> = speech(CODEC.rate, 0, CODEC.rate as usize);
    let audio = rig.audio_engine.open_call(CODEC.voice(1)).unwrap();
    let level = |rig: &mut Rig| {
        let from = rig.heard.len();
        for block in microphone.chunks(160) {
            rig.tick(block, |_| {});
        }
        rms(&rig.heard[from..])
    };
    assert_eq!(level(&mut rig), 0.0, "nobody is heard");
    let mut settings = plain();
    settings.side_tone_db = Some(-20.0);
    rig.audio_engine.change(&settings).unwrap();
    let own = level(&mut rig);
    assert!((own / (0.1 * rms(&microphone)) - 1.0).abs() < 0.1, "the own voice, 20 dB down: {own}");
    settings.output_gain_db = 6.0;
    rig.audio_engine.change(&settings).unwrap();
    let louder = level(&mut rig);
    assert!((louder / own - 1.995).abs() < 0.1, "{louder} of {own}");
    settings.input_gain_db = -60.0;
    settings.side_tone_db = None;
    rig.audio_engine.change(&settings).unwrap();
    level(&mut rig);
    assert_eq!(level(&mut rig), 0.0);
    assert!(rig.audio_engine.meters().input_rms_dbfs < -45.0);

    let mut missing = settings.clone();
    missing.sink = Endpoint::Device("missing".into());
    missing.input_gain_db = 0.0;
    assert!(rig.audio_engine.change(&missing).unwrap_err().to_string().contains("missing"));
    assert_eq!(rig.audio_engine.settings(), settings, "as it was");
    settings.sink = Endpoint::Device("other".into());
    settings.source = Endpoint::Device("other".into());
    settings.input_gain_db = 0.0;
    // Nobody took it meanwhile. How many frames more the change lets by is for the machine to say: none, it may be.
    let mut before: Vec<EncodedFrame> = audio.captured.try_iter().collect();
    let wanted = settings.clone();
    rig.meanwhile(move |audio_engine| audio_engine.change(&wanted)).unwrap();
    assert_eq!((rig.wires.opened.load(SeqCst), rig.wires.closed.load(SeqCst)), (4, 1));
    before.extend(audio.captured.try_iter());
    level(&mut rig);
    let after: Vec<EncodedFrame> = audio.captured.try_iter().collect();
    assert_eq!(Some(after[0].number), before.last().map(|last| last.number + 1), "the call goes on");
    assert!(rms(&CODEC.decode(&tokens(&after))) > 0.3 * rms(&microphone));
    rig.end([audio]);
}

#[test]
fn files_speak_and_are_written_in_real_time() {
    let folder = tempfile::tempdir().unwrap();
    let (source, sink) = (folder.path().join("said.wav"), folder.path().join("heard.wav"));
    let microphone = speech(CODEC.rate, 0, CODEC.rate as usize);
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: CODEC.rate,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut writer = hound::WavWriter::create(&source, spec).unwrap();
    microphone.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    let mut settings = plain();
    (settings.source, settings.sink) = (Endpoint::File(source), Endpoint::File(sink.clone()));
    let (tell, _tells) = bounded(1);
    let audio_engine = AudioEngine::new(
        StreamFormat { sample_rate: CODEC.rate, frame_samples: CODEC.frame },
        settings,
        tell,
        Absence::Refused,
    );
    audio_engine.check().unwrap();
    // A machine that is busy with other tests stands still now and then: that is not what this is about.
    let wait = Duration::from_millis(300);
    let audios = [1, 2].map(|call| CODEC.patient(call, wait)).map(|voice| audio_engine.open_call(voice).unwrap());
    let start = Instant::now();
    // The first speaks to the second; the second to nobody.
    let mut said = Vec::new();
    for frame in &audios[0].captured {
        let slot = frame.unit.map_or(Slot::Missing, Slot::Frame);
        let incoming = ReceivedFrame { number: frame.number, slot, arrived: Instant::now() };
        audios[1].to_playback.send(incoming).unwrap();
        said.push(frame);
    }
    assert!(start.elapsed() > Duration::from_millis(900), "in real time");
    for audio in &audios {
        audio.shared.drain(None);
    }
    while !audios[1].playback_finished() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!sink.exists(), "no half file under the final name");
    let figures = audios.map(CallAudio::close);
    assert!(figures.iter().all(|figures| figures.failure.is_none()));
    let mut all = microphone;
    all.resize(all.len() + CODEC.delay, 0.0);
    let coded = CODEC.encode(&all);
    assert_eq!(tokens(&said), coded);
    let mut reader = AudioReader::open(&sink).unwrap();
    let (mut buffer, mut heard) = (vec![0.0; 4096], Vec::new());
    while let count @ 1.. = reader.read(&mut buffer).unwrap() {
        heard.extend_from_slice(&buffer[..count]);
    }
    let decoded = CODEC.decode(&coded);
    assert!(rms(&heard) > 0.01);
    let player = figures[1].player;
    let flawless = player.jitter.lost + player.jitter.held + player.jitter.skipped + figures[1].underruns == 0;
    if flawless {
        // Exact, to the file's 16 bits.
        let alignment = align(&decoded, &heard, CODEC.rate, 2.0).unwrap();
        let (a, b) = overlap(&decoded, &heard, alignment);
        assert!(a.len() > 15_000 && alignment.correlation > 0.99, "{alignment:?}");
        assert!(a.iter().zip(b).all(|(a, b)| (a.clamp(-1.0, 1.0) - b).abs() < 1e-4));
    }
}

#[test]
fn in_a_pause_nothing_is_coded_and_the_word_that_follows_has_its_beginning() {
    let mut settings = plain();
    settings.stages.silence = true;
    let mut rig = Rig::new(settings);
    let audio = rig.audio_engine.open_call(CODEC.voice(1)).unwrap();
    let second = CODEC.rate as usize;
    let word = speech(CODEC.rate, 0, 2 * second);
    let mut microphone = vec![0.0; 2 * second];
    microphone.extend_from_slice(&word);
    for block in microphone.chunks(160) {
        rig.tick(block, |_| {});
    }
    let said: Vec<EncodedFrame> = audio.captured.try_iter().collect();
    let last = said.iter().rposition(|frame| frame.unit.is_none()).unwrap();
    assert!(last > 80, "the pause is a pause until the word: {last}");
    // What was described is sent after all, two frames of it, and then the word, without a gap.
    let sent = &said[last + 1..];
    assert!(sent.iter().all(|frame| frame.silence.is_none()));
    assert!(sent.windows(2).all(|pair| pair[1].number == pair[0].number + 1), "in a row");
    assert_eq!(sent[0].number + 1, said[last].number, "the last two frames of the pause come again");
    // As an encoder would have coded it that had heard all of the pause.
    let from = sent[0].number as usize;
    let whole = CODEC.encode(&microphone[..(from + sent.len()) * CODEC.frame]);
    assert_eq!(tokens(sent)[5..], whole[from + 5..]);
    rig.end([audio]);
}
