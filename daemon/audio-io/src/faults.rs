//! What is wrong with a sound file that is read all the same.

/// Sentences that are kept; what is more is counted.
const KEPT: usize = 5;

/// What was missing or damaged in a sound file. All else of it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    places: u64,
    silence: u64,
    told: Vec<String>,
}

impl Faults {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// Places where something was.
    pub fn places(&self) -> u64 {
        self.places
    }

    /// Sample frames of silence that stand for what is missing.
    pub fn silence(&self) -> u64 {
        self.silence
    }

    /// One sentence for each of the first places, to follow the file's name, and one for all others.
    pub fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        let more = self.places - self.told.len() as u64;
        self.told.iter().cloned().chain((more > 0).then(|| format!("{more} more places are damaged")))
    }

    pub(crate) fn add(&mut self, at_seconds: f64, what: &str) {
        self.places += 1;
        if self.told.len() < KEPT {
            self.told.push(format!("{at_seconds:.1} s in: {what}"));
        }
    }

    pub(crate) fn filled(&mut self, frames: u64) {
        self.silence += frames;
    }
}
