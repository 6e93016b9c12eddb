//! A call between two peers in simulated time: the real protocol, session, entropy coder, jitter buffer and decoder, and a path
//! that loses, delays and throttles by a seed. A minute takes a second or two.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlo_netem::{Path, PathConfig};
use parlo_protocol::{
    acceptor::Acceptor,
    adapt::{Costs, Limits, Plan},
    call::{Call, Event},
    identity::Identity,
    jitter::JitterConfig,
    offer::{Codec, Offer},
    packet::IPV4_UDP,
};
use parlo_tokens::{ComfortNoise, Slot, TokensId};
use parlod::call::{
    Depacketizer, Due, EncodedFrame, FrameDecoder, FrameOrigin, Packetizer, PayloadCoder, Player, PlayerStats,
    RunBatcher, transmit,
};

/// What is spoken, and how.
pub(crate) struct Script<'a> {
    /// The codec of the call.
    pub codec: Codec,
    /// What the capture thread gives when each frame is whole: itself, coded or described, and coded frames of the pause before it.
    pub speech: &'a [Vec<EncodedFrame>],
    /// What they were made of.
    pub samples: &'a [f32],
    /// Makes packets of them; twice, once for each side.
    pub packing: &'a dyn Fn() -> PayloadCoder,
    /// Plays them.
    pub listener: FrameDecoder,
    /// What the user lets the caller send.
    pub limits: Limits,
    /// What frames cost.
    pub costs: Costs,
    /// Whether the plan follows the path.
    pub adapts: bool,
    /// From the one who speaks to the one who listens.
    pub there: PathConfig,
    /// And back.
    pub back: PathConfig,
    /// How much faster the listener's sound card runs, parts per million.
    pub skew_ppm: f64,
    /// When the speaker's address changes, if it does.
    pub moves: Option<Duration>,
    /// Samples a second and of a frame.
    pub audio: (u32, usize),
    /// The decoder's own delay.
    pub delay: Duration,
    /// Least delay of the jitter buffer.
    pub least: Duration,
    /// Datagrams of noise that the listener gets every millisecond.
    pub junk: u32,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Each frame's sound, at its own time: frames that were never played are zeros.
    pub heard: Vec<f32>,
    /// Frames of the speech by what they were made of. Frames never played are missing.
    pub origins: BTreeMap<FrameOrigin, u64>,
    /// Frames of the speech that were played, by number.
    pub by_number: BTreeMap<u64, FrameOrigin>,
    /// From a frame's first sample captured to heard, milliseconds, in the order of play-out.
    pub delays: Vec<f64>,
    /// The jitter buffer's own part of that: from a packet's arrival to the play-out of its first frame, milliseconds.
    pub waits: Vec<f64>,
    /// Bits sent by the speaker in each second, headers counted.
    pub wire: Vec<f64>,
    /// What a packet sent then would wait in the path's queue, milliseconds, every frame.
    pub queue: Vec<f64>,
    /// The plan, every frame.
    pub plans: Vec<Plan>,
    /// Longest time in which frames were lost and nothing was to be heard (under -50 dB of full scale) while speech was due
    /// (over -40 dB). Speech that comes late, after a longer pause, is not lost.
    pub longest_silence_ms: f64,
    pub player: PlayerStats,
    /// Datagrams counted and ignored by the listener.
    pub ignored: u64,
    /// Whether the call still stood at the end.
    pub stood: bool,
    /// Frames and payload bytes sent.
    pub sent: (u64, u64),
    /// Packets sent and lost on the way there.
    pub packets: (u64, u64),
}

/// The capture thread's frames that wait for their run to be coded. It is told of the plan at once here.
#[derive(Default)]
struct Captured {
    batcher: RunBatcher,
    waiting: Vec<EncodedFrame>,
}

impl Captured {
    /// Takes a frame, of which so many make a packet, and gives what is there for the packetizer.
    fn push(&mut self, frame: EncodedFrame, frames: u8) -> Vec<EncodedFrame> {
        if frame.unit.is_none() {
            self.batcher.end();
            let mut given = self.packet();
            given.push(frame);
            return given;
        }
        self.waiting.push(frame);
        match self.batcher.next(frames.into()) {
            Due::Later => Vec::new(),
            Due::Run => std::mem::take(&mut self.waiting),
            Due::Packet => self.packet(),
        }
    }

    fn packet(&mut self) -> Vec<EncodedFrame> {
        if let Some(last) = self.waiting.last_mut() {
            last.ends_packet = true;
        }
        std::mem::take(&mut self.waiting)
    }
}

fn address(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

const SPEAKER: u16 = 1000;
const MOVED: u16 = 1001;
const LISTENER: u16 = 2000;

/// A call in which one side speaks and the other is silent.
pub(crate) fn run(script: Script<'_>) -> Outcome {
    let start = Instant::now();
    let length = script.audio.1 as f64 / f64::from(script.audio.0);
    let (frame, time_of) =
        (Duration::from_secs_f64(length), |frames: u64| Duration::from_secs_f64(length * frames as f64));
    let [there, back] = [&script.there, &script.back].map(|config| {
        let mut config = config.clone();
        // The port in front is no part of the datagram.
        config.rate = config.rate.map(|rate| parlo_netem::Rate { headers: rate.headers.saturating_sub(2), ..rate });
        config
    });
    let mut there = Path::new(there, start);
    let mut back = Path::new(back, start);
    let ours = [1, 2].map(|n| Identity::from_bytes([n; 32]));
    let tokens = match script.codec {
        Codec::Tokens(id) => vec![id],
        Codec::Opus => Vec::new(),
    };
    let offer = Offer {
        tokens: if tokens.is_empty() { vec![TokensId::from_bytes([9; 32])] } else { tokens.clone() },
        opus: true,
        depth: script.limits.depth,
        frames_per_packet: script.limits.frames,
        rekeys: false,
    };
    let answer = Offer { tokens, ..offer.clone() };
    let key = Some(ours[1].public());
    let mut caller = Call::dial(&ours[0], key, address(LISTENER), 7, [3; 32], &offer, script.limits, start).unwrap();
    let mut acceptor = Acceptor::new(&ours[1], [4; 32], start);
    let mut listener: Option<Call> = None;
    let mut outbound = Packetizer::with_frame((script.packing)(), frame);
    let mut captured = Captured::default();
    let mut silent = Packetizer::with_frame(PayloadCoder::Opus, frame);
    let mut inbound = Depacketizer::new((script.packing)());
    let jitter = JitterConfig { frame, least: script.least, ..JitterConfig::default() };
    let mut player = Player::new(script.listener, jitter, script.audio.0, script.audio.1);

    let mut outcome = Outcome { heard: vec![0.0; script.speech.len() * script.audio.1], ..Outcome::default() };
    let mut began = [None, None];
    let (mut next_frame, mut next_silent) = (0_usize, 0_u64);
    // When the listener's sink wants its next samples, in microseconds.
    let mut sink = 0.0;
    let mut arrivals: BTreeMap<u64, Instant> = BTreeMap::new();
    let (mut place, mut silences) = (0, Vec::new());
    let mut datagram = Vec::new();
    let mut source_port = SPEAKER;
    let (mut wire_before, mut dice) = (0, 1_u64);
    let end = time_of(script.speech.len() as u64) + Duration::from_secs(3);
    let steps = (end.as_millis() + 4000) as u64;
    for ms in 0..steps {
        let now = start + Duration::from_millis(ms);
        if script.moves.is_some_and(|when| began[0].is_some_and(|since| now >= since + when)) {
            source_port = MOVED;
        }
        let mut packets = 0;
        while there.receive(now, &mut datagram) {
            packets += 1;
            // In front of each datagram goes the port that it came from.
            // Damage is for the datagram alone.
            let moved = datagram[0..2] == MOVED.to_be_bytes();
            let from = if moved { MOVED } else { SPEAKER };
            take(
                &mut listener,
                &mut acceptor,
                now,
                address(from),
                &mut datagram[2..],
                &answer,
                script.limits,
                |call, event| {
                    if let Event::Connected { .. } = event {
                        call.adapt(script.limits, script.costs.clone(), script.adapts);
                        began[1] = Some(now);
                        return;
                    }
                    inbound.take(call, &event, |number, slot| {
                        if let Slot::Frame(_) = slot {
                            arrivals.entry(number).or_insert(now + Duration::from_nanos(packets));
                        }
                        // Packets have different times, be it by a nanosecond: that is how they are told apart.
                        player.insert(number, slot, now + Duration::from_nanos(packets));
                    });
                },
            );
        }
        for _ in 0..script.junk {
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let length = (dice >> 40) as usize % 100;
            let mut noise: Vec<u8> =
                (0..length).map(|n| (dice >> (n % 50)) as u8 ^ (n as u8).wrapping_mul(37)).collect();
            // Half of it looks like media of this very call.
            if dice >> 63 == 1 && length > 13 {
                noise[0] |= 0x80;
                if let Some(call) = &listener {
                    noise[1..3].copy_from_slice(&call.index().to_be_bytes());
                }
            }
            take(&mut listener, &mut acceptor, now, address(3000), &mut noise, &answer, script.limits, |_, _| {});
        }
        while back.receive(now, &mut datagram) {
            let to = u16::from_be_bytes([datagram[0], datagram[1]]);
            if to == source_port {
                let event = caller.handle(now, address(LISTENER), &mut datagram[2..]);
                let connected = matches!(event, Some(Event::Connected { .. }));
                let later =
                    std::iter::from_fn(|| caller.poll_event()).any(|event| matches!(event, Event::Connected { .. }));
                if connected || later {
                    caller.adapt(script.limits, script.costs.clone(), script.adapts);
                    began[0] = Some(now);
                }
            }
        }
        if caller.poll_timeout().is_some_and(|due| due <= now) {
            let _ = caller.handle_timeout(now);
        }
        if let Some(call) = &mut listener
            && call.poll_timeout().is_some_and(|due| due <= now)
        {
            let _ = call.handle_timeout(now);
        }
        acceptor.handle_timeout(now);

        // The speaker's microphone.
        if let Some(since) = began[0] {
            while next_frame < script.speech.len() && now >= since + time_of(next_frame as u64 + 1) {
                outcome.queue.push(1000.0 * there.queue_delay(now).as_secs_f64());
                for frame in &script.speech[next_frame] {
                    for frame in captured.push(*frame, caller.plan().frames) {
                        outbound.push(now, &mut caller, &frame, &mut |_, bytes| {
                            there.send(now, &[&source_port.to_be_bytes()[..], bytes].concat());
                        });
                    }
                }
                next_frame += 1;
                outcome.plans.push(caller.plan());
            }
            let second = now.duration_since(since).as_millis() / 1000;
            if second as usize > outcome.wire.len() && next_frame < script.speech.len() {
                let wire = caller.stats().sent.wire_bytes(IPV4_UDP);
                outcome.wire.push(8.0 * (wire - wire_before) as f64);
                wire_before = wire;
            }
        }
        // The listener's, in a silent room.
        if let (Some(call), Some(since)) = (&mut listener, began[1]) {
            while now >= since + time_of(next_silent + 1) {
                let frame = EncodedFrame {
                    number: next_silent,
                    unit: None,
                    silence: Some(ComfortNoise::SILENCE),
                    ends_packet: false,
                };
                silent.push(now, call, &frame, &mut |to, bytes| {
                    back.send(now, &[&to.port().to_be_bytes()[..], bytes].concat());
                });
                next_silent += 1;
            }
        }
        transmit(&mut caller, &mut datagram, &mut |_, bytes| {
            there.send(now, &[&source_port.to_be_bytes()[..], bytes].concat());
        });
        if let Some(call) = &mut listener {
            transmit(call, &mut datagram, &mut |to, bytes| {
                back.send(now, &[&to.port().to_be_bytes()[..], bytes].concat())
            });
        }
        while let Some(to) = acceptor.poll_transmit(&mut datagram) {
            back.send(now, &[&to.port().to_be_bytes()[..], &datagram].concat());
        }

        // The listener's loudspeaker.
        let (Some(_), Some(spoke)) = (began[1], began[0]) else {
            sink = 1000.0 * ms as f64;
            continue;
        };
        while sink <= 1000.0 * ms as f64 {
            let mut samples = 0;
            let heard = player.next(now, |audio| samples += audio.len()).unwrap();
            let Some(heard) = heard else { break };
            let at = start + Duration::from_micros(sink as u64);
            // What is played while a frame may still come stands in for it, should it not come.
            place = heard.number.unwrap_or(if heard.origin == FrameOrigin::Held { place + 1 } else { place });
            let span = place as usize * script.audio.1..(place as usize + 1) * script.audio.1;
            if heard.origin != FrameOrigin::Waiting
                && let (Some(said), Some(to)) = (script.samples.get(span.clone()), outcome.heard.get_mut(span))
            {
                to.copy_from_slice(player.frame());
                let missing = matches!(heard.origin, FrameOrigin::Predicted | FrameOrigin::Faded | FrameOrigin::Held);
                let silent = missing && loudness(said) > 0.01 && loudness(player.frame()) < 0.003;
                silences.push(silent.then_some(place));
            }
            if let Some(number) = heard.number.filter(|&number| (number as usize) < script.speech.len()) {
                outcome.by_number.insert(number, heard.origin);
                let spoken = spoke + time_of(number);
                outcome.delays.push(1000.0 * (at.saturating_duration_since(spoken) + script.delay).as_secs_f64());
                if let Some(arrived) = arrivals.get(&number).filter(|arrived| {
                    let before = number.checked_sub(1).and_then(|before| arrivals.get(&before));
                    heard.origin == FrameOrigin::Real && before.is_none_or(|before| before < *arrived)
                }) {
                    outcome.waits.push(1000.0 * at.saturating_duration_since(*arrived).as_secs_f64());
                }
            }
            sink += 1e6 * samples as f64 / f64::from(script.audio.0) / (1.0 + 1e-6 * script.skew_ppm);
        }
    }
    for origin in outcome.by_number.values() {
        *outcome.origins.entry(*origin).or_default() += 1;
    }
    let mut run = 0;
    for place in silences {
        // Speech that was only late has a longer pause before it, and is heard.
        let lost = place.is_some_and(|place| {
            !matches!(outcome.by_number.get(&place), Some(FrameOrigin::Real | FrameOrigin::Coarse))
        });
        run = if lost { run + 1 } else { 0 };
        outcome.longest_silence_ms = outcome.longest_silence_ms.max(1000.0 * length * f64::from(run));
    }
    outcome.player = player.stats();
    outcome.stood = caller.is_open() && listener.as_ref().is_some_and(Call::is_open);
    if let Some(call) = &listener {
        let stats = call.session_stats();
        outcome.ignored = stats.forged + stats.replayed + stats.malformed + stats.strangers + stats.unexpected;
    }
    outcome.sent = (outbound.stats().frames, caller.stats().sent.payload_bytes);
    let path = there.stats();
    outcome.packets = (path.sent, path.gone());
    outcome
}

#[allow(clippy::too_many_arguments, reason = "the listener's side, as it stands in the loop")]
fn take(
    listener: &mut Option<Call>,
    acceptor: &mut Acceptor,
    now: Instant,
    from: SocketAddr,
    datagram: &mut [u8],
    answer: &Offer,
    limits: Limits,
    mut each: impl FnMut(&mut Call, Event<'_>),
) {
    use parlo_protocol::session::{Destination, destination};
    if let Some(call) = listener {
        let ours = match destination(datagram) {
            Destination::Session(index) => index == call.index(),
            Destination::CookieGate => call.is_repeat(from, datagram),
            _ => false,
        };
        if ours {
            if let Some(event) = call.handle(now, from, datagram) {
                each(call, event);
            }
            while let Some(event) = call.poll_event() {
                each(call, event);
            }
            return;
        }
    }
    if let Some(caller) = acceptor.handle(now, from, datagram, 11)
        && listener.is_none()
        && let Ok(call) = Call::answer(caller.session, &caller.offer, answer, limits, false, now)
    {
        *listener = Some(call);
    }
}

/// Root mean square.
fn loudness(samples: &[f32]) -> f32 {
    (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

/// A quantile, 0 to 1, of values; zero if there are none.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 - 1.0) * q).round().max(0.0) as usize).copied().unwrap_or_default()
}
