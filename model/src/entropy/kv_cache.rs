//! What is remembered of frames: each layer's key and value, in the order in which products take them.

use parlo_tokens::{FrameSet, WINDOW};

use super::matrix::{COLUMNS, ROWS, Tile};

/// Frames remembered: as far back as a packet looks that comes late, a window behind.
pub(super) const SLOTS: usize = 2 * WINDOW as usize;
/// Slots are taken 16 at a time.
pub(super) const CHUNKS: usize = SLOTS / ROWS;
/// A bit for each slot.
type Bits = [u16; CHUNKS];

/// The memories of frames by number: of two whose numbers are a multiple of 512 apart, the last that came.
pub(super) struct KvCache {
    width: usize,
    layers: usize,
    numbers: Vec<Option<u64>>,
    /// [layers, chunks, width / 4]: the 16 frames of a chunk are rows.
    keys: Vec<Tile>,
    /// [layers, chunks, width / 16, 4]: the 16 frames of a chunk are columns.
    values: Vec<Tile>,
}

fn slot(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

impl KvCache {
    pub(super) fn new(layers: usize, width: usize) -> Self {
        let tiles = vec![Tile::ZERO; layers * CHUNKS * (width / COLUMNS)];
        Self { width, layers, numbers: vec![None; SLOTS], keys: tiles.clone(), values: tiles }
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        self.numbers[slot(number)] == Some(number)
    }

    pub(super) fn forget(&mut self) {
        self.numbers.fill(None);
    }

    /// Keys of a chunk of 16 slots: a matrix of 16 rows for each head.
    pub(super) fn keys(&self, layer: usize, chunk: usize) -> &[Tile] {
        &self.keys[self.chunk(layer, chunk)..][..self.width / COLUMNS]
    }

    /// Values of a chunk of 16 slots: a matrix of 16 columns for each head.
    pub(super) fn values(&self, layer: usize, chunk: usize) -> &[Tile] {
        &self.values[self.chunk(layer, chunk)..][..self.width / COLUMNS]
    }

    fn chunk(&self, layer: usize, chunk: usize) -> usize {
        (layer * CHUNKS + chunk) * (self.width / COLUMNS)
    }

    /// Makes the slot of a frame its own. Its keys and values are those of the frame that was there until [`set`].
    ///
    /// [`set`]: Self::set
    pub(super) fn begin(&mut self, number: u64) {
        self.numbers[slot(number)] = Some(number);
    }

    /// Writes a frame's key and value in one layer.
    pub(super) fn set(&mut self, number: u64, layer: usize, key: &[i8], value: &[i8]) {
        let (at, row) = (self.chunk(layer, slot(number) / ROWS), slot(number) % ROWS);
        for (tile, &key) in self.keys[at..].iter_mut().zip(key.as_chunks().0) {
            tile.0.as_chunks_mut::<COLUMNS>().0[row] = key;
        }
        let bands = self.values[at..].as_chunks_mut::<{ ROWS / COLUMNS }>().0;
        for (band, values) in bands.iter_mut().zip(value.as_chunks::<ROWS>().0) {
            let tile = band[row / COLUMNS].0.as_chunks_mut::<COLUMNS>().0;
            tile.iter_mut().zip(values).for_each(|(to, &value)| to[row % COLUMNS] = value);
        }
    }

    /// Takes over a frame from others of the same size.
    pub(super) fn take(&mut self, from: &Self, number: u64) {
        self.begin(number);
        let row = slot(number) % ROWS;
        for layer in 0..self.layers {
            let tiles = self.chunk(layer, slot(number) / ROWS)..;
            let tiles = tiles.start..tiles.start + self.width / COLUMNS;
            for (to, from) in self.keys[tiles.clone()].iter_mut().zip(&from.keys[tiles.clone()]) {
                to.0.as_chunks_mut::<COLUMNS>().0[row] = from.0.as_chunks().0[row];
            }
            let column = (row % COLUMNS..ROWS * COLUMNS).step_by(COLUMNS);
            let tiles = tiles.skip(row / COLUMNS).step_by(ROWS / COLUMNS);
            for tile in tiles {
                column.clone().for_each(|at| self.values[tile].0[at] = from.values[tile].0[at]);
            }
        }
    }
}

/// 16 slots of which some may be looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// Whether it is one of the packet's own memories, rather than of those from before.
    pub(super) own: bool,
    /// Its first slot / 16.
    pub(super) at: usize,
    /// A bit for each slot, the first lowest.
    pub(super) present: u16,
}

/// Which memories a frame of a packet may look at.
#[derive(Debug)]
pub(super) struct View {
    number: u64,
    first: u64,
    reach: u64,
    before: Bits,
    own: Bits,
}

impl View {
    /// That of a packet's first frame: those of `context` that come before it, and within `reach`, at most [`WINDOW`].
    ///
    /// # Errors
    /// The number of one that is not in `memories`.
    pub(super) fn new(first: u64, context: &FrameSet, reach: u64, cache: &KvCache) -> Result<Self, u64> {
        let mut view = Self { number: first, first, reach, before: [0; CHUNKS], own: [0; CHUNKS] };
        for number in context.clipped(first).iter().filter(|number| first - number <= reach) {
            if !cache.holds(number) {
                return Err(number);
            }
            set(&mut view.before, number, true);
        }
        Ok(view)
    }

    /// The number of the frame that looks.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Goes on to the packet's next frame; the one before is one of its own memories now.
    pub(super) fn advance(&mut self) {
        set(&mut self.own, self.number, true);
        if let Some(left) = self.number.checked_sub(self.reach) {
            set(if left < self.first { &mut self.before } else { &mut self.own }, left, false);
        }
        self.number = self.number.wrapping_add(1);
    }

    /// The chunks with memories to look at.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Chunk> {
        let all = self.before.iter().enumerate().map(|chunk| (false, chunk));
        let all = all.chain(self.own.iter().enumerate().map(|chunk| (true, chunk)));
        all.filter(|(_, (_, present))| **present != 0).map(|(own, (at, &present))| Chunk { own, at, present })
    }
}

fn set(bits: &mut Bits, number: u64, to: bool) {
    let (chunk, bit) = (slot(number) / ROWS, 1 << (slot(number) % ROWS));
    if to { bits[chunk] |= bit } else { bits[chunk] &= !bit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_what_a_list_says() {
        let mut cache = KvCache::new(1, 16);
        for first in [0, 3, 300, 700, u64::MAX - 600] {
            for reach in [1, 7, 16, 255, 256] {
                let context: FrameSet = (first.saturating_sub(300)..first + 40).filter(|n| n % 3 != 1).collect();
                context.iter().for_each(|number| cache.begin(number));
                let mut view = View::new(first, &context, reach, &cache).unwrap();
                for number in first..first + 500 {
                    assert_eq!(view.number(), number);
                    let known = |n: &u64| number - n <= reach && (*n >= first || context.clipped(first).contains(*n));
                    let expected: Vec<u64> = (number.saturating_sub(300)..number).filter(known).collect();
                    let mut seen = Vec::new();
                    for chunk in view.chunks() {
                        for slot in (0..ROWS).filter(|slot| chunk.present >> slot & 1 == 1) {
                            let back = (number as usize).wrapping_sub(chunk.at * ROWS + slot) % SLOTS;
                            let member = number - back as u64;
                            assert_eq!(chunk.own, member >= first);
                            seen.push(member);
                        }
                    }
                    seen.sort_unstable();
                    assert_eq!(seen, expected, "{number} of {first}.., {reach} back");
                    view.advance();
                }
            }
        }
        cache.forget();
        assert!(matches!(View::new(9, &[2, 7].into_iter().collect(), 256, &cache), Err(2)));
        assert!(View::new(9, &[12].into_iter().collect(), 256, &cache).is_ok_and(|v| v.chunks().count() == 0));
    }

    #[test]
    fn memories_are_where_products_look_for_them() {
        let mut cache = KvCache::new(2, 32);
        let (key, value): (Vec<i8>, Vec<i8>) = ((0..32).collect(), (50..82).collect());
        cache.begin(1000);
        cache.set(1000, 1, &key, &value);
        let mut copy = KvCache::new(2, 32);
        copy.take(&cache, 1000);
        for cache in [&cache, &copy] {
            assert!(cache.holds(1000) && !cache.holds(488));
            let (chunk, row) = (1000 % SLOTS / ROWS, 1000 % ROWS);
            let keys = cache.keys(1, chunk);
            let values = cache.values(1, chunk);
            for n in 0..32 {
                assert_eq!(keys[n / 4].0[row * 4 + n % 4], key[n]);
                assert_eq!(values[n / 16 * 4 + row / 4].0[n % 16 * 4 + row % 4], value[n]);
            }
            let others = [cache.keys(0, chunk), cache.values(0, chunk), cache.keys(1, chunk + 1)];
            assert!(others.iter().all(|tiles| tiles.iter().all(|tile| tile.0 == [0; 64])));
        }
    }
}
