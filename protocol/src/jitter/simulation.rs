//! A sender, a path and a sink for the tests, in microseconds of made-up time.

use std::time::{Duration, Instant};

use parlo_tokens::{ComfortNoise, Slot};

use super::{JitterBuffer, JitterConfig, JitterStats, Pace, Popped};

pub(super) const FRAME: u64 = 20_000;

/// Random numbers below `n` from a linear congruential generator.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// What is sent, and what the path does to it.
pub(super) struct Path {
    /// Frames in a packet.
    pub(super) bundle: u64,
    /// Packets before this one whose frames it has copies of.
    pub(super) copies: u64,
    /// Microseconds between two frames of the sender, on the sink's clock.
    pub(super) sender_frame_us: u64,
    /// Delay in microseconds of the packet that is complete at this time; `None`: lost.
    pub(super) delay: Box<dyn FnMut(u64) -> Option<u64>>,
    /// Whether somebody speaks in this frame. Packets end with speech, and silence is described every 400 ms.
    pub(super) speaks: Box<dyn Fn(u64) -> bool>,
    /// How many frames the sink takes at once.
    pub(super) gulp: u64,
    /// Whether this frame is background, although it is sent.
    pub(super) quiet: Box<dyn Fn(u64) -> bool>,
}

impl Path {
    pub(super) fn steady(bundle: u64) -> Self {
        Self::with_delay(bundle, |_| Some(30_000))
    }

    pub(super) fn with_delay(bundle: u64, delay: impl FnMut(u64) -> Option<u64> + 'static) -> Self {
        Self {
            bundle,
            copies: 0,
            gulp: 1,
            sender_frame_us: FRAME,
            delay: Box::new(delay),
            speaks: Box::new(|_| true),
            quiet: Box::new(|_| false),
        }
    }
}

/// What came out, and when.
#[derive(Debug)]
pub(super) struct Heard {
    /// Time in microseconds, and what was popped.
    pub(super) pops: Vec<(u64, Popped<u64>)>,
    /// Delay of the buffer after each pop.
    pub(super) delays: Vec<Duration>,
    /// Of each packet, when it arrived and how long it was until the first of its frames was played, microseconds.
    pub(super) waits: Vec<(u64, u64)>,
    pub(super) stats: JitterStats,
    pub(super) buffer: JitterBuffer<u64>,
}

impl Heard {
    /// Numbers of the frames played, as sent or coarse, in order; `None` where there was none.
    pub(super) fn played(&self) -> Vec<Option<u64>> {
        let number = |popped: &Popped<u64>| match popped {
            Popped::Slot { number, slot: Slot::Frame(_) | Slot::Coarse(_), .. } => Some(*number),
            _ => None,
        };
        self.pops.iter().map(|(_, popped)| number(popped)).collect()
    }

    /// The wait, in milliseconds, that this share of the packets which arrived from some time on does not exceed.
    pub(super) fn wait_ms(&self, from_us: u64, share: f64) -> f64 {
        let mut waits: Vec<u64> = self.waits.iter().filter(|(at, _)| *at >= from_us).map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1000.0
    }
}

/// Evidence on its way: when it arrives, and frames with what they are.
type Packet = (u64, Vec<(u64, Slot<u64>)>);

fn packets(path: &mut Path, frames: u64) -> Vec<Packet> {
    let mut sent = Vec::<Packet>::new();
    let (mut bundle, mut silent, mut history) = (Vec::new(), 0, Vec::new());
    for number in 0..frames {
        let mut complete = false;
        if (path.speaks)(number) {
            bundle.push((number, Slot::Frame(number)));
            silent = 0;
            complete = bundle.len() as u64 == path.bundle;
        } else {
            if silent % 20 == 0 {
                bundle.push((number, Slot::Silence(ComfortNoise::new((number % 100) as u8, [127; 8]))));
                complete = true;
            }
            silent += 1;
        }
        if !complete {
            continue;
        }
        let mut packet = std::mem::take(&mut bundle);
        let own = packet.clone();
        for copied in history.iter().rev().take(path.copies as usize) {
            let copied: &Vec<(u64, Slot<u64>)> = copied;
            for (number, slot) in copied {
                packet.push((*number, if let Slot::Frame(frame) = slot { Slot::Coarse(*frame) } else { *slot }));
            }
        }
        history.push(own);
        let at = (number + 1) * path.sender_frame_us;
        if let Some(delay) = (path.delay)(at) {
            sent.push((at + delay, packet));
        }
    }
    sent.sort_by_key(|(at, _)| *at);
    // No two datagrams are read at once.
    let mut last = 0;
    for (at, _) in &mut sent {
        last = (*at).max(last + 1);
        *at = last;
    }
    sent
}

pub(super) fn simulate(config: JitterConfig, mut path: Path, seconds: u64) -> Heard {
    let mut jitter = JitterBuffer::new(config);
    let start = Instant::now();
    let end = seconds * 1_000_000;
    let frames = end / path.sender_frame_us;
    let mut packets = packets(&mut path, frames).into_iter().peekable();
    let (mut pops, mut delays, mut at, mut quiet) = (Vec::new(), Vec::new(), 7_000_u64, true);
    let (mut arrivals, mut played) = (Vec::new(), vec![None; frames as usize]);
    let mut paced = at;
    while paced < end {
        at = if path.gulp > 1 { paced - paced % (path.gulp * FRAME) } else { paced };
        while let Some((arrival, packet)) = packets.next_if(|(arrival, _)| *arrival <= at) {
            for (number, slot) in &packet {
                jitter.insert(*number, *slot, start + Duration::from_micros(arrival));
            }
            arrivals.push((arrival, packet));
        }
        let popped = jitter.pop(start + Duration::from_micros(at), quiet);
        pops.push((at, popped));
        delays.push(jitter.delay());
        let mut length = FRAME;
        if let Popped::Slot { number, slot, pace } = popped {
            match slot {
                Slot::Frame(frame) | Slot::Coarse(frame) => {
                    assert_eq!(frame, number, "a frame comes out as it went in");
                    assert!(played[number as usize].is_none(), "a frame is played once");
                    played[number as usize] = Some(at);
                }
                _ => assert_eq!(pace, Pace::Normal),
            }
            // As far as real speech is stretched, in the mean.
            match pace {
                Pace::Normal => {}
                Pace::Faster => length = FRAME * 82 / 100,
                Pace::Slower => length = FRAME * 118 / 100,
            }
            quiet = (path.quiet)(number) || matches!(slot, Slot::Silence(_));
        }
        paced += length;
    }
    let wait = |(at, packet): &Packet| {
        let own = packet.iter().filter(|(_, slot)| matches!(slot, Slot::Frame(_)));
        own.filter_map(|(number, _)| played[*number as usize]?.checked_sub(*at)).min().map(|wait| (*at, wait))
    };
    let waits = arrivals.iter().filter_map(wait).collect();
    Heard { pops, delays, waits, stats: *jitter.stats(), buffer: jitter }
}
