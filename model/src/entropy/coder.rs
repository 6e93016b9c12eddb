//! Runs of frames to payloads and back, with the network's probabilities.

use std::fmt;

use parlo_tokens::{FrameSet, TokenFrame};

use super::{
    EntropyModel,
    distribution::Prediction,
    kernel::{Kernel, Lanes},
    kv_cache::{KvCache, View},
    network::Network,
    range::{PRECISION, RangeReader, RangeWriter},
    weights::Weights,
};
use crate::plain_coder::{CodingError, FrameCoder};

/// The most frames of one payload: 10 s. It bounds the time that any payload takes.
const MOST_FRAMES: usize = 500;

/// Codes frames by what an [`EntropyModel`] expects after the frames before them.
///
/// As a [`FrameCoder`], payloads stand alone: of frames before, only those of the same payload are known. In a call,
/// [`encode_in`](Self::encode_in) and [`decode_in`](Self::decode_in) build upon other frames that both sides hold, by
/// number: those that this coder encoded, decoded, or was told to [`remember`](Self::remember), each as it was last. What
/// is remembered of a frame follows from its codes, of its whole depth, alone. Frames are remembered until another comes
/// with a number that is a multiple of 512 away.
///
/// Computes with integers, the same on every machine, and does not allocate.
pub struct EntropyCoder {
    model: EntropyModel,
    network: Network,
    /// Frames of earlier packets, by number.
    kept: KvCache,
    /// Frames of the packet at hand.
    own: KvCache,
    writer: RangeWriter,
    bits: f64,
    /// What the network was last asked, if its answer still holds.
    asked: Option<(u64, FrameSet)>,
}

impl fmt::Debug for EntropyCoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntropyCoder").field("model", &self.model).finish_non_exhaustive()
    }
}

/// What a packet holds, besides the codes: copies of the coarsest codes of the frames right before its own, to repair what
/// was lost of them, and its own frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketShape {
    /// Number of the first of the packet's own frames.
    pub first: u64,
    /// How many own frames there are.
    pub count: usize,
    /// Codes of each.
    pub depth: usize,
    /// How many copies there are, of frames `first - copies` up to `first`.
    pub copies: usize,
    /// Codes of each copy.
    pub copy_depth: usize,
}

impl PacketShape {
    /// A packet without copies.
    pub const fn plain(first: u64, count: usize, depth: usize) -> Self {
        Self { first, count, depth, copies: 0, copy_depth: 0 }
    }
}

/// A packet's place among the others.
struct PacketPosition<'a> {
    /// Number of the first frame of its own.
    first: u64,
    /// How many copies come before that.
    copies: usize,
    /// Frames that it builds upon.
    context: &'a FrameSet,
    /// Whether its frames are to be remembered beyond it.
    keep: bool,
}

impl PacketPosition<'_> {
    const ALONE: Self = Self { first: 0, copies: 0, context: &FrameSet::EMPTY, keep: false };

    /// Number of the first copy, or of the first frame if there is none.
    fn start(&self) -> Result<u64, CodingError> {
        let count = || CodingError::Count { frames: self.copies, first: self.first, most: MOST_FRAMES };
        self.first.checked_sub(self.copies as u64).ok_or_else(count)
    }
}

impl EntropyCoder {
    /// A coder that remembers nothing yet.
    pub fn new(model: &EntropyModel) -> Self {
        let lanes = Lanes::new(Kernel::best());
        Self::with_lanes(model, lanes.unwrap_or_else(|| unreachable!("the best kernel is one that is available")))
    }

    /// The same, computed with these instructions; `None` if the processor lacks them. They make no difference but in speed.
    pub fn with_kernel(model: &EntropyModel, kernel: Kernel) -> Option<Self> {
        Lanes::new(kernel).map(|lanes| Self::with_lanes(model, lanes))
    }

    fn with_lanes(model: &EntropyModel, lanes: Lanes) -> Self {
        let weights = model.weights();
        let cache = || KvCache::new(weights.layers.len(), weights.width);
        let most_bytes = MOST_FRAMES * weights.layout.depth() * PRECISION / 8;
        Self {
            network: Network::new(weights, lanes),
            kept: cache(),
            own: cache(),
            // What ends a payload takes a word, and one may be held back.
            writer: RangeWriter::with_capacity(most_bytes + 16),
            bits: 0.0,
            asked: None,
            model: model.clone(),
        }
    }

    /// Appends the payload of frames `first`, `first + 1`, ..., which all have the same depth, to `out`, and remembers them.
    ///
    /// It builds upon those frames of `context` that lie before `first` and in the model's
    /// [`reach`](EntropyModel::reach), besides the payload's own.
    ///
    /// # Errors
    /// If the depths differ, a code lies outside its codebook, there are more than 500 frames, or a frame of the context
    /// is not remembered. All is then as before.
    pub fn encode_in(
        &mut self,
        first: u64,
        frames: &[TokenFrame],
        context: &FrameSet,
        out: &mut Vec<u8>,
    ) -> Result<(), CodingError> {
        self.encode_packet(first, &[], frames, context, out)
    }

    /// The same, with `copies` of the frames right before `first` in front: their coarsest codes, the same number of each.
    /// What is remembered of these frames stays as it was. All of the packet builds upon those frames of `context` that lie
    /// before the first copy.
    ///
    /// # Errors
    /// As [`encode_in`](Self::encode_in), for copies too; or if frames before number 0 would be copied.
    pub fn encode_packet(
        &mut self,
        first: u64,
        copies: &[TokenFrame],
        frames: &[TokenFrame],
        context: &FrameSet,
        out: &mut Vec<u8>,
    ) -> Result<(), CodingError> {
        self.write(&PacketPosition { first, copies: copies.len(), context, keep: true }, [copies, frames], out)
    }

    /// Appends the `count` frames of `depth` codes that `payload` holds to `out`, and remembers them as `first`,
    /// `first + 1`, ... . All arguments must be as they were for [`encode_in`](Self::encode_in).
    ///
    /// Takes bounded time and memory for any bytes whatever.
    ///
    /// # Errors
    /// If the payload cannot have come from `encode_in` with the same arguments, or a frame of the context is not
    /// remembered. All is then as before.
    pub fn decode_in(
        &mut self,
        first: u64,
        payload: &[u8],
        count: usize,
        depth: usize,
        context: &FrameSet,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        self.decode_packet(&PacketShape::plain(first, count, depth), payload, context, out)
    }

    /// Appends the copies that `payload` holds, and after them its frames, to `out`, and remembers the frames. All arguments
    /// must be as they were for [`encode_packet`](Self::encode_packet).
    ///
    /// Takes bounded time and memory for any bytes whatever.
    ///
    /// # Errors
    /// As [`decode_in`](Self::decode_in).
    pub fn decode_packet(
        &mut self,
        shape: &PacketShape,
        payload: &[u8],
        context: &FrameSet,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        let PacketShape { first, count, depth, copies, copy_depth } = *shape;
        self.read(
            &PacketPosition { first, copies, context, keep: true },
            payload,
            [(copies, copy_depth), (count, depth)],
            out,
        )
    }

    /// Appends the frames to `out` that a payload begins with of which only the `beginning` is there. Whatever follows it, the number that
    /// a payload is lies between the beginning with zeros behind it and with ones; what is the same in both is so in all between.
    pub(crate) fn decode_beginning(&mut self, shape: &PacketShape, beginning: &[u8], out: &mut Vec<TokenFrame>) {
        let model = self.model.clone();
        let weights = model.weights();
        let most = MOST_FRAMES.min(shape.count);
        if check_depth(weights, shape.depth).is_err() || check_count(0, most).is_err() {
            return;
        }
        let mut both = [Vec::new(), Vec::new()];
        for (frames, fill) in both.iter_mut().zip([0_u8, 0xFF]) {
            let mut payload = beginning.to_vec();
            // Beyond any payload of so many frames.
            payload.resize(beginning.len() + most * shape.depth * PRECISION / 8 + 16, fill);
            let Ok(view) = view(0, &FrameSet::EMPTY, weights, &self.kept) else { return };
            self.asked = None;
            // An error only ends it: what was read before stays.
            let _ = self.read_frames(
                weights,
                &PacketPosition::ALONE,
                view,
                &payload,
                [(0, 0), (most, shape.depth)],
                frames,
            );
            self.writer.clear();
        }
        let [low, high] = both;
        out.extend(low.iter().zip(&high).take_while(|(low, high)| low == high).map(|(frame, _)| *frame));
    }

    /// Remembers a frame that did not come, or go, by way of this coder.
    ///
    /// # Errors
    /// If it does not fit the codebooks.
    pub fn remember(&mut self, number: u64, frame: &TokenFrame) -> Result<(), CodingError> {
        let model = self.model.clone();
        let weights = model.weights();
        check_depth(weights, frame.depth())?;
        check_codes(weights, frame.codes())?;
        self.asked = None;
        self.network.begin();
        for (book, &code) in frame.codes().iter().enumerate() {
            self.network.take(weights, book, code);
        }
        self.network.remember(weights, &mut self.kept, number);
        Ok(())
    }

    /// Forgets all frames, as at the start of a call.
    pub fn forget(&mut self) {
        self.kept.forget();
        self.asked = None;
    }

    /// What is to be expected of frame `number` after its first `codes`: shares of the codes of the next book. It builds
    /// upon the frames of `context`, as a payload would.
    ///
    /// Asking for one book after another of the same frame with the same context costs little more than for one.
    ///
    /// # Errors
    /// If there is no next book, a code lies outside its codebook, or a frame of the context is not remembered.
    pub fn predict(&mut self, number: u64, context: &FrameSet, codes: &[u16]) -> Result<Prediction<'_>, CodingError> {
        let weights = self.model.weights();
        check_depth(weights, codes.len().saturating_add(1))?;
        check_codes(weights, codes)?;
        if self.asked != Some((number, *context)) {
            self.asked = None;
            let view = view(number, context, weights, &self.kept)?;
            self.network.ask(weights, [&self.kept, &self.own], &view);
            self.asked = Some((number, *context));
        }
        self.network.begin();
        for (book, &code) in codes.iter().enumerate() {
            self.network.take(weights, book, code);
        }
        Ok(self.network.predict(weights, codes.len()))
    }

    /// How many bits of information the model says that the last payload holds; the payload takes up to a byte more.
    /// Only to be shown: nothing is computed from it.
    pub fn bits(&self) -> f64 {
        self.bits
    }

    fn write(
        &mut self,
        position: &PacketPosition<'_>,
        runs: [&[TokenFrame]; 2],
        out: &mut Vec<u8>,
    ) -> Result<(), CodingError> {
        let model = self.model.clone();
        let weights = model.weights();
        let count = runs[0].len() + runs[1].len();
        if count == 0 {
            self.bits = 0.0;
            return Ok(());
        }
        let start = position.start()?;
        check_count(start, count)?;
        for run in runs {
            let depth = run.first().map_or(1, TokenFrame::depth);
            check_depth(weights, depth)?;
            for frame in run {
                if frame.depth() != depth {
                    return Err(CodingError::MixedDepths { first: depth, other: frame.depth() });
                }
                check_codes(weights, frame.codes())?;
            }
        }
        let mut view = view(start, position.context, weights, &self.kept)?;
        self.asked = None;
        self.bits = 0.0;
        for (at, frame) in runs.into_iter().flatten().enumerate() {
            self.network.ask(weights, [&self.kept, &self.own], &view);
            for (book, &code) in frame.codes().iter().enumerate() {
                let (low, frequency) = self.network.predict(weights, book).interval(usize::from(code));
                self.writer.push(low, frequency);
                self.bits += information(frequency);
                self.network.take(weights, book, code);
            }
            self.end_frame(weights, position, &mut view, at + 1 == count);
        }
        self.writer.finish(out);
        self.end_packet(position, runs[1].len());
        Ok(())
    }

    /// `runs`: how many copies and frames there are, and how many codes each of them has.
    fn read(
        &mut self,
        position: &PacketPosition<'_>,
        payload: &[u8],
        runs: [(usize, usize); 2],
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        let model = self.model.clone();
        let weights = model.weights();
        let [(copies, copy_depth), (frames, depth)] = runs;
        check_depth(weights, depth)?;
        if copies > 0 {
            check_depth(weights, copy_depth)?;
        }
        let first = position.start()?;
        check_count(first, copies.saturating_add(frames))?;
        let view = view(first, position.context, weights, &self.kept)?;
        self.asked = None;
        let start = out.len();
        let result = self.read_frames(weights, position, view, payload, runs, out);
        // The one payload of these frames is the one that they are written as.
        let result = result
            .and_then(|bits| if self.writer.finish_matches(payload) { Ok(bits) } else { Err(CodingError::Damaged) });
        match result {
            Ok(bits) => {
                self.bits = bits;
                self.end_packet(position, frames);
                Ok(())
            }
            Err(error) => {
                self.writer.clear();
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// The information of the copies and frames that it appends to `out`; their intervals are left in the writer.
    fn read_frames(
        &mut self,
        weights: &Weights,
        position: &PacketPosition<'_>,
        mut view: View,
        payload: &[u8],
        [(copies, copy_depth), (frames, depth)]: [(usize, usize); 2],
        out: &mut Vec<TokenFrame>,
    ) -> Result<f64, CodingError> {
        let mut reader = RangeReader::new(payload);
        let mut codes = [0_u16; parlo_tokens::MAX_DEPTH];
        let mut bits = 0.0;
        let count = copies + frames;
        for at in 0..count {
            let depth = if at < copies { copy_depth } else { depth };
            self.network.ask(weights, [&self.kept, &self.own], &view);
            for (book, slot) in codes[..depth].iter_mut().enumerate() {
                let prediction = self.network.predict(weights, book);
                let taken = reader.take(|quantile| {
                    let code = prediction.find(quantile);
                    let (low, frequency) = prediction.interval(code);
                    (code, low, frequency)
                });
                let (code, low, frequency) = taken.map_err(|_| CodingError::Damaged)?;
                self.writer.push(low, frequency);
                bits += information(frequency);
                // A book has at most 2^16 codes.
                *slot = code as u16;
                self.network.take(weights, book, *slot);
            }
            let frame = TokenFrame::new(&codes[..depth]);
            out.push(frame.map_err(|_| CodingError::Depth { depth, most: weights.layout.depth() })?);
            self.end_frame(weights, position, &mut view, at + 1 == count);
        }
        Ok(bits)
    }

    /// Makes the frame whose codes were all taken one that the packet's next may look at.
    fn end_frame(&mut self, weights: &Weights, position: &PacketPosition<'_>, view: &mut View, last: bool) {
        if !last || position.keep {
            self.network.remember(weights, &mut self.own, view.number());
        }
        view.advance();
    }

    /// Keeps the packet's frames: only now is it known that all of them are good.
    fn end_packet(&mut self, position: &PacketPosition<'_>, count: usize) {
        if position.keep {
            for number in (position.first..).take(count) {
                self.kept.take(&self.own, number);
            }
        }
    }
}

impl FrameCoder for EntropyCoder {
    fn encode(&mut self, frames: &[TokenFrame], out: &mut Vec<u8>) -> Result<(), CodingError> {
        self.write(&PacketPosition::ALONE, [&[], frames], out)
    }

    fn decode(
        &mut self,
        payload: &[u8],
        count: usize,
        depth: usize,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        self.read(&PacketPosition::ALONE, payload, [(0, 0), (count, depth)], out)
    }
}

fn view(first: u64, context: &FrameSet, weights: &Weights, kept: &KvCache) -> Result<View, CodingError> {
    View::new(first, context, weights.reach, kept).map_err(|number| CodingError::Forgotten { number })
}

/// Bits of a symbol with this share of 2^24.
fn information(frequency: u32) -> f64 {
    PRECISION as f64 - f64::from(frequency).log2()
}

fn check_count(first: u64, frames: usize) -> Result<(), CodingError> {
    if frames > MOST_FRAMES || first.checked_add(frames as u64).is_none() {
        return Err(CodingError::Count { frames, first, most: MOST_FRAMES });
    }
    Ok(())
}

fn check_depth(weights: &Weights, depth: usize) -> Result<(), CodingError> {
    let most = weights.layout.depth();
    if depth == 0 || depth > most { Err(CodingError::Depth { depth, most }) } else { Ok(()) }
}

fn check_codes(weights: &Weights, codes: &[u16]) -> Result<(), CodingError> {
    for (book, (&code, &size)) in codes.iter().zip(weights.layout.sizes()).enumerate() {
        let code = u32::from(code);
        if code >= size {
            return Err(CodingError::Code { code, book, size });
        }
    }
    Ok(())
}
