use proptest::prelude::*;

use super::*;
use crate::{
    config::{Outage, Rate},
    jitter::Jitter,
    loss::Loss,
};

const MS: Duration = Duration::from_millis(1);

/// Sends `count` numbered packets of 40 bytes, one every `gap`, and takes all out at their times: (when in nanoseconds since
/// the start, number, bytes).
fn trace(config: &PathConfig, count: u32, gap: Duration) -> (Vec<(u64, u32, Vec<u8>)>, PathStats) {
    let start = Instant::now();
    let mut path = Path::new(config.clone(), start);
    let (mut seen, mut bytes) = (Vec::new(), Vec::new());
    let mut take = |path: &mut Path, until: Option<Instant>| {
        while let Some(due) = path.poll_timeout().filter(|due| until.is_none_or(|until| *due <= until)) {
            while path.receive(due, &mut bytes) {
                let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                seen.push(((due - start).as_nanos() as u64, number, bytes.clone()));
            }
        }
    };
    for number in 0..count {
        let now = start + gap * number;
        take(&mut path, Some(now));
        path.send(now, &packet(number));
    }
    take(&mut path, None);
    assert_eq!(path.in_flight(), 0);
    let stats = *path.stats();
    assert_eq!(stats.sent + stats.duplicated, stats.delivered + stats.gone());
    (seen, stats)
}

fn packet(number: u32) -> Vec<u8> {
    let mut bytes = vec![number as u8; 40];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn config(text: &str) -> PathConfig {
    text.parse().unwrap()
}

fn numbers(seen: &[(u64, u32, Vec<u8>)]) -> Vec<u32> {
    seen.iter().map(|seen| seen.1).collect()
}

#[test]
fn a_perfect_path_gives_everything_back_at_once() {
    let (seen, stats) = trace(&PathConfig::default(), 100, MS);
    let expected: Vec<_> = (0..100).map(|n| (u64::from(n) * 1_000_000, n, packet(n))).collect();
    assert_eq!(seen, expected);
    assert_eq!(stats, PathStats { sent: 100, sent_bytes: 4000, delivered: 100, delivered_bytes: 4000, ..stats });
    assert_eq!(stats.gone() + stats.duplicated + stats.corrupted + stats.reordered, 0);
}

/// What a seed means is a promise: this trace is the same in every version and on every machine.
#[test]
fn a_seed_means_the_same_for_ever() {
    let all = config(
        "seed=42 loss=20%/3 delay=50ms jitter=normal:5ms jitter-reorders=yes reorder=5% duplicate=5% corrupt=5% \
         rate=20kbps queue=200ms outage=1s+200ms",
    );
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for jitter in [Jitter::Normal(5 * MS), Jitter::Pareto(5 * MS), Jitter::Uniform(9 * MS)] {
        let (seen, _) = trace(&PathConfig { jitter, ..all.clone() }, 500, 20 * MS);
        for (due, number, bytes) in seen {
            for byte in due.to_be_bytes().into_iter().chain(number.to_be_bytes()).chain(bytes) {
                // FNV-1a.
                sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    assert_eq!(sum, 0x3530_1714_497f_5f53, "{sum:#x}");
    let (seen, _) = trace(&config("seed=1 loss=50%"), 24, MS);
    // Found also by a program in another language, from the generator's description alone.
    assert_eq!(numbers(&seen), [0, 1, 3, 5, 6, 7, 10, 16, 18, 19, 21]);
}

#[test]
fn one_effect_does_not_change_another() {
    let lost = |text: &str| {
        let (seen, _) = trace(&config(text), 1000, 20 * MS);
        let mut left: Vec<_> = numbers(&seen);
        left.sort_unstable();
        left.dedup();
        left
    };
    let alone = lost("seed=9 loss=20%");
    assert_eq!(alone, lost("seed=9 loss=20% jitter=30ms reorder=10% duplicate=10% delay=1s"));
    assert_ne!(alone, lost("seed=10 loss=20%"));
    // Neither does it matter when packets are sent.
    let (seen, _) = trace(&config("seed=9 loss=20%"), 1000, 3 * MS);
    assert_eq!(alone, numbers(&seen));
    let times = |text: &str| -> Vec<u64> { trace(&config(text), 200, 100 * MS).0.iter().map(|seen| seen.0).collect() };
    assert_eq!(times("seed=9 jitter=30ms"), times("seed=9 jitter=30ms corrupt=0%"));
}

#[test]
fn losses_have_their_rate_and_their_runs() {
    for (text, rate, burst) in [
        ("seed=1 loss=20%", 0.2, 1.25),
        ("seed=2 loss=5%", 0.05, 1.0 / 0.95),
        ("seed=3 loss=20%/3", 0.2, 3.0),
        ("seed=4 loss=10%/8", 0.1, 8.0),
        ("seed=5 loss=50%/1", 0.5, 1.0),
        ("seed=6 loss=ge:0.05:0.2:0.01:0.5", 0.2 * 0.5 + 0.8 * 0.01, 0.0),
    ] {
        let config = config(text);
        assert!((config.loss.rate() - rate).abs() < 1e-12);
        let count = 100_000;
        let (seen, stats) = trace(&config, count, MS);
        let measured = stats.lost as f64 / f64::from(count);
        assert!((measured / rate - 1.0).abs() < 0.05, "{text}: {measured}");
        if burst > 0.0 {
            let runs = numbers(&seen).windows(2).filter(|pair| pair[1] - pair[0] > 1).count();
            let measured = stats.lost as f64 / runs as f64;
            assert!((measured / burst - 1.0).abs() < 0.05, "{text}: runs of {measured}");
        }
    }
    assert_eq!(Loss::bursts(0.9, 2.0), None);
    assert_eq!(Loss::bursts(1.0, 2.0), None);
    assert_eq!(Loss::bursts(f64::NAN, 2.0), None);
    assert_eq!(Loss::bursts(0.0, 2.0).unwrap().rate(), 0.0);
}

#[test]
fn the_bottleneck_is_exact() {
    // 40 + 28 bytes at 8 kbit/s: 68 ms each. Sent every 20 ms.
    let (seen, stats) = trace(&config("rate=8kbps queue=500ms delay=10ms"), 100, 20 * MS);
    for (at, (due, ..)) in seen.iter().enumerate() {
        assert_eq!(*due, 1_000_000 * (68 * (at as u64 + 1) + 10));
    }
    // While packets are sent, the link is never idle; the queue is at most 500 ms.
    assert!(stats.queue_delay_max <= 500 * MS && stats.queue_delay_max > 432 * MS, "{stats:?}");
    assert_eq!(stats.delivered + stats.dropped, 100);
    let work = 100 * 20 + 500;
    assert!((work / 68 - 2..=work / 68 + 1).contains(&stats.delivered), "{stats:?}");

    // Exactly as long a wait as the queue allows is allowed.
    let start = Instant::now();
    let mut path = Path::new(config("rate=8kbps queue=68ms"), start);
    path.send(start, &packet(0));
    assert_eq!(path.queue_delay(start), 68 * MS);
    path.send(start, &packet(1));
    path.send(start, &packet(2));
    assert_eq!((path.stats().dropped, path.in_flight()), (1, 2));
    assert_eq!(path.stats().queue_delay_max, 68 * MS);
    assert_eq!(path.queue_delay(start + 100 * MS), 36 * MS);
    path.send(start + 68 * MS, &packet(3));
    assert_eq!((path.stats().dropped, path.in_flight()), (1, 3));
    assert_eq!(path.queue_delay(start + 1000 * MS), Duration::ZERO);
    assert_eq!(Rate::new(3).time_to_send(0), Duration::from_nanos(74_666_666_667));
}

#[test]
fn jitter_keeps_order_unless_asked() {
    for jitter in ["100ms", "normal:30ms", "pareto:30ms"] {
        let text = format!("seed=3 delay=100ms jitter={jitter}");
        let (seen, stats) = trace(&config(&text), 2000, 20 * MS);
        assert!(numbers(&seen).is_sorted());
        assert_eq!(stats.reordered, 0);
        let (seen, stats) = trace(&config(&format!("{text} jitter-reorders=yes")), 2000, 20 * MS);
        assert!(!numbers(&seen).is_sorted());
        assert!(stats.reordered > 200, "{jitter}: {stats:?}");
        assert!(numbers(&seen).len() == 2000);
    }
}

#[test]
fn jitter_has_its_shape() {
    let spread = |jitter: &str| -> Vec<f64> {
        let config = config(&format!("seed=5 delay=1s jitter={jitter} jitter-reorders=yes"));
        let (seen, _) = trace(&config, 50_000, MS);
        let mut late: Vec<f64> =
            seen.iter().map(|(due, number, _)| *due as f64 / 1e6 - f64::from(*number) - 1000.0).collect();
        late.sort_by(f64::total_cmp);
        late
    };
    let mean = |late: &[f64]| late.iter().sum::<f64>() / late.len() as f64;
    let uniform = spread("40ms");
    assert!((mean(&uniform) - 20.0).abs() < 0.3 && uniform[0] >= 0.0 && uniform[49_999] < 40.0);
    let normal = spread("normal:10ms");
    let deviation = (normal.iter().map(|late| late * late).sum::<f64>() / 50_000.0).sqrt();
    assert!(mean(&normal).abs() < 0.2 && (deviation - 10.0).abs() < 0.2, "{} {deviation}", mean(&normal));
    let pareto = spread("pareto:10ms");
    assert!((mean(&pareto) - 9.7).abs() < 0.4, "{}", mean(&pareto));
    assert!((pareto[25_000] - 4.14).abs() < 0.15 && pareto[49_999] <= 300.001);
}

#[test]
fn packets_held_back_arrive_after_later_ones() {
    let (seen, stats) = trace(&config("seed=8 reorder=10% delay=5ms"), 2000, 20 * MS);
    assert_eq!(seen.len(), 2000);
    assert!((150..250).contains(&stats.reordered), "{stats:?}");
    for (at, (due, number, _)) in seen.iter().enumerate() {
        let sent = u64::from(*number) * 20_000_000;
        assert!(due - sent <= 5_000_000 + 250_000_000);
        // Three pass it; others that were held back too may come between.
        assert!((at as i64 - i64::from(*number)).abs() <= 6);
    }
    // The last of all cannot be passed: it waits for its time.
    let start = Instant::now();
    let mut path = Path::new(config("reorder=1 delay=5ms"), start);
    path.send(start, b"alone");
    assert_eq!(path.poll_timeout(), Some(start + 255 * MS));
    let mut bytes = Vec::new();
    assert!(!path.receive(start + 254 * MS, &mut bytes));
    assert!(path.receive(start + 255 * MS, &mut bytes));
    assert_eq!(bytes, b"alone");
}

#[test]
fn outages_duplicates_and_flipped_bits() {
    let (seen, stats) = trace(&config("outage=100ms+50ms outage=300ms+1ms"), 500, MS);
    assert_eq!(numbers(&seen), (0..100).chain(150..300).chain(301..500).collect::<Vec<_>>());
    assert_eq!(stats.cut, 51);

    let (seen, stats) = trace(&config("seed=2 duplicate=10%"), 5000, 20 * MS);
    assert!((400..600).contains(&stats.duplicated), "{stats:?}");
    assert_eq!(seen.len() as u64, 5000 + stats.duplicated);
    assert_eq!(stats.reordered, 0);

    let (seen, stats) = trace(&config("seed=2 corrupt=10% duplicate=100%"), 5000, 20 * MS);
    let mut changed = 0;
    let mut most = 0;
    for (at, (.., bytes)) in seen.iter().enumerate() {
        let original = packet(at as u32 / 2);
        let flips: u32 = bytes.iter().zip(&original).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(bytes.len(), original.len());
        changed += u64::from(flips > 0);
        most = most.max(flips);
    }
    assert_eq!(changed, stats.corrupted);
    assert!((400..600).contains(&changed) && most == 8);
}

#[test]
fn absurd_configurations_do_no_harm() {
    let start = Instant::now();
    let mut path = Path::new(
        PathConfig {
            loss: Loss::Random(f64::NAN),
            delay: Duration::MAX,
            jitter: Jitter::Uniform(Duration::MAX),
            reorder: f64::INFINITY,
            duplicate: 7.0,
            corrupt: 2.0,
            outages: vec![Outage { start: Duration::MAX, length: Duration::MAX }],
            rate: Some(Rate { bits_per_second: 0, queue: Duration::MAX, headers: usize::MAX }),
            ..PathConfig::default()
        },
        start,
    );
    for _ in 0..5 {
        path.send(start, &[]);
    }
    assert!(path.poll_timeout().is_some_and(|due| due > start));
    assert!(!path.receive(start, &mut Vec::new()));
}

fn any_config() -> impl Strategy<Value = PathConfig> {
    let loss = prop_oneof![
        Just(Loss::None),
        (0.0..1.0).prop_map(Loss::Random),
        (0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0).prop_map(|(enter, leave, in_good, in_bad)| Loss::GilbertElliott {
            enter,
            leave,
            in_good,
            in_bad
        }),
    ];
    let span = || (0_u64..200).prop_map(Duration::from_millis);
    let jitter = prop_oneof![
        Just(Jitter::None),
        span().prop_map(Jitter::Uniform),
        span().prop_map(Jitter::Normal),
        span().prop_map(Jitter::Pareto)
    ];
    let chance = || prop_oneof![Just(0.0), 0.0..1.0];
    let outage = (span(), span()).prop_map(|(start, length)| Outage { start, length });
    let rate = (1_u64..1_000_000, span(), 0_usize..100).prop_map(|(bits_per_second, queue, headers)| Rate {
        bits_per_second,
        queue,
        headers,
    });
    let first = (any::<u64>(), loss, span(), jitter, any::<bool>());
    let second = (chance(), chance(), chance(), prop::collection::vec(outage, 0..3), prop::option::of(rate));
    (first, second).prop_map(|(first, second)| {
        let (seed, loss, delay, jitter, jitter_reorders) = first;
        let (reorder, duplicate, corrupt, outages, rate) = second;
        PathConfig { seed, loss, delay, jitter, jitter_reorders, reorder, duplicate, corrupt, outages, rate }
    })
}

proptest! {
    #[test]
    fn nothing_is_early_and_nothing_invented(config in any_config(), gap in 0_u32..50) {
        let config = PathConfig { corrupt: 0.0, ..config };
        let (seen, stats) = trace(&config, 200, MS * gap);
        let mut times = [0_u64; 200];
        for (due, number, bytes) in &seen {
            let sent = u64::from(*number) * u64::from(gap) * 1_000_000;
            prop_assert!(*due >= sent);
            prop_assert_eq!(bytes, &packet(*number));
            times[*number as usize] += 1;
        }
        prop_assert!(times.iter().all(|times| *times <= 2));
        prop_assert_eq!(times.iter().filter(|times| **times == 2).count() as u64, stats.duplicated);
        prop_assert!(seen.is_sorted_by_key(|seen| seen.0));
        if !config.jitter_reorders && config.reorder == 0.0 {
            prop_assert_eq!(stats.reordered, 0);
        }
        prop_assert_eq!(seen, trace(&config, 200, MS * gap).0);
    }

    #[test]
    fn only_bits_are_flipped(config in any_config()) {
        let clean = PathConfig { corrupt: 0.0, ..config.clone() };
        let ((seen, stats), (right, _)) = (trace(&config, 100, MS * 20), trace(&clean, 100, MS * 20));
        prop_assert_eq!(seen.len(), right.len());
        let wrong = seen.iter().zip(&right).filter(|(seen, right)| seen.2 != right.2).count();
        prop_assert_eq!(wrong as u64, stats.corrupted);
    }
}
