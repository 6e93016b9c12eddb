//! The range coder: each symbol narrows an interval of numbers by its share, and a payload is the shortest number that
//! lies in the last interval.
//!
//! The arithmetic is that of `constriction`'s range coder with words of 32 bits and a state of 64: shifts, products,
//! quotients and wrapping sums of `u32` and `u64` alone, no floats; `usize` only counts words held back. Words become
//! bytes here, most significant first. So payloads are the same on machines of 32 and 64 bits and of either endianness.

use std::{borrow::Borrow, cell::Cell, convert::Infallible, num::NonZeroU32};

use constriction::{
    Queue,
    backends::{ReadWords, WriteWords},
    stream::{
        Decode, Encode,
        model::{DecoderModel, EncoderModel, EntropyModel},
        queue::{EncoderSituation, RangeCoderState, RangeDecoder, RangeEncoder},
    },
};

/// Frequencies are shares of two to the power of this.
pub(super) const PRECISION: usize = 24;
/// The sum of all frequencies of a table.
pub(super) const TOTAL: u32 = 1 << PRECISION;

/// A payload that no [`RangeWriter`] makes, whatever the symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload lies outside every symbol's interval: it is damaged")]
pub(crate) struct RangeError;

/// Turns symbols, given as intervals of 0..2^24, into bytes.
///
/// Reuses its memory from payload to payload.
#[derive(Debug, Default)]
pub(crate) struct RangeWriter {
    encoder: RangeEncoder<u32, u64, Sink>,
}

impl RangeWriter {
    /// A writer with memory for payloads of this many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let sink = Sink(Vec::with_capacity(bytes));
        Self { encoder: RangeEncoder::from_raw_parts(sink, RangeCoderState::default(), EncoderSituation::Normal) }
    }

    /// Adds the symbol that owns `low..low + frequency` of 0..2^24. `frequency` is at least 1; with any other interval
    /// the payload decodes to something else.
    pub(crate) fn push(&mut self, low: u32, frequency: u32) {
        debug_assert!(is_interval(low, frequency), "{low}, {frequency}");
        // The sink takes everything, so that an empty interval is the one thing that could be refused.
        let _ = self.encoder.encode_symbol((), Share { low, frequency });
    }

    /// Appends the payload to `out`, and starts the next one.
    ///
    /// No shorter one decodes to the same symbols: it takes less than a byte more than their information, a third of
    /// one on average. The last byte is not zero: a reader finds zeros past the end.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.close(|payload| out.extend_from_slice(payload));
    }

    /// Whether [`finish`](Self::finish) would make exactly this payload; starts the next one.
    ///
    /// Who decodes pushes here each interval that was taken, and so finds out whether the payload is the only one that
    /// stands for these symbols.
    pub(crate) fn finish_matches(&mut self, payload: &[u8]) -> bool {
        self.close(|own| own == payload)
    }

    /// Drops what was pushed, and starts the next payload.
    pub(crate) fn clear(&mut self) {
        self.close(|_| ());
    }

    fn close<T>(&mut self, with: impl FnOnce(&[u8]) -> T) -> T {
        // Taken apart and put together again: the crate's own `clear` does not forget that words are held back.
        let (mut sink, state, situation) = std::mem::take(&mut self.encoder).into_raw_parts();
        sink.end(state, situation);
        let result = with(&sink.0);
        sink.0.clear();
        self.encoder = RangeEncoder::from_raw_parts(sink, RangeCoderState::default(), EncoderSituation::Normal);
        result
    }
}

/// Takes symbols back out of a payload.
#[derive(Debug)]
pub(crate) struct RangeReader<'a> {
    decoder: RangeDecoder<u32, u64, WordSource<'a>>,
}

impl<'a> RangeReader<'a> {
    /// A reader of this payload, which goes on for ever in zeros.
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        let Ok(decoder) = RangeDecoder::with_backend(WordSource(payload));
        Self { decoder }
    }

    /// Takes the next symbol. `find` is told a number below 2^24, and answers with the symbol whose interval holds
    /// it, where that begins, and its frequency; the same is returned.
    ///
    /// # Errors
    /// If no encoder gets here, or the answer is no interval that holds the number.
    pub(crate) fn take(
        &mut self,
        find: impl FnOnce(u32) -> (usize, u32, u32),
    ) -> Result<(usize, u32, u32), RangeError> {
        self.decoder.decode_symbol(Finder(Cell::new(Some(find)))).ok().flatten().ok_or(RangeError)
    }
}

fn is_interval(low: u32, frequency: u32) -> bool {
    low < TOTAL && (1..=TOTAL - low).contains(&frequency)
}

/// Where the encoder's words go.
#[derive(Debug, Default)]
struct Sink(Vec<u8>);

impl Sink {
    /// Writes the shortest number in the encoder's interval, less the words that are there already.
    fn end(&mut self, state: RangeCoderState<u32, u64>, situation: EncoderSituation<u32>) {
        let low = u128::from(state.lower());
        let end = low + u128::from(state.range().get());
        // An interval is at least a word wide: the first four bytes are always enough, and often fewer are.
        let shortest = (0..4).map(|bytes| low.next_multiple_of(1 << (64 - 8 * bytes))).find(|&number| number < end);
        let number = shortest.unwrap_or_else(|| low.next_multiple_of(1 << 32));
        if let EncoderSituation::Inverted(count, first) = situation {
            // The interval reaches across a carry. A number beyond it has zeros from there on, and so is always the
            // shortest.
            let (first, others) = if number >> 64 == 0 { (first, u32::MAX) } else { (first.wrapping_add(1), 0) };
            self.word(first);
            (1..count.get()).for_each(|_| self.word(others));
        }
        self.word((number >> 32) as u32);
        self.0.truncate(self.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
    }

    fn word(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_be_bytes());
    }
}

impl WriteWords<u32> for Sink {
    type WriteError = Infallible;

    fn write(&mut self, word: u32) -> Result<(), Infallible> {
        self.word(word);
        Ok(())
    }
}

/// Where the decoder's words come from: the bytes not yet read.
#[derive(Debug)]
struct WordSource<'a>(&'a [u8]);

impl ReadWords<u32, Queue> for WordSource<'_> {
    type ReadError = Infallible;

    fn read(&mut self) -> Result<Option<u32>, Infallible> {
        let (now, later) = self.0.split_at(self.0.len().min(4));
        let mut word = [0; 4];
        word[..now.len()].copy_from_slice(now);
        self.0 = later;
        // Past the end the decoder takes zeros by itself.
        Ok((!now.is_empty()).then(|| u32::from_be_bytes(word)))
    }
}

/// What the encoder must know of a table: the part that one symbol owns.
struct Share {
    low: u32,
    frequency: u32,
}

impl EntropyModel<PRECISION> for Share {
    type Symbol = ();
    type Probability = u32;
}

impl EncoderModel<PRECISION> for Share {
    fn left_cumulative_and_probability(&self, _: impl Borrow<()>) -> Option<(u32, NonZeroU32)> {
        Some((self.low, NonZeroU32::new(self.frequency)?))
    }
}

/// What the decoder must know of a table: a search that is made once.
struct Finder<F>(Cell<Option<F>>);

impl<F: FnOnce(u32) -> (usize, u32, u32)> EntropyModel<PRECISION> for Finder<F> {
    type Symbol = Option<(usize, u32, u32)>;
    type Probability = u32;
}

impl<F: FnOnce(u32) -> (usize, u32, u32)> DecoderModel<PRECISION> for Finder<F> {
    fn quantile_function(&self, quantile: u32) -> (Self::Symbol, u32, NonZeroU32) {
        let found = self.0.take().map(|find| find(quantile));
        let found = found.filter(|&(_, low, frequency)| is_interval(low, frequency));
        match found.and_then(|(_, low, frequency)| Some((low, NonZeroU32::new(frequency)?))) {
            Some((low, frequency)) if (low..low + frequency.get()).contains(&quantile) => (found, low, frequency),
            // The decoder must be told something that holds the number.
            _ => (None, quantile, NonZeroU32::MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What rounding loses, in bytes, at most: of an interval of 2^32 or more, less than 2^-8 at each of 600 symbols.
    const LOST: f64 = 0.43;

    /// Where each symbol's interval begins, and the total.
    type Table = Vec<u32>;

    fn table() -> impl Strategy<Value = Table> {
        let bound = prop_oneof![1..TOTAL, 1_u32..20, TOTAL - 20..TOTAL];
        prop::collection::btree_set(bound, 0..60).prop_map(|inner| {
            let mut bounds = vec![0];
            bounds.extend(inner);
            bounds.push(TOTAL);
            bounds
        })
    }

    fn interval(table: &Table, symbol: usize) -> (u32, u32) {
        (table[symbol], table[symbol + 1] - table[symbol])
    }

    fn find(table: &Table, quantile: u32) -> (usize, u32, u32) {
        let symbol = table.partition_point(|&bound| bound <= quantile) - 1;
        let (low, frequency) = interval(table, symbol);
        (symbol, low, frequency)
    }

    /// Tables to be used in turn, and symbols: as likely as the tables say, or any.
    fn messages(most: usize) -> impl Strategy<Value = (Vec<Table>, Vec<usize>)> {
        let tables = prop::collection::vec(table(), 1..4);
        (tables, prop::collection::vec((0..TOTAL, any::<bool>()), 0..=most)).prop_map(|(tables, draws)| {
            let symbols = draws.iter().zip(tables.iter().cycle());
            let symbols = symbols.map(
                |(&(draw, likely), table)| {
                    if likely { find(table, draw).0 } else { draw as usize % (table.len() - 1) }
                },
            );
            let symbols = symbols.collect();
            (tables, symbols)
        })
    }

    fn intervals(tables: &[Table], symbols: &[usize]) -> Vec<(u32, u32)> {
        symbols.iter().zip(tables.iter().cycle()).map(|(&symbol, table)| interval(table, symbol)).collect()
    }

    fn encode(intervals: &[(u32, u32)]) -> Vec<u8> {
        let (mut writer, mut payload) = (RangeWriter::default(), Vec::new());
        intervals.iter().for_each(|&(low, frequency)| writer.push(low, frequency));
        writer.finish(&mut payload);
        payload
    }

    fn decode(payload: &[u8], tables: &[Table], count: usize) -> Result<Vec<usize>, RangeError> {
        let mut reader = RangeReader::new(payload);
        let turns = tables.iter().cycle().take(count);
        turns.map(|table| Ok(reader.take(|quantile| find(table, quantile))?.0)).collect()
    }

    fn bytes_of_information(intervals: &[(u32, u32)]) -> f64 {
        intervals.iter().map(|&(_, frequency)| f64::from(PRECISION as u32) - f64::from(frequency).log2()).sum::<f64>()
            / 8.0
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((tables, symbols) in messages(600)) {
            let intervals = intervals(&tables, &symbols);
            let payload = encode(&intervals);
            prop_assert_eq!(decode(&payload, &tables, symbols.len()), Ok(symbols));
            prop_assert!(payload.len() as f64 <= (bytes_of_information(&intervals) + LOST).ceil());
            let mut writer = RangeWriter::default();
            for writes in 0..3 {
                let mut again = vec![7; writes];
                intervals.iter().for_each(|&(low, frequency)| writer.push(low, frequency));
                writer.finish(&mut again);
                prop_assert_eq!(&again[writes..], &payload[..]);
            }
        }

        #[test]
        fn nothing_shorter_is_read_alike((tables, symbols) in messages(60)) {
            let payload = encode(&intervals(&tables, &symbols));
            prop_assert_ne!(payload.last(), Some(&0));
            let alike = |other: &[u8]| decode(other, &tables, symbols.len()).as_ref() == Ok(&symbols);
            for length in 0..payload.len() {
                prop_assert!(!alike(&payload[..length]));
            }
            if let Some((&last, rest)) = payload.split_last() {
                // Nor anything less of the same length, nor the next number of one byte less: between them lies every
                // shorter one.
                prop_assert!(!alike(&[rest, &[last - 1]].concat()));
                let mut next = rest.to_vec();
                while let Some(byte) = next.pop() {
                    if let Some(more) = byte.checked_add(1) {
                        next.push(more);
                        break;
                    }
                }
                prop_assert!(next.is_empty() || !alike(&next));
            }
        }

        #[test]
        fn any_bytes_give_symbols_or_an_error(
            payload: Vec<u8>, tables in prop::collection::vec(table(), 1..4), count in 0_usize..600,
        ) {
            if let Ok(symbols) = decode(&payload, &tables, count) {
                let intervals = intervals(&tables, &symbols);
                let own = encode(&intervals);
                let mut writer = RangeWriter::default();
                intervals.iter().for_each(|&(low, frequency)| writer.push(low, frequency));
                prop_assert_eq!(writer.finish_matches(&payload), own == payload);
                prop_assert_eq!(decode(&own, &tables, count), Ok(symbols));
            }
        }

        #[test]
        fn any_answer_gives_a_symbol_or_an_error(
            payload: Vec<u8>, answers in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u8>()), 0..100),
        ) {
            let mut reader = RangeReader::new(&payload);
            for (low, frequency, shift) in answers {
                let mut asked = 0;
                let taken = reader.take(|quantile| {
                    asked = quantile;
                    (3, low >> (shift % 32), frequency >> (shift / 8))
                });
                prop_assert!(asked < TOTAL);
                if let Ok((symbol, low, frequency)) = taken {
                    prop_assert_eq!(symbol, 3);
                    prop_assert!((low..low + frequency).contains(&asked) && low + frequency <= TOTAL);
                }
            }
        }

        #[test]
        fn only_the_writers_own_payload_matches((tables, symbols) in messages(60), at: usize, bit in 0_u32..8) {
            let intervals = intervals(&tables, &symbols);
            let payload = encode(&intervals);
            let mut writer = RangeWriter::default();
            let mut matches = |other: &[u8]| {
                intervals.iter().for_each(|&(low, frequency)| writer.push(low, frequency));
                writer.finish_matches(other)
            };
            prop_assert!(matches(&payload));
            prop_assert!(!matches(&[&payload[..], &[0]].concat()));
            prop_assert!(!matches(&[&payload[..], &[1]].concat()));
            if !payload.is_empty() {
                let mut other = payload.clone();
                other[at % payload.len()] ^= 1_u8 << bit;
                prop_assert!(!matches(&other));
            }
        }
    }

    #[test]
    fn a_packet_takes_a_third_of_a_byte_more_than_its_information() {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut draw = |below: u32| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (((random >> 32) * u64::from(below)) >> 32) as u32
        };
        // Some sharp, some flat, of 1024 symbols each.
        let tables: Vec<Table> = (0..16)
            .map(|sharpness| {
                let weights: Vec<f64> =
                    (0..1024).map(|rank| f64::from(rank + 1).powf(-0.1 * f64::from(sharpness))).collect();
                let spare = f64::from(TOTAL - 1024) / weights.iter().sum::<f64>();
                let mut sum = 0.0;
                let inner = weights.iter().zip(1_u32..).map(|(weight, rank)| {
                    sum += weight;
                    (sum * spare) as u32 + rank
                });
                let mut table: Table = std::iter::once(0).chain(inner).collect();
                table[1024] = TOTAL;
                table
            })
            .collect();
        let (mut sum, mut most) = (0.0, f64::MIN);
        const PACKETS: u32 = 20_000;
        for _ in 0..PACKETS {
            let count = 18 + draw(19);
            let shares: Vec<_> = (0..count)
                .map(|_| {
                    let (_, low, frequency) = find(&tables[draw(16) as usize], draw(TOTAL));
                    (low, frequency)
                })
                .collect();
            let over = encode(&shares).len() as f64 - bytes_of_information(&shares);
            sum += over;
            most = f64::max(most, over);
        }
        let mean = sum / f64::from(PACKETS);
        println!("bytes over the information: mean {mean:.3}, most {most:.4}");
        assert!(mean < 0.35 && most < 1.01, "{mean}, {most}");
    }

    #[test]
    fn the_ends_of_what_can_be() {
        let tables = [vec![0, 1, TOTAL - 1, TOTAL], vec![0, 1, TOTAL], vec![0, TOTAL - 1, TOTAL], vec![0, TOTAL]];
        for table in tables {
            for symbol in 0..table.len() - 1 {
                for count in [0, 1, 2, 3, 4, 5, 17, 600] {
                    let symbols = vec![symbol; count];
                    let own = [table.clone()];
                    let intervals = intervals(&own, &symbols);
                    let payload = encode(&intervals);
                    assert!(payload.len() as f64 <= (bytes_of_information(&intervals) + LOST).ceil());
                    assert!(symbol > 0 || payload.is_empty());
                    assert_eq!(decode(&payload, &own, count), Ok(symbols));
                }
            }
        }
        assert!(encode(&[]).is_empty());
        assert_eq!(encode(&[(TOTAL / 2, TOTAL / 2)]), [0x80]);
        assert_eq!(encode(&[(0x12_3456, 1)]), [0x12, 0x34, 0x56]);
        // The coder's interval is a hair short of everything.
        let mut beyond = RangeReader::new(&[0xFF; 8]);
        assert_eq!(
            (beyond.take(|_| (0, 0, TOTAL)), beyond.take(|_| (0, 0, TOTAL))),
            (Err(RangeError), Err(RangeError))
        );
    }

    #[test]
    fn carries_reach_words_held_back() {
        // Narrows onto the middle from both sides, so that no word can be written; then falls to one of them, or not.
        let mut writer = RangeWriter::default();
        for held in 2..200 {
            for ending in [None, Some(-1), Some(1)] {
                let mut middle = RangeReader::new(&[0x80]);
                let mut shares = Vec::new();
                for _ in 0..held {
                    let (_, low, frequency) = middle.take(|quantile| (0, quantile - 128_000, 256_000)).unwrap();
                    writer.push(low, frequency);
                    shares.push((low, frequency));
                }
                assert!(writer.encoder.bulk().0.is_empty());
                if let Some(side) = ending {
                    let (low, frequency) = ((TOTAL / 2).saturating_add_signed(side * 5_120_000), 768);
                    writer.push(low, frequency);
                    shares.push((low, frequency));
                    assert!(held < 6 || !writer.encoder.bulk().0.is_empty());
                }
                let mut payload = Vec::new();
                writer.finish(&mut payload);
                match ending {
                    None => assert_eq!(payload, [0x80]),
                    Some(side) => assert_eq!(payload[0], if side < 0 { 0x7F } else { 0x80 }),
                }
                let mut reader = RangeReader::new(&payload);
                for (low, frequency) in shares {
                    assert_eq!(reader.take(|_| (0, low, frequency)), Ok((0, low, frequency)));
                }
            }
        }
    }
}
