//! Frames to blocks, and back.

use parlo_model::{Bundle, CodingError, ModelError, PacketCoder, Shape};
use parlo_protocol::file::{
    BlockTooLarge, Coding,
    streams::{Block, Codes, Mark, Run, Writer},
};
use parlo_tokens::{ComfortNoise, FrameSet, TokenFrame};

/// A frame of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// What became of it.
    pub(super) mark: Mark,
    /// Its codes, if there are any.
    pub(super) tokens: Option<TokenFrame>,
    /// What the background was like, if it was said.
    pub(super) noise: Option<ComfortNoise>,
}

impl Frame {
    /// Whether the same is to be said of both, up to their codes.
    fn is_like(&self, other: &Self) -> bool {
        let depth = |frame: &Self| frame.tokens.map(|tokens| tokens.depth());
        (self.mark, self.noise, depth(self)) == (other.mark, other.noise, depth(other))
    }
}

/// Why frames do not become a block.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlockError {
    #[error(transparent)]
    Coding(#[from] CodingError),
    #[error(transparent)]
    TooLarge(#[from] BlockTooLarge),
}

/// Makes blocks of frames and frames of blocks, each alone.
#[derive(Debug)]
pub(super) struct BlockCoder {
    coder: PacketCoder,
    /// Codes of all runs of a block, one after another.
    payloads: Vec<u8>,
    tokens: Vec<TokenFrame>,
}

impl BlockCoder {
    /// A coder for tokens of this bundle, coded so.
    ///
    /// # Errors
    /// If the entropy model cannot be read.
    pub(super) fn new(bundle: &Bundle, coding: Coding) -> Result<Self, ModelError> {
        let model = if coding == Coding::Plain { None } else { bundle.entropy_model()? };
        Ok(Self { coder: PacketCoder::new(*bundle.layout(), model.as_ref()), payloads: Vec::new(), tokens: Vec::new() })
    }

    /// Appends a block of these frames to `out`.
    ///
    /// # Errors
    /// If the frames do not fit the bundle, or one block. `out` is then as before.
    pub(super) fn encode(
        &mut self,
        writer: &mut Writer,
        stream: u8,
        time_ms: u32,
        frames: &[Frame],
        out: &mut Vec<u8>,
    ) -> Result<(), BlockError> {
        self.payloads.clear();
        let (mut context, mut ends, mut first) = (FrameSet::EMPTY, Vec::new(), 0);
        for run in frames.chunk_by(Frame::is_like) {
            self.tokens.clear();
            self.tokens.extend(run.iter().filter_map(|frame| frame.tokens));
            if !self.tokens.is_empty() {
                self.coder.encode(first, &[], &self.tokens, &context, &mut self.payloads)?;
                (first..first + run.len() as u64).for_each(|number| context.insert(number));
            }
            ends.push(self.payloads.len());
            first += run.len() as u64;
        }
        let mut start = 0;
        let runs = frames.chunk_by(Frame::is_like).zip(ends).map(|(run, end)| {
            let payload = &self.payloads[start..end];
            start = end;
            let codes = run[0].tokens.map(|tokens| Codes { depth: tokens.depth() as u8, payload });
            Run { mark: run[0].mark, count: run.len(), codes, noise: run[0].noise }
        });
        let runs: Vec<Run<'_>> = runs.collect();
        Ok(writer.block(stream, time_ms, &runs, out)?)
    }

    /// Appends a block's frames to `out`.
    ///
    /// # Errors
    /// If its codes are not such as [`encode`](Self::encode) makes. `out` has those before then.
    pub(super) fn decode(&mut self, block: &Block<'_>, out: &mut Vec<Frame>) -> Result<(), CodingError> {
        let (mut context, mut first) = (FrameSet::EMPTY, 0);
        for run in block.runs() {
            self.tokens.clear();
            if let Some(codes) = run.codes {
                let shape = Shape { first, count: run.count, depth: codes.depth.into(), copies: 0, copy_depth: 0 };
                self.coder.decode(&shape, codes.payload, &context, &mut self.tokens)?;
                (first..first + run.count as u64).for_each(|number| context.insert(number));
            }
            first += run.count as u64;
            let frame = |at| Frame { mark: run.mark, tokens: self.tokens.get(at).copied(), noise: run.noise };
            out.extend((0..run.count).map(frame));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parlo_protocol::file::{
        Header as Tokens,
        streams::{Header, Item, Reader, Stream},
    };
    use proptest::{prelude::*, strategy::ValueTree};

    fn shipped() -> Bundle {
        Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap()
    }

    fn frame(layout: parlo_tokens::CodeLayout) -> impl Strategy<Value = Frame> {
        let marks = [Mark::Real, Mark::Unsent, Mark::Coarse, Mark::Predicted, Mark::Silent, Mark::Waiting, Mark::Gap];
        let codes = prop::collection::vec(any::<u16>(), 1..=3).prop_map(move |codes| {
            let codes: Vec<u16> =
                codes.iter().zip(layout.sizes()).map(|(&code, &size)| (u32::from(code) % size) as u16).collect();
            TokenFrame::new(&codes).unwrap()
        });
        let noise = prop::option::weighted(0.1, (0..128_u8).prop_map(|level| ComfortNoise::new(level, [100; 8])));
        (prop::sample::select(marks.to_vec()), prop::option::weighted(0.8, codes), noise)
            .prop_map(|(mark, tokens, noise)| Frame { mark, tokens, noise })
    }

    #[test]
    fn frames_of_any_kind_come_back_in_both_codings() {
        let bundle = shipped();
        for coding in [Coding::Plain, Coding::Transformer] {
            let tokens = Tokens {
                bundle: bundle.id(),
                bundle_name: String::new(),
                sample_rate: 16_000,
                frame_samples: 320,
                depth: bundle.layout().depth() as u8,
                coding,
            };
            let streams = vec![Stream { id: 4, name: "x".into() }];
            let header = Header { tokens, created_ms: 0, streams, metadata: Vec::new() };
            // Coders that go on from block to block: blocks must not depend on what was before.
            let mut coder = BlockCoder::new(&bundle, coding).unwrap();
            let blocks = prop::collection::vec(prop::collection::vec(frame(*bundle.layout()), 1..30), 1..4);
            let mut runner = proptest::test_runner::TestRunner::deterministic();
            for _ in 0..12 {
                let blocks = blocks.new_tree(&mut runner).unwrap().current();
                let mut bytes = Vec::new();
                let mut writer = Writer::begin(&header, &mut bytes).unwrap();
                for frames in &blocks {
                    coder.encode(&mut writer, 4, 0, frames, &mut bytes).unwrap();
                }
                let mut reader = Reader::new();
                reader.push(&bytes);
                let mut found = Vec::new();
                while let Some(item) = reader.next_item().unwrap() {
                    if let Item::Block(block) = item {
                        let mut frames = Vec::new();
                        BlockCoder::new(&bundle, coding).unwrap().decode(&block, &mut frames).unwrap();
                        found.push(frames);
                    }
                }
                assert_eq!(found, blocks);
            }
        }
    }
}
