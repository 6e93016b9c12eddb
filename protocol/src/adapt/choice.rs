use std::time::Duration;

use crate::packet::{IPV4_UDP, MAX_COPIES, MAX_FRAMES, MEDIA_OVERHEAD};

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Most codes of a frame.
    pub depth: u8,
    /// Frames of a packet while the path carries it.
    pub frames: u8,
    /// Most time that a packet may take to fill.
    pub latency: Duration,
    /// Most bits per second, headers counted; none for what the path carries.
    pub bits: Option<f64>,
    /// Length of a frame.
    pub frame: Duration,
    /// Bytes of IP and UDP headers.
    pub headers: usize,
}

impl Limits {
    /// Bundles of `frames` frames of 20 ms and `depth` codes, over IPv4, without a limit but 240 ms.
    pub fn new(depth: u8, frames: u8) -> Self {
        Self {
            depth,
            frames,
            latency: Duration::from_millis(240),
            bits: None,
            frame: Duration::from_millis(20),
            headers: IPV4_UDP,
        }
    }
}

/// What frames cost, and what it costs to have less of them: by depth, from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// Bits of a frame before entropy coding.
    pub bits: Vec<f64>,
    /// Damage to speech, 0 to 1, when all arrives: what ESTOI is short of 1.
    pub damage: Vec<f64>,
    /// Whether frames can be copied.
    pub copies: bool,
}

/// 1 - ESTOI at depths 1 to 12 (docs/quality/scores.md; those between are interpolated).
const DAMAGE: [f64; 12] = [0.310, 0.203, 0.154, 0.119, 0.102, 0.088, 0.081, 0.075, 0.072, 0.070, 0.068, 0.067];

impl Costs {
    /// Those of codebooks with these bits. Damage is that of the model that ships; of another, more codes are better all the
    /// same.
    pub fn tokens(bits: impl IntoIterator<Item = u32>) -> Self {
        let bits: Vec<f64> = bits
            .into_iter()
            .scan(0.0, |sum, bits| {
                *sum += f64::from(bits);
                Some(*sum)
            })
            .collect();
        let last = DAMAGE[DAMAGE.len() - 1];
        let damage = (0..bits.len()).map(|n| DAMAGE.get(n).copied().unwrap_or(last - 1e-4 * (n as f64 - 12.0)));
        Self { damage: damage.collect(), bits, copies: true }
    }
}

/// Damage for each packet lost whose frames nothing repairs, and for those of which copies of 1, 2 and 3 codes come. From
/// docs/lab/loss.md: ESTOI at 20 % of packets lost, over that, which is 0.55 for the former; but a word's beginning that is lost
/// whole is worse than the mean of speech, so it counts twice.
const LOST: f64 = 1.1;
const COPIED: [f64; 3] = [0.225, 0.1375, 0.0875];
/// Share of frames that the jitter buffer does not wait for.
const OUTLIERS: f64 = 0.03;

/// Bits that a copy of 1, 2 and 3 codes takes before entropy coding's gain is known.
const COPY_BITS: [f64; 3] = [8.6, 11.4, 15.8];

/// Damage by each second of delay: 60 ms are worth as much as 0.018 of ESTOI. (In the E-model, ITU-T G.107, it is 24 points of
/// 100 for each second below 177 ms.)
const DELAY: f64 = 0.3;

/// Damage by each bit per second, so that nothing is spent that does not help: a kilobit a second is worth 0.003 of ESTOI. On a path
/// whose end was not found only payload has a price: how many headers there are is the user's choice then.
const PRICE: f64 = 3e-6;

/// What is no better than this is not worth a change.
const WORTH: f64 = 0.0015;

/// Bytes of reports and feedback in a second.
const NEWS: f64 = 25.0;

/// How much of a new measurement goes into the coder's gain.
const SMOOTH: f64 = 0.05;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Codes of a frame.
    pub depth: u8,
    /// Frames of a packet.
    pub frames: u8,
    /// Copies of earlier frames in a packet.
    pub copies: u8,
    /// Codes of a copy.
    pub copy_depth: u8,
}

/// Chooses plans.
#[derive(Debug)]
pub struct Choice {
    limits: Limits,
    costs: Costs,
    plan: Plan,
    /// Payload bits / bits before entropy coding.
    gain: f64,
}

impl Choice {
    /// Begins with the limits' depth and bundles, without copies.
    pub fn new(limits: Limits, costs: Costs) -> Self {
        let plan = Plan { depth: 1, frames: 1, copies: 0, copy_depth: 1 };
        let mut choice = Self { limits, costs, plan, gain: 0.8 };
        choice.set_limits(limits);
        choice
    }

    /// Begins anew with these limits' depth and bundles, without copies.
    pub fn set_limits(&mut self, mut limits: Limits) {
        let most = u8::try_from(self.costs.bits.len().clamp(1, 32)).unwrap_or(32);
        limits.depth = limits.depth.clamp(1, most);
        limits.frames = limits.frames.clamp(1, MAX_FRAMES);
        self.plan = Plan { depth: limits.depth, frames: limits.frames, copies: 0, copy_depth: 1 };
        self.limits = limits;
    }

    /// What to send.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Bits per second that a sender can use at most: those of the limits' plan with two packets' copies, were speech as hard
    /// to code as it ever is.
    pub fn most_bits(&self) -> f64 {
        let copies = (2 * self.limits.frames).min(MAX_COPIES);
        let plan = Plan { depth: self.limits.depth, frames: self.limits.frames, copies, copy_depth: 3 };
        self.wire(&plan, 1.0)
    }

    /// Learns from a packet what the entropy coder saves.
    pub fn coded(&mut self, plan: &Plan, frames: usize, payload: usize) {
        let raw = self.raw(plan, frames as f64);
        if raw > 0.0 {
            self.gain += SMOOTH * ((8.0 * payload as f64 / raw).min(1.5) - self.gain);
        }
    }

    fn raw(&self, plan: &Plan, frames: f64) -> f64 {
        let bits = self.costs.bits.get(usize::from(plan.depth) - 1).copied().unwrap_or_default();
        let copy = COPY_BITS[usize::from(plan.copy_depth).clamp(1, 3) - 1];
        frames * bits + f64::from(plan.copies) * copy
    }

    /// How many bits more a packet of the present plan has than the shortest that there are.
    pub fn packet_excess(&self) -> f64 {
        let payload = self.gain * self.raw(&self.plan, f64::from(self.plan.frames));
        (payload - 8.0 * parlo_tokens::ComfortNoise::BYTES as f64).max(0.0)
    }

    /// Bits per second of a plan, with all headers.
    fn wire(&self, plan: &Plan, gain: f64) -> f64 {
        let frames = f64::from(plan.frames);
        let payload = (gain * self.raw(plan, frames) / 8.0).ceil();
        let extension = if plan.copies > 0 { 1.0 } else { 0.0 };
        let bytes = (self.limits.headers + MEDIA_OVERHEAD) as f64 + extension + payload;
        8.0 * (bytes / (frames * self.limits.frame.as_secs_f64()) + NEWS)
    }

    fn damage(&self, plan: &Plan, loss: f64, thin: bool) -> f64 {
        let length = f64::from(plan.frames) * self.limits.frame.as_secs_f64();
        // Losses come in bursts as often as not, so that one loss makes the next more probable than it was.
        let next = (loss + 0.1).min(1.0);
        let packets = f64::from(plan.copies) / f64::from(plan.frames);
        let unrepaired = loss * next.powf(packets.floor()) * (1.0 - (1.0 - next) * packets.fract());
        let copied = COPIED[usize::from(plan.copy_depth).clamp(1, 3) - 1];
        // Play-out waits for as many copies as it takes that all but a few of a hundred frames have one; beyond that they are
        // for when it runs dry.
        let waited = (1..=4).take_while(|&n| loss.powi(n) > OUTLIERS).count() as f64;
        let waits = length * waited.min(packets.ceil());
        self.costs.damage.get(usize::from(plan.depth) - 1).copied().unwrap_or(1.0)
            + LOST * unrepaired
            + copied * (loss - unrepaired)
            + DELAY * (length + waits)
            + PRICE
                * if thin {
                    self.wire(plan, self.gain)
                } else {
                    self.gain * self.raw(plan, f64::from(plan.frames)) / length
                }
    }

    /// Chooses the plan of least damage that takes no more than so many bits per second at this share of lost packets; if there
    /// is none, the one that takes least. `thin`: whether the path is known to carry no more.
    pub fn choose(&mut self, bits: f64, loss: f64, thin: bool) {
        let mut best: Option<(f64, Plan)> = None;
        let mut thinnest = (f64::INFINITY, self.plan);
        for plan in self.plans(loss) {
            let wire = self.wire(&plan, self.gain);
            if wire < thinnest.0 {
                thinnest = (wire, plan);
            }
            let damage = self.damage(&plan, loss, thin);
            if wire <= bits && best.is_none_or(|(least, _)| damage < least) {
                best = Some((damage, plan));
            }
        }
        let idle = self.plan.copies > 0 && !self.copying(loss);
        let fits = self.wire(&self.plan, self.gain) <= bits && !idle;
        match best {
            Some((damage, _)) if fits && self.damage(&self.plan, loss, thin) <= damage + WORTH => {}
            Some((_, plan)) => self.plan = plan,
            None => self.plan = thinnest.1,
        }
    }

    /// Whether so much is lost that copies are worth a thought.
    fn copying(&self, loss: f64) -> bool {
        self.costs.copies && loss > 0.004
    }

    fn plans(&self, loss: f64) -> impl Iterator<Item = Plan> {
        let Limits { depth, frames, latency, frame, .. } = self.limits;
        let longest = (latency.as_nanos() / frame.as_nanos().max(1)).clamp(u128::from(frames), MAX_FRAMES.into()) as u8;
        let copying = self.copying(loss);
        (1..=depth).flat_map(move |depth| {
            let bundles = [frames, 1, 2, 3, 4, 5, 6, 8, 10, 12].into_iter().enumerate();
            let bundles = bundles.filter(move |&(n, size)| n == 0 || (frames < size && size <= longest));
            bundles.flat_map(move |(_, frames)| {
                let copies = if copying { 13 } else { 1 };
                (0..copies).filter_map(move |n: u8| {
                    let (packets, copy_depth) = if n == 0 { (0, 1) } else { ((n - 1) / 3 + 1, (n - 1) % 3 + 1) };
                    let copies = packets * frames;
                    let fits = copies <= MAX_COPIES && (n == 0 || copy_depth < depth.max(2));
                    fits.then_some(Plan { depth, frames, copies, copy_depth })
                })
            })
        })
    }
}
