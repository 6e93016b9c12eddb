//! Matrices of 8-bit integers, in the order in which products take them.

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Columns of a tile: as many products as one lane of a 32-bit sum takes at a time.
pub(super) const COLUMNS: usize = 4;

/// 16 rows by 4 columns of a matrix, row after row; each from -127 to 127.
///
/// A line of the cache, and a vector register: sums of 16 rows grow side by side, and none runs across a register.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Tile(pub(super) [i8; ROWS * COLUMNS]);

impl Tile {
    pub(super) const ZERO: Self = Self([0; ROWS * COLUMNS]);
}

/// A matrix: 16 rows after 16 rows, in each the tiles from left to right.
pub(super) struct Matrix {
    columns: usize,
    tiles: Vec<Tile>,
}

impl Matrix {
    /// Takes the values row after row. Rows must come in multiples of 16, columns in multiples of 4.
    pub(super) fn new(values: &[i8], columns: usize) -> Self {
        let bands = values.chunks_exact(ROWS * columns);
        let tiles = bands.flat_map(|band| {
            (0..columns).step_by(COLUMNS).map(move |left| {
                let mut tile = Tile::ZERO;
                for (into, row) in tile.0.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(band.chunks_exact(columns)) {
                    into.copy_from_slice(&row[left..left + COLUMNS]);
                }
                tile
            })
        });
        Self { columns, tiles: tiles.collect() }
    }

    pub(super) fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Writes one row to `out`, which is as long as there are columns.
    pub(super) fn row(&self, row: usize, out: &mut [i8]) {
        let band = &self.tiles[row / ROWS * (self.columns / COLUMNS)..];
        for (out, tile) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(band) {
            *out = tile.0.as_chunks().0[row % ROWS];
        }
    }
}
