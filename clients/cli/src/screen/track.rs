//! What the screen remembers from one message to the next.

use std::collections::VecDeque;

use parlo_api::Mark;

/// Frames that a column of the strip stands for: 100 ms of them.
const FRAMES_A_COLUMN: usize = 5;
/// Columns that are remembered: wider than any terminal.
const COLUMNS: usize = 400;
/// How long a peak stands, seconds.
const PEAK_HELD_S: f64 = 1.5;
/// How fast it falls then, dB per second.
const PEAK_FALLS_DB: f64 = 20.0;
/// The least level, dBFS.
pub(crate) const SILENCE_DBFS: f32 = -120.0;

/// The highest level of late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Peak {
    level_dbfs: f32,
    at_s: f64,
}

impl Default for Peak {
    fn default() -> Self {
        Self { level_dbfs: SILENCE_DBFS, at_s: 0.0 }
    }
}

impl Peak {
    /// Takes a level in, dBFS, at a time, seconds.
    pub(crate) fn push(&mut self, level_dbfs: f32, at_s: f64) {
        let held = self.at(at_s);
        if level_dbfs >= held {
            *self = Self { level_dbfs, at_s };
        }
    }

    /// The peak as it stands at a time, dBFS.
    pub(crate) fn at(&self, at_s: f64) -> f32 {
        let falling_for = (at_s - self.at_s - PEAK_HELD_S).max(0.0);
        (f64::from(self.level_dbfs) - PEAK_FALLS_DB * falling_for).max(f64::from(SILENCE_DBFS)) as f32
    }
}

/// One call's recent past.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    /// What was heard, a column for each 100 ms, oldest first: the worst mark of its frames.
    pub(crate) columns: VecDeque<Mark>,
    partial: Option<(Mark, usize)>,
    /// Bits per frame, second by second, oldest first.
    pub(crate) bits: VecDeque<u64>,
    last_elapsed_s: Option<f64>,
}

impl Track {
    /// Takes in frames that were heard.
    pub(crate) fn heard(&mut self, marks: impl Iterator<Item = Mark>) {
        for mark in marks {
            let (worst, frames) = match self.partial {
                Some((worst, frames)) => (worse(worst, mark), frames + 1),
                None => (mark, 1),
            };
            if frames < FRAMES_A_COLUMN {
                self.partial = Some((worst, frames));
            } else {
                self.partial = None;
                push(&mut self.columns, worst);
            }
        }
    }

    /// Takes in a second's bits per frame. The same second twice counts once.
    pub(crate) fn second(&mut self, elapsed_s: f64, bits_per_frame: Option<f64>) {
        if self.last_elapsed_s != Some(elapsed_s) {
            self.last_elapsed_s = Some(elapsed_s);
            push(&mut self.bits, bits_per_frame.unwrap_or(0.0).round() as u64);
        }
    }
}

fn push<T>(past: &mut VecDeque<T>, value: T) {
    if past.len() == COLUMNS {
        past.pop_front();
    }
    past.push_back(value);
}

/// Which of two marks is worse to hear.
fn worse(one: Mark, other: Mark) -> Mark {
    let rank = |mark| match mark {
        Mark::Silent => 0,
        Mark::Real => 1,
        Mark::Held => 2,
        Mark::Coarse => 3,
        Mark::Predicted => 4,
        Mark::Faded => 5,
    };
    if rank(one) >= rank(other) { one } else { other }
}
