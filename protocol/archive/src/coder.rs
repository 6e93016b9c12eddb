use parlo_model::{Bundle, CodingError, PacketCoder, PacketShape};
use parlo_protocol::ptk::{Block, Codes, Coding, Run};
use parlo_tokens::{CodeLayout, FrameSet, TokenFrame};

use crate::{error::ArchiveError, header::TimedFrame};

/// Makes payloads of frames, and frames of payloads, each block alone.
#[derive(Debug)]
pub struct Coder {
    packets: PacketCoder,
    layout: CodeLayout,
    tokens: Vec<TokenFrame>,
}

/// A coder for files with tokens of this bundle, coded so.
///
/// # Errors
/// If they are entropy-coded and the bundle has no entropy model, or it cannot be read.
pub fn coder(bundle: &Bundle, coding: Coding) -> Result<Coder, ArchiveError> {
    let model = match coding {
        Coding::Transformer => {
            let model = bundle.entropy_model()?;
            Some(model.ok_or_else(|| ArchiveError::NoEntropyModel(bundle.manifest().name.clone()))?)
        }
        _ => None,
    };
    let layout = *bundle.layout();
    Ok(Coder { packets: PacketCoder::new(layout, model.as_ref()), layout, tokens: Vec::new() })
}

/// The coding that takes the fewest bits with this bundle.
pub fn best_coding(bundle: &Bundle) -> Coding {
    if bundle.manifest().entropy.is_some() { Coding::Transformer } else { Coding::Plain }
}

impl Coder {
    /// A coder of plain payloads for codebooks of these sizes, without a bundle.
    pub fn plain(layout: CodeLayout) -> Self {
        Self { packets: PacketCoder::new(layout, None), layout, tokens: Vec::new() }
    }

    /// The codebooks.
    pub fn layout(&self) -> &CodeLayout {
        &self.layout
    }

    /// Appends the payload of frames of one depth to `out`.
    ///
    /// # Errors
    /// If their depths differ, or they do not fit the codebooks. `out` is then as before.
    pub fn encode(&mut self, frames: &[TokenFrame], out: &mut Vec<u8>) -> Result<(), CodingError> {
        self.packets.encode(0, &[], frames, &FrameSet::EMPTY, out)
    }

    /// Appends the `count` frames of `depth` codes that `payload` holds to `out`.
    ///
    /// # Errors
    /// If the payload is not what [`encode`](Self::encode) makes of so many frames. `out` is then as before.
    pub fn decode(
        &mut self,
        payload: &[u8],
        count: usize,
        depth: usize,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        self.packets.decode(&PacketShape::plain(0, count, depth), payload, &FrameSet::EMPTY, out)
    }

    /// Appends the frames that the beginning of a payload of `count` frames holds to `out`, as many as are the same whatever follows.
    pub fn decode_beginning(&mut self, beginning: &[u8], count: usize, depth: usize, out: &mut Vec<TokenFrame>) {
        self.packets.decode_beginning(&PacketShape::plain(0, count, depth), beginning, out);
    }

    /// Appends a block's frames, of `frame_ms` milliseconds each, to `out`.
    ///
    /// # Errors
    /// If its codes are none of this model's. `out` has the frames of the runs before then.
    pub fn decode_block(
        &mut self,
        block: &Block<'_>,
        frame_ms: f64,
        out: &mut Vec<TimedFrame>,
    ) -> Result<(), CodingError> {
        let (mut context, mut first) = (FrameSet::EMPTY, 0);
        for run in block.runs() {
            self.tokens.clear();
            if let Some(codes) = run.codes {
                let shape = PacketShape::plain(first, run.count, codes.depth.into());
                self.packets.decode(&shape, codes.payload, &context, &mut self.tokens)?;
                (first..first + run.count as u64).for_each(|number| context.insert(number));
            }
            out.extend((0..run.count).map(|at| TimedFrame {
                time_ms: block.start_ms + (first + at as u64) as f64 * frame_ms,
                mark: run.mark,
                codes: self.tokens.get(at).copied(),
                noise: run.noise,
            }));
            first += run.count as u64;
        }
        Ok(())
    }

    /// The runs of frames that become one block, for [`ptk::Writer`](parlo_protocol::ptk::Writer): those in a row of
    /// which the same is to be said, up to their codes. `payloads` takes their codes.
    ///
    /// # Errors
    /// If codes do not fit the codebooks.
    pub fn runs<'p>(&mut self, frames: &[TimedFrame], payloads: &'p mut Vec<u8>) -> Result<Vec<Run<'p>>, CodingError> {
        payloads.clear();
        let (mut context, mut ends, mut first) = (FrameSet::EMPTY, Vec::new(), 0);
        for run in frames.chunk_by(TimedFrame::is_like) {
            self.tokens.clear();
            self.tokens.extend(run.iter().filter_map(|frame| frame.codes));
            if !self.tokens.is_empty() {
                self.packets.encode(first, &[], &self.tokens, &context, payloads)?;
                (first..first + run.len() as u64).for_each(|number| context.insert(number));
            }
            ends.push(payloads.len());
            first += run.len() as u64;
        }
        let mut start = 0;
        let runs = frames.chunk_by(TimedFrame::is_like).zip(ends).map(|(run, end)| {
            let payload = &payloads[start..end];
            start = end;
            let codes = run[0].codes.map(|tokens| Codes { depth: tokens.depth() as u8, payload });
            Run { mark: run[0].mark, count: run.len(), codes, noise: run[0].noise }
        });
        Ok(runs.collect())
    }
}
