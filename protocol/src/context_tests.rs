use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;
use crate::packet::{Frames, Media, Piggyback, extend};

/// Random numbers below `n` from a linear congruential generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    /// One of `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let x = (a ^ b.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ x >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// What a frame says.
fn content(side: usize, number: u64) -> u64 {
    mix(side as u64 + 1, number)
}

/// A key of the frames that a packet builds upon: each one's number and content.
fn key(context: &FrameSet, content: impl Fn(u64) -> u64) -> u64 {
    context.iter().fold(7, |key, number| mix(key, mix(number, content(number))))
}

#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    with_context: u64,
    /// Frames in contexts, and what of the frames that the peer held (when the packet was sent) could have been in them.
    used: u64,
    held: u64,
    acks: u64,
    report_bytes: u64,
    longest_report: usize,
    decoded: u64,
    refused: u64,
}

/// One end: sends its own frames, and decodes the other's.
struct End {
    side: usize,
    ack_sender: AckSender,
    ack_receiver: AckReceiver,
    next: u64,
    count: u64,
    highest: u64,
    /// Decoded frames: number and content, by number.
    cache: Vec<Option<(u64, u64)>>,
    tally: Tally,
}

impl End {
    fn new(side: usize, every: Duration) -> Self {
        Self {
            side,
            ack_sender: AckSender::new(every),
            ack_receiver: AckReceiver::default(),
            next: 0,
            count: 3,
            highest: 0,
            cache: vec![None; RECEIVER_KEEPS as usize],
            tally: Tally::default(),
        }
    }

    /// The next packet. Its payload is the frames' content, hidden under the key of what it builds upon.
    fn send(&mut self, now: Instant, out: &mut Vec<u8>) {
        let (first, count) = (self.next, self.count);
        let context = self.ack_receiver.context(first);
        assert_eq!(context.reference() == 0, context.frames().is_empty());
        assert!(self.ack_receiver.admits(&context));
        let key = key(context.frames(), |number| content(self.side, number));
        let payload: Vec<u8> =
            (0..count).flat_map(|n| (content(self.side, first + n) ^ mix(key, n)).to_be_bytes()).collect();
        let ack = self.ack_sender.ack(now);
        self.ack_receiver.sent(first, count as usize);
        self.next += count;
        let tally = &mut self.tally;
        tally.sent += 1;
        tally.with_context += u64::from(context.reference() != 0);
        tally.used += context.frames().len() as u64;
        if let Some(ack) = ack {
            tally.acks += 1;
            tally.report_bytes += ack.bytes() as u64;
            tally.longest_report = tally.longest_report.max(ack.bytes());
        }
        let reference = context.reference();
        let media = Media::Frames(Frames {
            depth: 1,
            count: count as u8,
            context: reference,
            copies: 0,
            copy_depth: 1,
            piggyback: Piggyback { ack, feedback: None },
            payload: &payload,
        });
        // In front the header, and the number as the session has it.
        out.clear();
        out.extend_from_slice(&(first as u16).to_be_bytes());
        out.push(0);
        out[2] = media.encode(out);
    }

    fn receive(&mut self, datagram: &[u8]) {
        let [high, low, header, body @ ..] = datagram else { panic!("a packet: {datagram:?}") };
        let Ok(Media::Frames(media)) = Media::parse(*header, body) else { panic!("a packet: {datagram:?}") };
        if let Some(ack) = &media.piggyback.ack {
            self.ack_receiver.take(ack);
        }
        let first = extend(u16::from_be_bytes([*high, *low]), self.highest);
        self.highest = self.highest.max(first);
        let Some(context) = self.ack_sender.resolve(first, media.context) else {
            self.tally.refused += 1;
            return;
        };
        let key = key(&context, |number| match self.cache[(number % RECEIVER_KEEPS) as usize] {
            Some((there, content)) if there == number => content,
            other => panic!("frame {number} is not kept, but {other:?}"),
        });
        for (n, bytes) in (0..).zip(media.payload.chunks_exact(8)) {
            let number = first + n;
            let decoded = bytes.iter().fold(0, |all, &byte| all << 8 | u64::from(byte)) ^ mix(key, n);
            assert_eq!(decoded, content(1 - self.side, number), "frame {number} decoded to garbage");
            let slot = &mut self.cache[(number % RECEIVER_KEEPS) as usize];
            if slot.is_none_or(|(there, _)| there < number) {
                *slot = Some((number, decoded));
            }
        }
        self.ack_sender.decoded(first, usize::from(media.count));
        self.tally.decoded += 1;
    }
}

/// How a direction is at the moment.
#[derive(Debug, Clone, Copy)]
struct Path {
    /// Per mille.
    loss: u64,
    /// One of so many losses begins a burst.
    bursts: u64,
    delay: u64,
    jitter: u64,
    /// One of so many packets is late by seconds, or comes twice, or one of long ago comes again.
    strange: u64,
    burst_left: u64,
}

impl Path {
    const CLEAR: Self = Self { loss: 0, bursts: 1000, delay: 40, jitter: 1, strange: u64::MAX, burst_left: 0 };
    const CUT: Self = Self { loss: 1000, ..Self::CLEAR };

    fn random(dice: &mut Dice) -> Self {
        match dice.below(12) {
            0 => Self::CUT,
            1 => Self::CLEAR,
            _ => Self {
                loss: dice.below(600),
                bursts: 1 + dice.below(20),
                delay: 1 + dice.below(400),
                jitter: 1 + dice.below(300),
                strange: 20 + dice.below(200),
                burst_left: 0,
            },
        }
    }
}

/// A datagram, and the full number of its first frame.
type Flight = (u64, Vec<u8>);

/// What happens: when, in order, and to which end a datagram comes; or, if there is none, that the end sends.
type Happening = Reverse<(u64, u64, usize, Option<Flight>)>;

/// The network's only promise: no datagram comes this many frames late.
const LIFETIME: u64 = 32_000;

/// Two ends and what is between them. Time is in milliseconds.
struct World {
    dice: Dice,
    ends: [End; 2],
    /// From each end.
    paths: [Path; 2],
    events: BinaryHeap<Happening>,
    order: u64,
    /// Datagrams from each end that may come again.
    old: [Vec<Flight>; 2],
    start: Instant,
    ms: u64,
    strange_senders: bool,
}

impl World {
    fn new(seed: u64, every: Duration) -> Self {
        let mut world = Self {
            dice: Dice(seed),
            ends: [End::new(0, every), End::new(1, every)],
            paths: [Path::CLEAR; 2],
            events: BinaryHeap::new(),
            order: 0,
            old: [Vec::new(), Vec::new()],
            start: Instant::now(),
            ms: 0,
            strange_senders: false,
        };
        world.at(0, 0, None);
        world.at(7, 1, None);
        world
    }

    fn at(&mut self, ms: u64, end: usize, datagram: Option<Flight>) {
        self.order += 1;
        self.events.push(Reverse((ms, self.order, end, datagram)));
    }

    fn run_until(&mut self, ms: u64) {
        while let Some(Reverse((due, ..))) = self.events.peek()
            && *due < ms
            && let Some(Reverse((due, _, end, datagram))) = self.events.pop()
        {
            self.ms = due;
            match datagram {
                Some((first, datagram)) => {
                    if first + LIFETIME > self.ends[1 - end].next {
                        self.ends[end].receive(&datagram);
                    }
                }
                None => self.speak(end),
            }
        }
        self.ms = ms;
    }

    fn speak(&mut self, end: usize) {
        let mut pause = 0;
        if self.strange_senders && self.dice.once_in(300) {
            match self.dice.below(3) {
                0 => self.ends[end].count = 1 + self.dice.below(12),
                1 => self.ends[end].next += 1 + self.dice.below(400),
                _ => pause = self.dice.below(8000),
            }
        }
        let now = self.start + Duration::from_millis(self.ms);
        let mut datagram = Vec::new();
        let first = self.ends[end].next;
        self.ends[end].send(now, &mut datagram);
        let other = self.ends[1 - end].ack_sender.decoded.clipped(first).len() as u64;
        self.ends[end].tally.held += other;
        self.carry(end, (first, datagram));
        self.at(self.ms + 20 * self.ends[end].count + pause, end, None);
    }

    fn carry(&mut self, from: usize, datagram: Flight) {
        let (dice, path) = (&mut self.dice, &mut self.paths[from]);
        path.burst_left = path.burst_left.saturating_sub(1);
        let mut late = dice.below(path.jitter);
        if path.burst_left > 0 || dice.below(1000) < path.loss {
            if path.burst_left == 0 && dice.once_in(path.bursts) {
                path.burst_left = dice.below(40);
            }
            return;
        }
        let strange = |dice: &mut Dice| dice.once_in(path.strange);
        if strange(dice) {
            late += dice.below(9000);
        } else if strange(dice) && dice.once_in(10) {
            late += dice.below(300_000);
        }
        let (again, ancient) = (strange(dice), strange(dice));
        let (due, soon) = (self.ms + path.delay + late, self.ms + path.delay);
        if again {
            let later = self.dice.below(2000);
            self.at(due + later, 1 - from, Some(datagram.clone()));
        }
        if ancient && !self.old[from].is_empty() {
            let which = self.dice.below(self.old[from].len() as u64) as usize;
            self.at(soon, 1 - from, Some(self.old[from][which].clone()));
        }
        if self.old[from].len() < 1000 {
            self.old[from].push(datagram.clone());
        } else {
            let which = self.dice.below(1000) as usize;
            self.old[from][which] = datagram.clone();
        }
        self.at(due, 1 - from, Some(datagram));
    }
}

/// A bad network in phases of some seconds each, until `packets` were sent. Whatever decodes to garbage panics.
fn ordeal(seed: u64, packets: u64) -> World {
    let mut dice = Dice(seed);
    let mut world = World::new(seed ^ 0x5555, Duration::from_millis([480, 480, 1, 200][dice.below(4) as usize]));
    world.strange_senders = true;
    while world.ends[0].tally.sent + world.ends[1].tally.sent < packets {
        world.paths = [Path::random(&mut dice), Path::random(&mut dice)];
        let until = world.ms + 1000 + dice.below(25_000);
        world.run_until(until);
    }
    world
}

fn sum(world: &World, of: impl Fn(&Tally) -> u64) -> u64 {
    world.ends.iter().map(|end| of(&end.tally)).sum()
}

#[test]
fn no_network_makes_the_two_sides_mean_different_frames() {
    let worlds: Vec<World> = (0..5).map(|seed| ordeal(seed, 10_000)).collect();
    let total = |of: fn(&Tally) -> u64| worlds.iter().map(|world| sum(world, of)).sum::<u64>();
    // It is not by never using any that none are wrong; and hardly a packet is refused that is not seconds late.
    assert!(total(|t| t.with_context) * 2 > total(|t| t.sent), "{}", total(|t| t.with_context));
    assert!(total(|t| t.refused) * 12 < total(|t| t.decoded), "{} of {}", total(|t| t.refused), total(|t| t.decoded));
}

/// `cargo test --release -p parlo-protocol -- --ignored --nocapture ordeals`
#[test]
#[ignore = "three million packets"]
fn long_ordeals() {
    let since = Instant::now();
    let worlds: Vec<World> = (100..120).map(|seed| ordeal(seed, 150_000)).collect();
    let total = |of: fn(&Tally) -> u64| worlds.iter().map(|world| sum(world, of)).sum::<u64>();
    let (sent, acks) = (total(|t| t.sent), total(|t| t.acks));
    println!(
        "{sent} packets in {:?}: {} with context ({} of {} held frames), {} decoded, {} refused; {acks} reports of {:.2} \
         bytes, {} at most",
        since.elapsed(),
        total(|t| t.with_context),
        total(|t| t.used),
        total(|t| t.held),
        total(|t| t.decoded),
        total(|t| t.refused),
        total(|t| t.report_bytes) as f64 / acks as f64,
        worlds.iter().flat_map(|world| &world.ends).map(|end| end.tally.longest_report).max().unwrap_or(0),
    );
    assert!(sent >= 2_000_000);
}

#[test]
fn a_good_network_has_contexts_nearly_always_and_of_nearly_all_frames() {
    for (count, jitter) in [(1, 1), (3, 1), (12, 1), (3, 60)] {
        let mut world = World::new(3, REPORT_EVERY);
        for (end, path) in world.ends.iter_mut().zip(&mut world.paths) {
            end.count = count;
            path.jitter = jitter;
        }
        world.run_until(1000);
        world.ends.iter_mut().for_each(|end| end.tally = Tally::default());
        world.run_until(61_000);
        assert_eq!(sum(&world, |t| t.with_context), sum(&world, |t| t.sent));
        assert_eq!(sum(&world, |t| t.refused), 0);
        // What was decoded since the last report, 24 frames of 256 at most, cannot be known; half of that on average.
        let (used, held) = (sum(&world, |t| t.used), sum(&world, |t| t.held));
        assert!(used * 100 > held * if jitter > 1 { 85 } else { 88 }, "{used} of {held}");
        // In time with the clock.
        assert!((240..=252).contains(&sum(&world, |t| t.acks)), "{:?}", world.ends[0].tally);
        if jitter == 1 {
            assert_eq!(sum(&world, |t| t.report_bytes), 3 * sum(&world, |t| t.acks));
        }
    }
}

#[test]
fn contexts_come_back_after_a_blackout_of_either_direction() {
    for (cut, every) in [([true, false], 480), ([false, true], 480), ([true, true], 480), ([true, false], 100)] {
        let mut world = World::new(5, Duration::from_millis(every));
        world.run_until(10_000);
        for (path, cut) in world.paths.iter_mut().zip(cut) {
            *path = if cut { Path::CUT } else { *path };
        }
        world.run_until(30_000);
        // Nobody builds upon what lies too far back.
        for end in 0..2 {
            assert_eq!(
                world.ends[end].ack_receiver.context(world.ends[end].next),
                Context::alone(world.ends[end].next)
            );
        }
        world.paths = [Path::CLEAR; 2];
        world.run_until(32_000);
        world.ends.iter_mut().for_each(|end| end.tally = Tally::default());
        world.run_until(42_000);
        assert_eq!(sum(&world, |t| t.with_context), sum(&world, |t| t.sent), "{cut:?}");
        let (used, held) = (sum(&world, |t| t.used), sum(&world, |t| t.held));
        assert!(used * 100 > held * 85, "{used} of {held}");
    }
}

/// A receiver of these frames, and a sender that sent all up to the last.
fn pair(frames: impl IntoIterator<Item = u64>) -> (AckSender, AckReceiver) {
    let (mut ack_sender, mut ack_receiver) = (AckSender::new(Duration::ZERO), AckReceiver::default());
    frames.into_iter().for_each(|frame| ack_sender.decoded(frame, 1));
    ack_receiver.sent(0, ack_sender.decoded.newest().map_or(0, |newest| newest as usize + 1));
    (ack_sender, ack_receiver)
}

#[test]
fn a_report_builds_upon_one_that_was_named_and_leaves_out_what_was_missing() {
    let now = Instant::now();
    let (mut ack_sender, mut ack_receiver) = pair((0..30).filter(|n| !(9..12).contains(n)));
    let first = ack_sender.ack(now).unwrap();
    // Frames 28 to 20, 19 to 12 and 11 to 9.
    assert_eq!((first.number(), first.base(), first.bytes()), (1, None, 8));
    assert!(ack_receiver.take(&first) && !ack_receiver.take(&first), "once");
    let context = ack_receiver.context(33);
    assert_eq!((context.reference(), context.frames().len()), (1, 27));
    assert_eq!(ack_sender.resolve(33, 1), Some(*context.frames()));

    // What comes late stays out, though it is held; a report upon a report tells the rest in three bytes.
    ack_sender.decoded(9, 3);
    ack_sender.decoded(30, 24);
    ack_receiver.sent(30, 24);
    let second = ack_sender.ack(now).unwrap();
    assert_eq!((second.number(), second.base(), second.bytes()), (2, Some(1), 3));
    assert!(ack_receiver.take(&second));
    let context = ack_receiver.context(60);
    assert_eq!((context.reference(), context.frames().len()), (2, 51));
    assert!(!context.frames().contains(9) && context.frames().contains(53));
    // The packet that builds upon the first may still come; what lies too far back, or ahead, is refused.
    assert_eq!(ack_sender.resolve(33, 1).map(|frames| frames.len()), Some(27));
    assert_eq!(
        (ack_sender.resolve(29, 1), ack_sender.resolve(29 + 257, 1), ack_sender.resolve(60, 3)),
        (None, None, None)
    );
    assert_eq!(ack_sender.resolve(29 + 256, 1).map(|frames| frames.len()), Some(1));
    assert_eq!(ack_sender.resolve(1, 0), Some(FrameSet::EMPTY));
    ack_sender.decoded(33 + 256, 1);
    assert_eq!(ack_sender.resolve(33, 1), None, "the frames behind it are kept no longer");
}

#[test]
fn reports_of_what_was_never_sent_or_upon_what_is_not_known_are_ignored() {
    let now = Instant::now();
    let (mut ack_sender, mut ack_receiver) = pair([0, 1, 2, 3, 4, 5]);
    let ack = ack_sender.ack(now).unwrap();
    assert!(!AckReceiver::default().take(&ack), "nothing was sent");
    let mut other = AckReceiver::default();
    other.sent(0, 3);
    other.sent(4, 20);
    assert!(!other.take(&ack), "frame 3 was not sent");
    let mut shorter = AckReceiver::default();
    shorter.sent(0, 5);
    assert!(!shorter.take(&ack), "frame 5 was not sent yet");

    assert!(ack_receiver.take(&ack));
    ack_sender.resolve(6, 1).unwrap();
    ack_sender.decoded(6, 18);
    let mut later = AckReceiver::default();
    later.sent(0, 24);
    ack_receiver.sent(6, 18);
    let upon = ack_sender.ack(now).unwrap();
    assert_eq!(upon.base(), Some(1));
    assert!(!later.take(&upon), "it never took the one before");
    assert!(ack_receiver.take(&upon) && !ack_receiver.take(&ack), "an old one comes again");
    ack_receiver.sent(24, 300);
    assert_eq!(ack_receiver.context(324), Context::alone(324), "that is too long ago");
}

#[test]
fn numbers_are_not_used_again_too_early() {
    let now = Instant::now();
    let mut ack_sender = AckSender::new(Duration::ZERO);
    let mut newest = Vec::new();
    for frame in 0..2560 {
        ack_sender.decoded(frame, 1);
        newest.extend(ack_sender.ack(now).map(|ack| (ack.number(), frame)));
    }
    assert_eq!(newest.len(), 2560_usize.div_ceil(18));
    assert!(newest.windows(16).all(|acks| acks[0].0 == acks[15].0 && acks[0].1 + WINDOW <= acks[15].1));
}

#[test]
fn the_longest_report_has_a_bound_that_it_reaches() {
    let (mut ack_sender, _) = pair((0..=256).filter(|n| n % 2 == 1 || *n == 0));
    ack_sender.decoded(255, 1);
    let (mut other, mut ack_receiver) = pair((1..=256).filter(|n| *n == 1 || *n == 256 || *n % 3 == 0));
    for ack in [ack_sender.ack(Instant::now()), other.ack(Instant::now())] {
        assert!(ack.is_some_and(|ack| ack.bytes() == FrameAck::MAX_BYTES));
    }
    ack_receiver.sent(257, 3);
    assert_eq!(ack_receiver.context(260), Context::alone(260));
}
