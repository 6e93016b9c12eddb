use super::{simulation::*, *};

/// What is measured of one path.
#[derive(Debug)]
struct Figures {
    median_ms: f64,
    p95_ms: f64,
    /// Frames per thousand, of those that arrived at all, that came too late.
    late: f64,
    /// Of all frames, what was played at all.
    heard: f64,
    /// Frames per thousand played faster or slower, held, and left out.
    stretched: f64,
    held: f64,
    skipped: f64,
    target: u128,
}

fn measure(bundle: u64, jitter_ms: u64, loss: u64, copies: u64, ppm: i64, seed: u64) -> Figures {
    let mut dice = Dice(seed);
    let delay = move |_| {
        let lost = dice.below(100) < loss;
        let delay = 30_000 + if jitter_ms > 0 { dice.below(jitter_ms * 1000) } else { 0 };
        (!lost).then_some(delay)
    };
    let mut path = Path::with_delay(bundle, delay);
    path.copies = copies;
    path.sender_frame_us = (FRAME as i64 + FRAME as i64 * ppm / 1_000_000) as u64;
    let heard = simulate(JitterConfig::default(), path, 300);
    let stats = heard.stats;
    let due = (stats.played + stats.coarse + stats.lost + stats.skipped) as f64;
    let share = |count: u64| count as f64 * 1000.0 / due;
    Figures {
        median_ms: heard.wait_ms(10_000_000, 0.5),
        p95_ms: heard.wait_ms(10_000_000, 0.95),
        late: share(stats.late),
        heard: share(stats.played + stats.coarse),
        stretched: share(stats.faster + stats.slower),
        held: share(stats.held),
        skipped: share(stats.skipped),
        target: heard.buffer.target().as_millis(),
    }
}

#[test]
#[ignore = "prints the table of docs/lab/latency.md"]
fn table() {
    println!("bundle jitter loss copies ppm | p50 p95 late held skipped stretched heard target");
    for bundle in [1, 3, 12] {
        for jitter in [0, 20, 50, 100, 300] {
            for (loss, copies) in [(0, 0), (3, 1), (10, 1), (20, 1), (20, 0)] {
                let ppm = if jitter % 100 == 0 { 200 } else { -200 };
                let f = measure(bundle, jitter, loss, copies, ppm, 5);
                println!(
                    "{bundle:>3} {jitter:>4} {loss:>3} {copies} {ppm:>4} | {:>5.0} {:>5.0} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>4}",
                    f.median_ms, f.p95_ms, f.late, f.held, f.skipped, f.stretched, f.heard, f.target
                );
            }
        }
    }
}

#[test]
fn the_delay_added_is_no_more_than_the_jitter_asks_for() {
    for bundle in [1, 3] {
        for ppm in [-200, 200] {
            // Jitter; and, in milliseconds, what half and 95 % of the packets may wait, both with jitter and without.
            for (jitter, median, p95) in [(0, 45.0, 50.0), (20, 50.0, 60.0), (50, 60.0, 90.0), (100, 80.0, 130.0)] {
                let figures = measure(bundle, jitter, 0, 0, ppm, 11);
                assert!(figures.median_ms <= median && figures.p95_ms <= p95, "{bundle}, {jitter} ms: {figures:?}");
                assert!(figures.late <= 2.0 && figures.held <= 2.0, "{bundle}, {jitter} ms: {figures:?}");
                assert!(figures.skipped == 0.0 && figures.stretched <= 20.0, "{bundle}, {jitter} ms: {figures:?}");
            }
            let figures = measure(bundle, 300, 0, 0, ppm, 11);
            assert!(figures.p95_ms <= 320.0 && figures.late <= 5.0, "{bundle}: {figures:?}");
        }
    }
}

#[test]
fn play_out_waits_for_copies_where_packets_are_lost_and_only_there() {
    for (loss, jitter) in [(10, 20), (20, 20), (20, 100)] {
        let with = measure(3, jitter, loss, 1, 200, 7);
        let without = measure(3, jitter, loss, 0, 200, 7);
        // Only what was lost twice in a row is not heard.
        let twice = (loss * loss) as f64 / 10.0;
        assert!(with.heard >= 1000.0 - 1.2 * twice - 8.0, "{loss} %: {with:?}");
        assert!(without.median_ms + 20.0 <= with.median_ms, "{loss} %: {without:?}, {with:?}");
        let clear = measure(3, jitter, 0, 1, 200, 7);
        assert!((clear.median_ms - without.median_ms).abs() <= 10.0, "{clear:?}, {without:?}");
    }
    // The loss ends after half a minute.
    let mut dice = Dice(1);
    let mut path = Path::with_delay(3, move |at| (at > 30_000_000 || dice.below(5) > 0).then_some(30_000));
    path.copies = 1;
    let heard = simulate(JitterConfig::default(), path, 60);
    let at = |seconds: u64| heard.delays[heard.pops.partition_point(|(at, _)| *at < seconds * 1_000_000)].as_millis();
    assert!(at(29) >= 100 && at(42) <= 75, "{} ms, then {} ms", at(29), at(42));
}
