use proptest::prelude::*;

use super::{super::simulation::*, *};

const PERIOD: Duration = Duration::from_micros(FRAME);

fn buffer(start_ms: u64) -> JitterBuffer<u64> {
    JitterBuffer::new(JitterConfig {
        start: Duration::from_millis(start_ms),
        least: Duration::ZERO,
        ..JitterConfig::default()
    })
}

fn config() -> JitterConfig {
    JitterConfig::default()
}

fn put(jitter: &mut JitterBuffer<u64>, number: u64, now: Instant) -> Inserted {
    jitter.insert(number, Slot::Frame(number), now)
}

fn noise(level: u8) -> Slot<u64> {
    Slot::Silence(ComfortNoise::new(level, [127; 8]))
}

fn slot_of(popped: Popped<u64>) -> Option<(u64, Slot<u64>)> {
    match popped {
        Popped::Slot { number, slot, .. } => Some((number, slot)),
        _ => None,
    }
}

#[test]
fn a_steady_path_loses_holds_and_leaves_out_nothing_however_frames_are_bundled() {
    for bundle in 1..=12 {
        let heard = simulate(config(), Path::steady(bundle), 20);
        let JitterStats { played, faster, .. } = heard.stats;
        let expected = JitterStats { played, faster, ..JitterStats::default() };
        assert_eq!(heard.stats, expected, "{bundle} frames a packet");
        assert!(played > 20 * 50 - 30 && faster < 40, "{:?}", heard.stats);
        let end = heard.delays[heard.delays.len() - 1];
        assert!(end <= (bundle as u32 - 1) * PERIOD + Duration::from_millis(50), "{bundle}: {end:?}");
    }
}

#[test]
fn a_sink_that_takes_several_frames_at_once_is_no_jitter() {
    for gulp in 2..=4 {
        for bundle in [1, 3] {
            let mut path = Path::steady(bundle);
            path.gulp = gulp;
            let heard = simulate(config(), path, 60);
            let JitterStats { lost, held, skipped, faster, slower, .. } = heard.stats;
            assert!(lost + held + skipped == 0 && faster + slower <= 40, "{gulp} at once: {:?}", heard.stats);
        }
    }
}

#[test]
fn play_out_starts_as_late_as_told_and_frames_overtaken_on_the_way_are_in_time() {
    let mut jitter = buffer(60);
    let start = Instant::now();
    assert_eq!(jitter.pop(start, true), Popped::Waiting);
    put(&mut jitter, 7, start);
    assert_eq!(jitter.pop(start + Duration::from_millis(39), true), Popped::Waiting);
    assert_eq!(put(&mut jitter, 6, start), Inserted::Queued);
    let mut due = start + Duration::from_millis(40);
    for number in [6, 7] {
        assert_eq!(slot_of(jitter.pop(due, false)), Some((number, Slot::Frame(number))));
        due += PERIOD;
    }
}

#[test]
fn a_gap_is_lost_and_its_frame_late_but_never_counted_twice() {
    let mut jitter = buffer(0);
    let mut now = Instant::now();
    for number in [0, 1, 3, 4] {
        assert_eq!(put(&mut jitter, number, now), Inserted::Queued);
    }
    assert_eq!(put(&mut jitter, 3, now), Inserted::Duplicate);
    assert_eq!(jitter.insert(3, Slot::Coarse(3), now), Inserted::Duplicate);
    assert_eq!(jitter.insert(3, Slot::Missing, now), Inserted::Ignored);
    now += 5 * PERIOD;
    let popped: Vec<_> = (0..4).map(|_| slot_of(jitter.pop(now, false)).unwrap()).collect();
    assert_eq!(popped[2], (2, Slot::Missing));
    assert_eq!(put(&mut jitter, 2, now), Inserted::Late);
    assert_eq!(put(&mut jitter, 2, now), Inserted::Duplicate);
    assert_eq!(put(&mut jitter, 1, now), Inserted::Duplicate);
    let stats = JitterStats { played: 3, lost: 1, late: 1, duplicates: 4, ..JitterStats::default() };
    assert_eq!(*jitter.stats(), stats);
}

#[test]
fn better_evidence_takes_the_place_of_worse_and_never_the_reverse() {
    let mut jitter = buffer(0);
    let mut now = Instant::now();
    for number in 0..4 {
        put(&mut jitter, number, now);
    }
    for (slot, inserted) in [
        (noise(50), Inserted::Queued),
        (Slot::Coarse(7), Inserted::Queued),
        (noise(50), Inserted::Duplicate),
        (Slot::Frame(9), Inserted::Queued),
        (Slot::Coarse(7), Inserted::Duplicate),
    ] {
        assert_eq!(jitter.insert(4, slot, now), inserted, "{slot:?}");
    }
    assert_eq!(jitter.insert(5, Slot::Coarse(5), now), Inserted::Queued);
    now += 6 * PERIOD;
    let popped: Vec<_> = (0..6).map(|_| slot_of(jitter.pop(now, false)).unwrap().1).collect();
    assert_eq!(popped[4..], [Slot::Frame(9), Slot::Coarse(5)]);
    assert_eq!((jitter.stats().played, jitter.stats().coarse), (5, 1));
}

#[test]
fn at_the_end_what_is_left_is_played() {
    let mut jitter = buffer(40);
    let now = Instant::now();
    put(&mut jitter, 0, now);
    put(&mut jitter, 2, now);
    jitter.end(Some(5));
    let due = now + 6 * PERIOD;
    let popped: Vec<_> = (0..6).map(|_| jitter.pop(due, false)).collect();
    assert_eq!(slot_of(popped[2]), Some((2, Slot::Frame(2))));
    assert_eq!(popped[5], Popped::Ended);
    assert_eq!((jitter.stats().played, jitter.stats().lost), (2, 3));
    let mut empty = buffer(40);
    empty.end(None);
    assert_eq!(empty.pop(now, false), Popped::Ended);
}

/// The delay's excess over its target, at its least within a second, milliseconds.
fn settled_excess(heard: &Heard, from_us: u64) -> f64 {
    let from = heard.pops.iter().position(|(at, _)| *at >= from_us).unwrap();
    let delays = &heard.delays[from..from + 50];
    delays.iter().max().unwrap().as_secs_f64() * 1000.0 - heard.buffer.target().as_secs_f64() * 1000.0
}

#[test]
fn after_a_burst_the_delay_returns_to_its_target_within_ten_seconds() {
    for bundle in [1, 3, 6, 12] {
        for hold_up in [200_000, 500_000, 1_000_000, 2_000_000, 4_000_000] {
            for dribble in [0, 1, 4] {
                // From 15 s on everything is kept back for `hold_up`, then delivered at once, or at twice or five times the
                // pace of speech until nothing waits any more.
                let delay = move |at: u64| {
                    let Some(since) = at.checked_sub(15_000_000) else { return Some(30_000) };
                    let drained = hold_up + if dribble > 0 { since / (dribble + 1) } else { 0 };
                    Some(30_000 + drained.saturating_sub(since))
                };
                let drained = hold_up + hold_up.checked_div(dribble).unwrap_or(0);
                let heard = simulate(config(), Path::with_delay(bundle, delay), 40);
                let before = settled_excess(&heard, 13_000_000);
                let after = settled_excess(&heard, 15_000_000 + drained + 10_000_000);
                assert!(before <= 45.0 && after <= 45.0, "{bundle}, {hold_up} us, {dribble}: {before}, then {after}");
                // What was held up longer than there is room for is lost.
                let lost = heard.stats.lost + heard.stats.skipped;
                assert!(lost <= hold_up / FRAME + bundle, "{bundle}, {hold_up} us, {dribble}: {:?}", heard.stats);
            }
        }
    }
}

#[test]
fn clocks_that_differ_are_followed_for_an_hour() {
    for ppm in [-500_i64, -200, 200, 500] {
        let mut path = Path::steady(3);
        path.sender_frame_us = (20_000 + 20_000 * ppm / 1_000_000) as u64;
        let heard = simulate(config(), path, 3600);
        let worst = heard.delays[500..].iter().max().unwrap();
        assert!(*worst <= Duration::from_millis(40 + 50), "{ppm} ppm: {worst:?}");
        // 500 ppm of an hour are 90 frames; a frame is stretched or shortened by a quarter at most here. What is needed is learned in
        // steps of 5 ms, so that some of it is done and undone: three frames of a thousand, at most.
        let stats = heard.stats;
        assert_eq!((stats.lost, stats.late, stats.skipped, stats.restarts), (0, 0, 0, 0), "{ppm} ppm: {stats:?}");
        assert!(stats.held + (stats.faster + stats.slower) / 4 <= 300, "{ppm} ppm: {stats:?}");
    }
}

#[test]
fn a_path_that_grows_longer_is_followed_and_not_hurried_into_gaps() {
    for bundle in [1, 3, 12] {
        for added in [100_000, 500_000, 1_500_000] {
            let delay = move |at| Some(if at < 15_000_000 { 30_000 } else { 30_000 + added });
            let heard = simulate(config(), Path::with_delay(bundle, delay), 40);
            let played = heard.played();
            let tail = &played[played.len() - 250..];
            assert!(tail.iter().all(Option::is_some), "{bundle}, {added} us: speech flows again, {:?}", heard.stats);
            let held = heard.stats.held;
            assert!(held <= added / FRAME * 3 / 2 + 12, "{bundle}, {added} us: {:?}", heard.stats);
            assert!(settled_excess(&heard, 30_000_000) <= 45.0);
        }
    }
}

#[test]
fn a_path_that_grows_shorter_is_followed_within_ten_seconds() {
    for bundle in [1, 3, 12] {
        for saved in [100_000, 500_000] {
            let delay = move |at| Some(if at < 15_000_000 { 30_000 + saved } else { 30_000 });
            let heard = simulate(config(), Path::with_delay(bundle, delay), 40);
            let excess = settled_excess(&heard, 25_500_000);
            assert!(excess <= 45.0, "{bundle}, {saved} us: {excess} ms too much");
            assert_eq!(heard.stats.lost, 0, "{bundle}, {saved} us: {:?}", heard.stats);
        }
    }
}

#[test]
fn an_outage_is_a_gap_and_no_more() {
    for seconds in [2, 10, 100] {
        let outage = 5_000_000..5_000_000 + seconds * 1_000_000;
        let heard = simulate(config(), Path::with_delay(3, move |at| (!outage.contains(&at)).then_some(30_000)), 120);
        let expected = seconds * 50;
        assert!((expected - 6..=expected + 6).contains(&heard.stats.lost), "{:?}", heard.stats);
        let excess = settled_excess(&heard, 115_000_000);
        assert!(excess <= 45.0, "{seconds} s: {excess} ms too much");
        assert_eq!(heard.stats.restarts, 0);
    }
}

#[test]
fn a_stray_frame_moves_nothing_and_a_sender_that_starts_anew_is_followed() {
    let mut jitter = buffer(0);
    let now = Instant::now();
    for number in 1000..1010 {
        put(&mut jitter, number, now);
    }
    assert_eq!(put(&mut jitter, u64::MAX, now), Inserted::Stray);
    assert_eq!(put(&mut jitter, 0, now), Inserted::Stray);
    let due = now + 10 * PERIOD;
    assert_eq!(slot_of(jitter.pop(due, false)), Some((1000, Slot::Frame(1000))));
    for number in 50_000..50_100 {
        put(&mut jitter, number, now);
    }
    assert_eq!(jitter.stats().restarts, 1);
    let (number, slot) = slot_of(jitter.pop(now + 300 * PERIOD, false)).expect("it plays");
    assert!(number >= 50_000 && slot == Slot::Frame(number));
}

#[test]
fn silence_goes_on_counts_as_no_loss_and_follows_what_is_described() {
    let mut path = Path::steady(3);
    path.speaks = Box::new(|number| number % 300 < 150);
    let heard = simulate(config(), path, 30);
    let JitterStats { played, silent, lost, held, .. } = heard.stats;
    assert!(played >= 740 && silent >= 700 && lost == 0 && held == 0, "{:?}", heard.stats);
    for (_, popped) in &heard.pops {
        if let Popped::Slot { number, slot: Slot::Silence(noise), .. } = popped {
            let begun = number / 300 * 300 + 150;
            let described = begun + (number.max(&begun) - begun) / 20 * 20;
            assert_eq!(u64::from(noise.level()), described % 100, "{number}");
        }
    }
}

#[test]
fn delay_is_corrected_in_silence_at_once_and_speech_is_not_stretched() {
    // From 9 s on there is jitter, in silence from 3 s of 6 on; at 33 s it ends.
    let mut dice = Dice(3);
    let delay =
        move |at: u64| Some(30_000 + if (9_000_000..33_000_000).contains(&at) { dice.below(100_000) } else { 0 });
    let mut path = Path::with_delay(1, delay);
    path.speaks = Box::new(|number| number % 50 < 25);
    let heard = simulate(config(), path, 80);
    let JitterStats { lost, skipped, faster, slower, .. } = heard.stats;
    assert!(lost <= 3 && skipped == 0 && faster + slower <= 60, "{:?}", heard.stats);
    let excess = settled_excess(&heard, 55_000_000);
    assert!(excess <= 45.0, "{excess} ms too much");
}

#[test]
fn a_word_that_comes_late_after_silence_keeps_its_beginning() {
    // The path becomes 150 ms longer while nobody speaks, except that nothing tells so before the word does.
    let mut path = Path::with_delay(1, |at| Some(if at < 6_100_000 { 30_000 } else { 180_000 }));
    path.speaks = Box::new(|number| !(200..310).contains(&number));
    let heard = simulate(config(), path, 15);
    assert_eq!((heard.stats.lost, heard.stats.late), (0, 0), "{:?}", heard.stats);
    let played: Vec<u64> = heard.played().into_iter().flatten().filter(|number| *number >= 200).collect();
    assert!(played.iter().copied().eq(310..310 + played.len() as u64), "the whole word: {played:?}");
    assert!(heard.stats.held <= 10, "{:?}", heard.stats);
}

#[test]
fn a_peer_that_falls_silent_for_long_and_goes_on_counting_or_not_is_heard_again() {
    for counts_on in [true, false] {
        let mut jitter = buffer(40);
        let mut now = Instant::now();
        for number in 0..10 {
            put(&mut jitter, number, now);
            now += PERIOD;
            jitter.pop(now, false);
        }
        jitter.insert(10, noise(60), now);
        for _ in 0..50_000 {
            now += PERIOD;
            let (_, slot) = slot_of(jitter.pop(now, true)).expect("silence goes on, or what waited is played");
            assert!(matches!(slot, Slot::Silence(_) | Slot::Frame(_)));
        }
        let resumed = if counts_on { 50_012 } else { 11 };
        let mut heard = false;
        for number in resumed..resumed + 100 {
            assert_ne!(put(&mut jitter, number, now), Inserted::Stray, "{number}");
            now += PERIOD;
            heard |= slot_of(jitter.pop(now, true)) == Some((resumed, Slot::Frame(resumed)));
        }
        assert!(heard, "the first word is heard; counts on: {counts_on}");
        assert_eq!((jitter.stats().lost, jitter.stats().restarts), (0, 0));
    }
}

#[test]
fn in_background_noise_whole_frames_are_left_out_and_put_in_and_speech_is_not_stretched() {
    let delay = |at: u64| Some(if (15_000_000..15_300_000).contains(&at) { 15_330_000 - at } else { 30_000 });
    let mut path = Path::with_delay(1, delay);
    path.quiet = Box::new(|_| true);
    let heard = simulate(config(), path, 30);
    let JitterStats { lost, skipped, faster, slower, .. } = heard.stats;
    assert!(lost == 0 && (5..40).contains(&skipped) && faster + slower <= 2, "{:?}", heard.stats);
    assert!(settled_excess(&heard, 18_000_000) <= 45.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the path does, frames come out once, as they went in, and each is accounted for once.
    #[test]
    fn every_frame_is_accounted_for(
        seed: u64,
        bundle in 1_u64..=12,
        copies in 0_u64..3,
        loss in 0_u64..50,
        jitter_ms in 1_u64..400,
        pause in prop_oneof![Just(1_000_000_u64), 10_u64..200],
        calm in 1_u64..10,
    ) {
        let mut dice = Dice(seed);
        let delay = move |_| (dice.below(100) >= loss).then(|| 20_000 + dice.below(jitter_ms * 1000));
        let mut path = Path::with_delay(bundle, delay);
        path.copies = copies;
        path.speaks = Box::new(move |number| number / pause % 2 == 0);
        path.quiet = Box::new(move |number| number / 50 % calm == 1);
        let heard = simulate(config(), path, 30);
        let (stats, jitter) = (heard.stats, &heard.buffer);
        let due = jitter.newest.max(jitter.next).saturating_sub(jitter.first);
        let counted = stats.played + stats.coarse + stats.lost + stats.silent + stats.skipped;
        prop_assert_eq!(counted + jitter.depth(), due, "{:?}", stats);
        prop_assert!(stats.late <= stats.lost, "{:?}", stats);
        let paced = |wanted| heard.pops.iter().filter(|(_, popped)| matches!(popped, Popped::Slot { pace, .. } if *pace == wanted)).count() as u64;
        prop_assert_eq!((paced(Pace::Faster), paced(Pace::Slower)), (stats.faster, stats.slower));
        let slots = heard.pops.iter().filter(|(_, popped)| matches!(popped, Popped::Slot { slot: Slot::Frame(_), .. }));
        prop_assert_eq!(slots.count() as u64, stats.played);
    }

    #[test]
    fn any_numbers_at_all_do_no_harm(
        numbers in prop::collection::vec(
            (prop_oneof![any::<u64>(), 0_u64..300, Just(u64::MAX), 70_000_u64..70_200], 0_u8..4, 0_u64..3_000),
            0..400,
        ),
        pops in 0_usize..5,
        quiet: bool,
    ) {
        let mut jitter = buffer(20);
        let mut now = Instant::now();
        for (number, kind, passed) in numbers {
            let slot = [Slot::Frame(number), Slot::Coarse(number), noise(kind), Slot::Missing][usize::from(kind)];
            jitter.insert(number, slot, now);
            for _ in 0..pops {
                jitter.pop(now, quiet);
                now += PERIOD;
            }
            if passed > 2_900 {
                now += Duration::from_millis(passed);
            }
        }
        jitter.end(None);
        let ends = (0..2000).any(|_| {
            now += PERIOD;
            jitter.pop(now, quiet) == Popped::Ended
        });
        prop_assert!(ends, "it drains");
    }
}
