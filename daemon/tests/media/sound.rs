//! What is said and heard.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use crossbeam_channel::TryRecvError;
use parlo_score::{align, overlap};
use parlod::{
    call::{CallError, CodedFrame, EncodedFrame},
    media::{CallAudio, MAX_CALLS, Names, StreamFormat},
};

use crate::{
    codec::{CODEC, Codec, speech},
    expected, numbers,
    rig::{Rig, plain},
    rms, same, tokens,
};

#[test]
fn a_call_alone_is_sample_by_sample_what_the_codec_makes_both_ways() {
    let mut rig = Rig::new(plain());
    let microphone = speech(CODEC.rate, 0, CODEC.rate as usize);
    let audio = rig.audio_engine.open_call(CODEC.voice(7)).unwrap();
    let names = Names { source: Some("wire in".to_owned()), sink: Some("wire out".to_owned()) };
    assert_eq!(rig.audio_engine.names(), names);
    let mut said = Vec::new();
    for block in microphone.chunks(rig.block()) {
        rig.tick(block, |rig| said.extend(rig.pass(&audio, &audio)));
    }
    let coded = CODEC.encode(&microphone);
    assert_eq!(tokens(&said), coded);
    assert_eq!(numbers(&said), (0..coded.len() as u64).collect::<Vec<_>>());
    let told = rig.told();
    assert!(told.len() > 40 && told.iter().all(|told| told.call == 7));
    // The last block lies at the loudspeaker, and is told of when that has taken it.
    let length = rig.heard.len() - rig.block();
    let expected = expected(&told, length);
    assert!(rms(&expected) > 0.01);
    same(&rig.heard[..length], &expected, &told);
    let meters = rig.audio_engine.meters();
    assert!(meters.input_rms_dbfs > -50.0 && meters.output_rms_dbfs > -50.0 && meters.sent_rms_dbfs > -50.0);
    assert!(audio.level_dbfs() > -50.0 && audio.shared.live.played.load(SeqCst) > 40);
    let sound = rig.audio_engine.figures();
    assert!(sound.blocks >= 200 && sound.realtime.is_some(), "{sound:?}");
    let mut heard = rig.audio_engine.take_heard().unwrap();
    let mut ring = vec![0.0; rig.heard.len()];
    let count = ringbuf::traits::Consumer::pop_slice(&mut heard, &mut ring);
    assert_eq!(ring[..count], rig.heard[..count]);
    assert!(count > 9 * CODEC.rate as usize / 10 && rig.audio_engine.take_heard().is_none());

    let figures = rig.end([audio]).remove(0);
    assert!(figures.failure.is_none() && figures.first_frame.is_some());
    assert_eq!((figures.captured.moments().len(), figures.overrun), (coded.len(), 0));
    let played = figures.played.moments();
    assert!(played.len() >= told.len() && played[5].at - played[4].at == Duration::from_millis(20));
    assert!(figures.encode.percentiles().p50 > 0 && figures.decode.percentiles().p50 > 0);
    assert!(figures.player.jitter.played > 40);
    assert_eq!(rig.audio_engine.names(), Names::default());
    assert_eq!((rig.wires.closed.load(SeqCst), rig.audio_engine.figures().realtime), (1, None));
}

#[test]
fn the_frames_of_a_packet_are_coded_together_when_it_is_full() {
    let mut rig = Rig::new(plain());
    let microphone = speech(CODEC.rate, 0, CODEC.rate as usize);
    let coded = CODEC.encode(&microphone);
    let audio = rig.audio_engine.open_call(CODEC.voice(7)).unwrap();
    audio.shared.target.frames.store(3, SeqCst);
    let mut said = Vec::new();
    let mut blocks = microphone.chunks(rig.block()).zip(1_u64..);
    let mut allocated = [0; 2];
    for (block, n) in blocks.by_ref().take(80) {
        if n == 20 {
            allocated = [0, 1].map(|n| rig.wires.allocated[n].load(SeqCst));
        }
        rig.tick(block, |rig| {
            let new = rig.pass(&audio, &audio);
            // A packet is three frames of two blocks each: it comes at once, with its last block.
            let expected = if n.is_multiple_of(6) { vec![false, false, true] } else { Vec::new() };
            assert_eq!(new.iter().map(|frame| frame.ends_packet).collect::<Vec<_>>(), expected, "block {n}");
            said.extend(new);
        });
    }
    assert_eq!([0, 1].map(|n| rig.wires.allocated[n].load(SeqCst)), allocated, "allocations of the two threads");
    // A packet of the next plan; then what waits when the call is held.
    audio.shared.target.frames.store(2, SeqCst);
    for (block, n) in blocks.by_ref() {
        rig.tick(block, |rig| said.extend(rig.pass(&audio, &audio)));
        if n == 92 {
            audio.hold(true);
        }
    }
    let ends: Vec<bool> = said[39..].iter().map(|frame| frame.ends_packet).collect();
    assert_eq!(ends, [false, true, false, true, false, true, true], "40 frames at first, of which one waited");
    assert_eq!(numbers(&said), (0..said.len() as u64).collect::<Vec<_>>());
    assert_eq!(tokens(&said), coded[..said.len()]);
    let told = rig.told();
    assert!(told.len() > 30);
    let figures = rig.end([audio]).remove(0);
    assert!(figures.failure.is_none() && figures.captured.moments().len() >= said.len());
}

#[test]
fn voices_add_up_and_one_that_leaves_or_comes_does_not_disturb_the_others() {
    let mut rig = Rig::new(plain());
    let (block, second) = (rig.block(), CODEC.rate as usize);
    let peers = [speech(CODEC.rate, 0, second), speech(CODEC.rate, 9000, second), speech(CODEC.rate, 20_000, second)]
        .map(|speech| CODEC.encode(&speech.iter().map(|sample| 0.5 * sample).collect::<Vec<_>>()));
    let mut spoken = [0; 3];
    let mut speak = |rig: &Rig, who: usize, audio: &CallAudio| {
        if let Some(&frame) = peers[who].get(spoken[who]) {
            rig.say(audio, spoken[who] as u64, CodedFrame::Tokens(frame));
            spoken[who] += 1;
        }
    };
    let microphone = speech(CODEC.rate, 5000, second);
    let mut blocks = microphone.chunks(block);
    let first = rig.audio_engine.open_call(CODEC.voice(1)).unwrap();
    for n in 0..20 {
        rig.tick(blocks.next().unwrap(), |rig| {
            if n % 2 == 0 {
                speak(rig, 0, &first)
            }
        });
    }
    let second = rig.audio_engine.open_call(CODEC.voice(2)).unwrap();
    for n in 0..31 {
        rig.tick(blocks.next().unwrap(), |rig| {
            if n % 2 == 0 {
                speak(rig, 0, &first);
                speak(rig, 1, &second);
            }
        });
    }
    let third = rig.audio_engine.open_call(CODEC.voice(3)).unwrap();
    for n in 0..30 {
        rig.tick(blocks.next().unwrap(), |rig| {
            if n % 2 == 0 {
                speak(rig, 0, &first);
                speak(rig, 1, &second);
                speak(rig, 2, &third);
            }
        });
    }
    let told = rig.told();
    let length = rig.heard.len() - block;
    same(&rig.heard[..length], &expected(&told, length), &told);
    // Each call's frames begin with it, wherever the others' are.
    let said: Vec<EncodedFrame> = first.captured.try_iter().collect();
    assert_eq!(tokens(&said), CODEC.encode(&microphone[..80 * block]));
    for (audio, from) in [(&second, 20), (&third, 51)] {
        let said: Vec<EncodedFrame> = audio.captured.try_iter().collect();
        assert_eq!(numbers(&said), (0..said.len() as u64).collect::<Vec<_>>());
        // The thread waits for a block when the call comes, and looks for calls before the next.
        let here = &microphone[(from + 1) * block..][..said.len() * CODEC.frame];
        assert!(said.len() > 10 && tokens(&said) == CODEC.encode(here));
    }
    let figures = rig.leave(second);
    assert!(figures.failure.is_none() && figures.player.jitter.played > 20);
    for _ in 0..10 {
        rig.tick(&vec![0.1; block], |_| {});
    }
    let said = first.captured.try_iter().collect::<Vec<_>>();
    assert!(said.windows(2).all(|pair| pair[0].number + 1 == pair[1].number) && !said.is_empty());
    rig.end([third, first]);
}

#[test]
fn a_held_call_says_and_hears_nothing_and_comes_back_as_if_time_had_passed() {
    let mut rig = Rig::new(plain());
    let block = rig.block();
    let peer = CODEC.encode(&speech(CODEC.rate, 0, 3 * CODEC.rate as usize));
    let microphone = speech(CODEC.rate, 5000, CODEC.rate as usize);
    let audio = rig.audio_engine.open_call(CODEC.voice(1)).unwrap();
    let mut frames = peer.iter().enumerate();
    let mut half = false;
    let mut tick = |rig: &mut Rig, block: &[f32]| {
        rig.tick(block, |rig| {
            half = !half;
            if half {
                let (number, &frame) = frames.next().unwrap();
                rig.say(&audio, number as u64, CodedFrame::Tokens(frame));
            }
        });
    };
    let mut blocks = microphone.chunks(block).cycle();
    for _ in 0..40 {
        tick(&mut rig, blocks.next().unwrap());
    }
    assert_eq!(numbers(&audio.captured.try_iter().collect::<Vec<_>>()), (0..20).collect::<Vec<_>>());
    audio.hold(true);
    let before = rig.heard.len();
    for _ in 0..100 {
        tick(&mut rig, blocks.next().unwrap());
    }
    assert_eq!(audio.captured.try_recv().err(), Some(TryRecvError::Empty));
    assert!(rig.heard[before + 2 * block..].iter().all(|&sample| sample == 0.0));
    rig.told();
    audio.hold(false);
    let back = rig.heard.len();
    for _ in 0..40 {
        tick(&mut rig, blocks.next().unwrap());
    }
    let said: Vec<EncodedFrame> = audio.captured.try_iter().collect();
    assert_eq!(numbers(&said), (70..90).collect::<Vec<_>>(), "numbers went on");
    let told: Vec<u64> = rig.told().iter().filter_map(|told| told.number).collect();
    assert!(told.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{told:?}");
    // As late as before it was held, not by what came meanwhile.
    assert!((65..72).contains(&told[0]) && (18..=22).contains(&told.len()), "{told:?}");
    assert!(rms(&rig.heard[back + 2 * block..]) > 0.01);
    let figures = rig.end([audio]).remove(0);
    assert_eq!((figures.player.jitter.lost, figures.player.jitter.skipped), (0, 0));
}

#[test]
fn in_a_conference_each_hears_the_others_and_not_itself() {
    let mut rig = Rig::new(plain());
    let block = rig.block();
    let speech = speech(CODEC.rate, 0, 2 * CODEC.rate as usize);
    let peer = CODEC.encode(&speech);
    let silence = vec![0.0; block];
    let audios = [1, 2, 3].map(|call| rig.audio_engine.open_call(CODEC.voice(call)).unwrap());
    audios[0].confer(true);
    audios[1].confer(true);
    let mut said = [const { Vec::new() }; 3];
    for n in 0..180 {
        rig.tick(&silence, |rig| {
            if n % 2 == 0 {
                rig.say(&audios[1], n / 2, CodedFrame::Tokens(peer[n as usize / 2]));
            }
            for (said, audio) in said.iter_mut().zip(&audios) {
                said.extend(audio.captured.try_iter());
            }
        });
    }
    let [first, itself, outside] = said.map(|said| CODEC.decode(&tokens(&said)));
    let alignment = align(&speech, &first, CODEC.rate, 0.5).unwrap();
    let (a, b) = overlap(&speech, &first, alignment);
    assert!(alignment.correlation > 0.3 && rms(b) > 0.4 * rms(a), "{alignment:?}");
    // Mouth to mouth: the jitter buffer, the codec twice, two frames, and what the two threads may be apart.
    assert!((1000..3200).contains(&alignment.lag_samples), "{alignment:?}");
    for quiet in [itself, outside] {
        assert!(rms(&quiet) < 0.02 * rms(a), "{} of {}", rms(&quiet), rms(a));
    }
    rig.end(audios);
}

#[test]
fn eight_calls_find_seats_and_nothing_allocates_while_they_talk() {
    let mut rig = Rig::new(plain());
    let audios: Vec<CallAudio> =
        (0..MAX_CALLS as u64).map(|call| rig.audio_engine.open_call(CODEC.voice(call)).unwrap()).collect();
    let ninth = rig.audio_engine.open_call(CODEC.voice(9)).map(drop);
    assert!(matches!(ninth, Err(CallError::Full(8))), "{ninth:?}");
    for audio in &audios[..5] {
        audio.confer(true);
    }
    let mut settings = plain();
    settings.stages.silence = true;
    settings.side_tone_db = Some(-20.0);
    settings.input_gain_db = 6.0;
    rig.audio_engine.change(&settings).unwrap();
    let microphone = speech(CODEC.rate, 0, CODEC.rate as usize);
    let mut counts = [0; MAX_CALLS];
    let mut run = |rig: &mut Rig, blocks: &[f32]| {
        for block in blocks.chunks(160) {
            rig.tick(block, |rig| {
                // Each speaks to the next.
                for (n, audio) in audios.iter().enumerate() {
                    counts[n] += rig.pass(audio, &audios[(n + 1) % MAX_CALLS]).len();
                }
            });
        }
    };
    let (first, rest) = microphone.split_at(20 * 160);
    run(&mut rig, first);
    let before = [0, 1].map(|n| rig.wires.allocated[n].load(SeqCst));
    audios[7].hold(true);
    audios[3].confer(false);
    audios[2].set_volume(-6.0);
    run(&mut rig, rest);
    let after = [0, 1].map(|n| rig.wires.allocated[n].load(SeqCst));
    assert_eq!(after, before, "allocations of the two threads");
    assert!(counting_alloc::allocations() > 0, "the counter counts");
    assert!(counts[..7].iter().all(|&count| count >= 48), "{counts:?}");
    assert!(rms(&rig.heard) > 0.01 && rig.heard.iter().all(|sample| sample.abs() <= 1.0), "limited");
    let figures = rig.end(audios);
    assert!(figures.iter().all(|figures| figures.failure.is_none() && figures.overrun == 0));
}

#[test]
fn opus_speaks_at_its_own_rate_in_any_house() {
    let format = StreamFormat { sample_rate: 24_000, frame_samples: 480 };
    let mut rig = Rig::at(format, plain());
    let microphone = speech(format.sample_rate, 0, 36_000);
    let audio = rig.audio_engine.open_call(Codec::opus(1)).unwrap();
    let mut said = Vec::new();
    for block in microphone.chunks(240) {
        rig.tick(block, |rig| said.extend(rig.pass(&audio, &audio)));
    }
    assert!((73..=75).contains(&said.len()) && matches!(said[0].unit, Some(CodedFrame::Opus(_))));
    let told: Vec<usize> = rig.told().iter().filter(|told| told.number.is_some()).map(|told| told.sample).collect();
    assert!(told.windows(2).all(|pair| pair[1] - pair[0] == 480), "a frame every 20 ms: {told:?}");
    let alignment = align(&microphone, &rig.heard, format.sample_rate, 0.5).unwrap();
    assert!(alignment.correlation > 0.7, "{alignment:?}");
    let figures = rig.end([audio]).remove(0);
    assert!(figures.failure.is_none() && figures.player.jitter.lost == 0);
}
