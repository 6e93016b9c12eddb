use proptest::prelude::*;

use super::*;

const FRAME: Duration = Duration::from_millis(20);

fn frame(number: u64) -> TokenFrame {
    TokenFrame::new(&[(number % 1024) as u16, (number / 1024 % 1024) as u16]).unwrap()
}

fn buffer(target_ms: u64) -> JitterBuffer {
    JitterBuffer::new(JitterConfig { target: Duration::from_millis(target_ms), ..JitterConfig::default() })
}

/// Random numbers below `n` from a linear congruential generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// A sender, a path and a sink, in steps of a millisecond.
struct Path {
    bundle: u64,
    /// Microseconds between two frames of the sender; the sink takes 20000.
    sender_frame_us: u64,
    /// Delay of the packet that holds this frame, in ms; `None`: lost.
    delay: Box<dyn FnMut(u64) -> Option<u64>>,
}

/// What came out, and when: number played or None, delay of the buffer.
struct Heard {
    played: Vec<Option<u64>>,
    delays: Vec<Duration>,
    stats: JitterStats,
    buffer: JitterBuffer,
    /// Number of the first frame that was due.
    first: Option<u64>,
}

fn simulate(mut jitter: JitterBuffer, mut path: Path, seconds: u64) -> Heard {
    let start = Instant::now();
    let mut in_flight: Vec<(u64, u64)> = Vec::new();
    let (mut next_packet, mut played, mut delays, mut begin) = (0, Vec::new(), Vec::new(), None);
    for ms in 0..seconds * 1000 {
        let now = start + Duration::from_millis(ms);
        while (next_packet + 1) * path.bundle * path.sender_frame_us <= ms * 1000 {
            let first = next_packet * path.bundle;
            if let Some(delay) = (path.delay)(first) {
                in_flight.push((ms + delay, first));
            }
            next_packet += 1;
        }
        in_flight.retain(|&(due, first)| {
            if due <= ms {
                for number in first..first + path.bundle {
                    jitter.insert(number, frame(number), now);
                }
            }
            due > ms
        });
        if ms % 20 == 0 {
            let popped = jitter.pop(now);
            if let Popped::Slot { number, .. } = popped {
                begin.get_or_insert(number);
            }
            match popped {
                Popped::Slot { number, slot: Slot::Frame(tokens) } => {
                    assert_eq!(tokens, frame(number), "a frame comes out as it went in");
                    played.push(Some(number));
                }
                Popped::Waiting if played.is_empty() => {}
                _ => played.push(None),
            }
            delays.push(jitter.delay());
        }
    }
    let numbers: Vec<u64> = played.iter().flatten().copied().collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "frames come out in order, once");
    Heard { played, delays, stats: *jitter.stats(), buffer: jitter, first: begin }
}

fn steady(bundle: u64) -> Path {
    Path { bundle, sender_frame_us: 20_000, delay: Box::new(|_| Some(30)) }
}

#[test]
fn a_steady_path_loses_and_skips_nothing_however_frames_are_bundled() {
    for bundle in 1..=12 {
        for target in [0, 20, 40, 100] {
            let heard = simulate(buffer(target), steady(bundle), 20);
            let expected = JitterStats { played: heard.stats.played, ..JitterStats::default() };
            // A buffer without any margin may hold at the edge of a packet, but loses nothing.
            let found = if target == 0 { JitterStats { held: 0, ..heard.stats } } else { heard.stats };
            assert_eq!(found, expected, "{bundle} frames a packet, target {target} ms");
            assert!(heard.stats.played > 20 * 50 - 30);
        }
    }
}

#[test]
fn play_out_starts_the_target_after_the_first_arrival() {
    let mut jitter = buffer(60);
    let start = Instant::now();
    assert_eq!(jitter.pop(start), Popped::Waiting);
    jitter.insert(7, frame(7), start);
    assert_eq!(jitter.pop(start + Duration::from_millis(59)), Popped::Waiting);
    // Overtaken on the way, but in time.
    assert_eq!(jitter.insert(6, frame(6), start), Inserted::Queued);
    let due = start + Duration::from_millis(60);
    assert_eq!(jitter.pop(due), Popped::Slot { number: 6, slot: Slot::Frame(frame(6)) });
    assert_eq!(jitter.pop(due), Popped::Slot { number: 7, slot: Slot::Frame(frame(7)) });
}

#[test]
fn a_gap_is_lost_and_its_frame_late_but_never_counted_twice() {
    let mut jitter = buffer(0);
    let now = Instant::now();
    for number in [0, 1, 3, 4] {
        assert_eq!(jitter.insert(number, frame(number), now), Inserted::Queued);
    }
    assert_eq!(jitter.insert(3, frame(3), now), Inserted::Duplicate);
    let popped: Vec<Popped> = (0..4).map(|_| jitter.pop(now)).collect();
    assert_eq!(popped[2], Popped::Slot { number: 2, slot: Slot::Missing });
    assert_eq!(jitter.insert(2, frame(2), now), Inserted::Late);
    assert_eq!(jitter.insert(2, frame(2), now), Inserted::Duplicate);
    assert_eq!(jitter.insert(1, frame(1), now), Inserted::Duplicate);
    let stats = JitterStats { played: 3, lost: 1, late: 1, duplicates: 3, ..JitterStats::default() };
    assert_eq!(*jitter.stats(), stats);
}

#[test]
fn at_the_end_what_is_left_is_played() {
    let mut jitter = buffer(40);
    let now = Instant::now();
    jitter.insert(0, frame(0), now);
    jitter.insert(2, frame(2), now);
    jitter.end(Some(5));
    let due = now + Duration::from_millis(40);
    let numbers: Vec<Popped> = (0..6).map(|_| jitter.pop(due)).collect();
    assert_eq!(numbers[2], Popped::Slot { number: 2, slot: Slot::Frame(frame(2)) });
    assert_eq!(numbers[5], Popped::Ended);
    assert_eq!((jitter.stats().played, jitter.stats().lost), (2, 3));
    let mut empty = buffer(40);
    empty.end(None);
    assert_eq!(empty.pop(now), Popped::Ended);
}

#[test]
fn after_a_burst_the_delay_returns_to_its_target_within_ten_seconds() {
    for (bundle, hold_up) in [(1, 300), (3, 1000), (3, 2000), (12, 2000)] {
        // Between 5 s and 5 s + hold_up everything is kept back, then delivered at once.
        let delay = move |first: u64| {
            let sent = (first + bundle) * 20;
            Some(if (5000..5000 + hold_up).contains(&sent) { 5000 + hold_up - sent + 30 } else { 30 })
        };
        let heard = simulate(buffer(40), Path { bundle, sender_frame_us: 20_000, delay: Box::new(delay) }, 20);
        let settled = &heard.delays[((5000 + hold_up + 10_000) / 20) as usize..];
        let least = settled.iter().min().unwrap();
        assert!(*least <= Duration::from_millis(40) + 3 * FRAME, "bundle {bundle}, {hold_up} ms: {least:?}");
        assert!(heard.stats.lost <= hold_up / 20 + bundle, "{:?}", heard.stats);
    }
}

#[test]
fn clocks_that_differ_are_followed_for_an_hour() {
    for ppm in [-500_i64, -200, 200, 500] {
        let sender_frame_us = (20_000 + 20_000 * ppm / 1_000_000) as u64;
        let path = Path { bundle: 3, sender_frame_us, delay: Box::new(|_| Some(30)) };
        let heard = simulate(buffer(40), path, 3600);
        let worst = heard.delays.iter().max().unwrap();
        assert!(*worst <= Duration::from_millis(40 + 60 + 80), "{ppm} ppm: {worst:?}");
        // 500 ppm of an hour are 90 frames.
        let stats = heard.stats;
        assert!(stats.lost + stats.late == 0, "{ppm} ppm: {stats:?}");
        assert!(stats.held + stats.skipped <= 150, "{ppm} ppm: {stats:?}");
    }
}

#[test]
fn a_path_that_grows_longer_is_followed() {
    for added in [100, 500, 1500] {
        let delay = move |first: u64| Some(if first < 250 { 30 } else { 30 + added });
        let path = Path { bundle: 3, sender_frame_us: 20_000, delay: Box::new(delay) };
        let heard = simulate(buffer(40), path, 20);
        let tail = &heard.played[heard.played.len() - 250..];
        assert!(tail.iter().all(Option::is_some), "{added} ms longer: speech flows again, {:?}", heard.stats);
    }
}

#[test]
fn an_outage_is_a_gap_and_no_more() {
    let path = Path {
        bundle: 3,
        sender_frame_us: 20_000,
        delay: Box::new(|first| (!(250..350).contains(&first)).then_some(30)),
    };
    let heard = simulate(buffer(40), path, 20);
    assert!((96..=105).contains(&heard.stats.lost), "{:?}", heard.stats);
    let tail = &heard.delays[heard.delays.len() - 100..];
    assert!(tail.iter().min().unwrap() <= &Duration::from_millis(100));
    assert_eq!(heard.buffer.stats().restarts, 0);
}

#[test]
fn a_stray_frame_moves_nothing_and_a_sender_that_starts_anew_is_followed() {
    let mut jitter = buffer(0);
    let now = Instant::now();
    for number in 1000..1010 {
        jitter.insert(number, frame(number), now);
    }
    assert_eq!(jitter.insert(u64::MAX, frame(1), now), Inserted::Stray);
    assert_eq!(jitter.insert(0, frame(1), now), Inserted::Stray);
    assert_eq!(jitter.pop(now), Popped::Slot { number: 1000, slot: Slot::Frame(frame(1000)) });
    for number in 50_000..50_100 {
        jitter.insert(number, frame(number), now);
    }
    assert_eq!(jitter.stats().restarts, 1);
    let Popped::Slot { number, slot: Slot::Frame(tokens) } = jitter.pop(now) else { panic!("it plays") };
    assert!(number >= 50_000 && tokens == frame(number));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the path does, frames come out in order, as they went in, and each is accounted for once.
    #[test]
    fn every_frame_is_accounted_for(
        seed: u64, bundle in 1_u64..=12, loss in 0_u64..50, jitter_ms in 1_u64..400, target in 0_u64..200,
    ) {
        let mut dice = Dice(seed);
        let delay = move |_| (dice.below(100) >= loss).then(|| 20 + dice.below(jitter_ms));
        let path = Path { bundle, sender_frame_us: 20_000, delay: Box::new(delay) };
        let heard = simulate(buffer(target), path, 30);
        let stats = heard.stats;
        let waiting = heard.buffer.depth();
        let heard_of = heard.first.map_or(waiting, |first| heard.buffer.newest.saturating_sub(first));
        prop_assert_eq!(stats.played + stats.lost + stats.skipped + waiting, heard_of, "{:?}", stats);
        prop_assert!(stats.late <= stats.lost);
    }

    #[test]
    fn any_numbers_at_all_do_no_harm(
        numbers in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..300, Just(u64::MAX), 70_000_u64..70_200], 0..400),
        pops in 0_usize..5,
    ) {
        let mut jitter = buffer(20);
        let mut now = Instant::now();
        for number in numbers {
            jitter.insert(number, frame(number), now);
            for _ in 0..pops {
                jitter.pop(now);
                now += FRAME;
            }
        }
        jitter.end(None);
        let ends = (0..2000).any(|_| {
            now += FRAME;
            jitter.pop(now) == Popped::Ended
        });
        prop_assert!(ends, "it drains");
    }
}
