//! Sound from one thread to the other.

use ringbuf::{
    HeapCons, HeapProd, HeapRb,
    traits::{Consumer, Observer, Split},
};

/// Blocks that a ring holds.
const CAPACITY: usize = 32;

/// Blocks that wait before anything is taken: what the two threads may be apart, and one.
const START: usize = 2;

/// Blocks that wait at most; the threads were apart for a moment, and what is too much is left out.
const MOST: usize = 6;

/// The reading end of a ring between two threads that go at the same pace, but not at the same time. Where nothing is there in
/// time there is silence; where too much is there some is left out; neither clicks.
pub(super) struct BlockRing {
    ring: HeapCons<f32>,
    flowing: bool,
    /// What would have come next, while some is left out.
    before: Vec<f32>,
}

impl BlockRing {
    /// A ring for blocks of so many samples, and its writing end.
    pub(super) fn new(block: usize) -> (HeapProd<f32>, Self) {
        let (write, ring) = HeapRb::new(CAPACITY * block).split();
        (write, Self { ring, flowing: false, before: vec![0.0; block] })
    }

    /// Takes the next block into `out`, of the length said. Whether there is any sound.
    pub(super) fn pull(&mut self, out: &mut [f32]) -> bool {
        let (block, held) = (out.len(), self.ring.occupied_len());
        if !self.flowing && held < START * block {
            out.fill(0.0);
            return false;
        }
        if held < block {
            self.flowing = false;
            let taken = self.ring.pop_slice(out);
            fade(&mut out[..taken], |share| 1.0 - share);
            out[taken..].fill(0.0);
            return taken > 0;
        }
        if held > MOST * block {
            self.ring.pop_slice(&mut self.before);
            let waiting = self.ring.occupied_len();
            self.ring.skip(waiting.saturating_sub(START * block));
            self.ring.pop_slice(out);
            let step = 1.0 / block as f32;
            for (n, (sample, before)) in out.iter_mut().zip(&self.before).enumerate() {
                *sample = before + (*sample - before) * (n + 1) as f32 * step;
            }
        } else {
            self.ring.pop_slice(out);
        }
        if !self.flowing {
            self.flowing = true;
            fade(out, |share| share);
        }
        true
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.flowing = false;
    }
}

/// Multiplies each sample with what `gain` makes of its place, which goes from just above 0 to 1.
pub(super) fn fade(samples: &mut [f32], gain: impl Fn(f32) -> f32) {
    let step = 1.0 / samples.len().max(1) as f32;
    for (n, sample) in samples.iter_mut().enumerate() {
        *sample *= gain((n + 1) as f32 * step);
    }
}

#[cfg(test)]
mod tests {
    use ringbuf::traits::Producer;

    use super::*;

    #[test]
    fn what_goes_in_comes_out_after_a_block_and_gaps_do_not_click() {
        let (mut write, mut bridge) = BlockRing::new(10);
        let mut out = [9.0; 10];
        write.push_slice(&[1.0; 10]);
        assert!(!bridge.pull(&mut out) && out == [0.0; 10], "it waits for one more");
        write.push_slice(&[1.0; 10]);
        assert!(bridge.pull(&mut out));
        assert!(out.windows(2).all(|pair| pair[0] < pair[1]) && out[9] == 1.0, "{out:?}");
        for _ in 0..50 {
            write.push_slice(&[0.7; 10]);
            assert!(bridge.pull(&mut out));
        }
        assert_eq!(out, [0.7; 10], "untouched");
        // The writer stops.
        assert!(bridge.pull(&mut out));
        write.push_slice(&[0.7; 4]);
        assert!(bridge.pull(&mut out));
        assert!(out[0] < 0.7 && out[3] == 0.0 && out[9] == 0.0, "{out:?}");
        assert!(!bridge.pull(&mut out));
    }

    #[test]
    fn what_is_too_much_is_left_out_at_once_and_smoothly() {
        let (mut write, mut bridge) = BlockRing::new(10);
        let mut out = [0.0; 10];
        let ramp: Vec<f32> = (0..100).map(|n| n as f32).collect();
        write.push_slice(&ramp);
        assert!(bridge.pull(&mut out));
        assert_eq!(bridge.ring.occupied_len(), 10);
        assert!(bridge.pull(&mut out));
        assert_eq!(out[9], 99.0);
        bridge.clear();
        assert!(!bridge.pull(&mut out));
    }
}
