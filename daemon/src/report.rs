//! What a call was like, in figures.

use std::{io::Write, path::Path, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::audio::AtomicFile;

/// Durations of one kind of work, in microseconds. Recording does not allocate.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        // 1 us to 10 s with three digits: the bounds are constants that the library accepts.
        Self(Histogram::new_with_bounds(1, 10_000_000, 3).unwrap_or_else(|_| unreachable!("constant bounds")))
    }
}

impl Durations {
    /// Counts one duration; what is longer than 10 s counts as 10 s.
    pub fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Median and 99th percentile in microseconds; zeros if nothing was recorded.
    pub fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles { p50: 0, p99: 0 };
        }
        Percentiles { p50: self.0.value_at_quantile(0.5), p99: self.0.value_at_quantile(0.99) }
    }
}

/// Two points of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half of all are at most this.
    pub p50: u64,
    /// 99 % of all are at most this.
    pub p99: u64,
}

/// Frames of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// Captured, encoded and sent.
    pub sent: u64,
    /// Captured and not sent, as nobody spoke.
    pub unsent: u64,
    /// Coarse copies sent, against loss.
    pub copies: u64,
    /// Heard as they were coded.
    pub played: u64,
    /// Heard from a coarse copy.
    pub coarse: u64,
    /// Heard as comfort noise, as nobody spoke.
    pub silent: u64,
    /// Not there when they were due: predicted, or faded.
    pub lost: u64,
    /// Of those lost, how many came after so many others that nothing was to be heard any more.
    pub faded: u64,
    /// Of those lost, how many came after all, too late.
    pub late: u64,
    /// Left out to bring the delay down.
    pub skipped: u64,
    /// Times that play-out held for a frame's length because nothing was there.
    pub held: u64,
    /// Captured or received, but dropped because this machine could not keep up.
    pub overrun: u64,
}

/// Packets of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Datagrams of any kind.
    pub packets: u64,
    /// Bytes of coded speech, copies among them.
    pub payload_bytes: u64,
    /// Bytes that tell of what has come the other way.
    pub news_bytes: u64,
    /// Bytes with every header, IP and UDP counted.
    pub wire_bytes: u64,
}

/// Datagrams that were no packets of the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Junk {
    /// With a wrong tag: damaged on the way, or forged.
    pub forged: u64,
    /// Come before.
    pub replayed: u64,
    /// Anything else.
    pub other: u64,
}

/// What a call was like. Times are of this side's clock, rates of this side's sending.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Id of the bundle in use.
    pub bundle: String,
    /// Id of its tokens.
    pub tokens: String,
    /// What was spoken: "tokens" of the bundle, or "opus", if the peer does not hold it.
    pub codec: &'static str,
    /// Its sample rate, Hz.
    pub sample_rate: u32,
    /// Codebooks sent at most.
    pub depth: usize,
    /// Frames in each packet sent while the path was good.
    pub frames_per_packet: u8,
    /// Length of a frame, ms.
    pub frame_ms: f64,
    /// How much later than a frame's own span the decoder renders it, ms.
    pub algorithmic_delay_ms: f64,
    /// Length of what was captured, s.
    pub media_seconds: f64,
    /// Frames.
    pub frames: Frames,
    /// Packets sent.
    pub sent: Traffic,
    /// Packets received.
    pub received: Traffic,
    /// Datagrams that were no packets of this call.
    pub junk: Junk,
    /// Times that the peer moved to another address.
    pub moves: u64,
    /// Times that new keys were agreed upon; null if the peer's program does not do so.
    pub rekeys: Option<u64>,
    /// Packets that build upon frames which this side does not hold, or no longer: lost.
    pub unknown_context: u64,
    /// Bits that a frame sent holds by the entropy model; null without a model.
    pub bits_per_frame: Option<f64>,
    /// Codes before any entropy coding, kbps.
    pub raw_kbps: f64,
    /// Payloads, kbps.
    pub coded_kbps: f64,
    /// Everything that crossed the wire, kbps.
    pub wire_kbps: f64,
    /// Time to encode what is coded together, most often the frames of a packet, microseconds.
    pub encode_us: Percentiles,
    /// Time to decode what is decoded together, microseconds.
    pub decode_us: Percentiles,
    /// Times that the sink ran dry.
    pub underruns: u64,
    /// From the start of the program to the first encoded frame, ms; null if none was.
    pub startup_ms: Option<f64>,
    /// Whether the codec threads had real-time priority.
    pub realtime: bool,
}

impl Report {
    /// Writes the report as JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        write_whole(file, text.as_bytes())
    }
}

/// Writes a file that nobody sees half of.
pub(crate) fn write_whole(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut whole = AtomicFile::create(file)?;
    whole.write_all(content)?;
    whole.commit()
}
