use super::*;

const FRAME: Duration = Duration::from_millis(20);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn any_seven_bytes_survive() {
    let feedback = Feedback { highest: 0xABCD, held: 1, received: 2, queue: 3, jitter: 4, rate: 5 };
    assert_eq!(Feedback::from_bytes(feedback.to_bytes()), feedback);
}

#[test]
fn an_observer_finds_the_standing_queue_whatever_the_bundles_are() {
    let start = Instant::now();
    let mut observer = PathObserver::new(FRAME, start);
    let mut first = 0;
    let mut told = Vec::new();
    for n in 0..200_u64 {
        let count = [1, 3, 12, 6][n as usize % 4];
        // Sent when the last of its frames is there; jitter of 30 ms; from the 100th packet on a queue of 100 ms.
        let queue = if n >= 100 { 100 } else { 0 };
        let at = start + ms(20 * (first + count) + 40 + queue + [0, 30, 10][n as usize % 3]);
        observer.packet(at, first, count as u8, 100);
        first += count;
        told.extend(observer.feedback(at).map(|feedback| (n, feedback)));
    }
    for (n, feedback) in &told {
        let queue = 4 * u32::from(feedback.queue);
        if *n < 100 {
            assert!(queue <= 30, "{n}: {queue}")
        } else if *n > 110 {
            assert!((100..=130).contains(&queue), "{n}: {queue}")
        }
    }
    let (last, feedback) = told.last().unwrap();
    assert_eq!(feedback.received, *last as u8 + 1);
    // 100 bytes for each 5.5 frames.
    let rate = 250.0 * f64::from(told.last().unwrap().1.rate);
    assert!((5000.0..10_000.0).contains(&rate), "{rate}");
}

#[test]
fn nothing_new_is_not_told_and_need_is_told_sooner() {
    let start = Instant::now();
    let mut observer = PathObserver::new(FRAME, start);
    assert_eq!((observer.feedback(start), observer.pressing()), (None, None));
    observer.packet(start + ms(60), 0, 3, 80);
    let told = observer.feedback(start + ms(80)).unwrap();
    assert_eq!((told.highest, told.held, told.received, told.queue), (0, 10, 1, 0));
    assert_eq!(observer.feedback(start + ms(5000)), None);
    observer.packet(start + ms(5000), 3, 3, 80);
    assert!(observer.feedback(start + ms(5000)).is_some_and(|told| told.queue > 200));
    assert_eq!(observer.pressing(), None);
    observer.packet(start + ms(5010), 6, 3, 80);
    assert_eq!(observer.pressing(), Some(start + ms(5000) + EVERY_IN_NEED + GRACE_IN_NEED));
}

#[test]
fn the_sender_learns_what_was_lost_and_how_far_away_the_peer_is() {
    let start = Instant::now();
    let mut observer = PathObserver::new(FRAME, start);
    let mut log = SentLog::default();
    let (mut sent, mut lost) = (0, 0);
    // Pauses of speech leave numbers out, which are not lost packets.
    let mut number = 70_000;
    for n in 0..2000_u64 {
        let at = start + ms(60 * n);
        log.packet(at, number);
        // One of five, and now and then a burst: more than the eight bits of the count in all.
        if n % 5 != 0 && !(500..650).contains(&n) {
            observer.packet(at + ms(50), number, 3, 90);
            if let Some(feedback) = observer.feedback(at + ms(50)) {
                let news = log.take(at + ms(110), &feedback).unwrap();
                sent += news.sent;
                lost += news.lost;
                assert_eq!(news.round_trip, Some(ms(110)));
            }
        }
        number += if n % 100 == 0 { 900 } else { 3 };
    }
    assert!(sent > 1990, "{sent}");
    assert_eq!(lost, (0..sent).filter(|n| n % 5 == 0 || (500..650).contains(n)).count() as u64);
}

#[test]
fn feedback_of_what_was_never_sent_or_long_ago_is_ignored() {
    let now = Instant::now();
    let mut log = SentLog::default();
    let feedback = |highest| Feedback { highest, held: 0, received: 1, queue: 0, jitter: 0, rate: 0 };
    assert_eq!(log.take(now, &feedback(0)), None);
    for n in 0..1000 {
        log.packet(now, 3 * n);
    }
    assert!(log.take(now, &feedback(1)).is_none() && log.take(now, &feedback(3)).is_none(), "not sent; too long ago");
    assert!(log.take(now, &feedback(2997)).is_some());
    assert!(log.take(now, &feedback(2994)).is_none(), "older than the one before");
    assert!(log.take(now, &feedback(3000)).is_none());
}

#[test]
fn late_packets_are_not_lost_in_the_long_run() {
    let start = Instant::now();
    let mut observer = PathObserver::new(FRAME, start);
    let mut log = SentLog::default();
    let mut late = None;
    let (mut lost, mut sent) = (0, 0);
    for n in 0..2000_u64 {
        let at = start + ms(60 * n);
        log.packet(at, 3 * n);
        if n % 50 == 49 {
            continue;
        }
        // Every seventh comes after the next; every fiftieth does not come.
        if n % 7 == 0 && late.is_none() {
            late = Some(3 * n);
            continue;
        }
        observer.packet(at + ms(50), 3 * n, 3, 90);
        if let Some(news) = observer.feedback(at + ms(50)).and_then(|feedback| log.take(at + ms(90), &feedback)) {
            (lost, sent) = (lost + news.lost, sent + news.sent);
        }
        if let Some(number) = late.take() {
            observer.packet(at + ms(51), number, 3, 90);
        }
    }
    assert!((38..=41).contains(&lost) && sent > 1980, "{lost} of {sent}");
}
