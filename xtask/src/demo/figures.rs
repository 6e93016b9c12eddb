//! From what both daemons found to one table, and whether it is as it should be.

use std::{fmt, fs, path::Path};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{score::Comparison, timeline::Timeline};

/// Below this the speech that arrived is not the speech that was sent.
const LEAST_LIKENESS: f64 = 0.5;
const LEAST_ESTOI: f64 = 0.3;
/// How far a call without loss may lie from the same codec without a network.
const MOST_DIFFERENCE: f64 = 0.02;
/// More loss than this on one machine's own loopback is a fault.
const MOST_LOST: f64 = 0.05;

/// What one daemon reported.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Side {
    media_seconds: f64,
    frame_ms: f64,
    algorithmic_delay_ms: f64,
    frames: SideFrames,
    raw_kbps: f64,
    coded_kbps: f64,
    wire_kbps: f64,
    encode_us: Percentiles,
    decode_us: Percentiles,
}

#[derive(Debug, Clone, Deserialize)]
struct SideFrames {
    sent: u64,
    played: u64,
    lost: u64,
    late: u64,
    skipped: u64,
    held: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Side {
    /// Length of a frame.
    pub(crate) fn frame_ms(&self) -> f64 {
        self.frame_ms
    }

    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("a daemon wrote no {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a report", file.display()))
    }
}

/// Everything that the demonstration found.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    seconds: f64,
    estoi: f64,
    estoi_offline: f64,
    likeness: f64,
    covered: f64,
    pub(crate) raw_kbps: f64,
    coded_kbps: f64,
    pub(crate) wire_kbps: f64,
    latency_ms: Percentiles,
    encode_us: Percentiles,
    decode_us: Percentiles,
    frames: SideFrames,
}

/// What `--report` writes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    estoi: f64,
    estoi_offline: f64,
    raw_kbps: f64,
    coded_kbps: f64,
    wire_kbps: f64,
    latency_ms: Percentiles,
    frame_us: FrameTimes,
    frames: ReportFrames,
}

#[derive(Debug, Serialize)]
struct FrameTimes {
    encode_p50: f64,
    encode_p99: f64,
    decode_p50: f64,
    decode_p99: f64,
}

#[derive(Debug, Serialize)]
struct ReportFrames {
    sent: u64,
    played: u64,
    lost: u64,
    late: u64,
}

impl Figures {
    pub(crate) fn new(
        sender: &Side,
        receiver: &Side,
        captured: &Timeline,
        played: &Timeline,
        heard: &Comparison,
        estoi_offline: f64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            seconds: sender.media_seconds,
            estoi: heard.estoi,
            estoi_offline,
            likeness: heard.alignment.correlation,
            covered: heard.covered,
            raw_kbps: sender.raw_kbps,
            coded_kbps: sender.coded_kbps,
            wire_kbps: sender.wire_kbps,
            latency_ms: latency(sender, receiver, captured, played)?,
            encode_us: sender.encode_us,
            decode_us: receiver.decode_us,
            frames: SideFrames { sent: sender.frames.sent, ..receiver.frames.clone() },
        })
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            estoi: self.estoi,
            estoi_offline: self.estoi_offline,
            raw_kbps: self.raw_kbps,
            coded_kbps: self.coded_kbps,
            wire_kbps: self.wire_kbps,
            latency_ms: self.latency_ms,
            frame_us: FrameTimes {
                encode_p50: self.encode_us.p50,
                encode_p99: self.encode_us.p99,
                decode_p50: self.decode_us.p50,
                decode_p99: self.decode_us.p99,
            },
            frames: ReportFrames {
                sent: self.frames.sent,
                played: self.frames.played,
                lost: self.frames.lost,
                late: self.frames.late,
            },
        }
    }

    /// Whether play-out waited or hurried, which on the way from a machine to itself is for want of its time.
    pub(crate) fn was_disturbed(&self) -> bool {
        self.frames.held + self.frames.skipped > 0
    }

    /// Fails, and says why, if what arrived is not the speech that was sent, or not as good as it must be.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let frames = &self.frames;
        if frames.sent == 0 || frames.played == 0 {
            bail!("no speech arrived: {} frames were sent and {} played", frames.sent, frames.played);
        }
        if self.covered < 0.95 {
            bail!("only {:.0} % of the speech arrived", 100.0 * self.covered);
        }
        if self.likeness < LEAST_LIKENESS || self.estoi < LEAST_ESTOI {
            bail!(
                "what arrived is not the speech that was sent: likeness {:.2} (at least {LEAST_LIKENESS}), ESTOI {:.3} (at \
                 least {LEAST_ESTOI})",
                self.likeness,
                self.estoi
            );
        }
        if frames.lost as f64 > MOST_LOST * frames.sent as f64 {
            bail!("{} of {} frames were lost on the way from this machine to itself", frames.lost, frames.sent);
        }
        if frames.played + frames.lost + frames.skipped < frames.sent {
            bail!("of {} frames only {} were played or are accounted for", frames.sent, frames.played);
        }
        // What was lost may cost as much on top as if it were silence.
        let missing = (frames.lost + frames.skipped) as f64 / frames.sent as f64;
        // Where play-out had to wait for a packet, what follows lies later than what came before, and the score, which knows
        // but one lag, counts that as unlike: it says nothing then.
        if frames.held == 0 && self.estoi_offline - self.estoi > MOST_DIFFERENCE + missing {
            bail!(
                "the call has ESTOI {:.3}, more than {MOST_DIFFERENCE} under the {:.3} of the same codec without a network",
                self.estoi,
                self.estoi_offline
            );
        }
        Ok(())
    }
}

/// Mouth to ear: from the first sample of a frame at the source to the moment that the sink plays what renders it.
fn latency(sender: &Side, receiver: &Side, captured: &Timeline, played: &Timeline) -> anyhow::Result<Percentiles> {
    let mut delays: Vec<f64> = captured
        .captured
        .iter()
        .filter_map(|(frame, &end)| {
            let heard = *played.played.get(frame)? as f64 / 1e6;
            // The source tells when a frame's last sample came; its first came a frame earlier. The decoder renders a frame
            // so much later than the span of the frame itself.
            Some(heard + receiver.algorithmic_delay_ms - (end as f64 / 1e6 - sender.frame_ms))
        })
        .collect();
    if delays.is_empty() {
        bail!("no frame was both captured and played");
    }
    delays.sort_by(f64::total_cmp);
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part).round() as usize];
    Ok(Percentiles { p50: at(0.5), p99: at(0.99) })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encode_us, decode_us, latency_ms, frames, .. } = self;
        writeln!(f, "duration     {:.1} s", self.seconds)?;
        writeln!(
            f,
            "bitrate      {:.2} kbps raw, {:.2} coded, {:.2} on the wire with every header",
            self.raw_kbps, self.coded_kbps, self.wire_kbps
        )?;
        writeln!(
            f,
            "a run        {:.0} us to encode (p99 {:.0}), {:.0} us to decode (p99 {:.0})",
            encode_us.p50, encode_us.p99, decode_us.p50, decode_us.p99
        )?;
        writeln!(f, "latency      {:.0} ms from mouth to ear (p99 {:.0})", latency_ms.p50, latency_ms.p99)?;
        writeln!(
            f,
            "frames       {} sent, {} played, {} lost ({} of them late)",
            frames.sent, frames.played, frames.lost, frames.late
        )?;
        if self.was_disturbed() {
            writeln!(
                f,
                "             play-out waited {} times and hurried {} times: this machine was busy",
                frames.held, frames.skipped
            )?;
        }
        writeln!(
            f,
            "ESTOI        {:.3} received, {:.3} by the same codec without a network",
            self.estoi, self.estoi_offline
        )
    }
}

#[cfg(test)]
mod tests {
    use parlo_score::Alignment;

    use super::*;

    fn side(sent: u64, played: u64, lost: u64) -> Side {
        let frames = SideFrames { sent, played, lost, late: 0, skipped: 0, held: 0 };
        let us = Percentiles { p50: 500.0, p99: 900.0 };
        Side {
            media_seconds: 6.8,
            frame_ms: 20.0,
            algorithmic_delay_ms: 20.0,
            frames,
            raw_kbps: 3.0,
            coded_kbps: 3.1,
            wire_kbps: 7.6,
            encode_us: us,
            decode_us: us,
        }
    }

    fn timelines() -> (Timeline, Timeline) {
        let ms = |ms: u64| ms * 1_000_000;
        let captured = (0..100).map(|n| (n, ms(1020 + 20 * n))).collect();
        // 100 ms after the frame's last sample, and a straggler.
        let played = (0..100).map(|n| (n, ms(1120 + 20 * n + if n == 50 { 80 } else { 0 }))).collect();
        (Timeline { captured, ..Timeline::default() }, Timeline { played, ..Timeline::default() })
    }

    fn figures(estoi: f64, likeness: f64, covered: f64, receiver: &Side) -> Figures {
        let (captured, played) = timelines();
        let alignment = Alignment { lag_samples: 0, correlation: likeness };
        let heard = Comparison { alignment, estoi, covered };
        Figures::new(&side(340, 0, 0), receiver, &captured, &played, &heard, 0.69).unwrap()
    }

    #[test]
    fn latency_is_from_the_first_sample_in_to_the_sample_that_renders_it() {
        let figures = figures(0.69, 0.9, 1.0, &side(0, 340, 0));
        // 100 ms on the way, 20 ms of frame, 20 ms of decoder.
        assert_eq!(figures.latency_ms, Percentiles { p50: 140.0, p99: 140.0 });
        assert!(figures.verdict().is_ok());
        let empty = Timeline::default();
        assert!(latency(&side(1, 1, 0), &side(1, 1, 0), &empty, &empty).is_err());
    }

    #[test]
    fn what_is_wrong_fails_loudly() {
        let good = side(0, 340, 0);
        for (figures, part) in [
            (figures(0.69, 0.2, 1.0, &good), "not the speech"),
            (figures(0.1, 0.9, 1.0, &good), "not the speech"),
            (figures(0.69, 0.9, 0.5, &good), "only 50 %"),
            (figures(0.66, 0.9, 1.0, &good), "without a network"),
            (figures(0.69, 0.9, 1.0, &side(0, 0, 0)), "no speech"),
            (figures(0.69, 0.9, 1.0, &side(0, 300, 40)), "lost"),
            (figures(0.69, 0.9, 1.0, &side(0, 300, 0)), "accounted for"),
            (figures(0.60, 0.9, 1.0, &side(0, 335, 5)), "without a network"),
        ] {
            let complaint = figures.verdict().unwrap_err().to_string();
            assert!(complaint.contains(part), "{complaint}");
        }
        // With a few frames lost the score may be lower.
        assert!(figures(0.66, 0.9, 1.0, &side(0, 335, 5)).verdict().is_ok());
    }

    #[test]
    fn the_report_has_the_promised_names() {
        let report = serde_json::to_value(figures(0.69, 0.9, 1.0, &side(0, 340, 0)).report()).unwrap();
        for path in [
            "/estoi",
            "/raw_kbps",
            "/coded_kbps",
            "/wire_kbps",
            "/latency_ms/p50",
            "/latency_ms/p99",
            "/frame_us/encode_p50",
            "/frame_us/encode_p99",
            "/frame_us/decode_p50",
            "/frame_us/decode_p99",
            "/frames/sent",
            "/frames/played",
            "/frames/lost",
            "/frames/late",
        ] {
            assert!(report.pointer(path).is_some_and(serde_json::Value::is_number), "{path}");
        }
    }
}
