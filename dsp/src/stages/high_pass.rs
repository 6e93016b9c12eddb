//! What no voice needs: rumble, hum and direct current.

use sonora::high_pass_filter::HighPassFilter;

use super::slot::Stage;

/// Below this (-240 dBFS) an output of nothing but silence is silence.
const FADED: f32 = 1e-12;

/// WebRTC's filter, three second-order sections in cascade.
#[derive(Debug)]
pub(super) struct HighPass {
    filter: HighPassFilter,
    /// As the library wants it: a list of channels.
    channels: Vec<Vec<f32>>,
    /// Nothing but zeros came in since the filter rang out: it would go on with numbers so small that processors are slow at them.
    asleep: bool,
}

impl HighPass {
    pub(super) fn new(rate: u32, block: usize) -> Self {
        Self { filter: HighPassFilter::new(rate as i32, 1), channels: vec![vec![0.0; block]], asleep: false }
    }
}

impl Stage for HighPass {
    fn process(&mut self, block: &mut [f32]) {
        let silent = block.iter().all(|&sample| sample == 0.0);
        if silent && self.asleep {
            return;
        }
        self.channels[0].copy_from_slice(block);
        self.filter.process_channels(&mut self.channels);
        block.copy_from_slice(&self.channels[0]);
        self.asleep = silent && block.iter().all(|sample| sample.abs() < FADED);
        if self.asleep {
            block.fill(0.0);
        }
    }
}
