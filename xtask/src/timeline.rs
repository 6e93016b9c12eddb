//! When frames passed the two ends of a call, as daemons write it.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, bail};

use crate::score::{Sound, compare};

/// When frames passed, in nanoseconds of the machine's monotonic clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    pub(crate) captured: HashMap<u64, u64>,
    pub(crate) played: HashMap<u64, u64>,
}

impl Timeline {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("a daemon wrote no {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a timeline", file.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut timeline = Self::default();
        for line in text.lines().skip(1) {
            let mut fields = line.split(',');
            let (Some(frame), Some(event), Some(at)) = (fields.next(), fields.next(), fields.next()) else {
                bail!("a line is \"{line}\"");
            };
            let moments = match event {
                "captured" => &mut timeline.captured,
                "played" => &mut timeline.played,
                other => bail!("there is an event \"{other}\""),
            };
            moments.insert(frame.parse()?, at.parse()?);
        }
        Ok(timeline)
    }
}

/// Speech by whose place in the whole the rest of it is placed, from the beginning, seconds.
const HEAD_SECONDS: f64 = 2.0;

impl Timeline {
    /// What was received, each frame at its own time: play-out may go faster or slower for a while to bring its delay to
    /// where it belongs, which is not heard, but which no comparison sample by sample forgives.
    pub(crate) fn retimed(&self, sent: &Sound, received: &Sound, frame_ms: f64) -> anyhow::Result<Sound> {
        let rate = f64::from(received.rate);
        let frame = (frame_ms * rate / 1000.0) as usize;
        let head = |sound: &Sound, seconds: f64| {
            let end = ((seconds * rate) as usize).min(sound.samples.len());
            Sound { samples: sound.samples[..end].to_vec(), rate: sound.rate }
        };
        let (said, came) = (head(sent, HEAD_SECONDS), head(received, HEAD_SECONDS + 2.0));
        let lag = compare(&said, &came)?.alignment.lag_samples;
        let first = self.played.keys().min().copied().context("nothing was played")?;
        let last = self.played.keys().max().copied().unwrap_or(first);
        let begin = self.played[&first];
        // The decoder's last frames render the end of the speech.
        let mut samples = vec![0.0; sent.samples.len().max((last as usize + 1) * frame)];
        for (&number, &at) in &self.played {
            let late = (at as i64).wrapping_sub(begin as i64) as f64 * 1e-9 * rate;
            let from = lag + (first as usize * frame) as i64 + late.round() as i64;
            let to = number as usize * frame;
            let there = usize::try_from(from).ok().and_then(|from| received.samples.get(from..from + frame));
            if let (Some(there), Some(place)) = (there, samples.get_mut(to..to + frame)) {
                place.copy_from_slice(there);
            }
        }
        Ok(Sound { samples, rate: received.rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_read_and_bad_ones_refused() {
        let timeline = Timeline::parse("frame,event,monotonic_ns\n3,captured,17\n3,played,19\n").unwrap();
        assert_eq!((timeline.captured[&3], timeline.played[&3]), (17, 19));
        for bad in ["x\n1,captured", "x\n1,eaten,5", "x\none,played,5"] {
            assert!(Timeline::parse(bad).is_err());
        }
    }
}
