//! What the loudspeaker says must not come back through the microphone.

use sonora::{
    AudioProcessing, Config, StreamConfig,
    config::{EchoCanceller, MaxProcessingRate, Pipeline},
};
use sonora_aec3::{block::Block, block_processor::BlockProcessor, common::BLOCK_SIZE, config::EchoCanceller3Config};

use super::slot::{Stage, power};

/// The library's scale: 16-bit samples as floats.
const SCALE: f32 = 32_768.0;
/// From here on the library takes a microphone for overdriven.
const OVERDRIVEN: f32 = 32_700.0 / SCALE;
/// Samples of 10 ms at 16 kHz.
const NARROW: usize = 160;

/// WebRTC's echo canceller 3: finds the delay by matched filters, models the room with an adaptive filter in the frequency domain, and
/// weakens what is left band by band.
#[derive(Debug)]
pub(super) struct Echo {
    canceller: Canceller,
    /// Mean square of the last block for the loudspeaker.
    far_power: f32,
}

#[derive(Debug)]
enum Canceller {
    /// 16 kHz, which is one band of the canceller.
    One(Box<Blocks>),
    /// More bands, which the library splits and joins. Its own front does not let its settings be chosen.
    Several { processing: Box<AudioProcessing>, out: Vec<f32> },
}

impl Echo {
    pub(super) fn new(rate: u32, block: usize) -> Self {
        if block == NARROW {
            return Self { canceller: Canceller::One(Box::new(Blocks::new(rate))), far_power: 0.0 };
        }
        let canceller = EchoCanceller {
            // The high-pass before this one is on whenever this is.
            enforce_high_pass_filtering: false,
            ..EchoCanceller::default()
        };
        let processing = AudioProcessing::builder()
            .config(Config { echo_canceller: Some(canceller), pipeline: pipeline(), ..Config::default() })
            .capture_config(StreamConfig::new(rate, 1))
            .render_config(StreamConfig::new(rate, 1))
            .build();
        let canceller = Canceller::Several { processing: Box::new(processing), out: vec![0.0; block] };
        let mut echo = Self { canceller, far_power: 0.0 };
        // The library finishes its set-up at its first block.
        echo.process(&mut vec![0.0; block]);
        echo
    }

    /// A block for the loudspeaker.
    pub(super) fn far(&mut self, block: &[f32]) {
        self.far_power = power(block);
        match &mut self.canceller {
            Canceller::One(blocks) => blocks.far(block),
            Canceller::Several { processing, out } => {
                // Refuses formats only, and these were taken when it was built.
                let _ = processing.process_render_f32(&[block], &mut [out]);
            }
        }
    }

    /// Mean square of the last block for the loudspeaker.
    pub(super) fn far_power(&self) -> f32 {
        self.far_power
    }
}

impl Stage for Echo {
    fn process(&mut self, block: &mut [f32]) {
        match &mut self.canceller {
            Canceller::One(blocks) => blocks.near(block),
            Canceller::Several { processing, out } => {
                if processing.process_capture_f32(&[block], &mut [out]).is_ok() {
                    block.copy_from_slice(out);
                }
            }
        }
    }
}

/// The canceller works on blocks of 64 samples; two and a half of them come at a time.
#[derive(Debug)]
struct Blocks {
    processor: BlockProcessor,
    far: Pending,
    near: Pending,
    /// What the canceller is done with and nobody had yet: at most a half and three whole blocks.
    done: [f32; 4 * BLOCK_SIZE],
    waiting: usize,
}

/// A block that is being filled.
#[derive(Debug)]
struct Pending {
    block: Block,
    filled: usize,
}

impl Pending {
    fn new() -> Self {
        Self { block: Block::new(1, 1), filled: 0 }
    }

    /// Takes a sample; true if the block is full, and begins anew.
    fn take(&mut self, sample: f32) -> bool {
        self.block.view_mut(0, 0)[self.filled] = SCALE * sample.clamp(-1.0, 1.0);
        self.filled = (self.filled + 1) % BLOCK_SIZE;
        self.filled == 0
    }
}

impl Blocks {
    fn new(rate: u32) -> Self {
        Self {
            processor: BlockProcessor::new(&config(), rate as usize, 1, 1),
            far: Pending::new(),
            near: Pending::new(),
            done: [0.0; 4 * BLOCK_SIZE],
            // Half a block of silence ahead: a call that completes only two blocks then has 160 samples to give.
            waiting: BLOCK_SIZE / 2,
        }
    }

    fn far(&mut self, block: &[f32]) {
        for &sample in block {
            if self.far.take(sample) {
                self.processor.buffer_render(&self.far.block);
            }
        }
    }

    fn near(&mut self, block: &mut [f32]) {
        let overdriven = block.iter().any(|sample| sample.abs() >= OVERDRIVEN);
        for &sample in &*block {
            if self.near.take(sample) {
                self.processor.process_capture(false, overdriven, None, &mut self.near.block);
                for (to, from) in self.done[self.waiting..].iter_mut().zip(self.near.block.view(0, 0)) {
                    *to = (from / SCALE).clamp(-1.0, 1.0);
                }
                self.waiting += BLOCK_SIZE;
            }
        }
        block.copy_from_slice(&self.done[..NARROW]);
        self.done.copy_within(NARROW..self.waiting, 0);
        self.waiting -= NARROW;
    }
}

/// WebRTC's settings, but for what a room with a reverberation time of 0.3 s and two who speak at once need; `docs/lab/audio.md` has what each
/// was worth. The delay is left to the library's own estimator: nobody here knows the sound card's.
fn config() -> EchoCanceller3Config {
    let mut config = EchoCanceller3Config::default();
    // The modelled response is 100 ms long, not 52: less is left for the suppressor, which takes near speech along.
    for refined in [&mut config.filter.refined, &mut config.filter.refined_initial] {
        refined.length_blocks = 25;
    }
    for coarse in [&mut config.filter.coarse, &mut config.filter.coarse_initial] {
        coarse.length_blocks = 25;
    }
    // The adaptive filter is trusted with up to 10 dB at low and 6 at high frequencies, not with 6 and 2.
    config.erle.max_l = 10.0;
    config.erle.max_h = 4.0;
    // When the slow filter does worse than the fast one, as it does when somebody speaks at the microphone, it forgets less. Much
    // less still would be better for those who speak at once, and worse for clocks that run apart.
    config.filter.refined.leakage_diverged = 0.01;
    // The suppressor lets go by 5 dB each 4 ms, not by 3.
    config.suppressor.normal_tuning.max_inc_factor = 3.0;
    config.suppressor.nearend_tuning.max_inc_factor = 3.0;
    config
}

/// All bands are worked on, one channel.
pub(super) fn pipeline() -> Pipeline {
    Pipeline {
        maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
        multi_channel_render: false,
        multi_channel_capture: false,
        ..Pipeline::default()
    }
}
